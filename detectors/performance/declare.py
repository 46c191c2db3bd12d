"""What a model version predicts and what its score means, as its own predictions show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.performance.outputs import Output, ScoreOf, Shape, Task, quantile_cuts
from schemas.batch import F64, I32
from schemas.config import OutputConfig
from schemas.reference import ModelOutput

_LARGE: Final = 1e280
"""As many as a reference has of what is no larger have a sum."""
_HALF: Final = 0.5
NUMBERS: Final = ModelOutput(classes=[], positive=-1, score_of="none", cuts=[])
"""The output of what predicts numbers."""
_SCORES: Final = {
    "none": ScoreOf.NONE,
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
) -> ModelOutput:
    """The output of a model that predicts classes.

    `classes` are all that it knows, `predicted` (n,) their numbers in some of its predictions, -1
    for none, and `score` (n,) theirs, NaN for none; what the config wishes wins over what they
    show. Scores from 0 to 1 are probabilities. With two classes they are those of the class
    predicted where none is below 0.5, else of the positive one. That is the class with the higher
    scores; where these do not say it, the one that sorts last. A model that has predicted one class
    has two where the config names another one as positive.
    """
    wish = wish or OutputConfig()
    names = list(classes)
    if len(names) == 1 and wish.positive is not None and wish.positive not in names:
        names.append(wish.positive)
    is_there = ~np.isnan(score)
    there = score[is_there]
    is_probability = bool(((there >= 0.0) & (there <= 1.0)).all())
    # Whoever predicts the class of the greater probability gives it one half at least.
    is_of_predicted = is_probability and bool((there >= _HALF).all())
    positive = -1
    if len(names) == 2:
        means = [] if is_of_predicted else _mean_scores(predicted[is_there], there)
        positive = _positive(names, means, wish)
    if not len(there):
        return ModelOutput(classes=names, positive=positive, score_of="none", cuts=[])
    if wish.score is not None:
        score_of = wish.score
    elif not is_probability:
        score_of = "rank"
    else:
        score_of = "predicted" if is_of_predicted else "positive"
    if score_of == "positive" and positive < 0:
        score_of = "predicted"
    cuts = quantile_cuts(there, shape.n_bins).tolist() if score_of == "rank" else []
    return ModelOutput(classes=names, positive=positive, score_of=score_of, cuts=cuts)


def output_of(said: ModelOutput) -> Output:
    """The same as the banks have it."""
    task = Task.MULTICLASS
    if not said.classes:
        task = Task.REGRESSION
    elif said.positive >= 0:
        task = Task.BINARY
    return Output(task, _SCORES[said.score_of], said.positive, tuple(said.cuts))


def _positive(classes: Sequence[str], means: Sequence[float], wish: OutputConfig) -> int:
    """The number of the positive one of two classes; `means` are their scores', or nothing."""
    if wish.positive in classes:
        return classes.index(wish.positive)
    if means and means[0] != means[1]:
        return int(means[1] > means[0])
    return classes.index(max(classes))


def _mean_scores(predicted: I32, score: F64) -> list[float]:
    """The mean score of the predictions of each of two classes; empty where one has none.

    Of scores near the largest double a part of it, the same of both: their sum would be none.
    """
    if np.abs(score).max(initial=0.0) > _LARGE:
        score = score * 2.0**-64
    of = [score[predicted == number] for number in (0, 1)]
    return [math.fsum(own) / len(own) for own in of] if all(map(len, of)) else []
