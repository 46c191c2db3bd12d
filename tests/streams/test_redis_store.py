"""What the Redis store does beyond the contract: expiry, damage, and servers that fail."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from streams.embedded import EmbeddedValkey
from streams.ports import SaveResult, StoredManifest, StoreError
from streams.redis_store import RedisStore
from tests.kit.valkey_server import server_binaries, valkey_server
from tests.streams.store_kit import (
    TP,
    RedisPair,
    make_user,
    pieces,
    redis_pair,
    save,
    url_of,
)


@pytest.fixture(scope="module", params=server_binaries())
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedValkey]:
    with valkey_server(kind=request.param) as running:
        make_user(running)
        yield running


@pytest.fixture
def pair(server: EmbeddedValkey) -> Iterator[RedisPair]:
    with redis_pair(server) as made:
        yield made


def test_what_a_dead_saver_has_sent_expires(pair: RedisPair) -> None:
    needed = pieces(b"sent ahead")
    pair.store._send_ahead(pair.base, needed)
    pair.check_nothing_is_left()
    assert len(pair.keys("new:")) == 1
    # Another saver finds it there, and from then on it stays.
    assert save(pair.other, 1, needed, send={}) is SaveResult.ACCEPTED
    assert pair.keys("new:") == []
    pair.check_nothing_is_left()
    assert pair.store.segments(TP, list(needed)) == needed


def test_sending_a_stored_segment_again_never_makes_it_expire(pair: RedisPair) -> None:
    needed = pieces(b"stored")
    save(pair.store, 5, needed)
    assert save(pair.other, 4, needed) is SaveResult.REFUSED
    assert pair.keys("new:") == []
    assert save(pair.other, 6, needed) is SaveResult.ACCEPTED
    pair.check_nothing_is_left()
    assert pair.store.segments(TP, list(needed)) == needed


def test_a_spoiled_segment_is_made_good_by_sending_it_again(pair: RedisPair) -> None:
    needed = pieces(b"good")
    (digest,) = needed
    save(pair.store, 1, needed)
    pair.admin.set(f"{pair.base}seg:{digest}", b"spoiled")
    assert save(pair.store, 2, needed) is SaveResult.ACCEPTED
    assert pair.store.segments(TP, list(needed)) == needed


@pytest.mark.parametrize(
    "fields",
    [
        {"order": "0 1 2"},
        {"order": "9 x", "9:lineage": "L", "9:offset": "12"},
        {"order": "0", "0:lineage": "L", "0:offset": "-1", "0:manifest": "m"},
        {"order": "0", "0:lineage": "L", "0:offset": "9" * 40, "0:manifest": "m"},
        {"order": "0", "0:lineage": "", "0:offset": "1", "0:manifest": "m"},
    ],
    ids=str,
)
def test_a_head_that_the_script_did_not_write_holds_no_checkpoint(
    pair: RedisPair, fields: dict[Any, Any]
) -> None:
    pair.admin.hset(pair.base + "head", mapping=fields)
    assert pair.store.manifests(TP) == []


def test_a_head_without_a_newest_manifest_is_written_anew(pair: RedisPair) -> None:
    pair.admin.hset(pair.base + "head", mapping={"order": "0 1", "unrelated": "x"})
    assert save(pair.store, 1, pieces(b"a")) is SaveResult.ACCEPTED
    assert pair.store.manifests(TP) == [StoredManifest("one", 1, b"one@1")]


def test_a_key_of_another_type_is_an_error_of_the_store(pair: RedisPair) -> None:
    pair.admin.set(pair.base + "head", "x")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        pair.store.manifests(TP)
    with pytest.raises(StoreError, match="WRONGTYPE"):
        save(pair.store, 1, pieces(b"a"))
    assert pair.keys("new:") == []


def test_a_live_view_expires(pair: RedisPair) -> None:
    model = pair.base
    pair.store.publish_view(model, {"score": b"1"})
    assert 3500 < pair.admin.ttl(f"driftsentry:live:{model}") <= 3600


def test_the_script_is_sent_again_to_a_server_that_forgot_it(pair: RedisPair) -> None:
    assert save(pair.store, 1) is SaveResult.ACCEPTED
    pair.admin.script_flush()
    assert save(pair.store, 2) is SaveResult.ACCEPTED


def test_a_state_of_many_rounds_arrives_whole(pair: RedisPair) -> None:
    needed = pieces(*(b"%d" % n * 1_000_000 for n in range(10)), *(b"%d!" % n for n in range(99)))
    assert save(pair.store, 1, needed) is SaveResult.ACCEPTED
    assert pair.store.segments(TP, list(needed)) == needed


def test_groups_with_odd_names_do_not_meet(server: EmbeddedValkey) -> None:
    names = ["a", "a:b", "a}", "{a", "a%3Ab", "ä", "a b"]
    stores = [RedisStore(url_of(server), group=name) for name in names]
    for n, store in enumerate(stores):
        assert store.manifests(TP) == []
        assert save(store, n, manifest=b"%d" % n) is SaveResult.ACCEPTED
    for n, store in enumerate(stores):
        assert [stored.manifest for stored in store.manifests(TP)] == [b"%d" % n]
        store.close()


def is_error_soon(store: RedisStore, within_s: float) -> str:
    started_s = time.monotonic()
    with pytest.raises(StoreError) as told:
        save(store, 10**6, pieces(b"x" * 3_000_000))
    assert time.monotonic() - started_s < within_s
    return str(told.value)


@pytest.mark.parametrize("kind", server_binaries())
def test_a_server_that_is_killed_amid_saving_is_an_error_at_once(kind: str) -> None:
    with valkey_server(kind=kind) as own:
        make_user(own)
        with redis_pair(own) as pair:
            told: list[str] = []

            def save_on_and_on() -> None:
                for offset in range(100_000):
                    try:
                        save(pair.store, offset, pieces(b"%d" % offset * 200_000))
                    except StoreError as error:
                        told.append(str(error))
                        return

            saver = threading.Thread(target=save_on_and_on)
            saver.start()
            time.sleep(0.2)
            own.kill()
            saver.join(5.0)
            assert not saver.is_alive()
            assert "cannot be reached" in told[0]
            assert "cannot be reached" in is_error_soon(pair.store, 2.0)
            # It comes back empty: what was known to be stored is not, and the store says so.
            own.restart()
            make_user(own)
            needed = pieces(b"kept")
            assert save(pair.store, 5, needed, send={}) is SaveResult.MISSING
            assert save(pair.store, 5, needed) is SaveResult.ACCEPTED


def test_a_server_that_hangs_is_an_error_within_the_timeout() -> None:
    with valkey_server() as own:
        make_user(own)
        with redis_pair(own) as pair:
            assert save(pair.store, 1, pieces(b"a")) is SaveResult.ACCEPTED
            own.send(signal.SIGSTOP)
            assert "did not answer in time" in is_error_soon(pair.store, 4.0)
            own.send(signal.SIGCONT)
            # No answer to the timed-out save is taken for one to this.
            assert pair.store.live_view("model") == {}
            assert save(pair.store, 2, pieces(b"b")) is SaveResult.ACCEPTED


def test_an_address_where_nobody_is_is_an_error_at_once() -> None:
    store = RedisStore("redis://driftsentry:hidden@127.0.0.1:1/0", group="g")
    said = is_error_soon(store, 2.0)
    assert "127.0.0.1:1" in said
    assert "hidden" not in said
    store.close()


@pytest.mark.parametrize("kind", server_binaries())
def test_a_full_server_keeps_the_old_checkpoint(kind: str) -> None:
    with valkey_server("--maxmemory", "8mb", kind=kind) as own:
        make_user(own)
        with redis_pair(own) as pair:
            old = pieces(b"old")
            assert save(pair.store, 1, old) is SaveResult.ACCEPTED
            too_much = pieces(*(b"%02d" % n * 500_000 for n in range(12)))
            with pytest.raises(StoreError, match=r"memory is full .* raise maxmemory"):
                save(pair.store, 2, too_much)
            assert pair.store.manifests(TP) == [StoredManifest("one", 1, b"one@1")]
            assert pair.store.segments(TP, list(old)) == old
            # What was sent is taken back, so a smaller checkpoint finds room.
            assert pair.keys("new:") == []
            assert save(pair.store, 2, pieces(b"new")) is SaveResult.ACCEPTED


@pytest.mark.parametrize("kind", server_binaries())
def test_a_script_refused_for_want_of_memory_changes_nothing(kind: str) -> None:
    with valkey_server(kind=kind) as own:
        make_user(own)
        with redis_pair(own) as pair:
            save(pair.store, 1, pieces(b"old"))
            pair.store._send_ahead(pair.base, pieces(b"new"))
            pair.admin.config_set("maxmemory", 1)
            with pytest.raises(StoreError, match="memory is full"):
                save(pair.store, 2, pieces(b"new"), send={})
            assert pair.store.manifests(TP) == [StoredManifest("one", 1, b"one@1")]
            assert pair.store.segments(TP, list(pieces(b"old", b"new"))) == pieces(b"old")
