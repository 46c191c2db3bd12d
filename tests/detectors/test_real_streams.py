"""Parity with river on real streams, which this repository may not carry.

Put them into a directory and name it in DRIFTSENTRY_DATA: `us_census_ma_employment.parquet`,
`elec2.csv.gz`, `nab_dev.csv.gz`. Without them, parity rests on generated streams alone.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types
import pytest
from river import drift

from detectors.base import Z_LIMIT
from detectors.registry import REGISTRY
from schemas.batch import F64
from schemas.config import AdwinConfig, KswinConfig, PageHinkleyConfig
from tests.detectors.batches import feed, one_model, split
from tests.detectors.river_kswin import river_kswin

Columns = dict[str, F64]


def real(name: str) -> Path:
    """The path of one real stream; skips the test where there is none."""
    path = Path(os.environ.get("DRIFTSENTRY_DATA", "")) / name
    if "DRIFTSENTRY_DATA" not in os.environ or not path.is_file():
        pytest.skip(
            f"NO REAL STREAMS: DRIFTSENTRY_DATA names no directory with {name}; parity with river"
            " was tested on generated streams only (the one skip that is allowed)"
        )
    return path


def standardised(values: F64, n_reference: int) -> F64:
    """What follows the reference, in z; a column constant in it keeps its own unit."""
    reference = values[:n_reference]
    # Not "the deviation is zero": that of a constant may come out as 1e-17.
    sd = float(reference.std()) if np.ptp(reference) > 0 else 1.0
    z: F64 = np.clip((values[n_reference:] - reference.mean()) / sd, -Z_LIMIT, Z_LIMIT)
    return z


def census() -> Columns:
    table = pq.read_table(real("us_census_ma_employment.parquet"))
    return {
        name: standardised(table[name].to_numpy().astype(np.float64), 2000)
        for name in table.column_names
        if name != "year"
    }


def elec2() -> Columns:
    with gzip.open(real("elec2.csv.gz"), "rt") as lines:
        rows = list(csv.DictReader(lines))
    numbers = {name: [row[name] for row in rows] for name in rows[0] if name != "class"}
    numbers["class"] = [str(int(row["class"] == "UP")) for row in rows]
    return {name: standardised(np.array(v, np.float64), 2000) for name, v in numbers.items()}


def nab() -> Columns:
    series: dict[str, list[float]] = {}
    with gzip.open(real("nab_dev.csv.gz"), "rt") as lines:
        for row in csv.DictReader(lines):
            series.setdefault(row["series"], []).append(float(row["value"]))
    return {name: standardised(np.array(v), len(v) // 10) for name, v in series.items()}


def river_positions(detector: Any, z: F64) -> list[int]:
    positions = []
    for i, x in enumerate(z.tolist()):
        detector.update(x)
        if detector.drift_detected:
            positions.append(i)
    return positions


def our_positions(
    name: str, config: AdwinConfig | KswinConfig | PageHinkleyConfig, z: F64
) -> list[int]:
    bank = REGISTRY[name].build(config, 1, None)
    cuts = np.random.default_rng(len(z)).integers(0, len(z), 20).tolist()
    return [firing.offset for firing in feed(bank, split(one_model(z), cuts))]


SETTINGS: list[tuple[str, AdwinConfig | PageHinkleyConfig, dict[str, Any]]] = [
    ("adwin", AdwinConfig(enabled=True), {}),
    (
        "page_hinkley",
        PageHinkleyConfig(enabled=True),
        {"delta": 0.05, "threshold": 131.0, "alpha": 1.0},
    ),
    (
        "page_hinkley",
        PageHinkleyConfig(enabled=True, delta=0.005, threshold=50.0, alpha=0.9999),
        {},
    ),
]


@pytest.mark.parametrize("read", [census, elec2, nab])
@pytest.mark.parametrize(
    ("name", "config", "arguments"), SETTINGS, ids=["adwin", "page_hinkley", "rivers_page_hinkley"]
)
def test_fires_where_river_fires_on_real_streams(
    read: Callable[[], Columns],
    name: str,
    config: AdwinConfig | PageHinkleyConfig,
    arguments: dict[str, Any],
) -> None:
    make: Any = drift.ADWIN if name == "adwin" else drift.PageHinkley
    n_firings = 0
    for column, z in read().items():
        expected = river_positions(make(**arguments), z)
        assert our_positions(name, config, z) == expected, column
        n_firings += len(expected)
    assert n_firings > 10


@pytest.mark.parametrize("read", [census, elec2, nab])
def test_kswin_fires_where_river_fires_on_real_streams(read: Callable[[], Columns]) -> None:
    """The first rows of each column: river takes long for each."""
    config = KswinConfig(enabled=True, seed=1)
    n_firings = 0
    for column, z in read().items():
        expected = river_positions(river_kswin(config), z[:1_500])
        assert our_positions("kswin", config, z[:1_500]) == expected, column
        n_firings += len(expected)
    assert n_firings > 10


def test_the_three_changes_of_the_census_column_are_found() -> None:
    z = census()["RELP"]
    after_reference = [2000 + i for i in our_positions("adwin", AdwinConfig(enabled=True), z)]
    assert after_reference == [138_511, 202_415, 212_687]
    after_reference = [
        2000 + i for i in our_positions("page_hinkley", PageHinkleyConfig(enabled=True), z)
    ]
    assert after_reference == [138_686, 202_447, 212_723]
