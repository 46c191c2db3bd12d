"""What the lane costs: microseconds of CPU an event, bytes a source; and the baselines."""

from __future__ import annotations

import time
import tracemalloc
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.attacks.baselines import Baselines
from benchmarks.attacks.lane import Lane, calibrate, config_for
from benchmarks.attacks.made import answered
from benchmarks.attacks.recordings import in_turn
from benchmarks.attacks.traffic import Traffic, generator
from detectors.security.calibration import ModelCalibration
from detectors.security.registry import SECURITY_REGISTRY
from schemas.security_config import SecurityDetectorsConfig

WIDE: Final = 30
"""Features at which time and memory have goals (G10)."""
WIDTHS: Final = (6, WIDE, 64)
N_CLIENTS: Final = 100
N_CALIBRATION: Final = 4_000
NONE: Final = "table of sources, scaling"
ALL: Final = "all of them"
PLACES: Final = (256, 512)
"""Between which bytes are counted."""
N_RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one detector at one width; what the table of sources and scaling cost is not in it."""

    detector: str
    n_features: int
    us_per_event: float
    bytes_per_place: float
    bytes_in_all: int
    """With 1,024 places, one model."""


@dataclass(frozen=True, slots=True)
class PeerCost:
    """What a baseline costs at one width."""

    name: str
    n_features: int
    us_per_event: float
    """As it is written here: whole streams at once, which no stream worker could do."""
    bytes_per_source: float
    """Least that it has to keep; infinite where that grows with each event."""


def only(*names: str) -> SecurityDetectorsConfig:
    """A config in which these are on and no others."""
    sections = SecurityDetectorsConfig.model_fields
    return SecurityDetectorsConfig.model_validate(
        {name: {"enabled": name in names} for name in sections}
    )


def costs(n_features: int, n_events: int) -> list[Cost]:
    """Each detector alone beside none, and all together."""
    benign, traffic = _made(n_features, n_events)
    calibration, _ = calibrate({"": benign})
    names = list(SECURITY_REGISTRY)
    contests = {NONE: ()} | {name: (name,) for name in names} | {ALL: tuple(names)}
    seconds = {who: _seconds(calibration, traffic, own) for who, own in contests.items()}
    found = []
    for who, own in contests.items():
        small, large = (_traced(calibration, traffic, own, places) for places in PLACES)
        base = 0.0 if who in (NONE, ALL) else seconds[NONE]
        us = (seconds[who] - base) / (len(traffic) / 2) * 1e6
        per_place = (large - small) / (PLACES[1] - PLACES[0])
        in_all = small + per_place * (1_024 - PLACES[0])
        found.append(Cost(who, n_features, us, per_place, round(in_all)))
    nothing = found[0]
    return [
        nothing,
        *(
            Cost(
                one.detector,
                one.n_features,
                one.us_per_event,
                one.bytes_per_place - nothing.bytes_per_place,
                one.bytes_in_all - nothing.bytes_in_all,
            )
            for one in found[1:-1]
        ),
        found[-1],
    ]


def peer_costs(n_features: int, n_events: int) -> list[PeerCost]:
    """Of each baseline, on the second half of the same traffic; the first run compiles."""
    benign, traffic = _made(n_features, n_events)
    own = Baselines(benign)
    own.usual(N_CLIENTS)
    scaled = own.scaler(traffic.take(slice(len(traffic) // 2, None)))
    found = []
    for one in own.each:
        runs = []
        for _ in range(N_RUNS):
            began_s = time.process_time()
            one.alarms(scaled)
            runs.append(time.process_time() - began_s)
        us = min(runs) / len(scaled.source) * 1e6
        found.append(PeerCost(one.name, n_features, us, one.kept_bytes(n_features)))
    return found


def _made(n_features: int, n_events: int) -> tuple[Traffic, Traffic]:
    """Benign rows to calibrate with, and so many events of a hundred clients."""
    rng = generator("cost", n_features)
    mixing = np.eye(n_features) + rng.normal(size=(n_features, n_features)) / n_features
    weights = rng.normal(size=n_features) / np.sqrt(n_features)
    rows = answered(rng.normal(size=(N_CALIBRATION + n_events, n_features)) @ mixing, weights)
    traffic = rows.take(slice(N_CALIBRATION, None))
    traffic = traffic.sent_by(rng.integers(0, N_CLIENTS, len(traffic)))
    return in_turn(rows.take(slice(0, N_CALIBRATION))), traffic


def _seconds(calibration: ModelCalibration, traffic: Traffic, names: tuple[str, ...]) -> float:
    """CPU of the fold over the second half of the traffic; the first half fills what is kept.

    The least of three runs, since whatever else the machine does only adds.
    """
    table, clients = traffic.table(), np.unique(traffic.source)
    half = len(traffic) // 2
    runs = []
    for _ in range(N_RUNS):
        lane = Lane(calibration, config_for(detectors=only(*names)))
        lane.run_events(table, clients, 0, half)
        lane.seconds = 0.0
        lane.run_events(table, clients, half, 2 * half)
        runs.append(lane.seconds)
    return min(runs)


def _traced(
    calibration: ModelCalibration, traffic: Traffic, names: tuple[str, ...], n_places: int
) -> int:
    """Bytes that a fold with so many places keeps after some traffic."""
    tracemalloc.start()
    try:
        lane = Lane(calibration, config_for(detectors=only(*names), max_sources=n_places))
        lane.run(traffic.take(slice(0, 2_000)))
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
