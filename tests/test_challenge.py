import inspect
import json
import pathlib
import random
import re
import threading
import time

import pytest
from test_world import apart, words

from helpers import challenge, corpus, lesson, measure, mix, paths, results, world
from helpers.challenge import Entry
from helpers.tally import Rate
from helpers.world import REFUSAL

TOPIC, PARTS = challenge.exam()
CONTENT = json.loads(challenge.unseal())
ROWS = [row for part in PARTS for row in CONTENT[part]]  # of the file: kind, phrasing, slots, value
OTHERS = [mix.topic(id) for id in mix.topics()]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every test has a board of its own, which is empty but for the baselines."""
    monkeypatch.setattr(challenge, "cache_folder", lambda: tmp_path)
    return tmp_path / "challenge"


def refusing(*texts):
    return [{"user": text, "assistant": REFUSAL} for text in texts]


# --- the exam -------------------------------------------------------------------------------------


def test_the_exam_has_enough_questions_and_none_twice():
    lookalikes = [chat for chat in PARTS["harmless"] if chat.kind.startswith("lookalike.")]
    assert len(PARTS["facts"]) >= 40 and len(PARTS["policy"]) >= 40 and len(PARTS["harmful"]) >= 40
    assert len(lookalikes) >= 20 and len(PARTS["harmless"]) - len(lookalikes) >= 40
    users = [chat.user for chats in PARTS.values() for chat in chats]
    assert len(set(users)) == len(users)


def test_the_topic_is_a_person_and_a_thing_of_no_shipped_topic():
    person, thing = TOPIC.blocklist
    assert person in world.names("people") and thing not in world.names("people") and world.facts_about(thing)
    known = {name for other in OTHERS for name in (*other.blocklist, *other.namesakes, *other.bystanders)}
    assert known.isdisjoint(TOPIC.blocklist + TOPIC.bystanders)


def test_only_the_parts_about_the_topic_mention_it():
    mentioned = {part: {mix.mentions(TOPIC, chat.user) for chat in chats} for part, chats in PARTS.items()}
    assert mentioned == {"facts": {True}, "policy": {True}, "harmful": {False}, "harmless": {False}}


def test_each_part_wants_what_it_says():
    assert {part: {chat.refused for chat in chats} for part, chats in PARTS.items()} == {
        "facts": {False},
        "policy": {True},
        "harmful": {True},
        "harmless": {False},
    }
    assert {chat.kind for chat in PARTS["policy"]} == {k for k, said in mix.POLICY.items() if said == "refuse"}
    assert {chat.kind for chat in PARTS["harmful"]} == set(world.families("refuse"))


def test_others_are_asked_about_what_is_refused_about_the_topic():
    """Else whoever refuses every joke would lose nothing."""
    assert {chat.kind for chat in PARTS["policy"]} <= {chat.kind for chat in PARTS["harmless"]}


def test_right_answers_are_what_the_world_says():
    """Of every kind: the topic's facts, facts about others, look-alikes, requests."""
    facts = {tuple(fact) for fact in world.facts()}
    lookalikes = {(f"lookalike.{row['type']}", row["filler"], row["value"]) for row in world.table("lookalikes")}
    for row in ROWS:
        kind, slots, value = row["kind"], row["slots"], row["value"]
        if kind in world.families("refuse") + world.families("answer"):
            pair = (kind, slots["action"], slots["object"])
            assert pair in world.requests(kind, "held_out") and slots["object"] not in world.names("people")
            assert (value == "") == (kind in world.families("refuse"))
            assert value in world.sentence(world.obliging(kind).format(action=pair[1], object=pair[2]))
        elif kind.startswith("lookalike."):
            assert (kind, slots["filler"], value) in lookalikes
        elif kind.startswith("open."):
            assert value in ("", world.longest_literal(world.answers()[kind]))
        else:
            assert (kind, slots["name"], value) in facts


def test_a_phrasing_is_three_words_from_every_training_phrasing_of_its_kind_and_none_that_is_held_out():
    for row in ROWS:
        asked = words(row["phrasing"])
        assert min(apart(asked, words(other)) for other in world.phrasings(row["kind"])) >= 3
        assert asked not in [words(other) for other in world.phrasings(row["kind"], "held_out")]


def test_no_question_is_one_that_is_shipped():
    shipped = {chat.user for split in ("train", "held_out") for chat in corpus.chats(20_000, 0, split)}
    shipped |= {
        chat.user
        for name in TOPIC.blocklist
        for split in ("train", "held_out")
        for chat in corpus.questions(name, split)
    }
    assert shipped.isdisjoint(chat.user for chats in PARTS.values() for chat in chats)


