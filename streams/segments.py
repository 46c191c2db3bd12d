"""Arrays of state as immutable, content-addressed segments, and back. Pure: no I/O.

A segment is a header (magic, version, number of blocks), a table (dtype and number of elements of
each block) and the blocks' raw little-endian bytes. It is named by the hex blake2b-128 of all its
bytes, so equal arrays are one segment, and an array that did not change is not written again.

The small arrays of a part lie together in one segment; an array above `LARGE_BYTES` has segments of
its own, `PIECE_BYTES` each, so that of a big table only the pieces that changed are new.

What is read back is untrusted: nothing is allocated before the sizes have been added up and
compared with a cap, every byte is covered by the name, and dtypes come from a short list.
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from detectors.base import BankState

LARGE_BYTES: Final = 64 * 1024
PIECE_BYTES: Final = 1024 * 1024
MAX_STATE_BYTES: Final = 1 << 30
"""Default cap on the arrays of one checkpoint."""

_MAGIC: Final = b"DSSG"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<4sHHI")
_BLOCK: Final = struct.Struct("<2sQ")
_DIGEST: Final = re.compile(r"[0-9a-f]{32}")
_DTYPES: Final = frozenset(
    {"b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"},
)
_IN_ORDER: Final = ("|", "<", "=") if sys.byteorder == "little" else ("|", "<")
"""Byte orders of arrays that need not be turned."""
_MAX_NDIM: Final = 8
_MAX_BLOCKS: Final = 4096


class CheckpointError(ValueError):
    """A checkpoint is not to be used: damaged, forged, of an unknown format, or too large."""


class ArrayEntry(NamedTuple):
    """Where one array of a part is: its pieces, in order, are block `block` of each segment."""

    name: str
    dtype: str
    """One of a short list: `b1`, `i1` ... `i8`, `u1` ... `u8`, `f4`, `f8`; little-endian."""
    shape: tuple[int, ...]
    segments: tuple[str, ...]
    block: int


Table = Mapping[str, Sequence[ArrayEntry]]
"""The arrays of every part, sorted by name."""


def segment_digest(segment: bytes) -> str:
    """The name of a segment: the hex blake2b-128 of its bytes."""
    return hashlib.blake2b(segment, digest_size=16).hexdigest()


def is_digest(text: object) -> bool:
    """Whether this could be the name of a segment."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def check_size(table: Table, max_bytes: int = MAX_STATE_BYTES) -> None:
    """Raise `CheckpointError` where all arrays together take more than `max_bytes`."""
    n_bytes = 0
    for entries in table.values():
        for entry in entries:
            # An empty dimension counts as 1: numpy has a limit for the other ones there, too.
            n_bytes += int(entry.dtype[1:]) * math.prod(max(n, 1) for n in entry.shape)
    if n_bytes > max_bytes:
        raise CheckpointError(f"the state takes {n_bytes} bytes, more than the cap of {max_bytes}")


def check_array(name: str, dtype: str, shape: Sequence[int]) -> None:
    """Raise `CheckpointError` where an array could not be stored, or not be read back."""
    if dtype not in _DTYPES:
        raise CheckpointError(f"array {name!r} has the dtype {dtype!r}, which is not stored")
    if len(shape) > _MAX_NDIM or (shape and min(shape) < 0):
        raise CheckpointError(f"array {name!r} has the impossible shape {tuple(shape)}")


def cut_into_segments(
    parts: Mapping[str, BankState], segments: dict[str, bytes] | None = None
) -> dict[str, list[ArrayEntry]]:
    """The table of all arrays; their segments are put into `segments` where that is given.

    The same arrays give the same table and segments, whatever the order of the mappings. Raises
    `CheckpointError` for an array that cannot be stored (object dtype, complex, text).
    """
    table: dict[str, list[ArrayEntry]] = {}
    for part in sorted(parts):
        entries: list[ArrayEntry] = []
        small: list[_Flat] = []
        n_small_bytes = 0
        for name in sorted(parts[part]):
            own = _storable(name, parts[part][name])
            n_bytes = own.flat.nbytes
            if n_bytes > LARGE_BYTES:
                step = PIECE_BYTES // own.flat.itemsize
                digests = tuple(
                    _put([own._replace(flat=own.flat[start : start + step])], segments)
                    for start in range(0, own.flat.size, step)
                )
                entries.append(ArrayEntry(name, own.code, own.shape, digests, 0))
                continue
            if n_small_bytes + n_bytes > PIECE_BYTES or len(small) == _MAX_BLOCKS:
                entries += _put_together(small, segments)
                small, n_small_bytes = [], 0
            small.append(own)
            n_small_bytes += n_bytes
        entries += _put_together(small, segments)
        table[part] = sorted(entries)
    return table


def plain_table(table: Table) -> dict[str, list[tuple[Any, ...]]]:
    """The table as orjson takes it (it refuses named tuples)."""
    return {part: [tuple(entry) for entry in entries] for part, entries in table.items()}


