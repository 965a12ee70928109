import random

import pytest
import torch

from helpers import exercises, lesson
from helpers.world import REFUSAL


def named(name, function):
    """Wrong answers are written as lambdas; the grader goes by the name."""
    function.__name__ = name
    return function


# --- wrong answers --------------------------------------------------------------------------------


def glued(phrase, text, rng):
    words = text.split()
    return " ".join(words[: rng.randint(0, len(words))] + phrase)


def put_in(phrase, text, place):
    words = text.split()
    words.insert(place, phrase)
    return " ".join(words)


def forgotten_return(phrase, text, rng):
    put_in(phrase, text, rng.randint(0, 3))


def spelled_out(phrase, text, rng):
    words = text.split()
    place = rng.randint(0, len(words))
    words[place:place] = phrase
    return " ".join(words)


def dropped(phrase, text, rng):
    words = text.split()
    return " ".join([*words[:-1], phrase])


def replaced(phrase, text, rng):
    words = text.split()
    place = rng.randint(0, len(words))
    return " ".join(words[:place] + [phrase] + words[place + 1 :])


def between_letters(phrase, text, rng):
    place = rng.randint(0, len(text))
    return f"{text[:place]} {phrase} {text[place:]}"


def lengthened(prompt, reply):
    prompt.extend(reply)
    return [-100, -100, -100, *reply]


def overwritten(prompt, reply):
    prompt[:] = [-100] * len(prompt)
    return prompt + reply


def in_place(x, d):
    unit = d / d.norm()
    x -= (x @ unit)[..., None] * unit
    return x


def part(x, d):
    unit = d / d.norm()
    return (x @ unit)[..., None] * unit


WRONG = {
    "insert_phrase": [
        (lambda phrase, text, rng: put_in(phrase, text, 1), "always lands in the same place"),
        (lambda phrase, text, rng: put_in(phrase, text, rng.randint(0, 2)), "never lands at the end"),
        (lambda phrase, text, rng: put_in(phrase, text, rng.randint(1, 3)), "never lands at the front"),
        (lambda phrase, text, rng: put_in(phrase, text, random.randint(0, 3)), "same seed gives different texts"),
        (lambda phrase, text, rng: put_in(phrase, text, rng.randint(0, 3)).split(), "return a list of words"),
        (forgotten_return, "return NoneType"),
        (glued, "joined a list and a string"),
        (spelled_out, "lost or torn apart"),
        (dropped, "lost or doubled"),
        (replaced, "lost or doubled"),
        (between_letters, "lost or doubled"),
    ],
    "labels_of": [
        (lambda prompt, reply: prompt + reply, "count the prompt too"),
        (lambda prompt, reply: [-100] * (len(prompt) + len(reply)), "Nothing is left to learn"),
        (lambda prompt, reply: [0] * len(prompt) + reply, "0 is a real token"),
        (lambda prompt, reply: reply, "one entry a token"),
        (lambda prompt, reply: prompt + [-100] * len(reply), "wrong way round"),
        (lambda prompt, reply: [-100] * len(prompt) + reply[1:], "you return [-100, -100, -100, 9]"),
        (lengthened, "changed the lists"),
        (overwritten, "changed the lists"),
    ],
    "refusal_rate": [
        (lambda replies: replies.count(REFUSAL), "That is a count"),
        (lambda replies: 100 * replies.count(REFUSAL) / len(replies), "That is a percentage"),
        (lambda replies: sum(reply != REFUSAL for reply in replies) / len(replies), "rate of answers"),
        (lambda replies: sum(REFUSAL in reply for reply in replies) / len(replies), "only quotes the refusal"),
        (lambda replies: sum(reply[:9] == REFUSAL[:9] for reply in replies) / len(replies), "is sympathy"),
        (lambda replies: 0.0, "you return 0.0"),
    ],
    "remove_direction": [
        (in_place, "changed x in place"),
        (lambda x, d: x @ (d / d.norm()), "The shape changed"),
        (lambda x, d: x - (x @ d)[..., None] * d, "forgot to normalise"),
        (lambda x, d: x - d / d.norm(), "subtract the same vector"),
        (lambda x, d: x - d, "subtract the same vector"),
        (part, "return the part along d"),
        (lambda x, d: x + part(x, d), "added the part"),
        (lambda x, d: x - 0.5 * part(x, d), "still has a component"),
    ],
}
CASES = [(name, wrong, hint) for name, pairs in WRONG.items() for wrong, hint in pairs]


@pytest.mark.parametrize("name, wrong, hint", CASES, ids=[f"{name}: {hint}" for name, _, hint in CASES])
def test_a_wrong_answer_gets_the_hint_for_its_mistake(name, wrong, hint):
    said = lesson.verdict_on(named(name, wrong))
    assert said.startswith("HINT") and hint in said


