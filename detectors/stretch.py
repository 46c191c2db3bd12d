"""A stretch of decoded rows within which the catalog does not change, as the kernels want it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.catalog import Catalog
from detectors.kernels.observe import group_rows
from detectors.monitor import (
    AWAITS_PREDICTION,
    AWAITS_SCORE,
    PREDICTION_LEARNING,
    PREDICTION_NUMBER,
    reference_events,
)
from detectors.reference import MAX_INTEGER_CLASSES, Cohort
from schemas.batch import I32, I64, Bool, Decoded, PredictionKind

Number = TypeVar("Number", bound=np.generic)

CLASS_ABSENT = -2
CLASS_OTHER = -1


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows start..stop-1 of a poll, grouped by slot. Row numbers within count from `start`."""

    start: int
    stop: int
    slot: I32
    """(n,) -1: a label, or a model there is no place for."""
    rows: I32
    """(r,) the rows of all blocks, block after block."""
    block_slot: I32
    """(b,) the slots that occur, ascending."""
    block_ptr: I64
    """(b + 1,)"""
    model_event: I64
    """(n,) how many events of its model came before; 0 where the slot is -1."""


def group(catalog: Catalog, slot: I32, start: int, stop: int) -> Stretch:
    """The stretch of the first stop - start rows of `slot`."""
    own = slot[: stop - start]
    rows, block_slot, block_ptr, rank = group_rows(own, len(catalog.slots))
    model_event = np.where(own >= 0, _at(catalog.n_events, own) + rank, 0)
    return Stretch(start, stop, own, rows, block_slot, block_ptr, model_event)


def until_freeze(catalog: Catalog, stretch: Stretch) -> Stretch:
    """The stretch up to the first row that completes a reference."""
    complete = (stretch.slot >= 0) & (
        stretch.model_event + 1 >= _at(catalog.freeze_at, stretch.slot)
    )
    if not complete.any():
        return stretch
    stop = stretch.start + int(complete.argmax()) + 1
    if stop == stretch.stop:
        return stretch
    return group(catalog, stretch.slot, stretch.start, stop)


def ends_of_runs(length: I64) -> I64:
    """Where runs of these lengths begin and end: (n + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(length, dtype=np.int64)])


def _at(of_slot: NDArray[Number], slot: I32) -> NDArray[Number]:
    """The slots' values by row; something arbitrary where the slot is -1."""
    return of_slot[slot] if len(of_slot) else np.zeros(len(slot), of_slot.dtype)


class Columns(NamedTuple):
    """Where the features of a stretch's rows stand."""

    ptr: I64
    """(n,) into `column`."""
    column: I32
    """Feature f of row i stands in column `column[ptr[i] + f]` of its values; -1: absent."""
    n_unlearned: I64
    """(n,) how many features of each row are not learned."""
    full: list[tuple[int, str]]
    """Rows at which a bound was first reached, and its name."""


def feature_columns(catalog: Catalog, events: Decoded, stretch: Stretch) -> tuple[Stretch, Columns]:
    """Where each row's features stand; what is new, features and outputs, is learned from here on.

    In log order, since there is room for so many references only. Returns the stretch, cut where a
    reference that begins here is complete: what lies behind it is not learned before that.
    """
    full: list[tuple[int, str]] = []
    maps = _column_maps(catalog, events, stretch)
    unlearned = np.flatnonzero(maps[2])
    for row in _first_of_pairs(events, stretch, unlearned) if len(unlearned) else ():
        stretch = _begin_outputs(catalog, events, stretch, row + 1, full)
        if row >= len(stretch.slot):
            break
        _learn_names(catalog, events, stretch, row, full)
        stretch = until_freeze(catalog, stretch)
    stretch = _begin_outputs(catalog, events, stretch, len(stretch.slot), full)
    if len(unlearned) or len(stretch.slot) < len(maps[0]):
        maps = _column_maps(catalog, events, stretch)
    return stretch, Columns(*maps, full)


