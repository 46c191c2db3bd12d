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
from benchmarks.drift.contest import Contestant, Entrant
from benchmarks.drift.hits import ALWAYS, Hits, score
from schemas.batch import F64
from streams.census import REAL_CHANGES

N_REFERENCE: Final = 2_000
ARL0: Final = 1e8
HIT_ROWS: Final = 1_000
"""An alarm within so many rows of a change, and before the next one, is a hit."""
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
    hits: Hits


def path_of(name: str) -> Path | None:
    """Where a stream is; None where it is not."""
    folder = os.environ.get("DRIFTSENTRY_DATA")
    path = Path(folder or "") / name
    return path if folder and path.is_file() else None


def measure(who: Entrant | None, arl0: float) -> tuple[list[Real], list[str]]:
    """Every signal of every stream that is there, and what was not run and why; None: `ALWAYS`."""
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
        # An error, not a warning: three columns of elec2 are constant in their reference.
        with np.errstate(divide="raise", invalid="raise"):
            found += run(name.partition(".")[0], read_columns(path), changes, who, arl0)
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


def run(
    stream: str,
    columns: Mapping[str, F64],
    changes: list[int],
    who: Entrant | None,
    arl0: float,
) -> list[Real]:
    """Feed all signals at once, one lane each."""
    values = np.stack([departures(x) for x in columns.values()])
    n_rows = values.shape[1]
    ends = [*changes[1:], n_rows]
    windows = [
        (change, min(change + HIT_ROWS, end)) for change, end in zip(changes, ends, strict=True)
    ]
    found = []
    for name, rows in zip(columns, alarms(values, N_REFERENCE, who, arl0), strict=True):
        late = [
            next((row - change for row in rows if change <= row < end), None)
            for change, end in zip(changes, ends, strict=True)
        ]
        n_before = sum(row < changes[0] for row in rows)
        hits = score(rows, windows, N_REFERENCE, n_rows)
        shown = who.name if who is not None else ALWAYS
        found.append(Real(stream, name, shown, n_before, len(rows), late, hits))
    return found


def alarms(values: F64, n_reference: int, who: Entrant | None, arl0: float) -> list[list[int]]:
    """The rows, ascending, at which each lane of (lanes, rows) has an alarm; None: at every one."""
    if who is None:
        return [list(range(n_reference, values.shape[1])) for _ in values]
    contestant = Contestant(who, values[:, :n_reference], arl0)
    rows: list[list[int]] = [[] for _ in values]
    for firing in contestant.feed(values[:, n_reference:]):
        rows[firing.lane].append(firing.offset + n_reference)
    return [sorted(each) for each in rows]


def departures(x: F64, n_reference: int = N_REFERENCE) -> F64:
    """As the fold does: of a signal that is constant in the reference, whether it departs."""
    reference = x[:n_reference]
    if np.ptp(reference) > 0:
        return x
    departs: F64 = (x != reference[0]).astype(np.float64)
    return departs
