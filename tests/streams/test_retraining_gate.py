"""When a retraining is asked for, and what holds it back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.incidents import Reason
from schemas.responder_config import IncidentConfig, RetrainingConfig
from schemas.retraining import RetrainingData
from streams.dismissals import dismissals_of
from streams.incident_evidence import POISONING, Evidence, merged
from streams.incident_reasons import Approval, Opening, Overruling, Said
from streams.incidents import cases_of
from streams.retraining_draft import Draft, ModelCase, draft_of, versions_of
from streams.retraining_gate import Released, WindowFacts, is_short, request_of
from tests.streams.incident_kit import (
    MINUTE_MS,
    START_MS,
    alert,
    anomalies,
    evidence,
    moved,
    shown,
)

INCIDENTS = IncidentConfig()
CONFIG = RetrainingConfig(window_offsets=1_000, min_labels=100)
ACT = CONFIG.model_copy(update={"quarantine": "act"})
LINEAGE = "a3d1f0c2b4e5968778695a4b3c2d1e0f"
OTHER_DUTY = "5e" * 16
WORSE = moved("error", before=0.1, change_offset=5_000, found_offset=5_200)
FACTS = WindowFacts(900, 800, 160, 0, START_MS, START_MS + 5 * MINUTE_MS)
CLOSED = START_MS + 10_000 * MINUTE_MS


def worse(number: int = 1, minute: float = 0, **given: Any) -> bytes:
    """An alert on errors from offset 5,000 on."""
    fields: dict[str, Any] = {
        "signals": [WORSE],
        "trigger_offset": 5_200,
        "opened_offset": 5_200,
        "change_offset": 5_000,
        "partition": 2,
        "lineage": LINEAGE,
    }
    return alert(number, minute, **{**fields, **given})


def attack(
    *ranges: tuple[int, int],
    number: int = 1,
    technique: str = "label_poisoning",
    is_over: bool = False,
    **quarantine: Any,
) -> bytes:
    """A finding on poisoned labels in these offsets, by one source that is named."""
    records = anomalies()
    fields = orjson.loads(records[-1] if is_over else records[0])
    fields["finding_info"]["uid"] = f"{number + 1_000:032x}"
    for name in ("start_time", "end_time", "time"):
        fields[name] = START_MS
    own = fields["unmapped"]
    # Another duty has folds of its own.
    own.update(technique=technique, opened_offset=ranges[0][0], partition=2, lineage=OTHER_DUTY)
    own["quarantine"].update(
        partition=2,
        ranges=[{"first_offset": first, "last_offset": last} for first, last in ranges],
        **quarantine,
    )
    return orjson.dumps(fields)


def drafts(
    *records: bytes,
    config: RetrainingConfig = CONFIG,
    said: list[Said] | None = None,
    n_doublings: int = 0,
    watermark_ms: int | None = None,
) -> list[Draft]:
    return drafts_of(evidence(*records), config, said or [], n_doublings, watermark_ms)


def drafts_of(
    told: Iterable[Evidence],
    config: RetrainingConfig,
    words: Sequence[Said] = (),
    n_doublings: int = 0,
    watermark_ms: int | None = None,
    incidents: IncidentConfig = INCIDENTS,
) -> list[Draft]:
    """The requests of all versions of all incidents."""
    known = list(merged(told).values())
    cases = cases_of(known, words, watermark_ms, incidents)
    overrulings = [each for each in words if isinstance(each, Overruling)]
    model = ModelCase(
        known,
        overrulings,
        [each for each in words if isinstance(each, Approval)],
        [each for each in words if isinstance(each, Opening)],
        dismissals_of(overrulings),
        "events",
        incidents,
        watermark_ms=watermark_ms,
    )
    found = [
        draft_of(group, each, version, model, config, n_doublings)
        for group, each in cases
        for version in versions_of(group)
    ]
    return [each for each in found if each is not None]


def only(
    *records: bytes,
    facts: WindowFacts | None = FACTS,
    released: list[Released] | None = None,
    config: RetrainingConfig = CONFIG,
    **given: Any,
) -> RetrainingData:
    (draft,) = drafts(*records, config=config, **given)
    return request_of(draft, facts, released or [], config)


def held_for(request: RetrainingData) -> list[str]:
    assert (request.status == "held") == bool(request.holds)
    return [each.reason for each in request.holds]


def ranges_of(request: RetrainingData) -> list[tuple[int, int]]:
    (part,) = request.window.parts
    return [(each.first_offset, each.last_offset) for each in part.ranges]


def test_harmful_drift_asks_for_a_retraining_on_events_since_it_began() -> None:
    request = only(worse())
    assert (request.status, request.reason) == ("released", "harmful_drift")
    assert ranges_of(request) == [(5_000, 5_999)]
    assert request.cooldown_until_ms == START_MS + 5 * MINUTE_MS + CONFIG.cooldown_ms
    assert "retrain it, on offsets 5000 to 5999 of partition 2 of events" in request.message


def test_benign_drift_asks_for_none_unless_the_config_or_a_person_says_so() -> None:
    benign = worse(signals=[moved("feature:age", change_offset=5_000)])
    assert drafts(benign) == []
    assert drafts(benign, config=CONFIG.model_copy(update={"reasons": ("benign_drift",)}))
    known = merged(evidence(benign))
    ((_, incident),) = cases_of(known.values(), [], None, INCIDENTS)
    word = Overruling(1, incident.incident_id, "harmful_drift", "ana", "", shown(benign))
    assert only(benign, said=[word]).reason == "harmful_drift"


def test_a_person_who_says_that_it_is_benign_ends_the_asking() -> None:
    (draft,) = drafts(worse())
    name = draft.incident.incident_id
    word = Overruling(1, name, "benign_drift", "ana", "", shown(worse()))
    assert drafts(worse(), said=[word]) == []


def test_it_is_held_until_the_window_is_settled() -> None:
    assert held_for(only(worse(), facts=None)) == ["window_not_settled"]


@pytest.mark.parametrize("technique", ["label_poisoning", "backdoor", "frog_boiling", "probing"])
def test_it_is_held_while_an_attack_is_suspected_in_the_window(technique: str) -> None:
    request = only(worse(), attack((5_100, 5_300), technique=technique))
    assert held_for(request) == ["attack_suspected"]
    assert "approve" in request.holds[0].detail


def test_the_duty_that_finds_attacks_has_a_lineage_of_its_own() -> None:
    """As in every deployment: with the lineage of the alerts asked for, no attack ever held."""
    found = orjson.loads(attack((5_100, 5_300)))
    found["unmapped"]["lineage"] = "b" * 32
    request = only(worse(), orjson.dumps(found))
    assert held_for(request) == ["attack_suspected"]
    assert request.reason == "suspected_poisoning"


@pytest.mark.parametrize(
    "ranges", [[(4_000, 4_999)], [(6_000, 6_100)], [(100, 200), (7_000, 8_000)]]
)
@pytest.mark.parametrize(("technique", "is_over"), [("label_poisoning", True), ("probing", False)])
def test_an_attack_outside_the_window_does_not_count(
    ranges: list[tuple[int, int]], technique: str, is_over: bool
) -> None:
    found = attack(*ranges, technique=technique, is_over=is_over)
    assert only(worse(), found).status == "released"


@pytest.mark.parametrize("technique", sorted(POISONING))
@pytest.mark.parametrize("ranges", [[(4_000, 4_999)], [(100, 200), (4_000, 5_400)]])
def test_poisoning_that_is_not_over_goes_on_to_the_windows_end(
    ranges: list[tuple[int, int]], technique: str
) -> None:
    # More of it is told only when there is twice as much.
    found = attack(*ranges, technique=technique)
    held = only(worse(), found)
    assert held_for(held) == ["attack_suspected"]
    released = only(worse(), found, config=ACT)
    assert released.status == "released"
    (part,) = released.quarantine
    last = part.ranges[-1]
    assert (last.first_offset, last.last_offset) == (4_000, 5_999)
    # What comes later of it does not change what is left out.
    later = attack(*ranges[:-1], (4_000, 9_000), (9_100, 9_200), technique=technique)
    assert only(worse(), later, config=ACT).quarantine == released.quarantine


def test_an_attack_in_another_partition_does_not_count() -> None:
    other = orjson.loads(attack((5_100, 5_300)))
    other["unmapped"]["partition"] = 3
    assert only(worse(), orjson.dumps(other)).status == "released"


def test_poisoning_that_begins_behind_the_window_does_not_count() -> None:
    assert only(worse(), attack((6_000, 6_100))).status == "released"


def test_an_attack_that_is_found_beyond_the_window_does_not_enter() -> None:
    late = orjson.loads(attack((5_100, 9_000)))
    late["unmapped"]["opened_offset"] = 6_001
    assert only(worse(), orjson.dumps(late)).status == "released"


def test_once_an_attack_is_over_the_window_begins_behind_it() -> None:
    request = only(worse(), attack((5_100, 5_300), is_over=True))
    assert request.status == "released"
    assert ranges_of(request) == [(5_301, 6_300)]
    assert request.quarantine == []


def test_the_window_moves_past_several_attacks() -> None:
    attacks = [
        attack((5_100, 5_300), number=1, is_over=True),
        attack((6_200, 6_250), number=2, is_over=True),
    ]
    assert ranges_of(only(worse(), *attacks)) == [(6_251, 7_250)]
    assert ranges_of(only(worse(), *reversed(attacks))) == [(6_251, 7_250)]


def once(*evidence_ids: str) -> tuple[tuple[str, int], ...]:
    """Evidence that was shown in its first revision."""
    return tuple((each, 1) for each in evidence_ids)


def approval_of(held: RetrainingData, place: int = 3) -> Approval:
    """Of all attacks that hold it."""
    attacks = tuple(one for hold in held.holds for one in hold.evidence_ids)
    return Approval(place, held.request_id, held.incident_id, "ana", "looked at", 3, attacks)


def test_a_person_approves_of_the_quarantine() -> None:
    poisoned = attack((5_100, 5_300))
    held = only(worse(), poisoned)
    word = approval_of(held)
    opened = Opening(2, held.incident_id, "ana", 3, once(*word.evidence_ids))
    request = only(worse(), poisoned, said=[word, opened])
    assert request.status == "released"
    assert ranges_of(request) == [(5_000, 5_999)]
    (part,) = request.quarantine
    assert [(each.first_offset, each.last_offset) for each in part.ranges] == [(5_100, 5_999)]
    assert len(part.sources) == 1
    assert (request.approved_by, request.was_evidence_opened) == ("ana", True)
    for other in (
        opened._replace(by="bo"),
        opened._replace(place=4),
        opened._replace(evidence=once(f"{1:032x}")),
    ):
        assert only(worse(), poisoned, said=[word, other]).was_evidence_opened is False


def test_an_approval_does_not_cover_an_attack_that_came_after_it() -> None:
    first, later = attack((5_100, 5_300)), attack((5_400, 5_500), number=2)
    word = approval_of(only(worse(), first))
    assert only(worse(), first, said=[word]).status == "released"
    again = only(worse(), first, later, said=[word])
    assert held_for(again) == ["attack_suspected"]
    (hold,) = again.holds
    assert "ana approved at revision 3 of the incident, without this" in hold.detail
    assert hold.evidence_ids == [f"{1_002:032x}"]
    assert [each.evidence_id for each in again.quarantine] == [f"{1_001:032x}"]
    more = approval_of(again, 5)
    opened = Opening(2, again.incident_id, "ana", 3, once(*word.evidence_ids))
    both = only(worse(), first, later, said=[more, word, opened])
    assert both.status == "released"
    assert len(both.quarantine) == 2
    assert both.was_evidence_opened is False, "the later one was not shown"
    seen = opened._replace(place=4, evidence=once(*more.evidence_ids))
    assert only(worse(), first, later, said=[more, word, opened, seen]).was_evidence_opened


def test_evidence_of_another_incident_counts_as_opened_where_it_was_shown_there() -> None:
    probing = attack((5_100, 5_300), technique="probing")
    known = merged(evidence(worse(), probing)).values()
    other = next(
        each for _, each in cases_of(known, [], None, INCIDENTS) if "probing" in each.verdict.reason
    )
    held = only(worse(), probing)
    assert held.incident_id != other.incident_id
    word = approval_of(held)
    own = Opening(1, held.incident_id, "ana", 1, once(f"{1:032x}"))
    assert only(worse(), probing, said=[word, own]).was_evidence_opened is False
    seen = Opening(2, other.incident_id, "ana", 1, once(*word.evidence_ids))
    assert only(worse(), probing, said=[word, own, seen]).was_evidence_opened is True


def test_an_approval_holds_when_the_incident_becomes_part_of_another() -> None:
    poisoned = attack((5_100, 5_300))
    word = approval_of(only(worse(), poisoned))
    before = worse(7, -10, signals=[moved("feature:age", change_offset=5_000, found_offset=5_050)])
    request = only(worse(), poisoned, before, said=[word])
    assert request.request_id != word.request_id
    assert (request.status, request.approved_by) == ("released", "ana")


def test_an_approval_of_another_request_covers_nothing() -> None:
    poisoned = attack((5_100, 5_300))
    word = approval_of(only(worse(), poisoned))._replace(request_id="0" * 32)
    assert held_for(only(worse(), poisoned, said=[word])) == ["attack_suspected"]


def test_the_config_may_let_a_small_quarantine_pass_where_all_sources_are_named() -> None:
    few, many = FACTS._replace(n_quarantined=100), FACTS._replace(n_quarantined=600)
    assert only(worse(), attack((5_100, 5_300)), config=ACT, facts=few).status == "released"
    assert held_for(only(worse(), attack((5_100, 5_300)), config=ACT, facts=many)) == [
        "attack_suspected"
    ]
    unnamed = attack((5_100, 5_300), is_complete=False)
    assert held_for(only(worse(), unnamed, config=ACT, facts=few)) == ["attack_suspected"]


def test_of_an_attack_whose_sources_are_not_all_named_the_ranges_are_left_out() -> None:
    unnamed = attack((5_100, 5_300), is_complete=False)
    request = only(worse(), unnamed, said=[approval_of(only(worse(), unnamed))])
    (part,) = request.quarantine
    assert part.sources == []
    # It holds as if it went on; to leave out all events behind it would leave none.
    assert [(each.first_offset, each.last_offset) for each in part.ranges] == [(5_100, 5_300)]
    assert held_for(only(worse(), attack((4_000, 4_900), is_complete=False), config=ACT)) == [
        "attack_suspected"
    ]
    assert request.quarantine[0].without_source


def test_an_attack_that_names_nobody_is_that_of_sources_which_are_named_beside_it() -> None:
    named = attack((5_050, 5_300))
    pool = attack((5_000, 5_200), number=2, is_complete=False)
    elsewhere = attack((4_000, 4_500), number=3, is_over=True, is_complete=False)
    request = only(worse(), named, pool)
    assert held_for(request) == ["attack_suspected"]
    assert "approve of its quarantine" in request.holds[0].detail
    acting = only(worse(), named, pool, config=ACT)
    assert "approve of its quarantine" in acting.holds[0].detail, "who lies is left out already"
    assert held_for(only(worse(), named, pool, config=ACT)) == ["attack_suspected"]
    approval = approval_of(request)
    (part,) = only(worse(), named, pool, elsewhere, said=[approval]).quarantine
    assert part.sources
    other = attack((5_000, 5_200), number=2, technique="probing", is_complete=False)
    approval = approval_of(only(worse(), named, other))
    assert len(only(worse(), named, other, said=[approval]).quarantine) == 2


def test_an_attack_that_a_person_dismissed_does_not_hold() -> None:
    probing = attack((5_100, 5_300), technique="probing")
    known = merged(evidence(worse(), probing)).values()
    names = [
        each.incident_id
        for _, each in cases_of(known, [], None, INCIDENTS)
        if each.verdict.reason == "suspected_probing"
    ]
    word = Overruling(1, names[0], "benign_drift", "ana", "a load test", shown(probing))
    assert only(worse(), probing, said=[word]).status == "released"


@pytest.mark.parametrize("config", [CONFIG, ACT])
def test_what_was_approved_of_stays_left_out_where_the_data_are_said_to_be_right(
    config: RetrainingConfig,
) -> None:
    """The world changes, and somebody lies in it: a person looks at both."""
    records = [worse(), broken(is_over=False, partition=2), attack((5_050, 5_300))]
    held = only(*records, config=config)
    assert held_for(held)[-1] == "data_fault_open"
    # As `driftsentry incident approve` names them: those that hold it, and those left out already.
    attacks = {
        one for hold in held.holds if hold.reason != "data_fault_open" for one in hold.evidence_ids
    }
    attacks |= {part.evidence_id for part in held.quarantine}
    approved = approval_of(held)._replace(evidence_ids=tuple(attacks))
    assert held_for(only(*records, said=[approved], config=config)) == ["data_fault_open"]
    name = held.incident_id
    right = Overruling(7, name, "harmful_drift", "ana", "new customers", shown(*records))
    request = only(*records, said=[approved, right], config=config)
    assert (request.status, request.reason) == ("released", "harmful_drift")
    assert [each.evidence_id for each in request.quarantine] == [f"{1_001:032x}"]
    alone = only(*records, said=[right], config=config)
    assert (alone.status, alone.quarantine) == ("released", []), "who only says so lets all in"


def broken(is_over: bool, **given: Any) -> bytes:
    signals = [moved("quality:range", change_offset=5_100, found_offset=5_150)]
    fields: dict[str, Any] = {"signals": signals, "trigger_offset": 5_150}
    if is_over:
        fields = {
            "signals": [{**signals[0], "standing": "returned"}],
            "trigger_offset": 5_400,
            "revision": 2,
            "status": "resolved",
            "resolution": "returned",
        }
    return worse(2, 1, **fields, **given)


def test_a_fault_of_the_data_holds_it_and_the_window_begins_behind() -> None:
    assert held_for(only(worse(), broken(is_over=False))) == ["data_fault_open"]
    assert ranges_of(only(worse(), broken(is_over=False), broken(is_over=True))) == [(5_401, 6_400)]


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("harmful_drift", "released"),
        ("benign_drift", None),
        ("data_fault", None),
        ("suspected_poisoning", None),
    ],
)
def test_data_of_which_a_person_says_that_they_are_right_hold_nothing(
    reason: Reason, status: str | None
) -> None:
    request = only(worse(), broken(is_over=False))
    seen = shown(worse(), broken(is_over=False))
    word = Overruling(1, request.incident_id, reason, "ana", "a new market", seen)
    said: list[Said] = [word]
    found = [
        request_of(each, FACTS, [], CONFIG).status
        for each in drafts(worse(), broken(is_over=False), said=said)
    ]
    # What a person says it is, is what follows: only of harmful drift anybody retrains here.
    assert found == ([] if status is None else [status])


def test_who_says_that_it_is_a_fault_dismisses_the_attack_alone() -> None:
    records = worse(), broken(is_over=False), attack((5_100, 5_300))
    known = merged(evidence(*records)).values()
    (name,) = [each.incident_id for _, each in cases_of(known, [], None, INCIDENTS)]

    def dismissed(*reasons: Reason) -> list[str]:
        words = [
            Overruling(place, name, reason, "ana", "", shown(*records))
            for place, reason in enumerate(reasons)
        ]
        found = dismissals_of(reversed(words))
        return sorted({each.kind for each in known if found.covers(each)})

    assert dismissed("data_fault") == ["anomaly"]
    assert dismissed("harmful_drift") == ["alert", "anomaly"]
    assert dismissed("harmful_drift", "suspected_probing") == []
    assert dismissed("suspected_probing", "harmful_drift") == ["alert", "anomaly"]
    assert dismissed() == []


def test_a_change_of_most_clients_data_is_a_fault_and_no_attack() -> None:
    request = only(worse(), attack((5_100, 5_300), technique="data_change"))
    assert held_for(request) == ["data_fault_open"]
    assert request.reason == "data_fault"
    over = attack((5_100, 5_300), technique="data_change", is_over=True)
    assert ranges_of(only(worse(), over)) == [(5_301, 6_300)]
    # More of it is told only when there is twice as much: it may have ended where it was closed.
    closed = orjson.loads(over)
    closed["unmapped"]["trigger_offset"] = 5_900
    assert ranges_of(only(worse(), orjson.dumps(closed))) == [(5_901, 6_900)]
    word = approval_of(request)
    held = only(worse(), attack((5_100, 5_300), technique="data_change"), said=[word])
    assert held_for(held) == ["data_fault_open"]
    assert held.quarantine == []


@pytest.mark.parametrize("fault", [attack((5_100, 5_300), technique="data_change"), broken(False)])
def test_where_a_person_says_that_the_world_changed_no_fault_holds(fault: bytes) -> None:
    request = only(worse(), fault)
    assert held_for(request) == ["data_fault_open"]
    assert "overrule" in request.holds[0].detail

    def word(reason: Reason) -> Overruling:
        seen = shown(worse(), fault)
        return Overruling(1, request.incident_id, reason, "ana", "other people came", seen)

    released = only(worse(), fault, said=[word("harmful_drift")])
    assert (released.status, ranges_of(released)) == ("released", [(5_000, 5_999)])
    asked = CONFIG.model_copy(update={"reasons": ("data_fault", "suspected_poisoning")})
    for reason in asked.reasons:
        still = only(worse(), fault, said=[word(reason)], config=asked)
        assert held_for(still) == ["data_fault_open"]


def test_too_few_labels_double_the_window() -> None:
    few = FACTS._replace(n_labels=300)
    assert held_for(only(worse(), facts=few)) == ["label_coverage"]
    assert is_short(few, CONFIG)
    assert not is_short(FACTS, CONFIG)
    assert ranges_of(only(worse(), n_doublings=2)) == [(5_000, 8_999)]
    none = WindowFacts(0, 0, None, 0, None, None)
    assert held_for(only(worse(), facts=none)) == ["too_few_labels"]


def test_one_request_in_a_cooldown() -> None:
    released = [Released("0" * 32, START_MS + 1)]
    assert held_for(only(worse(), released=released)) == ["cooldown"]
    assert only(worse(), released=[Released("0" * 32, START_MS)]).status == "released"


def test_a_cooldown_is_over_when_all_up_to_its_end_has_been_read() -> None:
    until_ms = START_MS + 24 * 60 * MINUTE_MS
    released = [Released("0" * 32, until_ms)]
    for read_ms, holds in ((None, ["cooldown"]), (until_ms - 1, ["cooldown"]), (until_ms, [])):
        assert held_for(only(worse(), released=released, watermark_ms=read_ms)) == holds


def test_drift_that_stays_is_not_over_however_long_the_window_takes() -> None:
    late = FACTS._replace(until_ms=START_MS + 30 * 24 * 60 * MINUTE_MS)
    assert only(worse(), facts=late).status == "released"


def test_what_comes_back_within_the_window_is_not_asked_for() -> None:
    over = worse(1, 1, revision=2, status="resolved", resolution="returned")
    late = FACTS._replace(until_ms=CLOSED)
    assert only(worse(), over, watermark_ms=CLOSED, facts=late).status == "withdrawn"
    assert only(worse(), over, watermark_ms=CLOSED).status == "released"


def test_shards_have_a_stretch_each_and_another_lineage_none() -> None:
    other = worse(
        2,
        1,
        partition=3,
        lineage="0" * 32,
        change_offset=70,
        signals=[moved("error", change_offset=70, found_offset=90)],
    )
    request = only(worse(), other)
    assert [each.partition for each in request.window.parts] == [2, 3]
    again = worse(
        2,
        1,
        lineage="0" * 32,
        change_offset=70,
        trigger_offset=90,
        signals=[moved("error", change_offset=70, found_offset=90)],
    )
    assert ranges_of(only(worse(), again)) == [(70, 1_069)]


_minutes = st.integers(0, 50)
_attacks = st.builds(
    lambda number, first, length, over: attack(
        (first, first + length), number=number, is_over=over
    ),
    st.integers(10, 13),
    st.integers(3_000, 9_000),
    st.integers(0, 500),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(_attacks, max_size=5), st.data())
def test_no_order_shows_and_nothing_suspected_is_trained_on(
    attacks: list[bytes], data: st.DataObject
) -> None:
    records = [worse(), *attacks]
    request = only(*records)
    assert only(*data.draw(st.permutations(records))) == request
    if request.status != "released":
        return
    ((first, last),) = ranges_of(request)
    for each in merged(evidence(*attacks)).values():
        assert each.anomaly is not None
        own = each.anomaly.unmapped
        for part in own.quarantine.ranges:
            ends_before = part.last_offset < first and each.has_ended
            is_apart = ends_before or part.first_offset > last
            assert is_apart or own.opened_offset > last


@settings(deadline=None)
@given(st.lists(_attacks, max_size=4), _attacks, st.data())
def test_evidence_beyond_the_window_changes_nothing(
    attacks: list[bytes], more: bytes, data: st.DataObject
) -> None:
    request = only(worse(), *attacks)
    ((_, last),) = ranges_of(request)
    fields = orjson.loads(more)
    fields["finding_info"]["uid"] = "f" * 32
    told = last + data.draw(st.integers(1, 1_000))
    fields["unmapped"].update(opened_offset=told, trigger_offset=told)
    assert only(worse(), *attacks, orjson.dumps(fields)) == request
