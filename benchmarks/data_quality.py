"""What is found of features that each move a little; alarms by chance; units told by chance.

    python -m benchmarks.data_quality [--seeds N] [--events N] [--streams N] [--quick] [--json]

Together: 30 features, and after 2,500 rows, 2,000 of them the reference, each of them moves a
little, in 20 seeds. `representativeness` stands beside the first of all other signals of the same
fold, at the same ARL0. Rates: nothing changes, and the alarms of `representativeness` stand beside
the stated number with the exact Poisson interval; every stream has a reference of its own. Units:
features move for other reasons than their unit, and it is counted of how many the working baseline
is read as a part that is larger by a factor that units differ by; beside it where it is so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import median
from typing import Final, NamedTuple

import numpy as np

from benchmarks.drift.nulls import FalseAlarms
from benchmarks.kit.report import FigureTable, parser, publish
from detectors.fold import Fold
from schemas.batch import F64, Decoded, ModelKey
from schemas.config import DetectionConfig
from schemas.findings import Aspect, Finding
from schemas.signal_names import REPRESENTATIVENESS
from streams.units import FACTORS, FURTHEST, part_factor
from tests.detectors.decoded import Event, decoded, table

MODEL: Final = ModelKey("model", "1")
N_FEATURES: Final = 30
N_REFERENCE: Final = 2_000
N_QUIET: Final = 500
N_AFTER: Final = 20_000
ARL0: Final = 1e6
STATED: Final = 1e4
"""ARL0 of what changes, and of what does not."""
BATCH: Final = 500
N_OF_FOLD: Final = 20
"""Features that change in one stream of the units."""
Rows = Callable[[np.random.Generator, int, bool], Decoded]
"""So many rows, changed or not."""


def _events(columns: F64, first: int = 0) -> Decoded:
    """(n, features) numbers as a poll."""
    n = len(columns)
    named = {f"x{j:02}": columns[:, j] for j in range(columns.shape[1])}
    return table(MODEL, named, np.full(n, np.nan), np.zeros(n), first)


def _shifted(rng: np.random.Generator, n: int, changed: bool) -> Decoded:
    x = rng.normal(size=(n, N_FEATURES))
    x[:, ::2] += 0.1 * changed
    x[:, 1::2] -= 0.1 * changed
    return _events(x)


def _wider(by: float) -> Rows:
    return lambda rng, n, changed: _events(rng.normal(size=(n, N_FEATURES)) * (1.0 + by * changed))


def _skewed(rng: np.random.Generator, n: int, changed: bool) -> Decoded:
    return _events(rng.exponential(1.0 + 0.05 * changed, size=(n, N_FEATURES)))


def _other_rows(rng: np.random.Generator, n: int, changed: bool) -> Decoded:
    x = rng.normal(size=(n, N_FEATURES))
    x[rng.random(n) < 0.03 * changed] *= 2.0
    return _events(x)


def _words(rng: np.random.Generator, n: int, changed: bool) -> Decoded:
    shares = np.array([0.58, 0.32, 0.1]) if changed else np.array([0.6, 0.32, 0.08])
    drawn = np.searchsorted(np.cumsum(shares)[:2], rng.random((n, N_FEATURES)), side="right")
    names = "abc"
    return decoded(
        [
            Event(i, {f"x{j:02}": names[k] for j, k in enumerate(row)})
            for i, row in enumerate(drawn.tolist())
        ]
    )


CHANGES: Final[dict[str, Rows]] = {
    "normal, means 0.1 sd up or down": _shifted,
    "normal, spread + 5 %": _wider(0.05),
    "normal, spread + 10 %": _wider(0.1),
    "exponential, means + 5 %": _skewed,
    "normal, 3 % of the rows twice as wide": _other_rows,
    "three categories, 60 : 32 : 8 to 58 : 32 : 10": _words,
}


class Found(NamedTuple):
    """Rows until one seed's change was found; None: not in so many."""

    ours: int | None
    others: int | None
    first: str
    """Which other signal was first."""


def found(rows: Rows, seed: int, n_after: int) -> Found:
    """Fold one stream until both have found the change."""
    rng = np.random.default_rng([seed, N_FEATURES])
    fold = Fold(DetectionConfig(reference_events=N_REFERENCE, arl0=ARL0))
    fold.process(rows(rng, N_REFERENCE + N_QUIET, False))
    ours: int | None = None
    others: tuple[int, str] | None = None
    begin = N_REFERENCE + N_QUIET
    for _ in range(0, n_after, BATCH):
        for each in fold.process(rows(rng, BATCH, True)):
            if not isinstance(each, Finding) or each.aspect == Aspect.SETTLED:
                continue
            at = each.model_event - begin + 1
            if each.signal == REPRESENTATIVENESS:
                ours = at if ours is None else ours
            elif others is None:
                others = at, each.signal
        if ours is not None and others is not None:
            break
    return Found(ours, None if others is None else others[0], "" if others is None else others[1])


