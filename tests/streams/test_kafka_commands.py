"""The commands topic on Kafka: heard once each, in order, whatever is in the way for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.kafka_commands import KafkaCommandLog, send_command
from streams.ports import LogError, SaidRecord

pytestmark = pytest.mark.kafka

PATIENCE_S = 30.0


def heard(log: KafkaCommandLog, n: int) -> list[SaidRecord]:
    """What is read until there are n, and a moment longer."""
    said: list[SaidRecord] = []
    deadline_s = time.monotonic() + PATIENCE_S
    while len(said) < n:
        assert time.monotonic() < deadline_s, said
        said += log.read()
        time.sleep(0.02)
    time.sleep(0.2)
    return [*said, *log.read()]


@pytest.fixture
def opened() -> Iterator[Callable[[str, str, Callable[[str], str]], KafkaCommandLog]]:
    logs: list[KafkaCommandLog] = []

    def make(kafka: str, topic: str, topic_id_of: Callable[[str], str]) -> KafkaCommandLog:
        logs.append(KafkaCommandLog(kafka, topic, group="g", topic_id_of=topic_id_of))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


Open = Callable[[str, str, Callable[[str], str]], KafkaCommandLog]


def test_commands_are_heard_once_and_in_order_with_the_topic_s_id(
    kafka: str, new_topic: Callable[..., str], opened: Open
) -> None:
    topic = new_topic("commands", 1)
    send_command(kafka, topic, b"m", b"first")
    send_command(kafka, topic, b"m", b"second")
    log = opened(kafka, topic, lambda name: f"id of {name}")
    said = heard(log, 2)
    assert [(r.offset, r.value) for r in said] == [(0, b"first"), (1, b"second")]
    assert {r.topic_id for r in said} == {f"id of {topic}"}
    assert all(abs(r.timestamp_ms / 1000 - time.time()) < 60 for r in said)
    send_command(kafka, topic, b"m", b"third")
    assert [r.value for r in heard(log, 1)] == [b"third"]


def test_what_was_read_is_kept_while_the_topic_s_id_cannot_be_had(
    kafka: str, new_topic: Callable[..., str], opened: Open
) -> None:
    """It would have ended the worker, and been lost to it."""
    topic = new_topic("commands", 1)
    send_command(kafka, topic, b"m", b"first")
    asked: list[str] = []

    def topic_id_of(name: str) -> str:
        asked.append(name)
        if len(asked) < 3:
            raise LogError("no broker answers")
        return "id"

    (record,) = heard(opened(kafka, topic, topic_id_of), 1)
    assert (record.topic_id, record.offset, record.value) == ("id", 0, b"first")
    assert len(asked) == 3


def test_a_topic_that_is_made_later_is_heard_and_one_that_is_not_there_takes_no_command(
    kafka: str, unique_name: Callable[[str], str], opened: Open
) -> None:
    topic = unique_name("commands")
    log = opened(kafka, topic, lambda _: "id")
    assert list(log.read()) == []
    with pytest.raises(LogError, match=r"was not taken by the topic .*topics create"):
        send_command(kafka, topic, b"m", b"early")
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, num_partitions=1)])[topic].result(timeout=PATIENCE_S)
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(topic, b"said", partition=0)
    assert producer.flush(PATIENCE_S) == 0
    assert [r.value for r in heard(log, 1)] == [b"said"]
