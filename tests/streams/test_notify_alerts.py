"""An Alertmanager's alerts follow from the latest records, with labels that stay."""

from __future__ import annotations

from typing import Any

from schemas.incidents import IncidentData
from streams.cloudevents import rfc3339
from streams.notify_alerts import RESOLVED_FOR_S, STAYS, AlertBook
from streams.notify_config import AlertmanagerSettings
from streams.notify_news import news_of
from tests.streams.incident_kit import START_MS
from tests.streams.notify_kit import (
    KIND_OF,
    WRITTEN_MS,
    entry,
    held,
    incident,
    released,
    worse_version,
)

NOW_MS = WRITTEN_MS + 1_000
RESEND_S = 30.0
STAYS_MS = int(1000 * STAYS * RESEND_S)
RESOLVED_MS = int(1000 * RESOLVED_FOR_S)


def book(*records: Any, now_ms: int = NOW_MS, **settings: Any) -> AlertBook:
    made = AlertBook(AlertmanagerSettings(url="http://am:9093", resend_s=RESEND_S, **settings))
    for each in records:
        tell(made, each, now_ms)
    return made


def tell(made: AlertBook, record: Any, now_ms: int = NOW_MS) -> None:
    record = record if isinstance(record, tuple) else entry(record)
    made.hear(news_of(KIND_OF[record.topic], record), record.timestamp_ms, now_ms)


def closed(one: IncidentData, closed_ms: int) -> IncidentData:
    return one.model_copy(update={"status": "closed", "closed_ms": closed_ms, "revision": 9})


def test_an_open_incident_stands_with_what_people_need() -> None:
    one = incident()
    (alert,) = book(one, generator_url="https://drift/{id}").alerts(NOW_MS)
    assert alert == {
        "labels": {
            "alertname": "DriftsentryIncident",
            "severity": "high",
            "reason": "harmful_drift",
            "deployment": one.deployment,
            "model": "churn",
            "incident_id": one.incident_id,
        },
        "annotations": {
            "summary": one.message,
            "description": one.verdict.because,
            "status": "opened",
        },
        "startsAt": rfc3339(START_MS),
        "endsAt": rfc3339(NOW_MS + STAYS_MS),
        "generatorURL": f"https://drift/{one.incident_id}",
    }


def test_another_revision_has_the_same_labels() -> None:
    one = incident()
    more = one.model_copy(update={"status": "updated", "revision": 2, "message": "more is known"})
    made = book(one)
    before = made.alerts(NOW_MS)
    tell(made, more)
    (after,) = made.alerts(NOW_MS)
    assert after["labels"] == before[0]["labels"]
    assert after["annotations"]["summary"] == "more is known"


def test_sent_later_it_lasts_longer_and_began_at_the_same_time() -> None:
    made = book(incident())
    (first,) = made.alerts(NOW_MS)
    (second,) = made.alerts(NOW_MS + 10_000)
    assert second["startsAt"] == first["startsAt"]
    assert second["endsAt"] == rfc3339(NOW_MS + 10_000 + STAYS_MS)


def test_where_severity_changes_the_old_alert_ends_as_the_new_one_begins() -> None:
    one = incident()
    made = book(one, one.model_copy(update={"severity": "critical"}))
    new, old = made.alerts(NOW_MS)
    assert (new["labels"]["severity"], old["labels"]["severity"]) == ("critical", "high")
    assert old["endsAt"] == rfc3339(NOW_MS)
    assert len(made) == 1


def test_a_closed_one_ends_when_it_was_closed_and_is_forgotten_later() -> None:
    one = incident()
    end_ms = START_MS + 60_000
    made = book(one, closed(one, end_ms))
    (alert,) = made.alerts(NOW_MS)
    assert (alert["startsAt"], alert["endsAt"]) == (rfc3339(START_MS), rfc3339(end_ms))
    assert made.alerts(NOW_MS) == [alert]
    assert made.alerts(WRITTEN_MS + RESOLVED_MS - 1) == [alert]
    assert made.alerts(WRITTEN_MS + RESOLVED_MS) == []
    assert len(made) == 0


def test_what_was_closed_long_ago_is_not_told_after_a_restart() -> None:
    one = closed(incident(), START_MS + 60_000)
    later_ms = WRITTEN_MS + RESOLVED_MS
    assert book(one, now_ms=later_ms).alerts(later_ms) == []


def test_what_is_open_again_stands_again() -> None:
    one = incident()
    made = book(one, closed(one, START_MS + 1), one.model_copy(update={"revision": 10}))
    (alert,) = made.alerts(NOW_MS)
    assert alert["endsAt"] == rfc3339(NOW_MS + STAYS_MS)


