"""What the signals of data quality cost, beside the same events without them.

As in `benchmarks.labels.cost`, and without labels: all of these signals are off, those are on that
are by default, or `quality:duplicate` too. Events have a `latency_ms`, which all workers decode.
"""

from __future__ import annotations

from typing import Any, Final

from benchmarks.kit.report import FigureTable
from benchmarks.labels.turns import MODEL, N_REFERENCE, POLL, Traffic, taken_in_turns, worker
from benchmarks.pipeline import N_FEATURES
from schemas.batch import ModelKey
from schemas.config import DetectionConfig, QualityConfig
from streams.worker import PartitionWorker

CONFIGS: Final = {
    "off": QualityConfig(**dict.fromkeys(QualityConfig.model_fields, False)),
    "by default": QualityConfig(),
    "and duplicates": QualityConfig(duplicate=True),
}


def measure_quality(n_polls: int) -> list[dict[str, Any]]:
    """Microseconds of the processor per event, and which signals each worker had."""
    traffic = Traffic(has_labels=False, has_latency=True)
    workers = {
        name: worker(DetectionConfig(reference_events=N_REFERENCE, quality=quality))
        for name, quality in CONFIGS.items()
    }
    taken = taken_in_turns(workers, traffic.poll, 4 * N_REFERENCE // POLL + 1, n_polls)
    return [
        {"config": name, "us": us, "signals": _signals(workers[name])} for name, us in taken.items()
    ]


def _signals(of: PartitionWorker) -> list[str]:
    """Those of data quality that are watched."""
    catalog = of.fold.catalog
    (monitor,) = (catalog.monitor(slot) for slot in catalog.slot_of.values())
    assert monitor.key == ModelKey(MODEL, monitor.key.model_version, monitor.key.shard)
    names = [monitor.name(signal) for signal in monitor.signals if signal.lane >= 0]
    return [name for name in names if name == "latency" or name.startswith("quality:")]


def quality_table(found: list[dict[str, Any]]) -> FigureTable:
    """The figures of `measure_quality`, for people."""
    off = found[0]["us"]
    rows = [
        (
            ", ".join(name.removeprefix("quality:") for name in one["signals"]) or "none",
            f"{one['us'] / off:.2f} x",
            f"{one['us']:.2f}",
            f"{one['us'] - off:.2f}",
        )
        for one in found
    ]
    title = f"CPU time per event, decoded and folded; predictions have {N_FEATURES} features"
    columns = ("signals", "of none", "us/event", "more")
    return FigureTable("quality", title, columns, rows)
