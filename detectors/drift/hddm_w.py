"""The HDDM-W bank: weighted error rates before and after the best cut of every lane."""

from __future__ import annotations

from math import log
from typing import Final

import numpy as np

from detectors.base import BankState, DetectorBank
from detectors.drift.errors import WARNING, ErrorBank, require_cuts, require_share
from detectors.drift.lane_table import Column, require_all
from detectors.kernels.hddm_w import hddm_w_update
from schemas.batch import Batch
from schemas.error_config import HddmWConfig

NAME: Final = "hddm_w"


class HddmWBank(ErrorBank):
    """Fires where river's `HDDMW` fires; a lane that fired begins anew.

    A side looks for a rise of the error rate, a second one, where the test is two-sided, for a
    fall. `rate` is the exponentially weighted mean and `weight` the sum of its squared weights;
    each side has both as they were at its cut, after `cut_n` observations, and of what came since
    (`since_*`). The cut is where the bound on the rate was lowest (highest): `level`, signed by the
    side. Of a firing, `statistic` is the difference of the weighted rates and `threshold` what
    McDiarmid's inequality allows. Source: Frias-Blanco et al., IEEE TKDE
    2014.
    """

    def __init__(self, config: HddmWConfig, n_lanes: int, state: BankState | None) -> None:
        self._lambda = config.lambda_val
        self._n_sides = n_sides = 2 if config.two_sided_test else 1
        self._logs = log(1.0 / config.drift_confidence), log(1.0 / config.warning_confidence)
        sides = (n_sides,)
        own = (
            WARNING,
            Column("rate", np.float64, 0.0),
            Column("weight", np.float64, 1.0),
            Column("cut_n", np.int64, 0, sides),
            Column("level", np.float64, 0.0, sides),
            Column("cut_rate", np.float64, 0.0, sides),
            Column("cut_weight", np.float64, 1.0, sides),
            Column("since_rate", np.float64, 0.0, sides),
            Column("since_weight", np.float64, 1.0, sides),
        )
        super().__init__(NAME, own, config.enabled, n_lanes, state)

    def _check(self) -> None:
        lanes = self._lanes
        for name in ("rate", "weight", "cut_rate", "cut_weight", "since_rate", "since_weight"):
            require_share(lanes[name], name)
        require_all(np.isfinite(lanes["level"]), "level is not finite")
        require_all((lanes["n"] > 0) | (lanes["rate"] == 0.0), "rate is of no observation")
        cut_n = lanes["cut_n"]
        require_cuts(cut_n, lanes["n"])
        require_all((cut_n > 0) | (lanes["cut_rate"] == 0.0), "cut_rate is of no observation")
        has_since = cut_n < lanes["n"][:, np.newaxis]
        require_all(has_since | (lanes["since_rate"] == 0.0), "since_rate is of no observation")

    def _go_on(self, batch: Batch) -> int:
        lanes = self._lanes
        log_drift, log_warning = self._logs
        return hddm_w_update(
            *self._walk(batch),
            lanes["enabled"],
            lanes["n"],
            lanes["warning"],
            lanes["rate"],
            lanes["weight"],
            lanes["cut_n"].reshape(-1),
            lanes["level"].reshape(-1),
            lanes["cut_rate"].reshape(-1),
            lanes["cut_weight"].reshape(-1),
            lanes["since_rate"].reshape(-1),
            lanes["since_weight"].reshape(-1),
            self._n_sides,
            self._lambda,
            log_drift,
            log_warning,
            lanes.n_lanes,
            *self._firings(),
        )


def build(config: HddmWConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return HddmWBank(config, n_lanes, state)
