"""What a rule about one field is, and the rules that several fields share.

A rule has two sides. `fault` judges one value, exactly. `quick` accepts a whole column of values at
C speed: where it says True there is no fault in the column; where it says False, `fault` decides
each value. So the two cannot disagree on what is refused, whatever `quick` leaves to `fault`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from schemas.limits import MAX_ID_CHARS, MAX_NAME_CHARS
from schemas.reasons import Reason

Json = Any
"""What `orjson.loads` returns: dict, list, str, int, float, bool or None."""

NUMBERS: Final = frozenset({int, float})
_SCALARS: Final = frozenset({int, float, str, bool})


class Fault(NamedTuple):
    """Why an event is refused; `detail` names the field and the remedy, never a value."""

    reason: Reason
    field: str
    detail: str


class FieldRule(NamedTuple):
    """What one field must hold. A field that is not required may be absent or null."""

    name: str
    required: bool
    quick: Callable[[list[Json]], bool]
    """Of a column without nulls: True only where no value has a fault."""
    fault: Callable[[Json], Fault | None]
    """Of one value that is not null."""


def text(name: str, *, required: bool = False, min_chars: int = 0) -> FieldRule:
    """A string of at most `MAX_ID_CHARS` characters."""

    def quick(column: list[Json]) -> bool:
        try:
            "".join(column)  # the cheapest check that every item is a string
        except TypeError:
            return False
        lengths = set(map(len, column))
        return not lengths or (min(lengths) >= min_chars and max(lengths) <= MAX_ID_CHARS)

    def fault(value: Json) -> Fault | None:
        if type(value) is not str:
            return Fault(Reason.WRONG_TYPE, name, f"`{name}` must be a string")
        if len(value) < min_chars:
            return Fault(Reason.EMPTY_FIELD, name, f"`{name}` is empty: fill it")
        if len(value) > MAX_ID_CHARS:
            return Fault(
                Reason.TOO_LONG,
                name,
                f"`{name}` has more than {MAX_ID_CHARS} characters: shorten it",
            )
        return None

    return FieldRule(name, required, quick, fault)


def number(
    name: str, *, low: float | None = None, high: float | None = None, open_low: bool = False
) -> FieldRule:
    """A JSON number from `low` (excluded where `open_low`) to `high`."""
    bounds = " and ".join(
        ([] if low is None else [f"{'above' if open_low else 'at least'} {low}"])
        + ([] if high is None else [f"at most {high}"])
    )

    def inside(least: float, most: float) -> bool:
        return (low is None or (least > low if open_low else least >= low)) and (
            high is None or most <= high
        )

    def quick(column: list[Json]) -> bool:
        if not set(map(type, column)) <= NUMBERS:
            return False
        return not bounds or not column or inside(min(column), max(column))

    def fault(value: Json) -> Fault | None:
        if type(value) not in NUMBERS:
            return Fault(
                Reason.WRONG_TYPE,
                name,
                f"`{name}` must be a number: no string, no boolean; leave it out if unknown",
            )
        if not inside(value, value):
            return Fault(Reason.OUT_OF_RANGE, name, f"`{name}` must be {bounds}")
        return None

    return FieldRule(name, False, quick, fault)


def scalar(name: str, *, required: bool = False) -> FieldRule:
    """A number, a string of at most `MAX_NAME_CHARS` characters, or a boolean."""

    def quick(column: list[Json]) -> bool:
        types = set(map(type, column))
        if types <= _SCALARS:
            return str not in types or all(
                len(v) <= MAX_NAME_CHARS for v in column if type(v) is str
            )
        return False

    def fault(value: Json) -> Fault | None:
        if type(value) not in _SCALARS:
            return Fault(
                Reason.WRONG_TYPE, name, f"`{name}` must be a number, a string or a boolean"
            )
        if type(value) is str and len(value) > MAX_NAME_CHARS:
            return Fault(
                Reason.TOO_LONG,
                name,
                f"`{name}` has more than {MAX_NAME_CHARS} characters: a class has a short name",
            )
        return None

    return FieldRule(name, required, quick, fault)


def fault_of_names(names: Iterable[str], field: str, *, min_chars: int) -> Fault | None:
    """The fault in the names (an iterable of strings) of the object in `field`, if any."""
    lengths = set(map(len, names))
    if lengths and min(lengths) < min_chars:
        return Fault(Reason.EMPTY_FIELD, field, f"a name in `{field}` is empty: name it")
    if lengths and max(lengths) > MAX_NAME_CHARS:
        return Fault(
            Reason.TOO_LONG,
            field,
            f"a name in `{field}` has more than {MAX_NAME_CHARS} characters: shorten it",
        )
    return None
