"""The buckets of ADWIN's windows: dense in memory, packed in a snapshot."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, require_array
from detectors.drift.lane_table import require_all
from detectors.kernels.buckets import pack_buckets
from schemas.batch import F64, I32, I64, U8

MAX_LEVELS: Final = 54
"""Levels of a window of 2**53 observations."""

NAMES: Final = ("counts", "bucket_total", "bucket_deviation", "bucket_offset")


class Buckets:
    """Exponential histograms by lane: rings of (lanes, levels, max_buckets) buckets.

    Of a level, `counts` buckets are in use, the oldest at `heads`. Capacity doubles with lanes,
    and grows by levels when a window needs one more. Slots that are not in use are meaningless,
    and where in its ring a bucket stands too: a snapshot holds neither.
    """

    def __init__(self, n_lanes: int, max_buckets: int, n_levels: int = 4) -> None:
        self.n_levels = n_levels
        self._max_buckets = max_buckets
        self.counts: U8 = np.zeros((n_lanes, n_levels), np.uint8)
        self.heads: U8 = np.zeros((n_lanes, n_levels), np.uint8)
        shape = (n_lanes, n_levels, max_buckets)
        self.total: F64 = np.zeros(shape, np.float64)
        self.deviation: F64 = np.zeros(shape, np.float64)
        self.offset: I64 = np.zeros(shape, np.int64)

    def grow(self, n_lanes: int, n_levels: int) -> None:
        """Make room for so many lanes and levels; never shrinks."""
        lanes = len(self.counts)
        if n_lanes <= lanes and n_levels <= self.n_levels:
            return
        if n_lanes > lanes:
            n_lanes = max(n_lanes, 2 * lanes)
        grown = Buckets(max(n_lanes, lanes), self._max_buckets, max(n_levels, self.n_levels))
        for name in ("counts", "heads", "total", "deviation", "offset"):
            getattr(grown, name)[:lanes, : self.n_levels] = getattr(self, name)
            setattr(self, name, getattr(grown, name))
        self.n_levels = grown.n_levels

    def reset(self, lanes: I32) -> None:
        """Empty these lanes."""
        self.counts[lanes] = 0
        self.heads[lanes] = 0

    def pack(self, n_lanes: int) -> dict[str, NDArray[Any]]:
        """Only what is in use: lanes in order, in each the levels from 0 up, oldest first."""
        counts = self.counts[:n_lanes]
        levels = np.flatnonzero(counts.any(axis=0))
        n_levels = int(levels[-1]) + 1 if len(levels) else 0
        n_buckets = int(counts.sum(dtype=np.int64))
        total = np.empty(n_buckets, np.float64)
        deviation = np.empty(n_buckets, np.float64)
        offset = np.empty(n_buckets, np.int64)
        pack_buckets(
            counts.reshape(-1),
            self.heads.reshape(-1),
            self.total.reshape(-1),
            self.deviation.reshape(-1),
            self.offset.reshape(-1),
            np.array([n_lanes, self.n_levels, self._max_buckets]),
            total,
            deviation,
            offset,
        )
        return {
            "counts": counts[:, :n_levels].copy(),
            "bucket_total": total,
            "bucket_deviation": deviation,
            "bucket_offset": offset,
        }

    @classmethod
    def unpack(cls, state: BankState, n: I64, max_buckets: int) -> Buckets:
        """The histograms of a snapshot, for lanes of n observations; raises `StateError`.

        Every range is checked that a kernel relies upon: no snapshot makes it write elsewhere.
        """
        counts = require_array(state, "counts", np.uint8, (len(n), None))
        n_levels = counts.shape[1]
        require_all(np.bool_(n_levels <= MAX_LEVELS), "too many levels")
        require_all(counts <= max_buckets, "more buckets on a level than max_buckets")
        require_all((counts[:, :-1] > 0) | (counts[:, 1:] == 0), "an empty level below a used one")
        sizes = np.left_shift(np.int64(1), np.arange(n_levels, dtype=np.int64))
        require_all(counts.astype(np.int64) @ sizes == n, "the buckets do not sum up to n")
        n_buckets = int(counts.sum(dtype=np.int64))
        total = require_array(state, "bucket_total", np.float64, (n_buckets,))
        deviation = require_array(state, "bucket_deviation", np.float64, (n_buckets,))
        offset = require_array(state, "bucket_offset", np.int64, (n_buckets,))
        require_all(np.isfinite(total), "a bucket's total is not finite")
        require_all(np.isfinite(deviation) & (deviation >= 0), "a bucket's deviation is wrong")
        require_all(offset >= 0, "a bucket's offset is negative")
        buckets = cls(len(n), max_buckets, max(n_levels, 4))
        buckets.counts[:, :n_levels] = counts
        used = np.arange(max_buckets) < buckets.counts[:, :, None]  # an instance of this class
        buckets.total[used] = total
        buckets.deviation[used] = deviation
        buckets.offset[used] = offset
        return buckets
