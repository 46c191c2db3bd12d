"""The arrays of a bank, one entry per lane: growth, initial values, snapshot."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from schemas.batch import F64, I32, Bool

MAX_N = 2**53
"""No lane counts further than a float64 counts exactly."""


class Column(NamedTuple):
    """One array of a bank: `initial` is what a lane holds that has observed nothing."""

    name: str
    dtype: type[Any]
    initial: float | tuple[float, ...]
    shape: tuple[int, ...] = ()
    """Of one lane's entry."""


class LaneTable:
    """Equally long arrays indexed by lane, whose capacity doubles.

    Arrays are fetched by name at each use: `resize` may put new ones in their place.
    """

    def __init__(self, columns: tuple[Column, ...], n_lanes: int, state: BankState | None) -> None:
        self.n_lanes = n_lanes
        self._columns = columns
        self._arrays: dict[str, NDArray[Any]] = {}
        for column in columns:
            if state is None:
                array = np.full((n_lanes, *column.shape), column.initial, column.dtype)
            else:
                array = require_array(state, column.name, column.dtype, (n_lanes, *column.shape))
            self._arrays[column.name] = array

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the arrays, in the order of the columns."""
        return tuple(self._arrays)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """One array at its full capacity: the bank's own, to be written by a kernel."""
        return self._arrays[name]

    def view(self, name: str) -> NDArray[Any]:
        """One array, read-only, of `n_lanes` entries; good until the bank's next `resize`."""
        view = self._arrays[name][: self.n_lanes]
        view.flags.writeable = False
        return view

    def resize(self, n_lanes: int) -> None:
        """Make room for `n_lanes` lanes; never shrinks."""
        if n_lanes <= self.n_lanes:
            return
        for column in self._columns:
            array = self._arrays[column.name]
            if n_lanes > len(array):
                length = max(n_lanes, 2 * len(array))
                grown = np.full((length, *column.shape), column.initial, column.dtype)
                grown[: len(array)] = array
                self._arrays[column.name] = grown
        self.n_lanes = n_lanes

    def reset(self, lanes: I32) -> None:
        """Put these lanes back to the initial values."""
        require_lanes(lanes, self.n_lanes)
        for column in self._columns:
            self._arrays[column.name][lanes] = column.initial

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Copies of the arrays, of `n_lanes` entries each."""
        return {name: array[: self.n_lanes].copy() for name, array in self._arrays.items()}


def require_lanes(lanes: I32, n_lanes: int) -> None:
    """Raise IndexError where a lane number is not below `n_lanes`, or is negative."""
    if lanes.size and (lanes.min() < 0 or lanes.max() >= n_lanes):
        raise IndexError(f"lanes {lanes.min()}..{lanes.max()} of a bank of {n_lanes}")


def require_names(state: BankState, names: set[str]) -> None:
    """Raise `StateError` where the snapshot has other arrays than these."""
    if set(state) != names:
        raise StateError(f"the state has arrays {sorted(state)}, expected {sorted(names)}")


def require_all(condition: Bool | np.bool_, what: str) -> None:
    """Raise `StateError` with the sentence `what` where the condition fails anywhere."""
    if not np.all(condition):
        raise StateError(what)


def within(numbers: NDArray[Any], limit: int) -> NDArray[np.bool_]:
    """Whether each integer lies in -limit..limit (`abs` of the least of all is negative)."""
    return (numbers >= -limit) & (numbers <= limit)


def with_room(derived: F64, n_lanes: int) -> F64:
    """(n_lanes or more, ...) what is derived of each lane; 0 of new ones. It doubles to grow."""
    n_known = len(derived)
    if n_lanes <= n_known:
        return derived
    grown = np.zeros((max(n_lanes, 2 * n_known), *derived.shape[1:]))
    grown[:n_known] = derived
    return grown
