"""From decoded rows to what the lanes observe: one dense, time-ordered block per model version."""

from __future__ import annotations

import numpy as np

from detectors.kernels.compile import (
    F64,
    F64_2D,
    F64_IN,
    I32,
    I32_IN,
    I64,
    I64_2D,
    I64_IN,
    U8_IN,
    kernel,
    part,
)
from schemas.batch import F64 as F64A
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import U8 as U8A

# What a lane observes (`source`), and how a raw value becomes z (`rule`).
SOURCE_VALUE, SOURCE_MISSING, SOURCE_SCORE, SOURCE_PREDICTION, SOURCE_CLASS, SOURCE_OTHER = range(6)
SOURCE_CATEGORY, SOURCE_NEW, SOURCE_CELL = 6, 7, 8
# Derived of all features of a row, by `detectors.kernels.joint`.
SOURCE_RESIDUAL, SOURCE_MMD, SOURCE_PATTERN = range(16, 19)
JOINT_SOURCES = (SOURCE_RESIDUAL, SOURCE_MMD, SOURCE_PATTERN)
# Of the event as such, by `detectors.quality`: how long the model took, and what is wrong with it.
SOURCE_LATENCY, SOURCE_LATE, SOURCE_FUTURE, SOURCE_DUPLICATE = range(19, 23)
SOURCE_RANGE, SOURCE_STUCK, SOURCE_TYPE = range(23, 26)
# Of all its features, by `detectors.typicality`: how unusual they are by the reference.
SOURCE_TYPICAL = 26
FIRST_DERIVED = SOURCE_RESIDUAL
N_DERIVED_ROWS = SOURCE_TYPICAL + 1 - FIRST_DERIVED
RULE_Z, RULE_DEPARTURE = range(2)

# Expected kinds of a feature beside those of `ValueKind`: still learning, and never seen.
KIND_LEARNING = 255
KIND_ANY = 254

# Beyond these a number says no more than "huge", and its square would overflow.
MAX_RAW = 1e150
MAX_Z = 1e6

# Cells that a category may fall into beside one of its own, as SOURCE_CELL observes them.
CELL_OTHER, CELL_NEW = range(2)

# What a category is called where nobody knows its name, or where it is too long.
UNKNOWN = -1
TOO_LONG = -2


@kernel(I32_IN, I64, I64, I32, I32, I64)
def _group(slot: I32A, count: I64A, rank: I64A, rows: I32A, block_slot: I32A, ptr: I64A) -> int:
    """Counting sort by slot; returns the number of blocks. `count` (slots,) starts at zero."""
    n = len(slot)
    for i in range(n):
        s = slot[i]
        if s >= 0:
            rank[i] = count[s]
            count[s] += 1
    n_blocks = 0
    total = 0
    for s in range(len(count)):
        k = count[s]
        count[s] = total
        if k > 0:
            block_slot[n_blocks] = s
            n_blocks += 1
            total += k
            ptr[n_blocks] = total
    for i in range(n):
        s = slot[i]
        if s >= 0:
            rows[count[s] + rank[i]] = i
    return n_blocks


def group_rows(slot: I32A, n_slots: int) -> tuple[I32A, I32A, I64A, I64A]:
    """Group rows by slot, each group in row order; rows with slot -1 belong to none.

    Returns the rows grouped (r,), the slots that occur ascending (b,), where each group begins
    (b + 1,), and each row's place within its group (n,).
    """
    n = len(slot)
    rank = np.zeros(n, np.int64)
    rows = np.empty(n, np.int32)
    block_slot = np.empty(min(n, n_slots), np.int32)
    ptr = np.zeros(min(n, n_slots) + 1, np.int64)
    n_blocks = _group(slot, np.zeros(n_slots, np.int64), rank, rows, block_slot, ptr)
    return rows[: ptr[n_blocks]], block_slot[:n_blocks], ptr[: n_blocks + 1], rank


@part
def _within(x: float) -> float:
    """The number within the bounds that the reference was learned in; NaN stays NaN."""
    if x > MAX_RAW:
        return MAX_RAW
    if x < -MAX_RAW:
        return -MAX_RAW
    return x


@part
def _z(x: float, mean: float, sd: float) -> float:
    """Standardise a number, within bounds: (x - mean) / sd; NaN stays NaN."""
    z = (_within(x) - mean) / sd
    if z > MAX_Z:
        return MAX_Z
    if z < -MAX_Z:
        return -MAX_Z
    return z


