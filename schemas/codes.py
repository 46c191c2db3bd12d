"""Numbers for names: models, shapes and classes as columns of small integers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np

from schemas.batch import F64, I32, I64, U8, PredictionKind
from schemas.columns import int32s, numbers
from schemas.field_rules import Json
from schemas.limits import MAX_FEATURES
from schemas.rules import FEATURES_RULE

K = TypeVar("K", bound=Hashable)

_NAN: Final = float("nan")


class Codes(Generic[K]):
    """Numbers for distinct values, in order of first appearance."""

    __slots__ = ("of",)

    def __init__(self) -> None:
        self.of: dict[K, int] = {}

    def code(self, value: K) -> int:
        """The number of one value."""
        return self.of.setdefault(value, len(self.of))

    def column(self, values: list[K]) -> list[int]:
        """The numbers of a column."""
        try:
            return list(map(self.of.__getitem__, values))
        except KeyError:
            for value in dict.fromkeys(values):
                self.code(value)
            return list(map(self.of.__getitem__, values))


class Seen(NamedTuple):
    """The shapes of a column of `features`: one that all have, or one for each.

    A shape is in order of its names, whatever the order of the objects; how to get there is said
    beside it, by the indices of the values.
    """

    n: int
    one: tuple[str, ...] | None
    each: list[tuple[str, ...]]
    """Empty where all have `one`."""
    order: list[tuple[int, ...] | None]
    """Of `one`, or of each: which value stands where; None where they stand right already."""


def seen_of(shapes: list[tuple[str, ...]]) -> Seen:
    """Shapes whose names are in order."""
    if shapes.count(shapes[0]) == len(shapes):
        return Seen(len(shapes), shapes[0], [], [None])
    return Seen(len(shapes), None, shapes, [None] * len(shapes))


class _Order(NamedTuple):
    """The shape of names in some order, and the index of each of its names there."""

    shape: tuple[str, ...]
    indices: tuple[int, ...] | None
    """None where the names are in order."""


class Shapes:
    """Tuples of feature names, numbered; each is judged once, when it is first seen."""

    __slots__ = ("_orders", "codes")

    def __init__(self) -> None:
        self.codes: Codes[tuple[str, ...]] = Codes()
        self._orders: dict[tuple[str, ...], _Order] = {}

    def see(self, column: list[Json] | None) -> Seen | None:
        """The shapes of a column; None where one of its values has a fault."""
        if column is None or set(map(type, column)) != {dict}:
            return None
        names = list(map(list, column))
        first = names[0]
        if names.count(first) == len(names):
            return self.see_one(tuple(first), len(names))
        orders = list(map(self._order, map(tuple, names)))
        seen = Seen(len(names), None, [o.shape for o in orders], [o.indices for o in orders])
        return seen if all(map(self._is_sound, dict.fromkeys(seen.each))) else None

    def see_one(self, names: tuple[str, ...], n: int) -> Seen | None:
        """The shape of n events with the same names in the same order; None where it is wrong."""
        shape, indices = self._order(names)
        return Seen(n, shape, [], [indices]) if self._is_sound(shape) else None

    def _is_sound(self, shape: tuple[str, ...]) -> bool:
        """Whether the names may be those of an event's features."""
        return shape in self.codes.of or FEATURES_RULE.fault(dict.fromkeys(shape)) is None

    def _order(self, names: tuple[str, ...]) -> _Order:
        known = self._orders.get(names)
        if known is None:
            # Too many are refused, and need not be sorted for that.
            shape = tuple(sorted(names)) if len(names) <= MAX_FEATURES else names
            indices = None
            if shape != names:
                at = {name: i for i, name in enumerate(names)}
                indices = tuple(map(at.__getitem__, shape))
            known = self._orders[names] = _Order(shape, indices)
        return known

    def columns(self, seen: Seen) -> tuple[I32, I64]:
        """(n,) the codes of the shapes, and (n,) how many names each has."""
        if seen.one is not None:
            code = self.codes.code(seen.one)
            return np.full(seen.n, code, np.int32), np.full(seen.n, len(seen.one), np.int64)
        codes = int32s(self.codes.column(seen.each))
        return codes, np.fromiter(map(len, seen.each), np.int64, seen.n)


class Predictions(NamedTuple):
    """The three columns of `prediction`: see `schemas.batch.Decoded`."""

    kind: U8
    number: F64
    class_code: I32


def class_name(value: Json) -> str | None:
    """The class that a prediction or label names; None for a number with a fraction or exponent."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    return str(value) if kind is int else None


class Classes:
    """Class names, numbered; an integer's name is its decimal form."""

    __slots__ = ("_of_int", "codes")

    def __init__(self) -> None:
        self.codes: Codes[str] = Codes()
        self._of_int: dict[int, int] = {}

    def columns(self, n: int, prediction: list[Json] | None) -> Predictions:
        """The columns of n predictions, of whatever kinds; None: no event has one."""
        if prediction is None:
            return Predictions(np.zeros(n, np.uint8), np.full(n, _NAN), np.full(n, -1, np.int32))
        types = set(map(type, prediction))
        if len(types) > 1:
            return self._mixed(prediction)
        (kind,) = types
        if kind is int:
            return Predictions(
                np.full(n, PredictionKind.INTEGER, np.uint8),
                numbers(prediction),
                int32s(self._codes_of_ints(prediction)),
            )
        if kind is float:
            return Predictions(
                np.full(n, PredictionKind.NUMBER, np.uint8),
                numbers(prediction),
                np.full(n, -1, np.int32),
            )
        if kind is str:
            return Predictions(
                np.full(n, PredictionKind.STRING, np.uint8),
                np.full(n, _NAN),
                int32s(self.codes.column(prediction)),
            )
        return self._mixed(prediction)

    def _codes_of_ints(self, column: list[int]) -> list[int]:
        try:
            return list(map(self._of_int.__getitem__, column))
        except KeyError:
            for value in dict.fromkeys(column):
                self._of_int[value] = self.codes.code(str(value))
            return list(map(self._of_int.__getitem__, column))

    def _mixed(self, column: list[Json]) -> Predictions:
        kinds, numbers, codes = bytearray(), [], []
        for value in column:
            kinds.append(_PREDICTION_KIND_OF_TYPE[type(value)])
            numbers.append(_NAN if value is None or type(value) is str else float(value))
            name = class_name(value)
            codes.append(-1 if name is None else self.codes.code(name))
        return Predictions(
            np.frombuffer(bytes(kinds), np.uint8),
            np.array(numbers, np.float64),
            np.array(codes, np.int32),
        )


_PREDICTION_KIND_OF_TYPE: Final[dict[type, int]] = {
    type(None): PredictionKind.ABSENT,
    int: PredictionKind.INTEGER,
    float: PredictionKind.NUMBER,
    str: PredictionKind.STRING,
    bool: PredictionKind.BOOLEAN,
}
