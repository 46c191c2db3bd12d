"""The audit trail on Kafka: one topic of one partition, one writer by its transactional id."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import IsolationLevel, KafkaException, Message
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from schemas.audit_trail import AuditRecord, AuditRecordError, read_audit_record
from schemas.records import TopicPartition
from streams.audit_reader import AuditReader
from streams.cloudevents import audit_headers
from streams.config import Settings
from streams.group_offsets import GroupOffsets
from streams.kafka_clients import admin_config, ask_patiently, describe, kafka_error, open_client
from streams.kafka_commits import KafkaCommits
from streams.kafka_errors import OUT_OF_RANGE, PARTITION_END, is_passing
from streams.kafka_log import KafkaLog
from streams.kafka_properties import read_properties
from streams.lineage import LineageError, load_metadata
from streams.opened import audit_reader_of
from streams.ports import Committed, LogError, Output, Watermarks
from streams.responder_probe import duty_groups
from streams.trail_facts import SOURCES, Unread
from streams.trail_writer import Source, Taken

GROUP: Final = "audit"
"""The auditor's positions are those of group `GROUP.audit`."""
_INSTANCE: Final = "trail:writer"
"""With a colon, which no worker's instance may have: it would have the same transactional id."""
_READ: Final = 500
_REQUEST_S: Final = 15.0
_PATIENCE_S: Final = 30.0
_PROGRESS_S: Final = 8.0
"""For each duty: both are over before a stop ends hard."""
_TAIL: Final = 64
_OFFSETS: Final[Any] = OffsetSpec  # its methods carry no types


class TrailTopicError(Exception):
    """A topic is missing, or not as it must be; the message says what to do."""


class _Positions(KafkaLog):
    """Names the auditor's group. Nobody is a member of it: the transactional id fences."""

    def group_metadata(self) -> Any:
        """The group, without a member."""
        return self.consumer.consumer_group_metadata()


