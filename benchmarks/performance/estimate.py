"""The performance that is expected before labels come, beside NannyML's CBPE, and beside the truth.

Both learn what the score means from the same first rows of the census, and are asked for each
10,000 rows after them. Ours are the banks that the fold feeds, in a row over the stream. The truth
is computed from the rows themselves.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
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
from detectors.performance.declare import declared, output_of
from detectors.performance.estimate import Estimate
from detectors.performance.labelled import LabelledPerformance
from detectors.performance.outputs import SHAPE, Shape
from detectors.performance.rows import JoinedRows, ScoredRows
from detectors.performance.unlabelled import UnlabelledPerformance
from schemas.batch import F64
from tests.detectors.late_labels import class_metrics

CONCEPT: Final = 202_404
"""The first row at which the score means something else (streams/census.py)."""
CHUNK: Final = SHAPE.n_blocks * SHAPE.block_rows
"""Rows of a window of ours, and so of a chunk."""
N_REFERENCE: Final = CONCEPT % CHUNK + 6 * CHUNK
"""So that a chunk begins with that row."""
LEVEL: Final = 0.9973
"""Of our interval: NannyML's reaches three standard errors."""
METRICS: Final = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "F1": "f1",
    "ROC-AUC": "auc",
}
OWN, OTHER = "driftsentry", "NannyML"

Estimates = Mapping[str, Mapping[str, Sequence[float]]]
"""By metric `value`, `low` and `high` of each chunk."""


def estimated(*, quick: bool) -> Part:
    """All chunks of the census; quick: one of its sample."""
    rows = census_sample() if quick else whole_census()
    if rows is None:
        return Part([], {}, [f"what is expected before labels: {MISSING}"])
    n_reference = CHUNK if quick else N_REFERENCE
    n_chunks = (len(rows) - n_reference) // CHUNK
    end = n_reference + n_chunks * CHUNK
    rows = CensusRows(*(getattr(rows, name)[:end] for name in CensusRows.__slots__))
    own(rows, n_reference)  # compiles what is compiled
    ours, learn_s, estimate_s = own(rows, n_reference)
    try:
        theirs = cbpe(rows, n_reference)
    except EnvironmentMissingError as error:
        return Part([], {"driftsentry": ours}, [f"NannyML: {error}"])
    starts = range(n_reference, end, CHUNK)
    truth = [
        class_metrics(*(column[start : start + CHUNK] for column in _columns(rows)))
        for start in starts
    ]
    # In the sample's one chunk the change is somewhere.
    before = [k for k, start in enumerate(starts) if quick or start + CHUNK <= CONCEPT]
    amid = [k for k, start in enumerate(starts) if not quick and start == CONCEPT]
    seconds = {
        OWN: (learn_s, estimate_s),
        OTHER: (float(theirs["learn_s"]), float(theirs["estimate_s"])),
    }
    both = {OWN: ours, OTHER: theirs["estimates"]}
    figures = {
        "n_reference": n_reference,
        "starts": list(starts),
        "estimates": both,
        "truth": {name: [of[name] for of in truth] for name in METRICS},
        "seconds": seconds,
    }
    tables = [
        agreement_table("agreement", before, both, truth, "before the concept changes"),
        *([changed_table(amid[0], both, truth)] if amid else []),
        cost_table(seconds, n_reference, end - n_reference),
    ]
    return Part(tables, figures)


def own(
    rows: CensusRows, n_reference: int, shape: Shape = SHAPE, level: float = LEVEL
) -> tuple[Estimates, float, float]:
    """The estimate after each chunk, and the processor's seconds to learn and to estimate.

    A chunk is a window of that shape; what is left of the rows after the last one must be none.
    """
    size = shape.n_blocks * shape.block_rows
    predicted = rows.predicted.astype(np.int32)
    truth = rows.employed.astype(np.int32)
    slot, at = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.int64)
    nothing = np.full(len(rows), np.nan)
    reference = slice(0, n_reference)
    started = time.process_time()
    output = output_of(declared(("0", "1"), predicted[reference], rows.score[reference], shape))
    labelled, unlabelled = LabelledPerformance(shape, (), 1), UnlabelledPerformance(shape, 1)
    labelled.declare(0, output)
    unlabelled.declare(0, output)
    labelled.update(
        JoinedRows(
            slot=slot[reference],
            predicted_class=predicted[reference],
            predicted=nothing[reference],
            score=rows.score[reference],
            label_class=truth[reference],
            label=nothing[reference],
            event_time_ms=at[reference],
        )
    )
    unlabelled.learn(0, labelled.total(0))
    learned = time.process_time()
    estimates: list[Estimate] = []
    for start in range(n_reference, len(rows), size):
        chunk = slice(start, start + size)
        unlabelled.update(ScoredRows(slot[chunk], predicted[chunk], rows.score[chunk], at[chunk]))
        found = unlabelled.estimate(0, level)
        assert found is not None
        assert found.n_rows == size
        estimates.append(found)
    done = time.process_time()
    of: dict[str, dict[str, list[float]]] = {}
    for name, attribute in METRICS.items():
        measures = [getattr(each, attribute) for each in estimates]
        of[name] = {part: [getattr(m, part) for m in measures] for part in ("value", "low", "high")}
    return of, learned - started, done - learned


