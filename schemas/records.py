"""A Kafka record as the rest of the house sees it: undecoded, with its place in the log."""

from __future__ import annotations

from typing import NamedTuple


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
