"""Observed false alarms beside the stated number, where nothing changes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy import stats  # type: ignore[import-untyped]  # it ships no types

from benchmarks.drift.contest import Contestant, Entrant, name_of
from benchmarks.drift.streams import Null
from schemas.findings import Aspect

N_LANES: Final = 50
"""Streams of each null, each with a fresh reference."""
_POLL_ROWS: Final = 8_192
LEVEL: Final = 0.95


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """What one detector said of one null."""

    null: str
    detector: str
    n_reference: int
    n_updates: int
    n_alarms: int
    n_lanes_alarmed: int
    n_spread: int
    """Of the alarms, those of spread."""

    def interval(self) -> tuple[float, float]:
        """The exact 95 % interval of the mean number of alarms (Garwood 1936)."""
        tail = (1.0 - LEVEL) / 2.0
        chi2: Any = stats.chi2
        low = 0.0 if self.n_alarms == 0 else float(chi2.ppf(tail, 2 * self.n_alarms)) / 2.0
        return low, float(chi2.ppf(1.0 - tail, 2 * self.n_alarms + 2)) / 2.0


def false_alarms(
    null: Null,
    who: str | Entrant,
    n_reference: int,
    arl0: float,
    n_updates: int,
    n_lanes: int = N_LANES,
) -> FalseAlarms:
    """Run one detector over `n_updates` rows of the null, restarts and all; seeded by the name."""
    rng = np.random.default_rng([zlib.crc32(null.name.encode()), n_reference])
    source = null.make(rng, n_lanes)
    contestant = Contestant(who, source.take(n_reference), arl0, null.rows_a_day)
    left = n_updates // n_lanes
    lanes: list[int] = []
    n_spread = 0
    while left > 0:
        n = min(left, _POLL_ROWS)
        left -= n
        for firing in contestant.feed(source.take(n)):
            lanes.append(firing.lane)
            n_spread += firing.aspect == Aspect.SPREAD
    return FalseAlarms(
        null.name, name_of(who), n_reference, n_updates, len(lanes), len(set(lanes)), n_spread
    )
