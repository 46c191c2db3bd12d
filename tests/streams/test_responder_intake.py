"""Records to evidence and words; what cannot be read is counted, said once and passed over."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import structlog

from streams.config import Topics
from streams.incident_reasons import Approval, Opening, Overruling
from streams.responder_intake import Intake
from streams.responder_ports import ModelName
from tests.streams.incident_kit import alert, anomalies, silence

TOPICS = Topics()
NAME = "a" * 32
SEEN = (("2" * 32, 7), ("3" * 32, 1))


def said(kind: str, **more: Any) -> bytes:
    fields = {
        "kind": kind,
        "command_id": "c-1",
        "deployment": "driftsentry",
        "model_id": "churn",
        "incident_id": NAME,
        "by": "ana",
    }
    return orjson.dumps({**fields, **more})


SHOWN: dict[str, Any] = {"revision": 3, "evidence_ids": ["2" * 32]}


def test_every_topic_has_its_records() -> None:
    intake = Intake(TOPICS)
    for topic, value, kind in (
        (TOPICS.alerts, alert(1), "alert"),
        (TOPICS.anomalies, anomalies()[0], "anomaly"),
        (TOPICS.liveness, silence(), "liveness"),
    ):
        found = intake.evidence(topic, 0, 7, value)
        assert found is not None
        assert found.kind == kind
    assert not intake.n_refused


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff", silence()])
def test_what_cannot_be_read_is_counted_and_said_once_of_each_topic(value: bytes | None) -> None:
    intake = Intake(TOPICS)
    with structlog.testing.capture_logs() as lines:
        for offset in range(3):
            assert intake.evidence(TOPICS.alerts, 1, offset, value) is None
        assert intake.evidence(TOPICS.anomalies, 0, 9, b"{}") is None
    assert intake.n_refused == {TOPICS.alerts: 3, TOPICS.anomalies: 1}
    assert [(line["topic"], line["partition"], line["offset"]) for line in lines] == [
        (TOPICS.alerts, 1, 0),
        (TOPICS.anomalies, 0, 9),
    ]


def test_what_people_say_has_its_offset_as_its_place() -> None:
    """Evidence in the order of its ids, whatever that of the record is."""
    intake = Intake(TOPICS)
    seen = {"3" * 32: 1, "2" * 32: 7}
    words = [
        intake.word(4, said("overrule", verdict="data_fault", reason="a join", evidence=seen), 9),
        intake.word(5, said("approve", request_id="b" * 32, reason="seen", **SHOWN), 9),
        intake.word(6, said("opened", revision=3, evidence=seen), 9),
    ]
    model = ModelName("driftsentry", "churn")
    assert words == [
        (model, Overruling(4, NAME, "data_fault", "ana", "a join", SEEN, 9)),
        (model, Approval(5, "b" * 32, NAME, "ana", "seen", 3, ("2" * 32,), 9)),
        (model, Opening(6, NAME, "ana", 3, SEEN, 9)),
    ]


def test_what_is_said_to_workers_is_no_word_and_no_fault() -> None:
    intake = Intake(TOPICS)
    assert intake.word(0, b'{"kind": "mute"}', 9) is None
    assert intake.word(1, b"no json", 9) is None
    assert not intake.n_refused
    assert intake.word(2, said("overrule", verdict="nonsense"), 9) is None
    assert intake.n_refused == {TOPICS.commands: 1}
