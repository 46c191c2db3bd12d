"""What `driftsentry rollback` asks of a cluster, and what it says to the responder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import uuid4

import orjson

from schemas.commands import CommandError
from schemas.printable import masked
from schemas.responses import OpenRollback, read_response
from schemas.rollback import FollowUpData, RollbackData
from streams.cli_options import EXIT_DECISION, EXIT_USAGE, fail
from streams.config import Settings
from streams.incident_cluster import without_others
from streams.incident_names import UnknownNameError, one_named
from streams.incident_reader import ReadTopic, kafka_topics, now
from streams.incident_view import SHORT
from streams.kafka_commands import send_command
from streams.kafka_properties import read_properties


class RollbackCluster:
    """Topics with rollback requests and follow-ups, read anew for each question.

    `read` stands in for Kafka in tests. Raises `Failure` for what a person typed wrong,
    `AlertsError` where a topic cannot be read.
    """

    def __init__(self, settings: Settings, read: ReadTopic | None = None) -> None:
        self._settings: Final = settings
        self._properties: Final = read_properties(settings.kafka)
        self._read: Final = read or kafka_topics(settings.bootstrap_servers, self._properties)

    def requests(self) -> dict[str, RollbackData]:
        """Every rollback request as it is now, by its id."""
        topic = self._settings.topics.rollback
        found = now(self._read(topic), RollbackData, lambda each: each.request_id)
        return without_others(topic, *found)

    def followups(self) -> dict[str, FollowUpData]:
        """Every follow-up as it is now, by its id."""
        topic = self._settings.topics.followup
        found = now(self._read(topic), FollowUpData, lambda each: each.followup_id)
        return without_others(topic, *found)

    def request(self, typed: str) -> RollbackData:
        """The one that a person means."""
        try:
            return one_named(typed, self.requests(), "rollback")
        except UnknownNameError as error:
            raise fail(str(error)) from None

    def followup(self, typed: str) -> FollowUpData:
        """The one that a person means."""
        try:
            return one_named(typed, self.followups(), "follow-up")
        except UnknownNameError as error:
            raise fail(str(error)) from None

    def has_opened(self, by: str, request: RollbackData) -> bool:
        """Whether it is recorded that this person was shown what a request rests on."""
        return any(
            each.by == by and each.request_id == request.request_id for each in self._openings()
        )

    def require_opened(self, by: str, request: RollbackData) -> None:
        """Refuse, with exit code 3, where this person has not been shown it."""
        if not self.has_opened(by, request):
            raise fail(
                masked(
                    f"{by} has not looked at what it rests on: do it with `driftsentry rollback "
                    f"show {request.request_id[:SHORT]}`, or say --unseen, which stands in the "
                    "record for all to read"
                ),
                EXIT_DECISION,
            )

    def say(self, kind: str, request: RollbackData, by: str, reason: str = "") -> str:
        """Check what a person says of a request, send it, and give its id."""
        command_id = f"{kind.replace('_', '-')}-{uuid4().hex[:12]}"
        value = orjson.dumps(
            {
                "kind": kind,
                "command_id": command_id,
                "deployment": request.deployment,
                "model_id": request.model_id,
                "request_id": request.request_id,
                "by": by,
                "reason": reason,
            }
        )
        try:
            read_response(value)
        except CommandError as error:
            raise fail(str(error), EXIT_USAGE) from None
        send_command(
            self._settings.bootstrap_servers,
            self._settings.topics.commands,
            request.model_id.encode(),
            value,
            kafka_properties=self._properties,
        )
        return command_id

    def _openings(self) -> Iterator[OpenRollback]:
        for _, value in self._read(self._settings.topics.commands):
            try:
                word = read_response(value)
            except CommandError:
                continue
            if isinstance(word, OpenRollback):
                yield word
