"""What signals of labels are called, and what to do about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.alerts import MovedSignal
from schemas.signal_names import (
    CALIBRATION,
    ERROR,
    ERROR_GAP,
    EXPECTED_ERROR,
    FALSE_POSITIVE,
    LABEL_COVERAGE,
    LABEL_DELAY,
    LEAKAGE,
    RECALL,
    SELECTION,
    of_feature,
    plain,
    plain_value,
)

_WORDS: Final = {
    LABEL_DELAY: "the delay of labels in seconds",
    LABEL_COVERAGE: "the share of predictions that get a label in time",
    CALIBRATION: "the calibration (0.5 where outcomes are as frequent as scores say)",
    EXPECTED_ERROR: "the share of wrong predictions that scores make one expect",
    ERROR_GAP: "the share of wrong predictions beyond what scores made one expect",
    LEAKAGE: "the strength of the one feature that tells most of the label (0 nothing, 1 all)",
}
_WRONG: Final = "the share of wrong predictions"
_RESIDUE: Final = "predicted less true"
_NEARLY: Final = 0.8
"""The strength, |2 AUC - 1|, from which a feature is said to predict the label nearly by itself: an
AUC of 0.9."""
_OF_GROUPS: Final = {
    SELECTION: "the lowest selection rate of groups of {feature} over the highest",
    RECALL: "the widest difference of recall between groups of {feature}",
    FALSE_POSITIVE: "the widest difference of false-positive rate between groups of {feature}",
}
_ADVICE: Final = {
    ERROR: "Look at what changed between inputs and outcomes, and at the labels themselves.",
    LABEL_DELAY: "Look at the service that sends labels: until they have come, metrics are of "
    "those that came early.",
    LABEL_COVERAGE: "Look at the service that sends labels: metrics are of the predictions that "
    "got one.",
    CALIBRATION: "Calibrate the score anew before its thresholds and estimates are trusted.",
    EXPECTED_ERROR: "No label says so yet: look at the features that moved, and ask for labels.",
    ERROR_GAP: "The estimate of performance from scores is not to be trusted until the score is "
    "calibrated anew.",
    "label": "Look at how labels are made, and at whom the model is asked about: the balance of "
    "the truth has moved.",
    SELECTION: "Look at the groups' rates in the live view: one may be treated unequally.",
    RECALL: "Look at the groups' rates in the live view: one may be treated unequally.",
    FALSE_POSITIVE: "Look at the groups' rates in the live view: one may be treated unequally.",
}


def label_subject(moved: MovedSignal) -> str | None:
    """What moved, in words; None where it is no signal of labels."""
    kind, _, name = moved.signal.partition(":")
    feature, category = of_feature(name)
    own = plain(feature)
    if kind in _OF_GROUPS:
        return _OF_GROUPS[kind].format(feature=own)
    if kind == "label":
        return f"the share of label {plain_value(name)}"
    if kind == ERROR:
        what = _error(moved)
        return what if category is None else f"{what} where {own}={plain_value(category)}"
    words = _WORDS.get(kind)
    if words is not None and moved.unit == "departures":
        return f"the share of events whose {kind.replace('_', ' ')} departs from its constant"
    return words


def is_of_labels(signal: str) -> bool:
    """Whether labels tell of a signal with this name."""
    kind = signal.partition(":")[0]
    return kind in _WORDS or kind in _OF_GROUPS or kind in {"label", ERROR}


def advice(moved: MovedSignal) -> str:
    """What to look at, a sentence with a space before it; "" where the signal says enough."""
    if moved.signal == LEAKAGE and moved.named_feature and moved.direction == "rose":
        by_itself = moved.after is not None and moved.after >= _NEARLY
        how = "predicts the label nearly by itself" if by_itself else "predicts more of the label"
        return f" Feature {moved.named_feature} {how}: is it known when the model predicts?"
    said = _ADVICE.get(moved.signal.partition(":")[0], "")
    return f" {said}" if said else ""


def of_estimate(away: Sequence[MovedSignal]) -> str:
    """What scores make one expect now and in the reference, a sentence with a space before it.

    "" where this has not moved, or is not known.
    """
    known = (each.expected for each in away if each.expected is not None)
    told = next((each for each in known if each.value is not None), None)
    if told is None:
        return ""
    now = _within(told.value, told.low, told.high)
    was = _within(told.reference, told.reference_low, told.reference_high)
    return f" Scores make one expect an error rate of {now}, in the reference {was}."


def distrust(away: Sequence[MovedSignal], first: MovedSignal) -> str:
    """That the estimate is not to be trusted, where the gap has moved and does not stand first."""
    if first.signal == ERROR_GAP or all(each.signal != ERROR_GAP for each in away):
        return ""
    return f" {_ADVICE[ERROR_GAP]}"


def _within(value: float | None, low: float | None, high: float | None) -> str:
    """A rate with its interval, three digits each."""
    shown = [f"{0.0 if each is None else each:.3g}" for each in (value, low, high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def worst_groups(moved: MovedSignal) -> str:
    """The groups that have more of the errors than of the events; "" for none."""
    what = "absolute error" if moved.error_of == "number" else "errors"
    told = [
        f"{_group(each.signal)} with {100 * each.of_errors:.0f} % of the {what} on "
        f"{100 * each.of_events:.0f} % of the events"
        for each in moved.worst_groups
    ]
    return f"; worst: {', '.join(told)}" if told else ""


def _error(moved: MovedSignal) -> str:
    """What an error is: a share of wrong predictions, or of a number predicted less true."""
    if moved.error_of != "number":
        return _WRONG
    if moved.unit == "departures":
        return f"the share of predictions whose error ({_RESIDUE}) departs from its constant"
    return f"the error ({_RESIDUE})"


def _group(signal: str) -> str:
    feature, category = of_feature(signal.removeprefix(f"{ERROR}:"))
    return f"{plain(feature)}={plain_value(category or '')}"
