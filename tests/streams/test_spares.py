"""Where the state comes from when the store has lost it: the spool, the topic, in which order."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from detectors.base import BankState
from schemas.records import TopicPartition
from streams.background import BackgroundThread
from streams.checkpoint import encode_checkpoint
from streams.checkpoint_topic import CheckpointTopic
from streams.checkpointer import Checkpointer
from streams.memory_chunks import MemoryChunkLog
from streams.memory_store import MemoryStore
from streams.ports import StoreError
from streams.runner import Runner
from streams.spares import Spares
from streams.spool import Spool
from streams.store_breaker import LONGEST_S, StoreBreaker
from tests.streams.checkpoint_kit import checkpoint_of
from tests.streams.test_runner import (
    EVENTS,
    House,
    ManualClock,
    Run,
    house_with_events,
    undisturbed,
)

TP = TopicPartition("events", 3)


class Spare:
    """A spool and a topic that outlive the workers of a test."""

    def __init__(self, clock: ManualClock, directory: Path, interval_s: float = 10.0) -> None:
        self.clock = clock
        self.log = MemoryChunkLog(2)
        self.spool = Spool(directory, group="g")
        self.interval_s = interval_s

    def open(self, *, with_spool: bool = True, with_topic: bool = True) -> Spares:
        return Spares(
            spool=self.spool if with_spool else None,
            topic=self.topic() if with_topic else None,
            topic_interval_s=self.interval_s,
            now_s=self.clock.monotonic_s,
        )

    def topic(self) -> CheckpointTopic:
        return CheckpointTopic(self.log, group="g", chunk_bytes=4_096)

    def wait_for_topic(self, spares: Spares) -> None:
        running = spares._running
        if running is not None:
            running.result(timeout=10)

    def in_topic(self, tp: TopicPartition) -> list[int]:
        return [stored.next_offset for stored in self.topic().manifests(tp)]

    def spooled(self, tp: TopicPartition) -> list[int]:
        return [stored.next_offset for stored in self.spool.manifests(tp)]


@pytest.fixture
def house() -> House:
    return house_with_events()


@pytest.fixture
def spare(house: House, tmp_path: Path) -> Spare:
    return Spare(house.clock, tmp_path / "spool")


def step(run: Run, runner: Runner, spare: Spare, n: int) -> None:
    for _ in range(n):
        run.step(runner)
        spare.wait_for_topic(runner.spares)


def stop(runner: Runner, *, drains: bool = True) -> None:
    if drains:
        runner.drain()
    runner.log.close()


def cut_heads(house: House, before: int = 40) -> None:
    """Remove what a fold from the lineage's start would need."""
    for tp in EVENTS:
        assert house.broker.partition(tp).low < before
        house.broker.partition(tp).trim(before)


def loaded(runner: Runner) -> dict[TopicPartition, int]:
    return {tp: held.worker.loaded_offset for tp, held in runner.held.items()}


