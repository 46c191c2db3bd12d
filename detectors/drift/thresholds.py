"""How far FOCuS's statistic must rise: a stated number of updates between false alarms."""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np

from detectors.kernels.focus import N_OCTAVES
from schemas.batch import F64

LOWEST: Final = 8.0
"""No threshold is lower: below it the tail approximation says nothing."""
N_FLAT: Final = 4
"""The youngest octaves share the highest of their thresholds: segments of 1 to 15 rows."""
_STEPS: Final = 20_001
_FAR: Final = 60.0
_GRAIN: Final = 1024.0
"""Thresholds are rounded up to 1/1024: another C library changes none."""


@functools.lru_cache(maxsize=1024)
def octave_thresholds(updates: float) -> tuple[float, ...]:
    """(N_OCTAVES,) thresholds of the log likelihood ratio, by octave of the shorter segment's age.

    `updates` is the mean number of updates between false alarms of one lane. Each octave that is
    reached in this time has an equal share of the alarms. The returns that a false alarm may bring
    need no share: `benchmarks.drift` counts them too, and sees fewer than stated.
    """
    n_reached = min(N_OCTAVES, int(math.log2(updates)) + 1)
    raw = [threshold(updates * n_reached, octave) for octave in range(n_reached)]
    raw += [raw[-1]] * (N_OCTAVES - n_reached)
    youngest = max(raw[:N_FLAT])
    falling = np.minimum.accumulate([youngest] * N_FLAT + raw[N_FLAT:])
    return tuple((np.ceil(np.maximum(falling, LOWEST) * _GRAIN) / _GRAIN).tolist())


def threshold(updates: float, octave: int) -> float:
    """The threshold at which the ages of one octave alone give an alarm in so many updates.

    From the tail probability of the maximum over change times (Siegmund and Venkatraman, Annals of
    Statistics 1995), split by age.
    """
    constant = math.log(updates) - 0.5 * math.log(2.0 * math.pi)
    high = max(constant, 2.0)
    for _ in range(100):
        share = _share(high, octave)
        wanted = max(constant + 0.5 * math.log(2.0 * high) + math.log(share), 2.0)
        if abs(wanted - high) < 1e-9:
            break
        high = wanted
    return high


def _share(high: float, octave: int) -> float:
    """The integral of x nu(x)^2 over the standardised sizes that belong to an octave of age."""
    low = 0.0 if octave == N_OCTAVES - 1 else math.sqrt(2.0 * high / 2.0 ** (octave + 1))
    top = _FAR if octave == 0 else math.sqrt(2.0 * high / 2.0**octave)
    x, integral = _integral()
    return float(np.interp(top, x, integral) - np.interp(low, x, integral))


@functools.cache
def _integral() -> tuple[F64, F64]:
    """Sizes x, and the integral of y nu(y)^2 up to each; made once, every budget asks for it."""
    x = np.concatenate([[0.0], np.geomspace(1e-6, _FAR, _STEPS)])
    y = x * _nu(x) ** 2
    steps = (y[1:] + y[:-1]) * np.diff(x) / 2.0
    return x, np.concatenate([[0.0], np.cumsum(steps)])


def _nu(x: F64) -> F64:
    """Siegmund's correction for the overshoot of a random walk over its boundary; 1 at 0."""
    half = np.maximum(x, 1e-9) / 2.0
    area = np.array([0.5 * math.erf(each / math.sqrt(2.0)) for each in half.tolist()])
    density = np.exp(-half * half / 2.0) / math.sqrt(2.0 * math.pi)
    correction: F64 = area / half / (half * (area + 0.5) + density)
    return correction
