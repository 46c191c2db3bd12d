"""What was watched, found and decided in a span of time, for whoever has to account for a model."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.audit_check import TrailVerification
from schemas.audit_trail import AuditClock

Section = Literal[
    "plan",
    "coverage",
    "gaps",
    "incidents",
    "requests",
    "followups",
    "decisions",
    "changes",
    "trail",
]
GapKind = Literal["reset", "silence", "lost", "not_noted"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class PlanEntry(_Part):
    """A detection config that was in force: by what the models were watched."""

    group: str = Field(description="The workers' group.")
    duty: str = Field(description="`drift` or `security`.")
    deployment: str
    generation: int
    config: str = Field(
        description="Identity of all that decides which alerts come out: of the config, the "
        "detectors' versions and the source key."
    )
    since_ms: int = Field(description="When the trail first says it.")
    clock: AuditClock = Field(description="Of `since_ms`.")
    partitions: list[int] = Field(description="Those of the events topic that it held for.")
    versions: dict[str, int] = Field(description="Of the detectors and of what else decides.")
    document: dict[str, Any] | None = Field(
        description="The whole detection config; null where it is too large for the trail."
    )
    seq: int = Field(description="Of the record in the trail that says it first.")


class CoverageEntry(_Part):
    """How much of one partition was watched, between two looks at what was committed."""

    group: str
    topic: str
    partition: int
    lineage: str
    first_ms: int = Field(description="The first look: the last one before the span, if any.")
    last_ms: int = Field(description="The last look in it.")
    n_looks: int
    first_offset: int
    last_offset: int
    n_events: int = Field(
        description="Events folded between the two looks; of a fold that began in the span, all up "
        "to the last look. So the counts below."
    )
    n_refused: int = Field(description="Records refused, to the dead-letter topic.")
    n_said: int = Field(description="Records on the alerts or the anomalies topic.")
    config: str = Field(description="In force at the last look.")
    digest: str = Field(description="Of the state, at `digest_offset`.")
    digest_offset: int


class GapEntry(_Part):
    """A time or a stretch that was not watched as it should have been, and why."""

    kind: GapKind = Field(
        description="`reset`: a fold began anew. `silence`: predictions stayed away, or came in "
        "other numbers. `lost`: records were gone before the trail had them. `not_noted`: nothing "
        "says how far the workers were."
    )
    since_ms: int
    until_ms: int | None = Field(description="Null where nothing says when it ended.")
    about: str = Field(description="Of what: a partition, or a model.")
    reason: str
    seq: int | None = Field(description="Of the record that says it; null of `not_noted`.")


class IncidentEntry(_Part):
    """An incident as the span left it, and who decided what of it."""

    incident_id: str
    status: str = Field(
        description="As on the incidents topic; `gone`: part of another one, or none any more."
    )
    model_id: str
    model_versions: list[str]
    severity: str
    start_ms: int
    first_noted_ms: int = Field(
        description="When the auditor first noted it, by its own clock: response can begin then."
    )
    last_ms: int
    closed_ms: int | None
    reason: str
    rule: str = Field(description="Which rule decided, `overruled` where a person did.")
    because: str
    ruled: str | None = Field(description="What the rules had said, where a person overruled.")
    by: str | None
    note: str | None
    was_evidence_opened: bool | None = Field(
        description="Whether who overruled had been shown the evidence."
    )
    opened_by: list[str] = Field(
        description="Who was shown its evidence, under whatever id the incident then had, in "
        "their order."
    )
    n_records: int = Field(description="How often the trail has it up to the end of the span.")
    first_seq: int
    last_seq: int
    message: str


class RequestEntry(_Part):
    """A request to retrain or to roll back as the span left it."""

    kind: Literal["retraining", "rollback"]
    request_id: str
    status: str = Field(description="As on its topic; `gone`: there is none any more.")
    model_id: str
    model_version: str = Field(description="The version that is to be replaced.")
    incident_id: str | None
    reason: str
    holds: list[str] = Field(description="What held it back, in words.")
    approved_by: str | None
    was_evidence_opened: bool | None
    at_ms: int
    clock: AuditClock
    n_records: int
    first_seq: int
    last_seq: int
    message: str


class FollowUpEntry(_Part):
    """How a new version of a model compares with the last one, as the span left it."""

    followup_id: str
    status: str = Field(description="As on its topic; `gone`: there is none any more.")
    verdict: str
    model_id: str
    model_version: str = Field(description="The new version.")
    last_version: str
    retraining_id: str | None = Field(description="The retraining request that it follows.")
    at_ms: int
    clock: AuditClock
    n_records: int
    first_seq: int
    last_seq: int
    message: str


class DecisionEntry(_Part):
    """What a person said."""

    at_ms: int
    by: str | None = Field(description="By what they say of themselves.")
    kind: str
    about: str = Field(description="A model, an incident, a request, an alert or a command.")
    verdict: str | None = Field(description="What an incident is, where that was said.")
    note: str
    command_id: str
    seq: int


class ChangeEntry(_Part):
    """A change of how a partition is watched, or of the trail itself."""

    at_ms: int
    clock: AuditClock
    kind: str
    about: str
    detail: str
    by: str | None
    seq: int


class ControlEntry(_Part):
    """One duty of a framework, and where in the report something on it stands."""

    framework: str
    version: str
    control: str
    duty: str = Field(description="What it asks, shortened.")
    sections: list[Section] = Field(description="Empty: nothing in this report is on it.")
    evidence: str = Field(description="What those sections show, or where else to look.")


class MonitoringReport(_Part):
    """What the audit trail says of a span of time."""

    model_config = ConfigDict(frozen=True, title="Monitoring report")

    form: Literal[1] = Field(description="Version of this form.")
    release: str = Field(description="The release of driftsentry that made it.")
    made_ms: int
    from_ms: int = Field(description="The span begins with this time ...")
    until_ms: int = Field(description="... and ends before this one.")
    model_id: str | None = Field(
        description="Incidents, requests and decisions of this model alone; null: of all."
    )
    scope: str = Field(description="What this is, and what it is not.")
    times: str = Field(description="By which clocks the span is taken.")
    trail: TrailVerification = Field(description="Whether the whole trail is whole.")
    plan: list[PlanEntry]
    coverage: list[CoverageEntry]
    gaps: list[GapEntry]
    incidents: list[IncidentEntry]
    requests: list[RequestEntry]
    followups: list[FollowUpEntry]
    decisions: list[DecisionEntry]
    changes: list[ChangeEntry]
    n_unreadable: int = Field(description="Records of the span that could not be read.")
    controls: list[ControlEntry]