@pytest.mark.parametrize("lost", ["wiped", "down"])
@pytest.mark.parametrize("from_where", ["topic", "spool"])
def test_a_state_the_store_has_lost_comes_from_elsewhere(
    house: House,
    spare: Spare,
    lost: str,
    from_where: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = undisturbed(house).outputs()
    run = house.run("spared")
    chosen = {"with_spool": from_where == "spool", "with_topic": from_where == "topic"}
    if from_where == "spool":
        run.store.unavailable = True
    runner = run.worker(spares=spare.open(**chosen))
    step(run, runner, spare, 20)
    stop(runner)
    run.store.wipe()
    run.store.unavailable = lost == "down"
    kept = {tp: (spare.spooled(tp) + spare.in_topic(tp))[0] for tp in EVENTS}
    for tp, offset in kept.items():
        assert offset > 0
        house.broker.partition(tp).trim(offset)

    runner = run.worker(spares=spare.open(**chosen))
    step(run, runner, spare, 2)
    assert set(runner.held) == set(EVENTS)
    assert loaded(runner) == kept
    run.finish(runner)

    assert run.outputs() == expected
    # What the spool has is of the last commit: nothing is replayed.
    assert ("the log is cut close behind" in capsys.readouterr().out) == (from_where == "topic")


def test_the_further_one_of_store_and_spool_is_taken_and_then_the_spool_is_emptied(
    house: House, spare: Spare
) -> None:
    expected = undisturbed(house).outputs()
    run = house.run("further")
    runner = run.worker(spares=spare.open())
    step(run, runner, spare, 12)
    run.store.unavailable = True
    step(run, runner, spare, 12)
    stop(runner)
    run.store.unavailable = False
    in_spool = {tp: spare.spooled(tp)[0] for tp in EVENTS}
    assert all(run.store.manifests(tp)[0].next_offset < in_spool[tp] for tp in EVENTS)

    runner = run.worker(spares=spare.open())
    step(run, runner, spare, 1)
    assert loaded(runner) == in_spool
    step(run, runner, spare, 8)
    assert not any(spare.spooled(tp) for tp in EVENTS)
    run.finish(runner)
    assert run.outputs() == expected


def test_what_is_damaged_is_passed_over_for_the_next_place(house: House, spare: Spare) -> None:
    expected = undisturbed(house).outputs()
    run = house.run("damaged")
    runner = run.worker(spares=spare.open())
    step(run, runner, spare, 15)
    run.store.unavailable = True
    step(run, runner, spare, 10)
    stop(runner)
    for tp in EVENTS:
        path = spare.spool.path(tp)
        path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    in_topic = {tp: spare.in_topic(tp) for tp in EVENTS}
    cut_heads(house)

    runner = run.worker(spares=spare.open())
    step(run, runner, spare, 1)
    assert {tp: [offset] for tp, offset in loaded(runner).items()} == {
        tp: offsets[:1] for tp, offsets in in_topic.items()
    }
    run.finish(runner)
    assert run.outputs() == expected


def test_one_that_is_ahead_of_the_commit_or_older_than_the_log_is_not_taken(
    house: House, spare: Spare
) -> None:
    run = house.run("ahead")
    runner = run.worker(spares=spare.open(with_spool=False))
    step(run, runner, spare, 12)
    stop(runner, drains=False)
    (first, second) = EVENTS
    committed = {tp: house.broker.committed(run.name, tp) for tp in EVENTS}
    run.store.wipe()
    ahead = house.run("far")
    other = ahead.worker(spares=spare.open(with_spool=False))
    # The same lineage (nothing of the group is in it), folded further by another group.
    step(ahead, other, spare, 25)
    stop(other)
    offsets = {tp: committed[tp] for tp in EVENTS}
    assert all(one is not None for one in offsets.values())
    for tp in EVENTS:
        one = offsets[tp]
        assert one is not None
        assert spare.in_topic(tp)[0] > one.offset

    runner = run.worker(spares=spare.open(with_spool=False))
    step(run, runner, spare, 1)
    for tp in EVENTS:
        one = offsets[tp]
        assert one is not None
        assert loaded(runner)[tp] <= one.offset
    stop(runner, drains=False)

    house.broker.partition(first).trim(house.broker.partition(first).high - 10)
    runner = run.worker(spares=spare.open(with_spool=False))
    step(run, runner, spare, 1)
    assert set(runner.adrift) == {first}
    assert set(runner.held) == {second}


def with_lanes(fold: BankState, n_lanes: int) -> NDArray[np.uint8]:
    """The catalog's document with another number of lanes."""
    document = orjson.loads(fold["document"].tobytes())
    return np.frombuffer(orjson.dumps(document | {"n_lanes": n_lanes}), np.uint8)


def test_a_checkpoint_without_what_a_worker_needs_is_refused(house: House, spare: Spare) -> None:
    run = house.run("forged")
    runner = run.worker(spares=spare.open())
    step(run, runner, spare, 15)
    (tp, *_) = EVENTS
    run.store.unavailable = True
    runner.drain()
    real = runner.held[tp].worker.checkpoint()
    stop(runner, drains=False)
    expected = undisturbed(house).outputs()
    fold = real.parts["fold"]
    forged: list[dict[str, Any]] = [
        {"fields": {}},
        {"fields": {**real.fields, "n_alerts": "many"}},
        {"fields": {**real.fields, "config_from": -1}},
        {"fields": {**real.fields, "n_dead": True}},
        {"parts": {}},
        {"parts": {"policy": {"x": np.zeros(3)}}},
        *({"parts": {n: p for n, p in real.parts.items() if n != name}} for name in real.parts),
        {"parts": {**real.parts, "fold": {**fold, "document": with_lanes(fold, 2**40)}}},
        {"config_identity": "none"},
        {"versions": {}},
        {},  # as it is, it is taken
    ]
    for changes in forged:
        changed = dataclasses.replace(real, **changes)
        encoded = encode_checkpoint(changed, None)
        for place in (spare.spool, spare.topic()):
            place.keep(tp, real.lineage, real.next_offset, encoded.manifest, encoded.segments)
        spares = spare.open()
        runner = run.worker(spares=spares)
        step(run, runner, spare, 1)
        is_taken = runner.held[tp].worker.loaded_offset == real.next_offset
        assert is_taken == (not changes), changes
        stop(runner, drains=False)
    runner = run.worker(spares=spare.open())
    run.finish(runner)
    assert run.outputs() == expected


# When they are written


def test_the_spool_is_written_only_while_the_store_fails(house: House, spare: Spare) -> None:
    run = house.run("spooling")
    runner = run.worker(spares=spare.open(with_topic=False))
    step(run, runner, spare, 15)
    assert not any(spare.spooled(tp) for tp in EVENTS)
    run.store.unavailable = True
    step(run, runner, spare, 8)
    assert all(spare.spooled(tp) for tp in EVENTS)
    run.store.unavailable = False
    step(run, runner, spare, 10)
    assert not any(spare.spooled(tp) for tp in EVENTS)


def test_the_topic_is_written_seldom_each_partition_at_its_time(tmp_path: Path) -> None:
    clock = ManualClock()
    spare = Spare(clock, tmp_path, interval_s=100.0)
    spares = spare.open(with_spool=False)
    checkpointer = Checkpointer(MemoryStore(), None, spares, BackgroundThread())
    tps = [TopicPartition("events", number) for number in range(4)]
    written: dict[TopicPartition, list[float]] = {tp: [] for tp in tps}
    for n in range(400):
        clock.now_s = float(n)
        for tp in tps:
            before = spare.in_topic(tp)
            checkpointer.submit(tp, checkpoint_of({"a": {"n": np.array(n)}}, next_offset=n))
            checkpointer.wait(10.0)
            checkpointer.finished()
            spare.wait_for_topic(spares)
            if spare.in_topic(tp) != before:
                assert spare.in_topic(tp)[0] == n
                written[tp].append(float(n))
    checkpointer.close()
    for times in written.values():
        assert times[0] <= 50.0
        gaps = np.diff(times)
        assert 3 <= len(gaps) <= 6
        assert (gaps >= 74).all()
        assert (gaps <= 126).all()
    assert len({times[0] for times in written.values()}) == len(tps)


def test_a_topic_that_fails_is_said_once_and_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = ManualClock()
    spare = Spare(clock, tmp_path)
    spares = spare.open(with_spool=False)
    checkpointer = Checkpointer(MemoryStore(), None, spares, BackgroundThread())
    spare.log.unavailable = True
    for n in range(60):
        clock.now_s = float(n)
        spare.log.unavailable = n < 40
        checkpointer.submit(TP, checkpoint_of({"a": {"n": np.array(n)}}, next_offset=n))
        checkpointer.wait(10.0)
        assert all(checkpointer.finished().values())
        spare.wait_for_topic(spares)
    checkpointer.close()
    said = capsys.readouterr().out
    assert said.count("checkpoint not kept in the topic") == 1
    assert said.count("the topic takes checkpoints again") == 1
    assert spare.in_topic(TP)[0] > 40


def test_a_store_that_fails_is_left_alone_for_a_while() -> None:
    clock = ManualClock()
    store = MemoryStore(clock.monotonic_s)
    breaker = StoreBreaker(store, clock)
    assert breaker.manifests(TP) == []
    store.unavailable = True
    asked_s: list[float] = []
    for _ in range(4_000):
        clock.now_s += 0.05
        with pytest.raises(StoreError) as caught:
            breaker.manifests(TP)
        if "asked again in" not in str(caught.value):
            asked_s.append(clock.now_s)
    gaps = np.diff(asked_s)
    assert 0.3 < gaps[0] < 0.8
    assert gaps.max() < 1.25 * LONGEST_S + 0.1
    assert (gaps[5:] > 0.75 * LONGEST_S - 0.1).all()
    store.unavailable = False
    clock.now_s += 2 * LONGEST_S
    assert breaker.manifests(TP) == []
    assert breaker.check_policy() == []
