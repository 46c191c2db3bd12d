"""What every store of incidents does, run on all of them.

The Redis stores run as the responder's user of docs/acl-redis.md: what is not in its list fails.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas.retraining import RetrainingData
from streams.embedded import EmbeddedValkey
from streams.incident_evidence import Evidence, merge
from streams.incident_reasons import (
    Approval,
    Beginning,
    Noted,
    Opening,
    Overruling,
    RollbackApproval,
    RollbackOpening,
)
from streams.responder_memory import MemoryIncidentStore, MemoryOutlet
from streams.responder_ports import (
    UNKNOWN,
    Flight,
    FoldPlace,
    Forgotten,
    InputPartition,
    Kept,
    ModelName,
    Read,
    StoreLostError,
)
from tests.kit.valkey_server import server_binaries, valkey_server
from tests.streams.incident_kit import MINUTE_MS, START_MS, alert, anomalies, evidence, silence
from tests.streams.incident_store_kit import (
    MODEL,
    USER,
    MemoryPlace,
    Place,
    flights,
    new_name,
    redis_place,
)
from tests.streams.rollback_kit import CONFIG
from tests.streams.rollback_kit import Place as Followed
from tests.streams.store_kit import make_user
from tests.streams.test_incident_desk import desk_at, run
from tests.streams.test_retraining_gate import worse
from tests.streams.test_rollback import switch

ODD = ModelName("de:ploy{1}", "mo del:ü/%3A\n")
WORD = Overruling(4, "a" * 32, "data_fault", "ana", "a broken join\nü", (("e" * 32, 2),))
LATER = WORD._replace(place=5, reason="benign_drift")


@pytest.fixture(scope="module", params=["memory", *server_binaries()])
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedValkey | None]:
    """A server with the user of the page in it; None for the store in memory."""
    if request.param == "memory":
        yield None
        return
    with valkey_server(kind=request.param) as running:
        make_user(running, USER)
        yield running


@pytest.fixture
def place(server: EmbeddedValkey | None) -> Iterator[Place]:
    if server is None:
        yield MemoryPlace()
        return
    with redis_place(server) as made:
        yield made


def one(number: int = 1, minute: float = 0, **given: object) -> Evidence:
    (found,) = evidence(alert(number, minute, **given))
    return found


def request(name: str) -> RetrainingData:
    """A request of this name."""
    outlet = MemoryOutlet()
    desk = desk_at(MemoryIncidentStore(), outlet, "a")
    for each in evidence(worse()):
        run(desk.take(each))
    (found,) = (each.value for each in outlet.records if each.key.startswith("retraining/"))
    assert found is not None
    return RetrainingData.model_validate_json(found).model_copy(update={"request_id": name})


def stored(place: Place, *records: Evidence, model: ModelName = MODEL) -> int:
    """Written over whatever is there; the version then."""
    before = place.run(place.store.read(model)).version
    assert place.run(place.store.write(model, before, records, []))
    return place.run(place.store.read(model)).version


def test_nothing_is_there_at_first(place: Place) -> None:
    assert place.run(place.store.read(MODEL)) == Kept()
    assert place.run(place.store.models()) == []
    assert place.run(place.store.watermark(MODEL)) is None
    assert place.run(place.store.epoch()) is None
    assert not place.run(place.store.begin(MODEL, 0, ["k"], "a"))
    assert not place.run(place.store.forget(MODEL, 0, Forgotten({}, [], [], 0)))
    place.run(place.store.settle(MODEL, {"k": "d"}, "a"))
    assert place.run(place.store.read(MODEL)) == Kept()


def test_what_was_written_is_read_by_everybody(place: Place) -> None:
    records = evidence(alert(1), silence(5), *anomalies()[:1])
    assert place.run(place.store.write(MODEL, 0, records, [LATER, WORD]))
    for store in (place.store, place.other, place.store):
        kept = place.run(store.read(MODEL))
        assert kept.version > 0
        assert kept.evidence == {each.evidence_id: each for each in records}
        assert list(kept.said) == [LATER, WORD]
        assert not kept.published
        assert not kept.flights
        assert kept.forgotten_ms is None


def test_evidence_is_replaced_and_what_was_said_is_added_once(place: Place) -> None:
    first, other = one(1), one(2)
    more = merge(first, one(1, 3, revision=2))
    version = stored(place, first, other)
    assert place.run(place.store.write(MODEL, version, [more], [WORD]))
    kept = place.run(place.other.read(MODEL))
    assert kept.version > version
    assert kept.evidence == {more.evidence_id: more, other.evidence_id: other}
    assert place.run(place.other.write(MODEL, kept.version, [], [WORD, LATER]))
    for store in (place.store, place.other):
        assert list(place.run(store.read(MODEL)).said) == [WORD, LATER]


def test_whoever_knows_an_older_version_changes_nothing(place: Place) -> None:
    version = stored(place, one(1))
    place.run(place.other.read(MODEL))
    assert place.run(place.store.write(MODEL, version, [one(2)], []))
    for stale in (0, version, version + 2):
        assert not place.run(place.other.write(MODEL, stale, [one(3)], [WORD]))
        assert not place.run(place.other.begin(MODEL, stale, ["k"], "b"))
    kept = place.run(place.other.read(MODEL))
    assert sorted(kept.evidence) == [f"{1:032x}", f"{2:032x}"]
    assert not kept.said
    assert not kept.published
    assert not kept.flights
    assert place.run(place.store.read(MODEL)) == kept


def test_of_writers_of_one_version_one_wins(place: Place) -> None:
    stores = [place.store, place.other] * 4
    version = 0
    for _ in range(3):
        won = [
            place.run(store.write(MODEL, version, [one(number)], []))
            for number, store in enumerate(stores)
        ]
        assert won.count(True) == 1
        version = place.run(place.other.read(MODEL)).version


def test_models_know_nothing_of_each_other(place: Place) -> None:
    names = [MODEL, ModelName("driftsentry", ""), ModelName("other", "churn"), ODD]
    for number, name in enumerate(names):
        (record,) = evidence(alert(number, deployment=name.deployment, model_id=name.model_id))
        version = stored(place, record, model=name)
        assert place.run(place.store.begin(name, version, [f"k{number}"], "a"))
    for number, name in enumerate(names):
        kept = place.run(place.other.read(name))
        assert list(kept.evidence) == [f"{number:032x}"]
        assert kept.published == {f"k{number}": UNKNOWN}
    assert place.run(place.store.models()) == sorted(names)


def test_who_is_alone_notes_what_it_wrote(place: Place) -> None:
    version = stored(place, one())
    assert place.run(place.store.begin(MODEL, version, ["k", "l"], "a"))
    kept = place.run(place.other.read(MODEL))
    assert kept.published == {"k": UNKNOWN, "l": UNKNOWN}
    assert flights(kept) == {Flight("k", "a", is_alone=True), Flight("l", "a", is_alone=True)}
    place.run(place.store.settle(MODEL, {"k": "digest", "l": None}, "a"))
    kept = place.run(place.other.read(MODEL))
    assert kept.published == {"k": "digest"}
    assert not kept.flights
    assert kept.version == version, "nothing new is known"


def test_of_two_that_wrote_at_once_neither_knows_which_was_last(place: Place) -> None:
    version = stored(place, one())
    assert place.run(place.store.begin(MODEL, version, ["k", "mine"], "a"))
    assert place.run(place.other.begin(MODEL, version, ["k", "own"], "b"))
    assert flights(place.run(place.store.read(MODEL))) == {
        Flight("k", "a", is_alone=False),
        Flight("mine", "a", is_alone=True),
        Flight("k", "b", is_alone=False),
        Flight("own", "b", is_alone=True),
    }
    place.run(place.store.settle(MODEL, {"k": "1", "mine": "2"}, "a"))
    place.run(place.other.settle(MODEL, {"k": "3", "own": "4"}, "b"))
    kept = place.run(place.store.read(MODEL))
    assert kept.published == {"k": UNKNOWN, "mine": "2", "own": "4"}
    assert not kept.flights
    # The next one that looks is alone.
    assert place.run(place.other.begin(MODEL, version, ["k"], "c"))
    place.run(place.other.settle(MODEL, {"k": "5"}, "c"))
    assert place.run(place.store.read(MODEL)).published["k"] == "5"


def test_one_that_came_after_the_first_had_ended_is_not_alone_beside_a_third(place: Place) -> None:
    version = stored(place, one())
    place.run(place.store.begin(MODEL, version, ["k"], "a"))
    place.run(place.store.begin(MODEL, version, ["k"], "b"))
    place.run(place.store.settle(MODEL, {"k": "1"}, "a"))
    place.run(place.other.begin(MODEL, version, ["k"], "c"))
    assert flights(place.run(place.store.read(MODEL))) == {
        Flight("k", "b", is_alone=False),
        Flight("k", "c", is_alone=False),
    }


def test_only_what_was_begun_is_noted(place: Place) -> None:
    version = stored(place, one())
    place.run(place.store.begin(MODEL, version, ["k", "l"], "a"))
    place.run(place.store.settle(MODEL, {"k": "1", "other": "2"}, "a"))
    kept = place.run(place.store.read(MODEL))
    assert kept.published == {"k": "1", "l": UNKNOWN}
    assert not kept.flights
    place.run(place.store.settle(MODEL, {"l": "3"}, "a"))
    assert place.run(place.store.read(MODEL)).published["l"] == UNKNOWN


def test_what_is_begun_twice_is_begun_once(place: Place) -> None:
    version = stored(place, one())
    for _ in range(2):
        assert place.run(place.store.begin(MODEL, version, ["k"], "a"))
    assert flights(place.run(place.store.read(MODEL))) == {Flight("k", "a", is_alone=True)}
    place.run(place.store.begin(MODEL, version, ["k"], "b"))
    place.run(place.store.begin(MODEL, version, ["k"], "a"))
    assert all(not each.is_alone for each in place.run(place.store.read(MODEL)).flights)
    for writer in "ab":
        for _ in range(2):
            place.run(place.store.settle(MODEL, {"k": writer}, writer))
    assert place.run(place.store.read(MODEL)).published == {"k": UNKNOWN}


def test_a_flight_whose_time_is_over_stands_in_nobodys_way(place: Place) -> None:
    version = stored(place, one())
    place.run(place.store.begin(MODEL, version, ["k"], "dead"))
    place.expire("dead")
    (dead,) = place.run(place.other.read(MODEL)).flights
    assert dead == Flight("k", "dead", is_alone=True, is_expired=True)
    place.run(place.other.begin(MODEL, version, ["k"], "b"))
    assert flights(place.run(place.store.read(MODEL))) == {Flight("k", "b", is_alone=True)}
    # It was forgotten: what it says now does not count.
    place.run(place.store.settle(MODEL, {"k": "stale"}, "dead"))
    assert place.run(place.store.read(MODEL)).published == {"k": UNKNOWN}
    place.run(place.other.settle(MODEL, {"k": "1"}, "b"))
    assert place.run(place.store.read(MODEL)).published == {"k": "1"}


def published(place: Place, version: int, **digests: str) -> None:
    place.run(place.store.begin(MODEL, version, list(digests), "p"))
    place.run(place.store.settle(MODEL, digests, "p"))


def test_what_is_forgotten_goes_and_the_rest_stays(place: Place) -> None:
    old, new = one(1), one(2, 500, partition=7)
    version = stored(place, old, new)
    place.run(place.store.write(MODEL, version, [], [WORD, LATER]))
    version = place.run(place.other.read(MODEL)).version
    published(place, version, k="1", l="2")
    what = Forgotten({"k": "1"}, [old.evidence_id], [WORD], old.last_ms)
    assert place.run(place.other.forget(MODEL, version, what))
    for store in (place.store, place.other):
        kept = place.run(store.read(MODEL))
        assert kept.version > version
        assert kept.evidence == {new.evidence_id: new}
        assert list(kept.said) == [LATER]
        assert kept.published == {"l": "2"}
        assert kept.forgotten_ms == old.last_ms
    # How far it has been forgotten does not go back.
    version = place.run(place.other.read(MODEL)).version
    assert place.run(place.store.forget(MODEL, version, Forgotten({}, [], [LATER], 5)))
    kept = place.run(place.other.read(MODEL))
    assert kept.forgotten_ms == old.last_ms
    assert not kept.said


@pytest.mark.parametrize("told", ["2", UNKNOWN, None])
def test_what_the_topic_may_not_have_is_not_forgotten(place: Place, told: str | None) -> None:
    old = one()
    version = stored(place, old)
    published(place, version, other="1", **({} if told is None else {"k": "2"}))
    if told == UNKNOWN:
        place.run(place.other.begin(MODEL, version, ["k"], "b"))
    before = place.run(place.other.read(MODEL))
    what = Forgotten({"other": "1", "k": "1"}, [old.evidence_id], [], old.last_ms)
    assert not place.run(place.store.forget(MODEL, version, what))
    assert not place.run(
        place.store.forget(MODEL, version + 1, what._replace(digests={"other": "1"}))
    )
    assert place.run(place.other.read(MODEL)) == before


def test_a_record_made_of_what_is_forgotten_cannot_be_begun(place: Place) -> None:
    old = one()
    version = stored(place, old)
    published(place, version, k="1")
    what = Forgotten({"k": "1"}, [old.evidence_id], [], old.last_ms)
    assert place.run(place.store.forget(MODEL, version, what))
    assert not place.run(place.other.begin(MODEL, version, ["k"], "stale"))
    kept = place.run(place.other.read(MODEL))
    assert not kept.published
    assert not kept.flights
    assert place.run(place.store.models()) == [MODEL], "how far it has been forgotten is kept"


def test_the_watermark_is_the_least_of_the_partitions_of_the_evidence(place: Place) -> None:
    two, seven = InputPartition("driftsentry", 2), InputPartition("driftsentry", 7)
    version = stored(place, one(1))
    assert place.run(place.store.watermark(MODEL)) is None
    place.run(place.store.raise_watermarks({InputPartition("elsewhere", 2): 5}))
    assert place.run(place.other.watermark(MODEL)) is None
    place.run(place.store.raise_watermarks({two: START_MS, InputPartition("driftsentry", 3): -8}))
    assert place.run(place.other.watermark(MODEL)) == START_MS
    place.run(place.store.write(MODEL, version, [one(2, 500, partition=7)], []))
    assert place.run(place.other.watermark(MODEL)) is None
    place.run(place.other.raise_watermarks({seven: START_MS + MINUTE_MS}))
    assert place.run(place.store.watermark(MODEL)) == START_MS
    # None goes back, and no number is rounded.
    place.run(place.store.raise_watermarks({two: START_MS - 1, seven: START_MS + MINUTE_MS + 1}))
    place.run(place.store.raise_watermarks({two: START_MS + 2 * MINUTE_MS + 1}))
    assert place.run(place.other.watermark(MODEL)) == START_MS + MINUTE_MS + 1
    place.run(place.store.raise_watermarks({}))
    # What is forgotten is not waited for.
    version = place.run(place.other.read(MODEL)).version
    what = Forgotten({}, [f"{2:032x}"], [], 0)
    assert place.run(place.other.forget(MODEL, version, what))
    assert place.run(place.store.watermark(MODEL)) == START_MS + 2 * MINUTE_MS + 1


def test_settled_offsets_do_not_go_back(place: Place) -> None:
    assert place.run(place.store.settled()) == {}
    zero, three, again = FoldPlace(0, "a"), FoldPlace(3, "a:b"), FoldPlace(0, "b")
    place.run(place.store.raise_settled({zero: 5, three: 2**52}))
    place.run(place.other.raise_settled({zero: 4, three: 2**52 + 1, again: 0}))
    place.run(place.other.raise_settled({}))
    assert place.run(place.store.settled()) == {zero: 5, three: 2**52 + 1, again: 0}


def test_offsets_that_were_looked_at_do_not_go_back(place: Place) -> None:
    zero, three, again = FoldPlace(0, "a"), FoldPlace(3, "a:b"), FoldPlace(0, "b")
    assert place.run(place.store.scanned()) == {}
    place.run(place.store.raise_settled({zero: 9}))
    place.run(place.store.raise_scanned({zero: 5, three: 7}))
    place.run(place.other.raise_scanned({zero: 4, again: 1}))
    assert place.run(place.store.scanned()) == {zero: 5, three: 7, again: 1}
    place.run(place.store.wipe("anew"))
    assert place.run(place.store.scanned()) == {}


def test_follow_ups_and_rollbacks_are_kept_beside_requests(place: Place) -> None:
    followed = Followed(switch(), CONFIG.model_copy(update={"policy": "act"}))
    followed.settle(2_000)
    (followup,), (rollback,) = followed.followups(), followed.requests()
    retraining = request("a" * 32)
    stored(place)
    for each in (followup, rollback, retraining):
        assert place.run(place.store.release(MODEL, each)) == each
    changed = rollback.model_copy(update={"approved_by": "ana"})
    assert place.run(place.other.release(MODEL, changed)) == rollback
    assert list(place.run(place.other.read(MODEL)).released) == [followup, rollback, retraining]


def test_what_was_written_or_released_since_it_was_read_keeps_a_request_back(place: Place) -> None:
    first, second = (request(name) for name in ("f" * 32, "a" * 32))
    read = Read(stored(place, one()), 0)
    for stale in (Read(read.version - 1, 0), Read(read.version, 1)):
        assert place.run(place.store.release_as_read(MODEL, first, stale)) is None
    assert not place.run(place.other.read(MODEL)).released
    assert place.run(place.store.release_as_read(MODEL, first, read)) == first
    assert place.run(place.other.release_as_read(MODEL, second, read)) is None
    # The one of its name that is kept is found all the same.
    assert place.run(place.other.release_as_read(MODEL, first, read)) == first
    both = place.run(place.other.release_as_read(MODEL, second, read._replace(n_released=1)))
    assert both == second
    nobody = ModelName("d", "of which nothing is known")
    assert place.run(place.store.release_as_read(nobody, first, Read(0, 0))) == first


def test_the_first_release_of_a_request_stays(place: Place) -> None:
    version = stored(place, one())
    place.run(place.other.read(MODEL))
    first, second = (request(name) for name in ("f" * 32, "a" * 32))
    assert place.run(place.store.release(MODEL, first)) == first
    assert place.run(place.other.release(MODEL, second)) == second
    other = first.model_copy(update={"model_version": "another"})
    for store in (place.store, place.other):
        assert place.run(store.release(MODEL, other)) == first
        kept = place.run(store.read(MODEL))
        assert list(kept.released) == [first, second]
        assert kept.version == version
    what = Forgotten({}, [], [], 0, [first.request_id])
    assert place.run(place.other.forget(MODEL, version, what))
    assert list(place.run(place.store.read(MODEL)).released) == [second]


def test_everything_that_people_say_is_kept(place: Place) -> None:
    said: list[Noted] = [
        WORD,
        Approval(7, "r" * 32, "a" * 32, "ana", "seen", 3, ("e" * 32, "f" * 32)),
        Opening(6, "a" * 32, "ana", 3, (("e" * 32, 2),)),
        RollbackApproval(8, "b" * 32, "ana", "seen"),
        RollbackOpening(9, "b" * 32, "ana"),
        Beginning(3, "v 8", 2**52, "a:b"),
    ]
    assert place.run(place.store.write(MODEL, 0, [one()], said))
    for store in (place.store, place.other):
        assert list(place.run(store.read(MODEL)).said) == said


def test_a_silence_and_an_anomaly_have_a_partition(place: Place) -> None:
    records = evidence(silence(partition=5), anomalies()[0])
    partitions = [InputPartition("driftsentry", each.partition) for each in records]
    assert partitions[0].partition == 5
    stored(place, *records)
    place.run(place.store.raise_watermarks({partitions[0]: 9, partitions[1]: 8}))
    assert place.run(place.other.watermark(MODEL)) == 8


def test_a_store_is_named_once(place: Place) -> None:
    first, second = new_name(), new_name()
    assert place.run(place.store.start(first)) == first
    assert place.run(place.other.start(second)) == first
    assert place.run(place.other.epoch()) == first
    stored(place, one())
    assert place.run(place.other.models()) == [MODEL]


def test_whoever_was_at_work_sees_that_the_store_was_lost(place: Place) -> None:
    name = new_name()
    place.run(place.store.start(name))
    version = stored(place, one())
    place.lose()
    store = place.store
    for work in (
        store.read(MODEL),
        store.write(MODEL, version, [one(2)], []),
        store.begin(MODEL, version, ["k"], "a"),
        store.settle(MODEL, {}, "a"),
        store.forget(MODEL, version, Forgotten({}, [], [], 0)),
        store.models(),
        store.raise_watermarks({InputPartition("driftsentry", 2): 1}),
        store.watermark(MODEL),
    ):
        with pytest.raises(StoreLostError):
            place.run(work)
    assert place.run(store.epoch()) is None
    # Somebody else makes it anew: that is not what was lost either.
    place.run(place.other.start(new_name()))
    with pytest.raises(StoreLostError):
        place.run(store.read(MODEL))
    place.run(store.start(name))
    assert not place.run(store.read(MODEL)).evidence


def test_wiped_is_as_new_and_the_others_see_it(place: Place) -> None:
    place.run(place.store.start(new_name()))
    place.run(place.other.start(new_name()))
    (odd,) = evidence(alert(3, deployment=ODD.deployment, model_id=ODD.model_id))
    version = stored(place, odd, model=ODD)
    place.run(place.store.begin(ODD, version, ["k"], "a"))
    version = stored(place, one())
    place.run(place.store.raise_watermarks({InputPartition("driftsentry", 2): 1}))
    name = new_name()
    place.run(place.other.wipe(name))
    assert place.run(place.other.epoch()) == name
    assert place.run(place.other.models()) == []
    assert place.run(place.other.read(MODEL)) == Kept()
    assert place.run(place.other.read(ODD)) == Kept()
    with pytest.raises(StoreLostError):
        place.run(place.store.read(MODEL))
    assert place.run(place.store.start(new_name())) == name
    place.run(place.store.write(MODEL, 0, [one(2)], []))
    assert list(place.run(place.store.read(MODEL)).evidence) == [f"{2:032x}"]
    assert place.run(place.store.watermark(MODEL)) is None


def test_words_alone_are_forgotten_and_evidence_may_still_come(place: Place) -> None:
    version = stored(place, one())
    word = WORD._replace(said_ms=START_MS)
    assert place.run(place.store.write(MODEL, version, [], [word]))
    assert place.run(place.other.forget(MODEL, version + 1, Forgotten({}, [], [word], None)))
    kept = place.run(place.store.read(MODEL))
    assert (list(kept.said), kept.forgotten_ms, len(kept.evidence)) == ([], None, 1)


def test_the_furthest_watermark_is_of_the_deployment(place: Place) -> None:
    assert place.run(place.store.furthest("a")) is None
    raised = {
        InputPartition("a", 0): START_MS,
        InputPartition("a", 12): START_MS + 5,
        InputPartition("ab", 1): START_MS + 9,
        InputPartition("a:b", 1): START_MS + 9,
    }
    place.run(place.store.raise_watermarks(raised))
    assert place.run(place.other.furthest("a")) == START_MS + 5
    assert place.run(place.other.furthest("b")) is None
