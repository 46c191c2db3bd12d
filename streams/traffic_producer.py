"""Sends the demo's traffic to a Kafka cluster, and counts what became of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Final

import orjson
from confluent_kafka import KafkaError, Message, Producer

from streams.demo_models import demo_models
from streams.traffic import ModelTraffic, Schedule, schedule, timestamp

_REPORT_EVERY_S: Final = 10.0
_TICK_S: Final = 0.05


class TrafficError(RuntimeError):
    """Events could not be delivered; the message is the broker's first error."""


class TrafficProducer:
    """A producer whose deliveries are counted; one thread owns it."""

    def __init__(
        self, bootstrap_servers: str, topic: str, properties: Mapping[str, str] | None = None
    ) -> None:
        """`properties` are librdkafka's, and win over ours."""
        self.topic: Final = topic
        self.n_delivered = 0
        self.n_in_flight_bytes = 0
        self._first_error: KafkaError | None = None
        self._closed = False
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                "client.id": "driftsentry-demo",
                "enable.idempotence": True,
                "linger.ms": 20,
                # Small batches: the mock broker drops whole batches at its retention.
                "batch.size": 65_536,
                "compression.type": "lz4",
                # As Java clients partition, so that all producers of a model agree.
                "partitioner": "murmur2_random",
                **(properties or {}),
            }
        )

    def close(self) -> None:
        """Drop what is not delivered, and the connection."""
        # An interrupt in the middle of a callback may have lost one: those that follow say nothing.
        self._closed = True
        self._producer.purge()
        self._producer.close()

    def touch(self, topic: str, timeout_s: float = 10.0) -> int:
        """Ask for a topic, which makes it where the broker makes topics; its partitions."""
        partitions = self._producer.list_topics(topic, timeout=timeout_s).topics[topic].partitions
        return len(partitions)

    def send(
        self, key: bytes, value: bytes, delivered: Callable[[int, int], None] | None = None
    ) -> None:
        """Queue one record; `delivered(partition, offset)` is called from `serve` or `flush`."""
        size = len(value)

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            self.n_in_flight_bytes -= size
            if self._closed:
                return
            if error is not None:
                self._first_error = self._first_error or error
                return
            self.n_delivered += 1
            partition, offset = message.partition(), message.offset()
            if delivered is not None and partition is not None and offset is not None:
                delivered(partition, offset)

        while True:
            try:
                self._producer.produce(self.topic, value=value, key=key, on_delivery=on_delivery)
            except BufferError:
                self.serve(_TICK_S)
                continue
            self.n_in_flight_bytes += size
            return

    def serve(self, timeout_s: float = 0.0) -> None:
        """Run delivery callbacks; raises `TrafficError` once a delivery has failed."""
        self._producer.poll(timeout_s)
        if self._first_error is not None:
            raise TrafficError(f"an event was not delivered: {self._first_error.str()}")

    def flush(self, timeout_s: float = 10.0) -> None:
        """Wait for all deliveries; raises `TrafficError` if one failed or is missing."""
        n_left = self._producer.flush(timeout_s)
        self.serve()
        if n_left:
            raise TrafficError(f"{n_left} events were not delivered within {timeout_s:g} s")


def scheduled_event(
    models: tuple[ModelTraffic, ...], order: Schedule, number: int, run: str, epoch_ms: int
) -> tuple[bytes, bytes]:
    """Key and value of event or label `number` of an endless run, which begins again at its end."""
    lap, place = divmod(number, len(order.model))
    traffic = models[order.model[place]]
    index = int(order.event[place])
    event_id = f"{run}-{traffic.model_id}-{lap * len(traffic) + index}"
    form = traffic.label if order.is_label[place] else traffic.event
    event = form(index, event_id, timestamp(epoch_ms))
    return traffic.model_id.encode(), orjson.dumps(event)


def run_demo_producer(
    bootstrap_servers: str,
    topic: str = "driftsentry.events",
    *,
    rate: float = 500.0,
    n_events: int | None = None,
    properties: Mapping[str, str] | None = None,
) -> int:
    """Send `rate` events a second until SIGTERM, Ctrl-C or `n_events`; how many were delivered.

    The traffic begins again at its end. Must be called on the main thread: it takes the signals.
    """
    if rate <= 0:
        raise ValueError("rate must be above 0 events a second")
    models = demo_models()
    order = schedule(models)
    producer = TrafficProducer(bootstrap_servers, topic, properties)
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        run = f"run{time.time_ns() // 1_000_000}"
        began_s = reported_s = time.monotonic()
        n_sent = 0
        print(f"sending {rate:g} events/s to {topic} at {bootstrap_servers}", flush=True)
        while not stopping.is_set() and (n_events is None or n_sent < n_events):
            due = 1 + int((time.monotonic() - began_s) * rate)
            epoch_ms = time.time_ns() // 1_000_000
            for number in range(n_sent, due if n_events is None else min(due, n_events)):
                producer.send(*scheduled_event(models, order, number, run, epoch_ms))
                n_sent = number + 1
                if stopping.is_set():
                    break
            producer.serve(_TICK_S)
            if time.monotonic() - reported_s >= _REPORT_EVERY_S:
                reported_s = time.monotonic()
                print(f"{producer.n_delivered} events delivered", flush=True)
        producer.flush()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    print(f"{producer.n_delivered} events delivered; done", flush=True)
    return producer.n_delivered
