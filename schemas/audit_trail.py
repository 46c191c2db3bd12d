"""One record of the audit trail: its form, its canonical bytes, its hash.

Each record holds the hash of the one before it, so that none can be changed, left out, moved or put
in between without the next one saying so. Anybody can check that without this program: the hash is
SHA-256 over the record's canonical JSON without its `hash`. Records hold no floating-point number,
no integer beyond 2**53 - 1 and no name that is not ASCII; of such values sorted keys without blanks
are the form of RFC 8785.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from schemas.documents import first_problem
from schemas.printable import masked

AuditKind = Literal[
    "begun",
    "started",
    "stopped",
    "progress",
    "lineage",
    "config",
    "reset",
    "applied",
    "said",
    "incident",
    "incident_gone",
    "retraining",
    "retraining_gone",
    "rollback",
    "rollback_gone",
    "followup",
    "followup_gone",
    "liveness",
    "lost",
    "unreadable",
]
AuditClock = Literal["event", "record", "noted"]
KINDS: Final[dict[AuditKind, str]] = {
    "begun": "The chain begins: for which groups of workers, and after a loss why, and which head "
    "was expected.",
    "started": "An auditor began to write: its release, the topics that it reads and their ids.",
    "stopped": "It was told to stop.",
    "progress": "How far the workers of each duty have committed, by partition, with lineage, "
    "config and the digest of their state; and how far the sources are read.",
    "lineage": "A partition's fold began, with the whole detection config.",
    "config": "The detection config of a partition switched; the whole config.",
    "reset": "A reset was accepted, and a fold began anew; why.",
    "applied": "A command took effect in a partition: a mute, a reference, a calibration.",
    "said": "What a person said on the commands topic, to workers or to the responder: also that "
    "they were shown evidence, overruled an incident, approved a request.",
    "incident": "An incident as it became: reason, how that was decided, by whom, and whether they "
    "had opened the evidence.",
    "incident_gone": "An incident is none any more: it became part of another one, or is benign "
    "after all.",
    "retraining": "A retraining request as it became: what holds it, or that it is released.",
    "retraining_gone": "A retraining request is none any more: its incident is another one now, or "
    "asks for none.",
    "rollback": "A rollback request, likewise.",
    "rollback_gone": "A rollback request is none any more.",
    "followup": "How a new version of a model compares with the last one.",
    "followup_gone": "A follow-up is none any more: what began earlier is found to be another one.",
    "liveness": "Predictions that stay away, or come in other numbers, or come again.",
    "lost": "Records of a source were gone before they were read, or its topic was made anew.",
    "unreadable": "A record of a source that is not of its form: where, and why.",
}
"""What each of them says."""

GENESIS: Final = "0" * 64
"""What the first record has in place of the hash of the one before it."""
MAX_FACTS_BYTES: Final = 256 * 1024
"""Of what a record says; the largest fields are left out of one that would have more."""
_MAX_DEPTH: Final = 64
"""Readers of JSON have limits of their own."""
_MAX_INTEGER: Final = 2**53 - 1
_MAX_SAID: Final = 300

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class AuditRecordError(ValueError):
    """Bytes are no record of an audit trail, or a value cannot stand in one."""


class Head(NamedTuple):
    """The last record of a trail: whoever keeps it elsewhere can tell if the trail was cut."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Of `SEQ:HASH`. Raises `AuditRecordError`."""
        seq, colon, digest = text.strip().partition(":")
        is_number = seq.isascii() and seq.isdigit() and 1 <= int(seq) <= _MAX_INTEGER
        if not colon or not is_number or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise AuditRecordError(
                f"{masked(text.strip())[:80]!r} is no head: it should be SEQ:HASH"
            )
        return cls(int(seq), digest)


