"""Workers that take turns on the same polls, and what each of them takes for an event."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

import numpy as np
import orjson

from benchmarks.pipeline import N_FEATURES, event
from schemas.config import DetectionConfig
from schemas.records import Record, TopicPartition
from schemas.source_hash import SourceKey
from streams.lineage import Lineage
from streams.worker import Detection, OutputTopics, PartitionWorker

TP: Final = TopicPartition("events", 0)
KEY: Final = SourceKey(b"the benchmark's source key")
MODEL: Final = "model-0000"
POLL: Final = 1_024
LATE: Final = 4_096
"""A label comes so many predictions after its own."""
N_REFERENCE: Final = 1_000
START_MS: Final = 1_795_000_000_000


class Traffic:
    """Polls of events, each of them new."""

    def __init__(self, *, has_labels: bool, has_latency: bool = False) -> None:
        self._has_labels = has_labels
        self._has_latency = has_latency
        self._rng = np.random.default_rng(7)
        self._predicted: list[tuple[str, int]] = []
        self._offset = 0

    def poll(self) -> list[Record]:
        """One more: predictions, and between them a label for each, where there are labels."""
        values: list[bytes] = []
        n = POLL // 2 if self._has_labels else POLL
        for row in np.round(self._rng.normal(size=(n, N_FEATURES)), 6).tolist():
            made = event(len(self._predicted), MODEL, row)
            said = orjson.loads(made)
            self._predicted.append((said["event_id"], said["prediction"]))
            if self._has_latency:
                latency_ms = round(float(self._rng.lognormal(3.0, 0.3)), 3)
                made = orjson.dumps({**said, "latency_ms": latency_ms})
            values.append(made)
            late = len(self._predicted) - LATE - 1
            if self._has_labels and late >= 0:
                values.append(self._label(late, said["ts"]))
        records = [
            Record(TP, self._offset + i, START_MS + self._offset + i, MODEL.encode(), value)
            for i, value in enumerate(values)
        ]
        self._offset += len(values)
        return records

    def _label(self, i: int, ts: str) -> bytes:
        event_id, predicted = self._predicted[i]
        truth = predicted if self._rng.random() < 0.9 else 1 - predicted
        about = {"type": "label", "event_id": event_id, "model_id": MODEL}
        return orjson.dumps({**about, "ts": ts, "label": truth})


def worker(config: DetectionConfig) -> PartitionWorker:
    """One of a partition, without Kafka."""
    lineage = Lineage(deployment="driftsentry", topic_id="benchmark", partition=0, start_offset=0)
    topics = OutputTopics("alerts", "dead-letter", "journal")
    return PartitionWorker(TP, lineage, Detection(config, KEY), 0, topics)


def taken_in_turns(
    workers: Mapping[str, PartitionWorker],
    poll: Callable[[], list[Record]],
    n_warm: int,
    n_polls: int,
) -> dict[str, float]:
    """Microseconds of the processor per event, of each worker the median of so many polls.

    `n_warm` polls come before, in which references are learned.
    """
    taken: dict[str, list[float]] = {name: [] for name in workers}
    names = list(workers)
    for number in range(n_warm + n_polls):
        records = poll()
        # In turns the first: it finds the records less warm than the others do.
        first = number % len(names)
        for name in names[first:] + names[:first]:
            started = time.thread_time()
            workers[name].process(records)
            seconds = time.thread_time() - started
            workers[name].take_outputs()
            if number >= n_warm:
                taken[name].append(seconds / len(records) * 1e6)
    return {name: round(median(own), 3) for name, own in taken.items()}
