"""Data sets with what their benign rows come to, once in each process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from benchmarks.attacks.baselines import Baselines
from benchmarks.attacks.lane import SENSORS, calibrate
from benchmarks.attacks.made import made
from benchmarks.attacks.recordings import DataSet, data_set
from detectors.security.calibration import ModelCalibration


@lru_cache(maxsize=4)
def known_as(path: Path | None, name: str) -> DataSet:
    """A recorded data set; without a path the one that the benchmark makes."""
    return made() if path is None else data_set(path, name)


@dataclass(frozen=True, slots=True)
class Ready:
    """A data set, the lane's calibration, and the baselines'."""

    known: DataSet
    calibration: ModelCalibration
    too_few: list[str]
    """Detectors that are off, since there are too few benign rows."""
    baselines: Baselines


@lru_cache(maxsize=6)
def ready(path: Path | None, name: str, *, with_sensors: bool) -> Ready:
    """Calibrate on rows of no kind, and where wanted on those in the order of time."""
    known = known_as(path, name)
    kinds = {"": known.calibration}
    if with_sensors and known.timed is not None:
        kinds[SENSORS] = known.timed[0]
    calibration, too_few = calibrate(kinds)
    return Ready(known, calibration, too_few, baselines_of(path, name))


def switched_off(path: Path | None, name: str) -> tuple[str, int, list[str]]:
    """A data set, how many benign rows its thresholds are made of, what is off for want of rows."""
    own = ready(path, name, with_sensors=True)
    return name, len(own.known.calibration), own.too_few


@lru_cache(maxsize=4)
def baselines_of(path: Path | None, name: str) -> Baselines:
    """Those of rows of no kind."""
    return Baselines(known_as(path, name).calibration)
