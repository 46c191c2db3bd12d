"""The HTML report of a scan: what moved, when, by how much, drawn over the rows of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import isnan
from string import Template
from typing import Final

from schemas.signal_names import JOINT, LATENCY, NEW_CATEGORY, QUALITY, of_feature, plain
from streams.alert_book import SeenAlert
from streams.evidence import SEVERITIES
from streams.label_sentences import is_of_labels
from streams.report_page import page, severity_cell, table_rows, template_text, tiles
from streams.report_plots import BAND_SDS, ChangeMark, SignalPlot, band_around, signal_svg
from streams.scan import Scan
from streams.scan_performance_report import performance_section
from streams.scan_series import Curve
from streams.scan_story import (
    Sighting,
    Signal,
    by_signal,
    largest,
    opening_lines,
    quiet_lines,
    sentence,
    strongest,
)
from streams.sentences import move_of_named

MAX_PLOTS: Final = 24
"""Of all models together; the signals with the largest moves come first."""
MAX_PLACES: Final = 8
"""Places that get a letter: more would hide the plots."""
MAX_ROWS: Final = 2_000
"""Of the table of alerts; the strongest are kept."""
_PLACE_SIGNALS: Final = 8
_LIST: Final = 'style="margin:0;padding:10px 16px 10px 34px"'


def render_scan_report(scan: Scan) -> str:
    """The whole page. Whatever came out of the file is escaped."""
    places = strongest([alert for alert in scan.alerts if alert.moved], MAX_PLACES)
    letters = [chr(ord("A") + i) for i in range(len(places))]
    marks = [
        ChangeMark(letter, alert.said.change_offset, injected=False)
        for letter, alert in zip(letters, places, strict=True)
    ]
    of_signal = by_signal(scan.alerts)
    n_refused = sum(refused.n_rows for refused in scan.refused.values())
    kept = sorted(scan.alerts, key=lambda alert: -abs(alert.said.effect or 0.0))[:MAX_ROWS]
    kept.sort(key=lambda alert: alert.number)
    severities = ", ".join(f"{name} from {least:g}" for least, name in reversed(SEVERITIES))
    body = Template(template_text("scan_report.html")).substitute(
        name=escape(scan.path.name),
        verdict=_verdict(scan, len(of_signal)),
        tiles=tiles(
            [
                (f"{scan.n_rows:,}", "rows"),
                (f"{len(of_signal):,} of {scan.n_signals:,}", "signals moved"),
                (f"{len(scan.alerts):,}", "alerts"),
                (f"{n_refused:,}", "rows refused"),
                (f"{scan.seconds:.1f} s", "to scan"),
            ]
        ),
        places=_places(scan, places, letters),
        plots=_plots(scan, of_signal, marks),
        performance=performance_section(scan, marks),
        width=f"{scan.series.width:,}",
        n_alerts=f"{len(scan.alerts):,}",
        left_out=(
            f"<p>The {MAX_ROWS:,} strongest of them.</p>" if len(kept) < len(scan.alerts) else ""
        ),
        alerts=table_rows(_alert(scan, alert) for alert in kept),
        refused=table_rows(
            f"<td><code>{escape(reason)}</code></td><td>{escape(refused.detail)}</td>"
            f"<td>{', '.join(f'{row:,}' for row in refused.examples)}</td>"
            f'<td class="n">{refused.n_rows:,}</td>'
            for reason, refused in sorted(scan.refused.items())
        ),
        opening=escape("\n".join(opening_lines(scan))),
        n_reference=f"{scan.n_reference:,}",
        band_sds=f"{BAND_SDS:g}",
        cooldown=f"{scan.detection.policy.cooldown_events:,}",
        severities=severities,
    )
    return page(f"driftsentry scan of {scan.path.name}", body)


def _verdict(scan: Scan, n_moved: int) -> str:
    quiet = " ".join(quiet_lines(scan))
    if n_moved:
        worst = largest(next(iter(by_signal(scan.alerts).values())))
        text = f"Most of all: {sentence(worst.alert, name_model=len(scan.models) > 1)} {quiet}"
        return (
            '<div class="card verdict bad"><b class="cross">Something moved.</b> '
            f"{escape(text)}</div>"
        )
    if len(scan.learning) == len(scan.models):
        why = quiet or "All rows were refused."
        return (
            '<div class="card verdict bad"><b class="cross">Nothing was compared.</b> '
            f"{escape(why)}</div>"
        )
    return (
        '<div class="card verdict"><b class="tick">No alert.</b> Nothing moved away from the '
        f"reference. {escape(quiet)}</div>"
    )


def _places(scan: Scan, places: Sequence[SeenAlert], letters: Sequence[str]) -> str:
    items = []
    for letter, alert in zip(letters, places, strict=True):
        said = alert.said
        shown = sorted(alert.moved.values(), key=lambda moved: -abs(moved.effect))[:_PLACE_SIGNALS]
        signals = "".join(
            f"<li><b>{escape(moved.signal.removeprefix('feature:'))}</b> "
            f"{escape(move_of_named(moved))}</li>"
            for moved in shown
        )
        more = len(alert.moved) - len(shown)
        signals += f"<li>and {more} more</li>" if more else ""
        of_model = f" of {escape(said.model_id)}" if len(scan.models) > 1 else ""
        ended = f"; {said.resolution} later" if said.resolution else ""
        items.append(
            f'<li class="card change"><span class="letter">{letter}</span>'
            f"<div><b>Since about row {said.change_offset:,}{of_model}</b>"
            f'<div class="soft small">found at row {said.opened_offset:,}{ended}</div>'
            f"<ul>{signals}</ul></div></li>\n"
        )
    return "".join(items) or "<li>Nowhere.</li>"


def _plots(
    scan: Scan, of_signal: Mapping[Signal, list[Sighting]], marks: Sequence[ChangeMark]
) -> str:
    shown = list(of_signal.items())[:MAX_PLOTS]
    drawn, others = [], []
    for key, seen in shown:
        curve = scan.series.curve(*key)
        if curve is None:
            others.append(
                f"<li>{_heading(scan, key, seen)} {escape(_why_no_plot(key.name))}</li>\n"
            )
        else:
            drawn.append(_plot(scan, key, seen, marks, curve))
    without = more = ""
    if others:
        without = f'<p>Without a plot:</p><ul class="card small" {_LIST}>{"".join(others)}</ul>'
    left_out = len(of_signal) - len(shown)
    if left_out:
        have = "signal has" if left_out == 1 else "signals have"
        more = f"<p>{left_out} further {have} alerts; the table has them.</p>"
    return f'<div class="grid">{"".join(drawn)}</div>{without}{more}' if shown else "<p>None.</p>"


def _heading(scan: Scan, key: Signal, seen: Sequence[Sighting]) -> str:
    """The name of a signal, its alerts and its largest move; in a list, on one line."""
    of_model = f" of {key.model.model_id} {key.model.model_version}" if len(scan.models) > 1 else ""
    return (
        f"<b>{escape(key.name.removeprefix('feature:'))}</b>{escape(of_model)}: "
        f"{escape(_moves(key.name, seen))}."
    )


def _moves(signal: str, seen: Sequence[Sighting]) -> str:
    n = f"{len(seen)} alert{'s' if len(seen) > 1 else ''}"
    return f"{_meaning(signal)}{n}, the largest move: {move_of_named(largest(seen).moved)}"


def _why_no_plot(signal: str) -> str:
    """Why there is no curve of a signal."""
    if signal in JOINT:
        return "It is of several features together, which have no single curve."
    if is_of_labels(signal):
        return "It is told by labels or by what scores make one expect."
    if signal in QUALITY or signal == LATENCY:
        return "It is of what an event says beside its features, or of any of them."
    return "There are more models, categories or curves than are drawn."


def _plot(
    scan: Scan, key: Signal, seen: Sequence[Sighting], marks: Sequence[ChangeMark], curve: Curve
) -> str:
    model, signal = key
    shown = escape(signal.removeprefix("feature:"))
    of_model = escape(f"{model.model_id} {model.model_version}") if len(scan.models) > 1 else ""
    band = None
    if curve.rows_per_point and not isnan(curve.reference_mean):
        band = band_around(curve.reference_mean, curve.reference_sd, curve.rows_per_point)
    rows = [each.moved.found_offset for each in seen]
    svg = signal_svg(SignalPlot(scan.n_rows, curve.at, curve.means, band, marks, rows))
    n = f"{len(seen)} alert{'s' if len(seen) > 1 else ''}"
    label = escape(f"{signal} over the rows of the file, with {n}", quote=True)
    return (
        f'<figure class="card plot"><h3>{shown} <span class="soft small">{of_model}</span></h3>'
        f'<div class="small soft">{escape(_moves(signal, seen))}</div>'
        f'<div role="img" aria-label="{label}">{svg}</div></figure>\n'
    )


def _meaning(signal: str) -> str:
    """What a signal is, for those who have not read of signals."""
    kind, _, name = signal.partition(":")
    feature, category = of_feature(name)
    is_new = category == NEW_CATEGORY
    return {
        "missing": f"share of rows without {name}; ",
        "class": f"share of rows predicted {name}; ",
        "score": "mean score; ",
        "prediction": "mean prediction; ",
        "latency": "mean latency; ",
        "quality": "share of rows that something is wrong with; ",
        "representativeness": "how unusual rows are by the reference; ",
        "bound": "a limit was reached; ",
        "feature": f"share of rows whose {plain(feature)} is new; " if is_new else "",
    }.get(kind, "")


def _alert(scan: Scan, alert: SeenAlert) -> str:
    text = sentence(alert, name_model=len(scan.models) > 1)
    return (
        f'<td class="n">{alert.said.opened_offset:,}</td>{severity_cell(alert.said)}'
        f'<td class="say">{escape(text)}</td><td class="n">{alert.n_updates or ""}</td>'
    )
