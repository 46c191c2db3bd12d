"""Rows of 64-bit words that are numbered for ever: appended at the end, given up at the beginning.

In a snapshot they stand in blocks of a fixed number of rows, cut by their numbers. A block that is
full never changes again, so that a checkpoint, whose segments are named by their content, writes
only the last one anew: `streams.segments`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np

from detectors.base import BankState, StateError, require_array
from detectors.kernels.labels import BASE, HEAD, KEY, N_LIVE, SEED, TAIL, TAKEN, index_rows
from schemas.batch import I64

MAX_ROWS: Final = 2**62
"""More than there will ever have been."""
_SPARE: Final = 256
"""Rows that there is room for at least."""


class Rows:
    """A table of rows as the kernel has it: `words` (capacity, width), `at` where it is."""

    def __init__(self, name: str, block_rows: int, saved: int, beside: int = 0) -> None:
        """Begin with no row; `saved` words of each go into a snapshot, `beside` more do not."""
        self.name: Final = name
        self.block_rows: Final = block_rows
        self.saved: Final = saved
        self.words: I64 = np.zeros((0, saved + beside), np.int64)
        self.at: I64 = np.zeros(6, np.int64)

    @property
    def first(self) -> int:
        """The number of the first row of a snapshot: where the block of the oldest begins."""
        return int(self.at[HEAD]) // self.block_rows * self.block_rows

    def reserve(self, n: int) -> None:
        """Have room for n rows more."""
        tail = int(self.at[TAIL])
        if tail - int(self.at[BASE]) + n <= len(self.words):
            return
        self._move(self.held(self.first), self.first, n)

    def held(self, first: int) -> I64:
        """The rows from this number on, as they stand there."""
        base, tail = int(self.at[BASE]), int(self.at[TAIL])
        return self.words[first - base : tail - base]

    def _move(self, rows: I64, first: int, n: int) -> None:
        """Hold these rows, the first of which has this number, and have room for n more."""
        capacity = (len(rows) + n) * 3 // 2 + _SPARE
        words = np.zeros((capacity, self.words.shape[1]), np.int64)
        words[: len(rows), : rows.shape[1]] = rows
        self.words = words
        self.at[BASE] = first

    def snapshot(self) -> dict[str, I64]:
        """The rows as blocks, each under the number of its place in the log."""
        first, tail = self.first, int(self.at[TAIL])
        rows = self.held(first)
        return {
            self._block(start): rows[
                start - first : start - first + self.block_rows, : self.saved
            ].astype(np.int64, order="C", copy=True)
            for start in range(first, tail, self.block_rows)
        }

    def restore(self, state: BankState, head: int, tail: int) -> frozenset[str]:
        """Take the rows of a snapshot; returns the names of the arrays that they stood in.

        Raises `StateError` where they are not all there.
        """
        if not 0 <= head <= tail < MAX_ROWS:
            raise StateError(f"{self.name}: the rows end before they begin, or there are too many")
        self.at[HEAD], self.at[TAIL] = head, tail
        starts = range(self.first, tail, self.block_rows)
        n_blocks = sum(name.startswith(f"{self.name}_") for name in state)
        if len(starts) != n_blocks:
            raise StateError(f"{self.name}: {n_blocks} blocks of rows, expected {len(starts)}")
        blocks = [
            require_array(
                state,
                self._block(start),
                np.int64,
                (min(self.block_rows, tail - start), self.saved),
            )
            for start in starts
        ]
        rows = np.concatenate(blocks) if blocks else np.zeros((0, self.saved), np.int64)
        self._move(rows, self.first, 0)
        return frozenset(map(self._block, starts))

    def _block(self, start: int) -> str:
        return f"{self.name}_{start // self.block_rows:016d}"


class IndexedRows(Rows):
    """Rows that are found by their keys, of which there are no two alike."""

    def __init__(self, name: str, block_rows: int, saved: int, beside: int) -> None:
        super().__init__(name, block_rows, saved, beside)
        self.index: I64 = np.zeros(2 * _SPARE, np.int64)
        """Derived: from keys to rows. See `detectors.kernels.labels`."""

    @property
    def n_indexed(self) -> int:
        """How many rows the index leads to."""
        return int(self.at[TAIL] - self.at[HEAD])

    def reserve(self, n: int) -> None:
        """Have room for n rows more, in the index as well."""
        super().reserve(n)
        if 2 * (self.n_indexed + n) > len(self.index):
            self.build_index(n)

    def build_index(self, n: int = 0) -> int:
        """Make the index anew, with room for n rows more; how many keys are there a second time.

        Where a key stands follows from all of them: nobody who does not know them all can choose
        keys that are looked for at one place.
        """
        keys = np.ascontiguousarray(self.held(int(self.at[HEAD]))[:, KEY])
        seed = blake2b(keys.tobytes(), digest_size=8).digest()
        self.at[SEED] = int.from_bytes(seed, "little", signed=True)
        wanted = 4 * max(self.n_indexed + n, _SPARE // 2)
        self.index = np.zeros(1 << (wanted - 1).bit_length(), np.int64)
        return index_rows(self.words, self.at, self.word_of_those_out, self.index)

    word_of_those_out = -1
    """The word that says of a row that it is not in the index; -1: none."""


class WaitingRows(IndexedRows):
    """Rows that go one by one, from anywhere: their numbers are nobody's business.

    In a snapshot there are only those that wait, in one array: it is small, and written anew.
    """

    word_of_those_out = TAKEN

    @property
    def n_indexed(self) -> int:
        """How many rows wait."""
        return int(self.at[N_LIVE])

    def waiting(self) -> I64:
        """(n, saved) those that wait, in order."""
        rows = self.held(int(self.at[HEAD]))
        return rows[rows[:, TAKEN] == 0, : self.saved]

    def reserve(self, n: int) -> None:
        """Have room for n rows more; where it takes an effort, those that wait no more go."""
        if int(self.at[TAIL] - self.at[BASE]) + n > len(self.words):
            self.take(self.waiting(), n)
        super().reserve(n)

    def take(self, rows: I64, n: int = 0) -> int:
        """Have these rows and no others, and room for n more; how many keys are there twice."""
        rows = rows.copy()
        self.at[:] = 0
        self.at[TAIL] = self.at[N_LIVE] = len(rows)
        self._move(rows, 0, n)
        return self.build_index(n)
