"""Exercises of notebook 05: the bypass rate, and a test of pairs."""

import math

from .mistakes import hint_for


def bypass_rate(refused, correct):
    answered = [right for said_no, right in zip(refused, correct) if said_no]
    return sum(answered) / len(answered) if answered else 0.0


def both(refused, correct):
    return sum(a and b for a, b in zip(refused, correct))


mistakes_bypass_rate = [
    (
        "You divide by all questions. Divide by those that were refused when asked directly.",
        [lambda refused, correct: both(refused, correct) / len(refused)],
    ),
    (
        "You count disguises of questions that were never refused: there is nothing to walk around. Leave them out.",
        [
            lambda refused, correct: sum(correct) / len(correct),
            lambda refused, correct: sum(correct) / sum(refused),
        ],
    ),
    (
        "That is a count. Divide it by how many direct questions were refused.",
        [both],
    ),
    (
        "That is a percentage. Return the share, between 0 and 1.",
        [lambda *lists: 100 * bypass_rate(*lists)],
    ),
    (
        "That is the other share: of the right answers, how many had been refused. Divide by the refused ones.",
        [lambda refused, correct: both(refused, correct) / sum(correct)],
    ),
    (
        "That is the share where the disguise failed. We want the share where it worked.",
        [lambda *lists: 1 - bypass_rate(*lists)],
    ),
    (
        "If no direct question was refused, you divide by zero. There is nothing to bypass: return 0.0.",
        [
            lambda refused, correct: both(refused, correct) / sum(refused),
            lambda refused, correct: float(both(refused, correct)) / sum(refused),
        ],
    ),
]


def grade_bypass_rate(attempt):
    refused = [True, True, True, True, True, False, False, False]
    correct = [True, False, False, False, False, True, True, False]
    given = [(refused, correct), ([False, False], [True, False])]
    return hint_for(attempt, bypass_rate, given, mistakes_bypass_rate)


# --- the test of pairs ----------------------------------------------------------------------------


def paired_p(direct, disguised):
    gained = sum(after and not before for before, after in zip(direct, disguised))
    lost = sum(before and not after for before, after in zip(direct, disguised))
    n, k = gained + lost, min(gained, lost)
    ways = [math.comb(n, heads) for heads in range(k + 1)]
    return min(1.0, 2 * sum(ways) / 2**n)


def sides(direct, disguised):
    """How many pairs only the disguise answers, and how many only the direct question."""
    pairs = list(zip(direct, disguised))
    return pairs.count((False, True)), pairs.count((True, False))


def chance(k, n):
    """The chance of at most k heads in n tosses."""
    return sum(math.comb(n, heads) for heads in range(k + 1)) / 2**n


def of_all(direct, disguised):
    gained, lost = sides(direct, disguised)
    return min(1.0, 2 * chance(min(gained, lost), len(direct)))


def one_sided(direct, disguised):
    gained, lost = sides(direct, disguised)
    return chance(min(gained, lost), gained + lost)


def just_as_uneven(direct, disguised):
    gained, lost = sides(direct, disguised)
    return 2 * math.comb(gained + lost, gained) / 2 ** (gained + lost)


def one_short(direct, disguised):
    gained, lost = sides(direct, disguised)
    return min(1.0, 2 * sum(math.comb(gained + lost, k) for k in range(min(gained, lost))) / 2 ** (gained + lost))


def in_favour(count):
    def one_way(direct, disguised):
        given = sides(direct, disguised)
        return min(1.0, 2 * chance(count(given), sum(given)))

    return one_way


mistakes_paired_p = [
    (
        "Pairs in which both ways fare alike are no tosses: n counts those that differ.",
        [of_all],
    ),
    (
        "That is one side. As uneven the other way would surprise as much: take twice the chance.",
        [one_sided],
    ),
    (
        "That can be more than 1: where both sides are even, twice the chance counts the middle twice. Stop at 1.",
        [lambda direct, disguised: 2 * one_sided(direct, disguised)],
    ),
    (
        "You take just k heads. As uneven *or more* counts: add up the chances of 0, 1, ... k heads.",
        [just_as_uneven, lambda *lists: min(1.0, just_as_uneven(*lists))],
    ),
    (
        "Your sum stops one short: k heads themselves belong to it. `range(k + 1)` ends with k.",
        [one_short],
    ),
    (
        "k is the rarer side, whichever that is: min(gained, lost).",
        [in_favour(max), in_favour(lambda given: given[0]), in_favour(lambda given: given[1])],
    ),
    (
        "That compares the two sums and forgets who goes with whom. Look at each pair.",
        [lambda direct, disguised: (sum(disguised) - sum(direct)) / len(direct)],
    ),
]


def grade_paired_p(attempt):
    four_to_one_side = [False, False, False, False, True, False], [True, True, True, True, True, False]
    one_against_five = [True, True, True, True, True, False, True, False], [False] * 5 + [True, True, False]
    even = [True, True, False, False, True], [False, False, True, True, True]
    alike = [True, False], [True, False]
    return hint_for(attempt, paired_p, [four_to_one_side, one_against_five, even, alike], mistakes_paired_p)
