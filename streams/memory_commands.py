"""The commands topic of a broker in memory."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.records import TopicPartition
from streams.memory_broker import MemoryBroker
from streams.ports import SaidRecord


class MemoryCommandLog:
    """A `CommandLog` over one topic of the broker, from its beginning."""

    def __init__(self, broker: MemoryBroker, topic: str) -> None:
        self.broker = broker
        self.tp = TopicPartition(topic, 0)
        self._next_offset = 0

    def read(self) -> Sequence[SaidRecord]:
        """What has come since the last call."""
        topic_id = self.broker.topic_id(self.tp.topic)
        said = []
        for entry in self.broker.records(self.tp):
            offset, timestamp_ms, value = (
                entry.record.offset,
                entry.record.timestamp_ms,
                entry.record.value,
            )
            if offset >= self._next_offset:
                said.append(SaidRecord(topic_id, offset, timestamp_ms, value))
                self._next_offset = offset + 1
        return said

    def close(self) -> None:
        """Nothing to close."""
