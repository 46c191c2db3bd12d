"""Which alerts and anomalies become one incident, and from how many events on they are one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.security.base import Technique
from schemas.incidents import IncidentData
from schemas.responder_config import IncidentConfig
from streams.incident_evidence import merged
from streams.incident_groups import groups_of
from streams.incidents import incidents_of
from tests.streams.incident_kit import (
    MINUTE_MS,
    START_MS,
    alert,
    anomalies,
    evidence,
    moved,
    silence,
)

CONFIG = IncidentConfig()
HOUR = 60
PER_MINUTE = 100
"""Offsets."""


def found(
    number: int,
    minute: float,
    began: float | None = None,
    signal: str = "feature:age",
    **given: Any,
) -> bytes:
    """An alert that was found in this minute of a change that began in that one."""
    began = minute if began is None else began
    places = {
        "change_offset": int(began * PER_MINUTE),
        "opened_offset": int(given.pop("opened", minute) * PER_MINUTE),
        "trigger_offset": int(minute * PER_MINUTE),
    }
    own = moved(signal, change_offset=places["change_offset"], found_offset=places["opened_offset"])
    return alert(number, minute, **({"signals": [own]} | places | given))


def numbers(*records: bytes) -> list[list[int]]:
    """The numbers of the alerts of each group, and 0 for each anomaly."""
    return [
        [int(each.evidence_id, 16) if each.alert else 0 for each in group.evidence]
        for group in groups_of(merged(evidence(*records)).values(), CONFIG)
    ]


def test_what_is_found_late_belongs_to_the_change_that_it_comes_of() -> None:
    quick, slow = found(1, 100), found(2, 100 + 6 * HOUR, began=95)
    assert numbers(quick, slow) == [[1, 2]]
    assert numbers(slow, quick) == [[1, 2]]


def test_a_change_that_comes_later_is_none_that_is_found_late() -> None:
    assert numbers(found(1, 100), found(2, 100 + 6 * HOUR, began=100 + 5 * HOUR)) == [[1], [2]]


@pytest.mark.parametrize(
    "other", [{"model_version": "8"}, {"partition": 5}, {"lineage": "f" * 32}, {"shard": 1}]
)
def test_offsets_of_another_fold_say_nothing(other: dict[str, Any]) -> None:
    assert numbers(found(1, 100), found(2, 100 + 6 * HOUR, began=95, **other)) == [[1], [2]]


def test_a_change_that_was_over_is_none_that_a_late_finding_comes_of() -> None:
    over = found(
        1, 200, began=100, opened=100, revision=2, status="resolved", resolution="returned"
    )
    assert numbers(found(1, 100), over, found(2, 200 + HOUR, began=95)) == [[1, 2]]
    assert numbers(found(1, 100), over, found(2, 201 + HOUR, began=95)) == [[1], [2]]


@pytest.mark.parametrize("signal", ["error", "missing:age"])
def test_harm_and_faults_that_are_found_late_are_incidents_of_their_own(signal: str) -> None:
    """They ask for something: in what a person has looked at long ago nobody would hear of them."""
    late = found(2, 100 + 6 * HOUR, began=95, signal=signal)
    assert numbers(found(1, 100), late) == [[1], [2]]


def test_what_is_not_kept_of_an_alert_does_not_part_what_was_one() -> None:
    """Of many revisions the sixteen lowest are kept, and the latest."""
    day = 24 * HOUR

    def record(revision: int, minute: float) -> bytes:
        status = "opened" if revision == 1 else "updated"
        return found(1, minute, 0, opened=0, revision=revision, status=status)

    records = [record(revision, revision / 10) for revision in range(1, 17)]
    records.append(record(17, 6 * day))
    late = found(2, 9 * day, began=-1)
    assert numbers(*records, late) == [[1, 2]]
    assert numbers(*records, late, record(18, 10 * day)) == [[1, 2]]


def test_a_record_with_an_earlier_time_parts_nothing() -> None:
    """Producers' clocks differ by minutes, and alerts have the times of the events."""
    first, other = found(1, 70), silence(125)
    assert numbers(first, other) == [[1, 0]]
    again = found(1, 60, began=70, opened=70, revision=2, status="updated", trigger_offset=8_000)
    assert numbers(first, other, again) == [[1, 0]]


