"""What the responder needs of the world: a store that every responder shares, and a topic.

The methods that stand between two responders are compare-and-set, or touch what is one's own.
`streams/responder_memory.py` keeps all of it in memory; the real ones are Redis and Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from schemas.retraining import CleanWindow, QuarantinePart, RetrainingData
from streams.incident_evidence import Evidence
from streams.incident_reasons import Said
from streams.retraining_gate import WindowFacts

Headers = tuple[tuple[str, bytes], ...]


UNKNOWN: Final = "?"
"""Somebody writes the record just now, or has died of it, or two have written at once."""


class ModelName(NamedTuple):
    """Whose evidence is kept together; `model_id` is empty of what is about a partition."""

    deployment: str
    model_id: str


class Flight(NamedTuple):
    """A record that a responder may be about to write, as far as the store knows."""

    key: str
    writer: str
    is_alone: bool
    """No other flight of the key has been under way since this one began."""
    is_expired: bool = False
    """The writer has had its time: what it has not written by now it will not write any more."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a model. `version` grows with each change of evidence or of what was said."""

    version: int = 0
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    said: Sequence[Said] = ()
    published: Mapping[str, str] = field(default_factory=dict)
    """By `Outlet` key the digest of its latest record there, or `UNKNOWN`."""
    released: Sequence[RetrainingData] = ()
    """Requests that were released: they never change any more. In the order of their release."""
    flights: Sequence[Flight] = ()


class IncidentStore(Protocol):
    """Evidence and what was published of it, shared by all responders of a deployment."""

    async def read(self, model: ModelName) -> Kept:
        """All of a model, as it was at one moment."""

    async def write(
        self,
        model: ModelName,
        version: int,
        evidence: Sequence[Evidence],
        said: Sequence[Said],
    ) -> bool:
        """Replace this evidence and add what was said where the version is still this one.

        False, and nothing is changed, where another responder has been faster.
        """

    async def begin(self, model: ModelName, keys: Sequence[str], writer: str) -> None:
        """Note that this writer is about to write records of these keys: they are `UNKNOWN` now.

        Its flights are alone but for those of others that are under way, which are not alone any
        more either. Expired ones are forgotten.
        """

    async def settle(
        self,
        model: ModelName,
        digests: Mapping[str, str | None],
        writer: str,
    ) -> None:
        """End this writer's flights, and note what it has written: None for a key that is gone.

        What a flight wrote that was not alone, or is forgotten, stays `UNKNOWN`: another record may
        lie behind it.
        """

    async def models(self) -> list[ModelName]:
        """Every model of which anything is kept, sorted."""

    async def watermark(self, model: ModelName) -> int | None:
        """Up to which event time, in epoch ms, all that was said of the model has been read."""

    async def settled(self) -> Mapping[int, int]:
        """By input partition the first offset that not every duty has folded and been read of."""

    async def release(self, model: ModelName, request: RetrainingData) -> RetrainingData:
        """Keep a released request for ever, unless one of its name is kept: the one that is kept.

        The version of the model stays: other responders find it in `Kept.released`.
        """


class Outlet(Protocol):
    """Where incidents and requests go: a compacted topic for each kind.

    A key is `KIND/ID`; the record's own key is the ID.
    """

    async def publish(self, key: str, value: bytes | None, headers: Headers) -> None:
        """Write one record, and return when brokers have it; without a value the key is gone.

        Raises what the client raises; whether the record was written is then not known.
        """


class EventWindows(Protocol):
    """What the responder reads of the events' topic."""

    async def facts(
        self,
        model: ModelName,
        version: str,
        window: CleanWindow,
        quarantine: Sequence[QuarantinePart],
    ) -> WindowFacts:
        """What the events of a settled window say; the same each time."""
