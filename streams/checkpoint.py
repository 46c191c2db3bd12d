"""A checkpoint as bytes: a small manifest over immutable segments. Pure: no I/O.

The manifest is a header (magic, version, flags, key id, length), a canonical JSON body, the
blake2b-256 of both, and, where a key is configured, the HMAC-SHA256 of all of that. The body names
every segment by the digest of its bytes, so the HMAC vouches for the arrays as well.

A checkpoint comes from a store that others may be able to write: whatever is wrong with it, reading
it raises `CheckpointError` and nothing else, and nothing in it is ever run.
"""

from __future__ import annotations

import hashlib
import hmac
import platform
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

import orjson

from detectors.base import BankState
from streams.segments import (
    MAX_STATE_BYTES,
    ArrayEntry,
    CheckpointError,
    Table,
    check_array,
    check_size,
    cut_into_segments,
    digest_of_table,
    is_digest,
    join_segments,
    plain_table,
    state_digest,
)

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "EncodedCheckpoint",
    "decode_checkpoint",
    "encode_checkpoint",
    "fetch_checkpoint",
    "platform_tag",
    "referenced_segments",
    "state_digest",
]

MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024

_MAGIC: Final = b"DRIFTCPT"
_VERSION: Final = 1
_SIGNED: Final = 1
_HEADER: Final = struct.Struct("<8sHH8sI")
_CHECKSUM_BYTES: Final = 32
_HMAC_BYTES: Final = 32


def platform_tag() -> str:
    """Byte order and machine of this process, such as `little-x86_64`.

    Arrays are portable; the last bit of a floating-point result need not be. So a state that
    diverges in a replay is looked at with another eye where the tags differ.
    """
    return f"{sys.byteorder}-{platform.machine().lower()}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All state of one partition's fold, and the position it belongs to."""

    lineage: str
    parent: str
    """The lineage this one replaced by an accepted reset; "" where there was none."""
    topic_id: str
    next_offset: int
    """The first offset that is not in the state."""
    config_identity: str
    generation: int
    versions: Mapping[str, int]
    """Algorithm and state version of each part; the reader refuses what it does not know."""
    fields: Mapping[str, Any]
    """Small values that JSON gives back as they were: counters, sequence numbers, names."""
    parts: Mapping[str, BankState]
    platform: str = field(default_factory=platform_tag)
    """Where the state was computed (`platform_tag`)."""


class EncodedCheckpoint(NamedTuple):
    """A checkpoint as the store takes it."""

    manifest: bytes
    segments: dict[str, bytes]
    """Every segment by digest; those that the store is known to hold need not be sent."""
    referenced: tuple[str, ...]
    """The digests of all segments, each once."""
    digest: str
    """`state_digest` of the parts: no position, no configuration, no platform."""


