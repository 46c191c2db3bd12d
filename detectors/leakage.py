"""How well one feature alone tells the label, in blocks of labelled rows of the sample."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.leakage import strengths
from detectors.outcome_sources import LEAKAGE_ROWS, MAX_SAMPLED
from schemas.batch import F64, I32

F32 = NDArray[np.float32]

MIN_OF_CLASS: Final = 5
"""Rows of a block that are of the class, and that are of none: with fewer chance alone orders them
by some feature."""
NOBODY: Final = -1
"""In place of a feature."""
SUSPICIOUS: Final = 0.95
"""The strength from which a feature all but tells the label."""


class SampledLabels(NamedTuple):
    """Labelled rows of one model version that are in the sample, (k,) each, in the order joined."""

    row: I32
    """The row of the poll that made the pair complete."""
    label_class: I32
    """By number in the model's classes; -1: none of them."""
    values: F32
    """(k, MAX_SAMPLED)"""


class Strongest(NamedTuple):
    """What blocks say, (k,) each: by the row that ended them, which feature tells most."""

    row: I32
    feature: list[int]
    """By place among those that are kept; NOBODY: there was nothing to tell."""
    strength: F64
    """|2 AUC - 1|; NaN where there was nothing to tell."""


class LeakageBlock:
    """The block of one model version that is under way, and what the one before it said."""

    def __init__(self, n_features: int, positive: int) -> None:
        """`positive` is the class that is told from others; below 0: the most frequent one."""
        self.n_features: Final = n_features
        self._positive: Final = positive
        self.n_rows = 0
        self.values: F32 = np.full((LEAKAGE_ROWS, MAX_SAMPLED), np.nan, np.float32)
        self.labels: I32 = np.zeros(LEAKAGE_ROWS, np.int32)
        self.last: tuple[int, float] = NOBODY, 0.0
        """The feature that told most in the last block that had something to tell."""

    def add(self, rows: SampledLabels) -> Strongest:
        """Take these rows; the blocks that end among them."""
        there = np.flatnonzero(rows.label_class >= 0)
        ended: list[int] = []
        feature: list[int] = []
        strength: list[float] = []
        start = 0
        while start < len(there):
            part = there[start : start + LEAKAGE_ROWS - self.n_rows]
            span = slice(self.n_rows, self.n_rows + len(part))
            self.values[span], self.labels[span] = rows.values[part], rows.label_class[part]
            self.n_rows += len(part)
            start += len(part)
            if self.n_rows < LEAKAGE_ROWS:
                break
            self.n_rows = 0
            own, how = self._strongest()
            self.last = self.last if own == NOBODY else (own, how)
            ended.append(int(rows.row[part[-1]]))
            feature.append(own)
            strength.append(how)
        return Strongest(np.array(ended, np.int32), feature, np.array(strength, np.float64))

    def _strongest(self) -> tuple[int, float]:
        """Of the block: the feature that tells most, the first of equals, and how well."""
        positive = self._positive
        if positive < 0:
            positive = int(np.bincount(self.labels).argmax())
        found = np.empty(self.n_features)
        strengths(self.values, self.labels == positive, MIN_OF_CLASS, found)
        if np.isnan(found).all():
            return NOBODY, float("nan")
        best = int(np.nanargmax(found))
        return best, float(found[best])
