"""Labels that come late, never, twice, with two answers: the fold's metrics and scikit-learn's.

Two models in one partition: who is employed, with a real model's probability, and an age guessed
from that probability, so that there is a regression. The rows that count come of a join of their
own, in plain Python; scikit-learn computes the metrics over them in one go.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.kit.children import run_child
from benchmarks.kit.isolated import EnvironmentMissingError
from benchmarks.kit.report import FigureTable
from benchmarks.performance.environment import nannyml_python
from benchmarks.performance.part import Part
from benchmarks.performance.rows import MISSING, CensusRows, census_sample, whole_census
from benchmarks.performance.task import Task
from detectors.fold import Fold
from schemas.batch import F64, ModelKey
from schemas.config import DetectionConfig, LabelsConfig
from tests.detectors.late_labels import (
    LateLog,
    Stream,
    allowed_delay_ms,
    columns_of,
    expected_of,
    found_of,
    late_log,
    latest,
    polls,
)

MODELS: Final = ("employed", "age")
MOST: Final = 200_000
"""A label comes up to so many predictions after its own."""
N_REFERENCE: Final = 2_000
POLL: Final = 2_048
SEED: Final = 6
TOLERANCE: Final = 1e-9
"""Relative; of ROC-AUC it is the error that is stated beside it."""


def delayed(*, quick: bool) -> Part:
    """The whole census with labels up to 200,000 predictions late; quick: its sample, a tenth."""
    rows, most = (census_sample(), MOST // 10) if quick else (whole_census(), MOST)
    if rows is None:
        return Part([], {}, [f"labels that come late: {MISSING}"])
    log = late_log(streams(rows), most, SEED)
    max_delay_ms = allowed_delay_ms(most)
    fold, fold_s = folded(log, max_delay_ms)
    expected = expected_of(log, max_delay_ms, N_REFERENCE)
    counts = {name: fold.counters[name] for name in expected.counts}
    if counts != expected.counts:
        sys.exit(f"labels were joined otherwise: {counts}, by the rules {dict(expected.counts)}")
    sets: dict[str, F64] = {}
    found: dict[str, dict[str, Any]] = {}
    assert fold.outcomes is not None
    for number, model in enumerate(MODELS):
        slot = next(iter(s for s, key in enumerate(_keys(fold)) if key.model_id == model))
        measured = fold.outcomes.metrics_of(slot)
        assert measured is not None
        pairs = expected.pairs[number]
        told = [("total", measured.total, pairs)]
        told += [(f"latest {n:,}", own, latest(pairs, n)) for n, own in measured.windows.items()]
        for name, metrics, own in told:
            if metrics.n_rows != len(own):
                sys.exit(f"{model}, {name}: {metrics.n_rows} rows, by the rules {len(own)}")
            sets[f"{model}, {name}"] = np.array(columns_of(own))
            found[f"{model}, {name}"] = found_of(metrics)
    figures: dict[str, Any] = {
        "n_events": len(log),
        "n_rows": {name: columns.shape[1] for name, columns in sets.items()},
        "counts": counts,
        "fold_us_per_event": round(fold_s / len(log) * 1e6, 2),
    }
    try:
        batch = batch_metrics(sets)
    except EnvironmentMissingError as error:
        return Part([], figures, [f"scikit-learn: {error}"])
    table, differences = compared(found, batch, sets, most)
    return Part([table], figures | {"differences": differences})


def streams(rows: CensusRows) -> list[Stream]:
    """What the two models say, and what is true."""
    return [
        Stream("employed", rows.predicted, rows.employed, rows.score),
        Stream("age", 20.0 + 60.0 * rows.score, rows.age),
    ]


def folded(log: LateLog, max_delay_ms: int) -> tuple[Fold, float]:
    """The fold after the log, and the processor's seconds that it took."""
    labels = LabelsConfig(enabled=True, max_delay_ms=max_delay_ms)
    fold = Fold(DetectionConfig(reference_events=N_REFERENCE, labels=labels))
    taken_s = 0.0
    for poll in polls(log, POLL):
        started = time.thread_time()
        fold.process(poll)
        taken_s += time.thread_time() - started
    return fold, taken_s


def batch_metrics(sets: dict[str, F64]) -> dict[str, dict[str, float]]:
    """scikit-learn's metrics of each set of rows. Raises `EnvironmentMissingError`."""
    python = nannyml_python()
    with tempfile.TemporaryDirectory(prefix="driftsentry-") as name:
        path = Path(name) / "rows.npz"
        with path.open("wb") as file:
            np.savez(file, **sets)  # type: ignore[arg-type]  # its stub takes a name for a flag
        return run_child("benchmarks.performance.batch_metrics", Task(str(path)), python=python)


def compared(
    found: dict[str, dict[str, Any]],
    batch: dict[str, dict[str, float]],
    sets: dict[str, F64],
    most: int,
) -> tuple[FigureTable, dict[str, float]]:
    """Both beside each other. Ends the process where they differ by more than is allowed."""
    cells, differences = [], {}
    for of, theirs in batch.items():
        if theirs.keys() != found[of].keys():
            sys.exit(f"{of}: {sorted(found[of])} were measured, not {sorted(theirs)}")
        for name, value in theirs.items():
            measure = found[of][name]
            difference = abs(measure.value - value)
            allowed = measure.error or TOLERANCE * abs(value)
            if difference > allowed:
                sys.exit(f"{of}, {name}: {measure.value}, scikit-learn {value}")
            differences[f"{of}, {name}"] = difference
            cells.append(
                (
                    f"{of}: {name}",
                    f"{difference:.1e}",
                    f"{allowed:.1e}",
                    f"{measure.value:.6f}",
                    f"{value:.6f}",
                    f"{sets[of].shape[1]:,}",
                )
            )
    title = (
        f"labels 0 to {most:,} predictions late, 10 % missing, 1 % twice, 1 % with two "
        "answers, beside scikit-learn over the rows that the rules join"
    )
    columns = ("metric", "difference", "allowed", "driftsentry", "scikit-learn", "rows")
    return FigureTable("delayed", title, columns, cells), differences


def _keys(fold: Fold) -> list[ModelKey]:
    return [fold.catalog.monitor(slot).key for slot in range(len(fold.catalog.slots))]
