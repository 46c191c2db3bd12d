"""A change that begins where a version does is a change of deployment by itself."""

from __future__ import annotations

import pytest

from schemas.incidents import IncidentData
from streams.dismissals import dismissals_of
from streams.incident_evidence import merged
from streams.incident_reasons import NEAR_OFFSETS, Beginning, Noted, beginnings, going_on
from streams.incidents import cases_of, incidents_of
from streams.retraining_draft import ModelCase, draft_of
from tests.streams.incident_kit import alert, evidence, moved
from tests.streams.test_retraining_gate import CONFIG, INCIDENTS, LINEAGE, worse

SEVEN, EIGHT = Beginning(2, "7", 0, LINEAGE), Beginning(2, "8", 5_400, LINEAGE)


def incident(*records: bytes, begun: tuple[Beginning, ...] = (SEVEN, EIGHT)) -> IncidentData:
    known = merged(evidence(*records)).values()
    said: list[Noted] = list(begun)
    (found,) = incidents_of(known, said, None, INCIDENTS)
    return found


def test_errors_that_rise_where_a_version_begins_are_a_deployment_and_harmful_too() -> None:
    found = incident(worse())
    assert (found.verdict.rule, found.verdict.reason) == ("version_began", "deployment_change")
    assert found.verdict.also == ["harmful_drift"]
    assert found.verdict.because == "it began where a new version of the model did: 8"
    assert [(each.kind, each.name) for each in found.causes][:1] == [("version", "8")]
    assert "version 8 began at offset 5400" in found.message
    assert found.revision == incident(worse(), begun=()).revision + 2, "more is known of it"


@pytest.mark.parametrize(
    "begun",
    [
        (),
        (EIGHT,),
        (SEVEN, EIGHT._replace(partition=1)),
        (SEVEN._replace(lineage="b"), EIGHT._replace(lineage="b")),
        (SEVEN, EIGHT._replace(offset=5_001 + NEAR_OFFSETS)),
        (SEVEN, EIGHT._replace(offset=4_999 - NEAR_OFFSETS)),
    ],
    ids=["none", "the first one", "another partition", "another fold", "later", "earlier"],
)
def test_what_begins_elsewhere_explains_nothing(begun: tuple[Beginning, ...]) -> None:
    assert incident(worse(), begun=begun) == incident(worse(), begun=())


def test_every_alert_must_have_begun_there() -> None:
    other = worse(2, 1, signals=[moved("error", change_offset=9_000)], change_offset=9_000)
    assert incident(worse(), other).verdict.rule == "predictions_worse"
    inputs = alert(3, 1, change_offset=5_500, partition=2, signals=[])
    assert incident(worse(), inputs).verdict.rule == "version_began"


def test_broken_data_come_before_it() -> None:
    broken = worse(2, 1, signals=[moved("quality:range", change_offset=5_100)])
    found = incident(worse(), broken)
    assert found.verdict.reason == "data_fault"
    assert found.verdict.also == ["deployment_change", "harmful_drift"]


@pytest.mark.parametrize(
    ("look_every", "reason"), [(100, "deployment_change"), (4_000, "harmful_drift")]
)
def test_a_request_goes_by_what_was_known_at_its_window_s_end(look_every: int, reason: str) -> None:
    """Its window ends at 5,999: with looks at 8,000 only it is not known by then."""
    known = list(merged(evidence(worse())).values())
    ((group, found),) = cases_of(known, [SEVEN, EIGHT], None, INCIDENTS)
    begun = [SEVEN, EIGHT]
    case = ModelCase(known, [], [], [], dismissals_of([]), "events", INCIDENTS, begun, look_every)
    draft = draft_of(group, found, "7", case, CONFIG)
    assert draft is not None
    assert draft.verdict.reason == reason


def test_the_fold_that_was_met_last_goes_on() -> None:
    """In the order in which they were first met, whatever comes late of the former one."""
    anew = [EIGHT._replace(offset=30, lineage="0"), SEVEN._replace(offset=900, lineage="0")]
    other = Beginning(1, "7", 5, "a")
    late = Beginning(2, "9", 6_000, LINEAGE)
    begun = beginnings([EIGHT, other, *anew, late, SEVEN])
    assert begun == [other, SEVEN, EIGHT, late, *anew]
    assert going_on(begun) == [other, *anew]


def test_a_version_begins_where_it_was_seen_first() -> None:
    again = EIGHT._replace(offset=5_600)
    assert beginnings([again, EIGHT, SEVEN, again]) == [SEVEN, EIGHT]
