"""The metrics of one model version, in total and of each of its windows."""

from __future__ import annotations

from typing import NamedTuple

from detectors.kernels.performance import ROWS
from detectors.performance.labelled import LabelledPerformance
from detectors.performance.metrics import Metrics, metrics


class Measured(NamedTuple):
    """The metrics of a model version."""

    total: Metrics
    """Of all its joined rows."""
    windows: dict[int, Metrics]
    """Of its latest ones, by how many rows a window holds at most, the shortest first."""


def measured(bank: LabelledPerformance, slot: int) -> Measured:
    """What the bank knows of a slot. Raises IndexError at an unknown one."""
    total = bank.total(slot)
    of_all = metrics(total)
    by_window = {}
    for window in sorted(bank.windows):
        latest = bank.window(slot, window)
        # Of the same rows they are the same, and most model versions have few labels.
        is_all = latest.count(ROWS) == total.count(ROWS)
        by_window[window] = of_all if is_all else metrics(latest)
    return Measured(of_all, by_window)
