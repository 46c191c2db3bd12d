"""Times as files write them, as epoch milliseconds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, Literal

from schemas.limits import MAX_TS_MS
from schemas.timestamps import parse_ts

TimeUnit = Literal["moment", "text", "s", "ms", "us", "ns"]
"""The file's own type, already in milliseconds; text; or epoch numbers of this unit."""

_LEAST: Final[tuple[tuple[float, TimeUnit], ...]] = (
    (1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"),
)  # fmt: skip
"""From which size on a number is a moment of this unit: 1973 in each."""
_MOST: Final = 1e19
_NO_MOMENT: Final = -1
_MS: Final[dict[TimeUnit, float]] = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}


def time_unit(sample: Sequence[object]) -> TimeUnit | None:
    """How a column of numbers or text writes its times; None if most of its values are none."""
    sizes = [
        value
        for value in sample
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and _LEAST[-1][0] <= value < _MOST
    ]
    if 2 * len(sizes) > len(sample):
        return next(unit for least, unit in _LEAST if max(sizes) >= least)
    n_texts = sum(isinstance(value, str) and type(_of_text(value)) is int for value in sample)
    return "text" if 2 * n_texts > len(sample) else None


def to_ms(value: object, unit: TimeUnit) -> object:
    """Epoch milliseconds; what is no time of this unit comes back as it is, to be refused."""
    if unit == "text" and isinstance(value, str):
        return _of_text(value)
    factor = _MS.get(unit)
    if factor is None or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if value != value:  # noqa: PLR0124  NaN, as pandas writes what is missing
        return None
    if not 0 <= value < _MOST:
        return _NO_MOMENT
    if isinstance(value, int):
        ms = value * 1_000 if unit == "s" else value // round(1 / factor)
    else:
        ms = int(value * factor)
    return ms if ms <= MAX_TS_MS else _NO_MOMENT


def _of_text(text: str) -> object:
    try:
        return parse_ts(text)
    except ValueError:
        pass
    try:
        return _of_moment(dt.datetime.fromisoformat(text.strip()))
    except ValueError:
        return text


def _of_moment(moment: dt.datetime) -> int:
    """Without an offset it is taken for UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return (moment - _EPOCH) // dt.timedelta(milliseconds=1)


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
