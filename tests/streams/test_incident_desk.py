"""Several responders, each of which may die or hang at any step, and one topic at the end."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.responder_config import IncidentConfig
from streams.incident_desk import IncidentDesk, as_bytes
from streams.incident_evidence import Evidence, merged
from streams.incident_reasons import Overruling
from streams.incidents import incidents_of
from streams.responder_memory import MemoryIncidentStore, MemoryIncidentTopic
from streams.responder_ports import InputPartition, ModelName
from tests.streams.incident_kit import MINUTE_MS, START_MS, alert, evidence, moved

MODEL = ModelName("driftsentry", "churn")
PARTITION = InputPartition("driftsentry", 2)
CONFIG = IncidentConfig()


class TopicDownError(Exception):
    """What a client raises."""


@coroutine
def _step(name: str) -> Generator[str, None, None]:
    yield name


async def pause(name: str) -> None:
    """Others may act here."""
    await _step(name)


class World:
    """Records in one partition, read at least once by responders that take steps in any order."""

    def __init__(
        self, seed: int, records: list[Evidence], n_responders: int, n_crashes: int
    ) -> None:
        self.random = random.Random(seed)
        self.store = MemoryIncidentStore(pause)
        self.topic = MemoryIncidentTopic(pause)
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
        run(IncidentDesk(self.store, self.topic, CONFIG, "last").sweep())

    def life(self) -> tuple[str, Coroutine[Any, Any, None]]:
        """A responder that begins where records were acknowledged, and never has a name twice."""
        name = str(self.n_lives)
        self.n_lives += 1
        return name, self.work(IncidentDesk(self.store, self.topic, CONFIG, name))

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


@settings(max_examples=150)
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
        each.incident_id: as_bytes(each) for each in sorted(wanted, key=lambda one: one.incident_id)
    }


def test_no_order_of_steps_leaves_a_stale_record() -> None:
    """Two responders that write a key at once, and note it in the other order: 2 in 1,000."""
    records = evidence(alert(0), alert(1, 1), alert(0, 2, revision=2), alert(2, 3))
    wanted = incidents_of(merged(records).values(), [], None, CONFIG)
    for seed in range(800):
        world = World(seed, records, 3, 0)
        world.run()
        assert world.topic.compacted() == {each.incident_id: as_bytes(each) for each in wanted}


def desk_of(name: str = "a") -> tuple[IncidentDesk, MemoryIncidentStore, MemoryIncidentTopic]:
    store, topic = MemoryIncidentStore(), MemoryIncidentTopic()
    return IncidentDesk(store, topic, CONFIG, name), store, topic


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

    broken = MemoryIncidentTopic(fails)
    with pytest.raises(TopicDownError):
        run(IncidentDesk(store, broken, CONFIG, "b").take(stale))
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
    name = topic.records[-1].key
    word = Overruling(4, name, "data_fault", "ana", "a broken join", was_evidence_opened=True)
    run(desk.hear(MODEL, word))
    run(desk.hear(MODEL, word))
    assert len(topic.records) == 2
    assert topic.records[-1].value is not None
    assert b'"reason":"data_fault"' in topic.records[-1].value
