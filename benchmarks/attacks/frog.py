"""Frog-boiling: a source pulls the baseline away slowly; and a drift of all, which is honest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.attacks.calibrated import ready
from benchmarks.attacks.cost import only
from benchmarks.attacks.lane import Alarm, Lane, config_for
from benchmarks.attacks.traffic import ATTACKER, Traffic, generator
from detectors.security.baseline_guard import BaselineGuardBank
from schemas.batch import F64, Bool
from schemas.config import DetectionConfig

DETECTOR: Final = "baseline_guard"
SHARES: Final = (0.05, 0.2)
N_CLIENTS: Final = 20
N_BEFORE: Final = 0.25
"""Of the events, before it begins."""
FARTHEST: Final = 3.0
"""Robust standard deviations that the source has moved by at the end."""
HONEST: Final = 1.0
"""By which all move where it is honest."""


@dataclass(frozen=True, slots=True)
class Boiled:
    """One case; r runs."""

    case: str
    n_events: int
    events_to: list[float]
    """(r,) from the beginning of the move to the first alarm that names the source."""
    moved_by: list[float]
    """(r,) how far the source had moved by then, in robust standard deviations."""
    n_accused: int
    """Honest sources that were named, over all runs."""
    shift: list[float]
    """(r,) by how much the guard's candidate moved with it at the end."""
    shift_of_mean: list[float]
    """(r,) the same of a mean over all events, as a baseline that learns from everybody has it."""


def boiled(path: Path | None, name: str, share: float, n: int, n_runs: int) -> Boiled:
    """A source with this share of the events; 0: none, and all move by one deviation."""
    own = ready(path, name, with_sensors=False)
    known, calibration, scaler = own.known, own.calibration, own.baselines.scaler
    feature = known.n_features // 3
    n_before = int(N_BEFORE * n)
    found = Boiled(_case(share), n, [], [], 0, [], [])
    n_accused = 0
    for run in range(n_runs):
        rng = generator("frog", name, share, run)
        rows = known.benign.repeated(n, rng).sent_by(rng.integers(0, N_CLIENTS, n))
        plain = _candidate_after(Lane(calibration, _config()), rows, feature)[0]
        moves = rng.random(n) < share if share else np.full(n, True)
        ramp = np.clip((np.arange(n) - n_before) / (n - n_before), 0.0, 1.0)
        ramp *= FARTHEST if share else HONEST
        traffic = _moved(rows, moves, ramp * scaler.scale[feature], feature, is_attack=share > 0)
        lane = Lane(calibration, _config())
        candidate, alarms = _candidate_after(lane, traffic, feature)
        accused = {one for alarm in alarms for one in alarm.sources}
        n_accused += len(accused - {ATTACKER})
        found.shift.append(abs(candidate - plain))
        tail = slice(n - n // 10, n)
        mean = (traffic.x[tail, feature] - rows.x[tail, feature]).mean() / scaler.scale[feature]
        found.shift_of_mean.append(float(mean))
        right = [a for a in alarms if ATTACKER in a.sources and a.row >= n_before]
        found.events_to.append(float(right[0].row - n_before) if right else math.inf)
        found.moved_by.append(float(ramp[right[0].row]) if right else math.inf)
    return replace(found, n_accused=n_accused)


def _case(share: float) -> str:
    return f"one source of {share:.0%} of the events" if share else "honest drift of all"


def _config() -> DetectionConfig:
    return config_for(detectors=only(DETECTOR))


def _candidate_after(lane: Lane, traffic: Traffic, feature: int) -> tuple[float, list[Alarm]]:
    """Where the guard's candidate of this feature is at the end, and what was said."""
    alarms = [alarm for alarm in lane.run(traffic) if alarm.detector == DETECTOR]
    guard = lane.fold.banks[DETECTOR]
    assert isinstance(guard, BaselineGuardBank)
    baseline = guard.baseline(0)
    return (math.nan if baseline is None else float(baseline.candidate[feature])), alarms


def _moved(rows: Traffic, moves: Bool, by: F64, feature: int, *, is_attack: bool) -> Traffic:
    """These rows with one feature moved; the answers stay, as the source would have it."""
    x = rows.x.copy()
    x[moves, feature] += by[moves]
    source = np.where(moves, ATTACKER, rows.source) if is_attack else rows.source
    return replace(rows, x=x, source=source, is_attack=moves & is_attack)
