"""What goes out of the responder on a new model version: how it compares, and rollback requests."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.feedback import FeedbackWarning
from schemas.retraining import CleanWindow

RollbackStatus = Literal["held", "released", "withdrawn"]
RollbackHoldReason = Literal["approval_needed", "attack_suspected", "data_fault_open"]
FollowUpStatus = Literal["following", "told"]
VersionVerdict = Literal["worse", "better", "alike", "not_known"]
Basis = Literal["together", "before"]
Loss = Literal["error_rate", "absolute_error"]


class GroupComparison(BaseModel):
    """The new version against the last one, in one group of the events or in all of them."""

    model_config = ConfigDict(frozen=True)

    group: str | None = Field(description="`F=V`, as in names of signals; null: all events.")
    n_old: int = Field(description="Labelled predictions of the last version in it.")
    n_new: int = Field(description="Those of the new one.")
    old: float = Field(description="Mean loss of the last version.")
    new: float = Field(description="Mean loss of the new one.")
    difference: float = Field(description="New less old: above 0 the new version is worse.")
    low: float = Field(description="Lower end of the interval of the difference.")
    high: float = Field(description="Upper end.")
    verdict: VersionVerdict = Field(
        description="`worse`: the whole interval lies above `least_loss`. `better`: it lies below "
        "0. `alike`: neither; or one of them, but in all events not on the same mix of groups, or "
        "in a group not without what the mix of other features makes."
    )


class VersionComparison(BaseModel):
    """Two versions of a model on the same groups, of settled events."""

    model_config = ConfigDict(frozen=True)

    basis: Basis = Field(
        description="`together`: both of the same offsets, since both ran. `before`: the last "
        "version had stopped, and is judged by its last window before the new one began; what "
        "changed in the data at that time is in the difference."
    )
    loss: Loss = Field(
        description="`error_rate` of classes, with Newcombe's hybrid score interval; "
        "`absolute_error` of numbers, with Welch's."
    )
    level: float = Field(
        description="Of all intervals together: that each of them holds, by Bonferroni."
    )
    n_compared: int = Field(description="Intervals that share it: of all events, and of groups.")
    old_window: CleanWindow = Field(description="Which events the last version is judged by.")
    new_window: CleanWindow = Field(description="Which events the new one is judged by.")
    groups: list[GroupComparison] = Field(
        description="All events first, then groups: those that are worse, then the others, each "
        "by `low`; at most 33."
    )


class FollowUpData(BaseModel):
    """The `data` of a record on the follow-up topic: a new version of a model, before and after.

    The topic is compacted by follow-up.
    """

    model_config = ConfigDict(frozen=True, title="Follow-up of a model version")

    followup_id: str = Field(description="Of deployment, model, version and the last version.")
    status: FollowUpStatus = Field(
        description="`following`: its events are not settled yet, or too few have labels. `told`: "
        "it is compared, and that does not change any more."
    )
    verdict: VersionVerdict = Field(
        description="`worse`: in all events or in a group. `better`: in all events, and nowhere "
        "worse. `not_known`: not compared, as `message` says."
    )
    deployment: str = Field(description="The deployment's name, as the detection config says it.")
    model_id: str = Field(description="The model.")
    model_version: str = Field(description="The new version.")
    last_version: str = Field(
        description="The one with most predictions of the model in the `window_offsets` before the "
        "new one's first event."
    )
    retraining_id: str | None = Field(
        description="The released retraining request that it follows: the one whose window ends "
        "last before the version begins. Null where there is none."
    )
    comparison: VersionComparison | None = Field(description="Null while it is not known.")
    warnings: list[FeedbackWarning] = Field(
        description="Signs that labels depend on predictions; no proof."
    )
    message: str = Field(description="The follow-up as a sentence.")


class RollbackHold(BaseModel):
    """One thing that holds a rollback back."""

    model_config = ConfigDict(frozen=True)

    reason: RollbackHoldReason = Field(description="Which it is.")
    detail: str = Field(description="The same in words, and what would release it.")
    evidence_ids: list[str] = Field(description="Anomalies or alerts that it rests on.")


class RollbackData(BaseModel):
    """The `data` of a record on the rollback topic: one request as it is now.

    The topic is compacted by request. A released one never changes any more.
    """

    model_config = ConfigDict(frozen=True, title="Rollback request")

    request_id: str = Field(
        description="Of deployment, model and both versions: roll back once for each."
    )
    status: RollbackStatus = Field(
        description="`held`: `holds` says why. `released`: roll back. `withdrawn`: a later version "
        "of the model has begun, and nobody had approved."
    )
    holds: list[RollbackHold] = Field(description="What holds it back; empty once released.")
    deployment: str = Field(description="The deployment's name, as the detection config says it.")
    model_id: str = Field(description="The model.")
    from_version: str = Field(description="The version that is worse, and is to be replaced.")
    to_version: str = Field(description="The last version, which is to serve again.")
    followup_id: str = Field(description="The follow-up that says the same comparison.")
    comparison: VersionComparison = Field(description="What it rests on.")
    warnings: list[FeedbackWarning] = Field(description="As in the follow-up.")
    approved_by: str | None = Field(description="Who approved, where one did.")
    approval_note: str | None = Field(description="Why, in their words.")
    was_evidence_opened: bool | None = Field(
        description="Whether that person had been shown the comparison before."
    )
    message: str = Field(description="The request as a sentence.")