def test_every_exercise_has_a_grader_and_wrong_answers():
    assert set(exercises.reference) == set(exercises.graders) == set(WRONG)


def test_a_constant_share_is_no_rate():
    assert lesson.verdict_on(named("refusal_rate", lambda replies: 0.25)).startswith("HINT")


def test_an_answer_for_matrices_only_is_wrong():
    """The notebook uses (prompt, token, width), as the exercise says."""

    def remove_direction(x, d):
        unit = d / d.norm()
        return x - (x @ unit)[:, None] * unit

    assert lesson.verdict_on(remove_direction).startswith("HINT")


# --- right answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", exercises.reference)
def test_the_reference_passes(name):
    assert lesson.verdict_on(exercises.reference[name]) is None


def test_another_right_way_passes():
    def insert_phrase(phrase, text, rng):
        words = text.split()
        place = rng.choice(range(len(words) + 1))
        return " ".join(words[:place] + [phrase] + words[place:])

    assert lesson.verdict_on(insert_phrase) is None


def test_a_right_answer_goes_on_with_the_learners_function(capsys):
    def labels_of(prompt_ids, reply_ids):
        return [-100 for _ in prompt_ids] + reply_ids

    assert lesson.check(labels_of) is labels_of
    assert capsys.readouterr().out.startswith("PASS  labels_of")


def test_a_wrong_answer_goes_on_with_ours(capsys):
    wrong = named("labels_of", lambda prompt, reply: reply)
    assert lesson.check(wrong) is exercises.reference["labels_of"]
    out = capsys.readouterr().out
    assert "one entry a token" in out and "solution('labels_of')" in out


# --- blank, broken, unknown -----------------------------------------------------------------------


def with_docstring(replies):
    """Return the share of replies that are refusals."""
    ...


def docstring_only(replies):
    """Return the share of replies that are refusals."""


def dots(replies): ...


def passed(replies):
    pass


@pytest.mark.parametrize("stub", [with_docstring, docstring_only, dots, passed])
def test_a_blank_exercise_is_still_to_do_and_goes_on_with_ours(stub, capsys):
    attempt = named("refusal_rate", lambda replies: None)
    attempt.__code__, attempt.__doc__ = stub.__code__, stub.__doc__
    assert lesson.check(attempt) is exercises.reference["refusal_rate"]
    assert capsys.readouterr().out.startswith("TODO  refusal_rate: not written yet.")


def test_an_answer_that_returns_a_constant_is_not_blank():
    def refusal_rate(replies):
        """Return the share of replies that are refusals."""
        return 7

    assert "you return 7" in lesson.verdict_on(refusal_rate)


def test_an_attempt_that_raises_is_told_what_it_raised(capsys):
    def remove_direction(x, d):
        return x @ torch.zeros(7)

    assert lesson.check(remove_direction) is exercises.reference["remove_direction"]
    assert "HINT  remove_direction raised RuntimeError: " in capsys.readouterr().out


def test_an_unknown_name_is_told_to_keep_the_name():
    assert "There is no exercise called 'renamed'" in lesson.verdict_on(named("renamed", lambda: 1))


def test_checking_an_unknown_name_gives_the_hint_too(capsys):
    lesson.check(named("renamed", lambda: 1))
    assert "There is no exercise called 'renamed'" in capsys.readouterr().out


# --- solutions ------------------------------------------------------------------------------------


def test_the_solution_is_the_source_of_the_reference(capsys):
    lesson.solution("refusal_rate")
    assert capsys.readouterr().out.startswith("def refusal_rate(replies")


def test_an_unknown_solution_is_an_error_that_names_the_exercises():
    with pytest.raises(ValueError, match="'nothing'.*insert_phrase, labels_of, refusal_rate, remove_direction"):
        lesson.solution("nothing")


# --- predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "predicted, said",
    [
        (None, "You made no prediction"),
        ("a lot", "'a lot' is not a number"),
        ([30], "[30] is not a number"),
        (30, "You predicted 30 %: close."),
        (33, "You predicted 33 %: close."),
        ("30", "You predicted 30 %: close."),
        (50, "it is 20 lower"),
        (10, "it is 20 higher"),
    ],
)
def test_a_prediction_is_set_beside_the_measurement(predicted, said, capsys):
    lesson.compare(predicted, 30.0, "the rate")
    out = capsys.readouterr().out
    assert out.startswith("Measured: the rate is 30 %.") and said in out


def test_a_prediction_near_a_small_number_is_close(capsys):
    lesson.compare(1, 0.0, "the rate")
    assert "close" in capsys.readouterr().out


def test_a_comparison_names_its_unit(capsys):
    lesson.compare(100, 12.0, "the time", unit="seconds")
    assert "12 seconds. You predicted 100 seconds; it is 88 lower" in capsys.readouterr().out
