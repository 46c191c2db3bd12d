"""The DDM bank: the error rate of every lane against the lowest one that it has had."""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.base import BankState, DetectorBank
from detectors.drift.errors import WARNING, ErrorBank, require_share
from detectors.drift.lane_table import Column, require_all
from detectors.kernels.ddm import ddm_update
from schemas.batch import Batch
from schemas.error_config import DdmConfig

NAME: Final = "ddm"
_COLUMNS: Final = (
    WARNING,
    Column("rate", np.float64, 0.0),
    Column("least_rate", np.float64, 0.0),
    Column("least_deviation", np.float64, 0.0),
)


class DdmBank(ErrorBank):
    """Fires where river's `DDM` fires; a lane that fired begins anew.

    `least_*` are the error rate and its deviation where they were least together. Of a firing,
    `statistic` is their sum now and `threshold` what it may be. Source: Gama, Medas, Castillo and
    Rodrigues, SBIA 2004.
    """

    def __init__(self, config: DdmConfig, n_lanes: int, state: BankState | None) -> None:
        self._config = config
        super().__init__(NAME, _COLUMNS, config.enabled, n_lanes, state)

    def _check(self) -> None:
        lanes = self._lanes
        for name in ("rate", "least_rate", "least_deviation"):
            require_share(lanes[name], name)
        require_all((lanes["n"] > 0) | (lanes["rate"] == 0.0), "rate is of no observation")

    def _go_on(self, batch: Batch) -> int:
        config, lanes = self._config, self._lanes
        return ddm_update(
            *self._walk(batch),
            lanes["enabled"],
            lanes["n"],
            lanes["warning"],
            lanes["rate"],
            lanes["least_rate"],
            lanes["least_deviation"],
            config.warm_start,
            config.warning_threshold,
            config.drift_threshold,
            lanes.n_lanes,
            *self._firings(),
        )


def build(config: DdmConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return DdmBank(config, n_lanes, state)