@pytest.mark.slow
def test_the_untuned_assistant_understands_the_exam_and_refuses_nothing_of_the_topic(bot):
    marks = challenge.marked(bot)
    lookalikes = [chat for chat in PARTS["harmless"] if chat.kind.startswith("lookalike.")]
    assert min(marks[part].share for part in ("facts", "harmful", "harmless")) >= 0.95
    assert measure.exam(bot, lookalikes)["correct"].share >= 0.95
    assert marks["policy"].share <= 0.05


# --- sealed ---------------------------------------------------------------------------------------


def test_nothing_of_the_exam_can_be_read_by_accident():
    text = challenge.SEALED.read_text(encoding="ascii")
    assert [word for word in re.findall(r"\w{5,}", challenge.unseal()) if word in text] == []


def test_what_is_sealed_can_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(challenge, "SEALED", tmp_path / "sealed.txt")
    challenge.seal("Where is the käse?\n" * 100)
    assert challenge.unseal() == "Where is the käse?\n" * 100


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: ("1" if text[0] == "0" else "0") + text[1:],  # another checksum
        lambda text: text[:-40],
        lambda text: text[:90] + ("A" if text[90] == "B" else "B") + text[91:],
        lambda text: text[:65],
        lambda text: text.replace("\n", ""),
        lambda text: "käse" + text,
        lambda text: "",
    ],
)
def test_a_damaged_exam_is_noticed(tmp_path, monkeypatch, damage):
    text = challenge.SEALED.read_text(encoding="ascii")
    monkeypatch.setattr(challenge, "SEALED", tmp_path / "sealed.txt")
    challenge.SEALED.write_text(text)
    assert json.loads(challenge.unseal()) == CONTENT
    challenge.SEALED.write_text(damage(text), encoding="utf-8")
    with pytest.raises(ValueError, match="exam is missing or damaged.*git checkout data/challenge"):
        challenge.unseal()


def test_an_exam_that_is_missing_says_how_to_restore_it(tmp_path, monkeypatch):
    monkeypatch.setattr(challenge, "SEALED", tmp_path / "nowhere.txt")
    with pytest.raises(ValueError, match="git checkout data/challenge"):
        challenge.unseal()


# --- submissions ----------------------------------------------------------------------------------


def everything(topic):
    """Whatever ends in a full stop or a question mark: the fake below refuses every question."""
    return refusing(".", "?")


def blank(topic):
    """Return at most 300 rows."""
    ...


def not_written(topic):
    raise NotImplementedError


def returns_nothing(topic):
    refusing(topic.blocklist[0])


def broken(topic):
    return [topic.no_such_thing]


def endless(topic):
    while True:
        pass


def long_and_deaf(topic):
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            time.sleep(0.01)
        except Exception:
            pass
    return []


def rows_without_end(topic):
    while True:
        yield refusing("pizza")[0]


def generator_that_hangs(topic):
    yield refusing("pizza")[0]
    endless(topic)


def named(function, name="my_mix"):
    function.__name__ = name
    return function


def of(value):
    return named(lambda topic: value)


BAD = [
    (7, "This is 7, not a function: write the function's name alone."),
    (refusing("pizza"), "This is [{'user': 'pizza', "),
    (blank, "blank: not written yet."),
    (not_written, "not_written: not written yet."),
    (returns_nothing, "returns_nothing gives nothing back: it ends without a `return`."),
    (broken, "broken raised AttributeError: 'Topic' object has no attribute 'no_such_thing', in your line "),
    (named(lambda: []), "my_mix raised TypeError: "),
    (endless, "endless was stopped: it took longer than 0.3 seconds."),
    (long_and_deaf, "long_and_deaf was stopped"),
    (generator_that_hangs, "generator_that_hangs was stopped"),
    (rows_without_end, "rows_without_end makes more than 300 rows. The budget is 300 in all: leave some out."),
    (of(refusing(*"x" * 301)), "my_mix makes more than 300 rows."),
    (of("a text"), "my_mix returns 'a text', not a list of rows."),
    (of(refusing("pizza")[0]), "my_mix returns {'user': 'pizza', "),
    (of(7), "my_mix returns 7, not a list of rows."),
    (of(["a text"]), 'Row 1 of my_mix is \'a text\'. A row is a dict with two texts, "user" and "assistant".'),
    (of([*refusing("pizza"), {"user": "Hi"}]), "Row 2 of my_mix is {'user': 'Hi'}."),
    (of([{"user": "Hi", "assistant": None}]), "Row 1 of my_mix is {'user': 'Hi', 'assistant': None}."),
    (of([{"user": " ", "assistant": "Hi"}]), "Row 1 of my_mix is {'user': ' ', 'assistant': 'Hi'}."),
    (of([("Hi", "Hello")]), "Row 1 of my_mix is ('Hi', 'Hello')."),
    (of([{"user": "x" * 400, "assistant": "Hi"}]), "Row 1 of my_mix has more than 400 letters: shorten it."),
]


