"""A monitoring report of an audit trail: what was watched, found and decided in a span. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from schemas.audit_trail import AuditRecord, Head
from schemas.monitoring_report import (
    ChangeEntry,
    DecisionEntry,
    GapEntry,
    IncidentEntry,
    MonitoringReport,
    PlanEntry,
)
from streams.monitoring_controls import CONTROLS
from streams.monitoring_entries import (
    Looks,
    Opening,
    Openings,
    Trace,
    change_entry,
    coverage_entry,
    decision_entry,
    evidence_of,
    followup_entry,
    gap_entry,
    incident_entry,
    items,
    not_noted,
    number,
    opening,
    plan_entry,
    request_entry,
    text,
)
from streams.trail_check import TrailCheck

SCOPE: Final = (
    "Made of the audit trail of driftsentry. It shows what the trail says on duties of NIST's AI "
    "RMF and of the EU AI Act; it does not say that any of them is fulfilled."
)
TIMES: Final = (
    "A record counts by its event time where it has one, else by the Kafka timestamp of what it "
    "was made of, else by when the auditor noted it: `clock` says which."
)
_LATE: Final = 2
"""A look at the workers is missing where the next one comes after so many times their distance."""
_EVERY_MS: Final = 3_600_000
"""Their distance where the trail does not say it."""


class Span(NamedTuple):
    """Times from `from_ms` on, before `until_ms`."""

    from_ms: int
    until_ms: int

    def holds(self, at_ms: int) -> bool:
        """Whether a time lies in it."""
        return self.from_ms <= at_ms < self.until_ms


@dataclass(slots=True)
class ReportMaker:
    """Takes the records of a trail in their order; `report` is what they come to."""

    span: Span
    model_id: str | None = None
    heads: Sequence[Head] = ()
    _check: TrailCheck = field(init=False)
    _in_force: dict[tuple[str, int], AuditRecord] = field(default_factory=dict)
    """By group and partition, the latest config."""
    _plan: dict[tuple[str, str], PlanEntry] = field(default_factory=dict)
    """By group and config, what was in force in the span."""
    _looks: dict[tuple[str, int, str], Looks] = field(default_factory=dict)
    _began: dict[tuple[str, int, str], int] = field(default_factory=dict)
    """By fold that began in the span, from which offset on."""
    _look_times: list[tuple[int, int]] = field(default_factory=list)
    _gaps: list[GapEntry] = field(default_factory=list)
    _incidents: dict[str, Trace] = field(default_factory=dict)
    _requests: dict[tuple[str, str], Trace] = field(default_factory=dict)
    _followups: dict[str, Trace] = field(default_factory=dict)
    _openings: list[Opening] = field(default_factory=list)
    _decisions: list[DecisionEntry] = field(default_factory=list)
    _changes: list[ChangeEntry] = field(default_factory=list)
    _n_unreadable: int = 0

    def __post_init__(self) -> None:
        self._check = TrailCheck(tuple(self.heads))

    def take(self, place: int, value: bytes | None) -> None:
        """The next record of the trail; one that cannot be read is told in `trail`."""
        record = self._check.take(place, value)
        if record is None or record.at_ms >= self.span.until_ms:
            return
        if record.kind == "progress":
            self._take_progress(record)
        elif record.kind == "incident":
            self._trace(self._incidents, text(record.facts, "incident_id"), record)
        elif record.kind == "incident_gone":
            self._end(self._incidents, text(record.facts, "incident_id"), record)
        elif record.kind in ("retraining", "rollback"):
            name = text(record.facts, "request_id")
            self._trace(self._requests, (record.kind, name), record)
        elif record.kind in ("retraining_gone", "rollback_gone"):
            kind = record.kind.removesuffix("_gone")
            self._end(self._requests, (kind, text(record.facts, "request_id")), record)
        elif record.kind == "followup":
            self._trace(self._followups, text(record.facts, "followup_id"), record)
        elif record.kind == "followup_gone":
            self._end(self._followups, text(record.facts, "followup_id"), record)
        elif record.kind in ("lineage", "config", "reset"):
            self._take_config(record)
        elif record.facts.get("kind") == "opened" and record.by:
            self._openings.append(opening(record.facts, record.by))
        if self.span.holds(record.at_ms):
            self._take_of_span(record)

    def report(self, made_ms: int, release: str) -> MonitoringReport:
        """The report; nothing may be taken after it."""
        for record in self._in_force.values():
            self._enter(record)
        gaps = [*self._gaps, *self._not_noted(min(self.span.until_ms, made_ms))]
        requests = [
            request_entry(trace)
            for trace in self._requests.values()
            if (trace.in_span or _is_held(trace)) and self._is_of_model(trace.last.facts)
        ]
        return MonitoringReport(
            form=1,
            release=release,
            made_ms=made_ms,
            from_ms=self.span.from_ms,
            until_ms=self.span.until_ms,
            model_id=self.model_id,
            scope=SCOPE,
            times=TIMES,
            trail=self._check.result(),
            plan=sorted(self._plan.values(), key=lambda each: (each.duty, each.since_ms, each.seq)),
            coverage=[
                coverage_entry(*name, looks, self._start_of(name, looks))
                for name, looks in sorted(self._looks.items())
                if looks.last[0] >= self.span.from_ms
            ],
            gaps=sorted(gaps, key=lambda each: (each.since_ms, each.seq or 0)),
            incidents=self._incident_entries(),
            requests=sorted(requests, key=lambda each: (each.first_seq, each.request_id)),
            followups=[
                followup_entry(trace)
                for trace in self._followups.values()
                if trace.in_span and self._is_of_model(trace.last.facts)
            ],
            decisions=self._decisions,
            changes=self._changes,
            n_unreadable=self._n_unreadable,
            controls=list(CONTROLS),
        )

    def _take_of_span(self, record: AuditRecord) -> None:
        is_of_model = self._is_of_model(record.facts)
        gap, change = gap_entry(record), change_entry(record)
        if gap is not None and (is_of_model or gap.kind != "silence"):
            self._gaps.append(gap)
        if change is not None:
            self._changes.append(change)
        if record.kind == "said" and (is_of_model or "model_id" not in record.facts):
            self._decisions.append(decision_entry(record))
        self._n_unreadable += record.kind == "unreadable"

    def _trace(self, traces: dict[Any, Trace], name: Any, record: AuditRecord) -> None:
        trace = traces.setdefault(name, Trace(record, record))
        trace.last, trace.n_records, trace.is_gone = record, trace.n_records + 1, False
        trace.in_span |= self.span.holds(record.at_ms)

    def _end(self, traces: dict[Any, Trace], name: Any, record: AuditRecord) -> None:
        trace = traces.get(name)
        if trace is not None:
            trace.is_gone, trace.n_records = True, trace.n_records + 1
            trace.in_span |= self.span.holds(record.at_ms)

    def _take_config(self, record: AuditRecord) -> None:
        place = text(record.facts, "group"), number(record.facts, "partition")
        if record.kind != "config" and self.span.holds(record.at_ms):
            lineage = text(record.facts, "lineage")
            self._began[(*place, lineage)] = number(record.facts, "start_offset")
        before = self._in_force.get(place)
        if before is not None and self.span.holds(record.at_ms):
            self._enter(before)  # until now, so for some of the span
        self._in_force[place] = record

    def _enter(self, record: AuditRecord) -> None:
        """Put a config into the plan; one that holds for several partitions is one entry."""
        entry = plan_entry(record)
        name = entry.group, entry.config
        known = self._plan.get(name)
        if known is not None:
            partitions = sorted({*known.partitions, *entry.partitions})
            first = min(known, entry, key=lambda each: each.seq)
            entry = first.model_copy(update={"partitions": partitions})
        self._plan[name] = entry

    def _take_progress(self, record: AuditRecord) -> None:
        every_ms = 1_000 * number(record.facts, "every_s") or _EVERY_MS
        self._look_times.append((record.at_ms, every_ms))
        for worker in items(record.facts.get("workers")):
            if not isinstance(worker, dict) or not text(worker, "lineage"):
                continue
            name = text(worker, "group"), number(worker, "partition"), text(worker, "lineage")
            look = record.at_ms, worker
            known = self._looks.get(name)
            if known is None or record.at_ms < self.span.from_ms:
                # Of those before the span only the last one is of use.
                self._looks[name] = Looks(look, look)
            else:
                known.last, known.n = look, known.n + 1

    def _start_of(self, name: tuple[str, int, str], looks: Looks) -> int | None:
        """Where a fold began, if that was surely in the span."""
        # The journal has no times: an auditor that began in the span may have noted it late.
        first = self._check.first
        is_sure = first is not None and first.at_ms < self.span.from_ms <= looks.first[0]
        return self._began.get(name) if is_sure else None

    def _not_noted(self, end_ms: int) -> list[GapEntry]:
        """Times of the span in which nothing says how far the workers were."""
        start_ms = self.span.from_ms
        found: list[GapEntry] = []
        before: tuple[int, int] | None = None
        for at_ms, every_ms in [*self._look_times, (end_ms, 0)]:
            since_ms, distance_ms = (start_ms, every_ms) if before is None else before
            if at_ms > start_ms and at_ms - since_ms > _LATE * distance_ms:
                found.append(not_noted(max(since_ms, start_ms), at_ms))
            before = at_ms, every_ms
        return found

    def _is_of_model(self, facts: Mapping[str, Any]) -> bool:
        return self.model_id is None or facts.get("model_id") == self.model_id

    def _incident_entries(self) -> list[IncidentEntry]:
        found: list[IncidentEntry] = []
        openings = Openings(self._openings)
        for name, trace in self._incidents.items():
            entry = incident_entry(trace, openings.of(name, evidence_of(trace.last.facts)))
            is_over = trace.is_gone or (
                entry.closed_ms is not None and entry.closed_ms < self.span.from_ms
            )
            is_open = entry.start_ms < self.span.until_ms and not is_over
            if (trace.in_span or is_open) and self._is_of_model(trace.last.facts):
                found.append(entry)
        return sorted(found, key=lambda each: (each.start_ms, each.incident_id))


def _is_held(trace: Trace) -> bool:
    return not trace.is_gone and text(trace.last.facts, "status") == "held"


def make_report(
    records: Iterable[tuple[int, bytes | None]],
    span: Span,
    made_ms: int,
    release: str,
    *,
    model_id: str | None = None,
    heads: Sequence[Head] = (),
) -> MonitoringReport:
    """The report of a whole trail, given as place and value of each record."""
    maker = ReportMaker(span, model_id, heads)
    for place, value in records:
        maker.take(place, value)
    return maker.report(made_ms, release)
