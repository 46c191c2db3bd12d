"""Why a record is refused: the reason codes of the dead-letter topic.

Codes are part of the protocol: they are added to, never renamed. A record has one reason, the
first that applies in this order. Of the whole record: `empty`, `too_large`, `bad_arrow`,
`framing`, `not_json`, `not_object`. Of `type`: `missing_field`, `unknown_type`. Then field by field
in the order of `schemas.rules` (the first field at fault decides): `missing_field`, `wrong_type`,
`empty_field`, `too_long`, `too_many_features`, `out_of_range`, `bad_timestamp`. Last, of an event
that is in itself right: `key_mismatch`, `model_not_listed`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Reason(StrEnum):
    """A reason code."""

    EMPTY = "empty"
    TOO_LARGE = "too_large"
    BAD_ARROW = "bad_arrow"
    FRAMING = "framing"
    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    EMPTY_FIELD = "empty_field"
    TOO_LONG = "too_long"
    TOO_MANY_FEATURES = "too_many_features"
    OUT_OF_RANGE = "out_of_range"
    BAD_TIMESTAMP = "bad_timestamp"
    KEY_MISMATCH = "key_mismatch"
    MODEL_NOT_LISTED = "model_not_listed"


class Explanation(NamedTuple):
    """What a reason code means, and what its receiver does about it."""

    sentence: str
    remedy: str


EXPLANATIONS: Final[dict[Reason, Explanation]] = {
    Reason.EMPTY: Explanation(
        "The record has no value, one of no bytes, or an Arrow stream of no rows.",
        "Send one JSON event as the value; the events topic must not be compacted.",
    ),
    Reason.TOO_LARGE: Explanation(
        "The value is longer than max_event_bytes; an Arrow stream: more than 1 MiB, 4,096 rows or "
        "262,144 values.",
        "Send fewer or shorter features, or raise max_event_bytes in the detection config; fewer "
        "rows in an Arrow stream.",
    ),
    Reason.BAD_ARROW: Explanation(
        "The value begins as an Arrow stream, and is not one that is taken.",
        "Write one uncompressed IPC stream a record, of plain columns: docs/events.md.",
    ),
    Reason.FRAMING: Explanation(
        "The value starts with a zero byte, as schema-registry serializers write it.",
        "Send bare JSON: a plain JSON or string serializer, none of a schema registry.",
    ),
    Reason.NOT_JSON: Explanation(
        "The value is not one JSON document in UTF-8, as RFC 8259 has it.",
        "Send strict JSON: no NaN, no Infinity, no number beyond a double, no byte order mark, "
        "nothing after the document, at most 1,024 levels.",
    ),
    Reason.NOT_OBJECT: Explanation(
        "The value is JSON, but not an object.",
        "Send one event per record, as a JSON object; no array of events.",
    ),
    Reason.UNKNOWN_TYPE: Explanation(
        "The field type is neither prediction nor label.",
        'Set "type" to "prediction" or "label".',
    ),
    Reason.MISSING_FIELD: Explanation(
        "A required field is missing.",
        "Send the field that the detail names.",
    ),
    Reason.WRONG_TYPE: Explanation(
        "A field holds a value of another type than the contract says.",
        "Send the type that the detail names; a boolean or a numeric string is no number.",
    ),
    Reason.EMPTY_FIELD: Explanation(
        "A field, or a name within it, is empty where it must say something.",
        "Fill it, or leave the field out where it is optional.",
    ),
    Reason.TOO_LONG: Explanation(
        "A string field, or a name within it, is longer than its bound.",
        "Shorten it; the detail names the bound in characters.",
    ),
    Reason.TOO_MANY_FEATURES: Explanation(
        "The event has more features than one event may have.",
        "Send only the features that are to be monitored.",
    ),
    Reason.OUT_OF_RANGE: Explanation(
        "A number lies outside its range.",
        "Send a number in the range that the detail names.",
    ),
    Reason.BAD_TIMESTAMP: Explanation(
        "The field ts is no moment of the years 1970 to 9999 in either of its two forms.",
        'Send RFC 3339 with an offset ("2026-03-01T12:00:00.250Z"), or integer epoch milliseconds.',
    ),
    Reason.KEY_MISMATCH: Explanation(
        "The record's key does not name the event's model.",
        "Key the record by the UTF-8 of model_id, or of model_id/shard where the event has a "
        "shard: one model's events must lie in one partition.",
    ),
    Reason.MODEL_NOT_LISTED: Explanation(
        "The config says models: listed, and does not name this model.",
        "Name the model under model in the detection config, or set models: learned.",
    ),
}
"""Each code's one sentence and its remedy."""
