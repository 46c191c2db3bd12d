"""Targets: manifests, segments, bundles and chunks, as a store, a disk or a topic hands them back.

What a checksum covers is sealed again after the change, so that the fuzzer gets behind it.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

import numpy as np
import orjson
import structlog

from schemas.records import TopicPartition
from streams import checkpoint as manifests
from streams.bundle import bundle_pieces, open_bundle
from streams.checkpoint import (
    CheckpointError,
    EncodedCheckpoint,
    decode_checkpoint,
    encode_checkpoint,
    referenced_segments,
)
from streams.checkpoint_topic import CheckpointTopic
from streams.chunks import ChunkRecord, chunk_records
from streams.memory_chunks import MemoryChunkLog
from streams.segments import segment_digest
from streams.spool import Spool
from tests.fuzz.target import Choices, Target, directory, must
from tests.streams.checkpoint_kit import KEY, SMALL, checkpoint_of, same_bytes, usable, whole

TP = TopicPartition("events", 3)
GROUP = "a|group"
CHUNK = 160
JSON_TOKENS = (
    *(b"null", b"true", b"-1", b"9223372036854775808", b"1e400", b'"b1"', b'"u8"', b'"f8"', b"[]"),
    *(b"{}", b"[0,4611686018427387904]", b"[1,1,1,1,1,1,1,1,1]", b'"lineage":""', b"[[", b'"O8"'),
)


@lru_cache(maxsize=1)
def small() -> EncodedCheckpoint:
    return encode_checkpoint(checkpoint_of(SMALL), None)


def body() -> bytes:
    return manifests._unseal(small().manifest, None)


def run_manifest(content: bytes) -> None:
    """Byte 0 says how the rest is sealed: not at all, with a checksum, with a signature."""
    how, rest = content[:1], content[1:]
    key = KEY if how == b"k" else None
    manifest = rest if how == b"r" else manifests._seal(rest, key)
    try:
        read = decode_checkpoint(manifest, small().segments, key)
    except CheckpointError:
        return
    must(set(referenced_segments(manifest, key)) <= small().segments.keys(), "unknown segments")
    again = encode_checkpoint(read, key)
    must(same_bytes(decode_checkpoint(again.manifest, again.segments, key).parts, read.parts), "?")


def run_segment(content: bytes) -> None:
    """A line of JSON (`[name, dtype, shape, block]`), then the bytes of the segment it is in."""
    entry, _, segment = content.partition(b"\n")
    digest = segment_digest(segment)
    try:
        name, dtype, shape, block = orjson.loads(entry)
    except (ValueError, TypeError):
        return
    described = orjson.loads(body())
    described["parts"] = {"a": [[name, dtype, shape, [digest], block]]}
    try:
        manifest = manifests._seal(orjson.dumps(described), None)
        read = decode_checkpoint(manifest, {digest: segment}, None)
    except CheckpointError:
        return
    array = read.parts["a"][name]
    must(array.flags.writeable and array.flags.owndata | (array.base is not None), "not private")
    must(array.nbytes <= len(segment), "more bytes than the segment has")


def segment_seeds() -> list[bytes]:
    found = []
    for array in (np.arange(3.0), np.array([True, False]), np.zeros((0, 4), np.int32)):
        encoded = encode_checkpoint(checkpoint_of({"a": {"x": array}}), None)
        name, dtype, shape, _, block = orjson.loads(manifests._unseal(encoded.manifest, None))[
            "parts"
        ]["a"][0]
        (segment,) = encoded.segments.values()
        found.append(orjson.dumps([name, dtype, shape, block]) + b"\n" + segment)
    return found


@lru_cache(maxsize=1)
def spool() -> Spool:
    # The spool warns of every file it refuses.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    return Spool(directory() / "spool", group=GROUP)


def run_bundle(content: bytes) -> None:
    """In memory and as a file of the spool: the same checkpoint, or none."""

    def read(start: int, length: int) -> bytes:
        return content[start : start + length]

    spool().path(TP).write_bytes(content)
    try:
        bundle = open_bundle(read, len(content))
    except CheckpointError:
        must(spool().manifests(TP) == [], "the spool takes what is no bundle")
        return
    places = bundle.places
    must(all(a + n <= len(content) for a, n in places.values()), "a segment beyond the bundle")
    must(spool().manifests(TP) == [bundle.stored], "the spool reads another manifest")
    segments = spool().segments(TP, list(places))
    must(segments == bundle.segments(read, places), "the spool reads other segments")
    with suppress(CheckpointError):
        decode_checkpoint(bundle.stored.manifest, segments, None)


def bundle_seeds() -> list[bytes]:
    encoded = small()
    one = bundle_pieces("a1b2", 41, encoded.manifest, encoded.segments)
    return [b"".join(one), b"".join(bundle_pieces("x", 0, b"m", {})), b"DRIFTBND"]


@lru_cache(maxsize=1)
def honest() -> list[ChunkRecord]:
    """The records of three checkpoints, the last one over the first."""
    found: list[ChunkRecord] = []
    for slot, offset in ((0, 10), (1, 20), (0, 30)):
        kept = whole(TP, offset, n=8)
        pieces = bundle_pieces(kept.lineage, kept.next_offset, kept.manifest, kept.segments)
        found += chunk_records(TP, GROUP, slot, pieces, CHUNK)
    return found


def run_chunks(content: bytes) -> None:
    """Records taken away, moved, repeated and changed: what is found is as it was written."""
    choices = Choices(content)
    records: list[tuple[bytes, bytes | None]] = [(each.key, each.value) for each in honest()]
    while choices.left and records:
        at = choices.below(len(records))
        key, value = records[at]
        match choices.below(8):
            case 0:
                del records[at]
            case 1:
                records.insert(choices.below(len(records)), records.pop(at))
            case 2:
                records.append((key, value))
            case 3:
                records[at] = key, None
            case 4 if value:
                place = choices.below(len(value))
                records[at] = key, value[:place] + choices.take(2) + value[place + 2 :]
            case 5 if value:
                records[at] = key, value[: choices.below(len(value))] + choices.text()
            case 6:
                records[at] = key[:-1] + choices.text(), value
            case _:
                records[at] = choices.one_of(records)[0], value
    log = MemoryChunkLog()
    log.append(0, iter([ChunkRecord(key, value) for key, value in records]))
    offsets = usable(CheckpointTopic(log, group=GROUP, chunk_bytes=CHUNK), TP, n=8)
    must(set(offsets) <= {10, 20, 30}, "a checkpoint that nobody wrote")


TARGETS = (
    Target(
        "manifest",
        run_manifest,
        lambda: [b"r" + small().manifest, b"s" + body(), b"k" + body(), b"s{}", b"s" + b"[" * 999],
        JSON_TOKENS,
    ),
    Target("segment", run_segment, segment_seeds, (b"DSSG", *JSON_TOKENS)),
    Target("bundle", run_bundle, bundle_seeds, (b"DRIFTBND", b"DRIFTCPT", b"DSSG", b"\xff" * 8)),
    Target("chunks", run_chunks, lambda: [b"", b"\x00" * 9, bytes(range(64))], (b"DSCK", b"|0|1")),
)
