"""The responder's `Outlet` on Kafka.

librdkafka's producer, not that of Faust's client: so `kafka.*` holds for it as for workers, keys
go to the partitions where every other client looks for them, and Faust's loop has no part in it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.kafka_clients import open_client, producer_config
from streams.kafka_properties import KafkaValue
from streams.responder_ports import Headers

DELIVERY_S: Final = 60.0
"""A record that brokers have not acknowledged by then is given up: well before the store takes its
writer for dead (300 s), so that nobody else writes the key while it may still arrive."""
_POLL_S: Final = 0.1


class KafkaOutlet:
    """Writes records and waits until all replicas in sync have them. Make it in the loop."""

    def __init__(
        self,
        bootstrap_servers: str,
        topic_of: Mapping[str, str],
        kafka_properties: Mapping[str, KafkaValue],
    ) -> None:
        """`topic_of`: by the kind in a key the topic. Raises `ClientConfigError`."""
        config = producer_config(
            bootstrap_servers,
            kafka_properties,
            transactional_id=None,
            transaction_timeout_ms=int(1000 * DELIVERY_S),
        )
        # Somebody waits for every single record.
        config |= {
            "message.timeout.ms": int(1000 * DELIVERY_S),
            "delivery.report.only.error": False,
            "linger.ms": 0,
        }
        self._topic_of: Final = dict(topic_of)
        self._loop: Final = asyncio.get_running_loop()
        self._producer: Final = open_client(Producer, config, "responder's producer")
        self._closing: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._poll, name="outlet", daemon=True)
        self._thread.start()

    async def publish(self, key: str, value: bytes | None, headers: Headers) -> None:
        """Write one record. Raises `KafkaException`; it may have been written all the same."""
        kind, _, name = key.partition("/")
        arrived: asyncio.Future[None] = self._loop.create_future()

        def told(error: KafkaError | None, _: Message) -> None:
            self._loop.call_soon_threadsafe(_tell, arrived, error)

        self._producer.produce(
            self._topic_of[kind], value, name.encode(), headers=list(headers), on_delivery=told
        )
        await arrived

    def close(self) -> None:
        """End; what is under way gets a moment."""
        self._closing.set()
        self._thread.join()
        self._producer.flush(1.0)

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_S)


def _tell(arrived: asyncio.Future[None], error: KafkaError | None) -> None:
    # Whoever waited may have been cancelled.
    if arrived.done():
        return
    if error is None:
        arrived.set_result(None)
    else:
        arrived.set_exception(KafkaException(error))
