"""What the drift detectors promise and find: false alarms, delays, change points.

    python -m benchmarks.drift [--seeds N] [--updates SHARE] [--quick] [--json]

Nulls: nothing changes, and the alarms of `focus` stand beside the stated number, at ARL0 1e5 and
1e7, with the exact Poisson interval; restarts are part of it. Delays: medians over seeds after
20,000 rows without a change, beside ADWIN and Page-Hinkley at their defaults, which state no rate:
the one observed stands beside theirs. Trains: steps of one standard deviation shortly after
another. Every lane has a reference of its own.
"""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from typing import Final

from benchmarks.drift.delays import N_QUIET, Delays, Train, delays, train
from benchmarks.drift.nulls import FalseAlarms, false_alarms
from benchmarks.drift.real import ARL0, Real, measure
from benchmarks.drift.streams import CHANGES, NULLS
from benchmarks.kit.report import FigureTable, parser, publish

STATED: Final = ((1e5, 20_000_000), (1e7, 100_000_000))
"""ARL0 and updates of the nulls."""
REFERENCES: Final = (2_000, 20_000)
DELAY_ARL0: Final = 1e6
DETECTORS: Final = ("focus", "adwin", "page_hinkley")
ADWIN_UPDATES: Final = 5_000_000
NAMED: Final = ("RELP", "score", "class:1", "vicprice", "vicdemand", "transfer")
SPACINGS: Final = (300, 500, 1_000, 2_000)


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("drift", __doc__)
    options_parser.add_argument("--seeds", type=int, default=300, help="of each change")
    options_parser.add_argument("--updates", type=float, default=1.0, help="share of the nulls")
    options = options_parser.parse_args()
    n_seeds = 20 if options.quick else options.seeds
    share = 0.02 if options.quick else options.updates

    nulls: list[tuple[float, FalseAlarms]] = []
    for arl0, n_updates in STATED:
        for null in NULLS:
            for n_reference in REFERENCES:
                say(f"{null.name}, ARL0 {arl0:g}, reference {n_reference:,} ...")
                n = int(n_updates * share)
                nulls.append((arl0, false_alarms(null, "focus", n_reference, arl0, n)))
    others: list[FalseAlarms] = []
    for null in NULLS:
        for detector in DETECTORS[1:]:
            say(f"{null.name}, {detector} ...")
            others.append(false_alarms(null, detector, 2_000, math.inf, int(ADWIN_UPDATES * share)))
    found: list[Delays] = []
    for change in CHANGES:
        for n_reference in REFERENCES:
            for detector in DETECTORS:
                say(f"{change.name}, {detector}, reference {n_reference:,} ...")
                found.append(delays(change, detector, n_reference, DELAY_ARL0, n_seeds))
    trains: list[Train] = []
    for spacing in SPACINGS:
        for detector in DETECTORS:
            say(f"trains, {spacing} rows, {detector} ...")
            trains.append(train(spacing, detector, 2_000, DELAY_ARL0, n_seeds))

    reals: list[Real] = []
    not_run: list[str] = []
    for detector in DETECTORS:
        say(f"real streams, {detector} ...")
        of_detector, not_run = measure(detector)
        reals += of_detector

    tables = [
        *(null_table(arl0, [f for stated, f in nulls if stated == arl0]) for arl0, _ in STATED),
        others_table(others),
        *(delay_table(n, [f for f in found if f.n_reference == n]) for n in REFERENCES),
        train_table(trains),
        *([real_table(reals)] if reals else []),
    ]
    figures = {
        "nulls": [{"arl0": arl0} | asdict(each) for arl0, each in nulls],
        "others": [asdict(each) for each in others],
        "delays": [finite(asdict(each)) for each in found],
        "trains": [asdict(each) for each in trains],
        "real": [asdict(each) for each in reals],
    }
    publish("drift", tables, figures, options, not_run)


def say(what: str) -> None:
    """Progress, on stderr."""
    print(what, file=sys.stderr, flush=True)


def finite(figures: dict[str, object]) -> dict[str, object]:
    """Infinity is no JSON: null stands for it."""
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in figures.items()
    }


def null_table(arl0: float, measured: list[FalseAlarms]) -> FigureTable:
    """Observed beside stated."""
    rows = []
    for one in measured:
        stated = one.n_updates / arl0
        low, high = one.interval()
        rows.append(
            (
                f"{one.null}, {one.n_reference:,} rows",
                f"{one.n_alarms / stated:.2f}",
                f"{one.n_alarms:,}",
                f"{low:.1f} to {high:.1f}",
                f"{stated:,.0f}",
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
            "alarms",
            "95 % interval",
            "stated",
            "of spread",
            "streams of 50",
        ),
        rows,
    )


