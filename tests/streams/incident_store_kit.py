"""Clients of one incident store that nobody else uses: in memory, or on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from streams.embedded import EmbeddedValkey
from streams.responder_memory import MemoryIncidentStore
from streams.responder_ports import Flight, IncidentStore, Kept, ModelName
from streams.responder_redis import RedisIncidentStore
from tests.streams.store_kit import NUMBERS, admin_of, url_of

USER: Final = "driftsentry-responder"
MODEL: Final = ModelName("driftsentry", "churn")
_T = TypeVar("_T")


class MemoryPlace:
    """The store in memory."""

    def __init__(self) -> None:
        self.store = MemoryIncidentStore()
        self.other: IncidentStore = MemoryIncidentStore(beside=self.store)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """To the end: nothing waits for anything."""
        try:
            work.send(None)
        except StopIteration as done:
            result: _T = done.value
            return result
        raise AssertionError("it waits")

    def expire(self, writer: str) -> None:
        """Let the time of this writer's flights be over."""
        self.store.expire(writer)

    def lose(self) -> None:
        """Lose everything."""
        self.store.lose()


class RedisPlace:
    """Two clients as the user of the page, and the server's administrator."""

    def __init__(self, server: EmbeddedValkey, runner: asyncio.Runner, prefix: str) -> None:
        self.prefix = prefix
        self.server = server
        self.runner = runner
        self.admin: Any = admin_of(server)
        self.store, self.other = self.client(), self.client()

    def client(self, **given: Any) -> RedisIncidentStore:
        """One more client, which waits long where a test does not say otherwise."""
        patient = {"timeout_s": 30.0, "connect_timeout_s": 30.0, **given}
        return RedisIncidentStore(url_of(self.server, USER), prefix=self.prefix, **patient)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """To the end, in the loop of the clients."""
        return self.runner.run(work)

    def expire(self, writer: str) -> None:
        """Let the time of this writer's flights be over."""
        for key in self.keys("flights"):
            for field, value in self.admin.hgetall(key).items():
                if field.decode().partition(" ")[2] == writer:
                    self.admin.hset(key, field, b"0 " + value[-1:])

    def lose(self) -> None:
        """Empty the server."""
        self.admin.flushdb()

    def key(self, kind: str, model: ModelName = MODEL) -> str:
        """A model's key."""
        return f"{{{self.prefix}:responder:{model.deployment}:{model.model_id}}}:{kind}"

    def keys(self, kind: str) -> list[Any]:
        """The keys of this kind of all models."""
        return list(self.admin.scan_iter(f"{{{self.prefix}:responder:*}}:{kind}"))

    def close(self) -> None:
        """Let go of the server."""
        for each in (self.store, self.other):
            self.run(each.close())
        self.admin.flushdb()
        self.admin.close()


Place = MemoryPlace | RedisPlace


@contextmanager
def redis_place(server: EmbeddedValkey) -> Iterator[RedisPlace]:
    """Two clients on this server; see `make_user`."""
    prefix = "driftsentry"
    with asyncio.Runner() as runner:
        place = RedisPlace(server, runner, prefix)
        try:
            yield place
        finally:
            place.close()


def flights(kept: Kept) -> set[Flight]:
    """In no order."""
    return set(kept.flights)


def new_name() -> str:
    """One that nobody has had."""
    return f"epoch-{next(NUMBERS)}"
