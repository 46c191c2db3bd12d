"""What the responder needs of the world: a store that every responder shares, and a topic.

The methods that stand between two responders are compare-and-set, or touch what is one's own.
`streams/responder_memory.py` keeps all of it in memory; the real ones are Redis
(`streams/responder_redis.py`) and Kafka.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeVar

from schemas.retraining import CleanWindow, QuarantinePart, RetrainingData
from schemas.rollback import FollowUpData, RollbackData
from streams.incident_evidence import Evidence
from streams.incident_reasons import Noted
from streams.ports import LogError
from streams.retraining_gate import WindowFacts

if TYPE_CHECKING:
    # It loads the detectors, which not everybody who asks for incidents needs.
    from streams.version_facts import VersionTally

Headers = tuple[tuple[str, bytes], ...]
Frozen = RetrainingData | RollbackData | FollowUpData
"""What never changes once it is kept: released requests, and what was found of a version."""
AnyFrozen = TypeVar("AnyFrozen", bound=Frozen)


def frozen_id(record: Frozen) -> str:
    """Its name."""
    return record.followup_id if isinstance(record, FollowUpData) else record.request_id


UNKNOWN: Final = "?"
"""Somebody writes the record just now, or has died of it, or two have written at once."""


class IncidentStoreError(Exception):
    """The store could not be reached, or refused. What was asked of it may be done, or not.

    Whoever gets it acknowledges nothing: the same again is as once.
    """


class StoreLostError(IncidentStoreError):
    """What was kept is gone, or was made anew by somebody else: begin again where that is known."""


class UnreadableStoreError(IncidentStoreError):
    """What is kept was not written by this program, or by another release of it."""


class ModelName(NamedTuple):
    """Whose evidence is kept together; `model_id` is empty of what is about a partition."""

    deployment: str
    model_id: str


class InputPartition(NamedTuple):
    """A partition of the events that a deployment reads, as evidence names it."""

    deployment: str
    partition: int


class FoldPlace(NamedTuple):
    """A partition of the events, and the fold of it by the duty that raises alerts.

    A topic that is made anew has the same partitions and offsets that begin again: only the lineage
    tells its events from those of the former one.
    """

    partition: int
    lineage: str


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
    said: Sequence[Noted] = ()
    """What people said, and where versions begin."""
    published: Mapping[str, str] = field(default_factory=dict)
    """By `Outlet` key the digest of its latest record there, or `UNKNOWN`."""
    released: Sequence[Frozen] = ()
    """What never changes any more. In the order in which it was kept."""
    flights: Sequence[Flight] = ()
    forgotten_ms: int | None = None
    """Event time of the last word of what has been forgotten. What comes now and is no younger is
    of that, or later than anybody waits for: it is not taken in."""


class Forgotten(NamedTuple):
    """What is to be forgotten of a model."""

    digests: Mapping[str, str]
    """By `Outlet` key the digest of its latest record, which the topic must have."""
    evidence_ids: Sequence[str]
    said: Sequence[Noted]
    last_ms: int | None
    """Event time of the last word in it; None where no evidence is forgotten."""
    request_ids: Sequence[str] = ()
    """Names of `Kept.released` that are of it."""


class Read(NamedTuple):
    """What was known of a model when it was decided that something is released."""

    version: int
    n_released: int


class IncidentStore(Protocol):
    """Evidence and what was published of it, shared by all responders of a deployment.

    Every method may raise `IncidentStoreError`.
    """

    async def start(self, epoch: str) -> str:
        """Give the store this name, unless it has one; the name that it has.

        From then on every other method raises `StoreLostError` where the name is another, or none:
        somebody has emptied the store, and what was acknowledged is not in it any more.
        """

    async def epoch(self) -> str | None:
        """The store's name; None where it was never started, or has been lost since.

        A responder that finds none, and whose group has committed offsets, has to begin again.
        """

    async def wipe(self, epoch: str) -> None:
        """Forget everything, and go by this name, as after `start`. For a rebuild."""

    async def read(self, model: ModelName) -> Kept:
        """All of a model, as it was at one moment."""

    async def write(
        self,
        model: ModelName,
        version: int,
        evidence: Sequence[Evidence],
        said: Sequence[Noted],
    ) -> bool:
        """Replace this evidence and add what was said where the version is still this one.

        False, and nothing is changed, where another responder has been faster.
        """

    async def begin(self, model: ModelName, version: int, keys: Sequence[str], writer: str) -> bool:
        """Note that this writer is about to write records of these keys: they are `UNKNOWN` now.

        Its flights are alone but for those of others that are under way, which are not alone any
        more either. Expired ones are forgotten.

        False, and nothing is changed, where nothing is kept of the model, or the version is not
        this one any more: what the records were made of may be forgotten by now, and nobody could
        put them right.
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

    async def forget(self, model: ModelName, version: int, what: Forgotten) -> bool:
        """Drop evidence, what was said and released, and that records were published.

        Those stay on their topics.

        False, and nothing is changed, where the version is not this one any more, or the topic has
        not, or perhaps not, the records that it must have.
        """

    async def models(self) -> list[ModelName]:
        """Every model of which anything is kept, sorted."""

    async def raise_watermarks(self, watermarks: Mapping[InputPartition, int]) -> None:
        """Note up to which event time, in epoch ms, all that is said of a partition has been read.

        That is: everybody who folds it has committed past the events of this time, and all that
        they wrote before those commits has been taken in. A watermark never goes back.
        """

    async def watermark(self, model: ModelName) -> int | None:
        """Up to which event time, in epoch ms, all that was said of the model has been read.

        The least watermark of the partitions that its evidence names; None where one of them has
        none, or there is no evidence. What is said of a model in a partition of which nothing is
        known yet is not waited for.
        """

    async def furthest(self, deployment: str) -> int | None:
        """The greatest watermark of the deployment's partitions; None where none has one."""

    async def raise_settled(self, offsets: Mapping[FoldPlace, int]) -> None:
        """Note offsets of `settled`; none goes back."""

    async def settled(self) -> Mapping[FoldPlace, int]:
        """By partition and fold the first offset that not every duty has folded and been read."""

    async def raise_scanned(self, offsets: Mapping[FoldPlace, int]) -> None:
        """Note offsets of `scanned`; none goes back."""

    async def scanned(self) -> Mapping[FoldPlace, int]:
        """By partition and fold up to where versions that begin have been looked for, and noted."""

    async def release(self, model: ModelName, request: AnyFrozen) -> AnyFrozen:
        """Keep what never changes any more, unless one of its name is kept: the one that is kept.

        The version of the model stays: other responders find it in `Kept.released`.
        """

    async def release_as_read(
        self, model: ModelName, request: AnyFrozen, read: Read
    ) -> AnyFrozen | None:
        """The same; None, and nothing is kept, where the model is not any more as it was read."""


