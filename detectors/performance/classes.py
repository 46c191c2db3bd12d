"""Precision, recall and F1 from a confusion matrix, of each class and over all of them."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from detectors.performance.intervals import (
    Measure,
    clipped,
    multinomial_variance,
    proportion,
    wilson,
)
from schemas.batch import F64, I64

PSEUDO_ROWS: Final = 2.0
"""Rows that are added to each class, evenly over the matrix, where a variance is estimated: that of
a matrix without errors would be 0."""


class ClassMetrics(NamedTuple):
    """Of one class, or the mean over all; None where there is nothing to divide by."""

    precision: Measure | None
    recall: Measure | None
    f1: Measure | None


def of_class(confusion: I64, one: int, z: float) -> ClassMetrics:
    """Metrics of one class from a matrix (c, c) by true and by predicted class.

    Precision and recall are proportions. So is J, the true positives of the rows where the class is
    true or predicted, and F1 = 2 J / (1 + J) rises with it: its interval is that of J, mapped.
    """
    hit = int(confusion[one, one])
    n_true, n_predicted = int(confusion[one, :].sum()), int(confusion[:, one].sum())
    n_either = n_true + n_predicted - hit
    f1 = None
    if n_either:
        low, high = wilson(hit / n_either, n_either, z)
        f1 = Measure(
            2.0 * hit / (n_true + n_predicted),
            2.0 * low / (1.0 + low),
            2.0 * high / (1.0 + high),
            n_either,
        )
    return ClassMetrics(proportion(hit, n_predicted, z), proportion(hit, n_true, z), f1)


def occurring(confusion: I64) -> list[int]:
    """The classes with a row and a column of their own that are true or predicted somewhere."""
    seen = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.flatnonzero(seen[:-1]).tolist()


def macro(confusion: I64, z: float) -> ClassMetrics:
    """The means over the classes that occur; precision or recall 0 / 0 counts as 0.

    The last row and column stand for all other classes: they are errors of those that have their
    own, and no class themselves. Given how often each class is predicted, the precisions are
    independent proportions, and so are the recalls given how often each is true: the ends of their
    Wilson intervals give those of the mean (Newcombe, Statistics in Medicine 17, 1998). F1 is by
    the delta method on the proportions of the matrix (Takahashi et al., Applied Intelligence 52,
    2022), its variance taken at a matrix with `PSEUDO_ROWS` more for each class.
    """
    classes = occurring(confusion)
    n = int(confusion.sum())
    if not classes:
        return ClassMetrics(None, None, None)
    each = [of_class(confusion, one, z) for one in classes]
    cells = np.ix_([*classes, len(confusion) - 1], [*classes, len(confusion) - 1])
    smooth, r = confusion[cells].astype(np.float64), len(classes)
    smooth[:r, :r] += PSEUDO_ROWS / r
    n_smooth = float(n) + PSEUDO_ROWS * r
    p = smooth / n_smooth
    f1 = math.fsum(one.f1.value for one in each if one.f1) / r
    reach = z * math.sqrt(multinomial_variance(p, _f1_slope(p, r), n_smooth))
    return ClassMetrics(
        _mean([one.precision for one in each], n),
        _mean([one.recall for one in each], n),
        clipped(f1, reach, n),
    )


def _mean(of: list[Measure | None], n: int) -> Measure:
    """The mean of independent proportions, None counting as 0."""
    known, r = [one for one in of if one], len(of)
    value = math.fsum(one.value for one in known) / r
    down = math.sqrt(math.fsum((one.value - one.low) ** 2 for one in known)) / r
    up = math.sqrt(math.fsum((one.high - one.value) ** 2 for one in known)) / r
    return Measure(value, max(value - down, 0.0), min(value + up, 1.0), n)


def _f1_slope(p: F64, r: int) -> F64:
    """The derivative of macro F1 by each proportion of the matrix; the first r classes count."""
    both = (p.sum(axis=0) + p.sum(axis=1))[:r]
    down = np.zeros(len(p))
    down[:r] = 2.0 * np.diagonal(p)[:r] / (both * both) / r
    slope = -down[np.newaxis, :] - down[:, np.newaxis]
    slope[np.arange(r), np.arange(r)] += 2.0 / both / r
    return slope
