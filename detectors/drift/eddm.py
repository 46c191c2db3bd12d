"""The EDDM bank: the distances between errors of every lane against the longest there were."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.base import BankState, DetectorBank
from detectors.drift.errors import WARNING, ErrorBank
from detectors.drift.lane_table import MAX_N, Column, require_all
from detectors.kernels.eddm import eddm_update
from schemas.batch import Batch
from schemas.error_config import EddmConfig

NAME: Final = "eddm"
_COLUMNS: Final = (
    WARNING,
    Column("n_errors", np.int64, 0),
    Column("last_error", np.int64, 0),
    Column("distance", np.float64, 0.0),
    Column("squares", np.float64, 0.0),
    Column("longest", np.float64, 0.0),
)
MAX_SQUARES: Final = 2.0 * float(MAX_N) ** 2
"""Distances add up to the observations at most: their squares to no more than the square of it."""


class EddmBank(ErrorBank):
    """Fires where river's `EDDM` fires; a lane that fired begins anew.

    `distance` is the mean distance between errors and `squares` the sum of squared deviations from
    it; `longest` is the most that the mean and two deviations were. Of a firing, `statistic` is
    what they are now as a part of it, and lies below `threshold`, which is `beta`.
    Source: Baena-Garcia et al. 2006.
    """

    def __init__(self, config: EddmConfig, n_lanes: int, state: BankState | None) -> None:
        self._config = config
        super().__init__(NAME, _COLUMNS, config.enabled, n_lanes, state)

    def _check(self) -> None:
        lanes = self._lanes
        n, n_errors, last = lanes["n"], lanes["n_errors"], lanes["last_error"]
        require_all(n_errors == lanes["ones"], "n_errors is not what was observed")
        require_all((last >= n_errors) & (last <= n), "last_error is out of range")
        require_all((last > 0) == (n_errors > 0), "last_error is of no error, or missing")
        distance, squares, longest = lanes["distance"], lanes["squares"], lanes["longest"]
        require_all((distance >= 0.0) & (distance <= MAX_N), "distance is out of range")
        require_all((distance == 0.0) | (n_errors > 0), "distance is of no error")
        require_all((squares >= 0.0) & (squares <= MAX_SQUARES), "squares is out of range")
        require_all((longest >= 0.0) & np.isfinite(longest), "longest is out of range")
        require_all((longest == 0.0) | (n_errors > 0), "longest is of no error")

    def _go_on(self, batch: Batch) -> int:
        config, lanes = self._config, self._lanes
        return eddm_update(
            *self._walk(batch),
            lanes["enabled"],
            lanes["n"],
            lanes["warning"],
            lanes["n_errors"],
            lanes["last_error"],
            lanes["distance"],
            lanes["squares"],
            lanes["longest"],
            config.warm_start,
            config.alpha,
            config.beta,
            lanes.n_lanes,
            *self._firings(),
        )


def build(config: EddmConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return EddmBank(config, n_lanes, state)