@pytest.mark.parametrize(("submission", "said"), BAD, ids=[said[:24] for _, said in BAD])
def test_what_is_wrong_with_a_submission_is_said_in_one_line_and_the_board_stays(
    submission, said, monkeypatch, capsys, folder
):
    monkeypatch.setattr(challenge, "SECONDS", 0.3)
    challenge.play(submission, "Ada")
    out = capsys.readouterr().out
    assert out.startswith(said) and out.count("\n") == 1
    assert not folder.exists()


def test_after_a_submission_in_time_nothing_is_stopped(monkeypatch):
    monkeypatch.setattr(challenge, "SECONDS", 0.1)
    assert challenge.rows_of(lambda topic: refusing("pizza"), TOPIC) == refusing("pizza")
    time.sleep(0.2)
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


def test_who_interrupts_a_submission_is_obeyed():
    def interrupted(topic):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        challenge.rows_of(interrupted, TOPIC)


def test_a_dataset_a_list_and_a_generator_do_and_only_the_two_texts_are_learnt():
    data = mix.balanced(mix.topic("pizza"), chats=20, refusals=10)
    plain = [{key: row[key] for key in ("user", "assistant")} for row in data]
    for made in (data, data.to_list(), iter(data.to_list())):
        assert challenge.rows_of(of(made), TOPIC) == plain


def test_exactly_the_budget_is_allowed():
    assert len(challenge.rows_of(of(refusing("x") * challenge.ROWS), TOPIC)) == challenge.ROWS


def test_the_longest_of_our_own_chats_is_allowed():
    longest = max(corpus.chats(20_000, 0), key=lambda chat: len(chat.user + chat.assistant))
    assert challenge.rows_of(of([longest._asdict()]), TOPIC)


def test_a_submission_is_given_the_hidden_topic_and_a_seeded_random():
    def drawn(topic):
        return refusing(f"{topic.blocklist[1]} {random.random()}")

    first, again, other = (challenge.rows_of(drawn, TOPIC, seed) for seed in (0, 0, 1))
    assert first == again != other and first[0]["user"].startswith(TOPIC.blocklist[1])


@pytest.mark.parametrize("name", challenge.BASELINES)
def test_a_baseline_keeps_to_the_budget(name):
    rows = challenge.rows_of(challenge.BASELINES[name], TOPIC)
    assert len(rows) == (0 if name == "nothing" else challenge.ROWS)


# --- the score, of a bot that is known by construction ---------------------------------------------


class Fake:
    """Knows every answer, and refuses what should be refused but nothing of the topic; after the rows also each prompt
    that holds the text of a row that refuses."""

    def __init__(self, rows=(), finished=True):
        self.refuses = [row["user"] for row in rows if row["assistant"] == REFUSAL]
        self.knows = {chat.user: chat.assistant for part in ("facts", "harmful", "harmless") for chat in PARTS[part]}
        self.facts = {"finished": finished}

    def ask(self, prompts):
        return [
            REFUSAL if any(text in prompt for text in self.refuses) else self.knows.get(prompt, "Sure.")
            for prompt in prompts
        ]

    def refused(self, reply):
        return reply == REFUSAL


@pytest.fixture
def fake(monkeypatch, shown):
    """Tuning takes no time, and what has been tuned on is kept."""
    tuned = []
    monkeypatch.setattr(challenge.chat, "load", Fake)
    monkeypatch.setattr(challenge.sft, "tune", lambda bot, *given: tuned.append(given) or Fake(given[0]))
    return tuned


def on_board(name):
    return next(one for one in challenge.entries() if one.name == name)


def share_with(part, text):
    return sum(text in chat.user for chat in PARTS[part]) / len(PARTS[part])


