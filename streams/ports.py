"""What the worker needs of the world: a log to read, a place to commit, a store for checkpoints.

The adapters are `streams/kafka_log.py`, `streams/kafka_commits.py`, `streams/redis_store.py`; the
in-memory ones (`streams/memory.py`) are product code and pass the same contract suites.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, Protocol

from schemas.records import Record, TopicPartition


class Output(NamedTuple):
    """One record to publish. `partition` -1 lets the key decide."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int


class Committed(NamedTuple):
    """What the group has committed for one partition; `metadata` is "" where there was none."""

    offset: int
    metadata: str


class Watermarks(NamedTuple):
    """The offsets that can be read: low is the first retained one, high the next to be written."""

    low: int
    high: int


class SaidRecord(NamedTuple):
    """One record of the commands topic, which has one partition."""

    topic_id: str
    offset: int
    timestamp_ms: int
    value: bytes | None


class CommitError(Exception):
    """A commit did not happen as asked. The subclass says what is known and what to do."""


class AbortedError(CommitError):
    """The transaction was aborted and the partitions are still ours: publish the same again."""


class OwnershipLostError(CommitError):
    """The group has moved on without us: nothing was published; drop the state and rejoin."""


class IndeterminateError(CommitError):
    """Nobody knows whether it was committed: reopen the producer, read `committed`, recover."""


class FencedError(CommitError):
    """Another process has taken this transactional id: this one must end."""


class RefusedError(CommitError):
    """Nothing was committed, and the same would be refused again: this process must end.

    A record or metadata too large, a topic that does not exist, a missing permission.
    """


