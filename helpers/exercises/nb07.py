"""Exercises of notebook 07: the difference in means, and a hook that removes a direction."""

import torch

from .mistakes import hint_for, hint_if, hint_in


def difference_in_means(refused, answered):
    return refused.mean(0) - answered.mean(0)


def normalised(refused, answered):
    vector = difference_in_means(refused, answered)
    return vector / vector.norm()


mistakes_difference_in_means = [
    (
        "It points the other way: from refused to answered. We want refused minus answered.",
        [lambda refused, answered: difference_in_means(answered, refused)],
    ),
    (
        "You normalised it. Its length says how far the piles are apart: keep it.",
        [normalised],
    ),
    (
        "You averaged over the width, and got one number a prompt. Average over the prompts: that is axis 0.",
        [lambda refused, answered: refused.mean(1) - answered.mean(1)],
    ),
    (
        "Those are sums, which grow with the number of prompts. Take means.",
        [lambda refused, answered: refused.sum(0) - answered.sum(0)],
    ),
    (
        "You averaged over everything, and one number is left. Average over the prompts only: that is axis 0.",
        [lambda refused, answered: refused.mean() - answered.mean()],
    ),
    (
        "That is the mean of one pile. What all prompts share is in it too: subtract the mean of the other pile.",
        [lambda refused, answered: refused.mean(0)],
    ),
    (
        "The piles may differ in size, so their prompts cannot be subtracted one by one. Average each pile first.",
        [
            lambda refused, answered: (refused - answered).mean(0),
            lambda refused, answered: -(answered - refused).mean(0),
        ],
    ),
]


def grade_difference_in_means(attempt):
    refused = torch.tensor([[4.0, 1.0, 0.0], [2.0, 1.0, 2.0], [3.0, 5.0, 1.0], [3.0, 1.0, 5.0]])
    answered = torch.tensor([[1.0, 0.0, 1.0], [1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [2.0, 1.0, 3.0]])
    given = [(refused, answered), (refused, answered[:2])]
    changed = "You changed the activations you were given (-= does that). Make a new tensor."
    return hint_for(attempt, difference_in_means, given, mistakes_difference_in_means, changed)


# --- a hook that removes a direction --------------------------------------------------------------


def removing(d):
    unit = d / d.norm()

    def hook(module, args, out):
        return out - (out @ unit)[..., None] * unit

    return hook


def hooking(change):
    """What `removing` would be if it did `change(out, d)`."""
    return lambda d: lambda module, args, out: change(out, d)


def removed(x, d):
    return removing(d)(None, (), x)


def part(x, d):
    return x - removed(x, d)


mistakes_removing = [
    (
        "You forgot to normalise: divide d by its norm first, or far too much is taken away.",
        [hooking(lambda x, d: x - (x @ d)[..., None] * d)],
    ),
    (
        "You subtract the same vector everywhere. Take away only what `out` has of it: (out @ unit) times unit.",
        [hooking(lambda x, d: x - d), hooking(lambda x, d: x - d / d.norm())],
    ),
    (
        "Your hook returns the part along d. We want the rest: out minus that part.",
        [hooking(part)],
    ),
    (
        "You added the part along d instead of taking it away.",
        [hooking(lambda x, d: x + part(x, d))],
    ),
    (
        "It works for a matrix only. `out` may have more axes: write [..., None], not [:, None].",
        [
            hooking(lambda x, d: x - (x @ (d / d.norm()))[:, None] * (d / d.norm())),
            hooking(lambda x, d: x - (x @ (d / d.norm())).reshape(-1, 1) * (d / d.norm())),
            hooking(lambda x, d: x - torch.outer(x @ (d / d.norm()), d / d.norm())),
        ],
    ),
    (
        "You clean what the module was *given*, args[0]. Clean what it gives: `out`.",
        [lambda d: lambda module, args, out: removed(args[0], d)],
    ),
    (
        "Your hook gives nothing back, and then PyTorch leaves `out` as it was. End the hook with a `return`.",
        [lambda d: lambda module, args, out: None],
    ),
    (
        "`removing` must give back the hook itself, a function that PyTorch calls later: end with `return hook`.",
        [lambda d: None, lambda d: d / d.norm()],
    ),
]


@hint_if(TypeError, "PyTorch calls your hook with three arguments: hook(module, args, out).", "positional argument")
def grade_removing(attempt):
    d = torch.tensor([3.0, 4.0])
    x = torch.tensor([[5.0, 0.0], [1.0, 2.0], [-4.0, 3.0]])
    deep = torch.stack([x[:2], x[1:]])  # (prompt, token, width)
    if not callable(attempt(d.clone())):
        return mistakes_removing[-1][0]
    found = hooked(attempt)(x.clone(), d.clone())
    if found is None:
        return mistakes_removing[-2][0]
    if not isinstance(found, torch.Tensor):
        return f"Your hook returns {type(found).__name__}, not a tensor."
    if found.shape != x.shape:
        return f"The shape changed from {tuple(x.shape)} to {tuple(found.shape)}. Give the projection a last axis: [..., None]."
    mistakes = [(hint, [hooked(wrong) for wrong in wrongs]) for hint, wrongs in mistakes_removing]
    if not hint_in(mistakes, [((x, d), found)]) and (found.double() @ d.double()).abs().max() > 1e-4:
        return "The result still has a component along d: (result @ d) should be 0 for every row."
    changed = "You changed `out` in place (-= does that). Others may still need it: return a new tensor."
    return hint_for(hooked(attempt), hooked(removing), [(x, d), (deep, d)], mistakes, changed)


def hooked(attempt):
    """x, d -> what a module that gives x gives with the attempt's hook on it. It was given something else."""

    def given(x, d):
        hook = attempt(d)
        return hook(torch.nn.Identity(), (x.flip(0),), x) if callable(hook) else hook

    return given
