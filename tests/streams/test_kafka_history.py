"""What is asked of the brokers about the past is asked again in the right way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin._listoffsets import OffsetSpec

from schemas.records import TopicPartition
from streams.kafka_history import KafkaHistory
from streams.kafka_log import KafkaLog
from streams.ports import Output
from streams.topics import journal_key
from tests.streams.transports import NOW_MS, KafkaTransport, Recorder

GIVEN_UP = -137
SPECS: Any = OffsetSpec  # its methods carry no types
OF_FIRST = SPECS.earliest()


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
    """An admin client that loses the connection over which it asks first."""

    def __init__(self) -> None:
        self.n_topics = 0

    def list_topics(self, *_arguments: Any) -> None:
        self.n_topics += 1

    def list_offsets(
        self, asked: Mapping[KafkaPartition, Any], **_options: Any
    ) -> dict[KafkaPartition, Future[Any]]:
        ((partition, spec),) = asked.items()
        answer: Future[Any] = Future()
        if self.n_topics < 2:
            self.fail(answer)
        else:
            is_first = spec._value == OF_FIRST._value
            answer.set_result(SimpleNamespace(offset=3 if is_first else 7))
        return {partition: answer}

    def fail(self, answer: Future[Any]) -> None:
        answer.set_exception(KafkaException(KafkaError(self.error())))

    def error(self) -> int:
        return GIVEN_UP


class OfDeadLeader(GivenUp):
    """One that asks a dead leader, until it has asked twice who leads the topic."""

    def error(self) -> int:
        return int(KafkaError._TIMED_OUT)


class OfNoOffset(GivenUp):
    """One whose first answer is none, and is taken for a good one."""

    def fail(self, answer: Future[Any]) -> None:
        answer.set_result(SimpleNamespace(offset=OFFSET_INVALID))


@pytest.mark.parametrize("admin", [GivenUp(), OfDeadLeader(), OfNoOffset()])
def test_the_range_of_a_partition_whose_leader_was_killed_is_asked_for_again(
    admin: GivenUp,
) -> None:
    """One worker ended (Broker handle destroyed without termination), another waited a minute.

    A third one said that the log had been cut off before the committed offset, and ended.
    """
    assert KafkaError(GIVEN_UP).name() == "_DESTROY_BROKER"
    log = KafkaLog("localhost:1", "events", group="g")
    try:
        history = KafkaHistory(log, "localhost:1", journal_topic="journal", patience_s=3)
        any_history: Any = history
        any_history._admin = admin
        assert history.watermarks(TopicPartition("events", 0)) == (3, 7)
    finally:
        log.close()


ASKED_WITHIN = """
import os
import time
from streams.embedded import EmbeddedBroker
from streams.kafka_history import KafkaHistory
from streams.kafka_log import KafkaLog
from streams.ports import RebalanceListener
from streams.traffic_producer import TrafficProducer

broker = EmbeddedBroker().__enter__()
log = KafkaLog(broker.bootstrap_servers, "events", group="group")
history = KafkaHistory(log, broker.bootstrap_servers, journal_topic="journal", patience_s=20)
producer = TrafficProducer(broker.bootstrap_servers, "events")
producer.touch("events")  # the mock broker makes it
producer.close()

class Listener(RebalanceListener):
    asked = False
    def on_assigned(self, tps):
        history.committed(tps)
        self.ranges = [history.watermarks(tp) for tp in tps]
        history.topic_id("events")
        broker.__exit__(None, None, None)
        time.sleep(1)  # that it is gone is said by a callback, of the same call to the client
        self.asked = True
        return {tp: 0 for tp in tps}
    def on_revoked(self, tps):
        pass
    def on_lost(self, tps):
        pass

listener = Listener()
log.subscribe(listener)
deadline_s = time.monotonic() + 20
while not listener.asked and time.monotonic() < deadline_s:
    log.poll(10, 0.1)
print(set(listener.ranges), flush=True)
os._exit(0)
"""


def test_what_is_asked_while_partitions_are_assigned_leaves_the_client_as_it_was() -> None:
    """A worker aborted: `CallState_get: Assertion `cs != NULL' failed`."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED_WITHIN],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{Watermarks(low=0, high=0)}\n"


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
