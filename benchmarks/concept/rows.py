"""The census as a log with labels: features, some of them categories, and each row's truth.

A label comes right after its prediction, or so many predictions later. Events are a second apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types

from benchmarks.performance.rows import FILE, CensusRows
from schemas.batch import F64, I64, Bool, Decoded, ModelKey, PredictionKind, ValueKind
from streams.census import FEATURES, REAL_CHANGES, read_sample
from tests.detectors.decoded import TP

SLICES: Final = ("RELP", "MAR", "SEX")
"""Features that are sent as categories, and whose groups are compared."""
MODEL: Final = "census"
CONCEPT, RECOVERY = (change.row for change in REAL_CHANGES[1:])
START_MS: Final = 1_790_000_000_000
SECOND_MS: Final = 1_000
POLL: Final = 4_096


@dataclass(frozen=True, slots=True)
class LabelledCensus:
    """n rows in file order."""

    row: I64
    """(n,) row number in the whole data set."""
    features: Mapping[str, I64]
    """Per feature (n,) codes."""
    rows: CensusRows

    def __len__(self) -> int:
        return len(self.row)

    @property
    def error(self) -> F64:
        """(n,) 1 where the prediction was wrong."""
        wrong: F64 = (self.rows.predicted != self.rows.employed).astype(np.float64)
        return wrong

    def index_of(self, row: int) -> int:
        """Where the first row from this one of the whole data set on stands."""
        return int(np.searchsorted(self.row, row))


def whole() -> LabelledCensus | None:
    """All rows; None where DRIFTSENTRY_DATA names no directory that has them."""
    path = Path(os.environ.get("DRIFTSENTRY_DATA", "")) / FILE
    if "DRIFTSENTRY_DATA" not in os.environ or not path.is_file():
        return None
    table = pq.read_table(path)
    features = {name: table[name].to_numpy().astype(np.int64) for name in FEATURES}
    names = ("prediction", "predicted_probability", "employed", "AGEP")
    rows = CensusRows(*(table[name].to_numpy().astype(np.float64) for name in names))
    return LabelledCensus(np.arange(len(rows)), features, rows)


def sample() -> LabelledCensus:
    """The 21,600 rows that are part of the package, with all three changes."""
    own = read_sample()
    rows = CensusRows(
        own.prediction.astype(np.float64),
        own.probability,
        own.employed.astype(np.float64),
        own.features["AGEP"].astype(np.float64),
    )
    return LabelledCensus(own.row, own.features, rows)


class Log:
    """The order in which predictions and labels come; (m,) each."""

    def __init__(self, census: LabelledCensus, delay: int) -> None:
        n = len(census)
        at = np.concatenate([2 * np.arange(n), 2 * (np.arange(n) + delay) + 1])
        order = np.argsort(at, kind="stable")
        self._census = census
        self.about: I64 = np.tile(np.arange(n), 2)[order]
        """The row that it is a prediction for, or a label of."""
        self.is_label: Bool = order >= n
        self.clock: I64 = np.cumsum(~self.is_label) - 1
        """The row of the latest prediction by then."""
        columns = [census.features[name] for name in FEATURES]
        names: list[str] = []
        for number, feature in enumerate(FEATURES):
            if feature in SLICES:
                codes, place = np.unique(columns[number], return_inverse=True)
                columns[number] = place + len(names)
                names += [str(code) for code in codes.tolist()]
        self._names = list(dict.fromkeys(names))
        """Each once: a code of one feature is the same text as that of another."""
        number_of = {name: i for i, name in enumerate(self._names)}
        translated = np.array([number_of[name] for name in names])
        for number, feature in enumerate(FEATURES):
            if feature in SLICES:
                columns[number] = translated[columns[number]]
        self._values: F64 = np.column_stack(columns).astype(np.float64)
        is_category = [feature in SLICES for feature in FEATURES]
        self._kinds = np.where(is_category, ValueKind.STRING, ValueKind.NUMBER).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.about)

    def polls(self) -> Iterator[Decoded]:
        """The log as the decoder would give it."""
        for start in range(0, len(self), POLL):
            yield self._poll(start, min(start + POLL, len(self)))

    def _poll(self, start: int, stop: int) -> Decoded:
        rows, about, is_label = self._census.rows, self.about[start:stop], self.is_label[start:stop]
        n = stop - start
        predicted = about[~is_label]
        said = np.where(is_label, rows.employed[about], rows.predicted[about])
        time_ms = START_MS + SECOND_MS * self.clock[start:stop]
        width = len(FEATURES)
        return Decoded(
            tp=TP,
            offset=np.arange(start, stop, dtype=np.int64),
            row=np.zeros(n, np.int32),
            record_time_ms=time_ms,
            event_time_ms=time_ms,
            is_label=is_label,
            model=is_label.astype(np.int32),
            models=[ModelKey(MODEL, "1"), ModelKey(MODEL, "")],
            shape=np.where(is_label, -1, 0).astype(np.int32),
            shapes=[FEATURES],
            value_ptr=np.concatenate([[0], np.cumsum(np.where(is_label, 0, width))]).astype(
                np.int64
            ),
            value=np.ascontiguousarray(self._values[predicted]).ravel(),
            kind=np.tile(self._kinds, len(predicted)),
            latency_ms=np.full(n, np.nan),
            categories=self._names,
            score=np.where(is_label, np.nan, rows.score[about]),
            prediction_kind=np.full(n, PredictionKind.INTEGER, np.uint8),
            prediction=said,
            predicted_class=said.astype(np.int32),
            classes=["0", "1"],
            source=np.zeros((n, 2), np.uint64),
            event_id=(about.astype(np.uint64) + 1) * np.uint64(0x9E3779B97F4A7C15),
            n_unknown_fields=0,
            n_sources_dropped=0,
        )
