"""What the models say of a value, in the decoder's terms: the other side of the comparison."""

from __future__ import annotations

import struct
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import orjson
from pydantic import ValidationError

from schemas.batch import Decoded, Decoding, ModelKey, PredictionKind, ValueKind
from schemas.event_hash import EventKey
from schemas.events import EVENT, LabelEvent, PredictionEvent, classify
from schemas.records import Record, TopicPartition
from schemas.source_hash import SourceKey

TP = TopicPartition("events", 0)
KEY = SourceKey(b"0123456789abcdef")
EVENT_KEY = EventKey(KEY)


class Refused(NamedTuple):
    """The fields that pydantic names; None where the value is no JSON object."""

    fields: set[str] | None


class Row(NamedTuple):
    """One accepted event; floats as their bits, so that NaN equals NaN and 0.0 is not -0.0."""

    is_label: bool
    model: ModelKey
    ts_ms: int
    names: tuple[str, ...] | None
    values: tuple[bytes | str | bool | None, ...]
    """Numbers as bits; categories as themselves, None for one that is too long, or for nothing."""
    kinds: tuple[int, ...]
    score: bytes
    prediction_kind: int
    prediction: bytes
    predicted_class: str | None
    source: tuple[int, int]
    event_id: int
    latency_ms: bytes


def bits(number: float | None) -> bytes:
    """The number's bits; of NaN for None."""
    return struct.pack("<d", float("nan") if number is None else number)


def record(offset: int, value: bytes | None, key: bytes | None) -> Record:
    """A record of the test's partition."""
    return Record(TP, offset, 1_000 + offset, key, value)


def right_key(value: bytes | None) -> bytes | None:
    """The key that the event in `value` asks for, if that can be told."""
    try:
        event = orjson.loads(value or b"")
        shard = event.get("shard")
        return str(event["model_id"] if shard is None else f"{event['model_id']}/{shard}").encode()
    except (ValueError, KeyError, AttributeError):
        return None


def by_model(value: bytes) -> Row | Refused:
    """What the pydantic models make of a value."""
    try:
        parsed = orjson.loads(value)
    except ValueError:
        return Refused(None)
    if not isinstance(parsed, dict):
        return Refused(None)
    try:
        event = EVENT.validate_python(parsed)
    except ValidationError as error:
        places = [e["loc"] for e in error.errors()]
        return Refused({str(loc[1]) if len(loc) > 1 else "type" for loc in places})
    return row_of_event(event)


def n_unknown(value: bytes) -> int:
    """How many fields of an accepted event its model does not know."""
    parsed = orjson.loads(value)
    model = PredictionEvent if parsed["type"] == "prediction" else LabelEvent
    return len(parsed.keys() - model.model_fields.keys())


def row_of_event(event: PredictionEvent | LabelEvent) -> Row:
    """The decoder's row of a validated event, said without the decoder."""
    shard = -1 if event.shard is None else event.shard
    if isinstance(event, LabelEvent):
        key = ModelKey(event.model_id, "", shard)
        return Row(
            is_label=True,
            model=key,
            ts_ms=event.ts,
            names=None,
            values=(),
            kinds=(),
            score=bits(None),
            **said(event.label),
            source=words(event.label_source),
            event_id=word(event.event_id),
            latency_ms=bits(None),
        )
    features = sorted(event.features.items())
    kinds = tuple(classify(value) for _, value in features)
    return Row(
        is_label=False,
        model=ModelKey(event.model_id, event.model_version, shard),
        ts_ms=event.ts,
        names=tuple(name for name, _ in features),
        values=tuple(value_of(v, k) for (_, v), k in zip(features, kinds, strict=True)),
        kinds=tuple(map(int, kinds)),
        score=bits(score_of(event)),
        **said(event.prediction),
        source=words(event.source),
        event_id=word(event.event_id),
        latency_ms=bits(event.latency_ms),
    )


def said(value: Any) -> dict[str, Any]:
    """The columns of a prediction, or of a label."""
    return {
        "prediction_kind": kind_of(value),
        "prediction": bits(None if isinstance(value, str | None) else value),
        "predicted_class": class_of(value),
    }


def value_of(value: Any, kind: ValueKind) -> bytes | str | bool | None:
    """What the contract says a feature's value is."""
    match kind:
        case ValueKind.NUMBER:
            return bits(value)
        case ValueKind.STRING:
            return str(value) if len(value) <= 256 else None
        case ValueKind.BOOLEAN:
            return bool(value)
        case _:
            return None


def score_of(event: PredictionEvent) -> float | None:
    """The rule of the contract in its own words."""
    if event.score is not None or event.probabilities is None:
        return event.score
    if len(event.probabilities) == 2:
        return event.probabilities[max(event.probabilities)]
    return max(event.probabilities.values())


