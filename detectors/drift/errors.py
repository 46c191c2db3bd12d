"""What the banks have in common that watch errors: what one is, and where a change began."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Z_LIMIT, BankState
from detectors.drift.firings import FiringBuffer
from detectors.drift.lane_bank import LaneBank, walk
from detectors.drift.lane_table import MAX_N, Column, require_all
from detectors.kernels.compile import DONE, NO_LANE
from detectors.kernels.marks import N_LEVELS, date_errors
from schemas.batch import F64, I32, I64, Batch
from schemas.findings import Firing

Walk = tuple[I64, I64, I64, I32, F64, I32]
Fired = tuple[I64, I64, I32, F64]
WARNING: Final = Column("warning", np.bool_, False)
"""Whether the lane is in the warning zone; nothing is fired there."""


class ErrorBank(LaneBank, ABC):
    """Lanes that observe errors: a value above 0 is one (1), any other is none (0).

    What a lane sees of a signal of two values is z, of which 0 is the reference's own share: the
    greater value lies above it and the other one not, whatever that share is.

    The detector's kernel counts in `n` what it observes, and says when it fires. Then
    `date_errors` goes over the same rows: `seen` and `ones` count the observations and the errors,
    `low` and `high` are z of the last 0 and of the last 1, so that means can be told in z, and
    `mark_*` (lanes, levels, 2) are what was known at ages of powers of two. The change is at the
    mark where two shares explain the rows best. A detector adds its own columns, `_go_on` and
    `_check`. A lane that fired begins anew. Memory of a lane: 553 bytes, and the detector's own.
    """

    def __init__(
        self,
        name: str,
        own: tuple[Column, ...],
        enabled: bool,
        n_lanes: int,
        state: BankState | None,
    ) -> None:
        self._name = name
        self._fired = FiringBuffer()
        self._dated = np.zeros(3, np.int64)
        columns = (
            Column("enabled", np.bool_, enabled),
            Column("n", np.int64, 0),
            Column("seen", np.int64, 0),
            Column("ones", np.int64, 0),
            Column("low", np.float64, 0.0),
            Column("high", np.float64, 0.0),
            Column("mark_ones", np.int64, 0, (N_LEVELS, 2)),
            Column("mark_offset", np.int64, -1, (N_LEVELS, 2)),
            *own,
        )
        super().__init__(columns, n_lanes, state)
        if state is not None:
            self._check_counts()
            self._check()

    def _check_counts(self) -> None:
        lanes = self._lanes
        n, ones = lanes["n"], lanes["ones"]
        low, high = lanes["low"], lanes["high"]
        require_all((n >= 0) & (n <= MAX_N), "a count is out of range")
        require_all(lanes["seen"] == n, "seen is not what was observed")
        require_all((ones >= 0) & (ones <= n), "ones is out of range")
        require_all((low >= -Z_LIMIT) & (low <= 0.0), "low is out of range")
        require_all((high >= 0.0) & (high <= Z_LIMIT), "high is out of range")
        require_all((low == 0.0) | (ones < n), "low is of no observation")
        require_all((high > 0.0) == (ones > 0), "high is of no observation, or missing")
        self._check_marks()

    def _check_marks(self) -> None:
        lanes = self._lanes
        n, ones = lanes["n"][:, np.newaxis, np.newaxis], lanes["ones"][:, np.newaxis, np.newaxis]
        level = np.arange(N_LEVELS)[np.newaxis, :, np.newaxis]
        # How many observations came before each mark; below 0 where there is none.
        before = ((np.maximum(n - 1, 0) >> level) - np.arange(2)) << level
        is_there = (before >= 0) & (n > 0)
        mark_ones, mark_offset = lanes["mark_ones"], lanes["mark_offset"]
        require_all(is_there | (mark_ones == 0), "mark_ones is of no observation")
        require_all((mark_ones >= 0) & (mark_ones <= ones), "mark_ones is out of range")
        fits = (mark_ones <= before) & (ones - mark_ones <= n - before)
        require_all(fits | ~is_there, "mark_ones is out of range")
        require_all(mark_offset >= -1, "mark_offset is out of range")
        require_all((mark_offset >= 0) == is_there, "mark_offset is of no observation, or missing")

    @abstractmethod
    def _check(self) -> None:
        """Raise `StateError` where the detector's own columns hold what no stream leaves."""

    @abstractmethod
    def _go_on(self, batch: Batch) -> int:
        """Call the kernel, which goes on from the cursor; its status."""

    def update(self, batch: Batch) -> list[Firing]:
        """Fold a batch; the firings in no particular order. Raises IndexError: unknown lane."""
        self._dated[:] = 0

        def go_on() -> int:
            status = self._go_on(batch)
            if status != NO_LANE:
                self._date(batch, is_done=status == DONE)
            return status

        some = self._advance(self._name, batch, self._fired, go_on)
        return [firing for firings in some for firing in firings]

    def _date(self, batch: Batch, *, is_done: bool) -> None:
        """Count what the kernel has gone over, and date what it fired."""
        lanes, fired = self._lanes, self._fired
        if is_done:
            fired.cursor[:3] = len(batch.block_row_ptr) - 1, 0, 0
        date_errors(
            *walk(batch),
            lanes["enabled"],
            lanes["seen"],
            lanes["ones"],
            lanes["low"],
            lanes["high"],
            lanes["mark_ones"].reshape(-1),
            lanes["mark_offset"].reshape(-1),
            Z_LIMIT,
            self._dated,
            fired.cursor,
            fired.row,
            fired.lane,
            fired.numbers,
            fired.change_offset,
        )

    @staticmethod
    def _walk(batch: Batch) -> Walk:
        """By what a detector's kernel goes over a batch: its first arguments."""
        return walk(batch)[:-1]

    def _firings(self) -> Fired:
        """Where a detector's kernel stands and writes what fires: its last arguments.

        Of the numbers it writes statistic, threshold, and 1 for a rise or -1 for a fall.
        """
        fired = self._fired
        return fired.cursor, fired.row, fired.lane, fired.numbers


def require_share(numbers: NDArray[Any], name: str) -> None:
    """Raise `StateError` where a number of that name is none from 0 to 1."""
    require_all((numbers >= 0.0) & (numbers <= 1.0), f"{name} is out of range")


def require_cuts(cut_n: I64, n: I64) -> None:
    """Raise `StateError` where a lane's cuts (lanes, sides) are not among its n observations."""
    seen = n[:, np.newaxis]
    require_all((cut_n >= 0) & (cut_n <= seen), "cut_n is out of range")
    require_all((cut_n > 0) == (seen > 0), "a cut is missing")
