"""What an incident is: the rules that decide it, in their order, and who may say otherwise. Pure.

The first rule that holds decides. Attacks come first: what looks like drift may be one on the next
training, and a retraining that waits for nothing is dearer than one that waits. Then data that
broke, since a model that is trained on them learns the fault; then what was planned; then harm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from schemas.alerts import AlertData, MovedSignal
from schemas.incidents import Reason, Verdict
from schemas.signal_names import (
    CALIBRATION,
    DISPARITY,
    ERROR,
    ERROR_GAP,
    EXPECTED_ERROR,
    LATENCY,
    QUALITY,
)
from streams.incident_evidence import Evidence, trouble_of

_FAULT_EFFECT: Final = 0.5
"""From this effect on, in reference standard deviations, a share of missing values is a fault: that
of an alert of severity high."""


class Overruling(NamedTuple):
    """What a person says that an incident is. The latest one counts, by place in the topic."""

    place: int
    incident_id: str
    reason: Reason
    by: str
    note: str


class Approval(NamedTuple):
    """That a person approves of a request's quarantine. The latest one counts."""

    place: int
    request_id: str
    incident_id: str
    by: str
    note: str


class Opening(NamedTuple):
    """That a person has been shown the evidence of an incident."""

    place: int
    incident_id: str
    by: str


Said = Overruling | Approval | Opening
"""What people say, by its place in the commands topic."""


