"""The moments bank: running mean and variance of every lane, and its last value. Never fires."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Z_LIMIT, BankState, DetectorBank
from detectors.drift.lane_bank import LaneBank
from detectors.drift.lane_table import (
    MAX_N,
    Column,
    require_all,
    require_lanes,
)
from detectors.kernels.compile import NO_LANE
from detectors.kernels.moments import moments_update
from schemas.batch import F64, I64, Batch
from schemas.config import MomentsConfig
from schemas.findings import Firing

NAME: Final = "moments"


class MomentsBank(LaneBank):
    """By lane: n, mean and m2 (sum of squared deviations) of all observations, and the last one.

    A strict left fold (Welford 1962) in time order, in z. `reset` starts a lane anew.
    """

    def __init__(self, config: MomentsConfig, n_lanes: int, state: BankState | None) -> None:
        columns = (
            Column("enabled", np.bool_, config.enabled),
            Column("n", np.int64, 0),
            Column("mean", np.float64, 0.0),
            Column("m2", np.float64, 0.0),
            Column("last", np.float64, np.nan),
        )
        super().__init__(columns, n_lanes, state)
        if state is not None:
            self._check()

    def _check(self) -> None:
        lanes = self._lanes
        n, last = lanes["n"], lanes["last"]
        require_all((n >= 0) & (n <= MAX_N), "a count is out of range")
        require_all(np.isfinite(lanes["mean"]), "a mean is not finite")
        require_all(np.isfinite(lanes["m2"]) & (lanes["m2"] >= 0), "an m2 is out of range")
        require_all(np.where(n > 0, np.isfinite(last), np.isnan(last)), "a last value is wrong")

    @property
    def n(self) -> I64:
        """(lanes,) observations, read-only; good until the next `resize`, like all views."""
        return self._lanes.view("n")

    @property
    def mean(self) -> F64:
        """(lanes,) means, in z; 0 where nothing was observed."""
        return self._lanes.view("mean")

    @property
    def m2(self) -> F64:
        """(lanes,) sums of squared deviations from the mean, in z."""
        return self._lanes.view("m2")

    @property
    def last(self) -> F64:
        """(lanes,) the last observation, in z; NaN where nothing was observed."""
        return self._lanes.view("last")

    def update(self, batch: Batch) -> list[Firing]:
        """Fold a batch; always an empty list. Raises IndexError at an unknown lane."""
        lanes = self._lanes
        status = moments_update(
            batch.block_row_ptr,
            batch.block_lane_ptr,
            batch.block_value_ptr,
            batch.lane,
            batch.value,
            lanes["enabled"],
            lanes["n"],
            lanes["mean"],
            lanes["m2"],
            lanes["last"],
            lanes.n_lanes,
            Z_LIMIT,
        )
        if status == NO_LANE:
            require_lanes(batch.lane, lanes.n_lanes)
        return []

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """The arrays enabled, n, mean, m2, last, each of shape (lanes,)."""
        return super().snapshot()


def build(config: MomentsConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return MomentsBank(config, n_lanes, state)
