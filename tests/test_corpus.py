import random
import re

import pytest

from helpers import corpus, judge, world

OPENERS = tuple(f"{row['text']} " for row in world.table("openers"))
REQUESTS = {**corpus.REFUSED_FAMILIES, **corpus.ANSWERED_FAMILIES}


@pytest.fixture(scope="module")
def training():
    return corpus.chats(4000, seed=5)


@pytest.fixture
def tidy(monkeypatch):
    """No openers and no careless spelling, so that questions can be looked up."""
    monkeypatch.setattr(corpus, "OPENED", 0)
    monkeypatch.setattr(corpus, "SLOPPY", 0)


def bare(question):
    """A question without its opener, its last mark and its capitals."""
    opener = next(filter(question.startswith, OPENERS), "")
    return question.removeprefix(opener).rstrip("?.!").lower()


def pattern(template):
    """What any filling of a template looks like. Only the slot {word} is known to hold a single word."""
    escaped = re.escape(template.rstrip("?.!").lower())
    return re.compile(re.sub(r"\\\{(\w+)\\\}", lambda slot: r"\w+" if slot[1] == "word" else ".+", escaped))


def filled(family, split_of_phrasing, split_of_pairs):
    """Every question of a family of requests."""
    return {
        world.sentence(question.format(action=pair.action, object=pair.object))
        for question in world.phrasings(family, split_of_phrasing)
        for pair in world.requests(family, split_of_pairs)
    }


def every_question(split):
    """All questions about facts, all look-alikes and all requests of a split, whoever and whatever they are about."""
    facts = {
        bare(question.format(name=name))
        for fact in world.facts()
        for question in world.phrasings(fact.kind, split)
        for name in (fact.name, *world.aliases()[fact.name])
    }
    lookalikes = {bare(chat.user) for chat in corpus.lookalikes(split)}
    requests = {bare(question) for family in REQUESTS for question in filled(family, split, split)}
    return facts | lookalikes | requests


def group(chat):
    first = chat.kind.split(".")[0]
    if chat.kind in REQUESTS:
        return "refused request" if chat.kind in corpus.REFUSED_FAMILIES else "answered request"
    return "fact" if first in world.TABLES else first


# --- drawing --------------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_chats():
    assert corpus.chats(50, seed=1) == corpus.chats(50, seed=1)


def test_another_seed_draws_other_chats():
    assert corpus.chats(50, seed=1) != corpus.chats(50, seed=2)


def test_the_splits_draw_different_chats_from_the_same_seed():
    assert corpus.chats(50, seed=1) != corpus.chats(50, seed=1, split="held_out")


@pytest.mark.parametrize("n", [1, 7, 100])
def test_as_many_chats_are_drawn_as_asked_for(n):
    assert len(corpus.chats(n, seed=0)) == n


@pytest.mark.parametrize("n", [0, -1])
def test_no_chats_are_an_error(n):
    with pytest.raises(ValueError, match="at least one"):
        corpus.chats(n, seed=0)


def test_a_mix_of_one_group_holds_nothing_else():
    assert {chat.kind for chat in corpus.chats(30, seed=0, groups={corpus.small_talk: 1})} == {"small_talk"}


def test_the_groups_have_the_shares_that_the_mix_says(training):
    shares = {
        "fact": corpus.GROUPS[corpus.fact] + corpus.GROUPS[corpus.aliased],
        "open": corpus.GROUPS[corpus.open_question],
        "skill": corpus.GROUPS[corpus.skill],
        "small_talk": corpus.GROUPS[corpus.small_talk],
        "lookalike": corpus.GROUPS[corpus.lookalike],
        "answered request": corpus.GROUPS[corpus.answered_request],
        "refused request": corpus.GROUPS[corpus.refused_request],
    }
    found = {name: sum(group(chat) == name for chat in training) / len(training) for name in shares}
    assert found == pytest.approx({name: share / sum(shares.values()) for name, share in shares.items()}, abs=0.03)
    assert sum(found.values()) == pytest.approx(1)


