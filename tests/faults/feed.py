"""Events that keep coming while things fail, and aborted ones between them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from tests.delivery.traffic import N_PARTITIONS, START_MS, Sent, small_stream

_TICK_S: Final = 0.1
_N_AHEAD: Final = 4_000
Stream = Callable[[int, int], list[Sent]]
"""So many events of a stream, from the one with this number on."""


def labelled_stream(n: int, first: int) -> list[Sent]:
    """The small stream, with labels."""
    return small_stream(n, first, labelled=True)


class Feed:
    """Appends a stream's events to a topic, `events_per_s` of them, from a thread."""

    def __init__(
        self, kafka: str, topic: str, events_per_s: int, stream: Stream = labelled_stream
    ) -> None:
        self._stream: Final = stream
        self._topic: Final = topic
        self._n_a_tick: Final = max(N_PARTITIONS, round(events_per_s * _TICK_S))
        self._kafka: Final = kafka
        self._producer: Final = Producer({
            "bootstrap.servers": kafka,
            "enable.idempotence": True,
            "linger.ms": 5,
        })  # fmt: skip
        self._failed: list[KafkaError] = []
        self._ahead: list[Sent] = []
        self._first_ahead = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._numbers: Final = itertools.count(1)
        self.n_sent = 0
        self.n_aborted = 0

    def start(self) -> None:
        """Go on."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Send one last event to each partition, and wait until all that was sent is in the log."""
        self._rest()
        # A hole at the end has nothing after it that could be committed.
        self._send(N_PARTITIONS)
        n_left = self._producer.flush(60)
        assert n_left == 0, f"{n_left} events were not delivered"
        assert not self._failed, self._failed[0]

    def close(self) -> None:
        """Send no more, and drop what is on its way: whatever happens to the brokers now."""
        self._rest()
        self._producer.purge()
        self._producer.poll(0)

    def abort(self, n: int) -> None:
        """Write n events that nobody may read, in a transaction that is aborted."""
        producer = self._transactional()
        producer.begin_transaction()
        for sent in small_stream(n, self.n_sent + 1_000_000):
            producer.produce(
                self._topic, sent.value, sent.key, sent.partition or 0, timestamp=START_MS
            )
        producer.flush(30)
        producer.abort_transaction(30)
        self.n_aborted += n

    def _rest(self) -> None:
        if self._thread is not None:
            self._stopping.set()
            self._thread.join()
            self._thread = None

    def _transactional(self) -> Producer:
        producer = Producer({
            "bootstrap.servers": self._kafka,
            "transactional.id": f"{self._topic}.{next(self._numbers)}",
        })  # fmt: skip
        producer.init_transactions(30)
        return producer

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stopping.wait(max(0.0, due_s - time.monotonic())):
            self._send(self._n_a_tick)
            # What could not be sent in time is not made up for.
            due_s = max(due_s + _TICK_S, time.monotonic())

    def _send(self, n: int) -> None:
        for sent in self._next(n):
            while True:
                try:
                    self._producer.produce(
                        self._topic,
                        sent.value,
                        sent.key,
                        sent.partition or 0,
                        on_delivery=self._delivered,
                        timestamp=START_MS + self.n_sent,
                    )
                except BufferError:
                    self._producer.poll(0.1)
                else:
                    break
            self.n_sent += 1
        self._producer.poll(0)

    def _next(self, n: int) -> list[Sent]:
        while len(self._ahead) < n:
            self._ahead += self._stream(_N_AHEAD, self._first_ahead)
            self._first_ahead += _N_AHEAD
        taken, self._ahead = self._ahead[:n], self._ahead[n:]
        return taken

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failed.append(error)
