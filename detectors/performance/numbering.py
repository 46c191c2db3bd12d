"""Class numbers of one model version, by the codes that stand for its classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.labels.identity import NONE, class_code
from schemas.batch import I32, I64

NO_CLASS: Final = -1
UNKNOWN: Final = 2**30
"""The number of a class that has none; a second one beside it has the next."""


class Numbering:
    """The numbers of these classes: their places."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.number: Final = {class_code(name): place for place, name in enumerate(classes)}
        """By code."""

    def numbers(self, codes: I64) -> I32:
        """(n,) the number of each code: NO_CLASS for none, UNKNOWN for one without a number."""
        used, place = np.unique(codes, return_inverse=True)
        of_used = [
            NO_CLASS if code == NONE else self.number.get(code, UNKNOWN) for code in used.tolist()
        ]
        return np.array(of_used, np.int32)[place.reshape(-1)]

    def pairs(self, predicted: I64, label: I64) -> tuple[I32, I32]:
        """The numbers of both, (n,) each: equal where, and only where, their codes are."""
        first, second = self.numbers(predicted), self.numbers(label)
        second[(second == UNKNOWN) & (label != predicted)] = UNKNOWN + 1
        return first, second
