"""What liveness needs of Kafka: where partitions end, and a plain producer. Nothing here waits.

Of its own clients: the log's is the loop's alone, and the transactions' producer sends nothing but
what belongs to a transaction.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from schemas.records import TopicPartition
from streams.kafka_clients import admin_config, describe, kafka_error, open_client, producer_config
from streams.kafka_properties import KafkaValue
from streams.ports import Output

MAX_WAITING: Final = 10_000
"""Records that wait to be sent, at most."""
_AGE_MS: Final = 120_000
"""What could not be sent for so long is no news any more."""
_REQUEST_S: Final = 10.0
_LEADERS_S: Final = 2.0
_LEAVE_S: Final = 1.0
_OFFSETS: Final[Any] = OffsetSpec  # its methods carry no types


class KafkaLiveness:
    """A `LivenessLink`. Raises `ClientConfigError` where librdkafka refuses the properties."""

    def __init__(
        self,
        bootstrap_servers: str,
        *,
        kafka_properties: Mapping[str, KafkaValue] | None = None,
    ) -> None:
        given = kafka_properties or {}
        config = {
            **producer_config(
                bootstrap_servers, given, transactional_id=None, transaction_timeout_ms=_AGE_MS
            ),
            # A repetition does no harm here, and a producer that sees one as fatal would.
            "enable.idempotence": "false",
            "message.timeout.ms": _AGE_MS,
            "queue.buffering.max.messages": MAX_WAITING,
        }
        self.n_lost = 0
        self.reason = ""
        self._producer: Final = open_client(Producer, config, "liveness producer")
        self._admin: Final = open_client(
            AdminClient, admin_config(bootstrap_servers, given), "liveness client"
        )
        self._asked: dict[TopicPartition, Future[Any]] = {}
        self._looking = threading.Thread()

    def ask_ends(self, tps: Sequence[TopicPartition]) -> None:
        """Begin to ask where these partitions end, for readers of committed records."""
        self._producer.poll(0)
        if len(self.ends()) < len(self._asked):
            self._look_for_leaders()
        self._asked = {}
        if not tps:
            return
        question = {KafkaPartition(tp.topic, tp.partition): _OFFSETS.latest() for tp in tps}
        with suppress(KafkaException):  # it is asked again at the next tick
            futures = self._admin.list_offsets(
                question,
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=_REQUEST_S,
            )
            self._asked = {
                TopicPartition(each.topic, each.partition): future
                for each, future in futures.items()
            }

    def ends(self) -> Mapping[TopicPartition, int]:
        """The answers that have come."""
        return {
            tp: future.result().offset
            for tp, future in self._asked.items()
            if future.done() and future.exception() is None and future.result().offset >= 0
        }

    def send(self, outputs: Sequence[Output]) -> None:
        """Queue these; what finds no room is lost, and counted."""
        for output in outputs:
            try:
                self._producer.produce(
                    output.topic,
                    output.value,
                    output.key,
                    on_delivery=self._on_delivery,
                    timestamp=max(1, output.timestamp_ms),
                    headers=list(output.headers),
                )
            except BufferError:
                self._lose("too many wait to be sent")
            except KafkaException as exception:
                self._lose(describe(kafka_error(exception)))

    def close(self) -> None:
        """Send what waits, for a second at most, and let go of the clients."""
        with suppress(KafkaException):
            self._producer.flush(_LEAVE_S)
            self._producer.purge()
            self._producer.poll(0)
        self._asked = {}
        if self._looking.is_alive():
            self._looking.join(_LEADERS_S)

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._lose(describe(error))

    def _lose(self, reason: str) -> None:
        self.n_lost += 1
        self.reason = reason

    def _look_for_leaders(self) -> None:
        """Have the client hear who leads the partitions now: it would go on asking who did."""
        if not self._looking.is_alive():
            self._looking = threading.Thread(
                target=self._list_topics, name="liveness leaders", daemon=True
            )
            self._looking.start()

    def _list_topics(self) -> None:
        with suppress(KafkaException):
            self._admin.list_topics(timeout=_LEADERS_S)
