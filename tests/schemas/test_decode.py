"""Each rule by itself: what is accepted, what is refused, with which reason and which words."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
import pytest

from schemas.batch import Decoding, ModelKey, PredictionKind, ValueKind
from schemas.config import DetectionConfig
from schemas.decode import CHUNK, decode_records
from schemas.limits import MAX_KEY_BYTES, DecodeLimits
from schemas.reasons import Reason
from tests.schemas.contract import KEY, TP, check_form, record, right_key, rows

LIMITS = DecodeLimits()
PREDICTION: dict[str, Any] = {
    "type": "prediction",
    "event_id": "e",
    "model_id": "m",
    "model_version": "1",
    "ts": 5,
    "features": {"a": 1, "b": 2.5},
}
LABEL: dict[str, Any] = {"type": "label", "event_id": "e", "model_id": "m", "ts": 6, "label": 1}
PERSONAL = "PERSONAL-VALUE"


def decode_values(
    *values: bytes, limits: DecodeLimits = LIMITS, listed: frozenset[str] | None = None
) -> Decoding:
    records = [record(i, value, right_key(value)) for i, value in enumerate(values)]
    return decode_records(TP, records, limits, KEY, listed)


def decode(*events: dict[str, Any]) -> Decoding:
    return decode_values(*map(orjson.dumps, events))


def without(event: dict[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in event.items() if k != name}


NO_TEXT: list[Any] = [None, 1, True, [], {}]
NO_NUMBER: list[Any] = ["0.5", True, False, [], {}]
NO_TYPE: list[Any] = [None, 1, "", "Prediction", [], {}]
IDS = ("event_id", "model_id", "model_version")
TEXTS = (*IDS, "source", "feature_view", "traceparent", "schema_version", "prediction")
REFUSED: list[tuple[str, Any, Reason]] = [
    *[(name, "", Reason.EMPTY_FIELD) for name in IDS],
    *[(name, value, Reason.WRONG_TYPE) for name in IDS for value in NO_TEXT],
    *[(name, "x" * 257, Reason.TOO_LONG) for name in TEXTS],
    *[(name, 1.5, Reason.WRONG_TYPE) for name in (*TEXTS[3:-1], "shard", "ts")],
    *[("score", value, Reason.WRONG_TYPE) for value in NO_NUMBER],
    *[("latency_ms", value, Reason.WRONG_TYPE) for value in NO_NUMBER],
    *[("sample_rate", value, Reason.WRONG_TYPE) for value in NO_NUMBER],
    ("latency_ms", -0.1, Reason.OUT_OF_RANGE),
    ("latency_ms", -1, Reason.OUT_OF_RANGE),
    ("sample_rate", 0, Reason.OUT_OF_RANGE),
    ("sample_rate", -0.0, Reason.OUT_OF_RANGE),
    ("sample_rate", 1.0000001, Reason.OUT_OF_RANGE),
    ("prediction", [], Reason.WRONG_TYPE),
    ("prediction", {}, Reason.WRONG_TYPE),
    ("ts", None, Reason.WRONG_TYPE),
    ("ts", True, Reason.WRONG_TYPE),
    ("ts", -1, Reason.BAD_TIMESTAMP),
    ("ts", "yesterday", Reason.BAD_TIMESTAMP),
    ("ts", "2026-03-01T12:00:00", Reason.BAD_TIMESTAMP),
    ("shard", True, Reason.WRONG_TYPE),
    ("shard", "1", Reason.WRONG_TYPE),
    ("shard", -1, Reason.OUT_OF_RANGE),
    ("shard", 2**31, Reason.OUT_OF_RANGE),
    ("schema_version", True, Reason.WRONG_TYPE),
    ("features", None, Reason.WRONG_TYPE),
    ("features", [], Reason.WRONG_TYPE),
    ("features", "a", Reason.WRONG_TYPE),
    ("features", {"": 1}, Reason.EMPTY_FIELD),
    ("features", {"n" * 257: 1}, Reason.TOO_LONG),
    ("features", {f"f{i}": 1 for i in range(4_097)}, Reason.TOO_MANY_FEATURES),
    ("probabilities", {}, Reason.EMPTY_FIELD),
    ("probabilities", [0.5], Reason.WRONG_TYPE),
    ("probabilities", {"a": "0.5"}, Reason.WRONG_TYPE),
    ("probabilities", {"a": True}, Reason.WRONG_TYPE),
    ("probabilities", {"a": None}, Reason.WRONG_TYPE),
    ("probabilities", {"a": 1.1}, Reason.OUT_OF_RANGE),
    ("probabilities", {"a": -0.1}, Reason.OUT_OF_RANGE),
    ("probabilities", {"n" * 257: 0.5}, Reason.TOO_LONG),
    ("slices", "x", Reason.WRONG_TYPE),
    ("slices", {"x": 1}, Reason.WRONG_TYPE),
    ("slices", {"x": None}, Reason.WRONG_TYPE),
    ("slices", {"": "x"}, Reason.EMPTY_FIELD),
    ("slices", {"x": "y" * 257}, Reason.TOO_LONG),
    ("slices", {"n" * 257: "y"}, Reason.TOO_LONG),
    *[("type", value, Reason.UNKNOWN_TYPE) for value in NO_TYPE],
]


@pytest.mark.parametrize(("name", "value", "reason"), REFUSED)
def test_a_wrong_field_is_refused_by_name(name: str, value: Any, reason: Reason) -> None:
    good, bad = PREDICTION, {**PREDICTION, name: value}
    decoding = decode(good, bad, good)
    assert decoding.events.offset.tolist() == [0, 2]
    (reject,) = decoding.rejects
    assert (reject.offset, reject.reason) == (1, reason)
    assert f"`{name}`" in reject.detail


@pytest.mark.parametrize(
    "name", ["type", "event_id", "model_id", "model_version", "ts", "features"]
)
def test_a_missing_field_of_a_prediction_is_refused_by_name(name: str) -> None:
    (reject,) = decode(without(PREDICTION, name)).rejects
    assert (reject.reason, f"`{name}`" in reject.detail) == (Reason.MISSING_FIELD, True)


@pytest.mark.parametrize("name", ["type", "event_id", "model_id", "ts", "label"])
def test_a_missing_field_of_a_label_is_refused_by_name(name: str) -> None:
    (reject,) = decode(without(LABEL, name)).rejects
    assert (reject.reason, f"`{name}`" in reject.detail) == (Reason.MISSING_FIELD, True)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("label", None, Reason.WRONG_TYPE),
        ("label", [], Reason.WRONG_TYPE),
        ("label", "x" * 257, Reason.TOO_LONG),
        ("label_source", 1, Reason.WRONG_TYPE),
        ("label_source", "x" * 257, Reason.TOO_LONG),
        ("shard", -1, Reason.OUT_OF_RANGE),
    ],
)
def test_a_wrong_field_of_a_label_is_refused(name: str, value: Any, reason: Reason) -> None:
    decoding = decode(LABEL, {**LABEL, name: value}, PREDICTION)
    assert decoding.events.offset.tolist() == [0, 2]
    assert [r.reason for r in decoding.rejects] == [reason]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(n, None) for n in ("prediction", "score", "probabilities", "source", "slices", "shard")],
        *[(n, None) for n in ("feature_view", "latency_ms", "sample_rate", "schema_version")],
        *[(n, "x" * 256) for n in ("event_id", "model_id", "source", "prediction", "traceparent")],
        *[(n, "") for n in ("source", "feature_view", "traceparent", "schema_version")],
        *[("latency_ms", v) for v in (0, -0.0, 5e-324, 1e308)],
        *[("sample_rate", v) for v in (1, 1.0, 5e-324)],
        *[("score", v) for v in (-0.0, 5e-324, -1e308, 2**64 - 1)],
        *[("shard", v) for v in (0, 2**31 - 1)],
        *[("schema_version", v) for v in (-3, 2**63, "2")],
        *[("features", v) for v in ({}, {f"f{i}": 1 for i in range(4_096)}, {"n" * 256: 1})],
        ("slices", {}),
        ("slices", {"x": ""}),
        ("probabilities", {"": 0, "b": 1}),
        ("ts", 0),
        ("ts", "2016-12-31T23:59:60Z"),
    ],
)
def test_a_field_at_its_bound_is_accepted(name: str, value: Any) -> None:
    decoding = decode(PREDICTION, {**PREDICTION, name: value})
    assert decoding.rejects == []
    assert len(decoding.events) == 2
    check_form(decoding.events)
    alone = decode({**PREDICTION, name: value})
    assert rows(alone.events) == rows(decoding.events)[1:]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.EMPTY),
        (b"\x00\x00\x00\x00\x01{}", Reason.FRAMING),
        (b"not json", Reason.NOT_JSON),
        (b'{"a": NaN}', Reason.NOT_JSON),
        (b'{"a": -Infinity}', Reason.NOT_JSON),
        (b'{"a": 1e999}', Reason.NOT_JSON),
        (b'{"a": ' + b"9" * 5_000 + b"}", Reason.NOT_JSON),
        (b'{"a": "\\ud800"}', Reason.NOT_JSON),
        (b'{"a": "\xff"}', Reason.NOT_JSON),
        (b"\xef\xbb\xbf{}", Reason.NOT_JSON),
        (b'{"a": 1} {}', Reason.NOT_JSON),
        (b'{"a": ' + b"[" * 30_000, Reason.NOT_JSON),
        (b'{"a": ' + b"[" * 2_000 + b"]" * 2_000 + b"}", Reason.NOT_JSON),
        (b"[]", Reason.NOT_OBJECT),
        (b'"x"', Reason.NOT_OBJECT),
        (b"null", Reason.NOT_OBJECT),
        (b"1", Reason.NOT_OBJECT),
        (b" " * 65_537, Reason.TOO_LARGE),
        (b"\x00" * 65_537, Reason.TOO_LARGE),
    ],
)
def test_what_is_no_json_object_is_refused(value: bytes, reason: Reason) -> None:
    good = orjson.dumps(PREDICTION)
    decoding = decode_values(good, value, good)
    assert decoding.events.offset.tolist() == [0, 2]
    (reject,) = decoding.rejects
    assert (reject.offset, reject.timestamp_ms, reject.reason) == (1, 1_001, reason)
    assert reject.length == len(value)
    assert reject.digest == blake2b(value, digest_size=16).hexdigest()


def test_a_tombstone_is_refused() -> None:
    decoding = decode_records(TP, [record(7, None, b"m")], LIMITS, KEY, None)
    (reject,) = decoding.rejects
    assert (reject.offset, reject.reason, reject.length, reject.key) == (7, Reason.EMPTY, 0, b"m")
    check_form(decoding.events)


def test_the_bound_on_bytes_is_inclusive() -> None:
    value = orjson.dumps(PREDICTION)
    assert decode_values(value, limits=DecodeLimits(max_event_bytes=len(value))).rejects == []
    refused = decode_values(value, limits=DecodeLimits(max_event_bytes=len(value) - 1))
    assert refused.rejects[0].reason == Reason.TOO_LARGE


def test_limits_come_from_the_config() -> None:
    config = DetectionConfig(max_event_bytes=2_048, dead_letter_excerpt=True)
    assert DecodeLimits.of(config) == DecodeLimits(max_event_bytes=2_048, excerpt=True)


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
        (True, nan, ValueKind.BOOLEAN),
        (False, nan, ValueKind.BOOLEAN),
        (0, 0.0, number),
        ("1.5", nan, ValueKind.STRING),
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
    odd = {f"f{i}": value for i, (value, _, _) in enumerate(cases)}
    values = np.array([expected for _, expected, _ in cases])
    for n in (1, 3):
        events = decode(*[{**PREDICTION, "features": odd}] * n).events
        assert events.shapes == [tuple(odd)]
        assert events.kind.tolist() == [kind for _, _, kind in cases] * n
        assert events.value.tobytes() == np.tile(values, n).tobytes()


@pytest.mark.parametrize("n_ones", [1, 100])
@pytest.mark.parametrize("boolean", [True, False])
def test_one_boolean_among_numbers_is_found(boolean: bool, n_ones: int) -> None:
    features: dict[str, Any] = {f"f{i}": float(i < n_ones) + 2 * (i >= n_ones) for i in range(120)}
    features["f77"] = boolean
    events = decode({**PREDICTION, "features": features}).events
    assert np.flatnonzero(events.kind).tolist() == [77]
    assert np.isnan(events.value).nonzero()[0].tolist() == [77]


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
        {**LABEL, "model_id": "z", "ts": 1},
        {**PREDICTION, "ts": 2, "prediction": 1},
        {**LABEL, "label_source": "s", "ts": 3},
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
    assert decoded.prediction_kind.tolist() == [0, PredictionKind.INTEGER, 0, 0]
    assert (decoded.source[2] == KEY.words(["s"])[0]).all()
    check_form(decoded)


def with_key(event: dict[str, Any], key: bytes | None) -> Decoding:
    return decode_records(TP, [record(0, orjson.dumps(event), key)], LIMITS, KEY, None)


@pytest.mark.parametrize("event", [PREDICTION, LABEL])
def test_the_key_is_the_model_or_its_shard(event: dict[str, Any]) -> None:
    sharded = {**event, "shard": 3, "model_id": "µ"}
    assert with_key(event, b"m").rejects == []
    assert with_key(sharded, "µ/3".encode()).rejects == []
    assert with_key({**event, "shard": None}, b"m").rejects == []
    assert with_key(sharded, "µ/3".encode()).events.models[0].shard == 3
    for wrong, key in [
        *[(event, key) for key in (None, b"", b"M", b"m ", b"m/0", b'"m"', b"\xff")],
        *[(sharded, key) for key in (None, "µ".encode(), "µ/4".encode(), "µ/03".encode())],
    ]:
        (reject,) = with_key(wrong, key).rejects
        assert (reject.reason, reject.key) == (Reason.KEY_MISMATCH, key)


def test_a_shard_of_true_is_not_let_in_by_a_shard_of_one() -> None:
    events = [
        {**PREDICTION, "shard": 1},
        {**PREDICTION, "shard": True},
        {**PREDICTION, "shard": 1.0},
    ]
    records = [record(i, orjson.dumps(event), b"m/1") for i, event in enumerate(events)]
    for group in (records, [records[0]] * CHUNK + records[1:]):
        decoding = decode_records(TP, group, LIMITS, KEY, None)
        assert {r.reason for r in decoding.rejects} == {Reason.WRONG_TYPE}
        assert len(decoding.rejects) == 2


def test_a_model_that_is_not_listed_is_refused() -> None:
    values = [orjson.dumps({**PREDICTION, "model_id": m}) for m in ("m", "n", "m")]
    values.append(orjson.dumps({**LABEL, "model_id": "n"}))
    decoding = decode_values(*values, listed=frozenset({"m"}))
    assert decoding.events.offset.tolist() == [0, 2]
    assert [(r.offset, r.reason) for r in decoding.rejects] == [
        (1, Reason.MODEL_NOT_LISTED),
        (3, Reason.MODEL_NOT_LISTED),
    ]
    assert len(decode_values(*values, listed=frozenset()).rejects) == 4


def test_without_a_key_sources_are_dropped_and_counted() -> None:
    events = [
        *({**PREDICTION, "source": s} for s in ("a", "b", "", None)),
        {**LABEL, "label_source": "a"},
        {**LABEL, "source": "a"},
        PREDICTION,
    ]
    records = [record(i, orjson.dumps(event), b"m") for i, event in enumerate(events)]
    dropped = decode_records(TP, records, LIMITS, None, None).events
    assert dropped.n_sources_dropped == 3
    assert not dropped.source.any()
    hashed = decode_records(TP, records, LIMITS, KEY, None).events
    assert hashed.n_sources_dropped == 0
    assert hashed.source.any(axis=1).tolist() == [True, True, False, False, True, False, False]
    assert (hashed.source[0] == hashed.source[4]).all()


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


def test_the_first_fault_in_the_order_of_the_fields_is_the_reason() -> None:
    wrong = {**PREDICTION, "score": "x", "ts": -1, "model_version": "", "shard": -1}
    order = ["model_version", "ts", "score", "shard"]
    for i, name in enumerate(order):
        (reject,) = decode(
            {k: v for k, v in wrong.items() if k not in order[:i]}
            | {k: PREDICTION[k] for k in order[:i] if k in PREDICTION}
        ).rejects
        assert f"`{name}`" in reject.detail
    # An event's own faults come before those of its place.
    (reject,) = with_key({**PREDICTION, "score": "x"}, b"other").rejects
    assert reject.reason == Reason.WRONG_TYPE


def test_a_reject_repeats_no_value_unless_an_excerpt_is_allowed() -> None:
    bad: list[Any] = [PERSONAL, [PERSONAL], {PERSONAL: PERSONAL * 30}, {PERSONAL: 1}]
    names = [*PREDICTION, "score", "prediction", "probabilities", "slices", "shard", "latency_ms"]
    values = [orjson.dumps({**PREDICTION, name: value}) for name in names for value in bad]
    values += [PERSONAL.encode(), b'"' + PERSONAL.encode() + b'"', b"\x00" + PERSONAL.encode()]
    records = [record(i, value, b"m") for i, value in enumerate(values)]
    rejects = decode_records(TP, records, LIMITS, KEY, None).rejects
    assert len(rejects) > 30
    for reject in rejects:
        assert PERSONAL not in reject.detail
        assert reject.excerpt is None
    allowed = decode_records(TP, records, DecodeLimits(excerpt=True), KEY, None).rejects
    for reject in allowed:
        assert reject.excerpt == values[reject.offset][:256]


def test_a_long_key_is_cut_in_the_reject() -> None:
    (reject,) = with_key(PREDICTION, b"k" * 100_000).rejects
    assert reject.key == b"k" * MAX_KEY_BYTES


def test_future_timestamps_are_not_refused_here() -> None:
    assert decode({**PREDICTION, "ts": "9999-12-31T23:59:59Z"}).rejects == []


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
    assert [events.shapes[s] for s in events.shape.tolist()] == list(map(tuple, shapes))
    assert np.diff(events.value_ptr).tolist() == [2, 1, 2, 1]
    assert events.value.tolist() == [1, 2, 3, 4, 5, 6]
