"""The same detectors on real streams whose changes are known, where `DRIFTSENTRY_DATA` has them."""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.census import FILE as CENSUS
from benchmarks.census import read
from benchmarks.drift.contest import Contestant
from schemas.batch import F64
from streams.census import REAL_CHANGES

N_REFERENCE: Final = 2_000
ARL0: Final = 1e8
ELEC2: Final = "elec2.csv.gz"
ELEC2_CHANGE: Final = 17_424
"""From here on three columns vary that were constant."""


@dataclass(frozen=True, slots=True)
class Real:
    """What one detector made of one signal of a real stream."""

    stream: str
    signal: str
    detector: str
    n_before: int
    """Alarms before the first known change."""
    n_alarms: int
    late: list[int | None]
    """Rows from each known change to the next alarm; None: the next change came first."""


def path_of(name: str) -> Path | None:
    """Where a stream is; None where it is not."""
    folder = os.environ.get("DRIFTSENTRY_DATA")
    path = Path(folder or "") / name
    return path if folder and path.is_file() else None


def measure(detector: str) -> tuple[list[Real], list[str]]:
    """Every signal of every stream that is there, and what was not run and why."""
    found: list[Real] = []
    missing: list[str] = []
    for name, read_columns, changes in (
        (CENSUS, census, [change.row for change in REAL_CHANGES]),
        (ELEC2, elec2, [ELEC2_CHANGE]),
    ):
        path = path_of(name)
        if path is None:
            missing.append(f"{name}: DRIFTSENTRY_DATA names no directory that holds it")
            continue
        found += run(name.partition(".")[0], read_columns(path), changes, detector)
    return found, missing


def census(path: Path) -> dict[str, F64]:
    """16 features, the score and the predicted class."""
    return {name.removeprefix("feature:"): x for name, x in read(path).items()}


def elec2(path: Path) -> dict[str, F64]:
    """The three columns that are constant until the change."""
    with gzip.open(path, "rt") as lines:
        rows = list(csv.DictReader(lines))
    return {
        name: np.array([row[name] for row in rows], np.float64)
        for name in ("vicprice", "vicdemand", "transfer")
    }


def run(stream: str, columns: Mapping[str, F64], changes: list[int], detector: str) -> list[Real]:
    """Feed all signals at once, one lane each."""
    values = np.stack([departures(x) for x in columns.values()])
    contestant = Contestant(detector, values[:, :N_REFERENCE], ARL0)
    rows: list[list[int]] = [[] for _ in columns]
    for firing in contestant.feed(values[:, N_REFERENCE:]):
        rows[firing.lane].append(firing.offset + N_REFERENCE)
    ends = [*changes[1:], values.shape[1]]
    found = []
    for name, fired in zip(columns, map(sorted, rows), strict=True):
        late = [
            next((row - change for row in fired if change <= row < end), None)
            for change, end in zip(changes, ends, strict=True)
        ]
        n_before = sum(row < changes[0] for row in fired)
        found.append(Real(stream, name, detector, n_before, len(fired), late))
    return found


def departures(x: F64) -> F64:
    """As the fold does: of a signal that is constant in the reference, whether it departs."""
    reference = x[:N_REFERENCE]
    if np.ptp(reference) > 0:
        return x
    departs: F64 = (x != reference[0]).astype(np.float64)
    return departs
