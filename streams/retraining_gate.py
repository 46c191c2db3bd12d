"""What holds a retraining back, when it is safe, and what it may win back. Pure.

A request is held while an attack is suspected in its window, a fault of the data is open, too few
of its predictions have labels, or one was released a short while ago. It is released once every
duty has folded the whole window and all that they said of it has been read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from detectors.performance.intervals import LEVEL
from schemas.responder_config import RetrainingConfig
from schemas.retraining import (
    CleanWindow,
    ExpectedBenefit,
    Hold,
    RequestStatus,
    RetrainingData,
    WindowPart,
)
from streams.cloudevents import rfc3339
from streams.difference import share_difference
from streams.feedback import selective_labels
from streams.incident_reasons import (
    was_shown,
)
from streams.prediction_regions import Region
from streams.retraining_draft import Draft
from streams.retraining_sentences import request_sentence
from streams.retraining_window import (
    can_be_left_out,
    is_explained,
    offset_range,
)
from streams.troubles import Trouble


class WindowFacts(NamedTuple):
    """What the events of a window say, once it is settled; quarantined ones are counted apart."""

    n_predictions: int
    n_labels: int
    n_errors: int | None
    """None where predictions are numbers."""
    n_quarantined: int
    """Labels that are left out."""
    since_ms: int | None
    until_ms: int | None
    regions: tuple[Region, ...] = ()
    """Of what is predicted; without what is left out."""


class Released(NamedTuple):
    """A request of the model that was released: what it asked for, and its cooldown."""

    request_id: str
    cooldown_until_ms: int


def is_short(facts: WindowFacts, config: RetrainingConfig) -> bool:
    """Whether too few predictions of a settled window have labels, so that it is to be doubled."""
    return bool(_shortages(facts, config))


def request_of(
    draft: Draft,
    facts: WindowFacts | None,
    released: Sequence[Released],
    config: RetrainingConfig,
    *,
    is_gone: bool = False,
) -> RetrainingData:
    """The request as it is now.

    `facts` is None while its window is not settled, and where its events are gone (`is_gone`).
    `released` are the earlier ones of the model; one of this name is never asked about again.
    """
    holds = [*_attack_holds(draft), *_fault_holds(draft)]
    if facts is None and is_gone:
        holds.append(
            Hold(
                reason="window_gone",
                detail="the topic does not have all events of the window any more: keep them "
                "longer, or train on what you have without this request",
                evidence_ids=[],
            )
        )
    elif facts is None:
        holds.append(
            Hold(
                reason="window_not_settled",
                detail="not every duty has folded the whole window, or what they said of it has "
                "not been read; workers of every duty must run. Or its events cannot be read any "
                "more: the responder's log says so",
                evidence_ids=[],
            )
        )
    if facts is not None:
        holds += _shortages(facts, config)
        holds += _quarantine_holds(draft, facts, config)
        holds += _cooldown_holds(draft, facts, released)
    is_over = facts is not None and facts.until_ms is not None and draft.over_ms <= facts.until_ms
    status: RequestStatus = "withdrawn" if is_over else "held" if holds else "released"
    until_ms = None if facts is None else facts.until_ms
    benefit = None if facts is None else _benefit(draft, facts)
    warnings = [] if facts is None else selective_labels(facts.regions)
    return RetrainingData(
        request_id=draft.request_id,
        status=status,
        holds=holds if status == "held" else [],
        deployment=draft.incident.deployment,
        model_id=draft.incident.model_id,
        model_version=draft.model_version,
        incident_id=draft.incident.incident_id,
        reason=draft.verdict.reason,
        evidence_ids=draft.verdict.evidence_ids,
        window=clean_window(draft, facts),
        quarantine=list(draft.window.quarantine),
        benefit=benefit,
        approved_by=draft.approvals[-1].by if draft.approvals else None,
        was_evidence_opened=(
            all(was_shown(each, draft.opened) for each in draft.approvals)
            if draft.approvals
            else None
        ),
        cooldown_until_ms=(
            until_ms + config.cooldown_ms if status == "released" and until_ms is not None else None
        ),
        warnings=warnings,
        message=request_sentence(draft, status, holds, facts, benefit, warnings),
    )


def _since_approval(draft: Draft) -> str:
    """That somebody has approved, before this was known; empty where nobody has."""
    if not draft.approvals:
        return ""
    last = draft.approvals[-1]
    return f" ({last.by} approved at revision {last.revision} of the incident, without this)"


def _attack_holds(draft: Draft) -> list[Hold]:
    attacks = draft.window.attacks
    if not attacks:
        return []
    kinds = ", ".join(sorted({_technique(each) for each in attacks}))
    beside = [*attacks, *draft.window.left_out]
    named = all(can_be_left_out(one.evidence) or is_explained(one, beside) for one in attacks)
    remedy = (
        "approve of its quarantine, or overrule its incident"
        if named
        else "not all who take part are named: wait until it is over, approve of leaving out all "
        "events in its ranges, or overrule its incident"
    )
    return [
        Hold(
            reason="attack_suspected",
            detail=f"{kinds} is suspected in the window{_since_approval(draft)}; {remedy}",
            evidence_ids=[each.evidence.evidence_id for each in attacks],
        )
    ]


def _fault_holds(draft: Draft) -> list[Hold]:
    faults = draft.window.faults
    if not faults:
        return []
    return [
        Hold(
            reason="data_fault_open",
            detail="data that broke in the window have not been seen whole again; mend them, and "
            "the window begins behind, or overrule the incident, if it is the world that changed",
            evidence_ids=[each.evidence.evidence_id for each in faults],
        )
    ]


def _shortages(facts: WindowFacts, config: RetrainingConfig) -> list[Hold]:
    holds = []
    labelled = facts.n_labels + facts.n_quarantined
    if labelled < config.min_label_coverage * facts.n_predictions:
        holds.append(
            Hold(
                reason="label_coverage",
                detail=f"{labelled:,} of {facts.n_predictions:,} predictions in the window have a "
                f"label in it, and {config.min_label_coverage:.0%} are asked for: look at the "
                "service that sends labels, or allow a longer window",
                evidence_ids=[],
            )
        )
    if facts.n_labels < config.min_labels:
        holds.append(
            Hold(
                reason="too_few_labels",
                detail=f"{facts.n_labels:,} labels in the window can be trained on, and "
                f"{config.min_labels:,} are asked for",
                evidence_ids=[],
            )
        )
    return holds


def _quarantine_holds(draft: Draft, facts: WindowFacts, config: RetrainingConfig) -> list[Hold]:
    """What the config lets be left out without asking must be a small part."""
    labelled = facts.n_labels + facts.n_quarantined
    parts = [each.evidence_id for each in draft.window.quarantine]
    if draft.approved.issuperset(parts) or facts.n_quarantined <= config.max_quarantined * labelled:
        return []
    return [
        Hold(
            reason="attack_suspected",
            detail=f"{facts.n_quarantined:,} of {labelled:,} labels would be left out, more than "
            f"{config.max_quarantined:.0%}{_since_approval(draft)}: approve of the quarantine, or "
            "overrule its incident",
            evidence_ids=parts,
        )
    ]


def _cooldown_holds(draft: Draft, facts: WindowFacts, released: Sequence[Released]) -> list[Hold]:
    until_ms = max((each.cooldown_until_ms for each in released), default=None)
    if until_ms is None or facts.since_ms is None or facts.since_ms >= until_ms:
        return []
    if draft.watermark_ms is not None and draft.watermark_ms >= until_ms:
        return []
    return [
        Hold(
            reason="cooldown",
            detail=f"a retraining was asked for already: this one waits until all that was said "
            f"of events up to {rfc3339(until_ms)} has been read",
            evidence_ids=[],
        )
    ]


def _benefit(draft: Draft, facts: WindowFacts) -> ExpectedBenefit | None:
    """The loss of accuracy since the reference; None where either side is not known."""
    before = draft.errors_before
    if before is None or facts.n_errors is None or not facts.n_labels:
        return None
    now, then = (facts.n_errors, facts.n_labels), (before.n_errors, before.n_labels)
    loss = share_difference(now, then, LEVEL)
    return ExpectedBenefit(
        loss=loss.difference,
        low=loss.low,
        high=loss.high,
        error_rate=facts.n_errors / facts.n_labels,
        reference_error_rate=before.n_errors / before.n_labels,
        n_labels=facts.n_labels,
        n_reference_labels=before.n_labels,
    )


def clean_window(draft: Draft, facts: WindowFacts | None) -> CleanWindow:
    """The window as it stands in records."""
    return CleanWindow(
        topic=draft.topic,
        parts=[
            WindowPart(partition=each.partition, ranges=[offset_range(each)])
            for each in draft.window.stretches
        ],
        since_ms=None if facts is None else facts.since_ms,
        until_ms=None if facts is None else facts.until_ms,
        n_predictions=None if facts is None else facts.n_predictions,
        n_labels=None if facts is None else facts.n_labels,
        n_quarantined=None if facts is None else facts.n_quarantined,
    )


def _technique(trouble: Trouble) -> str:
    assert trouble.evidence.anomaly is not None
    return trouble.evidence.anomaly.unmapped.technique.replace("_", " ")
