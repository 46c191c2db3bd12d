"""What is known of one alert, anomaly or silence, whatever order its records came in.

`merge` is a join: commutative, associative, idempotent. So records may come twice, late, or in any
order, and two readers who have had the same ones know the same. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Final, Literal, Self, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from schemas.alerts import AlertData, Severity
from schemas.anomalies import SEVERITY_OF, AnomalyData
from schemas.documents import first_problem
from schemas.incidents import EvidenceKind
from schemas.liveness import LivenessData, Trouble
from streams.identity import silence_id

_Form = TypeVar("_Form", bound=BaseModel)
Family = Literal["drift", "fault", "poisoning", "probing", "silence"]

POISONING: Final = frozenset({"label_poisoning", "backdoor", "frog_boiling"})
"""Techniques that aim at the next training; all others but `DATA_CHANGE` ask the model."""
DATA_CHANGE: Final = "data_change"
"""What the security duty calls a change of most clients' data at once: no attack."""
SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high", "critical")
MAX_EARLIER: Final = 16
"""Earlier revisions that are kept of an alert or an anomaly, the lowest ones: what was known when
it was young decides about what is trained on. They are mostly as many as doublings of evidence."""


class EvidenceError(ValueError):
    """A record is no alert, no anomaly, no silence; the message names the field."""


class Evidence(BaseModel):
    """All that the records of one alert, anomaly or silence say, in one value.

    One of `alert`, `anomaly`, `silence` is there: its record of the highest revision. Times are
    event times in epoch milliseconds.
    """

    model_config = ConfigDict(frozen=True)

    evidence_id: str
    deployment: str
    model_id: str
    revision: int
    start_ms: int
    """The least that a record says of its beginning."""
    spread_ms: int | None
    """When more was found of it for the last time; what only goes away does not count. None of an
    alert, which is one change: its signals say where they moved."""
    last_ms: int
    """That of its latest record."""
    first_offset: int | None
    """The least place in the input at which it may begin; None of a silence."""
    alert: AlertData | None = None
    anomaly: AnomalyData | None = None
    silence: LivenessData | None = None
    earlier: tuple[AlertData, ...] | tuple[AnomalyData, ...] = ()
    """The records of its lowest revisions, ascending, without the highest one."""

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if sum(each is not None for each in (self.alert, self.anomaly, self.silence)) != 1:
            raise ValueError("must be one of alert, anomaly and silence")
        return self

    @property
    def kind(self) -> EvidenceKind:
        """Which of the three it is."""
        if self.alert is not None:
            return "alert"
        return "anomaly" if self.anomaly is not None else "liveness"

    @property
    def family(self) -> Family:
        """What it is evidence of."""
        if self.anomaly is not None:
            technique = self.anomaly.unmapped.technique
            if technique == DATA_CHANGE:
                return "fault"
            return "poisoning" if technique in POISONING else "probing"
        return "silence" if self.silence is not None else "drift"

    @property
    def is_of_attack(self) -> bool:
        """Whether it speaks of somebody, and not of the world or of data."""
        return self.family in ("poisoning", "probing")

    @property
    def has_ended(self) -> bool:
        """Whether its latest record says that it is over."""
        if self.alert is not None:
            return self.alert.status == "resolved"
        if self.anomaly is not None:
            return self.anomaly.unmapped.status == "closed"
        return self.silence is not None and self.silence.kind == "recovered"

    @property
    def has_gone(self) -> bool:
        """Whether it has ended since all is as it should be, and not since it has moved on."""
        how = None if self.alert is None else self.alert.resolution
        return self.has_ended and how not in ("superseded", "forgotten")

    @property
    def severity(self) -> Severity:
        """In the words of alerts."""
        if self.alert is not None:
            return self.alert.severity
        if self.anomaly is not None:
            return SEVERITY_OF[self.anomaly.severity_id]
        assert self.silence is not None
        # A recovery is of low severity; what has recovered was not.
        return "high" if trouble_of(self.silence) == "silence" else "medium"

    @property
    def model_version(self) -> str:
        """The version that it is about; empty where it is about a partition."""
        if self.alert is not None:
            return self.alert.model_version
        if self.anomaly is not None:
            return self.anomaly.resources[0].version if self.anomaly.resources else ""
        assert self.silence is not None
        return self.silence.model_version

    @property
    def partition(self) -> int:
        """The partition of the input that it is about, or in whose fold it was found."""
        if self.alert is not None:
            return self.alert.partition
        if self.anomaly is not None:
            return self.anomaly.unmapped.partition
        assert self.silence is not None
        return self.silence.partition

    def dump(self) -> bytes:
        """As JSON, for a store; the same evidence gives the same bytes."""
        return orjson.dumps(self.model_dump(mode="json"))

    @classmethod
    def load(cls, stored: bytes) -> Evidence:
        """The evidence that `dump` gave; `EvidenceError` for anything else."""
        try:
            found = cls.model_validate_json(stored)
        except ValidationError as error:
            raise EvidenceError(f"stored evidence: {first_problem(error, 'the record')}") from None
        _require_revision(found.revision)
        if not all(_is_usual(number, _MOST_STORED) for number in _numbers(found.model_dump())):
            raise EvidenceError("stored evidence: it has a number that cannot be kept")
        return found


def merge(one: Evidence, other: Evidence) -> Evidence:
    """What both say together of the same alert, anomaly or silence."""
    if one.evidence_id != other.evidence_id:
        raise ValueError("evidence of two alerts cannot be merged")
    latest = max(one, other, key=lambda each: each.revision)
    if one.revision == other.revision and _record(one) != _record(other):
        latest = max(one, other, key=lambda each: _bytes(_record(each)))
    earlier = _earlier(one, other)
    offsets = [each.first_offset for each in (one, other) if each.first_offset is not None]
    spreads = [each.spread_ms for each in (one, other) if each.spread_ms is not None]
    return latest.model_copy(
        update={
            "start_ms": min(one.start_ms, other.start_ms),
            "spread_ms": max(spreads, default=None),
            "last_ms": max(one.last_ms, other.last_ms),
            "first_offset": min(offsets, default=None),
            "earlier": earlier,
        }
    )


