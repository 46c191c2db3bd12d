"""What goes out of the responder to training jobs: the data of a retraining request."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.anomalies import OffsetRange
from schemas.feedback import FeedbackWarning
from schemas.incidents import Reason

RequestStatus = Literal["held", "released", "withdrawn"]
HoldReason = Literal[
    "attack_suspected",
    "data_fault_open",
    "label_coverage",
    "too_few_labels",
    "window_not_settled",
    "window_gone",
    "cooldown",
]


class Hold(BaseModel):
    """One thing that holds a request back."""

    model_config = ConfigDict(frozen=True)

    reason: HoldReason
    detail: str = Field(description="The same in words, and what would release it.")
    evidence_ids: list[str] = Field(description="Anomalies or alerts that it rests on.")


class WindowPart(BaseModel):
    """The part of a clean window in one partition of the events topic."""

    model_config = ConfigDict(frozen=True)

    partition: int
    ranges: list[OffsetRange] = Field(description="Both ends included, ascending, apart.")


class CleanWindow(BaseModel):
    """Which events to train on, before those in quarantine are left out."""

    model_config = ConfigDict(frozen=True)

    topic: str
    parts: list[WindowPart] = Field(description="By partition.")
    since_ms: int | None = Field(description="`ts` of its earliest event of the model, if known.")
    until_ms: int | None = Field(description="`ts` of its latest.")
    n_predictions: int | None = Field(description="Of the model; null while it is not settled.")
    n_labels: int | None = Field(
        description="Those of them whose label lies in the window too, without quarantined ones."
    )
    n_quarantined: int | None = Field(description="Labels in it that are left out.")


class QuarantinePart(BaseModel):
    """Events to leave out: those of these sources in these ranges, or all in them."""

    model_config = ConfigDict(frozen=True)

    evidence_id: str = Field(description="The anomaly that says so.")
    partition: int
    ranges: list[OffsetRange]
    sources: list[str] = Field(
        description="Pseudonyms; every event in the ranges where none is named."
    )
    source_key: str | None = Field(description="The id of the key of the pseudonyms.")
    without_source: bool = Field(description="Whether events that give no source are meant too.")


class ExpectedBenefit(BaseModel):
    """How much accuracy was lost since the reference: what a retraining could win back at most."""

    model_config = ConfigDict(frozen=True)

    loss: float = Field(description="Error rate in the window less that of the reference.")
    low: float = Field(
        description="Lower end of its 95 % interval: that of the difference of two proportions "
        "(Newcombe's), with labels taken as independent."
    )
    high: float = Field(description="Upper end.")
    error_rate: float = Field(description="In the window, of labels that are not in quarantine.")
    reference_error_rate: float = Field(
        description="That of the version's reference, as its alerts say it (`error_reference`); of "
        "several shards, that of all their labels."
    )
    n_labels: int = Field(description="In the window, of which the error rate is.")
    n_reference_labels: int = Field(description="Of which that of the reference is.")


class RetrainingData(BaseModel):
    """The `data` of a record on the retraining topic: one request as it is now.

    The topic is compacted by request. A released one never changes any more.
    """

    model_config = ConfigDict(frozen=True, title="Retraining request")

    request_id: str = Field(
        description="Of deployment, model, version and incident: train once for each."
    )
    status: RequestStatus
    holds: list[Hold] = Field(description="What holds it back; empty once it is released.")
    deployment: str
    model_id: str
    model_version: str = Field(description="The version that is to be replaced.")
    incident_id: str
    reason: Reason = Field(description="Of the incident.")
    evidence_ids: list[str] = Field(description="What the reason rests on.")
    window: CleanWindow
    quarantine: list[QuarantinePart] = Field(description="What is to be left out of the window.")
    benefit: ExpectedBenefit | None = Field(
        description="Null while the window is not settled, where it has no labels, where "
        "predictions are no classes, and where no alert of the incident that was told by the "
        "window's end names a reference of this version's errors."
    )
    approved_by: str | None = Field(description="Who approved of the quarantine, where one did.")
    was_evidence_opened: bool | None = Field(
        description="Whether that person had been shown the evidence."
    )
    cooldown_until_ms: int | None = Field(
        description="Once released: no other one whose window begins before this is released "
        "before all that was said of events up to then has been read."
    )
    warnings: list[FeedbackWarning] = Field(
        default_factory=list,
        description="Signs that labels in the window depend on predictions. They hold nothing "
        "back: a model that is trained on such labels learns its own predictions.",
    )
    message: str = Field(description="The request as a sentence.")