def test_one_that_became_part_of_another_ends() -> None:
    one = incident()
    made = book(one, entry(None, key=one.incident_id.encode()))
    (alert,) = made.alerts(NOW_MS + 1)
    assert alert["endsAt"] == rfc3339(NOW_MS)


def test_clocks_of_producers_that_are_ahead_make_no_alert_that_is_refused() -> None:
    future_ms = NOW_MS + 86_400_000
    one = incident(start_ms=future_ms)
    (alert,) = book(one).alerts(NOW_MS)
    assert alert["startsAt"] == rfc3339(NOW_MS)
    (alert,) = book(one, closed(one, future_ms + 1)).alerts(NOW_MS)
    assert alert["startsAt"] == alert["endsAt"] == rfc3339(NOW_MS)


def test_a_held_request_stands_until_it_is_released_which_is_told_for_a_time() -> None:
    request = held()
    made = book(request, released_for_s=100)
    (alert,) = made.alerts(NOW_MS)
    assert alert["labels"]["alertname"] == "DriftsentryRetrainingHeld"
    assert alert["labels"]["request_id"] == request.request_id
    assert alert["startsAt"] == rfc3339(WRITTEN_MS)
    tell(made, released().model_copy(update={"request_id": request.request_id}))
    new, old = made.alerts(NOW_MS)
    assert old["labels"] == alert["labels"]
    assert old["endsAt"] == rfc3339(NOW_MS)
    assert new["labels"]["alertname"] == "DriftsentryRetrainingReleased"
    # Its end is known, and lies before the end of some intervals.
    assert new["endsAt"] == rfc3339(WRITTEN_MS + 100_000)
    assert STAYS_MS > 100_000
    over = [each["labels"]["alertname"] for each in made.alerts(WRITTEN_MS + 100_000)]
    assert sorted(over) == ["DriftsentryRetrainingHeld", "DriftsentryRetrainingReleased"]
    assert len(made) == 0
    assert made.alerts(WRITTEN_MS + 100_000 + RESOLVED_MS) == []


def test_a_rollback_request_stands_until_it_is_released() -> None:
    request = worse_version()
    made = book(request)
    (alert,) = made.alerts(NOW_MS)
    labels = alert["labels"]
    assert (labels["alertname"], labels["reason"]) == (
        "DriftsentryRollbackHeld",
        "deployment_change",
    )
    assert labels["request_id"] == request.request_id
    assert alert["annotations"]["summary"] == request.message
    tell(made, request.model_copy(update={"status": "released", "holds": []}))
    new, old = made.alerts(NOW_MS)
    assert (old["labels"], old["endsAt"]) == (labels, rfc3339(NOW_MS))
    assert new["labels"]["alertname"] == "DriftsentryRollbackReleased"
    tell(made, entry(None, about="rollback", key=request.request_id.encode()))
    assert all(each["endsAt"] == rfc3339(NOW_MS) for each in made.alerts(NOW_MS))


def test_a_withdrawn_request_ends_what_stood() -> None:
    request = held()
    made = book(request, request.model_copy(update={"status": "withdrawn", "holds": []}))
    (alert,) = made.alerts(NOW_MS)
    assert alert["endsAt"] == rfc3339(NOW_MS)
    assert book(request.model_copy(update={"status": "withdrawn"})).alerts(NOW_MS) == []


def test_what_is_not_asked_for_does_not_stand_and_ends_where_it_did() -> None:
    one = incident()
    assert book(one, min_severity="critical").alerts(NOW_MS) == []
    other = one.model_copy(
        update={"verdict": one.verdict.model_copy(update={"reason": "data_fault"})}
    )
    made = book(one, other, reasons=("harmful_drift",))
    (alert,) = made.alerts(NOW_MS)
    assert alert["endsAt"] == rfc3339(NOW_MS)


def test_names_from_events_hold_no_control_characters_and_have_an_end() -> None:
    one = incident(model_id="a\n\x1b[2J" + "b" * 10_000, message="c" * 10_000)
    (alert,) = book(one).alerts(NOW_MS)
    assert alert["labels"]["model"].startswith(r"a\x0a\x1b[2Jb")
    assert len(alert["labels"]["model"]) == 500
    assert len(alert["annotations"]["summary"]) == 4_000
    # Alertmanager knows no empty label.
    assert "model" not in book(incident(model_id="")).alerts(NOW_MS)[0]["labels"]
