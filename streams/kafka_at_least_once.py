"""Outputs first, then a plain commit: at least once, for brokers without transactions.

A crash between the two repeats outputs; each carries an identity (`ce_id`), so that a reader can
tell. librdkafka's mock broker is such a broker: it takes transactions and keeps nothing of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.records import TopicPartition
from streams.kafka_clients import (
    ClientConfigError,
    describe,
    kafka_error,
    open_client,
    producer_config,
)
from streams.kafka_errors import OWNERSHIP_LOST, REFUSED, is_passing
from streams.kafka_history import KafkaHistory
from streams.kafka_log import KafkaLog
from streams.kafka_outbox import Outbox, kafka_offsets
from streams.kafka_properties import KafkaValue
from streams.ports import (
    AbortedError,
    CommitError,
    Commits,
    Committed,
    IndeterminateError,
    Output,
    OwnershipLostError,
    RefusedError,
)

_PAUSE_S: Final = 0.02


class AtLeastOnceCommits(KafkaHistory, Commits):
    """An idempotent producer, flushed, then a synchronous commit of `log`'s member."""

    exactly_once = False

    def __init__(
        self,
        log: KafkaLog,
        bootstrap_servers: str,
        *,
        journal_topic: str,
        kafka_properties: Mapping[str, KafkaValue] | None = None,
        timeout_s: float = 10.0,
    ) -> None:
        """Open the producer; `timeout_s` bounds a `publish`."""
        super().__init__(
            log,
            bootstrap_servers,
            journal_topic=journal_topic,
            kafka_properties=kafka_properties,
        )
        self._timeout_s: Final = timeout_s
        self._config: Final = producer_config(
            bootstrap_servers,
            kafka_properties or {},
            transactional_id=None,
            transaction_timeout_ms=int(timeout_s * 1000),
        )
        self._outbox: Outbox | None = None
        self.reopen()

    def publish(
        self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        """Deliver the outputs, then commit the offsets.

        After `AbortedError` nothing is committed, though some of the outputs may be there already:
        publishing the same again repeats them. Raises the errors of the exactly-once form, save
        `FencedError`.
        """
        if self._outbox is None:
            self.reopen()
        outbox = self._outbox
        assert outbox is not None
        if offsets:
            self._log.group_metadata()  # raises where this is no member (any more)
        self._outbox = None
        deadline_s = time.monotonic() + self._timeout_s
        try:
            outbox.send(outputs, deadline_s)
            outbox.flush(deadline_s)
        except KafkaException as exception:
            outbox.discard()
            error = kafka_error(exception)
            kind = RefusedError if error.code() in REFUSED else AbortedError
            raise kind(describe(error)) from exception
        self._outbox = outbox
        if offsets:
            self._commit(offsets, deadline_s)

    def reopen(self) -> None:
        """Abandon the producer and open a new one. Raises `RefusedError`."""
        self.close()
        try:
            self._outbox = Outbox(open_client(Producer, self._config, "producer"))
        except ClientConfigError as error:
            raise RefusedError(str(error)) from None

    def close(self) -> None:
        """Drop the producer; nothing is on its way between two calls of `publish`."""
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            outbox.discard()

    def _commit(self, offsets: Mapping[TopicPartition, Committed], deadline_s: float) -> None:
        positions = kafka_offsets(offsets, self._log.epochs)
        while True:
            try:
                answers = self._log.consumer.commit(offsets=positions, asynchronous=False)
                errors = [answer.error for answer in answers if answer.error is not None]
            except KafkaException as exception:
                errors = [kafka_error(exception)]
            if not errors:
                return
            error = errors[0]
            is_over = error.code() in OWNERSHIP_LOST or not is_passing(error)
            if is_over or time.monotonic() >= deadline_s:
                raise _commit_error(error)
            time.sleep(_PAUSE_S)


def _commit_error(error: KafkaError) -> CommitError:
    text = describe(error)
    if error.code() in OWNERSHIP_LOST:
        return OwnershipLostError(text)
    if error.code() in REFUSED:
        return RefusedError(text)
    return IndeterminateError(text)
