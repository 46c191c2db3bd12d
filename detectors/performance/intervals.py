"""A metric with its confidence interval, and the intervals that the metrics share.

Roots, products and quotients alone, summed up by `math.fsum`: the same numbers on every machine.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np

from schemas.batch import F64

LEVEL: Final = 0.95
"""Of an interval, where nothing else is said: two-sided, each side half of the rest."""


class Measure(NamedTuple):
    """A metric, its interval, and what both rest on."""

    value: float
    low: float
    high: float
    n: int
    """Rows (for precision and the like: those it is a share of)."""
    error: float = 0.0
    """How far the value may lie from that of the rows themselves because scores are binned; the
    interval does not contain it."""


def quantile(level: float) -> float:
    """How many standard errors an interval reaches; raises ValueError unless 0 < level < 1."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"the level of an interval is {level}: between 0 and 1")
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def wilson(share: float, n: float, z: float) -> tuple[float, float]:
    """The score interval of a proportion seen in n > 0 draws (Wilson, JASA 1927).

    n need not be whole: it may be the draws that a share with a known variance is worth.
    """
    centre = share + z * z / (2.0 * n)
    reach = z * math.sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n))
    scale = 1.0 + z * z / n
    # Rounding must not put a share of 0 or 1 beside its own interval.
    low, high = (centre - reach) / scale, (centre + reach) / scale
    return max(min(low, share), 0.0), min(max(high, share), 1.0)


def proportion(k: int, n: int, z: float) -> Measure | None:
    """A share, k of n rows, with Wilson's interval; None without rows."""
    return Measure(k / n, *wilson(k / n, n, z), n) if n else None


def worth(share: float, variance: float, least: float) -> float:
    """How many independent draws of a proportion would vary so, and not fewer than `least`."""
    spread = share * (1.0 - share)
    if variance <= 0.0 or spread <= 0.0:
        return least
    return max(spread / variance, least)


def mean(total: float, squares: float, n: int, z: float) -> Measure | None:
    """The mean of n rows that are not negative, from their sum and that of their squares.

    The interval is the normal one. None for fewer than two rows, whose spread nobody knows.
    """
    if n < 2:
        return None
    value = total / n
    variance = max(squares - total * value, 0.0) / (n - 1)
    reach = z * math.sqrt(variance / n)
    return Measure(value, max(value - reach, 0.0), value + reach, n)


def multinomial_variance(p: F64, gradient: F64, n: float) -> float:
    """The variance by the delta method of a function of proportions p of n rows; any shape."""
    weights, slopes = p.ravel().tolist(), gradient.ravel().tolist()
    first = math.fsum(w * g for w, g in zip(weights, slopes, strict=True))
    second = math.fsum(w * g * g for w, g in zip(weights, slopes, strict=True))
    return max(second - first * first, 0.0) / n


def clipped(value: float, reach: float, n: int, error: float = 0.0) -> Measure:
    """A metric from 0 to 1 whose interval reaches so far to both sides, cut there."""
    value = min(max(value, 0.0), 1.0)
    return Measure(value, max(value - reach, 0.0), min(value + reach, 1.0), n, error)


def total_of(numbers: F64) -> float:
    """The sum of an array, rounded once."""
    return math.fsum(np.ravel(numbers).tolist())
