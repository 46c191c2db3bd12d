"""Partitions that the group has given to nobody get an owner."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from streams import kafka_group
from streams.kafka_group import GroupWatch, sight
from streams.ports import EventLog
from tests.streams.transports import KafkaTransport, Recorder, poll_until


def member(name: str, partitions: list[int], *, is_static: bool) -> Any:
    assigned = [KafkaPartition("events", number) for number in partitions]
    return SimpleNamespace(
        member_id=name,
        group_instance_id="one" if is_static else None,
        assignment=SimpleNamespace(
            topic_partitions=[*assigned, KafkaPartition("another", 9)],
        ),
    )


def group(*members: Any, state: ConsumerGroupState = ConsumerGroupState.STABLE) -> Any:
    return SimpleNamespace(state=state, members=list(members))


def test_what_no_member_has_is_nobody_s_and_one_static_member_is_chosen() -> None:
    a, b, c = (
        member("a", [0], is_static=False),
        member("c", [3], is_static=True),
        member("b", [], is_static=True),
    )

    seen = sight(group(a, b, c), "events", 5)

    assert seen is not None
    assert seen.orphans == {1, 2, 4}
    assert seen.chosen == "b"


def test_a_group_that_rebalances_says_nothing() -> None:
    busy = group(member("a", [0], is_static=True), state=ConsumerGroupState.PREPARING_REBALANCING)

    assert sight(busy, "events", 5) is None


def test_without_a_static_member_nobody_is_chosen() -> None:
    seen = sight(group(member("a", [0], is_static=False)), "events", 1)

    assert seen is not None
    assert not seen.orphans
    assert not seen.chosen


def test_two_looks_and_then_one_visit_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    visits: list[float] = []
    watch = GroupWatch("events", "group", {}, {}, lambda: now_s[0])
    own: Any = watch
    monkeypatch.setattr(own, "_visit", lambda: visits.append(now_s[0]))
    described = group(member("one", [], is_static=True))

    def ask() -> None:
        answers: tuple[Future[Any], Future[Any]] = Future(), Future()
        answers[0].set_result(SimpleNamespace(partitions=[0, 1]))
        answers[1].set_result(described)
        own._asked = answers

    monkeypatch.setattr(own, "_ask", ask)
    for second in range(200):
        now_s[0] = float(second)
        watch.tick(lambda: "one")
        watch.tick(lambda: "one")
    watch.close()

    assert visits == [10.0, 75.0, 140.0]


def test_another_static_member_is_left_to_act(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = GroupWatch("events", "group", {}, {}, lambda: 100.0)
    own: Any = watch
    monkeypatch.setattr(own, "_visit", lambda: pytest.fail("it is not the chosen one"))
    own._look_s = 0.0
    for _ in range(4):
        answers: tuple[Future[Any], Future[Any]] = Future(), Future()
        answers[0].set_result(SimpleNamespace(partitions=[0]))
        answers[1].set_result(group(*(member(n, [], is_static=True) for n in ("a", "b"))))
        own._asked = answers
        own._look_s = 0.0
        watch.tick(lambda: "b")
    assert own._guest is None


@pytest.mark.kafka
def test_a_static_member_that_ends_amid_a_rebalance_leaves_no_orphans(
    kafka: str,
    new_topic: Callable[..., str],
    unique_name: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_group, "LOOK_EVERY_S", 0.5)
    transport = KafkaTransport(kafka, new_topic, unique_name)
    heard = [Recorder() for _ in range(3)]
    members: list[EventLog] = [transport.log(heard[0], "one")]
    poll_until(transport, members, lambda _: len(heard[0].owned) == 2)

    # The second one joins, and the first is told to give one partition up; it ends before it has
    # heard of it, so that it does not ask for the rebalance in which the other would get it.
    members.append(transport.log(heard[1], "two"))
    settled = AdminClient({"bootstrap.servers": kafka})

    def is_settled(_: object) -> bool:
        described = settled.describe_consumer_groups([transport.group])[transport.group].result()
        return len(described.members) == 2 and described.state == ConsumerGroupState.STABLE

    poll_until(transport, members[1:], is_settled)
    members.pop(0).close()
    assert not heard[1].owned

    members.append(transport.log(heard[2], "one"))
    poll_until(transport, members, lambda _: bool(heard[1].owned and heard[2].owned))

    for log in members:
        log.close()
