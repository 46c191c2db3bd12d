"""What consumer groups have committed, asked by who is no member of them.

By consumers: an admin client can be asked too, but where a group's coordinator has moved the answer
ends its process (librdkafka issue 5040, it takes the client to have a group of its own).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from streams.kafka_clients import (
    ClientConfigError,
    ask_patiently,
    open_client,
    reader_config,
    without_errors,
)
from streams.kafka_errors import is_passing
from streams.kafka_properties import KafkaValue
from streams.ports import LogError

_FIRST_S: Final = 1.0
"""After so long it is looked whether the client has said why it has no answer, then after twice
that: brokers that are slow are waited for."""
_LEAST_S: Final = 0.05


class GroupOffsets:
    """Commits of any number of groups, for any number of threads."""

    def __init__(self, bootstrap_servers: str, kafka_properties: Mapping[str, KafkaValue]) -> None:
        """Asks nothing yet."""
        self._bootstrap_servers: Final = bootstrap_servers
        self._properties: Final = kafka_properties
        self._lock: Final = threading.Lock()
        self._consumers: dict[str, Consumer] = {}

    def committed(
        self, group: str, places: Iterable[tuple[str, int]], patience_s: float
    ) -> list[KafkaPartition]:
        """Of these topics and partitions those that the group has committed.

        Stable ones: what a transaction is about to commit is waited for. Raises `KafkaException`
        with what does not pass, or what has not passed in time, and `LogError` without a client;
        then it is asked with a new one, since a client says only once why it has no answer.
        """
        asked = [KafkaPartition(*each) for each in places]
        if not asked:
            return []
        consumer = self._consumer_of(group)
        deadline_s = time.monotonic() + patience_s
        timeouts_s = (_FIRST_S * 2**n for n in count())

        def ask() -> Sequence[KafkaPartition]:
            left_s = max(deadline_s - time.monotonic(), _LEAST_S)
            try:
                return without_errors(consumer.committed(asked, min(next(timeouts_s), left_s)))
            except KafkaException:
                _raise_refusal(consumer)
                raise

        try:
            found = ask_patiently(ask, patience_s)
        except KafkaException:
            self._drop(group, consumer)
            raise
        return [each for each in found if each.offset >= 0]

    def renew(self) -> None:
        """Ask with new clients from now on. The others end when nobody waits for them any more."""
        with self._lock:
            self._consumers = {}

    def _consumer_of(self, group: str) -> Consumer:
        with self._lock:
            known = self._consumers.get(group)
            if known is None:
                config = reader_config(self._bootstrap_servers, group, self._properties)
                try:
                    known = open_client(Consumer, config, "reader of a group's offsets")
                except ClientConfigError as error:
                    raise LogError(str(error)) from None
                self._consumers[group] = known
            return known

    def _drop(self, group: str, consumer: Consumer) -> None:
        with self._lock:
            if self._consumers.get(group) is consumer:
                del self._consumers[group]


def _raise_refusal(consumer: Consumer) -> None:
    """That the group may not be seen is no answer to a question: the client says it beside."""
    while (message := consumer.poll(0)) is not None:
        error: KafkaError | None = message.error()
        if error is not None and not is_passing(error):
            raise KafkaException(error)
