"""The labelled predictions of a window, as rows to train on. Pure.

Which they are, and what is known of each, comes of a first reading. Ids and features are taken from
the records of a second one, so that no window has to fit into memory with all of its features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isnan
from typing import Final

import orjson

from schemas.arrow_mark import is_arrow
from schemas.batch import ValueKind
from schemas.events import classify
from schemas.field_rules import Fault, Json
from schemas.records import Record
from streams.window_facts import Pairs, Value

_SEEN: Final = (ValueKind.NUMBER, ValueKind.STRING, ValueKind.BOOLEAN)


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A prediction and its label. No source: who asked, or who labelled, is nothing to train on."""

    event_id: str
    ts_ms: int
    model_version: str
    features: dict[str, Value]
    """In order of their names. What is no number, string or boolean is None, as it is monitored."""
    prediction: Value
    score: float | None
    label: Value

    def as_json(self) -> bytes:
        """One line of NDJSON; the same row gives the same bytes."""
        return orjson.dumps(
            {
                "event_id": self.event_id,
                "ts": self.ts_ms,
                "model_version": self.model_version,
                "features": self.features,
                "prediction": self.prediction,
                "score": self.score,
                "label": self.label,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )


def training_rows(pairs: Pairs, records: Iterable[Record]) -> Iterator[TrainingRow]:
    """The rows of those of `pairs` that may be trained on, in the order of the log.

    `records` are those that `pairs` were made of, in the same order; raises `ValueError` where they
    are others.
    """
    waiting = iter(pairs.labelled().tolist())
    pair = next(waiting, None)
    for record in records:
        if pair is None:
            return
        event = pairs.events[pairs.prediction[pair]]
        if (record.tp.partition, record.offset) != (event["partition"], event["offset"]):
            continue
        documents = _documents(record)
        while pair is not None:
            at = int(pairs.prediction[pair])
            event = pairs.events[at]
            if (record.tp.partition, record.offset) != (event["partition"], event["offset"]):
                break
            document, score = documents[int(event["row"])], float(event["score"])
            yield TrainingRow(
                event_id=_text(document["event_id"]),
                ts_ms=int(event["time_ms"]),
                model_version=_text(document["model_version"]),
                features=_features(document["features"]),
                prediction=pairs.value(at),
                score=None if isnan(score) else score,
                label=pairs.value(int(pairs.label[pair])),
            )
            pair = next(waiting, None)
    if pair is not None:
        raise ValueError("a second reading of the window has not all of its events")


def _documents(record: Record) -> list[dict[str, Json]]:
    """The events of a record, at least one of which was accepted before."""
    value = record.value or b""
    if not is_arrow(value):
        return [orjson.loads(value)]
    from schemas.arrow import events_of, open_stream  # noqa: PLC0415 - most windows have none

    batches = open_stream(value)
    assert not isinstance(batches, Fault)  # it was none at the first reading
    return [event for batch in batches for event in events_of(batch)]


def _text(value: Json) -> str:
    assert isinstance(value, str)  # it was accepted
    return value


def _features(value: Json) -> dict[str, Value]:
    assert isinstance(value, dict)  # it was accepted
    return {name: _monitored(value[name]) for name in sorted(value)}


def _monitored(value: Json) -> Value:
    if isinstance(value, bool | int | float | str) and classify(value) in _SEEN:
        return value
    return None
