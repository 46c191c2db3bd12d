"""What a command of a person asks of a cluster, and what it says to the responder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, TypeVar
from uuid import uuid4

import click
import orjson
from pydantic import BaseModel

from schemas.commands import CommandError
from schemas.printable import json_escaped
from schemas.responses import read_response
from streams.cli_options import EXIT_USAGE, fail, require_answer
from streams.config import Settings
from streams.incident_names import UnknownNameError, one_named
from streams.incident_reader import ReadTopic, kafka_topics, now
from streams.kafka_commands import send_command
from streams.kafka_properties import read_properties

_Form = TypeVar("_Form", bound=BaseModel)


class OfModel(Protocol):
    """A record of one model."""

    @property
    def deployment(self) -> str:
        """Whose model it is."""

    @property
    def model_id(self) -> str:
        """Its name."""


class ResponseCluster:
    """Topics of the responder, read anew for each question. `read` stands in for Kafka in tests.

    Raises `Failure` for what a person typed wrong, and where no broker answers; `AlertsError` where
    a topic cannot be read.
    """

    def __init__(self, settings: Settings, read: ReadTopic | None = None) -> None:
        self._properties: Final = read_properties(settings.kafka)
        self._bootstrap_servers: Final = settings.bootstrap_servers
        self.topics: Final = settings.topics
        if read is None:
            require_answer(settings)
            read = kafka_topics(self._bootstrap_servers, self._properties)
        self.read: Final = read

    def records_now(
        self, topic: str, form: type[_Form], name_of: Callable[[_Form], str]
    ) -> dict[str, _Form]:
        """Every record of a compacted topic as it is now, by its id.

        What else stands on the topic is said aloud.
        """
        found, n_others = now(self.read(topic), form, name_of)
        if n_others:
            what = "record is" if n_others == 1 else "records are"
            click.echo(
                f"driftsentry: {n_others:,} {what} of another form on {topic}, and passed over: "
                "find out who else writes to it, or whether this program is older than the "
                "responder",
                err=True,
            )
        return found

    def one_of(self, typed: str, known: Mapping[str, _Form], what: str) -> _Form:
        """The one that a person means; `what` says of what kind they are."""
        try:
            return one_named(typed, known, what)
        except UnknownNameError as error:
            raise fail(str(error)) from None

    def send(self, kind: str, about: OfModel, by: str, reason: str, **more: object) -> str:
        """Check what a person says of a model, send it, and give its id."""
        command_id = f"{kind.replace('_', '-')}-{uuid4().hex[:12]}"
        value = orjson.dumps(
            {
                "kind": kind,
                "command_id": command_id,
                "deployment": about.deployment,
                "model_id": about.model_id,
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
            self._bootstrap_servers,
            self.topics.commands,
            about.model_id.encode(),
            value,
            kafka_properties=self._properties,
        )
        return command_id


def json_line(record: BaseModel) -> str:
    """A record as one line of JSON that does nothing to a terminal."""
    return json_escaped(orjson.dumps(record.model_dump(mode="json")).decode())
