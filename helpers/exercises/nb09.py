"""Exercises of notebook 09: the surgical vector, and the repairs that are not beaten."""

import torch

from .. import direction
from .mistakes import hint_for


def surgical(false_refusal, true_refusal, share):
    unit = true_refusal / true_refusal.norm()
    return false_refusal - share * (false_refusal @ unit) * unit


def part(x, d):
    return x - direction.without(x, d)


mistakes_surgical = [  # x: the false-refusal vector, d: the true-refusal vector
    (
        "You forgot to normalise the true-refusal vector (in both places): its length must not matter.",
        [
            lambda x, d, share: x - share * (x @ d) * d,
            lambda x, d, share: x - share * (x @ d) * d / d.norm(),
        ],
    ),
    (
        "That is the projection the other way round. Take the false-refusal vector's part along the true one.",
        [
            lambda x, d, share: d - share * part(d, x),
            lambda x, d, share: x - share * part(d, x),
        ],
    ),
    (
        "You ignore `share`: only so much of the part along the true-refusal vector goes.",
        [lambda x, d, share: x - part(x, d)],
    ),
    (
        "You scale the whole vector by `share`. It says how much of the part along the true one goes.",
        [lambda x, d, share: share * (x - part(x, d))],
    ),
    (
        "You keep `share` of the part and take the rest. Take `share` away: 0 leaves the vector as it is.",
        [lambda x, d, share: x - (1 - share) * part(x, d)],
    ),
    (
        "You add the part. Take it away.",
        [lambda x, d, share: x + share * part(x, d)],
    ),
    (
        "You subtract the true-refusal vector itself. Subtract only what the false one has of it: the projection.",
        [lambda x, d, share: x - share * d],
    ),
    (
        "You return what is to be taken away. Return what is left.",
        [lambda x, d, share: share * part(x, d)],
    ),
]


def grade_surgical(attempt):
    false_refusal, true_refusal = torch.tensor([4.0, 3.0, 2.0]), torch.tensor([0.0, 3.0, 4.0])
    given = [(false_refusal, true_refusal, share) for share in (0.25, 1.0, 0.0)]
    changed = "You changed the false-refusal vector in place (-= does that). It is needed again: return a new one."
    return hint_for(attempt, surgical, given, mistakes_surgical, changed)


# --- not beaten -----------------------------------------------------------------------------------


def not_beaten(points):
    def beats(a, b):
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    return [name for name, point in points.items() if not any(beats(other, point) for other in points.values())]


def names(beats):
    """The answer of somebody who takes `beats` for the rule."""
    return lambda points: [name for name in points if not any(beats(b, points[name]) for b in points.values())]


def no_twins(points):
    return [name for name in not_beaten(points) if list(points.values()).count(points[name]) == 1]


mistakes_not_beaten = [
    (
        "You take much over-refusal for good. Of the first number, less is better.",
        [names(lambda a, b: a[0] >= b[0] and a[1] >= b[1] and a != b)],
    ),
    (
        "You take few wanted refusals for good. Of the second number, more is better.",
        [names(lambda a, b: a[0] <= b[0] and a[1] <= b[1] and a != b)],
    ),
    (
        "You keep the points that beat nobody. Keep those that nobody beats.",
        [names(lambda a, b: a[0] >= b[0] and a[1] <= b[1] and a != b)],
    ),
    (
        "No point is left. Does a point beat itself with you? Or is it enough to be better on one of the two numbers?",
        [names(lambda a, b: a[0] <= b[0] and a[1] >= b[1])],
    ),
    (
        "Equal points are gone. They do not beat each other: a point wins only if it is better on one of the two.",
        [no_twins],
    ),
    (
        "A point is beaten too if another is as good on one number and better on the other.",
        [names(lambda a, b: a[0] < b[0] and a[1] > b[1])],
    ),
    (
        "Those are the beaten ones. Return the others.",
        [lambda points: [name for name in points if name not in not_beaten(points)]],
    ),
    (
        "You return the points. Return their names.",
        [lambda points: [points[name] for name in not_beaten(points)]],
    ),
    (
        "You look at one number only. A compromise may be best at neither and still be beaten by nobody.",
        [
            lambda points: [min(points, key=points.get)],
            lambda points: [min(points, key=lambda name: points[name][0])],
            lambda points: [name for name in points if points[name][0] == min(points.values())[0]],
            lambda points: [max(points, key=lambda name: points[name][1])],
        ],
    ),
]

REPAIRS = {
    "naive": (0.9, 1.0),
    "hot": (0.95, 0.9),  # beaten by naive
    "balanced": (0.3, 0.8),
    "twin": (0.3, 0.8),  # as good as balanced
    "ablated": (0.0, 0.2),
    "ablated twice": (0.0, 0.1),  # beaten by ablated, though as good on the first number
    "random": (0.5, 0.0),
}


def grade_not_beaten(attempt):
    return hint_for(attempt, not_beaten, [(REPAIRS,), ({"alone": (0.5, 0.5)},)], mistakes_not_beaten)