def _begin_outputs(
    catalog: Catalog,
    events: Decoded,
    stretch: Stretch,
    until: int,
    full: list[tuple[int, str]],
) -> Stretch:
    """Let awaited scores and predictions be learned from the first event on that has one.

    In the rows before `until`. Returns the stretch, cut where a reference that begins is complete.
    """
    while True:
        n = min(until, len(stretch.slot))
        rows, slots = slice(stretch.start, stretch.start + n), stretch.slot[:n]
        awaits = _at(catalog.awaits, slots) * (slots >= 0)
        if not awaits.any():
            return stretch
        score = (awaits & AWAITS_SCORE > 0) & ~np.isnan(events.score[rows])
        prediction = events.prediction_kind[rows] != PredictionKind.ABSENT
        prediction &= awaits & AWAITS_PREDICTION > 0
        found = score | prediction
        if not found.any():
            return stretch
        row = int(found.argmax())
        slot = int(stretch.slot[row])
        monitor = catalog.monitor(slot)
        cohort = _cohort(catalog, slot, int(stretch.model_event[row]), row, full)
        monitor.begin_outputs(cohort, score=bool(score[row]), prediction=bool(prediction[row]))
        catalog.changed(slot)
        stretch = until_freeze(catalog, stretch)


def _cohort(
    catalog: Catalog, slot: int, event: int, row: int, full: list[tuple[int, str]]
) -> Cohort:
    """The reference of the model that begins with this event of it, at this row."""
    monitor = catalog.monitor(slot)
    cohort = monitor.cohort_of(event)
    if cohort is None:
        n_reference = reference_events(catalog.config, monitor.key)
        cohort = Cohort(start=event, end=event + n_reference)
        monitor.add_cohort(cohort)
        if not catalog.keep_rows(cohort):
            _say_learning_full(catalog, row, full)
    return cohort


def _say_learning_full(catalog: Catalog, row: int, full: list[tuple[int, str]]) -> None:
    if not catalog.learning_full:
        catalog.learning_full = True
        full.append((row, "max_learning_values"))


def _column_maps(catalog: Catalog, events: Decoded, stretch: Stretch) -> tuple[I64, I32, I64]:
    """`column_ptr`, `column` and unlearned features as `feature_columns` returns them.

    Models with the same features share a map: a thousand alike cost as little as one.
    """
    shape = events.shape[stretch.start : stretch.stop]
    n_shapes = len(events.shapes)
    code = _at(catalog.feature_list, stretch.slot).astype(np.int64) * n_shapes + shape
    code[stretch.slot < 0] = -1
    pairs, first, of_row = _unique(code)
    maps: list[I32] = []
    ptr = np.zeros(len(pairs), np.int64)
    n_unlearned = np.zeros(len(pairs), np.int64)
    at = 0
    for pair, row in enumerate(first.tolist()):
        ptr[pair] = at
        if pairs[pair] >= 0:
            monitor = catalog.monitor(int(stretch.slot[row]))
            names = events.shapes[shape[row]]
            columns = np.full(len(monitor.features), -1, np.int32)
            for position, name in enumerate(names):
                number = monitor.feature_number.get(name)
                if number is None:
                    n_unlearned[pair] += 1
                else:
                    columns[number] = position
            maps.append(columns)
            at += len(columns)
    column = np.concatenate(maps) if maps else np.zeros(0, np.int32)
    return ptr[of_row], column, n_unlearned[of_row]


def _unique(code: I64) -> tuple[I64, I64, I64]:
    """Distinct codes, the first row of each, and each row's place among them."""
    if len(code) and (code == code[0]).all():
        return code[:1], np.zeros(1, np.int64), np.zeros(len(code), np.int64)
    values, first, of_row = np.unique(code, return_index=True, return_inverse=True)
    return values, first, of_row.reshape(len(code))


def _first_of_pairs(events: Decoded, stretch: Stretch, rows: I64) -> list[int]:
    """Of these rows, the first of each pair of slot and feature names, in order."""
    shape = events.shape[stretch.start : stretch.stop][rows]
    code = stretch.slot[rows].astype(np.int64) * len(events.shapes) + shape
    first = np.unique(code, return_index=True)[1]
    in_order: list[int] = rows[np.sort(first)].tolist()
    return in_order


