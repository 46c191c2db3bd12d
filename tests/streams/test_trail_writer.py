"""The audit trail's writer: each source record once, in one chain, however writers end."""

from __future__ import annotations

from collections import Counter

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.audit_check import TrailVerification
from schemas.audit_trail import AuditRecord, read_audit_record
from schemas.records import TopicPartition
from streams.ports import Committed, FencedError, IndeterminateError
from streams.trail_check import check_trail
from streams.trail_writer import SKIPPED, TrailLostError
from tests.streams.trail_kit import (
    TOPICS,
    DiedError,
    MemoryTrail,
    TrailWorld,
    trail,
    values,
    writer_on,
)

GONE = orjson.dumps({"incident_id": "ab", "verdict": {}})


def records(world: TrailWorld) -> list[AuditRecord]:
    return [read_audit_record(value) for value in world.trail]


def kinds(world: TrailWorld) -> list[str]:
    return [record.kind for record in records(world)]


def checked(world: TrailWorld) -> TrailVerification:
    return check_trail(enumerate(world.trail))


def run(world: TrailWorld, *, accept_reset: bool = False) -> None:
    """A writer that reads everything and stops."""
    writer = writer_on(world, accept_reset=accept_reset)
    writer.take_up(is_start=True)
    while writer.step(0):
        pass
    writer.end()


def sources(world: TrailWorld) -> list[tuple[str, int, int]]:
    return [
        (record.source.topic, record.source.partition, record.source.offset)
        for record in records(world)
        if record.source is not None
    ]


def require_each_once(world: TrailWorld) -> None:
    """Every source record is noted once, those of a partition in their order, in a whole chain."""
    found = checked(world)
    assert found.is_whole, found.breaks
    noted = sources(world)
    assert set(Counter(noted).values()) <= {1}
    # Journals of other groups are not this deployment's.
    for tp, log in world.logs.items():
        expected = [
            n
            for n, (_, key, _) in enumerate(log)
            if tp.topic != "events-journal" or key.startswith(b"driftsentry|")
        ]
        assert [n for topic, number, n in noted if (topic, number) == tp] == expected


def test_the_trail_begins_by_saying_so_and_ends_by_saying_so() -> None:
    world = TrailWorld()
    world.produce("found", 0, GONE)
    run(world)
    assert kinds(world) == ["begun", "started", "incident", "stopped"]
    begun, started, *_ = records(world)
    assert begun.facts["groups"] == ["driftsentry", "driftsentry.security"]
    assert started.facts["release"] == "1.2.3"
    assert {each["source"] for each in started.facts["topics"]} == set(TOPICS.values())  # type: ignore[union-attr, index, call-overload]
    run(world)
    assert kinds(world)[4:] == ["started", "stopped"]
    require_each_once(world)


PRODUCED = st.tuples(
    st.sampled_from(sorted(TOPICS)),
    st.integers(0, 1),
    st.sampled_from([b"driftsentry|t|0", b"other|t|0"]),
)
ENDS = st.tuples(st.integers(0, 6), st.sampled_from(["before", "after", "unknown"]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(PRODUCED, ENDS, st.just("zombie"), st.just("progress")), max_size=25))
def test_however_writers_end_nothing_is_noted_twice_and_nothing_is_missing(
    happenings: list[object],
) -> None:
    world = TrailWorld()
    writer, zombies = writer_on(world), []
    writer.take_up(is_start=True)
    for happening in happenings:
        match happening:
            case (str(topic), int(partition), bytes(key)):
                world.produce(topic, partition, GONE, key)
            case (int(n), str(side)):
                zombies.append(writer)
                writer = writer_on(world, (n, side))
                try:
                    writer.take_up(is_start=True)
                    while writer.step(0):
                        pass
                except IndeterminateError:
                    writer.take_up(is_start=False)  # by the same process
                except DiedError:
                    writer = writer_on(world)
                    writer.take_up(is_start=True)
                assert isinstance(writer.log, MemoryTrail)
                writer.log.dies = None
            case "zombie" if zombies:
                world.produce("found", 0, GONE)
                with pytest.raises(FencedError):
                    zombies[-1].note_progress([], 60)
            case "progress":
                writer.note_progress(writer.log.progress(), 60)
    run(world)
    require_each_once(world)


def test_positions_that_expired_are_found_in_the_trail() -> None:
    world = TrailWorld()
    for n in range(5):
        world.produce("found", n % 2, GONE)
        world.produce("events-journal", 0, b"", b"other|t|0")
    writer = writer_on(world)
    writer.take_up(is_start=True)
    while writer.step(0):
        pass
    writer.note_progress(writer.log.progress(), 60)
    world.committed.clear()
    world.produce("found", 1, GONE)
    run(world)
    require_each_once(world)
    assert kinds(world).count("begun") == 1
    assert len(records(world)[-1].hash) == 64


def test_positions_that_expired_are_not_those_of_a_topic_that_was_made_anew() -> None:
    world = TrailWorld()
    for _ in range(3):
        world.produce("found", 0, GONE)
    run(world)
    world.committed.clear()
    world.make_anew("found")
    world.produce("found", 0, GONE)
    run(world)
    assert checked(world).is_whole
    assert [each for each in sources(world) if each[0] == "found"] == [
        *(("found", 0, n) for n in range(3)),
        ("found", 0, 0),
    ]
    (lost,) = [record for record in records(world) if record.kind == "lost"]
    assert "made anew" in str(lost.facts["reason"])


