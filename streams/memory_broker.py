"""Kafka in memory: logs with transactions, the last stable offset, holes and retention.

Deterministic: no clock, no thread, no randomness. What Kafka does after a time (a transaction or a
member timing out) happens here when asked for: `expire_transactions`, `MemoryGroup.expire`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from schemas.records import Record, TopicPartition
from streams.memory_group import MemoryGroup
from streams.ports import Committed, Output


class MemoryBrokerError(Exception):
    """What a broker refuses: an unknown topic, too large a metadata, a fenced producer."""


class FencedProducerError(MemoryBrokerError):
    """A newer producer has the transactional id, or the transaction has timed out."""


@dataclass(slots=True, eq=False)
class MemoryTransaction:
    """One transaction: what it has written and which offsets it would commit."""

    transactional_id: str
    epoch: int
    state: Literal["open", "committed", "aborted"] = "open"
    touched: set[TopicPartition] = field(default_factory=set)
    offsets: dict[tuple[str, TopicPartition], Committed] = field(default_factory=dict)


class Entry(NamedTuple):
    """One offset of a log: a record with its headers, of a transaction or of none.

    A marker ends a transaction: it takes an offset, and nobody reads it.
    """

    record: Record
    headers: tuple[tuple[str, bytes], ...]
    transaction: MemoryTransaction | None
    is_marker: bool = False


class MemoryPartition:
    """One partition's log: offset `low + i` is `entries[i]`."""

    def __init__(self, tp: TopicPartition) -> None:
        self.tp: Final = tp
        self.low = 0
        self.entries: list[Entry] = []

    @property
    def high(self) -> int:
        """The next offset to be written."""
        return self.low + len(self.entries)

    @property
    def stable(self) -> int:
        """The last stable offset: where the first open transaction begins, or the end."""
        for entry in self.entries:
            if entry.transaction is not None and entry.transaction.state == "open":
                return entry.record.offset
        return self.high

    def append(
        self,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: tuple[tuple[str, bytes], ...] = (),
        transaction: MemoryTransaction | None = None,
    ) -> int:
        """Write one record; its offset."""
        record = Record(self.tp, self.high, timestamp_ms, key, value)
        self.entries.append(Entry(record, headers, transaction))
        return record.offset

    def append_marker(self) -> None:
        """Write the end of a transaction."""
        record = Record(self.tp, self.high, 0, None, None)
        self.entries.append(Entry(record, (), None, is_marker=True))

    def read(self, offset: int, max_records: int) -> tuple[list[Entry], int]:
        """Committed records from `offset` on, and the offset at which to go on."""
        found: list[Entry] = []
        stable = self.stable
        while offset < stable and len(found) < max_records:
            entry = self.entries[offset - self.low]
            offset += 1
            is_aborted = entry.transaction is not None and entry.transaction.state == "aborted"
            if not entry.is_marker and not is_aborted:
                found.append(entry)
        return found, offset

    def trim(self, before: int) -> None:
        """Drop what lies before an offset, as retention does."""
        n_dropped = max(0, min(before, self.high) - self.low)
        del self.entries[:n_dropped]
        self.low += n_dropped


