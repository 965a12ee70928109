"""Exercises of notebook 04: contrast pairs, and how much coins vary."""

import copy
import re

from .mistakes import hint_for, outcome


def contrast_pairs(template, phrase, others):
    return [(template.format(name=phrase), template.format(name=other)) for other in others if other != phrase]


def asked(template, names):
    return [template.format(name=name) for name in names]


mistakes_contrast_pairs = [
    (
        "The empty place in the template has a name. Tell `format` which one: name=…",
        [lambda template, phrase, others: [(template.format(phrase), template.format(other)) for other in others]],
    ),
    (
        "One pair has the phrase on both sides, which is no contrast. Skip the phrase if it is among the others.",
        [lambda template, phrase, others: [asked(template, [phrase, other]) for other in others]],
    ),
    (
        "Only one side comes back. A pair has two questions: about the phrase, and about another name.",
        [
            lambda template, phrase, others: asked(template, others),
            lambda *given: [about_other for about_phrase, about_other in contrast_pairs(*given)],
            lambda *given: [about_phrase for about_phrase, about_other in contrast_pairs(*given)],
        ],
    ),
    (
        "The two sides are swapped: the question about the phrase comes first.",
        [lambda *given: [(about_other, about_phrase) for about_phrase, about_other in contrast_pairs(*given)]],
    ),
]

JOKE = ("Tell me a joke about {name}.", "Xi Jinping", ["Marie Curie", "Xi Jinping", "Bach"])


def grade_contrast_pairs(attempt):
    left = re.search(r"\{\w+", str(outcome(attempt, copy.deepcopy(JOKE))))
    if left and left[0] == "{name":
        return "The template is not filled: {name} still stands there. A template has the method `format` for that."
    if left:
        return "The braces are still there: you replaced the word inside them. They belong to the empty place."
    given = [JOKE, ("Is {name} nice?", "pizza", ["soup"])]
    changed = "You took the phrase out of the list you were given. Leave the list as it is, and skip the phrase."
    return hint_for(attempt, contrast_pairs, given, mistakes_contrast_pairs, changed)


# --- the spread of coins --------------------------------------------------------------------------


def binomial_spread(p, n):
    return (p * (1 - p) / n) ** 0.5


mistakes_binomial_spread = [
    (
        "That is the variance. The standard deviation is its square root.",
        [lambda p, n: p * (1 - p) / n],
    ),
    (
        "That is for the number of heads. We want it for their share, which is the number divided by n.",
        [lambda p, n: (p * (1 - p) * n) ** 0.5],
    ),
    (
        "That is for a single toss. The share of many tosses varies less: n has to come in.",
        [lambda p, n: (p * (1 - p)) ** 0.5],
    ),
    (
        "You divide the root by n, and it shrinks too fast. Divide before you take the root.",
        [lambda p, n: (p * (1 - p)) ** 0.5 / n],
    ),
    (
        "Two things: heads and tails both count, so (1 - p) belongs in, and n belongs under the root.",
        [lambda p, n: p**0.5 / n],
    ),
    (
        "That is in per cent. Return it as a share, like p.",
        [lambda p, n: 100 * binomial_spread(p, n)],
    ),
    (
        "You take p twice. One factor is the chance of heads, the other the chance of tails.",
        [lambda p, n: (p * p / n) ** 0.5],
    ),
    (
        "The chance of tails is missing. A coin that always shows heads would not vary, yours does.",
        [lambda p, n: (p / n) ** 0.5],
    ),
]


def grade_binomial_spread(attempt):
    return hint_for(attempt, binomial_spread, [(0.2, 25), (0.5, 100), (1.0, 10)], mistakes_binomial_spread)
