"""A compacted topic in this process's memory, for tests of what is kept in one."""

from __future__ import annotations

from collections.abc import Iterator

from streams.checkpoint_topic import FoundRecord, Span
from streams.chunks import ChunkRecord
from streams.ports import StoreError


class MemoryChunkLog:
    """A `ChunkLog`; `compact` does what a broker does when it likes to.

    `unavailable` set to True makes every operation raise `StoreError`; `n_left` is how many more
    records are written before the writer dies (None: it does not).
    """

    name = "the topic in memory"

    def __init__(self, n_partitions: int = 1) -> None:
        self.partitions: list[list[FoundRecord]] = [[] for _ in range(n_partitions)]
        self.unavailable = False
        self.n_left: int | None = None
        self._ends = [0] * n_partitions

    def span(self, number: int) -> Span:
        """The partition with this number, modulo how many there are."""
        self._check_available()
        partition = number % len(self.partitions)
        records = self.partitions[partition]
        end = self._ends[partition]
        return Span(partition, records[0].offset if records else end, end)

    def read(self, partition: int, start: int, stop: int) -> Iterator[FoundRecord]:
        """The records that are still there."""
        self._check_available()
        yield from [each for each in self.partitions[partition] if start <= each.offset < stop]

    def append(self, partition: int, records: Iterator[ChunkRecord]) -> None:
        """Write these."""
        self._check_available()
        for record in records:
            if self.n_left is not None:
                if self.n_left == 0:
                    raise StoreError("the writer was told to die")
                self.n_left -= 1
            self.partitions[partition].append(FoundRecord(self._ends[partition], *record))
            self._ends[partition] += 1

    def compact(self) -> None:
        """Keep the latest record of each key; a tombstone goes, too."""
        for number, records in enumerate(self.partitions):
            latest = {record.key: record.offset for record in records}
            self.partitions[number] = [
                record
                for record in records
                if latest[record.key] == record.offset and record.value is not None
            ]

    def close(self) -> None:
        """Nothing to close; what is written stays."""

    def _check_available(self) -> None:
        if self.unavailable:
            raise StoreError("the topic in memory has been made unavailable")
