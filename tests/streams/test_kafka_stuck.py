"""A call into librdkafka that does not come back costs the worker that producer and no more."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer

from schemas.records import TopicPartition
from streams.kafka_commits import KafkaCommits
from streams.kafka_log import KafkaLog
from streams.ports import Committed, IndeterminateError, Output
from tests.streams.transports import NOW_MS, PATIENCE_S, KafkaTransport, Recorder, poll_until

TIMEOUT_MS = 3_000


class Stuck:
    """A producer whose offsets never arrive, whatever timeout is given."""

    def __init__(self, producer: Producer, freed: threading.Event) -> None:
        self._producer = producer
        self._freed = freed

    def send_offsets_to_transaction(self, *_arguments: Any) -> None:
        self._freed.wait(60)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)


@pytest.fixture
def freed() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.kafka
def test_offsets_that_never_arrive_cost_the_producer_and_nothing_else(
    kafka: str,
    new_topic: Callable[..., str],
    unique_name: Callable[[str], str],
    freed: threading.Event,
) -> None:
    transport = KafkaTransport(kafka, new_topic, unique_name)
    recorder = Recorder()
    log = transport.log(recorder, "a")
    assert isinstance(log, KafkaLog)
    commits = KafkaCommits(
        log,
        kafka,
        journal_topic=transport.journal,
        instance="a",
        transaction_timeout_ms=TIMEOUT_MS,
    )
    try:
        poll_until(transport, [log], lambda _: len(recorder.owned) == 2)
        tp = TopicPartition(transport.events, 0)
        output = Output(transport.alerts, 0, b"model", b"alert", (), NOW_MS)
        outbox: Any = commits._outbox
        outbox.producer = Stuck(outbox.producer, freed)

        start_s = time.monotonic()
        with pytest.raises(IndeterminateError, match="did not come back"):
            commits.publish([output], {tp: Committed(5, "")})
        # Not a measurement: without the bound it is a minute, as long as the stuck call takes.
        assert time.monotonic() - start_s < PATIENCE_S
        with pytest.raises(IndeterminateError, match="reopen"):
            commits.publish([output], {tp: Committed(5, "")})

        commits.reopen()
        # Nor does it leave anything behind that the stuck call itself does not hold.
        abandoned = weakref.ref(outbox)
        del outbox
        gc.collect()
        assert abandoned() is None
        assert commits.committed([tp]) == {tp: None}
        commits.publish([output], {tp: Committed(6, "")})
        assert commits.committed([tp]) == {tp: Committed(6, "")}
        assert [seen.value for seen in transport.seen(transport.alerts)] == [b"alert"]
    finally:
        log.close()
        commits.close()
