"""A group on the in-memory broker, and the audit of what it has published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from benchmarks.kit.detection import WITHOUT_ROWS, rivers
from schemas.config import DetectionConfig
from schemas.records import Record, TopicPartition
from schemas.source_hash import SourceKey
from streams.audit import LineageAudit
from streams.audit_observed import OUTPUTS_OF, Observed, OutputDuty, Position, Seen
from streams.audit_plan import Facts, PartitionPlan, lineage_ids, plan_partition
from streams.audit_verdict import Verdict
from streams.checkpoint import Checkpoint
from streams.checkpoints import Cadence
from streams.duties import Duty
from streams.memory_broker import MemoryBroker
from streams.memory_commits import MemoryCommits
from streams.memory_log import MemoryLog
from streams.memory_store import MemoryStore
from streams.ports import Committed, Output, Watermarks
from streams.recovery import RecoverySettings
from streams.runner import Runner
from streams.topics import journal_key
from streams.verify import load_checkpoints
from streams.worker import Detection, OutputTopics
from tests.streams.events import TP, shifting_stream

GROUP = "group"
N_OUTPUT_PARTITIONS = 2
FAST = DetectionConfig(
    reference_events=60,
    bounds=WITHOUT_ROWS,
    detectors=rivers(20.0),
)
NEWER = FAST.model_copy(
    update={
        "generation": 2,
        "detectors": rivers(35.0),
    }
)


Low = Mapping[OutputDuty, Mapping[int, int]]


class Published(NamedTuple):
    """One record of an output topic, with its place."""

    duty: OutputDuty
    position: Position
    seen: Seen


@dataclass
class ManualClock:
    """Time that moves only when told to."""

    now_s: float = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass
class Group:
    """One input partition, and workers that fold it one after the other."""

    broker: MemoryBroker = field(default_factory=MemoryBroker)
    clock: ManualClock = field(default_factory=ManualClock)
    duty: Duty = "drift"
    source_key: SourceKey | None = None
    audit_key: SourceKey | None = None
    """The source key that the audit has."""

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock.monotonic_s)
        self.broker.create_topic(TP.topic)
        for duty in OUTPUTS_OF[self.duty]:
            self.broker.create_topic(duty, N_OUTPUT_PARTITIONS)
        self.broker.create_topic("journal")

    def produce(self, records: Sequence[Record]) -> None:
        for each in records:
            key, value = each.key or b"", each.value or b""
            output = Output(each.tp.topic, each.tp.partition, key, value, (), each.timestamp_ms)
            self.broker.write(output)

    def worker(
        self, config: DetectionConfig = FAST, settings: RecoverySettings | None = None
    ) -> Runner:
        log = MemoryLog(self.broker, TP.topic, group=GROUP, instance="a")
        runner = Runner(
            log=log,
            commits=MemoryCommits(log, journal_topic="journal", instance="a"),
            store=self.store,
            clock=self.clock,
            detection=Detection(config, self.source_key, self.duty),
            topics=OutputTopics(OUTPUTS_OF[self.duty][0], "dead_letter", "journal"),
            recovery=settings or RecoverySettings(),
            journal_key=lambda tp: journal_key(GROUP, tp),
            cadence=Cadence(poll_records=37, commit_interval_s=2.0, checkpoint_interval_s=5.0),
        )
        log.subscribe(runner)
        return runner

    def step(self, runner: Runner, n: int) -> None:
        for _ in range(n):
            runner.step()
            runner.checkpointer.wait(5.0)
            self.clock.now_s += 1.0

    def kill(self, runner: Runner) -> None:
        assert isinstance(runner.log, MemoryLog)
        runner.log.expire()
        runner.checkpointer.close()

    def leave(self, runner: Runner) -> None:
        runner.drain()
        runner.log.close()
        runner.checkpointer.close(5.0)

    def finish(self, runner: Runner) -> None:
        """Step until everything is committed (a bound: liveness), then leave."""
        for _ in range(400):
            self.step(runner, 1)
            committed = self.committed()
            if committed is not None and committed.offset == self.broker.partition(TP).high:
                self.leave(runner)
                return
        raise AssertionError("not everything was committed")

    def committed(self) -> Committed | None:
        return self.broker.committed(GROUP, TP)

    def journal(self) -> list[bytes]:
        entries = self.broker.records(TopicPartition("journal", 0))
        return [entry.record.value or b"" for entry in entries]

    def published(self) -> list[Published]:
        return [
            Published(
                duty,
                Position(number, entry.record.offset),
                Seen(
                    entry.record.key, entry.record.value, entry.headers, entry.record.timestamp_ms
                ),
            )
            for duty in OUTPUTS_OF[self.duty]
            for number in range(N_OUTPUT_PARTITIONS)
            for entry in self.broker.records(TopicPartition(duty, number))
        ]

    def facts(self, **changes: object) -> Facts:
        partition = self.broker.partition(TP)
        known: dict[str, object] = {
            "tp": TP,
            "topic_id": self.broker.topic_id(TP.topic),
            "watermarks": Watermarks(partition.low, partition.high),
            "journal": self.journal(),
            "committed": self.committed(),
            "settled": self.committed(),
            "source_key": None if self.audit_key is None else self.audit_key.fingerprint,
            "checkpoints": self.checkpoints() if changes.get("from_checkpoint") else (),
        }
        return Facts(**{**known, **changes})  # type: ignore[arg-type]  # a test may change any

    def checkpoints(self) -> list[Checkpoint]:
        refused: list[str] = []
        found = list(load_checkpoints(self.store, TP, None, refused.append))
        assert not refused
        return found

    def observed(self, published: Sequence[Published], low: Low | None = None) -> Observed:
        low = low or {
            duty: {
                number: self.broker.partition(TopicPartition(duty, number)).low
                for number in range(N_OUTPUT_PARTITIONS)
            }
            for duty in OUTPUTS_OF[self.duty]
        }
        observed = Observed(frozenset(lineage_ids(self.journal())), low)
        for duty, position, seen in published:
            observed.add(duty, seen, position)
        return observed

    def batches(self, start: int, end: int, n: int = 500) -> Iterator[list[Record]]:
        partition = self.broker.partition(TP)
        records = [e.record for e in self.broker.records(TP) if start <= e.record.offset < end]
        assert partition.low <= start
        for i in range(0, len(records), n):
            yield records[i : i + n]

    def audit(
        self,
        published: Sequence[Published] | None = None,
        planned: PartitionPlan | None = None,
        *,
        exactly_once: bool = True,
        n_examples: int = 5,
        low: Low | None = None,
    ) -> Verdict:
        """The verdict on what was published, or on what a test says was."""
        observed = self.observed(self.published() if published is None else published, low)
        planned = planned or plan_partition(self.facts(exactly_once=exactly_once))
        total = Verdict(n_examples)
        total.unverified += planned.unverified
        for text in planned.notes:
            total.note(text)
        for plan in planned.plans:
            audit = LineageAudit(
                plan,
                observed,
                self.audit_key,
                repeats_allowed=not exactly_once,
                n_examples=n_examples,
            )
            total.add(audit.run(self.batches(plan.start, plan.end) if plan.folds else ()))
        return total


def events(n: int = 1_200, seed: int = 5) -> list[Record]:
    """Two models that shift, with records that are refused."""
    return shifting_stream(n, seed=seed, shift_at=n // 2, n_models=2, bad_every=40)