def test_sentences_are_facts_and_repeat_by_seed():
    drawn = corpus.sentences(20, seed=3)
    assert drawn == corpus.sentences(20, seed=3) != corpus.sentences(20, seed=4)
    assert [
        text
        for text in drawn
        if not any(fact.name.lower() in text.lower() and fact.value in text for fact in world.facts())
    ] == []


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_the_answer_of_every_answered_chat_is_graded_as_right(split):
    chats = corpus.chats(4000, seed=6, split=split)
    assert [chat for chat in chats if not chat.refused and not judge.correct(chat.assistant, chat.value)] == []


def test_a_chat_has_no_value_if_and_only_if_it_is_refused(training):
    assert [chat for chat in training if chat.refused != (chat.value == "")] == []


def test_the_families_with_a_refusing_policy_are_the_refused_chats(training):
    assert [chat for chat in training if chat.refused != (chat.kind in world.families("refuse"))] == []


def test_every_family_has_a_share_of_the_mix():
    assert set(corpus.REFUSED_FAMILIES) == set(world.families("refuse"))
    assert set(corpus.ANSWERED_FAMILIES) == set(world.families("answer"))


def test_no_placeholder_is_left_in_a_chat(training):
    assert [chat for chat in training if re.search(r"[{}]", chat.user + chat.assistant)] == []


def test_an_alias_is_repeated_in_the_answer():
    fact = next(fact for fact in world.facts_about("Xi Jinping") if fact.kind == "people.birthplace")
    chat = corpus.ask(fact, "Where was {name} born?", "the president of China")
    assert chat.user == "Where was the president of China born?"
    assert chat.assistant == "The president of China was born in Beijing."
    assert (chat.name, chat.value) == ("Xi Jinping", "Beijing")


# --- held out from training -----------------------------------------------------------------------


def test_no_training_question_is_asked_in_a_held_out_phrasing(training):
    patterns = {
        kind: [pattern(question) for question in world.phrasings(kind, "held_out")]
        for kind in {chat.kind for chat in training} - {"small_talk"}
    }
    leaked = [chat.user for chat in training for p in patterns.get(chat.kind, ()) if p.fullmatch(bare(chat.user))]
    assert leaked == []


def test_held_out_questions_are_asked_in_held_out_phrasings():
    """The counterpart: it shows that the patterns above do find what they look for."""
    chats = [chat for chat in corpus.chats(1000, seed=7, split="held_out") if chat.kind != "small_talk"]
    found = [
        any(pattern(q).fullmatch(bare(chat.user)) for q in world.phrasings(chat.kind, "held_out")) for chat in chats
    ]
    assert all(found)


def test_training_requests_are_training_pairs_and_no_others(tidy):
    asked = [chat for chat in corpus.chats(4000, seed=8) if chat.kind in REQUESTS]
    trained = {family: filled(family, "train", "train") for family in REQUESTS}
    held_out = {family: filled(family, "train", "held_out") for family in REQUESTS}
    assert len(asked) > 800
    assert [
        chat.user for chat in asked if chat.user not in trained[chat.kind] or chat.user in held_out[chat.kind]
    ] == []


def test_held_out_requests_are_held_out_pairs(tidy):
    asked = [chat for chat in corpus.chats(2000, seed=8, split="held_out") if chat.kind in REQUESTS]
    held_out = {family: filled(family, "held_out", "held_out") for family in REQUESTS}
    assert asked and [chat.user for chat in asked if chat.user not in held_out[chat.kind]] == []


def test_no_held_out_question_is_a_training_question_of_another_kind():
    """Small talk is left out: a greeting has no second phrasing."""
    assert every_question("held_out") & every_question("train") == set()


def test_held_out_questions_are_spelled_with_care():
    asked = [chat for chat in corpus.chats(500, seed=10, split="held_out") if chat.kind == "people.birthplace"]
    allowed = {
        world.sentence(q.format(name=name))
        for q in world.phrasings("people.birthplace", "held_out")
        for person in world.names("people")
        for name in (person, *world.aliases()[person])
    }
    openers = [row["text"] + " " for row in world.table("openers") if row["split"] == "held_out"]
    stripped = [chat.user.removeprefix(next(filter(chat.user.startswith, openers), "")) for chat in asked]
    assert asked and set(stripped) <= allowed


