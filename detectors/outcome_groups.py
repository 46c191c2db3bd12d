"""The labelled rows of one model version by group: who is in which, what is counted, what is told.

Pure, and independent of batches: what is counted are whole numbers, absolute errors among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from detectors.kernels.observe import RULE_Z, SOURCE_PREDICTION
from detectors.monitor import Monitor
from detectors.outcome_rows import LabelledRows
from detectors.outcome_sources import DISPARITIES, DISPARITY_ROWS
from detectors.performance.excess import (
    Losses,
    is_significant,
    loss_by_chance,
    wrong_by_chance,
)
from detectors.slice_counts import LOSS_PARTS, MAX_LOSS, MIN_GROUP, GroupCounts, SliceCounts
from detectors.slices import group_of, groups_of, named_groups, tag_of
from schemas.batch import F64, I32, I64, Bool
from schemas.findings import MAX_GROUP_LOSSES, GroupLoss
from schemas.signal_names import slice_signal

_LEAST_SPREAD: Final = 1e-150
"""The least sd of a reference whose numbers vary."""


def members(monitor: Monitor, words: I64) -> dict[tuple[int, int], Bool]:
    """By feature and category, which of these rows are in the group: (k,) each."""
    found: dict[tuple[int, int], Bool] = {}
    for place, feature in enumerate(monitor.slices):
        group = group_of(words, place, tag_of(monitor))
        for before, category in enumerate(groups_of(monitor.categories[feature])):
            found[feature, category] = group == before + 1
    return found


def loss_unit(monitor: Monitor) -> float:
    """What the absolute errors of a model of numbers are counted in, in the prediction's unit.

    A part of the standard deviation of the predictions in its reference, which is known before any
    label comes; where these are all the same, of their size, or of 1 where they are 0.
    """
    scales = [each.scale for each in monitor.signals if each.source == SOURCE_PREDICTION]
    spread = 0.0
    if scales:
        spread = scales[0].sd if scales[0].rule == RULE_Z else abs(scales[0].constant)
    return (spread if spread >= _LEAST_SPREAD else 1.0) / LOSS_PARTS


def losses(monitor: Monitor, counts: SliceCounts) -> tuple[GroupLoss, ...]:
    """The groups that have significantly more of the latest errors than of the events.

    The worst first. Of a model of numbers: more of the absolute error.
    """
    is_binary = _is_binary(monitor)
    found: list[tuple[GroupLoss, float]] = []
    n_groups = 0
    for place, feature in enumerate(monitor.slices):
        recent = counts.recent(place)
        wrong, rows = recent.errors(is_binary=is_binary), recent.cells.sum(axis=1)
        n_wrong, n_rows = int(wrong.sum()), int(rows.sum())
        for group, name in named_groups(monitor.categories[feature]):
            if rows[group] < MIN_GROUP:
                continue
            n_groups += 1
            own, n_own = int(wrong[group]), int(rows[group])
            if own * n_rows <= n_wrong * n_own:
                continue
            signal = slice_signal(monitor.features[feature], name)
            of = GroupLoss(signal, own / n_wrong, n_own / n_rows)
            found.append((of, _by_chance(recent, group, own, n_own, n_wrong, n_rows)))
    worst = [of for of, p in found if is_significant(p, n_groups)]
    worst.sort(key=lambda each: (each.of_events - each.of_errors, each.signal))
    return tuple(worst[:MAX_GROUP_LOSSES])


def _by_chance(
    counts: GroupCounts, group: int, own: int, n_own: int, total: int, n_rows: int
) -> float:
    """How often a group of n_own of n_rows rows has so much, `own` of `total`, by chance alone."""
    if counts.losses is None:
        return wrong_by_chance(own, n_own, total, n_rows)
    squares, of_all = int(counts.losses[group, 1]), int(counts.losses[:, 1].sum())
    others = Losses(n_rows - n_own, float(total - own), float(of_all - squares))
    return loss_by_chance(Losses(n_own, float(own), float(squares)), others)


def disparity(
    monitor: Monitor, counts: SliceCounts, rows: LabelledRows
) -> dict[tuple[int, int], tuple[F64, I32]]:
    """By source and feature, what sets the groups apart in each block that ends here."""
    slices = monitor.slices
    at: list[int] = []
    values: list[list[tuple[float, float, float]]] = []
    for last in count(monitor, counts, rows, len(rows.row)):
        at.append(int(rows.row[last]))
        values.append([counts.last_block(place).gaps() for place in range(len(slices))])
    found = np.array(values, np.float64).reshape(len(at), len(slices), len(DISPARITIES))
    row = np.array(at, np.int32)
    return {
        (source, feature): (np.ascontiguousarray(found[:, place, kind]), row)
        for place, feature in enumerate(slices)
        for kind, source in enumerate(DISPARITIES)
    }


def count(monitor: Monitor, counts: SliceCounts, rows: LabelledRows, n: int) -> Iterator[int]:
    """Count the first n of these rows by group; stops at the last row of each block."""
    nothing = np.zeros(len(rows.row), np.bool_)
    first, second, loss = rows.is_wrong, nothing, None
    if counts.losses is not None:
        first, loss = nothing, _losses_of(rows.residue, loss_unit(monitor))
    elif _is_binary(monitor):
        first, second = rows.is_positive, rows.is_true
    start = 0
    while start < n:
        stop = min(n, start + DISPARITY_ROWS - counts.n_rows % DISPARITY_ROWS)
        part = slice(start, stop)
        counts.add(
            rows.groups[part],
            rows.has_error[part],
            first[part],
            second[part],
            None if loss is None else loss[part],
        )
        if counts.n_rows % DISPARITY_ROWS == 0:
            yield stop - 1
        start = stop


def _losses_of(residue: F64, unit: float) -> I64:
    """(k,) absolute errors in whole units; of NaN it does not matter, since no such row counts."""
    with np.errstate(over="ignore"):
        parts = np.rint(np.abs(residue) / unit)
    return np.fmin(parts, float(MAX_LOSS)).astype(np.int64)


def _is_binary(monitor: Monitor) -> bool:
    return monitor.output is not None and monitor.output.positive >= 0
