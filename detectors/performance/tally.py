"""What some rows of one model version add up to: all that metrics are read from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

    def since(self, earlier: Tally) -> Tally:
        """What the rows add up to that came after an earlier tally of the same slot, in total.

        Whole numbers are exact, sums up to rounding. Their times are not known: they are those of
        the greatest event time before and of that by now. Raises ValueError where the earlier one
        is of another output, or has more rows.
        """
        if earlier.output != self.output or (earlier.counts > self.counts).any():
            raise ValueError("a tally begins with another one: take both from the same slot")
        return Tally(
            self.output,
            np.array([earlier.times[1], self.times[1]]),
            self.counts - earlier.counts,
            self.confusion - earlier.confusion,
            self.histogram - earlier.histogram,
            np.maximum(self.score_sums - earlier.score_sums, 0.0),
            np.maximum(self.sums - earlier.sums, 0.0),
        )

    @property
    def scores(self) -> I64:
        """(b,) rows in each bin of the score."""
        scores: I64 = self.histogram[0] + self.histogram[1]
        return scores
