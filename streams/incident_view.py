"""Incidents and requests as lines for a person at a terminal. Pure.

Names come from events, and from whoever can write to a topic: no line holds a control character.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from schemas.alerts import AlertData
from schemas.incidents import EvidencePlace, IncidentData, Verdict
from schemas.printable import masked
from schemas.retraining import QuarantinePart, RetrainingData
from streams.cloudevents import rfc3339
from streams.incident_evidence import Evidence
from streams.incident_reader import OpenedEvidence
from streams.retraining_window import can_be_left_out, is_explained, part_of
from streams.signal_meaning import is_fault, is_harm
from streams.troubles import attacks_of, goes_on

SHORT: Final = 12
"""So many digits of an id tell it apart in a list."""
_LABEL: Final = 10
_MAX_NAMED: Final = 8


def incident_line(incident: IncidentData) -> str:
    """One line of a list."""
    severity = incident.severity.upper()
    return masked(
        f"{incident.incident_id[:SHORT]}  {severity:<8} {incident.status:<7}  {incident.message}"
    )


def request_line(request: RetrainingData) -> str:
    """One line of a list, with the whole id, by which a training job asks for its window."""
    return masked(f"{request.request_id}  {request.status:<9}  {request.message}")


def incident_page(incident: IncidentData, opened: OpenedEvidence) -> list[str]:
    """All that is known of one incident, a line each."""
    lines = [
        incident.message,
        "",
        *_head(incident),
        *_verdict(incident.verdict, incident.evidence),
        *_causes(incident),
        *_evidence(incident, opened),
    ]
    return [masked(line) for line in lines]


def quarantine_lines(attacks: Sequence[str], opened: OpenedEvidence) -> list[str]:
    """What is left out of a window for these anomalies: whose events, in which offsets."""
    lines = []
    troubles = list(attacks_of(opened.found.values()))
    explained = {one.evidence.evidence_id for one in troubles if is_explained(one, troubles)}
    for each in attacks:
        lines.append(f"  anomaly {each}")
        found = opened.found.get(each)
        if found is None or found.anomaly is None:
            why = opened.missing.get(each, "no incident names it")
            lines.append(f"    what is left out for it is not known: {why}")
        else:
            on = ", and on to the window's end, as it is not over"
            on = on if goes_on(found) and can_be_left_out(found) else ""
            if each in explained:
                lines.append("    nothing more: it is that of the sources which are named")
            else:
                lines.append(f"    {_left_out(part_of(found))}{on}")
            lines += [f"    {one}" for one in _said(found)]
    return [masked(line) for line in lines]


def _head(incident: IncidentData) -> Iterator[str]:
    yield _labelled("incident", f"{incident.incident_id}, revision {incident.revision}")
    versions = ", ".join(incident.model_versions)
    yield _labelled(
        "model",
        f"{incident.model_id or 'none: it is about a partition'}"
        f"{f', version {versions}' if versions else ''}, deployment {incident.deployment}",
    )
    yield _labelled("status", f"{incident.status}, severity {incident.severity}")
    closed = "" if incident.closed_ms is None else f", closed {rfc3339(incident.closed_ms)}"
    yield _labelled(
        "time", f"from {rfc3339(incident.start_ms)}, last {rfc3339(incident.last_ms)}{closed}"
    )


def _verdict(verdict: Verdict, evidence: Sequence[EvidencePlace]) -> Iterator[str]:
    yield _labelled("reason", verdict.reason)
    if verdict.by is not None:
        looked = "had opened" if verdict.was_evidence_opened else "had NOT opened"
        yield _labelled(
            "", f"so says {verdict.by}, who {looked} the evidence: {verdict.note or ''}"
        )
        covers = verdict.covers or {}
        n_new = sum(each.revision > covers.get(each.evidence_id, 0) for each in evidence)
        if n_new:
            yield _labelled(
                "",
                f"which does not cover what is new since in {n_new} of {len(evidence)} pieces of "
                "evidence",
            )
        yield _labelled("", f"the rules say {verdict.ruled}: {verdict.because}")
    else:
        yield _labelled("", f"by rule {verdict.rule}: {verdict.because}")
    if verdict.evidence_ids:
        more = len(verdict.evidence_ids) - _MAX_NAMED
        named = ", ".join(each[:SHORT] for each in verdict.evidence_ids[:_MAX_NAMED])
        yield _labelled("", f"it rests on {named}{f' and {more} more' if more > 0 else ''}")
    if verdict.also:
        yield _labelled("", f"rules of these hold as well: {', '.join(verdict.also)}")


def _causes(incident: IncidentData) -> Iterator[str]:
    yield ""
    yield "Likely causes, the first is the likeliest:"
    for number, each in enumerate(incident.causes, 1):
        yield f"  {number:>2}. {each.kind}: {each.detail}  [{each.evidence_id[:SHORT]}]"
    if not incident.causes:
        yield "  none is known"


def _evidence(incident: IncidentData, opened: OpenedEvidence) -> Iterator[str]:
    n_named = len(incident.evidence)
    yield ""
    yield (
        f"Evidence, {n_named} of {incident.n_evidence}, the first and the latest:"
        if n_named < incident.n_evidence
        else f"Evidence, {n_named}:"
    )
    for each in incident.evidence:
        yield f"  {each.kind} {each.evidence_id}"
        yield f"    {_place(each)}"
        found = opened.found.get(each.evidence_id)
        if found is None:
            yield f"    NOT SHOWN: {opened.missing.get(each.evidence_id, 'it was not looked for')}"
        else:
            for line in _said(found):
                yield f"    {line}"


def _place(place: EvidencePlace) -> str:
    version = f" of version {place.model_version}" if place.model_version else ""
    offsets = ""
    if place.last_offset is not None:
        first = place.last_offset if place.first_offset is None else place.first_offset
        offsets = f", offsets {first} to {place.last_offset}"
    ended = "has ended" if place.has_ended else "has not ended"
    return (
        f"{place.what}{version}, {rfc3339(place.start_ms)} to {rfc3339(place.last_ms)}, "
        f"partition {place.partition}{offsets}, revision {place.revision}, {ended}"
    )


def _said(evidence: Evidence) -> Iterator[str]:
    if evidence.alert is not None:
        yield evidence.alert.message
        yield from _telling(evidence.alert)
    elif evidence.anomaly is not None:
        yield evidence.anomaly.message
        # What a person overrules they have been shown: all of whom it accuses, and not the first.
        own = evidence.anomaly.unmapped.quarantine
        whose = [*own.sources, *(["events without a source"] if own.without_source else [])]
        whose += [] if own.is_complete else ["others, who are not named"]
        yield f"Sources: {', '.join(whose) or 'none is named'}"
        yield f"What to do: {evidence.anomaly.remediation.desc}"
    elif evidence.silence is not None:
        yield evidence.silence.message


def _telling(alert: AlertData) -> Iterator[str]:
    """All of an alert that a retraining is held for, or asked for: its message names the first."""
    for what, is_so in (("Broke", is_fault), ("Worse", is_harm)):
        own = [each for each in alert.signals if is_so(each)]
        named = ", ".join(
            f"{each.signal} in {each.unit} ({each.standing}"
            f"{f', at {each.named_feature}' if each.named_feature else ''})"
            for each in own
        )
        more = alert.n_faults_unnamed if is_so is is_fault else 0
        if own:
            yield f"{what}: {named}{f' and {more} more' if more else ''}"


def _left_out(part: QuarantinePart) -> str:
    ranges = ", ".join(f"{each.first_offset} to {each.last_offset}" for each in part.ranges)
    whose = "every event"
    if part.sources:
        more = len(part.sources) - _MAX_NAMED
        whose = f"events of {', '.join(each[:SHORT] for each in part.sources[:_MAX_NAMED])}"
        whose += f" and {more} more sources" if more > 0 else ""
        whose += ", and events without a source" if part.without_source else ""
    return f"{whose}: offsets {ranges} of partition {part.partition}"


def _labelled(label: str, text: str) -> str:
    return f"{label:<{_LABEL}} {text}"
