"""Predictions and their labels counted by slot: in total, and in rings of blocks of rows.

Every sum is a strict left fold over a slot's rows in the order of the log. All of it stands in this
file, since numba's cache looks at no other one.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    DONE,
    F64_2D,
    F64_IN,
    I32,
    I32_IN,
    I64,
    I64_2D,
    I64_IN,
    NO_LANE,
    U8,
    kernel,
    part,
)

I64_3D = types.Array(types.int64, 3, "C")
F64_3D = types.Array(types.float64, 3, "C")
I32_3D = types.Array(types.int32, 3, "C")
I32_4D = types.Array(types.int32, 4, "C")

UNKNOWN, BINARY, MULTICLASS, REGRESSION = range(4)
"""What a slot predicts; of an unknown one rows are counted and no more."""
NO_SCORE, RANK, POSITIVE, PREDICTED = range(4)
"""What a slot's score is: any number that orders, the probability of the positive class, or that of
the predicted one."""
ROWS, CLASSES, RIGHT, POOLED, SCORED, REFUSED, NUMBERS = range(7)
"""What is counted: rows, those with both classes, of these the right ones and those with a class
beyond the table, rows with a score and a label, scores that should be probabilities and are none,
rows with both numbers."""
N_COUNTS = 7
LOG_LOSS, LOG_LOSS_2, BRIER, BRIER_2, ABSOLUTE, SQUARE, FOURTH = range(7)
"""What is summed up: log loss and Brier score and the squares of both, powers 1, 2 and 4 of the
absolute error."""
N_SUMS = 7
N_BLOCKS = 10
"""Blocks of the ring that is a window of joined rows."""
MOST_ERROR = 1e60
"""An error beyond it counts as that: no sum of fourth powers overflows."""
LEAST = 2.0**-52
"""A probability counts as this at least, and as 1 less this at most: log loss stays finite."""
_LN_2 = 0.6931471805599453
_ROOT_HALF = 0.7071067811865476


@part
def _log(x: float) -> float:
    """The natural logarithm of x > 0 within 2 units of the last place or so.

    Of additions, products and quotients alone: the C library's differs between machines, and what
    it says would be in the state. 2 artanh((m - 1) / (m + 1)) of the mantissa, as a series.
    """
    m, e = math.frexp(x)
    if m < _ROOT_HALF:
        m *= 2.0
        e -= 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    t = 1.0 / 21.0
    t = t * z + 1.0 / 19.0
    t = t * z + 1.0 / 17.0
    t = t * z + 1.0 / 15.0
    t = t * z + 1.0 / 13.0
    t = t * z + 1.0 / 11.0
    t = t * z + 1.0 / 9.0
    t = t * z + 1.0 / 7.0
    t = t * z + 1.0 / 5.0
    t = t * z + 1.0 / 3.0
    t = t * z + 1.0
    return 2.0 * s * t + e * _LN_2


@part
def _bin(one: int, x: float, cuts: NDArray[np.float64]) -> int:
    """How many cuts of the slot are not above x, by bisection."""
    k, left = 0, cuts.shape[1]
    while left > 0:
        half = (left + 1) >> 1
        k = k + half if cuts[one, k + half - 1] <= x else k
        left -= half
    return k


@part
def _is_refused(score: float, score_of: int) -> bool:
    """Whether a score that should be a probability is none."""
    return score_of >= POSITIVE and not 0.0 <= score <= 1.0


@part
def _oriented(score: float, task: int, score_of: int, is_positive: bool) -> float:
    """The score of the outcome: of the positive class, or of several that the prediction is right.

    `is_positive`: whether the positive class is the one that was predicted.
    """
    if score_of == PREDICTED and task == BINARY and not is_positive:
        return 1.0 - score
    return score


@part
def _stamp(
    one: int,
    at: NDArray[np.int64],
    time: int,
    total: NDArray[np.int64],
    counts: NDArray[np.int64],
    blocks: NDArray[np.int64],
    block_counts: NDArray[np.int32],
) -> None:
    """Widen the times of the slot and of its blocks by that of a row that is not counted yet."""
    n = counts[one, ROWS]
    total[one, 0] = min(total[one, 0], time) if n > 0 else time
    total[one, 1] = max(total[one, 1], time) if n > 0 else time
    for block in at:
        n = block_counts[one, block, ROWS]
        blocks[one, block, 0] = min(blocks[one, block, 0], time) if n > 0 else time
        blocks[one, block, 1] = max(blocks[one, block, 1], time) if n > 0 else time


@part
def _count(
    one: int,
    at: NDArray[np.int64],
    what: int,
    total: NDArray[np.int64],
    blocks: NDArray[np.int32],
) -> None:
    total[one, what] += 1
    for block in at:
        blocks[one, block, what] += 1


@part
def _count_cell(
    one: int,
    at: NDArray[np.int64],
    row: int,
    column: int,
    total: NDArray[np.int64],
    blocks: NDArray[np.int32],
) -> None:
    total[one, row, column] += 1
    for block in at:
        blocks[one, block, row, column] += 1


@part
def _add(
    one: int,
    at: NDArray[np.int64],
    what: int,
    x: float,
    total: NDArray[np.float64],
    blocks: NDArray[np.float64],
) -> None:
    total[one, what] += x
    for block in at:
        blocks[one, block, what] += x


@kernel(
    *(I32_IN, I32_IN, F64_IN, F64_IN, I32_IN, F64_IN, I64_IN),
    *(U8, I32, U8, F64_2D),
    *(I64_2D, I64_2D, I64_3D, I64_3D, F64_2D, F64_2D),
    *(I64_3D, I32_3D, I32_4D, I32_4D, F64_3D, F64_3D),
    *(I64_2D, I64_IN, types.int64),
)
def labelled_update(
    slot: NDArray[np.int32],
    predicted_class: NDArray[np.int32],
    predicted: NDArray[np.float64],
    score: NDArray[np.float64],
    label_class: NDArray[np.int32],
    label: NDArray[np.float64],
    event_time_ms: NDArray[np.int64],
    task: NDArray[np.uint8],
    positive: NDArray[np.int32],
    score_of: NDArray[np.uint8],
    cuts: NDArray[np.float64],
    times: NDArray[np.int64],
    counts: NDArray[np.int64],
    confusion: NDArray[np.int64],
    histogram: NDArray[np.int64],
    score_sums: NDArray[np.float64],
    sums: NDArray[np.float64],
    block_times: NDArray[np.int64],
    block_counts: NDArray[np.int32],
    block_confusion: NDArray[np.int32],
    block_histogram: NDArray[np.int32],
    block_score_sums: NDArray[np.float64],
    block_sums: NDArray[np.float64],
    since: NDArray[np.int64],
    block_rows: NDArray[np.int64],
    n_slots: int,
) -> int:
    """Fold joined rows, each into its slot and the newest block of each of the slot's windows.

    The blocks of window w are those from `w * N_BLOCKS` on. One that has `block_rows[w]` rows is
    full; the next row clears the oldest one and goes there. `since`, (slots, windows): rows of the
    slot before the window began. Returns `DONE`, or `NO_LANE` at an unknown slot.
    """
    n_windows = len(block_rows)
    at = np.empty(n_windows, np.int64)
    other = confusion.shape[1] - 1
    for i in range(len(slot)):
        one = slot[i]
        if one < 0 or one >= n_slots:
            return NO_LANE
        for w in range(n_windows):
            n = counts[one, ROWS] - since[one, w]
            number = n // block_rows[w]
            block = w * N_BLOCKS + number % N_BLOCKS
            at[w] = block
            if n == number * block_rows[w]:
                block_counts[one, block, :] = 0
                block_confusion[one, block, :, :] = 0
                block_histogram[one, block, :, :] = 0
                block_score_sums[one, block, :] = 0.0
                block_sums[one, block, :] = 0.0
        _stamp(one, at, event_time_ms[i], times, counts, block_times, block_counts)
        _count(one, at, ROWS, counts, block_counts)
        kind = task[one]
        if kind == REGRESSION:
            if math.isfinite(predicted[i]) and math.isfinite(label[i]):
                _count(one, at, NUMBERS, counts, block_counts)
                error = min(abs(predicted[i] - label[i]), MOST_ERROR)
                square = error * error
                _add(one, at, ABSOLUTE, error, sums, block_sums)
                _add(one, at, SQUARE, square, sums, block_sums)
                _add(one, at, FOURTH, square * square, sums, block_sums)
            continue
        y, guess = label_class[i], predicted_class[i]
        if kind == UNKNOWN or y < 0:
            continue
        if guess >= 0:
            _count(one, at, CLASSES, counts, block_counts)
            if y == guess:
                _count(one, at, RIGHT, counts, block_counts)
            if y >= other or guess >= other:
                _count(one, at, POOLED, counts, block_counts)
            _count_cell(one, at, min(y, other), min(guess, other), confusion, block_confusion)
        s, what = score[i], score_of[one]
        if what == NO_SCORE or not math.isfinite(s):
            continue
        if guess < 0 and (kind == MULTICLASS or what == PREDICTED):
            continue
        if _is_refused(s, what):
            _count(one, at, REFUSED, counts, block_counts)
            continue
        s = _oriented(s, kind, what, guess == positive[one])
        is_so = y == positive[one] if kind == BINARY else y == guess
        row, k = 1 if is_so else 0, _bin(one, s, cuts)
        _count(one, at, SCORED, counts, block_counts)
        _count_cell(one, at, row, k, histogram, block_histogram)
        if what == RANK:
            continue
        _add(one, at, k, s, score_sums, block_score_sums)
        p = min(max(s, LEAST), 1.0 - LEAST)
        loss = -_log(p) if is_so else -_log(1.0 - p)
        brier = (s - row) * (s - row)
        _add(one, at, LOG_LOSS, loss, sums, block_sums)
        _add(one, at, LOG_LOSS_2, loss * loss, sums, block_sums)
        _add(one, at, BRIER, brier, sums, block_sums)
        _add(one, at, BRIER_2, brier * brier, sums, block_sums)
    return DONE


@kernel(
    *(I32_IN, I32_IN, F64_IN, I64_IN),
    *(U8, I32, U8, F64_2D),
    *(I64, I64, I64_3D, I32_4D),
    *(types.int64, types.int64),
)
def unlabelled_update(
    slot: NDArray[np.int32],
    predicted_class: NDArray[np.int32],
    score: NDArray[np.float64],
    event_time_ms: NDArray[np.int64],
    task: NDArray[np.uint8],
    positive: NDArray[np.int32],
    score_of: NDArray[np.uint8],
    cuts: NDArray[np.float64],
    rows: NDArray[np.int64],
    refused: NDArray[np.int64],
    block_times: NDArray[np.int64],
    block_cells: NDArray[np.int32],
    block_rows: int,
    n_slots: int,
) -> int:
    """Count predictions by bin of their score: of a binary slot those of the positive class apart.

    A block that has `block_rows` rows is full; the next row clears the oldest one and goes there.
    Returns `DONE`, or `NO_LANE` at an unknown slot.
    """
    n_blocks = block_cells.shape[1]
    for i in range(len(slot)):
        one = slot[i]
        if one < 0 or one >= n_slots:
            return NO_LANE
        n = rows[one]
        at = (n // block_rows) % n_blocks
        time = event_time_ms[i]
        if n % block_rows == 0:
            block_cells[one, at, :, :] = 0
            block_times[one, at, :] = time
        block_times[one, at, 0] = min(block_times[one, at, 0], time)
        block_times[one, at, 1] = max(block_times[one, at, 1], time)
        rows[one] = n + 1
        kind, what, s, guess = task[one], score_of[one], score[i], predicted_class[i]
        if what == NO_SCORE:
            continue
        if guess < 0 or not math.isfinite(s):
            continue
        if _is_refused(s, what):
            refused[one] += 1
            continue
        is_positive = guess == positive[one]
        row = 0 if kind == BINARY and not is_positive else 1
        block_cells[one, at, row, _bin(one, _oriented(s, kind, what, is_positive), cuts)] += 1
    return DONE
