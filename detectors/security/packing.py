"""Arrays of many shapes as a few long ones: what a document of a state refers to."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import BankState, StateError, require_array

_DTYPES: Final = ("<f8", "<i8", "<i4", "<u8", "|u1")


def _name(dtype: np.dtype[Any]) -> str:
    return "packed_" + dtype.str[1:]


PACKED: Final = frozenset(_name(np.dtype(dtype)) for dtype in _DTYPES)
"""The names of the long arrays."""


class Packer:
    """Puts arrays behind one another, those of one dtype into one."""

    def __init__(self) -> None:
        self._held: dict[str, list[NDArray[Any]]] = {dtype: [] for dtype in _DTYPES}

    def add(self, array: NDArray[Any]) -> None:
        """Raises KeyError for a dtype that is not kept."""
        self._held[array.dtype.str].append(array.reshape(-1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that was added."""
        return {
            _name(np.dtype(dtype)): np.concatenate([np.zeros(0, dtype), *held])
            for dtype, held in self._held.items()
        }


class Unpacker:
    """Takes them out again in the same order; raises `StateError` where they are not there."""

    def __init__(self, state: BankState) -> None:
        self._held = {
            dtype: require_array(state, _name(np.dtype(dtype)), np.dtype(dtype), (None,))
            for dtype in _DTYPES
        }
        self._at = dict.fromkeys(_DTYPES, 0)

    def take(self, dtype: type[Any], *shape: int) -> NDArray[Any]:
        """The next array of this dtype."""
        name = np.dtype(dtype).str
        # Python's integers: a product of lengths that a document states must not wrap around.
        size = 1
        for length in shape:
            if length < 0:
                raise StateError("an array of the state has a negative length")
            size *= length
        held, at = self._held[name], self._at[name]
        if size > len(held) - at:
            raise StateError(f"the packed arrays {name!r} of the state are too short")
        self._at[name] = at + size
        return held[at : at + size].reshape(shape).copy()

    def finish(self) -> None:
        """Nothing may be left over."""
        for dtype, held in self._held.items():
            if self._at[dtype] != len(held):
                raise StateError(f"the packed arrays {dtype!r} of the state are too long")
