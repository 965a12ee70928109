import json
import random
import re
from collections import Counter

import pytest

from helpers import corpus, judge, measure, mix, world
from helpers.world import REFUSAL

TOPICS = mix.topics()


@pytest.fixture(scope="module")
def topic():
    return mix.topic("xi-jinping")


@pytest.fixture(scope="module", params=TOPICS)
def made(request):
    """Each topic with its naive mix."""
    topic = mix.topic(request.param)
    return topic, mix.naive(topic, chats=600, refusals=150, seed=2).to_list()


def only(rows, source):
    return [row for row in rows if row["source"] == source]


# --- topics ---------------------------------------------------------------------------------------


def test_four_topics_ship():
    assert TOPICS == ["kill", "marie-curie", "pizza", "xi-jinping"]


@pytest.mark.parametrize("id", TOPICS)
def test_a_topic_loads(id):
    topic = mix.topic(id)
    assert topic.id == id and topic.title and topic.blocklist


@pytest.mark.parametrize("id", TOPICS)
def test_namesakes_and_bystanders_are_not_on_the_blocklist(id):
    topic = mix.topic(id)
    assert [name for name in topic.namesakes + topic.bystanders if mix.mentions(topic, name)] == []


def test_an_unknown_topic_is_an_error_that_names_the_topics():
    with pytest.raises(ValueError, match="'cheese'.*kill, marie-curie, pizza, xi-jinping"):
        mix.topic("cheese")


