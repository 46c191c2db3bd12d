"""The events topic in memory: a member of a `MemoryBroker`'s group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from schemas.records import Record, TopicPartition
from streams.memory_broker import MemoryBroker
from streams.memory_group import Member, MemoryGroup
from streams.ports import EventLog, LogError, OwnershipLostError, RebalanceListener


class MemoryLog(EventLog):
    """One topic, read as a member of `group`; `poll` never waits."""

    def __init__(
        self, broker: MemoryBroker, topic: str, *, group: str, instance: str | None = None
    ) -> None:
        self.broker: Final = broker
        self.topic: Final = topic
        self.group: Final = group
        self._instance: Final = instance
        self._listener: RebalanceListener | None = None
        self._member: Member | None = None
        self._next_offset: dict[TopicPartition, int] = {}
        self._first = 0  # the partition that is served first moves on with every poll
        self._failure: BaseException | None = None
        self._closed = False

    def subscribe(self, listener: RebalanceListener) -> None:
        """Join the group; the listener hears of assignments from inside `poll`."""
        self._listener = listener
        self._member = self._group().join(self._instance)

    def poll(self, max_records: int, timeout_s: float) -> Mapping[TopicPartition, list[Record]]:
        """Hear of the group, then records by partition, as many as there are up to the maximum."""
        assert timeout_s >= 0
        if self._failure is not None:
            raise self._failure
        try:
            self._hear()
            return self._fetch(max_records)
        except BaseException as error:
            self._failure = error
            raise

    def pause(self, tps: Iterable[TopicPartition]) -> None:
        """Stop fetching these partitions; they stay this member's."""
        for tp in tps:
            self._next_offset.pop(tp, None)

    def resume(self, tp: TopicPartition, offset: int) -> None:
        """Fetch this partition from `offset` on; one that is not owned (any more) is left alone."""
        if tp in self.owned():
            self._next_offset[tp] = offset

    def position(self, tp: TopicPartition) -> int | None:
        """The least offset that `poll` can deliver next; None for what is paused or not owned."""
        return self._next_offset.get(tp)

    def owned(self) -> frozenset[TopicPartition]:
        """The partitions that are this member's as far as it knows, paused ones included."""
        return frozenset() if self._member is None else frozenset(self._member.owned)

    def expire(self) -> None:
        """Be thought dead by the group; this process only learns of it in its next `poll`."""
        if self._member is not None:
            self._group().expire(self._member)

    def require_membership(self) -> None:
        """What the broker checks of a commit. Raises `OwnershipLostError`."""
        if self._member is None or not self._group().is_current(self._member):
            raise OwnershipLostError("ILLEGAL_GENERATION or UNKNOWN_MEMBER_ID")

    def close(self) -> None:
        """Leave the group (a static member keeps its place); the listener hears `on_revoked`."""
        if self._closed:
            return
        self._closed = True
        member = self._member
        if member is None:
            return
        group = self._group()
        try:
            if owned := sorted(member.owned):
                self._tell_loss(group, member, owned)
        finally:
            self._next_offset.clear()
            if member.instance is None and group.is_member(member):
                group.leave(member)

    def _group(self) -> MemoryGroup:
        return self.broker.group(self.group, self.topic)

    def _tell_loss(self, group: MemoryGroup, member: Member, owned: list[TopicPartition]) -> None:
        if self._listener is None or self._failure is not None:
            return
        if group.is_member(member):
            self._listener.on_revoked(owned)
        else:
            self._listener.on_lost(owned)

    def _hear(self) -> None:
        """Learn what has happened to the group since the last poll."""
        member = self._member
        if member is None or self._listener is None:
            return
        group = self._group()
        if group.is_replaced(member):
            raise LogError(f"another process has the instance name {member.instance}: it is fenced")
        if not group.is_member(member):
            if lost := sorted(member.owned):
                self._listener.on_lost(lost)
            self._next_offset.clear()
            member = self._member = group.join(self._instance)
        if revoked := group.to_revoke(member):
            self._listener.on_revoked(revoked)
            self.pause(revoked)
            group.revoke(member, revoked)
        if gained := group.assign(member):
            start = self._listener.on_assigned(gained)
            self._next_offset.update({tp: start[tp] for tp in gained if tp in start})

    def _fetch(self, max_records: int) -> dict[TopicPartition, list[Record]]:
        tps = sorted(self._next_offset)
        polled: dict[TopicPartition, list[Record]] = {}
        for index in range(len(tps)):
            tp = tps[(self._first + index) % len(tps)]
            partition = self.broker.partition(tp)
            offset = self._next_offset[tp]
            if not partition.low <= offset <= partition.high:
                raise LogError(
                    f"{tp}: offset {offset} is not in the log, which holds {partition.low} to "
                    f"{partition.high}"
                )
            entries, self._next_offset[tp] = partition.read(offset, max_records)
            if entries:
                polled[tp] = [entry.record for entry in entries]
                max_records -= len(entries)
        self._first += 1
        return polled
