"""Traffic of one model with a known boundary, of honest clients, and of one who searches for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from schemas.batch import F64
from tests.delivery.traffic import N_PARTITIONS, Sent, event, named

MODEL = "credit"
N_FEATURES = 6
N_HONEST = 20
ATTACKER = "mallory"
LEARNED = 1_000
WEIGHTS = np.array([1.0, -0.8, 0.6, 0.4, -0.3, 0.2])


def probability(x: F64) -> F64:
    """(n,) what the model says of these (n, N_FEATURES) rows."""
    p: F64 = 1.0 / (1.0 + np.exp(-2.0 * (x @ WEIGHTS)))
    return p


def honest(rng: np.random.Generator, n: int) -> F64:
    """(n, N_FEATURES) rows as clients have them."""
    return rng.normal(size=(n, N_FEATURES))


def boundary_walk(rng: np.random.Generator, n: int) -> F64:
    """(n, N_FEATURES) queries that go along the boundary, as a decision-based attack does.

    From a row of each class halving the way between them, then small steps around what was found,
    whose answers say where the boundary turns, then a step along it and again.
    """
    rows: list[F64] = []
    one, other = np.zeros(N_FEATURES), np.zeros(N_FEATURES)
    while not probability(one[np.newaxis])[0] > 0.7:
        one = honest(rng, 1)[0]
    while not probability(other[np.newaxis])[0] < 0.3:
        other = honest(rng, 1)[0]
    while len(rows) < n:
        for _ in range(8):
            middle = (one + other) / 2
            rows.append(middle)
            if probability(middle[np.newaxis])[0] > 0.5:
                one = middle
            else:
                other = middle
        edge = (one + other) / 2
        rows += [edge + 0.05 * step for step in rng.normal(size=(24, N_FEATURES)) / N_FEATURES]
        along = 0.3 * rng.normal(size=N_FEATURES)
        one, other = edge + along + 0.3 * WEIGHTS, edge + along - 0.3 * WEIGHTS
    return np.array(rows[:n])


def attacked_stream(n: int, first: int = 0) -> list[Sent]:
    """n events of models m0 to m3, each in the partition of its number; some are refused.

    `first` is the number of the first one; in blocks of one size a stream can be sent in parts.
    From event `LEARNED` on every fourth event of a model is an attacker's, another one in each
    block.
    """
    rng = np.random.default_rng([13, first])
    x = honest(rng, n)
    walks = [boundary_walk(rng, n) for _ in range(N_PARTITIONS)]
    sent: list[Sent] = []
    for row in range(n):
        i, number = first + row, (first + row) % N_PARTITIONS
        model, source = f"m{number}", f"client-{i % 7}"
        if i % 37 == 36:
            sent.append(Sent(model.encode(), b"not json", number))
            continue
        if i >= LEARNED and i // N_PARTITIONS % 4 == 3:
            source, x[row] = f"{ATTACKER}-{first}", walks[number][row // (4 * N_PARTITIONS)]
        p = float(probability(np.round(x[row : row + 1], 6))[0])
        one = event(
            model,
            i,
            features=named(np.round(x[row], 6).tolist()),
            prediction=int(p > 0.5),
            probabilities={"0": 1.0 - p, "1": p},
            source=source,
        )
        sent.append(one._replace(partition=number))
    return sent


def attacked(n: int, *, since: int = 3_000, every: int = 10, seed: int = 5) -> Iterator[Sent]:
    """n predictions, one in fifty twice; from `since` on every so many-th is the attacker's."""
    rng = np.random.default_rng(seed)
    x = honest(rng, n)
    sources = [f"client-{k}" for k in rng.integers(N_HONEST, size=n)]
    at = np.arange(since, n, every)
    x[at] = boundary_walk(rng, len(at))
    for i in at.tolist():
        sources[i] = ATTACKER
    x = np.round(x, 6)
    p = probability(x)
    for i in range(n):
        about = i - 1 if i % 50 == 49 and sources[i - 1] != ATTACKER else i
        yield event(
            MODEL,
            i,
            features=named(x[about].tolist()),
            prediction=int(p[about] > 0.5),
            probabilities={"0": 1.0 - float(p[about]), "1": float(p[about])},
            source=sources[about],
        )
