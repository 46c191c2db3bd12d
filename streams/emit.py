"""Puts events from lines of JSON on the events topic, under the keys the worker expects."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import orjson
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from streams.kafka_clients import open_client, producer_config
from streams.kafka_properties import KafkaValue

_FLUSH_S: Final = 30.0


class BadLine(NamedTuple):
    """A line that is no event, and why."""

    number: int
    why: str


class Emitted(NamedTuple):
    """What became of the lines."""

    n_delivered: int
    n_bad: int


def event_key(event: Mapping[str, object]) -> bytes:
    """The record key of an event: its model, or `model_id/shard`.

    Raises `ValueError` where the event names no model, or its shard is no number.
    """
    model_id, shard = event.get("model_id"), event.get("shard")
    if not isinstance(model_id, str) or not model_id:
        raise ValueError("`model_id` should be a string that is not empty")
    if shard is None:
        return model_id.encode()
    if isinstance(shard, bool) or not isinstance(shard, int) or shard < 0:
        raise ValueError("`shard` should be an integer from 0")
    return f"{model_id}/{shard}".encode()


def filled(event: Mapping[str, object]) -> dict[str, object]:
    """The event with a `type`, an `event_id` and a `ts` of now where it has none."""
    return {
        "type": "label" if "label" in event else "prediction",
        "event_id": str(uuid.uuid4()),
        "ts": time.time_ns() // 1_000_000,
        **event,
    }


def records(lines: Iterable[bytes], fill: bool = False) -> Iterator[tuple[bytes, bytes] | BadLine]:
    """Key and value of each line; empty lines are passed over."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = orjson.loads(line)
            if not isinstance(event, dict):
                yield BadLine(number, "is not a JSON object")
                continue
            key = event_key(event)
        except ValueError as error:
            not_json = isinstance(error, orjson.JSONDecodeError)
            yield BadLine(number, "is not JSON" if not_json else str(error))
            continue
        yield key, orjson.dumps(filled(event)) if fill else line.strip()


def emit_lines(
    lines: Iterable[bytes],
    bootstrap_servers: str,
    topic: str,
    kafka_properties: Mapping[str, KafkaValue],
    *,
    fill: bool = False,
    on_bad: Callable[[BadLine], None] | None = None,
) -> Emitted:
    """Send every line that is an event; `on_bad` hears of the others.

    Raises `KafkaException` with the first delivery that failed.
    """
    config = producer_config(
        bootstrap_servers, kafka_properties, transactional_id=None, transaction_timeout_ms=60_000
    )
    # Every delivery is counted here, not only those that failed.
    config["delivery.report.only.error"] = False
    producer = open_client(Producer, config, "producer")
    n_delivered = 0
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        nonlocal n_delivered
        if error is not None:
            failed.append(error)
        else:
            n_delivered += 1

    n_bad = 0
    for record in records(lines, fill):
        if isinstance(record, BadLine):
            n_bad += 1
            if on_bad is not None:
                on_bad(record)
            continue
        key, value = record
        while True:
            try:
                producer.produce(topic, value=value, key=key, on_delivery=delivered)
            except BufferError:
                # The queue is full: wait for deliveries, hear of failures.
                producer.poll(0.1)
                continue
            break
        producer.poll(0)
        if failed:
            break
    n_left = producer.flush(_FLUSH_S)
    if failed:
        raise KafkaException(failed[0])
    if n_left:
        raise TimeoutError(f"{n_left} events were not delivered within {_FLUSH_S:g} s")
    return Emitted(n_delivered, n_bad)
