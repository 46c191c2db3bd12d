"""Traffic of one model with a known boundary, of honest clients, and of one who searches for it."""

from __future__ import annotations

from collections.abc import Iterator

from streams.attack_traffic import ATTACKER, MODEL_ID, N_HONEST, attacked_queries, probability
from tests.delivery.traffic import Sent, event, named

MODEL = MODEL_ID
HONEST = [f"client-{k:02d}" for k in range(N_HONEST)]
__all__ = ["ATTACKER", "HONEST", "MODEL", "attacked"]


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
