"""What every store of checkpoints does, run on all of them.

The Redis stores run as the user of docs/acl-redis.md: what is not in its list fails here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import TopicPartition
from streams.checkpoint import (
    Checkpoint,
    decode_checkpoint,
    encode_checkpoint,
    referenced_segments,
)
from streams.embedded import EmbeddedValkey
from streams.memory_store import MemoryStore
from streams.ports import SaveResult, StateStore, StoredManifest
from tests.kit.valkey_server import server_binaries, valkey_server
from tests.streams.store_kit import NUMBERS, TP, make_user, pieces, redis_pair, save


@pytest.fixture(scope="module", params=["memory", *server_binaries()])
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedValkey | None]:
    """A server with the user of the page in it; None for the store in memory."""
    if request.param == "memory":
        yield None
        return
    with valkey_server(kind=request.param) as running:
        make_user(running)
        yield running


class Stores(NamedTuple):
    """Two clients of one store that nobody else uses."""

    store: StateStore
    other: StateStore


@pytest.fixture
def stores(server: EmbeddedValkey | None) -> Iterator[Stores]:
    if server is None:
        memory = MemoryStore()
        yield Stores(memory, memory)
        return
    with redis_pair(server) as pair:
        yield Stores(pair.store, pair.other)


@pytest.fixture
def store(stores: Stores) -> StateStore:
    return stores.store


def held(store: StateStore) -> list[tuple[str, int]]:
    return [(stored.lineage, stored.next_offset) for stored in store.manifests(TP)]


def test_nothing_is_there_at_first(store: StateStore) -> None:
    assert store.manifests(TP) == []
    assert store.segments(TP, []) == {}
    assert store.segments(TP, list(pieces(b"x"))) == {}
    assert store.live_view("model") == {}


def test_what_was_saved_is_read_back(store: StateStore) -> None:
    segments = pieces(b"one", b"two")
    assert save(store, 10, segments) is SaveResult.ACCEPTED
    assert store.manifests(TP) == [StoredManifest("one", 10, b"one@10")]
    assert store.segments(TP, [*segments, *pieces(b"three")]) == segments


def test_every_byte_survives(store: StateStore) -> None:
    every = bytes(range(256))
    segments = pieces(every * 5000, b"", b"\r\n$5\r\n\0")
    saved = save(store, 0, segments, lineage="zeile\n%s {x} ü", manifest=every)
    assert saved is SaveResult.ACCEPTED
    assert store.manifests(TP) == [StoredManifest("zeile\n%s {x} ü", 0, every)]
    assert store.segments(TP, list(segments)) == segments


def test_a_checkpoint_goes_through_the_store(store: StateStore) -> None:
    parts = {"adwin": {"sum": np.arange(400_000) / 7, "n": np.array(3)}}
    before = Checkpoint("one", "", "topic", 77, "cfg", 1, {"adwin": 1}, {"n": 1}, parts)
    encoded = encode_checkpoint(before, b"key")
    result = store.save(TP, "one", "", 77, encoded.manifest, encoded.segments, encoded.referenced)
    assert result is SaveResult.ACCEPTED
    (stored,) = store.manifests(TP)
    found = store.segments(TP, referenced_segments(stored.manifest, b"key"))
    after = decode_checkpoint(stored.manifest, found, b"key")
    assert np.array_equal(after.parts["adwin"]["sum"], parts["adwin"]["sum"])
    assert after.next_offset == stored.next_offset == 77


def test_a_zombie_with_an_older_offset_is_refused(stores: Stores) -> None:
    assert save(stores.store, 20, pieces(b"new")) is SaveResult.ACCEPTED
    assert save(stores.other, 19, pieces(b"old")) is SaveResult.REFUSED
    assert held(stores.store) == [("one", 20)]
    assert stores.store.segments(TP, list(pieces(b"old"))) == {}
    assert save(stores.other, 21, pieces(b"newer")) is SaveResult.ACCEPTED
    assert save(stores.store, 20, pieces(b"new")) is SaveResult.REFUSED


def test_offsets_are_compared_as_numbers_of_any_size(store: StateStore) -> None:
    big = 2**62
    for offset in (9, 10, 99, 100, 2**53, 2**53 + 1, big, big + 1):
        assert save(store, offset) is SaveResult.ACCEPTED
    for offset in (big, 2**53, 9, 0):
        assert save(store, offset) is SaveResult.REFUSED
    assert held(store) == [("one", big + 1), ("one", big), ("one", 2**53 + 1)]


def test_the_same_offset_again_replaces_the_newest(store: StateStore) -> None:
    save(store, 1, pieces(b"a"))
    save(store, 2, pieces(b"b"))
    assert save(store, 2, pieces(b"c"), manifest=b"again") is SaveResult.ACCEPTED
    assert save(store, 2, pieces(b"c"), manifest=b"again", send={}) is SaveResult.ACCEPTED
    assert store.manifests(TP) == [
        StoredManifest("one", 2, b"again"),
        StoredManifest("one", 1, b"one@1"),
    ]
    assert store.segments(TP, list(pieces(b"a", b"b", b"c"))) == pieces(b"a", b"c")


def test_a_new_lineage_must_name_the_one_it_replaces(stores: Stores) -> None:
    store, zombie = stores.store, stores.other
    assert save(store, 100, lineage="one") is SaveResult.ACCEPTED
    assert save(store, 500, lineage="foreign") is SaveResult.REFUSED
    assert save(store, 500, lineage="foreign", parent="stranger") is SaveResult.REFUSED
    # After an accepted reset the offset may lie before the old one.
    assert save(store, 5, lineage="two", parent="one") is SaveResult.ACCEPTED
    assert save(zombie, 101, lineage="one") is SaveResult.REFUSED
    assert save(store, 6, lineage="two", parent="one") is SaveResult.ACCEPTED
    assert held(store) == [("two", 6), ("two", 5), ("one", 100)]


def test_three_manifests_are_kept(store: StateStore) -> None:
    for offset in range(1, 8):
        assert save(store, offset) is SaveResult.ACCEPTED
        assert held(store) == [("one", n) for n in range(offset, max(offset - 3, 0), -1)]


def test_segments_go_with_their_last_manifest(store: StateStore) -> None:
    shared = pieces(b"shared")
    for offset in range(1, 5):
        save(store, offset, shared | pieces(b"own %d" % offset))
    everything = shared | pieces(*(b"own %d" % offset for offset in range(1, 5)))
    gone = pieces(b"own 1")
    assert store.segments(TP, list(everything)) == {
        digest: content for digest, content in everything.items() if digest not in gone
    }
    # The shared one goes as well, once nobody needs it.
    for offset in range(5, 8):
        save(store, offset)
    assert store.segments(TP, list(everything)) == {}


def test_known_segments_need_not_be_sent(store: StateStore) -> None:
    first = pieces(b"a", b"b")
    save(store, 1, first)
    second = first | pieces(b"c")
    assert save(store, 2, second, send=pieces(b"c")) is SaveResult.ACCEPTED
    assert store.segments(TP, list(second)) == second


def test_a_missing_segment_is_told_and_nothing_is_changed(store: StateStore) -> None:
    save(store, 1, pieces(b"a"))
    needed = pieces(b"b", b"c")
    assert save(store, 2, needed, send=pieces(b"c")) is SaveResult.MISSING
    assert held(store) == [("one", 1)]
    assert save(store, 2, needed) is SaveResult.ACCEPTED
    assert store.segments(TP, list(needed)) == needed


def test_partitions_know_nothing_of_each_other(store: StateStore) -> None:
    others = [TopicPartition(TP.topic, 30), TopicPartition("driftsentry.other", 3)]
    save(store, 1, pieces(b"a"))
    for tp in others:
        assert store.manifests(tp) == []
        assert store.segments(tp, list(pieces(b"a"))) == {}
        assert save(store, 1, pieces(b"a"), send={}, tp=tp) is SaveResult.MISSING


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lineage": ""}, "lineage"),
        ({"next_offset": -1}, "offset"),
        ({"next_offset": 2**63}, "offset"),
        ({"referenced": ["../../head"]}, "digest"),
        ({"referenced": ["A" * 32]}, "digest"),
        ({"segments": pieces(b"x")}, "not referenced"),
    ],
)
def test_mistakes_of_the_caller_are_told(
    store: StateStore, changes: dict[str, Any], words: str
) -> None:
    plain: dict[str, Any] = {
        "lineage": "one", "parent": "", "next_offset": 1, "manifest": b"m", "segments": {},
        "referenced": [],
    }  # fmt: skip
    with pytest.raises(ValueError, match=words):
        store.save(TP, **(plain | changes))
    assert store.manifests(TP) == []


def test_many_savers_at_once_leave_the_furthest(stores: Stores) -> None:
    results: list[tuple[int, SaveResult]] = []

    def saver(client: StateStore, offsets: range) -> None:
        for offset in offsets:
            needed = pieces(b"shared", b"%d" % offset)
            results.append((offset, save(client, offset, needed)))

    threads = [
        threading.Thread(target=saver, args=(client, range(first, 60, 4)))
        for first, client in enumerate((stores.store, stores.other, stores.store, stores.other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 60
    assert (59, SaveResult.ACCEPTED) in results
    offsets = [offset for _, offset in held(stores.store)]
    assert offsets[0] == 59
    assert offsets == sorted(set(offsets), reverse=True)
    accepted = {offset for offset, result in results if result is SaveResult.ACCEPTED}
    assert set(offsets) <= accepted
    for offset in offsets:
        needed = pieces(b"shared", b"%d" % offset)
        assert stores.store.segments(TP, list(needed)) == needed


def test_a_live_view_is_replaced_as_a_whole(store: StateStore) -> None:
    model = f"modell ü {next(NUMBERS)}"
    store.publish_view(model, {"feature:a": b"\x00\xff", "score": b"0.5"})
    store.publish_view(model, {"score": b"0.7"})
    assert store.live_view(model) == {"score": b"0.7"}
    store.publish_view(model, {})
    assert store.live_view(model) == {}


def test_a_store_set_up_rightly_has_no_complaints(store: StateStore) -> None:
    assert store.check_policy() == []


class Step(NamedTuple):
    lineage: str
    parent: str
    next_offset: int
    needed: frozenset[bytes]
    sent: frozenset[bytes]


contents = st.frozensets(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), max_size=4)
steps = st.lists(
    st.builds(
        lambda lineage, parent, offset, needed, sent: Step(
            lineage, parent, offset, needed, needed if sent is None else sent & needed
        ),
        st.sampled_from(["A", "A", "A", "B", "C"]),
        st.sampled_from(["", "A", "B"]),
        st.integers(0, 12),
        contents,
        st.none() | contents,
    ),
    max_size=14,
)


@given(script=steps)
@settings(max_examples=60, deadline=None)
def test_every_store_does_what_the_one_in_memory_does(
    server: EmbeddedValkey | None, script: list[Step]
) -> None:
    model = MemoryStore()
    everything = list(pieces(b"a", b"b", b"c", b"d", b"e"))
    with nullcontext() if server is None else redis_pair(server) as pair:
        store: StateStore = MemoryStore() if pair is None else pair.store
        for step in script:
            answers = [
                save(
                    each,
                    step.next_offset,
                    pieces(*step.needed),
                    lineage=step.lineage,
                    parent=step.parent,
                    send=pieces(*step.sent),
                )
                for each in (model, store)
            ]
            assert answers[0] is answers[1]
            assert model.manifests(TP) == store.manifests(TP)
            assert model.segments(TP, everything) == store.segments(TP, everything)
            if pair is not None:
                pair.check_nothing_is_left()
