"""The events of the comparison: 20 numeric features, about 870 bytes, changes at known places.

Events are those of `benchmarks.pipeline`, one model in four partitions. Every 2,500 events of a
partition five features move by half a deviation, up or back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from confluent_kafka import Producer

from benchmarks.pipeline import N_FEATURES, N_PARTITIONS, event
from schemas.batch import F64

SEED: Final = 11
MODEL: Final = "model-0000"
MOVED: Final = slice(3, 8)
SHIFT: Final = 0.5
PERIOD: Final = 10_000
"""So many events of all partitions lie between two changes."""
_CHUNK: Final = 5_000


def chunks(n: int) -> Iterator[tuple[int, F64]]:
    """The features of `n` events as (first event, (k, 20) values); event i is in partition i % 4.

    The first events of a longer run are those of a shorter one.
    """
    rng = np.random.default_rng(SEED)
    for start in range(0, n, _CHUNK):
        k = min(_CHUNK, n - start)
        values = rng.normal(size=(_CHUNK, N_FEATURES))[:k]
        number = np.arange(start, start + k)
        values[number // PERIOD % 2 == 1, MOVED] += SHIFT
        yield start, np.round(values, 6)


def produce(producer: Producer, topic: str, n: int) -> float:
    """Fill the topic, one event a record; returns the mean size of an event in bytes."""
    n_bytes = 0
    for start, values in chunks(n):
        for i, row in enumerate(values.tolist(), start):
            value = event(i, MODEL, row)
            n_bytes += len(value)
            producer.produce(topic, key=MODEL.encode(), value=value, partition=i % N_PARTITIONS)
        producer.flush()
    return n_bytes / n


def fast_producer(servers: str, transactional_id: str | None = None) -> Producer:
    """A producer that fills topics; with an id what it sends is unreadable until committed."""
    config: dict[str, str | int | float | bool] = {
        "bootstrap.servers": servers,
        "enable.idempotence": True,  # else a retry under load could turn the order round
        "linger.ms": 20,
        "log_level": 3,
        "batch.size": 1_000_000,
    }
    if transactional_id is not None:
        config |= {"transactional.id": transactional_id, "transaction.timeout.ms": 600_000}
    return Producer(config)
