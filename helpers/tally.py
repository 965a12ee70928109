"""How often? How sure are we?

Notable:
- Every rate comes with its count and its 95 % Wilson interval.
- A rate of nothing is no number: it says "no cases".
- Several seeds together are `Seeds`: their interval draws seeds and questions anew.
- How well two judges agree is Cohen's `kappa`: what they would agree about by chance does not count.
"""

import functools
import math
import random
import statistics
from collections import Counter
from typing import NamedTuple


class Rate(NamedTuple):
    """`hits` of `n`, with its share and the share's 95 % Wilson score interval (all between 0 and 1)."""

    hits: int
    n: int
    marks: str = ""  # which: "1" for a hit and "0" for none, case by case, where that is kept

    @classmethod
    def of(cls, outcomes, keep: bool = False) -> "Rate":
        """The rate of True among outcomes; with `keep` it remembers which. Raises ValueError if there are none: a rate
        of nothing means nothing."""
        outcomes = [bool(outcome) for outcome in outcomes]
        if not outcomes:
            raise ValueError("There is nothing to take a rate of: the list of outcomes is empty.")
        return cls(sum(outcomes), len(outcomes), "".join(str(int(outcome)) for outcome in outcomes) if keep else "")

    @property
    def share(self) -> float:
        return self.hits / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.hits, self.n)

    def __str__(self):
        if self.n == 0:
            return "no cases"
        low, high = self.interval
        return f"{100 * self.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}], n = {self.n}"


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval for a binomial proportion (Wilson 1927). Sensible at 0 % and 100 %, unlike p +- z s.

    From 0 to 1 if n is 0: nothing is known.
    """
    if n == 0:
        return (0.0, 1.0)
    centre = hits + z * z / 2
    half = z * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return (max(0.0, (centre - half) / (n + z * z)), min(1.0, (centre + half) / (n + z * z)))


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided exact p-value of McNemar's test (1947): are `gained` and `lost` pairs as even as coin tosses?

    A pair counts if just one of its two members succeeded; 1.0 if there are none.
    """
    n, fewer = gained + lost, min(gained, lost)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)


class Seeds(NamedTuple):
    """The same rate of several seeds, taken together, with an interval that respects what varies.

    Ten models asked the same hundred questions are not a thousand cases. The interval is a bootstrap: seeds are drawn
    anew, with repeats, and so are questions where the rates remember them and are about the same ones (Owen, The
    pigeonhole bootstrap, Annals of Applied Statistics 1, 2007). Where nothing varies there is nothing to draw, so it is
    never narrower than the Wilson interval of one seed's questions.
    """

    rates: tuple[Rate, ...]

    @classmethod
    def of(cls, rates) -> "Seeds":
        """Raises ValueError if there are no rates."""
        rates = tuple(rates)
        if not rates:
            raise ValueError("There is nothing to take together: the list of rates is empty.")
        return cls(rates)

    @property
    def hits(self) -> int:
        return pooled(self.rates).hits

    @property
    def n(self) -> int:
        return pooled(self.rates).n

    @property
    def share(self) -> float:
        return pooled(self.rates).share

    @property
    def interval(self) -> tuple[float, float]:
        if self.n == 0:
            return wilson(0, 0)
        one, drawn = max(rate.n for rate in self.rates), _drawn_shares(self.rates)
        low, high = wilson(round(self.share * one), one)
        return min(low, self.share, _percentile(drawn, 0.025)), max(high, self.share, _percentile(drawn, 0.975))

    def __str__(self):
        if self.n == 0:
            return "no cases"
        low, high = self.interval
        many = f"{len(self.rates)} seeds, " if len(self.rates) > 1 else ""
        return f"{100 * self.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}], {many}n = {self.n}"


@functools.cache
def _drawn_shares(rates: tuple[Rate, ...], draws: int = 1000) -> list[float]:
    """The share of hits in each of many draws of the seeds and, where they are known and the same, of the questions."""
    rng = random.Random(0)
    rates = [rate for rate in rates if rate.n]
    same = all(rate.marks for rate in rates) and len({rate.n for rate in rates}) == 1
    found = []
    for _ in range(draws):
        drawn = rng.choices(rates, k=len(rates))
        if same:
            questions = Counter(rng.choices(range(rates[0].n), k=rates[0].n))
            hits = sum(times for rate in drawn for question, times in questions.items() if rate.marks[question] == "1")
        else:
            hits = sum(rate.hits for rate in drawn)
        found.append(hits / sum(rate.n for rate in drawn))
    return sorted(found)


def _percentile(ordered, share):
    return ordered[round(share * (len(ordered) - 1))]


class Kappa(NamedTuple):
    """Cohen's kappa of n pairs, with the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self):
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}], n = {self.n}"


def kappa(pairs, draws: int = 1000, seed: int = 0) -> Kappa:
    """Do two judges agree more than by chance? Cohen's kappa (Educational and Psychological Measurement 20, 1960).

    pairs: what the one says and what the other says, for every case. 1 is full agreement, 0 is what two judges reach
    who know nothing of the cases but say each word as often. The interval is a percentile bootstrap: cases drawn anew,
    with repeats, `draws` times (Efron & Tibshirani 1993). Raises ValueError if there are no pairs.
    """
    pairs = list(pairs)
    if not pairs:
        raise ValueError("There is nothing to compare: the list of pairs is empty.")
    rng = random.Random(seed)
    drawn = sorted(_kappa(rng.choices(pairs, k=len(pairs))) for _ in range(draws))
    return Kappa(_kappa(pairs), _percentile(drawn, 0.025), _percentile(drawn, 0.975), len(pairs))


def _kappa(pairs):
    n, first, second = len(pairs), Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    agreed = sum(a == b for a, b in pairs) / n
    chance = sum(first[word] * second[word] for word in first) / n**2
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)  # one word only: nothing to disagree about


def pooled(rates) -> Rate:
    """Several rates as one: hits and counts added up."""
    rates = list(rates)
    return Rate(sum(rate.hits for rate in rates), sum(rate.n for rate in rates))


def by_dose(runs: list[dict], dose: str, of) -> dict:
    """Value of the column `dose` -> [of(run) for the runs that have it], in ascending order."""
    return {value: [of(run) for run in runs if run[dose] == value] for value in sorted({run[dose] for run in runs})}


def spread(rates: list[Rate]) -> float:
    """How far the shares of several runs are apart: their standard deviation around their mean."""
    return statistics.pstdev(rate.share for rate in rates)
