"""Pieces of a poll's columns, and how they become one `Decoded` in offset order."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeVar

import numpy as np

from schemas.batch import F64, I32, I64, U8, U64, Decoded, ModelKey
from schemas.categories import in_log_order
from schemas.codes import Classes, Predictions
from schemas.limits import MAX_ARROW_ROWS
from schemas.records import Records, TopicPartition

N = TypeVar("N")

ROW_BITS: Final = 12
MAX_ROW: Final = (1 << ROW_BITS) - 1
assert MAX_ROW + 1 == MAX_ARROW_ROWS


def row_of(record: int, event: int = 0) -> int:
    """One number for an event's place in a poll: its record's index, and its own within that."""
    return record << ROW_BITS | event


class Part(NamedTuple):
    """The accepted events of one type in one stretch of a poll; shapes as in `Decoded`."""

    row: I64
    """(n,) which of the poll's records each event came from, and where in it: see `row_of`."""
    is_label: bool
    event_time_ms: I64
    model: I32
    shape: I32
    n_values: I64
    """(n,)"""
    value: F64
    kind: U8
    score: F64
    prediction_kind: U8
    prediction: F64
    predicted_class: I32
    source: U64
    event_id: U64
    latency_ms: F64


class Names(NamedTuple):
    """What the codes in the parts stand for, and what was counted on the way."""

    models: list[ModelKey]
    shapes: list[tuple[str, ...]]
    classes: list[str]
    categories: list[str]
    n_unknown_fields: int
    n_sources_dropped: int


def assemble(tp: TopicPartition, records: Records, parts: list[Part], names: Names) -> Decoded:
    """All parts as one, in offset order."""
    row, label, time, model, shape, n_values, value, kind, *outputs = zip(
        *(parts or [_NOTHING]), strict=True
    )
    score, p_kind, p, p_class, source, event_id, latency_ms = outputs
    rows = np.concatenate(row)
    is_label = np.repeat(np.array(label), [len(r) for r in row])
    models, shapes, classes = names.models, names.shapes, names.classes
    model_code, shape_code = np.concatenate(model), np.concatenate(shape)
    class_code, n_values_of = np.concatenate(p_class), np.concatenate(n_values)
    values, kinds = np.concatenate(value), np.concatenate(kind)
    order: I64 | slice = slice(None)
    if (rows[1:] < rows[:-1]).any():
        # Events that were set apart (labels, and what no template took) go back to their places,
        # and codes are given anew in the order of the log.
        order = np.argsort(rows)
        values, kinds = _ragged(n_values_of, order, values, kinds)
        rows, is_label, n_values_of = rows[order], is_label[order], n_values_of[order]
        model_code, models = _renumber(model_code[order], models)
        shape_code, shapes = _renumber(shape_code[order], shapes)
        class_code, classes = _renumber(class_code[order], classes)
    values, categories = in_log_order(values, kinds, names.categories)
    n = len(rows)
    value_ptr = np.zeros(n + 1, np.int64)
    np.cumsum(n_values_of, out=value_ptr[1:])
    offsets = np.array(records.offsets, np.int64)
    times = np.array(records.timestamps_ms, np.int64)
    return Decoded(
        tp=tp,
        offset=offsets[rows >> ROW_BITS],
        row=(rows & MAX_ROW).astype(np.int32),
        record_time_ms=times[rows >> ROW_BITS],
        event_time_ms=np.concatenate(time)[order],
        is_label=is_label,
        model=model_code,
        models=models,
        shape=shape_code,
        shapes=shapes,
        value_ptr=value_ptr,
        value=values,
        kind=kinds,
        categories=categories,
        score=np.concatenate(score)[order],
        prediction_kind=np.concatenate(p_kind)[order],
        prediction=np.concatenate(p)[order],
        predicted_class=class_code,
        classes=classes,
        source=np.concatenate(source)[order],
        event_id=np.concatenate(event_id)[order],
        latency_ms=np.concatenate(latency_ms)[order],
        n_unknown_fields=names.n_unknown_fields,
        n_sources_dropped=names.n_sources_dropped,
    )


def _ragged(n_values: I64, order: I64, values: F64, kinds: U8) -> tuple[F64, U8]:
    """The values of rows in a new order; `n_values` (n,) is how many each row has, in the old."""
    with_values = order[n_values[order] > 0]
    if (with_values[1:] > with_values[:-1]).all():  # only labels have moved, and they have none
        return values, kinds
    width = n_values[with_values]
    start = (np.cumsum(n_values) - n_values)[with_values]
    before = np.cumsum(width) - width
    index = np.arange(len(values)) + np.repeat(start - before, width)
    return values[index], kinds[index]


def _renumber(codes: I32, names: list[N]) -> tuple[I32, list[N]]:
    """Number names anew, in order of first appearance; -1 stands for none and stays."""
    used, first = np.unique(codes, return_index=True)
    in_order = used[np.argsort(first)]
    old = in_order[in_order >= 0]
    new = np.full(len(names) + 1, -1, np.int32)  # the last for -1
    new[old] = np.arange(len(old), dtype=np.int32)
    return new[codes], [names[k] for k in old.tolist()]


def label_part(
    row: I64, event_time_ms: I64, model: I32, label: Predictions, source: U64, event_id: U64
) -> Part:
    """A part of labels: what only a prediction has is empty."""
    n = len(row)
    return Part(
        row=row,
        is_label=True,
        event_time_ms=event_time_ms,
        model=model,
        shape=np.full(n, -1, np.int32),
        n_values=np.zeros(n, np.int64),
        value=np.empty(0),
        kind=np.empty(0, np.uint8),
        score=np.full(n, np.nan),
        prediction_kind=label.kind,
        prediction=label.number,
        predicted_class=label.class_code,
        source=source,
        event_id=event_id,
        latency_ms=np.full(n, np.nan),
    )


_NOTHING = label_part(
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty(0, np.int32),
    Classes().columns(0, None),
    np.empty((0, 2), np.uint64),
    np.empty(0, np.uint64),
)
