"""A partition's unbroken fold: its identity, what its commits carry, what its journal holds.

Commit metadata is small JSON (at most 1 KB of the broker's 4) that says what the offset means. The
journal holds whatever changed the fold other than events, written in the transaction in which it
takes effect, so that a replay can do the same at the same offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from detectors.reference_document import monitor_of
from detectors.security.calibration_document import calibration_of, is_of_this_release
from schemas.batch import ModelKey
from schemas.calibration import BadCalibrationError
from schemas.commands import Order, SetCalibration, SetReference
from schemas.config import DetectionConfig
from schemas.reference import BadReferenceError
from streams.identity import lineage_id

MAX_METADATA_BYTES: Final = 1_024


class LineageError(ValueError):
    """Commit metadata or a journal record cannot be read."""


class Lineage(BaseModel):
    """Where a fold began. `parent` is the lineage it replaced, "" for none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    deployment: str
    duty: Literal["drift", "security"] = "drift"
    topic_id: str
    partition: int
    start_offset: int
    n_resets: int = 0
    parent: str = ""

    @property
    def id(self) -> str:
        """The lineage's identity, part of every alert's."""
        return lineage_id(
            self.deployment,
            self.duty,
            self.topic_id,
            self.partition,
            self.start_offset,
            self.n_resets,
        )


class CommandPlace(NamedTuple):
    """A place on the commands topic up to which everything is done, or does not matter."""

    topic_id: str = ""
    offset: int = -1


class Metadata(BaseModel):
    """What a commit says of the state at its offset."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    v: Literal[1] = 1
    lineage: Lineage
    generation: int
    config: str = Field(description="Identity of the detection config in force.")
    config_from: int = Field(description="The offset from which it is in force.")
    n_events: int
    n_alerts: int = Field(
        description="The last `seq` on the alerts topic; of anomalies for that duty."
    )
    n_dead: int = Field(description="The last `seq` on the dead-letter topic.")
    checkpoint: int = Field(
        description="Offset of the latest checkpoint made; -1 before the first."
    )
    n_commands: int = Field(default=0, description="How many commands have taken effect.")
    heard: CommandPlace = Field(
        default=CommandPlace(), description="How far it has listened to commands."
    )
    digest: str = Field(description="State digest at `digest_offset`; empty before the first.")
    digest_offset: int

    def dump(self) -> str:
        """The metadata of a commit. Raises `LineageError` past 1 KB, which no field can reach."""
        text = self.model_dump_json()
        if len(text) > MAX_METADATA_BYTES:
            raise LineageError(f"commit metadata of {len(text)} bytes; the limit is 1,024")
        return text


def load_metadata(text: str) -> Metadata | None:
    """The metadata of a commit; None where there is none (a tool reset the offset).

    Raises `LineageError` where there is some that this version cannot read.
    """
    if not text:
        return None
    try:
        return Metadata.model_validate_json(text)
    except ValidationError as error:
        raise LineageError(
            f"the commit's metadata is not driftsentry's, or of a newer version: {error}"
        ) from None


class JournaledCommand(BaseModel):
    """What a person said, or the end of it, as it took effect in one lineage."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    number: int = Field(description="1 for the first of the lineage.")
    topic_id: str = Field(description="The commands topic; empty where a worker said it.")
    offset: int = Field(description="Its place there; -1 likewise.")
    said_ms: int = Field(description="Its record's timestamp; else the time of the latest event.")
    order: Annotated[Order, Field(discriminator="kind")]


class JournalEntry(BaseModel):
    """One change of the fold other than an event, in force from `offset` on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: Literal[1] = 1
    kind: Literal["lineage", "config", "reset", "command"]
    lineage: Lineage
    offset: int
    generation: int
    config: str
    source_key: str | None = Field(default=None, description="Fingerprint of the source key.")
    versions: dict[str, int]
    document: DetectionConfig | None = Field(
        default=None, description="The whole detection config; null where a command is journaled."
    )
    command: JournaledCommand | None = Field(
        default=None, description="The command, in a record of that kind."
    )
    follows: int = Field(
        default=0, description="Generation that was in force before a change of config."
    )
    reason: str = ""
    n_partitions: int = Field(
        default=0, description="Partitions of the topic when the lineage began; 0 elsewhere."
    )

    @model_validator(mode="after")
    def _holds_what_it_is_of(self) -> Self:
        if (self.command is None) != (self.kind != "command"):
            raise ValueError("a command stands in a record of that kind, and in no other")
        if self.document is None and self.command is None:
            raise ValueError("a record of a config holds the config")
        return self

    def dump(self) -> bytes:
        """The value of the journal record."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)


def once_each(entries: Sequence[JournalEntry]) -> list[JournalEntry]:
    """The entries, of a command that was journaled again one alone.

    Without transactions whoever wrote one may have ended before the commit: of the last command the
    last entry counts. Of each one before it that does which whoever journaled the next command
    knew, the last one in front of that: what comes behind it is of somebody thought dead.
    """
    wanted = sorted({e.command.number for e in entries if e.command is not None})
    kept: list[JournalEntry] = []
    for entry in reversed(entries):
        if entry.command is None:
            kept.append(entry)
        elif wanted and entry.command.number == wanted[-1]:
            kept.append(entry)
            wanted.pop()
    return kept[::-1]


def load_journal(values: list[bytes]) -> list[JournalEntry]:
    """The journal of one partition. Raises `LineageError` at a record that cannot be read."""
    entries: list[JournalEntry] = []
    for value in values:
        try:
            document: Any = orjson.loads(value)
            entry = JournalEntry.model_validate(document)
            order = None if entry.command is None else entry.command.order
            if isinstance(order, SetReference):
                monitor_of(order.document, ModelKey(order.model_id, order.model_version))
            # One of another release was in force there alone: its state is never gone on with.
            elif isinstance(order, SetCalibration) and is_of_this_release(order.document):
                calibration_of(order.document)
        except (
            orjson.JSONDecodeError,
            ValidationError,
            BadReferenceError,
            BadCalibrationError,
        ) as error:
            raise LineageError(f"a journal record cannot be read: {error}") from None
        entries.append(entry)
    return entries
