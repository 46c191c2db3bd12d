"""Pieces of a poll's columns, and how they become one `Decoded` in offset order."""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple

import numpy as np

from schemas.batch import F64, I32, I64, U8, U64, Decoded, ModelKey
from schemas.records import Record, TopicPartition


class Part(NamedTuple):
    """The accepted events of one type in one stretch of a poll; shapes as in `Decoded`."""

    row: I64
    """(n,) ascending: which of the poll's records each event came from."""
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


class Names(NamedTuple):
    """What the codes in the parts stand for, and what was counted on the way."""

    models: list[ModelKey]
    shapes: list[tuple[str, ...]]
    classes: list[str]
    n_unknown_fields: int
    n_sources_dropped: int


def assemble(tp: TopicPartition, records: list[Record], parts: list[Part], names: Names) -> Decoded:
    """All parts as one, in offset order; parts of one type are given in the order of the log."""
    if not parts:
        parts = [_NOTHING]
    row, label, time, model, shape, n_values, value, kind, score, p_kind, p, p_class, source = zip(
        *parts, strict=True
    )
    rows = np.concatenate(row)
    is_label = np.repeat(np.array(label), [len(r) for r in row])
    order: I64 | slice = slice(None)
    models = names.models
    model_codes = np.concatenate(model)
    if is_label.any():
        # Labels were set apart, so rows and models have to be put back in the order of the log.
        # The ragged values have not: a label has none.
        order = np.argsort(rows)
        rows, is_label, model_codes = rows[order], is_label[order], model_codes[order]
        model_codes, models = _renumber(model_codes, models)
    n = len(rows)
    value_ptr = np.zeros(n + 1, np.int64)
    np.cumsum(np.concatenate(n_values)[order], out=value_ptr[1:])
    offsets = np.fromiter(map(itemgetter(1), records), np.int64, len(records))
    times = np.fromiter(map(itemgetter(2), records), np.int64, len(records))
    return Decoded(
        tp=tp,
        offset=offsets[rows],
        row=np.zeros(n, np.int32),
        record_time_ms=times[rows],
        event_time_ms=np.concatenate(time)[order],
        is_label=is_label,
        model=model_codes,
        models=models,
        shape=np.concatenate(shape)[order],
        shapes=names.shapes,
        value_ptr=value_ptr,
        value=np.concatenate(value),
        kind=np.concatenate(kind),
        score=np.concatenate(score)[order],
        prediction_kind=np.concatenate(p_kind)[order],
        prediction=np.concatenate(p)[order],
        predicted_class=np.concatenate(p_class)[order],
        classes=names.classes,
        source=np.concatenate(source)[order],
        n_unknown_fields=names.n_unknown_fields,
        n_sources_dropped=names.n_sources_dropped,
    )


def _renumber(codes: I32, models: list[ModelKey]) -> tuple[I32, list[ModelKey]]:
    """Number the models anew, in order of first appearance."""
    used, first = np.unique(codes, return_index=True)
    old = used[np.argsort(first)]
    new = np.empty(len(models), np.int32)
    new[old] = np.arange(len(old), dtype=np.int32)
    return new[codes], [models[k] for k in old.tolist()]


def label_part(row: I64, event_time_ms: I64, model: I32, source: U64) -> Part:
    """A part of labels: the columns of a prediction hold their empty value."""
    n = len(row)
    nan = np.full(n, np.nan)
    return Part(
        row=row,
        is_label=True,
        event_time_ms=event_time_ms,
        model=model,
        shape=np.full(n, -1, np.int32),
        n_values=np.zeros(n, np.int64),
        value=np.empty(0),
        kind=np.empty(0, np.uint8),
        score=nan,
        prediction_kind=np.zeros(n, np.uint8),
        prediction=nan,
        predicted_class=np.full(n, -1, np.int32),
        source=source,
    )


_NOTHING = label_part(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32), np.empty((0, 2), np.uint64)
)