class RebalanceListener(Protocol):
    """Called from inside `EventLog.poll`, on the polling thread."""

    def on_assigned(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Recover these partitions and say from which offset each is to be read.

        A partition that is left out of the answer is assigned paused at its committed offset.
        """
        ...

    def on_revoked(self, tps: Sequence[TopicPartition]) -> None:
        """Commit what these partitions have folded; they are another member's afterwards."""
        ...

    def on_lost(self, tps: Sequence[TopicPartition]) -> None:
        """Drop these partitions: they may be another member's already."""
        ...


class EventLog(Protocol):
    """The events topic, read as a member of a group. One thread owns it."""

    def subscribe(self, listener: RebalanceListener) -> None:
        """Join the group; the listener hears of assignments from inside `poll`."""
        ...

    def poll(self, max_records: int, timeout_s: float) -> Mapping[TopicPartition, Sequence[Record]]:
        """Fetch records of owned partitions, each partition's in offset order, without repeats.

        Records of a partition that is no longer owned, or whose offset lies before the next
        expected one, are dropped here. Raises `LogError` on an error that ends the worker.
        """
        ...

    def pause(self, tps: Iterable[TopicPartition]) -> None:
        """Stop delivering records of these partitions; they stay assigned."""
        ...

    def resume(self, tp: TopicPartition, offset: int) -> None:
        """Deliver this partition's records again, from `offset` on."""
        ...

    def close(self) -> None:
        """Leave the group (a static member keeps its place); the listener hears `on_revoked`."""
        ...


class LogError(Exception):
    """The log cannot go on: an authorisation, a fenced member, an offset out of range."""


class Commits(Protocol):
    """What goes out: outputs and consumed offsets as one, and what is known of the past."""

    exactly_once: bool
    """False: outputs first, then a plain commit (a crash between the two repeats outputs)."""

    def publish(
        self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        """Publish the outputs and commit the offsets with their metadata, all or nothing.

        Raises `AbortedError`, `OwnershipLostError`, `IndeterminateError` or `FencedError`.
        """
        ...

    def reopen(self) -> None:
        """Abandon the producer and open a new one, which ends any transaction of the old one."""
        ...

    def committed(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed | None]:
        """The group's stable commits; waits for a pending transaction to end."""
        ...

    def watermarks(self, tp: TopicPartition) -> Watermarks:
        """The partition's readable range now (high is the last stable offset)."""
        ...

    def topic_id(self, topic: str) -> str:
        """The topic's id, which changes when a topic is deleted and made again."""
        ...

    def n_partitions(self, topic: str) -> int:
        """How many partitions the topic has now."""
        ...

    def journal(self, tp: TopicPartition) -> list[bytes]:
        """Every committed journal record (its value) of this group and partition, in log order."""
        ...

    def close(self) -> None:
        """Abort what is open and close."""
        ...


class StoredManifest(NamedTuple):
    """A checkpoint's manifest as the store holds it: which lineage, up to where, the bytes."""

    lineage: str
    next_offset: int
    manifest: bytes


class StoreError(Exception):
    """A place of checkpoints could not be reached or refused; the fold goes on without it."""


class SaveResult(Enum):
    """What became of a checkpoint that was to be saved."""

    ACCEPTED = "accepted"
    """It is the partition's newest checkpoint now."""
    REFUSED = "refused"
    """Another checkpoint is further, or of a lineage that this one does not replace."""
    MISSING = "missing"
    """A segment that was taken for stored is not: save again with all segments."""


class CheckpointPlace(Protocol):
    """Where checkpoints can be read: the store, the spool on disk, the checkpoints topic.

    A cache of what the log can give again, never an authority; what it gives is untrusted. Every
    method raises `StoreError` when the place cannot be reached, and nothing else.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def manifests(self, tp: TopicPartition) -> list[StoredManifest]:
        """The kept manifests of a partition, at most three, newest first.

        Lineage and offset are as the place says; those inside the manifest decide.
        """
        ...

    def segments(self, tp: TopicPartition, digests: Sequence[str]) -> dict[str, bytes]:
        """Those of the segments that exist, by digest (hex blake2b-128 of their bytes)."""
        ...


class SparePlace(CheckpointPlace, Protocol):
    """A place that keeps whole checkpoints, for when the store has none. Nobody is fenced from it.

    Whoever writes an older checkpoint does no harm: a reader takes only what is of its lineage and
    not ahead of the commit.
    """

    def keep(
        self,
        tp: TopicPartition,
        lineage: str,
        next_offset: int,
        manifest: bytes,
        segments: Mapping[str, bytes],
    ) -> None:
        """Keep this checkpoint, all of its segments given, as the newest of its partition.

        A writer that dies on the way may cost this checkpoint, never a wrong one. Raises
        `StoreError`, and `ValueError` for what `StateStore.save` does not take either.
        """
        ...

    def drop(self, tp: TopicPartition) -> None:
        """Keep nothing of this partition any more."""
        ...

    def close(self) -> None:
        """Give up what is under way, and every connection."""
        ...


class StateStore(CheckpointPlace, Protocol):
    """Checkpoints: small manifests, compare-and-set, over immutable content-addressed segments."""

    def save(
        self,
        tp: TopicPartition,
        lineage: str,
        parent: str,
        next_offset: int,
        manifest: bytes,
        segments: Mapping[str, bytes],
        referenced: Sequence[str],
    ) -> SaveResult:
        """Write the segments, then the manifest that references them, by compare-and-set.

        `segments` holds those not known to be stored, `referenced` the digests of all the
        manifest needs. Accepted if the newest stored manifest has the same lineage and its offset
        is not beyond `next_offset` (an equal offset: it is replaced), or has the lineage `parent`,
        or there is none; else refused. Segments that no kept manifest references are removed.
        Saving the same again changes nothing. Raises `ValueError` for arguments that no store may
        take: no lineage, a negative offset, a digest that is none, a segment not referenced.
        """
        ...

    def publish_view(self, model: str, view: Mapping[str, bytes]) -> None:
        """Replace the live view of a model (for dashboards; it expires after an hour)."""
        ...

    def live_view(self, model: str) -> dict[str, bytes]:
        """The live view of a model; empty where there is none."""
        ...

    def check_policy(self) -> list[str]:
        """What is wrong with how the store is set up, in sentences that say what to do."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class CommandLog(Protocol):
    """What people say to the workers."""

    def read(self) -> Sequence[SaidRecord]:
        """The records that have come since the last call, at first all there are; never waits.

        Where they cannot be read, that is said, and there are none.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class NoCommands:
    """A `CommandLog` on which nobody ever says anything."""

    def read(self) -> Sequence[SaidRecord]:
        """None."""
        return ()

    def close(self) -> None:
        """Nothing to close."""


class LivenessLink(Protocol):
    """What is said by the clock needs of Kafka. No call waits, and none fails.

    What could not be had or sent is missing or counted.
    """

    n_lost: int
    """Records that could not be sent, as far as is known now."""
    reason: str
    """Why the latest of them."""

    def ask_ends(self, tps: Sequence[TopicPartition]) -> None:
        """Begin to ask where these partitions end; an earlier question is forgotten."""
        ...

    def ends(self) -> Mapping[TopicPartition, int]:
        """The answers to the latest question that have come: the end for committed readers."""
        ...

    def send(self, outputs: Sequence[Output]) -> None:
        """Hand these over, to be sent at least once while there is room for them."""
        ...

    def close(self) -> None:
        """Give what is under way a moment, and close connections."""
        ...


class Clock(Protocol):
    """Time for cadence and reporting; never part of the fold."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
