"""What is kept of a model version that has labels: bytes, which no number of rows changes.

Counted over the arrays themselves, after as many rows as fill the longest of the default windows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from benchmarks.kit.report import FigureTable
from detectors.leakage import LeakageBlock
from detectors.outcome_sources import MAX_SAMPLED
from detectors.performance.labelled import LabelledPerformance
from detectors.performance.outputs import SHAPE, Output, ScoreOf, Task
from detectors.performance.rows import JoinedRows
from detectors.performance.unlabelled import UnlabelledPerformance
from detectors.slice_counts import SliceCounts
from schemas.config import MAX_LABEL_WINDOWS, LabelsConfig

OUTPUT: Final = Output(Task.BINARY, ScoreOf.POSITIVE, positive=1)
POLL: Final = 2_048


def measure_memory() -> dict[str, Any]:
    """Bytes of a model version, by part."""
    config = LabelsConfig()
    windows = config.windows
    most = [windows[0] * 2**k for k in range(MAX_LABEL_WINDOWS)]
    total, one, default, longest = (
        _labelled(own, max(windows)) for own in ((), windows[:1], windows, most)
    )
    scores = UnlabelledPerformance(SHAPE, 1)
    scores.declare(0, OUTPUT)
    groups = SliceCounts(config.automatic_slices, 0)
    block = LeakageBlock(MAX_SAMPLED, OUTPUT.positive)
    parts = {
        "total": total,
        "window": one - total,
        "expected": _bytes(scores.snapshot()),
        "groups": groups.ring.nbytes,
        "leakage": block.values.nbytes + block.labels.nbytes,
    }
    beside = parts["expected"] + parts["groups"] + parts["leakage"]
    return {
        "windows": windows,
        "n_slices": config.automatic_slices,
        **parts,
        "all": default + beside,
        "all_of_most": longest + beside,
    }


def _labelled(windows: list[int] | tuple[()], n: int) -> int:
    """Bytes of a slot with these windows, after n rows."""
    bank = LabelledPerformance(SHAPE, windows, 1)
    bank.declare(0, OUTPUT)
    rng = np.random.default_rng(5)
    for _ in range(0, n, POLL):
        score = rng.random(POLL)
        truth = (rng.random(POLL) < score).astype(np.int32)
        guess = (score >= 0.5).astype(np.int32)
        slot, nothing = np.zeros(POLL, np.int32), np.full(POLL, np.nan)
        bank.update(JoinedRows(slot, guess, nothing, score, truth, nothing, np.arange(POLL)))
    # Which windows there are is said once, whatever the number of slots.
    return _bytes({name: a for name, a in bank.snapshot().items() if name != "windows"})


def _bytes(state: dict[str, np.ndarray[Any, np.dtype[Any]]]) -> int:
    return sum(array.nbytes for array in state.values())


def memory_table(found: dict[str, Any]) -> FigureTable:
    """The figures of `measure_memory`, for people."""
    windows = ", ".join(f"{n:,}" for n in found["windows"])
    rows = [
        ("metrics in total", found["total"]),
        ("metrics of one window, however long", found["window"]),
        ("predictions, for what is expected before labels come", found["expected"]),
        (f"groups of {found['n_slices']} slices", found["groups"]),
        ("features and labels of a block, for leakage", found["leakage"]),
        (f"all of it, with windows of {windows}", found["all"]),
        (f"all of it, with {MAX_LABEL_WINDOWS} windows", found["all_of_most"]),
    ]
    cells = [(name, f"{n:,}") for name, n in rows]
    title = f"a model version with labels, after {max(found['windows']):,} of them"
    return FigureTable("memory", title, ("what", "bytes"), cells)
