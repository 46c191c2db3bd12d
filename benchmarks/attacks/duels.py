"""Attacks in benign traffic: after how many queries is each victim's attack found, and by whom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.attacks.baselines import Baseline, Scaler
from benchmarks.attacks.calibrated import ready
from benchmarks.attacks.intervals import quantile, wilson
from benchmarks.attacks.lane import Alarm, Lane, config_for
from benchmarks.attacks.traffic import (
    ATTACKER,
    N_HONEST,
    Traffic,
    embedded,
    generator,
    spread,
)
from detectors.security.calibration import ModelCalibration
from schemas.batch import I64

LANE: Final = "lane"
SHARES: Final = (1.0, 0.1, 0.02)
N_SOURCES: Final = (1, 20, 200)
N_BEFORE: Final = 500
"""Benign events before an attack begins."""
MOST_QUERIES: Final = 300
"""Of a victim at a share of 2 %."""
HALF: Final = 0.5
"""Which part of an alarm's evidence has to be an attack's."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How an attack is hidden."""

    share: float
    n_sources: int

    @property
    def name(self) -> str:
        """For a table's name."""
        return f"{round(100 * self.share)}_{self.n_sources}"


SETTINGS: Final = tuple(Setting(share, n) for share in SHARES for n in N_SOURCES)
ALONE: Final = Setting(1.0, 1)
SYBIL: Final = Setting(0.1, 20)


@dataclass(frozen=True, slots=True)
class Found:
    """What one contestant made of the victims of an attack; v victims."""

    queries: list[float]
    """(v,) to the first alarm; infinite where there was none."""

    @property
    def n_found(self) -> int:
        """Victims."""
        return sum(map(math.isfinite, self.queries))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the share."""
        return wilson(self.n_found, len(self.queries))

    @property
    def median(self) -> float:
        """Of the queries, misses as infinite."""
        return quantile(self.queries, 0.5)

    @property
    def p95(self) -> float:
        """Likewise."""
        return quantile(self.queries, 0.95)


@dataclass(frozen=True, slots=True)
class Duel:
    """One attack in one setting."""

    data: str
    attack: str
    setting: Setting
    n_queries: list[int]
    """(v,) that the attack made, as far as they were run."""
    n_whole: list[int]
    """(v,) that it made in all."""
    succeeds: list[bool]
    """(v,) whether any of its queries is answered otherwise than its first one."""
    lane: Found
    of_detectors: dict[str, Found] = field(default_factory=dict)
    of_baselines: dict[str, Found] = field(default_factory=dict)


def duel(path: Path | None, name: str, attack: str, setting: Setting) -> Duel:
    """Run every victim of one attack in one setting, with a fresh lane for each."""
    own = ready(path, name, with_sensors=True)
    own.baselines.usual(N_HONEST)
    each, scaler = own.baselines.each, own.baselines.scaler
    victims = own.known.attacks[attack].victims
    whole = [len(victim) for victim in victims]
    if setting.share == min(SHARES):
        victims = [victim.take(slice(0, MOST_QUERIES)) for victim in victims]
    lane: list[dict[str, float]] = []
    peers: dict[str, list[float]] = {one.name: [] for one in each}
    for number, victim in enumerate(victims):
        rng = generator("duel", name, attack, setting, number)
        attacker = spread(victim, setting.n_sources, ATTACKER)
        traffic = embedded(attacker, own.known.benign, setting.share, N_BEFORE, rng)
        lane.append(first_alarms(own.calibration, traffic))
        for peer in each:
            if peer.looks_at == "client":
                queries = _of_client(path, name, attack, number, setting.n_sources)[peer.name]
                # What comes later changes nothing before it.
                queries = queries if queries <= len(victim) else math.inf
            else:
                queries = _first_of(peer, scaler, traffic)
            peers[peer.name].append(queries)
    names = sorted({one for of in lane for one in of} - {LANE})
    return Duel(
        name,
        attack,
        setting,
        [len(victim) for victim in victims],
        whole,
        [
            bool((one.predicted != one.predicted[0]).any())
            for one in own.known.attacks[attack].victims
        ],
        Found([of.get(LANE, math.inf) for of in lane]),
        {one: Found([of.get(one, math.inf) for of in lane]) for one in names},
        {one: Found(queries) for one, queries in peers.items()},
    )


def first_alarms(calibration: ModelCalibration, traffic: Traffic) -> dict[str, float]:
    """Queries up to the first alarm that counts: of the lane, and of each of its detectors."""
    alarms = Lane(calibration, config_for()).run(traffic)
    return queries_to(alarms, traffic)


def queries_to(alarms: Sequence[Alarm], traffic: Traffic) -> dict[str, float]:
    """Of alarms that accuse, and whose evidence is an attack's by half or more."""
    attackers = traffic.attackers()
    n_queries = np.cumsum(traffic.is_attack)
    found: dict[str, float] = {}
    for alarm in alarms:
        n = float(n_queries[alarm.row])
        if alarm.accuses and n > 0 and alarm.share_of(traffic, attackers) >= HALF:
            for who in (alarm.detector, LANE):
                found[who] = min(n, found.get(who, math.inf))
    return found


@lru_cache(maxsize=4_096)
def _of_client(
    path: Path | None, name: str, attack: str, victim: int, n_sources: int
) -> dict[str, float]:
    """Queries to the first alarm of those baselines to which what others send does not matter."""
    own = ready(path, name, with_sensors=True)
    queries = own.known.attacks[attack].victims[victim]
    scaled = own.baselines.scaler(spread(queries, n_sources, ATTACKER))
    found: dict[str, float] = {}
    for peer in own.baselines.each:
        if peer.looks_at == "client":
            fired = peer.alarms(scaled)
            found[peer.name] = float(fired[0] + 1) if fired else math.inf
    return found


def _first_of(peer: Baseline, scaler: Scaler, traffic: Traffic) -> float:
    """The same of one to which it does."""
    fired = [row for row in peer.alarms(scaler(traffic)) if traffic.is_attack[row]]
    n_queries: I64 = np.cumsum(traffic.is_attack)
    return float(n_queries[fired[0]]) if fired else math.inf
