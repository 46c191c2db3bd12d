"""Labels late, missing, twice and with two answers: the metrics are those of the joined rows.

At full size, and beside scikit-learn: `python -m benchmarks.performance --only delayed`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from detectors.fold import Fold
from detectors.performance.metrics import Metrics
from schemas.batch import ModelKey
from schemas.config import DetectionConfig, LabelsConfig
from streams.census import read_sample
from tests.detectors.late_labels import (
    Expected,
    JoinedPair,
    LateLog,
    Stream,
    allowed_delay_ms,
    class_metrics,
    columns_of,
    expected_of,
    found_of,
    late_log,
    latest,
    number_metrics,
    polls,
)

N_ROWS = 14_000
N_REFERENCE = 300
MOST = 4_000
MAX_DELAY_MS = allowed_delay_ms(MOST)
WINDOWS = [1_000, 3_000, 10_000, 100_000]
CONFIG = DetectionConfig(
    reference_events=N_REFERENCE,
    labels=LabelsConfig(enabled=True, max_delay_ms=MAX_DELAY_MS, windows=WINDOWS),
)


def census_log() -> LateLog:
    """Who is employed, by a real model; and their ages, guessed from its probability."""
    sample = read_sample()
    rows = slice(0, N_ROWS)
    score = sample.probability[rows]
    return late_log(
        [
            Stream(
                "employed",
                sample.prediction[rows].astype(np.float64),
                sample.employed[rows].astype(np.float64),
                score,
            ),
            Stream("age", 20.0 + 60.0 * score, sample.features["AGEP"][rows].astype(np.float64)),
        ],
        MOST,
        seed=11,
    )


@lru_cache(1)
def folded() -> tuple[Fold, Expected]:
    """The fold after the log, resumed once on its way, and what is to come of it."""
    log = census_log()
    fold = Fold(CONFIG)
    for number, poll in enumerate(polls(log, 1_777)):
        if number == 14:
            fold = Fold(CONFIG, fold.snapshot())
        fold.process(poll)
    return fold, expected_of(log, MAX_DELAY_MS, N_REFERENCE)


def measured(model: str) -> list[tuple[Metrics, list[JoinedPair]]]:
    """What is measured of a model, in total and of its windows, with the rows behind it."""
    fold, expected = folded()
    assert fold.outcomes is not None
    slot = next(s for s, key in enumerate(keys(fold)) if key == ModelKey(model, "1"))
    found = fold.outcomes.metrics_of(slot)
    assert found is not None
    pairs = expected.pairs[["employed", "age"].index(model)]
    by_window = [(found.windows[n], latest(pairs, n)) for n in WINDOWS]
    assert len({len(own) for _, own in by_window}) == len(WINDOWS)
    assert by_window[-1][1] == pairs
    return [(found.total, pairs), *by_window]


def keys(fold: Fold) -> list[ModelKey]:
    """The model version in each slot."""
    return [fold.catalog.monitor(slot).key for slot in range(len(fold.catalog.slots))]


def test_labels_are_counted_as_the_rules_say() -> None:
    fold, expected = folded()
    for name, count in expected.counts.items():
        assert fold.counters[name] == count, name
    assert min(expected.counts.values()) > 50
    assert set(expected.counts) == {
        "n_joined_labels",
        "n_duplicate_labels",
        "n_conflicting_labels",
        "n_expired_labels",
    }
    assert fold.counters["n_early_labels"] == 0


def test_classes_are_measured_as_a_batch_over_the_joined_rows_would() -> None:
    for metrics, pairs in measured("employed"):
        found, expected = found_of(metrics), class_metrics(*columns_of(pairs))
        assert metrics.n_rows == len(pairs)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            measure = found[name]
            if name == "ROC-AUC":
                assert 0.0 < measure.error < 0.02
                assert abs(measure.value - value) <= measure.error
            else:
                assert measure.value == pytest.approx(value, rel=1e-9), name


def test_numbers_are_measured_as_a_batch_over_the_joined_rows_would() -> None:
    for metrics, pairs in measured("age"):
        predicted, _, truth = columns_of(pairs)
        found, expected = found_of(metrics), number_metrics(predicted, truth)
        assert metrics.n_rows == len(pairs)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].value == pytest.approx(value, rel=1e-9), name
