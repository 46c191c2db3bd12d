"""Joined rows for the performance banks: random ones, cut into batches, and counted by hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.performance.labelled import LabelledPerformance
from detectors.performance.outputs import Output, ScoreOf, Shape, Task, quantile_cuts
from detectors.performance.rows import JoinedRows, ScoredRows
from detectors.performance.unlabelled import UnlabelledPerformance

SHAPE = Shape(n_blocks=3, block_rows=7, max_classes=3, n_bins=16)
WINDOWS = (10, 30, 200)
RANKS = tuple(quantile_cuts(np.linspace(-2.0, 2.0, 40), SHAPE.n_bins).tolist())
OUTPUTS = (
    Output(Task.BINARY, ScoreOf.POSITIVE, 1),
    Output(Task.BINARY, ScoreOf.PREDICTED, 0),
    Output(Task.BINARY, ScoreOf.RANK, 1, RANKS),
    Output(Task.BINARY, ScoreOf.NONE, 2),
    Output(Task.MULTICLASS, ScoreOf.PREDICTED),
    Output(Task.MULTICLASS, ScoreOf.RANK, cuts=RANKS),
    Output(Task.REGRESSION),
    Output(),
)
"""What slot i predicts."""
N_SLOTS = len(OUTPUTS)


def labelled(
    shape: Shape = SHAPE,
    outputs: Iterable[Output] = OUTPUTS,
    windows: Sequence[int] = WINDOWS,
) -> LabelledPerformance:
    """A bank whose slots predict this."""
    outputs = list(outputs)
    bank = LabelledPerformance(shape, windows, len(outputs))
    for slot, output in enumerate(outputs):
        bank.declare(slot, output)
    return bank


def unlabelled(shape: Shape = SHAPE, outputs: Iterable[Output] = OUTPUTS) -> UnlabelledPerformance:
    """The same of predictions without labels."""
    outputs = list(outputs)
    bank = UnlabelledPerformance(shape, len(outputs))
    for slot, output in enumerate(outputs):
        bank.declare(slot, output)
    return bank


def random_rows(rng: np.random.Generator, n: int) -> JoinedRows:
    """Rows of all slots, with all that may be missing, wrong or too large."""

    def some(values: NDArray[Any], missing: float) -> NDArray[Any]:
        return np.where(rng.random(n) < 0.1, np.array(missing, values.dtype), values)

    edges = np.array([0.0, 1.0, -0.5, 1.5, np.inf, -np.inf, 5e-324, 1.0 - 2.0**-53])
    score = np.where(rng.random(n) < 0.2, rng.choice(edges, n), rng.random(n))
    huge = np.array([1e308, -1e308, 0.0, 3.0, np.inf])
    value = np.where(rng.random(n) < 0.2, rng.choice(huge, n), rng.normal(size=n))
    return JoinedRows(
        slot=rng.integers(0, N_SLOTS, n).astype(np.int32),
        predicted_class=some(rng.integers(0, 5, n).astype(np.int32), -1),
        predicted=some(value, np.nan),
        score=some(score, np.nan),
        label_class=some(rng.integers(0, 5, n).astype(np.int32), -1),
        label=some(rng.normal(size=n), np.nan),
        event_time_ms=rng.integers(-10, 10**12, n),
    )


def taken(rows: JoinedRows, at: Any) -> JoinedRows:
    """Some of the rows."""
    return JoinedRows(
        **{f.name: np.ascontiguousarray(getattr(rows, f.name)[at]) for f in fields(rows)}
    )


def batches(rows: JoinedRows, cuts: Iterable[int], *, grouped: bool = True) -> Iterator[JoinedRows]:
    """The rows in batches that end at each of `cuts`, by slot within each."""
    start = 0
    for cut in [*sorted(cuts), len(rows)]:
        at = np.arange(start, cut)
        if grouped:
            at = at[np.argsort(rows.slot[at], kind="stable")]
        yield taken(rows, at)
        start = cut


def without_labels(rows: JoinedRows) -> ScoredRows:
    """The same predictions before their labels came."""
    return ScoredRows(rows.slot, rows.predicted_class, rows.score, rows.event_time_ms)
