"""How well a model predicts where no labels are: what its calibrated scores make it expect.

Confidence-based performance estimation (CBPE), after the documentation of NannyML, with an interval
of our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detectors.performance.calibration import Calibration
from detectors.performance.intervals import LEVEL, Measure, clipped, quantile, total_of
from detectors.performance.outputs import Task
from detectors.performance.ranking import place
from schemas.batch import F64, I64


@dataclass(frozen=True, slots=True)
class Estimate:
    """The metrics that are expected of some predictions; None: it does not apply, or no rows.

    An interval is one for what labels would say of these very rows, if the score means what it
    meant in the reference: it contains the chance of their outcomes and that of the reference.
    """

    n_rows: int
    """Predictions with a score and a class."""
    n_unknown: int
    """Those of them with a score where no labelled row was near: nothing is known there."""
    confusion: F64
    """(2, 2) expected counts, by true and by predicted class, the positive one last; of a model
    with several classes all is in the last column: wrong and right predictions."""
    accuracy: Measure | None
    precision: Measure | None
    recall: Measure | None
    f1: Measure | None
    auc: Measure | None


def estimate(cells: I64, calibration: Calibration, task: Task, level: float = LEVEL) -> Estimate:
    """The expected metrics of (2, b) predictions: of the negative class, of the positive one.

    With p the probability of a bin, the true positives of its n rows are binomial. Metrics are
    those of the expected counts. Their variance is that of the delta method, with two parts: the
    sum over the bins of slope**2 n p (1 - p), and over the pools of the calibration the square
    of the sum of slope n, times the variance of the pool's p. Precision, recall and F1 exist for
    binary models only. Raises ValueError unless 0 < level < 1.
    """
    z = quantile(level)
    n = cells.astype(np.float64)
    p = calibration.p
    n_rows = int(cells.sum())
    n_known = int(cells[:, calibration.is_known].sum())
    n_negative, n_positive = total_of(n[0]), total_of(n[1])
    hits, missed = total_of(n[1] * p), total_of(n[0] * p)
    confusion = np.array([[n_negative - missed, n_positive - hits], [missed, hits]])

    def reach(slope: F64) -> float:
        """`slope` (2, b) or (2, 1): by how much the metric grows with an outcome of a cell."""
        slope = np.broadcast_to(slope, n.shape)
        moved = np.bincount(
            calibration.pool, (slope * n).sum(axis=0), minlength=len(calibration.variance)
        )
        chance = total_of(slope * slope * n * calibration.spread)
        return z * math.sqrt(chance + total_of(moved * moved * calibration.variance))

    def of(value: float, negative: float, positive: float, rows: float) -> Measure:
        return clipped(value, reach(np.array([[negative], [positive]])), round(rows))

    accuracy = precision = recall = f1 = None
    if n_rows:
        right = n_negative - missed + hits
        accuracy = of(right / n_rows, -1.0 / n_rows, 1.0 / n_rows, n_rows)
    if task == Task.BINARY:
        true, either = hits + missed, n_positive + hits + missed
        if n_positive:
            precision = of(hits / n_positive, 0.0, 1.0 / n_positive, n_positive)
        if true:
            square = true * true
            recall = of(hits / true, -hits / square, missed / square, true)
        if either:
            down = 2.0 * hits / (either * either)
            f1 = of(2.0 * hits / either, -down, 2.0 / either - down, either - hits)
    return Estimate(
        n_rows,
        n_rows - n_known,
        confusion,
        accuracy,
        precision,
        recall,
        f1,
        _auc(n.sum(axis=0), p, reach, n_rows),
    )


def _auc(n: F64, p: F64, reach: Callable[[F64], float], n_rows: int) -> Measure | None:
    """The area of the expected histograms of both outcomes, (b,) rows with probabilities p."""
    positives, negatives = n * p, n * (1.0 - p)
    placed = place(negatives, positives)
    if placed is None:
        return None
    # An outcome more gains the negatives below it, and loses the positives above it that it was
    # counted with; and the number of pairs changes.
    n_positive, n_negative = total_of(positives), total_of(negatives)
    slope = (placed.below - placed.auc) / n_positive - (placed.above - placed.auc) / n_negative
    return clipped(placed.auc, reach(slope[np.newaxis, :]), n_rows, placed.error)
