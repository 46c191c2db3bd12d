"""What a rebuild takes from the topics leaves them as the evidence that is retained says."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.incident_desk import as_bytes
from streams.incident_evidence import merged
from streams.incidents import incidents_of
from streams.responder_memory import MemoryIncidentStore, MemoryOutlet
from streams.responder_ports import FoldPlace, ModelName
from streams.responder_rebuild import (
    Read,
    fill,
    take_followup,
    take_incident,
    take_request,
    take_rollback,
)
from tests.streams.incident_kit import alert, evidence
from tests.streams.rollback_kit import CONFIG as VERSIONS
from tests.streams.rollback_kit import Place
from tests.streams.rollback_kit import run as finish
from tests.streams.test_incident_desk import CONFIG, MODEL, desk_at, desk_of, run, take
from tests.streams.test_retraining_gate import LINEAGE, worse
from tests.streams.test_rollback import switch
from tests.streams.window_kit import request, window

TAKE = {
    "incident": take_incident,
    "retraining": take_request,
    "followup": take_followup,
    "rollback": take_rollback,
}
"""By kind. A follow-up comes before what rests on it, by name too."""


def rebuilt(topic: MemoryOutlet, *records: bytes) -> MemoryIncidentStore:
    """A new store from these records and what stands on the topic."""
    models: defaultdict[ModelName, Read] = defaultdict(Read)
    for each in evidence(*records):
        models[MODEL].take(each)
    for key, value in topic.compacted().items():
        kind, _, name = key.partition("/")
        TAKE[kind](models, name, value)
    store = MemoryIncidentStore()
    for model, read in models.items():
        run(fill(store, model, read, "rebuild"))
    return store


def test_what_stands_there_is_not_written_again() -> None:
    desk, store, topic = desk_of()
    records = [worse(), alert(2, 900)]
    take(desk, *records)
    run(store.raise_settled({FoldPlace(2, LINEAGE): 10**6}))
    run(desk.sweep())
    before = len(topic.records)
    anew = rebuilt(topic, *records)
    run(anew.raise_settled({FoldPlace(2, LINEAGE): 10**6}))
    run(desk_at(anew, topic, "b").sweep())
    assert len(topic.records) == before


def test_a_released_request_stays_as_it_is_without_its_evidence() -> None:
    desk, store, topic = desk_of()
    take(desk, worse())
    run(store.raise_settled({FoldPlace(2, LINEAGE): 10**6}))
    run(desk.sweep())
    before = topic.compacted()
    assert any(b'"released"' in value for value in before.values())
    for records in ([], [worse()], [worse(5, 5_000)]):
        anew = rebuilt(topic, *records)
        run(desk_at(anew, topic, "b").sweep())
        assert before.items() <= topic.compacted().items()


def test_an_incident_that_has_become_part_of_another_one_goes() -> None:
    desk, _, topic = desk_of()
    take(desk, alert(1, 0), alert(2, 120))
    assert len(topic.compacted()) == 2
    # What joins them was read by nobody: Redis was lost before.
    records = [alert(1, 0), alert(2, 120), alert(3, 60)]
    run(desk_at(rebuilt(topic, *records), topic, "b").sweep())
    (wanted,) = incidents_of(evidence(*records), [], None, CONFIG)
    assert topic.compacted() == {f"incident/{wanted.incident_id}": as_bytes(wanted)}


def test_an_incident_whose_evidence_is_not_retained_stays() -> None:
    desk, _, topic = desk_of()
    take(desk, alert(1, 0), alert(2, 500))
    before = topic.compacted()
    run(desk_at(rebuilt(topic, alert(2, 500)), topic, "b").sweep())
    assert topic.compacted() == before


def test_what_is_no_record_is_left_alone() -> None:
    topic = MemoryOutlet()
    run(topic.publish("incident/x", b"{}", ()))
    run(topic.publish("retraining/x", b"{}", ()))
    run(desk_at(rebuilt(topic, alert(1)), topic, "b").sweep())
    assert {"incident/x", "retraining/x"} <= set(topic.compacted())


_records = st.lists(
    st.tuples(st.integers(0, 6), st.integers(1, 3), st.integers(0, 400)), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(_records, _records)
def test_the_topic_ends_as_all_evidence_says(
    first: list[tuple[int, int, int]], more: list[tuple[int, int, int]]
) -> None:
    """The first ones were told of; then Redis was lost, and more had come by the rebuild."""

    def alerts(numbers: list[tuple[int, int, int]]) -> list[bytes]:
        return [alert(number, minute, revision=revision) for number, revision, minute in numbers]

    desk, _, topic = desk_of()
    take(desk, *alerts(first))
    records = alerts([*first, *more])
    run(desk_at(rebuilt(topic, *records), topic, "b").sweep())
    wanted = incidents_of(merged(evidence(*records)).values(), [], None, CONFIG)
    assert topic.compacted() == {
        f"incident/{each.incident_id}": as_bytes(each)
        for each in sorted(wanted, key=lambda one: one.incident_id)
    }


@pytest.mark.parametrize("policy", ["ask", "act"])
@pytest.mark.parametrize("is_gone", [False, True])
def test_follow_ups_and_what_follows_from_them_stay_as_they_are(policy: str, is_gone: bool) -> None:
    """Whether or not the topic still has the events that they were made of."""
    config = VERSIONS.model_copy(update={"policy": policy})
    place = Place(switch(), config)
    finish(place.store.release(MODEL, request(window((0, 700, 999)))))
    place.settle(2_000)
    before, n_records = place.topic.compacted(), len(place.topic.records)
    assert {key.partition("/")[0] for key in before} == {"followup", "rollback", "retraining"}
    anew = Place([] if is_gone else switch(), config, store=rebuilt(place.topic), topic=place.topic)
    run(anew.desk.sweep())
    anew.settle(3_000)
    assert place.topic.compacted() == before
    assert len(place.topic.records) == n_records


def test_a_follow_up_that_is_not_told_is_made_anew() -> None:
    place = Place(switch(), VERSIONS)
    place.settle(1_300)
    (before,) = place.followups()
    assert before.status == "following"
    anew = Place(switch(), VERSIONS, store=rebuilt(place.topic), topic=place.topic)
    anew.settle(2_000)
    (after,) = anew.followups()
    assert (after.status, after.followup_id) == ("told", before.followup_id)


def test_other_records_on_these_topics_are_left_as_they_are() -> None:
    models: defaultdict[ModelName, Read] = defaultdict(Read)
    take_followup(models, "x", b"{}")
    take_rollback(models, "x", b"\xff")
    assert not models
