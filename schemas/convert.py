"""From judged columns to a part of the poll: values as arrays, names as codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from schemas.batch import I64, U64
from schemas.categories import Categories
from schemas.codes import Classes, Shapes
from schemas.columns import (
    Values,
    feature_values,
    in_order,
    int32s,
    nullable_column,
    nullable_numbers,
    scores,
)
from schemas.event_hash import EventKey
from schemas.field_rules import Json
from schemas.judge import Judged
from schemas.parts import Part, label_part
from schemas.source_hash import SourceKey

_SOURCE_FIELD: Final = {"prediction": "source", "label": "label_source"}


class Converter:
    """Numbers the shapes, classes and categories of one poll; replaces sources by hashes."""

    def __init__(self, source_key: SourceKey | None, event_key: EventKey | None) -> None:
        self.source_key = source_key
        self.event_key = event_key
        """None: nobody asks for event ids."""
        self.shapes = Shapes()
        self.classes = Classes()
        self.categories = Categories()
        self.n_unknown_fields = 0
        self.n_sources_dropped = 0

    def part(self, judged: Judged, row: I64, values: list[Json] | bytearray) -> Part:
        """The columns of events in which nothing is wrong.

        `values`: those of the features, event by event; in bytes they are doubles, NaN for null.
        """
        n, column, seen = len(row), judged.fields.column, judged.seen
        assert judged.times is not None
        assert judged.model is not None
        model = int32s(judged.model)
        sources = column.get(_SOURCE_FIELD[judged.kind])
        source = np.zeros((n, 2), np.uint64) if sources is None else self.sources(sources)
        self.n_unknown_fields += judged.fields.n_unknown
        event_id = self.event_ids(n, lambda: column["event_id"])
        if seen is None:
            label = self.classes.columns(n, column["label"])
            return label_part(row, judged.times, model, label, source, event_id)
        shape, n_values = self.shapes.columns(seen)
        width = None if seen.one is None else len(seen.one)
        value, kind = (
            nullable_numbers(values)
            if isinstance(values, bytearray)
            else feature_values(values, width, self.categories)
        )
        if width and (indices := seen.order[0]) is not None:
            value, kind = in_order(Values(value, kind), width, indices)
        predictions = self.classes.columns(n, column.get("prediction"))
        return Part(
            row=row,
            is_label=False,
            event_time_ms=judged.times,
            model=model,
            shape=shape,
            n_values=n_values,
            value=value,
            kind=kind,
            score=scores(n, column.get("score"), column.get("probabilities")),
            prediction_kind=predictions.kind,
            prediction=predictions.number,
            predicted_class=predictions.class_code,
            source=source,
            event_id=event_id,
            latency_ms=nullable_column(n, column.get("latency_ms")),
        )

    def event_ids(self, n: int, column: Callable[[], list[str]]) -> U64:
        """(n,) the fingerprint of each id in the column; 0 where nobody asks for them."""
        if self.event_key is None:
            return np.zeros(n, np.uint64)
        return self.event_key.words(column())

    def sources(self, column: list[Json], of_row: I64 | None = None) -> U64:
        """(n, 2) the hash of each source; without a key they are counted and forgotten.

        `of_row` (n,): each row's place in the column; None: each has its own.
        """
        n = len(column) if of_row is None else len(of_row)
        if self.source_key is not None:
            words = self.source_key.words(column)
            return words if of_row is None else words[of_row]
        counted = column if of_row is None else [column[i] for i in of_row.tolist()]
        self.n_sources_dropped += n - counted.count(None) - counted.count("")
        return np.zeros((n, 2), np.uint64)
