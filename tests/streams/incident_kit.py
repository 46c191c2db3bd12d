"""Alerts, anomalies and silences for tests of incidents, as they stand on their topics."""

from __future__ import annotations

from typing import Any, Final

import orjson

from schemas.alerts import AlertData, MovedSignal
from schemas.liveness import LivenessData
from streams.incident_evidence import Evidence, from_alert, from_anomaly, from_liveness
from tests.streams.anomaly_kit import QUIET, Told, suspicion

START_MS: Final = 1_795_428_000_000
MINUTE_MS: Final = 60_000


def example(form: type[AlertData] | type[LivenessData]) -> dict[str, Any]:
    extra = form.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    examples = extra["examples"]
    assert isinstance(examples, list)
    first = examples[0]
    assert isinstance(first, dict)
    return dict(first)


def moved(signal: str, **given: Any) -> dict[str, Any]:
    """One signal of an alert."""
    fields: dict[str, Any] = {
        "signal": signal,
        "unit": "share",
        "direction": "rose",
        "effect": 0.6,
        "before": 0.1,
        "after": 0.2,
        "standing": "moved",
        "detectors": ["focus"],
        "change_offset": 100,
        "found_offset": 200,
    }
    return MovedSignal.model_validate({**fields, **given}).model_dump(mode="json")


def alert(number: int, minute: float = 0, **given: Any) -> bytes:
    """A record of the alert of this number, told for an event of this minute.

    Its first one tells of a change of the minute before, a hundred offsets ago.
    """
    later = max(int(minute * 100), 0)
    first = {"change_offset": 100 + later, "found_offset": 200 + later}
    fields = {
        "alert_id": f"{number:032x}",
        "model_id": "churn",
        "model_version": "7",
        "event_time_ms": START_MS + int(minute * MINUTE_MS),
        "change_offset": first["change_offset"],
        "opened_offset": first["found_offset"],
        "trigger_offset": first["found_offset"],
        "signals": [moved("feature:age", **first)],
    }
    return orjson.dumps({**example(AlertData), **fields, **given})


def silence(minute: float = 0, **given: Any) -> bytes:
    """A record of a silence that began at this minute."""
    since_ms = START_MS + int(minute * MINUTE_MS)
    fields = {"since_ms": since_ms, "until_ms": since_ms + MINUTE_MS}
    return orjson.dumps({**example(LivenessData), **fields, **given})


def anomalies(first: int = 10, **given: Any) -> list[bytes]:
    """The records of one anomaly of `churn`, from opened to closed; events are a second apart."""
    told = Told()
    records = told.until(first + 1, suspicion(first, **given))
    for number in (first + 40, first + 90):
        records += told.until(number + 1, suspicion(number, **{**given, "n_hits": number}))
    records += told.until(first + 90 + 2 * QUIET)
    return [orjson.dumps(each.as_ocsf()) for each in records]


def shown(*records: bytes) -> tuple[tuple[str, int], ...]:
    """What a person says that they were shown: all evidence of these records."""
    latest: dict[str, int] = {}
    for each in evidence(*records):
        latest[each.evidence_id] = max(each.revision, latest.get(each.evidence_id, 0))
    return tuple(sorted(latest.items()))


def evidence(*records: bytes) -> list[Evidence]:
    """What alerts, findings and silences say, told apart by their fields."""
    found = []
    for each in records:
        fields = orjson.loads(each)
        if "alert_id" in fields:
            found.append(from_alert(each))
        elif "liveness_id" in fields:
            found.append(from_liveness(each))
        else:
            found.append(from_anomaly(each))
    return [each for each in found if each is not None]
