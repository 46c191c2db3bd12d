"""The exact law of the Kolmogorov-Smirnov distance of two samples of the same size."""

from __future__ import annotations

import functools
from bisect import bisect_left
from fractions import Fraction
from math import comb
from typing import Final

_LEAST: Final = 0.1
"""KSWIN fires at no smaller distance, whatever its p-value."""


def probability(size: int, distance: int) -> Fraction:
    """That two samples of `size` from one continuous law are `distance` / `size` apart or more.

    By reflection, the share of the paths from (0, 0) to (size, size) that come so far from the
    diagonal (Gnedenko and Korolyuk 1951).
    """
    paths = comb(2 * size, size)
    if distance <= 0:
        return Fraction(1)
    far = sum(
        (-1) ** (k + 1) * comb(2 * size, size - k * distance)
        for k in range(1, size // distance + 1)
    )
    return Fraction(2 * far, paths)


@functools.lru_cache(maxsize=256)
def critical_distance(size: int, alpha: float) -> int:
    """The least distance, times `size`, above 0.1 and of a p-value of `alpha` at most.

    It is `size` + 1, which is never reached, where even two samples apart are not so unlikely.
    """
    at_most = Fraction(alpha)
    candidates = range(1, size + 1)
    return 1 + bisect_left(
        candidates,
        True,
        key=lambda distance: distance / size > _LEAST and probability(size, distance) <= at_most,
    )
