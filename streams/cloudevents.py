"""Alerts, anomalies and dead letters as CloudEvents 1.0 in Kafka binary mode.

A header `ce_NAME` for every attribute, the data as it is in the value. Nothing of them depends on
the worker or the wall clock: `ce_time` and the record's timestamp are those of the input record
that caused the event. What is said by the clock has its headers from here too. Source: CloudEvents
Kafka protocol binding 1.0.2.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import orjson

from schemas.alerts import AlertData, DeadLetterData, Severity
from schemas.anomalies import SEVERITY_OF, AnomalyData
from schemas.audit_trail import AuditRecord
from schemas.incidents import IncidentData
from schemas.printable import escaped
from schemas.records import Reject
from schemas.retraining import RetrainingData
from schemas.rollback import FollowUpData, RollbackData
from schemas.undelivered import UndeliveredData
from streams.identity import record_id
from streams.ports import Output

BOUND_TYPE: Final = "io.driftsentry.bound.reached.v1"
DRIFT_TYPES: Final = {
    "opened": "io.driftsentry.drift.opened.v1",
    "updated": "io.driftsentry.drift.updated.v1",
    "resolved": "io.driftsentry.drift.resolved.v1",
}
ANOMALY_TYPES: Final = {
    "opened": "io.driftsentry.anomaly.opened.v1",
    "updated": "io.driftsentry.anomaly.updated.v1",
    "closed": "io.driftsentry.anomaly.closed.v1",
}
INCIDENT_TYPES: Final = {
    "opened": "io.driftsentry.incident.opened.v1",
    "updated": "io.driftsentry.incident.updated.v1",
    "closed": "io.driftsentry.incident.closed.v1",
}
ROLLBACK_TYPES: Final = {
    "held": "io.driftsentry.rollback.held.v1",
    "released": "io.driftsentry.rollback.released.v1",
    "withdrawn": "io.driftsentry.rollback.withdrawn.v1",
}
FOLLOWUP_TYPES: Final = {
    "following": "io.driftsentry.followup.following.v1",
    "told": "io.driftsentry.followup.told.v1",
}
RETRAINING_TYPES: Final = {
    "held": "io.driftsentry.retraining.held.v1",
    "released": "io.driftsentry.retraining.released.v1",
    "withdrawn": "io.driftsentry.retraining.withdrawn.v1",
}
AUDIT_TYPE: Final = "io.driftsentry.audit.noted.v1"
DEAD_LETTER_TYPE: Final = "io.driftsentry.record.refused.v1"
UNDELIVERED_TYPE: Final = "io.driftsentry.notification.undelivered.v1"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_SEVERITY: Final = {
    "low": ("INFO", 9),
    "medium": ("WARN", 13),
    "high": ("ERROR", 17),
    "critical": ("FATAL", 21),
}
"""OpenTelemetry's severity text and number, as the CloudEvents severity extension wants them."""

_FIRST_MS: Final = -62_135_596_800_000
_LAST_MS: Final = 253_402_300_799_999
"""RFC 3339 knows the years 1 to 9999; a producer may give a record any number of milliseconds."""


