"""A consumer group in memory: who is a member, in which generation, and owns which partitions.

Cooperative and sticky: a partition moves only to even the load, and only when its owner has given
it up in its own `poll`. A new generation begins when every member has heard of the change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.records import TopicPartition


@dataclass(slots=True, eq=False)
class Member:
    """One member. `id` is new with every join; `instance` names a static member."""

    id: str
    instance: str | None
    generation: int = -1
    owned: set[TopicPartition] = field(default_factory=set)


class MemoryGroup:
    """The members of one group over one topic's partitions."""

    def __init__(self, tps: Sequence[TopicPartition]) -> None:
        self._tps = sorted(tps)
        self._members: dict[str, Member] = {}
        self._target: dict[TopicPartition, Member] = {}
        self._unheard: set[str] = set()
        self._is_changed = False
        self._n_joined = 0
        self.generation = 0

    def join(self, instance: str | None = None) -> Member:
        """Become a member; a static one takes the place, the partitions and the name of its twin.

        The twin is no member any more: its commits are refused.
        """
        self._n_joined += 1
        member = Member(f"member-{self._n_joined}", instance)
        twins = [each for each in self._members.values() if each.instance == instance is not None]
        if not twins:
            self._members[member.id] = member
            self._rebalance()
            return member
        twin = twins[0]
        del self._members[twin.id]
        self._members[member.id] = member
        self._target = {tp: member if to is twin else to for tp, to in self._target.items()}
        if twin.id in self._unheard:
            self._unheard.remove(twin.id)
            self._unheard.add(member.id)
        member.generation = self.generation
        return member

    def extend(self, tps: Sequence[TopicPartition]) -> None:
        """The topic has these partitions more."""
        self._tps = sorted({*self._tps, *tps})
        self._rebalance()

    def leave(self, member: Member) -> None:
        """End a membership at once; the partitions are free."""
        self._members.pop(member.id, None)
        member.owned.clear()
        self._rebalance()

    def expire(self, member: Member) -> None:
        """End the membership of one who has been silent for too long and does not know it."""
        owned = set(member.owned)
        self.leave(member)
        # What it still believes to own is what it will hear of as lost.
        member.owned.update(owned)

    def is_current(self, member: Member) -> bool:
        """Whether a commit of this member is accepted: known, and of the group's generation."""
        return self._members.get(member.id) is member and member.generation == self.generation

    def is_member(self, member: Member) -> bool:
        """Whether the group knows the member."""
        return self._members.get(member.id) is member

    def is_replaced(self, member: Member) -> bool:
        """Whether another process has taken this static member's name."""
        return not self.is_member(member) and any(
            each.instance == member.instance is not None and each is not member
            for each in self._members.values()
        )

    def to_revoke(self, member: Member) -> list[TopicPartition]:
        """What the member must give up now."""
        return sorted(tp for tp in member.owned if self._target.get(tp) is not member)

    def revoke(self, member: Member, tps: Sequence[TopicPartition]) -> None:
        """The member has given these up."""
        member.owned.difference_update(tps)

    def assign(self, member: Member) -> list[TopicPartition]:
        """The member has heard of the change; give it what is meant for it and free.

        Nothing before every member has heard: until then the generation, and with it the right to
        commit, stays as it was. One that is silent holds the group up until it is expired.
        """
        self._unheard.discard(member.id)
        if self._unheard:
            return []
        if self._is_changed:
            self._is_changed = False
            self.generation += 1
            for each in self._members.values():
                each.generation = self.generation
        taken = {tp for each in self._members.values() for tp in each.owned}
        gained = [tp for tp in self._tps if self._target.get(tp) is member and tp not in taken]
        member.owned.update(gained)
        return gained

    def _rebalance(self) -> None:
        """Plan anew: even shares, everyone keeps what fits in his, the rest in order."""
        members = list(self._members.values())
        self._target = {}
        self._unheard = set(self._members)
        self._is_changed = True
        if not members:
            return
        share, n_more = divmod(len(self._tps), len(members))
        by_load = sorted(members, key=lambda each: -len(each.owned))
        room = {each.id: share + (rank < n_more) for rank, each in enumerate(by_load)}
        for member in members:
            for tp in sorted(member.owned)[: room[member.id]]:
                self._target[tp] = member
                room[member.id] -= 1
        free = iter([tp for tp in self._tps if tp not in self._target])
        for member in members:
            for _ in range(room[member.id]):
                self._target[next(free)] = member