def _independent(rng: np.random.Generator, n: int) -> Decoded:
    laws = (
        rng.normal(50.0, 3.0, n),
        rng.exponential(2.0, n),
        rng.lognormal(0.0, 1.0, n),
        rng.standard_t(5, n),
        rng.poisson(3.0, n).astype(np.float64),
        rng.uniform(size=n),
    )
    return _events(np.column_stack(laws))


def _alike(rng: np.random.Generator, n: int) -> Decoded:
    """Correlated by 0.7, each with the same factor."""
    common = rng.normal(size=(n, 1))
    return _events(np.sqrt(0.7) * common + np.sqrt(0.3) * rng.normal(size=(n, 6)))


def _dependent(rng: np.random.Generator, n: int) -> Decoded:
    """AR(1) 0.5."""
    noise = rng.normal(size=(n, 6))
    for i in range(1, n):
        noise[i] += 0.5 * noise[i - 1]
    return _events(noise)


def _categories(rng: np.random.Generator, n: int) -> Decoded:
    drawn = [rng.choice(list("abcdefgh"[:k]), n) for k in range(2, 8)]
    return decoded(
        [Event(i, dict(zip("uvwxyz", row, strict=True))) for i, row in enumerate(zip(*drawn))]  # noqa: B905 - of one length
    )


NULLS: Final[dict[str, Callable[[np.random.Generator, int], Decoded]]] = {
    "six laws": _independent,
    "six normal, correlated 0.7": _alike,
    "six AR(1) 0.5": _dependent,
    "six categories": _categories,
}


def rate(name: str, n_reference: int, n_streams: int, n_events: int) -> FalseAlarms:
    """The alarms of streams in which nothing changes."""
    n_alarms = n_spread = n_alarmed = 0
    for seed in range(n_streams):
        rng = np.random.default_rng([seed, n_reference, n_events])
        fold = Fold(DetectionConfig(reference_events=n_reference, arl0=STATED))
        own = [
            each
            for each in fold.process(NULLS[name](rng, n_reference + n_events))
            if isinstance(each, Finding)
            and each.signal == REPRESENTATIVENESS
            and each.aspect != Aspect.SETTLED
        ]
        n_alarms += len(own)
        n_spread += sum(each.aspect == Aspect.SPREAD for each in own)
        n_alarmed += bool(own)
    n_updates = n_streams * n_events
    return FalseAlarms(
        name, REPRESENTATIVENESS, n_reference, n_updates, n_alarms, n_alarmed, n_spread
    )


Moved = Callable[[np.random.Generator, F64], F64]
"""What becomes of a feature's values."""


def _part(rng: np.random.Generator, n: int) -> F64:
    """(n,) 1 for a part of 3 to 60 %."""
    return (rng.random(n) < rng.uniform(0.03, 0.6)).astype(np.float64)


def _no_unit(rng: np.random.Generator) -> float:
    """A factor that no units differ by."""
    while True:
        factor = float(np.exp(rng.uniform(np.log(1.5), np.log(5_000.0))))
        if all(abs(factor / each - 1.0) > 2.0 * FURTHEST for each in FACTORS):
            return factor


def _far(rng: np.random.Generator, x: F64) -> F64:
    off = np.exp(rng.uniform(np.log(3.0), np.log(1_000.0))) * x.std()
    return np.where(_part(rng, len(x)) > 0.0, x + off, x)


def _times(factor: Callable[[np.random.Generator], float]) -> Moved:
    def moved(rng: np.random.Generator, x: F64) -> F64:
        return x * (1.0 + (factor(rng) - 1.0) * _part(rng, len(x)))

    return moved


IS_UNIT: Final = "a part times a factor of units (to be named)"
OF_UNITS: Final[dict[str, Moved]] = {
    "all values 0.5 to 10 sd up": lambda rng, x: x + rng.uniform(0.5, 10.0) * x.std(),
    "all values 1.2 to 3 times": lambda rng, x: x * rng.uniform(1.2, 3.0),
    "spread 1.2 to 3 times": lambda rng, x: x.mean() + rng.uniform(1.2, 3.0) * (x - x.mean()),
    "a part 3 to 1,000 sd up": _far,
    "a part is -999": lambda rng, x: np.where(_part(rng, len(x)) > 0.0, -999.0, x),
    "a part is 0": lambda rng, x: x * (1.0 - _part(rng, len(x))),
    "a part times a factor of no units": _times(_no_unit),
    IS_UNIT: _times(lambda rng: float(rng.choice(sorted(FACTORS)))),
}
"""Each with features that are normal, lognormal, gamma or uniform."""


class Named(NamedTuple):
    """Of how many features that moved, and had a working baseline, a factor was named."""

    n_settled: int
    n_named: int