def rfc3339(timestamp_ms: int) -> str:
    """Epoch milliseconds as RFC 3339 in UTC; what lies beyond its years is their first or last."""
    within_ms = min(max(timestamp_ms, _FIRST_MS), _LAST_MS)
    moment = _EPOCH + timedelta(milliseconds=within_ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _headers(attributes: dict[str, str]) -> tuple[tuple[str, bytes], ...]:
    # CloudEvents allows no control characters in an attribute, and a model's id may hold any.
    named = [(f"ce_{name}", escaped(value).encode()) for name, value in attributes.items()]
    return (("content-type", b"application/json"), *named)


def alert_output(topic: str, alert: AlertData, record_time_ms: int) -> Output:
    """One revision of an alert, keyed by its model."""
    text, number = _SEVERITY[alert.severity]
    attributes = {
        "specversion": "1.0",
        "id": f"{alert.alert_id}.{alert.revision}",
        "type": BOUND_TYPE if alert.kind == "bound" else DRIFT_TYPES[alert.status],
        "source": f"/driftsentry/{alert.deployment}",
        "subject": f"{alert.model_id}/{alert.model_version}/{alert.signal}",
        "time": rfc3339(record_time_ms),
        "partitionkey": alert.model_id,
        "severitytext": text,
        "severitynumber": str(number),
        "lineage": alert.lineage,
        "inputpartition": str(alert.partition),
        "sequence": f"{alert.seq:019}",
    }
    return Output(
        topic=topic,
        partition=-1,
        key=alert.model_id.encode(),
        value=orjson.dumps(alert.model_dump()),
        headers=_headers(attributes),
        timestamp_ms=min(record_time_ms, _LAST_MS),
    )


def within_rfc3339(timestamp_ms: int) -> int:
    """The timestamp of a record that is to have one: no later than RFC 3339 knows."""
    return min(timestamp_ms, _LAST_MS)


def anomaly_headers(anomaly: AnomalyData, record_time_ms: int) -> tuple[tuple[str, bytes], ...]:
    """The headers of one revision of an anomaly; one about a partition has no `partitionkey`."""
    about = anomaly.unmapped
    model = anomaly.resources[0] if anomaly.resources else None
    text, number = _SEVERITY[SEVERITY_OF[anomaly.severity_id]]
    subject = f"partition {about.partition}" if model is None else f"{model.name}/{model.version}"
    return _headers(
        {
            "specversion": "1.0",
            "id": anomaly.metadata.uid,
            "type": ANOMALY_TYPES[about.status],
            "source": f"/driftsentry/{about.deployment}",
            "subject": f"{subject}/{about.technique}",
            "time": rfc3339(record_time_ms),
            **({} if model is None else {"partitionkey": model.name}),
            "severitytext": text,
            "severitynumber": str(number),
            "lineage": about.lineage,
            "inputpartition": str(about.partition),
            "sequence": f"{about.seq:019}",
        }
    )


def dead_letter_output(
    topic: str, deployment: str, letter: DeadLetterData, reject: Reject
) -> Output:
    """A refused record's notice, under the record's own key."""
    attributes = {
        "specversion": "1.0",
        "id": record_id(letter.lineage, letter.offset, letter.row),
        "type": DEAD_LETTER_TYPE,
        "source": f"/driftsentry/{deployment}",
        "time": rfc3339(reject.timestamp_ms),
        "lineage": letter.lineage,
        "inputpartition": str(letter.partition),
        "sequence": f"{letter.seq:019}",
    }
    return Output(
        topic=topic,
        partition=-1,
        key=reject.key if reject.key is not None else b"",
        value=orjson.dumps(letter.model_dump()),
        headers=_headers(attributes),
        timestamp_ms=min(reject.timestamp_ms, _LAST_MS),
    )


def incident_headers(incident: IncidentData) -> tuple[tuple[str, bytes], ...]:
    """The headers of an incident as it is now; its time is that of what was said last."""
    text, number = _SEVERITY[incident.severity]
    return _headers(
        {
            "specversion": "1.0",
            "id": f"{incident.incident_id}.{incident.revision}",
            "type": INCIDENT_TYPES[incident.status],
            "source": f"/driftsentry/{incident.deployment}",
            "subject": f"{incident.model_id}/{incident.verdict.reason}",
            "time": rfc3339(incident.last_ms),
            "partitionkey": incident.incident_id,
            "severitytext": text,
            "severitynumber": str(number),
        }
    )


def retraining_headers(request: RetrainingData) -> tuple[tuple[str, bytes], ...]:
    """The headers of a retraining request as it is now. It has no time: none is in what it says."""
    return _headers(
        {
            "specversion": "1.0",
            "id": f"{request.request_id}.{request.status}",
            "type": RETRAINING_TYPES[request.status],
            "source": f"/driftsentry/{request.deployment}",
            "subject": f"{request.model_id}/{request.model_version}",
            "partitionkey": request.request_id,
        }
    )


def rollback_headers(request: RollbackData) -> tuple[tuple[str, bytes], ...]:
    """The headers of a rollback request as it is now. It has no time: none is in what it says."""
    return _headers(
        {
            "specversion": "1.0",
            "id": f"{request.request_id}.{request.status}",
            "type": ROLLBACK_TYPES[request.status],
            "source": f"/driftsentry/{request.deployment}",
            "subject": f"{request.model_id}/{request.from_version}",
            "partitionkey": request.request_id,
        }
    )


def followup_headers(followup: FollowUpData) -> tuple[tuple[str, bytes], ...]:
    """The headers of a follow-up as it is now; it has no time either."""
    return _headers(
        {
            "specversion": "1.0",
            "id": f"{followup.followup_id}.{followup.status}",
            "type": FOLLOWUP_TYPES[followup.status],
            "source": f"/driftsentry/{followup.deployment}",
            "subject": f"{followup.model_id}/{followup.model_version}",
            "partitionkey": followup.followup_id,
        }
    )


def undelivered_headers(letter: UndeliveredData) -> tuple[tuple[str, bytes], ...]:
    """The headers of what a receiver did not take; its time is when it was given up."""
    return _headers(
        {
            "specversion": "1.0",
            "id": f"{letter.sink}.{letter.message_id}",
            "type": UNDELIVERED_TYPE,
            "source": "/driftsentry/notify",
            "subject": f"{letter.sink}/{letter.key}",
            "time": rfc3339(letter.gave_up_ms),
            "partitionkey": letter.sink,
        }
    )


def audit_headers(record: AuditRecord) -> tuple[tuple[str, bytes], ...]:
    """The headers of a record of the audit trail. No hash covers them."""
    return _headers(
        {
            "specversion": "1.0",
            "id": f"{record.chain}.{record.seq}",
            "type": AUDIT_TYPE,
            "source": f"/driftsentry/audit/{record.chain}",
            "subject": record.kind,
            "time": rfc3339(record.at_ms),
            "sequence": f"{record.seq:019}",
        }
    )


def clock_headers(
    *,
    event_id: str,
    event_type: str,
    deployment: str,
    subject: str,
    model_id: str,
    severity: Severity,
    partition: int,
    time_ms: int,
) -> tuple[tuple[str, bytes], ...]:
    """The headers of what is said of a model by a worker's clock: no lineage, and no sequence."""
    text, number = _SEVERITY[severity]
    return _headers(
        {
            "specversion": "1.0",
            "id": event_id,
            "type": event_type,
            "source": f"/driftsentry/{deployment}",
            "subject": subject,
            "time": rfc3339(time_ms),
            "partitionkey": model_id,
            "severitytext": text,
            "severitynumber": str(number),
            "inputpartition": str(partition),
        }
    )
