"""A Kafka record as the rest of the house sees it: undecoded, with its place in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, overload


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


class Record(NamedTuple):
    """One Kafka record of an input partition.

    `offset` is its position, `timestamp_ms` the broker's or producer's record timestamp
    (epoch milliseconds; part of the log, so a replay sees the same one).
    """

    tp: TopicPartition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


class Records(Sequence[Record]):
    """Records of one partition, kept as columns: a `Record` is made only where one is asked for.

    Of a hundred thousand records a second hardly one is ever looked at by itself.
    """

    __slots__ = ("keys", "offsets", "timestamps_ms", "tp", "values")

    def __init__(
        self,
        tp: TopicPartition,
        offsets: list[int],
        timestamps_ms: list[int],
        keys: list[bytes | None],
        values: list[bytes | None],
    ) -> None:
        self.tp = tp
        self.offsets = offsets
        self.timestamps_ms = timestamps_ms
        self.keys = keys
        self.values = values

    @classmethod
    def of(cls, records: Sequence[Record]) -> Records:
        """The same records as columns; they are of one partition, or none."""
        if isinstance(records, Records):
            return records
        tp = records[0].tp if records else TopicPartition("", -1)
        return cls(
            tp,
            [record.offset for record in records],
            [record.timestamp_ms for record in records],
            [record.key for record in records],
            [record.value for record in records],
        )

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        """One record, or those of a slice."""
        offsets, times, keys, values = self.offsets, self.timestamps_ms, self.keys, self.values
        if isinstance(index, slice):
            return Records(self.tp, offsets[index], times[index], keys[index], values[index])
        return Record(self.tp, offsets[index], times[index], keys[index], values[index])


class Reject(NamedTuple):
    """One event that was refused: what the dead-letter topic says of it.

    `row` is its index within its record: 0 for JSON, and where an Arrow stream is refused whole.

    `reason` is a code of `schemas.reasons`, `detail` names the field and the remedy in a
    sentence and never repeats payload; `digest` is the hex blake2b-128 of the payload.
    """

    offset: int
    timestamp_ms: int
    reason: str
    detail: str
    length: int
    digest: str
    key: bytes | None
    excerpt: bytes | None = None
    row: int = 0