class SourceRecord(BaseModel):
    """The Kafka record that an entry was made of."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    topic: str = Field(description="Its topic.")
    partition: int = Field(description="Its partition.")
    offset: int = Field(description="Its offset.")
    timestamp_ms: int = Field(description="Its Kafka timestamp; -1 where it has none.")
    digest: _Hash = Field(description="SHA-256 of its value, of no bytes where it has none.")


class AuditRecord(BaseModel):
    """The value of a record on the audit topic."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, title="Audit record")

    v: Literal[1] = Field(description="Version of this form.")
    chain: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] = Field(
        description="The chain it belongs to: drawn at random when the first record was written."
    )
    seq: Annotated[int, Field(ge=1, le=_MAX_INTEGER)] = Field(
        description="1 for the first record of the chain, without gaps."
    )
    prev: _Hash = Field(description="`hash` of the record before it; 64 zeros in the first.")
    kind: AuditKind = Field(description="What it records: below.")
    at_ms: int = Field(description="When that was, epoch milliseconds, by `clock`.")
    clock: AuditClock = Field(
        description="`event`: event time. `record`: the source record's Kafka timestamp. `noted`: "
        "the source says no time, so it is when the auditor read it."
    )
    noted_ms: int = Field(description="When the auditor wrote it, by its own clock.")
    by: str | None = Field(
        description="Who decided it, by what they say of themselves; null where nobody did."
    )
    source: SourceRecord | None = Field(
        description="What it was made of; null where the auditor says it of itself."
    )
    facts: dict[str, JsonValue] = Field(description="What it says, by kind: below.")
    hash: _Hash = Field(
        description="SHA-256 of the record without this field, as RFC 8785 writes it."
    )

    @property
    def head(self) -> Head:
        """The head of a chain that ends here."""
        return Head(self.seq, self.hash)

    def content_hash(self) -> str:
        """What `hash` must be. Raises `AuditRecordError`."""
        return content_hash(self.model_dump(mode="json", exclude={"hash"}))

    def dump(self) -> bytes:
        """The value of the Kafka record. Raises `AuditRecordError`."""
        return canonical(self.model_dump(mode="json"))


def canonical(document: Mapping[str, Any]) -> bytes:
    """The document as RFC 8785 writes it. Raises `AuditRecordError` for what it may not hold."""
    _require_plain(document)
    try:
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:  # a lone surrogate, or too deep
        raise AuditRecordError(f"cannot be written as JSON: {error}") from None


def content_hash(document: Mapping[str, Any]) -> str:
    """SHA-256 in hex of the canonical document."""
    return sha256(canonical(document)).hexdigest()


def _require_plain(value: Any, depth: int = 0) -> None:
    if depth > _MAX_DEPTH:
        raise AuditRecordError(f"values within more than {_MAX_DEPTH} others")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > _MAX_INTEGER:
            raise AuditRecordError(f"an integer beyond {_MAX_INTEGER:,}")
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if not isinstance(name, str) or not name.isascii():
                raise AuditRecordError("a name that is not ASCII")
            _require_plain(each, depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            _require_plain(each, depth + 1)
    else:
        raise AuditRecordError(f"a {type(value).__name__}, which has no one form in JSON")


def plain(value: Any) -> Any:
    """A value of JSON as records may hold it: numbers that are no safe integers become text."""
    if isinstance(value, Mapping):
        if all(isinstance(name, str) and name.isascii() for name in value):
            return {name: plain(each) for name, each in value.items()}
        return [[str(name), plain(each)] for name, each in value.items()]
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) > _MAX_INTEGER
    ):
        return repr(value)
    return value


def bounded(facts: Mapping[str, Any]) -> dict[str, Any]:
    """These facts, without the largest fields where all are too much; `left_out` names those."""
    kept = dict(facts)
    left_out: list[str] = []
    while len(canonical(kept)) > MAX_FACTS_BYTES:
        sizes = {name: len(orjson.dumps(each)) for name, each in kept.items() if name != "left_out"}
        largest = max(sizes, key=lambda name: (sizes[name], name))
        del kept[largest]
        left_out.append(largest)
        kept["left_out"] = sorted(left_out)
    return kept


def next_record(
    chain: str,
    head: Head | None,
    *,
    kind: AuditKind,
    at_ms: int,
    clock: AuditClock,
    noted_ms: int,
    facts: Mapping[str, Any],
    by: str | None = None,
    source: SourceRecord | None = None,
) -> AuditRecord:
    """The record that follows `head`, None for the first. Raises `AuditRecordError`."""
    content: dict[str, Any] = {
        "v": 1,
        "chain": chain,
        "seq": 1 if head is None else head.seq + 1,
        "prev": GENESIS if head is None else head.hash,
        "kind": kind,
        "at_ms": at_ms,
        "clock": clock,
        "noted_ms": noted_ms,
        "by": by,
        "source": None if source is None else source.model_dump(),
        "facts": bounded(facts),
    }
    return AuditRecord(**content, hash=content_hash(content))


def read_audit_record(value: bytes | None) -> AuditRecord:
    """The record in these bytes; whether its hash is right is another question.

    Raises `AuditRecordError`, also where the bytes are not the record's canonical ones: what they
    hold besides is covered by no hash.
    """
    if value is None:
        raise AuditRecordError("it has no value")
    try:
        record = AuditRecord.model_validate_json(value)
    except ValidationError as error:
        said = masked(first_problem(error, "the value"))
        raise AuditRecordError(said[:_MAX_SAID]) from None
    if record.dump() != value:
        raise AuditRecordError("its bytes are not the canonical form of what they say")
    return record
