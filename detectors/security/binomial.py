"""Exact bounds of counts: how many of n are too many for a share."""

from __future__ import annotations

import functools
from math import comb
from typing import Final

import numpy as np

from schemas.batch import I32

GRID: Final = 64
"""Shares are rounded up to one in so many."""


@functools.cache
def critical_counts(n: int, one_in: int) -> I32:
    """(GRID + 1,) the least count of n that is as unlikely as one in so many, at a share k / GRID.

    The exact tail of the binomial distribution, in whole numbers; n + 1 where no count is.
    """
    found = np.full(GRID + 1, n + 1, np.int32)
    for k in range(GRID):
        tail, bound = 0, GRID**n // one_in
        for count in range(n, -1, -1):
            tail += comb(n, count) * k**count * (GRID - k) ** (n - count)
            if tail > bound:
                break
            found[k] = count
    found.flags.writeable = False
    return found
