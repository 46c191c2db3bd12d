"""Evidence to incidents: what shares model, cause and time is one. Pure.

Incidents are a function of three sets: the evidence, what people have said, and how far event time
has come. No order of arrival is in it. So they can be made again from the topics, and two
responders that have read the same say the same.

What belongs together is said by `streams.incident_groups`, and what it is by
`streams.incident_reasons`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.alerts import AlertData
from schemas.incidents import EvidencePlace, IncidentData, IncidentStatus
from schemas.responder_config import IncidentConfig
from streams.incident_causes import ranked_causes
from streams.incident_evidence import SEVERITIES, Evidence, trouble_of
from streams.incident_groups import Group, groups_of, over_ms
from streams.incident_reasons import (
    Beginning,
    Noted,
    Opening,
    Overruling,
    Said,
    began_near,
    beginnings,
    of_incidents,
    verdict_of,
)
from streams.incident_sentences import sentence
from streams.known_then import alerts_of, with_alert
from streams.signal_meaning import is_fault

MAX_PLACES: Final = 64
MAX_TROUBLES: Final = 512
"""What a retraining waits for must be named to be shown, and let through: so many attacks a fold
keeps open."""


def incidents_of(
    evidence: Iterable[Evidence],
    said: Sequence[Noted],
    watermark_ms: int | None,
    config: IncidentConfig,
) -> list[IncidentData]:
    """The incidents of one model, in the order in which they begin.

    `watermark_ms`: all evidence up to this event time has been read; None where that is not known,
    and nothing is closed. Of what was said only what names one of the incidents counts.
    """
    return [incident for _, incident in cases_of(evidence, said, watermark_ms, config)]


def cases_of(
    evidence: Iterable[Evidence],
    said: Sequence[Noted],
    watermark_ms: int | None,
    config: IncidentConfig,
) -> list[tuple[Group, IncidentData]]:
    """The same, each with all of its evidence."""
    begun = beginnings(said)
    return [
        (group, incident)
        for group, incident in _all_cases(evidence, said, watermark_ms, config)
        if _is_one(group, incident, watermark_ms, config, begun)
    ]


def _all_cases(
    evidence: Iterable[Evidence],
    said: Sequence[Noted],
    watermark_ms: int | None,
    config: IncidentConfig,
) -> list[tuple[Group, IncidentData]]:
    """With those that are no incidents yet, or never were."""
    words, begun = of_incidents(said), beginnings(said)
    found = [
        (
            group,
            _incident(
                group,
                [each for each in words if group.answers_to(each.incident_id)],
                config,
                watermark_ms,
                begun,
            ),
        )
        for group in groups_of(evidence, config)
    ]
    return sorted(found, key=lambda each: (each[1].start_ms, each[1].incident_id))


def _is_one(
    group: Group,
    incident: IncidentData,
    watermark_ms: int | None,
    config: IncidentConfig,
    begun: Sequence[Beginning],
) -> bool:
    """Whether it is to be told.

    Benign drift has to rest on enough events, and to last, as far as all of it has been read.
    """
    if incident.verdict.reason != "benign_drift" or incident.verdict.by is not None:
        return True
    if not any(_was_told(each, begun) for each in group.evidence):
        return False
    end_ms = incident.last_ms
    latest = max(group.evidence, key=lambda each: (each.last_ms, each.evidence_id))
    if not (latest.has_gone and all(each.has_ended for each in group.evidence)):
        end_ms = max(end_ms, incident.start_ms if watermark_ms is None else watermark_ms)
    return end_ms - incident.start_ms >= config.benign_after_ms


def _rests_on_few(alert: AlertData) -> bool:
    """Whether it knows a mean of none of its signals, for want of events.

    A category has distances in place of means, over as many.
    """
    return all(each.after is None and each.distances is None for each in alert.signals)


def _was_told(evidence: Evidence, begun: Sequence[Beginning], *, before: bool = False) -> bool:
    """Whether any record of it says enough to be told of; with `before`, any but the latest one."""
    if evidence.alert is None:
        return not before or evidence.revision > 1
    return any(
        not _rests_on_few(each)
        or verdict_of([with_alert(evidence, each)], (), (), begun).reason != "benign_drift"
        for each in (evidence.earlier if before else alerts_of(evidence))
        if isinstance(each, AlertData)
    )


def _is_new(evidence: Sequence[Evidence], begun: Sequence[Beginning]) -> bool:
    """Whether its latest record is the first of which something is told."""
    *others, latest = sorted(evidence, key=lambda each: (each.last_ms, each.evidence_id))
    if any(_was_told(each, begun) for each in others):
        return False
    # What is not kept may have been told.
    is_whole = latest.revision == 1 or len(latest.earlier) == latest.revision - 1
    return is_whole and not _was_told(latest, begun, before=True)


@dataclass(frozen=True, slots=True)
class LongOver:
    """An incident that is closed for good, and all that was kept of it."""

    incident: IncidentData
    group: Group
    said: tuple[Said, ...]


def long_over(
    evidence: Iterable[Evidence],
    said: Sequence[Noted],
    watermark_ms: int | None,
    config: IncidentConfig,
) -> list[LongOver]:
    """What need not be kept of one model: the arguments are those of `incidents_of`.

    Whole incidents alone: what they are made of is linked to nothing else, so the others are the
    same without it.
    """
    found = []
    for group, incident in _all_cases(evidence, said, watermark_ms, config):
        have_ended = all(each.has_ended for each in group.evidence)
        keep_ms = config.keep_ms if have_ended else max(config.keep_ms, config.keep_unended_ms)
        # Where it is closed the watermark is known.
        if (
            watermark_ms is not None
            and incident.closed_ms is not None
            and incident.last_ms + keep_ms <= watermark_ms
        ):
            words = tuple(each for each in of_incidents(said) if group.answers_to(each.incident_id))
            found.append(LongOver(incident, group, words))
    return found


def _incident(
    group: Group,
    said: Sequence[Said],
    config: IncidentConfig,
    watermark_ms: int | None,
    begun: Sequence[Beginning],
) -> IncidentData:
    evidence = group.evidence
    closed_ms = _closed_ms(evidence, watermark_ms, config)
    words = [each for each in said if isinstance(each, Overruling) and group.is_meant_by(each)]
    # One that a person overruled has been updated, however little evidence there is.
    is_new = not words and _is_new(evidence, begun)
    status: IncidentStatus = "opened" if is_new else "updated"
    anchor = group.anchor
    opened = [each for each in said if isinstance(each, Opening)]
    verdict = verdict_of(evidence, words, opened, begun)
    causes = ranked_causes(evidence, begun)
    versions = sorted({each.model_version for each in evidence} - {""})
    # What is new counts twice: what opens a closed one again must be above its end, too.
    n_news = (
        sum(each.revision for each in evidence)
        + len(words)
        + len({near for each in evidence if (near := began_near(each, begun)) is not None})
    )
    return IncidentData(
        incident_id=group.incident_id,
        revision=2 * n_news - 1 + (closed_ms is not None),
        status=status if closed_ms is None else "closed",
        deployment=anchor.deployment,
        model_id=anchor.model_id,
        model_versions=versions,
        severity=max((each.severity for each in evidence), key=SEVERITIES.index),
        verdict=verdict,
        start_ms=anchor.start_ms,
        last_ms=max(each.last_ms for each in evidence),
        closed_ms=closed_ms,
        causes=causes,
        evidence=_places(evidence),
        n_evidence=len(evidence),
        message=sentence(anchor.model_id, versions, verdict, causes, anchor.start_ms, closed_ms),
    )


def _closed_ms(
    evidence: Sequence[Evidence], watermark_ms: int | None, config: IncidentConfig
) -> int | None:
    """When it is over: the latest word and the time of quiet after it; None while it is not.

    A function of the evidence, not of when somebody looked. Evidence that does not end is waited
    for longer: a model version that was replaced sends nothing any more.
    """
    due_ms = over_ms(evidence, config)
    return due_ms if watermark_ms is not None and watermark_ms >= due_ms else None


def _places(evidence: Sequence[Evidence]) -> list[EvidencePlace]:
    """Where it can be looked at; of much, the first half and the last.

    But what a retraining waits for comes before all else but the first: a person can say that it is
    none of what they have been shown alone.
    """
    if len(evidence) > MAX_PLACES:
        half = MAX_PLACES // 2
        usual = [*evidence[1:half], *evidence[: -half - 1 : -1], *evidence[half:-half]]
        ranked = sorted(usual, key=lambda each: not _is_trouble(each))
        n_troubles = min(sum(map(_is_trouble, evidence)), MAX_TROUBLES)
        n_kept = max(n_troubles - _is_trouble(evidence[0]), MAX_PLACES - 1)
        kept = {each.evidence_id for each in [evidence[0], *ranked[:n_kept]]}
        evidence = [each for each in evidence if each.evidence_id in kept]
    return [_place(each) for each in evidence]


def _is_trouble(evidence: Evidence) -> bool:
    """Whether it is of an attack or of broken data."""
    broken = evidence.alert is not None and any(is_fault(each) for each in evidence.alert.signals)
    return broken or evidence.is_of_attack or evidence.family == "fault"


def _place(evidence: Evidence) -> EvidencePlace:
    lineage, last_offset = None, None
    if evidence.alert is not None:
        alert = evidence.alert
        what, lineage, last_offset = alert.signal, alert.lineage, alert.trigger_offset
    elif evidence.anomaly is not None:
        own = evidence.anomaly.unmapped
        what, lineage, last_offset = own.technique, own.lineage, own.trigger_offset
    else:
        assert evidence.silence is not None
        what = trouble_of(evidence.silence)
    return EvidencePlace(
        evidence_id=evidence.evidence_id,
        kind=evidence.kind,
        revision=evidence.revision,
        what=what,
        model_version=evidence.model_version,
        partition=evidence.partition,
        lineage=lineage,
        first_offset=evidence.first_offset,
        last_offset=last_offset,
        start_ms=evidence.start_ms,
        last_ms=evidence.last_ms,
        has_ended=evidence.has_ended,
    )
