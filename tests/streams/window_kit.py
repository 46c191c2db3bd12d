"""Events of a window for tests: as bytes, and a topic that holds them in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from schemas.anomalies import OffsetRange
from schemas.config import DetectionConfig
from schemas.records import Record, TopicPartition
from schemas.retraining import CleanWindow, QuarantinePart, RetrainingData, WindowPart
from schemas.source_hash import SourceKey
from streams.ports import Watermarks
from streams.window_facts import WindowWish
from streams.window_reader import Decoder
from tests.streams.events import START_MS

TOPIC: Final = "events"
SECRET: Final = bytes(range(64)).hex()
KEY: Final = SourceKey(SECRET.encode())
DECODER: Final = Decoder(DetectionConfig(), KEY)


def hash_of(name: str) -> str:
    return KEY.digest(name).hex()


def predicted(
    number: int, value: object = 1, *, source: str | None = None, ts: int | None = None, **more: Any
) -> dict[str, Any]:
    """A prediction of `churn` 7."""
    event: dict[str, Any] = {
        "type": "prediction",
        "event_id": f"e{number}",
        "model_id": "churn",
        "model_version": "7",
        "ts": START_MS + number if ts is None else ts,
        "features": {"age": 40 + number},
        "prediction": value,
        "source": source,
    }
    return {**event, **more}


def labelled(
    number: int, value: object = 1, *, source: str | None = None, ts: int | None = None, **more: Any
) -> dict[str, Any]:
    """The label of the prediction of this number."""
    event: dict[str, Any] = {
        "type": "label",
        "event_id": f"e{number}",
        "model_id": "churn",
        "ts": START_MS + number if ts is None else ts,
        "label": value,
        "label_source": source,
    }
    return {**event, **more}


def record(
    offset: int, event: Mapping[str, Any] | bytes, partition: int = 0, key: str = "churn"
) -> Record:
    value = event if isinstance(event, bytes) else orjson.dumps(event)
    tp = TopicPartition(TOPIC, partition)
    return Record(tp, offset, START_MS + 1_000_000, key.encode(), value)


def window(*parts: tuple[int, int, int], **given: Any) -> CleanWindow:
    """Of (partition, first offset, last offset)."""
    fields: dict[str, Any] = {
        "since_ms": None,
        "until_ms": None,
        "n_predictions": None,
        "n_labels": None,
        "n_quarantined": None,
    }
    return CleanWindow(
        topic=TOPIC,
        parts=[
            WindowPart(
                partition=partition, ranges=[OffsetRange(first_offset=first, last_offset=last)]
            )
            for partition, first, last in parts
        ],
        **{**fields, **given},
    )


def quarantine(
    first: int, last: int, *names: str, partition: int = 0, without_source: bool = False
) -> QuarantinePart:
    """Events of these sources; of all where none is named."""
    return QuarantinePart(
        evidence_id="0" * 32,
        partition=partition,
        ranges=[OffsetRange(first_offset=first, last_offset=last)],
        sources=[hash_of(name) for name in names],
        source_key=KEY.fingerprint if names else None,
        without_source=without_source,
    )


def wish(of: CleanWindow, *parts: QuarantinePart) -> WindowWish:
    return WindowWish("churn", "7", of, parts)


def request(of: CleanWindow, *parts: QuarantinePart, **given: Any) -> RetrainingData:
    """A request that was released."""
    fields: dict[str, Any] = {
        "request_id": "f" * 32,
        "status": "released",
        "holds": [],
        "deployment": "driftsentry",
        "model_id": "churn",
        "model_version": "7",
        "incident_id": "1" * 32,
        "reason": "harmful_drift",
        "evidence_ids": ["2" * 32],
        "window": of,
        "quarantine": list(parts),
        "benefit": None,
        "approved_by": None,
        "was_evidence_opened": None,
        "cooldown_until_ms": None,
        "message": "churn 7: retrain it.",
    }
    return RetrainingData(**{**fields, **given})


class MemoryEvents:
    """`EventReader` of records in memory, some at a time; offsets that have none are gaps."""

    def __init__(self, records: Sequence[Record], *, low: int = 0, high: int, at_once: int = 3):
        self.records: Final = list(records)
        self.range: Final = Watermarks(low, high)
        self.at_once: Final = at_once
        self.n_readings = 0

    def watermarks(self, _tp: TopicPartition) -> Watermarks:
        return self.range

    def events(self, tp: TopicPartition, start: int, end: int) -> Iterator[list[Record]]:
        self.n_readings += 1
        found = [each for each in self.records if each.tp == tp and start <= each.offset < end]
        for first in range(0, len(found), self.at_once):
            yield found[first : first + self.at_once]
