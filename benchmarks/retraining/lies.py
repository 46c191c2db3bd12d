"""Sources of labels that lie from the change on, in the hope that a model is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from benchmarks.attacks.traffic import generator
from benchmarks.retraining.worlds import World
from schemas.batch import I64, Bool


class Attack(NamedTuple):
    """Who lies, and how."""

    name: str
    n_sources: int
    n_liars: int
    share: float
    """Of the labels that they may turn over, so many they do."""
    in_region: bool = False
    """They turn over only what is of class 1, where the first feature is in its upper half."""


ATTACKS: Final = (
    Attack("nobody lies", 20, 0, 0.0),
    Attack("4 of 20 turn over all", 20, 4, 1.0),
    Attack("4 of 20 turn over half", 20, 4, 0.5),
    Attack("4 of 20 turn over one class in a region", 20, 4, 1.0, in_region=True),
    Attack("40 of 200 turn over all", 200, 40, 1.0),
    Attack("40 of 200 turn over one class in a region", 200, 40, 1.0, in_region=True),
)


@dataclass(frozen=True, slots=True)
class Labels:
    """What is said of the n rows that are predicted, those before the change first."""

    source: I64
    """(n,) whose label it is, by number."""
    said: I64
    """(n,)"""
    is_lie: Bool
    """(n,) it is not what is true."""
    liars: frozenset[int]


def labels_of(world: World, attack: Attack, *seed: object) -> Labels:
    """Each source gives as many labels as any other, in random order."""
    rng = generator("retraining", "labels", attack, *seed)
    rows = world.before.then(world.after)
    n = len(rows.y)
    liars = rng.choice(attack.n_sources, attack.n_liars, replace=False)
    source = rng.integers(0, attack.n_sources, n)
    may = np.isin(source, liars) & (np.arange(n) >= len(world.before.y))
    if attack.in_region:
        first = rows.x[:, 0]
        may &= (rows.y == 1) & (first > np.median(world.after.x[:, 0]))
    is_lie = may & (rng.random(n) < attack.share)
    said = np.where(is_lie, 1 - rows.y, rows.y)
    return Labels(source, said, is_lie, frozenset(liars.tolist()))