class KafkaTrail:
    """A `TrailLog`. Every method may raise `LogError` or `KafkaException`."""

    def __init__(self, settings: Settings) -> None:
        """Raises `ConfigError`, `ClientConfigError`, `LogError`."""
        self._settings: Final = settings
        self._properties: Final = read_properties(settings.kafka)
        self._topic: Final = settings.topics.audit
        self._log: Final = _Positions(
            settings.bootstrap_servers,
            self._topic,
            group=f"{settings.group}.{GROUP}",
            # It reads little, and asks seldom while there is nothing.
            kafka_properties={**self._properties, "fetch.wait.max.ms": 500},
        )
        self._reader: Final[AuditReader] = audit_reader_of(settings)
        self._admin: Final = open_client(
            AdminClient,
            admin_config(settings.bootstrap_servers, self._properties),
            "auditor's admin client",
        )
        self._groups: Final = GroupOffsets(settings.bootstrap_servers, self._properties)
        self._commits: KafkaCommits | None = None

    def close(self) -> None:
        """Drop the clients; no transaction is open between two calls."""
        if self._commits is not None:
            self._commits.close()
        self._groups.renew()
        self._reader.close()
        self._log.close()

    def is_mock(self) -> bool:
        """Whether the broker is librdkafka's, which knows no transactions."""
        return self._reader.is_mock()

    def take_up(self) -> Taken:
        """Fence every other writer, then look. Raises `TrailTopicError`, `CommitError`."""
        self._require_topics()
        commits = self._opened()
        sources = source_topics(self._settings)
        tps = [
            TopicPartition(topic, number)
            for topic in sources
            for number in self._reader.partitions(topic)
        ]
        last, is_empty = self._last()
        return Taken(
            sources={
                topic: Source(name, commits.topic_id(topic)) for topic, name in sources.items()
            },
            # Of a topic that was just made the leader may not be known yet.
            ranges=ask_patiently(lambda: self._ranges(tps), _PATIENCE_S),
            committed=commits.committed(tps),
            last=last,
            is_empty=is_empty,
        )

    def records(self) -> Iterator[tuple[int, bytes | None]]:
        """Every committed record of the trail: offset and value."""
        return trail_records(self._reader, self._topic)

    def read_from(self, positions: Mapping[TopicPartition, int]) -> None:
        """Assign the sources at these positions."""
        self._log.consumer.assign(
            [KafkaPartition(tp.topic, tp.partition, offset) for tp, offset in positions.items()]
        )

    def poll(self, timeout_s: float) -> list[Unread]:
        """The next committed records; raises `LogError` where positions are not there any more."""
        found: list[Unread] = []
        # It waits until it has so many, or the time is over: first for one, then for no more.
        for message in self._consume(timeout_s):
            error = message.error()
            if error is None:
                found.append(_unread(message))
            elif error.code() in OUT_OF_RANGE:
                raise LogError("records were removed before they were read")
            elif error.code() != PARTITION_END and not is_passing(error):
                raise LogError(describe(error))
        return found

    def publish(
        self, records: Sequence[AuditRecord], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        """One transaction of records and positions."""
        assert self._commits is not None
        outputs = [
            Output(
                topic=self._topic,
                partition=0,
                key=record.chain.encode(),
                value=record.dump(),
                headers=audit_headers(record),
                timestamp_ms=record.noted_ms,
            )
            for record in records
        ]
        self._commits.publish(outputs, offsets)

    def progress(self) -> list[dict[str, Any]]:
        """What each duty's group has committed, by partition of the events topic."""
        topic = self._settings.topics.events
        numbers = self._reader.partitions(topic)
        places = [(topic, number) for number in numbers]
        return [
            _worker(group, each)
            for group in duty_groups(self._settings)
            for each in self._groups.committed(group, places, _PROGRESS_S)
        ]

    def _opened(self) -> KafkaCommits:
        """The producer, opened anew: whoever else writes is fenced."""
        if self._commits is None:
            self._commits = KafkaCommits(
                self._log,
                self._settings.bootstrap_servers,
                journal_topic=self._settings.topics.journal,
                instance=_INSTANCE,
                kafka_properties=self._properties,
                transaction_timeout_ms=self._settings.transaction_timeout_ms,
            )
        else:
            self._commits.reopen()
        return self._commits

    def _require_topics(self) -> None:
        wanted = [self._topic, *source_topics(self._settings)]
        known = self._admin.list_topics(timeout=_REQUEST_S).topics
        missing = [topic for topic in wanted if topic not in known]
        if missing:
            raise TrailTopicError(
                f"no such topic, or no right to see it: {', '.join(missing)}; "
                "`driftsentry topics create` makes what is missing"
            )
        if len(known[self._topic].partitions) != 1:
            raise TrailTopicError(
                f"{self._topic} has {len(known[self._topic].partitions)} partitions: a chain needs "
                "one; make another topic, and name it in worker.topics.audit"
            )

    def _last(self) -> tuple[AuditRecord | None, bool]:
        """The trail's last record, where it is one, and whether there is none at all."""
        (low,), (end,) = (each.values() for each in self._reader.range_of(self._topic))
        n = _TAIL
        while True:
            # Markers of transactions take offsets too, and there may be any number of them.
            start = max(low, end - n)
            last = deque(self._reader.messages(self._topic, {0: start}, {0: end}), maxlen=1)
            if last:
                try:
                    return read_audit_record(_bytes(last[0].value())), False
                except AuditRecordError:
                    return None, False
            if start == low:
                return None, True
            n *= 8

    def _ranges(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, Watermarks]:
        asked = [KafkaPartition(tp.topic, tp.partition) for tp in tps]
        ends: list[dict[TopicPartition, int]] = []
        for spec in (_OFFSETS.earliest(), _OFFSETS.latest()):
            answers = self._admin.list_offsets(
                dict.fromkeys(asked, spec),
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=_REQUEST_S,
            )
            ends.append(
                {
                    TopicPartition(each.topic, each.partition): int(
                        answer.result(timeout=2 * _REQUEST_S).offset
                    )
                    for each, answer in answers.items()
                }
            )
        lows, highs = ends
        return {tp: Watermarks(lows[tp], highs[tp]) for tp in tps}

    def _consume(self, timeout_s: float) -> list[Message]:
        try:
            first = self._log.consumer.consume(1, timeout_s)
            return [*first, *self._log.consumer.consume(_READ, 0.05)] if first else []
        except KafkaException as exception:
            raise LogError(describe(kafka_error(exception))) from exception


def source_topics(settings: Settings) -> dict[str, str]:
    """The topics that are noted: by topic its name among `SOURCES`."""
    topics: dict[str, str] = settings.topics.model_dump()
    names = {topics[name]: name for name in SOURCES if name in topics}
    if settings.liveness_window_s == 0:
        names.pop(settings.topics.liveness, None)
    return names


def trail_records(reader: AuditReader, topic: str) -> Iterator[tuple[int, bytes | None]]:
    """Every committed record of a trail's topic, up to where it ends now: offset and value."""
    for message in reader.messages(topic, *reader.range_of(topic)):
        offset = message.offset()
        assert offset is not None
        yield offset, _bytes(message.value())


def _worker(group: str, each: KafkaPartition) -> dict[str, Any]:
    """What a group of workers has committed for a partition."""
    said: dict[str, Any] = {
        "group": group,
        "topic": each.topic,
        "partition": each.partition,
        "offset": each.offset,
    }
    try:
        metadata = load_metadata(each.metadata or "")
    except LineageError:
        metadata = None
    if metadata is None:
        return {**said, "lineage": None}
    return said | {
        "lineage": metadata.lineage.id,
        "duty": metadata.lineage.duty,
        "deployment": metadata.lineage.deployment,
        "generation": metadata.generation,
        "config": metadata.config,
        "n_events": metadata.n_events,
        "n_said": metadata.n_alerts,
        "n_refused": metadata.n_dead,
        "digest": metadata.digest,
        "digest_offset": metadata.digest_offset,
    }


def _unread(message: Message) -> Unread:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return Unread(
        TopicPartition(topic, partition),
        offset,
        message.timestamp()[1],
        _bytes(message.key()),
        _bytes(message.value()),
    )


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
