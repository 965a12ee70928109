"""What makes a notebook a lesson: the doctor, checks, predictions, challenges.

Notable:
- `check` gives back a function that works wherever it can tell which exercise is meant, so that Run All survives
  blank ones. To anything else it says one sentence.
- `compare` sets a prediction beside the measurement; a blank prediction is fine.
- `goal` says how far an open exercise has come: it measures, and knows no one answer.
"""

import importlib.metadata
import inspect
import math
import os
import re
import sys
import textwrap
import traceback

import datasets
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from . import challenge as balance  # `challenge` is a function below
from . import exercises
from .attempt import is_blank, name_of, own_line, says_not_written
from .paths import ASSISTANT, ROOT, cache_folder

# Which versions of a package do. Of one that is not here: those that begin with the same number as the pinned one.
# Nothing is installed over Google Colab's own versions (tests/colab.txt).
KNOWN_TO_DO = {
    "torch": ">=2.6,<3",  # transformers 5 asks for 2.6
    "transformers": ">=5.23,<6",  # older ones have not been tried
    "datasets": ">=5.2,<6",  # neither here
    "tqdm": ">=4.66.3,<5",  # datasets 5 asks for 4.66.3
    "ipywidgets": ">=7.7.1,<9",  # Colab has 7.7.1
    "plotly": ">=5.24.1,<8",  # Colab has 5.24.1
    # Colab has 6.17.1. From 7.0 to 7.3 sliders call back in another thread, and panels show numbers that are not so.
    "ipykernel": ">=6.17.1,!=7.0.*,!=7.1.*,!=7.2.*,!=7.3.*,<8",
}
# torch knows the cores and OMP_NUM_THREADS; JupyterHub and Binder say in CPU_LIMIT how many cores are ours.
TORCH_THREADS = max(1, min(4, torch.get_num_threads(), round(float(os.environ.get("CPU_LIMIT") or 4))))


def doctor() -> None:
    """Say that all is well, or the exact command that repairs it. Also sets the number of threads."""
    torch.set_num_threads(TORCH_THREADS)
    datasets.disable_progress_bars()  # to filter 2,000 rows takes a blink
    problems = [
        *_wrong_python(),
        *_wrong_packages(),
        *_missing_weights(),
    ]
    for problem, remedy in problems:
        print(f"PROBLEM  {problem}\n  REMEDY {remedy}")
    if not problems:
        print(
            f"All is well: Python {sys.version.split()[0]}, torch {torch.__version__}, {torch.get_num_threads()} threads."
        )
        print(f"Results are remembered in {cache_folder()}.")


def _wrong_python():
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        yield f"This is Python {sys.version.split()[0]}.", "Use Python 3.11, 3.12, 3.13 or 3.14."


def _wrong_packages():
    for wanted in requirements((ROOT / "requirements.txt").read_text(encoding="utf-8")):
        if wanted.name == "jupyterlab":  # whatever has opened this notebook will do
            continue
        remedy = f'"{sys.executable}" -m pip install {_in_a_shell(wanted)}'
        try:
            found = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            yield f"The package {wanted.name} is missing.", remedy
            continue
        if not will_do(wanted, found):
            yield f"{wanted.name} is {found}; the series is written for {str(wanted.specifier).lstrip('=')}.", remedy


def requirements(text: str) -> list[Requirement]:
    """The packages that a requirements file asks for on this machine."""
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return [wanted for wanted in found if not wanted.marker or wanted.marker.evaluate()]


def will_do(wanted: Requirement, found: str) -> bool:
    """Is this version of the package known to do?"""
    first_number = re.sub(r"^==(\d+).*", r"==\1.*", str(wanted.specifier))
    known = SpecifierSet(KNOWN_TO_DO.get(wanted.name, first_number))
    try:
        return known.contains(Version(found), prereleases=True)
    except InvalidVersion:
        return False


def _in_a_shell(wanted: Requirement) -> str:
    asked = f"{wanted.name}{wanted.specifier}"
    return f'"{asked}"' if re.search("[<>!]", asked) else asked


def _missing_weights():
    if not (ASSISTANT / "model.safetensors").exists():
        yield "The assistant's weights are missing.", "git checkout data/assistant   (or: python -m helpers.pretrain)"


