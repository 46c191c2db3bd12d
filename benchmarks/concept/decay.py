"""Accuracy that falls a little with every label: who finds it, and when; and what is said without.

`focus` and `trend` on the errors, each alone with all of the ARL0, and both beside each other,
where each has twice as much. The same zeros and ones for everyone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import numpy as np

from benchmarks.drift.contest import Contestant
from benchmarks.drift.nulls import FalseAlarms
from benchmarks.kit.report import FigureTable
from benchmarks.performance.part import Part
from benchmarks.trend import BUDGETS, MOVES, Entry, Found, contest
from schemas.batch import F64

ENTRIES: Final = (
    Entry("focus", "focus", 1.0),
    Entry("trend", "trend", 1.0),
    Entry("focus, shared", "focus", 2.0),
    Entry("trend, shared", "trend", 2.0),
)
MOVE: Final = next(one for one in MOVES if one.name == "errors 0.10 to 0.14 in 1,000,000 rows")
BEFORE, AFTER = 0.10, 0.14
"""Error rates of that move."""
REFERENCES: Final = (20_000, 2_000)
"""The latter is the default of `labels.reference_labels`."""
NULL_ROWS: Final = 10_000_000
"""Labels of a seed without a decay."""
NULL_SEEDS: Final = 10
_POLL_ROWS: Final = 10_000


def decay(*, n_seeds: int, n_rows: int, n_null_rows: int) -> Part:
    """The decay over its first `n_rows`, and as many labels as are wanted without one."""
    found = {
        n_reference: contest(
            MOVE._replace(n_reference=n_reference), n_seeds, min(n_rows, MOVE.n_rows), ENTRIES
        )
        for n_reference in REFERENCES
    }
    quiet = {n_reference: steady(n_reference, n_null_rows) for n_reference in REFERENCES}
    figures = {
        "found": [
            {"n_reference": n_reference, "arl0": one.arl0, "rows": _plain(one)}
            for n_reference, of in found.items()
            for one in of
        ],
        "steady": [
            asdict(one) | {"arl0": arl0, "interval": one.interval()}
            for of in quiet.values()
            for arl0, one in of
        ],
    }
    return Part([decay_table(found), steady_table(quiet)], figures)


def _plain(found: Found) -> dict[str, list[float | None]]:
    return {
        name: [x if math.isfinite(x) else None for x in rows] for name, rows in found.rows.items()
    }


def steady(n_reference: int, n_rows: int) -> list[tuple[float, FalseAlarms]]:
    """By ARL0, the alarms where the error rate stays; of each detector with all of the ARL0."""
    rng = np.random.default_rng([603, n_reference])
    reference = _ones(rng, n_reference)
    who = [(arl0, name) for arl0 in BUDGETS for name in ("focus", "trend")]
    entered = [Contestant(name, reference, arl0) for arl0, name in who]
    lanes: list[list[int]] = [[] for _ in who]
    left = n_rows
    while left > 0:
        errors = _ones(rng, min(left, _POLL_ROWS))
        left -= errors.shape[1]
        for alarms, contestant in zip(lanes, entered, strict=True):
            alarms += [firing.lane for firing in contestant.feed(errors)]
    return [
        (
            arl0,
            FalseAlarms(
                f"Bernoulli {BEFORE:g}",
                name,
                n_reference,
                n_rows * NULL_SEEDS,
                len(alarms),
                len(set(alarms)),
                0,
            ),
        )
        for (arl0, name), alarms in zip(who, lanes, strict=True)
    ]


def _ones(rng: np.random.Generator, n: int) -> F64:
    return (rng.random((NULL_SEEDS, n)) < BEFORE).astype(np.float64)


def decay_table(found: dict[int, list[Found]]) -> FigureTable:
    """When it was found, and how far accuracy had fallen by then."""
    rows = []
    for n_reference, of in found.items():
        for one in of:
            late = dict(one.rows)
            late["either, shared"] = [
                min(pair) for pair in zip(late["focus, shared"], late["trend, shared"], strict=True)
            ]
            for name, labels in late.items():
                rows.append(
                    (
                        f"{name}, ARL0 {one.arl0:.0e}, reference {n_reference:,}",
                        f"{sum(map(math.isfinite, labels))} of {len(labels)}",
                        *(_shown(_quantile(labels, q)) for q in (0.05, 0.5, 0.95)),
                        _accuracy(_quantile(labels, 0.5)),
                        _first(name, one),
                    )
                )
    title = (
        f"accuracy falls from {1 - BEFORE:.2f} to {1 - AFTER:.2f} in {MOVE.n_rows:,} labels: "
        "labels to the first alarm, and what accuracy is at the median; first: in how many seeds "
        "before the other one with the same ARL0"
    )
    columns = ("detector", "found", "5 %", "median", "95 %", "accuracy", "first")
    return FigureTable("decay", title, columns, rows)


def _first(name: str, found: Found) -> str:
    detector, _, rest = name.partition(",")
    other = {"focus": "trend", "trend": "focus"}.get(detector)
    if other is None:
        return ""
    pairs = zip(found.rows[name], found.rows[f"{other},{rest}" if rest else other], strict=True)
    return str(sum(own < others for own, others in pairs))


def _quantile(labels: Sequence[float], q: float) -> float:
    return sorted(labels)[min(int(q * len(labels)), len(labels) - 1)]


def _shown(labels: float) -> str:
    return "-" if math.isinf(labels) else f"{labels:,.0f}"


def _accuracy(labels: float) -> str:
    if math.isinf(labels):
        return ""
    return f"{1.0 - BEFORE - (AFTER - BEFORE) * labels / MOVE.n_rows:.3f}"


def steady_table(quiet: dict[int, list[tuple[float, FalseAlarms]]]) -> FigureTable:
    """The alarms without a decay, beside what is stated."""
    rows: list[tuple[str, ...]] = []
    n_updates = 0
    for n_reference, of in quiet.items():
        for arl0, one in of:
            n_updates = one.n_updates
            low, high = one.interval()
            rows.append(
                (
                    f"{one.detector}, ARL0 {arl0:.0e}, reference {n_reference:,}",
                    f"{one.n_alarms * arl0 / one.n_updates:.2f}",
                    f"{one.n_alarms}",
                    f"{low:.1f} to {high:.1f}",
                    f"{one.n_updates / arl0:,.0f}",
                    f"{one.n_lanes_alarmed}",
                )
            )
    title = (
        f"alarms where accuracy stays at {1 - BEFORE:.2f}, {NULL_SEEDS} seeds of "
        f"{n_updates // NULL_SEEDS:,} labels each, with the exact 95 % interval of their mean"
    )
    columns = ("detector", "of the stated", "alarms", "95 % interval", "stated", "seeds with one")
    return FigureTable("steady", title, columns, rows)
