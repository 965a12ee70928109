"""What a learner hands in to be checked: its name, whether it is blank, and where in it an error arose.

Notable:
- Anything may be handed in: functions, partials and objects that can be called, but a number as well.
- The learner's own code is every function of the notebook in which the attempt is written, whichever cell it stands in.
"""

import dis
import functools
import inspect
import linecache


def name_of(attempt) -> str | None:
    """The name of a function, or of the class of another thing that can be called; None if it cannot."""
    named = _without_partial(attempt)
    return getattr(named, "__name__", type(named).__name__) if callable(named) else None


def is_blank(attempt) -> bool:
    """Is there nothing in its body but `...`, `pass` or a docstring?"""
    function = _function_in(attempt)
    code = getattr(function, "__code__", None)
    stubs = (_stub.__code__.co_code, _bare_stub.__code__.co_code)
    return bool(code) and code.co_code in stubs and set(code.co_consts) <= {function.__doc__, None}


def says_not_written(error: Exception, attempt) -> bool:
    """Does the learner's own code say `raise NotImplementedError`? (torch raises it too, for what it cannot add up.)"""
    own = _own_steps(error, attempt)
    if not isinstance(error, NotImplementedError) or not own or own[-1].tb_next:
        return False
    return dis.opname[own[-1].tb_frame.f_code.co_code[own[-1].tb_lasti]] == "RAISE_VARARGS"


def own_line(error: Exception, attempt) -> str:
    """The last line of the learner's own that led to the error, "line 3: return words + phrase"; "" if there is none."""
    own = _own_steps(error, attempt)
    if not own:
        return ""
    number = own[-1].tb_lineno
    text = linecache.getline(own[-1].tb_frame.f_code.co_filename, number).strip()
    return f"line {number}: {text}" if text else f"line {number}"


def _own_steps(error, attempt) -> list:
    """The steps of the traceback that are in the learner's own code."""
    namespace, step, own = getattr(_function_in(attempt), "__globals__", None), error.__traceback__, []
    while step:
        if step.tb_frame.f_globals is namespace:
            own.append(step)
        step = step.tb_next
    return own


def _without_partial(attempt):
    while isinstance(attempt, functools.partial):
        attempt = attempt.func
    return attempt


def _function_in(attempt):
    """What runs in the end: the function inside partials and decorators; of an object its `__call__`."""
    inner = inspect.unwrap(_without_partial(attempt))
    return inner if hasattr(inner, "__code__") else type(inner).__call__


def _stub():
    """A function that was left blank."""
    ...


def _bare_stub(): ...
