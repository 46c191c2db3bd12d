"""From parsed events to columns: one C-speed pass per field over a few hundred events at a time.

Everything here works on lists of `orjson.loads` values that `schemas.rules` has accepted. The lists
are short (`schemas.poll.CHUNK`), so that the parsed objects stay in the processor's cache.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
import orjson

from schemas.batch import F64, I32, I64, U8, ValueKind
from schemas.categories import Categories
from schemas.field_rules import Json
from schemas.limits import MAX_TS_MS
from schemas.timestamps import parse_alike, parse_ts

_NAN: Final = float("nan")
_NUMBERS_AND_NULL: Final = frozenset({int, float, type(None)})
_KIND_OF_TYPE: Final[dict[type, int]] = {
    int: ValueKind.NUMBER,
    float: ValueKind.NUMBER,
    type(None): ValueKind.NULL,
    str: ValueKind.STRING,
    bool: ValueKind.BOOLEAN,
    list: ValueKind.INVALID,
    dict: ValueKind.INVALID,
}
_EMPTY_KINDS: Final = frozenset({ValueKind.NULL, ValueKind.INVALID})


class Transposed(NamedTuple):
    """Events turned by a quarter: the fields that occur and are known, null where one is absent."""

    column: dict[str, list[Json]]
    n_unknown: int


class Alike(NamedTuple):
    """Predictions with the same fields, and the same features in the same order."""

    fields: Transposed
    """`features` is not among the columns."""
    shape: tuple[str, ...]
    values: list[Json]
    """Feature values, event by event."""

    def take(self, keep: list[int]) -> Alike:
        """The events at the indices `keep`."""
        column, n_unknown = self.fields
        n = len(next(iter(column.values())))
        width = len(self.shape)
        values: list[Json] = []
        for i in keep:
            values += self.values[i * width : (i + 1) * width]
        fields = Transposed(
            {name: [items[i] for i in keep] for name, items in column.items()},
            n_unknown // n * len(keep),
        )
        return Alike(fields, self.shape, values)


def transpose_alike(values: Sequence[bytes], known: frozenset[str]) -> Alike | None:
    """Parse one or more events that have all the same fields and features; None where they differ.

    The common case, and twice as fast as parsing first and transposing then: each event is taken
    apart while it is in the processor's cache, and its memory serves the next.
    """
    names = _names_beside_features(values[0])
    if len(names) < 2:  # then itemgetter would give no tuple, and no event is right
        return None
    width, n_fields, fields_of = len(names), len(names) + 1, itemgetter(*names)
    flat: list[Json] = []
    feature_names: list[str] = []
    feature_values: list[Json] = []
    loads = orjson.loads
    try:
        for value in values:
            event = loads(value)
            features = event["features"]
            flat += fields_of(event)
            feature_values += features.values()
            feature_names += features
            if len(event) != n_fields:
                return None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return None
    n = len(values)
    shape = feature_names[: len(feature_names) // n]
    # Names are unique within an object. So none that fits into the repeated pattern is longer than
    # the pattern, and as the total is right none is shorter.
    if feature_names != shape * n:
        return None
    column = {name: flat[k::width] for k, name in enumerate(names) if name in known}
    fields = Transposed(column, (width - len(column)) * n)
    return Alike(fields, tuple(shape), feature_values)


def _names_beside_features(value: bytes) -> list[str]:
    """The names of an event's fields but `features`; none if it is no object."""
    try:
        event = orjson.loads(value)
    except (ValueError, RecursionError):
        return []
    return [name for name in event if name != "features"] if type(event) is dict else []


def transpose(events: list[dict[str, Json]], known: frozenset[str]) -> Transposed:
    """The columns of one or more events of one type, and how many fields are not `known`.

    Events of one layout (the same fields in the same order, as one producer sends them) cost half
    of what mixed ones do.
    """
    layouts = list(map(list, events))
    first = layouts[0]
    if layouts.count(first) == len(layouts):
        flat: list[Json] = []
        for event in events:
            flat += event.values()
        width = len(first)
        column = {name: flat[k::width] for k, name in enumerate(first) if name in known}
        return Transposed(column, (width - len(column)) * len(events))
    n_of = Counter(map(tuple, layouts))
    names = [name for name in dict.fromkeys(chain.from_iterable(n_of)) if name in known]
    return Transposed(
        {name: [event.get(name) for event in events] for name in names},
        sum(n * sum(name not in known for name in layout) for layout, n in n_of.items()),
    )


def event_times(column: list[Json] | None) -> I64 | None:
    """(n,) `ts` in epoch ms; None where the column is absent or a value of it is no `ts`."""
    if column is None:
        return None
    try:
        types = set(map(type, column))
        if types == {str} and (alike := parse_alike(column)) is not None:
            return alike
        if types != {int}:
            return int64s(list(map(parse_ts, column)))
        times = int64s(column)
    except (TypeError, ValueError, struct.error):  # struct.error: beyond 64 bits
        return None
    # What parse_ts says of each integer.
    return times if times.min() >= 0 and times.max() <= MAX_TS_MS else None


