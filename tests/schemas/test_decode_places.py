"""An event's place: its record's key, its model, its source."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.decode import decode_records
from schemas.poll import CHUNK
from schemas.reasons import Reason
from tests.schemas.contract import KEY, TP, record, rows
from tests.schemas.samples import LABEL, LIMITS, PREDICTION, decode_values, with_key


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


@pytest.mark.parametrize("extra", [{}, {"unheard_of": 1}])
def test_a_label_excuses_no_prediction_without_a_version(extra: dict[str, Any]) -> None:
    # A label's model has the version "", which a prediction must not have.
    values = [orjson.dumps(e) for e in (LABEL, {**PREDICTION, "model_version": "", **extra})]
    good = orjson.dumps(PREDICTION)
    for n_labels in (1, CHUNK, CHUNK + 1):
        decoding = decode_values(good, *[values[0]] * n_labels, values[1], good)
        (reject,) = decoding.rejects
        assert (reject.offset, reject.reason) == (n_labels + 1, Reason.EMPTY_FIELD)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({}, b"m"),
        ({}, b"n"),
        ({"model_version": "2"}, b"m"),
        ({"model_version": 1}, b"m"),
        ({"model_id": "n"}, b"m"),
        ({"model_id": "n"}, b"n"),
        ({"model_id": ["m"]}, b"m"),
        ({"shard": 1}, b"m"),
        ({"shard": True}, b"m/1"),
        ({"shard": 1}, b"m/1"),
        ({"shard": None}, b"m"),
        ({"type": "label", "label": 1}, b"m"),
    ],
)
def test_a_model_that_is_known_excuses_no_other(fields: dict[str, Any], key: bytes) -> None:
    plain = record(0, orjson.dumps(PREDICTION), b"m")
    odd = record(0, orjson.dumps({**PREDICTION, **fields}), key)
    null = record(0, orjson.dumps(PREDICTION | dict.fromkeys(fields.keys() - PREDICTION)), b"m")
    alone = decode_records(TP, [odd], LIMITS, KEY, None)
    usual = rows(decode_records(TP, [plain], LIMITS, KEY, None).events)
    for neighbour in (plain, null):
        poll = [plain] * CHUNK + [neighbour, odd, neighbour]
        decoding = decode_records(TP, poll, LIMITS, KEY, None)
        assert decoding.rejects == alone.rejects
        assert rows(decoding.events) == usual * (CHUNK + 1) + rows(alone.events) + usual
