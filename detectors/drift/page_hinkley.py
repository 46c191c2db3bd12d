"""The Page-Hinkley bank: a two-sided test on the mean of every lane."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.base import Z_LIMIT, BankState, DetectorBank
from detectors.drift.firings import FiringBuffer
from detectors.drift.lane_bank import LaneBank, walk
from detectors.drift.lane_table import (
    MAX_N,
    Column,
    require_all,
)
from detectors.kernels.page_hinkley import page_hinkley_update
from schemas.batch import Batch
from schemas.config import PageHinkleyConfig
from schemas.findings import Firing

NAME: Final = "page_hinkley"

_TESTED: Final = (
    Column("n", np.int64, 0),
    Column("mean", np.float64, 0.0),
    Column("total", np.float64, 0.0),
    Column("sum_increase", np.float64, 0.0),
    Column("sum_decrease", np.float64, 0.0),
    Column("min_increase", np.float64, np.inf),
    Column("max_decrease", np.float64, -1.0),
    Column("up_n", np.int64, 0),
    Column("up_total", np.float64, 0.0),
    Column("up_offset", np.int64, -1),
    Column("down_n", np.int64, 0),
    Column("down_total", np.float64, 0.0),
    Column("down_offset", np.int64, -1),
)
"""What the kernel advances."""


class PageHinkleyBank(LaneBank):
    """Fires where river's `PageHinkley(mode="both")` fires; a lane that fired begins anew.

    A firing's change is dated at the extremum of the cumulative sum on the side that fired (the
    higher statistic where both do): `before` is the mean of the observations up to there, `after`
    of those since, `change_offset` belongs to the first of those since. Source: Page 1954.
    """

    def __init__(self, config: PageHinkleyConfig, n_lanes: int, state: BankState | None) -> None:
        self._config = config
        self._fired = FiringBuffer()
        columns = (Column("enabled", np.bool_, config.enabled), *_TESTED)
        super().__init__(columns, n_lanes, state)
        if state is not None:
            self._check()

    def _check(self) -> None:
        lanes = self._lanes
        n = lanes["n"]
        require_all((n >= 0) & (n <= MAX_N), "a count is out of range")
        for name in ("mean", "total", "sum_increase", "sum_decrease", "max_decrease"):
            require_all(np.isfinite(lanes[name]), f"{name} is not finite")
        lowest = lanes["min_increase"]
        require_all(np.where(n > 0, np.isfinite(lowest), np.isposinf(lowest)), "min_increase")
        for side in ("up", "down"):
            before = lanes[f"{side}_n"]
            require_all((before >= 0) & (before <= n), f"{side}_n is out of range")
            require_all(np.isfinite(lanes[f"{side}_total"]), f"{side}_total is not finite")
            require_all(lanes[f"{side}_offset"] >= -1, f"{side}_offset is out of range")

    def update(self, batch: Batch) -> list[Firing]:
        """Fold a batch; the firings in no particular order. Raises IndexError: unknown lane."""
        config, lanes, fired = self._config, self._lanes, self._fired

        def go_on() -> int:
            return page_hinkley_update(
                *walk(batch),
                lanes["enabled"],
                lanes["n"],
                lanes["mean"],
                lanes["total"],
                lanes["sum_increase"],
                lanes["sum_decrease"],
                lanes["min_increase"],
                lanes["max_decrease"],
                lanes["up_n"],
                lanes["up_total"],
                lanes["up_offset"],
                lanes["down_n"],
                lanes["down_total"],
                lanes["down_offset"],
                config.min_instances,
                config.delta,
                config.threshold,
                config.alpha,
                Z_LIMIT,
                lanes.n_lanes,
                fired.cursor,
                fired.row,
                fired.lane,
                fired.numbers,
                fired.change_offset,
            )

        return [f for some in self._advance(NAME, batch, fired, go_on) for f in some]


def build(config: PageHinkleyConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return PageHinkleyBank(config, n_lanes, state)
