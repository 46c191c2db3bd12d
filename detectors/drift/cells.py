"""A category as a whole: its reference by cells, what decides on a window, how far it lies from it.

A cell is a number of `detectors.categories.cells_of`. Everything here is a pure function of counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from detectors.drift.ranks import Frequencies, long_run_variance
from schemas.batch import F64, I64

_DIGITS: Final = 6
"""Scores are rounded, so that another machine's last bits change nothing."""

_ERRORS: Final = 5.0
"""Of up to twenty scores one is more often three standard errors above what independence allows."""


def fit_cells(cell: F64, n_cells: int) -> Frequencies:
    """Fit a reference of (n,) rows, n > 0, each the number of its cell, 0 to `n_cells` - 1."""
    at = cell.astype(np.int64)
    counts = np.bincount(at, minlength=n_cells)
    variance = max((long_run_variance(s, _ERRORS) for s in _scores(at, counts)), default=1.0)
    return Frequencies(counts.astype(np.int32), variance, len(at))


def _scores(at: I64, counts: I64) -> Iterator[F64]:
    """What of the rows may vary more than independence allows.

    Whether a row falls into a cell, for each of them, and the score of cells whose next value
    follows its last one most: groups of cells may take turns while no cell alone tells of it.
    """
    used = np.flatnonzero(counts)
    if len(used) < 2:
        return
    for one in used.tolist():
        yield (at == one).astype(np.float64)
    place = np.zeros(len(counts), np.int64)
    place[used] = np.arange(len(used))
    own, k = place[at], len(used)
    pairs = np.bincount(own[:-1] * k + own[1:], minlength=k * k).reshape(k, k)
    share = counts[used] / len(at)
    size = np.sqrt(share)
    # The autocovariance of all scores at once, each in units of its standard deviation.
    follows = (pairs + pairs.T) / (2.0 * (len(at) - 1)) - np.outer(share, share)
    slowest = np.linalg.eigh(follows / np.outer(size, size))[1][:, -1]
    yield np.round(slowest / size, _DIGITS)[own]


def divergence_level(chance: float, n_cells: int) -> float:
    """What n' KL of two samples of one law exceeds with at most this chance, 0 < chance <= 1.

    KL is the relative entropy, in nats, of the n' rows of one sample to those of both, on so many
    cells. Given the rows of both its moment generating function is at most that of a sample from
    them with replacement (Hoeffding, JASA 1963), and so at most that of a gamma variable of shape
    n_cells - 1 (Agrawal, IEEE Transactions on Information Theory 66, 2020), for any law and any
    sizes. Chernoff's bound of that: exp(-(x - s)) (x / s)**s, s the shape.
    """
    shape = float(max(n_cells - 1, 1))
    wanted = -math.log(chance)
    low, high = shape, 2.0 * shape + 4.0 * wanted + 1.0
    for _ in range(64):
        middle = (low + high) / 2.0
        if middle - shape - shape * math.log(middle / shape) < wanted:
            low = middle
        else:
            high = middle
    return high
