"""The catalog as flat arrays, the form in which the kernels read it. Derived, never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.drift.rhythm import WEEK, Rhythm
from detectors.joint_table import JointTable, build_table
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
    rhythm: I32
    """(lanes,) number of each lane's rhythm; -1: none."""
    rhythm_hours: I64
    """(r,) after how many hours it comes again."""
    rhythm_knots: F64
    """(r, 168) its values by the hour; what is beyond its hours means nothing."""
    joint: JointTable
    """What features say together, and the blocks that are under way."""


def _columns(monitor: Monitor) -> tuple[F64, U8, list[Rhythm | None]]:
    """Of the monitor's signals that have lanes (lanes, 8) numbers, and their rhythms, if any has.

    Between them (features,) the kinds of its features.

    Kept on the monitor, since most changes concern others.
    """
    if monitor.columns is None:
        rows = []
        rhythms: list[Rhythm | None] = []
        for signal in monitor.signals:
            if signal.lane >= 0:
                rhythms.append(signal.rhythm)
                scale = signal.scale
                what = (signal.lane, signal.source, signal.index, signal.expected)
                rows.append((*what, scale.rule, scale.constant, scale.mean, scale.sd))
        monitor.columns = (
            np.array(rows, np.float64).reshape(len(rows), N_COLUMNS),
            np.array(monitor.kinds, np.uint8),
            rhythms if any(rhythms) else [],
        )
    return monitor.columns


def build_layout(slots: Sequence[Monitor | None], joint: JointTable | None = None) -> Layout:
    """The flat form of these monitors, signals without a lane left out.

    `joint` is the table of the layout before it: most changes concern none of it.
    """
    columns = [_NOTHING if monitor is None else _columns(monitor) for monitor in slots]
    signals = [of_slot for of_slot, _, _ in columns]
    kinds = [of_slot for _, of_slot, _ in columns]
    ptr = np.cumsum([0, *map(len, signals)], dtype=np.int64)
    rhythm = np.full(int(ptr[-1]), -1, np.int32)
    found: list[Rhythm] = []
    for first, (_, _, rhythms) in zip(ptr.tolist(), columns, strict=False):
        for j, own in enumerate(rhythms):
            if own is not None:
                rhythm[first + j] = len(found)
                found.append(own)
    knots = np.zeros((len(found), WEEK))
    for r, own in enumerate(found):
        knots[r, : len(own.knots)] = own.knots
    lane, source, index, expected, rule, constant, mean, sd = np.concatenate(
        [_NOTHING[0], *signals]
    ).T
    return Layout(
        ptr=ptr,
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
        rhythm=rhythm,
        rhythm_hours=np.array([len(own.knots) for own in found], np.int64),
        rhythm_knots=knots,
        joint=build_table([None if each is None else each.watched for each in slots], joint),
    )


_NOTHING: Final[tuple[F64, U8, list[Rhythm | None]]] = (
    np.zeros((0, N_COLUMNS)),
    np.zeros(0, np.uint8),
    [],
)
