"""EDDM (Baena-Garcia et al. 2006), in the order of operations of river 0.26."""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    BLOCKS,
    BOOL,
    BOOL_IN,
    DONE,
    F64,
    FIRED,
    FULL,
    I32_IN,
    I64,
    NO_LANE,
    kernel,
)


@kernel(
    *BLOCKS,
    I32_IN,
    BOOL_IN,
    I64,
    BOOL,
    *([I64] * 2),
    *([F64] * 3),
    types.int64,
    *([types.float64] * 2),
    types.int64,
    *FIRED[:-1],
)
def eddm_update(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    row_index: NDArray[np.int32],
    enabled: NDArray[np.bool_],
    n: NDArray[np.int64],
    warning: NDArray[np.bool_],
    n_errors: NDArray[np.int64],
    last_error: NDArray[np.int64],
    distance: NDArray[np.float64],
    squares: NDArray[np.float64],
    longest: NDArray[np.float64],
    warm_start: int,
    alpha: float,
    beta: float,
    n_lanes: int,
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
) -> int:
    """Fold the blocks of a batch from `cursor` (block, lane, row, firings) on.

    A value above 0 is an error; the first one's distance is from before the first observation.
    `distance` and `squares` are the mean of the distances and the sum of their squared deviations
    (Welford 1962), `longest` the greatest mean and two deviations. A lane that fires begins anew
    with its next observation. Returns `DONE`, `FULL` or `NO_LANE`.
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
            n_gaps = n_errors[one]
            is_warned = warning[one]
            last = last_error[one]
            mean = distance[one]
            total = squares[one]
            most = longest[one]
            full = False
            for i in range(begin, n_rows):
                x = value[start + i]
                if x != x:  # noqa: PLR0124  # NaN: nothing observed
                    continue
                count += 1
                if not x > 0.0:
                    continue
                n_gaps += 1
                gap = float(count - last)
                last = count
                apart = gap - mean
                mean += (1.0 / n_gaps) * apart
                total += apart * (gap - mean)
                if count <= warm_start:
                    continue
                # A root and no power of 0.5: it is rounded alike everywhere.
                deviation = math.sqrt(total / (n_gaps - 1)) if n_gaps > 1 else 0.0
                reach = mean + 2.0 * deviation
                if reach > most:
                    most = reach
                    continue
                if n_gaps <= warm_start:
                    continue
                level = reach / most
                if not level < beta:
                    is_warned = level < alpha
                    continue
                fired_row[n_fired] = row_index[first_row + i]
                fired_lane[n_fired] = one
                fired_numbers[n_fired, 0] = level
                fired_numbers[n_fired, 1] = beta
                fired_numbers[n_fired, 2] = 1.0
                n_fired += 1
                count = 0
                n_gaps = 0
                is_warned = False
                last = 0
                mean = 0.0
                total = 0.0
                most = 0.0
                if n_fired == fired_row.shape[0]:
                    cursor[0] = b
                    cursor[1] = j
                    cursor[2] = i + 1
                    full = True
                    break
            n[one] = count
            n_errors[one] = n_gaps
            warning[one] = is_warned
            last_error[one] = last
            distance[one] = mean
            squares[one] = total
            longest[one] = most
            if full:
                cursor[3] = n_fired
                return FULL
        cursor[1] = 0
    cursor[3] = n_fired
    return DONE
