"""What goes in and what comes back in the demo: traffic, the worker's progress, what is said."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.alerts import DeadLetterData
from streams.alert_book import AlertBook, SeenAlert
from streams.config import Topics
from streams.demo_alerts import event_numbers
from streams.demo_anomalies import AnomalyBook, SeenAnomaly
from streams.demo_responses import ResponseBook, Turn
from streams.traffic import ModelTraffic, bad_events, schedule
from streams.traffic_producer import TrafficProducer, scheduled_event

N_FIRST_EVENTS: Final = 200
"""Sent before the clock starts: they are folded once the worker is ready."""

_MAX_UNFOLDED_BYTES: Final = 2 * 1024 * 1024
"""Per partition; the mock broker forgets at 5 MiB what nobody has read."""
_PROGRESS_EVERY_S: Final = 0.25
_RATE_OVER_S: Final = 3.0
_BAD_AT: Final = (0.15, 0.3, 0.45, 0.6)
"""Where in the run the four bad events are sent, as shares of the traffic."""


class Progress(NamedTuple):
    """Where the run stands."""

    n_events: int
    """To be sent, the bad ones among them."""
    n_sent: int
    n_consumed: int
    """Of those, how many the worker has committed, for each of its duties."""
    n_rejected: int
    rate: float
    """Events a second, over the last seconds."""
    sent_by_model: tuple[int, ...]

    @property
    def n_folded(self) -> int:
        """Consumed and not rejected."""
        return max(self.n_consumed - self.n_rejected, 0)

    @property
    def n_waiting(self) -> int:
        """Sent and not yet consumed."""
        return self.n_sent - self.n_consumed


class News(NamedTuple):
    """What has just come, and was not there before."""

    alerts: Sequence[SeenAlert] = ()
    anomalies: Sequence[SeenAnomaly] = ()
    turns: Sequence[Turn] = ()


class DemoFlow:
    """Sends the traffic no faster than the worker folds it, and reads what comes back.

    One thread owns it and calls `step` some 20 times a second.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        groups: Sequence[str],
        models: Sequence[ModelTraffic],
        *,
        seconds: float,
        topics: Topics | None = None,
    ) -> None:
        """`groups` are the worker's, one a duty, whose commits show how far it is."""
        self._topics = topics or Topics()
        self._models = tuple(models)
        self._order = schedule(models)
        self._seconds = seconds
        self._run = f"demo{time.time_ns() // 1_000_000}"
        self._producer = TrafficProducer(bootstrap_servers, self._topics.events)
        # The mock broker makes a topic that is asked for; worker and responder make none. What is
        # kept for when Redis has lost it has no use here.
        self._n_partitions = self._producer.touch(self._topics.events)
        for topic in self._topics.model_dump(exclude={"events", "checkpoints"}).values():
            self._producer.touch(topic)
        self._n_bytes_until: list[list[int]] = [[0] for _ in range(self._n_partitions)]
        """Per partition: the bytes of all records before each offset."""
        self._positions: dict[tuple[int, int], tuple[str, int]] = {}
        self._committed = [0] * self._n_partitions
        self._n_sent = 0
        self._n_place = 0
        self._n_read = 0
        self._sent_by_model = [0] * len(models)
        n_good = len(self._order.model)
        self._epoch_ms = time.time_ns() // 1_000_000
        bad = bad_events(self._models[0], self._epoch_ms)
        places = (int(share * n_good) for share in _BAD_AT)
        self._bad = deque(zip(places, bad, strict=True))
        self._n_events = n_good + len(self._bad)
        self._began_s: float | None = None
        self._looked_s = 0.0
        self._history: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self.reasons: Counter[str] = Counter()
        """How many dead letters came, by reason code."""
        self.book: Final = AlertBook(event_numbers(self._positions))
        self.anomaly_book: Final = AnomalyBook(self._positions)
        self.response_book: Final = ResponseBook()
        self._groups = [_consumer(bootstrap_servers, group) for group in groups]
        self._reader = self._reading(bootstrap_servers)

    def close(self) -> None:
        """Close the clients."""
        self._producer.close()
        self._reader.close()
        for group in self._groups:
            group.close()

    def start_clock(self) -> None:
        """From now on the traffic is spread over the seconds asked for."""
        self._began_s = time.monotonic()

    def elapsed_s(self) -> float:
        """Since the first event that was sent by the clock; 0 before it."""
        return 0.0 if self._began_s is None else time.monotonic() - self._began_s

    def step(self) -> News:
        """Send what is due, look at the worker's commits, read for 50 ms; what is new."""
        self._send_due()
        self._producer.serve()
        now_s = time.monotonic()
        if now_s - self._looked_s >= _PROGRESS_EVERY_S:
            self._looked_s = now_s
            self._look_at_commits(now_s)
        return self._read(0.05)

    def progress(self) -> Progress:
        """Where the run stands."""
        (then_s, n_then), (now_s, n_now) = self._history[0], self._history[-1]
        return Progress(
            n_events=self._n_events,
            n_sent=self._n_sent,
            n_consumed=sum(self._committed),
            n_rejected=self.reasons.total(),
            rate=(n_now - n_then) / (now_s - then_s) if now_s > then_s else 0.0,
            sent_by_model=tuple(self._sent_by_model),
        )

    def moved(self) -> tuple[int, ...]:
        """Another one whenever something has been sent, committed or read."""
        return self._n_sent, sum(self._committed), self._n_read

    def all_consumed(self) -> bool:
        """Whether everything was sent and the worker has committed all of it."""
        return self._n_sent == self._n_events == sum(self._committed)

    def all_read(self) -> bool:
        """Whether nothing is left on the output topics; the worker publishes before it commits."""
        for position in self._reader.position(self._reader.assignment()):
            end = self._reader.get_watermark_offsets(position, timeout=2.0, cached=False)[1]
            # A partition of which nothing was read yet has a negative position.
            if max(position.offset, 0) < end:
                return False
        return True

    def _send_due(self) -> None:
        n_good = len(self._order.model)
        if self._began_s is None:
            due = min(N_FIRST_EVENTS, n_good)
        else:
            share = (time.monotonic() - self._began_s) / self._seconds
            due = min(N_FIRST_EVENTS + int(share * (n_good - N_FIRST_EVENTS)), n_good)
        while self._n_place < due and self._has_room():
            if self._bad and self._n_place >= self._bad[0][0]:
                _, bad = self._bad.popleft()
                self._send(bad.key, bad.value, "", -1)
            model = int(self._order.model[self._n_place])
            event = int(self._order.event[self._n_place])
            key, value = scheduled_event(
                self._models, self._order, self._n_place, self._run, self._time_ms()
            )
            self._send(key, value, self._models[model].model_id, event)
            if not self._order.is_label[self._n_place]:
                self._sent_by_model[model] = event + 1
            self._n_place += 1

    def _time_ms(self) -> int:
        """The next event's own time: even over the seconds asked for, however late it is sent.

        Rates, delays and all that follows from them are those of every other run, also where the
        machine does not keep up.
        """
        return self._epoch_ms + int(1_000 * self._seconds * self._n_place / len(self._order.model))

    def _send(self, key: bytes, value: bytes, model_id: str, event: int) -> None:
        def delivered(partition: int, offset: int) -> None:
            if event >= 0:
                self._positions[partition, offset] = model_id, event
            n_bytes_until = self._n_bytes_until[partition]
            assert offset + 1 == len(n_bytes_until), "deliveries are in offset order"
            n_bytes_until.append(n_bytes_until[-1] + len(value))

        self._producer.send(key, value, delivered)
        self._n_sent += 1

    def _has_room(self) -> bool:
        """Whether every partition may take more before the worker has caught up.

        Bytes are counted uncompressed, and what is in flight as if all went to one partition.
        """
        waiting = max(
            until[-1] - until[min(committed, len(until) - 1)]
            for until, committed in zip(self._n_bytes_until, self._committed, strict=True)
        )
        return waiting + self._producer.n_in_flight_bytes < _MAX_UNFOLDED_BYTES

    def _look_at_commits(self, now_s: float) -> None:
        asked = [TopicPartition(self._topics.events, p) for p in range(self._n_partitions)]
        committed = []
        for group in self._groups:
            try:
                answers = group.committed(asked, timeout=2.0)
            except KafkaException:
                return  # the coordinator is busy with a rebalance: ask again at the next step
            if any(answer.error is not None for answer in answers):
                return
            by_partition = sorted((answer.partition, answer.offset) for answer in answers)
            committed.append([max(offset, 0) for _, offset in by_partition])
        # As far as the slowest of the duties is.
        self._committed = [min(each) for each in zip(*committed, strict=True)]
        self._history.append((now_s, sum(self._committed)))
        while now_s - self._history[0][0] > _RATE_OVER_S:
            self._history.popleft()

    def _read(self, timeout_s: float) -> News:
        alerts: list[SeenAlert] = []
        anomalies: list[SeenAnomaly] = []
        turns: list[Turn] = []
        messages = self._reader.consume(500, timeout_s)
        if messages:
            # What is told of an event goes by its number: that it was delivered must be known, and
            # the worker may have been faster than the broker's answer.
            self._producer.flush()
        for message in messages:
            key, value = message.key(), message.value()
            if message.error() is not None:
                continue
            self._n_read += 1
            if message.topic() in (self._topics.incidents, self._topics.retraining):
                turns += self._turn(message.topic(), key, value)
            elif value is None:
                continue
            elif message.topic() == self._topics.dead_letter:
                self.reasons[DeadLetterData.model_validate_json(value).reason] += 1
            elif message.topic() == self._topics.anomalies:
                anomaly = self.anomaly_book.add(value)
                if anomaly is not None:
                    anomalies.append(anomaly)
            else:
                alert = self.book.add(value)
                if alert is not None:
                    alerts.append(alert)
        return News(alerts, anomalies, turns)

    def _turn(self, topic: str | None, key: bytes | str | None, value: bytes | None) -> list[Turn]:
        name = key.encode() if isinstance(key, str) else key or b""
        is_request = topic == self._topics.retraining
        add = self.response_book.add_request if is_request else self.response_book.add_incident
        turn = add(name, value, self.elapsed_s())
        return [] if turn is None else [turn]

    def _reading(self, bootstrap_servers: str) -> Consumer:
        reader = _consumer(bootstrap_servers, "driftsentry-demo-reader")
        reader.assign(
            [
                TopicPartition(topic, partition, 0)
                for topic in (
                    self._topics.alerts,
                    self._topics.dead_letter,
                    self._topics.anomalies,
                    self._topics.incidents,
                    self._topics.retraining,
                )
                for partition in range(self._producer.touch(topic))
            ]
        )
        return reader


def _consumer(bootstrap_servers: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100,
        }
    )
