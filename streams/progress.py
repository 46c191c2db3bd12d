"""What the worker says of itself while it works: rates, lag, and how far a replay is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from schemas.fast_path import SlowModel
from schemas.records import TopicPartition
from streams.ports import Clock
from streams.recovery import Recovered
from streams.worker import PartitionWorker

log = structlog.get_logger(__name__)

STATUS_INTERVAL_S = 10.0
REPLAY_INTERVAL_S = 2.0
MAX_SLOW_MODELS = 3


def _totals(workers: Iterable[PartitionWorker]) -> dict[str, int]:
    """What the partitions have counted since their lineages' start, without what is zero."""
    totals: Counter[str] = Counter()
    for worker in workers:
        totals.update(worker.counts())
    return {name: n for name, n in totals.items() if n}


def _slow(workers: Iterable[PartitionWorker]) -> dict[str, object]:
    """How many records found no template, why, and which models they were of most often."""
    n_slow: Counter[str] = Counter()
    models: list[SlowModel] = []
    for worker in workers:
        n_slow.update(worker.fast_path.n_slow)
        models += worker.fast_path.slow_models(MAX_SLOW_MODELS)
    if not n_slow.total():
        return {}
    models = sorted(models, key=lambda model: (-model.n_slow, model.key))[:MAX_SLOW_MODELS]
    named = [f"{m.key.decode(errors='replace')[:64]}: {m.why} ({m.n_slow})" for m in models]
    return {"n_slow": dict(n_slow), "slow_models": named}


@dataclass(slots=True)
class _Replay:
    start_offset: int
    end_offset: int
    started_s: float


@dataclass(slots=True)
class Progress:
    """Counts what is committed, and writes a log line now and then."""

    clock: Clock
    n_outputs: int = 0
    _replays: dict[TopicPartition, _Replay] = field(default_factory=dict)
    _status_due_s: float = 0.0
    _replay_due_s: float = 0.0
    _last: tuple[float, int] = (0.0, 0)

    def assigned(self, tp: TopicPartition, worker: PartitionWorker, recovered: Recovered) -> None:
        """A partition was taken up."""
        n_replay = max(0, recovered.committed - worker.next_offset)
        log.info(
            "partition assigned",
            partition=str(tp),
            lineage=worker.lineage.id[:12],
            from_offset=worker.next_offset,
            replay=n_replay,
            generation=worker.detection.config.generation,
        )
        if n_replay:
            self._replays[tp] = _Replay(
                worker.next_offset, recovered.committed, self.clock.monotonic_s()
            )

    def committed(self, n_outputs: int) -> None:
        """Outputs are out."""
        self.n_outputs += n_outputs

    def report(
        self,
        workers: Mapping[TopicPartition, PartitionWorker],
        adrift: Mapping[TopicPartition, float],
    ) -> None:
        """Write what is due."""
        now_s = self.clock.monotonic_s()
        if self._replays:
            self._end_replays(workers, now_s)
            if now_s >= self._replay_due_s:
                self._replay_due_s = now_s + REPLAY_INTERVAL_S
                self._report_replays(workers, now_s)
        if now_s >= self._status_due_s:
            self._status_due_s = now_s + STATUS_INTERVAL_S
            n_records = sum(worker.n_records for worker in workers.values())
            before_s, before = self._last
            self._last = now_s, n_records
            if before_s:
                log.info(
                    "status",
                    partitions=len(workers),
                    paused=len(adrift),
                    records_per_s=round(max(0, n_records - before) / (now_s - before_s)),
                    outputs=self.n_outputs,
                    replay_debt=sum(map(_replay_debt, workers.values())),
                    **_slow(workers.values()),
                    **_totals(workers.values()),
                )

    def _end_replays(self, workers: Mapping[TopicPartition, PartitionWorker], now_s: float) -> None:
        for tp, replay in list(self._replays.items()):
            worker = workers.get(tp)
            if worker is not None and worker.next_offset < replay.end_offset:
                continue
            del self._replays[tp]
            if worker is not None:
                log.info(
                    "replay complete",
                    partition=str(tp),
                    events=replay.end_offset - replay.start_offset,
                    seconds=round(now_s - replay.started_s, 1),
                )

    def _report_replays(
        self, workers: Mapping[TopicPartition, PartitionWorker], now_s: float
    ) -> None:
        for tp, replay in self._replays.items():
            worker = workers[tp]
            n_done = worker.next_offset - replay.start_offset
            rate = n_done / max(now_s - replay.started_s, 1e-3)
            n_left = replay.end_offset - worker.next_offset
            log.info(
                "replay",
                partition=str(tp),
                events_done=n_done,
                events_left=n_left,
                events_per_s=round(rate),
                seconds_left=round(n_left / rate) if rate else None,
            )


def _replay_debt(worker: PartitionWorker) -> int:
    """How many records a restart would replay that finds what the store has of this partition."""
    stored = max(worker.checkpoint_offset, worker.lineage.start_offset)
    return max(0, worker.next_offset - stored)
