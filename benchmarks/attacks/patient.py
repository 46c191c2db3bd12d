"""Attackers who could feign a break of the data: 200 names among 20 honest clients, known before.

Each name sends honest rows first, so long that its rows are compared with. Then the names search
for the boundary of the model in turn, with a share of the traffic; or they do so while everybody's
data is broken, which hides what they do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.attacks.breaks import BREAKS, NOTHING_HELD
from benchmarks.attacks.calibrated import ready
from benchmarks.attacks.duels import LANE, queries_to
from benchmarks.attacks.intervals import quantile
from benchmarks.attacks.lane import Lane, config_for
from benchmarks.attacks.traffic import ATTACKER, Traffic, embedded, generator, joined, spread

N_NAMES: Final = 200
ROWS_BEFORE: Final = 12
"""Of each name, honest ones: with those of the others more than what makes a name known."""
SHARES: Final = (0.9, 0.5, 0.1)
NO_BREAK: Final = "none"
BROKEN: Final = "another unit"
_HONEST: Final = 20


@dataclass(frozen=True, slots=True)
class Patient:
    """What became of one attack, in each of so many lanes."""

    data: str
    attack: str
    share: float
    break_name: str
    queries: list[float]
    """(v,) to the first alarm; infinite where there was none."""
    queries_without: list[float]
    """The same where nothing is held back."""
    n_told: int
    """Lanes in which a change of the data was told of."""

    @property
    def n_found(self) -> int:
        """Victims."""
        return sum(map(math.isfinite, self.queries))

    @property
    def n_found_without(self) -> int:
        """Victims, where nothing is held back."""
        return sum(map(math.isfinite, self.queries_without))

    @property
    def medians(self) -> tuple[float, float]:
        """Queries, as it is and where nothing is held back."""
        return quantile(self.queries, 0.5), quantile(self.queries_without, 0.5)


def patient(path: Path | None, data: str, attack: str, share: float, break_name: str) -> Patient:
    """Run every victim of an attack, with the bank of breaks and without it."""
    own = ready(path, data, with_sensors=False)
    off = config_for(detectors=NOTHING_HELD)
    queries, without, n_told = [], [], 0
    for number, victim in enumerate(own.known.attacks[attack].victims):
        rng = generator("patient", data, attack, share, break_name, number)
        n_all = _HONEST + N_NAMES
        first = spread(own.known.benign.repeated(n_all * ROWS_BEFORE, rng), n_all)
        names = np.where(first.source < _HONEST, first.source, ATTACKER + first.source - _HONEST)
        attacker = spread(victim, N_NAMES, ATTACKER)
        later = embedded(attacker, own.known.benign, share, 0, rng)
        traffic = joined([first.sent_by(names), _broken(later, break_name)])
        alarms = Lane(own.calibration, config_for()).run(traffic)
        n_told += any(one.detector == "data_breaks" for one in alarms)
        queries.append(queries_to(alarms, traffic).get(LANE, math.inf))
        alarms = Lane(own.calibration, off).run(traffic)
        without.append(queries_to(alarms, traffic).get(LANE, math.inf))
    return Patient(data, attack, share, break_name, queries, without, n_told)


def _broken(rows: Traffic, break_name: str) -> Traffic:
    """All of these rows, the attack's as well, with the first feature broken."""
    for one in BREAKS:
        if one.name == break_name:
            return Traffic(
                one.broken(rows.x, 0), rows.score, rows.predicted, rows.source, rows.is_attack
            )
    return rows
