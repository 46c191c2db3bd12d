"""The rules of the wire form, field by field: the exact reason why an event is refused.

One table per event type, in the order in which faults are reported; `schemas.field_rules` says what
a rule is. `schemas.events` says the same in pydantic; a differential test holds the two together.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

from schemas.field_rules import (
    NUMBERS,
    Fault,
    FieldRule,
    Json,
    fault_of_names,
    number,
    scalar,
    text,
)
from schemas.limits import MAX_FEATURES, MAX_NAME_CHARS, MAX_SHARD
from schemas.reasons import Reason
from schemas.timestamps import parse_ts


def _fault_of_features(value: Json) -> Fault | None:
    if type(value) is not dict:
        return Fault(
            Reason.WRONG_TYPE, "features", "`features` must be an object of names and values"
        )
    if len(value) > MAX_FEATURES:
        return Fault(
            Reason.TOO_MANY_FEATURES,
            "features",
            f"`features` has more than {MAX_FEATURES} entries: send what is to be monitored",
        )
    return fault_of_names(value, "features", min_chars=1)


def _fault_of_probabilities(value: Json) -> Fault | None:
    field = "probabilities"
    if type(value) is not dict:
        return Fault(Reason.WRONG_TYPE, field, f"`{field}` must be an object: class -> p")
    if not value:
        return Fault(
            Reason.EMPTY_FIELD, field, f"`{field}` names no class: fill it or leave it out"
        )
    fault = fault_of_names(value, field, min_chars=0)
    if fault is not None:
        return fault
    if not set(map(type, value.values())) <= NUMBERS:
        return Fault(Reason.WRONG_TYPE, field, f"every p in `{field}` must be a number")
    if min(value.values()) < 0 or max(value.values()) > 1:
        return Fault(Reason.OUT_OF_RANGE, field, f"every p in `{field}` must lie in 0 to 1")
    return None


def _quick_probabilities(column: list[Json]) -> bool:
    if not set(map(type, column)) <= {dict} or not all(column):
        return False
    values = list(chain.from_iterable(map(dict.values, column)))
    return (
        set(map(type, values)) <= NUMBERS
        and (not values or (min(values) >= 0 and max(values) <= 1))
        and fault_of_names(chain.from_iterable(column), "probabilities", min_chars=0) is None
    )


def _fault_of_slices(value: Json) -> Fault | None:
    if type(value) is not dict:
        return Fault(Reason.WRONG_TYPE, "slices", "`slices` must be an object of strings")
    fault = fault_of_names(value, "slices", min_chars=1)
    if fault is not None:
        return fault
    if not set(map(type, value.values())) <= {str}:
        return Fault(Reason.WRONG_TYPE, "slices", "every value in `slices` must be a string")
    if any(len(v) > MAX_NAME_CHARS for v in value.values()):
        return Fault(
            Reason.TOO_LONG,
            "slices",
            f"a value in `slices` has more than {MAX_NAME_CHARS} characters: shorten it",
        )
    return None


def _quick_slices(column: list[Json]) -> bool:
    if not set(map(type, column)) <= {dict}:
        return False
    values = list(chain.from_iterable(map(dict.values, column)))
    try:
        "".join(values)
    except TypeError:
        return False
    return (
        max(map(len, values), default=0) <= MAX_NAME_CHARS
        and fault_of_names(chain.from_iterable(column), "slices", min_chars=1) is None
    )


def _fault_of_shard(value: Json) -> Fault | None:
    if type(value) is not int:
        return Fault(Reason.WRONG_TYPE, "shard", "`shard` must be an integer")
    if not 0 <= value <= MAX_SHARD:
        return Fault(Reason.OUT_OF_RANGE, "shard", f"`shard` must lie in 0 to {MAX_SHARD}")
    return None


def _quick_shard(column: list[Json]) -> bool:
    return set(map(type, column)) <= {int} and (
        not column or (min(column) >= 0 and max(column) <= MAX_SHARD)
    )


def _fault_of_schema_version(value: Json) -> Fault | None:
    if type(value) is int:
        return None
    if type(value) is not str:
        return Fault(
            Reason.WRONG_TYPE, "schema_version", "`schema_version` must be a string or an integer"
        )
    return _SCHEMA_VERSION_TEXT.fault(value)


def _quick_schema_version(column: list[Json]) -> bool:
    return set(map(type, column)) <= {int} or _SCHEMA_VERSION_TEXT.quick(column)


def _fault_of_ts(value: Json) -> Fault | None:
    try:
        parse_ts(value)
    except TypeError as error:
        return Fault(Reason.WRONG_TYPE, "ts", f"`ts` is {error}: send one of the two")
    except ValueError as error:
        return Fault(
            Reason.BAD_TIMESTAMP,
            "ts",
            f"`ts` is {error}: send RFC 3339 with an offset, or integer epoch milliseconds",
        )
    return None


def _never(column: list[Json]) -> bool:  # noqa: ARG001 - the form of a rule
    """For fields that the decoder judges while converting them: nothing is accepted unseen."""
    return False


_SCHEMA_VERSION_TEXT: Final = text("schema_version")
_EVENT_ID: Final = text("event_id", required=True, min_chars=1)
_MODEL_ID: Final = text("model_id", required=True, min_chars=1)
_TS: Final = FieldRule("ts", True, _never, _fault_of_ts)
_SHARD: Final = FieldRule("shard", False, _quick_shard, _fault_of_shard)
FEATURES_RULE: Final = FieldRule("features", True, _never, _fault_of_features)

PREDICTION_RULES: Final[tuple[FieldRule, ...]] = (
    _EVENT_ID,
    _MODEL_ID,
    text("model_version", required=True, min_chars=1),
    _TS,
    FEATURES_RULE,
    scalar("prediction"),
    number("score"),
    FieldRule("probabilities", False, _quick_probabilities, _fault_of_probabilities),
    text("source"),
    FieldRule("slices", False, _quick_slices, _fault_of_slices),
    text("feature_view"),
    number("latency_ms", low=0),
    number("sample_rate", low=0, high=1, open_low=True),
    FieldRule("schema_version", False, _quick_schema_version, _fault_of_schema_version),
    _SHARD,
    text("traceparent"),
)
LABEL_RULES: Final[tuple[FieldRule, ...]] = (
    _EVENT_ID,
    _MODEL_ID,
    _TS,
    scalar("label", required=True),
    text("label_source"),
    _SHARD,
)
RULES: Final[dict[str, tuple[FieldRule, ...]]] = {
    "prediction": PREDICTION_RULES,
    "label": LABEL_RULES,
}
"""By `type`."""


def fault_of_type(event: dict[str, Json]) -> Fault | None:
    """What is wrong with `type`, if anything."""
    if "type" not in event:
        return Fault(
            Reason.MISSING_FIELD, "type", '`type` is missing: set it to "prediction" or "label"'
        )
    kind = event["type"]
    if type(kind) is not str or kind not in RULES:
        return Fault(
            Reason.UNKNOWN_TYPE, "type", '`type` must be the string "prediction" or "label"'
        )
    return None


def fault_of_field(rule: FieldRule, event: dict[str, Json]) -> Fault | None:
    """What is wrong with one field of `event`, if anything."""
    value = event.get(rule.name)
    if value is not None:
        return rule.fault(value)
    if not rule.required:
        return None
    if rule.name in event:
        return Fault(
            Reason.WRONG_TYPE, rule.name, f"`{rule.name}` is required and must not be null"
        )
    return Fault(Reason.MISSING_FIELD, rule.name, f"`{rule.name}` is missing: it is required")


def fault_of_event(event: dict[str, Json]) -> Fault | None:
    """The first thing that is wrong with an event by itself, in the order of its table."""
    fault = fault_of_type(event)
    if fault is not None:
        return fault
    for rule in RULES[event["type"]]:
        fault = fault_of_field(rule, event)
        if fault is not None:
            return fault
    return None


def fault_of_place(
    key: bytes | None, model_id: str, shard: int | None, listed: frozenset[str] | None
) -> Fault | None:
    """What is wrong with an event that is right by itself: its record's key, or its model.

    `listed`: the only models that are taken; None takes any.
    """
    if key != (model_id if shard is None else f"{model_id}/{shard}").encode():
        form = "`model_id`" if shard is None else "`model_id/shard`"
        return Fault(
            Reason.KEY_MISMATCH, "model_id", f"the record's key must be the UTF-8 of {form}"
        )
    if listed is not None and model_id not in listed:
        return Fault(
            Reason.MODEL_NOT_LISTED,
            "model_id",
            "`model_id` is not named in the config, which says `models: listed`",
        )
    return None