def cbpe(rows: CensusRows, n_reference: int) -> dict[str, Any]:
    """What NannyML says of the same chunks. Raises `EnvironmentMissingError`."""
    python = nannyml_python()
    with tempfile.TemporaryDirectory(prefix="driftsentry-") as name:
        path = Path(name) / "rows.npz"
        np.savez(path, predicted=rows.predicted, score=rows.score, employed=rows.employed)
        task = Task(str(path), n_reference, CHUNK)
        return run_child("benchmarks.performance.cbpe", task, python=python)


def agreement_table(
    name: str,
    chunks: Sequence[int],
    both: Mapping[str, Estimates],
    truth: Sequence[Mapping[str, float]],
    when: str,
) -> FigureTable:
    """Mean absolute differences over these chunks, and how often the truth was in the interval."""
    cells = []
    for metric in METRICS:
        real = np.array([truth[k][metric] for k in chunks])
        value = {who: np.array(of[metric]["value"])[chunks] for who, of in both.items()}
        held = {
            who: int(
                np.sum(
                    (np.array(of[metric]["low"])[chunks] <= real)
                    & (real <= np.array(of[metric]["high"])[chunks])
                )
            )
            for who, of in both.items()
        }
        off = {who: float(np.abs(value[who] - real).mean()) for who in both}
        apart = float(np.abs(value[OWN] - value[OTHER]).mean())
        cells.append(
            (
                metric,
                *(f"{apart:.4f}", f"{off[OWN]:.4f}", f"{off[OTHER]:.4f}"),
                *(f"{held[OWN]} of {len(chunks)}", f"{held[OTHER]} of {len(chunks)}"),
            )
        )
    title = (
        f"mean absolute differences over {len(chunks)} chunks of {CHUNK:,} rows of the census "
        f"{when}, and in how many the truth lies in an interval of {LEVEL:.2%}"
    )
    columns = (
        *("metric", "driftsentry and NannyML", "driftsentry and truth", "NannyML and truth"),
        *("truth in our interval", "in NannyML's"),
    )
    return FigureTable(name, title, columns, cells)


def changed_table(
    k: int, both: Mapping[str, Estimates], truth: Sequence[Mapping[str, float]]
) -> FigureTable:
    """The chunk in which the score means something else, which no label-free estimate can see."""
    cells = [
        (
            metric,
            f"{both[OWN][metric]['value'][k]:.3f}",
            f"{both[OTHER][metric]['value'][k]:.3f}",
            f"{truth[k][metric]:.3f}",
        )
        for metric in METRICS
    ]
    title = f"the {CHUNK:,} rows from row {CONCEPT:,} on, where the score means something else"
    return FigureTable("changed", title, ("metric", OWN, OTHER, "truth"), cells)


def cost_table(
    seconds: Mapping[str, tuple[float, float]], n_reference: int, n_rows: int
) -> FigureTable:
    """Seconds of the processor."""
    (own_learn, own_rest), (other_learn, other_rest) = seconds[OWN], seconds[OTHER]
    cells = [
        (
            f"{what}, {n:,} rows",
            f"{theirs / ours:,.0f} x",
            f"{ours * 1e3:,.1f}",
            f"{theirs * 1e3:,.1f}",
        )
        for what, n, ours, theirs in (
            ("to learn what the score means", n_reference, own_learn, other_learn),
            ("to estimate five metrics of each chunk", n_rows, own_rest, other_rest),
        )
    ]
    title = "time of the processor in ms, without imports and compilation"
    return FigureTable("cost", title, ("what", "NannyML is", OWN, OTHER), cells)


def _columns(rows: CensusRows) -> tuple[F64, F64, F64]:
    return rows.predicted, rows.score, rows.employed
