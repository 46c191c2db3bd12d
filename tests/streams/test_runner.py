"""The runner on the in-memory broker: whatever fails, the output is that of an undisturbed run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from benchmarks.kit.detection import WITHOUT_ROWS, rivers
from schemas.config import DetectionConfig
from schemas.records import Record, TopicPartition
from schemas.source_hash import SourceKey
from streams.checkpoint import Checkpoint
from streams.checkpoints import Cadence
from streams.memory_broker import MemoryBroker
from streams.memory_commits import MemoryCommits
from streams.memory_log import MemoryLog
from streams.memory_store import MemoryStore
from streams.ports import (
    AbortedError,
    Committed,
    IndeterminateError,
    Output,
    OwnershipLostError,
)
from streams.recovery import OperatorNeededError, RecoverySettings
from streams.runner import Runner
from streams.spares import Spares
from streams.topics import journal_key
from streams.worker import Detection, OutputTopics
from tests.streams.events import shifting_stream

EVENTS = [TopicPartition("events", p) for p in range(2)]
FAST = DetectionConfig(
    reference_events=60,
    bounds=WITHOUT_ROWS,
    detectors=rivers(20.0),
)
Rows = list[tuple[object, ...]]


@dataclass
class ManualClock:
    """Time that moves only when told to."""

    now_s: float = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class FaultyCommits(MemoryCommits):
    """Fails as it is told, before or after the effect."""

    faults: list[str] = []  # noqa: RUF012  one queue for each instance, set by the test

    def publish(
        self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "aborted":
            raise AbortedError("told to")
        if fault == "lost":
            raise OwnershipLostError("told to")
        if fault == "unknown, not done":
            raise IndeterminateError("told to")
        super().publish(outputs, offsets)
        if fault == "unknown, done":
            raise IndeterminateError("told to")


FAULTS = ["aborted", "lost", "unknown, not done", "unknown, done"]


@dataclass
class House:
    """A broker with the same input for every run, and where each run's outputs go."""

    broker: MemoryBroker = field(default_factory=MemoryBroker)
    clock: ManualClock = field(default_factory=ManualClock)
    n_runs: int = 0

    def __post_init__(self) -> None:
        self.broker.create_topic("events", len(EVENTS))

    def produce(self, records: Sequence[Record]) -> None:
        for record in records:
            self.broker.write(
                Output(
                    "events",
                    record.tp.partition,
                    record.key or b"",
                    record.value or b"",
                    (),
                    record.timestamp_ms,
                )
            )

    def run(self, name: str, store: MemoryStore | None = None) -> Run:
        for what in ("alerts", "dead", "journal"):
            self.broker.create_topic(f"{name}.{what}", 2)
        return Run(self, name, store or MemoryStore(self.clock.monotonic_s))


@dataclass
class Run:
    """One group over the input: its outputs, its store, and its workers one after the other."""

    house: House
    name: str
    store: MemoryStore

    def worker(
        self,
        config: DetectionConfig = FAST,
        *,
        member: str | None = "a",
        settings: RecoverySettings | None = None,
        key: SourceKey | None = None,
        spares: Spares | None = None,
        exactly_once: bool = True,
    ) -> Runner:
        log = MemoryLog(self.house.broker, "events", group=self.name, instance=member)
        commits = FaultyCommits(
            log,
            journal_topic=f"{self.name}.journal",
            instance=member,
            exactly_once=exactly_once,
        )
        commits.faults = []
        runner = Runner(
            log=log,
            commits=commits,
            store=self.store,
            clock=self.house.clock,
            detection=Detection(config, key),
            topics=OutputTopics(f"{self.name}.alerts", f"{self.name}.dead", f"{self.name}.journal"),
            recovery=settings or RecoverySettings(),
            journal_key=lambda tp: journal_key(self.name, tp),
            cadence=Cadence(
                poll_records=37, commit_interval_s=2.0, checkpoint_interval_s=5.0, drain_s=5.0
            ),
            spares=spares or Spares(),
        )
        log.subscribe(runner)
        return runner

    def step(self, runner: Runner, n: int = 1) -> None:
        for _ in range(n):
            runner.step()
            runner.checkpointer.wait(5.0)
            self.house.clock.now_s += 1.0

    def finish(self, *runners: Runner) -> None:
        """Step until everything is committed (a bound: liveness)."""
        for _ in range(400):
            for runner in runners:
                self.step(runner)
            if all(self.is_done(tp) for tp in EVENTS):
                for runner in runners:
                    runner.drain()
                return
        pytest.fail("not everything was committed")

    def is_done(self, tp: TopicPartition) -> bool:
        committed = self.house.broker.committed(self.name, tp)
        return committed is not None and committed.offset == self.house.broker.partition(tp).high

    def outputs(self) -> dict[tuple[str, bytes], Rows]:
        """What a read_committed reader sees, by topic and input partition, in order of seq."""
        rows: dict[tuple[str, bytes], Rows] = {}
        for what in ("alerts", "dead"):
            for number in range(2):
                for entry in self.house.broker.records(
                    TopicPartition(f"{self.name}.{what}", number)
                ):
                    headers = dict(entry.headers)
                    record = entry.record
                    rows.setdefault((what, headers["ce_inputpartition"]), []).append(
                        (
                            int(headers["ce_sequence"]),
                            record.key,
                            record.value,
                            record.timestamp_ms,
                            entry.headers,
                        )
                    )
        for of_partition in rows.values():
            of_partition.sort(key=lambda row: str(row[0]).zfill(9))
            assert [row[0] for row in of_partition] == list(range(1, len(of_partition) + 1))
        return rows


