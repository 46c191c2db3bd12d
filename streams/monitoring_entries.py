"""Entries of a monitoring report, each of records of the audit trail. Pure.

A trail may hold what another release wrote: what is not as expected is empty, and no error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson

from schemas.audit_trail import AuditRecord
from schemas.monitoring_report import (
    ChangeEntry,
    CoverageEntry,
    DecisionEntry,
    FollowUpEntry,
    GapEntry,
    IncidentEntry,
    PlanEntry,
    RequestEntry,
)

_TRAIL: Final = "the audit trail"


@dataclass(slots=True)
class Trace:
    """An incident or a request: its records up to the end of the span."""

    first: AuditRecord
    last: AuditRecord
    n_records: int = 0
    in_span: bool = False
    is_gone: bool = False


@dataclass(slots=True)
class Looks:
    """Looks at one partition of one lineage: when, and what was committed."""

    first: tuple[int, Mapping[str, Any]]
    last: tuple[int, Mapping[str, Any]]
    n: int = 1


class Opening(NamedTuple):
    """That a person was shown this evidence, of an incident as it was then."""

    by: str
    incident_id: str
    evidence_ids: frozenset[str]


class Openings:
    """Who was shown what, by incident and by evidence.

    By evidence too: what was opened may have become part of another incident, with another id.
    """

    def __init__(self, openings: Sequence[Opening]) -> None:
        """`openings` in the order of the trail."""
        self._openings: Final = openings
        self._of: Final[dict[str, list[int]]] = {}
        for i, each in enumerate(openings):
            for name in {each.incident_id, *each.evidence_ids}:
                self._of.setdefault(name, []).append(i)

    def of(self, incident_id: str, evidence_ids: Iterable[str]) -> list[str]:
        """Who was shown an incident, or evidence that is in it; each once, in their order."""
        found = {i for name in {incident_id, *evidence_ids} for i in self._of.get(name, ())}
        return list(dict.fromkeys(self._openings[i].by for i in sorted(found)))


def opening(facts: Mapping[str, Any], by: str) -> Opening:
    """What a person was shown, as their word says it."""
    evidence = facts.get("evidence")
    shown = frozenset(evidence) if isinstance(evidence, dict) else frozenset[str]()
    return Opening(by, text(facts, "incident_id"), shown)


def evidence_of(facts: Mapping[str, Any]) -> set[str]:
    """The evidence that a record of an incident names."""
    said = facts.get("verdict")
    verdict: Mapping[str, Any] = said if isinstance(said, dict) else {}
    covers = verdict.get("covers")
    # Of many pieces the incident names some; its verdict may rest on others.
    named = [*items(facts.get("evidence_ids")), *items(verdict.get("evidence_ids"))]
    named += covers if isinstance(covers, dict) else ()
    return {each for each in named if isinstance(each, str)}


def plan_entry(record: AuditRecord) -> PlanEntry:
    """The config that a record put in force, for its partition."""
    facts = record.facts
    versions = facts.get("versions")
    return PlanEntry(
        group=text(facts, "group"),
        duty=text(facts, "duty"),
        deployment=text(facts, "deployment"),
        generation=number(facts, "generation"),
        config=text(facts, "config"),
        since_ms=record.at_ms,
        clock=record.clock,
        partitions=[number(facts, "partition")],
        versions=(
            {name: each for name, each in versions.items() if isinstance(each, int)}
            if isinstance(versions, dict)
            else {}
        ),
        document=_document(facts.get("document")),
        seq=record.seq,
    )


def coverage_entry(
    group: str, partition: int, lineage: str, looks: Looks, start_offset: int | None
) -> CoverageEntry:
    """What was folded between the first and the last look.

    `start_offset` is where the fold began, if it did so in the span: then all of it counts.
    """
    (first_ms, first), (last_ms, last) = looks.first, looks.last
    if start_offset is not None:
        first = {"offset": start_offset}
    return CoverageEntry(
        group=group,
        topic=text(last, "topic"),
        partition=partition,
        lineage=lineage,
        first_ms=first_ms,
        last_ms=last_ms,
        n_looks=looks.n,
        first_offset=number(first, "offset"),
        last_offset=number(last, "offset"),
        n_events=number(last, "n_events") - number(first, "n_events"),
        n_refused=number(last, "n_refused") - number(first, "n_refused"),
        n_said=number(last, "n_said") - number(first, "n_said"),
        config=text(last, "config"),
        digest=text(last, "digest"),
        digest_offset=number(last, "digest_offset"),
    )


def gap_entry(record: AuditRecord) -> GapEntry | None:
    """The gap that a record tells of; None where it tells of none."""
    facts = record.facts
    since_ms = until_ms = record.at_ms
    kind: Literal["reset", "silence", "lost"]
    if record.kind == "reset":
        kind, about = "reset", _partition(facts)
        reason = (
            f"{text(facts, 'reason')}: a new fold began at offset "
            f"{number(facts, 'start_offset'):,}, after lineage {text(facts, 'parent')}"
        )
    elif record.kind == "lost":
        kind, about, reason = "lost", _source(facts), _lost(facts)
    elif record.kind == "liveness" and facts.get("kind") != "recovered":
        kind = "silence"
        about = f"{text(facts, 'model_id')} {text(facts, 'model_version')}"
        reason = f"{text(facts, 'kind')}: {text(facts, 'message')}"
        since_ms, until_ms = number(facts, "since_ms"), number(facts, "until_ms")
    else:
        return None
    return GapEntry(
        kind=kind,
        since_ms=since_ms,
        until_ms=until_ms,
        about=about,
        reason=reason,
        seq=record.seq,
    )


def not_noted(since_ms: int, until_ms: int) -> GapEntry:
    """A time in which nothing says how far the workers were."""
    return GapEntry(
        kind="not_noted",
        since_ms=since_ms,
        until_ms=until_ms,
        about=_TRAIL,
        reason="nothing was noted of how far the workers were: the auditor was not running, or "
        "could not ask",
        seq=None,
    )


def incident_entry(trace: Trace, opened_by: Sequence[str]) -> IncidentEntry:
    """An incident as its last record says it."""
    facts = trace.last.facts
    said, closed_ms = facts.get("verdict"), facts.get("closed_ms")
    verdict: Mapping[str, Any] = said if isinstance(said, dict) else {}
    return IncidentEntry(
        incident_id=text(facts, "incident_id"),
        status="gone" if trace.is_gone else text(facts, "status"),
        model_id=text(facts, "model_id"),
        model_versions=[str(each) for each in items(facts.get("model_versions"))],
        severity=text(facts, "severity"),
        start_ms=number(facts, "start_ms"),
        first_noted_ms=trace.first.noted_ms,
        last_ms=number(facts, "last_ms"),
        closed_ms=closed_ms if isinstance(closed_ms, int) else None,
        reason=text(verdict, "reason"),
        rule=text(verdict, "rule"),
        because=text(verdict, "because"),
        ruled=text(verdict, "ruled") or None,
        by=text(verdict, "by") or None,
        note=text(verdict, "note") or None,
        was_evidence_opened=_flag(verdict, "was_evidence_opened"),
        opened_by=list(opened_by),
        n_records=trace.n_records,
        first_seq=trace.first.seq,
        last_seq=trace.last.seq,
        message=text(facts, "message"),
    )


def request_entry(trace: Trace) -> RequestEntry:
    """A request as its last record says it."""
    facts = trace.last.facts
    is_rollback = trace.last.kind == "rollback"
    return RequestEntry(
        kind="rollback" if is_rollback else "retraining",
        request_id=text(facts, "request_id"),
        status="gone" if trace.is_gone else text(facts, "status"),
        model_id=text(facts, "model_id"),
        model_version=text(facts, "from_version" if is_rollback else "model_version"),
        incident_id=text(facts, "incident_id") or None,
        reason=text(facts, "reason"),
        holds=[
            text(hold, "detail") for hold in items(facts.get("holds")) if isinstance(hold, dict)
        ],
        approved_by=text(facts, "approved_by") or None,
        was_evidence_opened=_flag(facts, "was_evidence_opened"),
        at_ms=trace.last.at_ms,
        clock=trace.last.clock,
        n_records=trace.n_records,
        first_seq=trace.first.seq,
        last_seq=trace.last.seq,
        message=text(facts, "message"),
    )


def followup_entry(trace: Trace) -> FollowUpEntry:
    """A follow-up as its last record says it."""
    facts = trace.last.facts
    return FollowUpEntry(
        followup_id=text(facts, "followup_id"),
        status="gone" if trace.is_gone else text(facts, "status"),
        verdict=text(facts, "verdict"),
        model_id=text(facts, "model_id"),
        model_version=text(facts, "model_version"),
        last_version=text(facts, "last_version"),
        retraining_id=text(facts, "retraining_id") or None,
        at_ms=trace.last.at_ms,
        clock=trace.last.clock,
        n_records=trace.n_records,
        first_seq=trace.first.seq,
        last_seq=trace.last.seq,
        message=text(facts, "message"),
    )


def decision_entry(record: AuditRecord) -> DecisionEntry:
    """What a person said."""
    facts = record.facts
    about = (
        ("request", text(facts, "request_id")),
        ("incident", text(facts, "incident_id")),
        ("alert", text(facts, "alert_id")),
        ("command", text(facts, "withdraws")),
        ("model", f"{text(facts, 'model_id')} {text(facts, 'model_version')}".strip()),
    )
    return DecisionEntry(
        at_ms=record.at_ms,
        by=record.by,
        kind=text(facts, "kind"),
        about=next((f"{what} {name}" for what, name in about if name), ""),
        verdict=text(facts, "verdict") or None,
        note=text(facts, "reason"),
        command_id=text(facts, "command_id"),
        seq=record.seq,
    )


def change_entry(record: AuditRecord) -> ChangeEntry | None:
    """The change that a record tells of; None where it tells of none."""
    facts, about, detail = record.facts, _TRAIL, ""
    if record.kind in ("lineage", "config", "reset", "applied"):
        about, command = _partition(facts), facts.get("command")
        what = (
            _command(command)
            if isinstance(command, dict)
            else f"generation {number(facts, 'generation')}, config {text(facts, 'config')}"
        )
        why = text(facts, "reason")
        detail = f"at offset {number(facts, 'offset'):,}: {what}{f' ({why})' if why else ''}"
    elif record.kind == "lost":
        about, detail = _source(facts), _lost(facts)
    elif record.kind == "unreadable":
        source = record.source
        about = "" if source is None else f"{source.topic}[{source.partition}]"
        offset = 0 if source is None else source.offset
        detail = f"record {offset:,} cannot be read: {text(facts, 'reason')}"
    elif record.kind in ("begun", "started", "stopped"):
        detail = text(facts, "reason") or text(facts, "release")
    else:
        return None
    return ChangeEntry(
        at_ms=record.at_ms,
        clock=record.clock,
        kind=record.kind,
        about=about,
        detail=detail,
        by=record.by,
        seq=record.seq,
    )


def _command(command: Mapping[str, Any]) -> str:
    """A command that took effect; of one that sets a document which one."""
    model = f"{text(command, 'model_id')} {text(command, 'model_version')}".strip()
    digest = text(command, "digest")
    return (
        f"{text(command, 'kind')} {text(command, 'command_id')}"
        + (f" of {model}" if model else "")
        + (f", digest {digest}" if digest else "")
    )


def _partition(facts: Mapping[str, Any]) -> str:
    return f"{text(facts, 'group')}, partition {number(facts, 'partition')}"


def _source(facts: Mapping[str, Any]) -> str:
    return f"{text(facts, 'topic')}[{number(facts, 'partition')}]"


def _lost(facts: Mapping[str, Any]) -> str:
    return f"from offset {number(facts, 'from_offset'):,}: {text(facts, 'reason')}"


def text(facts: Mapping[str, Any], name: str) -> str:
    """A field that should be text."""
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def number(facts: Mapping[str, Any], name: str) -> int:
    """A field that should be an integer."""
    value = facts.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def items(value: object) -> list[Any]:
    """What should be a list."""
    return value if isinstance(value, list) else []


def _flag(facts: Mapping[str, Any], name: str) -> bool | None:
    value = facts.get(name)
    return value if isinstance(value, bool) else None


def _document(value: object) -> dict[str, Any] | None:
    if not isinstance(value, str):
        return None
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
