"""Attackers who know the radius: their queries lie at least so far from all earlier ones.

The recorded queries that lie nearer to an earlier kept one are left out, so that the answers to
the others are the model's own. What is left reaches the victim less closely: the attack counts as
successful where one of its rows of another class lies within twice the distance that the whole
attack came to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.attacks.calibrated import ready
from benchmarks.attacks.duels import LANE, N_BEFORE, queries_to
from benchmarks.attacks.lane import Lane, config_for
from benchmarks.attacks.recordings import ROWS_PER_CLIENT
from benchmarks.attacks.traffic import embedded, generator
from schemas.batch import F64, I64

FLOORS: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Of the radius."""
WITHIN: Final = 2.0
NEAR: Final = 0.05
"""The radius: so many benign rows have a nearer one among their client's earlier ones."""
ATTACKS: Final = ("hopskipjump", "boundary", "zoo")
"""Those that have a victim to come near to."""


@dataclass(frozen=True, slots=True)
class Adapted:
    """One attack with one floor; v victims."""

    data: str
    attack: str
    floor: float
    radius: float
    n_queries: list[int]
    """(v,) that are left."""
    success_at: list[float]
    """(v,) which of them succeeds; infinite: none."""
    queries: list[float]
    """(v,) to the alarm."""

    @property
    def n_before(self) -> int:
        """Victims for which the attack succeeds before it is found."""
        return sum(s < q for s, q in zip(self.success_at, self.queries, strict=True))


def adapted(path: Path | None, name: str, attack: str, floor: float) -> Adapted:
    """Every victim of an attack, one attacker and nothing between the queries."""
    own = ready(path, name, with_sensors=True)
    scaler = own.baselines.scaler
    radius = _radius(scaler(own.known.calibration).z.astype(np.float64))
    found = Adapted(name, attack, floor, radius, [], [], [])
    for number, victim in enumerate(own.known.attacks[attack].victims):
        z = scaler(victim).z.astype(np.float64)
        apart = np.linalg.norm(z - z[0], axis=1)
        is_other = victim.predicted != victim.predicted[0]
        if not is_other.any():
            continue
        kept = _apart(z, floor * radius)
        reach = WITHIN * float(apart[is_other].min())
        succeeds = np.flatnonzero(is_other[kept] & (apart[kept] <= reach))
        rng = generator("adaptive", name, attack, floor, number)
        traffic = embedded(victim.take(kept), own.known.benign, 1.0, N_BEFORE, rng)
        alarms = Lane(own.calibration, config_for()).run(traffic)
        found.n_queries.append(len(kept))
        found.success_at.append(float(succeeds[0] + 1) if len(succeeds) else math.inf)
        found.queries.append(queries_to(alarms, traffic).get(LANE, math.inf))
    return found


def _radius(z: F64) -> float:
    """The 5 % quantile of the distance to the nearest of up to 500 earlier rows."""
    nearest = [
        float(np.linalg.norm(z[max(0, i - ROWS_PER_CLIENT) : i] - z[i], axis=1).min())
        for i in range(1, min(len(z), 3_000))
    ]
    return float(np.quantile(nearest, NEAR))


def _apart(z: F64, floor: float) -> I64:
    """Which rows lie at least so far from all that are kept before them."""
    kept = [0]
    for row in range(1, len(z)):
        if floor == 0.0 or float(np.linalg.norm(z[kept] - z[row], axis=1).min()) >= floor:
            kept.append(row)
    return np.array(kept, np.int64)
