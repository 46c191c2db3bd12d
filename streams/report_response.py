"""The report's part about what follows: incidents, and each retraining step by step."""

from __future__ import annotations

from html import escape

from schemas.incidents import IncidentData
from schemas.retraining import RetrainingData
from streams.demo_responses import (
    SHORT,
    Decision,
    Turn,
    evidence_words,
    reason_words,
    window_words,
)
from streams.demo_story import Story
from streams.report_page import table_rows


def response_section(story: Story) -> str:
    """A table of the incidents, then each request from when it was held to what became of it."""
    rows = table_rows(_incident(each) for each in story.responses.incidents)
    return (
        '<div class="card scroll"><table><thead><tr><th>Model</th><th>Severity</th>'
        "<th>What it is</th><th>How that was decided</th><th>Evidence</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>\n"
        + "".join(_request(story, each) for each in story.responses.requests)
    )


def _incident(incident: IncidentData) -> str:
    return (
        f"<td><code>{escape(incident.model_id or 'a partition')}</code></td>"
        f'<td><span class="severity {escape(incident.severity)}">{escape(incident.severity)}'
        f"</span></td><td>{escape(reason_words(incident))}</td>"
        f'<td class="say">{escape(incident.verdict.because)}</td>'
        f'<td class="n">{escape(evidence_words(incident))}</td>'
    )


def _request(story: Story, request: RetrainingData) -> str:
    steps = "".join(_step(story, each) for each in story.responses.steps(request))
    who = escape(f"{request.model_id} {request.model_version}")
    benefit = request.benefit
    gain = (
        ""
        if benefit is None
        else (
            '<p class="soft small">In the window, without what is left out, the error rate is'
            f" {benefit.error_rate:.3f}; that of the reference was"
            f" {benefit.reference_error_rate:.3f}. So a retraining may win back"
            f" {benefit.loss:.3f} ({benefit.low:.3f} to {benefit.high:.3f}) at most.</p>"
        )
    )
    return (
        f'<h3 class="request">The retraining of <code>{who}</code>'
        f' <span class="soft small">request {escape(request.request_id[:SHORT])}</span></h3>'
        f'<ol class="card steps">{steps}</ol>{gain}\n'
    )


def _step(story: Story, step: Turn | Decision) -> str:
    kind, head, more = _told(story, step)
    return (
        f'<li class="{kind}"><span class="soft small n">{step.at_s:.1f} s</span>'
        f"<div><b>{escape(head)}</b>{more}</div></li>\n"
    )


def _told(story: Story, step: Turn | Decision) -> tuple[str, str, str]:
    """Class, headline and the rest, which is HTML already."""
    if isinstance(step, Decision):
        commands = "".join(f"<br><code>{escape(each)}</code>" for each in step.commands)
        return (
            "person",
            f"{step.by} opens the evidence and approves",
            f"<p>{escape(step.because)}.</p><p class='small'>By these commands:{commands}</p>",
        )
    said = step.said
    if isinstance(said, IncidentData):
        return "incident", f"Incident: {reason_words(said)}", f"<p>{escape(said.message)}</p>"
    if said.status == "held":
        holds = "".join(
            f"<li><code>{escape(hold.reason)}</code> {escape(hold.detail)}</li>"
            for hold in said.holds
        )
        return "held", "Retraining held", f"<ul>{holds}</ul>"
    if said.status == "released":
        words = window_words(said, story.name_of)
        approved = "" if said.approved_by is None else f"; approved by {said.approved_by}"
        return "released", "Retraining released", f"<p>{escape(words + approved)}.</p>"
    return "withdrawn", "Retraining withdrawn", f"<p>{escape(said.message)}</p>"
