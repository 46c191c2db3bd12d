"""The exact law of a Poisson count, for counts of alarms. Pure."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, lgamma, log
from typing import Final

LEVEL: Final = 0.95
_PRECISION: Final = 1e-9


def at_least(n: int, mean: float) -> float:
    """The probability of n events or more where `mean` (0 or more) are expected."""
    if n <= 0:
        return 1.0
    if mean <= 0.0:
        return 0.0
    if n <= mean:
        return max(0.0, 1.0 - _sum(range(n - 1, -1, -1), mean))
    # The terms fall from here on; those left out are below any rounding.
    return _sum(range(n, n + 10_000_000), mean)


def interval(n: int) -> tuple[float, float]:
    """The exact 95 % interval of the mean behind a count of n (Garwood, Biometrika 1936)."""
    tail = (1.0 - LEVEL) / 2.0
    low = 0.0 if n == 0 else _root(lambda mean: at_least(n, mean) - tail, float(n))
    high = _root(lambda mean: tail - (1.0 - at_least(n + 1, mean)), 4.0 * n + 20.0)
    return low, high


def _sum(counts: range, mean: float) -> float:
    total, least = 0.0, 1e-18
    for k in counts:
        term = exp(k * log(mean) - mean - lgamma(k + 1.0))
        total += term
        if term < least * max(total, 1e-290):
            break
    return total


def _root(rising: Callable[[float], float], high: float) -> float:
    """Where a rising function of 0..high crosses zero, by halving."""
    low = 0.0
    while high - low > _PRECISION * high:
        middle = (low + high) / 2.0
        if rising(middle) < 0.0:
            low = middle
        else:
            high = middle
    return high
