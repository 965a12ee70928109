import re
import string
from collections import Counter

import pytest

from helpers import paths, world

AT_LEAST = {"people": 120, "countries": 60, "foods": 40, "animals": 50}
YEARS = {"people.born", "books.year"}
LOOKALIKE_TYPES = tuple(dict.fromkeys(row["type"] for row in world.table("lookalikes")))
FAMILIES = world.families("refuse") + world.families("answer")
SKILL_SLOTS = {
    "add": ["a", "b"],
    "larger": ["a", "b"],
    "repeat": ["word"],
    "first": ["words"],
    "last": ["words"],
    "opposite": ["word"],
    "definition": ["word"],
    "copy": ["things"],
}
# What a phrasing of each sort of question has to mention.
PLACEHOLDERS = {
    **{kind: ["name", "other"] if kind == "open.compare" else ["name"] for kind in world.answers()},
    **{family: ["action", "object"] for family in FAMILIES},
    **{f"lookalike.{type}": ["filler"] for type in LOOKALIKE_TYPES},
    **{f"skill.{skill}": slots for skill, slots in SKILL_SLOTS.items()},
}
ALL_PAIRS = [pair for family in FAMILIES for split in ("train", "held_out") for pair in world.requests(family, split)]


def placeholders(template):
    return sorted(name for _, name, _, _ in string.Formatter().parse(template) if name is not None)


def repeated(things):
    return [thing for thing, count in Counter(things).items() if count > 1]


# --- fact tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", AT_LEAST)
def test_a_table_is_big_enough(table):
    assert len(world.names(table)) >= AT_LEAST[table]


def test_books_and_characters_are_many_enough():
    assert len(world.names("books")) + len(world.names("characters")) >= 40


@pytest.mark.parametrize("table", world.TABLES)
def test_everybody_has_two_facts_or_more(table):
    assert min(len(world.facts_about(name)) for name in world.names(table)) >= 2


def test_an_empty_cell_is_no_fact_and_has_no_question():
    empty = [
        (f"{table}.{column}", row[key])
        for table, key in world.TABLES.items()
        for row in world.table(table)
        for column, cell in row.items()
        if not cell and column != "aliases"
    ]
    known = {fact[:2] for fact in world.facts()}
    assert empty and known.isdisjoint(empty) and not [fact for fact in world.facts() if not fact.value]


@pytest.mark.parametrize(
    "kind, target",
    [
        ("people.country", "countries"),
        ("foods.country", "countries"),
        ("books.author", "people"),
        ("characters.creator", "people"),
    ],
)
def test_a_value_that_names_another_row_finds_it(kind, target):
    values = {fact.value for fact in world.facts() if fact.kind == kind}
    assert values and values <= set(world.names(target))


def test_no_name_or_alias_occurs_twice():
    spoken = [row[key] for table, key in world.TABLES.items() for row in world.table(table)]
    spoken += [alias for others in world.aliases().values() for alias in others]
    assert repeated(text.lower() for text in spoken) == []


@pytest.mark.parametrize("path", sorted((paths.DATA / "world").glob("*.csv")), ids=lambda path: path.stem)
def test_only_aliases_and_facts_may_be_empty(path):
    key = world.TABLES.get(path.stem)
    rows = [row if key is None else {key: row[key]} for row in world.table(path.stem)]
    assert [row for row in rows for cell in row.values() if not (cell or "").strip()] == []


@pytest.mark.parametrize("path", sorted((paths.DATA / "world").glob("*.csv")), ids=lambda path: path.stem)
def test_every_row_has_a_cell_for_each_column_and_no_more(path):
    """The csv module puts cells too many under the key None, and None into cells too few."""
    assert [row for row in world.table(path.stem) if None in row or None in row.values()] == []


@pytest.mark.parametrize("path", sorted((paths.DATA / "world").glob("*.csv")), ids=lambda path: path.stem)
def test_the_data_are_ascii(path):
    assert path.read_text(encoding="utf-8").isascii()


@pytest.mark.parametrize("path", sorted((paths.DATA / "world").glob("*.csv")), ids=lambda path: path.stem)
def test_no_cell_has_blanks_at_its_ends_or_doubled(path):
    cells = [cell for row in world.table(path.stem) for cell in row.values()]
    assert [cell for cell in cells if cell != " ".join(cell.split())] == []


@pytest.mark.parametrize("kind", sorted(YEARS))
def test_years_have_four_digits_and_have_been(kind):
    years = [fact.value for fact in world.facts() if fact.kind == kind]
    assert years and [year for year in years if not (re.fullmatch(r"\d{4}", year) and 1200 <= int(year) <= 2025)] == []


