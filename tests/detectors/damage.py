"""Changes that make the arrays of a state ones that no fold has left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def put(name: str, at: int | tuple[int, int], number: float) -> Callable[[Arrays], None]:
    """One number of an array is another."""

    def change(state: Arrays) -> None:
        state[name][at] = number

    return change


def cut(name: str) -> Callable[[Arrays], None]:
    """An array lacks its last element."""

    def change(state: Arrays) -> None:
        state[name] = state[name][:-1]

    return change
