"""What a bank knows of each kind of client of each model: one entry per calibration, no more.

Few of all pairs of model and kind are ever calibrated, so entries stand one after the other, and
`entry` says which one is whose.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array
from detectors.drift.lane_table import Column, LaneTable, require_all
from detectors.mixing import GOLDEN, splitmix64
from detectors.security.base import N_KINDS, Calibration
from schemas.batch import F64, I32

_ENTRY: Final = "entry"


class KindTable:
    """Equally long arrays, one row per calibration that was given.

    Arrays are fetched by name at each use: `give` and `forget` put new ones in their place.
    """

    def __init__(self, columns: tuple[Column, ...], n_models: int, state: BankState | None) -> None:
        self._columns = columns
        self._arrays: dict[str, NDArray[Any]] = {}
        if state is None:
            self.entry: I32 = np.full((n_models, N_KINDS), -1, np.int32)
            n = 0
        else:
            self.entry = require_array(state, _ENTRY, np.int32, (n_models, N_KINDS))
            used = np.sort(self.entry[self.entry != -1])
            n = len(used)
            require_all(used == np.arange(n), "entry names rows twice, or such as there are not")
        for column in columns:
            shape = (n, *column.shape)
            if state is None:
                array = np.full(shape, column.initial, column.dtype)
            else:
                array = require_array(state, column.name, column.dtype, shape)
            self._arrays[column.name] = array

    def __len__(self) -> int:
        return int(np.count_nonzero(self.entry >= 0))

    @property
    def names(self) -> tuple[str, ...]:
        """All arrays that `snapshot` gives."""
        return (_ENTRY, *self._arrays)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The bank's own array, to be written by a kernel."""
        return self._arrays[name]

    def give(self, model: int, kind: int, values: Mapping[str, Any]) -> int:
        """Put a calibration in; what `values` does not name is as at the beginning. Its entry."""
        if not (0 <= model < len(self.entry) and 0 <= kind < N_KINDS):
            raise StateError(f"no kind {kind} of a model {model}")
        at = int(self.entry[model, kind])
        for column in self._columns:
            array = self._arrays[column.name]
            if at < 0:
                new = np.full((1, *column.shape), column.initial, column.dtype)
                array = self._arrays[column.name] = np.concatenate([array, new])
            array[at] = values.get(column.name, np.asarray(column.initial, column.dtype))
        if at < 0:
            at = self.entry[model, kind] = len(self)
        return int(at)

    def forget(self, model: int) -> None:
        """Take all calibrations of a model out."""
        own = self.entry[model]
        kept = np.ones(len(self), np.bool_)
        kept[own[own >= 0]] = False
        own[:] = -1
        renumbered = np.append(np.cumsum(kept) - 1, -1).astype(np.int32)
        self.entry = np.ascontiguousarray(renumbered[self.entry])
        for name, array in self._arrays.items():
            self._arrays[name] = np.ascontiguousarray(array[kept])

    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Copies of all arrays."""
        copies = {name: array.copy() for name, array in self._arrays.items()}
        return {_ENTRY: self.entry.copy(), **copies}


def calibrated(
    calibration: Calibration,
    name: str,
    shape: tuple[int, ...],
    least: float,
    most: float,
) -> F64:
    """One array of a calibration, its shape and range checked; raises `StateError`."""
    array = require_array(calibration, name, np.float64, shape)
    # NaN lies in no range.
    require_all((array >= least) & (array <= most), f"{name} is out of range")
    return array


def begin_anew(places: LaneTable, model: int, kind: int = 0) -> None:
    """Let the places of a model's sources begin anew, that are judged by this kind; 0: all.

    Those of a kind that is calibrated only now were judged as kind 0, of whose rows they were part.
    """
    own = places["owner"] == model
    if kind != 0:
        own &= places["judged"] == kind
    places.reset(np.flatnonzero(own).astype(np.int32))


def jitter(salt: int, model: int, kind: int) -> float:
    """0.95 to 1.05: by what a deployment's thresholds differ from what was learned."""
    x = (salt ^ (model * N_KINDS + kind + 1) * int(GOLDEN)) & (2**64 - 1)
    mixed = int(splitmix64(np.array([x], np.uint64))[0])
    return 0.95 + 0.1 * (mixed >> 11) / 2.0**53
