"""Exercises of notebook 07: the difference in means, and removing a direction."""

import torch

from .mistakes import hint_for, hint_in


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


# --- remove a direction ---------------------------------------------------------------------------


def remove_direction(x, d):
    unit = d / d.norm()
    return x - (x @ unit)[..., None] * unit


def part(x, d):
    return x - remove_direction(x, d)


mistakes_remove_direction = [
    (
        "You forgot to normalise: divide d by its norm first, or far too much is taken away.",
        [lambda x, d: x - (x @ d)[..., None] * d],
    ),
    (
        "You subtract the same vector everywhere. Take away only what x has of it: (x @ unit) times unit.",
        [lambda x, d: x - d, lambda x, d: x - d / d.norm()],
    ),
    (
        "You return the part along d. We want the rest: x minus that part.",
        [part],
    ),
    (
        "You added the part along d instead of taking it away.",
        [lambda x, d: x + part(x, d)],
    ),
    (
        "It works for a matrix only. x may have more axes: write [..., None], not [:, None].",
        [
            lambda x, d: x - (x @ (d / d.norm()))[:, None] * (d / d.norm()),
            lambda x, d: x - (x @ (d / d.norm())).reshape(-1, 1) * (d / d.norm()),
            lambda x, d: x - torch.outer(x @ (d / d.norm()), d / d.norm()),
        ],
    ),
]


def grade_remove_direction(attempt):
    d = torch.tensor([3.0, 4.0])
    x = torch.tensor([[5.0, 0.0], [1.0, 2.0], [-4.0, 3.0]])
    deep = torch.stack([x[:2], x[1:]])  # (prompt, token, width)
    found = attempt(x.clone(), d)
    if not isinstance(found, torch.Tensor):
        return f"You return {type(found).__name__}, not a tensor."
    if found.shape != x.shape:
        return f"The shape changed from {tuple(x.shape)} to {tuple(found.shape)}. Give the projection a last axis: [..., None]."
    if not hint_in(mistakes_remove_direction, [((x, d), found)]) and (found.double() @ d.double()).abs().max() > 1e-4:
        return "The result still has a component along d: (result @ d) should be 0 for every row."
    changed = "You changed x in place (-= does that). Inside a model others still need the old x: return a new tensor."
    return hint_for(attempt, remove_direction, [(x, d), (deep, d)], mistakes_remove_direction, changed)
