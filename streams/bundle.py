"""A whole checkpoint as one run of bytes, for places that keep it as a file or in chunks. Pure.

A header (magic, version, sizes, offset), the lineage, a table of segments (digest and length), the
manifest, the segments. A reader asks for ranges, so a manifest can be looked at without the state.

Nothing of it is believed: whatever is wrong raises `CheckpointError`; the sizes are added up before
anything is allocated; the manifest carries its own checksum or signature, and names every segment
by the digest of its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from streams.checkpoint import MAX_MANIFEST_BYTES
from streams.ports import StoredManifest
from streams.segments import MAX_STATE_BYTES, CheckpointError

MAX_BUNDLE_BYTES: Final = MAX_STATE_BYTES + 4 * MAX_MANIFEST_BYTES
"""The arrays of a state, their manifest, and the headers of the segments."""

_MAX_SEGMENTS: Final = 65_536
_MAGIC: Final = b"DRIFTBND"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<8sHHIQI")
_ENTRY: Final = struct.Struct("<16sQ")

ReadRange = Callable[[int, int], bytes]
"""`read(start, length)`: those bytes of the bundle, fewer where it ends before."""


class Bundle(NamedTuple):
    """What the beginning of a bundle says: the manifest, and where the segments lie."""

    stored: StoredManifest
    places: Mapping[str, tuple[int, int]]
    """Start and length of each segment, by digest."""

    def segments(self, read: ReadRange, digests: Iterable[str]) -> dict[str, bytes]:
        """Those of the segments that the bundle holds."""
        return {digest: read(*self.places[digest]) for digest in digests if digest in self.places}


def bundle_pieces(
    lineage: str, next_offset: int, manifest: bytes, segments: Mapping[str, bytes]
) -> list[bytes]:
    """The bundle, as pieces to be written one after the other (the state is not copied).

    The same checkpoint gives the same bytes. Raises `CheckpointError` for what cannot be read back.
    """
    name = lineage.encode()
    digests = sorted(segments)
    sizes = {digest: len(segments[digest]) for digest in digests}
    if len(name) >= 1 << 16 or len(manifest) > MAX_MANIFEST_BYTES or len(sizes) > _MAX_SEGMENTS:
        raise CheckpointError("the checkpoint has too long a lineage or manifest, or segments")
    head = _HEADER.pack(_MAGIC, _VERSION, len(name), len(sizes), next_offset, len(manifest))
    table = b"".join(_ENTRY.pack(bytes.fromhex(digest), n) for digest, n in sizes.items())
    if (n := len(head + name + table) + len(manifest) + sum(sizes.values())) > MAX_BUNDLE_BYTES:
        raise CheckpointError(f"the checkpoint takes {n} bytes; the cap is {MAX_BUNDLE_BYTES}")
    return [head + name + table, manifest, *(segments[digest] for digest in digests)]


def open_bundle(read: ReadRange, n_bytes: int) -> Bundle:
    """Look at the beginning of a bundle of `n_bytes`. Raises `CheckpointError`."""
    header = read(0, _HEADER.size)
    if len(header) != _HEADER.size or n_bytes > MAX_BUNDLE_BYTES:
        raise CheckpointError("this is no bundle of a checkpoint: its size is wrong")
    magic, version, n_name, n_segments, next_offset, n_manifest = _HEADER.unpack(header)
    if magic != _MAGIC:
        raise CheckpointError("this is no bundle of a checkpoint")
    if version != _VERSION:
        raise CheckpointError(f"the bundle has the unknown format version {version}")
    if n_segments > _MAX_SEGMENTS or n_manifest > MAX_MANIFEST_BYTES or next_offset >= 1 << 63:
        raise CheckpointError("the bundle announces more than there can be")
    n_table = n_segments * _ENTRY.size
    at = _HEADER.size + n_name + n_table + n_manifest
    if at > n_bytes:
        raise CheckpointError("the bundle is cut off")
    head = read(_HEADER.size, n_name + n_table + n_manifest)
    if len(head) != n_name + n_table + n_manifest:
        raise CheckpointError("the bundle is cut off")
    try:
        lineage = head[:n_name].decode()
    except UnicodeDecodeError as error:
        raise CheckpointError("the bundle names no lineage") from error
    places: dict[str, tuple[int, int]] = {}
    for digest, length in _ENTRY.iter_unpack(head[n_name : n_name + n_table]):
        places[digest.hex()] = (at, length)
        at += length
    if at != n_bytes or not lineage:
        raise CheckpointError("the bundle is shorter or longer than its table says")
    return Bundle(StoredManifest(lineage, next_offset, head[n_name + n_table :]), places)
