"""One good event of each type, and short ways to decode some."""

from __future__ import annotations

from typing import Any

import orjson

from schemas.batch import Decoding
from schemas.decode import decode_records
from schemas.limits import DecodeLimits
from tests.schemas.contract import KEY, TP, record, right_key

LIMITS = DecodeLimits(event_ids=True)


PREDICTION: dict[str, Any] = {
    "type": "prediction",
    "event_id": "e",
    "model_id": "m",
    "model_version": "1",
    "ts": 5,
    "features": {"a": 1, "b": 2.5},
}


LABEL: dict[str, Any] = {"type": "label", "event_id": "e", "model_id": "m", "ts": 6, "label": 1}


def decode_values(
    *values: bytes, limits: DecodeLimits = LIMITS, listed: frozenset[str] | None = None
) -> Decoding:
    records = [record(i, value, right_key(value)) for i, value in enumerate(values)]
    return decode_records(TP, records, limits, KEY, listed)


def decode(*events: dict[str, Any]) -> Decoding:
    return decode_values(*map(orjson.dumps, events))


def with_key(event: dict[str, Any], key: bytes | None) -> Decoding:
    return decode_records(TP, [record(0, orjson.dumps(event), key)], LIMITS, KEY, None)