def kind_of(prediction: Any) -> PredictionKind:
    """What a prediction is."""
    match prediction:
        case None:
            return PredictionKind.ABSENT
        case bool():
            return PredictionKind.BOOLEAN
        case int():
            return PredictionKind.INTEGER
        case float():
            return PredictionKind.NUMBER
        case _:
            return PredictionKind.STRING


def class_of(prediction: Any) -> str | None:
    """The class that a prediction names."""
    match prediction:
        case None | float():
            return None
        case bool():
            return "true" if prediction else "false"
        case _:
            return str(prediction)


def words(source: str | None) -> tuple[int, int]:
    """The two words of a source's hash, one hash at a time."""
    if not source:
        return 0, 0
    low, high = struct.unpack("<QQ", KEY.digest(source))
    return low, high


def word(event_id: str) -> int:
    """An event id's fingerprint, one at a time."""
    (number,) = struct.unpack("<Q", EVENT_KEY.digest(event_id))
    return int(number)


def rows(events: Decoded) -> list[Row]:
    """The decoder's columns, row by row."""
    found = []
    for i in range(len(events)):
        start, end = events.value_ptr[i : i + 2].tolist()
        shape, name = int(events.shape[i]), int(events.predicted_class[i])
        low, high = events.source[i].tolist()
        found.append(
            Row(
                is_label=bool(events.is_label[i]),
                model=events.models[events.model[i]],
                ts_ms=int(events.event_time_ms[i]),
                names=None if shape < 0 else events.shapes[shape],
                values=tuple(value_at(events, k) for k in range(start, end)),
                kinds=tuple(events.kind[start:end].tolist()),
                score=bits(float(events.score[i])),
                prediction_kind=int(events.prediction_kind[i]),
                prediction=bits(float(events.prediction[i])),
                predicted_class=None if name < 0 else events.classes[name],
                source=(low, high),
                event_id=int(events.event_id[i]),
                latency_ms=bits(float(events.latency_ms[i])),
            )
        )
    return found


def value_at(events: Decoded, at: int) -> bytes | str | bool | None:
    """What the columns say stands there."""
    value = float(events.value[at])
    match events.kind[at]:
        case ValueKind.NUMBER:
            return bits(value)
        case ValueKind.STRING:
            return None if value == -1.0 else events.categories[int(value)]
        case ValueKind.BOOLEAN:
            return {0.0: False, 1.0: True}[value]
        case _:
            assert np.isnan(value)
            return None


def same(one: Decoding, other: Decoding) -> None:
    """Assert that two decodings are equal, in every column bit for bit."""
    assert one.rejects == other.rejects
    for field in fields(Decoded):
        left, right = getattr(one.events, field.name), getattr(other.events, field.name)
        if isinstance(left, np.ndarray):
            assert (left.dtype, left.shape) == (right.dtype, right.shape), field.name
            assert left.tobytes() == right.tobytes(), field.name
        else:
            assert left == right, field.name


def check_form(events: Decoded) -> None:
    """Assert what `Decoded` promises of shapes, types and code tables."""
    n = len(events)
    expected = {
        "offset": (np.int64, (n,)),
        "row": (np.int32, (n,)),
        "record_time_ms": (np.int64, (n,)),
        "event_time_ms": (np.int64, (n,)),
        "is_label": (np.bool_, (n,)),
        "model": (np.int32, (n,)),
        "shape": (np.int32, (n,)),
        "value_ptr": (np.int64, (n + 1,)),
        "value": (np.float64, (int(events.value_ptr[-1]),)),
        "kind": (np.uint8, (int(events.value_ptr[-1]),)),
        "score": (np.float64, (n,)),
        "prediction_kind": (np.uint8, (n,)),
        "prediction": (np.float64, (n,)),
        "predicted_class": (np.int32, (n,)),
        "source": (np.uint64, (n, 2)),
        "event_id": (np.uint64, (n,)),
    }
    for name, (dtype, shape) in expected.items():
        column = getattr(events, name)
        assert (name, column.dtype, column.shape) == (name, np.dtype(dtype), shape)
        assert column.flags.writeable, name
    assert not np.isinf(events.value).any()
    is_empty = np.isin(events.kind, (ValueKind.NULL, ValueKind.INVALID))
    assert (np.isnan(events.value) == is_empty).all()
    for codes, table in (
        (events.model, events.models),
        (events.shape, events.shapes),
        (events.predicted_class, events.classes),
        (events.value[events.kind == ValueKind.STRING].astype(np.int32), events.categories),
    ):
        used = [c for c in codes.tolist() if c >= 0]
        assert list(dict.fromkeys(used)) == list(range(len(table)))
