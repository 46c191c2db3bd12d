"""Benign traffic alone: how often it is called an attack, by the lane and by the baselines."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.attacks.baselines import Baselines
from benchmarks.attacks.calibrated import ready
from benchmarks.attacks.lane import Lane, calibrate, config_for
from benchmarks.attacks.mixes import MIXES, Mix
from benchmarks.attacks.recordings import in_turn
from benchmarks.attacks.traffic import Traffic, generator, spread
from benchmarks.census import FILE, FIRST_CHANGE, read
from detectors.security.calibration import ModelCalibration
from streams.census import FEATURES

N_PEERS: Final = 10_000
"""Events that the baselines see."""
N_CENSUS: Final = 20_000
"""Rows of the census that thresholds are made of."""
CENSUS_CLIENTS: Final = 200
CENSUS_ROUNDS: Final = 3
DATA: Final = "DRIFTSENTRY_DATA"
MIX_OF: Final = {mix.name: mix for mix in MIXES}


@dataclass(frozen=True, slots=True)
class Quiet:
    """What was said of benign events."""

    data: str
    mix: str
    n_events: int
    n_of: dict[str, int]
    """Suspicions by detector; none: not in it."""
    n_peer_events: int
    n_of_peers: dict[str, int]

    @property
    def is_calibrated(self) -> bool:
        """Whether the lane had thresholds of reviewed rows."""
        return "not calibrated" not in self.mix

    @property
    def n_findings(self) -> int:
        """Of the lane."""
        return sum(self.n_of.values())


def quiet(path: Path | None, name: str, mix_name: str, n: int, round_: int = 0) -> Quiet:
    """Run one mix of one data set."""
    mix = MIX_OF[mix_name]
    own = ready(path, name, with_sensors=mix.has_kind)
    traffic = mix.make(own.known, n, generator("mix", name, mix_name, round_))
    judges = None
    if round_ == 0 and not mix.is_provisional:
        # By the kind of client where it is known, as the lane.
        timed = own.known.timed if mix.has_kind else None
        judges = own.baselines if timed is None else Baselines(timed[0])
    calibration = None if mix.is_provisional else own.calibration
    return judged(name, mix, calibration, judges, traffic)


def judged(
    name: str,
    mix: Mix,
    calibration: ModelCalibration | None,
    judges: Baselines | None,
    traffic: Traffic,
) -> Quiet:
    """What the lane, and for its first events each baseline, says of benign traffic."""
    sensors = np.unique(traffic.source).tolist() if mix.has_kind else []
    alarms = Lane(calibration, config_for(sensors)).run(traffic)
    n_of = dict(Counter(alarm.detector for alarm in alarms))
    first = traffic.take(slice(0, N_PEERS if judges is not None else 0))
    n_of_peers: dict[str, int] = {}
    if judges is not None:
        # A client's usual share is known.
        judges.usual(len(np.unique(traffic.source[: len(traffic) // 4])))
        scaled = judges.scaler(first)
        n_of_peers = {one.name: len(one.alarms(scaled)) for one in judges.each}
    return Quiet(name, mix.name, len(traffic), n_of, len(first), n_of_peers)


def has_census() -> bool:
    """Whether `DRIFTSENTRY_DATA` has the file."""
    return DATA in os.environ and (Path(os.environ[DATA]) / FILE).is_file()


def census(order: str, *, is_provisional: bool) -> Quiet:
    """The census as the traffic of 200 clients: its rows before the first change, or all in order.

    Shuffled: three times in other orders, each with a fresh lane.
    """
    columns = read(Path(os.environ[DATA]) / FILE)
    x = np.column_stack([columns[f"feature:{name}"] for name in FEATURES]).astype(np.float64)
    predicted = columns["class:1"].astype(np.int64)
    n = len(x)
    rows = Traffic(x, columns["score"], predicted, np.zeros(n, np.int64), np.zeros(n, np.bool_))
    calibration = in_turn(rows.take(slice(0, N_CENSUS)))
    later = rows.take(slice(N_CENSUS, FIRST_CHANGE if order == "shuffled" else None))
    fitted = None if is_provisional else calibrate({"": calibration})[0]
    judges = None if is_provisional else Baselines(calibration)
    parts = []
    for number in range(CENSUS_ROUNDS if order == "shuffled" else 1):
        rng = generator("census", order, number)
        own = later.take(rng.permutation(len(later))) if order == "shuffled" else later
        own = spread(own, CENSUS_CLIENTS)
        mix = Mix(order, MIXES[0].make, is_provisional=is_provisional)
        parts.append(judged("census", mix, fitted, None if number else judges, own))
    n_of: Counter[str] = Counter()
    for part in parts:
        n_of.update(part.n_of)
    label = f"{order}, not calibrated" if is_provisional else order
    return Quiet(
        "census",
        label,
        sum(part.n_events for part in parts),
        dict(n_of),
        parts[0].n_peer_events,
        parts[0].n_of_peers,
    )