class Outlet(Protocol):
    """Where incidents and requests go: a compacted topic for each kind.

    A key is `KIND/ID`; the record's own key is the ID.
    """

    async def publish(self, key: str, value: bytes | None, headers: Headers) -> None:
        """Write one record, and return when brokers have it; without a value the key is gone.

        Raises what the client raises; whether the record was written is then not known.
        """


class WindowGoneError(LogError):
    """Retention has removed events of the window: it can never be read again."""


class EventWindows(Protocol):
    """What the responder reads of the events' topic."""

    async def facts(
        self,
        model: ModelName,
        version: str,
        window: CleanWindow,
        quarantine: Sequence[QuarantinePart],
    ) -> WindowFacts | None:
        """What the events of a settled window say; the same each time.

        None where nobody here can tell which of them are in quarantine. Raises `WindowGoneError`
        where the topic does not have all of them any more.
        """


class VersionWindows(Protocol):
    """What the responder reads of a model's versions."""

    async def tallies(
        self,
        model: ModelName,
        window: CleanWindow,
        lineages: Mapping[int, str],
        new: str,
        old: str | None,
    ) -> Mapping[str, VersionTally] | None:
        """By version what the events of a settled window say; the same each time.

        `lineages` are those that its offsets are of, by partition.

        Of the new version, and of `old`, or else of the other one with most predictions; of those
        that have any. None where the topic does not have all of the events any more. Raises
        `streams.window_reader.WindowError` where it does not have them yet.
        """
