"""Several responders, each of which may die or hang at any step, and one topic at the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.incidents import IncidentData
from schemas.responder_config import IncidentConfig, RetrainingConfig
from schemas.retraining import RetrainingData
from streams.incident_desk import IncidentDesk, as_bytes
from streams.incident_evidence import Evidence, merged
from streams.incident_reasons import Approval, Overruling
from streams.incidents import incidents_of
from streams.responder_memory import MemoryIncidentStore, MemoryOutlet, MemoryWindows
from streams.responder_ports import (
    EventWindows,
    FoldPlace,
    IncidentStore,
    InputPartition,
    ModelName,
    WindowGoneError,
)
from streams.retraining_gate import WindowFacts
from tests.streams.incident_kit import MINUTE_MS, START_MS, alert, evidence, moved, shown
from tests.streams.test_retraining_gate import LINEAGE, attack, worse

MODEL = ModelName("driftsentry", "churn")
PARTITION = InputPartition("driftsentry", 2)
FOLD = FoldPlace(2, LINEAGE)
CONFIG = IncidentConfig()
FACTS = WindowFacts(9_000, 8_000, 1_600, 0, START_MS, START_MS + MINUTE_MS)


class TopicDownError(Exception):
    """What a client raises."""


@coroutine
def _step(name: str) -> Generator[str, None, None]:
    yield name


async def pause(name: str) -> None:
    """Others may act here."""
    await _step(name)


def desk_at(
    store: IncidentStore,
    topic: MemoryOutlet,
    name: str,
    config: IncidentConfig = CONFIG,
    windows: EventWindows | None = None,
) -> IncidentDesk:
    return IncidentDesk(
        store,
        topic,
        windows or MemoryWindows(FACTS),
        config,
        RetrainingConfig(),
        events_topic="events",
        writer=name,
    )


class World:
    """Records in one partition, read at least once by responders that take steps in any order."""

    def __init__(
        self, seed: int, records: list[Evidence], n_responders: int, n_crashes: int
    ) -> None:
        self.random = random.Random(seed)
        self.store = MemoryIncidentStore(pause)
        self.topic = MemoryOutlet(pause)
        self.records = records
        self.acknowledged = 0
        self.n_lives = 0
        self.n_crashes = n_crashes
        self.running: list[tuple[str, Coroutine[Any, Any, None]]] = []
        self.n_responders = n_responders

    def run(self) -> None:
        """Until every record has been acknowledged and nobody is at work."""
        chosen = 0
        while self.acknowledged < len(self.records) or self.running:
            while len(self.running) < self.n_responders and self.acknowledged < len(self.records):
                self.running.append(self.life())
            # One is often much faster than another: that is where what is stale gets written.
            if self.random.random() < 0.2 or chosen >= len(self.running):
                chosen = self.random.randrange(len(self.running))
            self.take_a_step(chosen)

    def sweep(self) -> None:
        """The last ones may have died: who looks next finds what they left."""
        for name in range(self.n_lives):
            for telling in range(40):
                self.store.expire(f"{name}.{telling}")
        run(desk_at(self.store, self.topic, "last").sweep())

    def life(self) -> tuple[str, Coroutine[Any, Any, None]]:
        """A responder that begins where records were acknowledged, and never has a name twice."""
        name = str(self.n_lives)
        self.n_lives += 1
        return name, self.work(desk_at(self.store, self.topic, name))

    async def work(self, desk: IncidentDesk) -> None:
        for place in range(self.acknowledged, len(self.records)):
            await desk.take(self.records[place])
            self.acknowledged = max(self.acknowledged, place + 1)
            await pause("acknowledged")
            if self.random.random() < 0.3:
                # The partition moves to another one.
                return

    def take_a_step(self, chosen: int) -> None:
        name, work = self.running[chosen]
        if self.n_crashes and self.random.random() < 0.1:
            # A crash: what was begun stays as it is. Its time is over, or not yet.
            self.n_crashes -= 1
            work.close()
            del self.running[chosen]
            if self.random.random() < 0.5:
                for telling in range(40):
                    self.store.expire(f"{name}.{telling}")
            return
        try:
            work.send(None)
        except StopIteration:
            del self.running[chosen]


def run(work: Coroutine[Any, Any, None]) -> None:
    """To the end, without anybody else."""
    while True:
        try:
            work.send(None)
        except StopIteration:
            return


_minutes = st.integers(0, 400)
_records = st.lists(
    st.tuples(st.integers(0, 4), st.integers(1, 4), _minutes), min_size=1, max_size=6
)


@settings(max_examples=150, deadline=None)
@given(_records, st.integers(0, 2**32), st.integers(1, 3), st.sampled_from([0, 8]))
def test_the_topic_ends_as_the_evidence_says(
    given_records: list[tuple[int, int, int]], seed: int, n_responders: int, n_crashes: int
) -> None:
    """Without a crash nobody has to look once more."""
    records = evidence(
        *(alert(number, minute, revision=revision) for number, revision, minute in given_records)
    )
    world = World(seed, records, n_responders, n_crashes)
    world.run()
    if n_crashes:
        world.sweep()
    wanted = incidents_of(merged(records).values(), [], None, CONFIG)
    assert world.topic.compacted() == {
        f"incident/{each.incident_id}": as_bytes(each)
        for each in sorted(wanted, key=lambda one: one.incident_id)
    }


def test_no_order_of_steps_leaves_a_stale_record() -> None:
    """Two may write one key at once and note it in the other order: 2 runs in 1,000."""
    records = evidence(alert(0), alert(1, 1), alert(0, 2, revision=2), alert(2, 3))
    wanted = incidents_of(merged(records).values(), [], None, CONFIG)
    for seed in range(800):
        world = World(seed, records, 3, 0)
        world.run()
        assert world.topic.compacted() == {
            f"incident/{each.incident_id}": as_bytes(each) for each in wanted
        }


def desk_of(name: str = "a") -> tuple[IncidentDesk, MemoryIncidentStore, MemoryOutlet]:
    store, topic = MemoryIncidentStore(), MemoryOutlet()
    return desk_at(store, topic, name), store, topic


def take(desk: IncidentDesk, *records: bytes) -> None:
    for each in evidence(*records):
        run(desk.take(each))


def test_what_comes_twice_is_told_once() -> None:
    desk, _, topic = desk_of()
    take(desk, alert(1), alert(1), alert(1, 1, revision=2), alert(1))
    assert len(topic.records) == 2


def test_an_incident_that_joins_another_one_goes() -> None:
    desk, _, topic = desk_of()
    take(desk, alert(1, 0), alert(2, 120))
    assert len(topic.compacted()) == 2
    take(desk, alert(3, 60))
    assert len(topic.compacted()) == 1
    assert topic.records[-2].value is None or topic.records[-1].value is None


def test_a_record_that_may_have_been_written_is_written_again() -> None:
    desk, store, topic = desk_of()
    stale = evidence(alert(1))[0]

    async def fails(_step: str) -> None:
        raise TopicDownError

    broken = MemoryOutlet(fails)
    with pytest.raises(TopicDownError):
        run(desk_at(store, broken, "b").take(stale))
    run(desk.take(stale))
    assert len(topic.compacted()) == 1
    before = len(topic.records)
    run(desk.sweep())
    assert len(topic.records) == before + 1, "the flight of b may still land"
    store.expire("b.1")
    run(desk.sweep())
    run(desk.sweep())
    assert len(topic.records) == before + 2, "and then no more"


def test_time_closes_an_incident() -> None:
    desk, store, topic = desk_of()
    over = alert(1, 30, revision=2, status="resolved", resolution="returned")
    take(desk, alert(1), over)
    run(store.raise_watermarks({PARTITION: START_MS + 89 * MINUTE_MS}))
    run(desk.sweep())
    assert topic.records[-1].value is not None
    assert b'"status":"updated"' in topic.records[-1].value
    run(store.raise_watermarks({PARTITION: START_MS + 90 * MINUTE_MS}))
    run(desk.sweep())
    assert topic.records[-1].value is not None
    assert b'"status":"closed"' in topic.records[-1].value
    assert dict(topic.records[-1].headers)["ce_type"] == b"io.driftsentry.incident.closed.v1"


def test_what_a_person_says_is_told_once() -> None:
    desk, _, topic = desk_of()
    take(desk, alert(1, signals=[moved("error")]))
    name = topic.records[0].key.removeprefix("incident/")
    word = Overruling(4, name, "data_fault", "ana", "a broken join", shown(alert(1)))
    run(desk.hear(MODEL, word))
    run(desk.hear(MODEL, word))
    told = [each for each in topic.records if each.key.startswith("incident/")]
    assert len(told) == 2
    assert told[-1].value is not None
    assert b'"reason":"data_fault"' in told[-1].value


def requests_of(topic: MemoryOutlet) -> list[RetrainingData | None]:
    return [
        None if each.value is None else RetrainingData.model_validate_json(each.value)
        for each in topic.records
        if each.key.startswith("retraining/")
    ]


def test_a_request_is_held_then_released_once_and_stays() -> None:
    desk, store, topic = desk_of()
    take(desk, worse())
    (held,) = requests_of(topic)
    assert held is not None
    assert [each.reason for each in held.holds] == ["window_not_settled"]
    run(store.raise_settled({FOLD: 24_999}))
    run(desk.sweep())
    assert len(requests_of(topic)) == 1
    run(store.raise_settled({FOLD: 25_000}))
    run(desk.sweep())
    run(desk.sweep())
    last = requests_of(topic)[-1]
    assert last is not None
    assert (last.status, last.request_id) == ("released", held.request_id)
    take(desk, attack((5_100, 5_300)))
    assert len(requests_of(topic)) == 2, "what comes after the release does not change it"


def test_what_was_released_stays_the_request_of_an_incident_that_gets_another_name() -> None:
    desk, store, topic = desk_of()
    take(desk, worse())
    run(store.raise_settled({FOLD: 25_000}))
    run(desk.sweep())
    moved_before = moved("error", change_offset=4_000, found_offset=26_000)
    take(desk, worse(7, -10, signals=[moved_before], trigger_offset=26_000, change_offset=4_000))
    run(store.raise_settled({FOLD: 10**6}))
    run(desk.sweep())
    (incident,) = [key for key in topic.compacted() if key.startswith("incident/")]
    (request,) = {each.request_id: each for each in requests_of(topic) if each}.values()
    assert request.status == "released"
    assert f"incident/{request.incident_id}" != incident


def test_offsets_of_a_topic_that_was_made_anew_release_nothing() -> None:
    desk, store, topic = desk_of()
    take(desk, worse())
    run(store.raise_settled({FoldPlace(2, "f" * 32): 10**6, FoldPlace(3, LINEAGE): 10**6}))
    run(desk.sweep())
    (held,) = requests_of(topic)
    assert held is not None
    assert [each.reason for each in held.holds] == ["window_not_settled"]


def test_an_attack_known_before_the_window_is_settled_holds_the_request() -> None:
    desk, store, topic = desk_of()
    take(desk, worse(), attack((5_100, 5_300)))
    run(store.raise_settled({FOLD: 25_000}))
    run(desk.sweep())
    (first, last) = requests_of(topic)[0], requests_of(topic)[-1]
    assert last is not None
    assert [each.reason for each in last.holds] == ["attack_suspected"]
    assert first is not None
    seen = tuple(last.holds[0].evidence_ids)
    word = Approval(1, first.request_id, first.incident_id, "ana", "seen", 3, seen)
    run(desk.hear(MODEL, word))
    approved = requests_of(topic)[-1]
    assert approved is not None
    assert (approved.status, approved.approved_by) == ("released", "ana")
    assert approved.quarantine


class InterruptedWindows:
    """While events are read for the first time, something else happens."""

    def __init__(self, happens: Callable[[], None]) -> None:
        self._happens = [happens]

    async def facts(self, *_of: object) -> WindowFacts:
        while self._happens:
            self._happens.pop()()
        return FACTS


def test_no_second_request_is_released_while_events_are_read() -> None:
    """Evidence that begins earlier gives the incident another name, and its request with it."""
    store, topic = MemoryIncidentStore(), MemoryOutlet()
    other = desk_at(store, topic, "b")
    before = moved("error", change_offset=4_990, found_offset=5_100)

    def happens() -> None:
        take(other, worse(7, -10, signals=[before], trigger_offset=5_100, change_offset=4_990))

    desk = desk_at(store, topic, "a", windows=InterruptedWindows(happens))
    run(store.raise_settled({FOLD: 10**6}))
    take(desk, worse())
    latest = {each.request_id: each for each in requests_of(topic) if each is not None}
    assert [each.status for each in latest.values()] == ["released"]
    assert f"incident/{next(iter(latest.values())).incident_id}" in topic.compacted()


class GoneWindows:
    """Retention has removed the events of every window."""

    async def facts(self, *_of: object) -> WindowFacts:
        raise WindowGoneError("partition 2 begins at offset 9,000")


def test_a_window_whose_events_are_gone_holds_the_request_and_ends_no_responder() -> None:
    store, topic = MemoryIncidentStore(), MemoryOutlet()
    desk = desk_at(store, topic, "a", windows=GoneWindows())
    run(store.raise_settled({FOLD: 10**6}))
    take(desk, worse())
    (held,) = requests_of(topic)
    assert held is not None
    assert [each.reason for each in held.holds] == ["window_gone"]


def test_requests_of_two_incidents_within_a_cooldown() -> None:
    desk, store, topic = desk_of()
    take(desk, worse(), worse(2, 600, signals=[moved("error", change_offset=9_000)]))
    run(store.raise_settled({FOLD: 10**6}))
    run(desk.sweep())
    latest = {each.request_id: each for each in requests_of(topic) if each is not None}
    assert sorted(each.status for each in latest.values()) == ["held", "released"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.permutations(range(5)))
def test_requests_are_the_same_whoever_dies_or_hangs(seed: int, order: list[int]) -> None:
    records = evidence(
        worse(),
        attack((5_100, 5_300), number=1),
        attack((5_100, 5_300), number=1, is_over=True),
        worse(2, 600, signals=[moved("error", change_offset=90_000)]),
        attack((90_000, 99_300), number=2),
    )
    plain = World(0, records, 1, 0)
    disturbed = World(seed, [records[each] for each in order], 2, 8)
    for world in (plain, disturbed):
        world.run()
        run(world.store.raise_settled({FOLD: 10**6}))
        world.sweep()
    assert disturbed.topic.compacted() == plain.topic.compacted()
    assert len(plain.topic.compacted()) == 4


def test_a_window_that_cannot_be_read_holds_its_request() -> None:
    class Unreadable:
        async def facts(self, *_given: object) -> WindowFacts | None:
            return None

    store, topic = MemoryIncidentStore(), MemoryOutlet()
    desk = desk_at(store, topic, "a", windows=Unreadable())
    take(desk, worse())
    run(store.raise_settled({FOLD: 10**6}))
    run(desk.sweep())
    last = requests_of(topic)[-1]
    assert last is not None
    assert [each.reason for each in last.holds] == ["window_not_settled"]


def test_a_model_of_which_much_is_said_side_by_side_is_told_of() -> None:
    # One responder's agents, each with a record of the same model.
    async def others(_name: str) -> None:
        await asyncio.sleep(0)

    records = [evidence(alert(number, number % 7)) for number in range(1, 200)]
    store, topic = MemoryIncidentStore(others), MemoryOutlet(others)
    desk = desk_at(store, topic, "one")

    async def all_at_once() -> None:
        await asyncio.gather(*(desk.take(each) for (each,) in records))

    asyncio.run(all_at_once())
    (found,) = topic.compacted().values()
    assert found is not None
    assert IncidentData.model_validate_json(found).n_evidence == len(records)
