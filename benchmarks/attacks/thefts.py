"""Thefts with honest-looking rows, and attackers who send honest rows between their queries."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.attacks.calibrated import ready
from benchmarks.attacks.cost import only
from benchmarks.attacks.lane import Lane, config_for
from benchmarks.attacks.traffic import ATTACKER, generator, joined, spread
from detectors.security.exposure import NAME as EXPOSURE
from detectors.security.exposure import ExposureBank

N_CLIENTS: Final = 100
THRICE: Final = 3
"""A thief asks so many times as much as an honest client."""
N_ROWS: Final = 200
"""That a client sends who mixes queries of a theft with honest rows."""
SHARES: Final = (1.0, 0.5, 0.2)
WINDOW: Final = "off_distribution"


@dataclass(frozen=True, slots=True)
class Ranked:
    """Where a thief stands among honest clients, by exposure."""

    data: str
    attack: str
    rank: int
    """1: nobody has seen more; 0: it is not ranked."""
    n_clients: int
    n_said: int
    """Honest clients that exposure spoke of."""


def ranked(path: Path | None, name: str, attack: str) -> Ranked:
    """One theft beside a hundred honest clients, each with a third of its queries."""
    own = ready(path, name, with_sensors=True)
    theft = own.known.attacks[attack].victims[0]
    rng = generator("ranked", name, attack)
    n_honest = max(1, len(theft) // THRICE) * N_CLIENTS
    both = joined([spread(own.known.benign.repeated(n_honest, rng), N_CLIENTS), theft])
    traffic = both.take(rng.permutation(len(both)))
    max_sources = 1_024
    lane = Lane(own.calibration, config_for(detectors=only(EXPOSURE), max_sources=max_sources))
    alarms = lane.run(traffic)
    bank = lane.fold.banks[EXPOSURE]
    assert isinstance(bank, ExposureBank)
    order = [one[0] for one in bank.ranked(0, max_sources)]
    thief = lane.place_of(ATTACKER)
    said = {one for alarm in alarms for one in alarm.sources} - {ATTACKER}
    rank = order.index(thief) + 1 if thief in order else 0
    return Ranked(name, attack, rank, len(order), len(said))


@dataclass(frozen=True, slots=True)
class Mixed:
    """Clients of whose rows such a share is a theft's, beside twenty honest ones."""

    data: str
    attack: str
    share: float
    n_clients: int
    n_found: int
    n_found_by_window: int
    """By `off_distribution` alone."""
    n_honest_named: int


def mixed(path: Path | None, name: str, attack: str, share: float) -> Mixed:
    """The queries of one theft, parted among clients who send 200 rows each."""
    own = ready(path, name, with_sensors=True)
    theft = own.known.attacks[attack].victims[0]
    rng = generator("mixed", name, attack, share)
    n_own = round(N_ROWS * share)
    n_clients = len(theft) // n_own
    client = ATTACKER + np.arange(n_own * n_clients) // n_own
    queries = theft.take(slice(0, n_own * n_clients)).sent_by(client)
    n_chaff = (N_ROWS - n_own) * n_clients
    parts = [queries, own.known.benign.repeated(N_ROWS * 20, rng)]
    parts[1] = spread(parts[1], 20)
    if n_chaff:
        chaff = own.known.benign.repeated(n_chaff, rng)
        parts.append(spread(chaff, n_clients, ATTACKER))
    both = joined(parts)
    traffic = both.take(rng.permutation(len(both)))
    said = Lane(own.calibration, config_for()).run(traffic)
    alarms = [alarm for alarm in said if alarm.accuses]
    named = {one for alarm in alarms for one in alarm.sources}
    by_window = {one for alarm in alarms if alarm.detector == WINDOW for one in alarm.sources}
    return Mixed(
        name,
        attack,
        share,
        n_clients,
        sum(one >= ATTACKER for one in named),
        sum(one >= ATTACKER for one in by_window),
        sum(one < ATTACKER for one in named),
    )
