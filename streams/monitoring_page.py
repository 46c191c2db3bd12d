"""A monitoring report as one HTML page. Whatever came from outside is escaped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from string import Template
from typing import Final, get_args

import orjson

from schemas.monitoring_report import (
    CoverageEntry,
    DecisionEntry,
    FollowUpEntry,
    GapEntry,
    IncidentEntry,
    MonitoringReport,
    PlanEntry,
    RequestEntry,
    Section,
)
from schemas.printable import masked
from streams.cloudevents import rfc3339
from streams.report_page import page, table_rows, template_text, tiles

_SHORT: Final = 12
_CODE: Final = re.compile("`([^`]+)`")
_SECTIONS: Final[tuple[Section, ...]] = get_args(Section)


def render_monitoring_report(report: MonitoringReport) -> str:
    """The whole page."""
    n_events = sum(each.n_events for each in report.coverage)
    n_refused = sum(each.n_refused for each in report.coverage)
    n_overruled = sum(each.by is not None for each in report.incidents)
    of_model = "" if report.model_id is None else f" of {_safe(report.model_id)}"
    on = {f"on_{name}": _on(report, name) for name in _SECTIONS}
    body = Template(template_text("monitoring_page.html")).substitute(
        of_model=of_model,
        from_time=_moment(report.from_ms),
        until_time=_moment(report.until_ms),
        made=_moment(report.made_ms),
        release=_safe(report.release),
        verdict=_verdict(report),
        tiles=tiles(
            [
                (f"{n_events:,}", "events watched"),
                (f"{n_refused:,}", "records refused"),
                (f"{len(report.gaps):,}", "gaps"),
                (f"{len(report.incidents):,}", "incidents"),
                (f"{n_overruled:,}", "of them overruled"),
                (f"{len(report.requests):,}", "requests"),
                (f"{len(report.decisions):,}", "words of people"),
            ]
        ),
        scope=_safe(report.scope),
        times=_prose(report.times),
        plan=table_rows(map(_plan, report.plan)),
        documents="".join(map(_document, report.plan)),
        coverage=table_rows(map(_coverage, report.coverage)),
        gaps=table_rows(map(_gap, report.gaps)),
        incidents=table_rows(map(_incident, report.incidents)),
        requests=table_rows(map(_request, report.requests)),
        followups=table_rows(map(_followup, report.followups)),
        decisions=table_rows(map(_decision, report.decisions)),
        n_changes=f"{len(report.changes):,}",
        changes=table_rows(
            f"<td>{_moment(each.at_ms)}</td><td>{_safe(each.kind)}</td><td>{_safe(each.about)}</td>"
            f'<td class="say">{_safe(each.detail)}</td><td>{_safe(each.by or "")}</td>'
            f'<td class="n">{each.seq}</td>'
            for each in report.changes
        ),
        trail=_trail(report),
        controls=table_rows(_controls(report)),
        **on,
    )
    return page(
        f"Monitoring report{'' if report.model_id is None else ' of ' + report.model_id}", body
    )


def _verdict(report: MonitoringReport) -> str:
    trail = report.trail
    if trail.is_whole:
        return (
            '<div class="card verdict"><b class="tick">The trail is whole.</b> '
            f"{trail.n_records:,} records, each linked to the one before it; head "
            f"<code>{_safe(trail.head or '')}</code></div>"
        )
    if trail.begins == "empty" and not trail.n_breaks:
        why = "There is no record."
        return f'<div class="card verdict bad"><b class="cross">There is no trail.</b> {why}</div>'
    if trail.n_breaks:
        items = "".join(
            f"<li>{_safe(each.kind)} at seq {each.seq} (place {each.place}): "
            f"{_safe(each.detail)}</li>"
            for each in trail.breaks
        )
        return (
            '<div class="card verdict bad"><b class="cross">The trail is broken.</b> What this '
            f"page says may not be what was written. {trail.n_breaks:,} breaks:"
            f"<ul>{items}</ul></div>"
        )
    return (
        '<div class="card verdict bad"><b class="cross">Not all of the trail could be verified.'
        f"</b> It begins at seq {trail.first_seq}, and no head from before was named.</div>"
    )


def _on(report: MonitoringReport, section: Section) -> str:
    """The duties that a section is on."""
    found = [
        f"{_safe(each.framework)} {_safe(each.control)}"
        for each in report.controls
        if section in each.sections
    ]
    return f'<p class="soft small">On: {"; ".join(found)}.</p>' if found else ""


def _plan(entry: PlanEntry) -> str:
    return (
        f"<td>{_moment(entry.since_ms)}</td><td>{_safe(entry.duty)}</td>"
        f'<td>{_safe(entry.deployment)}</td><td class="n">{entry.generation}</td>'
        f"<td>{_name(entry.config)}</td><td>{_numbers(entry.partitions)}</td>"
        f'<td class="n">{entry.seq}</td>'
    )


def _document(entry: PlanEntry) -> str:
    if entry.document is None:
        return ""
    option = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    shown = {"versions": entry.versions, "detection": entry.document}
    text = orjson.dumps(shown, option=option).decode()
    return (
        '<details class="card" style="margin-top:10px"><summary>Config '
        f"{_safe(entry.config[:_SHORT])}, {_safe(entry.duty)}, generation {entry.generation}"
        f'</summary><div class="scroll"><pre class="small" style="margin:0 16px 12px">'
        f"{escape(text)}</pre></div></details>\n"
    )


def _coverage(entry: CoverageEntry) -> str:
    return (
        f'<td>{_safe(entry.group)}</td><td class="n">{entry.partition}</td>'
        f"<td>{_name(entry.lineage)}</td><td>{_moment(entry.first_ms)}</td>"
        f'<td>{_moment(entry.last_ms)}</td><td class="n">{entry.n_events:,}</td>'
        f'<td class="n">{entry.n_refused:,}</td><td class="n">{entry.n_said:,}</td>'
        f"<td>{_name(entry.digest)}</td>"
    )


def _gap(entry: GapEntry) -> str:
    until = "" if entry.until_ms is None else _moment(entry.until_ms)
    return (
        f"<td>{_safe(entry.kind.replace('_', ' '))}</td><td>{_moment(entry.since_ms)}</td>"
        f'<td>{until}</td><td>{_safe(entry.about)}</td><td class="say">{_safe(entry.reason)}</td>'
        f'<td class="n">{"" if entry.seq is None else entry.seq}</td>'
    )


def _incident(entry: IncidentEntry) -> str:
    known = entry.severity in ("low", "medium", "high", "critical")
    severity = f'<span class="severity {entry.severity}">{entry.severity}</span>' if known else ""
    how = f"rule {entry.rule}: {entry.because}"
    if entry.by is not None:
        how = (
            f"{entry.by} overruled {entry.ruled or 'the rules'}: {entry.note or 'no reason given'}"
        )
    people = f"opened by {', '.join(entry.opened_by)}" if entry.opened_by else "opened by nobody"
    if entry.was_evidence_opened is not None:
        seen = "had" if entry.was_evidence_opened else "had not"
        people += f"; who overruled {seen} opened the evidence"
    closed = "" if entry.closed_ms is None else f"<br>{_moment(entry.closed_ms)}"
    return (
        f'<td>{_moment(entry.start_ms)}<br><span class="soft small">noted '
        f"{_moment(entry.first_noted_ms)}</span></td><td>{severity}</td>"
        f'<td class="say"><b>{_safe(entry.reason.replace("_", " "))}</b> '
        f'<span class="soft small">{_name(entry.incident_id)}</span><br>{_safe(entry.message)}<br>'
        f'<span class="soft small">{_safe(how)}</span></td><td>{_safe(people)}</td>'
        f"<td>{_safe(entry.status)}{closed}</td>"
        f'<td class="n">{entry.first_seq} to {entry.last_seq}</td>'
    )


def _request(entry: RequestEntry) -> str:
    approved = "" if entry.approved_by is None else _safe(entry.approved_by)
    if entry.was_evidence_opened is not None and approved:
        approved += ", evidence opened" if entry.was_evidence_opened else ", evidence not opened"
    holds = "".join(f'<br><span class="soft small">{_safe(hold)}</span>' for hold in entry.holds)
    return (
        f"<td>{_moment(entry.at_ms)}</td><td>{_safe(entry.kind)} of {_safe(entry.model_id)} "
        f"{_safe(entry.model_version)}<br>{_name(entry.request_id)}</td>"
        f'<td class="say">{_safe(entry.message)}{holds}</td><td>{approved}</td>'
        f"<td>{_safe(entry.status)}</td>"
        f'<td class="n">{entry.first_seq} to {entry.last_seq}</td>'
    )


def _followup(entry: FollowUpEntry) -> str:
    return (
        f"<td>{_moment(entry.at_ms)}</td><td>{_safe(entry.model_id)} {_safe(entry.model_version)}, "
        f"after {_safe(entry.last_version)}<br>{_name(entry.followup_id)}</td>"
        f'<td class="say">{_safe(entry.message)}</td><td>{_safe(entry.verdict.replace("_", " "))}'
        f"</td><td>{_safe(entry.status)}</td>"
        f'<td class="n">{entry.first_seq} to {entry.last_seq}</td>'
    )


def _decision(entry: DecisionEntry) -> str:
    what = entry.kind.replace("_", " ") + (f": {entry.verdict}" if entry.verdict else "")
    return (
        f"<td>{_moment(entry.at_ms)}</td><td>{_safe(entry.by or '')}</td><td>{_safe(what)}</td>"
        f'<td>{_safe(entry.about)}</td><td class="say">{_safe(entry.note)}</td>'
        f'<td class="n">{entry.seq}</td>'
    )


def _trail(report: MonitoringReport) -> str:
    trail = report.trail
    rows = [
        ("Chain", trail.chain or "none"),
        ("Begins", f"{trail.begins.replace('_', ' ')}, seq {trail.first_seq or 0}"),
        ("Records", f"{trail.n_records:,}"),
        ("Breaks", f"{trail.n_breaks:,}"),
        ("Head", trail.head or "none"),
        ("Kept heads found", ", ".join(trail.heads_found) or "none was named"),
        ("Records of the span that could not be read", f"{report.n_unreadable:,}"),
    ]
    return table_rows(
        f'<td>{_safe(name)}</td><td style="overflow-wrap:anywhere">{_safe(value)}</td>'
        for name, value in rows
    )


def _controls(report: MonitoringReport) -> list[str]:
    rows: list[str] = []
    for each in report.controls:
        links = ", ".join(f'<a href="#{name}">{name}</a>' for name in each.sections)
        rows.append(
            f'<td>{_safe(each.framework)}<br><span class="soft small">{_safe(each.version)}</span>'
            f'</td><td>{_safe(each.control)}</td><td class="say">{_safe(each.duty)}</td>'
            f'<td>{links or "none"}</td><td class="say">{_prose(each.evidence)}</td>'
        )
    return rows


def _moment(at_ms: int) -> str:
    day, _, clock = rfc3339(at_ms).removesuffix("Z").partition("T")
    return f'<span style="white-space:nowrap">{day}</span> {clock.partition(".")[0]}'


def _numbers(numbers: Sequence[int]) -> str:
    """Numbers in ascending order, runs of them shortened: 0 to 3, 7."""
    runs: list[list[int]] = []
    for each in numbers:
        if runs and each == runs[-1][1] + 1:
            runs[-1][1] = each
        else:
            runs.append([each, each])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in runs)


def _name(identity: str) -> str:
    """An identity, shortened; whole where one looks at it."""
    shown = _safe(identity[:_SHORT])
    return f'<code title="{_safe(identity)}">{shown}</code>' if identity else ""


def _prose(text: str) -> str:
    """Words of this program, what stands in backticks as code."""
    return _CODE.sub(r"<code>\1</code>", _safe(text))


def _safe(text: str) -> str:
    return escape(masked(text), quote=True)
