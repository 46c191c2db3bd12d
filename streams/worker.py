"""One partition's worker: records in, outputs and state out. Pure: no I/O, no clock.

It decodes, folds, decides and numbers; the runner polls, commits and stores. Outputs of records
before `live_from` were published by whoever committed them and are left out (a replay); everything
else happens to them just as it did the first time.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Final

import numpy as np

from detectors.base import BankState
from detectors.fold import Fold
from schemas.alerts import AlertData, DeadLetterData
from schemas.arrow_mark import MARK, is_arrow
from schemas.batch import Decoded, Decoding
from schemas.commands import Order
from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.fast_path import FastPath
from schemas.limits import DecodeLimits
from schemas.records import Record, Records, Reject, TopicPartition
from schemas.source_hash import SourceKey
from streams.checkpoint import Checkpoint, state_digest
from streams.cloudevents import dead_letter_output
from streams.duties import DriftWork, Duty, FormerKey, SecurityWork, Told, state_versions
from streams.identity import detection_identity
from streams.lineage import CommandPlace, JournaledCommand, JournalEntry, Lineage, Metadata
from streams.policy import Policy
from streams.ports import Output

MAX_BYTES_AT_ONCE: Final = 8 * 2**20
"""Of the values that are decoded and folded in one go: their columns take some times that."""
ARROW_COUNTS_BYTES: Final = 2**19
"""So many more count for an Arrow stream: in 200 bytes it may hold thousands of refused rows."""


@dataclass(frozen=True)
class Detection:
    """A detection config with the source key it runs under.

    With a `FormerKey` it says what a state is of; nothing can be folded before a `switch`.
    """

    config: DetectionConfig
    source_key: SourceKey | FormerKey | None
    duty: Duty = "drift"

    @property
    def key(self) -> SourceKey | None:
        """The key to hash sources with; None: they are dropped, or nothing is to be folded."""
        return None if isinstance(self.source_key, FormerKey) else self.source_key

    @property
    def key_fingerprint(self) -> str | None:
        """What may be known of the source key."""
        return None if self.source_key is None else self.source_key.fingerprint

    @cached_property
    def identity(self) -> str:
        """The identity of everything that changes which alerts come out."""
        return detection_identity(self.config, self.key_fingerprint, state_versions(self.duty))

    @classmethod
    def journaled(cls, entry: JournalEntry, key: SourceKey | None) -> Detection:
        """What a journal record put in force, where `key` is the source key that can be had.

        One of a command puts no config in force.
        """
        assert entry.document is not None
        if entry.source_key == (None if key is None else key.fingerprint):
            return cls(entry.document, key, entry.lineage.duty)
        return cls(entry.document, FormerKey(entry.source_key), entry.lineage.duty)


@dataclass(frozen=True, slots=True)
class OutputTopics:
    """Where outputs go."""

    alerts: str
    dead_letter: str
    journal: str


class PartitionWorker:
    """The fold, the policy and the numbering of one partition.

    `checkpoint` is where it goes on from; None: from the lineage's start, with nothing.
    Raises `StateError` where the checkpoint does not fit.
    """

    def __init__(
        self,
        tp: TopicPartition,
        lineage: Lineage,
        detection: Detection,
        config_from: int,
        topics: OutputTopics,
        checkpoint: Checkpoint | None = None,
        live_from: int = 0,
    ) -> None:
        self.tp = tp
        self.lineage = lineage
        self.detection = detection
        self.config_from = config_from
        self.follows = 0
        """The generation before the latest switch of config; 0: it has seen none."""
        self.topics = topics
        self.live_from = live_from
        """Outputs of records before it are left out: whoever committed them published them."""
        self.next_offset = lineage.start_offset
        self.n_alerts = 0
        self.n_dead = 0
        self.n_records = 0
        """Events taken and refused since the lineage's start; of JSON, each is a record."""
        self.loaded_offset = -1
        """Offset of the checkpoint it was built from; -1: from the lineage's start."""
        self.checkpoint_offset = -1
        self.digest = ""
        self.digest_offset = -1
        self.fast_path = FastPath()
        """What it knows of the form of events, to read them faster; no part of the state."""
        self.outbox: list[Output] = []
        self.has_alerts = False
        """Whether one of the outbox is an alert."""
        self.recent: deque[AlertData] = deque(maxlen=100)
        """The latest alerts, for the live view; no part of the state."""
        self.switches: list[JournalEntry] = []
        """Switches of config and commands that a replay comes upon, by offset."""
        self.tells_again = False
        """Whether what comes of those commands is told; who takes a partition up does not: it was
        published with them."""
        self.n_commands = 0
        """Those that have taken effect since the lineage's start."""
        self.heard = CommandPlace()
        """How far it has listened; no part of the state."""
        self.source_key = detection.key
        """The key that there is for those."""
        self._watch_offset = -1
        self.watched_digests: tuple[str, ...] = ()
        """State digests at the watched offset, before and after a switch of config there."""
        parts: Mapping[str, BankState] | None = None
        if checkpoint is not None:
            parts = checkpoint.parts
            self.next_offset = checkpoint.next_offset
            self.n_alerts = int(checkpoint.fields["n_alerts"])
            self.n_dead = int(checkpoint.fields["n_dead"])
            self.n_records = int(checkpoint.fields["n_records"])
            self.n_commands = int(checkpoint.fields["n_commands"])
            self.loaded_offset = checkpoint.next_offset
            self.checkpoint_offset = checkpoint.next_offset
        self.work: DriftWork | SecurityWork
        if lineage.duty == "drift":
            self.work = DriftWork(detection.config, lineage.id, tp.partition, parts)
        else:
            self.work = SecurityWork(
                detection.config, detection.source_key, lineage.id, tp.partition, parts
            )

    @property
    def fold(self) -> Fold:
        """The fold of the drift duty, which it must have."""
        assert isinstance(self.work, DriftWork), "the security duty has another fold"
        return self.work.fold

    @property
    def policy(self) -> Policy:
        """The policy of the drift duty, which it must have."""
        assert isinstance(self.work, DriftWork), "the security duty has another policy"
        return self.work.policy

    @property
    def is_live(self) -> bool:
        """Whether everything that was ever committed has been folded."""
        return self.next_offset >= self.live_from

    def process(self, records: Sequence[Record]) -> None:
        """Fold records of this partition, in offset order, from `next_offset` on."""
        for _ in self.steps(records):
            pass

    def steps(self, records: Sequence[Record]) -> Iterator[None]:
        """The same in pieces: one is folded at each step. It may be left off between two of them.

        All that is folded stands before `next_offset` then, and nothing else.
        """
        start, records = 0, Records.of(records)
        for stop in self.cuts(records):
            part = records[start:stop]
            self._reach(part.offsets[0])
            self._fold(part)
            yield
            start = stop

    def cuts(self, records: Records) -> list[int]:
        """Where the records must be cut so that something can happen between two of them.

        And so that what is decoded at once stays small: records of many events may be large. The
        last cut is the end.
        """
        cuts = {len(records)}
        n_bytes = sum(map(len, filter(None, records.values)))
        n_arrow = sum(map(bytes.startswith, filter(None, records.values), repeat(MARK)))
        if n_bytes + n_arrow * ARROW_COUNTS_BYTES > MAX_BYTES_AT_ONCE:
            weights = [
                len(value or b"") + is_arrow(value) * ARROW_COUNTS_BYTES for value in records.values
            ]
            piece = np.cumsum(weights) // MAX_BYTES_AT_ONCE
            cuts.update((np.flatnonzero(np.diff(piece)) + 1).tolist())
        if self.switches or self._watch_offset >= 0:
            wanted = {entry.offset for entry in self.switches} | {self._watch_offset}
            cuts.update(np.searchsorted(records.offsets, sorted(wanted)).tolist())
        return sorted(cuts - {0})

    def decode(self, records: Sequence[Record]) -> Decoding:
        """What is to be folded of these records, and what is refused of them."""
        config, source_key = self.detection.config, self.detection.source_key
        assert not isinstance(source_key, FormerKey), "folded before the config was switched"
        return decode_records(
            self.tp,
            records,
            DecodeLimits.of(config),
            source_key,
            frozenset(config.model) if config.models == "listed" else None,
            self.fast_path,
        )

    def _fold(self, records: Records) -> None:
        """Fold these records, in order from `next_offset` on, in one go."""
        events, rejects = self.decode(records)
        for reject in rejects:
            self._dead_letter(reject)
        for told in self.work.process(events, self._next_alert):
            self._tell(
                told, _record_time_ms(events, told.offset), tells=told.offset >= self.live_from
            )
        self.n_records += len(events) + len(rejects)
        self.next_offset = records.offsets[-1] + 1

    def _reach(self, offset: int) -> None:
        """Do what is to be done before the record at `offset` is folded."""
        watched = 0 <= self._watch_offset <= offset
        if watched:
            self._watch_offset = -1
            self.watched_digests = (state_digest(self.parts()),)
        while self.switches and self.switches[0].offset <= offset:
            entry = self.switches.pop(0)
            if entry.command is not None:
                self.obey(entry.command, entry.offset, tells=self.tells_again)
            else:
                self.switch(Detection.journaled(entry, self.source_key), entry.offset)
            if watched:
                self.watched_digests += (state_digest(self.parts()),)

    def obey(self, command: JournaledCommand, offset: int, *, tells: bool) -> None:
        """Let a command take effect before the record at `offset`.

        `tells`: what comes of it goes to the outbox.
        """
        self.n_commands = command.number
        for told in self.work.obey(command.order, offset, command.said_ms, self._next_alert):
            self._tell(told, command.said_ms, tells=tells)

    def _tell(self, told: Told, record_time_ms: int, *, tells: bool) -> None:
        """Take note of an alert or an anomaly; `tells`: it is published too."""
        if isinstance(told.said, AlertData):
            self.recent.append(told.said)
        if tells:
            self.outbox.append(told.output(self.topics.alerts, record_time_ms))
            self.has_alerts = True

    def concerns(self, order: Order) -> bool:
        """Whether this changes anything here."""
        return self.work.concerns(order)

    def settle(self) -> None:
        """The fold stands at `next_offset` and the log has nothing before it that is missing."""
        self._reach(self.next_offset)

    def _next_alert(self) -> int:
        self.n_alerts += 1
        return self.n_alerts

    def _dead_letter(self, reject: Reject) -> None:
        self.n_dead += 1
        # Who folds the same events for another duty says nothing of refused ones: it is said once.
        if reject.offset < self.live_from or self.lineage.duty != "drift":
            return
        excerpt = None if reject.excerpt is None else base64.b64encode(reject.excerpt).decode()
        letter = DeadLetterData(
            seq=self.n_dead,
            lineage=self.lineage.id,
            reason=reject.reason,
            detail=reject.detail,
            topic=self.tp.topic,
            partition=self.tp.partition,
            offset=reject.offset,
            row=reject.row,
            length=reject.length,
            digest=reject.digest,
            excerpt=excerpt,
        )
        deployment = self.detection.config.deployment
        self.outbox.append(dead_letter_output(self.topics.dead_letter, deployment, letter, reject))

    def switch(self, detection: Detection, offset: int) -> None:
        """Go on under another config from `offset` on."""
        self.follows = self.detection.config.generation
        self.detection = detection
        self.config_from = offset
        self.work.switch(detection.config, detection.key)

    def counts(self) -> dict[str, int]:
        """Everything that is counted, since the lineage's start, by name (docs/operations.md)."""
        return {
            **self.work.counters,
            "n_alerts": self.n_alerts,
            "n_dead_letters": self.n_dead,
        }

    def take_outputs(self) -> list[Output]:
        """What is to be published; the caller publishes it, all of it, or drops the worker."""
        outputs, self.outbox, self.has_alerts = self.outbox, [], False
        return outputs

    def metadata(self) -> Metadata:
        """What the commit of `next_offset` says of the state there."""
        return Metadata(
            lineage=self.lineage,
            generation=self.detection.config.generation,
            config=self.detection.identity,
            config_from=self.config_from,
            n_events=self.work.counters["n_events"],
            n_alerts=self.n_alerts,
            n_dead=self.n_dead,
            n_commands=self.n_commands,
            heard=self.heard,
            checkpoint=self.checkpoint_offset,
            digest=self.digest,
            digest_offset=self.digest_offset,
        )

    def checkpointed(self, offset: int, digest: str) -> None:
        """Note that a checkpoint at this offset, with this state digest, is in the store."""
        self.checkpoint_offset = self.digest_offset = offset
        self.digest = digest
        # A replay that passes this offset can see whether it arrives at the same state.
        self._watch_offset = offset if self.next_offset <= offset < self.live_from else -1

    def watch_nothing(self) -> None:
        """Go on without comparing a digest on the way."""
        self._watch_offset = -1

    def journal_entry(
        self,
        kind: str,
        reason: str = "",
        n_partitions: int = 0,
        command: JournaledCommand | None = None,
    ) -> JournalEntry:
        """A journal record of the config in force, or of a command, in effect at `next_offset`."""
        return JournalEntry.model_validate(
            {
                "kind": kind,
                "lineage": self.lineage,
                "offset": self.next_offset,
                "generation": self.detection.config.generation,
                "config": self.detection.identity,
                "source_key": self.detection.key_fingerprint,
                "versions": state_versions(self.lineage.duty),
                "document": self.detection.config if command is None else None,
                "command": command,
                "follows": self.follows if kind == "config" else 0,
                "reason": reason,
                "n_partitions": n_partitions,
            }
        )

    def parts(self) -> dict[str, BankState]:
        """The whole state, by part; shares no memory with the worker."""
        return self.work.parts()

    def checkpoint(self) -> Checkpoint:
        """All state at `next_offset`. To be saved only when that offset has been committed."""
        return Checkpoint(
            lineage=self.lineage.id,
            parent=self.lineage.parent,
            topic_id=self.lineage.topic_id,
            next_offset=self.next_offset,
            config_identity=self.detection.identity,
            generation=self.detection.config.generation,
            versions=state_versions(self.lineage.duty),
            fields={
                "n_alerts": self.n_alerts,
                "n_dead": self.n_dead,
                "n_records": self.n_records,
                "n_commands": self.n_commands,
                "config_from": self.config_from,
            },
            parts=self.parts(),
        )


def _record_time_ms(events: Decoded, offset: int) -> int:
    return int(events.record_time_ms[np.searchsorted(events.offset, offset)])
