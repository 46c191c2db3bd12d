"""Arrow streams that are refused whole, and bytes that are no stream at all."""

from __future__ import annotations

import random
import struct
import tracemalloc

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it comes without type hints
import pytest

from schemas.decode import decode_records
from schemas.limits import (
    MAX_ARROW_BYTES,
    MAX_ARROW_ROWS,
    MAX_ARROW_VALUES,
    MAX_FEATURES,
    DecodeLimits,
)
from schemas.reasons import Reason
from tests.schemas.arrow_streams import Event, json_of, stream, stream_of
from tests.schemas.contract import KEY, TP, check_form, record, same
from tests.schemas.samples import LABEL, LIMITS, PREDICTION

END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
GOOD = stream_of([{**PREDICTION, "ts": i, "source": f"s{i}"} for i in range(3)])


def refused(value: bytes) -> tuple[str, str]:
    """Reason and detail; the records beside it are not touched."""
    good = json_of(PREDICTION)
    records = [record(i, v, b"m") for i, v in enumerate((good, value, GOOD))]
    decoding = decode_records(TP, records, LIMITS, KEY, None)
    assert decoding.events.offset.tolist() == [0, 2, 2, 2]
    (reject,) = decoding.rejects
    assert (reject.offset, reject.row, reject.length) == (1, 0, len(value))
    return reject.reason, reject.detail


def rows(n: int, **columns: pa.Array) -> pa.RecordBatch:
    constant = {name: [value] * n for name, value in PREDICTION.items()}
    return pa.RecordBatch.from_pydict({**constant, **columns})


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_compression_is_refused_before_it_is_undone(codec: str) -> None:
    bomb = stream(rows(4_096, score=pa.array(np.zeros(4_096))), compression=codec)
    assert len(bomb) < 100_000
    assert refused(bomb) == (
        Reason.BAD_ARROW,
        "the Arrow stream is compressed: leave that to Kafka (compression.type)",
    )


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x"]).dictionary_encode(),
        pa.array([[1.0]]),
        pa.array([{"a": {"b": 1}}]),
        pa.array([{"a": [1]}]),
        pa.array([b"x"]),
        pa.array([1], pa.decimal128(5)),
        pa.array([1], pa.date32()),
        pa.array([np.float16(1)], pa.float16()),
        pa.array([["a"]], pa.list_(pa.string(), 1)),
        pa.array([[("a", 1.0)]], pa.map_(pa.string(), pa.float64())),
        pa.array(["x"], pa.string_view()),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array([1.0])),
        pa.array([{"a": 0}], pa.struct([("a", pa.timestamp("us", "UTC"))])),
    ],
    ids=lambda column: str(column.type),
)
@pytest.mark.parametrize("name", ["features", "score", "unheard_of"])
def test_a_type_that_is_not_taken_refuses_the_record(name: str, column: pa.Array) -> None:
    reason, detail = refused(stream(rows(1, **{name: column})))
    assert (reason, "type that is not taken" in detail) == (Reason.BAD_ARROW, True)


def test_a_stream_that_is_cut_off_is_refused_wherever_it_is_cut() -> None:
    for end in range(4, len(GOOD) - 8, 7):
        assert refused(GOOD[:end])[0] == Reason.BAD_ARROW
        assert refused(GOOD[:end] + END)[0] in {Reason.BAD_ARROW, Reason.EMPTY}


@pytest.mark.parametrize("value", [END, b"\xff\xff\xff\xff", END * 2, GOOD + GOOD, GOOD + END])
def test_what_is_no_single_stream_is_refused(value: bytes) -> None:
    assert refused(value)[0] in {Reason.BAD_ARROW, Reason.EMPTY}


def test_a_stream_that_does_not_begin_with_a_schema_is_refused() -> None:
    # pyarrow.ipc.read_schema ends the process where the message is none.
    (first_length,) = struct.unpack_from("<i", GOOD, 4)
    assert refused(GOOD[8 + first_length :])[0] == Reason.BAD_ARROW
    value = bytearray(GOOD)
    table = 8 + struct.unpack_from("<I", GOOD, 8)[0]
    vtable = table - struct.unpack_from("<i", GOOD, table)[0]
    kind_at = table + struct.unpack_from("<H", GOOD, vtable + 6)[0]
    assert value[kind_at] == 1  # a schema
    for kind in (0, 2, 3, 4, 5, 6, 255):
        value[kind_at] = kind
        assert refused(bytes(value))[0] == Reason.BAD_ARROW


def test_a_stream_of_no_rows_is_empty() -> None:
    assert refused(stream(rows(1).slice(0, 0)))[0] == Reason.EMPTY


