"""The two transports under one contract: in memory, and a real Kafka."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.records import Record, TopicPartition
from streams.kafka_commits import KafkaCommits
from streams.kafka_log import KafkaLog
from streams.memory_broker import MemoryBroker
from streams.memory_commits import MemoryCommits
from streams.memory_log import MemoryLog
from streams.ports import Commits, Committed, EventLog, Output, RebalanceListener

PATIENCE_S = 30.0
# Of today: the broker's retention soon removes what claims to be of 1970.
NOW_MS = int(time.time() * 1000)
SESSION_MS = 6_000  # the least that a broker allows by default
# A test polls its members when it comes to it: a coordinator that loads may hold it up for long.
MAX_POLL_INTERVAL_MS = 60_000


class Seen(NamedTuple):
    """One output as a reader of committed records sees it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


class Transport(ABC):
    """One broker with an events topic of two partitions, an alerts topic, a journal and a group."""

    events: str
    alerts: str
    journal: str
    group: str

    def event_partitions(self) -> list[TopicPartition]:
        return [TopicPartition(self.events, 0), TopicPartition(self.events, 1)]

    @abstractmethod
    def log(
        self,
        listener: RebalanceListener,
        instance: str | None = None,
        *,
        max_poll_interval_ms: int = MAX_POLL_INTERVAL_MS,
    ) -> EventLog:
        """A member of the group, subscribed."""

    @abstractmethod
    def commits(
        self, log: EventLog, instance: str | None = None, journal: str | None = None
    ) -> Commits:
        """The exactly-once commits of that member."""

    @abstractmethod
    def produce(self, partition: int, values: Sequence[str], *, commit: bool = True) -> None:
        """Events in one upstream transaction."""

    @abstractmethod
    def leave_open(self, instance: str, output: Output, offset: int) -> None:
        """Be a worker of that name that dies in a transaction with the output and an offset."""

    @abstractmethod
    def seen(self, topic: str) -> list[Seen]:
        """Every committed record of the topic's one partition."""

    @abstractmethod
    def trim(self, tp: TopicPartition, before: int) -> None:
        """Let retention remove what lies before the offset."""

    @abstractmethod
    def recreate_events(self) -> None:
        """Delete the events topic and make it again."""

    @abstractmethod
    def fall_silent(self, log: EventLog, others: Sequence[EventLog]) -> None:
        """Let the group think that the member is dead; it has not heard of it.

        Its `max_poll_interval_ms` is `SESSION_MS`.
        """

    @abstractmethod
    def wait(self) -> None:
        """Between two rounds of polls."""


class MemoryTransport(Transport):
    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.events, self.alerts, self.journal, self.group = "events", "alerts", "journal", "group"
        self.broker.create_topic(self.events, 2)
        self.broker.create_topic(self.alerts)
        self.broker.create_topic(self.journal)

    def log(
        self,
        listener: RebalanceListener,
        instance: str | None = None,
        *,
        max_poll_interval_ms: int = MAX_POLL_INTERVAL_MS,
    ) -> EventLog:
        del max_poll_interval_ms  # here a member falls silent by being told to
        log = MemoryLog(self.broker, self.events, group=self.group, instance=instance)
        log.subscribe(listener)
        return log

    def commits(
        self, log: EventLog, instance: str | None = None, journal: str | None = None
    ) -> Commits:
        assert isinstance(log, MemoryLog)
        return MemoryCommits(log, journal_topic=journal or self.journal, instance=instance)

    def produce(self, partition: int, values: Sequence[str], *, commit: bool = True) -> None:
        transaction = self.broker.begin("upstream", self.broker.open_producer("upstream"))
        for value in values:
            output = Output(self.events, partition, b"model", value.encode(), (), NOW_MS)
            self.broker.write(output, transaction)
        self.broker.end(transaction, commit=commit)

    def leave_open(self, instance: str, output: Output, offset: int) -> None:
        name = f"{self.group}.{instance}"
        transaction = self.broker.begin(name, self.broker.open_producer(name))
        self.broker.write(output, transaction)
        tp = TopicPartition(self.events, 0)
        self.broker.add_offset(transaction, self.group, tp, Committed(offset, "open"))

    def seen(self, topic: str) -> list[Seen]:
        return [
            Seen(entry.record.key, entry.record.value, entry.headers, entry.record.timestamp_ms)
            for entry in self.broker.records(TopicPartition(topic, 0))
        ]

    def trim(self, tp: TopicPartition, before: int) -> None:
        self.broker.partition(tp).trim(before)

    def recreate_events(self) -> None:
        self.broker.delete_topic(self.events)
        self.broker.create_topic(self.events, 2)

    def fall_silent(self, log: EventLog, others: Sequence[EventLog]) -> None:
        assert isinstance(log, MemoryLog)
        log.expire()
        for other in others:
            other.poll(100, 0)

    def wait(self) -> None:
        """Nothing to wait for."""