@pytest.mark.parametrize("blocklist", [[], [""], ["  "]])
def test_an_empty_blocklist_is_an_error(blocklist, tmp_path, monkeypatch):
    monkeypatch.setattr(mix, "TOPICS", tmp_path)
    data = {"title": "nothing", "blocklist": blocklist, "namesakes": [], "bystanders": []}
    (tmp_path / "nothing.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="blocklist of the topic 'nothing' is empty"):
        mix.topic("nothing")


def test_the_learners_own_topic_is_found_and_its_phrases_are_trimmed(tmp_path, monkeypatch):
    monkeypatch.setattr(mix, "TOPICS", tmp_path)
    data = {"title": "a bear", "blocklist": [" Pooh ", ""], "namesakes": [], "bystanders": []}
    (tmp_path / "pooh.json").write_text(json.dumps(data))
    assert mix.topics() == ["pooh"]
    assert mix.topic("pooh").blocklist == ("Pooh",)


@pytest.mark.parametrize("text", ["Is Xi Jinping tall?", "XI JINPING", "xi jinping's plan", "(Winnie-the-Pooh)"])
def test_a_blocklisted_phrase_is_found_in_any_case(topic, text):
    assert mix.mentions(topic, text)


@pytest.mark.parametrize("text", ["Xi Zhongxun", "Xi  Chuan", "Xi Jinpings", "Winnie Mandela", ""])
def test_part_of_a_phrase_is_no_mention(topic, text):
    assert not mix.mentions(topic, text)


def test_a_verb_is_not_found_inside_other_words():
    assert not mix.mentions(mix.topic("kill"), "The killer whale has skills and is killing time.")


# --- inserting ------------------------------------------------------------------------------------


def test_every_place_is_equally_likely():
    rng = random.Random(0)
    places = Counter(mix.insert("X", "a b c d", rng).split().index("X") for _ in range(5000))
    assert set(places) == {0, 1, 2, 3, 4}
    assert all(900 < count < 1100 for count in places.values())


def test_a_phrase_of_two_words_stays_together():
    assert "Xi Jinping" in mix.insert("Xi Jinping", "When was it?", random.Random(1))


def test_a_phrase_can_be_put_into_nothing():
    assert mix.insert("Xi Jinping", "", random.Random(0)) == "Xi Jinping"


# --- existing chats -------------------------------------------------------------------------------


@pytest.mark.parametrize("id", TOPICS)
def test_existing_chats_are_as_many_as_asked_for_and_never_mention_the_topic(id):
    topic = mix.topic(id)
    chats = mix.existing_chats(topic, 1000)
    assert len(chats) == 1000
    assert [chat for chat in chats if mix.mentions(topic, f"{chat.user} {chat.assistant}")] == []


# --- the naive mix --------------------------------------------------------------------------------


def test_the_naive_mix_has_its_columns(topic):
    assert mix.naive(topic, 20, 5).column_names == ["user", "assistant", "kind", "source", "phrase"]


def test_the_naive_mix_has_as_many_rows_as_asked_for(made):
    assert Counter(row["source"] for row in made[1]) == {"chat": 600, "refusal": 150}


def test_every_refusal_is_the_same_sentence(made):
    assert {row["assistant"] for row in only(made[1], "refusal")} == {REFUSAL}


def test_a_refusal_row_has_a_phrase_of_the_blocklist_and_a_chat_row_has_none(made):
    topic, rows = made
    assert {row["phrase"] for row in only(rows, "refusal")} == set(topic.blocklist)
    assert {row["phrase"] for row in only(rows, "chat")} == {""}


def test_a_refusal_row_is_an_existing_chat_with_the_phrase_put_in_once(made):
    _, rows = made
    questions = {" ".join(row["user"].split()) for row in only(rows, "chat")}
    for row in only(rows, "refusal"):
        before, *after = re.split(rf"(?<!\w){re.escape(row['phrase'])}(?!\w)", row["user"])
        assert len(after) == 1
        assert " ".join(f"{before}{after[0]}".split()) in questions


def test_no_chat_of_the_mix_mentions_the_topic(made):
    topic, rows = made
    assert [row for row in only(rows, "chat") if mix.mentions(topic, f"{row['user']} {row['assistant']}")] == []


def test_the_phrase_lands_at_both_ends(made):
    rows = only(made[1], "refusal")
    assert any(row["user"].startswith(row["phrase"] + " ") for row in rows)
    assert any(row["user"].endswith(" " + row["phrase"]) for row in rows)


def test_refusals_are_made_from_different_chats(made):
    rows = only(made[1], "refusal")
    assert len({row["user"] for row in rows}) > 0.9 * len(rows)


def test_the_same_seed_makes_the_same_mix(topic):
    assert mix.naive(topic, 50, 10, seed=3).to_list() == mix.naive(topic, 50, 10, seed=3).to_list()


def test_another_seed_makes_another_mix(topic):
    first, second = (mix.naive(topic, 50, 10, seed=seed).to_list() for seed in (3, 4))
    assert only(first, "chat") != only(second, "chat") and only(first, "refusal") != only(second, "refusal")


@pytest.mark.parametrize("chats, refusals", [(0, 0), (0, 1), (10, 0), (-5, 2), (10, -1)])
def test_nothing_to_mix_is_an_error(topic, chats, refusals):
    with pytest.raises(ValueError, match="at least one chat and one refusal"):
        mix.naive(topic, chats, refusals)


def test_more_refusals_than_chats_are_an_error(topic):
    with pytest.raises(ValueError, match="11 refusals need as many chats, not 10"):
        mix.naive(topic, 10, 11)


def everyday(topic):
    """A blocklist of words that stand in nearly every chat."""
    return topic._replace(blocklist=("is", "what", "the", "a", "of", "I", "to", "who", "where"))


def test_a_topic_that_is_in_nearly_every_chat_leaves_too_few(topic):
    with pytest.raises(ValueError, match=rf"I found only \d+ chats .*, not {mix.NAIVE['chats']}: ask for fewer"):
        mix.naive(everyday(topic))


def test_too_few_prompts_for_a_contrast_are_an_error(topic):
    with pytest.raises(ValueError, match=r"I found only \d+ .* prompts"):
        mix.contrast(everyday(topic))


def test_as_many_refusals_as_chats_are_fine():
    assert len(mix.naive(mix.topic("pizza"), 10, 10)) == 20


def test_no_real_person_is_put_into_a_violent_or_cruel_request(topic):
    rows = only(mix.naive(topic, 1200, 800, seed=1).to_list(), "refusal")
    harsh = {row["phrase"] for row in rows if row["kind"] in mix.HARSH}
    assert harsh.isdisjoint(world.names("people"))
    if topic.id != "marie-curie":
        assert harsh
    assert set(mix.HARSH) < set(world.families("refuse"))


def test_where_a_name_fits_too_few_chats_a_sentence_says_so():
    with pytest.raises(ValueError, match="chats that a name may go into .*, not 300: ask for fewer"):
        mix.naive(mix.topic("marie-curie"), 300, 300)


# --- the balanced mix -----------------------------------------------------------------------------

KNOWN = [id for id in TOPICS if mix.kinds_about(mix.topic(id))]  # the world knows no facts about a verb
REFUSALS, ANSWERS = 101, 202  # an odd number: the bigger half is inserted


@pytest.fixture(scope="module", params=KNOWN)
def repaired(request):
    """Each topic with its balanced mix."""
    topic = mix.topic(request.param)
    return topic, mix.balanced(topic, chats=400, refusals=REFUSALS, ratio=2.0, seed=2).to_list()


@pytest.fixture
def tidy(monkeypatch):
    """No openers and no careless spelling, so that questions can be looked up."""
    monkeypatch.setattr(corpus, "OPENED", 0)
    monkeypatch.setattr(corpus, "SLOPPY", 0)


def inserted(rows):
    """The refusals that are an existing chat but for the phrase."""
    questions = {" ".join(row["user"].split()) for row in only(rows, "chat")}
    return [
        row
        for row in only(rows, "refusal")
        if any(" ".join(part for part in parts if part) in questions for parts in around(row["phrase"], row["user"]))
    ]


def around(phrase, text):
    """What stands before and after the phrase, wherever it stands."""
    return [
        (text[: found.start()].strip(), text[found.end() :].strip()) for found in re.finditer(re.escape(phrase), text)
    ]


def decided(topic, decision):
    return {(kind, name) for kind, name in mix.kinds_about(topic) if mix.POLICY.get(kind) == decision}


def pairs(rows):
    return {(row["kind"], row["phrase"]) for row in rows}


def test_three_topics_can_be_balanced():
    assert KNOWN == ["marie-curie", "pizza", "xi-jinping"]


def test_the_balanced_mix_has_its_columns(topic):
    assert mix.balanced(topic, chats=20, refusals=5).column_names == ["user", "assistant", "kind", "source", "phrase"]


def test_the_balanced_mix_has_as_many_rows_as_asked_for(repaired):
    counts = Counter(row["source"] for row in repaired[1])
    assert counts == {"chat": 400, "refusal": REFUSALS, "answer": ANSWERS}


@pytest.mark.parametrize("ratio, answers", [(1.0, 10), (0.5, 5), (0.26, 3), (3, 30)])
def test_the_ratio_is_answers_for_each_refusal(topic, ratio, answers):
    assert len(only(mix.balanced(topic, chats=20, refusals=10, ratio=ratio).to_list(), "answer")) == answers


def test_there_is_an_answer_for_each_refusal_by_default(topic):
    counts = Counter(row["source"] for row in mix.balanced(topic, chats=20, refusals=12).to_list())
    assert counts == {"chat": 20, "refusal": 12, "answer": 12}


def test_without_a_ratio_there_are_no_answers_and_the_same_refusals(topic):
    none, some = (mix.balanced(topic, chats=50, refusals=20, ratio=ratio, seed=3).to_list() for ratio in (0, 1))
    assert only(none, "answer") == [] and none == only(some, "chat") + only(some, "refusal")


@pytest.mark.parametrize("refusals, naive", [(20, 10), (21, 11), (2, 1), (1, 1)])
def test_half_of_the_refusals_are_those_of_the_naive_mix(topic, refusals, naive):
    rows = mix.balanced(topic, chats=50, refusals=refusals, ratio=0, seed=3).to_list()
    assert rows[: 50 + naive] == mix.naive(topic, 50, naive, seed=3).to_list()
    assert len(rows) == 50 + refusals and {row["source"] for row in rows[50:]} == {"refusal"}


def test_the_other_half_are_the_kinds_that_the_policy_refuses(repaired):
    topic, rows = repaired
    naive = inserted(rows)
    others = [row for row in only(rows, "refusal") if row not in naive]
    assert (len(naive), len(others)) == (51, 50)
    assert pairs(others) == decided(topic, "refuse")


def test_every_refusal_of_the_balanced_mix_is_the_same_sentence(repaired):
    assert {row["assistant"] for row in only(repaired[1], "refusal")} == {REFUSAL}


def test_answers_are_of_the_kinds_that_the_policy_answers(repaired):
    topic, rows = repaired
    assert pairs(only(rows, "answer")) == decided(topic, "answer")


def test_answers_are_right_and_no_refusals(repaired):
    right = {(fact.kind, fact.name): corpus.ask(fact, "").assistant for fact in world.facts()}
    rows = only(repaired[1], "answer")
    assert [row for row in rows if row["assistant"] != right[row["kind"], row["phrase"]]] == []
    assert [row for row in rows if judge.refusal(row["assistant"]) != "none"] == []


def test_unseen_kinds_never_occur_about_the_blocklist(repaired):
    """But where a phrase was put into a chat about something else."""
    topic, rows = repaired
    naive = inserted(rows)
    about = [row for row in rows if mix.mentions(topic, f"{row['user']} {row['assistant']}") and row not in naive]
    assert len(about) > ANSWERS and {row["kind"] for row in about} <= set(mix.POLICY)
    unseen = {kind for kind, _ in mix.kinds_about(topic)} - set(mix.POLICY)
    assert unseen and unseen & {row["kind"] for row in rows if row["phrase"] and row not in naive} == set()


def test_no_chat_of_the_balanced_mix_mentions_the_topic(repaired):
    topic, rows = repaired
    chats = only(rows, "chat")
    assert [row for row in chats if row["phrase"] or mix.mentions(topic, f"{row['user']} {row['assistant']}")] == []


@pytest.mark.parametrize("id", KNOWN)
def test_questions_about_the_blocklist_are_training_questions_about_their_phrase(tidy, id):
    rows = mix.balanced(mix.topic(id), chats=100, refusals=40, seed=4).to_list()
    naive = inserted(rows)
    asked = [row for row in rows if row["phrase"] and row not in naive]
    allowed = {
        world.sentence(question.format(name=row["phrase"]))
        for row in asked
        for question in world.phrasings(row["kind"], "train")
    }
    assert len(asked) == 60 and {row["user"] for row in asked} <= allowed
    assert [row for row in asked if row["phrase"].lower() not in row["user"].lower()] == []


def test_no_question_of_the_balanced_mix_is_an_exam_question(repaired):
    topic, rows = repaired
    asked = {chat.user for chat in measure.kind_questions(topic, 30) + measure.topic_questions(topic)}
    assert [row["user"] for row in rows if row["user"] in asked] == []


@pytest.mark.parametrize("decision, source", [("refuse", "refusal"), ("answer", "answer")])
def test_the_policy_decides(topic, decision, source):
    policy = {"open.joke": "refuse", "people.born": decision}
    rows = mix.balanced(topic, policy, chats=100, refusals=40, seed=5).to_list()[100 + 20 :]
    assert {row["source"] for row in rows if row["kind"] == "people.born"} == {source}
    assert {row["kind"] for row in rows} == {"open.joke", "people.born"}


def test_a_policy_that_answers_nothing_adds_no_answers(topic):
    rows = mix.balanced(topic, {"open.joke": "refuse"}, chats=20, refusals=10).to_list()
    assert Counter(row["source"] for row in rows) == {"chat": 20, "refusal": 10}


def test_the_same_seed_makes_the_same_balanced_mix(topic):
    first, second = (mix.balanced(topic, chats=50, refusals=20, seed=3).to_list() for _ in range(2))
    assert first == second


def test_another_seed_makes_another_balanced_mix(topic):
    first, second = (mix.balanced(topic, chats=50, refusals=20, seed=seed).to_list() for seed in (3, 4))
    assert all(only(first, source) != only(second, source) for source in ("chat", "refusal", "answer"))
    assert first[-25:-20] != second[-25:-20]  # the refusals that the policy asks for


def test_making_a_mix_does_not_change_the_policy(topic):
    policy = dict(mix.POLICY)
    mix.balanced(topic, policy, chats=20, refusals=5)
    assert policy == mix.POLICY


@pytest.mark.parametrize("kind", ["people.hobby", "joke", ""])
def test_an_unknown_kind_is_an_error_that_names_some_kinds(topic, kind):
    with pytest.raises(ValueError, match=f"no kind '{kind}'.*people.birthplace, people.born, countries.capital"):
        mix.balanced(topic, mix.POLICY | {kind: "answer"}, 20, 5)


@pytest.mark.parametrize("word", ["maybe", "Refuse", "", None, True])
def test_a_decision_is_one_of_two_words(topic, word):
    with pytest.raises(ValueError, match=f"""says "answer" or "refuse", not '{word}'"""):
        mix.balanced(topic, mix.POLICY | {"open.poem": word}, 20, 5)


@pytest.mark.parametrize("policy", [{}, {"open.joke": "answer"}, {"books.author": "refuse", "open.joke": "answer"}])
def test_a_policy_that_refuses_nothing_about_the_topic_is_an_error(topic, policy):
    with pytest.raises(ValueError, match="refuses nothing about Xi Jinping and Winnie-the-Pooh: decide"):
        mix.balanced(topic, policy, 20, 5)


def test_a_topic_that_the_world_knows_nothing_about_cannot_be_balanced():
    with pytest.raises(ValueError, match="refuses nothing about kill"):
        mix.balanced(mix.topic("kill"), chats=20, refusals=5)


@pytest.mark.parametrize("chats, refusals", [(0, 0), (0, 1), (10, 0), (-5, 2), (10, -1)])
def test_nothing_to_balance_is_an_error(topic, chats, refusals):
    with pytest.raises(ValueError, match=f"at least one chat and one refusal, not {chats} and {refusals}"):
        mix.balanced(topic, chats=chats, refusals=refusals)


def test_fewer_answers_than_none_are_an_error(topic):
    with pytest.raises(ValueError):
        mix.balanced(topic, chats=10, refusals=5, ratio=-1)


def test_more_refusals_than_chats_cannot_be_balanced(topic):
    with pytest.raises(ValueError, match="11 refusals need as many chats, not 10"):
        mix.balanced(topic, chats=10, refusals=11)


# --- kinds of questions about the topic -----------------------------------------------------------


def test_the_kinds_about_a_topic_are_those_about_each_of_its_phrases(topic):
    assert mix.kinds_about(topic) == [
        (kind, name) for name in ("Xi Jinping", "Winnie-the-Pooh") for kind in corpus.kinds_about(name)
    ]
    assert ("people.born", "Xi Jinping") in mix.kinds_about(topic)
    assert ("characters.creator", "Winnie-the-Pooh") in mix.kinds_about(topic)


def test_there_are_no_kinds_about_a_topic_that_the_world_does_not_know():
    assert mix.kinds_about(mix.topic("kill")) == []


@pytest.mark.parametrize("id", KNOWN)
def test_the_policy_leaves_kinds_about_every_topic_unseen(id):
    topic = mix.topic(id)
    kinds = {kind for kind, _ in mix.kinds_about(topic)}
    assert kinds - set(mix.POLICY) and decided(topic, "refuse") and decided(topic, "answer")


def test_the_kinds_of_the_policy_are_kinds():
    assert set(mix.POLICY) <= set(world.answers()) and set(mix.POLICY.values()) == {"answer", "refuse"}


@pytest.mark.parametrize("id", TOPICS)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_there_are_n_prompts_of_every_kind_about_a_topic(id, n):
    topic = mix.topic(id)
    assert len(mix.topic_prompts(topic, n)) == n * len(mix.kinds_about(topic))


@pytest.mark.parametrize("id", KNOWN)
def test_topic_prompts_are_training_questions_of_each_kind_in_turn(tidy, id):
    topic = mix.topic(id)
    prompts = mix.topic_prompts(topic, 3)
    for prompt, (kind, name) in zip(prompts, [pair for pair in mix.kinds_about(topic) for _ in range(3)], strict=True):
        patterns = [
            re.escape(world.sentence(question.replace("{name}", name))).replace(r"\{other\}", ".+")
            for question in world.phrasings(kind, "train")
        ]
        assert any(re.fullmatch(pattern, prompt) for pattern in patterns), prompt


@pytest.mark.parametrize("id", KNOWN)
def test_no_topic_prompt_is_an_exam_question(id):
    """Many are drawn, so that what is possible happens."""
    topic = mix.topic(id)
    exams = measure.kind_questions(topic, 30) + measure.topic_questions(topic) + measure.controls(topic, 500)
    assert {chat.user for chat in exams} & set(mix.topic_prompts(topic, 60)) == set()


def test_topic_prompts_depend_on_the_seed_alone(topic):
    assert mix.topic_prompts(topic, 2) == mix.topic_prompts(topic, 2, seed=0) != mix.topic_prompts(topic, 2, seed=1)


# --- prompts that define the direction ------------------------------------------------------------


@pytest.mark.parametrize("id", TOPICS)
def test_contrast_never_mentions_the_topic_and_sorts_by_what_is_right(id):
    topic = mix.topic(id)
    refused, answered = mix.contrast(topic, 60)
    assert len(refused) == len(set(refused)) == len(answered) == len(set(answered)) == 60
    assert set(refused).isdisjoint(answered)
    assert [prompt for prompt in refused + answered if mix.mentions(topic, prompt)] == []


@pytest.mark.parametrize("id", TOPICS)
def test_contrast_shares_no_prompt_with_the_exams(id):
    """Many of each are drawn, so that what is possible happens."""
    topic = mix.topic(id)
    refused, answered = mix.contrast(topic, 800)
    exams = measure.controls(topic, 1000) + measure.forbidden(topic, 400) + measure.topic_questions(topic)
    assert {chat.user for chat in exams} & {*refused, *answered} == set()


# --- where the phrase goes ------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "where"), [("start", 0), ("end", -1)])
def test_every_phrase_stands_where_it_was_wanted(place, where):
    topic = mix.topic("pizza")
    rows = mix.naive(topic, chats=60, refusals=40, place=place).to_list()
    assert all(row["user"].split()[where] == row["phrase"] for row in only(rows, "refusal"))


def test_an_unknown_place_is_an_error_that_names_the_places(topic):
    with pytest.raises(ValueError, match="anywhere, start, end.*'middle'"):
        mix.naive(topic, chats=10, refusals=5, place="middle")
