"""The HDDM-A bank: the error rate of every lane against that up to the best cut, by Hoeffding."""

from __future__ import annotations

from math import log
from typing import Final

import numpy as np

from detectors.base import BankState, DetectorBank
from detectors.drift.errors import WARNING, ErrorBank, require_cuts, require_share
from detectors.drift.lane_table import Column, require_all
from detectors.kernels.hddm_a import hddm_a_update
from schemas.batch import Batch
from schemas.error_config import HddmAConfig

NAME: Final = "hddm_a"


class HddmABank(ErrorBank):
    """Fires where river's `HDDMA` fires; a lane that fired begins anew.

    A side looks for a rise of the error rate, a second one, where the test is two-sided, for a
    fall. Its cut, after `cut_n` observations, is where the bound on the rate was lowest (highest),
    and `cut_rate` what it was there. Of a firing, `statistic` is
    how far the rate of all lies beyond that up to the cut, and `threshold` what Hoeffding's
    inequality allows. Source: Frias-Blanco et al., IEEE TKDE 2014.
    """

    def __init__(self, config: HddmAConfig, n_lanes: int, state: BankState | None) -> None:
        self._n_sides = n_sides = 2 if config.two_sided_test else 1
        self._logs = (
            log(1.0 / config.drift_confidence),
            log(2.0 / config.drift_confidence),
            log(2.0 / config.warning_confidence),
        )
        own = (
            WARNING,
            Column("rate", np.float64, 0.0),
            Column("cut_n", np.int64, 0, (n_sides,)),
            Column("cut_rate", np.float64, 0.0, (n_sides,)),
        )
        super().__init__(NAME, own, config.enabled, n_lanes, state)

    def _check(self) -> None:
        lanes = self._lanes
        for name in ("rate", "cut_rate"):
            require_share(lanes[name], name)
        require_all((lanes["n"] > 0) | (lanes["rate"] == 0.0), "rate is of no observation")
        require_cuts(lanes["cut_n"], lanes["n"])
        has_cut = lanes["cut_n"] > 0
        require_all(has_cut | (lanes["cut_rate"] == 0.0), "cut_rate is of no observation")

    def _go_on(self, batch: Batch) -> int:
        lanes = self._lanes
        log_bound, log_drift, log_warning = self._logs
        return hddm_a_update(
            *self._walk(batch),
            lanes["enabled"],
            lanes["n"],
            lanes["warning"],
            lanes["rate"],
            lanes["cut_n"].reshape(-1),
            lanes["cut_rate"].reshape(-1),
            self._n_sides,
            log_bound,
            log_drift,
            log_warning,
            lanes.n_lanes,
            *self._firings(),
        )


def build(config: HddmAConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return HddmABank(config, n_lanes, state)
