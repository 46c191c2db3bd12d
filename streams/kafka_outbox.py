"""A producer and what became of the records given to it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.records import TopicPartition
from streams.kafka_epochs import LeaderEpochs
from streams.kafka_errors import PURGED, TIMED_OUT
from streams.ports import Committed, Output

_PAUSE_S: Final = 0.01
_POLL_EVERY: Final = 1_000


def kafka_offsets(
    offsets: Mapping[TopicPartition, Committed], epochs: LeaderEpochs
) -> list[KafkaPartition]:
    """The offsets to commit in the client's form, with the leader epochs that are known."""
    return [
        KafkaPartition(
            tp.topic,
            tp.partition,
            committed.offset,
            committed.metadata,
            epochs.before(tp, committed.offset),
        )
        for tp, committed in offsets.items()
    ]


class Outbox:
    """Sends records and waits for them; the first that could not be delivered is the error."""

    def __init__(self, producer: Producer) -> None:
        self.producer: Final = producer
        self._failure: KafkaError | None = None

    def send(self, outputs: Iterable[Output], deadline_s: float) -> None:
        """Queue the records; a full queue is waited for. Raises `KafkaException`."""
        for number, output in enumerate(outputs):
            self._produce(output, deadline_s)
            if number % _POLL_EVERY == 0:
                self.producer.poll(0)

    def flush(self, deadline_s: float) -> None:
        """Wait until every record is delivered. Raises `KafkaException` where one was not."""
        n_left = self.producer.flush(max(0.0, deadline_s - time.monotonic()))
        if self._failure is not None:
            raise KafkaException(self._failure)
        if n_left:
            raise KafkaException(_doomed(TIMED_OUT, f"{n_left} records were not delivered in time"))

    def failure(self) -> KafkaError | None:
        """The first record that could not be delivered, as far as is known now."""
        self.producer.poll(0)
        return self._failure

    def forget_failures(self) -> None:
        """After an abort: what failed belonged to it."""
        self.producer.poll(0)
        self._failure = None

    def discard(self) -> None:
        """Drop what is queued or on its way; the producer is not used any more.

        A record that was never reported on would keep the producer alive, and this with it.
        """
        self.producer.purge()
        try:
            self.producer.poll(0)
        except KafkaException:
            # Of a fatal error the client tells first, once, and of the records when asked again.
            self.producer.poll(0)

    def _produce(self, output: Output, deadline_s: float) -> None:
        while True:
            try:
                return self.producer.produce(
                    output.topic,
                    output.value,
                    output.key,
                    output.partition,
                    on_delivery=self._on_delivery,
                    # Zero would mean "now" to the client.
                    timestamp=max(1, output.timestamp_ms),
                    headers=list(output.headers),
                )
            except BufferError:
                if time.monotonic() >= deadline_s:
                    raise KafkaException(
                        _doomed(TIMED_OUT, "the queue of records stayed full")
                    ) from None
            self.producer.poll(_PAUSE_S)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        # What was purged did not fail itself: its transaction had failed before.
        if error is not None and self._failure is None and error.code() not in PURGED:
            # A record that failed inside a transaction takes the transaction with it.
            self._failure = _doomed(error.code(), f"{error.str()} (topic {message.topic()})")


def _doomed(code: int, reason: str) -> KafkaError:
    return KafkaError(code, reason, txn_requires_abort=True)