def others_table(measured: list[FalseAlarms]) -> FigureTable:
    """What detectors without a stated rate do on the same nulls."""
    rows = [
        (
            f"{one.detector}, {one.null}",
            f"{one.n_updates / one.n_alarms:,.0f}" if one.n_alarms else f"> {one.n_updates:,}",
            f"{one.n_alarms:,}",
            f"{one.n_updates:,}",
        )
        for one in measured
    ]
    columns = ("detector, null", "updates per alarm", "alarms", "updates")
    return FigureTable("others", "false alarms at defaults that state no rate", columns, rows)


def delay_table(n_reference: int, measured: list[Delays]) -> FigureTable:
    """One line a change, the contestants side by side."""
    by_change: dict[str, dict[str, Delays]] = {}
    for one in measured:
        by_change.setdefault(one.change, {})[one.detector] = one
    rows = []
    for change in CHANGES:
        of = by_change[change.name]
        own, adwin, page_hinkley = (of[name] for name in DETECTORS)
        rows.append(
            (
                change.name,
                f"{own.median / adwin.median:.2f}" if math.isfinite(own.median) else "missed",
                f"{change.most:g}" if change.most and n_reference == REFERENCES[1] else "",
                *(delay_text(each) for each in (own, adwin, page_hinkley)),
                *(f"{each.n_false:,}" for each in (own, adwin, page_hinkley)),
                f"{own.date_median:,.0f} / {own.date_p90:,.0f}",
            )
        )
    n_seeds = measured[0].n_seeds
    return FigureTable(
        f"delays_{n_reference}",
        f"rows to the alarm, median / 95 % / missed, of {n_seeds} seeds; focus at ARL0 "
        f"{DELAY_ARL0:.0e}, reference of {n_reference:,} rows; false: alarms in the "
        f"{n_seeds * N_QUIET:,} rows before",
        (
            "change",
            "of ADWIN's",
            "target",
            "focus",
            "ADWIN",
            "Page-Hinkley",
            "false: focus",
            "ADWIN",
            "Page-Hinkley",
            "change point off, median / 90 %",
        ),
        rows,
    )


def delay_text(one: Delays) -> str:
    """Median, 95 % and how many were missed, if any."""
    shown = [f"{x:,.0f}" if math.isfinite(x) else "-" for x in (one.median, one.p95)]
    return " / ".join(shown) + (f" / {one.n_missed}" if one.n_missed else "")


def real_table(measured: list[Real]) -> FigureTable:
    """All signals together, and how late each change was found on those that matter."""
    rows = []
    for stream in dict.fromkeys(one.stream for one in measured):
        own = [one for one in measured if one.stream == stream]
        for detector in DETECTORS:
            of = [one for one in own if one.detector == detector]
            rows.append(
                (
                    f"{stream}, all {len(of)} signals, {detector}",
                    f"{sum(one.n_before for one in of):,}",
                    f"{sum(one.n_alarms for one in of):,}",
                    "",
                )
            )
        for one in own:
            if one.signal in NAMED:
                late = ", ".join("-" if rows_ is None else f"{rows_:,}" for rows_ in one.late)
                rows.append(
                    (
                        f"{stream}, {one.signal}, {one.detector}",
                        f"{one.n_before:,}",
                        f"{one.n_alarms:,}",
                        late,
                    )
                )
    columns = ("stream, signals, detector", "alarms before", "alarms", "rows from each change")
    title = f"real streams, reference of 2,000 rows, focus at ARL0 {ARL0:.0e}"
    return FigureTable("real", title, columns, rows)


def train_table(measured: list[Train]) -> FigureTable:
    """Steps found before the next one comes."""
    rows = [
        (
            f"{one.spacing:,} rows apart, {one.detector}",
            f"{one.n_found / one.n_steps:.1%}",
            f"{one.n_chance / one.n_steps:.0%}",
            f"{one.n_alarms / one.n_steps:.2f}",
        )
        for one in measured
    ]
    columns = ("steps of 1 sd", "found", "by chance", "alarms per step")
    return FigureTable("trains", "trains of steps", columns, rows)


if __name__ == "__main__":
    main()
