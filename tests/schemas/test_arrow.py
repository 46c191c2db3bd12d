"""Rows of an Arrow stream are the events that they would be as JSON."""

from __future__ import annotations

from dataclasses import fields
from unittest import mock

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]  # it comes without type hints
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.arrow import events_of
from schemas.batch import Decoded, Decoding, ModelKey, PredictionKind, ValueKind
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import DecodeLimits
from schemas.reasons import Reason
from schemas.templates import Compiled
from tests.schemas.arrow_streams import Event, Table, json_of, stream, stream_of, tables
from tests.schemas.contract import KEY, TP, check_form, record, same
from tests.schemas.samples import LABEL, LIMITS, PREDICTION

SETTINGS = settings(deadline=None, max_examples=200)  # as many as are looked at below
PLACES = {"offset", "row", "record_time_ms"}


def decode_arrow(*values: bytes, key: bytes = b"m") -> Decoding:
    records = [record(i, value, key) for i, value in enumerate(values)]
    return decode_records(TP, records, LIMITS, KEY, None)


def same_as_json(table: Table, arrow: Decoding, key: bytes) -> None:
    records = [record(i, json_of(event), key) for i, event in enumerate(table.events)]
    limits = DecodeLimits(max_event_bytes=2**20, event_ids=True)
    json = decode_records(TP, records, limits, KEY, None)
    for field in fields(Decoded):
        left, right = getattr(arrow.events, field.name), getattr(json.events, field.name)
        if field.name in PLACES:
            continue
        if isinstance(left, np.ndarray):
            assert (left.dtype, left.tobytes()) == (right.dtype, right.tobytes()), field.name
        else:
            assert left == right, field.name
    assert arrow.events.row.tolist() == json.events.offset.tolist()
    assert [(r.row, r.reason, r.detail) for r in arrow.rejects] == [
        (r.offset, r.reason, r.detail) for r in json.rejects
    ]
    assert {r.offset for r in arrow.rejects} <= {0}


@SETTINGS
@given(tables(), st.sampled_from([b"m", b"m/1"]))
def test_rows_decode_as_the_same_events_in_json(table: Table, key: bytes) -> None:
    arrow = decode_arrow(table.value, key=key)
    check_form(arrow.events)
    same_as_json(table, arrow, key)
    with mock.patch("schemas.arrow_columns.quick", return_value=None):
        same(decode_arrow(table.value, key=key), arrow)


def test_the_strategy_reaches_the_short_way_and_acceptance() -> None:
    # Guards the guard.
    n_quick = n_accepted = n_refused = 0

    @settings(deadline=None, max_examples=200, database=None, derandomize=True)
    @given(tables())
    def look(table: Table) -> None:
        nonlocal n_quick, n_accepted, n_refused
        with mock.patch("schemas.arrow.events_of", wraps=events_of) as long_way:
            decoding = decode_arrow(table.value)
        n_quick += long_way.call_count == 0 and len(decoding.events) > 0
        n_accepted += len(decoding.events)
        n_refused += len(decoding.rejects)

    look()
    assert min(n_quick, n_accepted, n_refused) > 10, (n_quick, n_accepted, n_refused)


def test_what_pyarrow_makes_of_events_is_taken() -> None:
    events: list[Event] = [
        {**PREDICTION, "event_id": f"e{i}", "ts": i, "score": i / 7, "prediction": i % 3}
        for i in range(100)
    ]
    events[3]["features"] = {"a": None, "b": 0.5}
    decoding = decode_arrow(stream_of(events))
    same_as_json(Table(b"", events), decoding, b"m")
    assert decoding.events.row.tolist() == list(range(100))
    assert decoding.events.classes == ["0", "1", "2"]


def test_timestamps_are_cut_to_the_millisecond_towards_the_past() -> None:
    moments = [1_772_366_400_250_999, 0, 999]
    base = {name: [PREDICTION[name]] * 3 for name in PREDICTION}
    for unit, per_us in (("us", 1), ("ns", 1_000)):
        times = pa.array([m * per_us for m in moments], pa.timestamp(unit, "UTC"))
        decoding = decode_arrow(stream(pa.RecordBatch.from_pydict({**base, "ts": times})))
        assert decoding.events.event_time_ms.tolist() == [1_772_366_400_250, 0, 0]
    seconds = pa.array([1, -1, 2**62], pa.timestamp("s", "UTC"))
    decoding = decode_arrow(stream(pa.RecordBatch.from_pydict({**base, "ts": seconds})))
    assert decoding.events.event_time_ms.tolist() == [1_000]
    assert {r.reason for r in decoding.rejects} == {Reason.BAD_TIMESTAMP}
    no_zone = pa.array(moments, pa.timestamp("us"))
    decoding = decode_arrow(stream(pa.RecordBatch.from_pydict({**base, "ts": no_zone})))
    assert [r.reason for r in decoding.rejects] == [Reason.WRONG_TYPE] * 3


