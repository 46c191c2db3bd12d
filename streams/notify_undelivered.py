"""Writes what a receiver did not take to its topic, so that it is not lost in a log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.undelivered import UndeliveredData
from streams.cloudevents import undelivered_headers
from streams.kafka_clients import describe, kafka_error, open_client, producer_config
from streams.kafka_properties import KafkaValue
from streams.ports import LogError

_DELIVERY_S: Final = 30.0


class Undelivered:
    """A producer for the letters of one receiver. For one thread."""

    def __init__(
        self, bootstrap_servers: str, topic: str, kafka_properties: Mapping[str, KafkaValue]
    ) -> None:
        """Raises `ClientConfigError`."""
        config = producer_config(
            bootstrap_servers,
            kafka_properties,
            transactional_id=None,
            transaction_timeout_ms=int(1000 * _DELIVERY_S),
        )
        config |= {"delivery.report.only.error": False, "linger.ms": 0}
        self._topic: Final = topic
        self._producer: Final = open_client(Producer, config, "producer of letters")

    def publish(self, letter: UndeliveredData) -> None:
        """Write one, and wait until all replicas in sync have it. Raises `LogError`."""
        told: list[KafkaError | None] = []

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            told.append(error)

        try:
            self._producer.produce(
                self._topic,
                orjson.dumps(letter.model_dump()),
                letter.sink.encode(),
                headers=list(undelivered_headers(letter)),
                on_delivery=on_delivery,
            )
        except (KafkaException, BufferError) as error:
            said = describe(kafka_error(error)) if isinstance(error, KafkaException) else str(error)
            raise LogError(said) from error
        self._producer.flush(_DELIVERY_S)
        if not told:
            raise LogError(f"no broker has acknowledged it within {_DELIVERY_S:.0f} s")
        if told[0] is not None:
            raise LogError(describe(told[0]))
