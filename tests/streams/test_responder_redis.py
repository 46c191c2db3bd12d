"""What the incident store in Redis does beyond the contract: damage, outages, rights, its cache."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from streams.embedded import EmbeddedValkey
from streams.incident_evidence import Evidence
from streams.incident_reasons import Overruling
from streams.ports import StoreError
from streams.responder_ports import (
    Flight,
    Forgotten,
    IncidentStoreError,
    InputPartition,
    StoreLostError,
    UnreadableStoreError,
)
from streams.responder_redis import LEASE_MS, RedisIncidentStore
from tests.kit.valkey_server import server_binaries, valkey_server
from tests.streams.incident_kit import alert, evidence
from tests.streams.incident_store_kit import MODEL, USER, RedisPlace, flights, redis_place
from tests.streams.store_kit import acl_words, make_user, url_of

WORD = Overruling(4, "a" * 32, "data_fault", "ana", "note", (("e" * 32, 2),))


@pytest.fixture(scope="module", params=server_binaries())
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedValkey]:
    with valkey_server(kind=request.param) as running:
        make_user(running, USER)
        yield running


@pytest.fixture
def place(server: EmbeddedValkey) -> Iterator[RedisPlace]:
    with redis_place(server) as made:
        yield made


def one(number: int = 1, minute: float = 0) -> Evidence:
    (found,) = evidence(alert(number, minute))
    return found


def stored(place: RedisPlace, *records: Evidence) -> int:
    before = place.run(place.store.read(MODEL)).version
    assert place.run(place.store.write(MODEL, before, records, [WORD]))
    return place.run(place.store.read(MODEL)).version


def test_a_flight_ends_by_the_clock_of_the_server(place: RedisPlace) -> None:
    version = stored(place, one())
    short = place.client(lease_ms=0)
    place.run(short.begin(MODEL, version, ["short"], "a"))
    (ended,) = place.run(place.store.read(MODEL)).flights
    assert ended == Flight("short", "a", is_alone=True, is_expired=True)
    before_s, _ = place.admin.time()
    place.run(place.store.begin(MODEL, version, ["long"], "b"))
    after_s, _ = place.admin.time()
    assert flights(place.run(place.store.read(MODEL))) == {Flight("long", "b", is_alone=True)}
    ends_ms, alone = place.admin.hget(place.key("flights"), "long b").split()
    assert before_s * 1000 + LEASE_MS <= int(ends_ms) <= (after_s + 1) * 1000 + LEASE_MS
    assert alone == b"1"
    place.run(short.close())


def test_evidence_of_a_known_version_does_not_come_again(place: RedisPlace) -> None:
    version = stored(place, one())
    known = place.run(place.store.read(MODEL))
    place.admin.hset(place.key("evidence"), known.evidence[f"{1:032x}"].evidence_id, b"spoiled")
    place.run(place.store.begin(MODEL, version, ["k"], "a"))
    again = place.run(place.store.read(MODEL))
    assert again.evidence is known.evidence
    assert again.published == {"k": "?"}
    with pytest.raises(UnreadableStoreError):
        place.run(place.other.read(MODEL))


def test_what_another_one_wrote_comes(place: RedisPlace) -> None:
    version = stored(place, one())
    place.run(place.store.read(MODEL))
    place.run(place.other.write(MODEL, version, [one(2)], []))
    assert len(place.run(place.store.read(MODEL)).evidence) == 2
    assert not place.run(place.store.write(MODEL, version, [one(3)], []))


def test_no_version_comes_again_after_the_server_was_emptied(place: RedisPlace) -> None:
    version = stored(place, one(1))
    place.lose()
    place.run(place.other.write(MODEL, 0, [one(2)], []))
    # Nobody has named the store, so that only the versions tell.
    assert list(place.run(place.store.read(MODEL)).evidence) == [f"{2:032x}"]
    assert not place.run(place.store.write(MODEL, version, [one(3)], []))
    assert place.run(place.other.read(MODEL)).version > version


@pytest.mark.parametrize(
    ("kind", "field", "value", "why"),
    [
        ("evidence", f"{1:032x}", b"\xff\x00", "stored evidence"),
        ("evidence", f"{1:032x}", b"{}", "stored evidence"),
        ("evidence", f"{9:032x}", one(1).dump(), "holds other evidence"),
        ("said", b"[1]", b"1", "nobody said"),
        ("said", b"{}", b"x", "no number"),
        ("published", b"k", b"\xff", "no text"),
        ("flights", b"k", b"1 1", "no flight"),
        ("flights", b"k w", b"1", "no flight"),
        ("flights", b"k w", b"-1 1", "no flight"),
        ("flights", b"k w", b"1 2", "no flight"),
        ("released", b"r", b"1 {}", "no request"),
        ("released", b"r", b"x {}", "no number"),
        ("kept", b"version", b"x", "no number"),
        ("kept", b"forgotten_ms", b"x", "no number"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_key(
    place: RedisPlace, kind: str, field: bytes | str, value: bytes, why: str
) -> None:
    stored(place, one())
    place.admin.hset(place.key(kind), field, value)
    with pytest.raises(UnreadableStoreError, match=why) as told:
        place.run(place.other.read(MODEL))
    assert place.key(kind) in str(told.value)
    assert "driftsentry respond --rebuild" in str(told.value)
    place.run(place.other.wipe("anew"))
    assert place.run(place.other.read(MODEL)).version == 0


def test_evidence_of_another_model_is_not_taken_for_ones_own(place: RedisPlace) -> None:
    stored(place, one())
    (other,) = evidence(alert(1, model_id="other"))
    place.admin.hset(place.key("evidence"), other.evidence_id, other.dump())
    with pytest.raises(UnreadableStoreError, match="holds other evidence"):
        place.run(place.other.read(MODEL))


def test_a_key_of_another_type_is_told(place: RedisPlace) -> None:
    stored(place, one())
    place.admin.delete(place.key("flights"))
    place.admin.set(place.key("flights"), "1")
    with pytest.raises(UnreadableStoreError, match="something else") as told:
        place.run(place.other.read(MODEL))
    assert place.key("")[:-1] in str(told.value)
    place.run(place.other.wipe("anew"))
    assert place.run(place.other.read(MODEL)).version == 0


@pytest.mark.parametrize(("index", "value"), [("models", "nobody"), ("watermarks", "x:1")])
def test_an_index_that_cannot_be_read_is_told(place: RedisPlace, index: str, value: str) -> None:
    stored(place, one())
    place.admin.hset(f"driftsentry:responder:{index}", value, "x")
    work = place.other.models() if index == "models" else place.other.watermark(MODEL)
    with pytest.raises(UnreadableStoreError, match=f"driftsentry:responder:{index}"):
        place.run(work)
    place.run(place.other.wipe("anew"))
    assert place.run(place.other.models()) == []


@pytest.mark.parametrize("kind", ["kept", "evidence"])
def test_what_a_server_has_thrown_away_is_missed(place: RedisPlace, kind: str) -> None:
    version = stored(place, one())
    place.run(place.store.begin(MODEL, version, ["k"], "a"))
    place.admin.delete(place.key(kind))
    with pytest.raises(StoreLostError, match=r"noeviction.*--rebuild"):
        place.run(place.other.read(MODEL))


def test_a_server_that_was_set_back_is_missed_by_who_was_at_work(place: RedisPlace) -> None:
    version = stored(place, one())
    before = {key: place.admin.dump(key) for key in place.admin.keys("*")}
    assert place.run(place.store.write(MODEL, version, [one(2)], []))
    for key, value in before.items():
        place.admin.restore(key, 0, value, replace=True)
    with pytest.raises(StoreLostError, match="older version"):
        place.run(place.store.read(MODEL))
    # Begun again, it knows nothing of what was there.
    place.run(place.store.start("name"))
    assert len(place.run(place.store.read(MODEL)).evidence) == 1


def test_a_wipe_that_ended_in_between_leaves_no_name(place: RedisPlace) -> None:
    place.run(place.store.start("old"))
    stored(place, one())
    place.admin.execute_command("ACL", "SETUSER", USER, "-hdel")
    try:
        with pytest.raises(IncidentStoreError, match="ACL"):
            place.run(place.other.wipe("anew"))
    finally:
        make_user(place.server, USER)
    assert place.run(place.other.epoch()) is None
    with pytest.raises(StoreLostError):
        place.run(place.store.read(MODEL))


def test_a_server_that_knows_no_script_is_told(place: RedisPlace) -> None:
    version = stored(place, one())
    for _ in range(2):
        place.admin.script_flush()
        assert place.run(place.store.write(MODEL, version, [one(2)], []))
        version = place.run(place.other.read(MODEL)).version
    assert len(place.run(place.other.read(MODEL)).evidence) == 2


def test_keys_and_times_that_would_upset_the_scripts_are_refused(place: RedisPlace) -> None:
    version = stored(place, one())
    for key in ("", "a b", "a\n"):
        with pytest.raises(ValueError, match="blanks"):
            place.run(place.store.begin(MODEL, version, [key], "a"))
    with pytest.raises(ValueError, match="watermark"):
        place.run(place.store.raise_watermarks({InputPartition("driftsentry", 0): 1 << 53}))
    with pytest.raises(ValueError, match="prefix"):
        RedisIncidentStore("redis://localhost", prefix="a{b")


async def use_everything(store: RedisIncidentStore) -> None:
    await store.wipe("anew")
    await store.start("again")
    await store.write(MODEL, 0, [one()], [WORD])
    version = (await store.read(MODEL)).version
    await store.write(MODEL, version, [one(2)], [])
    version = (await store.read(MODEL)).version
    await store.begin(MODEL, version, ["k", "l"], "a")
    await store.settle(MODEL, {"k": "1", "l": None}, "a")
    await store.forget(MODEL, version, Forgotten({"k": "1"}, [one().evidence_id], [WORD], 1))
    await store.raise_watermarks({InputPartition("driftsentry", 2): 1})
    await store.watermark(MODEL)
    await store.models()
    await store.wipe("anew")


def test_every_right_in_the_list_is_needed(place: RedisPlace) -> None:
    rights = [word for word in acl_words(USER) if word.startswith("+")]
    assert len(rights) == 13

    async def nobody_waits(_seconds: float) -> None:
        return

    store = place.client(sleep=nobody_waits)
    try:
        for right in rights:
            place.admin.script_flush()
            place.admin.execute_command("ACL", "SETUSER", USER, "-" + right[1:])
            with pytest.raises(IncidentStoreError, match=r"ACL.*docs/acl-redis\.md"):
                place.run(use_everything(store))
            place.admin.execute_command("ACL", "SETUSER", USER, right)
        place.run(use_everything(store))
    finally:
        make_user(place.server, USER)
        place.run(store.close())


def test_the_user_reaches_no_other_key(place: RedisPlace) -> None:
    other = RedisIncidentStore(url_of(place.server, USER), prefix="elsewhere")
    for work in (other.epoch(), other.read(MODEL), other.write(MODEL, 0, [one()], [])):
        with pytest.raises(IncidentStoreError, match="ACL"):
            place.run(work)
    place.run(other.close())


def test_a_wrong_password_is_told_without_it(place: RedisPlace) -> None:
    url = f"redis://{USER}:wr0ng-w0rd@127.0.0.1:{place.server.port}/0"
    store = RedisIncidentStore(url)
    with pytest.raises(IncidentStoreError, match="refused user or password") as told:
        place.run(store.read(MODEL))
    chain: BaseException | None = told.value
    while chain is not None:
        assert "wr0ng" not in str(chain)
        chain = chain.__cause__ or chain.__context__
    place.run(store.close())


@pytest.mark.parametrize("url", ["", "http://host", "redis://u:wr0ng/w0rd@host/0", "redis://[::1"])
def test_a_malformed_url_is_told_without_it(url: str) -> None:
    with pytest.raises(StoreError) as told:
        RedisIncidentStore(url)
    assert "w0rd" not in str(told.value)


class Naps:
    """Sleeps that are noted and not slept."""

    def __init__(self) -> None:
        self.slept_s: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept_s.append(seconds)


def test_a_server_that_is_gone_is_an_error_and_nobody_spins() -> None:
    with valkey_server() as own:
        make_user(own, USER)
        with redis_place(own) as place:
            naps = Naps()
            store = place.client(sleep=naps)
            place.run(store.start("name"))
            assert place.run(store.write(MODEL, 0, [one()], []))
            assert naps.slept_s == []
            own.kill()
            for _ in range(7):
                with pytest.raises(IncidentStoreError, match="cannot be reached") as told:
                    place.run(store.read(MODEL))
                assert f"127.0.0.1:{own.port}" in str(told.value)
            # Each waits longer than the one before, up to ten seconds.
            wanted_s = [0.5, 1, 2, 4, 8, 10]
            assert all(
                0.75 * wanted <= slept <= 1.25 * wanted
                for wanted, slept in zip(wanted_s, naps.slept_s, strict=True)
            )
            own.restart()
            make_user(own, USER)
            # It has come back empty.
            with pytest.raises(StoreLostError):
                place.run(store.read(MODEL))
            naps.slept_s.clear()
            with pytest.raises(StoreLostError):
                place.run(store.read(MODEL))
            assert naps.slept_s == []
            place.run(store.close())


def test_a_server_that_hangs_is_an_error_within_the_timeout() -> None:
    with valkey_server() as own:
        make_user(own, USER)
        with redis_place(own) as place:
            store = place.client(timeout_s=2.0, sleep=Naps())
            version = 0
            assert place.run(store.write(MODEL, version, [one()], []))
            version = place.run(store.read(MODEL)).version
            own.send(signal.SIGSTOP)
            started_s = time.monotonic()
            with pytest.raises(IncidentStoreError, match="did not answer in time"):
                place.run(store.write(MODEL, version, [one(2)], []))
            assert time.monotonic() - started_s < 10
            own.send(signal.SIGCONT)
            # No answer to what timed out is taken for one to this, and it may have been done.
            assert place.run(store.models()) == [MODEL]
            kept = place.run(store.read(MODEL))
            assert place.run(store.write(MODEL, kept.version, [one(2)], []))
            assert len(place.run(store.read(MODEL)).evidence) == 2
            place.run(store.close())


def test_who_gives_up_waiting_gets_no_answer_of_another_one() -> None:
    with valkey_server() as own:
        make_user(own, USER)
        with redis_place(own) as place:
            stored(place, one())

            async def give_up() -> None:
                own.send(signal.SIGSTOP)
                work = asyncio.ensure_future(place.store.watermark(MODEL))
                while not work.done() and not in_use(place.store):
                    await asyncio.sleep(0)
                for _ in range(50):
                    await asyncio.sleep(0)
                work.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await work
                own.send(signal.SIGCONT)

            place.run(give_up())
            assert place.run(place.store.models()) == [MODEL]
            assert len(place.run(place.store.read(MODEL)).evidence) == 1


def in_use(store: RedisIncidentStore) -> int:
    pool: Any = store._redis.connection_pool
    return len(pool._in_use_connections)


@pytest.mark.parametrize("kind", server_binaries())
def test_a_full_server_changes_nothing(kind: str) -> None:
    with valkey_server(kind=kind) as own:
        make_user(own, USER)
        with redis_place(own) as place:
            store = place.client(sleep=Naps())
            assert place.run(store.write(MODEL, 0, [one()], []))
            before = place.run(store.read(MODEL))
            place.admin.config_set("maxmemory", 1)
            for work in (
                store.write(MODEL, before.version, [one(2)], [WORD]),
                store.begin(MODEL, before.version, ["k"], "a"),
                store.raise_watermarks({InputPartition("driftsentry", 2): 1}),
            ):
                with pytest.raises(IncidentStoreError, match="memory is full"):
                    place.run(work)
            assert place.run(place.other.read(MODEL)) == before
            place.admin.config_set("maxmemory", 0)
            assert place.run(store.write(MODEL, before.version, [one(2)], [WORD]))
            place.run(store.close())