def _learn_names(
    catalog: Catalog, events: Decoded, stretch: Stretch, row: int, full: list[tuple[int, str]]
) -> None:
    """Learn this row's new features, as many as there is room for."""
    slot = int(stretch.slot[row])
    monitor = catalog.monitor(slot)
    names = events.shapes[events.shape[stretch.start + row]]
    new = [name for name in names if name not in monitor.feature_number]
    own_room = max(0, catalog.config.bounds.max_features - len(monitor.features))
    room = min(own_room, max(0, catalog.room_for_features))
    if new[:room]:
        cohort = _cohort(catalog, slot, int(stretch.model_event[row]), row, full)
        n_before = cohort.n_reserved
        monitor.add_features(new[:room], cohort)
        if not catalog.reserve(cohort, n_before):
            _say_learning_full(catalog, row, full)
        catalog.changed(slot)
    if len(new) > own_room and not monitor.features_full:
        monitor.features_full = True
        full.append((row, "max_features"))
    if min(len(new), own_room) > room and not catalog.features_full:
        catalog.features_full = True
        full.append((row, "max_total_features"))


def class_numbers(catalog: Catalog, events: Decoded, stretch: Stretch) -> I32:
    """Each row's predicted class by its number in the model, new ones learned.

    CLASS_OTHER where the model has no such class, CLASS_ABSENT where nothing was predicted or the
    prediction is a number.
    """
    span = slice(stretch.start, stretch.stop)
    local = events.predicted_class[span]
    present = events.prediction_kind[span] != PredictionKind.ABSENT
    present &= stretch.slot >= 0
    role = _at(catalog.prediction_role, stretch.slot)
    present &= role != PREDICTION_NUMBER
    number = np.full(len(local), CLASS_ABSENT, np.int32)
    number[present] = CLASS_OTHER
    _learn_classes(catalog, events, stretch, present & (role == PREDICTION_LEARNING))
    rows = np.flatnonzero(present & (local >= 0))
    of_rows = local[rows]
    used = np.flatnonzero(np.bincount(of_rows, minlength=len(events.classes)))
    slots = stretch.block_slot
    # By class and slot; there are few classes in a poll, and each slot is looked up once.
    table = np.full((len(events.classes), len(slots)), CLASS_OTHER, np.int32)
    for place, slot in enumerate(slots.tolist()):
        class_number = catalog.monitor(slot).class_number
        for code in used.tolist():
            table[code, place] = class_number.get(events.classes[code], CLASS_OTHER)
    number[rows] = table[of_rows, np.searchsorted(slots, stretch.slot[rows])]
    return number


def n_beyond(catalog: Catalog, stretch: Stretch, predicted_class: I32) -> int:
    """How many of these predictions are of no class of a model that had too many of them."""
    slots = stretch.slot[predicted_class == CLASS_OTHER]
    if not len(slots):
        return 0
    has_more = [catalog.monitor(slot).classes_full for slot in stretch.block_slot.tolist()]
    full = stretch.block_slot[np.array(has_more, np.bool_)]
    return int(np.isin(slots, full).sum())


def _learn_classes(catalog: Catalog, events: Decoded, stretch: Stretch, learning: Bool) -> None:
    """Learn the classes of these rows, as many as it takes to tell a class from a number.

    Whether they are more than the config allows is said once it is known that they are classes.
    """
    limit = max(catalog.config.bounds.max_classes, MAX_INTEGER_CLASSES)
    local = events.predicted_class[stretch.start : stretch.stop]
    rows = np.flatnonzero(learning & (local >= 0))
    if not len(rows):
        return
    code = stretch.slot[rows].astype(np.int64) * (len(events.classes) + 1) + local[rows]
    first = np.unique(code, return_index=True)[1]
    for row in rows[np.sort(first)].tolist():
        monitor = catalog.monitor(int(stretch.slot[row]))
        name = events.classes[local[row]]
        if name not in monitor.class_number and len(monitor.classes) < limit:
            monitor.add_class(name)
