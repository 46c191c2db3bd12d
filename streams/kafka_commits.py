"""Outputs and offsets in one Kafka transaction: exactly once, or it is said what is known.

The contract of librdkafka's errors, in its order: retriable: the same call again; abort required:
abort, and the same output can be published anew; fatal, or without any flag: nobody knows, the
producer is abandoned. A transaction is open only from the first record to the commit: milliseconds.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.records import TopicPartition
from streams.kafka_clients import (
    LOGGER,
    ClientConfigError,
    describe,
    kafka_error,
    open_client,
    producer_config,
)
from streams.kafka_errors import EXPIRED, FENCED, OWNERSHIP_LOST, REFUSED, TIMED_OUT
from streams.kafka_history import KafkaHistory
from streams.kafka_log import KafkaLog
from streams.kafka_outbox import Outbox, kafka_offsets
from streams.kafka_properties import KafkaValue
from streams.ports import (
    AbortedError,
    CommitError,
    Commits,
    Committed,
    FencedError,
    IndeterminateError,
    Output,
    OwnershipLostError,
    RefusedError,
)

_PAUSE_S: Final = 0.005
_GRACE_S: Final = 0.5
_OPEN_TRY_S: Final = 10.0


class KafkaCommits(KafkaHistory, Commits):
    """Exactly once: a transactional producer, fenced by the group generation of `log`'s member."""

    exactly_once = True

    def __init__(
        self,
        log: KafkaLog,
        bootstrap_servers: str,
        *,
        journal_topic: str,
        instance: str | None = None,
        kafka_properties: Mapping[str, KafkaValue] | None = None,
        transaction_timeout_ms: int = 10_000,
        open_timeout_s: float = 60.0,
    ) -> None:
        """Open the producer, which ends whatever a dead predecessor of this instance left open.

        With `instance` the transactional id is GROUP.INSTANCE; else it is random, and what a dead
        worker left open stays so until `transaction_timeout_ms` is over. Raises as `reopen` does.
        """
        super().__init__(
            log,
            bootstrap_servers,
            journal_topic=journal_topic,
            kafka_properties=kafka_properties,
            patience_s=transaction_timeout_ms / 1000 + 50.0,
        )
        self.transactional_id: Final = f"{log.group}.{instance or uuid.uuid4().hex}"
        self._is_named: Final = instance is not None
        self._timeout_s: Final = transaction_timeout_ms / 1000
        self._open_timeout_s: Final = open_timeout_s
        self._config: Final = producer_config(
            bootstrap_servers,
            kafka_properties or {},
            transactional_id=self.transactional_id,
            transaction_timeout_ms=transaction_timeout_ms,
        )
        self._outbox: Outbox | None = None
        self._is_interrupted = False  # by whatever left a transaction that only reopening can end
        self.reopen()

    def publish(
        self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        """One transaction: the outputs, the offsets with their metadata, commit.

        Takes at most the transaction timeout, and as long again to abort. Raises `AbortedError`,
        `OwnershipLostError`, `RefusedError`, `IndeterminateError` or `FencedError`.
        """
        outbox = self._outbox
        if outbox is None or self._is_interrupted:
            raise IndeterminateError("the producer was abandoned: reopen it first")
        member = self._log.group_metadata() if offsets else None
        self._is_interrupted = True
        start_s = time.monotonic()
        deadline_s = start_s + self._timeout_s
        producer = outbox.producer
        try:
            producer.begin_transaction()
            outbox.send(outputs, deadline_s)
            if offsets:
                positions = kafka_offsets(offsets, self._log.epochs)
                _send_offsets(producer, positions, member, deadline_s)
            outbox.flush(deadline_s)
        except KafkaException as exception:
            raise self._abort(outbox, kafka_error(exception), start_s) from exception
        try:
            _repeat(producer.commit_transaction, deadline_s)
        except KafkaException as exception:
            error = kafka_error(exception)
            if error.txn_requires_abort():
                raise self._abort(outbox, error, start_s) from exception
            raise self._unknown(error, start_s) from exception
        self._is_interrupted = False

    def reopen(self) -> None:
        """Abandon the producer and open one with the same transactional id, which fences the old.

        Raises `FencedError` where another process does the same at this moment, `RefusedError`
        where the brokers refuse, `IndeterminateError` where they do not answer: try again later.
        """
        self._abandon()
        start_s = time.monotonic()
        try:
            self._outbox = Outbox(self._opened(start_s + self._open_timeout_s))
        except ClientConfigError as error:
            raise RefusedError(str(error)) from None
        except KafkaException as exception:
            raise self._unknown(kafka_error(exception), start_s) from exception
        self._is_interrupted = False

    def _opened(self, deadline_s: float) -> Producer:
        """A producer that has its transactional id. Raises as librdkafka does, at the deadline.

        While brokers go and come librdkafka may wait for its coordinator for half a minute and
        longer where a new client needs a second: so one that does not get there is given up.
        """
        while True:
            producer = open_client(Producer, self._config, "producer")
            try:
                _repeat(producer.init_transactions, min(deadline_s, time.monotonic() + _OPEN_TRY_S))
            except KafkaException as exception:
                error = kafka_error(exception)
                if not error.retriable() or error.fatal() or time.monotonic() >= deadline_s:
                    raise
            else:
                return producer

    def close(self) -> None:
        """Drop the producer; no transaction is open between two calls of `publish`."""
        self._abandon()

    def _abort(self, outbox: Outbox, error: KafkaError, start_s: float) -> CommitError:
        """End a transaction that was not committed; the exception to raise."""
        is_understood = (
            error.txn_requires_abort() or error.retriable() or error.code() in REFUSED
        ) and not (error.fatal() or error.code() in EXPIRED)
        if not is_understood:
            return self._unknown(error, start_s)
        # A record that failed shows as an error of whatever was called next: say the cause.
        is_cause = error.code() in OWNERSHIP_LOST | REFUSED
        cause = error if is_cause else outbox.failure() or error
        try:
            _repeat(outbox.producer.abort_transaction, time.monotonic() + self._timeout_s)
        except KafkaException as exception:
            return self._unknown(kafka_error(exception), start_s)
        outbox.forget_failures()
        self._is_interrupted = False
        text = describe(cause)
        if cause.code() in OWNERSHIP_LOST:
            return OwnershipLostError(text)
        if cause.code() in REFUSED:
            return RefusedError(text)
        return AbortedError(text)

    def _unknown(self, error: KafkaError, start_s: float) -> CommitError:
        """Leave the producer to `reopen` and `close`; the exception to raise."""
        text = describe(error)
        if error.code() in REFUSED:
            return RefusedError(text)
        if error.code() in FENCED:
            # The broker fences a transaction's own producer too, when it has ended the transaction
            # for being too old; and nobody else has a random transactional id.
            if self._is_named and time.monotonic() - start_s < self._timeout_s:
                return FencedError(f"{self.transactional_id} is another process's now: {text}")
            text = f"the broker has ended the transaction, or another process did: {text}"
        LOGGER.error("transaction of %s: outcome unknown: %s", self.transactional_id, text)
        return IndeterminateError(text)

    def _abandon(self) -> None:
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            outbox.discard()


def _send_offsets(
    producer: Producer, positions: list[KafkaPartition], member: Any, deadline_s: float
) -> None:
    """Add the offsets to the transaction. Raises `KafkaException`, soon after the deadline at last.

    librdkafka does not keep to the timeout of this call: once the connection to the group's
    coordinator is lost it may wait for ever (confluentinc/librdkafka#5456). So a thread makes the
    call, and one that does not come back is left behind with its producer, which is abandoned.
    """
    failed: list[BaseException] = []

    def call() -> None:
        try:
            _repeat(
                lambda timeout_s: producer.send_offsets_to_transaction(
                    positions, member, timeout_s
                ),
                deadline_s,
            )
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised below
            failed.append(error)

    thread = threading.Thread(target=call, name="send offsets", daemon=True)
    thread.start()
    thread.join(max(0.0, deadline_s - time.monotonic()) + _GRACE_S)
    if thread.is_alive():
        text = "the client did not come back from adding the offsets to the transaction"
        raise KafkaException(KafkaError(TIMED_OUT, text))
    if failed:
        raise failed[0]


def _repeat(call: Callable[[float], None], deadline_s: float) -> None:
    """Make the call; where its error is retriable, the same call again, until the deadline."""
    while True:
        try:
            return call(max(0.05, deadline_s - time.monotonic()))
        except KafkaException as exception:
            error = kafka_error(exception)
            if not error.retriable() or error.fatal() or time.monotonic() >= deadline_s:
                raise
        time.sleep(_PAUSE_S)