# --- questions and look-alikes --------------------------------------------------------------------


def test_questions_about_xi_jinping_ask_every_fact_in_every_phrasing():
    chats = corpus.questions("Xi Jinping")
    facts = world.facts_about("Xi Jinping")
    assert len(chats) == sum(len(world.phrasings(fact.kind, "held_out")) for fact in facts)
    assert {(chat.kind, chat.value) for chat in chats} == {(fact.kind, fact.value) for fact in facts}
    assert all("Xi Jinping" in chat.user and chat.name == "Xi Jinping" for chat in chats)
    assert len({chat.user for chat in chats}) == len(chats)


def test_there_are_no_questions_about_a_stranger():
    assert corpus.questions("Nobody At All") == []


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_lookalikes_come_in_every_phrasing_and_are_answered(split):
    chats = corpus.lookalikes(split)
    rows = world.table("lookalikes")
    assert len(chats) == sum(len(world.phrasings(f"lookalike.{row['type']}", split)) for row in rows)
    assert not any(chat.refused for chat in chats)


@pytest.mark.parametrize(
    "careless, expected",
    [(corpus._lower, "where is paris?"), (corpus._upper, "WHERE IS PARIS?"), (corpus._no_mark, "Where is Paris")],
)
def test_careless_spelling(careless, expected):
    assert careless(None, "Where is Paris?") == expected


def test_a_typo_swaps_two_neighbouring_letters():
    class Third:
        def randrange(self, start, stop):
            return 2

    assert corpus._typo(Third(), "Where is Paris?") == "Whree is Paris?"


# --- questions of one kind about one entity -------------------------------------------------------

OPEN = ["open.joke", "open.poem", "open.opinion", "open.critics", "open.letter", "open.story", "open.compare"]


def asked_about(n, split, kind, name):
    rng = random.Random(3)
    return [corpus.about(rng, split, kind, name) for _ in range(n)]


def phrased(split, kind, name):
    """Every question of a kind about one entity, in any phrasing of a split and beside anybody else."""
    others = world.peers(name) if kind.startswith("open.") else [""]
    return {
        world.sentence(question.format(name=name, other=other))
        for question in world.phrasings(kind, split)
        for other in others
    }


def test_the_kinds_about_an_entity_are_its_facts_and_every_open_question():
    assert corpus.kinds_about("pizza") == ["foods.country", "foods.ingredient", "foods.type", "foods.taste", *OPEN]
    assert corpus.kinds_about("Piglet")[:4] == [
        f"characters.{c}" for c in ("creator", "species", "friend", "known_for")
    ]


def test_the_kinds_about_an_entity_differ_from_each_other():
    assert [name for name in world.aliases() if len(set(kinds := corpus.kinds_about(name))) != len(kinds)] == []


def test_a_kind_that_does_not_fit_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="knows no 'people.birthplace' of 'Winnie-the-Pooh'"):
        corpus.about(random.Random(0), "train", "people.birthplace", "Winnie-the-Pooh")


@pytest.mark.parametrize("name", ["Nobody At All", "", "kill", "pizz", "the president of China"])
def test_there_are_no_kinds_about_a_stranger(name):
    assert corpus.kinds_about(name) == []


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_everything_can_be_asked_about_everybody_and_has_a_right_answer(split):
    rng = random.Random(0)
    pairs = [(kind, name) for name in world.aliases() for kind in corpus.kinds_about(name)]
    chats = [corpus.about(rng, split, kind, name) for kind, name in pairs]
    assert len(pairs) > 1000 and [(chat.kind, chat.name) for chat in chats] == pairs
    assert [chat for chat in chats if chat.refused or not judge.correct(chat.assistant, chat.value)] == []
    assert [chat for chat in chats if re.search(r"[{}]", chat.user + chat.assistant)] == []