def test_a_late_finding_is_of_the_first_change_that_was_found_after_it_began() -> None:
    first, second = found(1, 100), found(2, 100 + 3 * HOUR)
    for began, groups in ((95, [[1, 3], [2]]), (95 + 3 * HOUR, [[1], [2, 3]])):
        assert numbers(first, second, found(3, 100 + 9 * HOUR, began=began)) == groups


def test_what_begins_soon_after_a_late_finding_is_another_change() -> None:
    """Else a change that moves some signals hardly takes in what happens hours later."""
    slow = [found(number, 100 + 50 * number, began=95) for number in range(2, 6)]
    assert numbers(found(1, 100), *slow, found(9, 100 + 5 * 50 + 1)) == [[1, 2, 3, 4, 5], [9]]


def test_a_signal_of_an_alert_that_is_found_late_makes_it_no_longer() -> None:
    def later(began: float) -> bytes:
        signals = [
            moved("feature:x", change_offset=100 * PER_MINUTE, found_offset=100 * PER_MINUTE),
            moved("error", change_offset=int(began * PER_MINUTE), found_offset=260 * PER_MINUTE),
        ]
        return found(1, 260, began=100, opened=100, revision=2, status="updated", signals=signals)

    for began, groups in ((99, [[1], [2]]), (101, [[1], [2]]), (255, [[1, 2]])):
        assert numbers(found(1, 100), later(began), found(2, 300)) == groups


def test_an_attack_belongs_to_the_drift_that_it_makes_though_that_may_be_older() -> None:
    records = anomalies(technique=Technique.LABEL_POISONING)
    (attack,) = merged(evidence(*records)).values()
    began = (attack.start_ms - START_MS) // MINUTE_MS
    earlier, drift = found(1, began - 9 * HOUR), found(2, began + 9, began=began - 10 * HOUR)
    assert numbers(earlier, drift) == [[1, 2]]
    assert numbers(earlier, *records, drift) == [[1, 0, 2]]


# What may be told next of one fold: minutes and offsets later, a new alert or more of an older one.
_steps = st.lists(
    st.tuples(
        st.integers(0, 90),
        st.integers(1, 5_000),
        st.none() | st.integers(0, 5),
        st.integers(0, 20_000),
        st.sampled_from(["updated", "updated", "resolved"]),
    ),
    max_size=12,
)
_silences = st.lists(st.integers(0, 600).map(silence), max_size=2)


def told_in_order(steps: list[tuple[int, int, int | None, int, str]]) -> Iterator[bytes]:
    """Records of the alerts of one fold. Changes began before they were found."""
    minute, offset = 0, 10_000
    alerts: list[tuple[int, list[dict[str, Any]], int]] = []
    for minutes, offsets, which, ago, status in steps:
        minute, offset = minute + minutes, offset + offsets
        began = max(offset - ago, 0)
        own = moved(f"feature:f{len(alerts)}", change_offset=began, found_offset=offset)
        if which is None or which >= len(alerts):
            number, opened, signals, revision = len(alerts), offset, [own], 1
            alerts.append((opened, signals, revision))
        else:
            number = which
            opened, signals, revision = alerts[number]
            signals, revision = [*signals, {**own, "signal": f"feature:more{offset}"}], revision + 1
            alerts[number] = opened, signals, revision
        yield alert(
            number + 1,
            minute,
            revision=revision,
            status="opened" if revision == 1 else status,
            change_offset=signals[0]["change_offset"],
            opened_offset=opened,
            trigger_offset=offset,
            signals=signals,
        )


