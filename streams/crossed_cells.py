"""Losses by the groups of all features at once, and what two versions have in common there. Pure.

A version may have been given the hard ones by several features at once. Each of them alone explains
only its own part of that; their crossing explains all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np

from schemas.batch import F64, I64, Bool
from streams.difference import Sums

_LESS_OFTEN: Final = 4
"""A group that the old version had more than so many times less often than the new one, in shares
and in labels, takes no part in what is compared on the same mix."""
KNOWN: Final = 0.95
"""Of the new version's events: less, and the mix of a feature, or of several, is not known."""
_FEW: Final = 8
"""Labels of the old version, in a cell that should have more: fewer may be missing by chance."""
_CHANCE: Final = 2.0
"""Standard errors: what a mix adds to another one is taken for chance where it is less. Unless the
mixes lie very far apart, that is less than what an interval of the difference allows for."""
Pairs = Sequence[tuple[Sums, Sums]]
"""By group or cell the losses of the new version, and of the old one."""


class Cells(NamedTuple):
    """One version's losses by cell: by the group of each feature, or the rest of it.

    As bytes, since there may be as many cells as labels.
    """

    groups: Mapping[str, tuple[str, ...]]
    """By feature the names of its groups."""
    codes: bytes
    """By cell and feature: 0 the rest, else the place of the group, from 1 on."""
    losses: bytes
    """By cell how many, their sum, and the sum of their squares."""

    @property
    def n_bytes(self) -> int:
        """Of its numbers."""
        return len(self.codes) + len(self.losses)


NO_CELLS: Final = Cells({}, b"", b"")


def cells_of(groups: Mapping[str, Mapping[str, Bool]], losses: F64) -> Cells:
    """By feature and group: (m,) which of the losses are in it."""
    codes = np.zeros((len(losses), len(groups)), np.uint8)
    for column, there in enumerate(groups.values()):
        for code, is_in in enumerate(there.values(), 1):
            codes[is_in, column] = code
    if not codes.size:
        return NO_CELLS
    found, cell = np.unique(codes, axis=0, return_inverse=True)
    sums = [
        _summed(cell.ravel(), each) for each in (np.ones_like(losses), losses, np.square(losses))
    ]
    names = {feature: tuple(there) for feature, there in groups.items()}
    return Cells(names, found.tobytes(), np.column_stack(sums).tobytes())


class Crossing(NamedTuple):
    """What both versions had of the crossing of some features."""

    pairs: Pairs
    """Of the cells that take part."""
    is_known: bool
    """Whether the other cells hold no more than a few of the new one's labels, but for chance."""