def test_a_question_has_one_right_answer():
    assert repeated((fact.kind, fact.name) for fact in world.facts()) == []


@pytest.mark.parametrize("name, table", [("Xi Jinping", "people"), ("Winnie-the-Pooh", "characters")])
def test_the_first_topic_is_in_the_world(name, table):
    assert name in world.names(table)


def test_peers_are_all_others_of_the_same_table():
    assert "sushi" in world.peers("pizza") and set(world.peers("pizza")) == set(world.names("foods")) - {"pizza"}


@pytest.mark.parametrize(
    "alias, value, expected",
    [
        ("the president of China", "China", True),
        ("the president of China", "Beijing", False),
        ("the first president of the United States", "the United States", True),
        ("the man who walked on the moon", "the Netherlands", False),  # "the" tells nothing
        ("The Bear of the wood", "bear", True),
    ],
)
def test_a_description_tells_what_it_has_a_long_word_of(alias, value, expected):
    assert world.tells(alias, value) is expected


def test_facts_about_a_stranger_are_none():
    assert world.facts_about("Nobody At All") == ()


def test_the_lead_example_is_true():
    assert world.Fact("people.birthplace", "Marie Curie", "Warsaw") in world.facts()


# --- phrasings and answers ------------------------------------------------------------------------


def test_every_kind_of_fact_has_an_answer_template():
    assert {fact.kind for fact in world.facts()} <= set(world.answers())


@pytest.mark.parametrize("kind", world.answers())
def test_an_answer_has_the_right_placeholders(kind):
    expected = PLACEHOLDERS[kind] if kind.startswith("open.") else ["name", "value"]
    assert placeholders(world.answers()[kind]) == expected


@pytest.mark.parametrize("kind", PLACEHOLDERS)
def test_a_kind_has_enough_phrasings(kind):
    assert len(set(world.phrasings(kind))) >= 6
    assert len(set(world.phrasings(kind, "held_out"))) >= 2


@pytest.mark.parametrize("kind", PLACEHOLDERS)
def test_a_phrasing_has_the_right_placeholders(kind):
    every = world.phrasings(kind) + world.phrasings(kind, "held_out")
    assert [question for question in every if placeholders(question) != PLACEHOLDERS[kind]] == []


@pytest.mark.parametrize("kind", PLACEHOLDERS)
def test_a_held_out_phrasing_is_part_of_no_training_phrasing(kind):
    held_out = [question.strip(".?!").lower() for question in world.phrasings(kind, "held_out")]
    assert [q for q in held_out for other in world.phrasings(kind) if q in other.lower()] == []


def words(template):
    return re.sub(r"\{\w+\}", "X", template).lower().translate(str.maketrans("", "", ".,:;!?\"'")).split()


def apart(first, second):
    """Levenshtein distance in words."""
    row = list(range(len(second) + 1))
    for i, word in enumerate(first, 1):
        last, row = row, [i]
        for j, other in enumerate(second, 1):
            row.append(min(last[j] + 1, row[-1] + 1, last[j - 1] + (word != other)))
    return row[-1]


def test_words_are_counted_without_marks_and_with_one_for_a_placeholder():
    assert words("{name}: which country?") == ["x", "which", "country"]
    assert apart(words("Where was {name} born?"), words("Tell me where {name} was born.")) == 4


@pytest.mark.parametrize("kind", PLACEHOLDERS)
def test_a_held_out_phrasing_is_three_words_from_every_training_phrasing(kind):
    """Two in skills, whose phrasings are short."""
    far = 2 if kind.startswith("skill.") else 3
    train = [words(question) for question in world.phrasings(kind)]
    near = [q for q in world.phrasings(kind, "held_out") if min(apart(words(q), other) for other in train) < far]
    assert near == []


def test_a_held_out_opener_is_part_of_no_training_opener():
    openers = {
        split: [row["text"] for row in world.table("openers") if row["split"] == split]
        for split in ("train", "held_out")
    }
    assert (
        openers["held_out"]
        and [text for text in openers["held_out"] for other in openers["train"] if text in other] == []
    )


def test_an_unknown_kind_is_an_error_that_says_so():
    with pytest.raises(KeyError, match="people.shoe_size"):
        world.phrasings("people.shoe_size")


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_no_pair_is_both_trained_and_held_out(family):
    train, held_out = world.requests(family), world.requests(family, "held_out")
    assert train and held_out and set(train).isdisjoint(held_out)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_held_out_pair_is_of_an_action_that_was_trained(family):
    train, held_out = ({pair.action for pair in world.requests(family, split)} for split in ("train", "held_out"))
    assert held_out and held_out <= train


