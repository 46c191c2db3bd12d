"""What the log does with the messages and errors of its client, on a made-up client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.records import Record, TopicPartition
from streams.kafka_errors import OUT_OF_RANGE
from streams.kafka_log import KafkaLog
from streams.ports import LogError, OwnershipLostError
from streams.recovery import OperatorNeededError
from tests.streams.transports import Recorder

FIRST, SECOND = TopicPartition("events", 0), TopicPartition("events", 1)


class Client:
    """A consumer that answers from a list: messages, or what happens during the call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[tuple[int, int]]]] = []
        self.answers: list[Callable[[], list[Message]]] = []
        self.members: list[str | None] = []

    def subscribe(self, topics: list[str], **callbacks: Any) -> None:
        assert topics == ["events"]
        self.callbacks = callbacks

    def consume(self, max_records: int, timeout_s: float) -> list[Message]:
        assert max_records > 0
        assert timeout_s <= 0.05
        return self.answers.pop(0)()

    def incremental_assign(self, partitions: list[KafkaPartition]) -> None:
        self.calls.append(("assign", [(each.partition, each.offset) for each in partitions]))

    def list_topics(self, topic: str, timeout_s: float) -> None:
        assert (topic, timeout_s > 0) == ("events", True)
        self.calls.append(("metadata", []))
        raise KafkaException(KafkaError(KafkaError.REQUEST_TIMED_OUT))

    def incremental_unassign(self, partitions: list[KafkaPartition]) -> None:
        self.calls.append(("unassign", [(each.partition, -1) for each in partitions]))

    def memberid(self) -> str | None:
        return self.members.pop(0)

    def consumer_group_metadata(self) -> bytes:
        return b"metadata"

    def hear(self, what: str, numbers: Sequence[int]) -> None:
        self.callbacks[what](self, [KafkaPartition("events", number) for number in numbers])


def message(offset: int, partition: int = 0, epoch: int = -1) -> Message:
    value = b"%d" % offset
    when = (1, 1_000)
    return Message("events", partition, offset, b"key", value, timestamp=when, leader_epoch=epoch)


def failed(name: str, partition: int = 0, *, fatal: bool = False) -> Message:
    error = KafkaError(getattr(KafkaError, name), "said by the broker", fatal=fatal)
    return Message("events", partition, 3, error=error)


def truncated() -> Message:
    """As librdkafka 2.16 says it."""
    text = (
        "Partition log truncation detected at offset 12 (leader epoch 4): broker end offset is 5 "
        "(offset leader epoch 3). Reset to INVALID.: Local: Partition log truncation detected "
        "(broker 1)"
    )
    (code,) = (code for code in OUT_OF_RANGE if code < 0)
    return Message("events", 0, error=KafkaError(code, text))


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def log(client: Client, monkeypatch: pytest.MonkeyPatch) -> KafkaLog:
    """A log whose two partitions were assigned at offset 10, one call ago."""
    made = KafkaLog("127.0.0.1:1", "events", group="group")
    made.consumer.close()
    monkeypatch.setattr(made, "consumer", client)
    made.subscribe(Recorder(start={0: 10, 1: 10}))
    client.hear("on_assign", [0, 1])
    assert client.calls == [("assign", [(0, 10), (1, 10)])]
    client.calls.clear()
    return made


def polled(log: KafkaLog, client: Client, *messages: Message) -> dict[TopicPartition, list[int]]:
    client.answers.append(lambda: list(messages))
    return {tp: [each.offset for each in found] for tp, found in log.poll(100, 9.0).items()}


def test_records_are_grouped_by_partition_in_order(log: KafkaLog, client: Client) -> None:
    mixed = [message(10), message(10, 1), message(11), message(14), message(15, 1)]
    assert polled(log, client, *mixed) == {FIRST: [10, 11, 14], SECOND: [10, 15]}
    assert (log.position(FIRST), log.position(SECOND)) == (15, 16)
    client.answers.append(lambda: [message(20)])
    (of_first,) = log.poll(1, 0.0).values()
    assert list(of_first) == [Record(FIRST, 20, 1_000, b"key", b"20")]


def test_what_was_delivered_before_is_dropped(log: KafkaLog, client: Client) -> None:
    assert polled(log, client, message(10), message(11)) == {FIRST: [10, 11]}
    assert polled(log, client, message(10), message(11), message(12)) == {FIRST: [12]}
    assert polled(log, client, message(11), message(12)) == {}
    assert log.position(FIRST) == 13


