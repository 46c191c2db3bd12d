"""Writes the audit trail: what other topics say, each once, in a chain that nobody else continues.

Records and the positions up to which the sources were read leave in one transaction, and every
position names the head of the chain. So whoever goes on, after whatever end, has neither a record
twice nor one less; and where the topic does not end with the head that is committed, records were
taken from it or somebody else wrote to it, and a person has to look.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.audit_trail import AuditRecord, AuditRecordError, Head, plain
from schemas.records import TopicPartition
from streams.ports import Committed, Watermarks
from streams.trail_check import TrailCheck
from streams.trail_facts import Fact, Unread, fact_of, noted

PARTITIONS_A_RECORD: Final = 64
"""Of workers' partitions, in one record of progress."""
SKIPPED: Final = 1_000
"""After so many records of others the position is committed without a record of ours."""


_MADE_ANEW: Final = "the topic was deleted and made anew"


class TrailLostError(Exception):
    """The topic is not what was left there: a person has to decide."""


class TrailPosition(BaseModel):
    """What is committed beside the position in a source partition."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    v: int = 1
    head: str
    topic_id: str


class Source(NamedTuple):
    """A source topic: its name among `trail_facts.SOURCES`, and its id at the brokers."""

    name: str
    topic_id: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What is there when a writer takes the trail up."""

    sources: Mapping[str, Source]
    """By topic."""
    ranges: Mapping[TopicPartition, Watermarks]
    """Of every partition of the sources."""
    committed: Mapping[TopicPartition, Committed | None]
    last: AuditRecord | None
    """The last record of the topic, where it is one of an audit trail."""
    is_empty: bool
    """Whether the topic has no record at all."""


