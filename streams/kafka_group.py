"""Partitions that the group has given to nobody, and how they get an owner.

Cooperative members rebalance twice: first some give partitions up, then they join again so that
others get them. A static member that ends between the two, and comes back, is given what it had
without a rebalance, and nobody is left who would ask for the second one: what was given up is
nobody's, for as long as the members stay. The client has no call for "assign again". So whoever
sees such partitions lets one more member join and leave.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, ConsumerGroupState, KafkaException, TopicCollection
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from streams.kafka_clients import LOGGER, ClientConfigError, describe, kafka_error, open_client
from streams.kafka_properties import KafkaValue

LOOK_EVERY_S: Final = 5.0
"""Twice in a row the same must be seen: a rebalance that is under way ends by itself."""
_AFTER_VISIT_S: Final = 60.0
"""Until it is looked again whether the visit has helped; a group shall not rebalance for ever."""
_ASKED_WITHIN_S: Final = 10.0
_JOINED_WITHIN_S: Final = 60.0
_TICK_S: Final = 0.1


class Sight(NamedTuple):
    """A group whose assignment is settled, and what of its topic is nobody's."""

    members: frozenset[str]
    orphans: frozenset[int]
    """Partition numbers."""
    chosen: str
    """The member that is to do something; "" where no member is static."""


def sight(group: Any, topic: str, n_partitions: int) -> Sight | None:
    """What a `ConsumerGroupDescription` says; None while the group rebalances."""
    if group.state != ConsumerGroupState.STABLE:
        return None
    owned = {
        each.partition
        for member in group.members
        if member.assignment is not None
        for each in member.assignment.topic_partitions
        if each.topic == topic
    }
    static = [member.member_id for member in group.members if member.group_instance_id]
    return Sight(
        frozenset(member.member_id for member in group.members),
        frozenset(range(n_partitions)) - owned,
        min(static, default=""),
    )


class GroupWatch:
    """Looks, now and then, whether each partition of the topic is some member's.

    For a static member to use; a group of dynamic ones cannot come to this. One thread calls it,
    and it never waits.
    """

    def __init__(
        self,
        topic: str,
        group: str,
        admin_config: Mapping[str, KafkaValue],
        guest_config: Mapping[str, KafkaValue],
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`guest_config` is that of a dynamic member of the group."""
        self._topic: Final = topic
        self._group: Final = group
        self._admin_config: Final = admin_config
        self._guest_config: Final = guest_config
        self._now_s: Final = now_s
        self._look_s = now_s() + LOOK_EVERY_S
        self._admin: AdminClient | None = None
        self._asked: tuple[Future[Any], Future[Any]] | None = None
        self._seen: Sight | None = None
        self._guest: threading.Thread | None = None
        self._closing = threading.Event()

    def tick(self, member_id: Callable[[], str | None]) -> None:
        """Go on with looking; `member_id` says as which member, if it is one."""
        if self._now_s() < self._look_s:
            return
        if self._asked is None:
            self._ask()
        elif all(future.done() for future in self._asked):
            asked, self._asked = self._asked, None
            self._look_s = self._now_s() + LOOK_EVERY_S
            self._look(*asked, member_id())

    def close(self) -> None:
        """Let go of everything."""
        self._closing.set()
        if self._guest is not None:
            self._guest.join()

    def _ask(self) -> None:
        if self._guest is not None and self._guest.is_alive():
            return
        try:
            if self._admin is None:
                self._admin = open_client(AdminClient, self._admin_config, "admin client")
            topics = TopicCollection([self._topic])
            self._asked = (
                self._admin.describe_topics(topics, request_timeout=_ASKED_WITHIN_S)[self._topic],
                self._admin.describe_consumer_groups(
                    [self._group], request_timeout=_ASKED_WITHIN_S
                )[self._group],
            )
        except (KafkaException, ClientConfigError) as error:
            LOGGER.debug("the group cannot be looked at: %s", error)
            self._look_s = self._now_s() + LOOK_EVERY_S

    def _look(self, topic: Future[Any], group: Future[Any], member_id: str | None) -> None:
        before, self._seen = self._seen, None
        try:
            self._seen = sight(group.result(), self._topic, len(topic.result().partitions))
        except KafkaException as error:
            # It may not be allowed, or no broker answers, of which others speak.
            LOGGER.debug("the group cannot be looked at: %s", describe(kafka_error(error)))
        seen = self._seen
        if seen is None or not seen.orphans or seen != before or seen.chosen != member_id:
            return
        LOGGER.warning(
            "partitions %s of %s are no member's: group %s is made to assign again",
            sorted(seen.orphans),
            self._topic,
            self._group,
        )
        self._seen = None
        self._look_s = self._now_s() + _AFTER_VISIT_S
        self._guest = threading.Thread(target=self._visit, name="group-guest", daemon=True)
        self._guest.start()

    def _visit(self) -> None:
        """Join and leave, each of which has the group assign all partitions anew."""
        joined = threading.Event()

        def on_assign(consumer: Consumer, _: list[KafkaPartition]) -> None:
            # Nothing is read; without the call the client would begin to.
            consumer.incremental_assign([])
            joined.set()

        try:
            guest = open_client(Consumer, self._guest_config, "consumer")
            try:
                guest.subscribe([self._topic], on_assign=on_assign)
                deadline_s = time.monotonic() + _JOINED_WITHIN_S
                while time.monotonic() < deadline_s and not self._closing.is_set():
                    guest.poll(_TICK_S)
                    if joined.is_set():
                        break
            finally:
                guest.close()
        except (KafkaException, ClientConfigError) as error:
            LOGGER.warning("the group could not be made to assign again: %s", error)
