"""The emitter of docs/events.md makes records that are taken."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest import mock

import confluent_kafka

from schemas.decode import decode_records
from schemas.limits import DecodeLimits
from schemas.records import Record, TopicPartition
from tests.schemas.samples import PREDICTION

TP = TopicPartition("driftsentry.events", 0)


def test_the_documented_emitter_sends_what_the_worker_takes() -> None:
    page = Path("docs/events.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (emitter,) = [block for block in blocks if "pyarrow" in block]
    assert len([line for line in emitter.splitlines() if line.strip()]) <= 10
    sent: list[dict[str, Any]] = []

    def produce(topic: str, value: bytes, key: str, headers: dict[str, str]) -> None:
        sent.append({"topic": topic, "value": value, "key": key, "headers": headers})

    with mock.patch.object(confluent_kafka, "Producer") as producer:
        producer.return_value.produce.side_effect = produce
        names: dict[str, Any] = {}
        exec(emitter, names)  # noqa: S102  # the page of our own docs is what is tested
        names["emit"]([{**PREDICTION, "ts": i, "score": i / 9} for i in range(100)])

    (one,) = sent
    assert one["topic"] == TP.topic
    assert one["headers"] == {"content-type": "application/vnd.apache.arrow.stream"}
    record = Record(TP, 0, 0, one["key"].encode(), one["value"])
    decoding = decode_records(TP, [record], DecodeLimits(), None, None)
    assert decoding.rejects == []
    assert decoding.events.event_time_ms.tolist() == list(range(100))
