"""`ts` on the wire: the one function that reads it, for the pydantic models and the fast decoder.

A string is RFC 3339: date, `T` (or `t`, or one space, as its section 5.6 allows), time with
seconds, an optional fraction of any number of digits (cut off after the milliseconds, towards the
past), and an offset, which is required: `Z`, `z` or `+hh:mm`. An integer is epoch milliseconds.

The leap second `:60` is taken where UTC may have one, at 23:59:60, and is read as the second after
it, as POSIX time has it; at any other time of day it is refused.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.limits import MAX_TS_CHARS, MAX_TS_MS

I64 = NDArray[np.int64]
_FORM: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_MINUTE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:")
_DAY_MS: Final = 86_400_000
_EPOCH_DAY: Final = dt.date(1970, 1, 1).toordinal()
_SECOND_MS: Final = {f"{s:02}": s * 1_000 for s in range(60)}
_SECOND_POINT_MS: Final = {f"{s:02}.": s * 1_000 for s in range(60)}
_MILLIS: Final = {f"{ms:03}": ms for ms in range(1_000)}
# Tables, and not int(): it takes signs, spaces, underscores and the digits of any script.


def parse_ts(value: object) -> int:
    """Epoch milliseconds of a `ts`, in 0..`MAX_TS_MS`.

    Raises TypeError for what is neither string nor integer (a boolean, a float, null), and
    ValueError for what is no moment in the range. Neither repeats the value.
    """
    if type(value) is int:
        if 0 <= value <= MAX_TS_MS:
            return value
        raise ValueError("not epoch milliseconds of the years 1970 to 9999")
    if type(value) is not str:
        raise TypeError("neither an RFC 3339 string nor integer epoch milliseconds")
    # The common forms in UTC: whole seconds, and three or more digits of a fraction.
    n = len(value)
    if n <= MAX_TS_CHARS and value[-1:] == "Z":
        within: int | None = None
        if n == 20:
            within = _SECOND_MS.get(value[17:19])
        elif n == 24 or (n > 24 and value[23:-1].isdecimal() and value.isascii()):
            second_ms, millis = _SECOND_POINT_MS.get(value[17:20]), _MILLIS.get(value[20:23])
            if second_ms is not None and millis is not None:
                within = second_ms + millis
        if within is not None:
            ts_ms = _minute_ms(value[:17]) + within
            if ts_ms >= 0:
                return ts_ms
            raise ValueError("before the year 1970")
    return _parse_any(value)


def parse_alike(column: list[str]) -> I64 | None:
    """(n,) epoch ms of texts that are all `YYYY-MM-DDThh:mm:ss.mmmZ`; None where one is not.

    What it gives is what `parse_ts` gives: reading the digits of all of them at once takes a fifth
    of the time, and what is left of each text is the same for all of a minute.
    """
    try:
        raw = "".join(column).encode("ascii")
    except UnicodeEncodeError:
        return None
    if set(map(len, column)) != {24}:
        return None
    text = np.frombuffer(raw, np.uint8).reshape(len(column), 24)
    digit = text[:, 17:23] - np.uint8(ord("0"))  # one that is none wraps round, or is above 9
    of_seconds = digit[:, 0] * np.int64(10) + digit[:, 1]
    is_plain = (text[:, 19] == ord(".")) & (text[:, 23] == ord("Z")) & (of_seconds < 60)
    if not is_plain.all() or (digit[:, [0, 1, 3, 4, 5]] > 9).any():
        return None
    millis = digit[:, 3] * np.int64(100) + digit[:, 4] * np.int64(10) + digit[:, 5]
    prefix = text[:, :17]
    try:
        if (prefix == prefix[0]).all():
            start = np.array([_minute_ms(column[0][:17])])
        else:
            minutes = [value[:17] for value in column]
            of_minute = {minute: _minute_ms(minute) for minute in dict.fromkeys(minutes)}
            start = np.array([of_minute[minute] for minute in minutes], np.int64)
    except ValueError:
        return None
    times: I64 = start + of_seconds * 1_000 + millis
    return times if times.min() >= 0 else None


@lru_cache(maxsize=4_096)
def _minute_ms(text: str) -> int:
    """Epoch milliseconds of `YYYY-MM-DDThh:mm:`; remembered: events come by the minute."""
    if _MINUTE.fullmatch(text) is None:
        raise ValueError("not an RFC 3339 date and time")
    return _clock_ms(text[0:4], text[5:7], text[8:10], text[11:13], text[14:16])


def _clock_ms(year: str, month: str, day: str, hour: str, minute: str) -> int:
    try:
        days = dt.date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:  # its own words may repeat the value
        raise ValueError("no such date") from None
    hours, minutes = int(hour), int(minute)
    if hours > 23 or minutes > 59:
        raise ValueError("no such time of day")
    return days * _DAY_MS + hours * 3_600_000 + minutes * 60_000


def _parse_any(text: str) -> int:
    """Every form, at its leisure."""
    match = _FORM.fullmatch(text) if len(text) <= MAX_TS_CHARS else None
    if match is None:
        raise ValueError("not RFC 3339 with an offset")
    year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = match.groups()
    minute_ms = _clock_ms(year, month, day, hour, minute)
    if sign is not None:
        if int(off_hour) > 23 or int(off_minute) > 59:
            raise ValueError("no such offset")
        offset_ms = int(off_hour) * 3_600_000 + int(off_minute) * 60_000
        minute_ms -= offset_ms if sign == "+" else -offset_ms
    seconds = int(second)
    if seconds > 60 or (seconds == 60 and minute_ms % _DAY_MS != _DAY_MS - 60_000):
        raise ValueError("no such second")
    ts_ms = minute_ms + seconds * 1_000 + int((fraction or "")[:3].ljust(3, "0"))
    if not 0 <= ts_ms <= MAX_TS_MS:
        raise ValueError("outside the years 1970 to 9999")
    return ts_ms
