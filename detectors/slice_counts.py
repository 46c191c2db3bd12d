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
is never set, and the first says that the prediction was wrong."""


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
        """(groups + 1,) how many predictions were wrong."""
        wrong: I64 = self.cells[:, 1] + self.cells[:, 2] if is_binary else self.cells[:, 2]
        return wrong


class SliceCounts:
    """The groups of all slices of one model version, in a ring of blocks of labelled rows."""

    def __init__(self, n_slices: int, tag: int) -> None:
        self.n_slices: Final = n_slices
        self._tag: Final = tag
        self.n_rows = 0
        """Rows so far, those that were in no group among them."""
        self.ring: I32 = np.zeros((N_BLOCKS, n_slices, MAX_GROUPS + 1, CELLS), np.int32)

    def add(self, groups: I64, is_there: Bool, first: Bool, second: Bool) -> None:
        """Count rows of one block, of which there must be room for them: (k,) each."""
        at = self.n_rows // DISPARITY_ROWS % N_BLOCKS
        if self.n_rows % DISPARITY_ROWS == 0:
            self.ring[at] = 0
        cell = 2 * first.astype(np.int64) + second
        for place in range(self.n_slices):
            code = (group_of(groups, place, self._tag) * CELLS + cell)[is_there]
            counted = np.bincount(code, minlength=(MAX_GROUPS + 1) * CELLS)
            self.ring[at, place] += counted.reshape(-1, CELLS).astype(np.int32)
        self.n_rows += len(groups)

    def last_block(self, place: int) -> GroupCounts:
        """The groups of one slice in the block that has just ended."""
        at = (self.n_rows // DISPARITY_ROWS - 1) % N_BLOCKS
        return GroupCounts(self.ring[at, place].astype(np.int64))

    def window(self, place: int) -> GroupCounts:
        """The groups of one slice in all blocks that are kept."""
        return GroupCounts(self.ring[:, place].sum(axis=0, dtype=np.int64))

    def recent(self, place: int) -> GroupCounts:
        """The groups of one slice in the block that is under way and the one before it."""
        at = max(self.n_rows - 1, 0) // DISPARITY_ROWS
        blocks = [number % N_BLOCKS for number in (at - 1, at) if number >= 0]
        return GroupCounts(self.ring[blocks, place].sum(axis=0, dtype=np.int64))

    def copy(self) -> SliceCounts:
        """Another one that counts on from here."""
        other = SliceCounts(self.n_slices, self._tag)
        other.n_rows, other.ring = self.n_rows, self.ring.copy()
        return other

    def is_consistent(self) -> bool:
        """Whether it is what some rows could have left."""
        if self.n_rows < 0 or bool((self.ring < 0).any()):
            return False
        held = self.ring.sum(axis=(2, 3), dtype=np.int64)
        return bool((held <= self._room()[:, np.newaxis]).all())

    def _room(self) -> I64:
        """(N_BLOCKS,) how many rows each block of the ring has seen."""
        last = max(self.n_rows - 1, 0) // DISPARITY_ROWS
        back = (last - np.arange(N_BLOCKS)) % N_BLOCKS
        number = last - back
        seen = np.clip(self.n_rows - number * DISPARITY_ROWS, 0, DISPARITY_ROWS)
        return np.where(number >= 0, seen, 0).astype(np.int64)


def _width(shares: list[float]) -> float:
    return max(shares) - min(shares) if len(shares) > 1 else float("nan")
