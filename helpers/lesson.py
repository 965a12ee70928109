"""What makes a notebook a lesson: the doctor, checks, predictions.

Notable:
- `check` always gives back a function that works, so that Run All survives blank exercises.
- `compare` sets a prediction beside the measurement; a blank prediction is fine.
"""

import importlib.metadata
import inspect
import os
import sys
import textwrap

import datasets
import torch

from . import exercises, hints
from .paths import ASSISTANT, ROOT, cache_folder

# Google Colab's own versions: older than the pins, and known to do (tests/colab.txt). Nothing is installed over them.
OLDER = {"ipywidgets": 7, "plotly": 5, "ipykernel": 6}
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
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        name, _, wanted = line.partition("==")
        if name == "jupyterlab" or not wanted:  # whatever has opened this notebook will do
            continue
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield f"The package {name} is missing.", f'"{sys.executable}" -m pip install {name}=={wanted}'
            continue
        major = int(wanted.split(".")[0])
        if not OLDER.get(name, major) <= int(found.split(".")[0]) <= major:
            yield (
                f"{name} is {found}; the series is written for {wanted}.",
                f'"{sys.executable}" -m pip install {name}=={wanted}',
            )


def _missing_weights():
    if not (ASSISTANT / "model.safetensors").exists():
        yield "The assistant's weights are missing.", "git checkout data/assistant   (or: python -m helpers.pretrain)"


# --- exercises ------------------------------------------------------------------------------------


def check(attempt):
    """Check an exercise. Prints PASS or the hint for the mistake, and returns a function that works either way."""
    name = attempt.__name__
    ours = exercises.reference.get(name, attempt)
    verdict = verdict_on(attempt)
    if verdict is None:
        print(f"PASS  {name}: the notebook goes on with your function.")
        return attempt
    print(f"{verdict}\n      The notebook goes on with ours; lesson.solution({name!r}) shows it.")
    return ours


def verdict_on(attempt) -> str | None:
    """None if the attempt is right, else what to say."""
    name = attempt.__name__
    if name not in hints.graders:
        return f"HINT  There is no exercise called {name!r}. Keep the function's name as it was."
    if _blank(attempt):
        return f"TODO  {name}: not written yet."
    try:
        hint = hints.graders[name](attempt)
    except Exception as error:  # whatever a learner's function may raise is the learner's to see
        return f"HINT  {name} raised {type(error).__name__}: {error}"
    return None if hint is None else f"HINT  {hint}"


def _stub():
    """A function that was left blank."""
    ...


def _bare_stub(): ...


def _blank(attempt) -> bool:
    code = attempt.__code__
    stubs = (_stub.__code__.co_code, _bare_stub.__code__.co_code)
    return code.co_code in stubs and set(code.co_consts) <= {attempt.__doc__, None}


def solution(name: str) -> None:
    """Print the solution of an exercise. Raises ValueError, naming the exercises, if there is none of that name."""
    if name not in exercises.reference:
        raise ValueError(f"There is no exercise {name!r}. There are: {', '.join(exercises.reference)}.")
    print(inspect.getsource(exercises.reference[name]))


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


def _say(text):
    """Print in lines that fit a notebook, broken between words."""
    print(textwrap.fill(text, 72))
