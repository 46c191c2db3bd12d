"""What grows with what, without Kafka: `python -m benchmarks.scale`.

A partition's worker (decoding, fold, policy) is fed polls of 1,024 JSON events. Measured are the
CPU time per event for 1 to 1,000 models of 20 features and for one model of 10 to 1,000 features,
the bytes of state per signal, and how long the fold stands still for a checkpoint of 10,000
signals.
"""

from __future__ import annotations

import gc
import math
import sys
import time
from statistics import median
from typing import Any, Final

import numpy as np
import orjson

from benchmarks.kit.detection import RIVERS, SINGLE
from benchmarks.kit.report import FigureTable, parser, publish
from benchmarks.pipeline import N_FEATURES, as_the_worker_runs, event
from detectors.base import BankState
from detectors.registry import REGISTRY
from schemas.config import DetectionConfig, DetectorsConfig
from schemas.records import Record, TopicPartition
from streams.checkpoint import encode_checkpoint
from streams.lineage import Lineage
from streams.worker import Detection, OutputTopics, PartitionWorker
from tests.detectors.batches import one_model, split

TP: Final = TopicPartition("events", 0)
POLL_RECORDS: Final = 1_024
N_REFERENCE: Final = 20
N_MODELS: Final = (1, 10, 100, 1_000)
WIDTHS: Final = (10, 30, 100, 300, 1_000)
N_PAUSED_SIGNALS: Final = 10_000
REFERENCE_ARRAYS: Final = ("cuts", "location", "spread")
"""What a lane of `focus` holds of its reference."""
WINDOWS: Final[tuple[int, ...]] = (1_000, 10_000, 100_000, 1_000_000)
SLOT_RECORDS: Final = 8_192
"""Distinct events of a case with few models; they are sent again and again."""


class Fed:
    """A worker and the events it is fed, over and over, at ever new offsets."""

    def __init__(self, n_models: int, n_features: int, n_payloads: int) -> None:
        lineage = Lineage(
            deployment="driftsentry", topic_id="benchmark", partition=0, start_offset=0
        )
        config = DetectionConfig(reference_events=N_REFERENCE, detectors=RIVERS, joint=SINGLE)
        detection = Detection(config, None)
        topics = OutputTopics("alerts", "dead-letter", "journal")
        self.worker = PartitionWorker(TP, lineage, detection, 0, topics)
        rng = np.random.default_rng(7)
        self.payloads = [
            (model.encode(), payload(i, model, np.round(rng.normal(size=n_features), 6).tolist()))
            for i in range(n_payloads)
            for model in [f"model-{i % n_models:04}"]
        ]
        n_warm = max(2 * N_REFERENCE * n_models, POLL_RECORDS)
        for _ in range(math.ceil(n_warm / POLL_RECORDS)):
            self.poll_s()

    def poll_s(self) -> float:
        """CPU seconds of one more poll."""
        start = self.worker.next_offset
        n = len(self.payloads)
        records = [
            Record(TP, offset, 1_795_000_000_000 + offset, *self.payloads[offset % n])
            for offset in range(start, start + POLL_RECORDS)
        ]
        started_s = time.process_time()
        self.worker.process(records)
        taken_s = time.process_time() - started_s
        self.worker.take_outputs()
        return taken_s

    @property
    def n_signals(self) -> int:
        """Monitored signals."""
        return self.worker.fold.catalog.lanes.n_lanes


def payload(i: int, model: str, values: list[float]) -> bytes:
    """An event of `benchmarks.pipeline`, or one like it with another number of features."""
    if len(values) == N_FEATURES:
        return event(i, model, values)
    document = orjson.loads(event(i, model, values[:1] * N_FEATURES))
    document["features"] = {f"transaction_value_{j:04}": x for j, x in enumerate(values)}
    return orjson.dumps(document)


def us_per_event(cases: dict[int, Fed], n_polls: int) -> dict[int, float]:
    """The median of many polls of each case, which take turns."""
    taken: dict[int, list[float]] = {case: [] for case in cases}
    for _ in range(n_polls):
        for case, fed in cases.items():
            taken[case].append(fed.poll_s())
    return {case: median(of) / POLL_RECORDS * 1e6 for case, of in taken.items()}


def models_table(n_polls: int) -> tuple[FigureTable, dict[int, float]]:
    """1 to 1,000 models."""
    say("models ...")
    cases = {n: Fed(n, N_FEATURES, max(SLOT_RECORDS, 16 * n)) for n in N_MODELS}
    us = us_per_event(cases, n_polls)
    rows = [
        (
            f"{n:,}",
            f"{us[n] / us[1]:.2f} x",
            "" if n == 1 else "at most 1.5 x",
            f"{us[n]:.2f}",
        )
        for n in N_MODELS
    ]
    title = f"CPU time per event of {N_FEATURES} features, decoded and folded, polls of 1,024"
    return FigureTable("models", title, ("models", "of one", "target", "us/event"), rows), us


def features_table(n_polls: int) -> tuple[FigureTable, dict[int, float]]:
    """One model of 10 to 1,000 features."""
    say("features ...")
    cases = {n: Fed(1, n, 4 * N_REFERENCE * 16) for n in WIDTHS}
    us = us_per_event(cases, n_polls)
    base = us[100] / 100
    rows = [
        (f"{n:,}", f"{us[n] / n / base:.2f} x", f"{us[n]:.1f}", f"{us[n] / n:.3f}") for n in WIDTHS
    ]
    columns = ("features", "per feature, of 100", "us/event", "us/feature")
    return FigureTable("features", "CPU time per event of one model", columns, rows), us


