"""Configurations of the Kafka clients, and what may be said of them.

`kafka_properties` are librdkafka's, as the user gave them, references already read
(`streams/kafka_properties.py`). They win over the defaults here and give way to what the delivery
guarantee needs. No text that leaves this module holds the value of a secret property.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka_errors import ALL_DOWN, NO_OFFSET, is_passing
from streams.kafka_properties import KafkaValue, is_secret
from streams.ports import LogError

LOGGER: Final = logging.getLogger("driftsentry.kafka")
_UNHEARD: Final = logging.getLogger("driftsentry.kafka.unheard")
_UNHEARD.propagate = False
_UNHEARD.addHandler(logging.NullHandler())

FETCH_MAX_BYTES: Final = 16 * 1024 * 1024
_RECEIVE_MAX_BYTES: Final = 4 * FETCH_MAX_BYTES
_SHORTEST_SECRET: Final = 3
_LEADERS_S: Final = 2.0
_PAUSE_S: Final = 0.05
ANSWER_S: Final = 8.0
"""A command that ends waits so long for a broker before it says that none answers."""

# librdkafka warns of a property that its kind of client does not know: give each its own.
_CONSUMER_ONLY: Final = frozenset({
    "allow.auto.create.topics", "auto.commit.enable", "auto.commit.interval.ms",
    "auto.offset.reset", "check.crcs", "client.rack", "consume.callback.max.messages",
    "coordinator.query.interval.ms", "enable.auto.commit", "enable.auto.offset.store",
    "enable.partition.eof", "fetch.error.backoff.ms", "fetch.max.bytes",
    "fetch.message.max.bytes", "fetch.min.bytes", "fetch.queue.backoff.ms", "fetch.wait.max.ms",
    "group.id", "group.instance.id", "group.protocol", "group.protocol.type",
    "group.remote.assignor", "heartbeat.interval.ms", "isolation.level",
    "max.partition.fetch.bytes", "max.poll.interval.ms", "offset.store.method",
    "partition.assignment.strategy", "queued.max.messages.kbytes", "queued.min.messages",
    "session.timeout.ms",
})  # fmt: skip
_PRODUCER_ONLY: Final = frozenset({
    "acks", "batch.num.messages", "batch.size", "compression.codec", "compression.level",
    "compression.type", "delivery.report.only.error", "delivery.timeout.ms",
    "enable.gapless.guarantee", "enable.idempotence", "linger.ms", "message.send.max.retries",
    "message.timeout.ms", "partitioner", "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes", "queue.buffering.max.messages", "queue.buffering.max.ms",
    "queuing.strategy", "request.required.acks", "request.timeout.ms", "retries",
    "sticky.partitioning.linger.ms", "transaction.timeout.ms", "transactional.id",
})  # fmt: skip

Client = TypeVar("Client")
Answer = TypeVar("Answer")


class ClientConfigError(Exception):
    """librdkafka refuses the configuration; the message says which property."""


class NoBrokerError(LogError):
    """No broker answers; the message says where, and what to look at."""


def kafka_error(error: KafkaException) -> KafkaError:
    """The error that an exception of confluent-kafka carries, with its flags."""
    carried = error.args[0] if error.args else None
    if isinstance(carried, KafkaError):
        return carried
    return KafkaError(KafkaError.UNKNOWN, str(error))


def describe(error: KafkaError) -> str:
    """The error in one line: its name and what the broker or the client said."""
    return f"{error.name()}: {error.str()}"


def redacted(text: str, kafka_properties: Mapping[str, KafkaValue]) -> str:
    """The text without the values of secret properties."""
    for name, value in kafka_properties.items():
        secret = str(value)
        if is_secret(name) and len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text


def open_client(
    make: Callable[..., Client],
    config: Mapping[str, KafkaValue],
    kind: str,
    *,
    hear: Callable[[KafkaError], None] | None = None,
) -> Client:
    """A client that logs to `driftsentry.kafka`; with `hear` that takes errors, and nothing is.

    Raises `ClientConfigError`, without secrets.
    """

    def on_error(error: KafkaError) -> None:
        level = logging.ERROR if error.fatal() else logging.WARNING
        LOGGER.log(level, "%s: %s", kind, redacted(describe(error), config))

    settings: dict[str, Any] = {**config, "error_cb": hear or on_error}
    problem: str
    try:
        return make(settings, logger=_UNHEARD if hear else LOGGER)
    except KafkaException as error:
        problem = describe(kafka_error(error))
    except (TypeError, ValueError) as error:
        problem = str(error)
    # Outside the handler: a chained exception would show the text with the secret in it.
    raise ClientConfigError(f"the Kafka {kind} cannot be made: {redacted(problem, config)}")


def require_broker(bootstrap_servers: str, kafka_properties: Mapping[str, KafkaValue]) -> None:
    """Raise `NoBrokerError` where no broker answers soon: for commands that end, before they begin.

    A consumer would log each attempt to connect, hundreds in a minute. `ClientConfigError`, too.
    """
    heard: list[KafkaError] = []
    config = admin_config(bootstrap_servers, kafka_properties)
    admin = open_client(AdminClient, config, "admin client", hear=heard.append)
    try:
        admin.list_topics(timeout=ANSWER_S)
    except KafkaException as exception:
        admin.poll(0)  # what the answer does not say: that a name is unknown, a password wrong
        reasons = [each for each in heard if each.code() != ALL_DOWN]
        reason = redacted(describe((reasons or [kafka_error(exception)])[-1]), config)
        raise NoBrokerError(
            f"no broker answers at {bootstrap_servers}: {reason}; check the address, the network, "
            "`security.protocol` and the credentials"
        ) from None


def answered_offset(offset: int) -> int:
    """An offset that a broker was asked for. Raises `KafkaException`, to ask again, without one.

    While a leader moves librdkafka may take an answer that holds no offset for a good one: its
    offset is below 0. For the end of a log it would mean that everything has been lost.
    """
    if offset < 0:
        raise KafkaException(
            KafkaError(NO_OFFSET, f"the broker's answer holds no offset: {offset}")
        )
    return offset


def without_errors(places: Sequence[TopicPartition]) -> Sequence[TopicPartition]:
    """The same; raises `KafkaException` where a partition has an error of its own."""
    for each in places:
        if each.error is not None:
            raise KafkaException(each.error)
    return places


def ask_patiently(ask: Callable[[], Answer], patience_s: float) -> Answer:
    """The answer; asked again while its error is one that passes, until the patience is over.

    Raises `KafkaException`.
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except KafkaException as exception:
            if not is_passing(kafka_error(exception)) or time.monotonic() > deadline_s:
                raise
        time.sleep(_PAUSE_S)


