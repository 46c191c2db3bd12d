"""The metrics of one model version, read from a tally."""

from __future__ import annotations

import math
from dataclasses import dataclass

from detectors.kernels.performance import (
    ABSOLUTE,
    BRIER,
    BRIER_2,
    CLASSES,
    FOURTH,
    LOG_LOSS,
    LOG_LOSS_2,
    NUMBERS,
    POOLED,
    REFUSED,
    RIGHT,
    ROWS,
    SCORED,
    SQUARE,
)
from detectors.performance.classes import ClassMetrics, macro, occurring, of_class
from detectors.performance.intervals import LEVEL, Measure, mean, proportion, quantile
from detectors.performance.outputs import ScoreOf, Task
from detectors.performance.ranking import roc_auc
from detectors.performance.reliability import (
    CalibrationError,
    ReliabilityBin,
    calibration_error,
    reliability,
)
from detectors.performance.tally import Tally


@dataclass(frozen=True, slots=True)
class Metrics:
    """What is known of some rows of a model version; None: it does not apply, or there are too few.

    Of a model with several classes `log_loss`, `brier`, `auc` and the calibration are those of its
    confidence: how well the score tells right predictions from wrong ones.
    """

    n_rows: int
    first_ms: int
    last_ms: int
    """The least and the greatest event time, epoch ms; 0 without rows."""
    n_pooled: int
    """Rows with a class that has no place of its own in the matrix."""
    n_refused: int
    """Rows whose score should be a probability, and is none."""
    accuracy: Measure | None
    positive: ClassMetrics | None
    """Of the positive class of a binary model."""
    macro: ClassMetrics | None
    by_class: dict[int, ClassMetrics]
    """By number, the classes that occur."""
    log_loss: Measure | None
    brier: Measure | None
    auc: Measure | None
    calibration: CalibrationError | None
    reliability: tuple[ReliabilityBin, ...]
    mae: Measure | None
    rmse: Measure | None


def metrics(tally: Tally, level: float = LEVEL) -> Metrics:
    """All metrics of a tally; raises ValueError unless 0 < level < 1."""
    z = quantile(level)
    output, confusion = tally.output, tally.confusion
    has_classes = output.task in {Task.BINARY, Task.MULTICLASS}
    is_probability = output.score_of >= ScoreOf.POSITIVE
    n_scored = tally.count(SCORED) if is_probability else 0
    bins = reliability(tally, z) if n_scored else ()
    return Metrics(
        n_rows=tally.count(ROWS),
        first_ms=int(tally.times[0]),
        last_ms=int(tally.times[1]),
        n_pooled=tally.count(POOLED),
        n_refused=tally.count(REFUSED),
        accuracy=proportion(tally.count(RIGHT), tally.count(CLASSES), z),
        positive=(of_class(confusion, output.positive, z) if output.task == Task.BINARY else None),
        macro=macro(confusion, z) if has_classes else None,
        by_class={one: of_class(confusion, one, z) for one in occurring(confusion)},
        log_loss=mean(tally.sum_of(LOG_LOSS), tally.sum_of(LOG_LOSS_2), n_scored, z),
        brier=mean(tally.sum_of(BRIER), tally.sum_of(BRIER_2), n_scored, z),
        auc=roc_auc(tally.histogram, z),
        calibration=calibration_error(bins, z),
        reliability=bins,
        mae=mean(tally.sum_of(ABSOLUTE), tally.sum_of(SQUARE), tally.count(NUMBERS), z),
        rmse=_root(mean(tally.sum_of(SQUARE), tally.sum_of(FOURTH), tally.count(NUMBERS), z)),
    )


def _root(of: Measure | None) -> Measure | None:
    """The root of a mean of squares: its interval is that of the mean, mapped."""
    if of is None:
        return None
    return Measure(math.sqrt(of.value), math.sqrt(of.low), math.sqrt(of.high), of.n)
