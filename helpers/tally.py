"""How often? How sure are we?

Notable:
- Every rate comes with its count and its 95 % Wilson interval.
- A rate of nothing is no number: it says "no cases".
"""

import math
import statistics
from typing import NamedTuple


class Rate(NamedTuple):
    """`hits` of `n`, with its share and the share's 95 % Wilson score interval (all between 0 and 1)."""

    hits: int
    n: int

    @classmethod
    def of(cls, outcomes) -> "Rate":
        """The rate of True among outcomes. Raises ValueError if there are none: a rate of nothing means nothing."""
        outcomes = list(outcomes)
        if not outcomes:
            raise ValueError("There is nothing to take a rate of: the list of outcomes is empty.")
        return cls(sum(map(bool, outcomes)), len(outcomes))

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
