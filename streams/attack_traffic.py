"""A small fixed model under attack: honest clients, and one who walks along its decision boundary.

Pure: the same arrays on every call. The demo sends them, and tests do.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from schemas.batch import F64, I64
from streams.traffic import Attack, ModelTraffic

MODEL_ID: Final = "credit"
N_FEATURES: Final = 6
N_HONEST: Final = 20
ATTACKER: Final = "mallory"
WEIGHTS: Final[F64] = np.array([1.0, -0.8, 0.6, 0.4, -0.3, 0.2])
"""(N_FEATURES,) the model: a logistic one, without an intercept, of the slope `_SLOPE`."""

_SLOPE: Final = 2.0
_N_EVENTS: Final = 6_000
_SINCE: Final = 3_000
"""Past the events that the security duty learns a model from, by default."""
_EVERY: Final = 10
_WITHIN_QUERIES: Final = 100
_REPEAT_EVERY: Final = 50
"""Clients send some queries twice, as a retry does."""
_N_HALVINGS: Final = 8
_N_AROUND: Final = 24


def probability(x: F64) -> F64:
    """(n,) what the model says of these (n, N_FEATURES) rows."""
    p: F64 = 1.0 / (1.0 + np.exp(-_SLOPE * (x @ WEIGHTS)))
    return p


def honest(random: np.random.Generator, n: int) -> F64:
    """(n, N_FEATURES) rows as clients have them."""
    return random.normal(size=(n, N_FEATURES))


def boundary_walk(random: np.random.Generator, n: int) -> F64:
    """(n, N_FEATURES) queries that go along the boundary, as a decision-based attack does.

    From a row of each class halving the way between them, then small steps around what was found,
    whose answers say where the boundary turns, then a step along it and again. After
    HopSkipJump (Chen, Jordan and Wainwright 2020), with the gradient left out.
    """
    rows: list[F64] = []
    one, other = np.zeros(N_FEATURES), np.zeros(N_FEATURES)
    while not probability(one[np.newaxis])[0] > 0.7:
        one = honest(random, 1)[0]
    while not probability(other[np.newaxis])[0] < 0.3:
        other = honest(random, 1)[0]
    while len(rows) < n:
        for _ in range(_N_HALVINGS):
            middle = (one + other) / 2
            rows.append(middle)
            if probability(middle[np.newaxis])[0] > 0.5:
                one = middle
            else:
                other = middle
        edge = (one + other) / 2
        around = random.normal(size=(_N_AROUND, N_FEATURES)) / N_FEATURES
        rows += [edge + 0.05 * step for step in around]
        along = 0.3 * random.normal(size=N_FEATURES)
        one, other = edge + along + 0.3 * WEIGHTS, edge + along - 0.3 * WEIGHTS
    return np.array(rows[:n])


class Queries(NamedTuple):
    """n queries of the model, in their order."""

    rows: F64
    """(n, N_FEATURES), to six digits."""
    sources: list[str]
    """Who asks, for each."""
    attack_at: I64
    """(k,) which of them are the attacker's, ascending."""


def attacked_queries(n: int, *, since: int, every: int, seed: int) -> Queries:
    """So many queries, one in fifty twice; from `since` on every so many-th is the attacker's."""
    random = np.random.default_rng(seed)
    rows = honest(random, n)
    sources = [f"client-{k:02d}" for k in random.integers(N_HONEST, size=n)]
    at = np.arange(since, n, every)
    rows[at] = boundary_walk(random, len(at))
    for i in at.tolist():
        sources[i] = ATTACKER
    repeats = np.arange(_REPEAT_EVERY - 1, n, _REPEAT_EVERY)
    for i in repeats.tolist():
        if ATTACKER not in sources[i - 1 : i + 1]:
            rows[i], sources[i] = rows[i - 1], sources[i - 1]
    return Queries(np.round(rows, 6), sources, at)


def credit_traffic() -> ModelTraffic:
    """The model that the demo's attacker walks along, with all its events."""
    queries = attacked_queries(_N_EVENTS, since=_SINCE, every=_EVERY, seed=5)
    score = probability(queries.rows)
    return ModelTraffic(
        model_id=MODEL_ID,
        model_version="1",
        about=(
            f"A fixed logistic model of {N_FEATURES} features with {N_HONEST} honest clients. From"
            f" event {_SINCE:,} on, every {_EVERY}th query is that of an attacker."
        ),
        numbers={f"f{j}": column.copy() for j, column in enumerate(queries.rows.T)},
        categories={},
        prediction=(score > 0.5).astype(np.int64),
        score=score,
        changes=(),
        sources=tuple(queries.sources),
        attack=Attack(
            title="a client walks along the decision boundary",
            source=ATTACKER,
            at=queries.attack_at,
            within=_WITHIN_QUERIES,
            kind="queries",
            weights=WEIGHTS,
        ),
    )
