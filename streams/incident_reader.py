"""Reads incidents, requests, their evidence and who looked at it, as any consumer may.

Every topic is read to its end, committed records only, outside every group. What others wrote to a
topic is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from schemas.commands import CommandError
from schemas.incidents import EvidenceKind, EvidencePlace, IncidentData
from schemas.responses import OpenEvidence, read_response
from streams.alert_reader import AlertsError, read_alerts
from streams.incident_evidence import (
    Evidence,
    EvidenceError,
    from_alert,
    from_anomaly,
    from_liveness,
    merged,
)
from streams.incident_names import names_of
from streams.kafka_properties import KafkaValue
from streams.responder_ports import ModelName

_Form = TypeVar("_Form", bound=BaseModel)


class TopicRecord(NamedTuple):
    """Key and value of one record; without a value its key is gone."""

    key: bytes
    value: bytes | None


ReadTopic = Callable[[str], Iterable[TopicRecord]]
"""All committed records of a topic, those of one key in their order. Raises `AlertsError`."""


@dataclass(frozen=True, slots=True)
class OpenedEvidence:
    """What was found of the evidence that an incident names."""

    found: Mapping[str, Evidence]
    """By evidence id, as its latest record says."""
    missing: Mapping[str, str]
    """By evidence id why it could not be shown."""


def kafka_topics(bootstrap_servers: str, kafka_properties: Mapping[str, KafkaValue]) -> ReadTopic:
    """The topics of this cluster."""
    return partial(_records, bootstrap_servers, kafka_properties)


def open_evidence(
    places: Collection[EvidencePlace], read: ReadTopic, topic_of: Mapping[EvidenceKind, str]
) -> OpenedEvidence:
    """The evidence at these places, from its topics; each topic is read once, if it has any."""
    found: dict[str, Evidence] = {}
    missing: dict[str, str] = {}
    for kind, topic in topic_of.items():
        wanted = {each.evidence_id: each for each in places if each.kind == kind}
        if not wanted:
            continue
        try:
            known = merged(_evidence(kind, read(topic), wanted))
        except AlertsError as error:
            missing |= dict.fromkeys(wanted, str(error))
            continue
        for name, place in wanted.items():
            if name in known and known[name].revision >= place.revision:
                found[name] = known[name]
            else:
                missing[name] = f"it is not on {topic}: retention may have removed it"
    return OpenedEvidence(found, missing)


class Openings:
    """What one person was shown of incidents, as the commands topic says; it is read once."""

    def __init__(self, records: Iterable[TopicRecord], by: str) -> None:
        self._words: Final = [each for each in _openings(records) if each.by == by]

    def has_opened(self, incident: IncidentData) -> bool:
        """Whether they were shown the evidence of this incident, or of what became part of it."""
        names = names_of(incident)
        return any(each.incident_id in names for each in self._of(model_of(incident)))

    def shown(self, model: ModelName) -> dict[str, int]:
        """The evidence of this model that they were shown: by id the highest revision."""
        shown: dict[str, int] = {}
        for each in self._of(model):
            for evidence_id, revision in each.evidence.items():
                shown[evidence_id] = max(revision, shown.get(evidence_id, 0))
        return shown

    def covers(self, incident: IncidentData, revisions: Mapping[str, int]) -> bool:
        """Whether they were shown the incident, and what it names of this in such revisions."""
        shown = self.shown(model_of(incident))
        own = {each.evidence_id for each in incident.evidence}.intersection(revisions)
        return self.has_opened(incident) and all(
            shown.get(each, 0) >= revisions[each] for each in own
        )

    def _of(self, model: ModelName) -> Iterator[OpenEvidence]:
        return (each for each in self._words if ModelName(each.deployment, each.model_id) == model)


def model_of(incident: IncidentData) -> ModelName:
    """The model that an incident is of."""
    return ModelName(incident.deployment, incident.model_id)


def _records(
    bootstrap_servers: str, kafka_properties: Mapping[str, KafkaValue], topic: str
) -> Iterator[TopicRecord]:
    for message in read_alerts(
        bootstrap_servers, topic, kafka_properties, from_beginning=True, follow=False
    ):
        key, value = message.key(), message.value()
        yield TopicRecord(
            key.encode() if isinstance(key, str) else key or b"",
            value.encode() if isinstance(value, str) else value,
        )


def now(
    records: Iterable[TopicRecord], form: type[_Form], name_of: Callable[[_Form], str]
) -> tuple[dict[str, _Form], int]:
    """Every record of a compacted topic by its name as it is now, and how many are none."""
    latest: dict[bytes, bytes] = {}
    for key, value in records:
        # Compaction may not have been here yet.
        if value is None:
            latest.pop(key, None)
        else:
            latest[key] = value
    found: dict[str, _Form] = {}
    for key, value in latest.items():
        try:
            each = form.model_validate_json(value)
        except ValidationError:
            continue
        # Under another key it would stand there twice, or go with another one's end.
        if name_of(each).encode() == key:
            found[name_of(each)] = each
    return found, len(latest) - len(found)


_PARSERS: Final[Mapping[EvidenceKind, Callable[[bytes], Evidence | None]]] = {
    "alert": from_alert,
    "anomaly": from_anomaly,
    "liveness": from_liveness,
}


def _evidence(
    kind: EvidenceKind, records: Iterable[TopicRecord], wanted: Collection[str]
) -> Iterator[Evidence]:
    # Of a silence the id is a hash that does not stand in its record.
    marks = [] if kind == "liveness" else [each.encode() for each in wanted]
    for _, value in records:
        if value is None or (marks and not any(mark in value for mark in marks)):
            continue
        try:
            each = _PARSERS[kind](value)
        except EvidenceError:
            continue
        if each is not None and each.evidence_id in wanted:
            yield each


def _openings(records: Iterable[TopicRecord]) -> Iterator[OpenEvidence]:
    for _, value in records:
        try:
            word = read_response(value)
        except CommandError:
            continue
        if isinstance(word, OpenEvidence):
            yield word
