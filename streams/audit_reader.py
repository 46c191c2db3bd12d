"""What an audit reads of Kafka: committed records only, as nobody's group member.

Partitions are assigned by hand and nothing is committed, so workers notice nothing of it. Of the
workers' group only the committed offsets are asked for.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import repeat
from typing import Any, Final

from confluent_kafka import TIMESTAMP_CREATE_TIME, Consumer, IsolationLevel, KafkaError, Message
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from schemas.records import Record, TopicPartition
from streams.audit_observed import OutputDuty, Position, Seen
from streams.config import Topics
from streams.embedded import is_mock_cluster
from streams.kafka_clients import (
    admin_config,
    answered_offset,
    ask_patiently,
    describe,
    learn_leaders,
    open_client,
    reader_config,
)
from streams.kafka_errors import NOT_AUTHORISED, OUT_OF_RANGE, PARTITION_END, is_passing
from streams.kafka_history import KafkaHistory
from streams.kafka_log import KafkaLog
from streams.kafka_properties import KafkaValue
from streams.ports import Committed, LogError, Watermarks
from streams.topics import journal_key

_REQUEST_S: Final = 15.0
_POLL_S: Final = 0.05
_BATCH: Final = 4_096
_OFFSETS: Final[Any] = OffsetSpec  # its methods carry no types


class AuditReader:
    """One cluster, one group's topics. Every method raises `LogError` where it gets no answer."""

    def __init__(
        self,
        bootstrap_servers: str,
        topics: Topics,
        *,
        group: str,
        kafka_properties: Mapping[str, KafkaValue] | None = None,
        patience_s: float = 60.0,
    ) -> None:
        """`patience_s` must be longer than the workers' transaction timeout."""
        given = kafka_properties or {}
        self.topics: Final = topics
        self._group: Final = group
        self._patience_s: Final = patience_s
        # The client wants the name of a group; none is joined and nothing is committed.
        self._config: Final = reader_config(bootstrap_servers, "driftsentry-verify", given) | {
            "queued.max.messages.kbytes": 32 * 1024
        }
        self._admin: Final = open_client(
            AdminClient, admin_config(bootstrap_servers, given), "admin client"
        )
        self._log: Final = KafkaLog(
            bootstrap_servers, topics.events, group=group, kafka_properties=given
        )
        self._history: Final = KafkaHistory(
            self._log,
            bootstrap_servers,
            journal_topic=topics.journal,
            kafka_properties=given,
            patience_s=patience_s,
        )

    def close(self) -> None:
        """Close the clients."""
        self._log.close()

    def is_mock(self) -> bool:
        """Whether the broker is librdkafka's, which knows no transactions."""
        return is_mock_cluster(self._admin.list_topics(timeout=_REQUEST_S).cluster_id)

    def partitions(self, topic: str) -> list[int]:
        """The numbers of a topic's partitions."""
        # Without a topic's name: asking for one by name may make it.
        known = self._admin.list_topics(timeout=_REQUEST_S).topics
        if topic not in known:
            raise LogError(f"there is no topic {topic}, or this user may not describe it")
        return sorted(known[topic].partitions)

    def committed(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed | None]:
        """The group's stable commits."""
        return self._history.committed(tps)

    def watermarks(self, tp: TopicPartition) -> Watermarks:
        """The partition's readable range now."""
        return self._history.watermarks(tp)

    def topic_id(self) -> str:
        """The id of the events topic."""
        return self._history.topic_id(self.topics.events)

    def journals(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, list[bytes]]:
        """The committed journal records of these partitions, in log order; one reading for all."""
        by_key = {journal_key(self._group, tp): tp for tp in tps}
        found: dict[TopicPartition, list[bytes]] = {tp: [] for tp in tps}
        topic = self.topics.journal
        for messages in self._read(topic, *self._range(topic)):
            for message in messages:
                key, value = message.key(), message.value()
                if isinstance(key, bytes) and key in by_key and value is not None:
                    found[by_key[key]].append(value)
        return found

    def low(self, duty: OutputDuty) -> dict[int, int]:
        """The first retained offset of each partition of an output topic."""
        return self._range(self._output_topic(duty))[0]

    def outputs(self, duty: OutputDuty) -> Iterator[list[tuple[Position, Seen]]]:
        """All committed records of an output topic, up to where it ends now.

        Records behind an open transaction are waited for.
        """
        topic = self._output_topic(duty)
        for messages in self._read(topic, *self._range(topic)):
            yield [(_position(message), _seen(message)) for message in messages]

    def output(self, duty: OutputDuty, position: Position) -> Seen | None:
        """One record of an output topic; None where it is not there any more."""
        starts, ends = {position.partition: position.offset}, {position.partition: position[1] + 1}
        with closing(self._read(self._output_topic(duty), starts, ends)) as batches:
            found = [_seen(message) for messages in batches for message in messages]
        return found[0] if found else None

    def events(self, tp: TopicPartition, start: int, end: int) -> Iterator[list[Record]]:
        """The committed records of a partition of the events topic in [start, end)."""
        starts, ends = {tp.partition: start}, {tp.partition: end}
        with closing(self._read(tp.topic, starts, ends)) as batches:
            for messages in batches:
                yield _records(tp, messages)

    def range_of(self, topic: str) -> tuple[dict[int, int], dict[int, int]]:
        """Where each partition begins and ends, with what is in open transactions."""
        # Of a topic that was just made the leader may not be known yet.
        return ask_patiently(lambda: self._range(topic), self._patience_s)

    def messages(
        self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> Iterator[Message]:
        """The committed records of each partition in [start, end), each partition's in order.

        Records behind an open transaction are waited for.
        """
        with closing(self._read(topic, starts, ends)) as batches:
            for messages in batches:
                yield from messages

    def latest(self, topic: str, prefix: bytes) -> dict[bytes, bytes]:
        """By key that begins so, the value of its latest committed record on a compacted topic.

        Of two partitions that hold a key, since some were added, that of the later record.
        """
        found: dict[bytes, tuple[int, int, bytes | None]] = {}
        for messages in self._read(topic, *self._range(topic)):
            for message in messages:
                key = _as_bytes(message.key()) or b""
                if not key.startswith(prefix):
                    continue
                place = message.timestamp()[1], _position(message).offset
                if key not in found or place >= found[key][:2]:
                    found[key] = (*place, _as_bytes(message.value()))
        return {key: value for key, (*_, value) in found.items() if value is not None}

    def _output_topic(self, duty: OutputDuty) -> str:
        topics = self.topics
        names: dict[OutputDuty, str] = {
            "alerts": topics.alerts,
            "dead_letter": topics.dead_letter,
            "anomalies": topics.anomalies,
        }
        return names[duty]

    def _range(self, topic: str) -> tuple[dict[int, int], dict[int, int]]:
        """Where each partition begins and ends, with what is in open transactions."""
        return ask_patiently(lambda: self._asked_range(topic), self._patience_s)

    def _asked_range(self, topic: str) -> tuple[dict[int, int], dict[int, int]]:
        numbers = self.partitions(topic)
        found: list[dict[int, int]] = []
        for spec in (_OFFSETS.earliest(), _OFFSETS.latest()):
            asked = {KafkaPartition(topic, number): spec for number in numbers}
            answers = self._admin.list_offsets(
                asked,
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=_REQUEST_S,
            )
            found.append({
                partition.partition: answered_offset(
                    answer.result(timeout=2 * _REQUEST_S).offset
                )
                for partition, answer in answers.items()
            })  # fmt: skip
        return found[0], found[1]

    def _read(
        self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> Generator[list[Message]]:
        """The committed records of each partition in [start, end), each partition's in order."""
        unfinished = {number for number, end in ends.items() if end > starts[number]}
        consumer = open_client(Consumer, self._config, "audit reader")
        try:
            learn_leaders(consumer, topic)
            consumer.assign([KafkaPartition(topic, n, starts[n]) for n in sorted(unfinished)])
            deadline_s = time.monotonic() + self._patience_s
            while unfinished:
                good: list[Message] = []
                for message in consumer.consume(_BATCH, _POLL_S):
                    number, offset, error = message.partition(), message.offset(), message.error()
                    if error is not None and error.code() != PARTITION_END:
                        self._tolerate(topic, error)
                        continue
                    if number is None or offset is None:
                        continue
                    if error is None and offset < ends[number]:
                        good.append(message)
                    # An end short of ours: a transaction is open there. It is said again later.
                    if offset + (error is None) >= ends[number]:
                        unfinished.discard(number)
                if good:
                    deadline_s = time.monotonic() + self._patience_s
                    yield good
                elif time.monotonic() > deadline_s:
                    raise LogError(
                        f"{topic} could not be read further for {self._patience_s:g} s: a "
                        "transaction stays open, or no broker answers"
                    )
        finally:
            consumer.close()

    @staticmethod
    def _tolerate(topic: str, error: KafkaError) -> None:
        if error.code() in OUT_OF_RANGE:
            raise LogError(f"{topic}: its retention removed records while they were read")
        # The client looks for its group's coordinator unasked; who only reads needs no group.
        is_group = error.code() in NOT_AUTHORISED and "GROUP" in error.name()
        if not is_group and not is_passing(error):
            raise LogError(f"{topic}: {describe(error)}")


def _records(tp: TopicPartition, messages: list[Message]) -> list[Record]:
    offsets: list[Any] = list(map(Message.offset, messages))
    times: list[Any] = [moment for _, moment in map(Message.timestamp, messages)]
    keys: list[Any] = list(map(Message.key, messages))
    values: list[Any] = list(map(Message.value, messages))
    return list(map(Record, repeat(tp), offsets, times, keys, values))


def _position(message: Message) -> Position:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return Position(partition, offset)


def _seen(message: Message) -> Seen:
    kind, moment_ms = message.timestamp()
    headers: Any = message.headers() or ()
    named = headers.items() if isinstance(headers, dict) else headers
    return Seen(
        _as_bytes(message.key()),
        _as_bytes(message.value()),
        tuple((str(name), _as_bytes(value)) for name, value in named),
        moment_ms if kind == TIMESTAMP_CREATE_TIME else -1,
    )


def _as_bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