def test_offsets_that_do_not_rise_end_the_log(log: KafkaLog, client: Client) -> None:
    with pytest.raises(LogError, match="out of order"):
        polled(log, client, message(11), message(11))
    with pytest.raises(LogError, match="out of order"):
        log.poll(1, 0.0)


@pytest.mark.parametrize("what", ["on_revoke", "on_lost"])
def test_messages_of_a_partition_that_was_given_up_are_dropped(
    log: KafkaLog, client: Client, what: str
) -> None:
    client.hear(what, [0])
    assert client.calls == [("unassign", [(0, -1)])]
    assert polled(log, client, message(10), message(10, 1)) == {SECOND: [10]}
    assert log.owned() == {SECOND}


def test_messages_of_a_paused_partition_are_dropped(log: KafkaLog, client: Client) -> None:
    log.pause([FIRST])
    assert polled(log, client, message(10), message(10, 1)) == {SECOND: [10]}
    log.resume(FIRST, 7)
    assert client.calls == [("unassign", [(0, -1)]), ("assign", [(0, 7)])]
    assert polled(log, client, message(7)) == {FIRST: [7]}


def test_what_came_in_the_call_in_which_its_partition_moved_is_read_again(
    log: KafkaLog, client: Client
) -> None:
    """Offset 12 was fetched before the partition was lost and given back at 10."""

    def lost_and_back() -> list[Message]:
        client.hear("on_lost", [0])
        client.hear("on_assign", [0])
        return [message(12), message(13), message(10, 1)]

    client.answers.append(lost_and_back)
    assert {tp: len(found) for tp, found in log.poll(100, 0.0).items()} == {SECOND: 1}
    assert client.calls[-2:] == [("unassign", [(0, -1)]), ("assign", [(0, 10)])]
    assert polled(log, client, message(10), message(11)) == {FIRST: [10, 11]}


def test_an_error_in_the_call_in_which_its_partition_moved_is_asked_for_again(
    log: KafkaLog, client: Client
) -> None:
    def lost_and_back() -> list[Message]:
        client.hear("on_lost", [0])
        client.hear("on_assign", [0])
        return [failed("_AUTO_OFFSET_RESET")]

    client.answers.append(lost_and_back)
    assert log.poll(100, 0.0) == {}
    assert client.calls[-2:] == [("unassign", [(0, -1)]), ("assign", [(0, 10)])]
    with pytest.raises(LogError, match=r"events\[0\]: offset 10 is not in the log"):
        polled(log, client, failed("_AUTO_OFFSET_RESET"))


def test_an_assignment_of_nothing_is_answered_too(log: KafkaLog, client: Client) -> None:
    # Else the client would assign by itself, at the committed offsets.
    client.hear("on_assign", [])
    client.hear("on_revoke", [])
    assert client.calls == [("assign", []), ("unassign", [])]
    assert log.owned() == {FIRST, SECOND}


def test_what_a_listener_raises_does_not_go_through_the_client(
    client: Client, log: KafkaLog
) -> None:
    # It would keep the exception, and with it whatever its traceback refers to, for ever.
    def fail(_: object) -> None:
        raise ValueError("heard too much")

    log.subscribe(Recorder(on_revoked=fail))
    client.hear("on_revoke", [0])
    assert client.calls == [("unassign", [(0, -1)])]
    for _ in range(2):
        with pytest.raises(ValueError, match="heard too much"):
            log.poll(1, 0.0)


@pytest.mark.parametrize("name", ["_ALL_BROKERS_DOWN", "_TRANSPORT", "_MAX_POLL_EXCEEDED"])
def test_an_error_that_passes_is_logged(
    log: KafkaLog, client: Client, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    with caplog.at_level(logging.WARNING):
        assert polled(log, client, failed(name), message(10)) == {FIRST: [10]}
    assert name in caplog.text


def test_an_error_of_a_partition_that_was_given_up_is_not_ours(
    log: KafkaLog, client: Client
) -> None:
    client.hear("on_revoke", [0])
    assert polled(log, client, failed("_AUTO_OFFSET_RESET"), message(10, 1)) == {SECOND: [10]}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (failed("TOPIC_AUTHORIZATION_FAILED"), "TOPIC_AUTHORIZATION_FAILED"),
        (failed("UNKNOWN_TOPIC_OR_PART"), "`driftsentry topics create`"),
        (failed("_TRANSPORT", fatal=True), "_TRANSPORT"),
        (failed("_FATAL"), "_FATAL"),
    ],
)
def test_an_error_that_does_not_pass_ends_the_log(
    log: KafkaLog, client: Client, bad: Message, said: str
) -> None:
    for _ in range(2):
        with pytest.raises(LogError, match=said):
            polled(log, client, message(10), bad)


