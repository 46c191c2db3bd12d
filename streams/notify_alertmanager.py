"""Keeps an Alertmanager told: what stands is sent when it changes, and again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

import orjson
import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.kafka_clients import describe, kafka_error, open_client, reader_config
from streams.kafka_errors import PARTITION_END, is_passing
from streams.kafka_properties import KafkaValue
from streams.notify_alerts import Alert, AlertBook
from streams.notify_config import AlertmanagerSettings
from streams.notify_http import UnreachableError
from streams.notify_news import Kind, NewsError, TopicEntry, news_of
from streams.notify_reader import entry_of, require_topics
from streams.notify_webhook import Counts, Receiver
from streams.ports import LogError

log = structlog.get_logger(__name__)

MAX_ALERTS: Final = 64
"""So many go into one POST, as Prometheus has it."""
_SETTLE_S: Final = 1.0
"""What changes within this time is sent together."""
_POLL_S: Final = 0.2
_GROUP_REFUSED: Final = "GROUP_AUTHORIZATION_FAILED"


class Tail(Protocol):
    """Where records come from: all that stands on the topics, then what comes."""

    @property
    def is_whole(self) -> bool:
        """Whether everything was read that stood there at some moment."""

    def next(self) -> TopicEntry | None:
        """The next record, or None where there is none for a moment."""


class TopicTail:
    """Reads the topics from their beginnings, committed records only, outside every group."""

    def __init__(
        self,
        bootstrap_servers: str,
        group: str,
        topics: Sequence[str],
        kafka_properties: Mapping[str, KafkaValue],
    ) -> None:
        """`group` is a name that the client wants. Raises `LogError`."""
        config = reader_config(bootstrap_servers, group, kafka_properties)
        self._consumer: Final = open_client(Consumer, config, f"reader for {group}")
        try:
            require_topics(self._consumer, topics)
            known = self._consumer.list_topics(timeout=15).topics
            places = [(topic, each) for topic in topics for each in known[topic].partitions]
            starts = []
            for topic, partition in places:
                place = TopicPartition(topic, partition)
                low, _ = self._consumer.get_watermark_offsets(place, timeout=15)
                starts.append(TopicPartition(topic, partition, low))
            self._consumer.assign(starts)
        except KafkaException as error:
            self._consumer.close()
            raise LogError(f"topics cannot be read: {describe(kafka_error(error))}") from error
        except BaseException:
            self._consumer.close()
            raise
        self._unread: Final = set(places)
        self.turned_s = time.monotonic()

    @property
    def is_whole(self) -> bool:
        """Whether every partition was read to its end once."""
        return not self._unread

    def next(self) -> TopicEntry | None:
        """The next record, or None. Raises `LogError`."""
        self.turned_s = time.monotonic()
        message = self._consumer.poll(_POLL_S)
        if message is None:
            return None
        error = message.error()
        if error is None:
            return entry_of(message)
        if error.code() == PARTITION_END:
            self._unread.discard((str(message.topic()), int(message.partition() or 0)))
        elif error.name() != _GROUP_REFUSED and not is_passing(error):
            # Among others a topic that was made anew: a new start reads it from its beginning.
            raise LogError(f"topics cannot be read: {describe(error)}")
        return None

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()


class AlertmanagerSink:
    """One Alertmanager of `worker.notify.alertmanagers`. For one thread."""

    def __init__(
        self,
        name: str,
        settings: AlertmanagerSettings,
        kind_of: Mapping[str, Kind],
        *,
        tail: Tail,
        receiver: Receiver,
        bearer_token: str | None = None,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        """`kind_of`: by topic what its records are."""
        self.name: Final = name
        self.counts = Counts()
        self._settings: Final = settings
        self._kind_of: Final = dict(kind_of)
        self._tail: Final = tail
        self._receiver: Final = receiver
        self._now_ms: Final = now_ms
        self._headers: Final = (
            {} if bearer_token is None else {"authorization": f"Bearer {bearer_token}"}
        )
        self._book: Final = AlertBook(settings)

    def run(self, stopping: threading.Event) -> None:
        """Tell until asked to stop. Raises `LogError`."""
        due_s: float | None = None
        while not stopping.is_set():
            entry = self._tail.next()
            if entry is not None:
                self.hear(entry)
                if self._tail.is_whole:
                    due_s = min(due_s or float("inf"), time.monotonic() + _SETTLE_S)
            # Before all is read much would be sent that has long been over.
            elif self._tail.is_whole and due_s is None:
                due_s = 0.0
            if due_s is not None and time.monotonic() >= due_s:
                self.send()
                due_s = time.monotonic() + self._settings.resend_s

    def hear(self, entry: TopicEntry) -> None:
        """Take in one record."""
        try:
            news = news_of(self._kind_of[entry.topic], entry)
        except NewsError as error:
            if not self.counts.n_unreadable:
                log.warning(
                    "a record cannot be told and is passed over; more of them are only counted",
                    sink=self.name,
                    topic=entry.topic,
                    partition=entry.partition,
                    offset=entry.offset,
                    reason=str(error),
                )
            self.counts = replace(self.counts, n_unreadable=self.counts.n_unreadable + 1)
            return
        self._book.hear(news, entry.timestamp_ms, self._now_ms())

    def send(self) -> None:
        """Send everything that stands or has just ended; what fails is sent again next time."""
        alerts = self._book.alerts(self._now_ms())
        for first in range(0, len(alerts), MAX_ALERTS):
            why = self._post(alerts[first : first + MAX_ALERTS])
            if why and not self.counts.is_failing:
                log.warning(
                    "the Alertmanager does not take what it is told; it is told again",
                    sink=self.name,
                    reason=why,
                )
            elif not why and self.counts.is_failing:
                log.info("the Alertmanager takes again what it is told", sink=self.name)
            self.counts = replace(self.counts, is_failing=bool(why))
            if why:
                return

    def _post(self, alerts: Sequence[Alert]) -> str:
        """Why they were not taken; "" where they were."""
        now = self.counts
        try:
            answer = self._receiver.post(orjson.dumps(alerts), self._headers)
        except UnreachableError as error:
            why = str(error)
        else:
            why = "" if answer.is_success else f"status {answer.status}: {answer.text}"
        self.counts = replace(
            now,
            n_attempts=now.n_attempts + 1,
            n_taken=now.n_taken + (0 if why else len(alerts)),
            n_failed=now.n_failed + bool(why),
        )
        return why
