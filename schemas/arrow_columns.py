"""The short way of an Arrow stream: predictions of one model version, from columns to columns.

It gives what the rules would give row by row, or no answer: whatever is unusual about a batch, all
of its rows take the long way. Nothing here is done value by value in Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it comes without type hints
import pyarrow.compute as pc  # type: ignore[import-untyped]  # the same

from schemas.arrow import is_float, is_text
from schemas.batch import F64, I32, I64, U8, U64, PredictionKind, ValueKind
from schemas.columns import Values, in_order
from schemas.limits import MAX_ID_CHARS, MAX_SHARD, MAX_TS_MS
from schemas.parts import Part
from schemas.rules import PREDICTION_RULES

_KNOWN: Final = frozenset({"type", *(rule.name for rule in PREDICTION_RULES)})
_LONG_WAY: Final = ("probabilities", "slices", "schema_version")
"""Fields that only the long way reads."""
_TEXTS: Final = ("source", "feature_view", "traceparent")
_NAN: Final = float("nan")


class Predictions(NamedTuple):
    """The columns of `prediction`; the class by its place among `names`, -1 for none."""

    kind: U8
    number: F64
    class_of: I32
    names: list[str]


class Quick(NamedTuple):
    """The columns of a batch in which nothing is wrong, but perhaps its place; n rows."""

    n: int
    model_id: str
    model_version: str
    shard: int
    """-1: none."""
    times: I64
    names: tuple[str, ...]
    """Of the features, as in the batch."""
    values: Values
    """(n x names,) row by row, in the order of `names`."""
    categories: list[str]
    """What the strings among the values stand for."""
    score: F64
    latency_ms: F64
    prediction: Predictions
    sources: list[str | None]
    source_of: I64
    """(n,) by its place among `sources`."""
    event_ids: Callable[[], list[str]]
    """(n,); strings are made of them only where somebody asks."""
    n_unknown: int

    def part(
        self,
        row: int,
        *,
        model: int,
        shape: tuple[I32, I64],
        order: tuple[int, ...] | None,
        classes: list[int],
        categories: list[int],
        source: U64,
        event_id: U64,
    ) -> Part:
        """The part of a poll, from `row` on.

        `classes` are the codes of `prediction.names`, `categories` those of this one's.
        """
        value, kind = self.values
        if order is not None:
            value, kind = in_order(self.values, len(order), order)
        if categories:
            is_text = kind == ValueKind.STRING
            code_of = np.array(categories, np.float64)
            value[is_text] = code_of[value[is_text].astype(np.int64)]
        return Part(
            row=np.arange(row, row + self.n),
            is_label=False,
            event_time_ms=self.times,
            model=np.full(self.n, model, np.int32),
            shape=shape[0],
            n_values=shape[1],
            value=value,
            kind=kind,
            score=self.score,
            prediction_kind=self.prediction.kind,
            prediction=self.prediction.number,
            predicted_class=np.array([*classes, -1], np.int32)[self.prediction.class_of],
            source=source,
            event_id=event_id,
            latency_ms=self.latency_ms,
        )


def quick(batch: pa.RecordBatch) -> Quick | None:
    """The columns of a batch of at least one row; None: it has to take the long way."""
    n = batch.num_rows
    columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
    if len(columns) < batch.num_columns or any(name in columns for name in _LONG_WAY):
        return None
    given = {name: c for name, c in columns.items() if c.null_count < n}
    if _constant(given.get("type")) != "prediction":
        return None
    model_id, version = _constant(given.get("model_id")), _constant(given.get("model_version"))
    shard = -1 if "shard" not in given else _constant(given["shard"])
    if not (_is_id(model_id) and _is_id(version) and type(shard) is int and shard <= MAX_SHARD):
        return None
    if "shard" in given and shard < 0:
        return None
    if not _are_texts(given.get("event_id"), 1) or given["event_id"].null_count:
        return None
    if not all(name not in given or _are_texts(given[name], 0) for name in _TEXTS):
        return None
    if not _in_range(given.get("latency_ms"), 0, np.inf) or not _in_range(
        given.get("sample_rate"), np.nextafter(0, 1), 1
    ):
        return None
    times, score = _times(given.get("ts")), _numbers(n, given.get("score"))
    latency_ms = _numbers(n, given.get("latency_ms"))
    prediction = _predictions(n, given.get("prediction"))
    features = given.get("features")
    if times is None or score is None or latency_ms is None:
        return None
    if prediction is None or features is None:
        return None
    if not pa.types.is_struct(features.type) or features.null_count:
        return None
    names = tuple(member.name for member in features.type)
    if len(set(names)) < len(names):
        return None
    sources, source_of = _distinct(given.get("source"), n)
    values, categories = _features(features, n, len(names))
    return Quick(
        n=n,
        model_id=model_id,
        model_version=version,
        shard=shard,
        times=times,
        names=names,
        values=values,
        categories=categories,
        score=score,
        latency_ms=latency_ms,
        prediction=prediction,
        sources=sources,
        source_of=source_of,
        event_ids=given["event_id"].to_pylist,
        n_unknown=n * sum(name not in _KNOWN for name in columns),
    )


def _constant(column: Any | None) -> Any:
    """The value of all rows; None where they differ, or one is null."""
    if (
        column is None
        or column.null_count
        or not (is_text(column.type) or pa.types.is_integer(column.type))
    ):
        return None
    first = column[0]
    return first.as_py() if pc.all(pc.equal(column, first)).as_py() else None


def _is_id(value: Any) -> bool:
    return type(value) is str and 1 <= len(value) <= MAX_ID_CHARS


def _are_texts(column: Any | None, min_chars: int) -> bool:
    """Whether all that is not null is a string of a right length."""
    if column is None or not is_text(column.type):
        return False
    lengths = pc.min_max(pc.utf8_length(column)).as_py()
    return bool(lengths["min"] >= min_chars and lengths["max"] <= MAX_ID_CHARS)


def _in_range(column: Any | None, low: float, high: float) -> bool:
    """Whether all that is not null is a finite number between the two."""
    if column is None:
        return True
    if not (is_float(column.type) or pa.types.is_integer(column.type)):
        return False
    values = column.drop_null().to_numpy(zero_copy_only=False)
    return bool(np.isfinite(values).all() and values.min() >= low and values.max() <= high)


def _times(column: Any | None) -> I64 | None:
    """`ts` in epoch ms; None: the long way."""
    if column is None or column.null_count:
        return None
    kind = column.type
    per_ms = 1
    if pa.types.is_timestamp(kind):
        if kind.tz is None or kind.unit == "s":
            return None
        per_ms = {"ms": 1, "us": 1_000, "ns": 1_000_000}[kind.unit]
        column = column.cast(pa.int64())
    elif not pa.types.is_int64(kind):
        return None
    times: I64 = column.to_numpy(zero_copy_only=False) // per_ms
    return times if times.min() >= 0 and times.max() <= MAX_TS_MS else None


def _numbers(n: int, column: Any | None) -> F64 | None:
    """The numbers, NaN for null; None where one is no number of JSON."""
    if column is None:
        return np.full(n, _NAN)
    if not _in_range(column, -np.inf, np.inf):
        return None
    if not column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
    values = np.full(n, _NAN)
    values[_is_given(column)] = column.drop_null().to_numpy(zero_copy_only=False)
    return values


def _is_given(column: Any) -> Any:
    return column.is_valid().to_numpy(zero_copy_only=False)


def _predictions(n: int, column: Any | None) -> Predictions | None:
    """The columns of `prediction`; None: the long way."""
    number = np.full(n, _NAN)
    if column is None:
        return Predictions(np.zeros(n, np.uint8), number, np.full(n, -1, np.int32), [])
    kind, names = PredictionKind.STRING, []
    class_of = np.full(n, -1, np.int32)
    if is_float(column.type):
        kind = PredictionKind.NUMBER
    elif pa.types.is_integer(column.type):
        kind = PredictionKind.INTEGER
    elif not (is_text(column.type) and _are_texts(column, 0)):
        return None
    if kind is not PredictionKind.STRING:
        numbers = _numbers(n, column)
        if numbers is None:
            return None
        number = numbers
    if kind is not PredictionKind.NUMBER:
        classes, of_row = _distinct(column, n)
        names = [str(name) for name in classes if name is not None]
        class_of = np.where(of_row < len(names), of_row, -1).astype(np.int32)
    kinds = np.full(n, kind, np.uint8)
    if column.null_count:
        kinds[~_is_given(column)] = PredictionKind.ABSENT
    return Predictions(kinds, number, class_of, names)


def _distinct(column: Any | None, n: int) -> tuple[list[Any], I64]:
    """The distinct values in order of first appearance, null at the end; each row's place."""
    if column is None:
        return [None], np.zeros(n, np.int64)
    encoded = column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    places = pc.fill_null(encoded.indices, len(values)).to_numpy(zero_copy_only=False)
    return [*values, None], places.astype(np.int64)


