"""The commands topic on Kafka: read from its beginning without a group, written by the CLI."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from streams.kafka_clients import (
    ClientConfigError,
    describe,
    kafka_error,
    open_client,
    producer_config,
    reader_config,
)
from streams.kafka_errors import PARTITION_END
from streams.kafka_properties import KafkaValue
from streams.ports import LogError, SaidRecord

log = structlog.get_logger(__name__)

_AT_ONCE: Final = 1_000
_SEND_S: Final = 30.0


class KafkaCommandLog:
    """A `CommandLog` over partition 0 of the topic.

    `topic_id_of` gives a topic's id; asked where the topic is seen to begin anew.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        group: str,
        topic_id_of: Callable[[str], str],
        kafka_properties: Mapping[str, KafkaValue] | None = None,
    ) -> None:
        """Raises `LogError` where no client can be made."""
        config = {
            **reader_config(bootstrap_servers, group, kafka_properties or {}),
            # What retention has removed is over; a topic that was made again is read anew.
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 500,
        }
        self._topic: Final = topic
        self._topic_id_of: Final = topic_id_of
        self._topic_id = ""
        self._last_offset = -1
        self._said = ""
        self._waiting: list[Message] = []
        try:
            self._consumer: Final = open_client(Consumer, config, "commands reader")
        except ClientConfigError as error:
            raise LogError(str(error)) from None
        self._consumer.assign([KafkaPartition(topic, 0, OFFSET_BEGINNING)])

    def read(self) -> Sequence[SaidRecord]:
        """What has come; where it cannot be read, that is said once and tried again."""
        said: list[SaidRecord] = []
        try:
            messages = self._consumer.consume(_AT_ONCE, 0)
        except KafkaException as exception:
            self._say(describe(kafka_error(exception)))
            return said
        self._waiting += messages
        while self._waiting:
            message = self._waiting[0]
            error, offset = message.error(), message.offset()
            if error is not None or offset is None:
                if error is not None and error.code() != PARTITION_END:
                    self._say(describe(error))
            else:
                try:
                    if offset <= self._last_offset or not self._topic_id:
                        self._topic_id = self._topic_id_of(self._topic)
                except LogError as problem:
                    self._say(str(problem))
                    return said
                self._last_offset = offset
                self._said = ""
                timestamp_ms = message.timestamp()[1]
                said.append(SaidRecord(self._topic_id, offset, timestamp_ms, message.value()))
            del self._waiting[0]
        return said

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _say(self, reason: str) -> None:
        if reason != self._said:
            self._said = reason
            log.warning("commands cannot be read", topic=self._topic, reason=reason)


def send_command(
    bootstrap_servers: str,
    topic: str,
    key: bytes,
    value: bytes,
    *,
    kafka_properties: Mapping[str, KafkaValue] | None = None,
) -> None:
    """Write one command and wait until the brokers have it. Raises `LogError`."""
    config = producer_config(
        bootstrap_servers,
        kafka_properties or {},
        transactional_id=None,
        transaction_timeout_ms=int(1000 * _SEND_S),
    )
    failed: list[str] = []
    try:
        producer = open_client(Producer, config, "commands producer")
        producer.produce(
            topic,
            value,
            key,
            0,
            on_delivery=lambda error, _: failed.append(describe(error)) if error else None,
        )
        n_left = producer.flush(_SEND_S)
    except (ClientConfigError, KafkaException, BufferError) as error:
        said = describe(kafka_error(error)) if isinstance(error, KafkaException) else str(error)
        raise LogError(f"the command cannot be sent: {said}") from None
    if failed or n_left:
        reason = failed[0] if failed else f"no answer within {_SEND_S:.0f} s"
        raise LogError(
            f"the command was not taken by the topic {topic}: {reason}; "
            "`driftsentry topics create` makes the topic, `driftsentry doctor` looks for more"
        )