@part
def _category(x: float, kind: int, name_of: I32A) -> int:
    """The number of a category's name, in whatever numbering `name_of` leads to.

    A boolean is its own: 0 or 1. No code, whatever it is, is looked up where there is none.
    """
    if kind == 3:
        return 1 if x == 1.0 else 0
    if x == -1.0:
        return TOO_LONG
    if x >= 0.0 and x < len(name_of):
        return int(name_of[int(x)])
    return UNKNOWN


@part
def _place_among(number: int, known: I32A, first: int, end: int) -> int:
    """Where `known[first:end]`, ascending, has this number; -1: nowhere."""
    past = end
    while first < end:
        middle = (first + end) >> 1
        if known[middle] < number:
            first = middle + 1
        else:
            end = middle
    return first if first < past and known[first] == number else -1


@kernel(
    *(I32_IN, I32_IN, I64_IN, I64_IN, I64_IN, U8_IN, I32_IN, U8_IN, U8_IN, F64_IN, F64_IN, F64_IN),
    *(I32_IN, I64_IN, I32_IN, I32_IN, I64_IN, I64_IN, I32_IN, F64_IN, F64_IN, U8_IN, I32_IN),
    *(F64_IN, F64_IN, I32_IN, F64_2D, F64),
)
def observe(
    rows: I32A,
    block_slot: I32A,
    block_row_ptr: I64A,
    block_value_ptr: I64A,
    layout_ptr: I64A,
    source: U8A,
    index: I32A,
    expected: U8A,
    rule: U8A,
    constant: F64A,
    mean: F64A,
    sd: F64A,
    category: I32A,
    known_ptr: I64A,
    known: I32A,
    known_cell: I32A,
    value_ptr: I64A,
    column_ptr: I64A,
    column: I32A,
    number: F64A,
    code: F64A,
    kind: U8A,
    name_of: I32A,
    score: F64A,
    prediction: F64A,
    predicted_class: I32A,
    derived: F64A,
    out: F64A,
) -> int:
    """Fill `out` with the blocks' observations, lane-major, as `schemas.batch.Batch` describes.

    The layout arrays describe each slot's lanes (`layout_ptr[s]:layout_ptr[s + 1]`). Feature f of
    row i stands in column `column[column_ptr[i] + f]` of the row's values, -1 where absent.
    `number` holds the values that are numbers, NaN for all others; `code` those that are categories
    (see `schemas.batch.Decoded`), whose names have the numbers `name_of`. A lane of a category
    compares with the name `category`; what is not among `known[known_ptr[j]:known_ptr[j + 1]]`
    (ascending) is new. A lane of cells observes the number of a name's cell: the one that stands in
    `known_cell` where the name stands in `known`, for other names `category`.
    `predicted_class` is the class's index in its model, -1 for another class, -2 where absent.
    `derived` (11, n) is what `detectors.kernels.joint` makes of all features of a row, below
    that what `detectors.quality` says of the event, and last how unusual its values are.
    """
    for b in range(len(block_slot)):
        first = block_row_ptr[b]
        k = block_row_ptr[b + 1] - first
        at = block_value_ptr[b]
        for j in range(layout_ptr[block_slot[b]], layout_ptr[block_slot[b] + 1]):
            what, f, m, s = source[j], index[j], mean[j], sd[j]
            # An indicator takes two values only: no division for each row.
            z_false = _z(0.0, m, s)
            z_true = _z(1.0, m, s)
            if what == 0 and rule[j] == 0:
                for r in range(k):
                    i = rows[first + r]
                    c = column[column_ptr[i] + f]
                    out[at + r] = _z(number[value_ptr[i] + c], m, s) if c >= 0 else np.nan
            elif what == 0:
                for r in range(k):
                    i = rows[first + r]
                    c = column[column_ptr[i] + f]
                    x = number[value_ptr[i] + c] if c >= 0 else np.nan
                    departs = z_true if _within(x) != constant[j] else z_false
                    out[at + r] = np.nan if np.isnan(x) else departs
            elif what == 1:
                for r in range(k):
                    i = rows[first + r]
                    c = column[column_ptr[i] + f]
                    z = z_true
                    if c >= 0:
                        got = kind[value_ptr[i] + c]
                        scalar = got == 0 or 2 <= got <= 3
                        if got == expected[j] or (expected[j] == 254 and scalar):
                            z = z_false
                    out[at + r] = z
            elif what <= 3 or what >= 16:
                for r in range(k):
                    i = rows[first + r]
                    if what >= 16:
                        x = derived[what - 16, i]
                    else:
                        x = score[i] if what == 2 else prediction[i]
                    if rule[j] == 0:
                        out[at + r] = _z(x, m, s)
                    elif np.isnan(x):
                        out[at + r] = np.nan
                    else:
                        out[at + r] = z_true if _within(x) != constant[j] else z_false
            elif what >= 6:
                for r in range(k):
                    i = rows[first + r]
                    c = column[column_ptr[i] + f]
                    z = np.nan
                    if c >= 0 and kind[value_ptr[i] + c] == expected[j]:
                        name = _category(code[value_ptr[i] + c], expected[j], name_of)
                        holds = name == category[j]
                        if what >= 7:
                            place = _place_among(name, known, known_ptr[j], known_ptr[j + 1])
                            holds = name != TOO_LONG and place < 0
                        if what < 8:
                            z = z_true if holds else z_false
                        elif holds:
                            z = float(category[j])
                        else:
                            z = float(known_cell[place]) if place >= 0 else float(CELL_OTHER)
                    out[at + r] = z
            else:
                wanted = f if what == 4 else -1
                for r in range(k):
                    got_class = predicted_class[rows[first + r]]
                    z = z_true if got_class == wanted else z_false
                    out[at + r] = np.nan if got_class == -2 else z
            at += k
    return 0


