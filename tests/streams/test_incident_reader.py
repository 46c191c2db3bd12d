"""What is read of topics that others write to: incidents as they are now, and their evidence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.incidents import EvidenceKind, IncidentData
from schemas.responses import OpenEvidence, OverruleIncident, Response
from schemas.retraining import RetrainingData
from streams.alert_reader import AlertsError
from streams.incident_reader import (
    Openings,
    ReadTopic,
    TopicRecord,
    now,
    open_evidence,
)
from streams.responder_ports import ModelName
from tests.streams.incident_kit import alert, anomalies, silence
from tests.streams.incident_scene import incidents, written
from tests.streams.test_retraining_gate import only, worse

MODEL = ModelName("driftsentry", "churn")
TOPIC_OF: dict[EvidenceKind, str] = {"alert": "al", "anomaly": "an", "liveness": "li"}
SEVERAL = incidents(alert(1), alert(2, 500), alert(3, 1_000))


def incidents_now(records: Iterable[TopicRecord]) -> tuple[dict[str, IncidentData], int]:
    return now(records, IncidentData, lambda each: each.incident_id)


def requests_now(records: Iterable[TopicRecord]) -> tuple[dict[str, RetrainingData], int]:
    return now(records, RetrainingData, lambda each: each.request_id)


def topics(**records: Iterable[bytes | None]) -> ReadTopic:
    def read(topic: str) -> list[TopicRecord]:
        if topic not in records:
            raise AlertsError(f"there is no topic {topic}")
        return [TopicRecord(b"churn", each) for each in records[topic]]

    return read


_steps = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9) | st.none()), max_size=12)


@given(_steps)
def test_the_latest_record_of_a_key_is_what_there_is_and_a_tombstone_ends_it(
    steps: list[tuple[int, int | None]],
) -> None:
    records: list[TopicRecord] = []
    model: dict[str, IncidentData] = {}
    for number, revision in steps:
        name = SEVERAL[number].incident_id
        if revision is None:
            records.append(TopicRecord(name.encode(), None))
            model.pop(name, None)
        else:
            now = SEVERAL[number].model_copy(update={"revision": revision})
            records.append(written(now))
            model[name] = now
    assert incidents_now(records) == (model, 0)


def test_what_is_no_incident_or_stands_under_another_key_is_passed_over_and_counted() -> None:
    one, other, _ = SEVERAL
    foreign = [
        TopicRecord(b"x", b"{}"),
        TopicRecord(b"y", b"\xff"),
        TopicRecord(b"", b""),
        # It would stand for the one whose name it bears, and no tombstone would end it.
        written(one.model_copy(update={"revision": 99}))._replace(key=other.incident_id.encode()),
    ]
    assert incidents_now([written(one), *foreign]) == ({one.incident_id: one}, 4)
    request = only(worse())
    assert requests_now([written(request), written(one)]) == ({request.request_id: request}, 1)


def test_evidence_is_opened_as_its_latest_record_says_whatever_else_is_there() -> None:
    finding = anomalies()
    records = [alert(1), alert(1, 3, revision=2), silence(1), *finding[:2]]
    (found,) = [each for each in incidents(*records) if each.n_evidence == 2]
    (probing,) = [each for each in incidents(*records) if each.n_evidence == 1]
    noise = [b"", None, b"{}", b"\xff", alert(7), f'{{"alert_id": "{1:032x}"}}'.encode()]
    read = topics(al=[*records[:2], *noise], an=[*noise, *finding], li=[*noise, silence(1)])
    opened = open_evidence(found.evidence, read, TOPIC_OF)
    assert not opened.missing
    assert {each.kind: each.revision for each in opened.found.values()} == {
        "alert": 2,
        "liveness": 1,
    }
    opened = open_evidence(probing.evidence, read, TOPIC_OF)
    (shown,) = opened.found.values()
    assert shown.revision == len(finding)


def test_what_could_not_be_shown_is_said_with_the_reason() -> None:
    records = [alert(1), alert(2), alert(3, revision=2), silence(1)]
    (found,) = incidents(*records)
    opened = open_evidence(found.evidence, topics(al=[alert(1), alert(3)]), TOPIC_OF)
    assert opened.found.keys() == {f"{1:032x}"}
    gone = "it is not on al: retention may have removed it"
    # Of the third there is only a record from before the one that the incident rests on.
    assert opened.missing[f"{2:032x}"] == opened.missing[f"{3:032x}"] == gone
    (quiet,) = [each.evidence_id for each in found.evidence if each.kind == "liveness"]
    assert opened.missing[quiet] == "there is no topic li"
    assert len(opened.missing) == 3


def test_a_topic_is_not_read_that_no_evidence_is_on() -> None:
    (found,) = incidents(alert(1))
    assert not open_evidence(found.evidence, topics(al=[alert(1)]), TOPIC_OF).missing


def opening(**given: Any) -> OpenEvidence:
    fields: dict[str, Any] = {
        "command_id": "o-1",
        "deployment": "driftsentry",
        "model_id": "churn",
        "incident_id": SEVERAL[0].incident_id,
        "by": "ana",
        "revision": 3,
        "evidence": {each.evidence_id: each.revision for each in SEVERAL[0].evidence},
    }
    return OpenEvidence.model_validate({**fields, **given})


def is_opened(*words: Response | bytes, by: str = "ana") -> bool:
    values = [
        each if isinstance(each, bytes) else each.model_dump_json().encode() for each in words
    ]
    records = [TopicRecord(b"churn", each) for each in values]
    return Openings(records, by).has_opened(SEVERAL[0])


def test_evidence_is_opened_by_whom_the_topic_says_so_of() -> None:
    assert is_opened(b"{", opening())
    assert not is_opened()
    assert not is_opened(opening(), by="bob")
    assert not is_opened(opening(), by="Ana")


@pytest.mark.parametrize(
    "change", [{"incident_id": "0" * 32}, {"model_id": "fraud"}, {"deployment": "other"}]
)
def test_an_opening_of_something_else_does_not_count(change: dict[str, str]) -> None:
    assert not is_opened(opening(**change))


def test_another_word_is_no_opening() -> None:
    fields = opening().model_dump(exclude={"revision", "evidence_ids"})
    fields |= {"kind": "overrule", "verdict": "data_fault"}
    assert not is_opened(OverruleIncident.model_validate(fields))
