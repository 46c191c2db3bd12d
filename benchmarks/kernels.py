"""What one update of one detector costs, ours beside river's: `python -m benchmarks.kernels`.

CPU time, in turns within one run, on the same numbers: 20 lanes, in batches of 512 rows. Our banks
and river must fire at the same rows, else the benchmark ends with an error; beside `focus` and
`windows`, which river does not have, stands its ADWIN. river has one object for each lane and is
called once for each number. Its KSWIN draws as ours does, and has one lane and one round, since it
takes so long. Its detectors of errors get 1 for a value above 0 and 0 for any other, which is what
ours make of it; its FHDDM the reverse, as it finds a fall where ours finds a rise.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from time import process_time
from typing import Any, Final

import numpy as np
from river import drift, stats

from benchmarks.kit.report import FigureTable, parser, publish
from detectors.base import DetectorBank
from detectors.drift.moments import MomentsBank
from detectors.drift.ranks import LaneReference, fit
from detectors.registry import REGISTRY
from schemas.batch import F64, Batch
from schemas.config import (
    AdwinConfig,
    FocusConfig,
    KswinConfig,
    MomentsConfig,
    PageHinkleyConfig,
    TrendConfig,
    WindowsConfig,
)
from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig
from tests.detectors.batches import one_model, split
from tests.detectors.river_kswin import river_kswin

N_LANES: Final = 20
BATCH_ROWS: Final = 512
PERIOD: Final = 5_000
"""Rows between two changes of the stream that changes."""
TARGETS: Final = {"adwin": 10, "page_hinkley": 100}

BESIDE_ADWIN: Final = {"focus", "windows", "trend"}
"""river has none of these, so ADWIN stands beside them, and fires where it will."""
RIVER_LANES: Final = {"kswin": 1}
"""So many of the lanes river takes, once, where its updates take a thousand times as long."""
KSWIN: Final = KswinConfig(enabled=True, seed=1)
ARL0: Final = 1e8

Rows = list[tuple[int, int]]
"""Where detectors fired: (row, lane)."""


def quiet(n: int) -> F64:
    """Gaussian, nothing ever changes."""
    return np.random.default_rng(3).normal(size=(n, N_LANES))


def changing(n: int) -> F64:
    """Gaussian, whose mean moves to and fro by a deviation."""
    moved: F64 = quiet(n) + (np.arange(n) // PERIOD % 2)[:, np.newaxis]
    return moved


def shares(n: int) -> F64:
    """Indicators that hold for 5 % of the rows, standardised, as missingness and classes are."""
    p = 0.05
    hits = np.random.default_rng(5).random(size=(n, N_LANES)) < p
    z: F64 = (hits.astype(np.float64) - p) / math.sqrt(p * (1 - p))
    return z


STREAMS: Final = {"quiet": quiet, "changing": changing, "shares of 5 %": shares}


def ours(
    name: str, batches: Sequence[Batch], references: Sequence[LaneReference]
) -> tuple[float, Rows, DetectorBank]:
    """CPU seconds, firings and the bank of one run."""
    configs = {
        "moments": MomentsConfig(),
        "adwin": AdwinConfig(enabled=True),
        "focus": FocusConfig(enabled=True),
        "page_hinkley": PageHinkleyConfig(enabled=True),
        "kswin": KSWIN,
        "windows": WindowsConfig(enabled=True),
        "trend": TrendConfig(enabled=True),
        "ddm": DdmConfig(enabled=True),
        "eddm": EddmConfig(enabled=True),
        "hddm_a": HddmAConfig(enabled=True),
        "hddm_w": HddmWConfig(enabled=True),
        "fhddm": FhddmConfig(enabled=True),
    }
    bank = REGISTRY[name].build(configs[name], N_LANES, None)
    bank.learn(np.arange(N_LANES, dtype=np.int32), references)
    fired: Rows = []
    started_s = process_time()
    for batch in batches:
        fired += [(firing.offset, firing.lane) for firing in bank.update(batch)]
    return process_time() - started_s, sorted(fired), bank


def references_of(values: F64) -> list[LaneReference]:
    """For who wants one: the rows before the first change, and the budget of the census."""
    return [LaneReference(fit(x), ARL0) for x in values[:PERIOD].T]


def rivers(name: str, lanes: list[list[float]]) -> tuple[float, Rows, list[Any]]:
    """The same of river, lane after lane: that spares its caches, and it is no slower."""
    modules: tuple[Any, Any] = drift, stats  # their classes have no types
    make: dict[str, Callable[[], Any]] = {
        "moments": lambda: modules[1].Var(ddof=0),
        "adwin": modules[0].ADWIN,
        # It has nothing of the kind; ADWIN is what one would use there.
        "focus": modules[0].ADWIN,
        "windows": modules[0].ADWIN,
        "trend": modules[0].ADWIN,
        "page_hinkley": lambda: modules[0].PageHinkley(delta=0.05, threshold=131.0, alpha=1.0),
        "kswin": lambda: river_kswin(KSWIN),
        "ddm": modules[0].binary.DDM,
        "eddm": modules[0].binary.EDDM,
        "hddm_a": modules[0].binary.HDDMA,
        "hddm_w": modules[0].binary.HDDMW,
        "fhddm": modules[0].binary.FHDDM,
    }
    if REGISTRY[name].watches_errors_only:
        # Its FHDDM finds a fall of what it is given, and ours a rise.
        error = int(name != "fhddm")
        lanes = [[error if x > 0.0 else 1 - error for x in values] for values in lanes]
    detectors = [make[name]() for _ in lanes]
    fired: Rows = []
    started_s = process_time()
    for number, (detector, values) in enumerate(zip(detectors, lanes, strict=True)):
        update = detector.update
        if name == "moments":
            for x in values:
                update(x)
            continue
        for i, x in enumerate(values):
            update(x)
            if detector.drift_detected:
                fired.append((i, number))
    return process_time() - started_s, sorted(fired), detectors


def check(name: str, own: tuple[float, Rows, DetectorBank], theirs: tuple[float, Rows, Any]) -> int:
    """How often both fired. Raises AssertionError where they differ."""
    if name in BESIDE_ADWIN:
        return len(own[1])
    compared = [(row, lane) for row, lane in own[1] if lane < len(theirs[2])]
    if compared != theirs[1]:
        differing = sorted(set(compared) ^ set(theirs[1]))
        raise AssertionError(f"{name} and river fire at other rows: {differing[:5]} ...")
    bank = own[2]
    if isinstance(bank, MomentsBank):
        variance = [detector.get() for detector in theirs[2]]
        if not np.allclose(bank.m2 / bank.n, variance, rtol=1e-9):
            raise AssertionError("the variances differ from river's")
    return len(own[1])


def measure(name: str, stream: str, n: int, n_rounds: int) -> dict[str, Any]:
    """The best of several rounds of both, in nanoseconds per update."""
    values = STREAMS[stream](n)
    batches = list(split(one_model(values), range(BATCH_ROWS, n, BATCH_ROWS)))
    references = references_of(values)
    lanes = values.T.tolist()[: RIVER_LANES.get(name, N_LANES)]
    own_s = rivers_s = math.inf
    n_firings = 0
    for _ in range(1 if name in RIVER_LANES else n_rounds):
        own, theirs = ours(name, batches, references), rivers(name, lanes)
        n_firings = check(name, own, theirs)
        own_s, rivers_s = min(own_s, own[0]), min(rivers_s, theirs[0])
    own_ns, river_ns = own_s / (n * N_LANES) * 1e9, rivers_s / (n * len(lanes)) * 1e9
    return {
        "detector": name,
        "stream": stream,
        "n_updates": n * N_LANES,
        "n_firings": n_firings,
        "own_ns": own_ns,
        "river_ns": river_ns,
        "ratio": river_ns / own_ns,
    }


def main() -> None:
    """Run, print the table, and with --json the same figures as the last line."""
    options_parser = parser("kernels", __doc__)
    options_parser.add_argument("--rows", type=int, default=50_000, help="of each stream")
    options_parser.add_argument("--rounds", type=int, default=5)
    options = options_parser.parse_args()
    n, n_rounds = (11_000, 1) if options.quick else (options.rows, options.rounds)
    measured = []
    for name in REGISTRY:
        # Compiled or loaded before it counts.
        ours(name, list(split(one_model(quiet(100)), [])), references_of(quiet(PERIOD)))
        for stream in STREAMS:
            print(f"{name}, {stream} ...", file=sys.stderr, flush=True)
            measured.append(measure(name, stream, n, n_rounds))
    table = FigureTable(
        "kernels",
        f"one update, {N_LANES} lanes of {n:,} rows, best of {n_rounds}; fired at the same rows",
        ("detector, stream", "times river", "target", "driftsentry ns", "river ns", "fired"),
        [
            (
                f"{one['detector']}, {one['stream']}"
                + (" (river: ADWIN)" if one["detector"] in BESIDE_ADWIN else "")
                + (" (river: 1 lane, once)" if one["detector"] in RIVER_LANES else ""),
                f"{one['ratio']:.1f} x",
                f"{TARGETS[one['detector']]} x" if one["detector"] in TARGETS else "",
                f"{one['own_ns']:.1f}",
                f"{one['river_ns']:.0f}",
                f"{one['n_firings']:,}",
            )
            for one in measured
        ],
    )
    publish("kernels", [table], {"measured": measured}, options)


if __name__ == "__main__":
    main()
