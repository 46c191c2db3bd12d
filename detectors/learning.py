"""The rows of a reference while it is learned, and what detectors are told of them in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.categories import Tally, n_cells
from detectors.drift.cells import fit_cells
from detectors.drift.ranks import Frequencies, Indicator, Ranks, fit_in_time, fit_indicator
from detectors.drift.rhythm import Wanted
from detectors.kernels.observe import N_DERIVED_ROWS, SOURCE_CELL, SOURCE_NEW, observe
from detectors.signals import Signal
from schemas.batch import F64, I32, I64, U8, ValueKind
from schemas.config import MAX_CATEGORIES

ABSENT: Final = 255
"""Kind of a feature that a row does not have."""
MIN_ROWS: Final = 20
"""A reference with fewer observations of a signal says nothing of how it varies."""

COLUMNS: Final[dict[str, type[Any]]] = {
    "value": np.float64,
    "kind": np.uint8,
    "score": np.float64,
    "prediction": np.float64,
    "predicted_class": np.int32,
    "event_time_ms": np.int64,
    "latency_ms": np.float64,
    "flags": np.uint8,
}
"""What is kept of a row; `value` and `kind` of each feature."""
N_OUTPUT_COLUMNS: Final = 4
"""As much as this many features' values takes what is kept of a row besides."""


@dataclass(slots=True)
class Rows:
    """The rows seen so far, column by column; `value` and `kind` are (rows * features,)."""

    n_features: int = 0
    pieces: dict[str, list[NDArray[Any]]] = field(
        default_factory=lambda: {name: [] for name in COLUMNS}
    )

    @property
    def n(self) -> int:
        """How many rows there are."""
        return sum(map(len, self.pieces["score"]))

    def column(self, name: str) -> NDArray[Any]:
        """One column as one array."""
        pieces = self.pieces[name]
        if len(pieces) != 1:
            pieces[:] = [np.concatenate([np.zeros(0, COLUMNS[name]), *pieces])]
        return pieces[0]

    def add(
        self,
        value: F64,
        kind: U8,
        score: F64,
        prediction: F64,
        predicted_class: I32,
        event_time_ms: I64,
        latency_ms: F64,
        flags: U8,
    ) -> None:
        """Keep these rows of a poll; `value` and `kind` (rows, features), see `own_values`."""
        self.n_features = value.shape[1]
        new: dict[str, NDArray[Any]] = {
            "value": value.ravel(),
            "kind": kind.ravel(),
            "score": score,
            "prediction": prediction,
            "predicted_class": predicted_class,
            "event_time_ms": event_time_ms,
            "latency_ms": latency_ms,
            "flags": flags,
        }
        for name, array in new.items():
            self.pieces[name].append(array)

    def events_per_week(self) -> float:
        """The rate of its rows by their event times; 0 where they do not say.

        That of the middle nine tenths: a few wrong clocks must not decide it.
        """
        times = np.sort(self.column("event_time_ms"))
        n_aside = len(times) // 20
        middle = times[n_aside : len(times) - n_aside]
        span_ms = int(middle[-1] - middle[0]) if len(middle) else 0
        return (len(middle) - 1) * WEEK_MS / span_ms if span_ms > 0 else 0.0

    def observations(
        self,
        signals: Sequence[Signal],
        features: Sequence[int],
        tallies: Sequence[Tally] = (),
        derived: F64 | None = None,
    ) -> F64:
        """(signals, rows) what lanes of these signals would have observed, NaN where missing.

        `features` are the numbers of the features kept, in their order. Where `tallies` are given,
        in the same order, a category counts as new that none of the other rows has; cells need
        them. `derived` (N_DERIVED_ROWS, rows) is what signals of all features together, and of the
        event as such, observe.
        """
        n = self.n
        place = {feature: j for j, feature in enumerate(features)}
        index = [place[s.index] if s.is_input else s.index for s in signals]
        known = [
            [k for k, times in enumerate(tallies[j].counts) if times > 1]
            if signal.source in (SOURCE_NEW, SOURCE_CELL) and tallies
            else []
            for j, signal in zip(index, signals, strict=True)
        ]
        cells = [
            [tallies[j].cells[k] for k in own] if signal.is_cells else [0] * len(own)
            for own, j, signal in zip(known, index, signals, strict=True)
        ]
        code, kind = self.column("value"), self.column("kind")
        most = max((len(tally.counts) for tally in tallies), default=MAX_CATEGORIES)
        scales = [signal.scale for signal in signals]
        out = np.empty(len(signals) * n)
        observe(
            np.arange(n, dtype=np.int32),
            np.zeros(1, np.int32),
            np.array([0, n], np.int64),
            np.array([0, len(out)], np.int64),
            np.array([0, len(signals)], np.int64),
            np.array([signal.source for signal in signals], np.uint8),
            np.array(index, np.int32),
            np.array([signal.expected for signal in signals], np.uint8),
            np.array([scale.rule for scale in scales], np.uint8),
            np.array([scale.constant for scale in scales]),
            np.array([scale.mean for scale in scales]),
            np.array([scale.sd for scale in scales]),
            np.array([signal.category for signal in signals], np.int32),
            np.cumsum([0, *map(len, known)], dtype=np.int64),
            np.array(list(chain.from_iterable(known)), np.int32),
            np.array(list(chain.from_iterable(cells)), np.int32),
            np.arange(n, dtype=np.int64) * self.n_features,
            np.zeros(n, np.int64),
            np.arange(max(self.n_features, 1), dtype=np.int32),
            only_numbers(code, kind),
            code,
            kind,
            np.arange(most, dtype=np.int32),
            self.column("score"),
            self.column("prediction"),
            self.column("predicted_class"),
            np.full((N_DERIVED_ROWS, n), np.nan) if derived is None else derived,
            out,
        )
        return out.reshape(len(signals), n)

    def ranks(
        self,
        signals: Sequence[Signal],
        features: Sequence[int],
        tallies: Sequence[Tally],
        rhythms: Sequence[Wanted],
        derived: F64 | None = None,
    ) -> list[Ranks | Indicator | Frequencies | None]:
        """What detectors are told of each signal; None where too little of it was observed.

        `rhythms` are those that the config states, by signal.
        """
        if not signals:
            return []
        found: list[Ranks | Indicator | Frequencies | None] = []
        place = {feature: j for j, feature in enumerate(features)}
        times = self.column("event_time_ms")
        rows = self.observations(signals, features, tallies, derived)
        for signal, z, wanted in zip(signals, rows, rhythms, strict=True):
            is_there = ~np.isnan(z)
            observed = z[is_there]
            if len(observed) < MIN_ROWS:
                found.append(None)
            elif signal.is_cells:
                cells = tallies[place[signal.index]].cells
                found.append(fit_cells(observed, n_cells(cells)))
            elif signal.is_share:
                found.append(fit_indicator(observed, (0.5 - signal.scale.mean) / signal.scale.sd))
            else:
                found.append(fit_in_time(observed, times[is_there], wanted))
        return found


