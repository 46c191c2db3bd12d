"""The tables of nulls, delays and trains: what was measured, as it is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.drift.calibrate import Calibration
from benchmarks.drift.contest import FOCUS
from benchmarks.drift.delays import N_QUIET, Delays, Train
from benchmarks.drift.nulls import FalseAlarms
from benchmarks.drift.streams import CHANGES, NULLS
from benchmarks.kit.report import FigureTable

MOST: Final = 2.0
"""What the observed number may be, in stated ones."""
LONG_REFERENCE: Final = 20_000
"""From so many rows on that holds for every null, and with fewer for independent rows."""


def null_table(arl0: float, measured: Sequence[FalseAlarms]) -> FigureTable:
    """Observed beside stated."""
    independent = {null.name for null in NULLS if null.is_independent}
    rows = []
    for one in measured:
        stated = one.n_updates / arl0
        low, high = one.interval()
        is_promised = one.n_reference >= LONG_REFERENCE or one.null in independent
        rows.append(
            (
                f"{one.null}, {one.n_reference:,} rows",
                f"{one.n_alarms / stated:.2f}",
                f"{MOST:g}" if is_promised else "",
                f"{one.n_alarms:,}",
                f"{low:.1f} to {high:.1f}",
                f"{stated:,.1f}".removesuffix(".0"),
                f"{one.n_spread:,}",
                f"{one.n_lanes_alarmed}",
            )
        )
    n_updates = measured[0].n_updates
    return FigureTable(
        f"nulls_{arl0:.0e}".replace("+0", ""),
        f"false alarms of focus at a stated ARL0 of {arl0:.0e}, {n_updates:,} updates each",
        (
            "null, reference",
            "of the stated",
            "target",
            "alarms",
            "95 % interval",
            "stated",
            "of spread",
            "streams of 50",
        ),
        rows,
    )


def calibration_table(arl0: float, found: Sequence[Calibration]) -> FigureTable:
    """At which parameters river's detectors err as often as `focus` states."""
    rows = []
    for one in found:
        per_alarm = f"{one.n_updates / one.n_alarms:,.0f}" if one.n_alarms else "none"
        values = (f"{one.value:.3g}", per_alarm, f"{one.n_alarms:,}", f"{one.wanted:,.3g}")
        rows.append((f"{one.who}, {one.parameter}", *values, f"{one.n_updates:,}"))
    return FigureTable(
        "calibration",
        f"parameters that err once in {arl0:.0e} updates of the normal null, as nearly as they can",
        ("detector, parameter", "value", "updates per alarm", "alarms", "wanted", "updates"),
        rows,
    )


def others_table(measured: Sequence[FalseAlarms]) -> FigureTable:
    """What detectors without a stated rate do on the same nulls."""
    rows = []
    for one in measured:
        low, high = one.interval()
        rows.append(
            (
                f"{one.null}, {one.detector}",
                f"{one.n_updates / one.n_alarms:,.0f}" if one.n_alarms else f"> {one.n_updates:,}",
                f"{one.n_alarms:,}",
                f"{low:,.1f} to {high:,.1f}",
                f"{one.n_updates:,}",
            )
        )
    columns = ("null, detector", "updates per alarm", "alarms", "95 % interval", "updates")
    title = "false alarms of detectors that state no rate, reference of 2,000 rows"
    return FigureTable("others", title, columns, rows)


def _by_change(measured: Sequence[Delays]) -> dict[str, dict[str, Delays]]:
    found: dict[str, dict[str, Delays]] = {one.name: {} for one in CHANGES}
    for one in measured:
        found[one.change][one.detector] = one
    return {name: of for name, of in found.items() if of}


def delay_table(n_reference: int, arl0: float, measured: Sequence[Delays]) -> FigureTable:
    """One line a change, `focus` beside ADWIN at its default."""
    most = {change.name: change.most for change in CHANGES}
    rows = []
    for name, of in _by_change(measured).items():
        own, adwin = of[FOCUS.name], of["ADWIN"]
        is_promised = most[name] is not None and n_reference >= LONG_REFERENCE
        rows.append(
            (
                name,
                ratio_text(own, adwin),
                f"{most[name]:g}" if is_promised else "",
                *(delay_text(each) for each in (own, adwin)),
                *(f"{each.n_false:,}" for each in (own, adwin)),
                *(date_text(each) for each in (own, adwin)),
            )
        )
    columns = (
        "change",
        "of ADWIN's",
        "target",
        "focus",
        "ADWIN",
        "false: focus",
        "ADWIN",
        "change point off: focus",
        "ADWIN",
    )
    title = f"{_delay_title(n_reference, arl0, measured)}; change point: median / 90 %"
    return FigureTable(f"delays_{n_reference}", title, columns, rows)


