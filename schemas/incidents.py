"""What goes out of the responder: the data of an incident, as its consumers read it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.alerts import Severity

Reason = Literal[
    "suspected_poisoning",
    "suspected_probing",
    "data_fault",
    "deployment_change",
    "harmful_drift",
    "benign_drift",
]
IncidentStatus = Literal["opened", "updated", "closed"]
CauseKind = Literal["source", "quality", "version", "signal", "slice"]
EvidenceKind = Literal["alert", "anomaly", "liveness"]


class RankedCause(BaseModel):
    """One thing that an incident may come from, or shows in."""

    model_config = ConfigDict(frozen=True)

    kind: CauseKind = Field(
        description="`source`: a client that is suspected. `quality`: data that broke. `version`: "
        "a planned change, or a reference that does not fit what is served. `signal`: what "
        "moved. `slice`: a group with more of the errors than of the events."
    )
    name: str = Field(
        description="The pseudonym of a source, the name of a signal or a group, or a version."
    )
    size: float = Field(
        description="Of a source the events of evidence; of a signal or broken data the effect in "
        "reference standard deviations, signed; of a group its share of the errors; of a version 0."
    )
    detail: str = Field(description="The same in words.")
    evidence_id: str = Field(description="The alert, anomaly or silence that says so.")


class EvidencePlace(BaseModel):
    """Where a piece of evidence can be looked at."""

    model_config = ConfigDict(frozen=True)

    evidence_id: str = Field(
        description="`alert_id` of an alert, `finding_info.uid` of an anomaly; of a silence a hash "
        "of model, kind and when it began."
    )
    kind: EvidenceKind = Field(description="On which topic it lies: alerts, anomalies or liveness.")
    revision: int = Field(description="Its latest record that was read.")
    what: str = Field(description="Its signal, technique, or kind of silence.")
    model_version: str = Field(description="The version that it is about; empty of a partition.")
    partition: int = Field(description="Input partition of the offsets.")
    lineage: str | None = Field(description="Of the fold that says so; null of a silence.")
    first_offset: int | None = Field(
        description="About where it begins in the input; null of a silence."
    )
    last_offset: int | None = Field(description="The record that its latest record is told for.")
    start_ms: int = Field(description="Event time of its beginning, as far as it is known.")
    last_ms: int = Field(description="Event time of its latest record.")
    has_ended: bool = Field(description="Whether its latest record says that it is over.")


class Verdict(BaseModel):
    """The reason of an incident, and how it was decided."""

    model_config = ConfigDict(frozen=True)

    reason: Reason = Field(description="What it is.")
    rule: str = Field(description="The rule that decided, `overruled` where a person did.")
    because: str = Field(description="What the rule saw, in words.")
    evidence_ids: list[str] = Field(description="The evidence that it rests on.")
    also: list[Reason] = Field(description="Other reasons whose rules hold as well.")
    by: str | None = Field(description="Who overruled it; null where a rule decided.")
    note: str | None = Field(description="What that person said of it.")
    ruled: Reason | None = Field(
        description="What the rules had decided, where a person overruled."
    )
    covers: dict[str, int] | None = Field(
        description="What that person's word lets through: evidence by id, each with the revision "
        "that it is about. What joins the incident later holds again; null where a rule decided."
    )
    was_evidence_opened: bool | None = Field(
        description="Whether that person had been shown the evidence; null where a rule decided."
    )


class IncidentData(BaseModel):
    """The `data` of a record on the incidents topic: all that is known of one incident.

    The topic is compacted: the latest record of a key is the incident as it is now, and a record
    without a value says that it is none any more: it has become part of another one, or is benign
    after all and has not lasted yet. It is a function of the evidence, in whatever order that was
    read.
    """

    model_config = ConfigDict(frozen=True, title="Incident")

    incident_id: str = Field(
        description="Of deployment, model and the evidence that begins first: the record's key."
    )
    revision: int = Field(
        description="Grows with each piece of evidence, each record of one, what people say (by "
        "two), and when it is closed (by one): what opens it again is above its end."
    )
    status: IncidentStatus = Field(
        description="`opened`: the first that is told of it. `updated`: more is known. "
        "`closed`: it is over."
    )
    deployment: str = Field(description="The deployment's name, as the detection config says it.")
    model_id: str = Field(description="The model; empty where it is about a whole partition.")
    model_versions: list[str] = Field(description="Its versions that evidence is about, sorted.")
    severity: Severity = Field(description="That of its most severe evidence.")
    verdict: Verdict = Field(description="The reason, and how it was decided: below.")
    start_ms: int = Field(description="Event time at which the first evidence begins.")
    last_ms: int = Field(description="Event time of what was said last.")
    closed_ms: int | None = Field(description="Event time at which it was closed; null while open.")
    causes: list[RankedCause] = Field(description="Likely ones first; at most 16.")
    evidence: list[EvidencePlace] = Field(
        description="In the order in which it begins: at most 512 of attacks and broken data, and "
        "with the first one and the first and the latest of the others at most 64 where those are "
        "fewer."
    )
    n_evidence: int = Field(description="How much there is.")
    message: str = Field(description="The incident as a sentence.")
