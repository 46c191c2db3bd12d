"""A small data set that the benchmark makes: for a quick run, and where no recordings are.

Seeded: benign rows of eight correlated features, a logistic model, a walk along its boundary with
ever smaller steps for each of three victims, and a theft by rows drawn evenly over the range.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np

from benchmarks.attacks.recordings import Attack, DataSet, as_attack, in_turn
from benchmarks.attacks.traffic import Traffic, generator
from schemas.batch import F64

N_FEATURES: Final = 8
N_BENIGN: Final = 6_000
N_VICTIMS: Final = 3
N_WALK: Final = 150


@lru_cache(maxsize=1)
def made() -> DataSet:
    """The data set; the same for everybody."""
    rng = generator("made")
    mixing = np.eye(N_FEATURES) + 0.4 * rng.normal(size=(N_FEATURES, N_FEATURES))
    weights = rng.normal(size=N_FEATURES)
    benign = rng.normal(size=(N_BENIGN, N_FEATURES)) @ mixing
    rows = answered(benign, weights)
    half = N_BENIGN // 2
    later = rows.take(slice(half, None))
    low, high = np.quantile(benign, (0.001, 0.999), axis=0)
    even = rng.uniform(low, high, (400, N_FEATURES))
    victims = [
        as_attack(answered(_walk(later.x, k, weights, rng), weights)) for k in range(N_VICTIMS)
    ]
    attacks = {
        "boundary": Attack("boundary", victims, {}),
        "copycat_uniform": Attack("copycat_uniform", [as_attack(answered(even, weights))], {}),
    }
    truth = (rng.random(len(later)) < later.score).astype(np.int64)
    return DataSet("made", in_turn(rows.take(slice(0, half))), later, attacks, None, truth)


def answered(x: F64, weights: F64) -> Traffic:
    """Rows with the answers of a logistic model."""
    score = 1.0 / (1.0 + np.exp(-2.0 * (x @ weights)))
    n = len(x)
    predicted = (score >= 0.5).astype(np.int64)
    return Traffic(x, score, predicted, np.zeros(n, np.int64), np.zeros(n, np.bool_))


def _walk(x: F64, victim: int, weights: F64, rng: np.random.Generator) -> F64:
    """A walk that begins at a row of the other class and comes nearer to the victim's row."""
    start = x[victim]
    side = start @ weights > 0.0
    others = x[((x @ weights) > 0.0) != side]
    at = others[int(rng.integers(len(others)))]
    asked = [start, at]
    for _ in range(N_WALK):
        apart = float(np.linalg.norm(at - start))
        tried = at + 0.1 * apart * rng.normal(size=len(at)) / np.sqrt(len(at))
        tried = tried + 0.1 * (start - tried)
        asked.append(tried)
        if (tried @ weights > 0.0) != side:
            at = tried
    return np.array(asked)
