"""What is counted of each group of a model version's slices: what was predicted, what was true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from detectors.outcome_sources import DISPARITY_ROWS
from detectors.slices import MAX_GROUPS, group_of
from schemas.batch import I32, I64, Bool

N_BLOCKS: Final = 10
"""Blocks of the window, the one that is under way among them."""
MIN_GROUP: Final = 30
"""Rows without which a group is compared with no other one."""
CELLS: Final = 4
"""By what was predicted and what is true: 2 predicted + true. Of more than two classes the second
is never set, and the first says that the prediction was wrong. Of numbers none of them is."""
LOSS_PARTS: Final = 1_024
"""An absolute error is counted in so many parts of a standard deviation of the predictions."""
MAX_LOSS: Final = 2**20
"""The absolute error of one row is no more than so many parts: beyond 1,024 standard deviations one
row would be all that its group shows."""


class Rates(NamedTuple):
    """The rates of one group: hits and rows of each."""

    selected: tuple[int, int]
    """Predicted positive, of all."""
    recalled: tuple[int, int]
    """Predicted positive, of those that are positive."""
    false_alarms: tuple[int, int]
    """Predicted positive, of those that are negative."""


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """Counts of the groups of one slice: (groups + 1, 4), the first row of those in none."""

    cells: I64
    losses: I64 | None = None
    """(groups + 1, 2) of numbers: the sums of absolute errors, in parts, and of their squares."""

    def rates(self, group: int) -> Rates:
        """Of a group of a binary model."""
        negative, missed, false_alarms, hits = self.cells[group].tolist()
        n = negative + missed + false_alarms + hits
        return Rates(
            (false_alarms + hits, n), (hits, missed + hits), (false_alarms, negative + false_alarms)
        )

    def gaps(self) -> tuple[float, float, float]:
        """The least selection rate over the greatest, and the widest differences of the others.

        NaN where fewer than two groups have `MIN_GROUP` rows, of a greatest rate of 0 too.
        """
        by_kind = list(zip(*map(self.rates, range(1, len(self.cells))), strict=True))
        shares = [[hits / n for hits, n in rates if n >= MIN_GROUP] for rates in by_kind]
        selected, recalled, false_alarms = shares
        ratio = float("nan")
        if len(selected) > 1 and max(selected) > 0.0:
            ratio = min(selected) / max(selected)
        return ratio, _width(recalled), _width(false_alarms)

    def errors(self, *, is_binary: bool) -> I64:
        """(groups + 1,) how many predictions were wrong; of numbers, the absolute errors."""
        if self.losses is not None:
            return self.losses[:, 0]
        wrong: I64 = self.cells[:, 1] + self.cells[:, 2] if is_binary else self.cells[:, 2]
        return wrong


class SliceCounts:
    """The groups of all slices of one model version, in a ring of blocks of labelled rows.

    `has_losses`: it predicts numbers, and absolute errors are summed up.
    """

    def __init__(self, n_slices: int, tag: int, *, has_losses: bool = False) -> None:
        self.n_slices: Final = n_slices
        self._tag: Final = tag
        self.n_rows = 0
        """Rows so far, those that were in no group among them."""
        self.ring: I32 = np.zeros((N_BLOCKS, n_slices, MAX_GROUPS + 1, CELLS), np.int32)
        self.losses: I64 | None = None
        """Of numbers: the sums of absolute errors, and of their squares, in the same order."""
        if has_losses:
            self.losses = np.zeros((N_BLOCKS, n_slices, MAX_GROUPS + 1, 2), np.int64)

    def add(
        self, groups: I64, is_there: Bool, first: Bool, second: Bool, loss: I64 | None = None
    ) -> None:
        """Count rows of one block, of which there must be room for them: (k,) each.

        `loss` are absolute errors in parts, from 0 to MAX_LOSS, where they are counted.
        """
        at = self.n_rows // DISPARITY_ROWS % N_BLOCKS
        if self.n_rows % DISPARITY_ROWS == 0:
            self.ring[at] = 0
            if self.losses is not None:
                self.losses[at] = 0
        cell = 2 * first.astype(np.int64) + second
        for place in range(self.n_slices):
            group = group_of(groups, place, self._tag)[is_there]
            counted = np.bincount(
                group * CELLS + cell[is_there], minlength=(MAX_GROUPS + 1) * CELLS
            )
            self.ring[at, place] += counted.reshape(-1, CELLS).astype(np.int32)
            if self.losses is not None and loss is not None:
                own = loss[is_there]
                np.add.at(self.losses[at, place], group, np.column_stack([own, own * own]))
        self.n_rows += len(groups)

    def last_block(self, place: int) -> GroupCounts:
        """The groups of one slice in the block that has just ended."""
        return self._of([(self.n_rows // DISPARITY_ROWS - 1) % N_BLOCKS], place)

    def window(self, place: int) -> GroupCounts:
        """The groups of one slice in all blocks that are kept."""
        return self._of(list(range(N_BLOCKS)), place)

    def recent(self, place: int) -> GroupCounts:
        """The groups of one slice in the block that is under way and the one before it."""
        at = max(self.n_rows - 1, 0) // DISPARITY_ROWS
        return self._of([number % N_BLOCKS for number in (at - 1, at) if number >= 0], place)

    def _of(self, blocks: list[int], place: int) -> GroupCounts:
        """The groups of one slice in these blocks."""
        cells = self.ring[blocks, place].sum(axis=0, dtype=np.int64)
        losses = self.losses
        return GroupCounts(cells, None if losses is None else losses[blocks, place].sum(axis=0))

    def copy(self) -> SliceCounts:
        """Another one that counts on from here."""
        other = SliceCounts(self.n_slices, self._tag)
        other.n_rows, other.ring = self.n_rows, self.ring.copy()
        other.losses = None if self.losses is None else self.losses.copy()
        return other

    def is_consistent(self) -> bool:
        """Whether it is what some rows could have left."""
        if self.n_rows < 0 or bool((self.ring < 0).any()):
            return False
        held = self.ring.sum(axis=(2, 3), dtype=np.int64)
        if bool((held > self._room()[:, np.newaxis]).any()):
            return False
        return self.losses is None or self._are_losses(self.losses)

    def _are_losses(self, losses: I64) -> bool:
        """Whether these are sums over as many rows as are counted, and over no classes."""
        n = self.ring[..., 0].astype(np.int64)
        total, squares = losses[..., 0], losses[..., 1]
        # In this order: what is within the first bounds does not overflow in what comes after it.
        return bool(
            not self.ring[..., 1:].any()
            and ((total >= 0) & (total <= n * MAX_LOSS)).all()
            and ((squares >= total) & (squares <= total * MAX_LOSS)).all()
            and (total * total <= n * squares).all()
        )

    def _room(self) -> I64:
        """(N_BLOCKS,) how many rows each block of the ring has seen."""
        last = max(self.n_rows - 1, 0) // DISPARITY_ROWS
        back = (last - np.arange(N_BLOCKS)) % N_BLOCKS
        number = last - back
        seen = np.clip(self.n_rows - number * DISPARITY_ROWS, 0, DISPARITY_ROWS)
        return np.where(number >= 0, seen, 0).astype(np.int64)


def _width(shares: list[float]) -> float:
    return max(shares) - min(shares) if len(shares) > 1 else float("nan")
