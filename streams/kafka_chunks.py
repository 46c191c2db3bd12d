"""The checkpoints topic on Kafka: read without a group, written by a plain idempotent producer.

Not in the worker's transactions: a checkpoint is a cache, and a write that was torn is passed over
by whoever reads. Clients are opened for one operation each, since there is one in minutes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from streams.checkpoint_topic import FoundRecord, Span
from streams.chunks import ChunkRecord
from streams.kafka_clients import (
    ClientConfigError,
    answered_offset,
    describe,
    kafka_error,
    learn_leaders,
    open_client,
    producer_config,
    reader_config,
)
from streams.kafka_errors import MISSING_TOPIC, PARTITION_END, TIMED_OUT, is_passing
from streams.kafka_properties import KafkaValue
from streams.ports import StoreError

log = structlog.get_logger(__name__)

_REQUEST_S: Final = 2.0
_PAUSE_S: Final = 0.05
_SAY_S: Final = 2.0
_LONGEST_FACTOR: Final = 4
"""A read may take so many times the patience in all, as long as it moves on."""


class KafkaChunkLog:
    """A `ChunkLog`. Nothing moving for `patience_s` is an error, `close` another."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        group: str,
        kafka_properties: Mapping[str, KafkaValue] | None = None,
        patience_s: float = 30.0,
    ) -> None:
        given = kafka_properties or {}
        self.name: Final = f"the topic {topic}"
        self._topic: Final = topic
        self._patience_s: Final = patience_s
        self._closing: Final = threading.Event()
        self._reader_config: Final = {
            **reader_config(bootstrap_servers, group, given),
            # Somebody's open transaction must not hide what lies behind it.
            "isolation.level": "read_uncommitted",
        }
        self._producer_config: Final = producer_config(
            bootstrap_servers,
            # Arrays of state have many zeros. What is queued is held once more in memory.
            {"compression.type": "lz4", "queue.buffering.max.kbytes": 8 * 1024, **given},
            transactional_id=None,
            transaction_timeout_ms=int(_LONGEST_FACTOR * patience_s * 1000),
        )

    def span(self, number: int) -> Span:
        """The partition with this number, modulo how many there are."""
        with self._telling("looking at it"), self._reader() as reader:
            deadline_s = time.monotonic() + self._patience_s
            while True:
                self._check(deadline_s)
                try:
                    return self._span(reader, number)
                except KafkaException as exception:
                    if not is_passing(kafka_error(exception)):
                        raise
                time.sleep(_PAUSE_S)

    def read(self, partition: int, start: int, stop: int) -> Iterator[FoundRecord]:
        """The records that are still there, with what has been read said every other second."""
        if start >= stop:
            return
        with self._telling("reading"), self._reader() as reader:
            learn_leaders(reader, self._topic)
            reader.assign([KafkaPartition(self._topic, partition, start)])
            for message in self._messages(reader, partition, start, stop):
                offset = message.offset()
                if offset is not None and start <= offset < stop:
                    yield FoundRecord(offset, _as_bytes(message.key()), _as_bytes(message.value()))

    def append(self, partition: int, records: Iterator[ChunkRecord]) -> None:
        """Write these, and wait until all are there."""
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failed.append(error)

        with self._telling("writing"):
            producer = open_client(Producer, self._producer_config, "checkpoint producer")
            try:
                for record in records:
                    self._queue(producer, partition, record, delivered)
                self._flush(producer, failed)
            finally:
                producer.purge()
                producer.poll(0)
            if failed:
                raise KafkaException(failed[0])

    def close(self) -> None:
        """Whoever is waiting in another thread gives up."""
        self._closing.set()

    def _span(self, reader: Consumer, number: int) -> Span:
        topic = reader.list_topics(self._topic, _REQUEST_S).topics[self._topic]
        if topic.error is not None:
            raise KafkaException(topic.error)
        partition = number % len(topic.partitions)
        low, high = reader.get_watermark_offsets(
            KafkaPartition(self._topic, partition), _REQUEST_S, cached=False
        )
        return Span(partition, answered_offset(low), answered_offset(high))

    def _queue(
        self,
        producer: Producer,
        partition: int,
        record: ChunkRecord,
        delivered: Callable[[KafkaError | None, Message], None],
    ) -> None:
        deadline_s = time.monotonic() + self._patience_s
        while True:
            self._check(deadline_s)
            try:
                producer.produce(
                    self._topic, record.value, record.key, partition, on_delivery=delivered
                )
            except BufferError:
                producer.poll(_PAUSE_S)
            else:
                producer.poll(0)
                return

    def _flush(self, producer: Producer, failed: Sequence[KafkaError]) -> None:
        n_left, deadline_s = len(producer), time.monotonic() + self._patience_s
        while n_left and not failed:
            self._check(deadline_s)
            n_before, n_left = n_left, producer.flush(_PAUSE_S)
            if n_left < n_before:
                deadline_s = time.monotonic() + self._patience_s

    def _messages(
        self, reader: Consumer, partition: int, start: int, stop: int
    ) -> Iterator[Message]:
        """The messages up to before `stop`, or to where the partition ends."""
        last_s = time.monotonic() + _LONGEST_FACTOR * self._patience_s
        deadline_s = time.monotonic() + self._patience_s
        say_s = time.monotonic() + _SAY_S
        while True:
            self._check(min(deadline_s, last_s))
            for message in reader.consume(100, _PAUSE_S):
                offset, error = message.offset(), message.error()
                if error is None:
                    deadline_s = time.monotonic() + self._patience_s
                    yield message
                elif error.code() != PARTITION_END and not is_passing(error):
                    raise KafkaException(error)
                is_end = error is not None and error.code() == PARTITION_END
                if is_end or (offset is not None and error is None and offset >= stop - 1):
                    return
                if error is None and time.monotonic() >= say_s:
                    say_s = time.monotonic() + _SAY_S
                    log.info(
                        "reading checkpoints",
                        partition=f"{self._topic}[{partition}]",
                        records_done=(offset or start) - start,
                        records_left=stop - (offset or start),
                    )

    @contextmanager
    def _reader(self) -> Iterator[Consumer]:
        reader = open_client(Consumer, self._reader_config, "checkpoint reader")
        try:
            yield reader
        finally:
            reader.close()

    def _check(self, deadline_s: float) -> None:
        if self._closing.is_set():
            raise StoreError(f"{self.name}: given up, the worker ends")
        if time.monotonic() > deadline_s:
            raise KafkaException(KafkaError(TIMED_OUT, "brokers do not answer"))

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except ClientConfigError as refused:
            raise StoreError(str(refused)) from None
        except KafkaException as exception:
            error = kafka_error(exception)
            said = describe(error)
            if error.code() in MISSING_TOPIC:
                said = "no such topic; `driftsentry topics create` makes it"
            raise StoreError(f"{self.name}, while {doing}: {said}") from exception


def _as_bytes(part: str | bytes | None) -> bytes | None:
    return part.encode() if isinstance(part, str) else part
