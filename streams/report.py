"""The demo's report: one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from string import Template
from typing import Final

from schemas.alerts import MovedSignal
from schemas.config import PolicyConfig
from streams.alert_book import SeenAlert, from_to
from streams.demo_alerts import Verdict
from streams.demo_story import AS_EXPECTED, N_BAD_EVENTS, NOT_DURABLE, Story, meaning
from streams.evidence import SEVERITIES
from streams.report_attack import attack_sections
from streams.report_page import (
    detector_names,
    page,
    reason_rows,
    severity_cell,
    table_rows,
    template_text,
    tiles,
)
from streams.report_plots import BAND_SDS, WINDOW_EVENTS, ChangeMark, plot_of_values, signal_svg
from streams.report_response import response_section
from streams.traffic import REFERENCE_EVENTS, ModelTraffic

MAX_PLOTS: Final = 24
"""Per model; the signals with the most severe alerts come first."""


def render_report(story: Story) -> str:
    """The whole page. Whatever came out of an alert is escaped."""
    body = Template(template_text("report.html")).substitute(
        started=escape(story.started),
        verdict=_verdict(story),
        tiles=_tiles(story),
        changes=_changes(story),
        attacks=attack_sections(story),
        responses=response_section(story),
        models="".join(_model(story, model) for model in story.models),
        alerts=_alerts(story),
        n_alerts=f"{len(story.alerts):,}",
        reasons=reason_rows(story.reasons),
        window=f"{WINDOW_EVENTS}",
        band_sds=f"{BAND_SDS:g}",
        n_reference=f"{REFERENCE_EVENTS:,}",
        cooldown=f"{PolicyConfig().cooldown_events:,}",
        severities=", ".join(f"{name} from {least:g}" for least, name in reversed(SEVERITIES)),
        n_bad=f"{N_BAD_EVENTS}",
        not_durable=escape(NOT_DURABLE),
    )
    return page("driftsentry demo report", body)


def _verdict(story: Story) -> str:
    problems = story.problems()
    if not problems:
        return (
            f'<div class="card verdict"><b class="tick">{escape(story.verdict())}.</b>'
            f" {escape(AS_EXPECTED)}</div>"
        )
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return (
        f'<div class="card verdict bad"><b class="cross">Not as expected.</b><ul>{items}</ul></div>'
    )


def _tiles(story: Story) -> str:
    verdicts = story.verdicts()
    n_changes = len(story.labels())
    missed = {(v.model_id, v.change.event) for v in verdicts if v.alert is None}
    figures = [
        (f"{story.n_sent:,}", f"events sent in {story.seconds:.0f} s"),
        (f"{story.n_folded:,}", "events folded"),
        (f"{sum(story.reasons.values()):,}", "bad events refused"),
        (f"{n_changes - len(missed)} of {n_changes}", "changes noticed"),
        (f"{len(story.alerts):,}", "alerts"),
        *(
            (
                f"{each.n_events:,}" if each.anomaly else "never",
                f"{each.attack.kind} until {escape(each.attack.source)} was found",
            )
            for each in story.sightings()
        ),
        (f"{_n_false(story):,}", "false accusations"),
    ]
    return tiles(figures)


def _letter(letter: str, *, injected: bool) -> str:
    return f'<span class="letter{" injected" if injected else ""}">{letter}</span>'


def _n_false(story: Story) -> int:
    """Of honest clients where somebody attacks, and of anybody elsewhere."""
    return len(story.false_accusations()) + sum(len(each.accused) for each in story.sightings())


def _changes(story: Story) -> str:
    letters = story.labels()
    by_letter: dict[str, list[Verdict]] = {}
    for verdict in story.verdicts():
        by_letter.setdefault(letters[verdict.model_id, verdict.change.event], []).append(verdict)
    items = []
    for letter, found in sorted(by_letter.items()):
        change = found[0].change
        kind = "Injected" if change.injected else "Real"
        sightings = "".join(f"<li>{_sighting(verdict)}</li>" for verdict in found)
        items.append(
            f'<li class="card change">{_letter(letter, injected=change.injected)}'
            f"<div><b>{kind}: {escape(change.title)}</b>"
            f'<div class="soft small">from event {change.event:,} of'
            f" <code>{escape(found[0].model_id)}</code></div>"
            f"<ul>{sightings}</ul></div></li>\n"
        )
    return "".join(items)


def _sighting(verdict: Verdict) -> str:
    signal = escape(verdict.signal.removeprefix("feature:"))
    if verdict.alert is None:
        return f'<b>{signal}</b> <span class="cross">not noticed</span>'
    return (
        f'<b>{signal}</b> <span class="tick">after {verdict.delay_events:,} events</span>'
        f' <span class="soft small">{detector_names(_worst(verdict.signal, [verdict.alert]))}'
        "</span>"
    )


def _model(story: Story, model: ModelTraffic) -> str:
    by_signal: dict[str, list[SeenAlert]] = {}
    for alert in story.of_model(model):
        for name in alert.found_events:
            by_signal.setdefault(name, []).append(alert)
    expected = {signal for change in model.changes for signal in change.expected}
    # First what had to be noticed, then by the size of the move.
    names = sorted(
        by_signal,
        key=lambda name: (
            name not in expected,
            -abs(_worst(name, by_signal[name]).effect),
        ),
    )
    letters = story.labels()
    marks = [
        ChangeMark(letters[model.model_id, change.event], change.event, change.injected)
        for change in model.changes
    ]
    plots = "".join(_plot(model, name, by_signal[name], marks) for name in names[:MAX_PLOTS])
    left_out = len(names) - MAX_PLOTS
    more = (
        f"<p>{left_out} further signals have alerts; the table has them.</p>"
        if left_out > 0
        else ""
    )
    quiet = "" if names else "<p><b>No alert.</b></p>"
    return (
        f"<section><h2><code>{escape(model.model_id)}</code></h2>"
        f"<p>{escape(model.about)}</p>{quiet}"
        f'<div class="grid">{plots}</div>{more}</section>'
    )


def _worst(name: str, alerts: Sequence[SeenAlert]) -> MovedSignal:
    """Where this signal went furthest."""
    every = [moved for alert in alerts for moved in alert.moved.values() if moved.signal == name]
    return max(every, key=lambda moved: abs(moved.effect))


def _plot(model: ModelTraffic, name: str, alerts: list[SeenAlert], marks: list[ChangeMark]) -> str:
    shown = escape(name.removeprefix("feature:"))
    values = model.signal(name)
    what = escape(meaning(name))
    if values is None:
        return f'<figure class="card plot"><h3>{shown}</h3><p>Not a number: no plot.</p></figure>'
    svg = signal_svg(
        plot_of_values(
            values, REFERENCE_EVENTS, marks, [e for a in alerts for e in a.found_events[name]]
        )
    )
    worst = _worst(name, alerts)
    n = f"{len(alerts)} alert{'s' if len(alerts) > 1 else ''}"
    label = escape(f"{name} of {model.model_id} over its events, with {n}", quote=True)
    return (
        f'<figure class="card plot"><h3>{shown} <span class="soft small">{what}</span></h3>'
        f'<div class="small soft">{n}, the largest move {escape(from_to(worst))}</div>'
        f'<div role="img" aria-label="{label}">{svg}</div></figure>\n'
    )


def _alerts(story: Story) -> str:
    models = {model.model_id: model for model in story.models}
    rows = []
    for alert in story.alerts:
        said = alert.said
        model = models.get(said.model_id)
        letter = story.label_of(model, alert) if model else ""
        injected = any(
            change.injected
            for change in (model.changes if model else ())
            if letter and story.labels()[said.model_id, change.event] == letter
        )
        rows.append(
            f'<td class="n">{alert.number}</td>'
            f'{severity_cell(said)}<td class="say">{escape(said.message)}</td>'
            f"<td>{_letter(letter, injected=injected) if letter else ''}</td>"
            f'<td class="n">{alert.n_updates or ""}</td>'
        )
    return table_rows(rows)
