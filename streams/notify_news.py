"""What a record of the responder's topics tells, whoever is told. Pure.

A topic that is to be told of is one entry of `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

from schemas.alerts import Severity
from schemas.incidents import IncidentData
from schemas.retraining import RetrainingData
from schemas.rollback import RollbackData
from streams.cloudevents import INCIDENT_TYPES, RETRAINING_TYPES, ROLLBACK_TYPES, rfc3339
from streams.notify_config import About, SinkSettings

SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high", "critical")
GONE: Final = "gone"
"""The status of what has become part of something else: a record without a value."""


class TopicEntry(NamedTuple):
    """One committed record."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class AlertForm:
    """What makes an alert of news. Of a request the severity is that of an order, not of harm."""

    name: str
    id_label: str
    severity: Severity = "low"
    is_announcement: bool = False
    """It stands for a time, not until something else is said."""


@dataclass(frozen=True, slots=True)
class News:
    """What a record tells. `data` is the record's value, or the id alone of what is gone."""

    about: About
    id: str
    type: str
    status: str
    is_open: bool
    """Whether it goes on."""
    time: str
    """Of what is told, RFC 3339."""
    data: Mapping[str, Any]
    severity: Severity | None = None
    reason: str | None = None
    deployment: str = ""
    model_id: str = ""
    start_ms: int | None = None
    end_ms: int | None = None
    message: str = ""
    because: str = ""
    alert: AlertForm | None = None
    """How an Alertmanager is told of it; None: not, and what it was told before has ended."""


class NewsError(Exception):
    """The record is none of its topic's; the message says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A topic of the responder: how its records are read, and named where they are gone."""

    about: About
    """The topic's field in `streams.config.Topics`."""
    id_field: str
    gone_type: str
    read: Callable[[bytes, str], News]
    """Value and time of the record. Raises `ValidationError`."""


_REQUEST_ALERTS: Final[Mapping[str, AlertForm | None]] = {
    "held": AlertForm("DriftsentryRetrainingHeld", "request_id"),
    "released": AlertForm("DriftsentryRetrainingReleased", "request_id", is_announcement=True),
    "withdrawn": None,
}
_ROLLBACK_ALERTS: Final[Mapping[str, AlertForm | None]] = {
    "held": AlertForm("DriftsentryRollbackHeld", "request_id"),
    "released": AlertForm("DriftsentryRollbackReleased", "request_id", is_announcement=True),
    "withdrawn": None,
}


def _of_incident(value: bytes, _time: str) -> News:
    incident = IncidentData.model_validate_json(value)
    return News(
        about="incidents",
        id=incident.incident_id,
        type=INCIDENT_TYPES[incident.status],
        status=incident.status,
        is_open=incident.status != "closed",
        time=rfc3339(incident.last_ms),
        data=_dumped(incident),
        severity=incident.severity,
        reason=incident.verdict.reason,
        deployment=incident.deployment,
        model_id=incident.model_id,
        start_ms=incident.start_ms,
        end_ms=incident.closed_ms,
        message=incident.message,
        because=incident.verdict.because,
        alert=AlertForm("DriftsentryIncident", "incident_id", incident.severity),
    )


def _of_request(value: bytes, time: str) -> News:
    request = RetrainingData.model_validate_json(value)
    return News(
        about="retraining",
        id=request.request_id,
        type=RETRAINING_TYPES[request.status],
        status=request.status,
        is_open=request.status != "withdrawn",
        time=time,
        data=_dumped(request),
        reason=request.reason,
        deployment=request.deployment,
        model_id=request.model_id,
        message=request.message,
        because="; ".join(each.detail for each in request.holds),
        alert=_REQUEST_ALERTS[request.status],
    )


def _of_rollback(value: bytes, time: str) -> News:
    request = RollbackData.model_validate_json(value)
    return News(
        about="rollback",
        id=request.request_id,
        type=ROLLBACK_TYPES[request.status],
        status=request.status,
        is_open=request.status != "withdrawn",
        time=time,
        data=_dumped(request),
        # What it follows from, in the words of incidents.
        reason="deployment_change",
        deployment=request.deployment,
        model_id=request.model_id,
        message=request.message,
        because="; ".join(each.detail for each in request.holds),
        alert=_ROLLBACK_ALERTS[request.status],
    )


KINDS: Final[tuple[Kind, ...]] = (
    Kind("incidents", "incident_id", "io.driftsentry.incident.gone.v1", _of_incident),
    Kind("retraining", "request_id", "io.driftsentry.retraining.gone.v1", _of_request),
    Kind("rollback", "request_id", "io.driftsentry.rollback.gone.v1", _of_rollback),
)


def kinds_of(names: Iterable[About]) -> tuple[Kind, ...]:
    """The kinds of these names, in their own order."""
    wanted = frozenset(names)
    return tuple(each for each in KINDS if each.about in wanted)


def news_of(kind: Kind, entry: TopicEntry) -> News:
    """What a record tells. Raises `NewsError`: others may write to the topic."""
    time = rfc3339(entry.timestamp_ms)
    try:
        name = entry.key.decode()
    except UnicodeDecodeError:
        raise NewsError("its key is no text") from None
    if entry.value is None:
        return News(
            about=kind.about,
            id=name,
            type=kind.gone_type,
            status=GONE,
            is_open=False,
            time=time,
            data={kind.id_field: name, "status": GONE},
        )
    try:
        news = kind.read(entry.value, time)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "value"
        raise NewsError(f"{where}: {first['msg']}") from None
    if news.id != name:
        raise NewsError("its key is not its id")
    return news


def is_wanted(news: News, settings: SinkSettings, statuses: Iterable[str] | None = None) -> bool:
    """Whether this receiver wants to hear it. What is gone has no severity and no reason."""
    if statuses is not None and news.status not in statuses:
        return False
    if news.status == GONE:
        return True
    if news.severity is not None and (
        SEVERITIES.index(news.severity) < SEVERITIES.index(settings.min_severity)
    ):
        return False
    return settings.reasons is None or news.reason in settings.reasons


def _dumped(form: BaseModel) -> Mapping[str, Any]:
    return form.model_dump(mode="json")
