"""Decoded polls made by hand: events as plain tuples, and whole tables as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from schemas.batch import F64, Decoded, ModelKey, PredictionKind, ValueKind
from schemas.limits import MAX_CATEGORY_CHARS
from schemas.records import TopicPartition

TP = TopicPartition("events", 0)
MODEL = ModelKey("m", "1")
Scalar = float | int | str | bool | None


@dataclass(frozen=True)
class Event:
    """One event, as a test writes it."""

    offset: int
    features: Mapping[str, object] = field(default_factory=dict)
    model: ModelKey = MODEL
    score: float = float("nan")
    prediction: Scalar = None
    is_label: bool = False
    ts: int = 1_000
    record_ts: int = 1_000
    event_id: int = 0
    """Its fingerprint; the `prediction` of a label is what it says."""
    latency_ms: float = float("nan")


def _kind(value: object) -> ValueKind:
    if value is None:
        return ValueKind.NULL
    if isinstance(value, bool):
        return ValueKind.BOOLEAN
    if isinstance(value, int | float):
        return ValueKind.NUMBER
    return ValueKind.STRING if isinstance(value, str) else ValueKind.INVALID


def _prediction_kind(value: Scalar) -> PredictionKind:
    if value is None:
        return PredictionKind.ABSENT
    if isinstance(value, bool):
        return PredictionKind.BOOLEAN
    if isinstance(value, int):
        return PredictionKind.INTEGER
    return PredictionKind.NUMBER if isinstance(value, float) else PredictionKind.STRING


def decoded(events: Sequence[Event]) -> Decoded:
    """These events as the decoder would give them."""
    models: dict[ModelKey, int] = {}
    shapes: dict[tuple[str, ...], int] = {}
    classes: dict[str, int] = {}
    predicted = []
    for event in events:
        models.setdefault(event.model, len(models))
        if not event.is_label:
            shapes.setdefault(tuple(event.features), len(shapes))
        kind = _prediction_kind(event.prediction)
        if kind in (PredictionKind.ABSENT, PredictionKind.NUMBER):
            predicted.append(-1)
        else:
            name = str(event.prediction)
            name = name.lower() if kind == PredictionKind.BOOLEAN else name
            predicted.append(classes.setdefault(name, len(classes)))
    values = [v for event in events for v in event.features.values()]
    kinds = [_kind(v) for v in values]
    names = dict.fromkeys(v for v in values if isinstance(v, str) and len(v) <= MAX_CATEGORY_CHARS)
    categories = {name: i for i, name in enumerate(names)}
    return Decoded(
        tp=TP,
        offset=np.array([e.offset for e in events], np.int64),
        row=np.zeros(len(events), np.int32),
        record_time_ms=np.array([e.record_ts for e in events], np.int64),
        event_time_ms=np.array([e.ts for e in events], np.int64),
        is_label=np.array([e.is_label for e in events], np.bool_),
        model=np.array([models[e.model] for e in events], np.int32),
        models=list(models),
        shape=np.array([-1 if e.is_label else shapes[tuple(e.features)] for e in events], np.int32),
        shapes=list(shapes),
        value_ptr=np.cumsum([0, *[len(e.features) for e in events]], dtype=np.int64),
        value=np.array(
            [
                categories.get(v, -1)
                if isinstance(v, str)
                else float(v)
                if isinstance(v, int | float)
                else np.nan
                for v in values
            ],
            np.float64,
        ),
        kind=np.array(kinds, np.uint8),
        categories=list(categories),
        score=np.array([e.score for e in events], np.float64),
        prediction_kind=np.array([_prediction_kind(e.prediction) for e in events], np.uint8),
        prediction=np.array(
            [
                float(e.prediction) if isinstance(e.prediction, int | float) else np.nan
                for e in events
            ],
            np.float64,
        ),
        predicted_class=np.array(predicted, np.int32),
        classes=list(classes),
        source=np.zeros((len(events), 2), np.uint64),
        event_id=np.array([e.event_id for e in events], np.uint64),
        latency_ms=np.array([e.latency_ms for e in events], np.float64),
        n_unknown_fields=0,
        n_sources_dropped=0,
    )


def table(
    model: ModelKey, columns: Mapping[str, F64], score: F64, prediction: F64, first_offset: int
) -> Decoded:
    """A table of numbers as one poll: row i is the event at offset first_offset + i."""
    n = len(score)
    values = np.column_stack(list(columns.values())).astype(np.float64)
    names = [str(int(v)) for v in np.unique(prediction)]
    return Decoded(
        tp=TP,
        offset=np.arange(first_offset, first_offset + n, dtype=np.int64),
        row=np.zeros(n, np.int32),
        record_time_ms=np.full(n, 1_000, np.int64),
        event_time_ms=np.full(n, 1_000, np.int64),
        is_label=np.zeros(n, np.bool_),
        model=np.zeros(n, np.int32),
        models=[model],
        shape=np.zeros(n, np.int32),
        shapes=[tuple(columns)],
        value_ptr=np.arange(n + 1, dtype=np.int64) * len(columns),
        value=np.ascontiguousarray(values).ravel(),
        kind=np.zeros(values.size, np.uint8),
        categories=[],
        score=score.astype(np.float64),
        prediction_kind=np.full(n, PredictionKind.INTEGER, np.uint8),
        prediction=prediction.astype(np.float64),
        predicted_class=np.searchsorted(np.unique(prediction), prediction).astype(np.int32),
        classes=names,
        source=np.zeros((n, 2), np.uint64),
        event_id=np.arange(first_offset, first_offset + n, dtype=np.uint64),
        latency_ms=np.full(n, np.nan),
        n_unknown_fields=0,
        n_sources_dropped=0,
    )
