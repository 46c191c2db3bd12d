"""What stands in the columns of accepted events."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from schemas.batch import ModelKey, PredictionKind, ValueKind
from schemas.decode import decode_records
from schemas.poll import CHUNK
from schemas.reasons import Reason
from tests.schemas.contract import KEY, TP, check_form, record, rows
from tests.schemas.samples import LABEL, LIMITS, PREDICTION, decode, decode_values


def test_the_deepest_nesting_that_json_has_counts_as_invalid() -> None:
    deep = b"[" * 1_000 + b"]" * 1_000
    value = orjson.dumps(PREDICTION).replace(b"2.5", deep)
    decoding = decode_values(value)
    assert decoding.rejects == []
    assert decoding.events.kind.tolist() == [ValueKind.NUMBER, ValueKind.INVALID]


def test_feature_values_are_numbers_or_missing_with_their_kind() -> None:
    nan, number = float("nan"), ValueKind.NUMBER
    cases: list[tuple[Any, float, ValueKind]] = [
        (1, 1.0, number),
        (True, 1.0, ValueKind.BOOLEAN),
        (False, 0.0, ValueKind.BOOLEAN),
        (0, 0.0, number),
        ("1.5", 0.0, ValueKind.STRING),
        ("x" * 256, 1.0, ValueKind.STRING),
        ("x" * 257, -1.0, ValueKind.STRING),
        ("1.5", 0.0, ValueKind.STRING),
        ("", 2.0, ValueKind.STRING),
        (None, nan, ValueKind.NULL),
        ([1], nan, ValueKind.INVALID),
        ({"a": 1}, nan, ValueKind.INVALID),
        (2**64 - 1, 2.0**64, number),
        (-(2**63), -(2.0**63), number),
        (2.0**64, 2.0**64, number),
        (-0.0, -0.0, number),
        (5e-324, 5e-324, number),
        (1e308, 1e308, number),
    ]
    odd = {f"f{i:02}": value for i, (value, _, _) in enumerate(cases)}
    values = np.array([expected for _, expected, _ in cases])
    for n in (1, 3):
        events = decode(*[{**PREDICTION, "features": odd}] * n).events
        assert events.shapes == [tuple(odd)]
        assert events.kind.tolist() == [kind for _, _, kind in cases] * n
        assert events.value.tobytes() == np.tile(values, n).tobytes()
        assert events.categories == ["1.5", "x" * 256, ""]


@pytest.mark.parametrize("n_ones", [1, 100])
@pytest.mark.parametrize("boolean", [True, False])
def test_one_boolean_among_numbers_is_found(boolean: bool, n_ones: int) -> None:
    features: dict[str, Any] = {
        f"f{i:03}": float(i < n_ones) + 2 * (i >= n_ones) for i in range(120)
    }
    features["f077"] = boolean
    events = decode({**PREDICTION, "features": features}).events
    assert np.flatnonzero(events.kind).tolist() == [77]
    assert events.value[77] == boolean
    assert events.categories == []


def test_predictions_of_every_kind() -> None:
    values = [1, 1.0, True, "1", "true", None, 0.5, -0.0, 2**64 - 1, False, ""]
    kinds = [
        *(PredictionKind.INTEGER, PredictionKind.NUMBER, PredictionKind.BOOLEAN),
        *(PredictionKind.STRING, PredictionKind.STRING, PredictionKind.ABSENT),
        *(PredictionKind.NUMBER, PredictionKind.NUMBER, PredictionKind.INTEGER),
        *(PredictionKind.BOOLEAN, PredictionKind.STRING),
    ]
    names = ["1", None, "true", "1", "true", None, None, None, str(2**64 - 1), "false", ""]
    nan = float("nan")
    numbers = np.array([1, 1, 1, nan, nan, nan, 0.5, -0.0, 2.0**64, 0, nan])
    events = [{**PREDICTION, "prediction": value} for value in values]
    mixed = decode(*events).events
    alone = [decode(event).events for event in events]
    assert mixed.prediction_kind.tolist() == kinds
    assert mixed.prediction.tobytes() == numbers.tobytes()
    assert [None if c < 0 else mixed.classes[c] for c in mixed.predicted_class.tolist()] == names
    assert mixed.classes == ["1", "true", str(2**64 - 1), "false", ""]
    assert rows(mixed) == [row for one in alone for row in rows(one)]


@pytest.mark.parametrize(
    ("fields", "score"),
    [
        ({}, None),
        ({"score": 0.25, "probabilities": {"a": 0.9, "b": 0.1}}, 0.25),
        ({"score": 0}, 0.0),
        ({"score": None, "probabilities": {"no": 0.9, "yes": 0.1}}, 0.1),
        ({"probabilities": {"yes": 0.1, "no": 0.9}}, 0.1),
        ({"probabilities": {"10": 0.3, "9": 0.7}}, 0.7),
        ({"probabilities": {"a": 0.2, "b": 0.5, "c": 0.3}}, 0.5),
        ({"probabilities": {"a": 1}}, 1.0),
    ],
)
def test_the_score_and_where_it_comes_from(fields: dict[str, Any], score: float | None) -> None:
    events = decode({**PREDICTION, **fields}, {**PREDICTION, "score": 7}).events
    expected = np.array([np.nan if score is None else score, 7.0])
    assert events.score.tobytes() == expected.tobytes()


def test_labels_and_predictions_stand_in_the_order_of_the_log() -> None:
    events = [
        {**LABEL, "model_id": "z", "ts": 1, "label": 0},
        {**PREDICTION, "ts": 2, "prediction": 1},
        {**LABEL, "label_source": "s", "ts": 3, "label": "no"},
        {**PREDICTION, "model_version": "2", "features": {"c": 3}, "ts": 4},
    ]
    decoded = decode(*events).events
    assert decoded.is_label.tolist() == [True, False, True, False]
    assert decoded.event_time_ms.tolist() == [1, 2, 3, 4]
    assert decoded.record_time_ms.tolist() == [1_000, 1_001, 1_002, 1_003]
    assert decoded.models == [
        *(ModelKey("z", ""), ModelKey("m", "1"), ModelKey("m", ""), ModelKey("m", "2"))
    ]
    assert decoded.model.tolist() == [0, 1, 2, 3]
    assert decoded.shape.tolist() == [-1, 0, -1, 1]
    assert decoded.value_ptr.tolist() == [0, 0, 2, 2, 3]
    assert decoded.value.tolist() == [1.0, 2.5, 3.0]
    integer = PredictionKind.INTEGER
    assert decoded.prediction_kind.tolist() == [integer, integer, PredictionKind.STRING, 0]
    assert decoded.prediction[:2].tolist() == [0.0, 1.0]
    assert [decoded.classes[k] for k in decoded.predicted_class[:3]] == ["0", "1", "no"]
    assert (decoded.source[2] == KEY.words(["s"])[0]).all()
    check_form(decoded)


def test_unknown_fields_are_counted_in_accepted_events_only() -> None:
    events = [
        {**PREDICTION, "x": 1, "y": {"z": 1}},
        {**PREDICTION, "label": 1},
        {**LABEL, "features": {}, "model_version": "1"},
        {**PREDICTION, "x": 1, "ts": -1},
    ]
    assert decode(*events).events.n_unknown_fields == 5
    assert decode(*[events[0]] * 3).events.n_unknown_fields == 6


def test_of_repeated_names_the_last_wins() -> None:
    value = orjson.dumps(PREDICTION)
    repeated = value[:-1] + b',"ts":9,"features":{"a":1,"a":2}}'
    events = decode_values(repeated).events
    assert (events.event_time_ms.tolist(), events.value.tolist()) == ([9], [2.0])
    assert decode_values(value[:-1] + b',"ts":null}').rejects[0].reason == Reason.WRONG_TYPE


def test_no_records_give_no_rows() -> None:
    decoding = decode_records(TP, [], LIMITS, KEY, None)
    assert (len(decoding.events), decoding.rejects, decoding.events.models) == (0, [], [])
    check_form(decoding.events)


def test_one_bad_record_in_many_chunks_costs_only_itself() -> None:
    n = 3 * CHUNK + 7
    values = [orjson.dumps({**PREDICTION, "ts": i, "score": i / 2}) for i in range(n)]
    values[CHUNK + 5] = b"{"
    values[2 * CHUNK + 1] = orjson.dumps({**PREDICTION, "score": "x"})
    decoding = decode_values(*values)
    bad = [CHUNK + 5, 2 * CHUNK + 1]
    good = [i for i in range(n) if i not in bad]
    assert [r.offset for r in decoding.rejects] == bad
    assert decoding.events.event_time_ms.tolist() == good
    assert decoding.events.score.tolist() == [i / 2 for i in good]
    check_form(decoding.events)


def test_as_many_fields_are_not_taken_for_the_same_fields() -> None:
    events = [
        {**PREDICTION, "score": 1, "x": 1},
        {**PREDICTION, "score": 2, "prediction": 3},
        {**PREDICTION, "prediction": 4, "score": 5},
        {**PREDICTION, "score": 6, "prediction": 7, "source": "s"},
        {**PREDICTION, "score": 8},
    ]
    for some in (events, events[1:], events[1:3], events[1:4], events[::-1]):
        together = decode(*some).events
        apart = [decode(event).events for event in some]
        assert rows(together) == [row for one in apart for row in rows(one)]
        assert together.n_unknown_fields == sum(one.n_unknown_fields for one in apart)


def test_bad_values_among_alike_events_leave_alone() -> None:
    events: list[dict[str, Any]] = [
        {**PREDICTION, "x": 1, "features": {"a": i, "b": -i}, "score": i, "source": f"s{i}"}
        for i in range(9)
    ]
    events[0]["score"] = "x"
    events[4]["ts"] = "x"
    events[5]["source"] = 1
    events[5]["score"] = True
    events[7]["model_id"] = "other"
    events[8]["model_version"] = [1]
    records = [record(i, orjson.dumps(event), b"m") for i, event in enumerate(events)]
    decoding = decode_records(TP, records, LIMITS, KEY, None)
    assert [(r.offset, r.reason) for r in decoding.rejects] == [
        (0, Reason.WRONG_TYPE),
        (4, Reason.BAD_TIMESTAMP),
        (5, Reason.WRONG_TYPE),
        (7, Reason.KEY_MISMATCH),
        (8, Reason.WRONG_TYPE),
    ]
    assert "`score`" in decoding.rejects[2].detail
    good = [1, 2, 3, 6]
    assert decoding.events.offset.tolist() == good
    assert decoding.events.value.tolist() == [v for i in good for v in (i, -i)]
    assert rows(decoding.events) == [row for i in good for row in rows(decode(events[i]).events)]
    assert decoding.events.n_unknown_fields == len(good)
    check_form(decoding.events)


def test_the_same_names_with_other_borders_are_not_taken_for_alike() -> None:
    # The names of the first two, read on end, are those of one event three times over.
    shapes = [{"a": 1, "b": 2}, {"a": 3}, {"b": 4, "a": 5}, {"b": 6}]
    events = decode(*[{**PREDICTION, "features": shape} for shape in shapes]).events
    names = [events.shapes[s] for s in events.shape.tolist()]
    assert names == [("a", "b"), ("a",), ("a", "b"), ("b",)]
    assert np.diff(events.value_ptr).tolist() == [2, 1, 2, 1]
    assert events.value.tolist() == [1, 2, 3, 5, 4, 6]


def test_the_order_of_names_in_an_object_says_nothing() -> None:
    orders: list[dict[str, Any]] = [{"b": 1, "é": "x", "a": 2}, {"é": "x", "a": 2, "b": 1}]
    both = decode(*[{**PREDICTION, "features": features} for features in orders]).events
    assert both.shapes == [("a", "b", "é")]
    assert both.value[[0, 1, 3, 4]].tolist() == [2, 1, 2, 1]
    for features in orders:  # alike among themselves
        alike = decode(*[{**PREDICTION, "features": features}] * 3).events
        assert rows(alike) == [rows(both)[0]] * 3