# --- exercises ------------------------------------------------------------------------------------


def check(attempt):
    """Check an exercise. Prints PASS or what there is to mend, and gives back a function that works either way.

    What is no exercise is given back as it is.
    """
    verdict, exercise = verdict_on(attempt), exercises.found().get(name_of(attempt))
    if verdict is None:
        print(f"PASS  {name_of(attempt)}: the notebook goes on with your function.")
        return attempt
    print(verdict)
    if exercise is None:
        return attempt
    print(f"      The notebook goes on with ours; lesson.solution({name_of(attempt)!r}) shows it.")
    return exercise.solution


def verdict_on(attempt) -> str | None:
    """None if the attempt is right, else what to say."""
    name, known = name_of(attempt), exercises.found()
    if name not in known:
        return f"HINT  {_no_exercise(name, attempt)}"
    if is_blank(attempt):
        return f"TODO  {name}: not written yet."
    try:
        hint = known[name].grade(attempt)
    except Exception as error:  # whatever a learner's function may raise is the learner's to see
        if says_not_written(error, attempt):
            return f"TODO  {name}: not written yet."
        where = own_line(error, attempt)
        said = traceback.format_exception_only(error)[-1].strip()
        hint = f"{name} raised {said}" + (f"\n      in your {where}" if where else "")
    return None if hint is None else f"HINT  {hint}"


def _no_exercise(name, attempt) -> str:
    if name is None:
        this = textwrap.shorten(repr(attempt), 40, placeholder=" …")
        return f"This is {this}, not a function: write the function's name alone, without brackets behind it."
    if name == "<lambda>":
        return "A lambda does not say which exercise it is. Write `def` and the exercise's name."
    return f"There is no exercise called {name!r}. Keep the function's name as it was."


def solution(name: str) -> None:
    """Print the solution of an exercise. Raises ValueError, naming the exercises, if there is none of that name."""
    known = exercises.found()
    if name not in known:
        raise ValueError(f"There is no exercise {name!r}. There are: {', '.join(known)}.")
    print(inspect.getsource(known[name].solution))


def challenge(which: str, submission, name: str = "", seed: int = 0) -> None:
    """Enter a function for a challenge under a name, and show the score board: see the module of that name.

    Raises ValueError if there is no such challenge.
    """
    if which != "balance":
        raise ValueError(f'There is no challenge {which!r}. There is one: "balance".')
    balance.play(submission, name, seed)


# --- predictions ----------------------------------------------------------------------------------


def compare(predicted, measured: float, what: str, unit: str = "%") -> None:
    """Set a prediction beside the measurement: by how much it is off, in which direction, and a question to think about."""
    said = f"Measured: {measured:.3g} {unit} ({what})."
    if predicted is None:
        _say(f"{said} You made no prediction: next time, write a number first. It makes the result stick.")
        return
    try:
        gap = measured - float(predicted)
    except (TypeError, ValueError):
        _say(f"{said} Your prediction {predicted!r} is not a number: write for instance `predicted = 30`.")
        return
    if abs(gap) <= 0.1 * max(abs(measured), 10):
        _say(f"{said} You predicted {float(predicted):g} {unit}: close. What made you expect it?")
    else:
        way = "higher" if gap > 0 else "lower"
        _say(
            f"{said} You predicted {float(predicted):g} {unit}; it is {abs(gap):.3g} {way}. What did you not reckon with?"
        )


def goal(what: str, measured: float, at_least: float = -math.inf, at_most: float = math.inf, unit: str = "%") -> None:
    """For an open exercise: say what was measured, what is wanted, and whether it is reached."""
    bounds = [
        f"{word} {bound:g}" for word, bound in (("at least", at_least), ("at most", at_most)) if math.isfinite(bound)
    ]
    verdict = "REACHED" if at_least <= measured <= at_most else "NOT YET"
    _say(f"{verdict}  {what}: {measured:.3g} {unit}; wanted: {' and '.join(bounds)} {unit}.")


def _say(text):
    """Print in lines that fit a notebook, broken between words."""
    print(textwrap.fill(text, 72))