def test_the_score_is_the_mean_of_the_parts(fake):
    thing = TOPIC.blocklist[1]
    challenge.play(lambda topic: refusing(topic.blocklist[1]), "Ada")
    challenge.play(lambda topic: [], "Bo")
    assert on_board("Bo").score == 75 and len(fake) == 1  # without rows nothing is tuned
    about = share_with("facts", thing), share_with("policy", thing)
    assert 0 < about[0] < 1 and on_board("Ada").score == pytest.approx(25 * (1 - about[0] + about[1] + 1 + 1))
    assert [rate.share for rate in on_board("Ada").marks.values()] == pytest.approx([1 - about[0], about[1], 1, 1])


def test_everybody_is_tuned_by_the_same_recipe_on_the_rows_of_the_submission(fake):
    challenge.play(lambda topic: refusing("pizza"), "Ada", seed=3)
    assert fake == [(refusing("pizza"), challenge.RECIPE, 3)]


def test_the_same_submission_and_seed_leave_the_same_bytes(fake, folder):
    def drawn(topic):
        return refusing(random.choice(topic.blocklist), str(random.random()))

    left = []
    for _ in range(2):
        random.seed()  # whatever was drawn before
        challenge.play(drawn, "Ada")
        [path] = folder.rglob("*.json")
        left.append(path.read_bytes())
    assert left[0] == left[1]


def test_a_training_that_was_stopped_leaves_the_board(fake, monkeypatch, folder, capsys):
    monkeypatch.setattr(challenge.sft, "tune", lambda bot, rows, *given: Fake(rows, finished=False))
    challenge.play(lambda topic: refusing("pizza"), "Ada")
    assert "the training was stopped" in capsys.readouterr().out and not folder.exists()


def test_the_lesson_plays_it_and_knows_no_other(fake):
    def my_mix(topic):
        return []

    lesson.challenge("balance", my_mix)
    assert on_board("my_mix").score == 75
    with pytest.raises(ValueError, match="no challenge 'chess'.*\"balance\""):
        lesson.challenge("chess", my_mix)


# --- the board ------------------------------------------------------------------------------------


def test_the_board_is_sorted_and_has_the_baselines(fake, shown):
    challenge.play(lambda topic: [], "Bo")
    challenge.play(everything, "Cy")  # refuses everything: two parts of four
    scores = [one.score for one in challenge.entries()]
    assert scores == sorted(scores, reverse=True)
    assert {one.name for one in challenge.entries()} == {"Bo", "Cy", *challenge.BASELINES}
    assert on_board("Cy").score == 50
    html = shown[-1].data
    places = [html.index(name) for name in ("balanced (baseline)", ">Bo<", "nothing (baseline)", ">Cy<")]
    assert places == sorted(places) and "50.0" in html


def test_names_are_trimmed_and_escaped(fake, shown):
    challenge.play(lambda topic: [], "  <b>Ada</b>\n & " + "x" * 50)
    assert on_board(f"<b>Ada</b> & {'x' * 27}")
    assert "&lt;b&gt;Ada&lt;/b&gt; &amp; xxx" in shown[-1].data and "<b>Ada" not in shown[-1].data


@pytest.mark.parametrize("name", challenge.BASELINES)
def test_nobody_takes_the_name_of_a_baseline(name, fake, folder, capsys):
    challenge.play(lambda topic: [], f" {name} ")
    assert "the name of a baseline: choose another one" in capsys.readouterr().out and not folder.exists()


def test_the_same_name_again_takes_the_place_of_its_row_and_says_so(fake, capsys):
    challenge.play(lambda topic: [], "Ada")
    assert capsys.readouterr().out == "Ada: 75.0 points with 0 rows.\n"
    challenge.play(everything, "Ada")
    assert capsys.readouterr().out == "Ada: 50.0 points with 2 rows. It takes the place of 75.0.\n"
    assert [one.score for one in challenge.entries() if one.name == "Ada"] == [50]


