"""What recovery needs of every place that checkpoints are read from, run on all of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from schemas.records import TopicPartition
from streams.checkpoint import (
    decode_checkpoint,
    encode_checkpoint,
    referenced_segments,
    state_digest,
)
from streams.checkpoint_topic import CheckpointTopic
from streams.chunks import CHUNK_BYTES
from streams.kafka_chunks import KafkaChunkLog
from streams.memory_chunks import MemoryChunkLog
from streams.memory_store import MemoryStore
from streams.ports import CheckpointPlace, SaveResult, SparePlace, StateStore, StoredManifest
from streams.redis_store import RedisStore
from streams.segments import segment_digest
from streams.spool import Spool
from tests.streams.checkpoint_kit import KEY, checkpoint_of

TP = TopicPartition("driftsentry.events", 3)
SPARES = ("spool", "topic in memory", "topic in memory, compacted", "topic")
Segments = dict[str, bytes]


class Place:
    """One place under two clients: what is put in by one is read by the other."""

    def __init__(self, writer: CheckpointPlace, reader: CheckpointPlace) -> None:
        self.writer = writer
        self.reader = reader
        self.after: Callable[[], None] = lambda: None

    def put(
        self,
        next_offset: int,
        segments: Segments | None = None,
        *,
        lineage: str = "one",
        manifest: bytes | None = None,
        tp: TopicPartition = TP,
    ) -> None:
        needed = segments or {}
        said = manifest if manifest is not None else f"{lineage}@{next_offset}".encode()
        if isinstance(self.writer, (MemoryStore, RedisStore)):
            store: StateStore = self.writer
            result = store.save(tp, lineage, "", next_offset, said, needed, list(needed))
            assert result is SaveResult.ACCEPTED
        else:
            self.spare.keep(tp, lineage, next_offset, said, needed)
        self.after()

    @property
    def spare(self) -> SparePlace:
        place = self.writer
        assert isinstance(place, (Spool, CheckpointTopic))
        return place

    def held(self, tp: TopicPartition = TP) -> list[tuple[str, int]]:
        return [(stored.lineage, stored.next_offset) for stored in self.reader.manifests(tp)]


@pytest.fixture(params=["memory", "redis", *SPARES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    kind = request.param
    if kind == "memory":
        store = MemoryStore()
        yield Place(store, store)
    elif kind == "redis":
        url, prefix = request.getfixturevalue("redis_url"), request.getfixturevalue("redis_prefix")
        clients = [RedisStore(url, group="group", prefix=prefix) for _ in range(2)]
        yield Place(*clients)
        for client in clients:
            client.close()
    elif kind == "spool":
        spools = [Spool(tmp_path / "spool", group="group") for _ in range(2)]
        yield Place(*spools)
    elif kind == "topic":
        kafka, new_topic = (request.getfixturevalue(name) for name in ("kafka", "new_topic"))
        name = new_topic("checkpoints", 2, {"cleanup.policy": "compact"})
        logs = [KafkaChunkLog(kafka, name, group="group") for _ in range(2)]
        topics = [CheckpointTopic(log, group="group") for log in logs]
        yield Place(*topics)
        for topic in topics:
            topic.close()
    else:
        memory = MemoryChunkLog(2)
        place = Place(*(CheckpointTopic(memory, group="group") for _ in range(2)))
        if "compacted" in kind:
            place.after = memory.compact
        yield place


on_spares = pytest.mark.parametrize("place", SPARES, indirect=True)


def pieces(*contents: bytes) -> Segments:
    return {segment_digest(content): content for content in contents}


def test_nothing_is_there_at_first(place: Place) -> None:
    assert place.held() == []
    assert place.reader.segments(TP, []) == {}
    assert place.reader.segments(TP, list(pieces(b"x"))) == {}
    assert place.reader.name


def test_what_was_put_in_is_read_back_byte_for_byte(place: Place) -> None:
    every = bytes(range(256))
    segments = pieces(every * 9000, b"", b"\r\n|0|1", bytes(3 * CHUNK_BYTES))
    place.put(0, segments, lineage="zeile\n%s {x} ü", manifest=every * 3)
    assert place.reader.manifests(TP) == [StoredManifest("zeile\n%s {x} ü", 0, every * 3)]
    asked = [*segments, *pieces(b"another")]
    assert place.reader.segments(TP, asked) == segments
    (digest, *_) = segments
    assert place.reader.segments(TP, [digest]) == {digest: segments[digest]}


def test_a_checkpoint_goes_through(place: Place) -> None:
    parts = {"adwin": {"sum": np.arange(400_000) / 7, "n": np.array(3)}}
    before = encode_checkpoint(checkpoint_of(parts, next_offset=77), KEY)
    place.put(77, before.segments, lineage="a1b2", manifest=before.manifest)
    (stored,) = place.reader.manifests(TP)
    found = place.reader.segments(TP, referenced_segments(stored.manifest, KEY))
    after = decode_checkpoint(stored.manifest, found, KEY)
    assert (
        (after.lineage, after.next_offset) == (stored.lineage, stored.next_offset) == ("a1b2", 77)
    )
    assert state_digest(after.parts) == before.digest


def test_the_newest_is_first_and_few_are_kept(place: Place) -> None:
    for offset in (5, 9, 10, 2**53 + 1, 2**62):
        place.put(offset, pieces(b"%d" % offset))
        held = place.held()
        assert held[0] == ("one", offset)
        assert len(held) <= 3
        assert held == sorted(held, reverse=True)
        assert place.reader.segments(TP, list(pieces(b"%d" % offset))) == pieces(b"%d" % offset)
    assert place.reader.segments(TP, list(pieces(b"5"))) == {}


def test_the_same_offset_again_is_the_newest(place: Place) -> None:
    place.put(1)
    place.put(2, pieces(b"b"))
    place.put(2, pieces(b"c"), manifest=b"again")
    assert place.reader.manifests(TP)[0] == StoredManifest("one", 2, b"again")
    assert place.reader.segments(TP, list(pieces(b"c"))) == pieces(b"c")


def test_a_shorter_state_leaves_nothing_of_the_longer_one_in_the_way(place: Place) -> None:
    long = pieces(bytes(5 * CHUNK_BYTES), bytes([1]) * CHUNK_BYTES)
    for offset in range(3):
        place.put(offset, long)
    for offset in range(3, 6):
        place.put(offset, pieces(b"short"))
        assert place.held()[0] == ("one", offset)
        assert place.reader.segments(TP, list(pieces(b"short"))) == pieces(b"short")


def test_partitions_know_nothing_of_each_other(place: Place) -> None:
    others = [TopicPartition(TP.topic, 30), TopicPartition(TP.topic, 5)]
    others.append(TopicPartition("driftsentry.other", 3))
    place.put(1, pieces(b"a"))
    for tp in others:
        assert place.held(tp) == []
        assert place.reader.segments(tp, list(pieces(b"a"))) == {}
        place.put(7, pieces(b"other"), tp=tp)
    assert place.held() == [("one", 1)]
    assert place.reader.segments(TP, list(pieces(b"a"))) == pieces(b"a")


@on_spares
def test_a_zombie_s_older_checkpoint_leaves_one_that_can_be_used(place: Place) -> None:
    place.put(10, pieces(b"a"))
    place.put(20, pieces(b"b"))
    for zombie_at in (12, 13, 14):
        place.put(zombie_at, pieces(b"z"))
        held = place.held()
        assert len(held) in {1, 2}
        assert held == sorted(held, reverse=True)
        if isinstance(place.writer, CheckpointTopic):
            assert held == [("one", 20), ("one", zombie_at)]
            assert place.reader.segments(TP, list(pieces(b"b"))) == pieces(b"b")


@on_spares
def test_another_lineage_is_taken_without_asking(place: Place) -> None:
    place.put(100, lineage="one")
    place.put(5, lineage="two")
    assert ("two", 5) in place.held()
    place.put(6, lineage="two")
    assert ("two", 6) in place.held()


@on_spares
def test_what_was_dropped_is_gone(place: Place) -> None:
    place.spare.drop(TP)
    for offset in (1, 2):
        place.put(offset, pieces(b"a"))
    place.spare.drop(TP)
    place.after()
    assert place.held() == []
    assert place.reader.segments(TP, list(pieces(b"a"))) == {}
    place.put(3)
    assert place.held() == [("one", 3)]


@on_spares
@pytest.mark.parametrize(
    ("lineage", "next_offset", "segments", "words"),
    [
        ("", 1, {}, "lineage"),
        ("one", -1, {}, "offset"),
        ("one", 2**63, {}, "offset"),
        ("one", 1, {"../../head": b""}, "digest"),
    ],
)
def test_mistakes_of_the_caller_are_told(
    place: Place, lineage: str, next_offset: int, segments: Segments, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        place.spare.keep(TP, lineage, next_offset, b"m", segments)
    assert place.held() == []


@on_spares
def test_many_writers_at_once_leave_a_whole_one(place: Place) -> None:
    def write(client: CheckpointPlace, offsets: range) -> None:
        for offset in offsets:
            Place(client, client).put(offset, pieces(b"shared" * 200_000, b"%d" % offset))

    clients = [place.writer, place.reader]
    threads = [
        threading.Thread(target=write, args=(client, range(first, 12, 2)))
        for first, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lineage, offset in place.held():
        # Two topics may have mixed their records; then the slot is passed over, not believed.
        assert lineage == "one"
        needed = pieces(b"shared" * 200_000, b"%d" % offset)
        assert place.reader.segments(TP, list(needed)) == needed
    place.put(12, pieces(b"last"))
    assert place.held()[0] == ("one", 12)
