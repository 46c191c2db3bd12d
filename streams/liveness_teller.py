"""Silence and volume, told: once in a base window the loop looks at its clock and at the counts.

Beside the fold, never in it: it reads the catalog, changes nothing, and waits for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from schemas.liveness import LivenessData
from schemas.records import TopicPartition
from streams.checkpoints import Held
from streams.liveness import LivenessWatch, Said, Seen
from streams.liveness_records import liveness_data, liveness_output
from streams.ports import LivenessLink
from streams.worker import PartitionWorker

log = structlog.get_logger(__name__)


def wall_ms() -> int:
    """Epoch milliseconds now."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class _Watched:
    """One partition, and how far it and its log were at the last tick."""

    worker: PartitionWorker
    watch: LivenessWatch
    end: int = -1
    position: int = -1


@dataclass(slots=True)
class LivenessTeller:
    """Tells of the partitions that are held. `window_s` is the base window."""

    link: LivenessLink
    topic: str
    window_s: int
    wall_ms: Callable[[], int] = wall_ms
    n_told: int = 0
    _due_s: float = 0.0
    _tick: int | None = None
    _watched: dict[TopicPartition, _Watched] = field(default_factory=dict)
    _n_lost: int = 0

    def step(self, helds: Mapping[TopicPartition, Held], now_s: float) -> None:
        """Look, where a base window has ended; `now_s` is the loop's clock, and monotonic."""
        if now_s < self._due_s:
            return
        now_ms = self.wall_ms()
        window_ms = 1_000 * self.window_s
        self._due_s = now_s + (window_ms - now_ms % window_ms) / 1_000
        before, self._tick = self._tick, now_ms // window_ms
        if before in {None, self._tick}:  # in the middle of a window, or the two clocks differ
            return
        live = {tp: held.worker for tp, held in helds.items() if held.recovered is None}
        ends = self.link.ends()
        for tp in self._watched.keys() - helds.keys():
            del self._watched[tp]
        told: list[LivenessData] = []
        for tp, worker in live.items():
            deployment = worker.detection.config.deployment
            said = self._look(tp, worker, ends.get(tp, -1), now_ms)
            told += [liveness_data(each, deployment, tp, window_ms) for each in said]
        self.link.ask_ends(list(live))
        self.link.send([liveness_output(self.topic, data, now_ms) for data in told])
        self._account(told)

    def close(self) -> None:
        """Close connections."""
        self.link.close()

    def _look(
        self, tp: TopicPartition, worker: PartitionWorker, end: int, now_ms: int
    ) -> list[Said]:
        """What is to be said of one partition; its log ended at `end` a tick ago (-1: unknown)."""
        watched = self._watched.get(tp)
        if watched is None:
            watched = _Watched(worker, LivenessWatch(1_000 * self.window_s))
            self._watched[tp] = watched
        position = worker.next_offset
        # Behind the last record there may be marks of transactions, which nobody ever reads. What
        # stands still at both ends for a base window is at the end.
        stands = (end, position) == (watched.end, watched.position)
        is_current = worker is watched.worker and end >= 0 and (position >= end or stands)
        watched.worker, watched.end, watched.position = worker, end, position
        return watched.watch.tick(now_ms, _seen(worker), is_current=is_current)

    def _account(self, told: list[LivenessData]) -> None:
        """Say what was told, and what could not be."""
        if told:
            self.n_told += len(told)
            log.info("liveness told", records=len(told), first=told[0].message)
        if self.link.n_lost > self._n_lost:
            self._n_lost = self.link.n_lost
            log.warning(
                "liveness not told; detection goes on",
                topic=self.topic,
                lost=self._n_lost,
                reason=self.link.reason,
            )


def _seen(worker: PartitionWorker) -> list[Seen]:
    """The models of the partition as the fold has them now."""
    catalog = worker.fold.catalog
    n_events = catalog.n_events.tolist()
    return [
        Seen(monitor.key, n, monitor.events_per_week, monitor.admitted)
        for monitor, n in zip(catalog.slots, n_events, strict=True)
        if monitor is not None
    ]