@kernel(I32_IN, I64_IN, I32_IN, I64_IN, I32)
def gather_lanes(block_slot: I32A, layout_ptr: I64A, lane: I32A, ptr: I64A, out: I32A) -> int:
    """The lanes of the blocks, one after the other; block b's go to `out[ptr[b]:ptr[b + 1]]`."""
    for b in range(len(block_slot)):
        first = layout_ptr[block_slot[b]]
        for j in range(ptr[b + 1] - ptr[b]):
            out[ptr[b] + j] = lane[first + j]
    return 0


@kernel(I32_IN, I64_IN, U8_IN, I64_IN, I64_IN, I32_IN, U8_IN, F64, I32)
def count_unfit(
    slot: I32A,
    feature_ptr: I64A,
    feature_kind: U8A,
    value_ptr: I64A,
    column_ptr: I64A,
    column: I32A,
    kind: U8A,
    out: F64A,
    which: I32A,
) -> int:
    """Count values that are no scalar, or not of the kind their feature has in the reference.

    `out` (n,) says of each row whether it has one, `which` (n,) the number of its first such
    feature, -1 where none.
    """
    n_unfit = 0
    for i in range(len(slot)):
        out[i] = 0.0
        which[i] = -1
        s = slot[i]
        if s < 0:
            continue
        first = feature_ptr[s]
        for f in range(feature_ptr[s + 1] - first):
            c = column[column_ptr[i] + f]
            if c < 0:
                continue
            got = kind[value_ptr[i] + c]
            expected = feature_kind[first + f]
            if got == 4 or (got != 1 and expected < 254 and got != expected):
                n_unfit += 1
                if which[i] < 0:
                    out[i], which[i] = 1.0, f
    return n_unfit


@kernel(I32_IN, I32_IN, I64_IN, I64_IN, I32_IN, F64_IN, U8_IN, I64_2D, F64, F64)
def learn_features(
    rows: I32A,
    features: I32A,
    value_ptr: I64A,
    column_ptr: I64A,
    column: I32A,
    value: F64A,
    kind: U8A,
    n_kind: I64A,
    mean: F64A,
    m2: F64A,
) -> int:
    """Fold rows of one model into the reference moments of some of its features.

    A strict left fold (Welford 1962). `n_kind` (f, 5) counts values by `ValueKind`; absent ones
    are not counted. `mean` and `m2` (f,) are over the numbers.
    """
    for r in range(len(rows)):
        i = rows[r]
        for j in range(len(features)):
            c = column[column_ptr[i] + features[j]]
            if c < 0:
                continue
            got = kind[value_ptr[i] + c]
            n_kind[j, got] += 1
            if got == 0:
                x = min(max(value[value_ptr[i] + c], -MAX_RAW), MAX_RAW)
                delta = x - mean[j]
                mean[j] += delta / n_kind[j, 0]
                m2[j] += delta * (x - mean[j])
    return 0


@kernel(I32_IN, F64_IN, I64, F64, F64)
def learn_column(rows: I32A, value: F64A, n: I64A, mean: F64A, m2: F64A) -> int:
    """Fold one column's numbers at some rows into moments: arrays of length 1; NaN is skipped."""
    for r in range(len(rows)):
        x = value[rows[r]]
        if np.isnan(x):
            continue
        x = min(max(x, -MAX_RAW), MAX_RAW)
        n[0] += 1
        delta = x - mean[0]
        mean[0] += delta / n[0]
        m2[0] += delta * (x - mean[0])
    return 0
