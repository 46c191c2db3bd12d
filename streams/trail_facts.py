"""What the audit trail notes of a record on another topic: kind, time, who, facts. Pure.

Facts are copies of fields, not all of them: no list of sources, causes, offsets or comparisons. In
texts the pseudonym of a source is masked. The digest of the source record vouches for the rest.
What cannot be read is noted as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

import orjson
from pydantic import ValidationError

from schemas.audit_trail import (
    AuditClock,
    AuditKind,
    AuditRecord,
    AuditRecordError,
    Head,
    SourceRecord,
    canonical,
    next_record,
    plain,
)
from schemas.commands import CommandError, read_command
from schemas.limits import MAX_ID_CHARS, MAX_TS_MS
from schemas.printable import masked
from schemas.records import TopicPartition
from schemas.responses import read_response
from streams.lineage import JournalEntry

_MAX_SAID: Final = 300
_FIRST_MS: Final = 86_400_000
"""A Kafka timestamp of the first day of 1970 is none: that of a record that was given no time."""


_TEXTS: Final = frozenset({"message", "because", "note", "detail", "reason", "approval_note"})
"""Fields that hold sentences, of rules or of people, at whatever depth."""
_HEX: Final = r"(?<![0-9a-f])[0-9a-f]{12,}(?![0-9a-z])"
_ONE: Final = re.compile(_HEX, re.IGNORECASE)
_PSEUDONYM: Final = re.compile(
    rf"\b(sources?:?\s+)({_HEX}(?:(?:\s*[,;/&]\s*|,?\s+(?:and|or)\s+){_HEX})*)", re.IGNORECASE
)
"""A pseudonym in a sentence: 12 hex digits or more, alone or in a list, behind the word source.

