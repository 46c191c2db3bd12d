"""Outputs and offsets to a `MemoryBroker`, in its transactions or plainly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from schemas.records import TopicPartition
from streams.memory_broker import FencedProducerError, MemoryBroker, MemoryBrokerError
from streams.memory_log import MemoryLog
from streams.ports import (
    Commits,
    Committed,
    FencedError,
    IndeterminateError,
    LogError,
    Output,
    OwnershipLostError,
    RefusedError,
    Watermarks,
)
from streams.topics import journal_key


class MemoryCommits(Commits):
    """The commits of `log`'s member.

    As at Kafka the outputs are in the log before the commit is decided: what is aborted leaves a
    hole. `publish` is made of steps, so that a test can fail between any two of them.
    """

    def __init__(
        self,
        log: MemoryLog,
        *,
        journal_topic: str,
        instance: str | None = None,
        exactly_once: bool = True,
    ) -> None:
        """Open the producer; with `instance` it ends what a predecessor of that name left open."""
        self.exactly_once = exactly_once
        self._log: Final = log
        self._broker: Final[MemoryBroker] = log.broker
        self._journal_topic: Final = journal_topic
        self.transactional_id: Final = f"{log.group}.{instance or self._broker.new_name('unnamed')}"
        self._epoch: int | None = None
        self.reopen()

    def publish(
        self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        """Publish the outputs and commit the offsets, together (or one after the other)."""
        if self._epoch is None:
            raise IndeterminateError("the producer was abandoned: reopen it first")
        try:
            if self.exactly_once:
                self._publish_together(self._epoch, outputs, offsets)
            else:
                self._publish_in_turn(outputs, offsets)
        except FencedProducerError as error:
            self._epoch = None
            raise FencedError(str(error)) from error
        except MemoryBrokerError as error:
            raise RefusedError(str(error)) from error

    def reopen(self) -> None:
        """Open a new producer, which fences the old one and ends its transaction."""
        self._epoch = self._broker.open_producer(self.transactional_id)

    def committed(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed | None]:
        """The group's stable commits; a pending transaction is ended, as waiting for it would."""
        return {tp: self._broker.committed(self._log.group, tp) for tp in tps}

    def watermarks(self, tp: TopicPartition) -> Watermarks:
        """The first retained offset and the last stable one."""
        partition = self._broker.partition(tp)
        return Watermarks(partition.low, partition.stable)

    def topic_id(self, topic: str) -> str:
        """The topic's id. Raises `LogError` where there is no such topic."""
        try:
            return self._broker.topic_id(topic)
        except MemoryBrokerError as error:
            raise LogError(str(error)) from error

    def n_partitions(self, topic: str) -> int:
        """How many partitions the topic has. Raises `LogError` where there is no such topic."""
        try:
            return self._broker.n_partitions(topic)
        except MemoryBrokerError as error:
            raise LogError(str(error)) from error

    def journal(self, tp: TopicPartition) -> list[bytes]:
        """Every committed journal record of this group and partition, in log order."""
        key = journal_key(self._log.group, tp)
        values: list[bytes] = []
        try:
            n_partitions = self._broker.n_partitions(self._journal_topic)
        except MemoryBrokerError as error:
            raise LogError(f"{error}; `driftsentry topics create` makes it") from error
        for number in range(n_partitions):
            journal = TopicPartition(self._journal_topic, number)
            partition = self._broker.partition(journal)
            if partition.stable < partition.high:
                self._broker.expire_transactions()
            values += [
                record.value
                for record, *_ in self._broker.records(journal)
                if record.key == key and record.value is not None
            ]
        return values

    def close(self) -> None:
        """Drop the producer; no transaction is open between two calls of `publish`."""
        self._epoch = None

    def _publish_together(
        self, epoch: int, outputs: Sequence[Output], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        if offsets:
            self._log.require_membership()
        transaction = self._broker.begin(self.transactional_id, epoch)
        try:
            for output in outputs:
                self._broker.write(output, transaction)
            if offsets:
                self._log.require_membership()
            for tp, committed in offsets.items():
                self._broker.add_offset(transaction, self._log.group, tp, committed)
        except FencedProducerError:
            raise
        except (MemoryBrokerError, OwnershipLostError):
            self._broker.end(transaction, commit=False)
            raise
        self._broker.end(transaction, commit=True)

    def _publish_in_turn(
        self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        for output in outputs:
            self._broker.write(output)
        if offsets:
            self._log.require_membership()
        for tp, committed in offsets.items():
            self._broker.commit(self._log.group, tp, committed)