def house_with_events(n: int = 1_500, seed: int = 5) -> House:
    house = House()
    for number, tp in enumerate(EVENTS):
        house.produce(
            shifting_stream(n, seed=seed + number, shift_at=n // 2, n_models=2, bad_every=40, tp=tp)
        )
    return house


def undisturbed(house: House) -> Run:
    run = house.run("quiet")
    run.finish(run.worker())
    assert sum(len(rows) for (what, _), rows in run.outputs().items() if what == "alerts") >= 4
    return run


@pytest.mark.parametrize("seed", range(12))
def test_faults_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    house = house_with_events()
    expected = undisturbed(house).outputs()
    run = house.run("faulty")
    runner = run.worker()

    for _ in range(25):
        run.step(runner, int(rng.integers(1, 8)))
        fault = int(rng.integers(0, 5))
        commits = runner.commits
        assert isinstance(commits, FaultyCommits)
        if fault == 0:  # killed and started again
            assert isinstance(runner.log, MemoryLog)
            runner.log.expire()
            runner = run.worker()
        elif fault == 1:
            run.store.wipe()
        elif fault == 2:
            run.store.roll_back(int(rng.integers(1, 3)))
        elif fault == 3:
            commits.faults = [FAULTS[int(rng.integers(4))] for _ in range(int(rng.integers(1, 4)))]
        else:
            run.store.unavailable = not run.store.unavailable
    run.store.unavailable = False
    run.finish(runner)

    assert run.outputs() == expected


def test_two_workers_share_and_one_leaves() -> None:
    house = house_with_events()
    expected = undisturbed(house).outputs()
    run = house.run("shared")
    first, second = run.worker(member=None), run.worker(member=None)
    for _ in range(8):
        run.step(first)
        run.step(second)
    assert {len(first.held), len(second.held)} == {1}

    first.drain()
    first.log.close()
    run.finish(second)

    assert run.outputs() == expected


def test_a_zombie_commits_nothing() -> None:
    house = house_with_events()
    expected = undisturbed(house).outputs()
    run = house.run("zombie")
    zombie = run.worker(member="a")
    run.step(zombie, 9)
    assert isinstance(zombie.log, MemoryLog)
    zombie.log.expire()
    other = run.worker(member="b")
    run.step(other, 12)

    run.finish(zombie, other)

    assert run.outputs() == expected


def test_a_higher_generation_switches_once_and_a_replay_does_the_same() -> None:
    house = house_with_events()
    newer = FAST.model_copy(
        update={
            "generation": 2,
            "detectors": rivers(35.0),
        }
    )
    run = house.run("switching")
    runner = run.worker()
    run.step(runner, 15)
    runner.drain()
    runner.log.close()
    runner = run.worker(newer)
    run.step(runner, 10)
    at_switch = {tp: held.worker.config_from for tp, held in runner.held.items()}
    runner.drain()
    runner.log.close()

    run.store.wipe()
    runner = run.worker(newer)
    run.finish(runner)

    assert all(offset > 0 for offset in at_switch.values())
    assert {tp: held.worker.config_from for tp, held in runner.held.items()} == at_switch
    assert all(held.worker.detection.config == newer for held in runner.held.values())


def test_a_lower_generation_keeps_the_partitions_own() -> None:
    house = house_with_events()
    newer = FAST.model_copy(update={"generation": 2, "reference_events": 61})
    run = house.run("older")
    runner = run.worker(newer)
    run.step(runner, 5)
    runner.drain()
    runner.log.close()

    runner = run.worker(FAST)
    run.finish(runner)

    assert all(held.worker.detection.config == newer for held in runner.held.values())


def test_the_same_generation_with_other_content_is_refused_by_name() -> None:
    house = house_with_events()
    run = house.run("conflict")
    runner = run.worker()
    run.step(runner, 5)
    runner.drain()
    runner.log.close()

    other = run.worker(FAST.model_copy(update={"reference_events": 61}))

    with pytest.raises(OperatorNeededError, match=r"detection\.reference_events") as caught:
        run.step(other, 3)
    assert caught.value.code == "config_conflict"


def test_an_offset_that_moved_back_stops_the_worker_until_it_is_accepted() -> None:
    house = house_with_events()
    run = house.run("moved")
    run.finish(run.worker())
    before = run.outputs()
    for tp in EVENTS:
        house.broker.commit(run.name, tp, Committed(100, ""))

    with pytest.raises(OperatorNeededError) as caught:
        run.step(run.worker(), 2)
    assert caught.value.code == "offset_regression"

    again = run.worker(settings=RecoverySettings(accept_reset=True))
    for _ in range(120):
        run.step(again)
    assert all(run.is_done(tp) for tp in EVENTS)
    lineages = {held.worker.lineage for held in again.held.values()}
    assert {(one.start_offset, one.n_resets) for one in lineages} == {(100, 1)}
    assert len(before) == 4


def test_a_lost_offset_and_a_topic_made_again_stop_the_worker() -> None:
    house = house_with_events(400)
    run = house.run("lost")
    run.finish(run.worker())
    for tp in EVENTS:
        house.broker.forget_commit(run.name, tp)

    with pytest.raises(OperatorNeededError) as caught:
        run.step(run.worker(), 2)
    assert caught.value.code == "offset_regression"

    house.broker.delete_topic("events")
    house.broker.create_topic("events", len(EVENTS))
    with pytest.raises(OperatorNeededError) as caught:
        run.step(run.worker(), 2)
    assert caught.value.code == "topic_recreated"


def test_a_state_that_cannot_be_had_pauses_its_partition_alone() -> None:
    house = house_with_events()
    run = house.run("gap")
    runner = run.worker()
    run.step(runner, 20)
    runner.drain()
    runner.log.close()
    run.store.wipe()
    house.broker.partition(EVENTS[0]).trim(50)

    runner = run.worker()
    for _ in range(120):
        run.step(runner)

    assert set(runner.adrift) == {EVENTS[0]}
    assert run.is_done(EVENTS[1])
    assert not run.is_done(EVENTS[0])


def test_a_checkpoint_is_never_ahead_of_the_commit() -> None:
    house = house_with_events()
    run = house.run("ahead")
    runner = run.worker()
    for _ in range(40):
        run.step(runner)
        for tp in EVENTS:
            committed = house.broker.committed(run.name, tp)
            for stored in run.store.manifests(tp):
                assert committed is not None
                assert stored.next_offset <= committed.offset


def test_an_alert_does_not_wait_for_the_interval_of_commits() -> None:
    run = house_with_events().run("alerts")
    runner = run.worker()
    runner.cadence = Cadence(poll_records=37, commit_interval_s=1e9, alert_interval_s=0.0)
    run.step(runner)  # which commits, as the first turn does
    n_before, n_seen = committed_events(run), 0
    for _ in range(40):
        before = committed_events(run)
        run.step(runner)
        n_alerts = sum(held.worker.n_alerts for held in runner.held.values())
        # Neither events nor dead letters alone are a reason to commit.
        assert (committed_events(run) > before) == (n_alerts > n_seen)
        assert not any(held.worker.has_alerts for held in runner.held.values())
        n_seen = n_alerts
    assert n_seen > 0
    assert committed_events(run) > n_before


def committed_events(run: Run) -> int:
    commits = [run.house.broker.committed(run.name, tp) for tp in EVENTS]
    return sum(commit.offset for commit in commits if commit is not None)


def test_a_store_that_is_down_is_asked_by_time_and_not_at_every_turn() -> None:
    # From `checkpoint_events` records on every turn of the loop copied the whole state.
    house = house_with_events(900)
    run = house.run("a")
    runner = run.worker()
    runner.cadence = replace(runner.cadence, checkpoint_events=100)
    run.store.unavailable = True
    n_copies = 0
    submit = runner.checkpointer.submit

    def counted(tp: TopicPartition, checkpoint: Checkpoint) -> None:
        nonlocal n_copies
        n_copies += 1
        submit(tp, checkpoint)

    runner.checkpointer.submit = counted  # type: ignore[method-assign]  # counts the calls
    run.step(runner, 40)

    # Forty seconds, five of them from one to the next, two partitions.
    assert 2 <= n_copies <= 2 * (40 / 3 + 1)
