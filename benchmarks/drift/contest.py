"""Detectors on many lanes at once: banks of ours, which for three of them are river's.

ADWIN, Page-Hinkley and KSWIN fire at exactly the rows where river's fire on the same inputs
(`tests/detectors -k river`), at a tenth to a thousandth of the cost.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from pydantic import BaseModel

from detectors.base import DetectorBank
from detectors.drift.ranks import LaneReference, Ranks, fit_in_time
from detectors.drift.rhythm import DAY, Wanted
from detectors.kernels.rhythm import HOUR_MS
from detectors.registry import REGISTRY
from schemas.batch import F64, I64, Batch
from schemas.config import (
    AdwinConfig,
    FocusConfig,
    KswinConfig,
    PageHinkleyConfig,
    TrendConfig,
    WindowsConfig,
)
from schemas.findings import Aspect, Firing
from schemas.records import TopicPartition


class Entrant(NamedTuple):
    """A detector as it takes part."""

    name: str
    """As tables show it."""
    detector: str
    config: BaseModel


FOCUS: Final = Entrant("focus", "focus", FocusConfig(enabled=True))
DEFAULTS: Final = (
    Entrant("ADWIN", "adwin", AdwinConfig(enabled=True)),
    Entrant(
        "Page-Hinkley",
        "page_hinkley",
        PageHinkleyConfig(enabled=True, delta=0.005, threshold=50.0, alpha=0.9999),
    ),
    Entrant("KSWIN", "kswin", KswinConfig(enabled=True, seed=1)),
)
"""river's, with river's parameters; KSWIN must be seeded."""
OURS: Final = Entrant("Page-Hinkley, ours", "page_hinkley", PageHinkleyConfig(enabled=True))
"""With the parameters that it has here where it is switched on."""
WINDOWS: Final = Entrant("windows", "windows", WindowsConfig(enabled=True))
TREND: Final = Entrant("trend", "trend", TrendConfig(enabled=True))
ENTRANTS: Final = {one.detector: one for one in (*DEFAULTS, OURS, FOCUS, WINDOWS, TREND)}
"""By the detector's name, at the defaults that it has here; KSWIN has none without a seed."""


def name_of(who: str | Entrant) -> str:
    """As tables show it."""
    return who if isinstance(who, str) else who.name


RAW: Final = ("adwin",)
"""What is fed as it is: river's user would feed it so, and its default knows shares from 0 to 1."""


DAY_MS: Final = DAY * HOUR_MS


class Contestant:
    """One detector on every lane; all but ADWIN are given values in reference sd.

    With `rows_a_day` rows have times, and ours is given them without their rhythm, as in the fold.
    With `is_raw` any detector is given values as they are.
    """

    def __init__(
        self,
        who: str | Entrant,
        references: F64,
        arl0: float,
        rows_a_day: int = 0,
        *,
        is_raw: bool = False,
    ) -> None:
        _, name, config = ENTRANTS[who] if isinstance(who, str) else who
        self.n_lanes = len(references)
        self._mean = references.mean(axis=1, keepdims=True)
        sd = references.std(axis=1, keepdims=True)
        p = 0.5 / (references.shape[1] + 1)
        self._sd = np.where(sd > 0.0, sd, np.sqrt(p * (1 - p)))
        self.bank: DetectorBank = REGISTRY[name].build(config, self.n_lanes, None)
        lanes = np.arange(self.n_lanes, dtype=np.int32)
        if is_raw or name in RAW:
            self._mean, self._sd = np.zeros_like(self._mean), np.ones_like(self._sd)
        z = (references - self._mean) / self._sd
        self._rows_a_day = rows_a_day
        self._row = -references.shape[1]
        times = self._times(references.shape[1])
        wanted: Wanted = None if rows_a_day and REGISTRY[name].has_budget else "none"
        ranks = [fit_in_time(each, times, wanted) for each in z]
        self._rhythms = [each.rhythm if isinstance(each, Ranks) else None for each in ranks]
        self.bank.learn(lanes, [LaneReference(each, arl0) for each in ranks])
        self._row = 0

    def _times(self, n_rows: int) -> I64:
        """Event times of the next rows; the stream begins with the day at row 0."""
        row = np.arange(self._row, self._row + n_rows, dtype=np.int64)
        return row * DAY_MS // max(self._rows_a_day, 1)

    def feed(self, values: F64) -> list[Firing]:
        """The alarms in these (lanes, rows), by lane and row; what else is said is left out."""
        z = (values - self._mean) / self._sd
        times = self._times(values.shape[1])
        for lane, rhythm in enumerate(self._rhythms):
            if rhythm is not None:
                z[lane] = rhythm.without(np.ascontiguousarray(z[lane]), times)
        fired = self.bank.update(_batch(z, self._row))
        self._row += values.shape[1]
        return [firing for firing in fired if firing.aspect != Aspect.SETTLED]


def _batch(z: F64, first_row: int) -> Batch:
    n_lanes, n = z.shape
    return Batch(
        tp=TopicPartition("drift", 0),
        offset=np.arange(first_row, first_row + n),
        event_row=np.zeros(n, np.int32),
        event_time_ms=np.zeros(n, np.int64),
        model=np.zeros(n, np.int32),
        model_event=np.arange(first_row, first_row + n),
        row_index=np.arange(n, dtype=np.int32),
        block_row_ptr=np.array([0, n]),
        block_lane_ptr=np.array([0, n_lanes]),
        block_value_ptr=np.array([0, n * n_lanes]),
        lane=np.arange(n_lanes, dtype=np.int32),
        value=np.ascontiguousarray(z).reshape(-1),
    )