def encode_checkpoint(checkpoint: Checkpoint, hmac_key: bytes | None) -> EncodedCheckpoint:
    """Make a checkpoint into a manifest and segments; the arrays are only read.

    The same checkpoint gives the same bytes. Raises `CheckpointError` where it could not be read
    back as it is: a dtype that is not stored, fields that JSON would change, or too many bytes.
    """
    segments: dict[str, bytes] = {}
    table = cut_into_segments(checkpoint.parts, segments)
    check_size(table)
    described = {
        "config_identity": checkpoint.config_identity,
        "fields": dict(checkpoint.fields),
        "generation": checkpoint.generation,
        "lineage": checkpoint.lineage,
        "next_offset": checkpoint.next_offset,
        "parent": checkpoint.parent,
        "parts": plain_table(table),
        "platform": checkpoint.platform,
        "topic_id": checkpoint.topic_id,
        "versions": dict(checkpoint.versions),
    }
    try:
        body = orjson.dumps(described, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise CheckpointError(f"the checkpoint is not JSON-able: {error}") from error
    if len(body) > MAX_MANIFEST_BYTES:
        raise CheckpointError(f"the manifest takes {len(body)} bytes: too much in its fields")
    if _Body(body).fields != described["fields"]:
        raise CheckpointError("the fields would not come back from JSON as they are")
    return EncodedCheckpoint(
        _seal(body, hmac_key), segments, tuple(segments), digest_of_table(table)
    )


def decode_checkpoint(
    manifest: bytes,
    segments: Mapping[str, bytes],
    hmac_key: bytes | None,
    max_bytes: int = MAX_STATE_BYTES,
) -> Checkpoint:
    """The checkpoint of a manifest; its arrays are private and writable.

    Where a key is given, only manifests signed with it are read; where none is, only unsigned ones.
    Raises `CheckpointError`.
    """
    return fetch_checkpoint(manifest, lambda _: segments, hmac_key, max_bytes)


def fetch_checkpoint(
    manifest: bytes,
    fetch: Callable[[list[str]], Mapping[str, bytes]],
    hmac_key: bytes | None,
    max_bytes: int = MAX_STATE_BYTES,
) -> Checkpoint:
    """The same where `fetch` gets the segments, given the digests of all that there are to get.

    Raises `CheckpointError`, and what `fetch` raises.
    """
    body = _Body(_unseal(manifest, hmac_key))
    segments = fetch(_digests(body.table))
    return Checkpoint(
        lineage=body.text("lineage"),
        parent=body.text("parent"),
        topic_id=body.text("topic_id"),
        next_offset=body.count("next_offset"),
        config_identity=body.text("config_identity"),
        generation=body.count("generation"),
        versions=body.versions,
        fields=body.fields,
        parts=join_segments(body.table, segments, max_bytes),
        platform=body.text("platform"),
    )


def referenced_segments(manifest: bytes, hmac_key: bytes | None) -> list[str]:
    """The digests of the segments a manifest needs, each once. Raises `CheckpointError`."""
    return _digests(_Body(_unseal(manifest, hmac_key)).table)


def _digests(table: Table) -> list[str]:
    return list(
        dict.fromkeys(
            digest for entries in table.values() for entry in entries for digest in entry.segments
        )
    )


def _key_id(hmac_key: bytes) -> bytes:
    return hashlib.blake2b(hmac_key, digest_size=8, person=b"driftsentry-key").digest()


def _seal(body: bytes, hmac_key: bytes | None) -> bytes:
    if hmac_key is None:
        head = _HEADER.pack(_MAGIC, _VERSION, 0, bytes(8), len(body))
    else:
        if not hmac_key:
            raise CheckpointError("the key for signing checkpoints is empty")
        head = _HEADER.pack(_MAGIC, _VERSION, _SIGNED, _key_id(hmac_key), len(body))
    sealed = head + body + hashlib.blake2b(head + body, digest_size=_CHECKSUM_BYTES).digest()
    if hmac_key is not None:
        sealed += hmac.digest(hmac_key, sealed, "sha256")
    return sealed


def _unseal(manifest: bytes, hmac_key: bytes | None) -> bytes:
    """The body of a manifest that is whole and, where a key is given, signed with it."""
    if len(manifest) < _HEADER.size:
        raise CheckpointError("the manifest is too short")
    magic, version, flags, key_id, n_body = _HEADER.unpack_from(manifest)
    if magic != _MAGIC:
        raise CheckpointError("this is no manifest of driftsentry")
    if version != _VERSION:
        raise CheckpointError(f"the manifest has the unknown format version {version}")
    if flags not in {0, _SIGNED}:
        raise CheckpointError(f"the manifest has unknown flags {flags:#x}")
    end = _HEADER.size + n_body
    n_expected = end + _CHECKSUM_BYTES + (_HMAC_BYTES if flags == _SIGNED else 0)
    if n_body > MAX_MANIFEST_BYTES or len(manifest) != n_expected:
        raise CheckpointError("the manifest is cut off, or longer than it says")
    checksum = hashlib.blake2b(manifest[:end], digest_size=_CHECKSUM_BYTES).digest()
    if manifest[end : end + _CHECKSUM_BYTES] != checksum:
        raise CheckpointError("the manifest is damaged: its checksum differs")
    if hmac_key is None:
        if flags == _SIGNED:
            raise CheckpointError(
                f"the manifest is signed with key {key_id.hex()} and no key is configured"
            )
    else:
        if flags != _SIGNED:
            raise CheckpointError("the manifest is not signed, and a key is configured")
        if key_id != _key_id(hmac_key):
            raise CheckpointError(
                f"the manifest is signed with key {key_id.hex()},"
                f" the configured one is {_key_id(hmac_key).hex()}"
            )
        signature = hmac.digest(hmac_key, manifest[:-_HMAC_BYTES], "sha256")
        if not hmac.compare_digest(signature, manifest[-_HMAC_BYTES:]):
            raise CheckpointError("the manifest's signature is wrong")
    return manifest[_HEADER.size : end]


class _Body:
    """The JSON body of a manifest, every value checked before it is used."""

    def __init__(self, body: bytes) -> None:
        try:
            values = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise CheckpointError(f"the manifest's body is not JSON: {error}") from error
        if not isinstance(values, dict):
            raise CheckpointError("the manifest's body is not an object")
        self._values: dict[str, Any] = values
        for name in ("config_identity", "parent", "platform", "topic_id"):
            self.text(name)
        if not self.text("lineage"):
            raise CheckpointError("the manifest names no lineage")
        self.count("next_offset")
        self.count("generation")
        self.fields: Final[dict[str, Any]] = self._object("fields")
        self.versions: Final[dict[str, int]] = {
            name: _count(version, f"version of {name!r}")
            for name, version in self._object("versions").items()
        }

    @cached_property
    def table(self) -> Table:
        """Where the arrays are. Not read where a checkpoint is only made: it is the dear part."""
        table = {
            part: [_entry(part, entry) for entry in _list(entries, f"part {part!r}")]
            for part, entries in self._object("parts").items()
        }
        for part, entries in table.items():
            if len({entry.name for entry in entries}) != len(entries):
                raise CheckpointError(f"part {part!r} names an array twice")
        return table

    def text(self, name: str) -> str:
        """A string of the body."""
        value = self._values.get(name)
        if not isinstance(value, str):
            raise CheckpointError(f"the manifest has no string {name!r}")
        return value

    def count(self, name: str) -> int:
        """A non-negative integer of the body."""
        return _count(self._values.get(name), name)

    def _object(self, name: str) -> dict[str, Any]:
        value = self._values.get(name)
        if not isinstance(value, dict):
            raise CheckpointError(f"the manifest has no object {name!r}")
        return value


def _count(value: object, what: str) -> int:
    # A truth value is an int in Python, and none here; Kafka's offsets end at 2 to the 63rd.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise CheckpointError(f"the manifest has no count as {what}")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise CheckpointError(f"the manifest has no list as {what}")
    return value


def _entry(part: str, value: object) -> ArrayEntry:
    what = f"array of part {part!r}"
    if not isinstance(value, list) or len(value) != 5:
        raise CheckpointError(f"the manifest has no proper {what}")
    name, dtype, shape, segments, block = value
    if not isinstance(name, str) or not isinstance(dtype, str):
        raise CheckpointError(f"the manifest has no proper name or dtype for an {what}")
    for digest in _list(segments, what):
        if not is_digest(digest):
            raise CheckpointError(f"the manifest names a segment of {what} that is no digest")
    lengths = tuple([_count(length, "shape of an array") for length in _list(shape, what)])
    check_array(name, dtype, lengths)
    return ArrayEntry(name, dtype, lengths, tuple(segments), _count(block, "block of an array"))
