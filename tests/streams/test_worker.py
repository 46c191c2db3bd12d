"""The partition worker: outputs and state are a function of the records, however they arrive."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import orjson
import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.kit.detection import WITHOUT_ROWS, rivers
from schemas.alerts import AlertData, DeadLetterData
from schemas.config import DetectionConfig
from schemas.records import Record
from streams.checkpoint import state_digest
from streams.lineage import MAX_METADATA_BYTES, Lineage, Metadata, load_metadata
from streams.ports import Output
from streams.worker import Detection, OutputTopics, PartitionWorker
from tests.streams.events import TP, shifting_stream

TOPICS = OutputTopics("alerts", "dead", "journal")
DETECTION = Detection(
    DetectionConfig(
        reference_events=100,
        bounds=WITHOUT_ROWS,
        detectors=rivers(40.0),
    ),
    None,
)
LINEAGE = Lineage(deployment="driftsentry", topic_id="t", partition=0, start_offset=0)
STREAM = shifting_stream(1_500, seed=3, shift_at=700, n_models=2, bad_every=50)


def worker(live_from: int = 0) -> PartitionWorker:
    return PartitionWorker(TP, LINEAGE, DETECTION, 0, TOPICS, live_from=live_from)


def process(
    partition: PartitionWorker, records: Sequence[Record], cuts: Sequence[int] = ()
) -> list[Output]:
    edges = sorted({0, *cuts, len(records)})
    for start, stop in pairwise(edges):
        partition.process(records[start:stop])
    return partition.take_outputs()


def by_topic(outputs: Sequence[Output]) -> dict[str, list[Output]]:
    return {t: [o for o in outputs if o.topic == t] for t in ("alerts", "dead")}


def test_alerts_and_dead_letters_are_numbered_without_gaps() -> None:
    outputs = by_topic(process(worker(), STREAM))

    alerts = [AlertData.model_validate_json(o.value) for o in outputs["alerts"]]
    letters = [DeadLetterData.model_validate_json(o.value) for o in outputs["dead"]]
    assert len(alerts) >= 2
    assert {a.signal for a in alerts} >= {"feature:x"}
    assert [a.seq for a in alerts] == list(range(1, len(alerts) + 1))
    assert [a.seq for a in letters] == list(range(1, 31))
    assert {letter.reason for letter in letters} == {"not_json", "empty", "missing_field"}


@settings(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(1, 1_499), max_size=20))
def test_any_split_gives_the_same_outputs_and_state(cuts: list[int]) -> None:
    whole, parts = worker(), worker()

    assert by_topic(process(parts, STREAM, cuts)) == by_topic(process(whole, STREAM))
    assert state_digest(parts.parts()) == state_digest(whole.parts())
    assert parts.metadata() == whole.metadata()


@settings(deadline=None, max_examples=15)
@given(at=st.integers(1, 1_499), live_from=st.integers(0, 1_500))
def test_a_replay_repeats_the_state_and_leaves_out_what_was_published(
    at: int, live_from: int
) -> None:
    whole = worker()
    outputs = by_topic(process(whole, STREAM))
    first = worker()
    process(first, STREAM[:at])
    live_from = max(at, live_from)

    second = PartitionWorker(
        TP, LINEAGE, DETECTION, 0, TOPICS, first.checkpoint(), live_from=live_from
    )
    again = by_topic(process(second, STREAM[at:]))

    later = [o for o in outputs["alerts"] if _trigger(o) >= live_from]
    assert again["alerts"] == later
    assert state_digest(second.parts()) == state_digest(whole.parts())


def _trigger(output: Output) -> int:
    return int(orjson.loads(output.value)["trigger_offset"])


def test_an_alert_is_a_cloudevent_in_binary_mode() -> None:
    # The first one says that references keep no rows.
    output = by_topic(process(worker(), STREAM))["alerts"][1]
    headers = dict(output.headers)
    data = AlertData.model_validate_json(output.value)

    event = from_binary_event(
        KafkaMessage(headers=headers, key=output.key, value=output.value), JSONFormat()
    )

    assert event.get_id() == f"{data.alert_id}.{data.revision}"
    assert event.get_type() == "io.driftsentry.drift.opened.v1"
    assert event.get_datacontenttype() == "application/json"
    # The extension asks for strings that sort as their numbers do.
    assert event.get_extension("sequence") == f"{data.seq:019}"
    time = event.get_time()
    assert time is not None
    assert time.timestamp() * 1000 == output.timestamp_ms
    assert output.timestamp_ms == 1_790_000_000_000 + data.trigger_offset
    assert output.key == data.model_id.encode()


def test_later_evidence_within_the_cooldown_is_an_update() -> None:
    alerts = [
        AlertData.model_validate_json(o.value)
        for o in by_topic(process(worker(), STREAM))["alerts"]
    ]
    of_x = [a for a in alerts if a.signal == "feature:x" and a.model_id == "m0"]

    assert len({a.alert_id for a in of_x}) < len(of_x)
    first = of_x[0]
    update = next(a for a in of_x[1:] if a.alert_id == first.alert_id)
    assert (first.revision, update.revision) == (1, 2)
    assert first.detectors != update.detectors
    assert update.opened_offset == first.trigger_offset


def test_metadata_fits_into_a_commit_and_can_be_read_back() -> None:
    partition = worker()
    process(partition, STREAM)
    partition.checkpointed(2**53, "f" * 32)
    metadata = partition.metadata().model_copy(
        update={
            "lineage": Lineage(
                deployment="d" * 128,
                topic_id="t" * 40,
                partition=99_999,
                start_offset=2**62,
                n_resets=10**6,
                parent="p" * 32,
            ),
            "n_events": 2**62,
            "generation": 2**31,
        }
    )

    assert len(metadata.dump()) <= MAX_METADATA_BYTES
    assert load_metadata(metadata.dump()) == metadata
    assert load_metadata("") is None


@pytest.mark.parametrize("text", ["{}", "nonsense", '{"v":2}'])
def test_foreign_metadata_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="metadata"):
        load_metadata(text)


def test_metadata_of_a_newer_minor_is_read() -> None:
    partition = worker()
    text = orjson.dumps(orjson.loads(partition.metadata().dump()) | {"new": 1}).decode()

    assert isinstance(load_metadata(text), Metadata)


@pytest.mark.parametrize("timestamp_ms", [-(10**15), -1, 2**53, 2**63 - 1])
def test_no_record_timestamp_stops_the_worker(timestamp_ms: int) -> None:
    partition = worker()
    partition.process([Record(TP, 0, timestamp_ms, b"k", b"{}")])

    (letter,) = partition.take_outputs()
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT[\d:.]{12}Z", dict(letter.headers)["ce_time"])


def test_a_header_holds_no_control_character() -> None:
    stream = shifting_stream(1_500, seed=3, shift_at=700)
    odd = [
        r._replace(key=b"m\n0", value=r.value and r.value.replace(b'"m0"', b'"m\\n0"'))
        for r in stream
    ]
    alerts = by_topic(process(worker(), odd))["alerts"]

    assert alerts
    assert alerts[0].key == b"m\n0"
    assert dict(alerts[0].headers)["ce_subject"].startswith(b"m\\x0a0/1/")
