"""From bytes to JSON objects: the rules that need no knowledge of events."""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple

import orjson

from schemas.field_rules import Fault, Json
from schemas.limits import DecodeLimits
from schemas.reasons import Reason
from schemas.records import Record


class Parsed(NamedTuple):
    """The JSON objects of a stretch of records, and what is wrong with the others."""

    row: list[int]
    """Of each object's record in the poll, ascending."""
    events: list[dict[str, Json]]
    faults: list[tuple[int, Fault]]
    """(row, fault) of every record that is no JSON object."""


def parse(rows: list[int], records: list[Record], limits: DecodeLimits) -> Parsed:
    """Parse one or more records, which have these rows in the poll; no JSON object: a fault."""
    values = list(map(itemgetter(4), records))
    try:
        if max(map(len, values)) <= limits.max_event_bytes:
            events = list(map(orjson.loads, values))
            if set(map(type, events)) == {dict}:
                return Parsed(rows, events, [])
    except (TypeError, ValueError):  # a missing value; no JSON
        pass
    parsed = Parsed([], [], [])
    for row, value in zip(rows, values, strict=True):
        event = parse_one(value, limits)
        if isinstance(event, Fault):
            parsed.faults.append((row, event))
        else:
            parsed.row.append(row)
            parsed.events.append(event)
    return parsed


def parse_one(value: bytes | None, limits: DecodeLimits) -> dict[str, Json] | Fault:
    """The JSON object in `value`, or why there is none."""
    if not value:
        return Fault(Reason.EMPTY, "", "the record has no value: send one JSON event")
    if len(value) > limits.max_event_bytes:
        return Fault(
            Reason.TOO_LARGE,
            "",
            f"the value has more than {limits.max_event_bytes} bytes (max_event_bytes): "
            "send fewer features, or raise the bound",
        )
    if value[0] == 0:
        return Fault(
            Reason.FRAMING,
            "",
            "the value starts with a zero byte, as schema-registry serializers write it: "
            "send bare JSON",
        )
    try:
        event = orjson.loads(value)
    except (ValueError, RecursionError):
        return Fault(
            Reason.NOT_JSON,
            "",
            "the value is not strict JSON in UTF-8 (NaN, Infinity and numbers beyond a double "
            "are none): use a strict JSON serializer",
        )
    if type(event) is not dict:
        return Fault(Reason.NOT_OBJECT, "", "the value is no JSON object: one event per record")
    return event
