"""What signals of all features together promise and find where no feature alone changes.

    python -m benchmarks.joint [--seeds N] [--updates SHARE] [--quick] [--json]

Changes: the first two of 2, 5 or 20 normal features become correlated, or cease to be; each feature
keeps its law. Found is what `joint:residual`, or `joint:mmd` beside it, finds with `focus` at an
ARL0 of 1e6 for each signal; beside them `focus`, ADWIN, Page-Hinkley and KSWIN on every feature,
which can find such a change by chance only, and what fires at every row. By chance: what as many
alarms as before the change would find without any change, at the contestant's own rate.
Nulls: nothing changes, and the alarms of each signal stand beside the stated number at an ARL0 of
1e5, with the exact Poisson interval.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from benchmarks.drift.contest import Contestant
from benchmarks.drift.hits import ALWAYS
from benchmarks.drift.nulls import FalseAlarms
from benchmarks.drift.streams import Autoregression, Rng
from benchmarks.kit.report import FigureTable, finite, parser, publish
from detectors.fold import Fold
from schemas.batch import F64, Decoded, ModelKey
from schemas.config import (
    DetectionConfig,
    JointConfig,
    ModelConfig,
    QualityConfig,
    SignalConfig,
)
from schemas.findings import Aspect, Finding
from tests.detectors.decoded import table

MODEL: Final = ModelKey("joint", "1")
N_REFERENCE: Final = 2_000
N_QUIET: Final = 10_000
"""Rows without a change before it."""
N_AFTER: Final = 20_000
ARL0: Final = 1e6
NULL_ARL0: Final = 1e5
N_STREAMS: Final = 20
NULL_UPDATES: Final = 4_000_000
WIDTHS: Final = (2, 5, 20)
CHANGES: Final = ((0.0, 0.5), (0.0, 0.8), (0.8, 0.0))
MARGINS: Final = ("focus", "adwin", "page_hinkley", "kswin")
SIGNALS: Final = ("joint:residual", "joint:mmd")
_POLL_ROWS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Found:
    """What one contestant made of one change, over all seeds."""

    n_features: int
    before: float
    after: float
    contestant: str
    n_seeds: int
    n_found: int
    median: float
    """Rows; infinite where fewer than half were found."""
    n_false: int
    """Alarms in the `n_seeds * N_QUIET` rows before."""
    stated: float
    """As many were accepted; not a number where nothing is stated."""

    @property
    def by_chance(self) -> float:
        """Share of seeds in which its false alarms alone would fall into the rows after."""
        return 1.0 - math.exp(-self.n_false / (self.n_seeds * N_QUIET) * N_AFTER)


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("joint", __doc__)
    options_parser.add_argument("--seeds", type=int, default=100, help="of each change")
    options_parser.add_argument("--updates", type=float, default=1.0, help="share of the nulls")
    options = options_parser.parse_args()
    n_seeds = 10 if options.quick else options.seeds
    n_updates = int(NULL_UPDATES * (0.05 if options.quick else options.updates))
    found: list[Found] = []
    for p in WIDTHS:
        for before, after in CHANGES:
            print(f"{p} features, {before:g} to {after:g} ...", file=sys.stderr, flush=True)
            found += watched(p, before, after, n_seeds)
    nulls: list[FalseAlarms] = []
    for law in LAWS:
        for p in WIDTHS:
            print(f"{law}, {p} features ...", file=sys.stderr, flush=True)
            nulls += false_alarms(law, p, n_updates)
    figures = {
        "changes": [finite(asdict(each)) for each in found],
        "nulls": [asdict(each) for each in nulls],
    }
    publish("joint", [change_table(found), null_table(nulls)], figures, options)


def correlated(rng: Rng, shape: tuple[int, int], correlation: float) -> F64:
    """Standard normals, of which the first two columns are correlated."""
    x = rng.normal(size=shape)
    x[:, 1] = correlation * x[:, 0] + math.sqrt(1.0 - correlation**2) * x[:, 1]
    return x


def _lognormal(rng: Rng, shape: tuple[int, int]) -> F64:
    x: F64 = np.exp(correlated(rng, shape, 0.8))
    return x


def _dependent(rng: Rng, shape: tuple[int, int]) -> F64:
    return Autoregression(rng, shape[1], 0.5).take(shape[0]).T


LAWS: Final[dict[str, Callable[[Rng, tuple[int, int]], F64]]] = {
    "independent": lambda rng, shape: rng.normal(size=shape),
    "correlated 0.8": lambda rng, shape: correlated(rng, shape, 0.8),
    "lognormal, correlated": _lognormal,
    "AR(1) 0.5": _dependent,
}


def config_of(p: int, arl0: float) -> DetectionConfig:
    """Nothing is watched but the features together."""
    off = SignalConfig(monitor=False)
    names = [f"{kind}:{name}" for kind in ("feature", "missing") for name in features(p)]
    own = ModelConfig(signals=dict.fromkeys([*names, "score", "class:0"], off))
    return DetectionConfig(
        reference_events=N_REFERENCE,
        arl0=arl0,
        joint=JointConfig(mmd=True),
        quality=QualityConfig(
            latency=False,
            late=False,
            future=False,
            range=False,
            stuck=False,
            type=False,
            representativeness=False,
        ),
        model={MODEL.model_id: own},
    )


def features(p: int) -> list[str]:
    """Their names."""
    return [f"f{i:02}" for i in range(p)]


def events_of(x: F64, first: int) -> Decoded:
    """These (n, p) rows as events."""
    columns = dict(zip(features(x.shape[1]), x.T, strict=True))
    return table(MODEL, columns, np.full(len(x), 0.5), np.zeros(len(x)), first)


def alarms(fold: Fold, x: F64, first: int) -> list[Finding]:
    """The alarms in these rows."""
    return [
        each
        for each in fold.process(events_of(x, first))
        if isinstance(each, Finding) and each.aspect != Aspect.SETTLED
    ]


def _rng(p: int, before: float, after: float, seed: int) -> Rng:
    """The same rows for every contestant."""
    return np.random.default_rng([p, int(10 * before), int(10 * after), seed])


def watched(p: int, before: float, after: float, n_seeds: int) -> list[Found]:
    """What each contestant makes of one change."""
    return [
        *together(p, before, after, n_seeds),
        *(margins(p, before, after, name, n_seeds) for name in MARGINS),
        Found(p, before, after, ALWAYS, n_seeds, n_seeds, 1.0, n_seeds * N_QUIET, math.nan),
    ]


def together(p: int, before: float, after: float, n_seeds: int) -> list[Found]:
    """The default, which is the residual alone, and blocks beside it."""
    late: dict[str, list[float]] = {name: [] for name in SIGNALS}
    n_false: Counter[str] = Counter()
    n_there: Counter[str] = Counter()
    for seed in range(n_seeds):
        rng, fold = _rng(p, before, after, seed), Fold(config_of(p, ARL0))
        start = N_REFERENCE + N_QUIET
        quiet = alarms(fold, correlated(rng, (start, p), before), 0)
        n_false.update(each.signal for each in quiet)
        monitor = fold.catalog.monitor(fold.catalog.slot_of[MODEL])
        n_there.update(monitor.name(signal) for signal in monitor.signals if signal.lane >= 0)
        first: dict[str, int] = {}
        for at in range(start, start + N_AFTER, _POLL_ROWS):
            for each in alarms(fold, correlated(rng, (_POLL_ROWS, p), after), at):
                first.setdefault(each.signal, each.offset + 1 - start)
            if all(monitor.name(s) in first for s in monitor.signals if s.lane >= 0):
                break
        for name in SIGNALS:
            late[name].append(first.get(name, math.inf))
    either = [min(pair) for pair in zip(*late.values(), strict=True)]
    one, both = SIGNALS[0], f"{SIGNALS[0]} or {SIGNALS[1]}"
    n_of_both = sum(n_there[name] for name in SIGNALS)
    return [
        _found(p, before, after, one, late[one], n_false[one], n_there[one]),
        _found(p, before, after, both, either, sum(n_false.values()), n_of_both),
    ]


def _found(
    p: int,
    before: float,
    after: float,
    contestant: str,
    late: list[float],
    n_false: int,
    n_signals: int,
) -> Found:
    n_found = sum(math.isfinite(each) for each in late)
    median = sorted(late)[len(late) // 2]
    stated = n_signals * N_QUIET / ARL0
    return Found(p, before, after, contestant, len(late), n_found, median, n_false, stated)


def margins(p: int, before: float, after: float, detector: str, n_seeds: int) -> Found:
    """A detector on each feature: the first alarm of any of them counts."""
    streams = [_rng(p, before, after, seed) for seed in range(n_seeds)]

    def rows(n: int, correlation: float) -> F64:
        return np.concatenate([correlated(rng, (n, p), correlation).T for rng in streams])

    both = rows(N_REFERENCE + N_QUIET, before)
    contestant = Contestant(detector, both[:, :N_REFERENCE], ARL0)
    n_false = len(contestant.feed(both[:, N_REFERENCE:]))
    late = [math.inf] * n_seeds
    for _ in range(0, N_AFTER, _POLL_ROWS):
        for firing in contestant.feed(rows(_POLL_ROWS, after)):
            seed = firing.lane // p
            late[seed] = min(late[seed], firing.offset + 1 - N_QUIET)
        if math.isfinite(max(late)):
            break
    name = f"{detector} on each feature"
    n_signals = n_seeds * p if detector == "focus" else 0
    found = _found(p, before, after, name, late, n_false, n_signals)
    return found if n_signals else Found(**asdict(found) | {"stated": math.nan})


def false_alarms(name: str, p: int, n_updates: int) -> list[FalseAlarms]:
    """The alarms of each signal over `n_updates` rows of 20 streams, each with its reference."""
    found: dict[str, list[int]] = {signal: [] for signal in SIGNALS}
    n_spread: Counter[str] = Counter()
    there: set[str] = set()
    n_rows = n_updates // N_STREAMS
    for seed in range(N_STREAMS):
        rng = np.random.default_rng([zlib.crc32(name.encode()), p, seed])
        fold = Fold(config_of(p, NULL_ARL0))
        x = LAWS[name](rng, (N_REFERENCE + n_rows, p))
        for at in range(0, len(x), 20 * _POLL_ROWS):
            for each in alarms(fold, x[at : at + 20 * _POLL_ROWS], at):
                found[each.signal].append(seed)
                n_spread[each.signal] += each.aspect == Aspect.SPREAD
        monitor = fold.catalog.monitor(fold.catalog.slot_of[MODEL])
        there |= {monitor.name(signal) for signal in monitor.signals if signal.lane >= 0}
    return [
        FalseAlarms(
            f"{name}, {p} features",
            signal,
            N_REFERENCE,
            n_rows * N_STREAMS,
            len(seeds),
            len(set(seeds)),
            n_spread[signal],
        )
        for signal, seeds in found.items()
        if signal in there
    ]


def change_table(found: list[Found]) -> FigureTable:
    """One line a contestant."""
    rows = [
        (
            f"{each.n_features} features, {each.before:g} to {each.after:g}, {each.contestant}",
            f"{each.n_found / each.n_seeds:.0%}",
            f"{each.by_chance:.0%}",
            f"{each.median:,.0f}" if math.isfinite(each.median) else "-",
            f"{each.n_false:,}",
            "" if math.isnan(each.stated) else f"{each.stated:.1f}",
        )
        for each in found
    ]
    title = (
        f"correlation of two features changes, {found[0].n_seeds} seeds, ARL0 {ARL0:.0e}, "
        f"reference of {N_REFERENCE:,} rows; false: alarms in {N_QUIET:,} rows of each seed before"
    )
    columns = ("change, what watches", "found", "by chance", "rows, median", "false", "stated")
    return FigureTable("changes", title, columns, rows)


def null_table(measured: list[FalseAlarms]) -> FigureTable:
    """Observed beside stated."""
    rows = []
    for one in measured:
        stated = one.n_updates / NULL_ARL0
        low, high = one.interval()
        rows.append(
            (
                f"{one.null}, {one.detector}",
                f"{one.n_alarms / stated:.2f}",
                f"{one.n_alarms}",
                f"{low:.1f} to {high:.1f}",
                f"{stated:.0f}",
                f"{one.n_lanes_alarmed}",
            )
        )
    title = (
        f"false alarms at a stated ARL0 of {NULL_ARL0:.0e}, {measured[0].n_updates:,} events each, "
        f"reference of {N_REFERENCE:,} rows"
    )
    columns = (
        *("null, signal", "of the stated", "alarms", "95 % interval", "stated"),
        f"streams of {N_STREAMS}",
    )
    return FigureTable("nulls", title, columns, rows)


if __name__ == "__main__":
    main()
