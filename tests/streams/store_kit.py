"""What the tests of the stores share: the user of docs/acl-redis.md, and short ways to save."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import redis

from schemas.records import TopicPartition
from streams.embedded import EmbeddedValkey
from streams.ports import SaveResult, StateStore
from streams.redis_store import RedisStore
from streams.segments import segment_digest

ACL_PAGE = Path(__file__).parents[2] / "docs" / "acl-redis.md"
PASSWORD = "s3cret-p@ss"  # noqa: S105 - of a server that lives for one test module
TP = TopicPartition("driftsentry.events", 3)
NUMBERS = itertools.count(1)


def acl_words(user: str = "driftsentry") -> list[str]:
    """The line of the page for this user, ready to send."""
    (line,) = re.findall(rf"^ACL SETUSER {user} .*$", ACL_PAGE.read_text("utf-8"), re.MULTILINE)
    return [str(word) for word in line.replace(">PASSWORD", ">" + PASSWORD).split()]


def url_of(server: EmbeddedValkey, user: str = "driftsentry") -> str:
    return f"redis://{user}:s3cret-p%40ss@127.0.0.1:{server.port}/0"


def admin_of(server: EmbeddedValkey) -> redis.Redis:
    return redis.Redis.from_url(server.url)


def make_user(server: EmbeddedValkey, user: str = "driftsentry") -> None:
    """The user of the page, and nothing more than the page gives."""
    with admin_of(server) as admin:
        admin.execute_command(*acl_words(user))


class RedisPair(NamedTuple):
    """Two clients of one store that nobody else uses, and the server's administrator."""

    store: RedisStore
    other: RedisStore
    admin: Any
    """A `redis.Redis`; its types stand in the way of raw commands."""
    base: str
    """How the partition's keys begin."""

    def keys(self, kind: str = "") -> list[str]:
        keys: list[Any] = self.admin.keys(f"{self.base}{kind}*")
        return sorted(key.decode() for key in keys)

    def check_nothing_is_left(self) -> None:
        """Whatever is in the server is needed by a kept manifest, or expires."""
        head, new, seg = (self.base + kind for kind in ("head", "new:", "seg:"))
        needed: set[str] = set()
        fields: Mapping[Any, Any] = self.admin.hgetall(head)
        for field, value in fields.items():
            if field.endswith(b":segments"):
                needed |= set(value.decode().split())
        stored = set()
        for name in self.keys():
            expires_s = self.admin.ttl(name)
            if name.startswith(new):
                assert 0 < expires_s <= 600
            else:
                assert expires_s == -1
                if name != head:
                    stored.add(name.removeprefix(seg))
        assert stored == needed


@contextmanager
def redis_pair(server: EmbeddedValkey) -> Iterator[RedisPair]:
    """Two clients as the user of the page; see `make_user`."""
    group = f"group {next(NUMBERS)}"
    base = f"{{driftsentry:{group.replace(' ', '%20')}:{TP.topic}:{TP.partition}}}:"
    store, other = (RedisStore(url_of(server), group=group) for _ in range(2))
    with admin_of(server) as admin:
        yield RedisPair(store, other, admin, base)
    store.close()
    other.close()


def pieces(*contents: bytes) -> dict[str, bytes]:
    return {segment_digest(content): content for content in contents}


def save(
    store: StateStore,
    next_offset: int,
    segments: Mapping[str, bytes] | None = None,
    *,
    lineage: str = "one",
    parent: str = "",
    send: Mapping[str, bytes] | None = None,
    manifest: bytes | None = None,
    tp: TopicPartition = TP,
) -> SaveResult:
    needed = segments if segments is not None else {}
    return store.save(
        tp,
        lineage,
        parent,
        next_offset,
        manifest if manifest is not None else f"{lineage}@{next_offset}".encode(),
        needed if send is None else send,
        list(needed),
    )


def held(store: StateStore, tp: TopicPartition = TP) -> list[tuple[str, int]]:
    return [(stored.lineage, stored.next_offset) for stored in store.manifests(tp)]