class TrailLog(Protocol):
    """What the writer needs of Kafka."""

    def take_up(self) -> Taken:
        """Become the one writer, and look what is there."""

    def records(self) -> Iterable[tuple[int, bytes | None]]:
        """Every record of the trail's topic: offset and value."""

    def read_from(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read the sources from these positions on."""

    def poll(self, timeout_s: float) -> Sequence[Unread]:
        """The next committed records of the sources."""

    def publish(
        self, records: Sequence[AuditRecord], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        """Records and positions as one. Raises `CommitError`."""

    def progress(self) -> list[dict[str, Any]]:
        """What the workers of each duty have committed, by partition."""


@dataclass(slots=True)
class TrailWriter:
    """One writer of a trail. `now_ms` is a clock in epoch milliseconds."""

    log: TrailLog
    groups: Sequence[str]
    release: str
    now_ms: Callable[[], int]
    accept_reset: bool = False
    new_chain: Callable[[], str] = lambda: secrets.token_hex(16)
    head: Head | None = None
    chain: str = ""
    n_written: int = 0
    n_unreadable: int = 0
    lost: list[dict[str, Any]] = field(default_factory=list)
    """What was lost before it could be read, as of the last time the trail was taken up."""
    _sources: Mapping[str, Source] = field(default_factory=dict)
    _positions: dict[TopicPartition, int] = field(default_factory=dict)
    _n_skipped: int = 0

    def take_up(self, *, is_start: bool) -> None:
        """Go on where the last writer ended, or begin. Raises `TrailLostError`."""
        taken = self.log.take_up()
        self._sources = taken.sources
        facts: list[Fact] = []
        marks = _marks(taken.committed)
        committed = max((mark[0] for mark in marks.values()), default=None)
        if committed is None:
            self._go_on_without_commits(taken, facts)
        else:
            self._go_on_behind(taken, committed, facts)
            self._positions = {
                tp: offset
                for tp, offset in _offsets(taken.committed).items()
                if tp in taken.ranges and marks[tp][1] == taken.sources[tp.topic].topic_id
            }
            anew = self._made_anew(taken, marks)
            is_start |= bool(anew)
            facts += anew
        self.lost = [dict(fact.facts) for fact in facts if fact.kind == "lost"]
        gone = self._gone(taken.ranges)
        self.lost += [dict(fact.facts) for fact in gone]
        for tp, there in taken.ranges.items():
            self._positions[tp] = max(self._positions.get(tp, there.low), there.low)
        if is_start:
            facts.append(Fact("started", {"release": self.release, "topics": self._topics()}))
        self._write([*facts, *gone])
        self.log.read_from(self._positions)

    def step(self, timeout_s: float) -> int:
        """Read once and note it; how many records were read."""
        found = self.log.poll(timeout_s)
        facts: list[Fact] = []
        positions = dict(self._positions)
        for record in found:
            positions[record.tp] = record.offset + 1
            fact = fact_of(self._sources[record.tp.topic].name, record, self.groups)
            if fact is None:
                self._n_skipped += 1
                continue
            self.n_unreadable += fact.kind == "unreadable"
            facts.append(fact)
        if facts or self._n_skipped >= SKIPPED:
            self._write(facts, positions)
        else:
            self._positions = positions
        return len(found)

    def note_progress(self, workers: Sequence[Mapping[str, Any]], every_s: float) -> None:
        """Note how far the workers of each duty are, and how far the sources were read.

        `workers`: what `TrailLog.progress` gave. `every_s`: after so many seconds the next one is
        to be expected.
        """
        read = [
            {"topic": tp.topic, "partition": tp.partition, "next": offset}
            for tp, offset in sorted(self._positions.items())
        ]
        rest = {"every_s": math.ceil(every_s), "read": read}
        parts = [
            list(workers[start : start + PARTITIONS_A_RECORD])
            for start in range(0, len(workers), PARTITIONS_A_RECORD)
        ] or [[]]
        self._write([Fact("progress", {**rest, "workers": part}) for part in parts])

    def end(self) -> None:
        """Note that the writer stops."""
        self._write([Fact("stopped", {"release": self.release})])

    def _write(
        self, facts: Sequence[Fact], positions: dict[TopicPartition, int] | None = None
    ) -> None:
        moved = self._positions if positions is None else positions
        head = self.head
        records: list[AuditRecord] = []
        for fact in facts:
            record = noted(self.chain, head, fact, self.now_ms())
            records.append(record)
            head = record.head
        if head is None:
            return
        offsets = {
            tp: Committed(
                offset,
                TrailPosition(
                    head=str(head), topic_id=self._sources[tp.topic].topic_id
                ).model_dump_json(),
            )
            for tp, offset in moved.items()
        }
        self.log.publish(records, offsets)
        self.head, self._positions, self._n_skipped = head, moved, 0
        self.n_written += len(records)

    def _go_on_behind(self, taken: Taken, committed: Head, facts: list[Fact]) -> None:
        """Go on behind the head that was committed."""
        last = taken.last
        if last is not None and last.head == committed and last.content_hash() == last.hash:
            self.head, self.chain = committed, last.chain
            return
        found = "it is empty" if taken.is_empty else "it does not"
        self._go_on_after_loss(
            f"the audit topic should end with {committed}, and {found}: records were taken from "
            "it, or somebody else wrote to it",
            {"expected_head": str(committed)},
            facts,
        )

    def _go_on_without_commits(self, taken: Taken, facts: list[Fact]) -> None:
        """Begin; or where positions are gone, find them in the trail itself."""
        self._positions = {}
        if taken.is_empty:
            self._begin("", {}, facts)
            return
        check, groups = TrailCheck(), set[str]()
        positions: dict[TopicPartition, int] = {}
        ids: dict[str, str] = {}
        for place, value in self.log.records():
            record = check.take(place, value)
            if record is not None:
                _take_positions(positions, record)
                ids |= _topic_ids(record)
                if record.kind == "begun":
                    groups.update(map(str, _list(record.facts.get("groups"))))
        found = check.result()
        if groups and not groups & set(self.groups):
            raise TrailLostError(
                f"the audit topic holds the trail of {', '.join(sorted(groups))}: give this "
                "deployment a topic of its own, worker.topics.audit"
            )
        if found.n_breaks or check.last is None:
            self._go_on_after_loss(
                "the positions of the auditor are gone, and the audit topic holds no trail that "
                "is whole: `driftsentry audit verify` says where it breaks",
                {"n_breaks": found.n_breaks},
                facts,
            )
        else:
            self.head, self.chain = check.last, check.chain or ""
        for tp, offset in sorted(positions.items()):
            if tp not in taken.ranges:
                continue
            if ids.get(tp.topic) == taken.sources[tp.topic].topic_id:
                self._positions[tp] = offset
            else:
                facts.append(_lost(tp, offset, None, _MADE_ANEW))

    def _go_on_after_loss(self, reason: str, more: Mapping[str, Any], facts: list[Fact]) -> None:
        if not self.accept_reset:
            raise TrailLostError(
                f"{reason}. Keep the topic as it is for whoever looks into it; --accept-reset goes "
                "on with a new chain behind what is there, and says so in its first record"
            )
        self.head, self.chain = None, ""
        self._begin(reason, more, facts)

    def _begin(self, reason: str, more: Mapping[str, Any], facts: list[Fact]) -> None:
        self.head, self.chain = None, self.new_chain()
        facts.append(Fact("begun", plain({"groups": list(self.groups), "reason": reason, **more})))

    def _topics(self) -> list[dict[str, str]]:
        return [
            {"source": source.name, "topic": topic, "topic_id": source.topic_id}
            for topic, source in sorted(self._sources.items())
        ]

    def _made_anew(
        self, taken: Taken, marks: Mapping[TopicPartition, tuple[Head, str]]
    ) -> list[Fact]:
        """Of topics that are others than those that were read."""
        return [
            _lost(tp, offset, None, _MADE_ANEW)
            for tp, offset in sorted(_offsets(taken.committed).items())
            if tp in taken.ranges and marks[tp][1] != taken.sources[tp.topic].topic_id
        ]

    def _gone(self, ranges: Mapping[TopicPartition, Watermarks]) -> list[Fact]:
        """Of records that are not there any more, or never were those that were read."""
        facts = []
        for tp, position in sorted(self._positions.items()):
            there = ranges.get(tp)
            if there is None:
                continue
            if position < there.low:
                facts.append(_lost(tp, position, there.low, "removed before they were read"))
            elif position > there.high:
                facts.append(_lost(tp, position, there.low, "the log is shorter than it was"))
                self._positions[tp] = there.low
        return facts


def _lost(tp: TopicPartition, first: int, until: int | None, reason: str) -> Fact:
    return Fact(
        "lost",
        {
            "topic": tp.topic,
            "partition": tp.partition,
            "from_offset": first,
            "until_offset": until,
            "reason": reason,
        },
    )


def _offsets(committed: Mapping[TopicPartition, Committed | None]) -> dict[TopicPartition, int]:
    return {tp: each.offset for tp, each in committed.items() if each is not None}


def _marks(
    committed: Mapping[TopicPartition, Committed | None],
) -> dict[TopicPartition, tuple[Head, str]]:
    """By partition the head and the topic's id that are committed with its position."""
    found: dict[TopicPartition, tuple[Head, str]] = {}
    for tp, each in committed.items():
        if each is None:
            continue
        try:
            position = TrailPosition.model_validate_json(each.metadata)
            found[tp] = Head.parse(position.head), position.topic_id
        except (ValidationError, AuditRecordError):
            raise TrailLostError(
                f"the position committed for {tp} is none of an auditor: another program used "
                "its group, or a tool has set the offset; delete the group's offsets, and they are "
                "found again in the trail"
            ) from None
    return found


def _take_positions(positions: dict[TopicPartition, int], record: AuditRecord) -> None:
    """Move positions up to where a record of the trail says the sources were read."""
    said: list[tuple[object, object, object]] = []
    if record.source is not None:
        source = record.source
        said.append((source.topic, source.partition, source.offset + 1))
    if record.kind == "progress":
        said += [
            (each.get("topic"), each.get("partition"), each.get("next"))
            for each in _list(record.facts.get("read"))
            if isinstance(each, dict)
        ]
    for topic, partition, offset in said:
        if isinstance(topic, str) and isinstance(partition, int) and isinstance(offset, int):
            tp = TopicPartition(topic, partition)
            positions[tp] = max(positions.get(tp, 0), offset)


def _topic_ids(record: AuditRecord) -> dict[str, str]:
    """The ids of the source topics, where a record of the trail says them."""
    if record.kind != "started":
        return {}
    return {
        str(each.get("topic")): str(each.get("topic_id"))
        for each in _list(record.facts.get("topics"))
        if isinstance(each, dict)
    }


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
