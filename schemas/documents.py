"""What documents that people set have in common: bytes of their own, and so an identity."""

from __future__ import annotations

from hashlib import blake2b

import orjson
from pydantic import BaseModel, ValidationError


def canonical_bytes(document: BaseModel) -> bytes:
    """JSON without blanks, keys sorted: equal for equal documents."""
    return orjson.dumps(document.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)


def content_digest(canonical: bytes, kind: bytes) -> str:
    """The hex blake2b-128 of these bytes, of documents of this kind (at most 16 bytes)."""
    return blake2b(canonical, digest_size=16, person=kind).hexdigest()


def first_problem(error: ValidationError, whole: str) -> str:
    """Where the first thing is wrong, and what; `whole` names the value itself."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or whole
    return f"{place}: {first['msg']}"
