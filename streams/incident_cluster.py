"""What `driftsentry incident` asks of a cluster, and what it says to the responder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, TypeVar
from uuid import uuid4

import click
import orjson
from pydantic import BaseModel

from schemas.commands import CommandError
from schemas.incidents import EvidencePlace, IncidentData
from schemas.printable import json_escaped, masked
from schemas.responses import read_response
from schemas.retraining import RetrainingData
from streams.cli_options import EXIT_DECISION, EXIT_USAGE, fail
from streams.config import Settings
from streams.incident_evidence import Evidence
from streams.incident_names import UnknownNameError, incident_named, one_named
from streams.incident_reader import (
    OpenedEvidence,
    Openings,
    ReadTopic,
    incidents_now,
    kafka_topics,
    open_evidence,
    requests_now,
)
from streams.incident_view import SHORT
from streams.kafka_commands import send_command
from streams.kafka_properties import read_properties

_Form = TypeVar("_Form", bound=BaseModel)


class IncidentCluster:
    """Topics with incidents, read anew for each question. `read` stands in for Kafka in tests.

    Raises `Failure` for what a person typed wrong, `AlertsError` where a topic cannot be read.
    """

    def __init__(self, settings: Settings, read: ReadTopic | None = None) -> None:
        self._settings: Final = settings
        self._properties: Final = read_properties(settings.kafka)
        self._read: Final = read or kafka_topics(settings.bootstrap_servers, self._properties)

    def incidents(self) -> dict[str, IncidentData]:
        """Every incident as it is now, by its id."""
        topic = self._settings.topics.incidents
        return without_others(topic, *incidents_now(self._read(topic)))

    def requests(self) -> dict[str, RetrainingData]:
        """Every retraining request as it is now, by its id."""
        topic = self._settings.topics.retraining
        return without_others(topic, *requests_now(self._read(topic)))

    def incident(self, typed: str) -> IncidentData:
        """The one that a person means."""
        try:
            return incident_named(typed, self.incidents().values())
        except UnknownNameError as error:
            raise fail(str(error)) from None

    def request(self, typed: str) -> RetrainingData:
        """The one that a person means."""
        try:
            return one_named(typed, self.requests(), "request")
        except UnknownNameError as error:
            raise fail(str(error)) from None

    def open(self, places: Collection[EvidencePlace]) -> OpenedEvidence:
        """The evidence at these places."""
        topics = self._settings.topics
        return open_evidence(
            places,
            self._read,
            {"alert": topics.alerts, "anomaly": topics.anomalies, "liveness": topics.liveness},
        )

    def openings(self, by: str) -> Openings:
        """What this person was shown until now."""
        return Openings(self._read(self._settings.topics.commands), by)

    def require_opened(
        self, by: str, incidents: Sequence[IncidentData], revisions: Mapping[str, int]
    ) -> Openings:
        """What this person was shown.

        Refused, with exit code 3, where that is not each of these incidents, or not these pieces of
        their evidence, by id, or not in these revisions.
        """
        openings = self.openings(by)
        unseen = [each.incident_id for each in incidents if not openings.covers(each, revisions)]
        if unseen:
            commands = ", ".join(f"`driftsentry incident show {each[:SHORT]}`" for each in unseen)
            raise fail(
                masked(
                    f"{by} has not opened all of the evidence as it is now: look at it with "
                    f"{commands}, or say --unseen, which stands in the record for all to read"
                ),
                EXIT_DECISION,
            )
        return openings

    def say(
        self, kind: str, incident: IncidentData, by: str, reason: str = "", **more: object
    ) -> str:
        """Check what a person says of an incident, send it, and give its id."""
        command_id = f"{kind}-{uuid4().hex[:12]}"
        value = orjson.dumps(
            {
                "kind": kind,
                "command_id": command_id,
                "deployment": incident.deployment,
                "model_id": incident.model_id,
                "incident_id": incident.incident_id,
                "by": by,
                "reason": reason,
                **more,
            }
        )
        try:
            read_response(value)
        except CommandError as error:
            raise fail(str(error), EXIT_USAGE) from None
        send_command(
            self._settings.bootstrap_servers,
            self._settings.topics.commands,
            incident.model_id.encode(),
            value,
            kafka_properties=self._properties,
        )
        return command_id


def json_line(record: BaseModel) -> str:
    """A record as one line of JSON that does nothing to a terminal."""
    return json_escaped(orjson.dumps(record.model_dump(mode="json")).decode())


def shown_as_json(incident: IncidentData, opened: OpenedEvidence) -> str:
    """An incident with the records of its evidence, as one line of JSON."""
    evidence = [
        {
            "evidence_id": each.evidence_id,
            "kind": each.kind,
            "record": _record(opened.found.get(each.evidence_id)),
            "missing": opened.missing.get(each.evidence_id),
        }
        for each in incident.evidence
    ]
    document = {"incident": incident.model_dump(mode="json"), "evidence": evidence}
    return json_escaped(orjson.dumps(document).decode())


def _record(evidence: Evidence | None) -> dict[str, object] | None:
    if evidence is None:
        return None
    if evidence.anomaly is not None:
        return evidence.anomaly.as_ocsf()
    record = evidence.alert or evidence.silence
    assert record is not None
    return record.model_dump(mode="json")


def without_others(topic: str, found: dict[str, _Form], n_others: int) -> dict[str, _Form]:
    """What was found; what else stands on the topic is said aloud."""
    if n_others:
        what = "record is" if n_others == 1 else "records are"
        click.echo(
            f"driftsentry: {n_others:,} {what} of another form on {topic}, and passed over: find "
            "out who else writes to it, or whether this program is older than the responder",
            err=True,
        )
    return found
