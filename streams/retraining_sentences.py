"""A retraining request as a sentence that a person understands. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from schemas.feedback import FeedbackWarning
from schemas.printable import escaped
from schemas.retraining import ExpectedBenefit, Hold, RequestStatus

if TYPE_CHECKING:
    from streams.retraining_draft import Draft
    from streams.retraining_gate import WindowFacts

_STATUS: Final[dict[RequestStatus, str]] = {
    "held": "a retraining is wanted, and held",
    "released": "retrain it",
    "withdrawn": "no retraining is wanted any more: what had changed has come back",
}


def request_sentence(
    draft: Draft,
    status: RequestStatus,
    holds: Sequence[Hold],
    facts: WindowFacts | None,
    benefit: ExpectedBenefit | None,
    warnings: Sequence[FeedbackWarning],
) -> str:
    """Model, what to do, on which events, what it may win, of what to beware, what holds it."""
    who = f"{escaped(draft.incident.model_id)} {escaped(draft.model_version)}"
    said = f"{who}: {_STATUS[status]}"
    if status == "withdrawn":
        return f"{said}."
    places = ", ".join(
        f"{each.first} to {each.last} of partition {each.partition}"
        for each in draft.window.stretches
    )
    said += f", on offsets {places} of {escaped(draft.topic)}"
    if facts is not None:
        said += f" ({facts.n_labels:,} labels"
        left_out = f", {facts.n_quarantined:,} left out" if facts.n_quarantined else ""
        said += f"{left_out})"
    if benefit is not None and benefit.loss >= 0.0:
        said += (
            f"; accuracy has fallen by {benefit.loss:.3f} ({benefit.low:.3f} to {benefit.high:.3f})"
        )
    elif benefit is not None:
        rise, least, most = -benefit.loss, -benefit.high, -benefit.low
        said += f"; accuracy has risen by {rise:.3f} ({least:.3f} to {most:.3f})"
    if warnings:
        said += f". Beware: {'; '.join(escaped(each.detail) for each in warnings)}"
    if status == "held":
        said += f". Held: {'; '.join(escaped(each.detail) for each in holds)}"
    return f"{said}."