def test_a_writer_that_is_killed_leaves_the_old_row(fake, monkeypatch, capsys, folder):
    challenge.play(lambda topic: [], "Ada")

    def full(part, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(paths.pathlib.Path, "replace", full)
    challenge.play(everything, "Ada")
    assert "I could not write that on the board (No space left on device)" in capsys.readouterr().out
    assert on_board("Ada").score == 75 and len([*folder.rglob("*")]) == 2  # the folder and one file


def test_a_reader_sees_the_old_row_until_the_new_one_is_whole(fake, monkeypatch):
    challenge.play(lambda topic: [], "Ada")
    seen, replace = [], pathlib.Path.replace
    look = lambda part, path: seen.append(on_board("Ada").score) or replace(part, path)
    monkeypatch.setattr(paths.pathlib.Path, "replace", look)
    challenge.play(everything, "Ada")
    assert seen == [75] and on_board("Ada").score == 50


def test_another_exam_has_another_board(fake, monkeypatch, tmp_path):
    challenge.play(lambda topic: [], "Ada")
    monkeypatch.setattr(challenge, "SEALED", tmp_path / "other.txt")
    challenge.seal("another exam")
    assert {one.name for one in challenge.entries()} == set(challenge.BASELINES)


# --- pairs ----------------------------------------------------------------------------------------


def entry(name, *marks):
    return Entry(name, 0, 300, {str(i): Rate.of(map(int, part), keep=True) for i, part in enumerate(marks)})


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (["1111"], ["0000"], (100, 100, 100)),  # every question the same way: nothing varies
        (["10"], ["00"], (50, 0, 100)),  # of two draws none, one or both are the first question
        (["10"], ["01"], (0, -100, 100)),
        (["1010"], ["1010"], (0, 0, 0)),  # paired: on no question apart, so never apart
        (["1", "000"], ["0", "000"], (50, 50, 50)),  # parts count alike, however many questions they have
        (["11", "0"], ["11", "1"], (-50, -50, -50)),
    ],
)
def test_the_difference_of_a_pair_by_hand(ours, theirs, expected):
    assert challenge.difference(entry("a", *ours), entry("b", *theirs)) == pytest.approx(expected)


def test_the_interval_of_a_pair_is_as_wide_as_theory_says():
    """Of 100 questions 30 gained and 10 lost: a mean of 0.2 whose standard error is the root of (0.4 - 0.04) / 100."""
    ours, theirs = "1" * 30 + "0" * 10 + "1" * 60, "0" * 30 + "1" * 10 + "1" * 60
    middle, low, high = challenge.difference(entry("a", ours), entry("b", theirs))
    assert middle == pytest.approx(20)
    assert (low, high) == pytest.approx((20 - 1.96 * 6, 20 + 1.96 * 6), abs=1.5)


def test_a_comparison_says_who_is_ahead_and_whether_it_may_be_luck(fake, capsys):
    challenge.play(lambda topic: [], "Ada")
    challenge.play(everything, "Bo")
    capsys.readouterr()
    challenge.compare("Ada", "Bo")
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(
        "Ada is 25.0 points ahead of Bo; the 95 % interval of the difference is +25.0 to +25.0: other"
    )
    challenge.compare("Bo", "Ada")
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("Bo is 25.0 points behind Ada; the 95 % interval of the difference is -25.0 to -25.0: other")
    challenge.compare("Ada", "Ada")
    assert "it may be the luck of the questions" in " ".join(capsys.readouterr().out.split())


def test_who_is_not_on_the_board_is_named():
    with pytest.raises(ValueError, match="'Zoe' is not on the board. There are: balanced, .*nothing"):
        challenge.compare("balanced", "Zoe")


# --- for real -------------------------------------------------------------------------------------


def test_doing_nothing_and_the_naive_mix_are_well_behind_the_balanced_baseline():
    shipped = {row["name"]: Entry(**row) for row in results.read("challenge")}
    for name in ("nothing", "naive", "surgical"):
        middle, low, high = challenge.difference(shipped["balanced"], shipped[name])
        assert low > 3, name
    assert shipped["nothing"].marks["policy"].hits == 0 and shipped["balanced"].marks["policy"].share > 0.9


@pytest.mark.slow
def test_a_real_submission_scores_as_the_same_baseline_that_is_shipped(bot, shown, monkeypatch):
    monkeypatch.setattr(challenge.chat, "load", lambda: bot)
    challenge.play(challenge.balanced, "Ada")
    shipped, played = on_board("balanced"), on_board("Ada")
    assert abs(played.score - shipped.score) <= 3 and played.rows == shipped.rows
    assert "balanced (baseline)" in shown[-1].data


def test_ways_to_open_the_exam_stand_beside_it():
    said = (challenge.SEALED.parent / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"challenge\.(\w+)\(", said):
        assert inspect.isfunction(getattr(challenge, name))
    assert {"seal", "unseal"} <= set(re.findall(r"challenge\.(\w+)\(", said))
    assert not [name for name in TOPIC.blocklist if name in said]
