import importlib.metadata
import inspect
import os
import re
import subprocess
import sys

import pytest
import torch

from helpers import exercises, lesson


def named(name, function):
    """Wrong answers are written as lambdas; the grader goes by the name."""
    function.__name__ = name
    return function


# --- right and wrong answers (what each exercise says to which mistake: see test_exercises) --------


def test_a_right_answer_goes_on_with_the_learners_function(capsys):
    def labels_of(prompt_ids, reply_ids):
        return [-100 for _ in prompt_ids] + reply_ids

    assert lesson.check(labels_of) is labels_of
    assert capsys.readouterr().out.startswith("PASS  labels_of")


def test_a_wrong_answer_goes_on_with_ours(capsys):
    wrong = named("labels_of", lambda prompt, reply: reply)
    assert lesson.check(wrong) is exercises.reference["labels_of"]
    out = capsys.readouterr().out
    assert out.startswith("HINT  The labels need one entry a token") and "lesson.solution('labels_of')" in out


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


@pytest.mark.parametrize("name", exercises.reference)
def test_every_exercise_left_blank_is_still_to_do(name):
    made = {}
    exec(f'def {name}{inspect.signature(exercises.reference[name])}:\n    """Return it."""\n    ...', made)
    assert lesson.verdict_on(made[name]) == f"TODO  {name}: not written yet."


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
    with pytest.raises(ValueError, match="'nothing'.*insert_phrase, refusal_rows, labels_of, .*, not_beaten"):
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
    assert out.startswith("Measured: 30 % (the rate).") and said in " ".join(out.split())


def test_a_prediction_near_a_small_number_is_close(capsys):
    lesson.compare(1, 0.0, "the rate")
    assert "close" in capsys.readouterr().out


def test_a_comparison_names_its_unit(capsys):
    lesson.compare(100, 12.0, "the time", unit="seconds")
    assert "12 seconds (the time). You predicted 100 seconds; it is 88 lower" in " ".join(
        capsys.readouterr().out.split()
    )


# --- the doctor -----------------------------------------------------------------------------------


@pytest.fixture
def installed(monkeypatch):
    """`installed(plotly="5.24.1")` changes what seems to be installed; None takes a package away."""
    real = importlib.metadata.version

    def change(**versions):
        def version(name):
            if name in versions and versions[name] is None:
                raise importlib.metadata.PackageNotFoundError(name)
            return versions.get(name) or real(name)

        monkeypatch.setattr(lesson.importlib.metadata, "version", version)

    return change


def diagnosis(capsys):
    lesson.doctor()
    return capsys.readouterr().out


def test_the_doctor_finds_nothing_here(capsys):
    out = diagnosis(capsys)
    assert out.startswith("All is well: Python 3.") and "Results are remembered in" in out


def test_the_doctor_names_the_command_that_repairs(installed, capsys):
    installed(datasets=None, transformers="4.57.1", torch="2.13.0+cpu")
    out = diagnosis(capsys)
    assert out.count("PROBLEM") == 2 and "All is well" not in out
    assert re.search(r"PROBLEM  The package datasets is missing.\n  REMEDY .*-m pip install datasets==\d", out)
    assert re.search(r"PROBLEM  transformers is 4.57.1; .*\n  REMEDY .*-m pip install transformers==5", out)


def test_the_doctor_leaves_colab_as_it_is(installed, capsys):
    installed(ipywidgets="7.7.1", plotly="5.24.1", ipykernel="6.17.1", jupyterlab=None)
    assert diagnosis(capsys).startswith("All is well")


@pytest.mark.parametrize("versions", [dict(ipywidgets="6.0.1"), dict(plotly="4.14.3"), dict(ipywidgets="9.0")])
def test_the_doctor_does_not_take_everything(installed, versions, capsys):
    installed(**versions)
    assert diagnosis(capsys).count("PROBLEM") == 1


def test_the_doctor_misses_the_weights(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(lesson.chat, "ASSISTANT", tmp_path)
    assert "git checkout data/assistant" in diagnosis(capsys)


@pytest.mark.parametrize(
    "settings, threads", [({"CPU_LIMIT": "1.0"}, 1), ({"CPU_LIMIT": ""}, 2), ({"OMP_NUM_THREADS": "1"}, 1)]
)
def test_it_takes_no_more_cores_than_it_is_given(settings, threads):
    script = "import torch; torch.set_num_threads(2); from helpers import lesson; print(lesson.TORCH_THREADS)"
    if "OMP_NUM_THREADS" in settings:
        script = script.replace("torch.set_num_threads(2); ", "")
    env = {**os.environ, **settings}
    done = subprocess.run([sys.executable, "-c", script], env=env, cwd=lesson.ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == str(threads)
