"""Incidents are a function of the set of evidence, and of nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import permutations
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.security.base import Technique
from schemas.incidents import IncidentData, Reason
from schemas.responder_config import IncidentConfig
from streams.incident_evidence import (
    Evidence,
    EvidenceError,
    from_alert,
    from_anomaly,
    from_liveness,
    merge,
    merged,
)
from streams.incident_groups import groups_of
from streams.incident_reasons import RULES, Noted, Opening, Overruling, Said
from streams.incidents import incidents_of
from tests.streams.incident_kit import (
    MINUTE_MS,
    START_MS,
    alert,
    anomalies,
    evidence,
    moved,
    shown,
    silence,
)

CONFIG = IncidentConfig()
HOUR = 60


def incidents(
    *records: bytes, said: list[Said] | None = None, watermark: float | None = None
) -> list[IncidentData]:
    watermark_ms = None if watermark is None else START_MS + int(watermark * MINUTE_MS)
    return incidents_of(merged(evidence(*records)).values(), said or [], watermark_ms, CONFIG)


def only(*records: bytes, **given: Any) -> IncidentData:
    (found,) = incidents(*records, **given)
    return found


# Records of the topics, as they may come: alerts of some revisions, silences, findings.
_signals = st.sampled_from(["feature:age", "missing:age", "error", "quality:range", "score"])


def _alert(
    number: int,
    minute: int,
    revision: int,
    began: int,
    signal: str,
    after: float | None,
    **is_: bool,
) -> bytes:
    opened = 1_000 * (number + 1)
    trigger = opened + 400 * revision if revision > 1 else opened
    places = {"change_offset": opened + began, "found_offset": trigger if is_["found"] else opened}
    return alert(
        number,
        minute + revision,
        revision=revision,
        status="resolved" if is_["over"] else "opened" if revision == 1 else "updated",
        change_offset=opened + min(began, 0),
        opened_offset=opened,
        trigger_offset=trigger,
        signals=[moved(signal, after=after, **places)],
    )


_alerts = st.builds(
    _alert,
    st.integers(0, 5),
    st.integers(0, 300),
    st.integers(1, 4),
    st.integers(-3_000, 900),
    _signals,
    st.none() | st.just(0.2),
    over=st.booleans(),
    found=st.booleans(),
)
_silences = st.builds(
    lambda minute, over: (
        silence(minute, kind="recovered", recovered_from="silence") if over else silence(minute)
    ),
    st.integers(0, 300),
    st.booleans(),
)
_PROBING = anomalies()
_POISONING = anomalies(technique=Technique.LABEL_POISONING, detector="label_poisoning")
_records = st.lists(
    st.one_of(_alerts, _silences, st.sampled_from(_PROBING), st.sampled_from(_POISONING)),
    max_size=14,
)


@settings(deadline=None)
@given(_records, st.data(), st.none() | st.integers(-100, 20_000))
def test_no_order_and_no_repetition_shows(
    records: list[bytes], data: st.DataObject, watermark: int | None
) -> None:
    again = data.draw(st.permutations(records))
    more = data.draw(st.lists(st.sampled_from(records), max_size=5)) if records else []
    assert incidents(*again, *more, watermark=watermark) == incidents(*records, watermark=watermark)


@settings(deadline=None)
@given(_records, st.data())
def test_what_was_kept_and_merged_in_parts_is_the_same(
    records: list[bytes], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(records)))
    kept = [Evidence.load(each.dump()) for each in merged(evidence(*records[:cut])).values()]
    rest = merged(evidence(*records[cut:])).values()
    found = incidents_of(merged([*rest, *kept]).values(), [], None, CONFIG)
    assert found == incidents(*records)


@settings(deadline=None)
@given(_records)
def test_merging_is_a_join(records: list[bytes]) -> None:
    found = evidence(*records)
    alike = [each for each in found if each.evidence_id == found[0].evidence_id] if found else []
    for one in alike:
        assert merge(one, one) == one
        for other in alike:
            assert merge(one, other) == merge(other, one)
            for third in alike:
                assert merge(merge(one, other), third) == merge(one, merge(other, third))


@settings(deadline=None)
@given(_records, st.integers(0, 20_000))
def test_a_closed_incident_is_one_that_nothing_earlier_can_open(
    records: list[bytes], watermark: int
) -> None:
    for found in incidents(*records, watermark=watermark):
        assert (found.status == "closed") == (found.closed_ms is not None)
        if found.closed_ms is not None:
            assert found.last_ms + CONFIG.quiet_ms <= found.closed_ms
            assert found.closed_ms <= START_MS + watermark * MINUTE_MS


@settings(deadline=None)
@given(_records)
def test_every_piece_of_evidence_is_in_one_group(records: list[bytes]) -> None:
    known = merged(evidence(*records))
    groups = list(groups_of(known.values(), CONFIG))
    assert sorted(each.evidence_id for group in groups for each in group.evidence) == sorted(known)
    told = {each.incident_id for each in incidents(*records)}
    assert told <= {group.incident_id for group in groups}


_times = st.none() | st.integers(0, 20_000)


@settings(deadline=None)
@given(_records, st.integers(0, 300), st.tuples(_times, _times))
def test_a_revision_grows_with_what_is_known(
    records: list[bytes], minute: int, watermarks: tuple[int | None, int | None]
) -> None:
    earlier, later = sorted(watermarks, key=lambda each: -1 if each is None else each)
    before = {each.incident_id: each for each in incidents(*records, watermark=earlier)}
    # Of one fold what is told later was found later.
    more = _alert(9, minute, 1, -5_000, "error", 0.2, over=False, found=True)
    after = incidents(*records, more, watermark=later)
    for each in after:
        known = before.get(each.incident_id, each)
        assert each == known or each.revision > known.revision


def test_a_closed_incident_that_is_open_again_has_a_higher_revision() -> None:
    records = [alert(1, 0), alert(1, 30, revision=2, status="resolved", resolution="returned")]
    closed, again = only(*records, watermark=90), only(*records, alert(2, 30), watermark=90)
    assert (closed.status, again.status) == ("closed", "updated")
    assert closed.incident_id == again.incident_id
    assert again.revision > closed.revision


def at(number: int, minute: int) -> bytes:
    """An alert that is found in this minute, a hundred offsets behind each one before it."""
    offset = 1_000 + 100 * minute
    places = {"change_offset": offset, "opened_offset": offset, "trigger_offset": offset}
    own = moved("feature:age", change_offset=offset, found_offset=offset)
    return alert(number, minute, signals=[own], **places)


def test_alerts_of_one_time_are_one_incident_and_those_of_a_later_one_another() -> None:
    found = incidents(at(1, 0), at(2, HOUR), at(3, 3 * HOUR))
    assert [each.n_evidence for each in found] == [2, 1]


def test_drift_that_stays_does_not_take_in_what_happens_a_month_later() -> None:
    month = 30 * 24 * HOUR
    returning = alert(
        1,
        month,
        revision=2,
        status="updated",
        opened_offset=1_000,
        trigger_offset=1_000 + 100 * month,
        signals=[moved("feature:age", standing="returning")],
    )
    found = incidents(at(1, 0), returning, at(2, month))
    assert [each.n_evidence for each in found] == [1, 1]


def test_late_evidence_joins_two_incidents_and_the_earlier_name_stays() -> None:
    first, second = incidents(at(1, 0), at(2, 2 * HOUR))
    (joined,) = incidents(at(1, 0), at(2, 2 * HOUR), at(3, HOUR))
    assert joined.incident_id == first.incident_id != second.incident_id


def test_models_and_attacks_by_queries_have_incidents_of_their_own() -> None:
    found = incidents(alert(1, event_time_ms=10_000), *anomalies())
    assert {each.verdict.reason for each in found} == {"benign_drift", "suspected_probing"}


def test_poisoning_belongs_to_the_drift_that_it_makes() -> None:
    drift = alert(1, event_time_ms=10_000, signals=[moved("error")])
    found = only(drift, *anomalies(technique=Technique.LABEL_POISONING))
    assert found.verdict.reason == "suspected_poisoning"
    assert found.verdict.also == ["harmful_drift"]
    assert found.causes[0].kind == "source"


@pytest.mark.parametrize(
    ("reason", "rule", "records"),
    [
        ("benign_drift", "nothing_says_harm", [alert(1)]),
        ("harmful_drift", "predictions_worse", [alert(1, signals=[moved("error")])]),
        ("harmful_drift", "predictions_worse", [alert(1, signals=[moved("error:region=west")])]),
        (
            "harmful_drift",
            "predictions_worse",
            [alert(1, signals=[moved("selection_ratio:sex", direction="fell", effect=-0.6)])],
        ),
        (
            "benign_drift",
            "nothing_says_harm",
            [alert(1, signals=[moved("selection_ratio:sex", direction="rose")])],
        ),
        (
            "benign_drift",
            "nothing_says_harm",
            [alert(1, signals=[moved("error", direction="fell", effect=-0.6)])],
        ),
        # It rose further, and came back a part of the way: it is above its reference.
        (
            "harmful_drift",
            "predictions_worse",
            [alert(1, signals=[moved("error", direction="fell", effect=0.8)])],
        ),
        (
            "benign_drift",
            "nothing_says_harm",
            [alert(1, signals=[moved("error", direction="rose", effect=-0.8)])],
        ),
        # Near the reference, and of shapes, whose effect is a distance, the direction counts.
        (
            "benign_drift",
            "nothing_says_harm",
            [alert(1, signals=[moved("error", direction="fell", effect=0.01)])],
        ),
        (
            "benign_drift",
            "nothing_says_harm",
            [alert(1, signals=[moved("expected_error", unit="shape", direction="fell")])],
        ),
        (
            "data_fault",
            "data_broke",
            [alert(1, signals=[moved("missing:x", direction="fell", effect=1.0)])],
        ),
        ("data_fault", "data_broke", [alert(1, signals=[moved("error"), moved("quality:range")])]),
        (
            "harmful_drift",
            "predictions_worse",
            [alert(1, signals=[moved("error"), moved("representativeness")])],
        ),
        ("benign_drift", "nothing_says_harm", [alert(1, signals=[moved("representativeness")])]),
        ("data_fault", "data_broke", [alert(1, signals=[moved("feature:x", part_factor=1000.0)])]),
        ("data_fault", "data_broke", [alert(1, signals=[moved("missing:x")])]),
        ("benign_drift", "nothing_says_harm", [alert(1, signals=[moved("missing:x", effect=0.1)])]),
        ("data_fault", "events_stay_away", [silence()]),
        ("deployment_change", "announced", [alert(1, planned="new model")]),
        ("benign_drift", "nothing_says_harm", [alert(1, planned="new model"), alert(2)]),
        ("deployment_change", "reference_does_not_fit", [alert(1, training_serving_skew=True)]),
    ],
)
def test_a_rule_decides_and_says_on_what(reason: Reason, rule: str, records: list[bytes]) -> None:
    found = only(*records)
    assert (found.verdict.reason, found.verdict.rule) == (reason, rule)
    assert set(found.verdict.evidence_ids) <= {each.evidence_id for each in found.evidence}
    assert found.verdict.evidence_ids


def test_every_reason_has_a_rule_and_rules_have_names_of_their_own() -> None:
    assert {rule.reason for rule in RULES} == set(get_args(Reason))
    assert len({rule.name for rule in RULES}) == len(RULES)


def overruling(place: int, incident_id: str, reason: Reason = "benign_drift") -> Overruling:
    return Overruling(place, incident_id, reason, "ana", "seen before", ((f"{1:032x}", 1),))


def test_a_person_overrules_and_the_last_word_counts() -> None:
    records = [alert(1, signals=[moved("error")])]
    name = only(*records).incident_id
    words = [overruling(7, name, "data_fault"), overruling(3, name)]
    for said in permutations(words):
        found = only(*records, said=list(said))
        assert (found.verdict.reason, found.verdict.rule) == ("data_fault", "overruled")
        assert (found.verdict.ruled, found.verdict.by) == ("harmful_drift", "ana")
        assert found.status == "updated"
        assert ", as ana says: seen before. The rules had said harmful drift: " in found.message
        assert "a data fault since" in found.message


def test_whether_the_evidence_was_opened_before_it_was_overruled() -> None:
    record = alert(1, signals=[moved("error")])
    name = only(record).incident_id
    word = overruling(7, name)
    assert only(record, said=[word]).verdict.was_evidence_opened is False
    seen = Opening(6, name, "ana", 1, ((f"{1:032x}", 1), (f"{2:032x}", 4)))
    for opened, is_seen in (
        (seen, True),
        (seen._replace(place=8), False),
        (seen._replace(by="bo"), False),
        (seen._replace(evidence=((f"{2:032x}", 4),)), False),
    ):
        assert only(record, said=[word, opened]).verdict.was_evidence_opened is is_seen


def test_who_had_opened_less_than_they_overruled_had_not_opened_it() -> None:
    record = alert(1, signals=[moved("error")], revision=3)
    name = only(record).incident_id
    word = overruling(7, name)._replace(evidence=((f"{1:032x}", 3),))
    seen = Opening(6, name, "ana", 1, ((f"{1:032x}", 2),))
    assert only(record, said=[word, seen]).verdict.was_evidence_opened is False
    again = seen._replace(place=5, evidence=((f"{1:032x}", 3),))
    assert only(record, said=[word, again, seen]).verdict.was_evidence_opened is True


def test_a_word_that_names_nothing_of_an_incident_says_nothing_of_it() -> None:
    record = alert(1, signals=[moved("error")])
    word = overruling(7, only(record).incident_id)._replace(evidence=(("f" * 32, 9),))
    assert only(record, said=[word]).verdict.rule == "predictions_worse"


def test_what_was_said_of_an_incident_holds_when_it_becomes_part_of_another() -> None:
    later = alert(2, 2 * HOUR)
    name = only(later).incident_id
    joined = only(alert(1, 0), later, alert(3, HOUR), said=[overruling(1, name)])
    assert joined.verdict.rule == "overruled"
    assert only(alert(9), said=[overruling(1, name)]).verdict.rule == "nothing_says_harm"


def test_it_closes_after_a_time_of_quiet_and_opens_again_on_late_evidence() -> None:
    over = alert(1, 30, revision=2, status="resolved", resolution="returned")
    records = [alert(1, 0), over]
    assert only(*records, watermark=89).status == "updated"
    closed = only(*records, watermark=90)
    assert closed.closed_ms == START_MS + 90 * MINUTE_MS
    assert closed.revision == only(*records).revision + 1
    assert only(*records).status == "updated"
    assert only(*records, alert(2, 60), watermark=1_000).status == "updated"


def test_evidence_that_does_not_end_is_forgotten() -> None:
    week = 7 * 24 * HOUR
    assert only(alert(1), watermark=week - 1).status == "opened"
    assert only(alert(1), watermark=week).status == "closed"


def test_a_recovery_ends_its_silence() -> None:
    over = silence(0, kind="recovered", recovered_from="silence", severity="low")
    found = only(silence(0), over, watermark=10_000)
    assert found.n_evidence == 1
    assert found.status == "closed"
    assert found.severity == "high"


_HUGE = [b"18446744073709551616", b"-9007199254740993"]
_NONE = [b"NaN", b"1e999"]


@pytest.mark.parametrize(
    ("field", "number"),
    [
        *((field, number) for field in (b"event_time_ms", b"trigger_offset") for number in _HUGE),
        *((field, number) for field in (b"effect", b"budget_share") for number in _NONE),
    ],
)
def test_a_number_that_no_store_takes_is_refused(field: bytes, number: bytes) -> None:
    """It was read, and could not be kept: so it came again, and stopped whoever read it."""
    record = re.sub(rb'"%s":[-\d.]+' % field, b'"%s":%s' % (field, number), alert(1))
    assert number in record
    with pytest.raises(EvidenceError, match="cannot be kept"):
        from_alert(record)


@pytest.mark.parametrize("number", _HUGE)
def test_a_finding_or_a_silence_of_such_a_number_is_refused(number: bytes) -> None:
    with pytest.raises(EvidenceError, match="cannot be kept"):
        from_liveness(re.sub(rb'"until_ms":\d+', b'"until_ms":' + number, silence()))
    with pytest.raises(EvidenceError, match="cannot be kept"):
        from_anomaly(re.sub(rb'"count":\d+', b'"count":' + number, anomalies()[0]))


@pytest.mark.parametrize(
    "change",
    [
        {"alert": None},
        {"silence": orjson.loads(silence())},
        {"revision": 0},
        {"last_ms": 2**70},
    ],
)
def test_stored_evidence_that_nobody_can_have_stored_is_refused(change: dict[str, Any]) -> None:
    (found,) = evidence(alert(1))
    stored = json.dumps({**orjson.loads(found.dump()), **change}).encode()
    with pytest.raises(EvidenceError):
        Evidence.load(stored)


@pytest.mark.parametrize("revision", [0, -1, 2**31 + 1])
def test_a_revision_that_nothing_has_is_refused(revision: int) -> None:
    with pytest.raises(EvidenceError, match="revision"):
        from_alert(alert(1, revision=revision))
    finding = orjson.loads(anomalies()[0])
    finding["unmapped"]["revision"] = revision
    with pytest.raises(EvidenceError, match="revision"):
        from_anomaly(orjson.dumps(finding))


def test_exposures_and_bounds_are_no_evidence() -> None:
    assert from_alert(alert(1, kind="bound", signal="bound:max_models")) is None
    exposure = anomalies(technique=Technique.EXTRACTION, detail="exposure")
    assert [from_anomaly(each) for each in exposure] == [None] * len(exposure)


@pytest.mark.parametrize("read", [from_alert, from_anomaly, from_liveness, Evidence.load])
@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"{}", b"null", b"\xff", b'{"kind": 1}'])
def test_what_is_no_record_is_refused(read: Any, value: bytes) -> None:
    with pytest.raises(EvidenceError, match=r"the record|stored evidence"):
        read(value)


def test_a_refusal_names_the_field() -> None:
    fields = orjson.loads(alert(1))
    del fields["signals"]
    with pytest.raises(EvidenceError, match="signals"):
        from_alert(orjson.dumps(fields))


def test_much_evidence_is_bounded_and_the_latest_is_there() -> None:
    found = only(*(alert(number, number / 10) for number in range(200)))
    assert (found.n_evidence, len(found.evidence), len(found.causes)) == (200, 64, 1)
    assert found.evidence[-1].evidence_id == f"{199:032x}"
    assert [each.evidence_id for each in found.evidence[:32]] == [f"{n:032x}" for n in range(32)]


def test_what_a_retraining_waits_for_is_named_among_much_evidence() -> None:
    broken = {"signals": [moved("quality:range")]}
    found = only(
        *(alert(number, number / 10, **(broken if number == 100 else {})) for number in range(200))
    )
    names = [each.evidence_id for each in found.evidence]
    assert len(names) == 64
    assert f"{100:032x}" in names
    assert names == sorted(names)


def test_all_that_a_retraining_waits_for_is_named_as_far_as_a_fold_keeps_it_open() -> None:
    broken = [alert(number, number / 10, signals=[moved("quality:range")]) for number in range(600)]
    found = only(*broken[:70])
    assert len(found.evidence) == 70
    found = only(*broken)
    assert (found.n_evidence, len(found.evidence)) == (600, 512)
    mixed = [*broken[:70], *(alert(number, number / 10) for number in range(70, 200))]
    found = only(*mixed)
    assert {f"{number:032x}" for number in range(70)} <= {e.evidence_id for e in found.evidence}
    assert len(found.evidence) == 70


def test_a_sentence_for_a_person() -> None:
    groups = [{"signal": "error:region=west", "of_errors": 0.61, "of_events": 0.33}]
    worse = moved("error", effect=0.3, worst_groups=groups)
    found = only(alert(1, signals=[worse, moved("feature:age", effect=-1.2, direction="fell")]))
    assert found.message == (
        "churn 7: harmful drift since 2026-11-23T10:00:00.000Z: predictions are worse, or no "
        "longer worth what they say: error. First: feature:age fell (-1.20 sd); error rose "
        "(+0.30 sd); region=west with 61% of the errors on 33% of the events. Consider "
        "retraining on events "
        "since it began."
    )


@pytest.mark.parametrize(
    ("unit", "said"), [("value", "score fell"), ("spread", "spread of score fell")]
)
def test_a_cause_says_what_of_a_signal_moved(unit: str, said: str) -> None:
    own = moved("score", unit=unit, direction="fell", effect=-0.07)
    (found,) = incidents_of(evidence(alert(1, signals=[own])), [], None, IncidentConfig())
    assert found.causes[0].detail == f"{said} (-0.07 sd)"
    assert f"First: {said} " in found.message


def test_a_cause_whose_size_is_rounded_says_so_as_its_alert_does() -> None:
    own = moved("feature:age", effect=3.0, before=None, after=None)
    found = only(alert(1, signals=[own, moved("score", effect=0.2)]))
    assert found.causes[0].detail == "feature:age rose (some +3 sd)"


LASTING = IncidentConfig(benign_after_ms=30 * MINUTE_MS)


def lasting(*records: bytes, minute: int | None, said: Sequence[Noted] = ()) -> list[IncidentData]:
    watermark_ms = None if minute is None else START_MS + minute * MINUTE_MS
    return incidents_of(merged(evidence(*records)).values(), said, watermark_ms, LASTING)


def back(number: int, minute: float) -> bytes:
    return alert(number, minute, revision=2, status="resolved", resolution="returned")


def test_benign_drift_is_an_incident_once_it_has_lasted() -> None:
    assert lasting(alert(1), minute=None) == []
    assert lasting(alert(1), minute=29) == []
    (found,) = lasting(alert(1), minute=30)
    assert found.verdict.reason == "benign_drift"
    # Where it has ended its own times count, however far everybody has read.
    assert lasting(alert(1), back(1, 29), minute=10_000) == []
    (found,) = lasting(alert(1), back(1, 30), minute=10_000)
    assert found.status == "closed"


@pytest.mark.parametrize("how", ["superseded", "forgotten"])
def test_drift_that_moved_on_has_not_come_back(how: str) -> None:
    ended = alert(1, 20, revision=2, status="resolved", resolution=how)
    assert lasting(alert(1), ended, minute=29) == []
    (found,) = lasting(alert(1), ended, minute=30)
    assert found.verdict.reason == "benign_drift"


def test_drift_that_moved_on_and_then_came_back_is_none() -> None:
    on = alert(1, 10, revision=2, status="resolved", resolution="superseded")
    assert lasting(alert(1), on, alert(2, 10), back(2, 20), minute=10_000) == []


def test_harm_faults_attacks_and_what_a_person_says_are_incidents_at_once() -> None:
    harm = alert(1, signals=[moved("error")])
    fault = alert(1, signals=[moved("quality:range")])
    for record in (harm, fault, anomalies()[0], silence()):
        assert len(lasting(record, minute=None)) == 1
    joined = lasting(alert(1), alert(2, 5, signals=[moved("error")]), minute=5)
    assert [each.verdict.reason for each in joined] == ["harmful_drift"]
    ((name, _),) = [(each.incident_id, each) for each in lasting(alert(1), minute=30)]
    word = Overruling(1, name, "benign_drift", "ana", "as every spring", shown(alert(1)))
    assert len(lasting(alert(1), minute=0, said=[word])) == 1


@settings(deadline=None)
@given(_records, st.integers(-100, 20_000), st.integers(0, 1_000))
def test_what_was_told_once_stays_while_more_is_read(
    records: list[bytes], watermark: int, more: int
) -> None:
    before = {each.incident_id for each in lasting(*records, minute=watermark)}
    after = {each.incident_id for each in lasting(*records, minute=watermark + more)}
    assert before <= after
    at_once = {each.incident_id for each in incidents(*records, watermark=watermark)}
    assert after <= at_once
