"""Real series whose changes people have marked: NAB's windows and TCPD's change points.

Most of NAB's windows are anomalies, not changes that last; TCPD's series are short. What is hit is
read beside what chance hits with as many alarms.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.drift.contest import Entrant
from benchmarks.drift.hits import ALWAYS, Hits, Window, score
from benchmarks.drift.real import alarms, departures, path_of
from schemas.batch import F64

ARL0: Final = 1e5
NAB: Final = ("nab_dev.csv.gz", "nab_dev.labels.json")
TCPD: Final = ("tcpd_dev.csv.gz", "tcpd_dev.annotations.json")
_SHARE: Final = 0.15
"""Of a series, its reference; in NAB's own rules, too."""
_MOST: Final = 750
_LEAST: Final = 20
_SHORTEST: Final = 100
"""Of TCPD's sets: four have fewer rows, which leave none after a reference, or a handful."""
_AGREED: Final = 3
"""So many of the five annotators of TCPD make a change point ..."""
_TOGETHER: Final = 5
"""... where they are no further apart than so many rows."""
_WINDOW_SHARE: Final = 0.1
"""Of a series, within which an alarm after a change point of TCPD is a hit."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series: (columns, rows), and the windows in which an alarm is right."""

    name: str
    values: F64
    windows: list[Window]

    def n_reference(self) -> int:
        """Its first rows."""
        n_rows = self.values.shape[1]
        return max(_LEAST, min(int(_SHARE * n_rows), _MOST))


@dataclass(frozen=True, slots=True)
class Labelled:
    """What one detector hit in all series of a collection."""

    collection: str
    detector: str
    n_series: int
    hits: Hits


def measure_labelled(who: Entrant | None, arl0: float) -> tuple[list[Labelled], list[str]]:
    """Both collections, and what was not run and why; None: an alarm at every row."""
    found: list[Labelled] = []
    missing: list[str] = []
    readers: tuple[tuple[tuple[str, str], Callable[[Path, Path], Iterator[Series]]], ...] = (
        (NAB, nab),
        (TCPD, tcpd),
    )
    for names, read in readers:
        paths = [path_of(name) for name in names]
        rows, labels = paths
        if rows is None or labels is None:
            lost = ", ".join(n for n, path in zip(names, paths, strict=True) if path is None)
            missing.append(f"{lost}: DRIFTSENTRY_DATA names no directory that holds it")
            continue
        hits, n_series = Hits(), 0
        for series in read(rows, labels):
            n_series += 1
            hits += run(series, who, arl0)
        shown = who.name if who is not None else ALWAYS
        found.append(Labelled(names[0].partition("_")[0].upper(), shown, n_series, hits))
    return found, missing


def run(series: Series, who: Entrant | None, arl0: float) -> Hits:
    """Alarms of any of its columns, those at the same row counted once."""
    n = series.n_reference()
    values = np.stack([departures(x, n) for x in series.values])
    with np.errstate(divide="raise", invalid="raise"):
        fired = {row for rows in alarms(values, n, who, arl0) for row in rows}
    return score(sorted(fired), series.windows, n, values.shape[1])


def nab(rows: Path, labels: Path) -> Iterator[Series]:
    """18 series of one column; windows are NAB's, inclusive in the file."""
    values: dict[str, list[float]] = {}
    with gzip.open(rows, "rt") as lines:
        for row in csv.DictReader(lines):
            values.setdefault(row["series"], []).append(float(row["value"]))
    known: dict[str, Any] = json.loads(labels.read_text("utf-8"))
    for name, column in values.items():
        windows = [(a, b + 1) for a, b in known[name]["window_index_inclusive"]]
        yield Series(name, np.array([column]), windows)


def tcpd(rows: Path, labels: Path) -> Iterator[Series]:
    """The sets that are long enough; a window begins where enough annotators saw a change."""
    values: dict[str, dict[str, list[float]]] = {}
    with gzip.open(rows, "rt") as lines:
        for row in csv.DictReader(lines):
            columns = values.setdefault(row["dataset"], {})
            # What is missing is what was there before, so that columns stay beside each other.
            column = columns.setdefault(row["series"], [])
            column.append(float(row["value"]) if row["value"] else (column or [0.0])[-1])
    known: dict[str, Any] = json.loads(labels.read_text("utf-8"))
    for name, columns in values.items():
        n_rows = min(map(len, columns.values()))
        if n_rows < _SHORTEST:
            continue
        points = agreed(list(known[name]["annotations"].values()))
        width = max(int(_WINDOW_SHARE * n_rows), 1)
        windows = [(a, min(a + width, b)) for a, b in pairwise([*points, n_rows])]
        yield Series(name, np.array([column[:n_rows] for column in columns.values()]), windows)


def agreed(annotations: list[list[int]]) -> list[int]:
    """Points that enough annotators have: of each group the first; ascending."""
    marks = sorted((row, who) for who, rows in enumerate(annotations) for row in rows)
    points: list[int] = []
    at = 0
    while at < len(marks):
        first = marks[at][0]
        group = [who for row, who in marks[at:] if row <= first + _TOGETHER]
        if len(set(group)) >= _AGREED:
            points.append(first)
            at += len(group)
        else:
            at += 1
    return points
