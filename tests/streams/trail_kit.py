"""Audit trails for tests: chains of records, and a topic in memory that a writer continues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from schemas.audit_trail import (
    AuditRecord,
    AuditRecordError,
    Head,
    content_hash,
    next_record,
    read_audit_record,
)
from schemas.records import TopicPartition
from streams.ports import Committed, FencedError, IndeterminateError, Watermarks
from streams.trail_facts import Unread
from streams.trail_writer import Source, Taken, TrailWriter

CHAIN: Final = "c0" * 16
OTHER_CHAIN: Final = "d1" * 16
START_MS: Final = 1_795_428_000_000


def trail(n: int, chain: str = CHAIN) -> list[AuditRecord]:
    """A whole trail of so many records."""
    records: list[AuditRecord] = []
    head: Head | None = None
    for i in range(n):
        record = next_record(
            chain,
            head,
            kind="begun" if i == 0 else "said",
            at_ms=START_MS + i,
            clock="noted",
            noted_ms=START_MS + i,
            facts={"number": i, "text": f"word {i} ü"},
            by="ana" if i % 2 else None,
        )
        records.append(record)
        head = record.head
    return records


def values(records: Sequence[AuditRecord]) -> list[bytes]:
    """Their bytes."""
    return [record.dump() for record in records]


def hashed_anew(record: AuditRecord, changes: Mapping[str, Any]) -> AuditRecord:
    """The record with other content and the hash of that: what a clever forger writes."""
    content = record.model_dump(mode="json", exclude={"hash"}) | dict(changes)
    return AuditRecord.model_validate({**content, "hash": content_hash(content)})


TOPICS: Final = {"events-journal": "journal", "said": "commands", "found": "incidents"}
GROUPS: Final = ("driftsentry", "driftsentry.security")


@dataclass
class TrailWorld:
    """Brokers in memory: source topics, one audit topic, and what is committed."""

    n_partitions: int = 2
    logs: dict[TopicPartition, list[tuple[int, bytes, bytes]]] = field(default_factory=dict)
    low: dict[TopicPartition, int] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=lambda: dict.fromkeys(TOPICS, "first"))
    trail: list[bytes] = field(default_factory=list)
    committed: dict[TopicPartition, Committed] = field(default_factory=dict)
    writer: int = 0
    """The writer that is not fenced."""

    def __post_init__(self) -> None:
        for topic in TOPICS:
            for number in range(self.n_partitions):
                self.logs[TopicPartition(topic, number)] = []

    def produce(self, topic: str, partition: int, value: bytes, key: bytes = b"k") -> None:
        log = self.logs[TopicPartition(topic, partition)]
        log.append((START_MS + len(log), key, value))

    def remove_before(self, topic: str, partition: int, offset: int) -> None:
        self.low[TopicPartition(topic, partition)] = offset

    def make_anew(self, topic: str) -> None:
        self.ids[topic] += " and another"
        for number in range(self.n_partitions):
            self.logs[TopicPartition(topic, number)] = []
            self.low.pop(TopicPartition(topic, number), None)


class DiedError(Exception):
    """The writer's process ended here."""


class MemoryTrail:
    """A `TrailLog` of a world. `dies` says at which call of `publish`, and on which side of it."""

    def __init__(self, world: TrailWorld, dies: tuple[int, str] | None = None) -> None:
        self.world = world
        self.dies = dies
        self.positions: dict[TopicPartition, int] = {}
        self._number = 0

    def take_up(self) -> Taken:
        world = self.world
        world.writer += 1
        self._number = world.writer
        last = None
        if world.trail:
            with suppress(AuditRecordError):
                last = read_audit_record(world.trail[-1])
        return Taken(
            sources={topic: Source(name, world.ids[topic]) for topic, name in TOPICS.items()},
            ranges={
                tp: Watermarks(world.low.get(tp, 0), max(world.low.get(tp, 0), len(log)))
                for tp, log in world.logs.items()
            },
            committed={tp: world.committed.get(tp) for tp in world.logs},
            last=last,
            is_empty=not world.trail,
        )

    def records(self) -> Iterator[tuple[int, bytes | None]]:
        yield from enumerate(self.world.trail)

    def read_from(self, positions: Mapping[TopicPartition, int]) -> None:
        self.positions = dict(positions)

    def poll(self, timeout_s: float) -> Sequence[Unread]:
        del timeout_s
        found: list[Unread] = []
        for tp, offset in self.positions.items():
            for n, (at_ms, key, value) in enumerate(
                self.world.logs[tp][offset : offset + 3], offset
            ):
                found.append(Unread(tp, n, at_ms, key, value))
                self.positions[tp] = n + 1
        return found

    def publish(
        self, records: Sequence[AuditRecord], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        n, side = self.dies or (-1, "")
        self.dies = None if self.dies is None else (n - 1, side)
        if n == 0 and side == "before":
            raise DiedError
        if self._number != self.world.writer:
            raise FencedError("another writer")
        self.world.trail += [record.dump() for record in records]
        self.world.committed |= offsets
        if n == 0 and side == "after":
            raise DiedError
        if n == 0 and side == "unknown":
            raise IndeterminateError("nobody knows")

    def progress(self) -> list[dict[str, Any]]:
        return [{"group": "driftsentry", "partition": 0, "offset": 7, "lineage": "ab"}]


def writer_on(
    world: TrailWorld, dies: tuple[int, str] | None = None, **options: Any
) -> TrailWriter:
    """A writer of this world, not taken up yet."""
    return TrailWriter(
        MemoryTrail(world, dies),
        groups=GROUPS,
        release="1.2.3",
        now_ms=lambda: START_MS + 5_000,
        **options,
    )