def int64s(column: list[int]) -> I64:
    """(n,) 64-bit integers as a read-only array; `struct` is four times as fast as numpy here."""
    return np.frombuffer(struct.pack(f"{len(column)}q", *column), np.int64)


def int32s(column: list[int]) -> I32:
    """(n,) 32-bit integers as a read-only array."""
    return np.frombuffer(struct.pack(f"{len(column)}i", *column), np.int32)


def numbers(column: Sequence[float]) -> F64:
    """(n,) ints and floats (no null) as a read-only array."""
    return np.frombuffer(struct.pack(f"{len(column)}d", *column), np.float64)


class Values(NamedTuple):
    """Feature values as columns: see `schemas.batch.Decoded`."""

    value: F64
    kind: U8


def feature_values(values: list[Json], width: int | None, categories: Categories) -> Values:
    """The values of many events, event by event; `width` of each where they have one shape.

    Strings become the numbers that `categories` has for them.
    """
    if not values:
        return Values(np.empty(0), np.empty(0, np.uint8))
    all_numbers = _all_numbers(values)
    if all_numbers is not None:
        return all_numbers
    if width is None or width == len(values):
        return _any_kinds(values, categories)
    value = np.empty((len(values) // width, width))
    kind = np.empty(value.shape, np.uint8)
    for j in range(width):  # most columns hold numbers only, or one other kind
        value[:, j], kind[:, j] = feature_values(values[j::width], None, categories)
    return Values(value.reshape(-1), kind.reshape(-1))


def nullable_numbers(doubles: bytes | bytearray) -> Values:
    """The values of many events, as doubles in native order; NaN for null."""
    value = np.frombuffer(doubles, np.float64)
    # JSON has no NaN, so a NaN is a null.
    return Values(value, np.isnan(value).astype(np.uint8) * np.uint8(ValueKind.NULL))


def in_order(values: Values, width: int, indices: Sequence[int]) -> Values:
    """The values of events of one shape with those of each event in another order."""
    value, kind = values
    return Values(
        value.reshape(-1, width)[:, indices].reshape(-1),
        kind.reshape(-1, width)[:, indices].reshape(-1),
    )


def _all_numbers(values: list[Json]) -> Values | None:
    """The values if all are numbers, else None: a fifth of what looking at each type costs.

    `struct` converts int, float and bool, and refuses everything else that JSON has; a bool
    becomes exactly 0 or 1, so only where those occur the types have to be looked at.
    """
    n = len(values)
    try:
        value = np.frombuffer(struct.pack(f"{n}d", *values), np.float64)
    except struct.error:
        return None
    suspects = np.flatnonzero((value == 0.0) | (value == 1.0))
    if 3 * len(suspects) > n:
        if bool in set(map(type, values)):
            return None
    elif len(suspects) and bool in {type(values[i]) for i in suspects.tolist()}:
        return None
    return Values(value, np.zeros(n, np.uint8))


def _any_kinds(values: list[Json], categories: Categories) -> Values:
    types = set(map(type, values))
    if types <= _NUMBERS_AND_NULL:
        return nullable_numbers(numbers([_NAN if v is None else v for v in values]).tobytes())
    n = len(values)
    if types == {str}:
        return Values(numbers(categories.column(values)), np.full(n, ValueKind.STRING, np.uint8))
    kinds = bytes(map(_KIND_OF_TYPE.__getitem__, map(type, values)))
    codes = iter(categories.column([v for v in values if type(v) is str]))
    value = numbers(
        [
            next(codes) if k == ValueKind.STRING else _NAN if k in _EMPTY_KINDS else v
            for k, v in zip(kinds, values, strict=True)
        ]
    )
    return Values(value, np.frombuffer(kinds, np.uint8))


def scores(n: int, score: list[Json] | None, probabilities: list[Json] | None) -> F64:
    """(n,) `score`, where it is null the one derived from `probabilities`, else NaN."""
    if score is None:
        score = [None] * n
    elif probabilities is None and None not in score:
        return numbers(score)
    if probabilities is not None:
        score = [
            derived_score(p) if s is None and p is not None else s
            for s, p in zip(score, probabilities, strict=True)
        ]
    return np.array(score, np.float64)  # None becomes NaN


def nullable_column(n: int, column: list[Json] | None) -> F64:
    """(n,) the numbers of a field, NaN where one is null or the column is absent."""
    if column is None:
        return np.full(n, _NAN)
    return numbers(column) if None not in column else np.array(column, np.float64)


def derived_score(probabilities: dict[str, float]) -> float:
    """Of two classes the p of the one that sorts last (by code points), else the largest p."""
    if len(probabilities) == 2:
        return probabilities[max(probabilities)]
    return max(probabilities.values())
