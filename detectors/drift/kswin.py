"""The KSWIN bank: on every lane a two-sample test of the recent values against those before."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Z_LIMIT, BankState, DetectorBank
from detectors.drift.firings import FiringBuffer
from detectors.drift.kolmogorov_smirnov import critical_distance
from detectors.drift.lane_bank import LaneBank, walk
from detectors.drift.lane_table import (
    MAX_N,
    Column,
    require_all,
)
from detectors.kernels.kswin import kswin_update
from schemas.batch import Batch
from schemas.config import KswinConfig
from schemas.findings import Firing

NAME: Final = "kswin"


class KswinBank(LaneBank):
    """Fires where river's `KSWIN` fires if it draws the same; a lane that fired begins anew.

    Of a firing, `statistic` is the distance of the two distribution functions and `threshold` the
    least one that fires; `before` is the mean of the window's older part, all of it and not only
    what was drawn, `after` of its last `stat_size` values, and `change_offset` belongs to the first
    of those. What is drawn is a function of the seed and of `n`, which is the generator's state.
    Memory of a lane: 9 bytes, 8 a value of the window and 8 an offset of its last `stat_size`.
    Source: Raab, Heusinger and Schleif 2020.
    """

    def __init__(self, config: KswinConfig, n_lanes: int, state: BankState | None) -> None:
        self._config = config
        self._fired = FiringBuffer()
        self._critical = critical_distance(config.stat_size, config.alpha)
        # Off, it has no seed, and draws nothing until it is switched on.
        self._seed = config.seed or 0
        columns = (
            Column("enabled", np.bool_, config.enabled),
            Column("n", np.int64, 0),
            Column("window", np.float64, 0.0, (config.window_size,)),
            Column("recent_offset", np.int64, -1, (config.stat_size,)),
        )
        super().__init__(columns, n_lanes, state)
        if state is not None:
            self._check()
        # The kernel's room to work in; it begins each row of a lane anew.
        self._ordered = np.zeros(config.stat_size, np.float64)
        self._counts = np.zeros((2, config.stat_size + 1), np.int64)
        self._taken = np.zeros(config.window_size - config.stat_size, np.int64)

    def _check(self) -> None:
        lanes = self._lanes
        n = lanes["n"][:, np.newaxis]
        require_all((n >= 0) & (n <= MAX_N), "a count is out of range")
        window, offset = lanes["window"], lanes["recent_offset"]
        require_all(np.abs(window) <= Z_LIMIT, "a value of a window is out of range")
        in_window = np.arange(window.shape[1]) < n
        require_all(in_window | (window == 0.0), "a window holds more values than were observed")
        in_recent = np.arange(offset.shape[1]) < n
        require_all(np.where(in_recent, offset >= 0, offset == -1), "recent_offset is out of range")

    def update(self, batch: Batch) -> list[Firing]:
        """Fold a batch; the firings in no particular order. Raises IndexError: unknown lane."""
        config, lanes, fired = self._config, self._lanes, self._fired

        def go_on() -> int:
            return kswin_update(
                *walk(batch),
                lanes["enabled"],
                lanes["n"],
                lanes["window"].reshape(-1),
                lanes["recent_offset"].reshape(-1),
                config.window_size,
                config.stat_size,
                self._critical,
                self._seed,
                Z_LIMIT,
                lanes.n_lanes,
                self._ordered,
                self._counts[0],
                self._counts[1],
                self._taken,
                fired.cursor,
                fired.row,
                fired.lane,
                fired.numbers,
                fired.change_offset,
            )

        return [f for some in self._advance(NAME, batch, fired, go_on) for f in some]

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """By lane enabled, n, window (lanes, window_size), recent_offset (lanes, stat_size)."""
        return super().snapshot()


def build(config: KswinConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return KswinBank(config, n_lanes, state)
