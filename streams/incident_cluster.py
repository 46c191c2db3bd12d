"""What `driftsentry incident` asks of a cluster, and what it says to the responder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import orjson

from schemas.incidents import EvidencePlace, IncidentData
from schemas.printable import json_escaped, masked
from schemas.retraining import RetrainingData
from streams.cli_options import EXIT_DECISION, fail
from streams.incident_evidence import Evidence
from streams.incident_names import UnknownNameError, incident_named
from streams.incident_reader import OpenedEvidence, Openings, model_of, open_evidence
from streams.incident_view import SHORT
from streams.response_cluster import ResponseCluster


class IncidentCluster(ResponseCluster):
    """Topics with incidents, retraining requests, and the evidence of both."""

    def incidents(self) -> dict[str, IncidentData]:
        """Every incident as it is now, by its id."""
        return self.records_now(self.topics.incidents, IncidentData, lambda each: each.incident_id)

    def requests(self) -> dict[str, RetrainingData]:
        """Every retraining request as it is now, by its id."""
        return self.records_now(
            self.topics.retraining, RetrainingData, lambda each: each.request_id
        )

    def incident(self, typed: str) -> IncidentData:
        """The one that a person means."""
        try:
            return incident_named(typed, self.incidents().values())
        except UnknownNameError as error:
            raise fail(str(error)) from None

    def request(self, typed: str) -> RetrainingData:
        """The one that a person means."""
        return self.one_of(typed, self.requests(), "request")

    def open(self, places: Collection[EvidencePlace]) -> OpenedEvidence:
        """The evidence at these places."""
        topics = self.topics
        return open_evidence(
            places,
            self.read,
            {"alert": topics.alerts, "anomaly": topics.anomalies, "liveness": topics.liveness},
        )

    def openings(self, by: str) -> Openings:
        """What this person was shown until now."""
        return Openings(self.read(self.topics.commands), by)

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

    def require_shown(
        self, by: str, incident: IncidentData, attacks: Collection[str], openings: Openings
    ) -> None:
        """Refuse, with exit code 3, what holds a request and this person was never shown.

        An incident names many anomalies, and not any number.
        """
        shown = openings.shown(model_of(incident))
        n_unseen = sum(each not in shown for each in attacks)
        if n_unseen:
            raise fail(
                masked(
                    f"{by} has not opened {n_unseen:,} of the {len(attacks):,} anomalies that hold "
                    "it, which no incident names: look for them with `driftsentry alerts "
                    "--anomalies --from-beginning --no-follow`, or say --unseen, which stands in "
                    "the record for all to read"
                ),
                EXIT_DECISION,
            )

    def say(
        self, kind: str, incident: IncidentData, by: str, reason: str = "", **more: object
    ) -> str:
        """Check what a person says of an incident, send it, and give its id."""
        return self.send(kind, incident, by, reason, incident_id=incident.incident_id, **more)


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
