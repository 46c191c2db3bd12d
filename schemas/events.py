"""The wire contract: what a producer sends, as pydantic models.

The JSON Schemas in `schemas/json` are generated from these models, and the fast decoder
(`schemas.decode`) accepts exactly what they accept. Types are strict: a boolean is never a number,
a number never a string. Unknown fields are ignored (the decoder counts them); a field that is not
required may be null, which means the same as leaving it out.

A producer may validate with them before it sends:

>>> event = PredictionEvent(
...     type="prediction", event_id="e-1", model_id="churn", model_version="7",
...     ts="2026-03-01T12:00:00.250Z", features={"age": 41, "plan": "basic", "income": None},
...     prediction=1, score=0.83,
... )
>>> event.ts, event.kinds["plan"].name
(1772366400250, 'STRING')
"""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
)

from schemas.batch import ValueKind
from schemas.limits import (
    MAX_FEATURES,
    MAX_ID_CHARS,
    MAX_NAME_CHARS,
    MAX_SHARD,
    MAX_TS_MS,
)
from schemas.timestamps import parse_ts


def classify(value: object) -> ValueKind:
    """What a feature's JSON value is; ValueError for a number that JSON cannot hold.

    An object or an array is `INVALID`: it counts as missing, and the event stays.
    """
    if value is None:
        return ValueKind.NULL
    if isinstance(value, bool):
        return ValueKind.BOOLEAN
    if isinstance(value, int | float):
        try:
            finite = isfinite(value)
        except OverflowError:
            finite = False
        if not finite:
            raise ValueError("no JSON: a number must be finite and fit a double; send null")
        return ValueKind.NUMBER
    return ValueKind.STRING if isinstance(value, str) else ValueKind.INVALID


def _classifiable(value: Any) -> Any:
    classify(value)
    return value


def _timestamp(value: object) -> int:
    try:
        return parse_ts(value)
    except TypeError as error:  # pydantic reports only ValueError by field
        raise ValueError(str(error)) from None


_TS_SCHEMA: Final = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": 0, "maximum": MAX_TS_MS},
    ]
}

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_CHARS)]
Text = Annotated[str, StringConstraints(max_length=MAX_ID_CHARS)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS)]
ShortText = Annotated[str, StringConstraints(max_length=MAX_NAME_CHARS)]
Finite = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Scalar = StrictBool | StrictInt | Finite | ShortText
Probability = Annotated[Finite, Field(ge=0, le=1)]
Timestamp = Annotated[int, BeforeValidator(_timestamp), WithJsonSchema(_TS_SCHEMA)]
FeatureValue = Annotated[Any, AfterValidator(_classifiable)]
Shard = Annotated[int, Field(ge=0, le=MAX_SHARD)]

_EVENT_ID: Final = "The producer's own name for this event; a label repeats its prediction's."
_MODEL_ID: Final = "The model. The record's key is its UTF-8, or that of `model_id/shard`."
_TS: Final = (
    "When it happened: RFC 3339 with an offset, or integer epoch milliseconds, in the years 1970 "
    "to 9999. Digits beyond the milliseconds are cut off; 23:59:60 UTC is the second after it."
)
_SHARD: Final = (
    "Of a model too big for one worker: stable hash of the source modulo the number of shards. "
    "The record's key is then `model_id/shard`, and labels carry the same shard."
)


