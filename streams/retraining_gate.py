"""Whether a retraining is asked for, what holds it back, and when it is safe. Pure.

A request is held while an attack is suspected in its window, a fault of the data is open, too few
of its predictions have labels, or one was released a short while ago. It is released once every
duty has folded the whole window and all that they said of it has been read. What is found beyond
the window does not enter: the same request comes out in every order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from detectors.performance.intervals import LEVEL, quantile, wilson
from schemas.incidents import IncidentData, Verdict
from schemas.responder_config import RetrainingConfig
from schemas.retraining import (
    CleanWindow,
    ExpectedBenefit,
    Hold,
    RequestStatus,
    RetrainingData,
    WindowPart,
)
from schemas.signal_names import ERROR
from streams.cloudevents import rfc3339
from streams.identity import request_id
from streams.incident_evidence import Evidence
from streams.incident_reasons import Approval, Opening, Overruling, verdict_of, was_opened
from streams.incidents import Group
from streams.retraining_sentences import request_sentence
from streams.retraining_window import (
    Trouble,
    Window,
    as_of,
    can_be_left_out,
    offset_range,
    window_of,
)


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


class Released(NamedTuple):
    """A request of the model that was released: what it asked for, and its cooldown."""

    request_id: str
    cooldown_until_ms: int


@dataclass(frozen=True, slots=True)
class ModelCase:
    """What is known of one model beside the incident in question."""

    evidence: Sequence[Evidence]
    said: Sequence[Overruling]
    approvals: Sequence[Approval]
    opened: Sequence[Opening]
    dismissed: frozenset[str]
    """Evidence ids of incidents that a person says are no attack."""
    topic: str
    """That of the events, which offsets are of."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A request with its window, before the window's events have been looked at."""

    request_id: str
    incident: IncidentData
    verdict: Verdict
    """From what was known at the window's end."""
    model_version: str
    window: Window
    topic: str
    approval: Approval | None
    opened: Sequence[Opening]
    error_before: float | None
    """The error rate of the reference."""

    @property
    def last(self) -> dict[int, int]:
        """The window's last offset in each partition."""
        return {each.partition: each.last for each in self.window.stretches}


def draft_of(
    own: Group,
    incident: IncidentData,
    model: ModelCase,
    config: RetrainingConfig,
    n_doublings: int = 0,
) -> Draft | None:
    """The request that an incident, made of `own`, asks for; None where it asks for none."""
    place = _place_of(own.evidence)
    if place is None:
        return None
    version, folds, start = place
    # A store has an order of its own, and none may show.
    here = sorted(
        (each for each in model.evidence if _is_of(each, folds)),
        key=lambda each: (each.start_ms, each.evidence_id),
    )
    name = request_id(incident.deployment, incident.model_id, version, incident.incident_id)
    approval = max((each for each in model.approvals if each.request_id == name), default=None)
    window = window_of(
        start,
        here,
        config,
        n_doublings,
        dismissed=model.dismissed,
        quarantined=_left_out(here, approval, config),
    )
    last = {each.partition: each.last for each in window.stretches}
    known = list(as_of([each for each in own.evidence if _is_of(each, folds)], last))
    said = [each for each in model.said if own.answers_to(each.incident_id)]
    if not known:
        return None
    opened = [each for each in model.opened if own.answers_to(each.incident_id)]
    verdict = verdict_of(known, said, opened)
    reasons = {verdict.reason} if verdict.by is not None else {verdict.reason, *verdict.also}
    if not reasons & set(config.reasons):
        return None
    return Draft(
        name,
        incident,
        verdict,
        version,
        window,
        model.topic,
        approval,
        opened,
        _error_before(known),
    )


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
        holds += _cooldown_holds(facts, released)
    is_over = (
        facts is not None
        and facts.until_ms is not None
        and draft.incident.closed_ms is not None
        and draft.incident.closed_ms <= facts.until_ms
    )
    status: RequestStatus = "withdrawn" if is_over else "held" if holds else "released"
    until_ms = None if facts is None else facts.until_ms
    benefit = None if facts is None else _benefit(draft, facts)
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
        approved_by=None if draft.approval is None else draft.approval.by,
        was_evidence_opened=(
            None if draft.approval is None else was_opened(draft.approval, draft.opened)
        ),
        cooldown_until_ms=(
            until_ms + config.cooldown_ms if status == "released" and until_ms is not None else None
        ),
        message=request_sentence(draft, status, holds, facts, benefit),
    )


