"""Who the Redis store may be, where, and what it says of that: rights, passwords, URLs, TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis
from redis.connection import SSLConnection

from streams.embedded import EmbeddedValkey
from streams.ports import StoreError
from streams.redis_store import RedisStore
from tests.kit.valkey_server import server_binaries, valkey_server
from tests.streams.store_kit import (
    TP,
    RedisPair,
    acl_words,
    admin_of,
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


@pytest.mark.parametrize("prefix", ["", "a b", "a{b", "a}b", "a*", "ä", "a\n"])
def test_a_prefix_that_would_upset_the_keys_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        RedisStore("redis://localhost", group="g", prefix=prefix)


def test_a_wrong_policy_is_told() -> None:
    with valkey_server(maxmemory_policy="allkeys-lru") as own:
        make_user(own)
        store = RedisStore(url_of(own), group="g")
        (told,) = store.check_policy()
        assert "allkeys-lru" in told
        assert "CONFIG SET maxmemory-policy noeviction" in told
        # Where INFO is not allowed, CONFIG GET serves, and where neither is, that is told.
        with admin_of(own) as admin:
            admin.execute_command("ACL", "SETUSER", "driftsentry", "-info", "+config|get")
            assert store.check_policy() == [told]
            admin.execute_command("ACL", "SETUSER", "driftsentry", "-config|get")
            (unseen,) = store.check_policy()
            assert "does not let us read" in unseen
        store.close()


def test_every_right_in_the_list_is_needed(server: EmbeddedValkey) -> None:
    rights = [word for word in acl_words() if word.startswith("+")]
    with redis_pair(server) as pair:
        try:
            for right in rights:
                pair.admin.execute_command("ACL", "SETUSER", "driftsentry", "-" + right[1:])
                if right == "+info":
                    assert pair.store.check_policy() != []
                else:
                    # redis-py tells the last error of a transaction, not the first.
                    words = "MULTI" if right == "+multi" else r"ACL.*docs/acl-redis\.md"
                    with pytest.raises(StoreError, match=words):
                        use_everything(pair)
                pair.admin.execute_command("ACL", "SETUSER", "driftsentry", right)
            use_everything(pair)
        finally:
            make_user(server)


def use_everything(pair: RedisPair) -> None:
    pair.admin.script_flush()
    pair.admin.delete(pair.base + "head")
    for offset in range(5):
        save(pair.store, offset, pieces(b"%d" % offset))
    # With a digest that is unknown: EVALSHA alone.
    save(pair.store, 9, pieces(b"9"))
    pair.store.segments(TP, list(pieces(b"9")))
    pair.store.manifests(TP)
    pair.store.publish_view("model", {"a": b"1"})


def test_the_user_reaches_no_other_key(server: EmbeddedValkey) -> None:
    with admin_of(server) as admin:
        admin.set("elsewhere:x", "1")
    other = RedisStore(url_of(server), group="g", prefix="elsewhere")
    with pytest.raises(StoreError, match="ACL"):
        other.manifests(TP)
    with pytest.raises(StoreError, match="ACL"):
        save(other, 1, pieces(b"a"))
    with pytest.raises(StoreError, match="ACL"):
        other.publish_view("m", {"a": b"1"})
    other.close()


def test_a_wrong_password_is_told_without_it(server: EmbeddedValkey) -> None:
    url = f"redis://driftsentry:wr0ng-w0rd@127.0.0.1:{server.port}/0"
    store = RedisStore(url, group="g")
    with pytest.raises(StoreError, match="refused user or password") as told:
        store.manifests(TP)
    chain: BaseException | None = told.value
    while chain is not None:
        assert "wr0ng" not in str(chain)
        chain = chain.__cause__ or chain.__context__
    store.close()


@pytest.mark.parametrize(
    "url",
    ["", "host:6379", "http://host", "redis://u:wr0ng/w0rd@host:6379/0", "redis://host:99999/0",
     "redis://[::1", "redis://host/0?wr0ng=1", "redis://host?decode_responses=true",
     "redis://host?db=wr0ng"],
)  # fmt: skip
def test_a_malformed_url_is_told_without_it(url: str) -> None:
    with pytest.raises(StoreError) as told:
        RedisStore(url, group="g")
    assert "w0rd" not in str(told.value)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__ or told.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://user:secret@host:1234/5", "host:1234"),
        ("redis://:secret@host", "host:6379"),
        ("rediss://user:secret@host:1234", "host:1234"),
        ("unix:///run/redis.sock?db=2", "/run/redis.sock"),
    ],
)
def test_the_address_shows_no_secret(url: str, address: str) -> None:
    store = RedisStore(url, group="g")
    assert store.address == address
    store.close()


def settings_of(store: RedisStore) -> Mapping[str, Any]:
    pool: redis.ConnectionPool = store._redis.connection_pool
    settings: Mapping[str, Any] = pool.connection_kwargs
    return settings


def test_tls_checks_the_certificate_and_the_name() -> None:
    store = RedisStore("rediss://host:6380/0?ssl_ca_certs=/ca.pem", group="g")
    connection = store._redis.connection_pool.connection_class(**settings_of(store))
    assert isinstance(connection, SSLConnection)
    assert connection.check_hostname is True
    assert connection.cert_reqs.name == "CERT_REQUIRED"
    assert connection.ca_certs == "/ca.pem"
    store.close()


def test_timeouts_are_short_and_may_be_given_in_the_url() -> None:
    plain = RedisStore("redis://host", group="g")
    assert settings_of(plain)["socket_timeout"] == 2.0
    assert settings_of(plain)["socket_connect_timeout"] == 1.0
    patient = RedisStore("redis://host?socket_timeout=9", group="g")
    assert settings_of(patient)["socket_timeout"] == 9.0
    plain.close()
    patient.close()
