"""Predictions and labels of one model as one poll: columns in, the decoder's columns out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from schemas.batch import F64, I64, U64, Bool, Decoded, ModelKey, PredictionKind, ValueKind
from schemas.records import TopicPartition

_TP: Final = TopicPartition("events", 0)


@dataclass(frozen=True, slots=True)
class EventTable:
    """n events of one model, each a record of its own; row i is the record at offset i."""

    values: F64
    """(n, d) features, all numbers, NaN where there is none; of labels they are not read."""
    score: F64
    """(n,) NaN where there is none."""
    answer: I64
    """(n,) the class that was predicted, or that the label says."""
    words: U64
    """(n, 2) the keyed hash of the source, or of the label's source."""
    time_ms: I64
    """(n,)"""
    event_id: U64
    """(n,) the same of a label and of its prediction."""
    is_label: Bool

    def __len__(self) -> int:
        return len(self.score)

    def poll(self, start: int, stop: int, model_id: str = "m") -> Decoded:
        """The events start..stop-1 as the decoder would give them."""
        own = slice(start, stop)
        is_label = self.is_label[own]
        n, n_features = len(is_label), self.values.shape[1]
        values = np.ascontiguousarray(self.values[own][~is_label]).ravel()
        classes, answer = np.unique(self.answer[own], return_inverse=True)
        models = [ModelKey(model_id, "1")] + ([ModelKey(model_id, "")] if is_label.any() else [])
        return Decoded(
            tp=_TP,
            offset=np.arange(start, start + n, dtype=np.int64),
            row=np.zeros(n, np.int32),
            record_time_ms=self.time_ms[own].copy(),
            event_time_ms=self.time_ms[own].copy(),
            is_label=is_label.copy(),
            model=is_label.astype(np.int32),
            models=models,
            shape=np.where(is_label, -1, 0).astype(np.int32),
            shapes=[feature_names(n_features)],
            value_ptr=np.cumsum(np.append(0, np.where(is_label, 0, n_features)), dtype=np.int64),
            value=values.astype(np.float64),
            kind=np.where(np.isnan(values), ValueKind.NULL, ValueKind.NUMBER).astype(np.uint8),
            categories=[],
            score=self.score[own].astype(np.float64),
            prediction_kind=np.full(n, PredictionKind.INTEGER, np.uint8),
            prediction=self.answer[own].astype(np.float64),
            predicted_class=answer.reshape(-1).astype(np.int32),
            classes=[str(one) for one in classes.tolist()],
            source=self.words[own].copy(),
            event_id=self.event_id[own].copy(),
            latency_ms=np.full(n, np.nan),
            n_unknown_fields=0,
            n_sources_dropped=0,
        )


def feature_names(n: int) -> tuple[str, ...]:
    """Those of a table: in their own order, as a shape's are."""
    return tuple(f"f{number:03d}" for number in range(n))
