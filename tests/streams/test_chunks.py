"""Chunks: whatever the topic holds, the right checkpoint is found, or none."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import TopicPartition
from streams.bundle import bundle_pieces, open_bundle
from streams.checkpoint import CheckpointError
from streams.checkpoint_topic import CheckpointTopic
from streams.chunks import ChunkIndex, ChunkRecord, chunk_content, chunk_records, n_chunks
from streams.memory_chunks import MemoryChunkLog
from streams.ports import StoredManifest, StoreError
from streams.segments import segment_digest
from tests.streams.checkpoint_kit import usable, whole

TP = TopicPartition("events", 3)
GROUP = "a|group"
SMALL = 64
"""Chunks of so few bytes that small states have many."""

contents = st.lists(st.binary(max_size=300), max_size=5)


def segments_of(parts: Sequence[bytes]) -> dict[str, bytes]:
    return {segment_digest(part): part for part in parts}


def pieces_of(offset: int, parts: Sequence[bytes]) -> list[bytes]:
    return bundle_pieces("one", offset, b"manifest %d" % offset, segments_of(parts))


def records_of(offset: int, parts: Sequence[bytes], slot: int = 0) -> list[ChunkRecord]:
    return list(chunk_records(TP, GROUP, slot, pieces_of(offset, parts), SMALL))


def log_of(records: Sequence[ChunkRecord]) -> MemoryChunkLog:
    log = MemoryChunkLog()
    log.append(0, iter(records))
    return log


def found_in(log: MemoryChunkLog, digests: Sequence[str]) -> dict[StoredManifest, dict[str, bytes]]:
    """What a reader that comes anew finds: the manifests, and of each what it can have."""
    topic = CheckpointTopic(log, group=GROUP, chunk_bytes=SMALL)
    return {stored: topic.segments(TP, digests) for stored in topic.manifests(TP)}


def stored(offset: int) -> StoredManifest:
    return StoredManifest("one", offset, b"manifest %d" % offset)


@given(offset=st.integers(0, 2**63 - 1), parts=contents, seed=st.integers())
def test_chunks_in_any_order_are_the_bundle(offset: int, parts: list[bytes], seed: int) -> None:
    pieces = pieces_of(offset, parts)
    records = list(chunk_records(TP, GROUP, 1, pieces, SMALL))
    assert len(records) == n_chunks(pieces, SMALL)
    random.Random(seed).shuffle(records)
    index = ChunkIndex(TP, GROUP)
    for number, record in enumerate(records):
        index.note(number, *record)
    run = index.run(1)
    assert run is not None
    assert index.run(0) is None
    joined = b"".join(
        chunk_content(run, number, records[at].value) for number, at in enumerate(run.offsets)
    )
    assert joined == b"".join(pieces)
    digests = list(segments_of(parts))
    assert found_in(log_of(records), digests) == {stored(offset): segments_of(parts)}


@given(
    older=contents,
    newer=contents,
    seed=st.integers(),
    n_lost=st.integers(0, 3),
    compacts=st.booleans(),
)
def test_two_writes_mixed_in_one_slot_give_one_of_them_or_none(
    older: list[bytes], newer: list[bytes], seed: int, n_lost: int, compacts: bool
) -> None:
    rng = random.Random(seed)
    mixed = records_of(1, older) + records_of(2, newer)
    for _ in range(min(n_lost, len(mixed) - 1)):
        mixed.pop(rng.randrange(len(mixed)))
    mixed += rng.choices(mixed, k=2)
    rng.shuffle(mixed)
    log = log_of(mixed)
    if compacts:
        log.compact()
    found = found_in(log, list(segments_of([*older, *newer])))
    assert len(found) <= 1
    for manifest, segments in found.items():
        of_it = segments_of(older if manifest.next_offset == 1 else newer)
        assert manifest in {stored(1), stored(2)}
        assert segments == of_it


def signed_log() -> tuple[MemoryChunkLog, list[int]]:
    """A log with real checkpoints at 4 and 5, in two slots, and where the records of 5 begin."""
    log = MemoryChunkLog()
    topic = CheckpointTopic(log, group=GROUP, chunk_bytes=SMALL)
    topic.keep(*whole(TP, 4))
    n = len(log.partitions[0])
    topic.keep(*whole(TP, 5))
    return log, list(range(n, len(log.partitions[0])))


KEYS = [record.key for record in signed_log()[0].partitions[0]]
noise = st.binary(max_size=120)
keys = st.sampled_from([*KEYS, b"", b"a|group"])


@given(
    garbage=st.lists(st.tuples(st.none() | keys | noise, st.none() | noise), max_size=6),
    flips=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 500), st.integers(1, 255))),
    compacts=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_whatever_others_write_the_right_checkpoint_is_taken_or_none(
    garbage: list[tuple[bytes | None, bytes | None]],
    flips: list[tuple[int, int, int]],
    compacts: bool,
) -> None:
    log, of_five = signed_log()
    records = log.partitions[0]
    before = list(records)
    for which, at, mask in flips:
        number = of_five[which % len(of_five)]
        changed = bytearray(records[number].value or b"")
        changed[at % len(changed)] ^= mask
        records[number] = records[number]._replace(value=bytes(changed))
    four = {record.key for record in before[: of_five[0]]}
    for key, value in garbage:
        log.append(0, iter([ChunkRecord(key or b"", value)]))
    if compacts:
        log.compact()
    found = usable(CheckpointTopic(log, group=GROUP, chunk_bytes=SMALL), TP)
    touched = {key for key, _ in garbage}
    assert (4 in found) == (not touched & four)
    five_is_whole = records[: len(before)] == before if not compacts else not flips
    if compacts or touched & (set(KEYS) - four):
        assert set(found) <= {4, 5}
    else:
        assert (5 in found) == five_is_whole
    assert found == sorted(found, reverse=True)


def test_a_forged_checkpoint_is_no_harm_where_they_are_signed() -> None:
    log, _ = signed_log()
    topic = CheckpointTopic(log, group=GROUP, chunk_bytes=SMALL)
    real = whole(TP, 6)
    topic.keep(*real._replace(next_offset=2**40))
    topic.keep(*real._replace(manifest=real.manifest[:-1] + b"x"))
    assert usable(topic, TP) == []
    assert len(topic.manifests(TP)) == 2
    topic.keep(*real)
    assert usable(topic, TP) == [6]


@given(bundle=st.binary(max_size=300) | st.binary(max_size=200).map(b"DRIFTBND\x01\0".__add__))
def test_no_bytes_break_the_reader_of_a_bundle(bundle: bytes) -> None:
    def read(start: int, length: int) -> bytes:
        assert length <= max(64, len(bundle)), "more is asked for than there can be"
        return bundle[start : start + length]

    try:
        opened = open_bundle(read, len(bundle))
    except CheckpointError:
        return
    for start, length in opened.places.values():
        assert 0 <= start <= start + length <= len(bundle)


@pytest.mark.parametrize("n_written", range(12))
def test_a_writer_that_dies_anywhere_leaves_the_one_before(n_written: int) -> None:
    log = MemoryChunkLog()
    topic = CheckpointTopic(log, group=GROUP, chunk_bytes=SMALL)
    for offset, content in ((1, bytes(200)), (2, b"b" * 500)):
        topic.keep(TP, "one", offset, b"manifest %d" % offset, segments_of([content]))
    newest = segments_of([b"c" * 300])
    log.n_left = n_written
    is_torn = n_written < n_chunks(pieces_of(3, [b"c" * 300]), SMALL)
    if is_torn:
        with pytest.raises(StoreError, match="told to die"):
            topic.keep(TP, "one", 3, b"manifest 3", newest)
    else:
        topic.keep(TP, "one", 3, b"manifest 3", newest)
    for compacts in (False, True):
        if compacts:
            log.compact()
        found = found_in(log, [*newest, *segments_of([b"b" * 500])])
        expected = stored(2) if is_torn else stored(3)
        assert next(iter(found)) == expected
        assert segments_of([b"b" * 500]).items() <= found[stored(2)].items()
    # The next writer takes the slot that was torn, so the good one stays until it is done.
    log.n_left = None
    again = CheckpointTopic(log, group=GROUP, chunk_bytes=SMALL)
    again.keep(TP, "one", 4, b"manifest 4", newest)
    assert again.manifests(TP)[0] == stored(4)
    assert again.manifests(TP)[1] == expected


def test_what_stays_after_compaction_is_bounded_whoever_died() -> None:
    log = MemoryChunkLog()
    rng = random.Random(1)
    longest = 0
    for offset in range(200):
        topic = CheckpointTopic(log, group=GROUP, chunk_bytes=SMALL)
        content = rng.randbytes(rng.randrange(3_000))
        log.n_left = rng.choice([None, rng.randrange(40)])
        with suppress(StoreError):
            topic.keep(TP, "one", offset, b"manifest", segments_of([content]))
        longest = max(longest, n_chunks(pieces_of(offset, [content]), SMALL))
        log.compact()
        assert len(log.partitions[0]) <= 2 * longest


def test_a_checkpoint_that_claims_to_be_far_ahead_does_not_keep_anyone_from_writing() -> None:
    log = MemoryChunkLog()
    topic = CheckpointTopic(log, group=GROUP, chunk_bytes=SMALL)
    topic.keep(TP, "one", 2**62, b"forged", {})
    for offset in range(1, 5):
        topic.keep(TP, "one", offset, b"manifest %d" % offset, {})
        assert stored(offset) in topic.manifests(TP)


def test_a_topic_made_again_or_with_more_partitions_is_read_anew() -> None:
    log = MemoryChunkLog()
    topic = CheckpointTopic(log, group=GROUP, chunk_bytes=SMALL)
    topic.keep(TP, "one", 1, b"manifest 1", {})
    assert topic.manifests(TP) == [stored(1)]
    fresh = MemoryChunkLog(2)
    log.partitions, log._ends = fresh.partitions, fresh._ends
    assert topic.manifests(TP) == []
    topic.keep(TP, "one", 2, b"manifest 2", {})
    assert topic.manifests(TP) == [stored(2)]
    assert [len(records) for records in log.partitions] == [0, 1]
