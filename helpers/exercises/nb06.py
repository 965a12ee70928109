"""Exercises of notebook 06: the AUC, and picking before judging."""

import itertools

from .mistakes import hint_for


def auc(positive, negative):
    wins = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    return sum(wins) / len(wins)


def share(pairs, tie=0.5):
    wins = [1 if p > n else tie if p == n else 0 for p, n in pairs]
    return sum(wins) / len(wins)


def mean(numbers):
    return sum(numbers) / len(numbers)


def accuracy(positive, negative, threshold):
    return mean([p > threshold for p in positive] + [n <= threshold for n in negative])


mistakes_auc = [
    (
        "A tie counts nothing with you. It is a toss-up: count one half.",
        [lambda positive, negative: share(itertools.product(positive, negative), tie=0)],
    ),
    (
        "A tie counts as a win with you. It is a toss-up: count one half.",
        [lambda positive, negative: share(itertools.product(positive, negative), tie=1)],
    ),
    (
        "That is the wrong way round: count when the positive is the higher one.",
        [lambda positive, negative: auc(negative, positive)],
    ),
    (
        "You compare the first with the first, the second with the second. Compare every positive with every negative.",
        [lambda positive, negative: share(zip(positive, negative))],
    ),
    (
        "That is the difference of the means. Count in how many pairs the positive is higher.",
        [lambda positive, negative: mean(positive) - mean(negative)],
    ),
    (
        "That is the accuracy at one threshold. The AUC needs none: it compares positives with negatives.",
        [
            lambda positive, negative: accuracy(positive, negative, (mean(positive) + mean(negative)) / 2),
            lambda positive, negative: accuracy(positive, negative, mean(positive + negative)),
            lambda positive, negative: accuracy(positive, negative, 0),
        ],
    ),
    (
        "That is a count. Divide it by the number of pairs.",
        [lambda positive, negative: auc(positive, negative) * len(positive) * len(negative)],
    ),
]


def grade_auc(attempt):
    given = [([2, 5, 3], [3, 1, 4, 0]), ([1.0], [1.0]), ([0, 0.5], [1, 2])]
    return hint_for(attempt, auc, given, mistakes_auc)


# --- pick, then judge -----------------------------------------------------------------------------


def pick_then_judge(choosing, reporting):
    best = choosing.index(max(choosing))
    return reporting[best]


mistakes_pick_then_judge = [
    (
        "You chose on the prompts that you report, so luck chose with you. Choose on `choosing` alone.",
        [lambda choosing, reporting: max(reporting)],
    ),
    (
        "You report the score that it was chosen for. Some of that was luck: report how it does on the other prompts.",
        [lambda choosing, reporting: max(choosing)],
    ),
    (
        "That is which candidate is best. Return its score on `reporting`.",
        [lambda choosing, reporting: choosing.index(max(choosing))],
    ),
    (
        "You chose the worst candidate: the highest score is best.",
        [lambda choosing, reporting: reporting[choosing.index(min(choosing))]],
    ),
    (
        "That is the worst score on `reporting`, whoever has it. Find the best candidate on `choosing` first.",
        [lambda choosing, reporting: min(reporting)],
    ),
    (
        "You chose by both lists together. The prompts that you report must have no say in the choice.",
        [lambda choosing, reporting: max((a + b, b) for a, b in zip(choosing, reporting))[1]],
    ),
]


def grade_pick_then_judge(attempt):
    given = [([0.7, 0.9, 0.4, 0.8, 0.5], [0.88, 0.65, 0.75, 0.55, 0.95]), ([0.2, 0.1], [0.0, 0.9])]
    return hint_for(attempt, pick_then_judge, given, mistakes_pick_then_judge)
