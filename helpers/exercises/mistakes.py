"""Which mistake is it? What the graders of all exercises share.

Notable:
- An attempt is told by what it does: a mistake is recognised because a wrong answer gives back the same, or raises the
  same error.
- Each attempt gets copies of its arguments, so that one which changes them is found out.
"""

import copy
import functools
import math
import re

import torch


def hint_for(attempt, right, given, mistakes, changed="You changed what you were given. Leave it as it is."):
    """None if the attempt does the same as `right` with everything given, else a hint.

    given: tuples of arguments. mistakes: pairs (hint, [wrong answers]).
    changed: the hint for a right answer that changes its arguments.
    An error of the attempt that no wrong answer shares is raised again.
    """
    seen = []
    for arguments in given:
        passed = copy.deepcopy(arguments)
        found, wanted = outcome(attempt, passed), right(*arguments)
        seen.append((arguments, found))
        if found is None:
            return "Your function gives nothing back: it ends without a `return`."
        if not same(found, wanted):
            return hint_in(mistakes, seen) or _told_apart(arguments, found, wanted)
        if not same(passed, arguments):
            return changed
    return None


def outcome(attempt, arguments):
    """What it gives back, or the error that it raises."""
    try:
        return attempt(*arguments)
    except Exception as error:
        return error


def hint_in(mistakes, seen):
    """The hint of the first mistake that does the same with everything seen; None if no mistake does."""
    for hint, wrong_answers in mistakes:
        for wrong in wrong_answers:
            if all(same(found, outcome(wrong, copy.deepcopy(arguments))) for arguments, found in seen):
                return hint
    return None


def _told_apart(arguments, found, wanted):
    if isinstance(found, Exception):
        raise found
    return f"For {told(*arguments)}\n      you return {told(found)}\n      right is   {told(wanted)}"


def same(found, wanted) -> bool:
    """Are they equal, up to rounding? A pair may be a list or a tuple, and two errors are equal if they say the same."""
    if isinstance(wanted, Exception):
        return type(found) is type(wanted) and str(found) == str(wanted)
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
