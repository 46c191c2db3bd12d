"""The report's section on performance: what came true beside what was expected, drawn over rows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from detectors.performance.intervals import Measure
from detectors.performance.reliability import ReliabilityBin
from schemas.batch import ModelKey
from schemas.signal_names import CALIBRATION, ERROR, ERROR_GAP, EXPECTED_ERROR
from streams.report_page import table_rows
from streams.report_plots import INK, LINE, ChangeMark, draw_marks, svg_of
from streams.scan import Scan
from streams.scan_metrics import interval, metric_table
from streams.scan_performance import Chunk, ModelPerformance
from streams.scan_performance_story import (
    NONE_WORST,
    calibration_sentence,
    group_errors,
    group_sentence,
    measure_name,
    told_groups,
    worst_group,
)
from streams.scan_story import model_of

_ESTIMATE: Final = "#f2d9b1"
_ESTIMATE_LINE: Final = "#c98a1b"
_WIDE_INCHES: Final = (11.0, 3.2)
_SQUARE_INCHES: Final = (5.6, 3.6)
_OF_PERFORMANCE: Final = frozenset({ERROR, ERROR_GAP, EXPECTED_ERROR, CALIBRATION})
_MOST_WHISKERS: Final = 150
"""Chunks beyond which their intervals would hide each other, and are drawn as a band."""


def performance_section(scan: Scan, marks: Sequence[ChangeMark]) -> str:
    """The section as HTML, "" where nothing is known of labels. Whatever is named is escaped."""
    models = scan.performance.models
    if not models:
        return ""
    return "<h2>How well it predicts</h2>\n" + "".join(
        _of_model(scan, told, marks, name_model=len(scan.models) > 1) for told in models
    )


def _of_model(
    scan: Scan, told: ModelPerformance, marks: Sequence[ChangeMark], *, name_model: bool
) -> str:
    name = ""
    if name_model:
        name = f"<h3>{escape(told.model.model_id)} {escape(told.model.model_version)}</h3>"
    what = measure_name(told)
    delay = (
        f" A label comes {scan.label_delay:,} rows after its prediction, and alerts on it stand at "
        "the row at which it came."
        if scan.label_delay
        else ""
    )
    n_labels = 0 if told.total is None else told.total.n_rows
    whole = escape(interval(told.measure, is_number=told.is_number))
    return (
        f"{name}<p>From row {told.first_row:,} on, after the reference: {what} {whole}, by "
        f"{n_labels:,} labels. Intervals are of 95 %. What scores make one expect is told before "
        f"labels come; where what came true leaves it, scores no longer mean what they meant."
        f"{delay}</p>\n"
        f"{_key(told)}{_performance_plot(scan, told, marks)}{_chunks(told)}{_metrics(told)}"
        f"{_slices(told)}{_calibration(told)}"
    )


def _key(told: ModelPerformance) -> str:
    expected = (
        f'<li><i style="width:22px;height:11px;background:{_ESTIMATE};border-top:2px solid '
        f'{_ESTIMATE_LINE}"></i>expected by the score, with its interval</li>'
        if any(chunk.estimate is not None for chunk in told.chunks)
        else ""
    )
    return (
        '<ul class="key small">'
        f'<li><i style="width:9px;height:9px;border-radius:50%;background:{LINE}"></i>'
        f"{measure_name(told)} of a chunk of rows, with its interval</li>{expected}"
        '<li><i style="height:15px;border-left:2px dashed #5b6670"></i>a place named above</li>'
        '<li><i style="border:6px solid transparent;border-top:0;border-bottom:10px solid #c0392b">'
        "</i>alert on errors, calibration or what is expected</li></ul>"
    )


def _performance_plot(scan: Scan, told: ModelPerformance, marks: Sequence[ChangeMark]) -> str:
    rows = _alert_rows(scan, told.model)

    def draw(axes: Axes) -> None:
        _draw_chunks(axes, told)
        draw_marks(axes, scan.n_rows, marks, rows)
        axes.margins(y=0.12)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if not told.is_number:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))

    what = measure_name(told)
    n_outside = sum(chunk.departs for chunk in told.chunks)
    label = f"{what} by chunks of rows beside what scores made one expect; {n_outside} outside it"
    return (
        f'<figure class="card plot" style="margin-top:12px"><h3>{what[0].upper()}{what[1:]}</h3>'
        f'<div role="img" aria-label="{escape(label, quote=True)}">'
        f"{svg_of(draw, _WIDE_INCHES)}</div></figure>\n"
    )


def _draw_chunks(axes: Axes, told: ModelPerformance) -> None:
    # One band for each stretch of chunks with an estimate, not across those without.
    stretch: list[Chunk] = []
    for chunk in [*told.chunks, None]:
        if chunk is not None and chunk.estimate is not None:
            stretch.append(chunk)
        elif stretch:
            _draw_estimate(axes, stretch)
            stretch = []
    known = [(chunk, own) for chunk in told.chunks if (own := chunk.realised) is not None]
    at = [(chunk.first + chunk.stop) / 2 for chunk, _ in known]
    value = [own.value for _, own in known]
    if len(known) > _MOST_WHISKERS:
        low, high = [own.low for _, own in known], [own.high for _, own in known]
        axes.fill_between(at, low, high, color=LINE, alpha=0.25, linewidth=0)
    else:
        for x, (_, own) in zip(at, known, strict=True):
            axes.plot([x, x], [own.low, own.high], color=LINE, linewidth=1.3)
    size = 5.0 if len(known) <= _MOST_WHISKERS else 2.0
    axes.plot(at, value, color=LINE, linestyle="none", marker="o", markersize=size)


def _draw_estimate(axes: Axes, stretch: Sequence[Chunk]) -> None:
    edges = [chunk.first for chunk in stretch] + [stretch[-1].stop]
    own = [chunk.estimate for chunk in stretch if chunk.estimate is not None]
    own.append(own[-1])
    low, high = [each.low for each in own], [each.high for each in own]
    axes.fill_between(edges, low, high, step="post", color=_ESTIMATE, linewidth=0)
    values = [each.value for each in own]
    axes.step(edges, values, where="post", color=_ESTIMATE_LINE, linewidth=1.4)


def _alert_rows(scan: Scan, model: ModelKey) -> list[int]:
    return [
        row
        for alert in scan.alerts
        if model_of(alert) == model
        for name, rows in alert.found_events.items()
        if name.partition(":")[0] in _OF_PERFORMANCE
        for row in rows
    ]


def _chunks(told: ModelPerformance) -> str:
    has_estimate = any(chunk.estimate is not None for chunk in told.chunks)
    rows = []
    for chunk in told.chunks:
        notes = ["outside what was expected"] if chunk.departs else []
        notes += ["the worst"] if chunk is told.worst else []
        estimate = (
            f'<td class="n">{escape(interval(chunk.estimate, is_number=False))}</td>'
            if has_estimate
            else ""
        )
        rows.append(
            f'<td class="n">{chunk.first:,} to {chunk.stop - 1:,}</td>'
            f'<td class="n">{chunk.n_labels:,} of {chunk.n:,}</td>'
            f'<td class="n">{escape(interval(chunk.realised, is_number=told.is_number))}</td>'
            f"{estimate}<td>{'; '.join(notes)}</td>"
        )
    what = measure_name(told)
    expected = '<th class="n">Expected by the score</th>' if has_estimate else ""
    return (
        f'<details class="card" style="margin-top:12px"><summary>By chunk of rows</summary>'
        '<div class="scroll"><table><thead><tr><th class="n">Rows</th><th class="n">Labels</th>'
        f'<th class="n">{what[0].upper()}{what[1:]}</th>{expected}<th></th></tr></thead>'
        f"<tbody>{table_rows(rows)}</tbody></table></div></details>\n"
    )


def _metrics(told: ModelPerformance) -> str:
    table = metric_table(told)
    if table is None:
        return ""
    head = "".join(f'<th class="n">{escape(name)}</th>' for name in table.columns)
    rows = table_rows(
        f"<td>{escape(name)}</td>" + "".join(f'<td class="n">{escape(cell)}</td>' for cell in cells)
        for name, cells in table.rows
    )
    return (
        '<h3 style="margin-top:18px">Metrics of all labels, and of the latest ones</h3>'
        f'<div class="card scroll"><table><thead><tr><th>Metric</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>\n"
    )


def _slices(told: ModelPerformance) -> str:
    parts = []
    error = "Mean absolute error" if told.is_number else "Wrong"
    for groups, when in told_groups(told):
        found = group_errors(groups)
        worst = worst_group(found)
        said = (
            NONE_WORST.capitalize()
            if worst is None
            else f"The worst: <b>{escape(group_sentence(worst))}.</b>"
        )
        rows = table_rows(
            f'<td>{escape(one.name)}</td><td class="n">{one.error.n:,}</td>'
            f'<td class="n">{escape(interval(one.error, is_number=one.is_number))}</td>'
            f'<td class="n">{100 * one.of_errors:.1f} % on {100 * one.of_rows:.1f} %</td>'
            for one in found
        )
        parts.append(
            f'<h3 style="margin-top:18px">Errors by slice, {escape(when)}</h3><p>{said}</p>'
            '<div class="card scroll"><table><thead><tr><th>Group</th><th class="n">Labels</th>'
            f'<th class="n">{error}</th><th class="n">Of the errors, on of the rows</th></tr>'
            f"</thead><tbody>{rows}</tbody></table></div>\n"
        )
    return "".join(parts)


def _calibration(told: ModelPerformance) -> str:
    sentence = calibration_sentence(told)
    if not sentence or told.total is None:
        return ""
    bins = [each for each in told.total.reliability if each.n]
    return (
        f'<h3 style="margin-top:18px">Calibration</h3><p>{escape(sentence)} '
        f"{escape(_meaning(told))}</p>"
        '<div class="grid"><figure class="card plot"><h3>Outcomes by score</h3>'
        '<div class="small soft">share that came true, by mean score; on the line they agree</div>'
        '<div role="img" aria-label="reliability diagram">'
        f"{svg_of(lambda axes: _draw_bins(axes, bins), _SQUARE_INCHES)}</div></figure>"
        '<div class="card scroll" style="margin:0"><table><thead><tr><th class="n">Score</th>'
        '<th class="n">Rows</th><th class="n">Mean score</th><th class="n">Came true</th></tr>'
        f"</thead><tbody>{table_rows(map(_bin, bins))}</tbody></table></div></div>\n"
    )


def _meaning(told: ModelPerformance) -> str:
    total = told.total
    assert total is not None
    if total.positive is None:
        return "A score is the probability that the prediction is right."
    return "A score is the probability of the positive class."


def _bin(one: ReliabilityBin) -> str:
    predicted = "-" if one.predicted is None else f"{100 * one.predicted:.1f} %"
    return (
        f'<td class="n">{one.low:.3f} to {one.high:.3f}</td><td class="n">{one.n:,}</td>'
        f'<td class="n">{predicted}</td>'
        f'<td class="n">{interval(one.observed, is_number=False)}</td>'
    )


def _draw_bins(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    axes.plot([0, 1], [0, 1], color="#b4bec8", linewidth=1.0, linestyle=(0, (4, 3)))
    known: list[tuple[float, Measure]] = [
        (one.predicted, one.observed)
        for one in bins
        if one.predicted is not None and one.observed is not None
    ]
    for x, own in known:
        axes.plot([x, x], [own.low, own.high], color=LINE, linewidth=1.3)
    axes.plot(
        [x for x, _ in known],
        [own.value for _, own in known],
        color=LINE,
        linestyle="none",
        marker="o",
        markersize=5,
    )
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
    axes.tick_params(length=0, colors=INK)
    axes.grid(color="#edf1f4", linewidth=0.7)
    axes.set_axisbelow(True)
