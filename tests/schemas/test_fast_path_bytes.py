"""Whole messages with bytes changed: a template says what the full rules say, or nothing.

The parsers differ (msgspec and orjson), so what is compared here is what one takes and the other
would not, or would read otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from unittest import mock

import orjson
import pytest

from schemas import fast_path as module
from schemas import routes
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.records import Record
from schemas.templates import Compiled
from tests.schemas.contract import KEY, TP, record, same
from tests.schemas.samples import LABEL, LIMITS, PREDICTION

BASES = [
    orjson.dumps(event)
    for event in (
        PREDICTION,
        {**PREDICTION, "features": {"aé": 1.25e-7, "b": "x", "c": None, "d": False}, "score": -0.0},
        {**PREDICTION, "probabilities": {"0": 0.25, "1": 0.75}, "source": "s", "prediction": 12},
        {**PREDICTION, "slices": {"x": "y"}, "latency_ms": 1.5, "schema_version": 3, "shard": None},
        {**PREDICTION, "ts": "2026-03-01T12:00:00.250Z", "prediction": "yes", "sample_rate": 0.5},
        LABEL,
    )
]
NUMBERS = [
    *(b"-0", b"-0.0", b"01", b"1.", b".5", b"+1", b"1e5", b"1E+05", b"1e", b"1e999", b"-1e999"),
    *(b"1e-999", b"9007199254740993", b"9223372036854775807", b"9223372036854775808"),
    *(b"18446744073709551615", b"18446744073709551616", b"-9223372036854775808"),
    *(b"-9223372036854775809", b"1" + b"0" * 30, b"1" + b"0" * 400, b"NaN", b"Infinity", b"-"),
    *(b"true", b"null", b"nul", b'"1"', b"[1]", b"{}", b"0.1e1", b"123456789.0123456789012345"),
]
PIECES = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"\x00", b"\x0b", b"\x7f"),
    *(b"\\ud800", b"\\ud83d\\ude00", b"\\udc00\\ud800", b"\\u0061", b"\\u0000", b"\\/", b"\\x"),
    *(b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8"),
    *(b'"ts":6,', b'"type":"label",', b'"type":"prediction",', b'"\\u0074ype":"label",'),
    *(b'"features":{"a":2,"b":1},', b'"a":true,', b'"a":3,', b'"model_id":"m",', b'"x":1,'),
    *(b'"event_id":null,', b'"shard":0,', b'"score":true,', b"//", b"/**/", b"e", b"-", b"."),
    *NUMBERS,
]


def mutated(dice: random.Random, value: bytes) -> bytes:
    """The value with one to three changes, each of a few bytes."""
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        at = dice.randrange(len(value) + 1)
        match dice.randrange(6):
            case 0:
                value = value[:at] + bytes([dice.randrange(256)]) + value[at + 1 :]
            case 1:
                value = value[:at] + value[at + dice.randrange(1, 4) :]
            case 2:
                end = min(len(value), at + dice.randrange(1, 40))
                value = value[:end] + value[at:]  # repeats a piece: a field, now and then
            case 3:
                value = value[:at] + dice.choice(PIECES) + value[at:]
            case 4:  # a piece where something may begin
                places = [i for i, byte in enumerate(value) if byte in b'{,:["}']
                at = dice.choice(places) + 1 if places else at
                value = value[:at] + dice.choice(PIECES) + value[at:]
            case _:  # another value
                colons = [i for i, byte in enumerate(value) if byte == ord(":")]
                if colons:
                    at = dice.choice(colons) + 1
                    ends = [i for i in range(at, len(value)) if value[i] in b",}"]
                    value = value[:at] + dice.choice(NUMBERS) + value[min(ends, default=at) :]
        if not value:
            return b""
    return value


@pytest.fixture(autouse=True)
def _nothing_rests() -> Iterator[None]:
    # What misses is what is wanted here.
    with (
        mock.patch.object(routes, "WINDOW", 10**12),
        mock.patch.object(module, "TEMPLATES_A_ROUTE", len(BASES)),
    ):
        yield


def taught() -> FastPath:
    """Knows the form of every base."""
    fast_path = FastPath(Compiled())
    for base in BASES:
        decode_records(TP, [record(0, base, b"m")] * 8, LIMITS, KEY, None, fast_path)
    fast_path.n_slow.clear()
    return fast_path


def check(seed: int, n_polls: int, n_a_poll: int) -> None:
    """Compare polls of mutants."""
    dice = random.Random(seed)
    fast_path = taught()
    for _ in range(n_polls):
        values = [mutated(dice, dice.choice(BASES)) for _ in range(n_a_poll)]
        compare([record(i, value, b"m") for i, value in enumerate(values)], fast_path)
    # Guards the guard: templates took a good part of them.
    assert n_polls * n_a_poll - fast_path.n_slow.total() > n_polls * n_a_poll // 25


def compare(records: list[Record], fast_path: FastPath) -> None:
    """Assert that the records decode to the same either way; names the one that does not."""
    fast = decode_records(TP, records, LIMITS, KEY, None, fast_path)
    try:
        same(fast, decode_records(TP, records, LIMITS, KEY, None))
    except AssertionError as error:
        if len(records) == 1:
            raise AssertionError(f"{records[0].value!r}: {error}") from error
        for one in records:
            compare([one], fast_path)
        raise


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_anywhere_in_a_message(piece: bytes) -> None:
    fast_path = taught()
    for base in BASES:
        values = [base[:i] + piece + base[i:] for i in range(len(base) + 1)]
        values += [base[:i] + piece + base[i + 1 :] for i in range(len(base))]
        for start in range(0, len(values), 32):
            some = values[start : start + 32]
            compare([record(i, value, b"m") for i, value in enumerate(some)], fast_path)


def test_mutants_decode_the_same() -> None:
    check(seed=1, n_polls=600, n_a_poll=20)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_millions_of_mutants_decode_the_same(seed: int) -> None:
    check(seed=1_000 + seed, n_polls=6_400, n_a_poll=40)
