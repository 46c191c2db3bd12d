"""What the responder keeps in Redis, by name and read back; every error names the key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote, unquote

import orjson
from pydantic import TypeAdapter, ValidationError

from streams.incident_evidence import Evidence, EvidenceError
from streams.incident_reasons import Overruling
from streams.responder_ports import Flight, InputPartition, ModelName, UnreadableStoreError

REMEDY: Final = "Rebuild it from the topics: driftsentry respond --rebuild"
_OVERRULING: Final = TypeAdapter(Overruling)


def model_name(model: ModelName) -> str:
    """A model in the name of a key: no two are alike."""
    return f"{quote(model.deployment, safe='')}:{quote(model.model_id, safe='')}"


def model_of(stored: bytes, key: str) -> ModelName:
    """The model of such a name."""
    deployment, has_model, model_id = text_of(stored, key).partition(":")
    if not has_model:
        raise unreadable(key, f"{stored[:100]!r} names no model")
    return ModelName(unquote(deployment), unquote(model_id))


def partition_name(each: InputPartition) -> str:
    """A partition as a field."""
    return f"{quote(each.deployment, safe='')}:{each.partition}"


def said_text(said: Overruling) -> bytes:
    """What a person said, as JSON: the same gives the same bytes."""
    return orjson.dumps(said._asdict())


def evidence_of(model: ModelName, pairs: Sequence[bytes], key: str) -> dict[str, Evidence]:
    """A model's evidence by its id, from fields and values."""
    found = {}
    for field, value in in_twos(pairs):
        try:
            evidence = Evidence.load(value)
        except EvidenceError as error:
            raise unreadable(key, f"{field[:100]!r}: {error}") from None
        named = ModelName(evidence.deployment, evidence.model_id)
        if evidence.evidence_id.encode() != field or named != model:
            raise unreadable(key, f"{field[:100]!r} holds other evidence")
        found[evidence.evidence_id] = evidence
    return found


def said_of(pairs: Sequence[bytes], key: str) -> tuple[Overruling, ...]:
    """What people said, in the order in which it was stored."""
    numbered = [(number_of(number, key), text) for text, number in in_twos(pairs)]
    try:
        return tuple(_OVERRULING.validate_json(text) for _, text in sorted(numbered))
    except ValidationError:
        raise unreadable(key, "it holds what nobody said") from None


def flights_of(stored: Sequence[bytes | int], key: str) -> tuple[Flight, ...]:
    """Flights, from threes: field, value, and 1 where it has expired."""
    found = []
    for field, value, is_expired in zip(stored[::3], stored[1::3], stored[2::3], strict=True):
        assert isinstance(field, bytes)
        assert isinstance(value, bytes)
        name, has_writer, writer = text_of(field, key).partition(" ")
        ends_ms, _, is_alone = text_of(value, key).partition(" ")
        if not has_writer or not ends_ms.isdigit() or is_alone not in ("0", "1"):
            raise unreadable(key, f"{field[:100]!r} is no flight")
        found.append(Flight(name, writer, is_alone == "1", bool(is_expired)))
    return tuple(found)


def text_of(value: bytes, key: str) -> str:
    """A text."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise unreadable(key, f"{value[:100]!r} is no text") from None


def number_of(value: bytes, key: str) -> int:
    """A whole number."""
    try:
        return int(value)
    except ValueError:
        raise unreadable(key, f"{value[:100]!r} is no number") from None


def unreadable(key: str, why: str) -> UnreadableStoreError:
    """The error that says so, and what to do."""
    return UnreadableStoreError(f"in Redis, {key} cannot be read: {why}. {REMEDY}")


def in_twos(pairs: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Fields and values, as a script returns a hash."""
    return list(zip(pairs[::2], pairs[1::2], strict=True))
