"""An incident as a sentence that a person understands. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.incidents import RankedCause, Reason, Verdict
from schemas.printable import escaped
from streams.cloudevents import rfc3339

WORDS: Final[dict[Reason, str]] = {
    "suspected_poisoning": "suspected poisoning",
    "suspected_probing": "suspected probing",
    "data_fault": "a data fault",
    "deployment_change": "a change of deployment",
    "harmful_drift": "harmful drift",
    "benign_drift": "benign drift",
}
_NEXT: Final[dict[Reason, str]] = {
    "suspected_poisoning": "Do not train on these events until somebody has looked at the sources.",
    "suspected_probing": "Look at the sources before more of the model is given away.",
    "data_fault": "Mend the data first: a model that is trained on them learns the fault.",
    "deployment_change": "Set a reference that fits what is served now.",
    "harmful_drift": "Consider retraining on events since it began.",
    "benign_drift": "Ask for labels before anything is retrained.",
}
_MAX_CAUSES: Final = 3


def sentence(
    model_id: str,
    versions: Sequence[str],
    verdict: Verdict,
    causes: Sequence[RankedCause],
    start_ms: int,
    closed_ms: int | None,
) -> str:
    """Model, reason, since when, what speaks for it, likely causes, what to do next."""
    who = " ".join(
        escaped(each) for each in [model_id or "a partition", ", ".join(versions)] if each
    )
    times = f"since {rfc3339(start_ms)}"
    if closed_ms is not None:
        times = f"from {rfc3339(start_ms)}, closed {rfc3339(closed_ms)}"
    said = f"{who}: {WORDS[verdict.reason]} {times}"
    because = escaped(verdict.because)
    if verdict.by is not None and verdict.ruled is not None:
        note = f": {escaped(verdict.note)}" if verdict.note else ""
        said += f", as {escaped(verdict.by)} says{note}. "
        said += f"The rules had said {WORDS[verdict.ruled]}: {because}."
    else:
        said += f": {because}."
    if causes:
        said += f" First: {'; '.join(escaped(each.detail) for each in causes[:_MAX_CAUSES])}."
    return said if closed_ms is not None else f"{said} {_NEXT[verdict.reason]}"
