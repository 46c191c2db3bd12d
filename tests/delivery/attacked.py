"""Traffic of one model with a known boundary, of honest clients, and of one who searches for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from streams.attack_traffic import (
    ATTACKER,
    MODEL_ID,
    N_HONEST,
    WEIGHTS,
    attacked_queries,
    boundary_walk,
    honest,
    probability,
)
from tests.delivery.traffic import N_PARTITIONS, Sent, event, named

MODEL = MODEL_ID
HONEST = [f"client-{k:02d}" for k in range(N_HONEST)]
LEARNED = 1_000
__all__ = [
    "ATTACKER",
    "HONEST",
    "MODEL",
    "WEIGHTS",
    "attacked",
    "attacked_stream",
    "honest",
    "probability",
]


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
    queries = attacked_queries(n, since=since, every=every, seed=seed)
    p = probability(queries.rows)
    for i, row in enumerate(queries.rows.tolist()):
        yield event(
            MODEL,
            i,
            features=named(row),
            prediction=int(p[i] > 0.5),
            probabilities={"0": 1.0 - float(p[i]), "1": float(p[i])},
            source=queries.sources[i],
        )
