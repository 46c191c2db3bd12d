"""The ADWIN bank: an adaptive window on every lane."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Z_LIMIT, BankState, DetectorBank
from detectors.drift.buckets import NAMES, Buckets
from detectors.drift.firings import FiringBuffer
from detectors.drift.lane_bank import LaneBank, walk
from detectors.drift.lane_table import (
    MAX_N,
    Column,
    require_all,
)
from detectors.kernels.adwin import adwin_update
from detectors.kernels.compile import LEVELS
from schemas.batch import I32, Batch
from schemas.config import AdwinConfig
from schemas.findings import Firing

NAME: Final = "adwin"


class AdwinBank(LaneBank):
    """Fires where river's `ADWIN` fires; a lane that fired begins anew.

    Of a firing, `statistic` and `threshold` are the difference of means and epsilon of the first
    cut that was found; `before` is the mean of what was dropped, `after` of what was kept, and
    `change_offset` belongs to the first observation kept, all at the granularity of buckets.
    Memory of a lane: 25 bytes a bucket, max_buckets * log2(n / max_buckets) buckets. Source:
    Bifet and Gavalda 2007.
    """

    def __init__(self, config: AdwinConfig, n_lanes: int, state: BankState | None) -> None:
        self._config = config
        self._fired = FiringBuffer()
        columns = (
            Column("enabled", np.bool_, config.enabled),
            Column("n", np.int64, 0),
            Column("total", np.float64, 0.0),
            Column("variance", np.float64, 0.0),
            Column("only", np.float64, np.nan),
        )
        super().__init__(columns, n_lanes, state, NAMES)
        if state is None:
            self._buckets = Buckets(n_lanes, config.max_buckets)
            return
        n = self._lanes["n"]
        require_all((n >= 0) & (n <= MAX_N), "a count is out of range")
        total, variance, only = (self._lanes[name] for name in ("total", "variance", "only"))
        require_all(np.isfinite(total) & ((n > 0) | (total == 0)), "a total is out of range")
        require_all(np.isfinite(variance) & (variance >= 0), "a variance is out of range")
        require_all(np.isnan(only) | (np.isfinite(only) & (n > 0)), "an only value is wrong")
        self._buckets = Buckets.unpack(state, n, config.max_buckets)

    def update(self, batch: Batch) -> list[Firing]:
        """Fold a batch; the firings in no particular order. Raises IndexError: unknown lane."""
        config, lanes, buckets, fired = self._config, self._lanes, self._buckets, self._fired

        def go_on() -> int:
            while True:
                status = adwin_update(
                    *walk(batch),
                    lanes["enabled"],
                    lanes["n"],
                    lanes["total"],
                    lanes["variance"],
                    lanes["only"],
                    buckets.counts.reshape(-1),
                    buckets.heads.reshape(-1),
                    buckets.total.reshape(-1),
                    buckets.deviation.reshape(-1),
                    buckets.offset.reshape(-1),
                    buckets.n_levels,
                    config.max_buckets,
                    config.clock,
                    config.delta,
                    config.min_window_length,
                    config.grace_period,
                    lanes.n_lanes,
                    Z_LIMIT,
                    fired.cursor,
                    fired.row,
                    fired.lane,
                    fired.numbers,
                    fired.change_offset,
                )
                if status != LEVELS:
                    return status
                buckets.grow(lanes.n_lanes, int(fired.cursor[4]))

        return [f for some in self._advance(NAME, batch, fired, go_on) for f in some]

    def resize(self, n_lanes: int) -> None:
        """Make room for lanes 0..n_lanes-1."""
        super().resize(n_lanes)
        self._buckets.grow(n_lanes, 0)

    def reset(self, lanes: I32) -> None:
        """Put these lanes, and their switch, back into the initial state."""
        super().reset(lanes)
        self._buckets.reset(lanes)

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """By lane enabled, n, total, variance, only and counts (lanes, levels); buckets packed."""
        return super().snapshot() | self._buckets.pack(self._lanes.n_lanes)


def build(config: AdwinConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return AdwinBank(config, n_lanes, state)