class BothCells:
    """The cells of the new version and of the old one."""

    def __init__(self, new: Cells, old: Cells) -> None:
        # A category may be a group in the window of one version alone.
        self._groups: Final = {
            feature: {
                name: code
                for code, name in enumerate(
                    sorted({*new.groups.get(feature, ()), *old.groups.get(feature, ())}), 1
                )
            }
            for feature in sorted(new.groups.keys() | old.groups.keys())
        }
        self._codes: Final = {
            feature: np.concatenate([_codes(each, feature, names) for each in (new, old)])
            for feature, names in self._groups.items()
        }
        losses = [np.frombuffer(each.losses, np.float64).reshape(-1, 3) for each in (new, old)]
        # (rows, 6): the sums of the new version and those of the old one; a row has one of both.
        self._sums: Final[F64] = np.zeros((sum(map(len, losses)), 6))
        self._sums[: len(losses[0]), :3] = losses[0]
        self._sums[len(losses[0]) :, 3:] = losses[1]

    def moves(
        self, features: Sequence[str], within: tuple[str, str] | None = None
    ) -> Mapping[str, float]:
        """By feature how much its mix makes of the old version's mean, in all events or `within`.

        By itself, or added to that of one other: what is hard for two features together may be no
        harder for each of them. What is added by chance is nothing, as there are many pairs, and so
        is what is of cells that are too sparse. Of features by themselves small moves add up.
        """
        there = self._there(within)
        rows = self._sums[there]
        codes = {name: self._codes[name][there] for name in features if name in self._codes}
        alone = {name: _made(cell, rows) for name, cell in codes.items()}
        found = {name: abs(made) for name, (made, _) in alone.items()}
        for pair in combinations(codes, 2):
            one, other = pair
            made, error = _made(codes[one] * (1 + len(self._groups[other])) + codes[other], rows)
            if error > 0.0:
                for name, added in (pair, pair[::-1]):
                    by_itself, _ = alone[name]
                    found[added] = max(found[added], _surely(made - by_itself, error))
        return found

    def crossed(
        self, features: Sequence[str], within: tuple[str, str] | None = None
    ) -> Crossing | None:
        """The crossing of these features, of which each alone is known; None: fewer than two.

        They are added one after the other, without those that make the cells too sparse: at most a
        twentieth of the new version's labels may be in cells that take no part and are so small
        that this may be chance. `within` is a feature and a group of it, of which the cells are
        taken; there one feature is enough, since it was not looked at within the group.
        """
        there = self._there(within)
        rows = self._sums[there]
        cell: I64 = np.zeros(len(rows), np.int64)
        n_crossed, n_lost = 0, 0.0
        for feature in features if len(rows) else ():
            if feature not in self._codes:
                continue
            wide = cell * (1 + len(self._groups[feature])) + self._codes[feature][there]
            finer: I64 = np.unique(wide, return_inverse=True)[1].ravel()
            new, old = (_summed(finer, rows[:, column]) for column in (0, 3))
            sparse = _are_sparse(new, old)
            if new[sparse].sum() <= (1 - KNOWN) * new.sum():
                cell = finer
                n_crossed += 1
                n_lost = float(new[~take_part(new, old) & ~sparse].sum() / new.sum())
        if n_crossed < (2 if within is None else 1):
            return None
        sums: F64 = np.column_stack([_summed(cell, column) for column in rows.T])
        return Crossing(
            [
                (Sums(int(n), t, q), Sums(int(m), u, r))
                for n, t, q, m, u, r in sums[take_part(sums[:, 0], sums[:, 3])].tolist()
            ],
            is_known=n_lost <= 1 - KNOWN,
        )

    def _there(self, within: tuple[str, str] | None) -> Bool:
        """(rows,) which are in a group; all where none is named."""
        if within is None:
            return np.ones(len(self._sums), np.bool_)
        own, group = within
        code = self._groups.get(own, {}).get(group)
        if code is None:
            return np.zeros(len(self._sums), np.bool_)
        found: Bool = self._codes[own] == code
        return found


def _made(cell: I64, rows: F64) -> tuple[float, float]:
    """What the new version's mix of cells makes of the old one's mean, and the standard error.

    Nothing, and no error, where the cells are too sparse.
    """
    new, old, total, squares = (_summed(cell, rows[:, column]) for column in (0, 3, 4, 5))
    part = take_part(new, old)
    if not part.any() or new[_are_sparse(new, old)].sum() > (1 - KNOWN) * new.sum():
        return 0.0, 0.0
    new, old, total = new[part], old[part], total[part]
    more = new / new.sum() - old / old.sum()
    variance = squares[part].sum() / old.sum() - (total.sum() / old.sum()) ** 2
    error = np.sqrt(max(variance, 0.0) * (np.square(more) / old).sum())
    return float(more @ (total / old)), float(error)


def _surely(made: float, error: float) -> float:
    return abs(made) if abs(made) >= _CHANCE * error else 0.0


def _are_sparse(new: F64, old: F64) -> Bool:
    """(k,) which cells take no part, of which the old version may lack labels by chance."""
    found: Bool = ~take_part(new, old) & (new * old.sum() < _FEW * new.sum())
    return found


def take_part(new: F64, old: F64) -> Bool:
    """(k,) which groups take part, by how many labels each version has in them."""
    n, m = new.sum(), old.sum()
    found: Bool = (new > 0) & (old > 0) & (_LESS_OFTEN * old * max(n, m) >= new * m)
    return found


def _summed(cell: I64, of_rows: F64) -> F64:
    """By cell, of which each row has the number of one."""
    return np.bincount(cell, of_rows).astype(np.float64)


def _codes(cells: Cells, feature: str, names: Mapping[str, int]) -> I64:
    """By cell the number of its group of a feature; 0: the rest."""
    n = len(cells.losses) // 24
    if feature not in cells.groups:
        return np.zeros(n, np.int64)
    columns = np.frombuffer(cells.codes, np.uint8).reshape(n, -1)
    table = np.array([0, *(names[each] for each in cells.groups[feature])], np.int64)
    return table[columns[:, list(cells.groups).index(feature)]]
