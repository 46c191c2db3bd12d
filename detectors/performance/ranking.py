"""ROC-AUC from histograms of scores: the area, its interval, and what the bins leave open."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.performance.intervals import Measure, total_of, wilson, worth
from schemas.batch import F64, I64


class Placement(NamedTuple):
    """Where each bin lies among the rows of the other outcome, scores in one bin being ties."""

    auc: float
    below: F64
    """(b,) of the negatives, what lies below the bin, and half of what is in it."""
    above: F64
    """(b,) of the positives, what lies above the bin, and half of what is in it."""
    error: float
    """The scores themselves have an area no further away."""


def place(negatives: F64, positives: F64) -> Placement | None:
    """The area under the ROC curve of two (b,) histograms; None where either has no rows.

    Within a bin nobody knows which score is higher, and half of the pairs are counted. So the area
    is wrong by at most half the share of pairs that lie in one bin.
    """
    n_negative, n_positive = total_of(negatives), total_of(positives)
    if not n_negative or not n_positive:
        return None
    below = np.cumsum(negatives) - 0.5 * negatives
    above = n_positive - np.cumsum(positives) + 0.5 * positives
    pairs = n_negative * n_positive
    return Placement(
        total_of(positives * below) / pairs,
        below / n_negative,
        above / n_positive,
        0.5 * total_of(positives * negatives) / pairs,
    )


def roc_auc(histogram: I64, z: float) -> Measure | None:
    """The area of a (2, b) histogram of negatives and positives; None where either has no rows.

    The variance is that of DeLong, DeLong and Clarke-Pearson (Biometrics 1988), with ties where
    scores share a bin. With m rows of the rarer outcome no area varies more than one of m draws
    (Birnbaum and Klose, Annals of Mathematical Statistics 1957): that weighs as much as one of the
    m rows, since DeLong's is too small where few of them show how far they scatter. The interval is
    Wilson's for as many draws as that variance is worth. So an area of 1 has one too.
    """
    negatives, positives = histogram.astype(np.float64)
    placed = place(negatives, positives)
    if placed is None:
        return None
    n_negative, n_positive = int(histogram[0].sum()), int(histogram[1].sum())
    variance = 0.0
    sides = ((positives, placed.below, n_positive), (negatives, placed.above, n_negative))
    for rows, at, n in sides:
        variance += total_of(rows * (at - placed.auc) ** 2) / max(n - 1, 1) / n
    rarer = float(min(n_negative, n_positive))
    largest = placed.auc * (1.0 - placed.auc) / rarer
    variance = ((rarer - 1.0) * variance + largest) / rarer
    low, high = wilson(placed.auc, worth(placed.auc, variance, rarer), z)
    return Measure(placed.auc, low, high, n_negative + n_positive, placed.error)
