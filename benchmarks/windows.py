"""What comparing windows adds to `focus`: changes of shape; and whether it keeps its rate.

    python -m benchmarks.windows [--seeds N] [--updates N] [--quick] [--json]

Changes: a reference of 2,000 rows, 5,000 rows without a change, then 40,000 with it; ARL0 1e6 for
each detector alone, and 2e6 where both share the budget. Nulls: nothing changes, and the alarms
stand beside the stated number with the exact Poisson interval.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Final

import numpy as np

from benchmarks.drift.contest import Contestant
from benchmarks.drift.nulls import FalseAlarms, false_alarms
from benchmarks.drift.streams import NULLS
from benchmarks.kit.report import FigureTable, parser, publish
from schemas.batch import F64

Rng = np.random.Generator
Law = Callable[[Rng, tuple[int, int]], F64]

N_REFERENCE: Final = 2_000
N_QUIET: Final = 5_000
N_CHANGED: Final = 40_000
ARL0: Final = 1e6
STATED: Final = (1e4, 1e5)
CONTESTANTS: Final = (("focus", ARL0), ("focus", 2.0 * ARL0), ("windows", 2.0 * ARL0))
_POLL_ROWS: Final = 5_000


def bimodal(sd: float, middle: float) -> Law:
    """Two normals around -middle and +middle."""

    def draw(rng: Rng, shape: tuple[int, int]) -> F64:
        side = np.where(rng.random(shape) < 0.5, -middle, middle)
        return side + rng.normal(size=shape) * sd

    return draw


LAWS: Final[dict[str, Law]] = {
    # Where the mean normal score of the absolute values stays 0: `focus` sees nothing of it.
    "bimodal, 0.3 sd around 0.711": bimodal(0.3, 0.711),
    "bimodal, 0.15 sd around 0.683": bimodal(0.15, 0.683),
    "uniform, same mean and sd": lambda rng, shape: rng.uniform(-1.0, 1.0, shape) * math.sqrt(3.0),
    "gamma of shape 4, same mean and sd": lambda rng, shape: rng.gamma(4.0, 0.5, shape) - 2.0,
    "spread x 1.2": lambda rng, shape: 1.2 * rng.normal(size=shape),
    "mean + 0.1 sd": lambda rng, shape: 0.1 + rng.normal(size=shape),
    "mean + 0.2 sd": lambda rng, shape: 0.2 + rng.normal(size=shape),
    "mean + 0.5 sd": lambda rng, shape: 0.5 + rng.normal(size=shape),
}


def delays(law: Law, detector: str, arl0: float, n_seeds: int) -> list[float]:
    """Rows from the change to the first alarm after it, by seed; infinite where there is none."""
    rng = np.random.default_rng(11)
    contestant = Contestant(detector, rng.normal(size=(n_seeds, N_REFERENCE)), arl0)
    for _ in range(N_QUIET // _POLL_ROWS):
        contestant.feed(rng.normal(size=(n_seeds, _POLL_ROWS)))
    first = [math.inf] * n_seeds
    for _ in range(N_CHANGED // _POLL_ROWS):
        for firing in contestant.feed(law(rng, (n_seeds, _POLL_ROWS))):
            first[firing.lane] = min(first[firing.lane], firing.model_event - N_QUIET + 1.0)
    return first


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("windows", __doc__)
    options_parser.add_argument("--seeds", type=int, default=100, help="of each change")
    options_parser.add_argument("--updates", type=int, default=10_000_000, help="of each null")
    options = options_parser.parse_args()
    n_seeds = 10 if options.quick else options.seeds
    n_updates = 500_000 if options.quick else options.updates
    found: dict[str, list[list[float]]] = {}
    for name, law in LAWS.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        found[name] = [delays(law, who, arl0, n_seeds) for who, arl0 in CONTESTANTS]
    nulls: list[tuple[float, FalseAlarms]] = []
    for null in NULLS:
        if null.name.startswith("Bernoulli"):
            continue
        for arl0 in STATED:
            print(f"{null.name}, ARL0 {arl0:g} ...", file=sys.stderr, flush=True)
            one = false_alarms(null, "windows", N_REFERENCE, arl0, n_updates)
            nulls.append((arl0, one))
    changes = FigureTable(
        "changes",
        f"rows to the first alarm, median / 95 % / missed, of {n_seeds} seeds",
        ("change of a normal signal", *(f"{who}, ARL0 {arl0:.0e}" for who, arl0 in CONTESTANTS)),
        [(name, *(summary(each) for each in of_law)) for name, of_law in found.items()],
    )
    rates = FigureTable(
        "rates",
        f"false alarms of windows, {n_updates:,} updates each, reference of {N_REFERENCE:,} rows",
        ("null, ARL0", "of the stated", "alarms", "95 % interval", "stated", "streams of 50"),
        [
            (
                f"{one.null}, {arl0:.0e}",
                f"{one.n_alarms * arl0 / n_updates:.2f}",
                f"{one.n_alarms:,}",
                "{:.1f} to {:.1f}".format(*one.interval()),
                f"{n_updates / arl0:,.0f}",
                f"{one.n_lanes_alarmed}",
            )
            for arl0, one in nulls
        ],
    )
    figures = {
        "delays": {
            name: [[x if math.isfinite(x) else None for x in each] for each in of_law]
            for name, of_law in found.items()
        },
        "nulls": [{"arl0": arl0} | asdict(one) for arl0, one in nulls],
    }
    publish("windows", [changes, rates], figures, options)


def summary(rows: list[float]) -> str:
    """Median, 95 % and, where there are any, how many found nothing."""
    ordered = sorted(rows)
    n_missed = sum(map(math.isinf, rows))
    middle, late = ordered[len(rows) // 2], ordered[len(rows) * 95 // 100]
    shown = " / ".join("-" if math.isinf(x) else f"{x:,.0f}" for x in (middle, late))
    return shown + (f" / {n_missed}" if n_missed else "")


if __name__ == "__main__":
    main()