def _features(features: Any, n: int, width: int) -> tuple[Values, list[str]]:
    """The values of all features, row by row, and what the strings among them stand for."""
    categories: list[str] = []
    value = np.full((n, width), _NAN)
    kind = np.zeros((n, width), np.uint8)
    for j in range(width):
        member = features.field(j)
        if pa.types.is_null(member.type):
            kind[:, j] = ValueKind.NULL
            continue
        if is_float(member.type) or pa.types.is_integer(member.type):
            if not member.null_count:
                value[:, j] = member.to_numpy(zero_copy_only=False)
            else:
                value[_is_given(member), j] = member.drop_null().to_numpy(zero_copy_only=False)
        elif pa.types.is_boolean(member.type):
            kind[:, j] = ValueKind.BOOLEAN
            value[:, j] = pc.fill_null(member, False).to_numpy(zero_copy_only=False)
        else:
            kind[:, j] = ValueKind.STRING
            names, place = _distinct(member, n)
            value[:, j] = place + len(categories)
            categories += names[:-1]
        if member.null_count:
            kind[~_is_given(member), j] = ValueKind.NULL
            value[kind[:, j] == ValueKind.NULL, j] = _NAN
    is_no_number = ~np.isfinite(value) & (kind == ValueKind.NUMBER)
    if is_no_number.any():
        value[is_no_number] = _NAN
        kind[is_no_number] = ValueKind.INVALID
    return Values(value.reshape(-1), kind.reshape(-1)), categories
