"""What a model version predicts and what its score means, as its own predictions show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.performance.outputs import Output, ScoreOf, Shape, Task, quantile_cuts
from schemas.batch import F64, I32
from schemas.config import OutputConfig

_HALF: Final = 0.5
_WISHED: Final = {
    "positive": ScoreOf.POSITIVE,
    "predicted": ScoreOf.PREDICTED,
    "rank": ScoreOf.RANK,
}


def declared(
    classes: Sequence[str],
    predicted: I32,
    score: F64,
    shape: Shape,
    wish: OutputConfig | None = None,
) -> Output:
    """The output of a model that predicts classes.

    `classes` are all that it knows, `predicted` (n,) their numbers in some of its predictions, -1
    for none, and `score` (n,) theirs, NaN for none; what the config wishes wins over what they
    show. Scores from 0 to 1 are probabilities. With two classes they are those of the class
    predicted where none is below 0.5, else of the positive one. That is the class with the higher
    scores; where these do not say it, the one that sorts last.
    """
    wish = wish or OutputConfig()
    is_there = ~np.isnan(score)
    there = score[is_there]
    is_probability = bool(((there >= 0.0) & (there <= 1.0)).all())
    # Whoever predicts the class of the greater probability gives it one half at least.
    is_of_predicted = is_probability and bool((there >= _HALF).all())
    task = Task.BINARY if len(classes) == 2 else Task.MULTICLASS
    positive = -1
    if task == Task.BINARY:
        means = [] if is_of_predicted else _mean_scores(predicted[is_there], there)
        positive = _positive(classes, means, wish)
    if not len(there):
        return Output(task, ScoreOf.NONE, positive)
    if wish.score is not None:
        score_of = _WISHED[wish.score]
    elif not is_probability:
        score_of = ScoreOf.RANK
    else:
        score_of = ScoreOf.PREDICTED if is_of_predicted else ScoreOf.POSITIVE
    if score_of == ScoreOf.POSITIVE and task != Task.BINARY:
        score_of = ScoreOf.PREDICTED
    cuts: tuple[float, ...] = ()
    if score_of == ScoreOf.RANK:
        cuts = tuple(quantile_cuts(there, shape.n_bins).tolist())
    return Output(task, score_of, positive, cuts)


def _positive(classes: Sequence[str], means: Sequence[float], wish: OutputConfig) -> int:
    """The number of the positive one of two classes; `means` are their scores', or nothing."""
    if wish.positive in classes:
        return classes.index(wish.positive)
    if means and means[0] != means[1]:
        return int(means[1] > means[0])
    return classes.index(max(classes))


def _mean_scores(predicted: I32, score: F64) -> list[float]:
    """The mean score of the predictions of each of two classes; empty where one has none."""
    of = [score[predicted == number] for number in (0, 1)]
    return [math.fsum(own) / len(own) for own in of] if all(map(len, of)) else []
