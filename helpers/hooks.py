"""Reading and changing what flows between the parts of a model, and leaving no trace.

Notable:
- Every context manager removes its hooks, also after an exception.
"""

import contextlib
import functools
import itertools

from torch import nn


@contextlib.contextmanager
def removed_after(handles):
    """Within `with`: these hooks are on. Afterwards they are gone, also after an exception."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def on_input(part: nn.Module, change):
    """From now on the part reads change(x) where it would read x, the first thing it is given. Returns the handle."""

    def hook(module, args, kwargs):
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

    return part.register_forward_pre_hook(hook, with_kwargs=True)


def on_output(part: nn.Module, change):
    """From now on the part gives change(x) where it would give the tensor x. Returns the handle."""
    return part.register_forward_hook(lambda module, args, out: change(out))


def noting_input(part: nn.Module, note):
    """From now on note(x) is called with what the part reads, which stays as it is. Returns the handle."""

    def unchanged(x):
        note(x)
        return x

    return on_input(part, unchanged)


def left_on(model: nn.Module) -> bool:
    """Is any hook on the model that did not come with its library?"""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooks = [hook for part in model.modules() for kind in kinds for hook in getattr(part, kind).values()]
    return any(not getattr(hook, "__module__", "").startswith(("transformers.", "accelerate.")) for hook in hooks)


def recording(parts, into: list):
    """From now on what the parts give is appended to `into`, one list a part. Returns the handles."""
    into[:] = [[] for _ in parts]
    pairs = zip(parts, into, strict=True)
    return [part.register_forward_hook(lambda m, args, out, kept=kept: kept.append(out)) for part, kept in pairs]


@contextlib.contextmanager
def replayed(parts, records):
    """Within `with`: the parts give, call by call and over and over, what has been recorded, and compute nothing."""
    for part, kept in zip(parts, records, strict=True):
        part.forward = functools.partial(_next, itertools.cycle(kept))
    try:
        yield
    finally:
        for part in parts:
            del part.forward  # the method of its class stands again


def _next(calls, *args, **kwargs):
    return next(calls)
