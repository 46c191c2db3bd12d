"""What Kafka knows of the past: the group's commits, a log's range, a topic's id, the journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
)
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from schemas.records import TopicPartition
from streams.embedded import is_mock_cluster
from streams.kafka_clients import (
    LOGGER,
    ClientConfigError,
    admin_config,
    answered_offset,
    ask_patiently,
    describe,
    kafka_error,
    learn_leaders,
    open_client,
    reader_config,
)
from streams.kafka_errors import MISSING_TOPIC, PARTITION_END, is_passing
from streams.kafka_log import KafkaLog
from streams.kafka_properties import KafkaValue
from streams.ports import Committed, LogError, Watermarks
from streams.topics import journal_key

_REQUEST_S: Final = 10.0
_LEADER_S: Final = 2.0
"""For an answer of a partition's leader, which may be dead: then another one is soon named."""
_POLL_S: Final = 0.01
_OFFSETS: Final[Any] = OffsetSpec  # its methods carry no types

Answer = TypeVar("Answer")


class KafkaHistory:
    """Asks until `patience_s` is over, then raises `LogError`; so for every method.

    `patience_s` must be longer than the transaction timeout: a dead worker's open transaction
    hides commits and journal records until the broker ends it.
    """

    def __init__(
        self,
        log: KafkaLog,
        bootstrap_servers: str,
        *,
        journal_topic: str,
        kafka_properties: Mapping[str, KafkaValue] | None = None,
        patience_s: float = 60.0,
    ) -> None:
        """Ask about the group and the topic of `log`, whose client this shares."""
        self._log: Final = log
        self._journal_topic: Final = journal_topic
        self._patience_s: Final = patience_s
        given = kafka_properties or {}
        self._reader_config: Final = reader_config(bootstrap_servers, log.group, given)
        try:
            self._admin: Final = open_client(
                AdminClient, admin_config(bootstrap_servers, given), "admin client"
            )
        except ClientConfigError as error:
            raise LogError(str(error)) from None

    def committed(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed | None]:
        """The group's stable commits, None where there is none; waits for pending transactions."""
        asked = [KafkaPartition(tp.topic, tp.partition) for tp in tps]
        if not asked:
            return {}

        def ask() -> list[KafkaPartition]:
            answer = self._log.consumer.committed(asked, _REQUEST_S)
            for each in answer:
                if each.error is not None:
                    raise KafkaException(each.error)
            return answer

        found: dict[TopicPartition, Committed | None] = {}
        for each in self._patiently(f"the commits of group {self._log.group}", ask):
            tp = TopicPartition(each.topic, each.partition)
            found[tp] = Committed(each.offset, each.metadata or "") if each.offset >= 0 else None
            self._log.epochs.committed(tp, each.offset, each.leader_epoch)
        return found

    def watermarks(self, tp: TopicPartition) -> Watermarks:
        """The first retained offset and the last stable one, asked of the broker now."""
        partition = KafkaPartition(tp.topic, tp.partition)

        def ask() -> Watermarks:
            # The client asks whom it knows for the leader, be it long dead, and would go on so.
            # Not the log's own client: this is asked from inside its callbacks, and one that lists
            # topics there aborts the process at the next callback of the same call.
            self._admin.list_topics(tp.topic, _REQUEST_S)
            ends = [
                self._admin.list_offsets(
                    {partition: spec},
                    isolation_level=IsolationLevel.READ_COMMITTED,
                    request_timeout=_LEADER_S,
                )
                for spec in (_OFFSETS.earliest(), _OFFSETS.latest())
            ]
            answers = (end[partition].result(timeout=_REQUEST_S) for end in ends)
            return Watermarks(*(answered_offset(each.offset) for each in answers))

        return self._patiently(f"the range of {tp}", ask)

    def topic_id(self, topic: str) -> str:
        """The topic's id; `name:TOPIC` on the mock broker, which has no ids and keeps nothing."""
        cluster_id = self._patiently(
            "the cluster's id", lambda: self._admin.list_topics(timeout=_REQUEST_S).cluster_id
        )
        if is_mock_cluster(cluster_id):
            LOGGER.warning("the mock broker gives no topic ids: %s goes by its name", topic)
            return f"name:{topic}"

        def ask() -> str:
            asked = self._admin.describe_topics(
                TopicCollection([topic]), request_timeout=_REQUEST_S
            )
            return str(asked[topic].result(timeout=2 * _REQUEST_S).topic_id)

        return self._patiently(f"the topic {topic}", ask)

    def n_partitions(self, topic: str) -> int:
        """How many partitions the topic has, asked of the brokers now."""

        def ask() -> int:
            found = self._admin.list_topics(topic, _REQUEST_S).topics[topic]
            if found.error is not None:
                raise KafkaException(found.error)
            return len(found.partitions)

        return self._patiently(f"the topic {topic}", ask)

    def journal(self, tp: TopicPartition) -> list[bytes]:
        """Every committed journal record (its value) of this group and partition, in log order.

        Reads the whole journal topic, up to where it ended when asked: records behind another
        worker's open transaction are waited for.
        """
        key = journal_key(self._log.group, tp)
        reader = open_client(Consumer, self._reader_config, "journal reader")
        try:
            deadline_s = time.monotonic() + self._patience_s
            ends = self._journal_ends()
            return [
                value
                for message in self._read_to(reader, ends, deadline_s)
                if message.key() == key and (value := message.value()) is not None
            ]
        except KafkaException as error:
            raise LogError(self._problem("the journal", kafka_error(error))) from error
        finally:
            reader.close()

    def _journal_ends(self) -> dict[int, int]:
        """The end of every journal partition, with what is in open transactions."""

        def ask() -> dict[int, int]:
            # Of the very client that asks for the ends: it remembers each leader's epoch, and takes
            # no notice of FENCED_LEADER_EPOCH after the leader has moved.
            topic = self._admin.list_topics(self._journal_topic, _REQUEST_S).topics[
                self._journal_topic
            ]
            if topic.error is not None:
                raise KafkaException(topic.error)
            latest = {
                KafkaPartition(self._journal_topic, number): _OFFSETS.latest()
                for number in topic.partitions
            }
            asked = self._admin.list_offsets(
                latest,
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=_REQUEST_S,
            )
            return {
                partition.partition: answered_offset(answer.result(timeout=2 * _REQUEST_S).offset)
                for partition, answer in asked.items()
            }

        return self._patiently(f"the journal {self._journal_topic}", ask)

    def _read_to(
        self, reader: Consumer, ends: Mapping[int, int], deadline_s: float
    ) -> Iterator[Message]:
        topic = self._journal_topic
        unfinished = {number for number, end in ends.items() if end > 0}
        learn_leaders(reader, topic)
        reader.assign([KafkaPartition(topic, number, OFFSET_BEGINNING) for number in unfinished])
        while unfinished:
            if time.monotonic() > deadline_s:
                raise LogError(
                    f"the journal {topic} could not be read to its end in {self._patience_s:g} s: "
                    "a transaction stays open, or no broker answers"
                )
            for message in reader.consume(1_000, _POLL_S):
                number, offset, error = message.partition(), message.offset(), message.error()
                if number is None or offset is None:
                    continue
                if error is None:
                    yield message
                elif error.code() == PARTITION_END:
                    # Short of the end: a transaction is open there. It is said again further on.
                    if offset >= ends[number]:
                        unfinished.discard(number)
                elif not is_passing(error):
                    raise KafkaException(error)

    def _patiently(self, what: str, ask: Callable[[], Answer]) -> Answer:
        try:
            return ask_patiently(ask, self._patience_s)
        except KafkaException as exception:
            raise LogError(self._problem(what, kafka_error(exception))) from exception

    def _problem(self, what: str, error: KafkaError) -> str:
        if error.code() in MISSING_TOPIC:
            return f"{what}: no such topic; `driftsentry topics create` makes it"
        return f"{what} cannot be had: {describe(error)}"