class Held(NamedTuple):
    """That a rule holds: what it saw, and in which evidence."""

    because: str
    evidence_ids: list[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: what it decides, and on which evidence. `says` is None where it does not hold."""

    name: str
    reason: Reason
    holds_where: str
    says: Callable[[Sequence[Evidence]], Held | None]


def verdict_of(
    evidence: Sequence[Evidence], said: Sequence[Overruling], opened: Sequence[Opening] = ()
) -> Verdict:
    """The reason of an incident, from all of its evidence and what people said of it."""
    held = [(rule, found) for rule in RULES if (found := rule.says(evidence)) is not None]
    rule, found = held[0]
    # The last rule holds always: beside others it says nothing.
    reasons = list(dict.fromkeys(each.reason for each, _ in held[:-1]))
    last = max(said, default=None)
    return Verdict(
        reason=rule.reason if last is None else last.reason,
        rule=rule.name if last is None else "overruled",
        because=found.because,
        evidence_ids=found.evidence_ids,
        also=[each for each in reasons[1:] if last is None or each != last.reason],
        by=None if last is None else last.by,
        note=None if last is None else last.note,
        ruled=None if last is None else rule.reason,
        was_evidence_opened=None if last is None else was_opened(last, opened),
    )


def was_opened(word: Overruling | Approval, opened: Sequence[Opening]) -> bool:
    """Whether who said this had been shown the evidence before."""
    return any(each.by == word.by and each.place < word.place for each in opened)


def is_fault(moved: MovedSignal) -> bool:
    """Whether a signal that moved says that data broke, rather than that the world did."""
    if moved.signal in QUALITY or moved.signal == LATENCY or moved.part_factor is not None:
        return True
    return (
        moved.signal.startswith("missing:")
        and moved.direction == "rose"
        and moved.effect >= _FAULT_EFFECT
    )


def is_harm(moved: MovedSignal) -> bool:
    """Whether a signal that moved says that a model is worse, or that nobody knows how good."""
    name, rose = moved.signal, moved.direction == "rose"
    if name == ERROR or name.startswith(f"{ERROR}:"):
        # Of numbers the error has a sign: either way is harm, and so is a wider spread.
        return rose or moved.unit != "share"
    if name in (EXPECTED_ERROR, ERROR_GAP):
        return rose
    kind, _, feature = name.partition(":")
    if kind in DISPARITY and feature:
        # The ratio is better where it is higher, a gap where it is lower.
        return rose != (kind == DISPARITY[0])
    return name == CALIBRATION


def moved_of(evidence: Sequence[Evidence]) -> list[tuple[Evidence, AlertData, MovedSignal]]:
    """Every signal of every alert, with where it stands."""
    return [
        (each, each.alert, moved)
        for each in evidence
        if each.alert is not None
        for moved in each.alert.signals
    ]


def _attack(family: str, words: str) -> Callable[[Sequence[Evidence]], Held | None]:
    def says(evidence: Sequence[Evidence]) -> Held | None:
        own = [each for each in evidence if each.family == family]
        if not own:
            return None
        kinds = sorted(
            {each.anomaly.unmapped.technique for each in own if each.anomaly is not None}
        )
        n_sources = sum(each.anomaly.unmapped.n_sources for each in own if each.anomaly is not None)
        clients = "source" if n_sources == 1 else "sources"
        return Held(
            f"{words} is suspected ({', '.join(kinds)}), of {n_sources} {clients}",
            [each.evidence_id for each in own],
        )

    return says


def _silence(evidence: Sequence[Evidence]) -> Held | None:
    own = [each for each in evidence if each.silence is not None]
    if not own:
        return None
    kinds = sorted(
        {trouble_of(each.silence).replace("_", " ") for each in own if each.silence is not None}
    )
    return Held(f"events stay away, or come in other numbers: {', '.join(kinds)}", _ids(own))


def _fault(evidence: Sequence[Evidence]) -> Held | None:
    found = [(each, moved) for each, _, moved in moved_of(evidence) if is_fault(moved)]
    of_most = [each for each in evidence if each.family == "fault"]
    if not found and not of_most:
        return None
    names = list(dict.fromkeys(moved.signal for _, moved in found[:_MAX_NAMED]))
    if of_most:
        names.append("those of most clients at once")
    return Held(f"data broke: {', '.join(names)}", _ids([*(each for each, _ in found), *of_most]))


def _planned(evidence: Sequence[Evidence]) -> Held | None:
    own = [each for each in evidence if each.alert is not None and each.alert.planned is not None]
    if not own or len(own) < sum(each.alert is not None for each in evidence):
        # Where something moved that nobody had announced, the plan does not explain it.
        return None
    why = sorted({each.alert.planned for each in own if each.alert and each.alert.planned})
    return Held(f"the change was announced: {'; '.join(why)}", _ids(own))


def _skew(evidence: Sequence[Evidence]) -> Held | None:
    own = [each for each in evidence if each.alert is not None and each.alert.training_serving_skew]
    if not own:
        return None
    return Held("what is served differs from the reference that was set for it", _ids(own))


def _harm(evidence: Sequence[Evidence]) -> Held | None:
    found = [(each, moved) for each, _, moved in moved_of(evidence) if is_harm(moved)]
    if not found:
        return None
    names = ", ".join(dict.fromkeys(moved.signal for _, moved in found[:_MAX_NAMED]))
    return Held(
        f"predictions are worse, or no longer worth what they say: {names}",
        _ids([each for each, _ in found]),
    )


def _benign(evidence: Sequence[Evidence]) -> Held:
    return Held(
        "inputs or predictions moved, and nothing says that predictions are worse", _ids(evidence)
    )


def _ids(evidence: Sequence[Evidence]) -> list[str]:
    return list(dict.fromkeys(each.evidence_id for each in evidence))[:_MAX_IDS]


_MAX_NAMED: Final = 8
_MAX_IDS: Final = 64

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "poisoning_suspected",
        "suspected_poisoning",
        "an anomaly of `label_poisoning`, `backdoor` or `frog_boiling` is part of it",
        _attack("poisoning", "poisoning of the next training"),
    ),
    Rule(
        "probing_suspected",
        "suspected_probing",
        "an anomaly of another technique is part of it, exposures left out",
        _attack("probing", "an attack by queries"),
    ),
    Rule("events_stay_away", "data_fault", "a silence or another volume is part of it", _silence),
    Rule(
        "data_broke",
        "data_fault",
        "a signal `quality:...` or `latency` moved, one seems to have another unit, or "
        "`missing:F` rose by half a standard deviation or more; or an anomaly `data_change` is "
        "part of it",
        _fault,
    ),
    Rule("announced", "deployment_change", "every alert falls into a planned change", _planned),
    Rule(
        "reference_does_not_fit",
        "deployment_change",
        "an alert has `training_serving_skew`",
        _skew,
    ),
    Rule(
        "predictions_worse",
        "harmful_drift",
        "`error`, `error:F=V`, `expected_error` or `error_gap` rose, `calibration` moved, or "
        "groups came apart",
        _harm,
    ),
    Rule("nothing_says_harm", "benign_drift", "no other rule holds", _benign),
)
"""In the order in which they are asked. `nothing_says_harm` holds always."""