def own_values(
    rows: I32,
    features: I32,
    value_ptr: I64,
    column_ptr: I64,
    column: I32,
    value: F64,
    kind: U8,
) -> tuple[F64, U8]:
    """(rows, features) values of a poll and their kinds, ABSENT where a row has none.

    The columns are as `detectors.kernels.observe` takes them.
    """
    shape = len(rows), len(features)
    # A map of columns may be empty where there are no features.
    place = column[column_ptr[rows][:, None] + features] if len(features) else _NOWHERE
    at = (value_ptr[rows][:, None] + place)[:, : len(features)].ravel()
    is_there = place.ravel() >= 0
    own_value = np.full(len(at), np.nan)
    own_kind = np.full(len(at), ABSENT, np.uint8)
    own_value[is_there] = value[at[is_there]]
    own_kind[is_there] = kind[at[is_there]]
    return own_value.reshape(shape), own_kind.reshape(shape)


def only_numbers(value: F64, kind: U8) -> F64:
    """The values that are numbers, NaN for others; `value` itself where none is a category."""
    if not ((kind == ValueKind.STRING) | (kind == ValueKind.BOOLEAN)).any():
        return value
    return np.where(kind == ValueKind.NUMBER, value, np.nan)


WEEK_MS: Final = 7 * 86_400_000
_NOWHERE: Final = np.zeros((1, 0), np.int32)