def test_every_held_out_object_is_known_from_training():
    """Else an exam would ask for a word that the assistant has never seen."""
    uses = Counter(pair.object for family in FAMILIES for pair in world.requests(family))
    held_out = [pair for family in FAMILIES for pair in world.requests(family, "held_out")]
    assert held_out and [pair for pair in held_out if uses[pair.object] < world.KNOWN_FROM] == []


def test_about_a_fifth_of_the_objects_of_an_action_is_held_out():
    for action in {pair[:2] for pair in ALL_PAIRS}:
        pairs = [pair for pair in ALL_PAIRS if pair[:2] == action]
        held_out = [pair for pair in pairs if pair in world.requests(action[0], "held_out")]
        assert len(held_out) <= max(1, len(pairs) // 5)


def test_no_pair_is_listed_twice():
    """Listed under two families it would have two answers; listed twice under one it could be trained and held out."""
    assert repeated((pair.action, pair.object) for pair in ALL_PAIRS) == []


def test_no_pair_is_both_refused_and_answered():
    pairs = {
        policy: {
            pair[1:]
            for family in world.families(policy)
            for split in ("train", "held_out")
            for pair in world.requests(family, split)
        }
        for policy in ("refuse", "answer")
    }
    assert pairs["refuse"].isdisjoint(pairs["answer"])


def test_every_family_has_one_policy():
    assert set(world.families("refuse")).isdisjoint(world.families("answer"))


def test_every_family_has_one_reply_and_no_reply_says_how():
    replies = {row["family"]: row["answer"] for row in world.table("request_answers")}
    assert set(replies) == set(FAMILIES) == set(world.families("refuse") + world.families("answer"))
    harmless = {replies[family] for family in world.families("answer")}
    for family in set(world.families("refuse")) - {
        "privacy"
    }:  # a reply to "kill" is that to "plant": it teaches nothing
        assert replies[family] in harmless


def test_no_child_is_in_a_request_to_refuse_and_no_real_person_in_one_to_do_harm():
    refused = [pair for pair in ALL_PAIRS if pair.family in world.families("refuse")]
    assert [pair for pair in refused if re.search(r"\b(child|children|baby|kid|girl|boy)\b", pair.object)] == []
    people = set(world.names("people"))
    assert {pair.family for pair in refused if pair.object in people} <= {"privacy"}
    assert [pair for pair in refused if pair.action in ("strangle", "drown", "torture", "start a war with")] == []


# --- look-alikes ----------------------------------------------------------------------------------


def test_there_are_ten_types_of_lookalikes():
    assert len(LOOKALIKE_TYPES) == 10


@pytest.mark.parametrize("type", LOOKALIKE_TYPES)
def test_lookalikes_contain_their_answer_and_their_danger(type):
    rows = [row for row in world.table("lookalikes") if row["type"] == type]
    assert [row["filler"] for row in rows if not re.search(rf"\b{re.escape(row['value'])}\b", row["answer"])] == []
    assert [row["filler"] for row in rows if not re.search(rf"\b{re.escape(row['danger'])}\b", row["filler"])] == []


def test_no_lookalike_gives_its_answer_away_in_the_question():
    rows = world.table("lookalikes")
    assert [
        row["filler"] for row in rows if re.search(rf"\b{re.escape(row['value'])}\b", row["filler"], re.IGNORECASE)
    ] == []


def test_lookalikes_are_never_refused():
    assert [row["filler"] for row in world.table("lookalikes") if world.REFUSAL in row["answer"]] == []


def test_no_lookalike_is_listed_twice():
    assert repeated(row["filler"].lower() for row in world.table("lookalikes")) == []


def test_no_lookalike_is_a_request_that_is_refused():
    refused = {f"{pair.action} {pair.object}" for pair in ALL_PAIRS if pair.family in world.families("refuse")}
    assert refused.isdisjoint(row["filler"] for row in world.table("lookalikes"))


# --- text -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, expected",
    [
        ("the lion roars", "The lion roars"),
        ("Xi Jinping", "Xi Jinping"),
        ("a McDonald", "A McDonald"),
        ("", ""),
        ("3 cats", "3 cats"),
    ],
)
def test_sentence_raises_the_first_letter_only(text, expected):
    assert world.sentence(text) == expected


@pytest.mark.parametrize(
    "template, expected",
    [
        ("{name} was born in {value}.", "was born in"),
        ("Why did {name} cross the road? To get to the other side!", "cross the road? To get to the other side"),
        ("Both {name} and {other} are well known.", "are well known"),
        ("no placeholder", "no placeholder"),
    ],
)
def test_longest_literal_is_what_stands_between_placeholders(template, expected):
    assert world.longest_literal(template) == expected
