"""`driftsentry respond --rebuild`: what responders keep in Redis, read again from the topics.

With the responders stopped: two at once would each take the other's work away. Everything is read
first, with a plain consumer and the same functions that the agents have. Then the group's offsets
go to the beginning, so that whoever starts after a rebuild that died reads everything again; Redis
is emptied and filled; and at last the offsets go to where the reading ended.

What stands on the compacted topics is taken as published. Where evidence of an incident was read
and the incident does not follow from it any more, its key gets a tombstone. An incident of which no
evidence is retained stays as it is: it was over long ago. Requests that were released stay so.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from uuid import uuid4

import structlog
from confluent_kafka import Message
from pydantic import ValidationError

from schemas.incidents import IncidentData
from schemas.retraining import RetrainingData
from schemas.rollback import FollowUpData, RollbackData
from streams.audit_reader import AuditReader
from streams.identity import content_digest
from streams.incident_evidence import Evidence, merge
from streams.incident_reasons import Noted
from streams.responder_ports import (
    Frozen,
    IncidentStore,
    IncidentStoreError,
    ModelName,
    frozen_id,
)
from streams.responder_service import Responder
from streams.responder_settling import OutputPlace
from streams.rollback_gate import without_retraining

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 500
"""Pieces of evidence in one call of the store."""


class RespondersRunningError(Exception):
    """The group has members: a rebuild would take away what they are at."""


@dataclass(slots=True)
class Read:
    """What the topics say of one model."""

    evidence: dict[str, Evidence] = field(default_factory=dict)
    said: list[Noted] = field(default_factory=list)
    released: list[Frozen] = field(default_factory=list)
    published: dict[str, str] = field(default_factory=dict)
    """By `Outlet` key the digest of what stands there and rests on evidence that was read."""

    def take(self, evidence: Evidence) -> None:
        """Merge a record's evidence in."""
        before = self.evidence.get(evidence.evidence_id)
        now = evidence if before is None else merge(before, evidence)
        self.evidence[evidence.evidence_id] = now


class Rebuilt(NamedTuple):
    """What a rebuild found."""

    n_records: int
    n_models: int
    n_evidence: int
    n_refused: int


async def rebuild(responder: Responder) -> Rebuilt:
    """Rebuild. Raises `RespondersRunningError`, `LogError`, `KafkaException`, store errors."""
    n_members = await asyncio.to_thread(responder.probe.n_members)
    if n_members:
        raise RespondersRunningError(
            f"the group {responder.group} has {n_members} members: stop every responder first; one "
            "that was killed is a member until its session is over"
        )
    models, ends, n_records = await asyncio.to_thread(_read, responder)
    begins = await asyncio.to_thread(responder.probe.begins)
    await asyncio.to_thread(responder.probe.commit, begins)
    await responder.store.wipe(uuid4().hex)
    for model, read in sorted(models.items()):
        await fill(responder.store, model, read, uuid4().hex)
    await asyncio.to_thread(responder.probe.commit, ends)
    # Two looks: what the first one sees is settled at the second, if it is not at once.
    for _ in range(2):
        await responder.settle()
    await responder.desk.sweep()
    return Rebuilt(
        n_records,
        len(models),
        sum(len(each.evidence) for each in models.values()),
        responder.intake.n_refused.total(),
    )


async def fill(store: IncidentStore, model: ModelName, read: Read, writer: str) -> None:
    """Put what was read of a model into a store that holds nothing of it."""
    evidence = list(read.evidence.values())
    version = 0
    for start in range(0, max(1, len(evidence)), _AT_ONCE):
        said = read.said if start == 0 else []
        if not await store.write(model, version, evidence[start : start + _AT_ONCE], said):
            raise IncidentStoreError(f"somebody else writes of {model} during the rebuild")
        version = (await store.read(model)).version
    for request in sorted(read.released, key=_order):
        await store.release(model, request)
    if read.published:
        if not await store.begin(model, version, list(read.published), writer):
            raise IncidentStoreError(f"somebody else writes of {model} during the rebuild")
        await store.settle(model, read.published, writer)


def _order(record: Frozen) -> tuple[int, str]:
    until_ms = record.window.until_ms if isinstance(record, RetrainingData) else 0
    return until_ms or 0, frozen_id(record)


