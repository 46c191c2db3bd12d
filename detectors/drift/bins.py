"""A reference in bins of equal probability, and how far the rows of a window lie from it.

Everything here is a pure function of the rows. The distances are for reading; what decides is in
`detectors.drift.windows`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from schemas.batch import F64, I32

N_BINS: Final = 20
"""Bins of a reference at most."""
_DIGITS: Final = 6
"""Distances are rounded, so that another C library's logarithm changes nothing."""


@dataclass(frozen=True, slots=True)
class Bins:
    """What a ranked reference holds where: a row falls into bin k = number of cuts not above it."""

    cuts: F64
    """(k,) ascending, 1 <= k < N_BINS."""
    counts: I32
    """(k + 1,) rows of the reference in each bin, none of them 0."""
    means: F64
    """(k + 1,) mean of those rows, in z."""


def fit_bins(x: F64) -> Bins:
    """Bins of a reference of (n,) rows, none of them NaN, with two distinct values or more.

    As equal in probability as its ties allow; a bin for each value where there are few.
    """
    ordered = np.sort(x)
    values = np.unique(ordered)
    if len(values) <= N_BINS:
        cuts = values[1:]
    else:
        at = np.arange(1, N_BINS) * len(x) // N_BINS
        # Rows that are equal to the least one, however many, leave at least the others apart.
        cuts = np.unique(np.maximum(ordered[at], values[1]))
    bin_of = np.searchsorted(cuts, ordered, side="right")
    counts = np.bincount(bin_of, minlength=len(cuts) + 1)
    means = np.bincount(bin_of, weights=ordered, minlength=len(cuts) + 1) / counts
    return Bins(cuts, counts.astype(np.int32), means)


def psi(reference: I32, window: I32) -> float:
    """The population stability index of two (k,) arrays of counts, in nats.

    sum of (q - p) ln(q / p), which is the symmetrised Kullback-Leibler divergence. Half a row is
    added to each bin: an empty one would make it infinite.
    """
    p = (reference + 0.5) / (float(reference.sum()) + 0.5 * len(reference))
    q = (window + 0.5) / (float(window.sum()) + 0.5 * len(window))
    terms = ((b - a) * math.log(b / a) for a, b in zip(p.tolist(), q.tolist(), strict=True))
    return round(math.fsum(terms), _DIGITS)


def jensen_shannon(reference: I32, window: I32) -> float:
    """The Jensen-Shannon divergence of two (k,) arrays of counts, in bits: 0 to 1.

    Lin, *Divergence measures based on the Shannon entropy*, 1991.
    """
    p, q = reference / float(reference.sum()), window / float(window.sum())
    terms = (
        0.5 * a * math.log2(2.0 * a / (a + b))
        for x, y in ((p, q), (q, p))
        for a, b in zip(x.tolist(), y.tolist(), strict=True)
        if a > 0.0
    )
    return round(min(max(math.fsum(terms), 0.0), 1.0), _DIGITS)
