"""The categories of features: learned within bounds, frozen with their frequencies, numbered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from detectors.drift.bins import N_BINS
from detectors.kernels.observe import CELL_NEW, CELL_OTHER, TOO_LONG, UNKNOWN
from schemas.batch import F64, I32, I64, U8, ValueKind
from schemas.limits import MAX_CATEGORIES_CHARS

BOOLEANS: Final = ("false", "true")
"""The categories of every boolean feature, by their numbers, whether it has been seen or not."""
LEAST_KEPT: Final = 5
"""Occurrences in the reference without which a category has no share of its own."""
_FIRST_OWN: Final = max(CELL_OTHER, CELL_NEW) + 1
LEAST_OWN: Final = 2
"""Cells of their own without which categories are not compared as a whole."""


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories that a feature had in its reference, frozen; none of a number."""

    names: tuple[str, ...] = ()
    """In order of first appearance; those of a boolean are BOOLEANS."""
    counts: tuple[int, ...] = ()
    """How often each was there; of a boolean's it may be never."""
    n_other: int = 0
    """How often others were, whose names were too many or too long."""
    is_full: bool = False
    """Whether there were more than could be kept: then nobody knows what is new."""

    @property
    def n(self) -> int:
        """How often any was there."""
        return sum(self.counts) + self.n_other

    @property
    def n_once(self) -> int:
        """How many were there once: about so many of `n` further values are of none of them."""
        return self.counts.count(1)

    def with_shares(self, most: int) -> list[int]:
        """Those whose shares are watched: the most frequent ones, at most so many.

        Of two categories only the one that sorts last: the other is its complement.
        """
        there = [k for k, n in enumerate(self.counts) if n > 0]
        if len(there) == 2 and self.n_other == 0:
            return [max(there, key=self.names.__getitem__)]
        if len(there) == 1 and self.n_other == 0:
            return there
        frequent = [k for k in there if self.counts[k] >= LEAST_KEPT]
        return sorted(sorted(frequent, key=lambda k: (-self.counts[k], self.names[k]))[:most])

    @property
    def cells(self) -> list[int]:
        """The cell of each name, as `cells_of` has it."""
        return cells_of(self.names, self.counts)

    @property
    def unknown_cell(self) -> int:
        """The cell of a value that the reference did not have, as far as is known."""
        return CELL_OTHER if self.is_full else CELL_NEW

    def has_new(self, kind: int) -> bool:
        """Whether it is watched how often there is one that the reference did not have.

        Not of a boolean that had both, and not of a category that was alone: there new is what it
        is not.
        """
        if kind == ValueKind.BOOLEAN or self.is_full:
            return False
        return len(self.names) > 1 or (len(self.names) == 1 and self.n_other > 0)


def cells_of(names: Sequence[str], counts: Sequence[int]) -> list[int]:
    """The cell of each category where all of them are compared at once.

    The most frequent ones have cells of their own, as many as there is room for; the others, those
    with few occurrences among them, share CELL_OTHER.
    """
    frequent = [k for k, n in enumerate(counts) if n >= LEAST_KEPT]
    frequent.sort(key=lambda k: (-counts[k], names[k]))
    cells = [CELL_OTHER] * len(counts)
    for cell, k in enumerate(sorted(frequent[: N_BINS - _FIRST_OWN]), _FIRST_OWN):
        cells[k] = cell
    return cells


def n_cells(cells: Sequence[int]) -> int:
    """How many cells there are where the categories have these; 0: they are not compared."""
    n = max(cells, default=0) + 1
    return n if n >= _FIRST_OWN + LEAST_OWN else 0


NO_CATEGORIES: Final = Categories()


@dataclass(slots=True)
class Tally:
    """How often each category of a feature has been seen while its reference is learned."""

    number: dict[str, int] = field(default_factory=dict)
    """Of each name, in order of first appearance; bounded."""
    counts: list[int] = field(default_factory=list)
    n_long: int = 0
    """Of names that are too long."""
    n_true: int = 0
    """Of its booleans."""

    def learn(self, value: F64, kind: U8, names: Sequence[str], most: int) -> None:
        """Count some of its rows, in their order, and put numbers of this tally for those of names.

        A name beyond the first `most`, or for which MAX_CATEGORIES_CHARS leave no room, is not
        learned, now or later, and gets TOO_LONG's code -1.
        """
        self.n_true += int(np.count_nonzero(value[kind == ValueKind.BOOLEAN]))
        at = np.flatnonzero(kind == ValueKind.STRING)
        if not len(at):
            return
        used, first, of_row, n = np.unique(
            value[at], return_index=True, return_inverse=True, return_counts=True
        )
        own = np.full(len(used), -1.0)
        for place in np.argsort(first).tolist():
            code, times = int(used[place]), int(n[place])
            if code < 0:
                self.n_long += times
                continue
            number = self.number.get(names[code], -1)
            if number < 0 and len(self.counts) < most and self._has_room(names[code]):
                number = self.number[names[code]] = len(self.counts)
                self.counts.append(0)
            if number >= 0:
                self.counts[number] += times
            own[place] = number
        value[at] = own[of_row.reshape(len(at))]

    def _has_room(self, name: str) -> bool:
        return sum(map(len, self.number)) + len(name) <= MAX_CATEGORIES_CHARS

    @property
    def cells(self) -> list[int]:
        """The cell of each name, as `cells_of` has it."""
        return cells_of(tuple(self.number), self.counts)

    def frozen(self, kind: int, n_kind: I64) -> Categories:
        """What it comes to for a feature of this kind; `n_kind` (5,) is by `ValueKind`."""
        if kind == ValueKind.BOOLEAN:
            n = int(n_kind[ValueKind.BOOLEAN])
            return Categories(BOOLEANS, (n - self.n_true, self.n_true))
        if kind != ValueKind.STRING:
            return NO_CATEGORIES
        n_other = int(n_kind[ValueKind.STRING]) - sum(self.counts)
        is_full = n_other > self.n_long
        return Categories(tuple(self.number), tuple(self.counts), n_other, is_full)


class NameNumbers:
    """A number for each name of a category that a monitor knows. Derived, and no part of a state.

    Numbers are compared, and nothing else: how they come about decides nothing.
    """

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self._most = 0
        self._latest: tuple[Sequence[str], I32] | None = None
        self.clear()

    def clear(self) -> None:
        """Forget all names but those of booleans, which are their own values."""
        self._of = {name: number for number, name in enumerate(BOOLEANS)}
        self._most = 0
        self._latest = None

    def is_stale(self) -> bool:
        """Whether so many were added since `settle` that most may be of monitors that are gone."""
        return len(self._of) > self._most

    def settle(self) -> None:
        """Take note that all of them are known to some monitor."""
        self._most = 2 * len(self._of) + 1_024

    def numbers(self, names: Iterable[str]) -> list[int]:
        """The numbers of names that a monitor knows."""
        known = len(self._of)
        found = [self._of.setdefault(name, len(self._of)) for name in names]
        if len(self._of) > known:
            self._latest = None
        return found

    def of_poll(self, names: Sequence[str]) -> I32:
        """(k,) the number of each of a poll's names, UNKNOWN where no monitor knows it."""
        if self._latest is None or self._latest[0] is not names:
            found = [self._of.get(name, UNKNOWN) for name in names]
            self._latest = names, np.array(found, np.int32)
        return self._latest[1]


assert TOO_LONG not in (UNKNOWN, *range(len(BOOLEANS)))