def n_bytes(state: BankState) -> int:
    """Of its arrays."""
    return sum(array.nbytes for array in state.values())


def state_table(windows: tuple[int, ...]) -> tuple[FigureTable, dict[int, float]]:
    """State per signal of the detectors that are on by default, by how much it has seen.

    What a lane holds of its reference is counted apart.
    """
    say("state ...")
    n_lanes = 10
    on = {
        name: spec.build(getattr(DetectorsConfig(), name), n_lanes, None)
        for name, spec in REGISTRY.items()
        if getattr(DetectorsConfig(), name).enabled
    }
    banks = on.values()
    values = np.random.default_rng(3).normal(size=(windows[-1], n_lanes))
    of_window: dict[int, float] = {}
    of_reference: dict[int, float] = {}
    cuts = [*range(50_000, windows[-1], 50_000), *windows[:-1]]
    for batch in split(one_model(values), cuts):
        for bank in banks:
            bank.update(batch)
        n = int(batch.offset[-1]) + 1 if len(batch.offset) else 0
        if n in windows:
            snapshots = {name: bank.snapshot() for name, bank in on.items()}
            frozen = snapshots["focus"]
            of_reference[n] = sum(frozen[name].nbytes for name in REFERENCE_ARRAYS) / n_lanes
            of_window[n] = sum(map(n_bytes, snapshots.values())) / n_lanes - of_reference[n]
    rows = [
        (f"{n:,}", f"{size / 3_072:.0%}", f"{size:,.0f}", f"{of_reference[n]:,.0f}")
        for n, size in of_window.items()
    ]
    title = f"state per signal ({', '.join(on)}), by events since a change"
    columns = ("events seen", "of the 3 KiB allowed", "bytes", "bytes of its reference")
    return FigureTable("state", title, columns, rows), of_window


def pause_table(n_polls: int, n_pauses: int) -> tuple[FigureTable, dict[str, Any]]:
    """What a checkpoint of 10,000 signals takes: at once, and in the background."""
    say("checkpoint ...")
    per_model = 2 * N_FEATURES + 2
    n_models = math.ceil(N_PAUSED_SIGNALS / per_model)
    fed = Fed(n_models, N_FEATURES, 16 * n_models)
    for _ in range(n_polls):
        fed.poll_s()
    pauses_s, encodings_s = [], []
    for _ in range(n_pauses):
        started_s = time.perf_counter()
        checkpoint = fed.worker.checkpoint()
        pauses_s.append(time.perf_counter() - started_s)
        started_s = time.perf_counter()
        encoded = encode_checkpoint(checkpoint, None)
        encodings_s.append(time.perf_counter() - started_s)
        fed.poll_s()
    n_events = fed.worker.n_records // n_models
    of_part = {name: n_bytes(part) / fed.n_signals for name, part in checkpoint.parts.items()}
    stored = (len(encoded.manifest) + sum(map(len, encoded.segments.values()))) / fed.n_signals
    figures: dict[str, Any] = {
        "n_signals": fed.n_signals,
        "n_events_per_model": n_events,
        "pause_ms": [s * 1e3 for s in pauses_s],
        "encoding_ms": [s * 1e3 for s in encodings_s],
        "bytes_per_signal": of_part,
        "stored_bytes_per_signal": stored,
    }
    rows = []
    for name, taken_s in (("the fold stands still", pauses_s), ("in the background", encodings_s)):
        is_pause = taken_s is pauses_s
        rows.append(
            (
                name,
                f"{max(taken_s) / 0.1:.0%}" if is_pause else "",
                f"{median(taken_s) * 1e3:.1f}",
                f"{max(taken_s) * 1e3:.1f}",
                f"{stored:,.0f}" if not is_pause else f"{sum(of_part.values()):,.0f}",
            )
        )
    title = f"a checkpoint of {fed.n_signals:,} signals, {n_events:,} events a model"
    columns = ("part", "of the 100 ms allowed", "median ms", "longest ms", "bytes per signal")
    return FigureTable("checkpoint", title, columns, rows), figures


def say(text: str) -> None:
    """On stderr, where we are."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run, print the tables, and with --json the same figures as the last line."""
    options_parser = parser("scale", __doc__)
    options_parser.add_argument("--polls", type=int, default=60, help="timed polls of each case")
    options = options_parser.parse_args()
    n_polls, n_pauses, windows = (options.polls, 30, WINDOWS)
    if options.quick:
        n_polls, n_pauses, windows = 3, 3, WINDOWS[:2]
    with as_the_worker_runs():
        models, us_of_models = models_table(n_polls)
        gc.collect()
        features, us_of_features = features_table(max(3, n_polls // 3))
        gc.collect()
        state, bytes_of_windows = state_table(windows)
        checkpoint, pause = pause_table(4 * n_polls, n_pauses)
    figures = {
        "us_by_models": us_of_models,
        "us_by_features": us_of_features,
        "state_bytes_by_window": bytes_of_windows,
        "checkpoint": pause,
    }
    publish("scale", [models, features, state, checkpoint], figures, options)


if __name__ == "__main__":
    main()
