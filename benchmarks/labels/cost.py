"""What an event costs where labels are joined, beside the same events where they are not.

Through a partition's worker without Kafka: decoded, folded, its findings decided. A label comes for
each prediction, some polls after it; or none comes at all. The workers take turns.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any, Final

import numpy as np
import orjson

from benchmarks.kit.report import FigureTable
from benchmarks.pipeline import N_FEATURES, event
from schemas.config import DetectionConfig, LabelsConfig
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

    def __init__(self, *, has_labels: bool) -> None:
        self._has_labels = has_labels
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


def worker(*, joins: bool) -> PartitionWorker:
    """With the detectors that are on by default."""
    lineage = Lineage(deployment="driftsentry", topic_id="benchmark", partition=0, start_offset=0)
    config = DetectionConfig(
        reference_events=N_REFERENCE, labels=LabelsConfig(enabled=joins, calibration_labels=1_000)
    )
    topics = OutputTopics("alerts", "dead-letter", "journal")
    return PartitionWorker(TP, lineage, Detection(config, KEY), 0, topics)


def measure_cost(n_polls: int) -> list[dict[str, Any]]:
    """Microseconds of the processor per event, for events with labels and without."""
    found = []
    for has_labels in (True, False):
        traffic = Traffic(has_labels=has_labels)
        workers = {joins: worker(joins=joins) for joins in (False, True)}
        taken: dict[bool, list[float]] = {joins: [] for joins in workers}
        n_warm = (LATE + 4 * N_REFERENCE) // (POLL // 2)
        for number in range(n_warm + n_polls):
            records = traffic.poll()
            # In turns the first: it finds the records less warm than the second does.
            for joins in (False, True) if number % 2 else (True, False):
                one = workers[joins]
                started = time.thread_time()
                one.process(records)
                seconds = time.thread_time() - started
                one.take_outputs()
                if number >= n_warm:
                    taken[joins].append(seconds / len(records) * 1e6)
        counts = workers[True].counts()
        found.append(
            {
                "has_labels": has_labels,
                "off_us": round(median(taken[False]), 3),
                "on_us": round(median(taken[True]), 3),
                "n_events": counts["n_events"],
                "n_joined": counts["n_joined_labels"],
            }
        )
    return found


def cost_table(found: list[dict[str, Any]]) -> FigureTable:
    """The figures of `measure_cost`, for people."""
    rows = [
        (
            "a label for each prediction" if one["has_labels"] else "predictions alone",
            f"{one['on_us'] / one['off_us']:.2f} x",
            f"{one['off_us']:.2f}",
            f"{one['on_us']:.2f}",
        )
        for one in found
    ]
    title = f"CPU time per event, decoded and folded; predictions have {N_FEATURES} features"
    columns = ("events", "on, of off", "labels off, us/event", "labels on, us/event")
    return FigureTable("cost", title, columns, rows)