def _read(responder: Responder) -> tuple[dict[ModelName, Read], dict[OutputPlace, int], int]:
    reader, intake, topics = responder.reader, responder.intake, responder.settings.topics
    models: defaultdict[ModelName, Read] = defaultdict(Read)
    ends: dict[OutputPlace, int] = {}
    n_records = 0
    for topic in intake.readers:
        starts, stops = reader.range_of(topic)
        ends |= {(topic, partition): stop for partition, stop in stops.items()}
        for message in reader.messages(topic, starts, stops):
            n_records += 1
            found = intake.evidence(topic, *_place(message), _value(message))
            if found is not None:
                models[ModelName(found.deployment, found.model_id)].take(found)
    for message in reader.messages(topics.commands, *reader.range_of(topics.commands)):
        partition, offset = _place(message)
        word = (
            intake.word(offset, _value(message), message.timestamp()[1]) if partition == 0 else None
        )
        if word is not None:
            models[word.model].said.append(word.said)
    for key, value in _latest(reader, topics.incidents):
        take_incident(models, key, value)
    for key, value in _latest(reader, topics.retraining):
        take_request(models, key, value)
    for key, value in _latest(reader, topics.followup):
        take_followup(models, key, value)
    for key, value in _latest(reader, topics.rollback):
        take_rollback(models, key, value)
    return dict(models), ends, n_records


def take_incident(models: Mapping[ModelName, Read], key: str, value: bytes) -> None:
    """Note an incident that stands on its topic, if evidence of it was read."""
    try:
        incident = IncidentData.model_validate_json(value)
    except ValidationError:
        log.warning("a record on the incidents topic is none and is left as it is", key=key[:100])
        return
    read = models[ModelName(incident.deployment, incident.model_id)]
    if any(each.evidence_id in read.evidence for each in incident.evidence):
        read.published[f"incident/{key}"] = content_digest(value)


def take_request(models: Mapping[ModelName, Read], key: str, value: bytes) -> None:
    """Note a request that stands on its topic: one that was released, or that rests on evidence."""
    try:
        request = RetrainingData.model_validate_json(value)
    except ValidationError:
        log.warning("a record on the retraining topic is none and is left as it is", key=key[:100])
        return
    read = models[ModelName(request.deployment, request.model_id)]
    if request.status == "released":
        read.released.append(request)
    elif not any(each in read.evidence for each in request.evidence_ids):
        return
    read.published[f"retraining/{key}"] = content_digest(value)


def take_followup(models: Mapping[ModelName, Read], key: str, value: bytes) -> None:
    """Note a follow-up that stands on its topic: one that is told stays so."""
    try:
        followup = FollowUpData.model_validate_json(value)
    except ValidationError:
        log.warning("a record on the follow-up topic is none and is left as it is", key=key[:100])
        return
    read = models[ModelName(followup.deployment, followup.model_id)]
    if followup.status == "told":
        read.released.append(without_retraining(followup))
        read.published[f"followup/{key}"] = content_digest(value)


def take_rollback(models: Mapping[ModelName, Read], key: str, value: bytes) -> None:
    """Note a rollback request that stands on its topic: it follows from its follow-up again."""
    try:
        request = RollbackData.model_validate_json(value)
    except ValidationError:
        log.warning("a record on the rollback topic is none and is left as it is", key=key[:100])
        return
    read = models[ModelName(request.deployment, request.model_id)]
    if request.status == "released":
        read.released.append(request)
    elif not any(frozen_id(each) == request.followup_id for each in read.released):
        return
    read.published[f"rollback/{key}"] = content_digest(value)


def _latest(reader: AuditReader, topic: str) -> Iterator[tuple[str, bytes]]:
    """What compaction would leave of a topic."""
    found: dict[bytes, bytes | None] = {}
    for message in reader.messages(topic, *reader.range_of(topic)):
        key = message.key()
        if isinstance(key, bytes):
            found[key] = _value(message)
    for name, value in sorted(found.items()):
        if value is not None:
            yield name.decode("utf-8", "replace"), value


def _place(message: Message) -> tuple[int, int]:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def _value(message: Message) -> bytes | None:
    value = message.value()
    return value.encode() if isinstance(value, str) else value
