"""At which parameter a detector that states no rate errs as often as `focus` states to.

The one parameter that its sensitivity hangs on is searched for: on the normal null, which is the
best that can be had for all of them, since none of them looks at the law of its stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.drift.contest import Entrant
from benchmarks.drift.nulls import N_LANES, false_alarms
from benchmarks.drift.streams import NULLS
from detectors.drift.kolmogorov_smirnov import critical_distance, probability

PARAMETER: Final = {"adwin": "delta", "page_hinkley": "threshold", "kswin": "alpha"}
_RANGE: Final = {"adwin": (1e-9, 0.5), "page_hinkley": (2_000.0, 5.0)}
"""From the least sensitive on."""
_STEPS: Final = 12
"""Halvings of the range, in its logarithm."""
_N_REFERENCE: Final = 1_000
"""As in no table: so these rows are in none."""
_ROWS_A_LANE: Final = 100_000
"""As in the nulls that follow: ADWIN errs less often as its window grows."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the search came to."""

    who: str
    """The detector as it was, at its default."""
    entrant: Entrant
    """The same at the parameter that was found."""
    parameter: str
    value: float
    n_alarms: int
    n_updates: int
    wanted: float
    """Alarms at the stated rate."""


def calibrate(who: Entrant, arl0: float, n_updates: int) -> Calibration:
    """Find the parameter, from the same rows for each value that is tried."""
    n_lanes = max(N_LANES, n_updates // _ROWS_A_LANE)
    wanted = n_updates / arl0
    parameter = PARAMETER[who.detector]
    tried: dict[float, int] = {}

    def n_alarms(value: float) -> int:
        if value not in tried:
            one = with_parameter(who, value)
            found = false_alarms(NULLS[0], one, _N_REFERENCE, arl0, n_updates, n_lanes)
            tried[value] = found.n_alarms
        return tried[value]

    search = _among_distances if who.detector == "kswin" else _between
    search(who, n_alarms, wanted)
    grows = -1 if who.detector == "page_hinkley" else 1
    # Of equals the most sensitive one: "none at all" is no rate.
    value = min(tried, key=lambda one: (abs(tried[one] - wanted), -grows * one))
    entrant = with_parameter(who, value)._replace(name=f"{who.name}, {parameter} {value:.3g}")
    return Calibration(who.name, entrant, parameter, value, tried[value], n_updates, wanted)


def with_parameter(who: Entrant, value: float) -> Entrant:
    """The same with another value of the parameter that is searched for."""
    changed: dict[str, Any] = {PARAMETER[who.detector]: value}
    return who._replace(config=type(who.config).model_validate(dict(who.config) | changed))


def _between(who: Entrant, n_alarms: Callable[[float], int], wanted: float) -> None:
    """Halve the range as long as it has another side."""
    quiet, loud = _RANGE[who.detector]
    for _ in range(_STEPS):
        # Of three digits, so that the table names the value that was run.
        middle = float(f"{(quiet * loud) ** 0.5:.3g}")
        found = n_alarms(middle)
        if found == wanted:
            return
        quiet, loud = (middle, loud) if found < wanted else (quiet, middle)


def _among_distances(who: Entrant, n_alarms: Callable[[float], int], wanted: float) -> None:
    """KSWIN knows as many levels as distances that two samples can have: `stat_size` of them."""
    size: int = dict(who.config)["stat_size"]
    quiet, loud = size, critical_distance(size, 0.5)
    while quiet - loud > 1:
        middle = (quiet + loud) // 2
        if n_alarms(_level(size, middle)) < wanted:
            quiet = middle
        else:
            loud = middle
    for distance in (quiet, loud):
        n_alarms(_level(size, distance))


def _level(size: int, distance: int) -> float:
    """A level at which this distance fires and no smaller one does."""
    return float(probability(size, distance) + probability(size, distance - 1)) / 2.0
