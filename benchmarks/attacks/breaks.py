"""Honest traffic whose data breaks on the way to the model: whoever is accused of it is innocent.

A feature comes in another unit, as one value for all, or not at all; or half of the features do not
come, as where a table could not be joined. It happens to all clients at once, or to every second
one, as with a new version of an app. The prediction is the model's answer to what it was given
(`answered`), or the one to the row as it had been (`recorded`), as where the copy of the row that
is logged breaks and not the one that is predicted from.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from benchmarks.attacks.calibrated import ready
from benchmarks.attacks.lane import Lane, calibrate, config_for
from benchmarks.attacks.quiet import CENSUS_CLIENTS, DATA, N_CENSUS
from benchmarks.attacks.recordings import in_turn
from benchmarks.attacks.surrogate import Surrogate
from benchmarks.attacks.traffic import Traffic, generator, spread
from benchmarks.census import FILE, FIRST_CHANGE, read
from detectors.security.base import Technique
from detectors.security.calibration import ModelCalibration
from schemas.batch import F64
from schemas.security_config import DataBreaksConfig, SecurityDetectorsConfig
from streams.census import FEATURES

FACTOR: Final = 12.0
"""Of another unit: months where there were years."""
FILL: Final = -999.0
"""What is often written for a value that is not there."""
GOOD_SHARE: Final = 0.3
"""Of the events come before the break: the sources are known by then."""
N_CLIENTS: Final = 20
CENSUS: Final = "census"
SAMPLED: Final = "census, few rows"
"""Drawn again and again from rows that are few: so near rows come from many clients."""
N_SAMPLED: Final = 3_500
MAX_FEATURES: Final = 6
"""So many lanes for each break, each with another feature broken; half as many where answers are
sought for."""

NOTHING_HELD: Final = SecurityDetectorsConfig(data_breaks=DataBreaksConfig(enabled=False))

Values = Callable[[F64, int], F64]
"""What becomes of (n, d) rows whose feature of this number breaks."""


class Break(NamedTuple):
    """One way in which data breaks."""

    name: str
    broken: Values
    n_th_client: int = 1
    """Every so many-th client is affected."""


def _with(x: F64, feature: int, value: float | F64) -> F64:
    broken = x.copy()
    broken[:, feature] = value
    return broken


def _unit(x: F64, feature: int) -> F64:
    return _with(x, feature, FACTOR * x[:, feature])


def _stuck(x: F64, feature: int) -> F64:
    return _with(x, feature, x[0, feature])


def _filled(x: F64, feature: int) -> F64:
    return _with(x, feature, FILL)


def _missing(x: F64, feature: int) -> F64:
    return _with(x, feature, np.nan)


def _not_joined(x: F64, feature: int) -> F64:
    broken = x.copy()
    d = x.shape[1]
    broken[:, (feature + np.arange(d // 2)) % d] = np.nan
    return broken


BREAKS: Final = (
    Break("another unit", _unit),
    Break("stuck", _stuck),
    Break("filled with a constant", _filled),
    Break("missing", _missing),
    Break("half of the features missing", _not_joined),
    Break("another unit, every second client", _unit, 2),
    Break("half missing, every second client", _not_joined, 2),
)


@dataclass(frozen=True, slots=True)
class Broken:
    """What the lane said of one break, over all the features that broke in turn."""

    data: str
    break_name: str
    is_answered: bool
    n_events: int
    n_of: dict[str, int]
    """Accusations by detector; none: not in it. A change of the data is none."""
    n_of_without: dict[str, int]
    """The same where nothing is held back."""
    n_accused: int
    """Clients that were named, summed over the lanes."""
    n_accused_without: int
    """The same where nothing is held back."""
    n_clients: int
    """Of all lanes."""
    n_told: int
    """Lanes in which it was told that the data has changed."""
    n_lanes: int


def broken(
    path: Path | None, data: str, name: str, n: int, *, is_answered: bool, n_features: int
) -> Broken:
    """Run a break of one data set, in a fresh lane for each of so many features."""
    own = next(one for one in BREAKS if one.name == name)
    clean, calibration, surrogate = _known(path, data)
    n_of: list[Counter[str]] = [Counter(), Counter()]
    n_accused = [0, 0]
    n_events = n_clients = n_told = 0
    configs = (config_for(), config_for(detectors=NOTHING_HELD))
    d = clean.x.shape[1]
    for number in range(min(n_features, d)):
        rng = generator("break", data, name, number)
        if data == SAMPLED:
            rows = clean.take(rng.integers(0, len(clean), n))
        else:
            rows = clean.repeated(n, rng)
        rows = spread(rows, CENSUS_CLIENTS if data == CENSUS else N_CLIENTS)
        answers = surrogate if is_answered else None
        traffic = breaking(rows, own, number * d // min(n_features, d), answers)
        for k, config in enumerate(configs):
            said = Lane(calibration, config).run(traffic)
            accusing = [one for one in said if one.accuses]
            n_of[k].update(one.detector for one in accusing)
            n_accused[k] += len({client for one in accusing for client in one.sources})
            n_told += any(one.technique == Technique.DATA_CHANGE for one in said)
        n_events += len(traffic)
        n_clients += len(np.unique(traffic.source))
    return Broken(
        data,
        name,
        is_answered,
        n_events,
        dict(n_of[0]),
        dict(n_of[1]),
        n_accused[0],
        n_accused[1],
        n_clients,
        n_told,
        min(n_features, d),
    )


def breaking(rows: Traffic, own: Break, feature: int, answers: Surrogate | None) -> Traffic:
    """These rows, of which from some time on this feature is broken."""
    is_broken = np.arange(len(rows)) >= GOOD_SHARE * len(rows)
    is_broken &= rows.source % own.n_th_client == 0
    at = np.flatnonzero(is_broken)
    x, score, predicted = rows.x.copy(), rows.score.copy(), rows.predicted.copy()
    x[at] = own.broken(rows.x[at], feature)
    if answers is not None:
        # A model is given something for what is missing: what is usual.
        usual = np.median(rows.x, axis=0)
        score[at], predicted[at] = answers.answer(np.where(np.isnan(x[at]), usual, x[at]))
    return replace(rows, x=x, score=score, predicted=predicted)


@lru_cache(maxsize=4)
def _known(path: Path | None, data: str) -> tuple[Traffic, ModelCalibration, Surrogate | None]:
    """Benign rows, what the lane is calibrated to, and who answers; None: nobody can."""
    if data in (CENSUS, SAMPLED):
        columns = read(Path(os.environ[DATA]) / FILE)
        x = np.column_stack([columns[f"feature:{name}"] for name in FEATURES]).astype(np.float64)
        n = len(x)
        predicted = columns["class:1"].astype(np.int64)
        rows = Traffic(x, columns["score"], predicted, np.zeros(n, np.int64), np.zeros(n, np.bool_))
        calibration, _ = calibrate({"": in_turn(rows.take(slice(0, N_CENSUS)))})
        few = slice(N_CENSUS, N_CENSUS + N_SAMPLED)
        later = rows.take(few if data == SAMPLED else slice(N_CENSUS, FIRST_CHANGE))
        return later, calibration, None
    own = ready(path, data, with_sensors=False)
    is_binary = set(np.unique(own.known.benign.predicted).tolist()) <= {0, 1}
    return own.known.benign, own.calibration, Surrogate(own.known) if is_binary else None
