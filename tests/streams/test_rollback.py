"""A new version against the last one: what is said of it, and when a rollback is asked for."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Record
from schemas.retraining import RetrainingData
from schemas.rollback import FollowUpData, RollbackData
from streams.incident_evidence import Evidence
from streams.incident_reasons import Noted, Overruling, RollbackApproval, RollbackOpening
from streams.responder_memory import MemoryIncidentStore
from streams.responder_ports import FoldPlace, InputPartition
from tests.streams.incident_kit import evidence
from tests.streams.rollback_kit import CONFIG, LINEAGE, MODEL, Place, every, run, served
from tests.streams.test_retraining_gate import attack
from tests.streams.window_kit import MemoryEvents, labelled, predicted, record, request, window

ACT = CONFIG.model_copy(update={"policy": "act"})
GOOD, BAD = every(10), every(3)


def switch(is_wrong: Callable[[int], bool] = BAD, at: int = 1_000, **more: Any) -> list[Record]:
    """Version 8 takes over from 7, which is wrong one time in ten."""
    return [*served(0, at // 2, "7", GOOD), *served(at, 500, "8", is_wrong, **more)]


def settled(records: list[Record], config: Any = CONFIG, *offsets: int) -> Place:
    place = Place(records, config)
    place.settle(*(offsets or (2_000,)))
    return place


def held_for(request: RollbackData) -> list[str]:
    assert (request.status == "held") == bool(request.holds)
    return [each.reason for each in request.holds]


def test_a_version_that_is_worse_is_held_for_a_person() -> None:
    place = settled(switch())
    (followup,), (request) = place.followups(), place.requests()[0]
    assert (followup.status, followup.verdict) == ("told", "worse")
    assert (followup.model_version, followup.last_version) == ("8", "7")
    assert followup.retraining_id is None
    assert (request.status, held_for(request)) == ("held", ["approval_needed"])
    assert (request.from_version, request.to_version) == ("8", "7")
    assert request.comparison == followup.comparison
    comparison = request.comparison
    assert (comparison.basis, comparison.loss) == ("before", "error_rate")
    # All events, plan=a, plan=b.
    assert comparison.n_compared == 3
    whole = comparison.groups[0]
    assert whole.group is None
    assert (whole.n_old, whole.n_new) == (200, 200)
    assert whole.old == pytest.approx(0.1)
    assert whole.new == pytest.approx(1 / 3, abs=0.01)
    assert 0 < whole.low < whole.difference < whole.high
    assert comparison.old_window.parts[0].ranges[0].last_offset == 999
    assert comparison.new_window.parts[0].ranges[0].first_offset == 1_000
    assert "against the last window of the old version, which had stopped" in request.message


@pytest.mark.parametrize(
    ("is_wrong", "verdict"),
    [(GOOD, "alike"), (lambda i: i % 10 == 2, "alike"), (lambda _: False, "better")],
)
def test_one_that_is_not_surely_worse_is_left_alone(
    is_wrong: Callable[[int], bool], verdict: str
) -> None:
    place = settled(switch(is_wrong))
    assert [each.verdict for each in place.followups()] == [verdict]
    assert place.requests() == []


def test_worse_in_one_group_alone_is_worse() -> None:
    """Both are wrong one time in ten; version 7 in plan a alone, version 8 in plan b."""
    place = settled(switch(lambda i: i % 10 == 1))
    (followup,) = place.followups()
    assert followup.comparison is not None
    verdicts = {each.group: each.verdict for each in followup.comparison.groups}
    assert verdicts == {None: "alike", "plan=b": "worse", "plan=a": "better"}
    assert [each.group for each in followup.comparison.groups] == [None, "plan=b", "plan=a"]
    assert followup.verdict == "worse"
    assert "with plan=b 0.2 against 0" in followup.message
    assert [each.status for each in place.requests()] == ["held"]


@pytest.mark.parametrize("label", [1e60, 1e100, -1.7e308])
def test_a_label_of_any_size_leaves_a_record_that_can_be_read(label: float) -> None:
    # One label of 1e100 made an interval that was no number: what was kept could not be read.
    records = []
    for i in range(2_000):
        version = "7" if i < 1_000 else "8"
        records += [
            record(2 * i, predicted(i, 1.7e308 if i == 1_050 else 10.0, model_version=version)),
            record(2 * i + 1, labelled(i, label if i == 1_050 else 10.5)),
        ]
    place = settled(records, CONFIG, 4_000)
    (found,) = [FollowUpData.model_validate_json(each) for each in place.told("followup")]
    assert found.status == "told"
    assert found.comparison is not None
    assert found.comparison.groups[0].new == pytest.approx(5e57, rel=1e-6)


def test_a_least_loss_must_be_passed_by_the_whole_interval() -> None:
    config = CONFIG.model_copy(update={"least_loss": 0.3})
    assert settled(switch(), config).followups()[0].verdict == "alike"
    assert settled(switch(every(1)), config).followups()[0].verdict == "worse"


def test_where_both_run_both_are_judged_by_the_same_offsets() -> None:
    """Before the switch version 7 was never wrong: that is not what counts."""
    both = served(1_000, 800, lambda i: "78"[i // 4 % 2], lambda i: i // 4 % 2 == 1 or i % 2 == 0)
    place = settled([*served(0, 500, "7"), *both], CONFIG, 2_600)
    (request,) = place.requests()
    assert request.comparison.basis == "together"
    assert request.comparison.old_window.parts == request.comparison.new_window.parts
    assert request.comparison.groups[0].old == pytest.approx(0.5)
    assert "of the time in which both ran" in request.message


def test_without_labels_nothing_is_asked_for_and_that_is_said() -> None:
    place = settled(switch(is_labelled=lambda _: False), CONFIG, 10_000)
    (followup,) = place.followups()
    assert (followup.status, followup.verdict) == ("told", "not_known")
    assert "0 labels of it and 400 of the last one are known" in followup.message
    assert place.requests() == []


def test_windows_grow_until_there_are_labels_and_the_first_that_do_decide() -> None:
    place = Place(switch(is_labelled=every(3)))
    place.settle(1_399)
    (followup,) = place.followups()
    assert (followup.status, followup.verdict) == ("following", "not_known")
    assert "400 offsets from its first event are not settled yet" in followup.message
    place.settle(1_400)
    (followup,) = place.followups()
    assert "67 labels of it and 200 of the last one" in followup.message
    assert "800 offsets from its first event are not settled yet" in followup.message
    place.settle(1_800)
    (followup,) = place.followups()
    assert (followup.status, followup.comparison is not None) == ("told", True)
    n_readings = place.windows.n_readings
    place.settle(2_000)
    assert place.windows.n_readings == n_readings, "what is told is not counted again"


def test_the_first_version_of_a_model_comes_after_none() -> None:
    place = settled(served(0, 1_000, "7", BAD))
    assert (place.followups(), place.requests()) == ([], [])


def test_the_last_version_is_the_one_that_was_used_most_before() -> None:
    records = [
        *served(0, 300, "6", GOOD),
        *served(600, 40, "7", GOOD),
        *served(680, 500, "8", BAD),
    ]
    last = {each.model_version: each.last_version for each in settled(records).followups()}
    assert last == {"7": "6", "8": "6"}


def test_observe_only_tells() -> None:
    place = settled(switch(), CONFIG.model_copy(update={"policy": "observe"}))
    assert [each.verdict for each in place.followups()] == ["worse"]
    assert place.requests() == []


def test_act_releases_at_once_and_it_never_changes() -> None:
    place = settled(switch(), ACT)
    (released,) = place.requests()
    assert (released.status, released.approved_by) == ("released", None)
    for each in evidence(attack((1_100, 1_200))):
        run(place.desk.take(each))
    place.settle(10_000)
    assert place.requests() == [released]
    assert sum(each.key.startswith("rollback/") for each in place.topic.records) == 1


def hear(place: Place, *words: Noted) -> None:
    for each in words:
        run(place.desk.hear(MODEL, each))


@pytest.mark.parametrize(("looked", "was_opened"), [(3, True), (9, False), (None, False)])
def test_a_person_approves_and_it_is_said_whether_they_had_looked(
    looked: int | None, was_opened: bool
) -> None:
    place = settled(switch())
    name = place.requests()[0].request_id
    if looked is not None:
        hear(place, RollbackOpening(looked, name, "ana"))
    hear(place, RollbackOpening(1, name, "ben"), RollbackApproval(5, name, "ana", "it is bad"))
    (request,) = place.requests()
    assert (request.status, request.approved_by) == ("released", "ana")
    assert (request.approval_note, request.was_evidence_opened) == ("it is bad", was_opened)


ANEW = "0" * 32
"""The fold of a topic that was made anew."""


def test_a_topic_made_anew_settles_no_follow_up() -> None:
    place = Place(switch())
    place.settle(1_300)
    before = place.topic.compacted()
    run(place.store.raise_settled({FoldPlace(0, ANEW): 10**6, FoldPlace(1, LINEAGE): 10**6}))
    run(place.desk.sweep())
    (followup,) = place.followups()
    assert (followup.status, followup.model_version) == ("following", "8")
    assert place.topic.compacted() == before


def made_anew(place: Place, *records: Record) -> Place:
    return Place(records, place.config, store=place.store, topic=place.topic, name="b")


def test_what_began_on_a_topic_that_is_gone_is_followed_no_more() -> None:
    """Its offsets are settled, and hold other events: of version 9, that comes after 8 there."""
    place = Place(switch())
    place.settle(1_399)
    run(place.store.raise_settled({FoldPlace(0, LINEAGE): 10**6}))
    anew = made_anew(place, *served(0, 300, "8", GOOD), *served(600, 500, "9", BAD))
    anew.settle(1_100, lineage=ANEW)
    assert [
        (each.model_version, each.last_version, each.status, each.verdict)
        for each in anew.followups()
    ] == [("9", "8", "told", "worse")]


@pytest.mark.parametrize(
    ("versions", "status"), [("8", "held"), ("7", "held"), ("78", "held"), ("89", "withdrawn")]
)
def test_a_version_that_begins_on_a_topic_made_anew_is_a_later_one(
    versions: str, status: str
) -> None:
    """But for the one that was there first, of which nobody knows where it began."""
    place = settled(switch())
    records: list[Record] = []
    for version in versions:
        records += served(len(records), 100, version, GOOD)
    anew = made_anew(place, *records)
    anew.settle(450, lineage=ANEW)
    assert [each.status for each in anew.requests() if each.from_version == "8"] == [status]


def in_partition_0(record: bytes) -> bytes:
    return record.replace(b'"partition":2', b'"partition":0')


def test_once_a_later_version_has_begun_nobody_need_go_back() -> None:
    records = [*switch(), *served(2_000, 500, "9", GOOD)]
    place = Place(records)
    place.settle(2_000)
    assert [each.status for each in place.requests()] == ["held"]
    place.settle(3_000)
    assert [each.status for each in place.requests()] == ["withdrawn"]
    acting = Place(records, ACT)
    acting.settle(3_000)
    assert [each.status for each in acting.requests()] == ["released"], "it began behind"
    at_once = [*served(0, 500, "7", GOOD), *served(1_000, 150, "8", BAD), *served(1_300, 500, "9")]
    assert [each.status for each in settled(at_once, ACT).requests()] == ["withdrawn"]


def test_it_is_said_after_which_retraining_a_version_came() -> None:
    place = Place(switch(GOOD))
    before = request(window((0, 100, 600)), request_id="a" * 32)
    later = request(window((0, 700, 999)), request_id="b" * 32)
    others = [
        request(window((0, 700, 1_000)), request_id="c" * 32),
        request(window((1, 0, 10)), request_id="d" * 32),
    ]
    for each in (before, later, *others):
        run(place.store.release(MODEL, each))
    place.settle(2_000)
    (followup,) = place.followups()
    assert followup.retraining_id == "b" * 32
    assert followup.message.endswith(f"It came after retraining {'b' * 32}.")


def test_labels_that_depend_on_predictions_are_warned_of() -> None:
    place = settled(switch(is_labelled=lambda i: (i // 4) % 2 == 1))
    (followup,), (request,) = place.followups(), place.requests()
    assert [(each.kind, each.region) for each in followup.warnings] == [
        ("selective_labels", "class=1")
    ]
    assert request.warnings == followup.warnings
    assert "Beware: 100% of the predictions with class=1 have labels" in followup.message


def test_shards_are_compared_together() -> None:
    records = [*switch(), *(each._replace(tp=each.tp._replace(partition=1)) for each in switch())]
    place = settled(records, CONFIG, 2_000, 2_000)
    (request,) = place.requests()
    assert [each.partition for each in request.comparison.new_window.parts] == [0, 1]
    assert request.comparison.groups[0].n_new == 400


def test_what_was_told_stays_when_its_events_are_gone() -> None:
    place = settled(switch())
    before = place.topic.compacted()
    place.events = MemoryEvents([], low=50_000, high=100_000)
    anew = Place([], store=place.store, topic=place.topic, name="b")
    anew.settle(3_000)
    assert place.topic.compacted() == before


def test_of_versions_that_began_long_ago_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.rollback_desk.MAX_VERSIONS", 2)
    monkeypatch.setattr("streams.rollback_desk.MAX_BEGINNINGS", 3)
    records: list[Record] = []
    for number in range(6):
        records += served(1_000 * number, 500, str(number), BAD if number % 2 else GOOD)
    place = Place(records, ACT)
    hear(
        place, Overruling(1, "f" * 32, "data_fault", "ana", "of an incident that nobody knows", ())
    )
    for offset in range(1_000, 7_000, 1_000):
        place.settle(offset)
    run(place.store.raise_watermarks({InputPartition("driftsentry", 0): 2**45}))
    everything = place.topic.compacted()
    assert sum(key.startswith("rollback/") for key in everything) == 3
    place.settle(6_000)
    place.settle(6_000)
    kept = run(place.store.read(MODEL))
    assert [type(each).__name__ for each in kept.said] == ["Beginning"] * 3
    assert kept.forgotten_ms is None, "no evidence comes too late for that"
    assert sorted(
        each.from_version for each in kept.released if isinstance(each, RollbackData)
    ) == ["5"]
    assert place.topic.compacted() == everything, "what was told stays on its topic"


_words = st.lists(st.sampled_from(["approve", "open", "attack", "attack over"]), max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(100, 400), st.sampled_from("789"), st.integers(2, 10)),
        min_size=2,
        max_size=4,
    ),
    _words,
    st.sampled_from(["ask", "act"]),
    st.integers(0, 2**32),
)
def test_the_same_is_told_in_every_order(
    switches: list[tuple[int, str, int]], words: list[str], policy: str, seed: int
) -> None:
    """Of random versions, with what people say and what is found, by two responders in any order.

    All of it is known before the windows are settled: that is what settling means.
    """
    records: list[Record] = []
    for n, version, wrong in switches:
        records += served(len(records), n, version, every(wrong))
    config = CONFIG.model_copy(update={"policy": policy, "window_offsets": 200})
    plain = Place(records, config)
    plain.settle(len(records))
    names = [each.request_id for each in plain.requests()] or ["a" * 32]
    chance = random.Random(seed)
    found = evidence(
        *(
            in_partition_0(attack((150, 320), is_over=each == "attack over"))
            for each in words
            if each.startswith("attack")
        )
    )
    said: list[Noted] = [
        RollbackApproval(place, chance.choice(names), "ana", "so")
        if each == "approve"
        else RollbackOpening(place, chance.choice(names), "ana")
        for place, each in enumerate(words)
        if each in ("approve", "open")
    ]

    def told(order: int) -> dict[str, bytes]:
        store = MemoryIncidentStore()
        one = Place(records, config, store=store)
        two = Place(records, config, store=store, topic=one.topic, name="b")
        here = random.Random(order)
        acts: list[Evidence | Noted] = [
            each for each in [*found, *said] for _ in range(here.randrange(1, 3))
        ]
        here.shuffle(acts)
        for act in acts:
            place = here.choice([one, two])
            if isinstance(act, Evidence):
                run(place.desk.take(act))
            else:
                hear(place, act)
        at = 0
        while at < len(records):
            at = min(len(records), at + here.randrange(50, 400))
            here.choice([one, two]).settle(at)
        one.settle(len(records))
        two.settle(len(records))
        return one.topic.compacted()

    assert told(seed) == told(seed + 1)


def test_a_request_for_a_retraining_and_one_to_go_back_are_kept_apart() -> None:
    place = settled(switch(), ACT)
    kept = run(place.store.read(MODEL))
    assert [type(each).__name__ for each in kept.released] == ["FollowUpData", "RollbackData"]
    assert not any(isinstance(each, RetrainingData) for each in kept.released)
