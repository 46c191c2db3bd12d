"""What a person dismissed, and what came later and is not covered by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from schemas.incidents import Reason
from streams.incident_evidence import MAX_EARLIER
from streams.incident_reasons import Overruling
from streams.retraining_draft import Draft
from tests.streams.incident_kit import moved, shown
from tests.streams.test_retraining_gate import attack, drafts, held_for, only, worse

BROKEN = moved("quality:range", change_offset=5_100, found_offset=5_150)
MISSING = moved("missing:age", effect=0.9, change_offset=5_200, found_offset=5_300)


def told(revision: int, *signals: dict[str, Any], **given: Any) -> bytes:
    """The alert on broken data, in this revision."""
    fields: dict[str, Any] = {"signals": list(signals), "trigger_offset": 5_100 + 50 * revision}
    return worse(2, revision, revision=revision, **{**fields, **given})


def probed(revision: int, *sources: str, **given: Any) -> bytes:
    """The anomaly on probing, in this revision."""
    fields = orjson.loads(attack((5_100, 5_200), technique="probing"))
    own = fields["unmapped"]
    own.update(revision=revision, n_sources=len(sources), trigger_offset=5_200 + revision)
    own["quarantine"].update(sources=list(sources), **given)
    return orjson.dumps(fields)


def word(reason: Reason, *records: bytes, place: int = 1) -> Overruling:
    """What ana says of these records, as they are."""
    (draft,) = drafts(worse(), *records)
    return Overruling(
        place, draft.incident.incident_id, reason, "ana", "", shown(worse(), *records)
    )


def held(*records: bytes, said: Sequence[Overruling]) -> list[str]:
    return held_for(only(worse(), *records, said=list(said)))


def test_a_fault_that_joins_its_alert_later_holds_again() -> None:
    seen = word("harmful_drift", told(1, BROKEN))
    assert held(told(1, BROKEN), said=[seen]) == []
    more = told(2, BROKEN, MISSING)
    assert held(told(1, BROKEN), more, said=[seen]) == ["data_fault_open"]
    again = word("harmful_drift", told(1, BROKEN), more, place=2)
    assert held(told(1, BROKEN), more, said=[again, seen]) == []


def test_more_of_what_was_seen_is_covered() -> None:
    seen = word("harmful_drift", told(1, BROKEN))
    drifted = moved("feature:age", change_offset=5_100, found_offset=5_200)
    assert held(told(1, BROKEN), told(2, BROKEN, drifted), said=[seen]) == []


def test_a_fault_that_was_over_and_comes_back_was_not_seen() -> None:
    back = told(2, {**BROKEN, "standing": "returned"}, MISSING)
    seen = word("harmful_drift", told(1, BROKEN, MISSING), back)
    records = [told(1, BROKEN, MISSING), back, told(3, BROKEN, MISSING)]
    assert held(*records, said=[seen]) == ["data_fault_open"]


def test_a_fault_of_another_feature_under_the_same_signal_was_not_seen() -> None:
    of_age = {**BROKEN, "named_feature": "age"}
    seen = word("harmful_drift", told(1, of_age))
    assert held(told(1, of_age), told(2, of_age), said=[seen]) == []
    other = told(2, {**BROKEN, "named_feature": "income"})
    assert held(told(1, of_age), other, said=[seen]) == ["data_fault_open"]
    unnamed = told(2, of_age, n_faults_unnamed=3)
    assert held(told(1, of_age), unnamed, said=[seen]) == ["data_fault_open"]


def test_other_evidence_that_joins_the_incident_holds_it() -> None:
    seen = word("harmful_drift", told(1, BROKEN))
    liars = attack((5_200, 5_300))
    assert held(told(1, BROKEN), liars, said=[seen]) == ["attack_suspected"]
    other = worse(9, 2, signals=[BROKEN])
    assert held(told(1, BROKEN), other, said=[seen]) == ["data_fault_open"]


@pytest.mark.parametrize(
    ("more", "holds"),
    [
        (probed(2, "a" * 32), False),
        (probed(2, "a" * 32, "b" * 32), True),
        (probed(2, "b" * 32), True),
        (probed(2, "a" * 32, is_complete=False), True),
        (probed(2, "a" * 32, without_source=True), True),
    ],
    ids=["the same", "one more", "another one", "not all are named", "some have no name"],
)
def test_a_source_that_joins_later_holds_again(more: bytes, holds: bool) -> None:
    one = probed(1, "a" * 32)
    name = "f" * 32
    seen = Overruling(1, name, "benign_drift", "ana", "a load test", shown(one))
    assert held(one, said=[seen]) == []
    assert held(one, more, said=[seen]) == (["attack_suspected"] if holds else [])
    assert held(more, one, said=[seen._replace(evidence=shown(more))]) == []


def test_the_last_word_that_names_it_counts() -> None:
    one = probed(1, "a" * 32)
    yes = Overruling(1, "f" * 32, "benign_drift", "ana", "", shown(one))
    no = Overruling(2, "f" * 32, "suspected_probing", "bo", "", shown(one))
    of_others = Overruling(3, "f" * 32, "suspected_probing", "bo", "", shown(worse()))
    assert held(one, said=[no, yes]) == ["attack_suspected"]
    assert held(one, said=[yes, no._replace(place=0)]) == []
    assert held(one, said=[yes, of_others]) == []


def test_what_was_seen_between_two_kept_revisions_goes_by_the_one_before() -> None:
    """Of many revisions those between are not kept: who saw one of them may have to look again."""
    few = [probed(n, "a" * 32) for n in range(1, MAX_EARLIER + 3)]
    many = [probed(n, "a" * 32, "b" * 32) for n in range(MAX_EARLIER + 3, MAX_EARLIER + 6)]
    between = Overruling(1, "f" * 32, "benign_drift", "ana", "", shown(few[-1]))
    assert held(*few, said=[between]) == []
    assert held(*few, *many, said=[between]) == ["attack_suspected"]
    latest = between._replace(evidence=shown(many[-1]))
    assert held(*few, *many, said=[latest]) == []


def test_who_says_that_data_broke_says_nothing_for_them() -> None:
    seen = word("data_fault", told(1, BROKEN))
    found: list[Draft] = drafts(worse(), told(1, BROKEN), said=[seen])
    assert found == []
