from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.limits import MAX_TS_MS
from schemas.timestamps import parse_alike, parse_ts

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MS = dt.timedelta(milliseconds=1)
MOMENTS = st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(9999, 12, 30))  # noqa: DTZ001
SENTENCES = {
    "before the year 1970",
    "no such date",
    "no such offset",
    "no such second",
    "no such time of day",
    "not RFC 3339 with an offset",
    "not an RFC 3339 date and time",
    "outside the years 1970 to 9999",
}
OFFSETS = st.integers(-23 * 60 - 59, 23 * 60 + 59)


@settings(deadline=None, max_examples=500)
@given(
    MOMENTS, OFFSETS, st.sampled_from("Tt "), st.integers(0, 6), st.text("0123456789", max_size=20)
)
def test_a_string_means_what_datetime_says(
    local: dt.datetime, offset: int, separator: str, n_digits: int, more: str
) -> None:
    zone = dt.timezone(dt.timedelta(minutes=offset))
    digits = f"{local.microsecond:06}"[:n_digits]
    cut = local.replace(tzinfo=zone, microsecond=int(digits.ljust(6, "0")))
    digits += more if n_digits == 6 else ""
    sign, minutes = "-+"[offset >= 0], abs(offset)
    suffix = f"{sign}{minutes // 60:02}:{minutes % 60:02}"
    text = local.strftime(f"%Y-%m-%d{separator}%H:%M:%S") + ("." if digits else "") + digits
    expected = (cut - EPOCH) // MS
    if 0 <= expected <= MAX_TS_MS:
        assert parse_ts(text + suffix) == expected
    if offset == 0:
        assert parse_ts(text + "Z") == parse_ts(text + "z") == expected


@settings(deadline=None)
@given(st.integers(0, MAX_TS_MS))
def test_an_integer_is_epoch_milliseconds(ts_ms: int) -> None:
    assert parse_ts(ts_ms) == ts_ms
    seconds, millis = divmod(ts_ms, 1_000)
    moment = EPOCH + dt.timedelta(seconds=seconds)
    assert parse_ts(moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{millis:03}Z") == ts_ms


@pytest.mark.parametrize(
    ("text", "ts_ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:59:00+00:59", 0),
        ("1969-12-31T23:00:00-01:00", 0),
        ("9999-12-31T23:59:59.999Z", MAX_TS_MS),
        ("9999-12-31T23:59:59.9999999Z", MAX_TS_MS),
        ("2026-03-01T12:00:00.2Z", 1_772_366_400_200),
        ("2026-03-01T12:00:00.25Z", 1_772_366_400_250),
        ("2026-03-01T12:00:00.250999999Z", 1_772_366_400_250),
        ("2026-03-01T12:00:00-00:00", 1_772_366_400_000),
        # The leap second is the second after it, in every notation of the same moment.
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ("2016-12-31T23:59:60.5Z", 1_483_228_800_500),
        ("2017-01-01T00:59:60+01:00", 1_483_228_800_000),
        ("2017-01-01T00:00:00Z", 1_483_228_800_000),
    ],
)
def test_moments(text: str, ts_ms: int) -> None:
    assert parse_ts(text) == ts_ms


@pytest.mark.parametrize(
    "text",
    [
        *("", "Z", "now", "2026", "2026-03-01", "12:00:00Z", "20260301T120000Z", "1772366400250"),
        *("2026-03-01T12:00:00", "2026-03-01T12:00Z", "2026-03-01T12Z", "2026-W09-7T12:00:00Z"),
        *("2026-060T12:00:00Z", "2026-03-01T12:00:00,5Z", "2026-03-01T12:00:00.Z"),
        *("2026-03-01T12:00:00+01", "2026-03-01T12:00:00+0100", "2026-03-01T12:00:00+24:00"),
        *("2026-03-01T12:00:00+00:60", "2026-03-01T12:00:00+01:00:00", "2026-03-01T12:00:00 Z"),
        *(" 2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z\n", "2026-03-01_12:00:00Z"),
        *("2026-02-29T12:00:00Z", "2026-13-01T12:00:00Z", "2026-00-01T12:00:00Z"),
        *("2026-03-00T12:00:00Z", "2026-03-32T12:00:00Z", "0000-03-01T12:00:00Z"),
        *("2026-03-01T24:00:00Z", "2026-03-01T12:60:00Z", "2026-03-01T12:00:61Z"),
        *("2026-03-01T12:00:60Z", "2026-03-01T23:58:60Z", "2017-01-01T00:59:60Z"),
        *("2016-12-31T23:59:60+01:00", "1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00+00:01"),
        *("9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01", "10000-01-01T00:00:00Z"),
        *("-2026-03-01T12:00:00Z", "+2026-03-01T12:00:00Z", "2026-03-01T12:00:0 Z"),
        *("2026-03-01T12:00:+1Z", "2026-03-01T12:00:00.+12Z", "2026-03-01T12:00:00.1_2Z"),
        *("٢٠٢٦-03-01T12:00:00Z", "2026-03-01T12:00:0٣Z", "2026-03-01T12:00:00.12٣Z"),
        *("2026-03-01T12:00:00.123٣Z", "2026-03-01T12:00:00.123²Z", "2026-03-01T1２:00:00Z"),
        "2026-03-01T12:00:00." + "1" * 60 + "Z",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(not?|before|outside) ") as caught:
        parse_ts(text)
    assert str(caught.value) in SENTENCES  # which repeat nothing of the value


@pytest.mark.parametrize("number", [-1, MAX_TS_MS + 1, 2**63, 2**64, -(2**70)])
def test_an_integer_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="1970 to 9999"):
        parse_ts(number)


@pytest.mark.parametrize("value", [True, False, None, 1.0, 1.5e12, [], {}, b"x"])
def test_another_type_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="neither"):
        parse_ts(value)


plain = st.datetimes(dt.datetime(1969, 12, 30), dt.datetime(9999, 12, 31)).map(  # noqa: DTZ001  UTC is written below
    lambda moment: moment.isoformat(timespec="milliseconds") + "Z"
)


@given(
    st.lists(plain, min_size=1, max_size=8),
    st.integers(0, 7),
    st.integers(0, 23),
    st.sampled_from([*"0:6 9-+.ZTz/é٣", "\x00", ""]),
)
def test_texts_read_together_are_as_read_one_by_one(
    column: list[str], row: int, at: int, instead: str
) -> None:
    odd = column[row % len(column)]
    for values in (column, [*column, odd[:at] + instead + odd[at + 1 :]]):
        together = parse_alike(values)
        if together is not None:
            assert together.tolist() == list(map(parse_ts, values))
        elif values is column:
            assert min(values) < "1970"


def test_the_common_form_is_read_together() -> None:
    values = ["2026-11-23T10:00:59.123Z", "2026-11-23T10:00:00.000Z", "2026-11-23T10:01:00.001Z"]

    together = parse_alike(values)

    assert together is not None
    assert together.tolist() == list(map(parse_ts, values))