def defaults_table(
    n_reference: int, arl0: float, who: Sequence[str], measured: Sequence[Delays]
) -> FigureTable:
    """One line a change, `focus` beside others, each with its false alarms and what chance does."""
    columns = ("change", "focus", *who, *(f"false: {each}" for each in who))
    rows = [(name, *_contest(of, who)) for name, of in _by_change(measured).items()]
    return FigureTable("delays_defaults", _by_chance(n_reference, arl0, measured), columns, rows)


def equal_table(
    n_reference: int, arl0: float, who: Sequence[str], measured: Sequence[Delays]
) -> FigureTable:
    """The same at an equal rate, where who is quickest means something."""
    rows = []
    for name, of in _by_change(measured).items():
        quickest = min((of[each] for each in who), key=lambda each: each.median)
        rows.append((name, ratio_text(of[FOCUS.name], quickest), *_contest(of, who)))
    columns = ("change", "of the quickest", "focus", *who, *(f"false: {each}" for each in who))
    return FigureTable("delays_equal", _by_chance(n_reference, arl0, measured), columns, rows)


def _contest(of: Mapping[str, Delays], who: Sequence[str]) -> list[str]:
    shown = [delay_text(of[each]) for each in (FOCUS.name, *who)]
    return shown + [false_text(of[each]) for each in who]


def _by_chance(n_reference: int, arl0: float, measured: Sequence[Delays]) -> str:
    title = _delay_title(n_reference, arl0, measured)
    return f"{title}, in brackets the median by chance at that rate"


def _delay_title(n_reference: int, arl0: float, measured: Sequence[Delays]) -> str:
    n_seeds = measured[0].n_seeds
    return (
        f"rows to the alarm, median / 95 % / missed, of {n_seeds} seeds; focus at ARL0 {arl0:.0e}, "
        f"reference of {n_reference:,} rows; false: alarms in the {n_seeds * N_QUIET:,} rows before"
    )


def ratio_text(own: Delays, other: Delays) -> str:
    """The ratio of the medians; `missed` where ours has none."""
    return f"{own.median / other.median:.2f}" if math.isfinite(own.median) else "missed"


def delay_text(one: Delays) -> str:
    """Median, 95 % and how many were missed, if any."""
    shown = [f"{x:,.0f}" if math.isfinite(x) else "-" for x in (one.median, one.p95)]
    return " / ".join(shown) + (f" / {one.n_missed}" if one.n_missed else "")


def date_text(one: Delays) -> str:
    """Median and 90 % of how far change points are off; nothing where none was found."""
    if not math.isfinite(one.date_median):
        return "-"
    return f"{one.date_median:,.0f} / {one.date_p90:,.0f}"


def false_text(one: Delays) -> str:
    """Alarms before the change; and the median delay of alarms at random rows, as many."""
    if not one.n_false:
        return "0"
    by_chance = math.log(2.0) * one.n_seeds * N_QUIET / one.n_false
    return f"{one.n_false:,} ({by_chance:,.0f})"


def train_table(measured: Sequence[Train]) -> FigureTable:
    """Steps found before the next one comes."""
    rows = [
        (
            f"{one.spacing:,} rows apart, {one.detector}",
            f"{one.n_found / one.n_steps:.1%}",
            "95%" if one.detector == FOCUS.name and one.spacing == 500 else "",
            f"{one.n_chance / one.n_steps:.0%}",
            f"{one.n_alarms / one.n_steps:.2f}",
        )
        for one in measured
    ]
    columns = ("steps of 1 sd", "found", "target", "by chance", "alarms per step")
    n_seeds = measured[0].n_steps // 20
    title = f"trains of 20 steps, {n_seeds} seeds, reference of 2,000 rows"
    return FigureTable("trains", title, columns, rows)