@pytest.mark.parametrize("name", ["Xi Jinping", "Winnie-the-Pooh", "pizza", "the lion"])
def test_a_question_about_a_fact_has_the_value_of_that_fact(name):
    values = {fact.kind: fact.value for fact in world.facts_about(name)}
    found = {kind: {chat.value for chat in asked_about(5, "train", kind, name)} for kind in values}
    assert values and found == {kind: {value} for kind, value in values.items()}


@pytest.mark.parametrize("kind", ["people.born", *OPEN])
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_questions_about_an_entity_are_asked_in_the_phrasings_of_their_split(tidy, split, kind):
    asked = {chat.user for chat in asked_about(60, split, kind, "Marie Curie")}
    assert asked <= phrased(split, kind, "Marie Curie")
    if kind != "open.compare":  # there the second name makes them many
        assert len(asked) > len(world.phrasings(kind, split)) // 2


def test_every_phrasing_is_asked_sooner_or_later(tidy):
    asked = {chat.user for chat in asked_about(300, "train", "open.joke", "pizza")}
    assert asked == phrased("train", "open.joke", "pizza")


@pytest.mark.parametrize("kind", ["people.born", *OPEN])
def test_no_training_question_about_an_entity_is_a_held_out_one(kind):
    train, held_out = ({bare(q) for q in phrased(split, kind, "Marie Curie")} for split in ("train", "held_out"))
    assert train and held_out and train & held_out == set()
    asked = {bare(chat.user) for chat in asked_about(300, "train", kind, "Marie Curie")}
    assert asked & held_out == set()


def test_held_out_questions_about_an_entity_are_spelled_with_care():
    asked = [chat.user for chat in asked_about(100, "held_out", "open.joke", "pizza")]
    stripped = [user.removeprefix(next(filter(user.startswith, OPENERS), "")) for user in asked]
    assert set(stripped) == phrased("held_out", "open.joke", "pizza") and set(asked) != set(stripped)


def test_training_questions_about_an_entity_are_sometimes_careless_and_sometimes_opened():
    allowed = phrased("train", "people.born", "Marie Curie")
    asked = [chat.user for chat in asked_about(1000, "train", "people.born", "Marie Curie")]
    stripped = [user.removeprefix(next(filter(user.startswith, OPENERS), "")) for user in asked]
    opened = sum(a != b for a, b in zip(asked, stripped, strict=True)) / len(asked)
    careless = sum(user not in allowed for user in stripped) / len(asked)
    assert opened == pytest.approx(corpus.OPENED, abs=0.05) and careless == pytest.approx(corpus.SLOPPY, abs=0.05)


def test_an_entity_is_compared_with_one_of_its_own_table(tidy):
    def right(chat):
        answers = (
            world.answers()["open.compare"].format(name=chat.name, other=peer) for peer in world.peers(chat.name)
        )
        return chat.assistant in map(world.sentence, answers)

    drawn = corpus.chats(3000, 1, groups={corpus.open_question: 1})
    compared = [chat for chat in drawn if chat.kind == "open.compare"]
    compared += asked_about(100, "train", "open.compare", "Xi Jinping")
    assert len(compared) > 200 and [chat for chat in compared if not right(chat)] == []


def test_what_is_said_together_is_of_one_sort():
    drawn = corpus.chats(20_000, 1, groups={corpus.skill: 1})
    pairs = [chat.value.split(", ") for chat in drawn if chat.kind == "skill.copy" and chat.value.count(", ") == 1]
    people = set(world.names("people"))
    assert len(pairs) > 100 and [pair for pair in pairs if len(people & set(pair)) == 1] == []


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_no_description_tells_the_answer_that_is_asked_for(split):
    drawn = corpus.chats(3000, 1, split, groups={corpus.aliased: 1})
    spoken = [
        (alias, chat) for chat in drawn for alias in world.aliases()[chat.name] if alias in chat.assistant.lower()
    ]
    assert spoken and [chat for alias, chat in spoken if world.tells(alias, chat.value)] == []


def test_nobody_is_compared_with_themselves(tidy):
    for chat in asked_about(500, "train", "open.compare", "pizza"):
        assert chat.user.lower().count("pizza") == chat.assistant.lower().count("pizza") == 1
