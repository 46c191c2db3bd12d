"""The catalog as flat arrays, the form in which the kernels read it. Derived, never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detectors.monitor import Monitor
from schemas.batch import F64, I32, I64, U8

N_COLUMNS = 8
"""lane, source, index, expected, rule, constant, mean, sd: as numbers of one kind, since joining
two thousand small arrays of records takes 100 ms, and of floats half of one."""


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


def _columns(monitor: Monitor) -> tuple[F64, U8]:
    """(lanes, 8) the monitor's signals that have lanes, and (features,) the kinds of its features.

    Kept on the monitor, since most changes concern others.
    """
    if monitor.columns is None:
        rows = []
        for signal in monitor.signals:
            if signal.lane >= 0:
                scale = signal.scale
                what = (signal.lane, signal.source, signal.index, signal.expected)
                rows.append((*what, scale.rule, scale.constant, scale.mean, scale.sd))
        monitor.columns = (
            np.array(rows, np.float64).reshape(len(rows), N_COLUMNS),
            np.array(monitor.kinds, np.uint8),
        )
    return monitor.columns


def build_layout(slots: Sequence[Monitor | None]) -> Layout:
    """The flat form of these monitors, signals without a lane left out."""
    columns = [_NOTHING if monitor is None else _columns(monitor) for monitor in slots]
    signals = [of_slot for of_slot, _ in columns]
    kinds = [of_slot for _, of_slot in columns]
    lane, source, index, expected, rule, constant, mean, sd = np.concatenate(
        [_NOTHING[0], *signals]
    ).T
    return Layout(
        ptr=np.cumsum([0, *map(len, signals)], dtype=np.int64),
        lane=lane.astype(np.int32),
        source=source.astype(np.uint8),
        index=index.astype(np.int32),
        expected=expected.astype(np.uint8),
        rule=rule.astype(np.uint8),
        constant=constant.copy(),
        mean=mean.copy(),
        sd=sd.copy(),
        feature_ptr=np.cumsum([0, *map(len, kinds)], dtype=np.int64),
        feature_kind=np.concatenate([_NOTHING[1], *kinds]),
    )


_NOTHING = np.zeros((0, N_COLUMNS)), np.zeros(0, np.uint8)