class MemoryBroker:
    """Topics, transactions and groups; the same limits and refusals as the real one's."""

    # Kafka's `offset.metadata.max.bytes` is 4,096 and counts UTF-16 units; as many are too many.
    max_metadata_units = 4095

    def __init__(self) -> None:
        self._partitions: dict[TopicPartition, MemoryPartition] = {}
        self._n_partitions: dict[str, int] = {}
        self._topic_ids: dict[str, str] = {}
        self._n_named = 0
        self._groups: dict[tuple[str, str], MemoryGroup] = {}
        self._offsets: dict[tuple[str, TopicPartition], Committed] = {}
        self._epochs: dict[str, int] = {}
        self._open: dict[str, MemoryTransaction] = {}

    def create_topic(self, topic: str, n_partitions: int = 1) -> None:
        """Make a topic, with a new id; one of that name must not exist."""
        if topic in self._n_partitions:
            raise MemoryBrokerError(f"the topic {topic} exists")
        self._topic_ids[topic] = self.new_name("topic")
        self._n_partitions[topic] = 0
        self.add_partitions(topic, n_partitions)

    def add_partitions(self, topic: str, n_partitions: int) -> None:
        """Give a topic so many more partitions; its groups assign anew."""
        first = self.n_partitions(topic)
        new = [TopicPartition(topic, number) for number in range(first, first + n_partitions)]
        self._partitions.update({tp: MemoryPartition(tp) for tp in new})
        self._n_partitions[topic] = first + n_partitions
        for (_, of_topic), group in self._groups.items():
            if of_topic == topic:
                group.extend(new)

    def delete_topic(self, topic: str) -> None:
        """Remove a topic and its records; committed offsets stay."""
        for number in range(self.n_partitions(topic)):
            del self._partitions[TopicPartition(topic, number)]
        del self._n_partitions[topic], self._topic_ids[topic]

    def new_name(self, what: str) -> str:
        """A name that nothing else at this broker has."""
        self._n_named += 1
        return f"{what}-{self._n_named}"

    def n_partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        if topic not in self._n_partitions:
            raise MemoryBrokerError(f"no such topic: {topic}")
        return self._n_partitions[topic]

    def topic_id(self, topic: str) -> str:
        """The topic's id, which another topic of the same name does not have."""
        self.n_partitions(topic)
        return self._topic_ids[topic]

    def partition(self, tp: TopicPartition) -> MemoryPartition:
        """The log of one partition."""
        if tp not in self._partitions:
            raise MemoryBrokerError(f"no such partition: {tp}")
        return self._partitions[tp]

    def group(self, name: str, topic: str) -> MemoryGroup:
        """The group's members that read the topic."""
        key = (name, topic)
        if key not in self._groups:
            tps = [TopicPartition(topic, number) for number in range(self.n_partitions(topic))]
            self._groups[key] = MemoryGroup(tps)
        return self._groups[key]

    def write(self, output: Output, transaction: MemoryTransaction | None = None) -> int:
        """Append an output, to the partition it names or to that of its key; its offset."""
        number = output.partition
        if number < 0:
            number = zlib.crc32(output.key) % self.n_partitions(output.topic)
        tp = TopicPartition(output.topic, number)
        if transaction is not None:
            self._require_current(transaction)
            transaction.touched.add(tp)
        return self.partition(tp).append(
            output.key, output.value, max(1, output.timestamp_ms), output.headers, transaction
        )

    def records(self, tp: TopicPartition) -> list[Entry]:
        """Everything that a reader of committed records sees."""
        partition = self.partition(tp)
        return partition.read(partition.low, len(partition.entries))[0]

    def open_producer(self, transactional_id: str) -> int:
        """A new producer's epoch; fences the one before and aborts what it left open."""
        self._end_open(transactional_id)
        return self._fence(transactional_id)

    def begin(self, transactional_id: str, epoch: int) -> MemoryTransaction:
        """Open a transaction."""
        transaction = MemoryTransaction(transactional_id, epoch)
        self._require_current(transaction)
        self._open[transactional_id] = transaction
        return transaction

    def add_offset(
        self, transaction: MemoryTransaction, group: str, tp: TopicPartition, committed: Committed
    ) -> None:
        """Let the transaction commit an offset."""
        self._require_current(transaction)
        self._check_metadata(committed)
        transaction.offsets[group, tp] = committed

    def end(self, transaction: MemoryTransaction, *, commit: bool) -> None:
        """Commit or abort: all of it becomes visible, or none."""
        self._require_current(transaction)
        transaction.state = "committed" if commit else "aborted"
        for tp in sorted(transaction.touched):
            self.partition(tp).append_marker()
        if commit:
            self._offsets.update(transaction.offsets)
        self._open.pop(transaction.transactional_id, None)

    def expire_transactions(self) -> None:
        """Abort every open transaction and fence its producer, as the coordinator does in time."""
        for transactional_id in sorted(self._open):
            self._end_open(transactional_id)
            self._fence(transactional_id)

    def commit(self, group: str, tp: TopicPartition, committed: Committed) -> None:
        """A plain commit; a tool's reset of an offset is one."""
        self._check_metadata(committed)
        self._offsets[group, tp] = committed

    def forget_commit(self, group: str, tp: TopicPartition) -> None:
        """Lose a committed offset, as when it expires."""
        self._offsets.pop((group, tp), None)

    def committed(self, group: str, tp: TopicPartition) -> Committed | None:
        """The stable commit: a pending transaction is waited for, which ends it."""
        if any((group, tp) in transaction.offsets for transaction in self._open.values()):
            self.expire_transactions()
        return self._offsets.get((group, tp))

    def _check_metadata(self, committed: Committed) -> None:
        if len(committed.metadata.encode("utf-16-le")) // 2 > self.max_metadata_units:
            raise MemoryBrokerError("OFFSET_METADATA_TOO_LARGE")

    def _require_current(self, transaction: MemoryTransaction) -> None:
        if self._epochs.get(transaction.transactional_id) != transaction.epoch:
            raise FencedProducerError(f"{transaction.transactional_id} is fenced")

    def _fence(self, transactional_id: str) -> int:
        self._epochs[transactional_id] = self._epochs.get(transactional_id, -1) + 1
        return self._epochs[transactional_id]

    def _end_open(self, transactional_id: str) -> None:
        if (left_open := self._open.get(transactional_id)) is not None:
            self.end(left_open, commit=False)
