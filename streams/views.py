"""The live view of a model, for dashboards: the last value and the mean of each signal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import orjson

from detectors.drift.moments import MomentsBank
from detectors.drift.windows import WindowsBank
from schemas.alerts import AlertData
from schemas.batch import ModelKey
from schemas.fast_path import FastPath
from schemas.findings import Aspect
from streams.performance_view import performance_view
from streams.worker import PartitionWorker

MAX_VIEWS: Final = 200
"""Models whose view is published at one time; the most recently seen come first."""


def live_views(workers: Iterable[PartitionWorker]) -> dict[str, Mapping[str, bytes]]:
    """One view per model version, by its key in the store.

    `signals` maps each signal to its last value and the mean and number of observations since the
    reference, and how far its latest whole window lay from it (null: not known). `performance` is
    how well the model predicts, by its labels (null: there are none). `alerts` holds
    the latest alerts since the worker took the partition up; `counters` is what its partition has
    counted, of all models.
    """
    views: dict[str, Mapping[str, bytes]] = {}
    for worker in workers:
        catalog = worker.fold.catalog
        moments = worker.fold.banks.get("moments")
        windows = worker.fold.banks.get("windows")
        counters = orjson.dumps(worker.counts())
        recent = sorted(catalog.slot_of.values(), key=lambda s: -int(catalog.last_seen[s]))
        for slot in recent[:MAX_VIEWS]:
            monitor = catalog.monitor(slot)
            key = monitor.key
            signals: dict[str, dict[str, object]] = {}
            if isinstance(moments, MomentsBank):
                for signal in monitor.signals:
                    # Cells are no numbers: a category as a whole has windows and nothing else.
                    if signal.is_cells and isinstance(windows, WindowsBank) and signal.lane >= 0:
                        signals[monitor.name(signal)] = {"window": windows.distances(signal.lane)}
                    if signal.lane < 0 or moments.n[signal.lane] == 0:
                        continue
                    signals[monitor.name(signal)] = {
                        "last": signal.raw(float(moments.last[signal.lane]), Aspect.MEAN),
                        "mean": signal.raw(float(moments.mean[signal.lane]), Aspect.MEAN),
                        "reference_mean": signal.scale.mean,
                        "reference_sd": signal.scale.sd,
                        "n": int(moments.n[signal.lane]),
                        "window": windows.distances(signal.lane)
                        if isinstance(windows, WindowsBank)
                        else None,
                    }
            name = f"{key.model_id}/{key.model_version}"
            if key.shard >= 0:
                name += f"/{key.shard}"
            views[name] = {
                "n_events": str(int(catalog.n_events[slot])).encode(),
                "partition": str(worker.tp).encode(),
                "offset": str(worker.next_offset).encode(),
                "counters": counters,
                "slow_decoding": _slow_decoding(worker.fast_path, key),
                "learning": orjson.dumps(bool(monitor.cohorts)),
                "signals": orjson.dumps(signals),
                "performance": performance_view(worker.fold.outcomes, slot),
                "alerts": orjson.dumps(
                    [alert.model_dump() for alert in worker.recent if _is_of(alert, key)][-20:]
                ),
            }
    return views


def _slow_decoding(fast_path: FastPath, key: ModelKey) -> bytes:
    """How many events of the model found no template, and why the latest did not; null: none."""
    record_key = key.model_id if key.shard < 0 else f"{key.model_id}/{key.shard}"
    slow = fast_path.slow_model(record_key.encode())
    return orjson.dumps(None if slow is None else {"n": slow.n_slow, "why": slow.why})


def _is_of(alert: AlertData, key: ModelKey) -> bool:
    shard = -1 if alert.shard is None else alert.shard
    return (alert.model_id, alert.model_version, shard) == tuple(key)
