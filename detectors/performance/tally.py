"""What some rows of one model version add up to: all that metrics are read from."""

from __future__ import annotations

from dataclasses import dataclass

from detectors.performance.outputs import Output
from schemas.batch import F64, I64


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts and sums of the rows of one slot, in total or over its window. c classes, b bins."""

    output: Output
    times: I64
    """(2,) the least and the greatest event time, epoch ms; 0 without rows."""
    counts: I64
    """(N_COUNTS,) as `detectors.kernels.performance` numbers them."""
    confusion: I64
    """(c + 1, c + 1) by true and by predicted class; the last of each stands for all others."""
    histogram: I64
    """(2, b) scores by bin: of rows that are not of the positive class (or wrong), and of those
    that are (or right)."""
    score_sums: F64
    """(b,) the sum of the probabilities in each bin."""
    sums: F64
    """(N_SUMS,) as `detectors.kernels.performance` numbers them."""

    def count(self, what: int) -> int:
        """One of the counts."""
        return int(self.counts[what])

    def sum_of(self, what: int) -> float:
        """One of the sums."""
        return float(self.sums[what])

    @property
    def scores(self) -> I64:
        """(b,) rows in each bin of the score."""
        scores: I64 = self.histogram[0] + self.histogram[1]
        return scores
