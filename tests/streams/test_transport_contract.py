"""One contract for both transports: what the worker may rely on, in memory and on a real Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from schemas.records import TopicPartition
from streams.ports import (
    Commits,
    Committed,
    EventLog,
    FencedError,
    IndeterminateError,
    LogError,
    Output,
    OwnershipLostError,
    RefusedError,
)
from streams.topics import journal_key
from tests.streams.transports import (
    MAX_POLL_INTERVAL_MS,
    NOW_MS,
    PATIENCE_S,
    SESSION_MS,
    KafkaTransport,
    MemoryTransport,
    Recorder,
    Transport,
    poll_until,
    values,
)

Member = tuple[EventLog, Recorder]
NewMember = Callable[..., Member]
NewCommits = Callable[..., Commits]


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def transport(request: pytest.FixtureRequest) -> Transport:
    if request.param == "memory":
        return MemoryTransport()
    return KafkaTransport(
        request.getfixturevalue("kafka"),
        request.getfixturevalue("new_topic"),
        request.getfixturevalue("unique_name"),
    )


@pytest.fixture
def new_commits(transport: Transport) -> Iterator[NewCommits]:
    made: list[Commits] = []

    def make(log: EventLog, instance: str | None = None, journal: str | None = None) -> Commits:
        made.append(transport.commits(log, instance, journal))
        return made[-1]

    yield make
    for commits in made:
        commits.close()


@pytest.fixture
def new_member(transport: Transport, new_commits: NewCommits) -> Iterator[NewMember]:
    """Makes members of the group, which leave it after the test (and may commit then)."""
    del new_commits  # named for the order: it is taken down later
    logs: list[EventLog] = []

    def make(
        instance: str | None = None,
        recorder: Recorder | None = None,
        max_poll_interval_ms: int = MAX_POLL_INTERVAL_MS,
    ) -> tuple[EventLog, Recorder]:
        listener = recorder or Recorder()
        log = transport.log(listener, instance, max_poll_interval_ms=max_poll_interval_ms)
        logs.append(log)
        return log, listener

    yield make
    for log in logs:
        log.close()


def assigned(transport: Transport, member: Member, n_partitions: int = 2) -> None:
    log, recorder = member
    poll_until(transport, [log], lambda _: len(recorder.owned) == n_partitions)


def alert(transport: Transport, value: str = "alert", *, n_ms: int = NOW_MS) -> Output:
    return Output(transport.alerts, 0, b"model", value.encode(), (("ce_id", b"a.1"),), n_ms)


def test_outputs_offsets_and_metadata_are_there_after_a_publish(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    member = new_member()
    assigned(transport, member)
    commits = new_commits(member[0])
    first, second = transport.event_partitions()
    assert commits.exactly_once
    assert commits.committed([first, second]) == {first: None, second: None}

    commits.publish([alert(transport)], {first: Committed(7, '{"n": 1, "é": "✓"}')})
    commits.publish([], {first: Committed(9, "later")})
    commits.publish([alert(transport, "no offset")], {})

    assert commits.committed([first, second]) == {first: Committed(9, "later"), second: None}
    seen = transport.seen(transport.alerts)
    assert [each.value for each in seen] == [b"alert", b"no offset"]
    assert seen[0] == (b"model", b"alert", (("ce_id", b"a.1"),), NOW_MS)
    commits.publish([], {first: Committed(7, '{"n": 1, "é": "✓"}')})
    assert commits.committed([first]) == {first: Committed(7, '{"n": 1, "é": "✓"}')}


def test_metadata_above_the_brokers_limit_is_refused_and_takes_the_outputs_with_it(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    member = new_member()
    assigned(transport, member)
    commits = new_commits(member[0])
    first, _ = transport.event_partitions()
    commits.publish([], {first: Committed(1, "é" * 4095)})
    with pytest.raises(RefusedError, match="OFFSET_METADATA_TOO_LARGE"):
        commits.publish([alert(transport)], {first: Committed(2, "m" * 4096)})
    assert commits.committed([first]) == {first: Committed(1, "é" * 4095)}
    assert transport.seen(transport.alerts) == []
    commits.publish([alert(transport, "after")], {first: Committed(3, "")})
    assert [each.value for each in transport.seen(transport.alerts)] == [b"after"]
    assert commits.committed([first]) == {first: Committed(3, "")}


def test_a_revoked_partition_is_committed_inside_the_callback_and_read_on_by_its_new_owner(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    for partition in (0, 1):
        transport.produce(partition, [f"{partition}.{number}" for number in range(20)])

    def commit(tps: Sequence[TopicPartition]) -> None:
        outputs = [alert(transport, f"revoked {tp.partition}") for tp in tps]
        commits.publish(outputs, {tp: Committed(20, "revoked") for tp in tps})

    member = new_member(recorder=Recorder(on_revoked=commit))
    commits = new_commits(member[0])
    poll_until(transport, [member[0]], lambda records: len(records) == 40)

    other = new_member(recorder=Recorder(start={0: 20, 1: 20}))
    poll_until(
        transport,
        [member[0], other[0]],
        lambda _: len(other[1].owned) == 1 and len(member[1].owned) == 1,
    )
    (moved,) = other[1].owned
    (kept,) = member[1].owned
    assert {moved, kept} == set(transport.event_partitions())
    assert ("revoked", [moved.partition]) in member[1].heard
    theirs = new_commits(other[0])
    assert theirs.committed([moved, kept]) == {moved: Committed(20, "revoked"), kept: None}
    alerts = [each.value for each in transport.seen(transport.alerts)]
    assert alerts == [f"revoked {moved.partition}".encode()]

    # Both go on in the new generation, each with its own partition.
    commits.publish([], {kept: Committed(20, "kept")})
    theirs.publish([], {moved: Committed(21, "moved")})
    for partition in (0, 1):
        transport.produce(partition, [f"{partition}.more"])
    records = poll_until(transport, [member[0], other[0]], lambda records: len(records) == 2)
    assert sorted(values(records)) == ["0.more", "1.more"]


def test_a_member_that_was_thought_dead_commits_nothing_and_hears_that_it_lost(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    silent, other = new_member(max_poll_interval_ms=SESSION_MS), new_member()
    poll_until(
        transport,
        [silent[0], other[0]],
        lambda _: len(silent[1].owned) == 1 and len(other[1].owned) == 1,
    )
    commits, theirs = new_commits(silent[0]), new_commits(other[0])
    (lost,) = silent[1].owned
    n_heard = len(silent[1].heard)
    transport.fall_silent(silent[0], [other[0]])
    poll_until(transport, [other[0]], lambda _: len(other[1].owned) == 2)
    theirs.publish([], {lost: Committed(5, "theirs")})

    with pytest.raises(OwnershipLostError):
        commits.publish([alert(transport, "zombie")], {lost: Committed(9, "zombie")})
    assert theirs.committed([lost]) == {lost: Committed(5, "theirs")}
    assert transport.seen(transport.alerts) == []

    # It still thinks that it owns what it has lost.
    poll_until(
        transport,
        [silent[0], other[0]],
        lambda _: len(silent[1].heard) > n_heard and len(silent[1].owned) == 1,
    )
    assert silent[1].heard[n_heard] == ("lost", [lost.partition])
    (mine,) = silent[1].owned
    commits.publish([alert(transport, "back")], {mine: Committed(6, "back")})
    assert [each.value for each in transport.seen(transport.alerts)] == [b"back"]


def test_a_second_producer_with_the_same_transactional_id_fences_the_first(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    member = new_member("one")
    assigned(transport, member)
    first, _ = transport.event_partitions()
    old = new_commits(member[0], "one")
    old.publish([alert(transport, "old")], {first: Committed(1, "old")})
    new = new_commits(member[0], "one")
    with pytest.raises(FencedError):
        old.publish([alert(transport, "zombie")], {first: Committed(2, "zombie")})
    with pytest.raises(IndeterminateError, match="reopen"):
        old.publish([alert(transport, "zombie")], {first: Committed(2, "zombie")})
    new.publish([alert(transport, "new")], {first: Committed(3, "new")})
    assert new.committed([first]) == {first: Committed(3, "new")}
    old.reopen()
    old.publish([], {first: Committed(4, "again")})
    with pytest.raises(FencedError):
        new.publish([], {first: Committed(5, "zombie")})
    assert [each.value for each in transport.seen(transport.alerts)] == [b"old", b"new"]


def test_what_a_dead_worker_left_open_ends_when_one_of_its_name_opens(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    transport.leave_open("one", alert(transport, "open"), 9)
    member = new_member("one")
    commits = new_commits(member[0], "one")
    assigned(transport, member)
    first, _ = transport.event_partitions()
    assert commits.committed([first]) == {first: None}
    commits.publish([alert(transport, "mine")], {first: Committed(2, "")})
    assert [each.value for each in transport.seen(transport.alerts)] == [b"mine"]


def test_a_static_member_that_comes_back_has_its_partitions_without_a_rebalance(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    one, two = new_member("one"), new_member("two")
    poll_until(
        transport,
        [one[0], two[0]],
        lambda _: len(one[1].owned) == 1 and len(two[1].owned) == 1,
    )
    (mine,) = one[1].owned
    n_heard = len(two[1].heard)
    one[0].close()
    assert one[1].heard[-1] == ("revoked", [mine.partition])
    again = new_member("one")
    poll_until(transport, [two[0], again[0]], lambda _: again[1].owned == {mine})
    assert len(two[1].heard) == n_heard
    new_commits(again[0], "one").publish([], {mine: Committed(1, "")})


def test_a_twin_of_a_static_member_ends_the_first(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    member = new_member("one")
    assigned(transport, member)
    commits = new_commits(member[0], None)
    twin = new_member("one")
    assigned(transport, twin)
    first, _ = transport.event_partitions()
    with pytest.raises(OwnershipLostError):
        commits.publish([alert(transport)], {first: Committed(1, "")})
    with pytest.raises(LogError, match="fenced"):
        poll_until(transport, [member[0]], lambda _: False)
    assert transport.seen(transport.alerts) == []


def test_without_a_committed_offset_a_partition_is_read_from_the_offset_given(
    transport: Transport, new_member: NewMember
) -> None:
    transport.produce(0, [f"v{number}" for number in range(10)])
    log, _ = new_member(recorder=Recorder(start={0: 4, 1: 0}))
    records = poll_until(transport, [log], lambda records: len(records) >= 6)
    assert values(records) == [f"v{number}" for number in range(4, 10)]
    assert [record.offset for record in records] == list(range(4, 10))
    assert {record.timestamp_ms for record in records} == {NOW_MS}
    assert {record.key for record in records} == {b"model"}
    assert {record.tp for record in records} == {TopicPartition(transport.events, 0)}


@pytest.mark.parametrize("offset", [2, 999])
def test_an_offset_that_is_not_in_the_log_is_an_error_and_never_another_offset(
    transport: Transport, new_member: NewMember, offset: int
) -> None:
    transport.produce(0, [f"v{number}" for number in range(10)])
    transport.trim(TopicPartition(transport.events, 0), 5)
    log, _ = new_member(recorder=Recorder(start={0: offset, 1: 0}))
    with pytest.raises(LogError, match=f"offset {offset} is not in the log"):
        poll_until(transport, [log], lambda _: False)
    with pytest.raises(LogError, match=f"offset {offset} is not in the log"):
        log.poll(10, 0)


def test_holes_of_aborted_transactions_are_passed_over(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    transport.produce(0, ["a", "b"])
    transport.produce(0, ["x", "y", "z"], commit=False)
    transport.produce(0, ["c"])
    transport.produce(0, ["w"], commit=False)
    log, _ = new_member()
    records = poll_until(transport, [log], lambda records: len(records) >= 3)
    assert values(records) == ["a", "b", "c"]
    # Two records and a marker, three aborted ones and a marker: the holes have their offsets.
    assert [record.offset for record in records] == [0, 1, 7]
    first, second = transport.event_partitions()
    commits = new_commits(log)
    assert commits.watermarks(first) == (0, 11)
    assert commits.watermarks(second) == (0, 0)
    transport.trim(first, 3)
    assert commits.watermarks(first) == (3, 11)


def test_what_stands_behind_an_open_transaction_is_not_delivered_before_it_ends(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    first, _ = transport.event_partitions()
    transport.produce(0, ["a"])
    transport.leave_open("upstream", Output(first.topic, 0, b"model", b"open", (), NOW_MS), 0)
    transport.produce(0, ["b"])
    log, recorder = new_member()
    commits = new_commits(log)
    records = poll_until(transport, [log], lambda _: len(recorder.owned) == 2)
    records += poll_until(transport, [log], lambda more: len(records) + len(more) >= 1)
    assert values(records) == ["a"]
    assert commits.watermarks(first) == (0, 2)
    new_commits(log, "upstream")
    records = poll_until(transport, [log], lambda records: len(records) >= 1)
    assert values(records) == ["b"]
    assert commits.watermarks(first).high == 6


class _Failure(BaseException):
    """Not even an `Exception`: whatever a listener raises must come out."""


def test_what_the_listener_raises_comes_out_of_poll_and_the_log_is_not_used_again(
    transport: Transport, new_member: NewMember
) -> None:
    transport.produce(0, ["a"])

    class Failing(Recorder):
        def on_assigned(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
            super().on_assigned(tps)
            raise _Failure("assigned")

    log, recorder = new_member(recorder=Failing())
    with pytest.raises(_Failure, match="assigned"):
        poll_until(transport, [log], lambda _: False)
    with pytest.raises(_Failure, match="assigned"):
        log.poll(10, 0.05)
    log.close()
    assert [what for what, _ in recorder.heard] == ["assigned"]


def test_what_the_listener_raises_comes_out_of_close(
    transport: Transport, new_member: NewMember
) -> None:
    def fail(_: Sequence[TopicPartition]) -> None:
        raise _Failure("revoked")

    member = new_member(recorder=Recorder(on_revoked=fail))
    assigned(transport, member)
    with pytest.raises(_Failure, match="revoked"):
        member[0].close()


def test_close_tells_of_the_partitions_and_can_commit_them(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    first, second = transport.event_partitions()

    def commit(tps: Sequence[TopicPartition]) -> None:
        commits.publish([alert(transport)], {tp: Committed(3, "closing") for tp in tps})

    member = new_member(recorder=Recorder(on_revoked=commit))
    commits = new_commits(member[0])
    assigned(transport, member)
    member[0].close()
    assert len(transport.seen(transport.alerts)) == 1
    successor = new_member()
    assert new_commits(successor[0]).committed([first, second]) == {
        first: Committed(3, "closing"),
        second: Committed(3, "closing"),
    }


def test_a_partition_without_an_offset_is_owned_and_paused_until_it_is_resumed(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    for partition in (0, 1):
        transport.produce(partition, [f"{partition}.{number}" for number in range(10)])
    first, second = transport.event_partitions()
    log, recorder = new_member(recorder=Recorder(start={0: 0}))
    records = poll_until(transport, [log], lambda records: len(records) >= 10)
    assert values(records, 1) == []
    assert recorder.owned == {first, second}
    new_commits(log).publish([], {second: Committed(6, "while paused")})
    log.resume(second, 6)
    records = poll_until(transport, [log], lambda records: len(records) >= 4)
    assert values(records) == [f"1.{number}" for number in range(6, 10)]


def test_resuming_reads_from_the_offset_given_forwards_and_backwards(
    transport: Transport, new_member: NewMember
) -> None:
    n_events = 3_000
    transport.produce(0, [f"v{number}" for number in range(n_events)])
    log, _ = new_member()
    first, _second = transport.event_partitions()
    poll_until(transport, [log], lambda records: len(records) >= 500, max_records=100)
    log.pause([first])
    transport.produce(1, ["other"])
    records = poll_until(transport, [log], lambda records: len(records) >= 1)
    assert values(records) == ["other"]
    # The client has fetched far ahead by now: nothing of that may come first.
    for start in (100, 2_000, 50, 50, 2_900):
        log.resume(first, start)
        records = poll_until(transport, [log], lambda records: len(records) >= 50, max_records=7)
        assert [record.offset for record in records] == list(range(start, start + len(records)))
    log.pause([first])
    log.pause([first])
    log.resume(first, n_events - 1)
    records = poll_until(transport, [log], lambda records: len(records) >= 1)
    assert values(records) == [f"v{n_events - 1}"]


def test_resuming_what_is_another_members_does_nothing(
    transport: Transport, new_member: NewMember
) -> None:
    log, recorder = new_member()
    log.resume(TopicPartition(transport.events, 0), 0)
    log.pause([TopicPartition(transport.events, 1)])
    poll_until(transport, [log], lambda _: len(recorder.owned) == 2)


def test_the_journal_gives_this_groups_records_of_one_partition_in_order(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    member = new_member()
    assigned(transport, member)
    commits = new_commits(member[0])
    first, second = transport.event_partitions()

    def entry(group: str, tp: TopicPartition, value: str) -> Output:
        return Output(transport.journal, -1, journal_key(group, tp), value.encode(), (), NOW_MS)

    assert commits.journal(first) == []
    commits.publish([entry(transport.group, first, "1")], {first: Committed(1, "")})
    commits.publish([entry(transport.group, second, "other partition")], {})
    commits.publish([entry("another", first, "other group")], {})
    with pytest.raises(RefusedError):
        commits.publish(
            [entry(transport.group, first, "aborted")], {first: Committed(1, "m" * 5_000)}
        )
    commits.publish([entry(transport.group, first, "2")], {first: Committed(2, "")})
    assert commits.journal(first) == [b"1", b"2"]
    assert commits.journal(second) == [b"other partition"]


def test_a_missing_journal_topic_is_said_with_its_remedy(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    log, _ = new_member()
    commits = new_commits(log, journal="there-is-no-journal")
    with pytest.raises(LogError, match="`driftsentry topics create`"):
        commits.journal(TopicPartition(transport.events, 0))
    with pytest.raises(LogError, match="no such topic"):
        commits.topic_id("there-is-no-topic")


def test_an_output_to_a_missing_topic_is_refused_and_nothing_is_committed(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    member = new_member()
    assigned(transport, member)
    commits = new_commits(member[0])
    first, _ = transport.event_partitions()
    missing = Output("there-is-no-topic", 0, b"k", b"v", (), NOW_MS)
    with pytest.raises(RefusedError):
        commits.publish([alert(transport), missing], {first: Committed(1, "")})
    assert commits.committed([first]) == {first: None}
    assert transport.seen(transport.alerts) == []


def test_a_topic_that_is_made_again_has_another_id(
    transport: Transport, new_member: NewMember, new_commits: NewCommits
) -> None:
    log, _ = new_member()
    commits = new_commits(log)
    before = commits.topic_id(transport.events)
    assert before == commits.topic_id(transport.events)
    assert before != commits.topic_id(transport.alerts)
    transport.recreate_events()
    deadline_s = time.monotonic() + PATIENCE_S  # until the broker's metadata has caught up
    while (after := topic_id_or_none(commits, transport.events)) in {None, before}:
        assert time.monotonic() < deadline_s
        transport.wait()
    assert after == commits.topic_id(transport.events)


def topic_id_or_none(commits: Commits, topic: str) -> str | None:
    try:
        return commits.topic_id(topic)
    except LogError:
        return None
