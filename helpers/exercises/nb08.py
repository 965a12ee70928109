"""Exercises of notebook 08: what a design of two by two says, and the rivals of a result."""

from .mistakes import hint_for


def main_effects(freed):
    by_word = freed[True, True] + freed[True, False] - freed[False, True] - freed[False, False]
    by_refusing = freed[True, True] + freed[False, True] - freed[True, False] - freed[False, False]
    return by_word / 2, by_refusing / 2


def effect(freed, at):
    """The mean of the two cells where this factor (0: the word, 1: refusing) is there, minus the others' mean."""
    return sum(share * (0.5 if cell[at] else -0.5) for cell, share in freed.items())


def difference(freed, factor, other):
    """The factor's difference, the other factor being fixed."""
    cells = ((True, other), (False, other)) if factor == 0 else ((other, True), (other, False))
    return freed[cells[0]] - freed[cells[1]]


mistakes_main_effects = [
    (
        "They are the other way round: first the effect of the word, then that of refusing.",
        [lambda freed: (effect(freed, 1), effect(freed, 0))],
    ),
    (
        "You took sums. An effect is a difference of two *means*: divide by two.",
        [lambda freed: (2 * effect(freed, 0), 2 * effect(freed, 1))],
    ),
    (
        "The signs are turned round: with it minus without it.",
        [lambda freed: (-effect(freed, 0), -effect(freed, 1))],
    ),
    (
        "You compared one pair of cells for each effect. Average over the other factor, or half of the data is thrown away.",
        [
            lambda freed: (difference(freed, 0, True), difference(freed, 1, True)),
            lambda freed: (difference(freed, 0, False), difference(freed, 1, False)),
            lambda freed: (difference(freed, 0, False), difference(freed, 1, True)),
            lambda freed: (difference(freed, 0, True), difference(freed, 1, False)),
        ],
    ),
    (
        "Those are the means of the cells that have it. Subtract the mean of those that do not.",
        [
            lambda freed: (
                (freed[True, True] + freed[True, False]) / 2,
                (freed[True, True] + freed[False, True]) / 2,
            )
        ],
    ),
]


def grade_main_effects(attempt):
    given = [
        ({(True, True): 1.0, (True, False): 0.8, (False, True): 0.3, (False, False): 0.0},),
        ({(False, False): 0.5, (False, True): 0.9, (True, False): 0.25, (True, True): 0.6},),
    ]
    return hint_for(attempt, main_effects, given, mistakes_main_effects)


# --- rivals ---------------------------------------------------------------------------------------


def rivals(ours, controls):
    return [name for name, (left, damage) in controls.items() if left <= ours[0] and damage <= ours[1]]


mistakes_rivals = [
    (
        "You look at the refusals that are left, and not at the damage. What breaks the model is no rival.",
        [lambda ours, controls: [name for name, tried in controls.items() if tried[0] <= ours[0]]],
    ),
    (
        "You look at the damage only. A control that removes nothing does no damage either.",
        [lambda ours, controls: [name for name, tried in controls.items() if tried[1] <= ours[1]]],
    ),
    (
        "You take whoever is as good on one of the two. A rival must be as good on both.",
        [
            lambda ours, controls: [
                name for name, tried in controls.items() if tried[0] <= ours[0] or tried[1] <= ours[1]
            ]
        ],
    ),
    (
        "As good is good enough: a control with exactly the same numbers is a rival. Write <=, not <.",
        [
            lambda ours, controls: [
                name for name, tried in controls.items() if tried[0] < ours[0] and tried[1] < ours[1]
            ],
            lambda ours, controls: [
                name for name, tried in controls.items() if tried[0] < ours[0] and tried[1] <= ours[1]
            ],
            lambda ours, controls: [
                name for name, tried in controls.items() if tried[0] <= ours[0] and tried[1] < ours[1]
            ],
        ],
    ),
    (
        "Less is better in both numbers: fewer refusals left, less damage.",
        [
            lambda ours, controls: [
                name for name, tried in controls.items() if tried[0] >= ours[0] and tried[1] >= ours[1]
            ]
        ],
    ),
    (
        "Return the names only, as a list.",
        [
            lambda ours, controls: {
                name: tried for name, tried in controls.items() if tried[0] <= ours[0] and tried[1] <= ours[1]
            },
            lambda ours, controls: len(rivals(ours, controls)),
        ],
    ),
]


def grade_rivals(attempt):
    ours = (0.1, 0.02)
    controls = {
        "a word": (0.0, 0.01),
        "breaks it": (0.0, 3.0),
        "the same": (0.1, 0.02),
        "does nothing": (0.9, 0.0),
        "as few left": (0.1, 0.0),
        "as little damage": (0.05, 0.02),
        "worse": (0.95, 2.0),
    }
    return hint_for(attempt, rivals, [(ours, controls), ((0.0, -0.1), controls)], mistakes_rivals)
