"""The open anomalies of a partition, a bounded number: found again by whom they are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streams.anomaly import Anomaly, Kind, Place, Words

MAX_ANOMALIES: Final = 512
"""Open at the same time; past it the one longest without evidence is closed, and may reopen."""
_NEVER: Final = 1 << 62


class AnomalyBook:
    """Those that are open, in the order in which they were opened."""

    def __init__(self) -> None:
        self.n_events = 0
        """Of the partition, that have passed."""
        self.by_uid: dict[str, Anomaly] = {}
        self._of_source: dict[tuple[Kind, Words], Anomaly] = {}
        self._clusters: dict[Kind, dict[str, Anomaly]] = {}
        self._oldest = _NEVER
        """No one has its latest evidence before this event."""

    def find(self, kind: Kind, source: Words | None, sources: Sequence[Words]) -> Anomaly | None:
        """The one about this source; or the first cluster that shares a source with this one."""
        if source is not None:
            return self._of_source.get((kind, source))
        wanted = set(sources)
        for anomaly in self._clusters.get(kind, {}).values():
            # Who names no source is not told apart from others who name none.
            if not wanted.isdisjoint(anomaly.sources) or not (wanted or anomaly.sources):
                return anomaly
        return None

    def open(self, uid: str, kind: Kind, source: Words | None, place: Place) -> Anomaly:
        """A new one, without evidence as yet."""
        anomaly = Anomaly(
            uid=uid,
            kind=kind,
            is_cluster=source is None,
            opened=place,
            last_number=place.number,
            first_time_ms=place.event_time_ms,
            last_time_ms=place.event_time_ms,
            sources=[] if source is None else [source],
            n_sources=0 if source is None else 1,
        )
        self.keep(anomaly)
        return anomaly

    def keep(self, anomaly: Anomaly) -> None:
        """Take in one more."""
        self.by_uid[anomaly.uid] = anomaly
        if anomaly.is_cluster:
            self._clusters.setdefault(anomaly.kind, {})[anomaly.uid] = anomaly
        else:
            self._of_source[anomaly.kind, anomaly.sources[0]] = anomaly
        self._oldest = min(self._oldest, anomaly.last_number)

    def is_kept(self, anomaly: Anomaly) -> bool:
        """Whether one of this name, or about the same source, is open."""
        if anomaly.uid in self.by_uid:
            return True
        return not anomaly.is_cluster and (anomaly.kind, anomaly.sources[0]) in self._of_source

    def drop(self, anomaly: Anomaly) -> None:
        """It is over."""
        del self.by_uid[anomaly.uid]
        if anomaly.is_cluster:
            clusters = self._clusters[anomaly.kind]
            del clusters[anomaly.uid]
            if not clusters:
                del self._clusters[anomaly.kind]
        else:
            del self._of_source[anomaly.kind, anomaly.sources[0]]

    def crowded_out(self) -> list[Anomaly]:
        """Those that have to go before one more is opened: longest quiet, then first opened."""
        n_too_many = len(self.by_uid) - MAX_ANOMALIES + 1
        # The sort is stable.
        by_age = sorted(self.by_uid.values(), key=lambda each: each.last_number)
        return by_age[: max(n_too_many, 0)]

    def quiet_before(self, number: int) -> list[Anomaly]:
        """Those with no evidence from this event on: longest quiet, then first opened."""
        if self._oldest >= number:
            return []
        quiet = [each for each in self.by_uid.values() if each.last_number < number]
        self._oldest = min(
            (each.last_number for each in self.by_uid.values() if each.last_number >= number),
            default=_NEVER,
        )
        return sorted(quiet, key=lambda each: each.last_number)
