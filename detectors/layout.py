"""The catalog as flat arrays, the form in which the kernels read it. Derived, never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from detectors.categories import NameNumbers
from detectors.drift.rhythm import WEEK, Rhythm
from detectors.joint_table import JointTable, build_table
from detectors.kernels.observe import SOURCE_CELL, SOURCE_NEW
from detectors.limits import LimitTable, build_limits
from detectors.monitor import Monitor
from detectors.typicality import TypicalTable, build_typical
from schemas.batch import F64, I32, I64, U8

N_COLUMNS = 9
"""lane, source, index, expected, rule, constant, mean, sd, category: as numbers of one kind, since
joining two thousand small arrays of records takes 100 ms, and of floats half of one."""


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
    category: I32
    """(lanes,) the number of the name that a lane of a category compares with."""
    known_ptr: I64
    """(lanes + 1,)"""
    known: I32
    """What is not new to lane j: names by number, `known[known_ptr[j]:known_ptr[j + 1]]`."""
    known_cell: I32
    """The cell of each of these, where the lane observes cells."""
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
    limits: LimitTable
    """What numbers keep to, and the latest ones."""
    typical: TypicalTable
    """How unusual which values are, and what has been so of late."""


def _columns(
    monitor: Monitor, names: NameNumbers
) -> tuple[F64, U8, list[Rhythm | None], list[I32]]:
    """Of the monitor's signals that have lanes (lanes, 9) numbers.

    Then (features,) the kinds of its features; the lanes' rhythms, if any has one; and (2, n) the
    names that are known to each, if any, and their cells.

    Kept on the monitor, since most changes concern others.
    """
    if monitor.columns is None:
        rows = []
        rhythms: list[Rhythm | None] = []
        known: list[I32] = []
        for signal in monitor.signals:
            if signal.lane >= 0 and not signal.is_outcome:
                rhythms.append(signal.rhythm)
                scale = signal.scale
                what = (signal.lane, signal.source, signal.index, signal.expected)
                own, category = _NO_NAMES, 0
                if signal.is_category or signal.is_cells:
                    numbers = names.numbers(monitor.categories[signal.index].names)
                    if signal.source == SOURCE_NEW:
                        own = np.array([sorted(numbers), [0] * len(numbers)], np.int32)
                    elif signal.source == SOURCE_CELL:
                        cells = monitor.categories[signal.index].cells
                        own = np.array(sorted(zip(numbers, cells, strict=True)), np.int32).T
                        category = signal.category
                    else:
                        category = numbers[signal.category]
                known.append(own)
                rows.append((*what, scale.rule, scale.constant, scale.mean, scale.sd, category))
        monitor.columns = (
            np.array(rows, np.float64).reshape(len(rows), N_COLUMNS),
            np.array(monitor.kinds, np.uint8),
            rhythms if any(rhythms) else [],
            known if any(each.size for each in known) else [],
        )
    return monitor.columns


def build_layout(
    slots: Sequence[Monitor | None],
    names: NameNumbers,
    joint: JointTable | None = None,
    limits: LimitTable | None = None,
    typical: TypicalTable | None = None,
) -> Layout:
    """The flat form of these monitors, signals without a lane left out.

    `joint`, `limits` and `typical` are the tables of the layout before it: most changes concern
    none of it.
    """
    columns = [_NOTHING if monitor is None else _columns(monitor, names) for monitor in slots]
    signals = [of_slot for of_slot, _, _, _ in columns]
    kinds = [of_slot for _, of_slot, _, _ in columns]
    ptr = np.cumsum([0, *map(len, signals)], dtype=np.int64)
    rhythm = np.full(int(ptr[-1]), -1, np.int32)
    found: list[Rhythm] = []
    n_known = np.zeros(int(ptr[-1]) + 1, np.int64)
    known: list[I32] = [_NO_NAMES]
    for first, (_, _, rhythms, own_known) in zip(ptr.tolist(), columns, strict=False):
        if own_known:
            known += own_known
            n_known[first + 1 : first + 1 + len(own_known)] = [each.shape[1] for each in own_known]
        for j, own in enumerate(rhythms):
            if own is not None:
                rhythm[first + j] = len(found)
                found.append(own)
    knots = np.zeros((len(found), WEEK))
    for r, own in enumerate(found):
        knots[r, : len(own.knots)] = own.knots
    all_known = np.concatenate(known, axis=1)
    lane, source, index, expected, rule, constant, mean, sd, category = np.concatenate(
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
        category=category.astype(np.int32),
        known_ptr=np.cumsum(n_known, dtype=np.int64),
        known=all_known[0].copy(),
        known_cell=all_known[1].copy(),
        feature_ptr=np.cumsum([0, *map(len, kinds)], dtype=np.int64),
        feature_kind=np.concatenate([_NOTHING[1], *kinds]),
        rhythm=rhythm,
        rhythm_hours=np.array([len(own.knots) for own in found], np.int64),
        rhythm_knots=knots,
        joint=build_table([None if each is None else each.watched for each in slots], joint),
        limits=build_limits([None if each is None else each.limits for each in slots], limits),
        typical=build_typical([None if s is None else s.scored(names) for s in slots], typical),
    )


_NO_NAMES: Final = np.zeros((2, 0), np.int32)
_NOTHING: Final[tuple[F64, U8, list[Rhythm | None], list[I32]]] = (
    np.zeros((0, N_COLUMNS)),
    np.zeros(0, np.uint8),
    [],
    [],
)
