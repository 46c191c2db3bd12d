"""What the scores of one model version make one expect of each prediction."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.mixing import GOLDEN, splitmix64
from detectors.performance.outputs import SHAPE, Output, ScoreOf, Task, even_cuts
from schemas.batch import F64, I32, I64, Bool

ONE: Final = 1 << 20
"""Expected errors are whole multiples of one in so many: their sums are exact."""
UNKNOWN_ERROR: Final = -1


class Scores:
    """What the scores of such an output mean."""

    def __init__(self, output: Output) -> None:
        self.output: Final = output
        self._cuts: Final = np.array(output.cuts) if output.cuts else even_cuts(SHAPE.n_bins)

    def expected(self, guess: I32, score: F64, p: F64 | None) -> I64:
        """(n,) the probability that each prediction is wrong, in parts of ONE.

        `guess` (n,) are numbers of classes, `p` (bins,) the probability of the outcome by bin of
        the score. UNKNOWN_ERROR where there is no class or no score, or nobody knows p.
        """
        error = np.full(len(score), UNKNOWN_ERROR, np.int64)
        if p is None or self.output.score_of == ScoreOf.NONE:
            return error
        outcome = self._of_outcome(guess, score)
        known = np.flatnonzero((guess >= 0) & np.isfinite(outcome))
        of_bin = p[np.searchsorted(self._cuts, outcome[known], side="right")]
        is_right = (guess[known] == self.output.positive) | (self.output.task != Task.BINARY)
        wrong = np.where(is_right, 1.0 - of_bin, of_bin)
        error[known] = np.rint(wrong * ONE).astype(np.int64)
        return error

    def quantiles(self, guess: I32, label: I32, score: F64, key: I64) -> F64:
        """(n,) the randomised quantile of each outcome: see `randomised_quantile`.

        NaN where the score is no probability of it, or there is no outcome.
        """
        if self.output.score_of < ScoreOf.POSITIVE:
            return np.full(len(score), np.nan)
        p = self._of_outcome(guess, score)
        if self.output.task == Task.BINARY:
            is_so, is_there = label == self.output.positive, label >= 0
        else:
            is_so, is_there = label == guess, (label >= 0) & (guess >= 0)
        return np.where(is_there, randomised_quantile(is_so, p, key), np.nan)

    def _of_outcome(self, guess: I32, score: F64) -> F64:
        """(n,) the score of the positive class, or that the prediction is right; NaN: none."""
        score_of = self.output.score_of
        if score_of == ScoreOf.RANK:
            return score
        score = np.where((score >= 0.0) & (score <= 1.0), score, np.nan)
        if score_of == ScoreOf.PREDICTED and self.output.task == Task.BINARY:
            score = np.where(guess == self.output.positive, score, 1.0 - score)
            return np.where(guess >= 0, score, np.nan)
        return score


def randomised_quantile(is_so: Bool, p: F64, key: I64) -> F64:
    """(k,) where each outcome lies in the distribution that its probability gives: 0 to 1.

    Even between 0 and 1 where, and only where, the probabilities `p` of the outcomes are right,
    whatever they are; above one half the outcomes are more frequent than they say. Between the
    bounds that an outcome of two values has, the `key` of the event says where: no seed, and the
    same in every run. NaN where p is no probability. Source: the randomised probability integral
    transform of Czado, Gneiting and Held, Biometrics 2009.
    """
    p = np.where((p >= 0.0) & (p <= 1.0), p, np.nan)
    within = _unit(key)
    return np.where(is_so, (1.0 - p) + p * within, (1.0 - p) * within)


def _unit(key: I64) -> F64:
    """Numbers from 0 to 1 that follow from keys."""
    unit: F64 = (splitmix64(key.view(np.uint64) + GOLDEN) >> np.uint64(11)).astype(
        np.float64
    ) * 2.0**-53
    return unit