def learn_leaders(reader: Consumer, topic: str) -> None:
    """Have a new reader ask who leads the topic's partitions, before these are assigned to it.

    Otherwise it asks when they are, and looks at the answer half a second later. Where nobody
    answers soon it is left to the reader, which goes on asking.
    """
    with suppress(KafkaException):
        reader.list_topics(topic, _LEADERS_S)


def consumer_config(
    bootstrap_servers: str,
    group: str,
    kafka_properties: Mapping[str, KafkaValue],
    *,
    instance: str | None = None,
    session_timeout_ms: int,
    max_poll_interval_ms: int,
) -> dict[str, KafkaValue]:
    """The consumer that reads events as a member of a group.

    A dead dynamic member's partitions are idle for `session_timeout_ms`; a static member
    (`instance`) that is started again has them back at once and does not wait for it.
    """
    defaults: dict[str, KafkaValue] = {
        # The default sleeps a second whenever the queue is full: 2.7 times slower.
        "fetch.queue.backoff.ms": 5,
        # A broker is asked one thing at a time: a partition that is assigned or resumed waits
        # until the idle fetch before it has come back.
        "fetch.wait.max.ms": 100,
        "heartbeat.interval.ms": min(500, max(1, session_timeout_ms // 6)),
        "max.poll.interval.ms": max(max_poll_interval_ms, session_timeout_ms),
        "fetch.max.bytes": FETCH_MAX_BYTES,
        "max.partition.fetch.bytes": 1024 * 1024,
        "queued.max.messages.kbytes": 32 * 1024,
        # Above fetch.max.bytes + 512, with room for one batch that is bigger than asked for.
        "receive.message.max.bytes": _RECEIVE_MAX_BYTES,
        "allow.auto.create.topics": "false",
    }
    kept: dict[str, KafkaValue] = {
        "bootstrap.servers": bootstrap_servers,
        "group.id": group,
        "session.timeout.ms": session_timeout_ms,
        "partition.assignment.strategy": "cooperative-sticky",
        "auto.offset.reset": "error",
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "isolation.level": "read_committed",
    }
    if instance is not None:
        kept["group.instance.id"] = instance
    return _merged(defaults, kafka_properties, kept, _PRODUCER_ONLY)


def reader_config(
    bootstrap_servers: str, group: str, kafka_properties: Mapping[str, KafkaValue]
) -> dict[str, KafkaValue]:
    """A consumer that reads partitions to their ends, without being a member of the group."""
    defaults: dict[str, KafkaValue] = {
        # The end of a partition is said only by an empty fetch, which waits for so long.
        "fetch.wait.max.ms": 10,
        "fetch.queue.backoff.ms": 5,
        "fetch.max.bytes": FETCH_MAX_BYTES,
        "receive.message.max.bytes": _RECEIVE_MAX_BYTES,
        "allow.auto.create.topics": "false",
    }
    kept: dict[str, KafkaValue] = {
        "bootstrap.servers": bootstrap_servers,
        "group.id": group,
        "auto.offset.reset": "error",
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "isolation.level": "read_committed",
        "enable.partition.eof": "true",
    }
    return _merged(defaults, kafka_properties, kept, _PRODUCER_ONLY)


def producer_config(
    bootstrap_servers: str,
    kafka_properties: Mapping[str, KafkaValue],
    *,
    transactional_id: str | None,
    transaction_timeout_ms: int,
) -> dict[str, KafkaValue]:
    """The producer of alerts, dead letters and the journal; `transactional_id` None: plain.

    A message that cannot be delivered fails well before the broker would end the transaction.
    """
    defaults: dict[str, KafkaValue] = {
        # The broker answers CONCURRENT_TRANSACTIONS while it writes the markers of the last
        # transaction; with the defaults the client then sleeps 100 ms: 108 ms each, not 8.
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 20,
        "linger.ms": 2,
        # A topic that does not exist is said before the message would be given up for its age.
        "topic.metadata.propagation.max.ms": min(5_000, max(1, transaction_timeout_ms // 2)),
        "queue.buffering.max.messages": 100_000,
        "queue.buffering.max.kbytes": 64 * 1024,
        # The partition of a key as every other Kafka client computes it.
        "partitioner": "murmur2_random",
    }
    kept: dict[str, KafkaValue] = {
        "bootstrap.servers": bootstrap_servers,
        "acks": "all",
        "enable.idempotence": "true",
        "message.timeout.ms": max(1, transaction_timeout_ms * 8 // 10),
        "delivery.report.only.error": True,
    }
    if transactional_id is not None:
        kept["transactional.id"] = transactional_id
        kept["transaction.timeout.ms"] = transaction_timeout_ms
    return _merged(defaults, kafka_properties, kept, _CONSUMER_ONLY)


def admin_config(
    bootstrap_servers: str, kafka_properties: Mapping[str, KafkaValue]
) -> dict[str, KafkaValue]:
    """The client that describes and creates topics."""
    kept: dict[str, KafkaValue] = {"bootstrap.servers": bootstrap_servers}
    return _merged({}, kafka_properties, kept, _CONSUMER_ONLY | _PRODUCER_ONLY)


def _merged(
    defaults: Mapping[str, KafkaValue],
    kafka_properties: Mapping[str, KafkaValue],
    kept: Mapping[str, KafkaValue],
    foreign: frozenset[str],
) -> dict[str, KafkaValue]:
    given = {name: value for name, value in kafka_properties.items() if name not in foreign}
    return {**defaults, **given, **kept}
