"""HDDM-A (Frias-Blanco et al. 2014), in the order of operations of river 0.26."""

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
    F64,
    I64,
    F64,
    types.int64,
    *([types.float64] * 3),
    types.int64,
    *FIRED[:-1],
)
def hddm_a_update(
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
    cut_n: NDArray[np.int64],
    cut_rate: NDArray[np.float64],
    n_sides: int,
    log_bound: float,
    log_drift: float,
    log_warning: float,
    n_lanes: int,
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
) -> int:
    """Fold the blocks of a batch from `cursor` (block, lane, row, firings) on.

    A value above 0 is an error. `rate` is the mean of the errors and `cut_rate` what it was at the
    cut of each side: where the upper bound on it was lowest, and for the second side, which looks
    for a fall, the lower one highest. `log_bound` is the logarithm of one over the confidence,
    `log_drift` and `log_warning` of two. A lane that fires begins anew with its next observation.
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
            mean = rate[one]
            is_warned = warning[one]
            first = one * n_sides
            full = False
            for i in range(begin, n_rows):
                x = value[start + i]
                if x != x:  # noqa: PLR0124  # NaN: nothing observed
                    continue
                count += 1
                mean += (1.0 / count) * ((1.0 if x > 0.0 else 0.0) - mean)
                bound = math.sqrt(1.0 / (2 * count) * log_bound)
                found = 0.0
                statistic = 0.0
                threshold = 0.0
                is_warned = False
                for side in range(n_sides):
                    at = first + side
                    sign = 1.0 if side == 0 else -1.0
                    before = cut_n[at]
                    if before == 0 or (
                        sign * cut_rate[at] + math.sqrt(1.0 / (2 * before) * log_bound)
                        >= sign * mean + bound
                    ):
                        cut_rate[at] = mean
                        cut_n[at] = count
                        continue
                    away = sign * mean - sign * cut_rate[at]
                    spread = (count - before) / before * (1.0 / count)
                    allowed = math.sqrt(spread / 2 * log_drift)
                    if away >= allowed:
                        if found == 0.0:
                            found = sign
                            statistic = away
                            threshold = allowed
                    elif away >= math.sqrt(spread / 2 * log_warning):
                        is_warned = True
                if found == 0.0:
                    continue
                fired_row[n_fired] = row_index[first_row + i]
                fired_lane[n_fired] = one
                fired_numbers[n_fired, 0] = statistic
                fired_numbers[n_fired, 1] = threshold
                fired_numbers[n_fired, 2] = found
                n_fired += 1
                count = 0
                mean = 0.0
                is_warned = False
                for at in range(first, first + n_sides):
                    cut_rate[at] = 0.0
                    cut_n[at] = 0
                if n_fired == fired_row.shape[0]:
                    cursor[0] = b
                    cursor[1] = j
                    cursor[2] = i + 1
                    full = True
                    break
            n[one] = count
            rate[one] = mean
            warning[one] = is_warned
            if full:
                cursor[3] = n_fired
                return FULL
        cursor[1] = 0
    cursor[3] = n_fired
    return DONE
