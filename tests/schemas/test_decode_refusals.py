"""Each rule by itself: what is refused, with which reason and which words, and what is just not."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson
import pytest

from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.limits import MAX_KEY_BYTES, DecodeLimits
from schemas.reasons import Reason
from tests.schemas.contract import KEY, TP, check_form, record, rows
from tests.schemas.samples import LABEL, LIMITS, PREDICTION, decode, decode_values, with_key

PERSONAL = "PERSONAL-VALUE"


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
    # The same where every event of the poll is as bad, and thus alike.
    alone = decode(bad, bad)
    assert (len(alone.events), alone.events.models) == (0, [])
    assert [(r.reason, r.detail) for r in alone.rejects] == [(reason, reject.detail)] * 2


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
