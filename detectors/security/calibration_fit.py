"""Making a calibration of the rows that a person chose: by kind of client, of one model version."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from detectors.security.base import Learned
from detectors.security.calibration import fit
from detectors.security.calibration_document import KindFit, document_of
from detectors.security.columns import columns_of
from detectors.security.fold import salt_of
from detectors.security.population import FIELDS, Learning, Rows
from schemas.batch import Decoded
from schemas.calibration import MAX_KINDS, BadCalibrationError, CalibrationDocument
from schemas.config import DetectionConfig
from schemas.source_hash import SourceKey

MAX_ROWS: Final = 100_000
"""Of one kind of client, the latest ones."""
LEAST_USUAL: Final = 200
"""Rows of clients of no kind, of fewer of which no population is made: what the least demanding
detector needs. A handful shows neither how far values reach nor which classes there are."""
MAX_VALUES: Final = 30_000_000
"""Of all kinds together: some 20 bytes each."""


class Choice(NamedTuple):
    """Of which events a calibration is wanted."""

    model_id: str
    model_version: str
    n_rows: int = MAX_ROWS
    """Of each kind of client, the latest, at most."""
    since_ms: int | None = None
    until_ms: int | None = None
    """Events from one time on and before the other, by `ts`; None: without that bound."""


class CalibrationRows:
    """The rows of each kind of client, as they come; then what is made of them.

    `source_key` is that of the workers: hashes, and so some thresholds, depend on it. Without one
    events have no sources, and all clients are one.
    """

    def __init__(
        self, choice: Choice, config: DetectionConfig, source_key: SourceKey | None
    ) -> None:
        self.choice: Final = choice
        self.names: Final[dict[str, None]] = {}
        """The models, with their versions, that were met."""
        self.n_refused: int = 0
        """Values for whose features there was no room."""
        self._max_features: Final = config.bounds.max_features
        self._source_key: Final = source_key
        self._salt: Final = salt_of(source_key)
        self._features: Final[dict[str, int]] = {}
        self._of_kind: Final[dict[str, Learning]] = {}
        self._n_events: int = 0

    @property
    def n_rows(self) -> int:
        """Rows that were wanted, of all kinds, without those that later ones have replaced."""
        return sum(own.n_rows for own in self._of_kind.values())

    def take(self, kind: str, events: Decoded) -> None:
        """Take in the next events of this kind of client, in their order.

        Raises `BadCalibrationError` where there are too many values, or kinds.
        """
        choice = self.choice
        columns = columns_of(events, self._n_events, self._salt)
        self._n_events += len(events)
        is_wanted = np.zeros(len(events), np.bool_)
        for number, key in enumerate(events.models):
            if key.model_version:
                self.names[f"{key.model_id} {key.model_version}"] = None
            if key[:2] == (choice.model_id, choice.model_version):
                is_wanted |= events.model == number
        is_wanted &= ~events.is_label
        if choice.since_ms is not None:
            is_wanted &= events.event_time_ms >= choice.since_ms
        if choice.until_ms is not None:
            is_wanted &= events.event_time_ms < choice.until_ms
        rows = np.flatnonzero(is_wanted)
        if not len(rows):
            return
        own = self._of_kind.setdefault(kind, Learning(self._features))
        if len(self._of_kind) > MAX_KINDS:
            raise BadCalibrationError(f"there are at most {MAX_KINDS} kinds of client")
        self.n_refused += own.add(columns, rows, self._max_features)
        while own.n_rows - len(own.chunks[0].length) >= choice.n_rows:
            first = own.chunks.pop(0)
            own.n_rows -= len(first.length)
        n_values = sum(len(c.word) for each in self._of_kind.values() for c in each.chunks)
        if n_values > MAX_VALUES:
            raise BadCalibrationError(
                f"more than {MAX_VALUES:,} values of features are not calibrated by: take fewer "
                "rows with --events"
            )

    def fit(self) -> CalibrationDocument:
        """What every detector makes of these rows, by one population.

        It is that of the clients of no kind: they are what is usual, and it is they who are judged
        by it. Rows of another kind, such as those of a sensor that follow each other in time, would
        make near what is far. Where fewer than `LEAST_USUAL` are of no kind it is that of all.

        Raises `BadCalibrationError` where there are none, or they do for no detector.
        """
        if not self._of_kind:
            known = ", ".join([*self.names][:20]) or "no model"
            raise BadCalibrationError(
                f"there is no prediction of model {self.choice.model_id}, version "
                f"{self.choice.model_version}, within the times that were asked for; there is "
                f"{known}"
            )
        latest = {
            kind: _latest(own.rows(), self.choice.n_rows)
            for kind, own in sorted(self._of_kind.items())
        }
        lengths = [len(rows.length) for rows in latest.values()]
        together = Learning(self._features, list(latest.values()), sum(lengths))
        usual = latest.get("")
        if usual is not None and len(usual.length) < LEAST_USUAL:
            usual = None
        population, learned = together.freeze(self._salt, usual)
        if not population.features:
            raise BadCalibrationError("the rows have no features to calibrate by")
        kinds: dict[str, KindFit] = {}
        start = 0
        for kind, n in zip(latest, lengths, strict=True):
            kinds[kind] = _fitted(_part(learned, start, start + n))
            start += n
        return document_of(
            self.choice.model_id,
            self.choice.model_version,
            population,
            kinds,
            None if self._source_key is None else self._source_key.fingerprint,
        )


def _fitted(own: Learned) -> KindFit:
    fitted, missing = fit(own, reviewed=True)
    times = own.event_time_ms
    return KindFit(
        n_rows=len(own),
        n_sources=int(own.source.max()) + 1,
        times_ms=(int(times.min()), int(times.max())),
        detectors=fitted,
        missing=missing,
    )


def _part(learned: Learned, start: int, stop: int) -> Learned:
    """Some rows of these, whose clients are numbered anew."""
    _, source = np.unique(learned.source[start:stop], return_inverse=True)
    return Learned(
        z=learned.z[start:stop].copy(),
        n_numbers=learned.n_numbers,
        source=source.reshape(-1).astype(np.int32),
        row_hash=learned.row_hash[start:stop].copy(),
        predicted=learned.predicted[start:stop].copy(),
        margin=learned.margin[start:stop].copy(),
        score=learned.score[start:stop].copy(),
        event_time_ms=learned.event_time_ms[start:stop].copy(),
    )


def _latest(rows: Rows, n_most: int) -> Rows:
    """The last so many of these rows."""
    n_left_out = max(len(rows.length) - n_most, 0)
    n_values = int(rows.length[:n_left_out].sum(dtype=np.int64))
    kept: dict[str, Any] = {
        name: getattr(rows, name)[n_values if of_values else n_left_out :]
        for name, _, of_values in FIELDS
    }
    return Rows(**kept)
