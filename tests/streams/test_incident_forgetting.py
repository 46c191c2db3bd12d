"""What is long over is forgotten: the topic keeps it, and nothing else shows that it is gone."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.responder_config import IncidentConfig
from streams.incident_desk import IncidentDesk, as_bytes
from streams.incident_evidence import Evidence, merged
from streams.incident_reasons import Beginning, Noted, Overruling, RollbackApproval, RollbackOpening
from streams.incidents import incidents_of, long_over
from streams.responder_memory import MemoryIncidentStore, MemoryOutlet
from streams.responder_ports import FoldPlace, InputPartition, Kept
from tests.streams.incident_kit import (
    MINUTE_MS,
    START_MS,
    alert,
    anomalies,
    evidence,
    moved,
    silence,
)
from tests.streams.incident_store_kit import MODEL
from tests.streams.test_incident_desk import World, desk_at, pause, run
from tests.streams.test_retraining_gate import LINEAGE, worse

PARTITION: Final = InputPartition("driftsentry", 2)
CONFIG: Final = IncidentConfig(
    join_ms=10 * MINUTE_MS,
    quiet_ms=10 * MINUTE_MS,
    stale_ms=30 * MINUTE_MS,
    keep_ms=30 * MINUTE_MS,
    keep_unended_ms=200 * MINUTE_MS,
)
NEVER_UNENDED: Final = CONFIG.model_copy(update={"keep_unended_ms": 10**10})


def found(number: int, minute: int, ago: int) -> bytes:
    """An alert of a change that began so many minutes before it was found."""
    return alert(number, minute, change_offset=max(200 + 100 * (minute - ago), 0))


def resolved(number: int, minute: int, later: int = 0, ago: int = 1) -> bytes:
    """The end, so many minutes later, of what was found in this minute."""
    given = {"revision": 2, "status": "resolved", "resolution": "returned"}
    places = {
        "opened_offset": 200 + 100 * minute,
        "change_offset": max(200 + 100 * (minute - ago), 0),
    }
    return alert(number, minute + later, **places, **given)


_ended = st.builds(
    lambda number, minute, later, ago: [
        found(number, minute, ago),
        resolved(number, minute, later, ago),
    ],
    st.integers(0, 30),
    st.integers(0, 400),
    st.integers(0, 60),
    st.integers(1, 300),
)
_unended = st.builds(
    lambda number, minute, ago: [found(number, minute, ago)],
    st.integers(40, 50),
    st.integers(0, 400),
    st.integers(1, 300),
)
_silences = st.builds(
    lambda minute: [silence(minute, kind="recovered", recovered_from="silence")],
    st.integers(0, 400),
)
_stories = st.lists(st.one_of(_ended, _unended, _silences, st.just(anomalies())), max_size=8).map(
    lambda stories: [record for story in stories for record in story]
)


@given(_stories, st.integers(-10, 900), st.lists(st.integers(0, 7), max_size=4))
def test_the_other_incidents_are_as_they_were(
    records: list[bytes], watermark: int, named: list[int]
) -> None:
    known = merged(evidence(*records))
    watermark_ms = START_MS + watermark * MINUTE_MS
    names = [each.incident_id for each in incidents_of(known.values(), [], None, CONFIG)]
    said = [
        Overruling(place, names[name % len(names)], "data_fault", "ana", "", ())
        for place, name in enumerate(named)
        if names
    ]
    before = incidents_of(known.values(), said, watermark_ms, CONFIG)
    over = long_over(known.values(), said, watermark_ms, CONFIG)
    gone = {each.incident.incident_id for each in over}
    for each in over:
        assert each.incident in before
        assert each.incident.status == "closed"
        assert each.incident.last_ms + CONFIG.keep_ms <= watermark_ms
        assert len(each.group.evidence) == each.incident.n_evidence
    dropped = {one.evidence_id for each in over for one in each.group.evidence}
    words = [one for each in over for one in each.said]
    assert len(words) == len(set(words))
    left = [each for key, each in known.items() if key not in dropped]
    rest = [each for each in said if each not in words]
    after = incidents_of(left, rest, watermark_ms, CONFIG)
    assert after == [each for each in before if each.incident_id not in gone]
    # And what begins later than anything that was dropped changes neither.
    later = evidence(alert(60, watermark + 1), silence(watermark + 30))
    assert incidents_of([*left, *later], rest, watermark_ms, CONFIG) == [
        each
        for each in incidents_of([*known.values(), *later], said, watermark_ms, CONFIG)
        if each.incident_id not in gone
    ]


def test_what_has_not_ended_is_kept_for_longer() -> None:
    known = evidence(alert(1, 0), alert(2, 100), resolved(2, 100))
    groups = merged(known).values()

    def over(minute: int) -> list[str]:
        found = long_over(groups, [], START_MS + minute * MINUTE_MS, CONFIG)
        return [one.evidence_id for each in found for one in each.group.evidence]

    assert over(129) == []
    assert over(130) == [f"{2:032x}"]
    assert over(199) == [f"{2:032x}"]
    assert over(200) == [f"{1:032x}", f"{2:032x}"]
    assert long_over(groups, [], None, CONFIG) == []


def test_an_incident_of_the_beginning_of_time_is_forgotten_too() -> None:
    known = evidence(
        alert(1, event_time_ms=-(10**9), status="resolved", resolution="returned", revision=2)
    )
    assert long_over(known, [], -(10**8), NEVER_UNENDED)
    assert not long_over(known, [], -(10**9), NEVER_UNENDED)


class ForgetfulWorld(World):
    """Responders that forget as soon as they may, among others that are late, or dead."""

    def __init__(
        self, seed: int, records: list[Evidence], n_responders: int, n_crashes: int
    ) -> None:
        super().__init__(seed, records, n_responders, n_crashes)
        self.n_forgotten = 0

    def desk(self, name: str) -> IncidentDesk:
        return desk_at(self.store, self.topic, name, NEVER_UNENDED)

    def life(self) -> tuple[str, Coroutine[Any, Any, None]]:
        name = str(self.n_lives)
        self.n_lives += 1
        return name, self.work(self.desk(name))

    async def work(self, desk: IncidentDesk) -> None:
        for place in range(self.acknowledged, len(self.records)):
            await desk.take(self.records[place])
            self.acknowledged = max(self.acknowledged, place + 1)
            await pause("acknowledged")
            await self.store.raise_watermarks({PARTITION: self.read_up_to_ms()})
            for model in await self.store.models():
                await desk.tell(model)
                self.n_forgotten += await desk.forget(model)
            if self.random.random() < 0.2:
                return

    def read_up_to_ms(self) -> int:
        """What is still to be read is later."""
        rest = self.records[self.acknowledged :]
        return min((each.last_ms for each in rest), default=END_MS + 1) - 1

    def sweep(self) -> None:
        for life in range(self.n_lives):
            for telling in range(200):
                self.store.expire(f"{life}.{telling}")
        run(self.store.raise_watermarks({PARTITION: END_MS}))
        for name in ("last", "very last"):
            run(self.desk(name).sweep())


END_MS: Final = START_MS + 10**5 * MINUTE_MS


def told_of(seed: int, first: int = 0) -> list[Evidence]:
    """Alerts over some hours, as they are read: about in the order of their times."""
    chance = random.Random(seed)
    records = []
    for number in range(first, first + chance.randint(2, 7)):
        minute = chance.randint(0, 300)
        records.append((minute, alert(number, minute)))
        if chance.random() < 0.8:
            later = chance.randint(0, 40)
            records.append((minute + later, resolved(number, minute, later)))
    records.sort(key=lambda each: each[0] + chance.randint(0, 20))
    return evidence(*(each for _, each in records))


def check(world: ForgetfulWorld) -> None:
    world.run()
    world.sweep()
    wanted = incidents_of(merged(world.records).values(), [], END_MS, NEVER_UNENDED)
    assert world.topic.compacted() == {
        f"incident/{each.incident_id}": as_bytes(each)
        for each in sorted(wanted, key=lambda found: found.incident_id)
    }
    kept = kept_in(world.store)
    ended = {each.incident_id for each in wanted if all(one.has_ended for one in each.evidence)}
    assert sorted(kept.published) == sorted(
        f"incident/{each.incident_id}" for each in wanted if each.incident_id not in ended
    )


def kept_in(store: MemoryIncidentStore) -> Kept:
    """What is kept, without a pause."""
    return store.shared.kept[MODEL]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3), st.sampled_from([0, 6]))
def test_the_topic_ends_as_if_nothing_had_been_forgotten(
    seed: int, n_responders: int, n_crashes: int
) -> None:
    check(ForgetfulWorld(seed, told_of(seed), n_responders, n_crashes))


def test_something_is_forgotten_on_the_way() -> None:
    worlds = [ForgetfulWorld(seed, told_of(seed), 3, 4) for seed in range(60)]
    for world in worlds:
        check(world)
    assert sum(world.n_forgotten > 0 for world in worlds) > 30


def desk_of(
    name: str = "a", config: IncidentConfig = CONFIG
) -> tuple[IncidentDesk, MemoryIncidentStore, MemoryOutlet]:
    store, topic = MemoryIncidentStore(), MemoryOutlet()
    return desk_at(store, topic, name, config), store, topic


def take(desk: IncidentDesk, records: Sequence[Evidence]) -> None:
    for each in records:
        run(desk.take(each))


def raise_to(store: MemoryIncidentStore, minute: int) -> None:
    run(store.raise_watermarks({PARTITION: START_MS + minute * MINUTE_MS}))


def test_a_forgotten_incident_stays_on_the_topic() -> None:
    desk, store, topic = desk_of()
    take(desk, evidence(alert(1), resolved(1, 5), alert(2, 100)))
    raise_to(store, 50)
    run(desk.sweep())
    kept = kept_in(store)
    assert list(kept.evidence) == [f"{2:032x}"]
    assert len(kept.published) == 1
    before = len(topic.records)
    run(desk.sweep())
    assert len(topic.records) == before
    assert len(topic.compacted()) == 2
    assert all(each.value is not None for each in topic.records)


def test_what_never_was_an_incident_is_forgotten_too() -> None:
    lasting = CONFIG.model_copy(update={"benign_after_ms": 20 * MINUTE_MS})
    desk, store, topic = desk_of(config=lasting)
    take(desk, evidence(alert(1), resolved(1, 5), alert(2, 100)))
    raise_to(store, 50)
    run(desk.sweep())
    assert list(kept_in(store).evidence) == [f"{2:032x}"]
    assert topic.records == []
    raise_to(store, 120)
    run(desk.sweep())
    (only,) = topic.compacted().values()
    assert b"benign_drift" in only


def test_what_comes_again_of_it_is_not_taken_in() -> None:
    desk, store, topic = desk_of()
    records = evidence(alert(1), resolved(1, 5), alert(2, 100))
    take(desk, records)
    raise_to(store, 50)
    run(desk.sweep())
    before = len(topic.records)
    take(desk, records)
    assert desk.n_too_late == 2
    take(desk, evidence(alert(3, 4)))
    assert desk.n_too_late == 3, "nobody waits for so long"
    assert len(topic.records) == before
    take(desk, evidence(alert(4, 6)))
    assert desk.n_too_late == 3
    assert len(topic.compacted()) == 3


def test_what_somebody_writes_just_now_is_not_forgotten() -> None:
    desk, store, topic = desk_of()
    take(desk, evidence(alert(1), resolved(1, 5), alert(2, 30), resolved(2, 31)))
    raise_to(store, 80)
    run(desk.tell(MODEL))
    kept = kept_in(store)
    key = topic.records[0].key
    assert len(kept.published) == 2
    assert run_to_result(store.begin(MODEL, kept.version, [key], "b"))
    run(desk.sweep())
    kept = kept_in(store)
    # The other one is forgotten all the same.
    assert list(kept.evidence) == [f"{1:032x}"]
    assert list(kept.published) == [key]
    store.expire("b")
    run(desk.sweep())
    run(desk.sweep())
    kept = kept_in(store)
    assert not kept.evidence
    assert not kept.published
    assert len(topic.compacted()) == 2


@pytest.mark.parametrize("said_of", [1, 2])
def test_what_was_said_goes_with_what_it_was_said_of(said_of: int) -> None:
    desk, store, topic = desk_of()
    take(desk, evidence(alert(1), resolved(1, 5), alert(2, 100)))
    name = [each.key for each in topic.records if each.value is not None][0 if said_of == 1 else -1]
    name = name.removeprefix("incident/")
    run(desk.hear(MODEL, Overruling(1, name, "data_fault", "ana", "", ())))
    raise_to(store, 50)
    run(desk.sweep())
    kept = kept_in(store)
    assert len(kept.said) == said_of - 1


def run_to_result(work: Coroutine[Any, Any, bool]) -> bool:
    try:
        work.send(None)
    except StopIteration as done:
        return bool(done.value)
    raise AssertionError("it waits")


def requests_in(topic: MemoryOutlet) -> list[str]:
    return [each for each in topic.compacted() if each.startswith("retraining/")]


def over(number: int, minute: int, **given: Any) -> bytes:
    return worse(number, minute, revision=2, status="resolved", resolution="returned", **given)


def test_a_request_is_forgotten_with_its_incident() -> None:
    desk, store, topic = desk_of()
    take(desk, evidence(worse(), over(1, 5), alert(2, 100)))
    run(store.raise_settled({FoldPlace(2, LINEAGE): 10**6}))
    run(desk.sweep())
    assert [each.status for each in kept_in(store).released] == ["released"]
    raise_to(store, 50)
    run(desk.sweep())
    kept = kept_in(store)
    assert not kept.released
    assert list(kept.evidence) == [f"{2:032x}"]
    assert len(kept.published) == 1
    before = len(topic.records)
    run(desk.sweep())
    assert len(topic.records) == before
    assert len(requests_in(topic)) == 1
    assert all(each.value is not None for each in topic.records)


def test_what_a_held_request_is_judged_by_is_kept() -> None:
    desk, store, topic = desk_of()
    signals = [moved("error", change_offset=9_000)]
    take(desk, evidence(worse(), over(1, 5), worse(2, 20, signals=signals)))
    raise_to(store, 40)
    run(desk.sweep())
    # The second one is open, and its request waits for the log.
    assert len(kept_in(store).evidence) == 2
    take(desk, evidence(over(2, 21, signals=signals)))
    raise_to(store, 60)
    run(desk.sweep())
    kept = kept_in(store)
    assert not kept.evidence
    assert not kept.published
    assert len(requests_in(topic)) == 2


def test_words_of_an_incident_that_nobody_knows_are_dropped_after_a_while() -> None:
    desk, store, _ = desk_of()
    unknown_ms = CONFIG.unknown_ms
    word = Overruling(1, "f" * 32, "data_fault", "ana", "", (), START_MS)
    take(desk, evidence(alert(1, 0)))
    (name,) = [each.incident_id for each in incidents_of(evidence(alert(1, 0)), [], None, CONFIG)]
    known = word._replace(place=2, incident_id=name)
    # These name no incident.
    others: list[Noted] = [
        RollbackOpening(3, "f" * 32, "ana"),
        RollbackApproval(4, "f" * 32, "ana", ""),
        Beginning(0, "8", 5, "f" * 32),
    ]
    heard: list[Noted] = [word, known, *others]
    for each in heard:
        run(desk.hear(MODEL, each))
    for later_ms, words in ((unknown_ms - 1, [word, known]), (unknown_ms, [known])):
        run(store.raise_watermarks({InputPartition("driftsentry", 7): START_MS + later_ms}))
        run(desk.sweep())
        assert list(kept_in(store).said) == [*words, *others]
    assert kept_in(store).forgotten_ms is None
    run(desk.hear(MODEL, word))
    assert list(kept_in(store).said) == [known, *others], "who starts hears all of the topic again"
    assert desk.n_too_late == 1
