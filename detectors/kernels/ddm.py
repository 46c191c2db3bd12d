"""DDM (Gama, Medas, Castillo and Rodrigues 2004), in the order of operations of river 0.26."""

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
    *([F64] * 3),
    types.int64,
    *([types.float64] * 2),
    types.int64,
    *FIRED[:-1],
)
def ddm_update(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    row_index: NDArray[np.int32],
    enabled: NDArray[np.bool_],
    n: NDArray[np.int64],
    warning: NDArray[np.bool_],
    rate: NDArray[np.float64],
    least_rate: NDArray[np.float64],
    least_deviation: NDArray[np.float64],
    warm_start: int,
    warning_threshold: float,
    drift_threshold: float,
    n_lanes: int,
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
) -> int:
    """Fold the blocks of a batch from `cursor` (block, lane, row, firings) on.

    A value above 0 is an error. `rate` is the mean of the errors, `least_*` are it and its
    deviation where their sum was least. A lane that fires begins anew with its next observation.
    Returns `DONE`, `FULL` or `NO_LANE`.
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
            is_warned = warning[one]
            mean = rate[one]
            least = least_rate[one]
            deviation = least_deviation[one]
            full = False
            for i in range(begin, n_rows):
                x = value[start + i]
                if x != x:  # noqa: PLR0124  # NaN: nothing observed
                    continue
                count += 1
                mean += (1.0 / count) * ((1.0 if x > 0.0 else 0.0) - mean)
                if count <= warm_start:
                    continue
                own = math.sqrt(mean * (1.0 - mean) / count)
                if count == warm_start + 1 or mean + own <= least + deviation:
                    least = mean
                    deviation = own
                is_warned = mean + own > least + warning_threshold * deviation
                if not mean + own > least + drift_threshold * deviation:
                    continue
                fired_row[n_fired] = row_index[first_row + i]
                fired_lane[n_fired] = one
                fired_numbers[n_fired, 0] = mean + own
                fired_numbers[n_fired, 1] = least + drift_threshold * deviation
                fired_numbers[n_fired, 2] = 1.0
                n_fired += 1
                count = 0
                is_warned = False
                mean = 0.0
                least = 0.0
                deviation = 0.0
                if n_fired == fired_row.shape[0]:
                    cursor[0] = b
                    cursor[1] = j
                    cursor[2] = i + 1
                    full = True
                    break
            n[one] = count
            warning[one] = is_warned
            rate[one] = mean
            least_rate[one] = least
            least_deviation[one] = deviation
            if full:
                cursor[3] = n_fired
                return FULL
        cursor[1] = 0
    cursor[3] = n_fired
    return DONE
