"""What is asked of the brokers about the past is asked again in the right way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.records import TopicPartition
from streams.kafka_history import KafkaHistory
from streams.kafka_log import KafkaLog
from streams.ports import Output
from streams.topics import journal_key
from tests.streams.transports import NOW_MS, KafkaTransport, Recorder

GIVEN_UP = -137


class OfOldEpoch:
    """An admin client whose cache is of before a leader moved, until it asks for the topics."""

    def __init__(self, admin: Any) -> None:
        self._admin = admin
        self._is_stale = True

    def list_topics(self, *arguments: Any) -> Any:
        self._is_stale = False
        return self._admin.list_topics(*arguments)

    def list_offsets(self, *arguments: Any, **options: Any) -> Any:
        if self._is_stale:
            raise KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH))
        return self._admin.list_offsets(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._admin, name)


class GivenUp:
    """A consumer that loses the connection over which it asks first."""

    def __init__(self) -> None:
        self.n_asked = 0

    def list_topics(self, *_arguments: Any) -> None:
        """It knows the topic."""

    def get_watermark_offsets(self, *_arguments: Any, **_options: Any) -> tuple[int, int]:
        self.n_asked += 1
        if self.n_asked == 1:
            raise KafkaException(KafkaError(GIVEN_UP))
        return 3, 7


class OfDeadLeader:
    """A consumer that asks a dead leader, until it has asked twice who leads the topic."""

    def __init__(self) -> None:
        self.n_topics = 0

    def list_topics(self, *_arguments: Any) -> None:
        self.n_topics += 1

    def get_watermark_offsets(self, *_arguments: Any, **_options: Any) -> tuple[int, int]:
        if self.n_topics < 2:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return 3, 7


@pytest.mark.parametrize("consumer", [GivenUp(), OfDeadLeader()])
def test_the_range_of_a_partition_whose_leader_was_killed_is_asked_for_again(
    consumer: GivenUp | OfDeadLeader,
) -> None:
    """One worker ended (Broker handle destroyed without termination), another waited a minute."""
    assert KafkaError(GIVEN_UP).name() == "_DESTROY_BROKER"
    log = KafkaLog("localhost:1", "events", group="g")
    try:
        history = KafkaHistory(log, "localhost:1", journal_topic="journal", patience_s=3)
        any_history: Any = history
        any_history._log = type("Log", (), {"consumer": consumer})
        assert history.watermarks(TopicPartition("events", 0)) == (3, 7)
    finally:
        log.close()


@pytest.mark.kafka
def test_the_journal_is_read_after_its_leader_has_moved(
    kafka: str, new_topic: Callable[..., str], unique_name: Callable[[str], str]
) -> None:
    transport = KafkaTransport(kafka, new_topic, unique_name)
    log = transport.log(Recorder())
    assert isinstance(log, KafkaLog)
    commits = transport.commits(log)
    tp = TopicPartition(transport.events, 1)
    key = journal_key(transport.group, tp)
    commits.publish([Output(transport.journal, -1, key, b"an entry", (), NOW_MS)], {})
    commits.close()
    try:
        history = KafkaHistory(log, kafka, journal_topic=transport.journal, patience_s=3)
        any_history: Any = history
        any_history._admin = OfOldEpoch(any_history._admin)
        assert history.journal(tp) == [b"an entry"]
        assert history.n_partitions(transport.events) == 2
    finally:
        log.close()
