"""Compile every kernel now, by folding a few events: `python -m detectors.warm`.

The machine code goes into numba's cache (`NUMBA_CACHE_DIR`, else beside the sources), where the
next process finds it. An image does this when it is built.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from detectors.drift.rhythm import DAY, Rhythm
from detectors.fold import Fold
from detectors.kernels.leakage import strengths
from detectors.performance.labelled import LabelledPerformance
from detectors.performance.outputs import Output, ScoreOf, Shape, Task
from detectors.performance.rows import JoinedRows, ScoredRows
from detectors.performance.unlabelled import UnlabelledPerformance
from detectors.registry import REGISTRY
from detectors.security import exposure, label_poisoning
from detectors.security.fold import SecurityFold
from schemas.batch import Decoded, ModelKey, PredictionKind, ValueKind
from schemas.config import DetectionConfig, DetectorsConfig, LabelsConfig
from schemas.records import TopicPartition

N_REFERENCE = 40
"""The fewest events of a reference by which it is said how typical a row is."""


def warm() -> list[str]:
    """Fold two references' worth of events, save the state and go on from it; the banks' names."""
    every_one: dict[str, dict[str, object]] = {name: {"enabled": True} for name in REGISTRY}
    every_one["kswin"]["seed"] = 1
    config = DetectionConfig(
        reference_events=N_REFERENCE,
        detectors=DetectorsConfig.model_validate(every_one),
        labels=LabelsConfig(enabled=True),
    )
    fold = Fold(config)
    fold.process(_events(2 * N_REFERENCE))
    # So short a reference has no rhythm that would be taken out.
    Rhythm(np.zeros(DAY), 1, 0.0).without(np.zeros(0), np.zeros(0, np.int64))
    # Nor has it a block of labels of whose features it is asked how well they tell them.
    strengths(np.zeros((2, 1), np.float32), np.array([True, False]), 1, np.zeros(1))
    _join(2)
    exposure.warm()
    label_poisoning.warm()
    _watch(2_400)
    return list(Fold(config, fold.snapshot()).banks)


def _watch(n: int) -> None:
    """Predictions of one model's clients, of whom it is learned what is usual, all different."""
    config = DetectionConfig()
    fold = SecurityFold(config, None)
    events = _events(n)
    value = events.value.copy()
    value[::3] = np.random.default_rng(1).normal(size=n)
    fold.process(replace(events, value=value))
    SecurityFold(config, None, fold.snapshot())


def _join(n: int) -> None:
    """Predictions of one model, then the labels of all of them."""
    output = Output(Task.BINARY, ScoreOf.POSITIVE, positive=1)
    labelled = LabelledPerformance(Shape(), LabelsConfig().windows, 1)
    unlabelled = UnlabelledPerformance(Shape(), 1)
    labelled.declare(0, output)
    unlabelled.declare(0, output)
    slot, predicted = np.zeros(n, np.int32), np.ones(n, np.int32)
    number, score, time = np.full(n, np.nan), np.full(n, 0.75), np.arange(n)
    unlabelled.update(ScoredRows(slot, predicted, score, time))
    labelled.update(JoinedRows(slot, predicted, number, score, predicted, number, time))


def _events(n: int) -> Decoded:
    """Predictions of one model: two numbers, a category missing at times, a class, a score."""
    rows = np.arange(n, dtype=np.int64)
    kind = np.full((n, 3), ValueKind.NUMBER, dtype=np.uint8)
    kind[:, 1] = np.where(rows % 4 == 0, ValueKind.NULL, ValueKind.STRING)
    value = np.full((n, 3), np.nan)
    value[:, 0] = rows % 7
    value[:, 1] = np.where(rows % 4 == 0, np.nan, rows % 3)
    value[:, 2] = rows % 5
    return Decoded(
        tp=TopicPartition("warm", 0),
        offset=rows,
        row=np.zeros(n, dtype=np.int32),
        record_time_ms=rows,
        event_time_ms=rows,
        is_label=np.zeros(n, dtype=np.bool_),
        model=np.zeros(n, dtype=np.int32),
        models=[ModelKey("warm", "1")],
        shape=np.zeros(n, dtype=np.int32),
        shapes=[("number", "category", "other")],
        value_ptr=np.arange(n + 1, dtype=np.int64) * 3,
        value=value.reshape(-1),
        kind=kind.reshape(-1),
        categories=["a", "b", "c"],
        score=(rows % 5) / 5.0,
        prediction_kind=np.full(n, PredictionKind.INTEGER, dtype=np.uint8),
        prediction=(rows % 2).astype(np.float64),
        predicted_class=(rows % 2).astype(np.int32),
        classes=["0", "1"],
        source=np.zeros((n, 2), dtype=np.uint64),
        event_id=np.arange(n, dtype=np.uint64),
        latency_ms=(rows % 3).astype(np.float64),
        n_unknown_fields=0,
        n_sources_dropped=0,
    )


if __name__ == "__main__":
    sys.stdout.write(f"compiled: {', '.join(warm())}\n")
