"""Answers for rows that nobody has asked the recorded models: by their nearest recorded queries.

The models themselves are not recorded. So for rows that the benchmark makes up (grids, drift) the
answer is the mean of the five nearest recorded ones, which is a model too, with boundaries of its
own near those of the recorded one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from benchmarks.attacks.recordings import DataSet
from benchmarks.attacks.traffic import Traffic, joined
from schemas.batch import F64, I64

N_NEAREST: Final = 5
_CHUNK: Final = 256


class Surrogate:
    """Answers by the recorded rows of one data set of two classes."""

    def __init__(self, known: DataSet) -> None:
        recorded = [known.calibration, known.benign]
        recorded += [one for attack in known.attacks.values() for one in attack.victims]
        self._rows: Traffic = joined(recorded)
        self.low: F64 = np.quantile(known.calibration.x, 0.01, axis=0)
        self.high: F64 = np.quantile(known.calibration.x, 0.99, axis=0)
        spread = np.quantile(known.calibration.x, (0.25, 0.75), axis=0)
        width = np.where(spread[1] > spread[0], spread[1] - spread[0], self.high - self.low)
        self.sd: F64 = np.where(width > 0.0, width, 1.0) / 1.349
        """(d,) robust standard deviations."""

    def answer(self, x: F64) -> tuple[F64, I64]:
        """(n,) the probability of class 1, and the class."""
        own = self._rows.x / self.sd
        squares = (own**2).sum(axis=1)
        score = np.empty(len(x))
        for start in range(0, len(x), _CHUNK):
            asked = x[start : start + _CHUNK] / self.sd
            # Without the square of what was asked, which is the same for all.
            apart = squares - 2.0 * (asked @ own.T)
            nearest = np.argpartition(apart, N_NEAREST, axis=1)[:, :N_NEAREST]
            score[start : start + _CHUNK] = self._rows.score[nearest].mean(axis=1)
        return score, (score >= 0.5).astype(np.int64)