@settings(deadline=None)
@given(_steps, _silences)
def test_what_is_told_later_joins_incidents_and_never_splits_one(
    steps: list[tuple[int, int, int | None, int, str]], silences: list[bytes]
) -> None:
    records = list(told_in_order(steps))
    for n in range(len(records)):
        before, after = (
            [
                {each.evidence_id for each in group.evidence}
                for group in groups_of(merged(evidence(*said)).values(), CONFIG)
            ]
            for said in (records[:n], [*records[: n + 1], *silences])
        )
        assert all(any(one <= other for other in after) for one in before)


# Benign drift that rests on a few events.


def few(number: int, minute: float, signal: str = "feature:age=new", **given: Any) -> bytes:
    """An alert of which no mean is known yet."""
    fields = {"after": None, "effect": 10.0} | given.pop("moves", {})
    return alert(number, minute, signals=[moved(signal, **fields)], **given)


def told(*records: bytes) -> list[IncidentData]:
    return incidents_of(merged(evidence(*records)).values(), [], None, CONFIG)


def test_benign_drift_of_a_few_events_is_no_incident() -> None:
    back = few(1, 9, revision=2, status="resolved", resolution="returned")
    assert told(few(1, 0)) == told(few(1, 0), back) == told(few(1, 0), few(2, 5)) == []


def test_it_is_opened_when_it_rests_on_more() -> None:
    records = [few(1, 0), few(1, 1, revision=2), few(1, 2, revision=3, moves={"after": 0.3})]
    (opened,) = told(*records)
    assert opened.status == "opened"
    more = few(1, 3, revision=4, moves={"after": 0.3})
    (updated,) = told(*records, more)
    assert updated.status == "updated"
    assert updated.revision > opened.revision
    # One that has joined it is news of what was told.
    assert told(*records, few(2, 3))[0].status == "updated"


@pytest.mark.parametrize("signal", ["error", "missing:age"])
def test_harm_that_joins_what_was_not_told_opens_the_incident(signal: str) -> None:
    other = alert(2, 10, signals=[moved(signal)])
    (opened,) = told(few(1, 0), other)
    assert (opened.status, opened.n_evidence) == ("opened", 2)
    assert [each.status for each in told(few(1, 0), other, few(1, 12, revision=2))] == ["updated"]


def test_one_of_two_that_rests_on_more_opens_the_incident() -> None:
    more = few(2, 10, revision=2, moves={"after": 0.3})
    assert [each.status for each in told(few(1, 0), few(2, 5), more)] == ["opened"]


@pytest.mark.parametrize("signal", ["error", "missing:age"])
def test_what_was_told_of_a_few_events_is_not_gone_when_it_turns_out_to_be_benign(
    signal: str,
) -> None:
    back = few(1, 9, signal, revision=2, moves={"direction": "fell", "effect": -3.0})
    assert [each.verdict.reason for each in told(few(1, 0, signal), back)] == ["benign_drift"]


def test_what_had_been_told_is_not_opened_again() -> None:
    harm = few(1, 0, "error")
    more = few(1, 1, "error", revision=2, moves={"after": 0.9})
    assert [each.status for each in told(harm)] == ["opened"]
    assert [each.status for each in told(harm, more)] == ["updated"]
    # What was not read may have been told.
    assert [each.status for each in told(more)] == ["updated"]


@pytest.mark.parametrize(
    ("signal", "fields", "reason"),
    [
        ("error", {}, "harmful_drift"),
        ("missing:age", {}, "data_fault"),
        ("quality:range", {}, "data_fault"),
    ],
)
def test_harm_and_faults_are_incidents_at_once(
    signal: str, fields: dict[str, Any], reason: str
) -> None:
    assert [each.verdict.reason for each in told(few(1, 0, signal, **fields))] == [reason]


def test_a_category_has_distances_in_place_of_means() -> None:
    distances = {"psi": 0.4, "js": 0.1, "ks": None, "wasserstein": None,
                 "chi": 0.6, "new": 0.2, "vanished": ()}  # fmt: skip
    record = few(1, 0, "feature:region", moves={"distances": distances})
    assert [each.verdict.reason for each in told(record)] == ["benign_drift"]