def test_what_is_not_finite_is_invalid_in_features_and_wrong_elsewhere() -> None:
    bad = float("nan"), float("inf"), -float("inf")
    events: list[Event] = [{**PREDICTION, "features": {"a": x, "b": 1.0}} for x in bad]
    decoded = decode_arrow(stream_of(events)).events
    assert decoded.kind.tolist() == [ValueKind.INVALID, ValueKind.NUMBER] * 3
    assert np.isnan(decoded.value[::2]).all()
    for name in ("score", "latency_ms", "prediction"):
        decoding = decode_arrow(stream_of([{**PREDICTION, name: x} for x in (*bad, 1.0)]))
        assert [(r.row, r.reason) for r in decoding.rejects] == [
            (i, Reason.WRONG_TYPE) for i in range(3)
        ]
        assert decoding.events.row.tolist() == [3]


def test_rows_of_several_records_and_batches_stand_in_order() -> None:
    batch = pa.RecordBatch.from_pylist([{**PREDICTION, "ts": i} for i in range(5)])
    long_way = [{**PREDICTION, "ts": i, "probabilities": {"a": 0.5}} for i in range(3)]
    records = [
        record(7, stream(batch, batch.slice(0, 2)), b"m"),
        record(8, json_of({**PREDICTION, "features": {"c": 1}, "prediction": "x"}), b"m"),
        record(9, stream_of(long_way), b"m"),
        record(10, stream(batch), b"n"),
        record(11, json_of(LABEL), b"m"),
    ]
    fast_path = FastPath(Compiled())
    for _ in range(3):
        decoding = decode_records(TP, records, LIMITS, KEY, None, fast_path)
        same(decoding, decode_records(TP, records, LIMITS, KEY, None))
    events = decoding.events
    check_form(events)
    assert events.offset.tolist() == [7] * 7 + [8] + [9] * 3 + [11]
    assert events.row.tolist() == [*range(7), 0, *range(3), 0]
    assert events.event_time_ms.tolist() == [*range(5), 0, 1, 5, 0, 1, 2, 6]
    assert events.record_time_ms.tolist() == [1_000 + o for o in events.offset.tolist()]
    assert [(r.offset, r.row, r.reason) for r in decoding.rejects] == [
        (10, i, Reason.KEY_MISMATCH) for i in range(5)
    ]
    assert fast_path.n_slow["untried"] <= 6  # the two JSON records, at most three times each


def test_predictions_and_labels_may_stand_in_one_stream() -> None:
    both = [
        {**PREDICTION, "label": None},
        {**LABEL, "model_version": None, "features": None},
        {**PREDICTION, "label": None, "ts": 9},
    ]
    events = decode_arrow(stream_of(both)).events
    assert events.is_label.tolist() == [False, True, False]
    assert events.models == [ModelKey("m", "1"), ModelKey("m", "")]
    assert events.n_unknown_fields == 4


def test_a_listed_model_and_a_source_without_a_key() -> None:
    events = [{**PREDICTION, "source": s} for s in ("a", "b", "", None, "a")]
    records = [record(0, stream_of(events), b"m")]
    refused = decode_records(TP, records, LIMITS, KEY, frozenset({"n"}))
    assert [r.reason for r in refused.rejects] == [Reason.MODEL_NOT_LISTED] * 5
    dropped = decode_records(TP, records, LIMITS, None, None).events
    assert dropped.n_sources_dropped == 3
    assert not dropped.source.any()
    hashed = decode_records(TP, records, LIMITS, KEY, None).events
    assert (hashed.source == KEY.words(["a", "b", "", None, "a"])).all()


def test_integers_keep_their_value_as_class_and_number() -> None:
    kinds = {pa.uint64(): 2**64 - 1, pa.int64(): -(2**63), pa.int8(): -7}
    for kind, value in kinds.items():
        columns = {name: [PREDICTION[name]] * 2 for name in PREDICTION}
        batch = pa.RecordBatch.from_pydict({**columns, "prediction": pa.array([value, None], kind)})
        events = decode_arrow(stream(batch)).events
        assert events.classes == [str(value)]
        assert events.prediction_kind.tolist() == [PredictionKind.INTEGER, PredictionKind.ABSENT]
        assert events.prediction[0] == float(value)
        assert events.predicted_class.tolist() == [0, -1]


def test_a_digest_is_of_the_whole_record_in_each_of_its_rejects() -> None:
    value = stream_of([{**PREDICTION, "ts": -1}] * 4)
    rejects = decode_arrow(value).rejects
    assert [r.row for r in rejects] == [0, 1, 2, 3]
    assert len({(r.digest, r.length) for r in rejects}) == 1
    assert rejects[0].length == len(value)


@pytest.mark.long
@settings(deadline=None, max_examples=20_000)
@given(tables())
def test_rows_decode_as_json_for_long(table: Table) -> None:
    same_as_json(table, decode_arrow(table.value), b"m")
