"""Topics are made once, as they should be, and what differs is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka.admin import AdminClient

from schemas.records import TopicPartition
from streams.config import Topics
from streams.embedded import EmbeddedBroker
from streams.topics import (
    TOPICS,
    Duty,
    TopicError,
    TopicOutcome,
    _wait_for,
    check_names,
    compare_topics,
    create_topics,
    journal_key,
    replication,
)

DAY_MS = 86_400_000


def names_for(unique_name: Callable[[str], str]) -> dict[Duty, str]:
    return {spec.duty: unique_name(spec.duty) for spec in TOPICS}


def test_the_table_names_every_topic_of_the_settings() -> None:
    assert {spec.duty for spec in TOPICS} == set(Topics.model_fields)


def test_topics_are_created_once_and_then_found(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    names = names_for(unique_name)
    assert {outcome.state for outcome in compare_topics(admin, names)} == {"missing"}
    created = create_topics(admin, names, n_partitions={"events": 3, "alerts": 2})
    made = "1 replicas, 1 in sync"
    assert created == [
        TopicOutcome(names["events"], "created", f"3 partitions, {made}"),
        TopicOutcome(names["alerts"], "created", f"2 partitions, {made}"),
        TopicOutcome(names["dead_letter"], "created", f"4 partitions, {made}"),
        TopicOutcome(names["journal"], "created", f"1 partitions, {made}"),
        TopicOutcome(names["commands"], "created", f"1 partitions, {made}"),
        TopicOutcome(names["checkpoints"], "created", f"12 partitions, {made}"),
        TopicOutcome(names["liveness"], "created", f"4 partitions, {made}"),
        TopicOutcome(names["anomalies"], "created", f"4 partitions, {made}"),
        TopicOutcome(names["incidents"], "created", f"4 partitions, {made}"),
        TopicOutcome(names["retraining"], "created", f"4 partitions, {made}"),
        TopicOutcome(names["rollback"], "created", f"4 partitions, {made}"),
        TopicOutcome(names["followup"], "created", f"4 partitions, {made}"),
        TopicOutcome(names["undelivered"], "created", f"1 partitions, {made}"),
        TopicOutcome(names["audit"], "created", f"1 partitions, {made}"),
    ]
    again = create_topics(admin, names, n_partitions={"events": 3})
    assert {outcome.state for outcome in again} == {"existing"}
    (differs, *_) = create_topics(admin, names, n_partitions={"events": 5})
    assert (differs.state, differs.detail) == ("different", "3 partitions, asked for 5")
    assert compare_topics(admin, names) == again


def test_a_difference_is_said_and_it_is_harmful_where_records_are_lost(
    kafka: str, new_topic: Callable[..., str]
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    names: dict[Duty, str] = {
        "events": new_topic("events", 2, {"retention.ms": str(30 * DAY_MS)}),
        "alerts": new_topic("alerts", 1, {"cleanup.policy": "compact"}),
        "dead_letter": new_topic("dead", 1, {"retention.ms": str(DAY_MS)}),
        "journal": new_topic("journal", 1),
        "checkpoints": new_topic("checkpoints", 1, {"cleanup.policy": "delete"}),
    }
    _wait_for(admin, list(names.values()))
    events, alerts, dead_letter, journal, checkpoints = compare_topics(admin, names)
    assert events.detail == "message.timestamp.type is CreateTime, recommended LogAppendTime"
    assert not events.is_harmful
    assert "cleanup.policy is compact, recommended delete" in alerts.detail
    assert alerts.is_harmful
    assert dead_letter.detail == f"retention.ms is {DAY_MS}, recommended {14 * DAY_MS}"
    assert not dead_letter.is_harmful
    assert journal.detail == f"retention.ms is {7 * DAY_MS}, recommended -1"
    assert journal.is_harmful
    assert "cleanup.policy is delete, recommended compact" in checkpoints.detail
    assert not checkpoints.is_harmful


def test_a_topic_with_two_duties_is_refused(kafka: str) -> None:
    names: dict[Duty, str] = {
        "events": "a", "alerts": "b", "dead_letter": "a", "journal": "d", "checkpoints": "e",
    }  # fmt: skip
    with pytest.raises(TopicError, match="a cannot be the dead_letter topic and the events topic"):
        check_names(names)
    with pytest.raises(TopicError, match="a name of its own"):
        create_topics(AdminClient({"bootstrap.servers": kafka}), names)


def test_on_the_mock_broker_topics_appear_when_they_are_asked_for() -> None:
    names: dict[Duty, str] = {spec.duty: spec.duty for spec in TOPICS}
    with EmbeddedBroker() as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        outcomes = create_topics(admin, names)
        assert [outcome.name for outcome in outcomes] == list(names)
        assert all(outcome.detail.startswith("4 partitions") for outcome in outcomes)
        assert set(names) <= set(admin.list_topics(timeout=5).topics)


def test_replication_is_three_with_two_in_sync_where_there_are_brokers() -> None:
    assert [replication(n) for n in (1, 2, 3, 7)] == [(1, 1), (2, 1), (3, 2), (3, 2)]


def test_a_journal_key_names_group_topic_and_partition() -> None:
    assert journal_key("grüppe", TopicPartition("events", 3)) == "grüppe|events|3".encode()
