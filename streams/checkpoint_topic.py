"""The checkpoints topic: each partition's newest checkpoints, as chunks in two slots.

Written seldom, read when the store and the spool have nothing. A write goes to the slot that does
not hold the furthest checkpoint of its lineage, so a writer that dies, or a zombie that writes an
older state later, leaves that one whole. Nobody is refused, so nothing that is put there can keep a
worker from writing. What is read is taken up only if it is of the committed lineage, not ahead of
the commit, and its digests (with a key: its signature) are right; see `streams/recovery.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, NamedTuple, Protocol

from schemas.records import TopicPartition
from streams.bundle import Bundle, bundle_pieces, open_bundle
from streams.chunks import (
    CHUNK_BYTES,
    N_SLOTS,
    ChunkIndex,
    ChunkRecord,
    Run,
    chunk_content,
    chunk_records,
    n_chunks,
)
from streams.ports import StoredManifest, StoreError
from streams.segments import CheckpointError
from streams.store_rules import check_save_arguments


class Span(NamedTuple):
    """A partition of the topic, and what of it can be read: from `low`, up to before `high`."""

    partition: int
    low: int
    high: int


class FoundRecord(NamedTuple):
    """A record where it was found."""

    offset: int
    key: bytes | None
    value: bytes | None


class ChunkLog(Protocol):
    """A compacted topic. Every method raises `StoreError`."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def span(self, number: int) -> Span:
        """The partition with this number, modulo how many there are, as it is now."""
        ...

    def read(self, partition: int, start: int, stop: int) -> Iterator[FoundRecord]:
        """The records from `start` up to before `stop` that are still there, in order."""
        ...

    def append(self, partition: int, records: Iterator[ChunkRecord]) -> None:
        """Write these in their order, and wait until they are there."""
        ...

    def close(self) -> None:
        """Give up what is under way, in whatever thread."""
        ...


@dataclass(slots=True)
class _Known:
    """What has been read of a partition so far."""

    index: ChunkIndex
    partition: int
    next_offset: int
    bundles: dict[Run, Bundle | None] = field(default_factory=dict)
    """The beginnings of the bundles; None where there is none to be made out."""


