"""What a test for a trend adds to `focus`: slow moves; and whether it keeps its rate.

    python -m benchmarks.trend [--seeds N] [--updates N] [--quick] [--json]

Moves: they begin after a reference of 20,000 rows, unless another is named, and where it says so
after 200,000 quiet rows. At each ARL0 `focus` stands alone, and then beside `trend` on the same
rows, where both share the budget: each with twice the ARL0. Nulls, with a reference of 2,000 rows:
nothing changes, and the alarms stand beside the stated number with the exact Poisson interval.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.drift.contest import Contestant
from benchmarks.drift.nulls import FalseAlarms, false_alarms
from benchmarks.drift.streams import NULLS, Autoregression, Null, Source
from benchmarks.kit.report import FigureTable, parser, publish
from schemas.batch import F64, I64

N_REFERENCE: Final = 2_000
"""Rows of a reference of the nulls."""
BUDGETS: Final = (1e6, 1e7)
STATED: Final = 1e5
N_LANES: Final = 10
"""Streams of each null: so few, that the coarsest blocks are tested too."""
_POLL_ROWS: Final = 10_000


def _dependent(phi: float) -> Null:
    name = f"AR(1) {phi:g}"
    return Null(name, lambda rng, n_lanes: Autoregression(rng, n_lanes, phi), is_independent=False)


_NAMED: Final = {null.name: null for null in NULLS}
WITHOUT: Final = (
    *(
        _NAMED[name]
        for name in (
            "normal",
            "lognormal",
            "Bernoulli 0.2",
            "Bernoulli 0.01",
            "AR(1) 0.5",
            "AR(1) 0.9",
        )
    ),
    _dependent(0.999),
)


class Move(NamedTuple):
    """A law and how its mean, or the share of ones, goes on after the quiet rows."""

    name: str
    null: Null
    """What goes on as it was, and is moved."""
    by: Callable[[I64], F64]
    """Of rows since it began, what is added to the mean, or the share of ones."""
    n_rows: int
    n_quiet: int = 0
    """Rows between the reference and the move."""
    n_reference: int = 20_000
    is_share: bool = False


def _uniform(rng: np.random.Generator, n_lanes: int) -> Source:
    return Source(rng, n_lanes, lambda own, shape: own.random(shape))


_SHARES: Final = Null("share", _uniform)
"""What lies below the share of the row is a one."""


def _slope(size: float, rows: int) -> Callable[[I64], F64]:
    return lambda since: size * np.maximum(since, 0) / rows


def _decay(before: float, after: float, rows: int) -> Callable[[I64], F64]:
    return lambda since: before + (after - before) * np.clip(since / rows, 0.0, 1.0)


_WEEKLY: Final = _slope(0.05, 100_000)
MOVES: Final = (
    Move("0.05 sd in 100,000 rows", _NAMED["normal"], _WEEKLY, 300_000),
    Move("the same, reference of 2,000", _NAMED["normal"], _WEEKLY, 300_000, n_reference=2_000),
    Move("the same, after quiet rows", _NAMED["normal"], _WEEKLY, 300_000, n_quiet=200_000),
    Move("the same, rows AR(1) 0.9", _NAMED["AR(1) 0.9"], _WEEKLY, 500_000),
    Move("0.05 sd in 1,000,000 rows", _NAMED["normal"], _slope(0.05, 1_000_000), 1_200_000),
    Move(
        "errors 0.10 to 0.14 in 1,000,000 rows",
        _SHARES,
        _decay(0.10, 0.14, 1_000_000),
        1_000_000,
        is_share=True,
    ),
    Move(
        "0.1 sd at once, after quiet rows",
        _NAMED["normal"],
        lambda since: np.where(since >= 0, 0.1, 0.0),
        100_000,
        n_quiet=200_000,
    ),
)


class Found(NamedTuple):
    """What each said of a move, by seed."""

    move: str
    arl0: float
    rows: dict[str, list[float]]
    """To the first alarm since it began; infinite where there is none."""
    n_early: dict[str, int]
    """Alarms before it began."""


class Entry(NamedTuple):
    """Who takes part in a contest."""

    name: str
    detector: str
    share: float
    """Its ARL0 in that of the contest: with two that share a budget each has twice as much."""


BESIDE: Final = (
    Entry("alone", "focus", 1.0),
    Entry("focus", "focus", 2.0),
    Entry("trend", "trend", 2.0),
)


def contest(
    move: Move, n_seeds: int, n_rows: int, entries: Sequence[Entry] = BESIDE
) -> list[Found]:
    """All detectors at every ARL0 on the same rows, `n_rows` of them since the move began."""
    rng = np.random.default_rng(13)
    source = move.null.make(rng, n_seeds)
    n_quiet = move.n_quiet
    reference = _moved(move, source.take(move.n_reference), -move.n_reference - n_quiet)
    who = {
        (arl0, name): Contestant(detector, reference, arl0 * share)
        for arl0 in BUDGETS
        for name, detector, share in entries
    }
    first = {each: [math.inf] * n_seeds for each in who}
    n_early = dict.fromkeys(who, 0)
    for start in range(-n_quiet, n_rows, _POLL_ROWS):
        rows = _moved(move, source.take(_POLL_ROWS), start)
        for each, contestant in who.items():
            for firing in contestant.feed(rows):
                since = firing.model_event - n_quiet + 1.0
                if since <= 0:
                    n_early[each] += 1
                else:
                    first[each][firing.lane] = min(first[each][firing.lane], since)
    return [
        Found(
            move.name,
            arl0,
            {name: first[of, name] for of, name in who if of == arl0},
            {name: n_early[of, name] for of, name in who if of == arl0},
        )
        for arl0 in BUDGETS
    ]


def _moved(move: Move, rows: F64, start: int) -> F64:
    by = move.by(np.arange(start, start + rows.shape[1]))
    return (rows < by).astype(np.float64) if move.is_share else rows + by


def summary(rows: list[float]) -> str:
    """Median, 95 % and, where there are any, how many found nothing."""
    ordered = sorted(rows)
    n_missed = sum(map(math.isinf, rows))
    middle, late = ordered[len(rows) // 2], ordered[len(rows) * 95 // 100]
    shown = " / ".join("-" if math.isinf(x) else f"{x:,.0f}" for x in (middle, late))
    return shown + (f" / {n_missed}" if n_missed else "")


def _row(found: Found) -> tuple[str, ...]:
    focus, trend = found.rows["focus"], found.rows["trend"]
    either = [min(pair) for pair in zip(focus, trend, strict=True)]
    n_first = sum(slow < fast for fast, slow in zip(focus, trend, strict=True))
    return (
        f"{found.move}, {found.arl0:.0e}",
        summary(found.rows["alone"]),
        summary(focus),
        summary(trend),
        summary(either),
        f"{n_first}",
        " / ".join(str(found.n_early[name]) for name in ("alone", "focus", "trend")),
    )


def _plain(found: Found) -> dict[str, Any]:
    rows = {
        name: [x if math.isfinite(x) else None for x in each] for name, each in found.rows.items()
    }
    return found._asdict() | {"rows": rows}


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("trend", __doc__)
    options_parser.add_argument("--seeds", type=int, default=20, help="of each move")
    options_parser.add_argument("--updates", type=int, default=20_000_000, help="of each null")
    options = options_parser.parse_args()
    n_seeds = 2 if options.quick else options.seeds
    n_updates = 500_000 if options.quick else options.updates
    found: list[Found] = []
    for move in MOVES:
        print(f"{move.name} ...", file=sys.stderr, flush=True)
        found += contest(move, n_seeds, move.n_rows // 20 if options.quick else move.n_rows)
    nulls: list[FalseAlarms] = []
    for null in WITHOUT:
        print(f"{null.name} ...", file=sys.stderr, flush=True)
        nulls.append(false_alarms(null, "trend", N_REFERENCE, STATED, n_updates, N_LANES))
    moves = FigureTable(
        "moves",
        f"rows from its beginning to the first alarm, median / 95 % / missed, of {n_seeds} seeds; "
        "early: alarms before it",
        (
            "move, ARL0",
            "focus alone",
            "focus, shared",
            "trend, shared",
            "either",
            "trend first",
            "early",
        ),
        [_row(each) for each in found],
    )
    rates = FigureTable(
        "rates",
        f"false alarms of trend at ARL0 {STATED:.0e}, {n_updates:,} updates each, reference of "
        f"{N_REFERENCE:,} rows",
        ("null", "of the stated", "alarms", "95 % interval", "stated", f"streams of {N_LANES}"),
        [
            (
                one.null,
                f"{one.n_alarms * STATED / n_updates:.2f}",
                f"{one.n_alarms:,}",
                "{:.1f} to {:.1f}".format(*one.interval()),
                f"{n_updates / STATED:,.0f}",
                f"{one.n_lanes_alarmed}",
            )
            for one in nulls
        ],
    )
    figures = {
        "moves": [_plain(each) for each in found],
        "nulls": [{"arl0": STATED} | asdict(one) for one in nulls],
    }
    publish("trend", [moves, rates], figures, options)


if __name__ == "__main__":
    main()
