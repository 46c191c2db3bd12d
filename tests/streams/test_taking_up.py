"""Taking up a partition where something outside the worker has changed what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from schemas.config import BoundsConfig
from schemas.records import TopicPartition
from streams.checkpoint import (
    Checkpoint,
    decode_checkpoint,
    encode_checkpoint,
    referenced_segments,
    state_digest,
)
from streams.checkpointer import Checkpointer
from streams.lineage import load_journal, load_metadata
from streams.memory_commits import MemoryCommits
from streams.memory_log import MemoryLog
from streams.memory_store import MemoryStore
from streams.ports import Committed
from streams.recovery import OperatorNeededError, RecoverySettings
from streams.runner import Runner
from tests.streams.events import shifting_stream
from tests.streams.test_runner import EVENTS, FAST, Run, house_with_events, undisturbed

TP = EVENTS[0]


def code_of_stop(run: Run) -> str:
    with pytest.raises(OperatorNeededError) as caught:
        run.step(run.worker(), 3)
    return caught.value.code


def committed(run: Run, tp: TopicPartition = TP) -> Committed:
    commit = run.house.broker.committed(run.name, tp)
    assert commit is not None
    return commit


def crash(runner: Runner) -> None:
    assert isinstance(runner.log, MemoryLog)
    runner.log.expire()


def checkpoint_at(run: Run, offset: int, tp: TopicPartition = TP) -> Checkpoint:
    stored = next(each for each in run.store.manifests(tp) if each.next_offset == offset)
    segments = run.store.segments(tp, referenced_segments(stored.manifest, None))
    return decode_checkpoint(stored.manifest, segments, None)


def forge(run: Run, checkpoint: Checkpoint, tp: TopicPartition = TP) -> None:
    """Let the store hold nothing of this partition but this."""
    run.store.wipe()
    encoded = encode_checkpoint(checkpoint, None)
    run.store.save(
        tp,
        checkpoint.lineage,
        checkpoint.parent,
        checkpoint.next_offset,
        encoded.manifest,
        encoded.segments,
        encoded.referenced,
    )


def test_an_offset_before_the_journals_stops_the_worker() -> None:
    run = house_with_events(400).run("moved")
    run.step(run.worker(), 8)
    newer = FAST.model_copy(update={"generation": 2})
    run.step(run.worker(newer), 8)
    run.store.wipe()
    for tp in EVENTS:
        run.house.broker.commit(run.name, tp, Committed(3, ""))

    assert code_of_stop(run) == "offset_regression"


def test_a_lost_offset_and_a_lost_journal_stop_the_worker() -> None:
    run = house_with_events(400).run("lost")
    run.finish(run.worker())
    for tp in EVENTS:
        run.house.broker.forget_commit(run.name, tp)
    run.house.broker.delete_topic(f"{run.name}.journal")
    run.house.broker.create_topic(f"{run.name}.journal")

    assert code_of_stop(run) == "offset_regression"


def test_a_topic_made_again_stops_the_worker() -> None:
    house = house_with_events(400)
    run = house.run("again")
    run.step(run.worker(), 3)
    records = [entry.record for tp in EVENTS for entry in house.broker.records(tp)]
    house.broker.delete_topic("events")
    house.broker.create_topic("events", len(EVENTS))
    house.produce(records)

    assert code_of_stop(run) == "topic_recreated"


def test_an_added_partition_begins_with_its_first_record_and_says_why() -> None:
    house = house_with_events(400)
    run = house.run("added")
    run.finish(run.worker())
    new = TopicPartition("events", len(EVENTS))
    house.broker.add_partitions("events", 1)
    house.produce(shifting_stream(300, seed=9, shift_at=150, n_models=2, tp=new))
    # Whatever a first start is told: models of other partitions have moved here.
    runner = run.worker(settings=RecoverySettings(start="latest"))
    run.step(runner, 20)

    (entry,) = load_journal(runner.commits.journal(new))
    assert entry.lineage.start_offset == 0
    assert entry.reason == "the topic had 2 partitions when it was first folded"
    assert committed(run, new).offset == 300
    assert load_metadata(committed(run, TP).metadata) is not None


def test_an_offset_beyond_the_end_stops_the_worker() -> None:
    house = house_with_events(400)
    run = house.run("truncated")
    run.finish(run.worker())
    run.store.wipe()
    for tp in EVENTS:
        del house.broker.partition(tp).entries[300:]

    assert code_of_stop(run) == "log_truncated"


def test_a_state_that_is_nowhere_and_a_log_that_is_cut_pause_until_a_reset_is_accepted() -> None:
    house = house_with_events(600)
    run = house.run("gap")
    first = run.worker()
    run.step(first, 10)
    crash(first)
    run.store.wipe()
    at = {tp: committed(run, tp).offset for tp in EVENTS}
    for tp in EVENTS:
        assert at[tp] > 50
        house.broker.partition(tp).trim(50)

    paused = run.worker()
    run.step(paused, 3)
    assert set(paused.adrift) == set(EVENTS)
    crash(paused)

    # While the store is down it may still have the state: nothing is begun anew.
    run.store.unavailable = True
    paused = run.worker(settings=RecoverySettings(accept_reset=True))
    run.step(paused, 3)
    assert set(paused.adrift) == set(EVENTS)
    crash(paused)
    run.store.unavailable = False

    again = run.worker(settings=RecoverySettings(accept_reset=True))
    run.step(again, 1)
    for tp, held in again.held.items():
        assert (held.worker.lineage.start_offset, held.worker.lineage.n_resets) == (at[tp], 1)
        journal = load_journal(again.commits.journal(tp))
        assert [entry.kind for entry in journal] == ["lineage", "reset"]
        assert journal[-1].reason.startswith("state_gap: ")
    run.finish(again)


@pytest.mark.parametrize("moved", [0, -40, 40])
def test_a_commit_without_metadata_stops_the_worker(moved: int) -> None:
    # Set back under a wiped store, alerts would come twice; set forward, some never.
    house = house_with_events(600)
    run = house.run("erased")
    first = run.worker()
    run.step(first, 10)
    crash(first)
    run.store.wipe()
    for tp in EVENTS:
        house.broker.commit(run.name, tp, Committed(committed(run, tp).offset + moved, ""))

    assert code_of_stop(run) == "offset_moved"


def test_a_replay_that_is_interrupted_again_and_again_arrives() -> None:
    house = house_with_events(900)
    run = house.run("interrupted")
    run.finish(run.worker())
    end = committed(run).offset
    for tp in EVENTS:
        assert committed(run, tp).offset == end
    run.store.wipe()

    for _ in range(12):
        runner = run.worker()
        run.step(runner, 9)
        held = dict(runner.held)
        crash(runner)
    assert all(each.recovered is None and each.worker.next_offset == end for each in held.values())


def test_a_state_that_is_not_the_committed_one_is_noticed() -> None:
    house = house_with_events(600)
    quiet = undisturbed(house)
    run = house.run("forged")
    first = run.worker()
    run.step(first, 14)
    crash(first)
    metadata = load_metadata(committed(run).metadata)
    assert metadata is not None
    assert metadata.digest_offset > 0
    true = checkpoint_at(run, metadata.digest_offset)
    parts = {name: dict(part) for name, part in true.parts.items()}
    parts["moments"]["mean"] = parts["moments"]["mean"] + 1e-9
    forge(run, replace(true, parts=parts))

    run.finish(run.worker())

    assert run.outputs() == quiet.outputs()
    end = committed(run).offset
    mine, theirs = checkpoint_at(run, end), checkpoint_at(quiet, end)
    assert state_digest(mine.parts) == state_digest(theirs.parts)


@pytest.mark.parametrize("n_steps", [9, 14])
def test_counters_that_are_not_the_committed_ones_are_noticed(n_steps: int) -> None:
    house = house_with_events(600)
    expected = undisturbed(house).outputs()
    run = house.run("miscounted")
    first = run.worker()
    run.step(first, n_steps)
    crash(first)
    true = checkpoint_at(run, run.store.manifests(TP)[0].next_offset)
    forge(run, replace(true, fields={**true.fields, "n_alerts": true.fields["n_alerts"] + 1}))

    run.finish(run.worker())

    assert run.outputs() == expected


def test_a_checkpoint_of_the_lineage_before_is_left_alone() -> None:
    run = house_with_events(600).run("reset")
    run.finish(run.worker())
    for tp in EVENTS:
        run.house.broker.commit(run.name, tp, Committed(300, ""))
    again = run.worker(settings=RecoverySettings(accept_reset=True))
    # The new lineage's own checkpoints are lost: what there is, is of the one before.
    again.checkpoints.checkpointer = Checkpointer(
        MemoryStore(), None, again.spares, again.background
    )
    run.step(again, 20)
    crash(again)
    lineage = again.held[TP].worker.lineage
    kept = run.store.manifests(TP)
    assert all(stored.lineage != lineage.id for stored in kept)
    assert any(stored.next_offset <= committed(run).offset for stored in kept)

    runner = run.worker()
    run.step(runner)

    assert runner.held[TP].worker.lineage == lineage
    assert runner.held[TP].worker.loaded_offset == -1


class OvertakenCommits(MemoryCommits):
    """The world moves on between two questions of this worker, once."""

    meanwhile: Callable[[], None] | None = None

    def journal(self, tp: TopicPartition) -> list[bytes]:
        journal = super().journal(tp)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return journal


@pytest.mark.parametrize("n_steps_before", [0, 6])
def test_a_commit_of_another_while_a_partition_is_taken_up_is_no_contradiction(
    n_steps_before: int,
) -> None:
    house = house_with_events(600)
    expected = undisturbed(house).outputs()
    run = house.run("overtaken")
    if n_steps_before:
        first = run.worker(member="a")
        run.step(first, n_steps_before)
        crash(first)
    zombie, other = run.worker(member="b"), run.worker(member="c")
    assert isinstance(zombie.log, MemoryLog)
    commits = OvertakenCommits(zombie.log, journal_topic=f"{run.name}.journal", instance="b")
    zombie.commits = commits

    def stand_still() -> None:
        crash(zombie)
        run.step(other, 8)

    commits.meanwhile = stand_still
    run.finish(zombie, other)

    assert run.outputs() == expected


def test_a_config_that_switches_beside_a_checkpoint_switches_in_the_replay() -> None:
    """The checkpoint stands at the offset of the switch, and was made before it."""
    run = house_with_events(400).run("beside")
    first = run.worker()
    run.step(first, 4)
    first.drain()
    crash(first)
    at = run.store.manifests(TP)[0].next_offset
    assert at == committed(run).offset
    newer = FAST.model_copy(update={"generation": 2, "reference_events": 61})
    run.house.broker.partition(TP).trim(1)  # only the checkpoint can give the state
    switching = run.worker(newer)
    # What it saves after the switch must not take the place of the one before it.
    switching.checkpoints.checkpointer = Checkpointer(
        MemoryStore(), None, switching.spares, switching.background
    )
    run.step(switching)
    crash(switching)
    assert run.store.manifests(TP)[0].next_offset == at

    runner = run.worker(newer)
    run.step(runner, 3)

    assert runner.held[TP].worker.loaded_offset == at
    assert runner.held[TP].worker.detection.config.generation == 2
    # Nor has it switched once more because the replay did not.
    journal = load_journal(runner.commits.journal(TP))
    assert [entry.generation for entry in journal if entry.kind == "config"] == [2]


def test_without_transactions_a_lineage_that_was_journaled_alone_is_begun_again() -> None:
    house = house_with_events(400)
    # It says nothing of a bound with its first event, which would be published once more.
    calm = FAST.model_copy(update={"bounds": BoundsConfig()})
    quiet, run = house.run("quiet"), house.run("plain")
    quiet.finish(quiet.worker(calm))
    expected = quiet.outputs()
    first = run.worker(calm, exactly_once=False)
    run.step(first)
    crash(first)
    for tp in EVENTS:  # as after a crash between the journal and the commit
        house.broker.forget_commit(run.name, tp)
    run.store.wipe()

    run.finish(run.worker(calm, exactly_once=False))

    assert run.outputs() == expected


def test_without_transactions_a_switch_that_was_journaled_alone_has_not_happened() -> None:
    run = house_with_events(400).run("half")
    first = run.worker(exactly_once=False)
    run.step(first, 3)
    crash(first)
    before = {tp: committed(run, tp) for tp in EVENTS}
    newer = run.worker(FAST.model_copy(update={"generation": 2}), exactly_once=False)
    run.step(newer)
    crash(newer)
    for tp in EVENTS:  # as after a crash between the journal and the commit
        run.house.broker.commit(run.name, tp, before[tp])
    run.store.wipe()

    again = run.worker(exactly_once=False)
    run.step(again, 8)

    assert {held.worker.detection.config.generation for held in again.held.values()} == {1}
    assert all(held.recovered is None for held in again.held.values())
    assert len(again.held) == len(EVENTS)
