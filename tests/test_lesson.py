import functools
import importlib.metadata
import inspect
import math
import os
import re
import subprocess
import sys

import pytest
import torch
from IPython.core.compilerop import CachingCompiler
from packaging.requirements import Requirement

from helpers import exercises, lesson
from helpers.world import REFUSAL

EXERCISES = exercises.found()


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
    assert lesson.check(wrong) is EXERCISES["labels_of"].solution
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


def not_implemented(replies):
    raise NotImplementedError


def not_implemented_with_docstring(replies):
    """Return the share of replies that are refusals."""
    raise NotImplementedError()


def not_implemented_with_a_message(replies):
    """Return the share of replies that are refusals."""
    raise NotImplementedError(f"count the {len(replies)} replies")


STUBS = [with_docstring, docstring_only, dots, passed]
STUBS += [not_implemented, not_implemented_with_docstring, not_implemented_with_a_message]


@pytest.mark.parametrize("stub", STUBS, ids=lambda stub: stub.__name__)
def test_a_blank_exercise_is_still_to_do_and_goes_on_with_ours(stub, capsys):
    attempt = named("refusal_rate", lambda replies: None)
    attempt.__code__, attempt.__doc__ = stub.__code__, stub.__doc__
    assert lesson.check(attempt) is EXERCISES["refusal_rate"].solution
    assert capsys.readouterr().out.startswith("TODO  refusal_rate: not written yet.")


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("body", ["...", "pass", "raise NotImplementedError", "raise NotImplementedError('later')"])
def test_every_exercise_left_blank_is_still_to_do(name, body):
    made = {}
    signature = inspect.signature(EXERCISES[name].solution)
    exec(f'def {name}{signature}:\n    """Return it."""\n    {body}', made)
    assert lesson.verdict_on(made[name]) == f"TODO  {name}: not written yet."


def test_what_a_library_has_not_implemented_is_no_blank():
    def difference_in_means(refused, answered):
        return torch.nn.Module()(refused)

    assert "difference_in_means raised NotImplementedError: " in lesson.verdict_on(difference_in_means)


def test_an_answer_that_returns_a_constant_is_not_blank():
    def refusal_rate(replies):
        """Return the share of replies that are refusals."""
        return 7

    assert "you return 7" in lesson.verdict_on(refusal_rate)


def test_an_attempt_that_raises_is_told_what_it_raised(capsys):
    def difference_in_means(refused, answered):
        return refused @ torch.zeros(7)

    assert lesson.check(difference_in_means) is EXERCISES["difference_in_means"].solution
    assert "HINT  difference_in_means raised RuntimeError: " in capsys.readouterr().out


CELL = """
def place_of(phrase, words):
    return words.index(phrase)

def {name}(prompt):
    words = prompt.split()
    return [place_of(word + "s", words) for word in words]
"""


def from_a_cell(source, name):
    """The function of that name in a cell, compiled as a notebook does it."""
    compiler, namespace = CachingCompiler(), {}
    exec(compiler(source, compiler.cache(source), "exec"), namespace)
    return namespace[name]


def test_an_error_is_shown_with_the_line_of_the_cell():
    said = lesson.verdict_on(from_a_cell(CELL.format(name="shortened"), "shortened"))
    assert said.startswith("HINT  shortened raised ValueError: 'dids' is not in list\n")
    assert said.endswith("      in your line 3: return words.index(phrase)")


def test_the_line_is_the_learners_where_a_library_or_a_helper_raises():
    source = "import statistics\ndef bypass_rate(refused, correct):\n    return statistics.mean([])\n"
    assert lesson.verdict_on(from_a_cell(source, "bypass_rate")).endswith("in your line 3: return statistics.mean([])")
    source = (
        "from helpers import mix\ndef insert_phrase(phrase, text, rng):\n    return mix.insert(phrase, None, rng)\n"
    )
    said = lesson.verdict_on(from_a_cell(source, "insert_phrase"))
    assert said.endswith("in your line 3: return mix.insert(phrase, None, rng)")


def test_without_its_source_an_error_is_shown_with_the_number_of_the_line():
    made = {}
    exec(CELL.format(name="shortened"), made)
    assert lesson.verdict_on(made["shortened"]).endswith("'dids' is not in list\n      in your line 3")


def test_an_error_before_the_first_line_has_none():
    said = lesson.verdict_on(named("shortened", lambda: []))
    assert said.startswith("HINT  shortened raised TypeError: ") and "in your line" not in said


def test_an_error_that_says_nothing_is_shown_by_its_name():
    def shortened(prompt):
        raise ValueError

    assert lesson.verdict_on(shortened).splitlines()[0] == "HINT  shortened raised ValueError"


# --- what is no exercise, or no function ----------------------------------------------------------


class Counter:
    def __call__(self, replies):
        return 0.0


