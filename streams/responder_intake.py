"""From records to evidence and words: what is read, and what is passed over.

A record that is no alert, no anomaly, no silence, or that says nothing readable, is counted, said
once of each kind, and passed over. It does not go to the dead-letter topic: that one is of events,
and what stands on these topics was written by workers or by whoever else may write there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import structlog

from schemas.commands import CommandError
from schemas.printable import masked
from schemas.responses import (
    ApproveQuarantine,
    ApproveRollback,
    OpenRollback,
    OverruleIncident,
    read_response,
)
from streams.config import Topics
from streams.incident_evidence import (
    Evidence,
    EvidenceError,
    from_alert,
    from_anomaly,
    from_liveness,
)
from streams.incident_reasons import (
    Approval,
    Noted,
    Opening,
    Overruling,
    RollbackApproval,
    RollbackOpening,
)
from streams.responder_ports import ModelName

log = structlog.get_logger(__name__)

Reader = Callable[[bytes], Evidence | None]


class Word(NamedTuple):
    """What a person said, and of which model."""

    model: ModelName
    said: Noted


class Intake:
    """Reads records of the topics that a responder reads, and counts those that it cannot."""

    def __init__(self, topics: Topics) -> None:
        self._commands: Final = topics.commands
        self.readers: Final[Mapping[str, Reader]] = {
            topics.alerts: from_alert,
            topics.anomalies: from_anomaly,
            topics.liveness: from_liveness,
        }
        """By topic."""
        self.n_refused: Final[Counter[str]] = Counter()
        """By topic, since the start."""

    def evidence(
        self, topic: str, partition: int, offset: int, value: bytes | None
    ) -> Evidence | None:
        """What a record says; None where that is nothing, or nothing that can be read."""
        if value is None:
            self._refuse(topic, partition, offset, "the record has no value")
            return None
        try:
            return self.readers[topic](value)
        except EvidenceError as error:
            self._refuse(topic, partition, offset, str(error))
            return None

    def word(self, offset: int, value: bytes | None, timestamp_ms: int) -> Word | None:
        """What a record of the commands topic says to responders; its offset is its place."""
        said_ms = max(timestamp_ms, 0)
        try:
            response = read_response(value)
        except CommandError as error:
            self._refuse(self._commands, 0, offset, str(error))
            return None
        if response is None:
            return None
        model = ModelName(response.deployment, response.model_id)
        by, why = response.by, response.reason
        if isinstance(response, OverruleIncident):
            said: Noted = Overruling(
                offset,
                response.incident_id,
                response.verdict,
                by,
                why,
                tuple(sorted(response.evidence.items())),
                said_ms,
            )
        elif isinstance(response, ApproveQuarantine):
            said = Approval(
                offset,
                response.request_id,
                response.incident_id,
                by,
                why,
                response.revision,
                response.evidence_ids,
                said_ms,
            )
        elif isinstance(response, ApproveRollback):
            said = RollbackApproval(offset, response.request_id, by, why)
        elif isinstance(response, OpenRollback):
            said = RollbackOpening(offset, response.request_id, by)
        else:
            said = Opening(
                offset,
                response.incident_id,
                by,
                response.revision,
                tuple(sorted(response.evidence.items())),
                said_ms,
            )
        return Word(model, said)

    def _refuse(self, topic: str, partition: int, offset: int, reason: str) -> None:
        self.n_refused[topic] += 1
        if self.n_refused[topic] == 1:
            log.warning(
                "a record cannot be read and is passed over; more of this topic are only counted",
                topic=topic,
                partition=partition,
                offset=offset,
                reason=masked(reason),
            )