By the word alone: ids of incidents and of evidence look alike, and are to stay.
"""


class Unread(NamedTuple):
    """A record of a source topic as it was read."""

    tp: TopicPartition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


class Fact(NamedTuple):
    """What is to be noted. `at_ms` None: neither the source nor its record says a time."""

    kind: AuditKind
    facts: Mapping[str, Any]
    at_ms: int | None = None
    clock: AuditClock = "noted"
    by: str | None = None
    source: SourceRecord | None = None


class _UnreadableError(ValueError):
    """A record is not of the form of its topic."""


def fact_of(source: str, record: Unread, groups: Sequence[str]) -> Fact | None:
    """What is noted of a record of a source, a name of `SOURCES`; None: it is not ours.

    `groups` are the workers' groups of this deployment: the journal may hold others'.
    """
    gone = _GONE.get(source)
    try:
        if record.value is None and gone is not None:
            kind, name = gone
            fact: Fact | None = Fact(kind, {name: (record.key or b"").decode(errors="replace")})
        else:
            fact = SOURCES[source](record, groups)
        if fact is not None:
            fact = fact._replace(facts=_without_sources(fact.facts))
            canonical(fact.facts)
    except (_UnreadableError, AuditRecordError, RecursionError) as error:
        # Masked before it is cut: what is left of a pseudonym would not be known for one.
        reason = without_sources(masked(str(error)))[:_MAX_SAID]
        fact = Fact("unreadable", {"expected": source, "reason": reason})
    if fact is None:
        return None
    at_ms, clock = fact.at_ms, fact.clock
    if at_ms is None and _FIRST_MS <= record.timestamp_ms <= MAX_TS_MS:
        at_ms, clock = record.timestamp_ms, "record"
    return fact._replace(
        at_ms=at_ms,
        clock=clock,
        # Of whoever may write there, at any length.
        by=None if fact.by is None else fact.by[:MAX_ID_CHARS],
        source=SourceRecord(
            topic=record.tp.topic,
            partition=record.tp.partition,
            offset=record.offset,
            timestamp_ms=min(max(record.timestamp_ms, -1), MAX_TS_MS),
            digest=sha256(record.value or b"").hexdigest(),
        ),
    )


def without_sources(text: str) -> str:
    """The text with asterisks for pseudonyms of sources: they are not kept for as long as it is."""
    return _PSEUDONYM.sub(lambda found: found[1] + _ONE.sub("***", found[2]), text)


def _without_sources(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {each: _without_sources(inner, each) for each, inner in value.items()}
    if isinstance(value, list):
        return [_without_sources(each, name) for each in value]
    return without_sources(value) if isinstance(value, str) and name in _TEXTS else value


def noted(chain: str, head: Head | None, fact: Fact, now_ms: int) -> AuditRecord:
    """The record of a fact behind `head`."""
    return next_record(
        chain,
        head,
        kind=fact.kind,
        at_ms=now_ms if fact.at_ms is None else fact.at_ms,
        clock="noted" if fact.at_ms is None else fact.clock,
        noted_ms=now_ms,
        facts=fact.facts,
        by=fact.by,
        source=fact.source,
    )


def _journal(record: Unread, groups: Sequence[str]) -> Fact | None:
    owner = (record.key or b"").decode(errors="replace").partition("|")[0]
    if owner not in groups:
        return None
    try:
        entry = JournalEntry.model_validate_json(record.value or b"")
    except ValidationError as error:
        raise _UnreadableError(str(error.errors(include_url=False)[0]["msg"])) from None
    lineage = entry.lineage
    facts: dict[str, Any] = {
        "group": owner,
        "lineage": lineage.id,
        "parent": lineage.parent,
        "deployment": lineage.deployment,
        "duty": lineage.duty,
        "topic_id": lineage.topic_id,
        "partition": lineage.partition,
        "start_offset": lineage.start_offset,
        "n_resets": lineage.n_resets,
        "offset": entry.offset,
        "generation": entry.generation,
        "config": entry.config,
        "reason": entry.reason,
    }
    if entry.command is not None:
        facts |= {"number": entry.command.number, "command": _command_facts(entry.command.order)}
        return Fact("applied", plain(facts), by=getattr(entry.command.order, "by", "") or None)
    facts |= {"follows": entry.follows, "versions": entry.versions, "source_key": entry.source_key}
    document = entry.document
    assert document is not None
    # As text: its numbers would have no one form.
    text = orjson.dumps(document.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS).decode()
    kinds: dict[str, AuditKind] = {"lineage": "lineage", "config": "config", "reset": "reset"}
    return Fact(kinds[entry.kind], {**plain(facts), "document": text})


def _command_facts(command: Any) -> dict[str, Any]:
    """A command without the document that it sets: its digest stays."""
    facts: dict[str, Any] = plain(command.model_dump(mode="json", exclude={"document"}))
    return facts


def _said(record: Unread, _groups: Sequence[str]) -> Fact:
    try:
        word = read_response(record.value) or read_command(record.value)
    except CommandError as error:
        raise _UnreadableError(str(error)) from None
    return Fact("said", _command_facts(word), by=word.by or None)


_INCIDENT: Final = (
    *("incident_id", "revision", "status", "deployment", "model_id", "model_versions", "severity"),
    *("start_ms", "last_ms", "closed_ms", "n_evidence", "message"),
)
_VERDICT: Final = (
    *("reason", "rule", "because", "evidence_ids", "also", "by", "note", "ruled", "covers"),
    "was_evidence_opened",
)
_RETRAINING: Final = (
    *("request_id", "status", "deployment", "model_id", "model_version", "incident_id", "reason"),
    *("evidence_ids", "approved_by", "was_evidence_opened", "cooldown_until_ms", "message"),
)
_ROLLBACK: Final = (
    *("request_id", "status", "deployment", "model_id", "from_version", "to_version"),
    *("followup_id", "approved_by", "approval_note", "was_evidence_opened", "message"),
)
_FOLLOWUP: Final = (
    *("followup_id", "status", "verdict", "deployment", "model_id", "model_version"),
    *("last_version", "retraining_id", "message"),
)
_LIVENESS: Final = (
    *("liveness_id", "kind", "recovered_from", "severity", "deployment", "model_id"),
    *("model_version", "shard", "topic", "partition", "since_ms", "until_ms", "n_events"),
    *("n_expected", "message"),
)


def _object(record: Unread) -> dict[str, Any]:
    try:
        found = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        raise _UnreadableError("is not JSON") from None
    if not isinstance(found, dict):
        raise _UnreadableError("is not a JSON object")
    return found


def _named(said: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: plain(said.get(name)) for name in names}


def _list(said: Mapping[str, Any], name: str) -> list[Any]:
    value = said.get(name)
    return value if isinstance(value, list) else []


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value:
        raise _UnreadableError(f"`{name}` should be text")
    return value


def _time(said: Mapping[str, Any], name: str) -> int | None:
    value = said.get(name)
    is_time = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TS_MS
    return value if is_time else None


def _who(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    return value if isinstance(value, str) and value else None


def _incident(record: Unread, _groups: Sequence[str]) -> Fact:
    said = _object(record)
    _text(said, "incident_id")
    verdict = said.get("verdict")
    if not isinstance(verdict, dict):
        raise _UnreadableError("`verdict` should be an object")
    facts = {
        **_named(said, _INCIDENT),
        # Its own id may change when it becomes part of another one: these stay.
        "evidence_ids": [
            name
            for each in _list(said, "evidence")
            if isinstance(each, dict) and (name := _who(each, "evidence_id")) is not None
        ],
        "verdict": _named(verdict, _VERDICT),
    }
    return Fact("incident", facts, _time(said, "last_ms"), "event", _who(verdict, "by"))


def _retraining(record: Unread, _groups: Sequence[str]) -> Fact:
    said = _object(record)
    _text(said, "request_id")
    window, benefit = said.get("window"), said.get("benefit")
    counted = ("topic", "since_ms", "until_ms", "n_predictions", "n_labels", "n_quarantined")
    facts = {
        **_named(said, _RETRAINING),
        "holds": _holds(said),
        "window": _named(window, counted) if isinstance(window, dict) else None,
        "quarantine": [
            {
                **_named(part, ("evidence_id", "partition")),
                "n_sources": len(_list(part, "sources")),
            }
            for part in _list(said, "quarantine")
            if isinstance(part, dict)
        ],
        "benefit": plain(benefit),
    }
    return Fact("retraining", facts, by=_who(said, "approved_by"))


def _rollback(record: Unread, _groups: Sequence[str]) -> Fact:
    said = _object(record)
    _text(said, "request_id")
    facts = {**_named(said, _ROLLBACK), "holds": _holds(said)}
    return Fact("rollback", facts, by=_who(said, "approved_by"))


def _followup(record: Unread, _groups: Sequence[str]) -> Fact:
    said = _object(record)
    _text(said, "followup_id")
    return Fact("followup", _named(said, _FOLLOWUP))


def _holds(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        _named(hold, ("reason", "detail"))
        for hold in _list(said, "holds")
        if isinstance(hold, dict)
    ]


def _liveness(record: Unread, _groups: Sequence[str]) -> Fact:
    said = _object(record)
    _text(said, "liveness_id")
    return Fact("liveness", _named(said, _LIVENESS))


SOURCES: Final[Mapping[str, Callable[[Unread, Sequence[str]], Fact | None]]] = {
    "journal": _journal,
    "commands": _said,
    "liveness": _liveness,
    "incidents": _incident,
    "retraining": _retraining,
    "rollback": _rollback,
    "followup": _followup,
}
"""By the name of the topic in the settings what is noted of its records."""
_GONE: Final[Mapping[str, tuple[AuditKind, str]]] = {
    "incidents": ("incident_gone", "incident_id"),
    "retraining": ("retraining_gone", "request_id"),
    "rollback": ("rollback_gone", "request_id"),
    "followup": ("followup_gone", "followup_id"),
}
"""Of compacted topics what a record without a value is noted as, and what its key names."""
