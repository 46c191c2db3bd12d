"""The FHDDM bank: a sliding window's share of correct ones against the best it has had."""

from __future__ import annotations

from math import log, sqrt
from typing import Final

import numpy as np

from detectors.base import BankState, DetectorBank
from detectors.drift.errors import ErrorBank
from detectors.drift.lane_table import Column, require_all
from detectors.kernels.fhddm import fhddm_update
from schemas.batch import Batch
from schemas.error_config import FhddmConfig

NAME: Final = "fhddm"


class FhddmBank(ErrorBank):
    """Fires where river's `FHDDM` fires; a lane that fired begins anew.

    river looks for a fall of the share of ones. So does this with `finds: fall`; with `rise`, the
    default, it counts the zeros instead, as river does of 1 - x: then an error rate that rises is
    found. The last `sliding_window_size` of what it counts are bits of a ring, the kth observation
    at (k - 1) modulo its length. There is one window, or a second one over the last part of the
    first; `held` is how many of each are set and `most` the most there were. Of a firing,
    `statistic` is how far a window's share lies below its best, `threshold` what Hoeffding's
    inequality allows.
    Source: Pesaranghader and Viktor, ECML-PKDD 2016; two windows: Pesaranghader, Viktor and Paquet
    2018.
    """

    def __init__(self, config: FhddmConfig, n_lanes: int, state: BankState | None) -> None:
        self._finds_rise = int(config.finds == "rise")
        size, short = config.sliding_window_size, config.short_window_size
        self._sizes = np.array([size] if short is None else [size, short], np.int64)
        self._allowed = np.array(
            [sqrt(log(1.0 / config.confidence_level) / (2 * n)) for n in self._sizes.tolist()]
        )
        n_windows = len(self._sizes)
        own = (
            Column("ring", np.uint8, 0, ((size + 7) // 8,)),
            Column("held", np.int64, 0, (n_windows,)),
            Column("most", np.int64, 0, (n_windows,)),
        )
        super().__init__(NAME, own, config.enabled, n_lanes, state)

    def _check(self) -> None:
        lanes = self._lanes
        n = lanes["n"][:, np.newaxis]
        size = int(self._sizes[0])
        bits = np.unpackbits(lanes["ring"], axis=1, bitorder="little")
        in_ring = np.arange(bits.shape[1]) < np.minimum(n, size)
        require_all(in_ring | (bits == 0), "ring holds more than was observed")
        for window, length in enumerate(self._sizes.tolist()):
            back = np.arange(length)
            last = np.take_along_axis(bits, (n - 1 - back) % size, axis=1)
            held = np.where(back < n, last, 0).sum(axis=1, dtype=np.int64)
            require_all(lanes["held"][:, window] == held, "held is not what the ring holds")
        is_full, most = n >= size, lanes["most"]
        require_all((most >= np.where(is_full, lanes["held"], 0)), "most is out of range")
        require_all(most <= np.where(is_full, self._sizes, 0), "most is out of range")

    def _go_on(self, batch: Batch) -> int:
        lanes = self._lanes
        return fhddm_update(
            *self._walk(batch),
            lanes["enabled"],
            lanes["n"],
            lanes["ring"].reshape(-1),
            lanes["held"].reshape(-1),
            lanes["most"].reshape(-1),
            self._sizes,
            self._allowed,
            self._finds_rise,
            lanes.n_lanes,
            *self._firings(),
        )


def build(config: FhddmConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return FhddmBank(config, n_lanes, state)