class CheckpointTopic:
    """A `SparePlace` in a compacted topic; any thread may call it, one at a time is served."""

    def __init__(self, log: ChunkLog, *, group: str, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.name: Final = log.name
        self._chunk_bytes = chunk_bytes
        self._log = log
        self._group = group
        self._lock = threading.Lock()
        self._known: dict[TopicPartition, _Known] = {}

    def manifests(self, tp: TopicPartition) -> list[StoredManifest]:
        """The manifests of the slots that are whole, newest first."""
        with self._lock:
            return [bundle.stored for _, _, bundle in self._found(tp)]

    def segments(self, tp: TopicPartition, digests: Sequence[str]) -> dict[str, bytes]:
        """Those of the segments that are there."""
        found: dict[str, bytes] = {}
        with self._lock:
            for _, run, bundle in self._found(tp):
                wanted = [d for d in digests if d in bundle.places and d not in found]
                try:
                    chunks = self._chunks(tp, run)
                    chunks.load(bundle.places[digest] for digest in wanted)
                    found |= bundle.segments(chunks.read, wanted)
                except CheckpointError:
                    # Overwritten meanwhile: then its segments are not there.
                    continue
        return found

    def keep(
        self,
        tp: TopicPartition,
        lineage: str,
        next_offset: int,
        manifest: bytes,
        segments: Mapping[str, bytes],
    ) -> None:
        """Write the checkpoint over the slot that is not the furthest of its lineage."""
        check_save_arguments(lineage, next_offset, segments, segments)
        with self._lock, _told(self.name):
            pieces = bundle_pieces(lineage, next_offset, manifest, segments)
            found = self._found(tp)
            mine = [slot for slot, _, bundle in found if bundle.stored.lineage == lineage]
            taken = mine or [slot for slot, _, _ in found]
            slot = next(slot for slot in range(N_SLOTS) if slot not in taken[:1])
            known = self._known[tp]
            records = chunk_records(tp, self._group, slot, pieces, self._chunk_bytes)
            left_over = known.index.tombstones(slot, n_chunks(pieces, self._chunk_bytes))
            self._log.append(known.partition, chain(records, left_over))

    def drop(self, tp: TopicPartition) -> None:
        """Take everything of this partition away."""
        with self._lock:
            known = self._catch_up(tp)
            records = [r for slot in range(N_SLOTS) for r in known.index.tombstones(slot, 0)]
            if records:
                self._log.append(known.partition, iter(records))

    def close(self) -> None:
        """Give up what is under way."""
        self._log.close()

    def _found(self, tp: TopicPartition) -> list[tuple[int, Run, Bundle]]:
        """Slot, records and beginning of each bundle that is whole; the furthest first."""
        known = self._catch_up(tp)
        runs = {slot: known.index.run(slot) for slot in range(N_SLOTS)}
        known.bundles = {run: b for run, b in known.bundles.items() if run in runs.values()}
        found: list[tuple[int, Run, Bundle]] = []
        for slot, run in runs.items():
            if run is None:
                continue
            if run not in known.bundles:
                known.bundles[run] = self._opened(tp, run)
            if (bundle := known.bundles[run]) is not None:
                found.append((slot, run, bundle))
        found.sort(key=lambda one: (one[2].stored.next_offset, one[1].offsets[0]), reverse=True)
        return found

    def _opened(self, tp: TopicPartition, run: Run) -> Bundle | None:
        try:
            return open_bundle(self._chunks(tp, run).read, run.n_bytes)
        except CheckpointError:
            return None

    def _catch_up(self, tp: TopicPartition) -> _Known:
        """Read what has been written since the last time; at first, everything."""
        known = self._known.get(tp)
        span = self._log.span(tp.partition)
        # A topic that was made again, or has more partitions now, is read anew.
        if known is None or known.partition != span.partition or known.next_offset > span.high:
            known = _Known(ChunkIndex(tp, self._group), span.partition, span.low)
        self._known[tp] = known
        start = max(known.next_offset, span.low)
        for record in self._log.read(span.partition, start, span.high):
            known.index.note(*record)
            known.next_offset = record.offset + 1
        known.next_offset = span.high
        return known

    def _chunks(self, tp: TopicPartition, run: Run) -> _Chunks:
        return _Chunks(self._log, self._known[tp].partition, run)


class _Chunks:
    """The bytes of a bundle, read from the topic as they are asked for."""

    def __init__(self, log: ChunkLog, partition: int, run: Run) -> None:
        self._log = log
        self._partition = partition
        self._run = run
        self._content: dict[int, bytes] = {}

    def load(self, ranges: Iterator[tuple[int, int]]) -> None:
        """Read what these ranges (start and length) need, at one go. Raises `CheckpointError`."""
        indices = {index for start, length in ranges for index in self._indices(start, length)}
        self._fetch(indices)

    def read(self, start: int, length: int) -> bytes:
        """A range of the bundle. Raises `CheckpointError` where the records are not there."""
        indices = self._indices(start, length)
        self._fetch(set(indices))
        joined = b"".join([self._content[index] for index in indices])
        skipped = start - indices.start * self._run.chunk_bytes
        return joined[skipped : skipped + length]

    def _indices(self, start: int, length: int) -> range:
        size = self._run.chunk_bytes
        return range(start // size, min(len(self._run.offsets), -(-(start + length) // size)))

    def _fetch(self, indices: set[int]) -> None:
        wanted = {self._run.offsets[index]: index for index in indices - self._content.keys()}
        if not wanted:
            return
        for record in self._log.read(self._partition, min(wanted), max(wanted) + 1):
            index = wanted.pop(record.offset, None)
            if index is not None:
                self._content[index] = chunk_content(self._run, index, record.value)
        if wanted:
            raise CheckpointError("a record of the checkpoint is not there any more")


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise StoreError(f"{name}: {error}") from error
