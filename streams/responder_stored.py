"""What the responder keeps in Redis, by name and read back; every error names the key."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.retraining import RetrainingData
from schemas.rollback import FollowUpData, RollbackData
from streams.incident_evidence import Evidence, EvidenceError
from streams.incident_reasons import (
    Approval,
    Beginning,
    Noted,
    Opening,
    Overruling,
    RollbackApproval,
    RollbackOpening,
)
from streams.responder_ports import (
    Flight,
    FoldPlace,
    Frozen,
    InputPartition,
    ModelName,
    UnreadableStoreError,
    frozen_id,
)

REMEDY: Final = "Rebuild it from the topics: driftsentry respond --rebuild"
_SAID: Final[dict[str, TypeAdapter[Noted]]] = {
    each.__name__: TypeAdapter(each)
    for each in (Overruling, Approval, Opening, RollbackApproval, RollbackOpening, Beginning)
}


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


def fold_field(place: FoldPlace) -> str:
    """A fold of a partition as a field."""
    return f"{place.partition}:{place.lineage}"


def fold_of(field: bytes, key: str) -> FoldPlace:
    """The fold of such a field."""
    number, has_lineage, lineage = field.partition(b":")
    if not has_lineage:
        raise unreadable(key, f"{field[:100]!r} names no fold")
    return FoldPlace(number_of(number, key), text_of(lineage, key))


def said_text(said: Noted) -> bytes:
    """What a person said, or where a version begins, as JSON: the same gives the same bytes."""
    return orjson.dumps({"said": type(said).__name__, **said._asdict()})


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


def said_of(pairs: Sequence[bytes], key: str) -> tuple[Noted, ...]:
    """What people said and where versions begin, in the order in which it was stored."""
    numbered = [(number_of(number, key), text) for text, number in in_twos(pairs)]
    try:
        return tuple(_said(orjson.loads(text)) for _, text in sorted(numbered))
    except (ValidationError, ValueError, LookupError, TypeError):
        raise unreadable(key, "it holds what nobody said") from None


def _said(fields: dict[str, object]) -> Noted:
    form = _SAID[str(fields["said"])]
    return form.validate_python({key: each for key, each in fields.items() if key != "said"})


def released_of(pairs: Sequence[bytes], key: str) -> tuple[Frozen, ...]:
    """Requests that were released, in the order of their release."""
    found = []
    for field, value in in_twos(pairs):
        number, request = request_of(value, key)
        if frozen_id(request).encode() != field:
            raise unreadable(key, f"{field[:100]!r} holds another request")
        found.append((number, request))
    return tuple(each for _, each in sorted(found, key=lambda pair: pair[0]))


def request_of(value: bytes, key: str) -> tuple[int, Frozen]:
    """A released request, and its number."""
    number, _, text = value.partition(b" ")
    try:
        return number_of(number, key), _request(text)
    except (ValidationError, ValueError, TypeError):
        raise unreadable(key, "it holds no request") from None


@lru_cache(maxsize=1_000)
def _request(text: bytes) -> Frozen:
    # They never change, and come with every answer.
    fields = orjson.loads(text)
    if "followup_id" not in fields:
        return RetrainingData.model_validate(fields)
    return (RollbackData if "request_id" in fields else FollowUpData).model_validate(fields)


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
