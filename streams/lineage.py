"""A partition's unbroken fold: its identity, what its commits carry, what its journal holds.

Commit metadata is small JSON (at most 1 KB of the broker's 4) that says what the offset means. The
journal holds whatever changed the fold other than events, written in the transaction in which it
takes effect, so that a replay can do the same at the same offset.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from schemas.config import DetectionConfig
from streams.identity import lineage_id

MAX_METADATA_BYTES: Final = 1_024


class LineageError(ValueError):
    """Commit metadata or a journal record cannot be read."""


class Lineage(BaseModel):
    """Where a fold began. `parent` is the lineage it replaced, "" for none."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    deployment: str
    duty: Literal["drift"] = "drift"
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


class Metadata(BaseModel):
    """What a commit says of the state at its offset."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    v: Literal[1] = 1
    lineage: Lineage
    generation: int
    config: str = Field(description="Identity of the detection config in force.")
    config_from: int = Field(description="The offset from which it is in force.")
    n_events: int
    n_alerts: int = Field(description="The last `seq` on the alerts topic.")
    n_dead: int = Field(description="The last `seq` on the dead-letter topic.")
    checkpoint: int = Field(
        description="Offset of the latest checkpoint made; -1 before the first."
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


class JournalEntry(BaseModel):
    """One change of the fold other than an event, in force from `offset` on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    v: Literal[1] = 1
    kind: Literal["lineage", "config", "reset"]
    lineage: Lineage
    offset: int
    generation: int
    config: str
    source_key: str | None = Field(default=None, description="Fingerprint of the source key.")
    versions: dict[str, int]
    document: DetectionConfig = Field(description="The whole detection config.")
    follows: int = Field(
        default=0, description="Generation that was in force before a change of config."
    )
    reason: str = ""
    n_partitions: int = Field(
        default=0, description="Partitions of the topic when the lineage began; 0 elsewhere."
    )

    def dump(self) -> bytes:
        """The value of the journal record."""
        return orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)


def load_journal(values: list[bytes]) -> list[JournalEntry]:
    """The journal of one partition. Raises `LineageError` at a record that cannot be read."""
    entries: list[JournalEntry] = []
    for value in values:
        try:
            document: Any = orjson.loads(value)
            entries.append(JournalEntry.model_validate(document))
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise LineageError(f"a journal record cannot be read: {error}") from None
    return entries
