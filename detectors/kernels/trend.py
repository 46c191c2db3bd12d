"""Mann-Kendall's test (Mann 1945, Kendall 1975) on means of blocks of rows, at several scales.

The variance is corrected for ties and, after Hamed and Rao (Journal of Hydrology 1998), for blocks
that depend on each other. All of it stands in this file, since numba's cache looks at no other one.
"""

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
    F64_2D,
    FIRED,
    FULL,
    I64,
    I64_2D,
    NO_LANE,
    TRIGGERS,
    kernel,
    part,
)

F64_3D = types.Array(types.float64, 3, "C")
I64_3D = types.Array(types.int64, 3, "C")

RATIO = 4
"""Blocks of one scale that are one of the next."""
MIN_BLOCKS = 24
"""With fewer blocks nothing is said: how they depend on each other is not known well enough."""
GRAIN = 2.0**30
"""Means are whole multiples of one in so many: shares that are equal must be ties."""
LEAST_AWAY = 2.0
"""The latest quarter lies so many standard errors from the reference, or it is no drift from it."""
MOST_DEPENDENT = 0.95
"""No first autocorrelation of the ranks is taken to be higher."""


@part
def _concordance(
    one: int, scale: int, n: int, block: NDArray[np.float64], rank: NDArray[np.float64]
) -> tuple[int, float]:
    """Mann-Kendall's S of the n means, and its variance were they independent, ties corrected.

    Leaves their mid-ranks, from 1 on, in `rank`.
    """
    s, ties = 0, 0
    for i in range(n):
        x = block[one, scale, i]
        n_below, n_equal = 0, 0
        for j in range(n):
            y = block[one, scale, j]
            if y < x:
                n_below += 1
                s += 1 if j < i else -1
            elif y == x:
                n_equal += 1
        rank[i] = n_below + 0.5 * (n_equal + 1)
        # Summed over a group of t equal ones: t (t - 1) (2 t + 5).
        ties += (n_equal - 1) * (2 * n_equal + 5)
    # Each pair was seen from above only: once.
    return s, (n * (n - 1) * (2 * n + 5) - ties) / 18.0


@part
def _dependence(n: int, rank: NDArray[np.float64]) -> float:
    """The first autocorrelation of the ranks without their trend, on the safe side: 0 or more.

    Corrected for what taking out a line costs it, and one standard error added.
    """
    middle, centre = 0.5 * (n - 1), 0.5 * (n + 1)
    slope = 0.0
    for i in range(n):
        slope += (i - middle) * (rank[i] - centre)
    slope /= n * (float(n) * n - 1.0) / 12.0
    before, squares, products = 0.0, 0.0, 0.0
    for i in range(n):
        residual = rank[i] - centre - slope * (i - middle)
        squares += residual * residual
        products += residual * before
        before = residual
    first = products / squares if squares > 0.0 else 0.0
    first += (1.0 + 4.0 * max(first, 0.0)) / n + 1.0 / math.sqrt(n)
    return min(max(first, 0.0), MOST_DEPENDENT)


@part
def _inflation(n: int, first: float) -> float:
    """By which S varies more where the autocorrelation of ranks falls off as powers of `first`."""
    total, power = 0.0, 1.0
    for lag in range(1, n - 2):
        power *= first
        total += float(n - lag) * (n - lag - 1) * (n - lag - 2) * power
    return 1.0 + 2.0 * total / (float(n) * (n - 1) * (n - 2))


@part
def _mean(one: int, scale: int, first: int, last: int, block: NDArray[np.float64]) -> float:
    """The mean of blocks first to last - 1."""
    total = 0.0
    for i in range(first, last):
        total += block[one, scale, i]
    return total / (last - first)