def _earlier(one: Evidence, other: Evidence) -> tuple[AlertData, ...] | tuple[AnomalyData, ...]:
    """The lowest revisions that either knows, but the highest of all."""
    alerts: dict[int, AlertData] = {}
    anomalies: dict[int, AnomalyData] = {}
    for each in (one, other):
        for record in (*each.earlier, each.alert, each.anomaly):
            if isinstance(record, AlertData):
                known = alerts.get(record.revision, record)
                alerts[record.revision] = _of_one_revision(known, record)
            elif isinstance(record, AnomalyData):
                revision = record.unmapped.revision
                anomalies[revision] = _of_one_revision(anomalies.get(revision, record), record)
    if alerts:
        return tuple(alerts[each] for each in sorted(alerts)[:-1][:MAX_EARLIER])
    return tuple(anomalies[each] for each in sorted(anomalies)[:-1][:MAX_EARLIER])


def _of_one_revision(one: _Form, other: _Form) -> _Form:
    """They are equal, unless somebody else writes to the topic.

    The bytes decide then, so that the order of reading does not.
    """
    return one if one is other or one == other else max(one, other, key=_bytes)


def merged(evidence: Iterable[Evidence]) -> dict[str, Evidence]:
    """All evidence by its id."""
    known: dict[str, Evidence] = {}
    for each in evidence:
        before = known.get(each.evidence_id)
        known[each.evidence_id] = each if before is None else merge(before, each)
    return known


def from_alert(value: bytes) -> Evidence | None:
    """The evidence in a record of the alerts topic; None of a bound, which says nothing of data.

    `EvidenceError` where the record is no alert.
    """
    alert = _parsed(AlertData, value, "an alert")
    if alert.kind == "bound":
        return None
    _require_revision(alert.revision)
    return Evidence(
        evidence_id=alert.alert_id,
        deployment=alert.deployment,
        model_id=alert.model_id,
        revision=alert.revision,
        start_ms=alert.event_time_ms,
        spread_ms=None,
        last_ms=alert.event_time_ms,
        first_offset=min([alert.change_offset, *(each.change_offset for each in alert.signals)]),
        alert=alert,
    )


def from_anomaly(value: bytes) -> Evidence | None:
    """The evidence in a record of the anomalies topic; None of an exposure, which is a rank.

    `EvidenceError` where the record is no finding.
    """
    anomaly = _parsed(AnomalyData, value, "a finding")
    own = anomaly.unmapped
    if own.is_exposure:
        return None
    _require_revision(own.revision)
    return Evidence(
        evidence_id=anomaly.finding_info.uid,
        deployment=own.deployment,
        model_id=anomaly.resources[0].name if anomaly.resources else "",
        revision=own.revision,
        start_ms=anomaly.start_time,
        spread_ms=anomaly.end_time,
        last_ms=anomaly.time,
        first_offset=min(
            (each.first_offset for each in own.quarantine.ranges), default=own.opened_offset
        ),
        anomaly=anomaly,
    )


def from_liveness(value: bytes) -> Evidence:
    """The evidence in a record of the liveness topic. `EvidenceError` where it is none.

    All records of one silence have one id: when it began does not change.
    """
    said = _parsed(LivenessData, value, "a record of the liveness topic")
    return Evidence(
        evidence_id=silence_id(
            said.deployment,
            said.model_id,
            said.model_version,
            -1 if said.shard is None else said.shard,
            said.since_ms,
            trouble_of(said),
        ),
        deployment=said.deployment,
        model_id=said.model_id,
        revision=2 if said.kind == "recovered" else 1,
        start_ms=said.since_ms,
        spread_ms=said.until_ms,
        last_ms=said.until_ms,
        first_offset=None,
        silence=said,
    )


def trouble_of(said: LivenessData) -> Trouble:
    """What was or is wrong with the number of events."""
    if said.kind != "recovered":
        return said.kind
    return said.recovered_from or "silence"


_MOST_STORED: Final = 2**62
_MOST: Final = 2**53
"""Of times and offsets; revisions of many are added, and there are few of each."""
_MOST_REVISIONS: Final = 2**31


def _record(evidence: Evidence) -> AlertData | AnomalyData | LivenessData:
    record = evidence.alert or evidence.anomaly or evidence.silence
    assert record is not None
    return record


def _bytes(record: BaseModel) -> bytes:
    return orjson.dumps(record.model_dump(mode="json"))


def _require_revision(revision: int) -> None:
    if not 0 < revision <= _MOST_REVISIONS:
        raise EvidenceError(f"`revision` must be from 1 to {_MOST_REVISIONS:,}")


def _parsed(form: type[_Form], value: bytes, what: str) -> _Form:
    try:
        record = form.model_validate_json(value)
    except ValidationError as error:
        raise EvidenceError(
            f"the record is not {what}: {first_problem(error, 'the record')}"
        ) from None
    # JSON can say numbers that no store takes: evidence of them would stop every responder.
    if not all(_is_usual(number, _MOST) for number in _numbers(record.model_dump())):
        raise EvidenceError(f"the record is not {what}: it has a number that cannot be kept")
    return record


def _is_usual(number: float, most: int) -> bool:
    return abs(number) <= most if isinstance(number, int) else isfinite(number)


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from _numbers(each)