def _place_of(
    own: Sequence[Evidence],
) -> tuple[str, dict[int, str], dict[int, int]] | None:
    """The version to be replaced, by partition the fold that saw it and where it began."""
    alerts = [each.alert for each in own if each.alert is not None]
    if not alerts:
        return None
    # The version that was deployed last; of a partition that was reset, the fold that goes on.
    newest = max(alerts, key=lambda each: (each.event_time_ms, each.alert_id))
    lineages = {
        each.partition: each.lineage
        for each in sorted(alerts, key=lambda one: (one.event_time_ms, one.alert_id))
    }
    start: dict[int, int] = {}
    for each in own:
        alert, first = each.alert, each.first_offset
        if alert is None or first is None or lineages[alert.partition] != alert.lineage:
            continue
        start[alert.partition] = min(start.get(alert.partition, first), first)
    return newest.model_version, lineages, start


def _is_of(evidence: Evidence, folds: Mapping[int, str]) -> bool:
    """Whether it speaks of the offsets that these folds have, by partition.

    An anomaly is of another duty, whose lineage is never that of an alert: its partition counts. So
    one of a former topic may hold a request; the other way round an attack would hold none.
    """
    if evidence.alert is not None:
        return folds.get(evidence.alert.partition) == evidence.alert.lineage
    return evidence.anomaly is not None and evidence.anomaly.unmapped.partition in folds


def _left_out(
    evidence: Sequence[Evidence], approval: Approval | None, config: RetrainingConfig
) -> frozenset[str]:
    """Attacks in quarantine: with approval all, by the config those whose sources are named."""
    attacks = [each for each in evidence if each.family in ("poisoning", "probing")]
    if approval is None:
        if config.quarantine == "ask":
            return frozenset()
        attacks = [each for each in attacks if can_be_left_out(each)]
    return frozenset(each.evidence_id for each in attacks)


def _error_before(evidence: Sequence[Evidence]) -> float | None:
    """The error rate of the reference, as an alert on it says; None where none does."""
    for each in evidence:
        for moved in each.alert.signals if each.alert is not None else ():
            if moved.signal == ERROR and moved.unit == "share" and moved.before is not None:
                return moved.before
    return None


def _attack_holds(draft: Draft) -> list[Hold]:
    attacks = draft.window.attacks
    if not attacks:
        return []
    kinds = ", ".join(sorted({_technique(each) for each in attacks}))
    named = all(can_be_left_out(each.evidence) for each in attacks)
    remedy = (
        "approve of its quarantine, or overrule its incident"
        if named
        else "not all who take part are named: wait until it is over, approve of leaving out all "
        "events in its ranges, or overrule its incident"
    )
    return [
        Hold(
            reason="attack_suspected",
            detail=f"{kinds} is suspected in the window; {remedy}",
            evidence_ids=[each.evidence.evidence_id for each in attacks],
        )
    ]


def _fault_holds(draft: Draft) -> list[Hold]:
    faults = [each for each in draft.window.faults if not each.is_over]
    if not faults:
        return []
    return [
        Hold(
            reason="data_fault_open",
            detail="data that broke in the window have not been seen whole again; mend them, and "
            "the window begins behind",
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
    if draft.approval is not None or facts.n_quarantined <= config.max_quarantined * labelled:
        return []
    return [
        Hold(
            reason="attack_suspected",
            detail=f"{facts.n_quarantined:,} of {labelled:,} labels would be left out, more than "
            f"{config.max_quarantined:.0%}: approve of the quarantine, or overrule its incident",
            evidence_ids=[each.evidence_id for each in draft.window.quarantine],
        )
    ]


def _cooldown_holds(facts: WindowFacts, released: Sequence[Released]) -> list[Hold]:
    until_ms = max((each.cooldown_until_ms for each in released), default=None)
    if until_ms is None or facts.since_ms is None or facts.since_ms >= until_ms:
        return []
    return [
        Hold(
            reason="cooldown",
            detail=f"a retraining was asked for already, and the next one may use events from "
            f"{rfc3339(until_ms)} on",
            evidence_ids=[],
        )
    ]


def _benefit(draft: Draft, facts: WindowFacts) -> ExpectedBenefit | None:
    """The loss of accuracy, with Newcombe's interval for the window's side of it.

    The reference's rate is one that the alert gives without its number of labels: it is taken as
    known, so that the interval is that of the window.
    """
    before = draft.error_before
    if before is None or facts.n_errors is None or not facts.n_labels:
        return None
    rate = facts.n_errors / facts.n_labels
    low, high = wilson(rate, facts.n_labels, quantile(LEVEL))
    return ExpectedBenefit(
        loss=rate - before,
        low=low - before,
        high=high - before,
        error_rate=rate,
        reference_error_rate=before,
        n_labels=facts.n_labels,
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
