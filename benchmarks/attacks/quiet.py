"""Benign traffic alone: how often it is called an attack, by the lane and by the baselines."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.attacks.baselines import baselines
from benchmarks.attacks.lane import SENSORS, Lane, calibrate, config_for
from benchmarks.attacks.made import made
from benchmarks.attacks.mixes import MIXES, Mix
from benchmarks.attacks.recordings import DataSet, data_set, in_turn
from benchmarks.attacks.traffic import Traffic, generator
from benchmarks.census import FILE, FIRST_CHANGE, read
from schemas.batch import I64
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
    def n_findings(self) -> int:
        """Of the lane."""
        return sum(self.n_of.values())


def quiet(path: Path | None, name: str, mix_name: str, n: int, round_: int = 0) -> Quiet:
    """Run one mix of one data set."""
    known = made() if path is None else data_set(path, name)
    mix = MIX_OF[mix_name]
    traffic = mix.make(known, n, generator("mix", name, mix_name, round_))
    return judged(known, mix, traffic, peers=round_ == 0)


def judged(known: DataSet, mix: Mix, traffic: Traffic, *, peers: bool) -> Quiet:
    """What the lane, and for its first events each baseline, says of benign traffic."""
    kinds = {"": known.calibration}
    if mix.has_kind and known.timed is not None:
        kinds[SENSORS] = known.timed[0]
    sensors = np.unique(traffic.source).tolist() if mix.has_kind else []
    calibration = None if mix.is_provisional else calibrate(kinds)[0]
    alarms = Lane(calibration, config_for(sensors)).run(traffic)
    n_of = dict(Counter(alarm.detector for alarm in alarms))
    n_of_peers: dict[str, int] = {}
    first = traffic.take(slice(0, N_PEERS if peers and not mix.is_provisional else 0))
    if len(first):
        # A client's usual share is known.
        clients = len(np.unique(traffic.source[: len(traffic) // 4]))
        usual: I64 = np.arange(4_000, dtype=np.int64) % clients
        own = known.timed[0] if mix.has_kind and known.timed is not None else known.calibration
        scaler, judges = baselines(own, usual)
        n_of_peers = {one.name: len(one.alarms(scaler(first))) for one in judges}
    return Quiet(known.name, mix.name, len(traffic), n_of, len(first), n_of_peers)


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
    known = DataSet("census", calibration, later, {})
    parts = []
    for number in range(CENSUS_ROUNDS if order == "shuffled" else 1):
        rng = generator("census", order, number)
        own = later.take(rng.permutation(len(later))) if order == "shuffled" else later
        own = own.sent_by(rng.integers(0, CENSUS_CLIENTS, len(own)))
        mix = Mix(order, MIXES[0].make, is_provisional=is_provisional)
        parts.append(judged(known, mix, own, peers=number == 0))
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
