"""What a retraining is asked for: by which incident, of which version, on which window. Pure.

By what was known at the window's end. What is told beyond it does not enter: the same comes out
whenever it is asked for, and in every order of what has been read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.alerts import ErrorsInReference
from schemas.incidents import IncidentData, Verdict
from schemas.responder_config import IncidentConfig, RetrainingConfig
from streams.dismissals import Dismissals
from streams.identity import request_id
from streams.incident_evidence import Evidence
from streams.incident_groups import Group
from streams.incident_reasons import (
    Approval,
    Beginning,
    Opening,
    Overruling,
    verdict_of,
)
from streams.known_then import as_of
from streams.retraining_window import (
    Window,
    can_be_left_out,
    window_of,
    windows_of_change,
)
from streams.troubles import Stretch

_NEVER: Final = 2**62


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
    asked = _Asked(own, incident, version, model, config)
    windows = windows_of_change(asked.alerts, own.late, config.window_offsets, n_doublings)
    passed: dict[int, int] = {}
    for first, doubled in windows:
        draft = asked.draft(first, passed)
        if draft is not None and n_doublings:
            draft = asked.draft(doubled, passed)
        if draft is not None:
            return draft
    return None


class _Asked:
    """What an incident may ask for of one version: what does not depend on the window."""

    def __init__(
        self,
        own: Group,
        incident: IncidentData,
        version: str,
        model: ModelCase,
        config: RetrainingConfig,
    ) -> None:
        self._incident = incident
        self._version = version
        self._model = model
        self._config = config
        self._folds = _folds_of(own.evidence)
        self._placed = [each for each in own.evidence if _is_of(each, self._folds)]
        # A store has an order of its own, and none may show.
        self._of_model = sorted(
            (each for each in model.evidence if _is_of(each, self._folds)),
            key=lambda each: (each.start_ms, each.evidence_id),
        )
        self._said = [each for each in model.said if own.is_meant_by(each)]
        self._opened = [each for each in model.opened if own.answers_to(each.incident_id)]
        # It may have had another name: the incident may have become part of another one since.
        self._approvals = sorted(
            each
            for each in model.approvals
            if own.answers_to(each.incident_id) and each.request_id == self._name(each.incident_id)
        )
        self._approved = _approved(self._approvals)

    @property
    def alerts(self) -> list[Evidence]:
        """Those of the version."""
        return [each for each in self._placed if each.alert and each.model_version == self._version]

    def draft(self, first: Sequence[Stretch], passed: dict[int, int]) -> Draft | None:
        """The request as what was known by the end of this window has it.

        Where there is none, `passed` takes up to where nothing was known that asks for one.
        """
        window = window_of(
            first,
            self._of_model,
            dismissals=self._model.dismissals,
            is_left_out=self._is_left_out,
        )
        # Where a window moves to when its trouble is over is told later, and so is what was known
        # by there: which window it is must not depend on that.
        known, verdict = self._known_by(window.stretches)
        has_moved = window.stretches != tuple(first)
        if verdict is None or (has_moved and self._known_by(first)[1] is None):
            for each in (*first, *window.stretches):
                passed[each.partition] = max(passed.get(each.partition, 0), each.last)
            return None
        model = self._model
        return Draft(
            self._name(self._incident.incident_id),
            self._incident,
            verdict,
            self._version,
            window,
            model.topic,
            self._folds,
            self._approvals,
            model.opened,
            _errors_before(known, self._version),
            max(_gone_ms(known, model.incidents), _gone_ms(self._placed, model.incidents)),
            model.watermark_ms,
            dict(passed),
        )

    def _is_left_out(self, attack: Evidence) -> bool:
        """Whether it is in quarantine: approved of, or by the config as its sources are named.

        What was approved of stays left out, also where the incident is overruled then: who says
        that the data are right need not let liars in.
        """
        return attack.evidence_id in self._approved or (
            self._config.quarantine == "act"
            and can_be_left_out(attack)
            and not self._model.dismissals.covers(attack)
        )

    def _known_by(self, stretches: Sequence[Stretch]) -> tuple[list[Evidence], Verdict | None]:
        """What was known by their ends, and the verdict, if that asks for a retraining."""
        last = {each.partition: each.last for each in stretches}
        known = list(as_of(self._placed, last))
        begun = [
            each
            for each in self._model.begun
            if self._folds.get(each.partition) == each.lineage
            and each.is_known_at(last.get(each.partition, -1) + 1, self._model.look_every)
        ]
        if _newest(known) != self._version:
            return known, None
        verdict = verdict_of(known, self._said, self._opened, begun)
        reasons = {verdict.reason} if verdict.by is not None else {verdict.reason, *verdict.also}
        return known, verdict if reasons & set(self._config.reasons) else None

    def _name(self, incident_id: str) -> str:
        incident = self._incident
        return request_id(incident.deployment, incident.model_id, self._version, incident_id)


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


def _gone_ms(evidence: Iterable[Evidence], config: IncidentConfig) -> int:
    """When all of it had ended, and was quiet. What has not ended goes on, however long ago.

    An alert is told again where there is news of it, and drift that stays is none.
    """
    return max(each.last_ms + config.quiet_ms if each.has_ended else _NEVER for each in evidence)


def _errors_before(known: Iterable[Evidence], version: str) -> ErrorsInReference | None:
    """What its alerts say of the version's reference; None where none does.

    Every shard has learned one of its own; its newest alert names that which it has now, or none.
    """
    alerts = [each.alert for each in known if each.alert and each.model_version == version]
    newest = {
        (each.partition, each.shard): each.error_reference
        for each in sorted(alerts, key=lambda one: (one.trigger_offset, one.alert_id))
    }
    references = [each for each in newest.values() if each is not None]
    if not references:
        return None
    return ErrorsInReference(
        n_errors=sum(each.n_errors for each in references),
        n_labels=sum(each.n_labels for each in references),
    )
