"""At least once, on librdkafka's mock broker: what the demo's worker stands on."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from schemas.records import TopicPartition
from streams.embedded import EmbeddedBroker
from streams.kafka_at_least_once import AtLeastOnceCommits
from streams.kafka_log import KafkaLog
from streams.ports import (
    AbortedError,
    Committed,
    Output,
    OwnershipLostError,
    RefusedError,
)
from streams.topics import journal_key
from tests.streams.transports import NOW_MS, KafkaTransport, Recorder, poll_until, values

N_PARTITIONS = 4  # the mock broker gives every topic as many


class MockTransport(KafkaTransport):
    """The mock broker; its topics appear when they are first written to."""

    def __init__(self, servers: str) -> None:
        names = iter(["events", "alerts", "journal", "group"])
        super().__init__(servers, lambda *_: next(names), lambda what: what)

    def write(self, topic: str, partition: int, value: str) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        producer.produce(topic, value, b"model", partition, timestamp=NOW_MS)
        assert producer.flush(10) == 0


@pytest.fixture(scope="module")
def broker() -> Iterator[MockTransport]:
    with EmbeddedBroker() as embedded:
        transport = MockTransport(embedded.bootstrap_servers)
        for topic in (transport.events, transport.alerts, transport.journal):
            transport.write(topic, 0, "first")
        yield transport


def test_outputs_and_offsets_with_metadata_are_there_and_the_log_goes_on(
    broker: MockTransport, caplog: pytest.LogCaptureFixture
) -> None:
    tp = TopicPartition(broker.events, 0)

    def commit(tps: object) -> None:
        del tps
        commits.publish([], {tp: Committed(2, "closing")})

    recorder = Recorder(start=dict.fromkeys(range(N_PARTITIONS), 0), on_revoked=commit)
    log = broker.log(recorder)
    assert isinstance(log, KafkaLog)
    commits = AtLeastOnceCommits(log, broker.servers, journal_topic=broker.journal)
    assert not commits.exactly_once
    with pytest.raises(OwnershipLostError, match="not a member"):
        commits.publish([], {tp: Committed(1, "too early")})

    records = poll_until(broker, [log], lambda records: len(records) >= 1)
    assert values(records) == ["first"]
    assert commits.committed([tp]) == {tp: None}
    alert = Output(broker.alerts, 0, b"model", b"alert", (("ce_id", b"a.1"),), NOW_MS)
    entry = Output(broker.journal, -1, journal_key(broker.group, tp), b"entry", (), NOW_MS)
    other = Output(broker.journal, -1, journal_key("another", tp), b"other", (), NOW_MS)
    commits.publish([alert, entry, other], {tp: Committed(1, '{"v": 1}')})

    assert commits.committed([tp]) == {tp: Committed(1, '{"v": 1}')}
    assert broker.seen(broker.alerts)[1:] == [alert[2:]]
    assert commits.journal(tp) == [b"entry"]
    assert commits.journal(TopicPartition(broker.events, 1)) == []
    assert commits.watermarks(tp) == (0, 1)
    with caplog.at_level(logging.WARNING, "driftsentry.kafka"):
        assert commits.topic_id(broker.events) == "name:events"
    assert "gives no topic ids" in caplog.text

    too_large = alert._replace(value=b"x" * 2_000_000)
    with pytest.raises(RefusedError, match="MSG_SIZE_TOO_LARGE"):
        commits.publish([too_large], {tp: Committed(9, "")})
    assert commits.committed([tp]) == {tp: Committed(1, '{"v": 1}')}
    broker.write(broker.events, 0, "second")
    assert values(poll_until(broker, [log], lambda records: len(records) >= 1)) == ["second"]
    log.close()
    with pytest.raises(RuntimeError, match="closed"):
        commits.committed([tp])
    commits.close()


def test_a_broker_that_is_gone_aborts_in_time_and_the_producer_is_replaced() -> None:
    broker = EmbeddedBroker()
    transport = MockTransport(broker.bootstrap_servers)
    transport.write(transport.alerts, 0, "first")
    log = transport.log(Recorder())
    assert isinstance(log, KafkaLog)
    commits = AtLeastOnceCommits(
        log, broker.bootstrap_servers, journal_topic=transport.journal, timeout_s=0.5
    )
    broker.close()
    alert = Output(transport.alerts, 0, b"model", b"alert", (), NOW_MS)
    for _ in range(2):
        with pytest.raises(AbortedError):
            commits.publish([alert], {})
    commits.close()
    log.close()