def named(moved: Moved, seed: int) -> Named:
    """Fold one stream of features that all move so."""
    rng = np.random.default_rng([seed, N_OF_FOLD])
    n = N_REFERENCE + N_QUIET
    columns = []
    for j in range(N_OF_FOLD):
        laws = (
            rng.normal(10.0, 2.0, 2 * n),
            rng.lognormal(0.0, 0.5, 2 * n),
            rng.gamma(4.0, 1.0, 2 * n),
            rng.uniform(2.0, 6.0, 2 * n),
        )
        x = laws[j % len(laws)]
        x[n:] = moved(rng, x[n:])
        columns.append(x)
    fold = Fold(DetectionConfig(reference_events=N_REFERENCE, arl0=ARL0))
    settled: dict[str, float] = {}
    for each in fold.process(_events(np.column_stack(columns))):
        if isinstance(each, Finding) and each.aspect is Aspect.SETTLED and each.model_event > n:
            settled.setdefault(each.signal, part_factor(each))
    own = [factor for signal, factor in settled.items() if signal.startswith("feature:")]
    return Named(len(own), sum(factor != 0.0 for factor in own))


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("data_quality", __doc__)
    options_parser.add_argument("--seeds", type=int, default=20, help="of each change")
    options_parser.add_argument("--events", type=int, default=20_000, help="of a quiet stream")
    options_parser.add_argument("--streams", type=int, default=50, help="in which nothing changes")
    options = options_parser.parse_args()
    n_seeds, n_streams = (2, 2) if options.quick else (options.seeds, options.streams)
    n_after = 2_000 if options.quick else N_AFTER
    n_events = 2_000 if options.quick else options.events
    changes: dict[str, list[Found]] = {}
    for name, rows in CHANGES.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        changes[name] = [found(rows, seed, n_after) for seed in range(n_seeds)]
    rates = []
    for name in NULLS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rates += [rate(name, n, n_streams, n_events) for n in (N_REFERENCE, 10 * N_REFERENCE)]
    units: dict[str, Named] = {}
    for name, moved in OF_UNITS.items():
        print(f"{name} ...", file=sys.stderr, flush=True)
        one = [named(moved, seed) for seed in range(n_seeds)]
        units[name] = Named(sum(e.n_settled for e in one), sum(e.n_named for e in one))
    publish(
        "data_quality",
        [_change_table(changes, n_after), _rate_table(rates), _unit_table(units)],
        {
            "changes": {name: [each._asdict() for each in of] for name, of in changes.items()},
            "rates": [
                {"null": e.null, "n_alarms": e.n_alarms, "stated": e.n_updates / STATED}
                for e in rates
            ],
            "units": {name: each._asdict() for name, each in units.items()},
        },
        options,
    )


def _delay(rows: list[int | None], n_after: int) -> str:
    """The median of the seeds, those that found nothing at the end."""
    middle = median(n_after + 1 if each is None else each for each in rows)
    n = sum(each is not None for each in rows)
    return (f"{middle:,.0f}" if middle <= n_after else "-") + f" ({n} of {len(rows)})"


def _change_table(changes: dict[str, list[Found]], n_after: int) -> FigureTable:
    return FigureTable(
        "together",
        f"{N_FEATURES} features that all change at once: median rows until found, and in how many "
        f"seeds within {n_after:,}; ARL0 {ARL0:g}, reference {N_REFERENCE:,}",
        ("change", "`representativeness`", "the first other signal", "which, most often"),
        [
            (
                name,
                _delay([each.ours for each in of], n_after),
                _delay([each.others for each in of], n_after),
                _most_often([each.first.partition("=")[0].rstrip("0123456789") for each in of]),
            )
            for name, of in changes.items()
        ],
    )


def _most_often(names: list[str]) -> str:
    return max(sorted(set(names)), key=names.count)


def _rate_table(rates: list[FalseAlarms]) -> FigureTable:
    rows = []
    for each in rates:
        low, high = each.interval()
        stated = each.n_updates / STATED
        rows.append(
            (
                each.null,
                f"{each.n_alarms / stated:.2f}",
                f"{each.n_reference:,}",
                f"{stated:,.0f}",
                f"{each.n_alarms}",
                f"{low:.1f} to {high:.1f}",
            )
        )
    return FigureTable(
        "rates",
        f"Alarms of `representativeness` where nothing changes, at an ARL0 of {STATED:,.0f}",
        ("null", "of stated", "reference", "stated", "alarms", "95 %"),
        rows,
    )


def _unit_table(units: dict[str, Named]) -> FigureTable:
    return FigureTable(
        "units",
        "features that moved, and of how many a factor was named (`part_factor`)",
        ("what moved", "share", "features", "named"),
        [
            (
                name,
                f"{each.n_named / max(each.n_settled, 1):.1%}",
                f"{each.n_settled:,}",
                f"{each.n_named:,}",
            )
            for name, each in units.items()
        ],
    )


if __name__ == "__main__":
    main()