class PredictionEvent(BaseModel):
    """One prediction of one model: what went in, and what came out."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        frozen=True,
        title="driftsentry prediction event",
        json_schema_extra={
            "examples": [
                {
                    "type": "prediction",
                    "event_id": "0b9f6c1e-58a1-4a55-9d5e-0d6f1f6a2c11",
                    "model_id": "churn",
                    "model_version": "7",
                    "ts": "2026-03-01T12:00:00.250Z",
                    "source": "api-client-17",
                    "features": {"age": 41, "plan": "basic", "is_student": False, "income": None},
                    "prediction": 1,
                    "probabilities": {"0": 0.17, "1": 0.83},
                    "slices": {"country": "NL"},
                    "latency_ms": 3.4,
                },
                {
                    "type": "prediction",
                    "event_id": "e-2",
                    "model_id": "house-price",
                    "model_version": "2026-02-14",
                    "ts": 1772366400250,
                    "features": {"rooms": 4, "area_m2": 96.5},
                    "prediction": 412000.0,
                },
            ]
        },
    )

    type: Literal["prediction"]
    event_id: Id = Field(description=_EVENT_ID)
    model_id: Id = Field(description=_MODEL_ID)
    model_version: Id = Field(description="Versions are monitored apart from each other.")
    ts: Timestamp = Field(description=_TS)
    features: dict[Name, FeatureValue] = Field(
        max_length=MAX_FEATURES,
        description="What the model saw, by name; may be empty. A number is monitored as such, "
        "null is missing, a string or a boolean is a category. An object or an array is invalid: "
        "counted, and missing.",
    )
    prediction: Scalar | None = Field(
        default=None,
        description="A string, a boolean or an integer of few distinct values is a class; "
        "another number is a signal. Absent for unsupervised scores.",
    )
    score: Finite | None = Field(default=None, description="The model's score, if it has one.")
    probabilities: Annotated[dict[ShortText, Probability], Field(min_length=1)] | None = Field(
        default=None,
        description="Class -> p. Without `score` the score is, of two classes, the p of the one "
        "that sorts last, else the largest p.",
    )
    source: Text | None = Field(
        default=None,
        description="The client behind the query. Replaced by a keyed hash on arrival; empty "
        "means absent.",
    )
    slices: dict[Name, ShortText] | None = Field(
        default=None, description="To what groups the event belongs: name -> value."
    )
    feature_view: Text | None = Field(
        default=None, description="Where the features came from, such as a feature-store view."
    )
    latency_ms: Annotated[Finite, Field(ge=0)] | None = Field(
        default=None, description="How long the model took."
    )
    sample_rate: Annotated[Finite, Field(gt=0, le=1)] | None = Field(
        default=None, description="The share of predictions that is sent at all."
    )
    schema_version: Text | StrictInt | None = Field(
        default=None, description="The producer's version of this event's fields."
    )
    shard: Shard | None = Field(default=None, description=_SHARD)
    traceparent: Text | None = Field(default=None, description="W3C trace context.")

    @property
    def kinds(self) -> dict[str, ValueKind]:
        """What each feature's value is."""
        return {name: classify(value) for name, value in self.features.items()}


class LabelEvent(BaseModel):
    """What the truth turned out to be for one earlier prediction."""

    model_config = ConfigDict(
        strict=True,
        extra="ignore",
        frozen=True,
        title="driftsentry label event",
        json_schema_extra={
            "examples": [
                {
                    "type": "label",
                    "event_id": "0b9f6c1e-58a1-4a55-9d5e-0d6f1f6a2c11",
                    "model_id": "churn",
                    "ts": "2026-04-01T09:00:00+02:00",
                    "label": 0,
                    "label_source": "billing",
                }
            ]
        },
    )

    type: Literal["label"]
    event_id: Id = Field(description=_EVENT_ID)
    model_id: Id = Field(description=_MODEL_ID)
    ts: Timestamp = Field(description=_TS)
    label: Scalar = Field(description="The true class or number.")
    label_source: Text | None = Field(
        default=None,
        description="Who says so. Replaced by a keyed hash on arrival; empty means absent.",
    )
    shard: Shard | None = Field(default=None, description=_SHARD)


Event = Annotated[PredictionEvent | LabelEvent, Field(discriminator="type")]
"""Either event, told apart by `type`."""

EVENT: Final[TypeAdapter[PredictionEvent | LabelEvent]] = TypeAdapter(Event)
"""Validates what `orjson.loads` returns: `EVENT.validate_python(orjson.loads(value))`."""
