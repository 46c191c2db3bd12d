"""Whether a retraining is asked for, what holds it back, and when it is safe. Pure.

A request is held while an attack is suspected in its window, a fault of the data is open, too few
of its predictions have labels, or one was released a short while ago. It is released once every
duty has folded the whole window and all that they said of it has been read. What is told beyond
the window does not enter: the same request comes out whenever it is asked for, and in every order
of what has been read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from detectors.performance.intervals import LEVEL
from schemas.alerts import ErrorsInReference
from schemas.incidents import IncidentData, Verdict
from schemas.responder_config import IncidentConfig, RetrainingConfig
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
from streams.dismissals import Dismissals
from streams.feedback import selective_labels
from streams.identity import request_id
from streams.incident_evidence import Evidence
from streams.incident_groups import Group
from streams.incident_reasons import (
    Approval,
    Beginning,
    Opening,
    Overruling,
    verdict_of,
    was_shown,
)
from streams.known_then import as_of
from streams.prediction_regions import Region
from streams.retraining_sentences import request_sentence
from streams.retraining_window import (
    Window,
    can_be_left_out,
    is_explained,
    offset_range,
    window_of,
    windows_of_change,
)
from streams.troubles import Stretch, Trouble

_NEVER: Final = 2**62


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


@dataclass(frozen=True, slots=True)
class ModelCase:
    """What is known of one model beside the incident in question."""

    evidence: Sequence[Evidence]
    said: Sequence[Overruling]
    approvals: Sequence[Approval]
    opened: Sequence[Opening]
    dismissals: Dismissals
    """What people say is no attack, or no fault."""
    topic: str
    """That of the events, which offsets are of."""
    incidents: IncidentConfig
    """When one is over."""
    begun: Sequence[Beginning] = ()
    """Where versions of the model begin."""
    look_every: int = 1
    """`RollbackConfig.look_every`: what was known of beginnings at the window's end."""
    watermark_ms: int | None = None
    """All that was said of it up to this event time has been read; None where that is not known."""


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
    lineages: Mapping[int, str]
    """By partition the fold that saw the change, of which the window's offsets are."""
    approvals: Sequence[Approval]
    """In their order."""
    opened: Sequence[Opening]
    """Of the model, whatever the incident: an attack may be one of its own."""
    errors_before: ErrorsInReference | None
    """Of the version's reference."""
    over_ms: int
    """When the change is over: by what was known at the window's end, and it has not come back."""
    watermark_ms: int | None
    """Up to when all has been read of the model."""
    passed: Mapping[int, int]
    """By partition up to where nothing was known that asks for a retraining: as long as that is not
    settled, an earlier window may still ask."""

    @property
    def is_troubled(self) -> bool:
        """Whether something in its window is to be waited for."""
        return bool(self.window.attacks or self.window.faults)

    @property
    def approved(self) -> frozenset[str]:
        """The anomalies that a person says may be left out."""
        return _approved(self.approvals)

    @property
    def last(self) -> dict[int, int]:
        """The window's last offset in each partition."""
        return {each.partition: each.last for each in self.window.stretches}


def versions_of(own: Group) -> list[str]:
    """The versions that alerts of an incident are about: each may ask for a retraining.

    In the order in which they were found to have changed: of two that are safe at once the first is
    released, and cools the other down.
    """
    found = sorted(
        (each.start_ms, each.model_version) for each in own.evidence if each.alert is not None
    )
    return list(dict.fromkeys(version for _, version in found))


def draft_of(
    own: Group,
    incident: IncidentData,
    version: str,
    model: ModelCase,
    config: RetrainingConfig,
    n_doublings: int = 0,
) -> Draft | None:
    """The request that an incident, made of `own`, asks for; None where it asks for none.

    None as well where another version was known by the window's end: it is the one to replace.
    """
    folds = _folds_of(own.evidence)
    alerts = [
        each
        for each in own.evidence
        if each.alert is not None and each.model_version == version and _is_of(each, folds)
    ]
    windows = windows_of_change(alerts, own.late, config.window_offsets, n_doublings)
    passed: dict[int, int] = {}
    for first, doubled in windows:
        draft = _draft_in(first, passed, folds, own, incident, version, model, config)
        if draft is not None and n_doublings:
            draft = _draft_in(doubled, passed, folds, own, incident, version, model, config)
        if draft is not None:
            return draft
    return None


