"""Records of many events in the worker: places, numbers and batches."""

from __future__ import annotations

from itertools import pairwise
from unittest import mock

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.kit.detection import rivers
from schemas.alerts import AlertData, DeadLetterData
from schemas.config import DetectionConfig
from schemas.records import Record
from streams import worker as module
from streams.checkpoint import state_digest
from streams.lineage import Lineage
from streams.ports import Output
from streams.worker import Detection, OutputTopics, PartitionWorker
from tests.schemas.arrow_streams import stream_of
from tests.streams.events import TP, record, shifting_stream

DETECTION = Detection(
    DetectionConfig(
        reference_events=100,
        detectors=rivers(40.0),
    ),
    None,
)
LINEAGE = Lineage(deployment="driftsentry", topic_id="t", partition=0, start_offset=0)
ROWS = 100
N_EVENTS = 1_500
BAD = range(49, N_EVENTS, 50)
EVENTS = [orjson.loads(one.value or b"") for one in shifting_stream(N_EVENTS, seed=3, shift_at=700)]
for _i in BAD:
    EVENTS[_i]["ts"] = -1
JSON = [record(i, orjson.dumps(event), key="m0") for i, event in enumerate(EVENTS)]
ARROW = [
    record(k, stream_of(EVENTS[start : start + ROWS]), key="m0")
    for k, start in enumerate(range(0, N_EVENTS, ROWS))
]


def run(
    records: list[Record], cuts: list[int] | None = None, live_from: int = 0
) -> tuple[PartitionWorker, list[Output]]:
    topics = OutputTopics("alerts", "dead", "journal")
    partition = PartitionWorker(TP, LINEAGE, DETECTION, 0, topics, live_from=live_from)
    for start, stop in pairwise(sorted({0, *(cuts or ()), len(records)})):
        partition.process(records[start:stop])
    return partition, partition.take_outputs()


def alerts(outputs: list[Output]) -> list[AlertData]:
    return [AlertData.model_validate_json(o.value) for o in outputs if o.topic == "alerts"]


def letters(outputs: list[Output]) -> list[DeadLetterData]:
    return [DeadLetterData.model_validate_json(o.value) for o in outputs if o.topic == "dead"]


def test_the_same_events_give_the_same_alerts_at_their_rows() -> None:
    json_worker, json_outputs = run(JSON)
    arrow_worker, arrow_outputs = run(ARROW)

    assert arrow_worker.counts() == json_worker.counts()
    assert arrow_worker.n_records == json_worker.n_records == N_EVENTS
    assert arrow_worker.next_offset == len(ARROW)
    in_json, in_arrow = alerts(json_outputs), alerts(arrow_outputs)
    assert len(in_json) >= 1
    places = {"trigger_offset", "trigger_row", "opened_offset", "change_offset", "alert_id"}
    said = places | {"message", "signals"}  # it names the offsets
    of_signal = {"change_offset", "found_offset"}
    for one, other in zip(in_json, in_arrow, strict=True):
        assert one.model_dump(exclude=said) == other.model_dump(exclude=said)
        assert divmod(one.trigger_offset, ROWS) == (other.trigger_offset, other.trigger_row)
        assert one.change_offset // ROWS == other.change_offset
        for mine, theirs in zip(one.signals, other.signals, strict=True):
            assert mine.model_dump(exclude=of_signal) == theirs.model_dump(exclude=of_signal)
            assert mine.found_offset // ROWS == theirs.found_offset
    assert len({a.alert_id for a in in_arrow}) == len({a.alert_id for a in in_json})


def test_each_refused_row_has_a_dead_letter_of_its_own() -> None:
    _, outputs = run(ARROW)
    found = letters(outputs)
    assert [letter.offset * ROWS + letter.row for letter in found] == list(BAD)
    assert [letter.seq for letter in found] == list(range(1, len(BAD) + 1))
    ids = {dict(o.headers)["ce_id"] for o in outputs if o.topic == "dead"}
    assert len(ids) == len(BAD)


@settings(deadline=None, max_examples=10)
@given(cuts=st.lists(st.integers(1, len(ARROW) - 1), max_size=6), at_once=st.integers(1, 200_000))
def test_any_split_gives_the_same_outputs_and_state(cuts: list[int], at_once: int) -> None:
    whole, outputs = run(ARROW)
    with mock.patch.object(module, "MAX_BYTES_AT_ONCE", at_once):
        parts, of_parts = run(ARROW, cuts)
    for topic in ("alerts", "dead"):
        one, other = ([o for o in some if o.topic == topic] for some in (outputs, of_parts))
        assert one == other
    assert state_digest(parts.parts()) == state_digest(whole.parts())
    assert parts.metadata() == whole.metadata()


@settings(deadline=None, max_examples=10)
@given(live_from=st.integers(0, len(ARROW)))
def test_a_replay_leaves_out_whole_records(live_from: int) -> None:
    whole, outputs = run(ARROW)
    again, after = run(ARROW, live_from=live_from)
    assert state_digest(again.parts()) == state_digest(whole.parts())
    assert alerts(after) == [a for a in alerts(outputs) if a.trigger_offset >= live_from]
    assert letters(after) == [one for one in letters(outputs) if one.offset >= live_from]


def test_a_dead_letter_of_json_keeps_its_id() -> None:
    # The identity of row 0 is that of the record, as it was before records had rows.
    bad = orjson.dumps({**EVENTS[0], "ts": -1})
    _, outputs = run([record(0, bad, key="m0")])
    _, of_arrow = run([record(0, stream_of([{**EVENTS[0], "ts": -1}]), key="m0")])
    assert dict(outputs[0].headers)["ce_id"] == dict(of_arrow[0].headers)["ce_id"]
    assert letters(outputs)[0].row == 0