@pytest.mark.parametrize("members", [[None], ["", "me"], ["me", None], ["me", "another"]])
def test_one_that_is_no_member_gives_no_group_metadata(
    log: KafkaLog, client: Client, members: list[str | None]
) -> None:
    """With neither member nor generation the broker would let anybody commit."""
    client.members = [*members, *members]
    with pytest.raises(OwnershipLostError, match="not a member"):
        log.group_metadata()
    client.members = ["me", "me"]
    assert log.group_metadata() == b"metadata"


def test_fetching_begins_with_the_record_before_where_its_epoch_is_known(
    log: KafkaLog, client: Client
) -> None:
    assert polled(log, client, message(10, epoch=4), message(11, epoch=4)) == {FIRST: [10, 11]}
    log.resume(FIRST, 12)
    assert client.calls.pop() == ("assign", [(0, 11)])
    assert log.position(FIRST) == 12
    assert polled(log, client) == {}
    assert polled(log, client, message(11, epoch=4)) == {}
    assert polled(log, client, message(12, epoch=5)) == {FIRST: [12]}
    log.resume(FIRST, 12)
    assert client.calls.pop() == ("assign", [(0, 12)])
    log.epochs.committed(FIRST, 12, 4)
    log.resume(FIRST, 12)
    assert client.calls.pop() == ("assign", [(0, 11)])
    assert polled(log, client) == {}
    assert polled(log, client, message(11, epoch=4), message(12, epoch=5)) == {FIRST: [12]}
    client.hear("on_revoke", [0])
    client.hear("on_assign", [0])
    assert client.calls.pop() == ("assign", [(0, 10)])


def test_where_retention_has_removed_the_record_before_there_is_nothing_to_compare(
    log: KafkaLog, client: Client
) -> None:
    log.epochs.committed(FIRST, 12, 4)
    log.resume(FIRST, 12)
    assert polled(log, client) == {}
    assert polled(log, client, failed("_AUTO_OFFSET_RESET"), message(10, 1)) == {SECOND: [10]}
    assert client.calls[-2:] == [("unassign", [(0, -1)]), ("assign", [(0, 12)])]
    assert polled(log, client, message(12, epoch=5)) == {FIRST: [12]}
    with pytest.raises(LogError, match="offset 13 is not in the log"):
        polled(log, client, failed("_AUTO_OFFSET_RESET"))


def test_a_truncation_that_is_reported_twice_ends_the_log(log: KafkaLog, client: Client) -> None:
    def reported(expected: int) -> None:
        """The leader is asked again, for the record before: a broker may think that it leads."""
        client.calls.clear()
        assert polled(log, client, truncated(), message(expected)) == {}
        again = [("metadata", []), ("unassign", [(0, -1)]), ("assign", [(0, expected - 1)])]
        assert client.calls[:3] == again
        assert polled(log, client) == {}

    assert polled(log, client, message(10), message(11, epoch=4)) == {FIRST: [10, 11]}
    reported(12)
    assert polled(log, client, message(11, epoch=4)) == {}
    reported(12)
    assert polled(log, client, message(11, epoch=4), message(12, epoch=4)) == {FIRST: [12]}
    reported(13)
    for _ in range(2):
        with pytest.raises(OperatorNeededError, match="said by the broker") as caught:
            polled(log, client, failed("_AUTO_OFFSET_RESET"))
        assert caught.value.code == "log_truncated"
        assert "--accept-reset" in str(caught.value)


def test_another_record_before_the_commit_ends_the_log(log: KafkaLog, client: Client) -> None:
    log.epochs.committed(FIRST, 13, 4)
    assert polled(log, client, message(10, epoch=3), message(11, epoch=6)) == {FIRST: [10, 11]}
    with pytest.raises(OperatorNeededError, match=r"log_truncated at events\[0\].*offset 13"):
        polled(log, client, message(12, epoch=6), message(13, epoch=6), message(10, 1))
    assert log.position(FIRST) == 12
    with pytest.raises(OperatorNeededError, match=r"had leader epoch 4, and has 6 now"):
        log.poll(1, 0.0)


def test_a_record_before_the_commit_that_is_gone_ends_the_log(
    log: KafkaLog, client: Client
) -> None:
    """Where others were written in its place there can be a transaction's marker."""
    log.epochs.committed(FIRST, 10, 4)
    log.resume(FIRST, 10)
    assert polled(log, client) == {}
    with pytest.raises(OperatorNeededError, match="had leader epoch 4, and is gone"):
        polled(log, client, message(10, epoch=6))
