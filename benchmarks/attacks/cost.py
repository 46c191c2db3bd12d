"""What the lane costs: microseconds of CPU an event, bytes a source; each detector and all."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.attacks.lane import Lane, calibrate, config_for
from benchmarks.attacks.made import answered
from benchmarks.attacks.recordings import in_turn
from benchmarks.attacks.traffic import Traffic, generator
from detectors.security.calibration import ModelCalibration
from detectors.security.registry import SECURITY_REGISTRY
from schemas.security_config import SecurityDetectorsConfig

WIDTHS: Final = (6, 30, 64)
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


def only(*names: str) -> SecurityDetectorsConfig:
    """A config in which these are on and no others."""
    sections = SecurityDetectorsConfig.model_fields
    return SecurityDetectorsConfig.model_validate(
        {name: {"enabled": name in names} for name in sections}
    )


def costs(n_features: int, n_events: int) -> list[Cost]:
    """Each detector alone beside none, and all together."""
    rng = generator("cost", n_features)
    mixing = np.eye(n_features) + rng.normal(size=(n_features, n_features)) / n_features
    weights = rng.normal(size=n_features) / np.sqrt(n_features)
    rows = answered(rng.normal(size=(N_CALIBRATION + n_events, n_features)) @ mixing, weights)
    calibration, _ = calibrate({"": in_turn(rows.take(slice(0, N_CALIBRATION)))})
    traffic = rows.take(slice(N_CALIBRATION, None))
    traffic = traffic.sent_by(rng.integers(0, N_CLIENTS, len(traffic)))
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
