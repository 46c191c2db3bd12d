"""The records of the responder's topics for one receiver: committed ones, in its own group.

An offset is committed after its record was taken, so that every record is told at least once.
While a record waits to be taken the reader stays a member of its group: nothing is fetched, and
the group may share partitions out anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from streams.kafka_clients import (
    ask_patiently,
    consumer_config,
    describe,
    kafka_error,
    open_client,
)
from streams.kafka_errors import OWNERSHIP_LOST, is_passing
from streams.kafka_properties import KafkaValue
from streams.notify_news import TopicEntry
from streams.ports import LogError

log = structlog.get_logger(__name__)

_POLL_S: Final = 0.5
_REQUEST_S: Final = 15.0
_MAX_POLL_MS: Final = 300_000


class GroupReader:
    """A member of a receiver's group. For one thread."""

    def __init__(
        self,
        bootstrap_servers: str,
        group: str,
        topics: Sequence[str],
        kafka_properties: Mapping[str, KafkaValue],
        *,
        start: Literal["earliest", "latest"],
        session_timeout_ms: int,
    ) -> None:
        """Join. Raises `LogError` where a topic is missing or no broker answers."""
        config = consumer_config(
            bootstrap_servers,
            group,
            kafka_properties,
            session_timeout_ms=session_timeout_ms,
            max_poll_interval_ms=_MAX_POLL_MS,
        )
        self._consumer: Final = open_client(Consumer, config, f"consumer of {group}")
        self._start: Final = start
        self._held: TopicPartition | None = None
        self._is_lost = False
        self.assigned: frozenset[tuple[str, int]] | None = None
        """The partitions of this member; None before the group has said any."""
        self.turned_s = time.monotonic()
        """When it was last seen to go on."""
        try:
            require_topics(self._consumer, topics)
            self._consumer.subscribe(
                list(topics),
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_revoke,
            )
        except BaseException:
            self._consumer.close()
            raise

    def next(self) -> TopicEntry | None:
        """The next record, or None where there is none for a moment. Raises `LogError`."""
        message = self._polled(_POLL_S)
        if message is None:
            return None
        self._is_lost = False
        return entry_of(message)

    def done(self, entry: TopicEntry) -> None:
        """Commit that this record was taken. Raises `LogError` where that cannot go on.

        Where brokers do not answer, or the partition is another member's by now, it is left: the
        record is told again, under the same id.
        """
        position = TopicPartition(entry.topic, entry.partition, entry.offset + 1)
        try:
            answers = self._consumer.commit(offsets=[position], asynchronous=False)
            errors = [each.error for each in answers or () if each.error is not None]
        except KafkaException as exception:
            errors = [kafka_error(exception)]
        for error in errors:
            if error.code() not in OWNERSHIP_LOST and not is_passing(error):
                raise LogError(f"offsets cannot be committed: {describe(error)}")
            log.info("offset not committed: the record may be told again", reason=describe(error))

    def rest(self, entry: TopicEntry, seconds: float, stopping: threading.Event) -> None:
        """Wait so long as a member of the group; shorter if asked to stop or the record is lost."""
        place = TopicPartition(entry.topic, entry.partition)
        deadline_s = time.monotonic() + seconds
        self._held = place
        try:
            self._pause()
            while not stopping.is_set() and not self._is_lost:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    break
                message = self._polled(min(left_s, _POLL_S))
                if message is not None:
                    # It was fetched before its partition was paused.
                    self._consumer.seek(_place(message))
        finally:
            self._held = None
            self._resume()

    def is_lost(self, _entry: TopicEntry) -> bool:
        """Whether the partition of the record that was read last has become another member's."""
        return self._is_lost

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _polled(self, timeout_s: float) -> Message | None:
        """The next record, if one comes within this time; the group's calls happen in here."""
        self.turned_s = time.monotonic()
        try:
            message = self._consumer.poll(timeout_s)
            if message is None or (error := message.error()) is None:
                return message
            self._on_error(error)
        except KafkaException as exception:
            said = describe(kafka_error(exception))
            raise LogError(f"topics cannot be read: {said}") from exception
        return None

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        starts = self._starts(partitions)
        consumer.incremental_assign(starts)
        if self._held is not None:
            consumer.pause(starts)
        known = self.assigned or frozenset()
        self.assigned = known | {(each.topic, each.partition) for each in partitions}

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.incremental_unassign(partitions)
        gone = {(each.topic, each.partition) for each in partitions}
        self.assigned = (self.assigned or frozenset()) - gone
        # One record is under way at most: that of which nothing is committed yet.
        if self._held is not None and (self._held.topic, self._held.partition) in gone:
            self._is_lost = True

    def _starts(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Where to begin: what is committed, or where a new receiver begins, which is committed."""
        if not partitions:
            return []
        # The first group of a new cluster waits until the topic of all offsets has been made.
        committed = ask_patiently(
            lambda: self._consumer.committed(partitions, _REQUEST_S), 2 * _REQUEST_S
        )
        new: list[TopicPartition] = []
        starts: list[TopicPartition] = []
        for each in committed:
            if each.error is not None:
                raise KafkaException(each.error)
            low, high = self._consumer.get_watermark_offsets(each, _REQUEST_S)
            if not low <= each.offset <= high:
                offset = low
                if each.offset < 0:
                    offset = low if self._start == "earliest" else high
                else:
                    log.warning(
                        "the topic was made anew: it is told from its beginning",
                        topic=each.topic,
                        partition=each.partition,
                    )
                each = TopicPartition(each.topic, each.partition, offset)  # noqa: PLW2901 - the same place, with a beginning
                new.append(each)
            starts.append(each)
        if new:
            # Else a crash before the first record would begin anew, and pass over what came.
            self._consumer.commit(offsets=new, asynchronous=False)
        return starts

    @staticmethod
    def _on_error(error: KafkaError) -> None:
        # Among others an offset that is not in the topic any more: a new start looks for it.
        if not is_passing(error):
            raise LogError(f"topics cannot be read: {describe(error)}")

    def _pause(self) -> None:
        self._consumer.pause(self._consumer.assignment())

    def _resume(self) -> None:
        self._consumer.resume(self._consumer.assignment())


def require_topics(consumer: Consumer, topics: Sequence[str]) -> None:
    """Raises `LogError` where a topic is missing or no broker answers."""
    try:
        known = consumer.list_topics(timeout=_REQUEST_S).topics
    except KafkaException as error:
        raise LogError(f"no broker answers: {describe(kafka_error(error))}") from error
    if missing := sorted(set(topics) - known.keys()):
        raise LogError(
            f"no such topic, or no right to see it: {', '.join(missing)}; "
            "`driftsentry topics create` makes what is missing"
        )


def entry_of(message: Message) -> TopicEntry:
    """A record as it was read."""
    key, value = message.key(), message.value()
    _, timestamp_ms = message.timestamp()
    place = _place(message)
    return TopicEntry(
        place.topic,
        place.partition,
        place.offset,
        key.encode() if isinstance(key, str) else key or b"",
        value.encode() if isinstance(value, str) else value,
        int(timestamp_ms),
    )


def _place(message: Message) -> TopicPartition:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return TopicPartition(topic, partition, offset)
