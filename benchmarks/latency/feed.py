"""A producer that sends events at an even pace, now and then one that must raise an alert.

It runs as a process of its own: `python -m benchmarks.latency.feed TASK`, and answers with what it
has sent.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson
from confluent_kafka import Producer

from benchmarks.pipeline import N_FEATURES, N_PARTITIONS, NAMES, event

TICK_S: Final = 0.005
SPIKE_EVERY_S: Final = 0.05
MIN_BETWEEN: Final = 60
"""Events between two spikes, hence of each model between its own: a detector needs 30 to fire."""
N_MODELS: Final = 20
N_PAYLOADS: Final = 200
"""Distinct events of each model."""
SPIKE: Final = 1e4
"""In deviations of the reference: far more than Page-Hinkley's threshold, so one event fires it."""


@dataclass(frozen=True)
class Feed:
    """Send `events_per_s` for `warm_s` seconds, and then for `timed_s` seconds with spikes."""

    servers: str
    topic: str
    events_per_s: float
    warm_s: float
    timed_s: float


def payloads() -> tuple[list[list[bytes]], list[bytes]]:
    """Of each model: its ordinary events, and the one that raises an alert on its first feature."""
    rng = np.random.default_rng(13)
    ordinary, spikes = [], []
    for m in range(N_MODELS):
        name = f"model-{m:04}"
        rows = np.round(rng.normal(size=(N_PAYLOADS, N_FEATURES)), 6).tolist()
        ordinary.append([event(i, name, row) for i, row in enumerate(rows)])
        spikes.append(spiked(event(N_PAYLOADS, name, rows[0])))
    return ordinary, spikes


def spiked(value: bytes) -> bytes:
    """The same event with a spike in its first feature, and there alone."""
    document = orjson.loads(value)
    document["features"][NAMES[0]] = SPIKE
    return orjson.dumps(document)


def send(feed: Feed) -> dict[str, Any]:
    """Send it all; what was sent, and how evenly."""
    producer = Producer(
        {
            "bootstrap.servers": feed.servers,
            "linger.ms": 2,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    ordinary, spikes = payloads()
    keys = [f"model-{m:04}".encode() for m in range(N_MODELS)]
    started_s = time.monotonic()
    end_s = feed.warm_s + feed.timed_s
    spike_due_s = feed.warm_s
    n = n_spikes = n_at_spike = 0
    behind_s = 0.0
    while (now_s := time.monotonic() - started_s) < end_s:
        behind_s = max(behind_s, now_s - n / feed.events_per_s)
        while n < now_s * feed.events_per_s:
            m = n % N_MODELS
            value = ordinary[m][n // N_MODELS % N_PAYLOADS]
            is_due = now_s >= spike_due_s and n - n_at_spike >= MIN_BETWEEN
            if is_due and m == n_spikes % N_MODELS:
                value = spikes[m]
                n_spikes += 1
                n_at_spike = n
                spike_due_s += SPIKE_EVERY_S
            producer.produce(feed.topic, key=keys[m], value=value, partition=m % N_PARTITIONS)
            n += 1
        producer.poll(0)
        time.sleep(TICK_S)
    producer.flush()
    return {
        "n_events": n,
        "n_spikes": n_spikes,
        "events_per_s": n / (time.monotonic() - started_s),
        "behind_ms": behind_s * 1e3,
    }


if __name__ == "__main__":
    print(json.dumps(send(Feed(**json.loads(sys.argv[1])))), flush=True)
