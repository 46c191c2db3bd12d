"""Page-Hinkley's test (Page 1954), two-sided, in the order of operations of river 0.26."""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    BLOCKS,
    BOOL_IN,
    DONE,
    F64,
    FIRED,
    FULL,
    I64,
    NO_LANE,
    TRIGGERS,
    kernel,
)


@kernel(
    *BLOCKS,
    *TRIGGERS,
    BOOL_IN,
    I64,
    *([F64] * 6),
    *([I64, F64, I64] * 2),
    types.int64,
    *([types.float64] * 4),
    types.int64,
    *FIRED,
)
def page_hinkley_update(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    row_index: NDArray[np.int32],
    offset: NDArray[np.int64],
    enabled: NDArray[np.bool_],
    n: NDArray[np.int64],
    mean: NDArray[np.float64],
    total: NDArray[np.float64],
    sum_increase: NDArray[np.float64],
    sum_decrease: NDArray[np.float64],
    min_increase: NDArray[np.float64],
    max_decrease: NDArray[np.float64],
    up_n: NDArray[np.int64],
    up_total: NDArray[np.float64],
    up_offset: NDArray[np.int64],
    down_n: NDArray[np.int64],
    down_total: NDArray[np.float64],
    down_offset: NDArray[np.int64],
    min_instances: int,
    delta: float,
    threshold: float,
    alpha: float,
    limit: float,
    n_lanes: int,
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
    fired_change: NDArray[np.int64],
) -> int:
    """Fold the blocks of a batch from `cursor` (block, lane, row, firings) on.

    `up_*` stand at the minimum of the sum of increases: how many observations there were until
    then, their total, and the offset of the next one (-1: it has not come). `down_*` likewise at
    the maximum of the sum of decreases. A lane that fires begins anew with its next observation.
    Values beyond `limit` count as `limit`. Returns `DONE`, `FULL` or `NO_LANE`.
    """
    n_fired = cursor[3]
    for b in range(cursor[0], block_row_ptr.shape[0] - 1):
        first_row = block_row_ptr[b]
        n_rows = block_row_ptr[b + 1] - first_row
        first_lane = block_lane_ptr[b]
        for j in range(max(first_lane, cursor[1]), block_lane_ptr[b + 1]):
            one = lane[j]
            if one < 0 or one >= n_lanes:
                return NO_LANE
            begin = cursor[2]
            cursor[2] = 0
            if not enabled[one]:
                continue
            start = block_value_ptr[b] + (j - first_lane) * n_rows
            count = n[one]
            width = float(count)
            centre = mean[one]
            whole = total[one]
            rise = sum_increase[one]
            fall = sum_decrease[one]
            lowest = min_increase[one]
            highest = max_decrease[one]
            low_n = up_n[one]
            low_total = up_total[one]
            low_offset = up_offset[one]
            high_n = down_n[one]
            high_total = down_total[one]
            high_offset = down_offset[one]
            full = False
            for i in range(begin, n_rows):
                x = value[start + i]
                if x != x:  # noqa: PLR0124  # NaN: nothing observed
                    continue
                x = min(max(x, -limit), limit)
                if low_offset < 0:
                    low_offset = offset[row_index[first_row + i]]
                if high_offset < 0:
                    high_offset = offset[row_index[first_row + i]]
                count += 1
                width += 1.0
                whole += x
                centre += (1.0 / width) * (x - centre)
                away = x - centre
                rise = alpha * rise + away - delta
                fall = alpha * fall + away + delta
                if rise < lowest:
                    lowest = rise
                    low_n = count
                    low_total = whole
                    low_offset = -1
                if fall > highest:
                    highest = fall
                    high_n = count
                    high_total = whole
                    high_offset = -1
                above = rise - lowest
                below = highest - fall
                if count < min_instances or not (above > threshold or below > threshold):
                    continue
                upward = above >= below
                before_n = low_n if upward else high_n
                before_total = low_total if upward else high_total
                fired_row[n_fired] = row_index[first_row + i]
                fired_lane[n_fired] = one
                fired_numbers[n_fired, 0] = above if upward else below
                fired_numbers[n_fired, 1] = threshold
                # Where nothing came before the change, the reference mean (z = 0) stands for it.
                fired_numbers[n_fired, 2] = before_total / before_n if before_n > 0 else 0.0
                fired_numbers[n_fired, 3] = (whole - before_total) / max(count - before_n, 1)
                fired_numbers[n_fired, 4] = before_n
                fired_numbers[n_fired, 5] = count - before_n
                fired_change[n_fired] = low_offset if upward else high_offset
                n_fired += 1
                count = 0
                width = 0.0
                centre = 0.0
                whole = 0.0
                rise = 0.0
                fall = 0.0
                lowest = math.inf
                highest = -1.0
                low_n = 0
                low_total = 0.0
                low_offset = -1
                high_n = 0
                high_total = 0.0
                high_offset = -1
                if n_fired == fired_row.shape[0]:
                    cursor[0] = b
                    cursor[1] = j
                    cursor[2] = i + 1
                    full = True
                    break
            n[one] = count
            mean[one] = centre
            total[one] = whole
            sum_increase[one] = rise
            sum_decrease[one] = fall
            min_increase[one] = lowest
            max_decrease[one] = highest
            up_n[one] = low_n
            up_total[one] = low_total
            up_offset[one] = low_offset
            down_n[one] = high_n
            down_total[one] = high_total
            down_offset[one] = high_offset
            if full:
                cursor[3] = n_fired
                return FULL
        cursor[1] = 0
    cursor[3] = n_fired
    return DONE
