"""One record of many events: an Arrow IPC stream, opened with care and turned into events.

A row is the event that the same fields would be in JSON, and is judged by the same rules. A null is
JSON's null; a number that is not finite is none (`NO_JSON`), as if an array stood there: a feature
counts as invalid and missing, any other field is of the wrong type.

Nothing is allocated on the word of the stream: it is bounded in bytes, rows and values before it is
read, may not be compressed, and its buffers are checked before anything looks into them.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import pyarrow as pa  # type: ignore[import-untyped]  # it comes without type hints
import pyarrow.compute as pc  # type: ignore[import-untyped]  # the same

from schemas.arrow_mark import MARK
from schemas.field_rules import Fault, Json
from schemas.limits import MAX_ARROW_BYTES, MAX_ARROW_ROWS, MAX_ARROW_VALUES, MAX_NAME_CHARS
from schemas.reasons import Reason

NO_JSON: Final[list[Json]] = []
"""What stands for a number that JSON cannot say."""
_END: Final = MARK + bytes(4)
_MAX_TEXT_BYTES: Final = 4 * MAX_NAME_CHARS
_TOO_LONG: Final = "x" * (MAX_NAME_CHARS + 1)
_PER_S: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_NOT_READ: Final = (
    pa.ArrowException,
    ArithmeticError,
    LookupError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
)


class _Claim(NamedTuple):
    """What a batch says of itself."""

    n_rows: int
    is_compressed: bool


def open_stream(value: bytes) -> list[pa.RecordBatch] | Fault:
    """The batches of a stream that `is_arrow`: their buffers are sound, their rows not judged."""
    if len(value) > MAX_ARROW_BYTES:
        return _too_large(f"{MAX_ARROW_BYTES} bytes")
    if not value.endswith(_END):
        return _bad("is cut off: close the stream writer before you take its bytes")
    try:
        return _batches(value)
    except _NOT_READ:
        return _bad("cannot be read: write one IPC stream (pyarrow.ipc.new_stream) a record")


def events_of(batch: pa.RecordBatch) -> list[dict[str, Json]]:
    """The rows as `orjson.loads` would give them; of columns of one name the last counts."""
    columns = {
        name: _values(name, column)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
    if not columns:
        return [{} for _ in range(batch.num_rows)]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _batches(value: bytes) -> list[pa.RecordBatch] | Fault:
    source = pa.BufferReader(value)
    messages = pa.ipc.MessageReader.open_stream(source)
    first = next(messages, None)
    if first is None:
        return Fault(Reason.EMPTY, "", "the Arrow stream is empty: send it when it has rows")
    # Arrow checks a header as what it says it is, and then reads it as a schema whatever it is.
    if first.type != "schema":
        return _bad("does not begin with a schema: write it whole with pyarrow.ipc.new_stream")
    schema = pa.ipc.read_schema(first)
    n_leaves = _n_leaves(schema)
    if n_leaves is None:
        return _bad(
            "has a column of a type that is not taken: booleans, integers, floats, strings and "
            "null, `ts` also as a timestamp, and structs of these; none dictionary-encoded"
        )
    batches: list[pa.RecordBatch] = []
    n_rows = 0
    for message in messages:
        if message.type != "record batch":
            return _bad("has a message that is no record batch")
        claim = _claim(message.metadata.to_pybytes())
        if claim.is_compressed:
            return _bad("is compressed: leave that to Kafka (compression.type)")
        n_rows += claim.n_rows
        if claim.n_rows < 0 or n_rows > MAX_ARROW_ROWS:
            return _too_large(f"{MAX_ARROW_ROWS} rows")
        if n_rows * n_leaves > MAX_ARROW_VALUES:
            return _too_large(f"{MAX_ARROW_VALUES} values")
        batch = pa.ipc.read_record_batch(message, schema)
        batch.validate(full=True)
        # Buffers may overlap: a little of the stream could stand for very much.
        if batch.nbytes > len(value) or batch.num_rows != claim.n_rows:
            return _bad("cannot be read: its buffers overlap")
        if claim.n_rows:
            batches.append(batch)
    if source.tell() != len(value):
        return _bad("goes on behind its end: one stream a record")
    if not batches:
        return Fault(Reason.EMPTY, "", "the Arrow stream has no rows: send it when there are some")
    return batches


def _n_leaves(schema: pa.Schema) -> int | None:
    """How many values a row has; None where a type is none of those that are taken.

    Raises `ValueError` where a name is no UTF-8.
    """
    n = 0
    for field in schema:
        kind = field.type
        members = _members(kind)
        leaves = [member.type for member in members] if pa.types.is_struct(kind) else [kind]
        # Names are decoded when they are asked for.
        if not all(isinstance(one.name, str) for one in (field, *members)):
            return None
        for leaf in leaves:
            is_time = pa.types.is_timestamp(leaf) and leaf is kind
            if not (is_time or _is_scalar(leaf)):
                return None
        n += max(1, len(leaves))
    return n


def _members(kind: pa.DataType) -> list[pa.Field]:
    return list(kind) if pa.types.is_struct(kind) else []


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_float(kind: pa.DataType) -> bool:
    """Whether a column of this type holds single or double floats."""
    return bool(pa.types.is_float32(kind) or pa.types.is_float64(kind))


def _is_scalar(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_null(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or is_float(kind)
        or is_text(kind)
    )


def _claim(metadata: bytes) -> _Claim:
    """The length of a record batch and whether it is compressed, from its flatbuffer.

    Arrow has checked the flatbuffer by now; it gives no other way to ask before it decompresses.
    """
    message = _int("<I", metadata, 0)
    batch_at = _field(metadata, message, 2)
    if batch_at is None:
        raise ValueError("a record batch without a header")
    batch = batch_at + _int("<I", metadata, batch_at)
    length_at = _field(metadata, batch, 0)
    n_rows = 0 if length_at is None else _int("<q", metadata, length_at)
    return _Claim(n_rows, _field(metadata, batch, 3) is not None)


def _field(flatbuffer: bytes, table: int, number: int) -> int | None:
    """Where a field of a table stands; None where it is absent."""
    vtable = table - _int("<i", flatbuffer, table)
    at = 4 + 2 * number
    if at + 2 > _int("<H", flatbuffer, vtable):
        return None
    offset = _int("<H", flatbuffer, vtable + at)
    return table + offset if offset else None


def _int(form: str, flatbuffer: bytes, at: int) -> int:
    if at < 0:
        raise ValueError("an offset before the flatbuffer")
    (number,) = struct.unpack_from(form, flatbuffer, at)
    return int(number)


def _values(name: str, column: pa.Array) -> list[Json]:
    """A column as JSON values."""
    kind = column.type
    if pa.types.is_struct(kind):
        return _objects(name, column)
    if is_text(kind):
        return [
            value if value is None or len(value) <= MAX_NAME_CHARS else _TOO_LONG
            for value in _short(column).to_pylist()
        ]
    if pa.types.is_timestamp(kind):
        return times_ms(column) if name == "ts" and kind.tz is not None else [NO_JSON] * len(column)
    values: list[Json] = column.to_pylist()
    if is_float(kind):
        return [v if v is None or v - v == 0 else NO_JSON for v in values]
    return values


def _short(column: pa.Array) -> pa.Array:
    """Strings that are too long by their bytes alone, as one that is too long."""
    return pc.if_else(pc.greater(pc.binary_length(column), _MAX_TEXT_BYTES), _TOO_LONG, column)


def times_ms(column: pa.Array) -> list[int | None]:
    """Timestamps as epoch milliseconds, what is finer cut off towards the past."""
    per_s = _PER_S[column.type.unit]
    raw: list[int | None] = column.cast(pa.int64()).to_pylist()
    return [None if v is None else v * 1_000 // per_s for v in raw]


def _objects(name: str, column: pa.Array) -> list[Json]:
    """A struct as JSON objects; outside `features` a null member is an absent one."""
    names = [member.name for member in column.type]
    members = [_values("", column.field(i)) for i in range(len(names))]
    rows = zip(*members, strict=True) if members else [()] * len(column)
    is_null = column.is_null().to_pylist()
    objects: list[Json] = []
    for absent, row in zip(is_null, rows, strict=True):
        if absent:
            objects.append(None)
        elif name == "features":
            objects.append(dict(zip(names, row, strict=True)))
        else:
            objects.append({n: v for n, v in zip(names, row, strict=True) if v is not None})
    return objects


def _bad(what: str) -> Fault:
    return Fault(Reason.BAD_ARROW, "", f"the Arrow stream {what}")


def _too_large(bound: str) -> Fault:
    return Fault(
        Reason.TOO_LARGE, "", f"the Arrow stream has more than {bound}: send fewer rows a record"
    )
