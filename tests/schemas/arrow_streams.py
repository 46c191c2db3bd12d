"""Arrow streams for tests: made of events, of columns, and of hypothesis."""

from __future__ import annotations

from itertools import pairwise
from math import isfinite
from typing import Any, NamedTuple

import orjson
import pyarrow as pa  # type: ignore[import-untyped]  # it comes without type hints
from hypothesis import strategies as st

from tests.schemas.strategies import TEXTS, TIMES

Event = dict[str, Any]


def stream(*batches: pa.RecordBatch, **options: Any) -> bytes:
    """One IPC stream of batches of one schema."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(
        sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)
    ) as out:
        for batch in batches:
            out.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def stream_of(events: list[Event]) -> bytes:
    """One IPC stream of events, with the column types that pyarrow finds for them."""
    return stream(pa.RecordBatch.from_pylist(events))


class Column(NamedTuple):
    """A column's Arrow type and what its rows hold."""

    kind: pa.DataType
    values: list[Any]


class Table(NamedTuple):
    """An Arrow stream, and the events that its rows are, as JSON would say them."""

    value: bytes
    events: list[Event]


def said_in_json(value: Any) -> Any:
    """What cannot be said stands as an array."""
    if isinstance(value, dict):
        return {name: said_in_json(member) for name, member in value.items()}
    return [] if isinstance(value, float) and not isfinite(value) else value


def table_of(columns: dict[str, Column], n_batches: int = 1) -> Table:
    """The stream of these columns, in up to so many batches."""
    arrays = [pa.array(column.values, column.kind) for column in columns.values()]
    whole = pa.RecordBatch.from_arrays(arrays, list(columns))
    n = whole.num_rows
    cuts = sorted({round(n * i / n_batches) for i in range(n_batches + 1)})
    parts = [whole.slice(a, b - a) for a, b in pairwise(cuts)]
    rows = zip(*(column.to_pylist() for column in arrays), strict=True)
    events = [
        {name: _event_value(name, value) for name, value in zip(columns, row, strict=True)}
        for row in rows
    ]
    return Table(stream(*parts or [whole]), events)


def _event_value(name: str, value: Any) -> Any:
    if isinstance(value, dict) and name != "features":
        value = {key: member for key, member in value.items() if member is not None}
    return said_in_json(value)


def json_of(event: Event) -> bytes:
    """The event as JSON."""
    return orjson.dumps(event)


FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 5e-324, 1e308]))
GOOD_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTS = st.integers(-(2**63), 2**63 - 1)
_SCALARS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.float64(), FLOATS),
    (pa.float32(), st.floats(width=32)),
    (pa.int64(), INTS),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.int8(), st.integers(-128, 127)),
    (pa.bool_(), st.booleans()),
    (pa.string(), TEXTS | st.sampled_from(["x" * 256, "x" * 257, "é" * 257, "x" * 2_000, ""])),
    (pa.large_string(), TEXTS),
    (pa.null(), st.none()),
]
_USUAL: dict[str, list[tuple[pa.DataType, st.SearchStrategy[Any]]]] = {
    "type": [
        (pa.string(), st.just("prediction")),
        (pa.string(), st.sampled_from(["prediction", "label"])),
    ],
    "event_id": [(pa.string(), TEXTS.filter(bool)), (pa.large_string(), st.just("e"))],
    "model_id": [(pa.string(), st.just("m")), (pa.string(), st.sampled_from(["m", "n"]))],
    "model_version": [(pa.string(), st.just("1")), (pa.string(), st.sampled_from(["1", "2"]))],
    "ts": [
        (pa.int64(), st.integers(0, 2_000_000_000_000)),
        (pa.int64(), st.integers(-2, 253_402_300_800_000)),
        (pa.string(), TIMES),
    ],
    "prediction": [
        (pa.int64(), st.integers(0, 2)),
        (pa.float64(), GOOD_FLOATS),
        (pa.string(), st.sampled_from(["yes", "no", "1"])),
        (pa.bool_(), st.booleans()),
    ],
    "score": [(pa.float64(), GOOD_FLOATS), (pa.int32(), st.integers(-3, 3))],
    "source": [(pa.string(), st.sampled_from(["s1", "s2", ""]))],
    "latency_ms": [(pa.float64(), st.floats(0, 10)), (pa.float32(), st.floats(-1, 10, width=32))],
    "sample_rate": [(pa.float64(), st.floats(0, 1))],
    "shard": [(pa.int64(), st.just(1)), (pa.int32(), st.integers(-1, 1))],
    "schema_version": [(pa.int64(), INTS), (pa.string(), TEXTS)],
    "label": [(pa.int64(), st.integers(0, 2)), (pa.float64(), FLOATS)],
    "label_source": [(pa.string(), st.sampled_from(["s1", ""]))],
    "unheard_of": [(pa.float64(), FLOATS)],
}
_REQUIRED = ("type", "event_id", "model_id", "model_version", "ts")
_MEMBERS = st.lists(st.sampled_from(["b", "a", "c", "é", "", "n" * 257]), max_size=4, unique=True)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Streams that are mostly right: columns of usual types, and now and then of others."""
    n = draw(st.integers(1, 6))
    is_plain = draw(st.booleans())
    names = [name for name in _REQUIRED if is_plain or draw(st.integers(0, 30))]
    rare = {"shard", "schema_version"} if is_plain else set()
    optional = sorted(_USUAL.keys() - set(_REQUIRED) - rare)
    names += draw(st.lists(st.sampled_from(optional), unique=True))
    columns = {}
    for name in names:
        odd = not is_plain and draw(st.integers(0, 15)) == 0
        usual = _USUAL[name][:1] if is_plain else _USUAL[name]
        kind, values = draw(st.sampled_from(_SCALARS if odd else usual))
        columns[name] = _column(draw, kind, values, n, nulls=name not in _REQUIRED or odd)
    if draw(st.integers(0, 20)):
        columns["features"] = _struct(draw, n, _SCALARS, draw(_MEMBERS), nulls=False)
    if not is_plain and draw(st.integers(0, 2)) == 0:
        members = draw(st.lists(st.sampled_from(["0", "1", ""]), unique=True))
        kinds = [(pa.float64(), st.floats(0, 1)), (pa.float64(), FLOATS), (pa.string(), TEXTS)]
        columns["probabilities"] = _struct(draw, n, kinds[: draw(st.integers(1, 3))], members)
    if not is_plain and draw(st.integers(0, 3)) == 0:
        kinds = [(pa.string(), TEXTS), (pa.int64(), INTS)]
        columns["slices"] = _struct(draw, n, kinds[: draw(st.integers(1, 2))], ["x", "y"])
    return table_of(
        columns or {"type": Column(pa.string(), ["label"] * n)}, draw(st.integers(1, 3))
    )


def _column(
    draw: st.DrawFn, kind: pa.DataType, values: st.SearchStrategy[Any], n: int, *, nulls: bool
) -> Column:
    if nulls and draw(st.booleans()):
        values = st.none() | values
    return Column(kind, draw(st.lists(values, min_size=n, max_size=n)))


def _struct(
    draw: st.DrawFn,
    n: int,
    kinds: list[tuple[pa.DataType, st.SearchStrategy[Any]]],
    members: list[str],
    *,
    nulls: bool = True,
) -> Column:
    fields = {}
    for name in members:
        kind, values = draw(st.sampled_from(kinds))
        fields[name] = _column(draw, kind, values, n, nulls=True)
    rows: list[Any] = [{name: fields[name].values[i] for name in members} for i in range(n)]
    if nulls or draw(st.integers(0, 10)) == 0:
        rows = [None if draw(st.integers(0, 5)) == 0 else row for row in rows]
    return Column(pa.struct([(name, fields[name].kind) for name in members]), rows)