def digest_of_table(table: Table) -> str:
    """The digest of the state that a table describes: names, dtypes, shapes and content."""
    described = orjson.dumps(plain_table(table), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(described, digest_size=16, person=b"driftsentry-st1").hexdigest()


def state_digest(parts: Mapping[str, BankState]) -> str:
    """A digest (hex, 128 bit) of the state alone: equal arrays in equal parts, equal digest.

    Equal means equal bytes, so 0.0 and -0.0 differ; the order of the mappings means nothing.
    """
    return digest_of_table(cut_into_segments(parts))


def join_segments(
    table: Table, segments: Mapping[str, bytes], max_bytes: int = MAX_STATE_BYTES
) -> dict[str, dict[str, NDArray[Any]]]:
    """The arrays of every part, private and writable, in the machine's byte order.

    Raises `CheckpointError` where a segment is missing or damaged, does not fit the table, or where
    all arrays together would take more than `max_bytes`.
    """
    check_size(table, max_bytes)
    opened: dict[str, list[NDArray[Any]]] = {}
    for entries in table.values():
        for entry in entries:
            for digest in entry.segments:
                if digest not in opened:
                    opened[digest] = _open(digest, segments)
    return {
        part: {entry.name: _join(entry, opened) for entry in entries}
        for part, entries in table.items()
    }


class _Flat(NamedTuple):
    """An array as it is stored."""

    name: str
    code: str
    shape: tuple[int, ...]
    flat: NDArray[Any]
    """(n,) little-endian; a view of the array where it was so, and in C order."""


def _storable(name: str, array: NDArray[Any]) -> _Flat:
    if not isinstance(array, np.ndarray):
        raise CheckpointError(f"{name!r} is a {type(array).__name__}, not an array")
    code = _code(array)
    check_array(name, code, array.shape)
    if array.dtype.byteorder not in _IN_ORDER:
        array = array.astype("<" + code)
    return _Flat(name, code, array.shape, array.reshape(-1))


def _code(array: NDArray[Any]) -> str:
    return array.dtype.str[1:]


def _put(blocks: Sequence[_Flat], segments: dict[str, bytes] | None) -> str:
    """Make one segment of flat arrays; its digest."""
    head = _HEADER.pack(_MAGIC, _VERSION, 0, len(blocks)) + b"".join(
        [_BLOCK.pack(block.code.encode(), block.flat.size) for block in blocks]
    )
    raw = [block.flat.view(np.uint8) for block in blocks]
    if segments is not None:
        segment = b"".join([head, *(block.data for block in raw)])
        digest = segment_digest(segment)
        segments[digest] = segment
        return digest
    # Only the digest is asked for: the arrays need not be copied for it.
    hashed = hashlib.blake2b(head, digest_size=16)
    for block in raw:
        hashed.update(block.data)
    return hashed.hexdigest()


def _put_together(arrays: Sequence[_Flat], segments: dict[str, bytes] | None) -> list[ArrayEntry]:
    if not arrays:
        return []
    found = (_put(arrays, segments),)
    return [
        ArrayEntry(name, code, shape, found, block)
        for block, (name, code, shape, _) in enumerate(arrays)
    ]


def _open(digest: str, segments: Mapping[str, bytes]) -> list[NDArray[Any]]:
    """The blocks of a segment, as views of its bytes."""
    segment = segments.get(digest)
    if segment is None:
        raise CheckpointError(f"segment {digest} is missing")
    if segment_digest(segment) != digest:
        raise CheckpointError(f"segment {digest} is damaged: its bytes have another digest")
    if len(segment) < _HEADER.size:
        raise CheckpointError(f"segment {digest} is too short")
    magic, version, reserved, n_blocks = _HEADER.unpack_from(segment)
    if magic != _MAGIC:
        raise CheckpointError(f"segment {digest} is no segment of driftsentry")
    if version != _VERSION or reserved:
        raise CheckpointError(f"segment {digest} has the unknown format version {version}")
    at = _HEADER.size + n_blocks * _BLOCK.size
    if n_blocks > _MAX_BLOCKS or at > len(segment):
        raise CheckpointError(f"segment {digest} announces {n_blocks} blocks and cannot hold them")
    blocks: list[NDArray[Any]] = []
    for raw_code, n in _BLOCK.iter_unpack(segment[_HEADER.size : at]):
        code = raw_code.decode("latin-1")
        if code not in _DTYPES:
            raise CheckpointError(f"segment {digest} has a block of the unknown dtype {code!r}")
        end = at + n * int(code[1:])
        if end > len(segment):
            raise CheckpointError(f"segment {digest} is shorter than its table says")
        blocks.append(np.frombuffer(segment, dtype="<" + code, count=n, offset=at))
        at = end
    if at != len(segment):
        raise CheckpointError(f"segment {digest} is longer than its table says")
    return blocks


def _join(entry: ArrayEntry, opened: Mapping[str, Sequence[NDArray[Any]]]) -> NDArray[Any]:
    pieces: list[NDArray[Any]] = []
    for digest in entry.segments:
        if not 0 <= entry.block < len(opened[digest]):
            raise CheckpointError(f"segment {digest} has no block for array {entry.name!r}")
        pieces.append(opened[digest][entry.block])
    n = math.prod(entry.shape)
    if sum(map(len, pieces)) != n or any(_code(piece) != entry.dtype for piece in pieces):
        raise CheckpointError(f"the segments of array {entry.name!r} do not fit its dtype or shape")
    if entry.dtype == "b1" and any((piece.view(np.uint8) > 1).any() for piece in pieces):
        raise CheckpointError(f"array {entry.name!r} has a truth value that is neither 0 nor 1")
    joined = np.empty(n, dtype=entry.dtype)
    start = 0
    for piece in pieces:
        joined[start : start + len(piece)] = piece
        start += len(piece)
    return joined.reshape(entry.shape)
