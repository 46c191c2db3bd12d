"""The fold on the whole census file, beside river on the same inputs: where each detector fires.

    DRIFTSENTRY_DATA=DIRECTORY python -m benchmarks.census [--seed N] [--json]

The directory holds `us_census_ma_employment.parquet` (streams/sample/README.md says where it comes
from). One model; the reference is its first 2,000 rows. Twice: in row order, where three changes
are known (rows 137911, 202404, 212675); and the rows before the first of them shuffled, where
nothing changes and every finding is false.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]  # it ships no types
from rich.console import Console
from rich.table import Table
from river import drift

from benchmarks.kit.detection import RIVERS, joint_beside
from detectors.fold import Fold
from schemas.alerts import AlertData
from schemas.batch import F64, I64, ModelKey
from schemas.config import DetectionConfig, DetectorsConfig, ModelConfig, SignalConfig
from schemas.findings import Finding, Notice
from streams.census import FEATURES, REAL_CHANGES
from streams.policy import Policy
from tests.detectors.decoded import table

FILE = "us_census_ma_employment.parquet"
N_REFERENCE = 2_000
ARL0 = 1e8
FIRST_CHANGE = REAL_CHANGES[0].row
SHOWN = ("feature:RELP", "class:1", "score")

Columns = dict[str, F64]


def read(path: Path) -> Columns:
    """The 18 signals as columns: 16 features, `score` and `class:1`."""
    rows = pq.read_table(path)
    columns = {f"feature:{name}": rows[name].to_numpy().astype(np.float64) for name in FEATURES}
    columns["score"] = rows["predicted_probability"].to_numpy().astype(np.float64)
    columns["class:1"] = rows["prediction"].to_numpy().astype(np.float64)
    return columns


def fold(
    columns: Columns, order: I64, detectors: DetectorsConfig = RIVERS, arl0: float | None = None
) -> tuple[list[Finding | Notice], float]:
    """What the fold says of the rows in this order, and how long it took."""
    # Of two classes one is enough: the shares of both move together.
    other = ModelConfig(signals={"class:0": SignalConfig(monitor=arl0 is None)})
    config = DetectionConfig(
        reference_events=N_REFERENCE,
        detectors=detectors,
        joint=joint_beside(detectors),
        arl0=arl0,
        model={"census": other},
    )
    own = Fold(config)
    said: list[Finding | Notice] = []
    started_s = time.perf_counter()
    for start in range(0, len(order), 4_096):
        rows = order[start : start + 4_096]
        features = {name: columns[f"feature:{name}"][rows] for name in FEATURES}
        events = table(
            ModelKey("census", "1"),
            features,
            columns["score"][rows],
            columns["class:1"][rows],
            start,
        )
        said += own.process(events)
    return said, time.perf_counter() - started_s


def river_positions(values: F64) -> dict[str, list[int]]:
    """Where river's detectors fire on the standardised values after the reference."""
    reference = values[:N_REFERENCE]
    z = (values - reference.mean()) / reference.std()
    adwin: Any = drift.ADWIN  # its methods have no types
    page_hinkley: Any = drift.PageHinkley
    detectors = {
        "adwin": adwin(),
        "page_hinkley": page_hinkley(delta=0.05, threshold=131, alpha=1),
    }
    fired: dict[str, list[int]] = {name: [] for name in detectors}
    for i in range(N_REFERENCE, len(z)):
        for name, detector in detectors.items():
            detector.update(z[i])
            if detector.drift_detected:
                fired[name].append(i)
    return fired


def alerts(said: list[Finding | Notice]) -> list[AlertData]:
    """The alerts that policy makes of the findings: of each the latest revision."""
    numbers = count(1)
    policy = Policy(DetectionConfig().policy, "census", "driftsentry", 0)
    latest = {alert.alert_id: alert for alert in policy.decide(said, lambda: next(numbers))}
    return list(latest.values())


def per_signal(found: list[AlertData]) -> Counter[str]:
    """In how many alerts each signal moved."""
    return Counter(name for a in found for name in {moved.signal for moved in a.signals})