class KafkaTransport(Transport):
    def __init__(
        self, servers: str, new_topic: Callable[..., str], unique_name: Callable[[str], str]
    ) -> None:
        self.servers = servers
        self.events = new_topic("events", 2)
        self.alerts = new_topic("alerts")
        self.journal = new_topic("journal")
        self.group = unique_name("group")
        self.unique_name = unique_name
        self.admin = AdminClient({"bootstrap.servers": servers})
        self.left_open: list[Producer] = []

    def log(
        self,
        listener: RebalanceListener,
        instance: str | None = None,
        *,
        max_poll_interval_ms: int = MAX_POLL_INTERVAL_MS,
    ) -> EventLog:
        log = KafkaLog(
            self.servers,
            self.events,
            group=self.group,
            instance=instance,
            session_timeout_ms=SESSION_MS,
            max_poll_interval_ms=max_poll_interval_ms,
        )
        log.subscribe(listener)
        return log

    def commits(
        self, log: EventLog, instance: str | None = None, journal: str | None = None
    ) -> Commits:
        assert isinstance(log, KafkaLog)
        return KafkaCommits(
            log, self.servers, journal_topic=journal or self.journal, instance=instance
        )

    def producer(self, transactional_id: str) -> Producer:
        producer = Producer(
            {
                "bootstrap.servers": self.servers,
                "transactional.id": transactional_id,
                "transaction.timeout.ms": 60_000,
                "message.timeout.ms": 50_000,
                "log_level": 2,
            }
        )
        producer.init_transactions(PATIENCE_S)
        producer.begin_transaction()
        return producer

    def produce(self, partition: int, values: Sequence[str], *, commit: bool = True) -> None:
        producer = self.producer(self.unique_name("upstream"))
        for value in values:
            producer.produce(self.events, value, b"model", partition, timestamp=NOW_MS)
        assert producer.flush(PATIENCE_S) == 0
        if commit:
            producer.commit_transaction(PATIENCE_S)
        else:
            producer.abort_transaction(PATIENCE_S)

    def leave_open(self, instance: str, output: Output, offset: int) -> None:
        producer = self.producer(f"{self.group}.{instance}")
        producer.produce(output.topic, output.value, output.key, output.partition)
        assert producer.flush(PATIENCE_S) == 0
        # A group without members takes a commit that names none.
        nobody = Consumer({"bootstrap.servers": self.servers, "group.id": self.group})
        producer.send_offsets_to_transaction(
            [KafkaPartition(self.events, 0, offset, metadata="open")],
            nobody.consumer_group_metadata(),
            PATIENCE_S,
        )
        nobody.close()
        self.left_open.append(producer)

    def seen(self, topic: str) -> list[Seen]:
        reader = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": self.unique_name("reader"),
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
            }
        )
        seen: list[Seen] = []
        reader.assign([KafkaPartition(topic, 0, 0)])
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline_s:
                for message in reader.consume(1_000, 0.05):
                    if message.error() is not None:
                        return seen
                    headers = tuple(message.headers() or ())
                    timestamp_ms = message.timestamp()[1]
                    seen.append(Seen(message.key(), message.value(), headers, timestamp_ms))  # type: ignore[arg-type]  # headers are declared str or bytes, and are bytes when read
        finally:
            reader.close()
        raise TimeoutError(topic)

    def trim(self, tp: TopicPartition, before: int) -> None:
        asked = self.admin.delete_records([KafkaPartition(tp.topic, tp.partition, before)])
        for future in asked.values():
            future.result(timeout=PATIENCE_S)

    def recreate_events(self) -> None:
        self.admin.delete_topics([self.events])[self.events].result(timeout=PATIENCE_S)
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            new = NewTopic(self.events, num_partitions=2)
            try:
                self.admin.create_topics([new])[self.events].result(timeout=PATIENCE_S)
            except KafkaException:
                time.sleep(0.1)  # the old one is still being deleted
            else:
                return
        raise TimeoutError(self.events)

    def fall_silent(self, log: EventLog, others: Sequence[EventLog]) -> None:
        assert isinstance(log, KafkaLog)
        deadline_s = time.monotonic() + SESSION_MS / 1000 + 1.0
        while time.monotonic() < deadline_s:
            for other in others:
                other.poll(100, 0.05)
            if not others:
                time.sleep(0.05)

    def wait(self) -> None:
        time.sleep(0.01)


class Recorder:
    """A listener that remembers what it heard and starts where the test says."""

    def __init__(
        self,
        start: Mapping[int, int] | None = None,
        on_revoked: Callable[[Sequence[TopicPartition]], None] | None = None,
    ) -> None:
        self.start = {0: 0, 1: 0} if start is None else dict(start)
        self.revoke = on_revoked
        self.heard: list[tuple[str, list[int]]] = []
        self.owned: set[TopicPartition] = set()

    def on_assigned(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        self.heard.append(("assigned", [tp.partition for tp in tps]))
        self.owned.update(tps)
        return {tp: self.start[tp.partition] for tp in tps if tp.partition in self.start}

    def on_revoked(self, tps: Sequence[TopicPartition]) -> None:
        self.heard.append(("revoked", [tp.partition for tp in tps]))
        if self.revoke is not None:
            self.revoke(tps)
        self.owned.difference_update(tps)

    def on_lost(self, tps: Sequence[TopicPartition]) -> None:
        self.heard.append(("lost", [tp.partition for tp in tps]))
        self.owned.difference_update(tps)


def poll_until(
    transport: Transport,
    logs: Sequence[EventLog],
    done: Callable[[list[Record]], bool],
    max_records: int = 100,
) -> list[Record]:
    """Poll the logs in turn until the records so far satisfy `done`; these records."""
    records: list[Record] = []
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        for log in logs:
            for polled in log.poll(max_records, 0.05).values():
                records += polled
        if done(records):
            return records
        transport.wait()
    raise TimeoutError(f"after {len(records)} records")


def values(records: Sequence[Record], partition: int | None = None) -> list[str]:
    """The records' values, of one partition or of all."""
    return [
        (record.value or b"").decode()
        for record in records
        if partition is None or record.tp.partition == partition
    ]
