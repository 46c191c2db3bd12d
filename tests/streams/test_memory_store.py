"""The switches of the store in memory; what it does as a store is in test_store_contract.py."""

from __future__ import annotations

import pytest

from streams.memory_store import MemoryStore
from streams.ports import SaveResult, StoreError
from tests.streams.store_kit import TP, pieces, save


def offsets(store: MemoryStore) -> list[int]:
    return [stored.next_offset for stored in store.manifests(TP)]


def test_an_unavailable_store_says_so_and_loses_nothing() -> None:
    store = MemoryStore()
    save(store, 1, pieces(b"a"))
    store.unavailable = True
    for operation in (
        lambda: store.manifests(TP),
        lambda: store.segments(TP, []),
        lambda: save(store, 2),
        lambda: store.publish_view("m", {}),
        lambda: store.live_view("m"),
        store.check_policy,
    ):
        with pytest.raises(StoreError, match="unavailable"):
            operation()
    store.unavailable = False
    assert offsets(store) == [1]
    assert store.segments(TP, list(pieces(b"a"))) == pieces(b"a")


def test_wiped_is_as_new() -> None:
    store = MemoryStore()
    save(store, 9, pieces(b"a"))
    store.publish_view("m", {"a": b"1"})
    store.wipe()
    assert offsets(store) == []
    assert store.live_view("m") == {}
    assert save(store, 1, pieces(b"a"), send={}) is SaveResult.MISSING
    assert save(store, 1, pieces(b"a")) is SaveResult.ACCEPTED


@pytest.mark.parametrize(("n", "left"), [(0, [3, 2, 1]), (1, [2, 1]), (2, [1]), (3, []), (9, [])])
def test_rolled_back_it_holds_what_it_held_before(n: int, left: list[int]) -> None:
    store = MemoryStore()
    for offset in (1, 2, 3):
        save(store, offset, pieces(b"%d" % offset))
    store.roll_back(n)
    assert offsets(store) == left
    everything = list(pieces(b"1", b"2", b"3"))
    assert store.segments(TP, everything) == pieces(*(b"%d" % offset for offset in left))
    # An offset that was beaten before is accepted again.
    assert save(store, 3) is SaveResult.ACCEPTED


def test_a_view_expires_after_an_hour() -> None:
    now_s = [0.0]
    store = MemoryStore(clock_s=lambda: now_s[0])
    store.publish_view("m", {"a": b"1"})
    now_s[0] = 3599.0
    assert store.live_view("m") == {"a": b"1"}
    now_s[0] = 3600.0
    assert store.live_view("m") == {}


def test_what_is_handed_out_is_not_what_is_kept() -> None:
    store = MemoryStore()
    save(store, 1)
    store.manifests(TP).clear()
    store.publish_view("m", {"a": b"1"})
    store.live_view("m").clear()
    assert offsets(store) == [1]
    assert store.live_view("m") == {"a": b"1"}
