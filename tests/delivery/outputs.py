"""What a run has published, as a reader of committed records sees it, and how two runs compare."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from streams.kafka_clients import answered_offset

OFFSETS: Any = OffsetSpec  # its methods carry no types


class Said(NamedTuple):
    """A record of an output topic, whole."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: tuple[int, int]

    def header(self, name: str) -> str:
        """A header that stands there once."""
        (value,) = (value for key, value in self.headers if key == name)
        return value.decode()

    @property
    def sequence(self) -> int:
        """Its number within its lineage."""
        return int(self.header("ce_sequence"))


class Stream(NamedTuple):
    """Which numbering a record belongs to."""

    duty: str
    partition: int
    lineage: str


Outputs = dict[Stream, list[Said]]


def read_to_end(bootstrap_servers: str, topic: str) -> list[Message]:
    """Every committed record of a topic; waits for open transactions to end."""
    reader = Consumer({
        "bootstrap.servers": bootstrap_servers,
        "group.id": "reader",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 10,
    })  # fmt: skip
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    try:
        numbers = reader.list_topics(topic, 10).topics[topic].partitions
        latest = {TopicPartition(topic, number): OFFSETS.latest() for number in numbers}
        # With what is in open transactions: a run is compared only when all of it is decided.
        ends = {
            tp.partition: answered_offset(future.result(timeout=10).offset)
            for tp, future in admin.list_offsets(
                latest, isolation_level=IsolationLevel.READ_UNCOMMITTED
            ).items()
        }
        unfinished = {number for number, end in ends.items() if end > 0}
        reader.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in unfinished])
        messages: list[Message] = []
        deadline_s = time.monotonic() + 30
        while unfinished:
            assert time.monotonic() < deadline_s, f"{topic} cannot be read to its end"
            for message in reader.consume(1_000, 0.05):
                error = message.error()
                if error is None:
                    messages.append(message)
                elif error.code() == getattr(KafkaError, "_PARTITION_EOF"):  # noqa: B009
                    number, offset = message.partition(), message.offset()
                    if number is not None and offset is not None and offset >= ends[number]:
                        unfinished.discard(number)
        return messages
    finally:
        reader.close()


def said(message: Message) -> Said:
    """What of a record is compared: all but its own position."""
    named: list[Any] = list(message.headers() or [])
    headers = tuple((str(name), bytes(value)) for name, value in named)
    return Said(message.key(), message.value(), headers, message.timestamp())


def read_outputs(bootstrap_servers: str, topics: Mapping[str, str]) -> Outputs:
    """By duty, input partition and lineage, in the order of `seq`; `topics` by duty."""
    outputs: Outputs = {}
    for duty, topic in topics.items():
        for message in read_to_end(bootstrap_servers, topic):
            record = said(message)
            stream = Stream(
                duty, int(record.header("ce_inputpartition")), record.header("ce_lineage")
            )
            outputs.setdefault(stream, []).append(record)
    for records in outputs.values():
        records.sort(key=lambda record: record.sequence)
    return outputs


def check_sequences(outputs: Outputs) -> None:
    """Nothing is missing and nothing is there twice."""
    for stream, records in outputs.items():
        numbers = [record.sequence for record in records]
        assert numbers == list(range(1, len(records) + 1)), (stream, _first_gap(numbers))
        names = {record.header("ce_id") for record in records}
        assert len(names) == len(records), f"{stream}: a ce_id stands there twice"


def check_equal(found: Outputs, expected: Outputs) -> None:
    """Byte equality: key, value, headers and timestamp of every record, in order."""
    check_sequences(found)
    check_sequences(expected)
    assert found.keys() == expected.keys()
    for stream, records in expected.items():
        for mine, theirs in zip(found[stream], records, strict=False):
            assert mine == theirs, stream
        assert len(found[stream]) == len(records), stream


def n_records(outputs: Outputs, duty: str) -> int:
    """How many records of this duty there are."""
    return sum(len(records) for stream, records in outputs.items() if stream.duty == duty)


def _first_gap(numbers: Sequence[int]) -> str:
    wrong = next(i for i, number in enumerate(numbers) if number != i + 1)
    return f"at {wrong + 1} of {len(numbers)}: {numbers[max(0, wrong - 2) : wrong + 3]}"