def test_records_that_were_removed_before_they_were_read_are_noted_as_lost() -> None:
    world = TrailWorld()
    world.produce("said", 1, b"{}")
    run(world)
    for _ in range(4):
        world.produce("said", 1, b"{}")
    world.remove_before("said", 1, 3)
    writer = writer_on(world)
    writer.take_up(is_start=False)
    assert writer.lost == [
        {
            "topic": "said",
            "partition": 1,
            "from_offset": 1,
            "until_offset": 3,
            "reason": "removed before they were read",
        }
    ]
    writer.step(0)
    assert [each[2] for each in sources(world) if each[:2] == ("said", 1)] == [0, 3, 4]
    assert checked(world).is_whole


@pytest.mark.parametrize("is_shorter", [False, True])
def test_a_topic_that_was_made_anew_is_read_from_its_beginning_and_that_is_noted(
    is_shorter: bool,
) -> None:
    world = TrailWorld()
    for _ in range(2):
        world.produce("found", 0, GONE)
    run(world)
    if is_shorter:
        # The log of the same topic: an unclean election took records away.
        del world.logs[TopicPartition("found", 0)][1:]
    else:
        world.make_anew("found")
        world.produce("found", 0, GONE)
    run(world)
    lost = [record.facts for record in records(world) if record.kind == "lost"]
    reasons = {str(facts["reason"]) for facts in lost}
    assert reasons == (
        {"the log is shorter than it was"}
        if is_shorter
        else {"the topic was deleted and made anew"}
    )
    assert [each for each in sources(world) if each[0] == "found"][2:] == [("found", 0, 0)]
    assert checked(world).is_whole


@pytest.mark.parametrize("harm", ["cut", "emptied", "foreign", "garbage", "changed"])
def test_a_topic_that_is_not_what_was_left_there_is_for_a_person(harm: str) -> None:
    world = TrailWorld()
    world.produce("found", 0, GONE)
    run(world)
    before = list(world.trail)
    match harm:
        case "cut":
            del world.trail[-1]
        case "emptied":
            world.trail.clear()
        case "foreign":
            world.trail.append(values(trail(1))[0])
        case "garbage":
            world.trail.append(b"{}")
        case "changed":
            world.trail[-1] = world.trail[-1].replace(b'"1.2.3"', b'"1.2.4"')
            assert world.trail != before
    left = list(world.trail)
    with pytest.raises(TrailLostError, match="accept-reset"):
        run(world)
    assert world.trail == left
    run(world, accept_reset=True)
    begun = records_behind(world, len(left))[0]
    assert (begun.kind, begun.seq) == ("begun", 1)
    head = f"{read_audit_record(before[-1]).head}"
    assert begun.facts["expected_head"] == head
    found = checked(world)
    # In a topic of its own it is whole; behind what was there it is told as another one.
    assert found.is_whole == (harm == "emptied")
    if harm != "emptied":
        assert "restarted" in {broken.kind for broken in found.breaks}
    # What was read is not read again.
    assert all(record.source is None for record in records_behind(world, len(left)))


def records_behind(world: TrailWorld, n: int) -> list[AuditRecord]:
    return [read_audit_record(value) for value in world.trail[n:]]


def test_the_trail_of_other_workers_is_left_alone() -> None:
    world = TrailWorld()
    run(world)
    world.committed.clear()
    writer = writer_on(world)
    writer.groups = ("others",)
    with pytest.raises(TrailLostError, match="a topic of its own"):
        writer.take_up(is_start=True)


def test_a_trail_that_is_broken_is_not_gone_on_with_where_positions_are_gone() -> None:
    world = TrailWorld()
    run(world)
    world.committed.clear()
    del world.trail[1]
    with pytest.raises(TrailLostError, match="audit verify"):
        run(world)
    run(world, accept_reset=True)
    assert records(world)[2].facts["n_breaks"] == 1


def test_positions_of_another_program_are_for_a_person() -> None:
    world = TrailWorld()
    world.committed[TopicPartition("found", 0)] = Committed(3, "")
    with pytest.raises(TrailLostError, match="another program"):
        run(world)


def test_what_is_not_ours_moves_the_position_all_the_same() -> None:
    world = TrailWorld()
    for _ in range(SKIPPED + 10):
        world.produce("events-journal", 0, b"", b"other|t|0")
    run(world)
    assert world.committed[TopicPartition("events-journal", 0)].offset == SKIPPED + 10
    assert kinds(world) == ["begun", "started", "stopped"]


def test_progress_of_many_partitions_is_several_records() -> None:
    world = TrailWorld()
    writer = writer_on(world)
    writer.take_up(is_start=True)
    writer.note_progress([{"partition": n} for n in range(130)], 0.5)
    found = [record for record in records(world) if record.kind == "progress"]
    assert [len(record.facts["workers"]) for record in found] == [64, 64, 2]  # type: ignore[arg-type]
    assert {record.facts["every_s"] for record in found} == {1}
