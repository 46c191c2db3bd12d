"""A bundle cut into records of a compacted topic, and found again among whatever is there. Pure.

A partition of the events topic has two slots, and a slot has the records of one bundle:

    key      GROUP|TOPIC|PARTITION|SLOT|INDEX
    value    header (magic, version, index, chunk size, bundle size, write id), then the chunk

So the keys of a partition are few and known, and compaction bounds the topic by itself, whoever
died in the middle of what. A slot is complete where the latest record of every index carries the
same write id: a write that was torn, or that two writers mixed, is passed over.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from schemas.records import TopicPartition
from streams.bundle import MAX_BUNDLE_BYTES
from streams.segments import CheckpointError
from streams.topics import journal_key

CHUNK_BYTES: Final = 480 * 1024
"""Of a bundle, in one record: half of what brokers and clients allow by default."""

N_SLOTS: Final = 2
_MAX_CHUNKS: Final = 8_192
_MAGIC: Final = b"DSCK"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<4sHHIIQ16s")


class ChunkRecord(NamedTuple):
    """One record of the topic; the value of a tombstone is None."""

    key: bytes
    value: bytes | None


class Run(NamedTuple):
    """The records that hold one whole bundle."""

    write: bytes
    n_bytes: int
    chunk_bytes: int
    offsets: tuple[int, ...]
    """Where each chunk lies in the topic's partition, by index."""


class _Chunk(NamedTuple):
    offset: int
    write: bytes
    n_bytes: int
    chunk_bytes: int


def n_chunks(pieces: Sequence[bytes], chunk_bytes: int = CHUNK_BYTES) -> int:
    """How many records a bundle takes."""
    return -(-sum(map(len, pieces)) // chunk_bytes)


def chunk_records(
    tp: TopicPartition,
    group: str,
    slot: int,
    pieces: Sequence[bytes],
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[ChunkRecord]:
    """The records of a bundle, the one with its beginning last.

    `pieces` are the bundle's bytes in their order. The same bundle has the same records.
    """
    n_bytes = sum(map(len, pieces))
    hashed = hashlib.blake2b(digest_size=16, person=b"driftsentry-chk")
    for piece in pieces:
        hashed.update(piece)
    first: ChunkRecord | None = None
    for index, content in enumerate(_cut(pieces, chunk_bytes)):
        head = _HEADER.pack(_MAGIC, _VERSION, 0, index, chunk_bytes, n_bytes, hashed.digest())
        record = ChunkRecord(_key(tp, group, slot, index), head + content)
        if first is None:
            first = record
        else:
            yield record
    if first is not None:
        yield first


def _cut(pieces: Sequence[bytes], chunk_bytes: int) -> Iterator[bytes]:
    waiting = bytearray()
    for piece in pieces:
        for start in range(0, len(piece), chunk_bytes):
            waiting += piece[start : start + chunk_bytes]
            if len(waiting) >= chunk_bytes:
                yield bytes(waiting[:chunk_bytes])
                del waiting[:chunk_bytes]
    if waiting:
        yield bytes(waiting)


def _key(tp: TopicPartition, group: str, slot: int, index: int) -> bytes:
    return journal_key(group, tp) + f"|{slot}|{index}".encode()


class ChunkIndex:
    """Where the chunks of one partition's two slots lie: the latest record of each key.

    It holds no content, and never more than the keys there can be, whatever the topic holds.
    """

    def __init__(self, tp: TopicPartition, group: str) -> None:
        self._tp = tp
        self._group = group
        self._prefix = journal_key(group, tp) + b"|"
        self._slots: list[dict[int, _Chunk | None]] = [{} for _ in range(N_SLOTS)]

    def note(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        """Take note of a record, in the order of the log; those of others are passed over."""
        place = self._place(key)
        if place is None:
            return
        slot, index = place
        if value is None:
            self._slots[slot].pop(index, None)
        else:
            # Also a record that is none of ours takes the place: compaction keeps that one.
            self._slots[slot][index] = _read_head(offset, index, value)

    def run(self, slot: int) -> Run | None:
        """The bundle in this slot, where all of its records are there."""
        chunks = self._slots[slot]
        first = chunks.get(0)
        if first is None:
            return None
        found = [chunks.get(index) for index in range(-(-first.n_bytes // first.chunk_bytes))]
        offsets = [chunk.offset for chunk in found if chunk is not None and chunk[1:] == first[1:]]
        if len(offsets) != len(found):
            return None
        return Run(first.write, first.n_bytes, first.chunk_bytes, tuple(offsets))

    def tombstones(self, slot: int, first: int) -> list[ChunkRecord]:
        """What takes away the slot's records from this index on: a shorter bundle leaves them."""
        left = sorted(index for index in self._slots[slot] if index >= first)
        return [ChunkRecord(_key(self._tp, self._group, slot, index), None) for index in left]

    def _place(self, key: bytes | None) -> tuple[int, int] | None:
        if key is None or not key.startswith(self._prefix) or len(key) > len(self._prefix) + 16:
            return None
        slot, bar, index = key[len(self._prefix) :].partition(b"|")
        if not (bar and slot.isdigit() and index.isdigit()):
            return None
        place = int(slot), int(index)
        is_one = place[0] < N_SLOTS and place[1] < _MAX_CHUNKS
        return place if is_one and key == _key(self._tp, self._group, *place) else None


def chunk_content(run: Run, index: int, value: bytes | None) -> bytes:
    """The content of a record that was found where this chunk lies. Raises `CheckpointError`."""
    chunk = None if value is None else _read_head(run.offsets[index], index, value)
    if value is None or chunk != (run.offsets[index], run.write, run.n_bytes, run.chunk_bytes):
        raise CheckpointError("a record of the checkpoint is another one by now")
    return value[_HEADER.size :]


def _read_head(offset: int, index: int, value: bytes) -> _Chunk | None:
    """What a record's header says; None where the record is no chunk with this index."""
    if len(value) < _HEADER.size:
        return None
    magic, version, reserved, number, chunk_bytes, n_bytes, write = _HEADER.unpack_from(value)
    if (magic, version, reserved, number) != (_MAGIC, _VERSION, 0, index):
        return None
    if not (0 < n_bytes <= MAX_BUNDLE_BYTES and n_bytes <= chunk_bytes * _MAX_CHUNKS):
        return None
    length = min(chunk_bytes, n_bytes - index * chunk_bytes)
    if length <= 0 or len(value) != _HEADER.size + length:
        return None
    return _Chunk(offset, write, n_bytes, chunk_bytes)
