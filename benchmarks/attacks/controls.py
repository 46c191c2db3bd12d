"""Attacks of which one thing is taken away: what finds them all the same cannot have gone by it.

Permuted: the same rows in the same order, with the answers of each victim's queries shuffled. What
goes by answers has to lose. Shuffled: the same queries with their answers in random order. What
goes by their order has to lose; what goes by how near they lie to each other need not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.attacks.calibrated import ready
from benchmarks.attacks.duels import ALONE, LANE, N_BEFORE, Found, first_alarms
from benchmarks.attacks.traffic import Traffic, embedded, generator

AS_RECORDED: Final = "as recorded"


def permuted(attack: Traffic, rng: np.random.Generator) -> Traffic:
    """Each answer, class and score together, is that of another query."""
    at = rng.permutation(len(attack))
    return replace(attack, score=attack.score[at], predicted=attack.predicted[at])


def shuffled(attack: Traffic, rng: np.random.Generator) -> Traffic:
    """In another order."""
    return attack.take(rng.permutation(len(attack)))


def _as_recorded(attack: Traffic, rng: np.random.Generator) -> Traffic:
    del rng
    return attack


CONTROLS: Final[Mapping[str, Callable[[Traffic, np.random.Generator], Traffic]]] = {
    AS_RECORDED: _as_recorded,
    "answers permuted": permuted,
    "order shuffled": shuffled,
}


@dataclass(frozen=True, slots=True)
class Controlled:
    """One attack by one source, nothing between its queries; v victims."""

    data: str
    attack: str
    control: str
    lane: Found
    first: dict[str, int]
    """Victims by the detector that was first."""


def controlled(path: Path | None, name: str, attack: str, control: str) -> Controlled:
    """Run all victims of an attack, changed like this."""
    own = ready(path, name, with_sensors=True)
    queries: list[float] = []
    first: Counter[str] = Counter()
    for number, victim in enumerate(own.known.attacks[attack].victims):
        changed = CONTROLS[control](victim, generator("control", name, attack, number))
        # The benign events before it are those of the duel.
        rng = generator("duel", name, attack, ALONE, number)
        traffic = embedded(changed, own.known.benign, ALONE.share, N_BEFORE, rng)
        said = first_alarms(own.calibration, traffic)
        queries.append(said.pop(LANE, math.inf))
        if said:
            first[min(said, key=lambda who: said[who])] += 1
    return Controlled(name, attack, control, Found(queries), dict(first))
