"""When a theft pays: after how many queries a copy of the model agrees with it in 80 %.

The thief trains a copy on its first k queries and the model's answers to them, with learners that
anybody has (scikit-learn's, at their defaults), and is given the best of them: a random forest, a
logistic regression and a nearest neighbour. How often a copy says what the model says is counted
on benign rows, which are what a thief wants it for. So it is a lower bound of what a thief needs
who does not know which learner is the best.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn import (  # type: ignore[import-untyped]  # it ships no types
    ensemble,
    linear_model,
    neighbors,
    pipeline,
    preprocessing,
)

from benchmarks.attacks.calibrated import known_as
from benchmarks.attacks.traffic import Traffic

ENOUGH: Final = 0.8
"""Of the benign rows: from there on the theft has paid (G5)."""
_FIRST: Final = 5
_STEP: Final = 1.25
"""Each copy is trained on so many times the queries of the one before."""
_MOST_ROWS: Final = 2_000
"""That copies are judged on."""


@dataclass(frozen=True, slots=True)
class Stolen:
    """One theft."""

    data: str
    attack: str
    queries: float
    """After which a copy agrees in 80 %; infinite where none does after all of them."""
    at_first: float
    """Share of agreement of the best copy after 5 queries, or all where there are fewer."""
    at_last: float
    """And after all of them."""


def stolen(path: Path | None, name: str, attack: str) -> Stolen:
    """The copies that a thief can train, the first one that is good enough, and the last."""
    known = known_as(path, name)
    theft = known.attacks[attack].victims[0]
    judges = known.benign.take(slice(0, _MOST_ROWS))
    tried = list(sizes(len(theft)))
    shares = [best_copy(theft.take(slice(0, n)), judges) for n in tried]
    enough = [n for n, share in zip(tried, shares, strict=True) if share >= ENOUGH]
    return Stolen(name, attack, float(enough[0]) if enough else math.inf, shares[0], shares[-1])


def sizes(n: int) -> Iterator[int]:
    """Numbers of queries after which a copy is trained; the last is all of them."""
    size = min(_FIRST, n)
    while size < n:
        yield size
        size = math.ceil(size * _STEP)
    yield n


def best_copy(queries: Traffic, judges: Traffic) -> float:
    """How often the best of the copies says what the model says of the judging rows."""
    answers = np.unique(queries.predicted)
    if len(answers) == 1:
        # No learner can tell more from one answer.
        return float((judges.predicted == answers[0]).mean())
    copies = [copy.fit(queries.x, queries.predicted) for copy in _learners()]
    return max(float((copy.predict(judges.x) == judges.predicted).mean()) for copy in copies)


def _learners() -> list[Any]:
    """Learners that have learned nothing yet; seeded."""
    return [
        ensemble.RandomForestClassifier(n_estimators=50, random_state=20, n_jobs=1),
        pipeline.make_pipeline(
            preprocessing.StandardScaler(), linear_model.LogisticRegression(max_iter=1_000)
        ),
        pipeline.make_pipeline(
            preprocessing.StandardScaler(), neighbors.KNeighborsClassifier(n_neighbors=1)
        ),
    ]
