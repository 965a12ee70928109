"""Which mistake is it? What the graders of all exercises share.

Notable:
- An attempt is told by what it gives back: a mistake is recognised because a wrong answer gives the same.
- Each attempt gets copies of its arguments, so that one which changes them is found out.
"""

import copy
import functools
import math
import re

import torch


def hint_for(attempt, right, given, mistakes, changed="You changed what you were given. Leave it as it is."):
    """None if the attempt does the same as `right` with everything given, else a hint.

    given: tuples of arguments. mistakes: wrong answers, each with its hint below it (or several with one hint).
    changed: the hint for a right answer that changes its arguments.
    """
    seen = []
    for arguments in given:
        passed = copy.deepcopy(arguments)
        found, wanted = attempt(*passed), right(*arguments)
        seen.append((arguments, found))
        if found is None:
            return "Your function gives nothing back: it ends without a `return`."
        if not same(found, wanted):
            general = f"For {told(*arguments)}\n      you return {told(found)}\n      right is   {told(wanted)}"
            return _hint_below(mistakes, seen) or general
        if not same(passed, arguments):
            return changed
    return None


def _hint_below(mistakes, seen):
    """The hint below the first mistake that does the same with everything seen; None if no mistake does."""
    made = False
    for entry in mistakes:
        if isinstance(entry, str) and made:
            return entry
        made = made or callable(entry) and all(same(found, entry(*arguments)) for arguments, found in seen)
    return None


def same(found, wanted) -> bool:
    """Are they equal, up to rounding? A pair may be a list or a tuple."""
    if isinstance(wanted, torch.Tensor):
        alike = isinstance(found, torch.Tensor) and found.shape == wanted.shape
        return alike and torch.allclose(found.double(), wanted.double(), atol=1e-5)
    if isinstance(wanted, list | tuple):
        return isinstance(found, list | tuple) and len(found) == len(wanted) and all(map(same, found, wanted))
    if isinstance(wanted, int | float):
        try:
            return math.isclose(found, wanted, rel_tol=1e-6, abs_tol=1e-9)
        except (TypeError, ValueError, RuntimeError):  # it is no number
            return False
    return isinstance(found, type(wanted)) and found == wanted


def told(*values) -> str:
    return ", ".join(repr(round(value, 4) if isinstance(value, float) else value) for value in values)


def hint_if(raised, hint, saying=""):
    """Decorates a grader: gives the hint to an attempt that raises this error (with this pattern in its message)."""

    def decorate(grade):
        @functools.wraps(grade)
        def graded(attempt):
            try:
                return grade(attempt)
            except raised as error:
                if re.search(saying, str(error)):
                    return hint
                raise

        return graded

    return decorate
