"""Predictions that wait for their labels: bytes, joins a second, and what a checkpoint writes.

N predictions of one model wait; then labels come for a tenth of them, anywhere in the log, with as
many new predictions between them. A second checkpoint writes only what is new since the first.
"""

from __future__ import annotations

from time import thread_time
from typing import Any, Final

import numpy as np

from benchmarks.kit.report import FigureTable
from detectors.labels.identity import version_code
from detectors.labels.join import LABEL_COUNTERS, LabelJoin, given_by
from schemas.batch import Decoded, ModelKey, PredictionKind
from schemas.config import LabelsConfig
from schemas.records import TopicPartition
from streams.segments import cut_into_segments

POLL: Final = 2_048
SHARE: Final = 10
MODEL: Final = ModelKey("m", "1")
LABELED: Final = ModelKey("m", "")
START_MS: Final = 1_790_000_000_000


def events(first: int, event_id: np.ndarray[Any, np.dtype[np.int64]], is_label: bool) -> Decoded:
    """A poll of predictions of two classes, or of the labels of these events."""
    n = len(event_id)
    rng = np.random.default_rng(first)
    said = rng.integers(0, 2, n)
    rows = np.arange(first, first + n, dtype=np.int64)
    # As ids are fingerprinted: bits that say nothing of the order.
    mixed = event_id.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return Decoded(
        tp=TopicPartition("events", 0),
        offset=rows,
        row=np.zeros(n, np.int32),
        record_time_ms=rows + START_MS,
        event_time_ms=rows + START_MS,
        is_label=np.full(n, is_label),
        model=np.zeros(n, np.int32),
        models=[LABELED if is_label else MODEL],
        shape=np.full(n, -1 if is_label else 0, np.int32),
        shapes=[] if is_label else [()],
        value_ptr=np.zeros(n + 1, np.int64),
        value=np.empty(0),
        kind=np.empty(0, np.uint8),
        categories=[],
        score=np.full(n, np.nan) if is_label else rng.random(n),
        prediction_kind=np.full(n, PredictionKind.INTEGER, np.uint8),
        prediction=said.astype(np.float64),
        predicted_class=said.astype(np.int32),
        classes=["0", "1"],
        source=rng.integers(0, 2**63, (n, 2)).astype(np.uint64),
        event_id=mixed,
        latency_ms=np.full(n, np.nan),
        n_unknown_fields=0,
        n_sources_dropped=0,
    )


class Clocked:
    """A join that is timed; of what it is given, the making of events is left out."""

    def __init__(self, n_pending: int) -> None:
        config = LabelsConfig(enabled=True, max_pending=n_pending)
        self.counters = dict.fromkeys(LABEL_COUNTERS, 0)
        self.join = LabelJoin(config, self.counters)
        self.slots = {version_code(MODEL): 0}
        self.at = 0

    def feed(self, event_id: np.ndarray[Any, np.dtype[np.int64]], *, is_label: bool) -> float:
        """Fold these events in polls; the seconds that it took."""
        seconds = 0.0
        for start in range(0, len(event_id), POLL):
            poll = events(self.at, event_id[start : start + POLL], is_label)
            slot = np.full(len(poll), -1 if is_label else 0, np.int32)
            started = thread_time()
            given = given_by(poll, poll.event_time_ms)
            self.join.advance(given, 0, slot, self.slots)
            seconds += thread_time() - started
            self.at += len(poll)
        return seconds

    def checkpoint(self, known: dict[str, bytes]) -> dict[str, Any]:
        """Save the state: seconds, bytes in all, and bytes that are not among the known segments.

        Those are added to them.
        """
        started = thread_time()
        state = self.join.snapshot()
        copied = thread_time()
        segments: dict[str, bytes] = {}
        cut_into_segments({"labels": state}, segments)
        done = thread_time()
        new = sum(len(raw) for digest, raw in segments.items() if digest not in known)
        known.update(segments)
        return {
            "snapshot_ms": round((copied - started) * 1e3, 1),
            "segments_ms": round((done - copied) * 1e3, 1),
            "n_bytes": sum(map(len, segments.values())),
            "n_new_bytes": new,
        }


def measure(n_pending: int) -> dict[str, Any]:
    """The figures for so many predictions."""
    rng = np.random.default_rng(3)
    clocked = Clocked(n_pending)
    clocked.feed(np.arange(-POLL, 0), is_label=False)
    clocked.feed(np.arange(-POLL, 0), is_label=True)
    first_s = clocked.feed(np.arange(n_pending), is_label=False)
    known: dict[str, bytes] = {}
    first = clocked.checkpoint(known)
    n_labels = n_pending // SHARE
    labeled = rng.permutation(np.arange(n_pending // 2, n_pending))[:n_labels]
    n_before = clocked.counters["n_joined_labels"]
    labels_s = clocked.feed(labeled, is_label=True)
    n_joined = clocked.counters["n_joined_labels"] - n_before
    clocked.feed(np.arange(n_pending, n_pending + n_labels), is_label=False)
    second = clocked.checkpoint(known)
    started = thread_time()
    state = clocked.join.snapshot()
    LabelJoin(clocked.join.config, dict.fromkeys(LABEL_COUNTERS, 0), state, START_MS + clocked.at)
    restore_s = thread_time() - started
    tables = (clocked.join.pending, clocked.join.answers, clocked.join.early)
    in_memory = sum(table.words.nbytes for table in tables)
    in_memory += clocked.join.pending.index.nbytes + clocked.join.early.index.nbytes
    return {
        "n_pending": n_pending,
        "n_joined": n_joined,
        "bytes_in_memory": round(in_memory / n_pending, 1),
        "bytes_in_state": round(first["n_bytes"] / n_pending, 1),
        "ns_a_prediction": round(first_s / n_pending * 1e9),
        "labels_a_second": round(n_labels / labels_s),
        "first": first,
        "second": second,
        "restore_ms": round(restore_s * 1e3, 1),
    }


def waiting_table(figures: dict[str, Any]) -> FigureTable:
    """The figures of `measure`, for people."""
    first, second = figures["first"], figures["second"]
    rows = [
        ("bytes a prediction, in memory", f"{figures['bytes_in_memory']}"),
        ("bytes a prediction, in a checkpoint", f"{figures['bytes_in_state']}"),
        ("to keep a prediction", f"{figures['ns_a_prediction']:,} ns"),
        ("labels joined a second", f"{figures['labels_a_second']:,}"),
        ("first checkpoint: the fold stands still", f"{first['snapshot_ms']} ms"),
        ("first checkpoint: made into segments, beside the fold", f"{first['segments_ms']} ms"),
        ("first checkpoint: new bytes", f"{first['n_new_bytes']:,}"),
        ("second checkpoint: the fold stands still", f"{second['snapshot_ms']} ms"),
        ("second checkpoint: of bytes", f"{second['n_bytes']:,}"),
        ("second checkpoint: new bytes", f"{second['n_new_bytes']:,}"),
        ("restored and indexed", f"{figures['restore_ms']} ms"),
    ]
    title = f"{figures['n_pending']:,} predictions that wait"
    return FigureTable("labels", title, ("what", "figure"), rows)