def _draft_in(
    first: Sequence[Stretch],
    passed: dict[int, int],
    folds: dict[int, str],
    own: Group,
    incident: IncidentData,
    version: str,
    model: ModelCase,
    config: RetrainingConfig,
) -> Draft | None:
    """The request as what was known by the end of this window has it.

    Where there is none, `passed` takes up to where nothing was known that asks for one.
    """
    # A store has an order of its own, and none may show.
    here = sorted(
        (each for each in model.evidence if _is_of(each, folds)),
        key=lambda each: (each.start_ms, each.evidence_id),
    )
    name = request_id(incident.deployment, incident.model_id, version, incident.incident_id)
    # It may have had another name: the incident may have become part of another one since.
    approvals = sorted(
        each
        for each in model.approvals
        if own.answers_to(each.incident_id)
        and each.request_id
        == request_id(incident.deployment, incident.model_id, version, each.incident_id)
    )
    approved = _approved(approvals)
    window = window_of(
        first,
        here,
        dismissals=model.dismissals,
        is_left_out=lambda attack: _is_left_out(attack, approved, config),
    )
    placed = [each for each in own.evidence if _is_of(each, folds)]
    said = [each for each in model.said if own.is_meant_by(each)]
    opened = [each for each in model.opened if own.answers_to(each.incident_id)]

    def known_by(stretches: Sequence[Stretch]) -> tuple[list[Evidence], Verdict | None]:
        """What was known by their ends, and the verdict, if that asks for a retraining."""
        last = {each.partition: each.last for each in stretches}
        known = list(as_of(placed, last))
        begun = [
            each
            for each in model.begun
            if folds.get(each.partition) == each.lineage
            and each.is_known_at(last.get(each.partition, -1) + 1, model.look_every)
        ]
        if _newest(known) != version:
            return known, None
        verdict = verdict_of(known, said, opened, begun)
        reasons = {verdict.reason} if verdict.by is not None else {verdict.reason, *verdict.also}
        return known, verdict if reasons & set(config.reasons) else None

    # Where a window moves to when its trouble is over is told later, and so is what was known by
    # there: which window it is must not depend on that.
    known, verdict = known_by(window.stretches)
    has_moved = window.stretches != tuple(first)
    if verdict is None or (has_moved and known_by(first)[1] is None):
        for each in (*first, *window.stretches):
            passed[each.partition] = max(passed.get(each.partition, 0), each.last)
        return None
    return Draft(
        name,
        incident,
        verdict,
        version,
        window,
        model.topic,
        folds,
        approvals,
        model.opened,
        _errors_before(known, version),
        max(_gone_ms(known, model.incidents), _gone_ms(placed, model.incidents)),
        model.watermark_ms,
        dict(passed),
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


def _folds_of(own: Iterable[Evidence]) -> dict[int, str]:
    """The fold of each partition that saw the change; of one that was reset, that which goes on."""
    alerts = [each.alert for each in own if each.alert is not None]
    return {
        each.partition: each.lineage
        for each in sorted(alerts, key=lambda one: (one.event_time_ms, one.alert_id))
    }


def _newest(known: Iterable[Evidence]) -> str | None:
    """The version that was deployed last: the one of which alerts first told last.

    Two versions may be at work at once, and the older one may have the latest word.
    """
    first: dict[str, int] = {}
    for each in known:
        if each.alert is not None:
            begun = first.get(each.model_version, each.start_ms)
            first[each.model_version] = min(begun, each.start_ms)
    return max(first, key=lambda version: (first[version], version), default=None)


def _is_of(evidence: Evidence, folds: Mapping[int, str]) -> bool:
    """Whether it speaks of the offsets that these folds have, by partition.

    An anomaly is of another duty, whose lineage is never that of an alert: its partition counts. So
    one of a former topic may hold a request; the other way round an attack would hold none.
    """
    if evidence.alert is not None:
        return folds.get(evidence.alert.partition) == evidence.alert.lineage
    return evidence.anomaly is not None and evidence.anomaly.unmapped.partition in folds


def _approved(approvals: Iterable[Approval]) -> frozenset[str]:
    return frozenset(one for each in approvals for one in each.evidence_ids)


def _is_left_out(attack: Evidence, approved: frozenset[str], config: RetrainingConfig) -> bool:
    """Whether it is in quarantine: approved of, or by the config as its sources are named."""
    return attack.evidence_id in approved or (
        config.quarantine == "act" and can_be_left_out(attack)
    )


def _since_approval(draft: Draft) -> str:
    """That somebody has approved, before this was known; empty where nobody has."""
    if not draft.approvals:
        return ""
    last = draft.approvals[-1]
    return f" ({last.by} approved at revision {last.revision} of the incident, without this)"


def _gone_ms(evidence: Iterable[Evidence], config: IncidentConfig) -> int:
    """When all of it had ended, and was quiet. What has not ended goes on, however long ago.

    An alert is told again where there is news of it, and drift that stays is none.
    """
    return max(each.last_ms + config.quiet_ms if each.has_ended else _NEVER for each in evidence)


def _errors_before(known: Iterable[Evidence], version: str) -> ErrorsInReference | None:
    """What its alerts say of the version's reference; None where none does.

    Every partition has learned one of its own; its newest alert names that which it has now.
    """
    alerts = [each.alert for each in known if each.alert and each.model_version == version]
    references = {
        each.partition: each.error_reference
        for each in sorted(alerts, key=lambda one: (one.trigger_offset, one.alert_id))
        if each.error_reference is not None
    }
    if not references:
        return None
    return ErrorsInReference(
        n_errors=sum(each.n_errors for each in references.values()),
        n_labels=sum(each.n_labels for each in references.values()),
    )


def _attack_holds(draft: Draft) -> list[Hold]:
    attacks = draft.window.attacks
    if not attacks:
        return []
    kinds = ", ".join(sorted({_technique(each) for each in attacks}))
    named = all(can_be_left_out(one.evidence) or is_explained(one, attacks) for one in attacks)
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
