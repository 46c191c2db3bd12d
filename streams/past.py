"""The latest events of each model, kept as columns: what a replay shuffles. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from schemas.batch import F64, I64, Decoded, ModelKey, ValueKind


class Past:
    """The latest `n_most` predictions of each model, or of those with one name."""

    def __init__(self, n_most: int, model_id: str | None = None) -> None:
        self._n_most: Final = n_most
        self._model_id: Final = model_id
        self._pieces: dict[ModelKey, deque[Decoded]] = {}
        self._n: dict[ModelKey, int] = {}

    def take(self, events: Decoded) -> None:
        """Take in decoded events, in the order of the log; labels are left out."""
        for number, key in enumerate(events.models):
            if self._model_id is not None and key.model_id != self._model_id:
                continue
            rows = np.flatnonzero((events.model == number) & ~events.is_label)[-self._n_most :]
            if not len(rows):
                continue
            pieces = self._pieces.setdefault(key, deque())
            pieces.append(_of_one_model(events, rows, key))
            self._n[key] = self._n.get(key, 0) + len(rows)
            while self._n[key] - len(pieces[0]) >= self._n_most:
                self._n[key] -= len(pieces.popleft())

    def of(self, key: ModelKey, n_most: int) -> Decoded | None:
        """The latest predictions of a model, at most so many; None where there is none."""
        pieces = self._pieces.get(key)
        n = min(n_most, self._n_most, self._n.get(key, 0))
        if not pieces or n <= 0:
            return None
        joined = joined_events(list(pieces))
        return taken(joined, np.arange(len(joined) - n, len(joined)))


def taken(events: Decoded, rows: I64) -> Decoded:
    """The events of these rows, in this order, and their offsets and times with them."""
    n_values = np.diff(events.value_ptr)[rows]
    value_ptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(n_values, dtype=np.int64)])
    # Each row's values stand together: where they begin, and how far into them one is.
    within = np.arange(value_ptr[-1]) - np.repeat(value_ptr[:-1], n_values)
    at = np.repeat(events.value_ptr[rows], n_values) + within
    return replace(
        events,
        offset=events.offset[rows],
        row=events.row[rows],
        record_time_ms=events.record_time_ms[rows],
        event_time_ms=events.event_time_ms[rows],
        is_label=events.is_label[rows],
        model=events.model[rows],
        shape=events.shape[rows],
        value_ptr=value_ptr,
        value=events.value[at],
        kind=events.kind[at],
        score=events.score[rows],
        prediction_kind=events.prediction_kind[rows],
        prediction=events.prediction[rows],
        predicted_class=events.predicted_class[rows],
        source=events.source[rows],
        event_id=events.event_id[rows],
        latency_ms=events.latency_ms[rows],
    )


def reordered(events: Decoded, order: I64) -> Decoded:
    """The events in another order, at the places of the old one: offsets 0, 1, ...

    Their own times go with them: what they are compared with may hang on the hour of the day.
    """
    n = len(order)
    return replace(
        taken(events, order),
        offset=np.arange(n, dtype=np.int64),
        row=np.zeros(n, np.int32),
        record_time_ms=events.record_time_ms[:n],
    )


def joined_events(pieces: Sequence[Decoded]) -> Decoded:
    """Pieces of one model's events, one after the other; names are numbered anew."""
    shapes: dict[tuple[str, ...], int] = {}
    classes: dict[str, int] = {}
    categories: dict[str, int] = {}
    shape, predicted_class, value = [], [], []
    for piece in pieces:
        of_shape = [shapes.setdefault(names, len(shapes)) for names in piece.shapes]
        of_class = [classes.setdefault(name, len(classes)) for name in piece.classes]
        shape.append(np.array([*of_shape, -1], np.int32)[piece.shape])
        predicted_class.append(np.array([*of_class, -1], np.int32)[piece.predicted_class])
        value.append(_renumbered(piece, categories))
    n_values = np.concatenate([np.diff(piece.value_ptr) for piece in pieces])
    return Decoded(
        tp=pieces[0].tp,
        offset=np.concatenate([piece.offset for piece in pieces]),
        row=np.concatenate([piece.row for piece in pieces]),
        record_time_ms=np.concatenate([piece.record_time_ms for piece in pieces]),
        event_time_ms=np.concatenate([piece.event_time_ms for piece in pieces]),
        is_label=np.concatenate([piece.is_label for piece in pieces]),
        model=np.concatenate([piece.model for piece in pieces]),
        models=pieces[0].models,
        shape=np.concatenate(shape),
        shapes=list(shapes),
        value_ptr=np.concatenate([np.zeros(1, np.int64), np.cumsum(n_values, dtype=np.int64)]),
        value=np.concatenate(value),
        kind=np.concatenate([piece.kind for piece in pieces]),
        categories=list(categories),
        score=np.concatenate([piece.score for piece in pieces]),
        prediction_kind=np.concatenate([piece.prediction_kind for piece in pieces]),
        prediction=np.concatenate([piece.prediction for piece in pieces]),
        predicted_class=np.concatenate(predicted_class),
        classes=list(classes),
        source=np.concatenate([piece.source for piece in pieces]),
        event_id=np.concatenate([piece.event_id for piece in pieces]),
        latency_ms=np.concatenate([piece.latency_ms for piece in pieces]),
        n_unknown_fields=0,
        n_sources_dropped=0,
    )


def _renumbered(piece: Decoded, categories: dict[str, int]) -> F64:
    """The values of a piece, its categories by their numbers in all pieces."""
    at = np.flatnonzero(piece.kind == ValueKind.STRING)
    if not len(at):
        return piece.value
    value, code = piece.value.copy(), piece.value[at].astype(np.int64)
    new = np.full(len(piece.categories) + 1, -1.0)  # the last for what has no name
    for old in np.unique(code[code >= 0]).tolist():
        new[old] = categories.setdefault(piece.categories[old], len(categories))
    value[at] = new[code]
    return value


def _of_one_model(events: Decoded, rows: I64, key: ModelKey) -> Decoded:
    own = taken(events, rows)
    return replace(own, model=np.zeros(len(rows), np.int32), models=[key])
