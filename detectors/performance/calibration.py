"""What a score means: the probability of its outcome, by bin, from rows whose labels are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from schemas.batch import F64, I32, I64, Bool

LEAST_ROWS: Final = 30
"""Neighbouring bins are taken together until they have so many labelled rows."""

LEAST_SPREAD: Final = 0.01
"""The variance of one outcome between pools without hits, or without misses."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A probability for each of b bins of the score; those of one pool share theirs."""

    p: F64
    """(b,) the probability of the outcome."""
    pool: I32
    """(b,) the number of the bin's pool, from 0 without gaps."""
    is_known: Bool
    """(b,) whether the bin, or one on each side of it in its pool, has labelled rows."""
    spread: F64
    """(b,) the variance of one outcome in the bin: p (1 - p), but never 0."""
    variance: F64
    """(pools,) of the pool's probability, as an estimate."""


class _Pool(NamedTuple):
    """Bins `first` to `last`, both with labelled rows, and how many of `rows` had the outcome."""

    first: int
    last: int
    hits: int
    rows: int

    @property
    def p(self) -> float:
        return self.hits / self.rows

    @property
    def spread(self) -> float:
        """P (1 - p) with one row more of each outcome: never 0."""
        smooth = (self.hits + 1.0) / (self.rows + 2.0)
        return smooth * (1.0 - smooth)

    @property
    def variance(self) -> float:
        return self.spread / self.rows


def calibrate(histogram: I64) -> Calibration | None:
    """Histogram binning of a labelled (2, b) histogram of scores; None without rows.

    The share of each pool (Zadrozny and Elkan, ICML 2001) is an estimate without bias, and pools
    know nothing of each other, so that what is made of them has a variance that can be stated.
    Between two pools lies what is midway, with the variance of anything between them; beyond the
    last ones the same of 0 and 1.
    """
    pools = _pools(histogram)
    if not pools:
        return None
    n_bins = histogram.shape[1]
    p, spread = np.zeros(n_bins), np.zeros(n_bins)
    pool, is_known = np.zeros(n_bins, np.int32), np.zeros(n_bins, np.bool_)
    variance: list[float] = []

    def fill(first: int, last: int, share: float, own: float, of: float, *, known: bool) -> None:
        bins = slice(first, last + 1)
        p[bins], spread[bins] = share, own
        pool[bins], is_known[bins] = len(variance), known
        variance.append(of)

    end, before, error = -1, 0.0, 0.0
    for each in [*pools, None]:
        first, share, of = (each.first, each.p, each.variance) if each else (n_bins, 1.0, 0.0)
        if first > end + 1:
            middle, width = (before + share) / 2.0, share - before
            between = width * width / 12.0 + (error + of) / 2.0
            own = max(middle * (1.0 - middle), LEAST_SPREAD)
            fill(end + 1, first - 1, middle, own, between, known=False)
        if each:
            fill(first, each.last, share, each.spread, of, known=True)
            end, before, error = each.last, share, of
    return Calibration(p, pool, is_known, spread, np.array(variance))


def _pools(histogram: I64) -> list[_Pool]:
    """Neighbouring bins with `LEAST_ROWS` rows together, all in order; the last may have more."""
    pools: list[_Pool] = []
    for k, (negatives, hits) in enumerate(histogram.T.tolist()):
        rows = negatives + hits
        if not rows:
            continue
        if pools and pools[-1].rows < LEAST_ROWS:
            last = pools.pop()
            pools.append(_Pool(last.first, k, last.hits + hits, last.rows + rows))
        else:
            pools.append(_Pool(k, k, hits, rows))
    if len(pools) > 1 and pools[-1].rows < LEAST_ROWS:
        last, other = pools.pop(), pools.pop()
        pools.append(_Pool(other.first, last.last, other.hits + last.hits, other.rows + last.rows))
    return pools
