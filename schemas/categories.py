"""Numbers for the categories that a poll's features hold."""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.batch import F64, U8, ValueKind
from schemas.limits import MAX_CATEGORY_CHARS

TOO_LONG: Final = -1
"""Stands for every category whose name is too long to be kept."""


class Categories:
    """Names of categories, numbered as they are met.

    The numbers are doubles: they stand in the column of the values, which a kind says they are none
    of. In what order a poll is converted decides on them; `in_log_order` has the last word.
    """

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        """All of them, in the order of their numbers."""
        return list(self._of)

    def number(self, name: str) -> int:
        """The number of one; TOO_LONG where its name is."""
        known = self._of.get(name)
        if known is None:
            if len(name) > MAX_CATEGORY_CHARS:
                return TOO_LONG
            known = self._of[name] = len(self._of)
        return known

    def column(self, names: list[str]) -> list[int]:
        """The numbers of a column of names."""
        try:
            return list(map(self._of.__getitem__, names))
        except KeyError:
            return list(map(self.number, names))


def in_log_order(value: F64, kind: U8, names: list[str]) -> tuple[F64, list[str]]:
    """Number categories anew, by first appearance in these values (v,); names in that order.

    Names that do not occur are left out.
    """
    if not names:
        return value, names
    at = np.flatnonzero(kind == ValueKind.STRING)
    code = value[at].astype(np.int64)
    at, code = at[code >= 0], code[code >= 0]
    first = np.full(len(names), len(value), np.int64)
    first[code[::-1]] = at[::-1]  # of equal ones the last assigned stays: the first to appear
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < len(value))]
    if len(order) == len(names) and (order[1:] > order[:-1]).all():
        return value, names
    new = np.zeros(len(names))
    new[order] = np.arange(len(order))
    value = value.copy()
    value[at] = new[code]
    return value, [names[k] for k in order.tolist()]
