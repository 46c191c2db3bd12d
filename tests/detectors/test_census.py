"""The fold on real model outputs: the census sample, and the whole file where it can be read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.census import ARL0, FILE, FIRST_CHANGE, SHOWN, alerts, fold, read
from detectors.fold import Fold
from schemas.batch import ModelKey
from schemas.config import DetectionConfig, DetectorsConfig
from schemas.findings import Finding
from streams.census import REAL_CHANGES, STRETCHES, read_sample
from tests.detectors.decoded import table

# River 0.26 on the same standardised inputs fires exactly here.
RIVER = {
    ("feature:RELP", "adwin"): [138511, 202415, 212687],
    ("feature:RELP", "page_hinkley"): [138686, 202447, 212723],
    ("class:1", "adwin"): [143055, 202447, 212719],
    ("class:1", "page_hinkley"): [144661, 202563, 212776],
    ("score", "adwin"): [140687, 202447, 212719],
    ("score", "page_hinkley"): [145188, 202565, 212804],
}


def test_the_sample_holds_its_real_changes_and_the_fold_finds_them() -> None:
    sample = read_sample()
    features = {name: column.astype(np.float64) for name, column in sample.features.items()}
    events = table(
        ModelKey("census", "1"),
        features,
        sample.probability,
        sample.prediction.astype(np.float64),
        0,
    )
    said = Fold(DetectionConfig()).process(events)

    for signal in SHOWN:
        rows = [
            int(sample.row[f.offset]) for f in said if isinstance(f, Finding) and f.signal == signal
        ]
        for change in REAL_CHANGES[1:]:
            assert any(0 <= row - change.row <= 200 for row in rows), (signal, change, rows)
    relp = [
        int(sample.row[f.offset])
        for f in said
        if isinstance(f, Finding) and f.signal == "feature:RELP"
    ]
    assert STRETCHES[0][0] < FIRST_CHANGE <= min(relp) < FIRST_CHANGE + 1_500


def test_the_whole_file_in_row_order_and_shuffled() -> None:
    path = Path(os.environ.get("DRIFTSENTRY_DATA", "")) / FILE
    if "DRIFTSENTRY_DATA" not in os.environ or not path.is_file():
        pytest.skip(f"NO REAL STREAMS: DRIFTSENTRY_DATA names no directory that holds {FILE}")
    columns = read(path)

    said, _ = fold(columns, np.arange(len(columns["score"])))
    shuffled, _ = fold(columns, np.random.default_rng(7).permutation(FIRST_CHANGE))

    findings = [f for f in said if isinstance(f, Finding)]
    for (signal, detector), rows in RIVER.items():
        assert [f.offset for f in findings if (f.signal, f.detector) == (signal, detector)] == rows
    false = [f.detector for f in shuffled if isinstance(f, Finding)]
    assert false.count("adwin") <= 8
    assert false.count("page_hinkley") <= 3


def test_the_default_detector_opens_one_alert_for_each_change_of_the_whole_file() -> None:
    path = Path(os.environ.get("DRIFTSENTRY_DATA", "")) / FILE
    if "DRIFTSENTRY_DATA" not in os.environ or not path.is_file():
        pytest.skip(f"NO REAL STREAMS: DRIFTSENTRY_DATA names no directory that holds {FILE}")
    columns = read(path)
    said, _ = fold(columns, np.arange(len(columns["score"])), DetectorsConfig(), ARL0)

    found = alerts(said)
    assert sum(alert.opened_offset < FIRST_CHANGE for alert in found) <= 2
    for change in REAL_CHANGES:
        assert sum(abs(alert.change_offset - change.row) < 1_000 for alert in found) == 1
    assert len(found) <= len(REAL_CHANGES) + 10