@pytest.mark.parametrize(
    "thing, said",
    [
        (0.5, "This is 0.5, not a function"),
        (None, "This is None, not a function"),
        ([[1, 2]], "This is [[1, 2]], not a function"),
        (torch.zeros(9, 9), "0., 0., …, not a function"),
        (print, "There is no exercise called 'print'"),
        (Counter, "There is no exercise called 'Counter'"),
        (Counter(), "There is no exercise called 'Counter'"),
        (functools.partial(print, end=""), "There is no exercise called 'print'"),
        (lambda replies: 0.0, "A lambda does not say which exercise it is"),
        (functools.partial(lambda replies: 0.0), "A lambda does not say which exercise it is"),
        (named("renamed", lambda: 1), "There is no exercise called 'renamed'. Keep the function's name as it was."),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_exercise_is_told_so_and_given_back(thing, said, capsys):
    assert lesson.check(thing) is thing
    out = capsys.readouterr().out
    assert said in out and len(out.splitlines()) == 1 and "lesson.solution" not in out


class refusal_rate:
    def __init__(self, strip):
        self.strip = strip

    def __call__(self, replies):
        return sum((reply.strip() if self.strip else reply) == REFUSAL for reply in replies) / len(replies)


def labels_of(ignore, prompt_ids, reply_ids):
    return [ignore] * len(prompt_ids) + reply_ids


def unchanged(function):
    return functools.wraps(function)(lambda *given: function(*given))


def test_whatever_can_be_called_is_checked_by_the_name_inside():
    for right in (
        refusal_rate(strip=True),
        functools.partial(labels_of, -100),
        functools.cache(EXERCISES["shortened"].solution),
    ):
        assert lesson.check(right) is right
    for wrong in (refusal_rate(strip=False), functools.partial(labels_of, 0)):
        assert lesson.check(wrong) is EXERCISES[lesson.name_of(wrong)].solution
    for blank in (functools.partial(named("auc", lambda: None), 0), unchanged(named("auc", lambda *given: None))):
        assert lesson.verdict_on(blank) == "TODO  auc: not written yet."


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


@pytest.mark.parametrize(
    "versions",
    [
        dict(ipywidgets="6.0.1"),
        dict(ipywidgets="7.6.5"),
        dict(ipywidgets="9.0"),
        dict(plotly="4.14.3"),
        dict(plotly="5.0.0"),
        dict(torch="2.5.1+cu121"),
        dict(transformers="5.22.1"),
        dict(datasets="5.1.0"),
        dict(ipykernel="7.0.0"),  # a slider's callback in another thread: 3.3 % was shown in place of 98.3 %
        dict(ipykernel="7.3.1"),
        dict(ipykernel="6.0.0"),
        dict(tqdm="of my own"),
    ],
    ids=str,
)
def test_the_doctor_does_not_take_everything(installed, versions, capsys):
    installed(**versions)
    assert diagnosis(capsys).count("PROBLEM") == 1


@pytest.mark.parametrize(
    "versions",
    [
        dict(ipykernel="6.29.5"),
        dict(ipykernel="7.4.0"),
        dict(torch="2.14.0.dev1"),
        dict(transformers="5.23.0"),
        dict(transformers="5.30.1"),
        dict(datasets="5.2.0"),
        dict(datasets="5.3.0"),
    ],
)
def test_the_doctor_takes_what_is_known_to_do(installed, versions, capsys):
    installed(**versions)
    assert diagnosis(capsys).startswith("All is well")


REQUIREMENTS = """\
# what the series needs

torch==2.13.0   # the pins
-r more.txt
packaging >= 22, <100
pandas[excel]>=2.2
tqdm==4.70.1 ; python_version < "3"
datasets==5.*
"""


def test_requirements_may_have_comments_ranges_and_markers():
    wanted = {str(wanted.name): str(wanted.specifier) for wanted in lesson.requirements(REQUIREMENTS)}
    assert wanted == {"torch": "==2.13.0", "packaging": "<100,>=22", "pandas": ">=2.2", "datasets": "==5.*"}


@pytest.mark.parametrize(
    "wanted, found, will_do",
    [
        ("pandas>=2.2", "3.0.1", True),
        ("pandas>=2.2", "2.1.4", False),
        ("pandas==2.2.1", "2.9", True),
        ("pandas==2.2.1", "3.0.0rc1", False),
        ("pandas==2.*", "2.0.3", True),
        ("pandas", "0.1", True),
    ],
)
def test_a_range_says_itself_what_will_do_and_a_pin_by_its_first_number(wanted, found, will_do):
    assert lesson.will_do(Requirement(wanted), found) is will_do


def test_the_doctor_quotes_a_range_for_the_shell(monkeypatch, tmp_path, capsys):
    (tmp_path / "requirements.txt").write_text("no-such-package>=2.2\n")
    monkeypatch.setattr(lesson, "ROOT", tmp_path)
    assert '-m pip install "no-such-package>=2.2"' in diagnosis(capsys)


def test_our_own_pins_are_known_to_do():
    for wanted in lesson.requirements((lesson.ROOT / "requirements.txt").read_text(encoding="utf-8")):
        assert all(lesson.will_do(wanted, part.version) for part in wanted.specifier if part.operator == "==")


def test_the_doctor_misses_the_weights(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(lesson, "ASSISTANT", tmp_path)
    assert "git checkout data/assistant" in diagnosis(capsys)


@pytest.mark.slow
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


# --- open exercises -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bounds, said",
    [
        (dict(at_least=90), "REACHED  topic answered: 90 %; wanted: at least 90 %."),
        (dict(at_least=90.5), "NOT YET  topic answered: 90 %; wanted: at least 90.5 %."),
        (dict(at_most=90), "REACHED  topic answered: 90 %; wanted: at most 90 %."),
        (dict(at_most=0), "NOT YET  topic answered: 90 %; wanted: at most 0 %."),
        (dict(at_least=10, at_most=95), "REACHED  topic answered: 90 %; wanted: at least 10 and at most 95 %."),
    ],
)
def test_a_goal_says_what_was_measured_and_what_is_wanted(bounds, said, capsys):
    lesson.goal("topic answered", 90.0, **bounds)
    assert capsys.readouterr().out.split() == said.split()


def test_what_could_not_be_measured_has_not_reached_its_goal(capsys):
    lesson.goal("topic answered", math.nan, at_least=0)
    assert capsys.readouterr().out.startswith("NOT YET")
