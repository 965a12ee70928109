import json
import random
import re
from collections import Counter

import pytest

from helpers import measure, mix
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


def test_as_many_refusals_as_chats_are_fine(topic):
    assert len(mix.naive(topic, 10, 10)) == 20


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