@kernel(
    *BLOCKS,
    *TRIGGERS,
    BOOL_IN,
    *(F64, F64, F64, I64, F64_2D),
    *(I64_2D, F64_2D, I64_2D),
    *(I64_2D, F64_3D, I64_3D),
    F64,
    types.int64,
    types.float64,
    types.int64,
    *FIRED,
)
def trend_update(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    row_index: NDArray[np.int32],
    offset: NDArray[np.int64],
    enabled: NDArray[np.bool_],
    arl0: NDArray[np.float64],
    centre: NDArray[np.float64],
    variance: NDArray[np.float64],
    n_reference: NDArray[np.int64],
    level: NDArray[np.float64],
    partial_n: NDArray[np.int64],
    partial_sum: NDArray[np.float64],
    partial_offset: NDArray[np.int64],
    n_kept: NDArray[np.int64],
    block: NDArray[np.float64],
    kept_offset: NDArray[np.int64],
    rank: NDArray[np.float64],
    block_rows: int,
    z_limit: float,
    n_lanes: int,
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
    fired_change: NDArray[np.int64],
) -> int:
    """Fold blocks of a batch into the lanes, from `cursor` on; a lane without `arl0` observes none.

    `partial_*` (lanes, scales) are of the block that is being filled: rows at the finest scale,
    blocks of the scale below at the others; its sum; the offset of its first row, -1 where it has
    none. `block` and `kept_offset` (lanes, scales, n_blocks) are the means of the latest blocks,
    oldest first, and their first rows. `level` (lanes, scales) is what the statistic must be above.
    `rank` is for what lies between. Returns `DONE`, `FULL` or `NO_LANE`.
    """
    n_scales, n_blocks = block.shape[1], block.shape[2]
    n_fired = cursor[3]
    for b in range(cursor[0], len(block_row_ptr) - 1):
        first_row = block_row_ptr[b]
        rows = block_row_ptr[b + 1] - first_row
        first_lane = block_lane_ptr[b]
        for j in range(cursor[1], block_lane_ptr[b + 1] - first_lane):
            one = lane[first_lane + j]
            if one < 0 or one >= n_lanes:
                return NO_LANE
            begin = cursor[2]
            cursor[2] = 0
            if not enabled[one] or arl0[one] == 0.0:
                continue
            at = block_value_ptr[b] + j * rows
            for i in range(begin, rows):
                x = value[at + i]
                if math.isnan(x):
                    continue
                row = row_index[first_row + i]
                if partial_offset[one, 0] < 0:
                    partial_offset[one, 0] = offset[row]
                partial_sum[one, 0] += min(max(x, -z_limit), z_limit)
                partial_n[one, 0] += 1
                if partial_n[one, 0] < block_rows:
                    continue
                fired_scale = -1
                n_rows = block_rows
                for scale in range(n_scales):
                    # The block of this scale is full: it becomes one of those that are kept.
                    total, first = partial_sum[one, scale], partial_offset[one, scale]
                    partial_n[one, scale] = 0
                    partial_sum[one, scale] = 0.0
                    partial_offset[one, scale] = -1
                    if n_kept[one, scale] == n_blocks:
                        for k in range(n_blocks - 1):
                            block[one, scale, k] = block[one, scale, k + 1]
                            kept_offset[one, scale, k] = kept_offset[one, scale, k + 1]
                        n_kept[one, scale] -= 1
                    n = n_kept[one, scale]
                    block[one, scale, n] = np.rint(total / n_rows * GRAIN) / GRAIN
                    kept_offset[one, scale, n] = first
                    n += 1
                    n_kept[one, scale] = n
                    if n >= MIN_BLOCKS:
                        s, spread = _concordance(one, scale, n, block, rank)
                        high = level[one, scale]
                        # What depends on each other varies more: most blocks need no more work.
                        if s != 0 and spread > 0.0 and abs(s) - 1 > high * math.sqrt(spread):
                            spread *= _inflation(n, _dependence(n, rank))
                            found = (abs(s) - 1) / math.sqrt(spread)
                            quarter = n // 4
                            after = _mean(one, scale, n - quarter, n, block)
                            n_after = quarter * n_rows
                            error = math.sqrt(
                                variance[one] * (1.0 / n_after + 1.0 / n_reference[one])
                            )
                            away = after - centre[one]
                            if s < 0:
                                away = -away
                            if found > high and away > LEAST_AWAY * error:
                                fired_scale = scale
                                fired_row[n_fired] = row
                                fired_lane[n_fired] = one
                                fired_numbers[n_fired, 0] = found
                                fired_numbers[n_fired, 1] = high
                                fired_numbers[n_fired, 2] = _mean(one, scale, 0, quarter, block)
                                fired_numbers[n_fired, 3] = after
                                fired_numbers[n_fired, 4] = n_after
                                fired_numbers[n_fired, 5] = n_after
                                fired_numbers[n_fired, 6] = 0
                                fired_change[n_fired] = kept_offset[one, scale, 0]
                                n_fired += 1
                                break
                    if scale + 1 == n_scales:
                        break
                    if partial_offset[one, scale + 1] < 0:
                        partial_offset[one, scale + 1] = first
                    partial_sum[one, scale + 1] += total
                    partial_n[one, scale + 1] += 1
                    if partial_n[one, scale + 1] < RATIO:
                        break
                    n_rows *= RATIO
                if fired_scale < 0:
                    continue
                # The lane begins anew, at every scale; its reference stays.
                for scale in range(n_scales):
                    partial_n[one, scale] = 0
                    partial_sum[one, scale] = 0.0
                    partial_offset[one, scale] = -1
                    n_kept[one, scale] = 0
                    for k in range(n_blocks):
                        block[one, scale, k] = 0.0
                        kept_offset[one, scale, k] = -1
                if n_fired == len(fired_row):
                    cursor[0] = b
                    cursor[1] = j
                    cursor[2] = i + 1
                    cursor[3] = n_fired
                    return FULL
        cursor[1] = 0
    cursor[3] = n_fired
    return DONE
