"""Several responders on one real server at once, which fail at any step, and one topic."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

from streams.embedded import EmbeddedValkey
from streams.incident_desk import as_bytes
from streams.incident_evidence import Evidence, merged
from streams.incidents import incidents_of
from streams.responder_memory import MemoryOutlet
from streams.responder_redis import RedisIncidentStore
from tests.kit.valkey_server import server_binaries, valkey_server
from tests.streams.incident_store_kit import MODEL, USER, RedisPlace, redis_place
from tests.streams.store_kit import make_user, url_of
from tests.streams.test_incident_desk import desk_at
from tests.streams.test_incident_forgetting import END_MS, NEVER_UNENDED, PARTITION, told_of


@pytest.fixture(scope="module", params=server_binaries())
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedValkey]:
    with valkey_server(kind=request.param) as running:
        make_user(running, USER)
        yield running


@pytest.fixture
def place(server: EmbeddedValkey) -> Iterator[RedisPlace]:
    with redis_place(server) as made:
        yield made


class CrashError(Exception):
    """The responder ends here."""


class Chance:
    """Where responders crash: seeded; who is faster is the machine's choice."""

    def __init__(self, seed: int, n_crashes: int) -> None:
        self.random = random.Random(seed)
        self.n_crashes = n_crashes
        self.n_crashed = 0

    async def pause(self, _step: str = "") -> None:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)
        if self.n_crashes and self.random.random() < 0.05:
            self.n_crashes -= 1
            self.n_crashed += 1
            raise CrashError


class FrailStore(RedisIncidentStore):
    """Its owner may crash before each round trip, and after it with the answer unread."""

    def __init__(self, url: str, prefix: str, chance: Chance) -> None:
        super().__init__(url, prefix=prefix, timeout_s=30, connect_timeout_s=30)
        self._chance: Final = chance

    async def _ask(self, doing: str, commands: Sequence[tuple[Any, ...]], **given: Any) -> Any:
        await self._chance.pause()
        answers = await super()._ask(doing, commands, **given)
        await self._chance.pause()
        return answers


class FrailTopic(MemoryOutlet):
    """The same, around each record."""

    def __init__(self, chance: Chance) -> None:
        super().__init__(chance.pause)
        self._chance: Final = chance

    async def publish(self, key: str, value: bytes | None, headers: Any) -> None:
        await super().publish(key, value, headers)
        await self._chance.pause()


class LiveWorld:
    """One partition of records, and responders that begin where it was acknowledged."""

    def __init__(self, place: RedisPlace, seed: int, n_crashes: int) -> None:
        self.place = place
        self.records: list[Evidence] = [*told_of(seed), *told_of(seed + 1_000, first=100)]
        self.chance = Chance(seed, n_crashes)
        self.topic = FrailTopic(self.chance)
        self.acknowledged = 0
        self.n_lives = 0
        self.n_forgotten = 0

    async def run(self, n_responders: int) -> None:
        running: set[asyncio.Task[None]] = set()
        while running or self.acknowledged < len(self.records):
            while len(running) < n_responders and self.acknowledged < len(self.records):
                running.add(asyncio.create_task(self.life()))
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        self.chance.n_crashes = 0
        await self.end()

    async def life(self) -> None:
        name = str(self.n_lives)
        self.n_lives += 1
        store = FrailStore(url_of(self.place.server, USER), self.place.prefix, self.chance)
        desk = desk_at(store, self.topic, name, NEVER_UNENDED)
        try:
            await store.start("world")
            for at in range(self.acknowledged, len(self.records)):
                await desk.take(self.records[at])
                self.acknowledged = max(self.acknowledged, at + 1)
                rest = self.records[self.acknowledged :]
                read_ms = min((each.last_ms for each in rest), default=END_MS + 1) - 1
                await store.raise_watermarks({PARTITION: read_ms})
                self.n_forgotten += await desk.forget(MODEL)
                if self.chance.random.random() < 0.2:
                    return
        except CrashError:
            # Its flights stay; their time is over, or not yet.
            if self.chance.random.random() < 0.5:
                self.expire(name)
        finally:
            await store.close()

    def expire(self, name: str) -> None:
        for telling in range(200):
            self.place.expire(f"{name}.{telling}")

    async def end(self) -> None:
        for key in self.place.keys("flights"):
            for field, value in self.place.admin.hgetall(key).items():
                self.place.admin.hset(key, field, b"0 " + value[-1:])
        await self.place.store.raise_watermarks({PARTITION: END_MS})
        for name in ("last", "very last"):
            await desk_at(self.place.store, self.topic, name, NEVER_UNENDED).sweep()


@pytest.mark.parametrize(("seed", "n_crashes"), [(1, 0), (2, 12), (3, 12), (4, 12)])
def test_the_topic_ends_as_the_evidence_says(place: RedisPlace, seed: int, n_crashes: int) -> None:
    world = LiveWorld(place, seed, n_crashes)
    place.run(world.run(3))
    wanted = incidents_of(merged(world.records).values(), [], END_MS, NEVER_UNENDED)
    assert world.topic.compacted() == {
        f"incident/{each.incident_id}": as_bytes(each)
        for each in sorted(wanted, key=lambda found: found.incident_id)
    }
    assert (world.chance.n_crashed > 0) == (n_crashes > 0)
    kept = place.run(place.other.read(MODEL))
    left = set(kept.evidence)
    assert left < set(merged(world.records)), "much is forgotten"
    assert set(kept.published) == {
        f"incident/{each.incident_id}"
        for each in wanted
        if {one.evidence_id for one in each.evidence} <= left
    }
    assert not kept.flights
    assert kept.forgotten_ms is not None