def test_bounds_are_inclusive() -> None:
    assert refused(stream(rows(MAX_ARROW_ROWS + 1)))[0] == Reason.TOO_LARGE
    most = decode_records(TP, [record(0, stream(rows(MAX_ARROW_ROWS)), b"m")], LIMITS, KEY, None)
    assert len(most.events) == MAX_ARROW_ROWS
    assert most.events.row[-1] == MAX_ARROW_ROWS - 1
    two = stream(rows(MAX_ARROW_ROWS), rows(1))
    assert refused(two)[0] == Reason.TOO_LARGE
    padded = GOOD[:-8] + bytes(MAX_ARROW_BYTES) + END
    assert refused(padded)[0] == Reason.TOO_LARGE


def test_the_bound_on_json_is_none_on_streams() -> None:
    limits = DecodeLimits(max_event_bytes=100)
    decoding = decode_records(TP, [record(0, GOOD, b"m")], limits, KEY, None)
    assert len(decoding.events) == 3


def test_columns_of_null_take_no_bytes_and_are_bounded_all_the_same() -> None:
    nulls = pa.array([{}] * 4_096, pa.struct([(f"f{i}", pa.null()) for i in range(100)]))
    value = stream(rows(4_096, features=nulls))
    assert len(value) < MAX_ARROW_BYTES
    assert MAX_ARROW_VALUES < 4_096 * 100
    assert refused(value)[0] == Reason.TOO_LARGE


def test_too_many_features_cost_each_row() -> None:
    wide = pa.array([{}] * 2, pa.struct([(f"f{i}", pa.null()) for i in range(MAX_FEATURES + 1)]))
    value = stream(rows(2, features=wide))
    rejects = decode_records(TP, [record(0, value, b"m")], LIMITS, KEY, None).rejects
    assert [(r.row, r.reason) for r in rejects] == [
        (0, Reason.TOO_MANY_FEATURES),
        (1, Reason.TOO_MANY_FEATURES),
    ]


def test_strings_that_are_no_utf8_are_refused() -> None:
    assert refused(GOOD.replace(b"s0s1s2", b"s0\xffss2"))[0] == Reason.BAD_ARROW


def test_columns_and_features_of_one_name() -> None:
    twice = pa.RecordBatch.from_arrays(
        [*rows(1).columns, pa.array([99])], [*rows(1).schema.names, "ts"]
    )
    decoding = decode_records(TP, [record(0, stream(twice), b"m")], LIMITS, KEY, None)
    assert decoding.events.event_time_ms.tolist() == [99]  # the last counts, as in JSON
    both = pa.StructArray.from_arrays([pa.array([1.0]), pa.array([2.0])], ["a", "a"])
    value = stream(rows(1, features=both))
    decoding = decode_records(TP, [record(0, value, b"m")], LIMITS, KEY, None)
    assert decoding.events.value.tolist() == [2.0]


def check_mutants(seed: int, n: int) -> None:
    """No mutant raises; each gives the same twice, and every event of it is accounted for."""
    dice = random.Random(seed)
    mixed: list[Event] = [{**PREDICTION, "probabilities": {"a": 0.5}, "label": 1}, {**LABEL}]
    bases = [GOOD, stream_of([{**PREDICTION, "features": {"a": 1.5, "b": "x"}}]), stream_of(mixed)]
    n_accepted = n_refused = 0
    for _ in range(n):
        value = bytearray(dice.choice(bases))
        for _ in range(dice.choice((1, 1, 2, 4))):
            at = dice.randrange(4, len(value) - 8)
            match dice.randrange(4):
                case 0:
                    value[at] = dice.randrange(256)
                case 1:
                    value[at] ^= 1 << dice.randrange(8)
                case 2:  # a length, an offset, a number of rows
                    at -= at % 4
                    odd = dice.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**16, dice.randrange(600)))
                    value[at : at + 4] = odd.to_bytes(4, "little")
                case _:
                    end = min(len(value) - 8, at + dice.randrange(1, 16))
                    value[at:end] = bytes(end - at)
        records = [record(0, bytes(value), b"m")]
        decoding = decode_records(TP, records, LIMITS, KEY, None)
        check_form(decoding.events)
        same(decode_records(TP, records, LIMITS, KEY, None), decoding)
        assert 1 <= len(decoding.events) + len(decoding.rejects) <= MAX_ARROW_ROWS
        n_accepted += len(decoding.events)
        n_refused += len(decoding.rejects)
    assert min(n_accepted, n_refused) > n // 20  # guards the guard


def test_mutants_never_raise_and_take_little_memory() -> None:
    tracemalloc.start()
    before = pa.default_memory_pool().max_memory()
    try:
        check_mutants(seed=3, n=500)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000
    assert pa.default_memory_pool().max_memory() <= max(before, 50_000_000)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_many_mutants_never_raise(seed: int) -> None:
    check_mutants(seed=100 + seed, n=60_000)
