"""Signs of a feedback loop, as they stand in records: labels that depend on predictions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FeedbackKind = Literal["selective_labels", "labels_follow_predictions"]


class FeedbackWarning(BaseModel):
    """Labels seem to depend on what the model predicts, in one region of its predictions."""

    model_config = ConfigDict(frozen=True)

    kind: FeedbackKind = Field(
        description="`selective_labels`: predictions of the region get labels more often, or less, "
        "than the others. `labels_follow_predictions`: labels agree with the new version much more "
        "than with the last one, in this region and in no other, or not one label disagrees."
    )
    region: str = Field(
        description="`class=C`: where C is predicted. `score=1/4`, `prediction=1/4`: the lowest "
        "quarter of the scores or predicted numbers, up to `4/4`. `all`: all predictions."
    )
    share: float = Field(
        description="In the region: the share with labels, or that agrees with the new version."
    )
    other: float = Field(
        description="To compare with: the share with labels elsewhere, or that agreed with the "
        "last version."
    )
    low: float = Field(description="Lower end of the interval of `share` less `other`.")
    high: float = Field(
        description="Upper end. All intervals of one kind in a window together hold at 99 %."
    )
    detail: str = Field(description="The same in words.")
