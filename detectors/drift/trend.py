"""The trend bank: a slow move away from the frozen reference, at a stated false-alarm rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np

from detectors.base import Z_LIMIT, BankState, DetectorBank
from detectors.drift.firings import FiringBuffer
from detectors.drift.focus import MAX_ARL0
from detectors.drift.lane_bank import LaneBank, walk
from detectors.drift.lane_table import Column, require_all, require_lanes, with_room
from detectors.drift.ranks import Frequencies, Indicator, LaneReference, process_variance
from detectors.kernels.trend import RATIO, trend_update
from schemas.batch import I32, Batch
from schemas.config import TrendConfig
from schemas.findings import Firing

NAME: Final = "trend"

MAX_REFERENCE: Final = 1_000_000
"""Rows of a reference, as in the config."""
_ROUNDING: Final = 1.001
MAX_MEAN: Final = Z_LIMIT * _ROUNDING
"""No mean of rows, whose sum was rounded, lies further out."""
_GRAIN: Final = 1024.0
"""Levels are rounded up to 1/1024: another C library changes none."""


class TrendBank(LaneBank):
    """Fires where the means of a lane's latest blocks rise or fall, away from its reference.

    A lane observes nothing until `learn` has given it a reference, which stays. Rows are summed up
    in blocks, and blocks in those of coarser scales. At the end of a block, from `MIN_BLOCKS` on,
    Mann-Kendall's S of the latest ones is held against its deviation. The chance of each test is
    the share of its block's rows in the ARL0, split between the scales: so that the mean number of
    rows between two crossings, however much tests depend on each other, is the ARL0. A lane that
    fired begins anew. `before` and `after` are means of the first and of the last quarter of the
    blocks. Sources: Mann (Econometrica 1945), Kendall (1975), Hamed and Rao (1998).
    """

    def __init__(self, config: TrendConfig, n_lanes: int, state: BankState | None) -> None:
        self._config = config
        self._fired = FiringBuffer()
        per_scale = (config.n_scales,)
        ring = (config.n_scales, config.n_blocks)
        columns = (
            Column("enabled", np.bool_, config.enabled),
            Column("arl0", np.float64, 0.0),
            Column("centre", np.float64, 0.0),
            Column("variance", np.float64, 1.0),
            Column("n_reference", np.int64, 0),
            Column("partial_n", np.int64, 0, per_scale),
            Column("partial_sum", np.float64, 0.0, per_scale),
            Column("partial_offset", np.int64, -1, per_scale),
            Column("n_kept", np.int64, 0, per_scale),
            Column("block", np.float64, 0.0, ring),
            Column("kept_offset", np.int64, -1, ring),
        )
        super().__init__(columns, n_lanes, state)
        self._n_rows = config.block_rows * RATIO ** np.arange(config.n_scales, dtype=np.int64)
        """(scales,) rows of a block."""
        if state is not None:
            self._check()
        self._rank = np.zeros(config.n_blocks)
        self._level = np.zeros((n_lanes, config.n_scales))
        """(lanes, scales) derived from `arl0`, no part of the state."""
        self._choose_level(np.arange(n_lanes, dtype=np.int32))

    def _check(self) -> None:
        lanes = self._lanes
        for name in lanes.names:
            if lanes[name].dtype.kind == "f":
                require_all(np.isfinite(lanes[name]), f"{name} is not finite")
        arl0, n_reference = lanes["arl0"], lanes["n_reference"]
        used = arl0 != 0.0
        require_all(((arl0 >= 1.0) & (arl0 <= MAX_ARL0)) | ~used, "arl0 is out of range")
        require_all(np.abs(lanes["centre"]) <= MAX_MEAN, "centre is out of range")
        require_all(lanes["variance"] >= 1.0, "variance is out of range")
        require_all((n_reference >= 1) | ~used, "n_reference is out of range")
        require_all((n_reference >= 0) & (n_reference <= MAX_REFERENCE), "n_reference is wrong")
        n, n_kept = lanes["partial_n"], lanes["n_kept"]
        n_whole = np.full(self._config.n_scales, RATIO, np.int64)
        n_whole[0] = self._config.block_rows
        require_all((n >= 0) & (n < n_whole), "partial_n is out of range")
        first = lanes["partial_offset"]
        require_all(first >= -1, "partial_offset is out of range")
        require_all((first >= 0) == (n > 0), "partial_offset does not fit partial_n")
        most = n * (self._n_rows // n_whole) * MAX_MEAN
        require_all(np.abs(lanes["partial_sum"]) <= most, "partial_sum is out of range")
        n_blocks = self._config.n_blocks
        require_all((n_kept >= 0) & (n_kept <= n_blocks), "n_kept is out of range")
        kept = np.arange(n_blocks) < n_kept[..., np.newaxis]
        require_all(np.abs(lanes["block"]) <= MAX_MEAN * kept, "block is out of range")
        offsets = lanes["kept_offset"]
        require_all(offsets >= -1, "kept_offset is out of range")
        require_all((offsets >= 0) == kept, "kept_offset does not fit n_kept")

    def learn(self, lanes: I32, references: Sequence[LaneReference]) -> None:
        """Give these lanes, freshly reset, their references; a category as a whole gets none."""
        require_lanes(lanes, self._lanes.n_lanes)
        own = self._lanes
        for lane, reference in zip(lanes.tolist(), references, strict=True):
            ranks = reference.ranks
            if isinstance(ranks, Frequencies):
                continue
            own["arl0"][lane] = reference.arl0
            own["n_reference"][lane] = ranks.n
            if isinstance(ranks, Indicator):
                own["centre"][lane] = ranks.raw / ranks.n
                own["variance"][lane] = max(ranks.variance, 1.0)
                continue
            own["centre"][lane] = ranks.raw[0] / ranks.n
            # The rows' own, where that of the normal scores is one of residuals.
            spread = ranks.variance[0] * process_variance(ranks.coefficient.tolist())
            own["variance"][lane] = max(spread, 1.0)
        self._choose_level(lanes)

    def set_arl0(self, lanes: I32, arl0: float) -> None:
        """Let these lanes keep another rate from here on; one without a reference has none."""
        require_lanes(lanes, self._lanes.n_lanes)
        known = lanes[self._lanes["arl0"][lanes] > 0.0]
        self._lanes["arl0"][known] = arl0
        self._choose_level(known)

    def _choose_level(self, lanes: I32) -> None:
        """Give these lanes the levels of their ARL0; those without a reference need none."""
        arl0 = self._lanes["arl0"]
        n_rows = [float(n) * self._config.n_scales for n in self._n_rows.tolist()]
        for lane in lanes[arl0[lanes] > 0.0].tolist():
            self._level[lane] = [chance_level(n / float(arl0[lane])) for n in n_rows]

    def arl0(self, lane: int) -> float | None:
        """What this lane promises; None where it is off or has no reference."""
        arl0 = float(self._lanes["arl0"][lane])
        return arl0 if self._lanes["enabled"][lane] and arl0 > 0.0 else None

    def update(self, batch: Batch) -> list[Firing]:
        """Fold a batch; the firings in no particular order. Raises IndexError: unknown lane."""
        lanes, fired = self._lanes, self._fired

        def go_on() -> int:
            return trend_update(
                *walk(batch),
                lanes["enabled"],
                lanes["arl0"],
                lanes["centre"],
                lanes["variance"],
                lanes["n_reference"],
                self._level,
                lanes["partial_n"],
                lanes["partial_sum"],
                lanes["partial_offset"],
                lanes["n_kept"],
                lanes["block"],
                lanes["kept_offset"],
                self._rank,
                self._config.block_rows,
                Z_LIMIT,
                lanes.n_lanes,
                fired.cursor,
                fired.row,
                fired.lane,
                fired.numbers,
                fired.change_offset,
            )

        return [f for some in self._advance(NAME, batch, fired, go_on) for f in some]

    def resize(self, n_lanes: int) -> None:
        """Make room for lanes 0..n_lanes-1."""
        super().resize(n_lanes)
        self._level = with_room(self._level, n_lanes)


def chance_level(chance: float) -> float:
    """What the absolute value of a standard normal exceeds with at most this chance.

    `chance` is above 0; 1 and more is a level of 0. S of blocks has lighter tails than a normal.
    """
    if chance >= 1.0:
        return 0.0
    return math.ceil(-NormalDist().inv_cdf(chance / 2.0) * _GRAIN) / _GRAIN


def build(config: TrendConfig, n_lanes: int, state: BankState | None) -> DetectorBank:
    """Make the bank, from nothing or from a snapshot; raises `StateError`."""
    return TrendBank(config, n_lanes, state)
