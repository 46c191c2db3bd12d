"""The tables of real streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.drift.episodes import NEAR, Episode
from benchmarks.drift.hits import ALWAYS, Hits
from benchmarks.drift.labelled import Labelled
from benchmarks.drift.real import HIT_ROWS, Real
from benchmarks.kit.report import FigureTable
from streams.census import REAL_CHANGES

NAMED: Final = ("RELP", "score", "class:1", "vicprice", "vicdemand", "transfer")
"""Signals whose delays are shown one by one."""


def real_table(measured: Sequence[Real]) -> FigureTable:
    """All signals together, and how late each change was found on those that matter."""
    rows = []
    for stream in dict.fromkeys(one.stream for one in measured):
        own = [one for one in measured if one.stream == stream]
        for detector in dict.fromkeys(one.detector for one in own):
            of = [one for one in own if one.detector == detector]
            hits = sum((one.hits for one in of), Hits())
            name = f"{stream}, all {len(of)} signals, {detector}"
            n_before = sum(one.n_before for one in of)
            rows.append((name, f"{n_before:,}", f"{hits.n_alarms:,}", *hits_text(hits), ""))
        for one in own:
            if one.signal in NAMED and one.detector != ALWAYS:
                late = ", ".join("-" if rows_ is None else f"{rows_:,}" for rows_ in one.late)
                name = f"{stream}, {one.signal}, {one.detector}"
                before = f"{one.n_before:,}"
                rows.append((name, before, f"{one.n_alarms:,}", *hits_text(one.hits), late))
    columns = (
        "stream, signals, detector",
        "alarms before",
        "alarms",
        f"found in {HIT_ROWS:,} rows",
        "by chance",
        "rows from each change",
    )
    title = "real streams, reference of 2,000 rows; found: of all signals, though not all change"
    return FigureTable("real", title, columns, rows)


def hits_text(hits: Hits) -> tuple[str, str]:
    """How many of how many, and by chance."""
    return f"{hits.n_hit} of {hits.n_windows}", f"{hits.n_chance:.1f}"


def labelled_table(measured: Sequence[Labelled]) -> FigureTable:
    """Windows that people have marked."""
    rows = [
        (
            f"{one.collection}, {one.n_series} series, {one.detector}",
            *hits_text(one.hits),
            f"{one.hits.n_alarms:,}",
            f"{one.hits.n_outside:,}",
        )
        for one in measured
    ]
    columns = ("collection, detector", "windows hit", "by chance", "alarms", "outside of all")
    title = "marked windows, reference of 15 % of a series, 20 to 750 rows"
    return FigureTable("labelled", title, columns, rows)


def episode_table(arl0: float, found: Sequence[Episode]) -> FigureTable:
    """What each known change became, and in how many other episodes something was said."""
    rows: list[tuple[str, ...]] = []
    for change, _ in REAL_CHANGES:
        own = [one for one in found if one.change == change]
        rows += [
            (
                f"{change:,}",
                f"{len(own)}",
                "1",
                f"{one.opened:,}",
                f"{one.change_point:,}",
                f"{one.n_signals}",
                f"{one.n_findings}",
                one.standing,
            )
            for one in own
        ] or [(f"{change:,}", "0", "1", *[""] * 5)]
    others = [one for one in found if one.change is None]
    opened = ", ".join(f"{one.opened:,}" for one in others)
    rows.append(("all others", f"{len(others)}", "10", opened, *[""] * 4))
    columns = (
        "change at row",
        "episodes",
        "target",
        "opened at row",
        "change point",
        "signals",
        "findings",
        "standing",
    )
    title = (
        f"alerts on the census in row order, focus at ARL0 {arl0:.0e}; of a change are those whose "
        f"change point is within {NEAR:,} rows of it"
    )
    return FigureTable("episodes", title, columns, rows)
