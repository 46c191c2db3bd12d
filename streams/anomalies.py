"""From suspicions to anomalies: what belongs together, when it is told, when it is over.

Pure: suspicions in log order go in, OCSF findings come out, and the open anomalies are state. There
is no clock: an anomaly ends when so many events of the partition have passed without new evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.base import BankState
from detectors.security.base import Suspicion
from schemas.anomalies import AnomalyData, AnomalyStatus, Ending
from schemas.batch import I32, I64, ModelKey
from schemas.security_config import SecurityConfig
from schemas.source_hash import pseudonym
from streams.anomaly import EXPOSURE, NAMELESS, Anomaly, Kind, Place, Words, within
from streams.anomaly_book import AnomalyBook
from streams.anomaly_records import Occasion, Origin, anomaly_data
from streams.anomaly_state import restore_anomalies, snapshot_anomalies
from streams.identity import anomaly_id

ANOMALY_POLICY_VERSION: Final = 2
"""Version of these rules and of their state."""


class Passed(NamedTuple):
    """The events that have been folded since the last call, in the order of the log, n of them."""

    offset: I64
    """(n,)"""
    event_row: I32
    """(n,) index of the event within its record."""
    event_time_ms: I64
    """(n,)"""

    def before(self, offset: int, event_row: int) -> int:
        """How many of them stand before that place in the log."""
        first = int(np.searchsorted(self.offset, offset, "left"))
        last = int(np.searchsorted(self.offset, offset, "right"))
        return first + int(np.searchsorted(self.event_row[first:last], event_row, "left"))


class AnomalyPolicy:
    """The open anomalies of one partition.

    `lineage`, `deployment` and `partition` are what its records say of their origin; `key_id` is
    the fingerprint of the key that sources are hashed with. Raises `StateError` where `state` is no
    earlier `snapshot()`.
    """

    def __init__(
        self,
        config: SecurityConfig,
        lineage: str,
        deployment: str,
        partition: int,
        key_id: str | None,
        state: BankState | None = None,
    ) -> None:
        self.config = config
        self.origin = Origin(lineage, deployment, partition)
        self.key_id = key_id
        """May be set anew: what is open keeps the id of the key of its sources."""
        self.book = AnomalyBook() if state is None else restore_anomalies(state)

    def snapshot(self) -> BankState:
        """The open anomalies, and how many events have passed."""
        return snapshot_anomalies(self.book)

    def decide(
        self,
        suspicions: Sequence[Suspicion],
        passed: Passed,
        next_seq: Callable[[], int],
    ) -> list[AnomalyData]:
        """The records that suspicions come to, in their order, and those of what is over.

        `suspicions` are sorted, each with its `source_words` and `model_key`, and at the place of
        the event at which it fired, which is among those of `passed` or, of a label, between two
        of them: one at an earlier place would be told otherwise where polls are cut otherwise.
        A suspicion of no model is about the partition.
        """
        told: list[AnomalyData] = []
        n_before = self.book.n_events
        for suspicion in suspicions:
            number = n_before + passed.before(suspicion.offset, suspicion.event_row)
            told += self._close_quiet(number, passed, next_seq)
            place = Place(
                number, suspicion.offset, suspicion.event_row, within(suspicion.event_time_ms)
            )
            told += self._take(suspicion, place, next_seq)
        n_events = n_before + len(passed.offset)
        told += self._close_quiet(n_events, passed, next_seq)
        self.book.n_events = n_events
        return told

    def _take(
        self,
        suspicion: Suspicion,
        place: Place,
        next_seq: Callable[[], int],
    ) -> Iterator[AnomalyData]:
        kind = Kind(
            suspicion.model_key,
            suspicion.technique,
            suspicion.detail == EXPOSURE,
            self.key_id or "",
        )
        source = _only_source(suspicion)
        anomaly = self.book.find(kind, source, suspicion.sources)
        if anomaly is None:
            uid = self._uid(kind, source, suspicion)
            anomaly = self.book.by_uid.get(uid)
        if anomaly is None:
            # One that gives way is over before the new one begins.
            for crowded in self.book.crowded_out():
                why = "more anomalies are open than are kept, and it is the one longest quiet"
                yield self._closed(crowded, place, "room", why, next_seq())
            anomaly = self.book.open(uid, kind, source, place)
        anomaly.take(suspicion, place.number)
        if anomaly.is_news:
            status: AnomalyStatus = "updated" if anomaly.revision else "opened"
            anomaly.mark_told()
            yield anomaly_data(anomaly, self.origin, Occasion(status, place, next_seq()))

    def _close_quiet(
        self, number: int, passed: Passed, next_seq: Callable[[], int]
    ) -> Iterator[AnomalyData]:
        """Close what has been quiet for long at one of the events before `number`."""
        if not len(passed.offset):
            return
        quiet = self.config.quiet_events
        n_before = self.book.n_events
        for anomaly in self.book.quiet_before(number - quiet):
            end = anomaly.last_number + quiet
            # With a shorter time than before it may have been over for long.
            at = max(end - n_before, 0)
            place = Place(
                n_before + at,
                int(passed.offset[at]),
                int(passed.event_row[at]),
                within(passed.event_time_ms[at]),
            )
            why = f"no new evidence among {quiet:,} events of the partition"
            yield self._closed(anomaly, place, "quiet", why, next_seq())

    def _closed(
        self, anomaly: Anomaly, place: Place, ending: Ending, why: str, seq: int
    ) -> AnomalyData:
        self.book.drop(anomaly)
        anomaly.mark_told()
        return anomaly_data(anomaly, self.origin, Occasion("closed", place, seq, ending, why))

    def _uid(self, kind: Kind, source: Words | None, suspicion: Suspicion) -> str:
        model = kind.model or ModelKey("", "", -1)
        own = "exposure:" if kind.is_exposure else ""
        if source is None:
            own += "cluster:" + ",".join(pseudonym(words) for words in suspicion.sources[:1])
        else:
            own += pseudonym(source)
        return anomaly_id(
            self.origin.lineage,
            model.model_id,
            model.shard,
            model.model_version,
            str(kind.technique),
            own,
            suspicion.offset,
            suspicion.event_row,
        )


def _only_source(suspicion: Suspicion) -> Words | None:
    """The one source that it is about; None: it is about several, or none is named.

    A cluster that is all of one source is that source: so two detectors agree on it. One source
    that is not named has no name.
    """
    if suspicion.source >= 0:
        return suspicion.source_words
    if len(suspicion.sources) <= 1 and suspicion.n_sources == 1:
        return suspicion.sources[0] if suspicion.sources else NAMELESS
    return None
