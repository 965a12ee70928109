"""The exercises, two a notebook, each with all that is said about it: `nb01` to `nb09`.

Notable:
- In `nbNN` three things stand together: the solution `<name>`, `mistakes_<name>`, which are pairs (hint, [wrong
  answers]), and `grade_<name>(attempt)`, which gives None if the attempt is right, else the hint for its mistake. Of a
  hint that the grader words itself the beginning is enough.
- Nobody keeps a list: whoever writes another `grade_<name>` into such a module has added an exercise.
- A solution uses no names but its own and those of a notebook's bootstrap, so that what `lesson.solution` prints can be
  pasted there as it is.
- Graders go by what an attempt does, never by how it is written. What they share is in `mistakes`.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable
from typing import NamedTuple


class Exercise(NamedTuple):
    notebook: str  # "01"
    solution: Callable
    grade: Callable  # attempt -> None or a hint
    mistakes: list  # (hint, [wrong answers])


def found() -> dict[str, Exercise]:
    """Every exercise by its name, in the order of the notebooks."""
    exercises = {}
    for notebook, module in _modules():
        for graded in filter(re.compile("grade_").match, vars(module)):
            name = graded.removeprefix("grade_")
            parts = (getattr(module, part) for part in (name, graded, f"mistakes_{name}"))
            exercises[name] = Exercise(notebook, *parts)
    return exercises


def _modules():
    """(number, module) of each `nbNN` in this folder."""
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        if number := re.fullmatch(r"nb(\d\d)", name):
            yield number[1], importlib.import_module(f"{__name__}.{name}")
