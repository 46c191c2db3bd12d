"""Hits beside what chance would hit: alarms against the windows in which one is right."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final, Self

ALWAYS: Final = "fires at every row"
"""What hits all there is to hit, and says nothing."""
Window = tuple[int, int]
"""First row, and the row after the last one."""


@dataclass(frozen=True, slots=True)
class Hits:
    """What alarms hit, and what as many at random rows would. Hits of several streams add up."""

    n_windows: int = 0
    n_hit: int = 0
    n_chance: float = 0.0
    """Windows that as many alarms would hit on average, each at any row with the same chance."""
    n_alarms: int = 0
    n_outside: int = 0
    """Alarms in no window."""

    def __add__(self, other: Self) -> Self:
        return type(self)(
            *(getattr(self, one.name) + getattr(other, one.name) for one in fields(self))
        )


def score(fired: Sequence[int], windows: Iterable[Window], first: int, end: int) -> Hits:
    """Ascending alarm rows against windows, of the rows from `first` up to `end`, exclusive.

    Of a window only its rows in there count; one that has none is no window.
    """
    inside = [(max(a, first), min(b, end)) for a, b in windows]
    inside = [(a, b) for a, b in inside if a < b]
    n_in = [bisect_left(fired, b) - bisect_left(fired, a) for a, b in inside]
    covered = {row for row in fired for a, b in inside if a <= row < b}
    n_rows = end - first
    chance = sum(1.0 - (1.0 - (b - a) / n_rows) ** len(fired) for a, b in inside)
    return Hits(
        len(inside),
        sum(n > 0 for n in n_in),
        chance,
        len(fired),
        sum(row not in covered for row in fired),
    )