def episodes(columns: Columns, console: Console) -> list[dict[str, Any]]:
    """What the default detector's alerts are, at the ARL0 at which its delays were measured."""
    said, _ = fold(columns, np.arange(len(columns["score"])), DetectorsConfig(), ARL0)
    shown = Table(title=f"alerts of focus at ARL0 {ARL0:g}, rows in order")
    names = ("opened at row", "change at row", "signals", "findings", "status", "first signal")
    for name in names:
        shown.add_column(name)
    rows = []
    for alert in alerts(said):
        row = (
            alert.opened_offset,
            alert.change_offset,
            alert.n_signals,
            alert.n_findings,
            alert.resolution or "open",
            alert.signal,
        )
        shown.add_row(*map(str, row))
        rows.append(dict(zip(names, row, strict=True)))
    console.print(shown)
    return rows


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=7, help="of the shuffle")
    parser.add_argument("--json", action="store_true", help="print one JSON object as last line")
    options = parser.parse_args()
    console = Console()
    path = Path(os.environ.get("DRIFTSENTRY_DATA", "")) / FILE
    if "DRIFTSENTRY_DATA" not in os.environ or not path.is_file():
        console.print(f"NOT RUN: DRIFTSENTRY_DATA names no directory that holds {FILE}")
        return
    columns = read(path)
    n = len(columns["score"])
    said, fold_s = fold(columns, np.arange(n))
    findings = [item for item in said if isinstance(item, Finding)]
    positions = {
        signal: {
            "driftsentry": {
                detector: [
                    f.offset for f in findings if (f.signal, f.detector) == (signal, detector)
                ]
                for detector in ("adwin", "page_hinkley")
            },
            "river": river_positions(columns[signal]),
        }
        for signal in SHOWN
    }
    shown = Table(title=f"rows at which a detector fires, {n:,} rows in order")
    for name in ("signal", "detector", "driftsentry", "river, same inputs"):
        shown.add_column(name)
    for signal, of in positions.items():
        for detector in ("adwin", "page_hinkley"):
            mine, theirs = of["driftsentry"][detector], of["river"][detector]
            shown.add_row(signal, detector, *(", ".join(map(str, p)) for p in (mine, theirs)))
    console.print(shown)

    found = alerts(said)
    before = [alert for alert in found if alert.opened_offset < FIRST_CHANGE]
    n_of, n_before = per_signal(found), per_signal(before)
    counted = Table(title="alerts in which a signal moved, ADWIN and Page-Hinkley, no budget")
    for name in ("signal", "alerts", f"of them opened before row {FIRST_CHANGE}"):
        counted.add_column(name, justify="left" if name == "signal" else "right")
    for signal, number in n_of.most_common():
        counted.add_row(signal, str(number), str(n_before[signal]))
    counted.add_row("alerts in all", str(len(found)), str(len(before)))
    console.print(counted)
    of_focus = episodes(columns, console)

    order = np.random.default_rng(options.seed).permutation(FIRST_CHANGE)
    shuffled, shuffled_s = fold(columns, order)
    false = Counter(f.detector for f in shuffled if isinstance(f, Finding))
    console.print(
        f"shuffled (seed {options.seed}), {FIRST_CHANGE:,} rows, {len(columns)} signals: "
        f"ADWIN {false['adwin']}, Page-Hinkley {false['page_hinkley']} findings, all false"
    )
    console.print(f"fold alone: {shuffled_s / FIRST_CHANGE * 1e6:.2f} us per event of 16 features")
    if options.json:
        document = {
            "benchmark": "census",
            "positions": positions,
            "alerts_per_signal": dict(n_of.most_common()),
            "alerts": len(found),
            "alerts_before_first_change": len(before),
            "focus": of_focus,
            "shuffled": {"seed": options.seed, **false},
            "fold_us_per_event": {
                "in_order": fold_s / n * 1e6,
                "shuffled": shuffled_s / FIRST_CHANGE * 1e6,
            },
        }
        print(json.dumps(document))


if __name__ == "__main__":
    main()
