"""The catalog as flat arrays, the form in which the kernels read it. Derived, never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.monitor import Monitor
from schemas.batch import F64, I32, I64, U8

COLUMNS = np.dtype(
    [
        ("lane", np.int32),
        ("source", np.uint8),
        ("index", np.int32),
        ("expected", np.uint8),
        ("rule", np.uint8),
        ("constant", np.float64),
        ("mean", np.float64),
        ("sd", np.float64),
    ]
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Slot s has lanes `ptr[s]:ptr[s + 1]` and features `feature_ptr[s]:feature_ptr[s + 1]`."""

    ptr: I64
    lane: I32
    source: U8
    index: I32
    expected: U8
    rule: U8
    constant: F64
    mean: F64
    sd: F64
    feature_ptr: I64
    feature_kind: U8


def _columns(monitor: Monitor) -> NDArray[np.void]:
    """The monitor's signals that have lanes; kept on it, since most changes concern others."""
    if monitor.columns is None:
        rows = []
        for signal in monitor.signals:
            if signal.lane >= 0:
                scale = signal.scale
                what = (signal.lane, signal.source, signal.index, signal.expected)
                rows.append((*what, scale.rule, scale.constant, scale.mean, scale.sd))
        monitor.columns = np.array(rows, COLUMNS)
    return monitor.columns


def build_layout(slots: Sequence[Monitor | None]) -> Layout:
    """The flat form of these monitors, signals without a lane left out."""
    none = np.zeros(0, COLUMNS)
    columns = [none if monitor is None else _columns(monitor) for monitor in slots]
    kinds = [[] if monitor is None else monitor.kinds for monitor in slots]
    flat = np.concatenate([none, *columns])
    return Layout(
        ptr=np.cumsum([0, *map(len, columns)], dtype=np.int64),
        lane=np.ascontiguousarray(flat["lane"]),
        source=np.ascontiguousarray(flat["source"]),
        index=np.ascontiguousarray(flat["index"]),
        expected=np.ascontiguousarray(flat["expected"]),
        rule=np.ascontiguousarray(flat["rule"]),
        constant=np.ascontiguousarray(flat["constant"]),
        mean=np.ascontiguousarray(flat["mean"]),
        sd=np.ascontiguousarray(flat["sd"]),
        feature_ptr=np.cumsum([0, *map(len, kinds)], dtype=np.int64),
        feature_kind=np.array([kind for of_slot in kinds for kind in of_slot], np.uint8),
    )
