"""ADWIN (Bifet and Gavalda 2007), in the order of operations of river 0.26.

A lane's window is an exponential histogram: level l holds up to `max_buckets` buckets of 2**l
observations each, in a ring of that many slots whose oldest is at `heads`; of a bucket its total,
its sum of squared deviations and the offset of its first observation are kept.

River marks a detection and empties the detector with the next observation; here a lane is emptied
when it fires, which comes to the same positions. So a window holds every observation since its
lane began, and only a firing ever drops some.
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
    FIRED,
    FULL,
    I64,
    LEVELS,
    NO_LANE,
    TRIGGERS,
    U8,
    kernel,
    part,
)


@part
def insert(
    x: float,
    offset: int,
    counts: NDArray[np.uint8],
    heads: NDArray[np.uint8],
    totals: NDArray[np.float64],
    deviations: NDArray[np.float64],
    offsets: NDArray[np.int64],
    level_at: int,
    buckets_at: int,
    max_buckets: int,
) -> int:
    """Put one observation into the histogram; the number of the level where the carry ended.

    A full level gives its two oldest buckets, as one, to the level above. The caller has seen to
    it that the carry ends below the last level that the arrays have room for.
    """
    total = x
    deviation = 0.0
    level = 0
    size_inverse = 1.0  # 2**-level: multiplying by it is exactly dividing by the size
    half_size = 0.5
    while counts[level_at] == max_buckets:
        head = np.int64(heads[level_at])
        second = head + 1 if head + 1 < max_buckets else 0
        at_0 = buckets_at + head
        at_1 = buckets_at + second
        total_0 = totals[at_0]
        total_1 = totals[at_1]
        apart = total_0 * size_inverse - total_1 * size_inverse
        up_deviation = deviations[at_0] + deviations[at_1]
        up_deviation += half_size * apart * apart
        up_offset = offsets[at_0]
        totals[at_0] = total
        deviations[at_0] = deviation
        offsets[at_0] = offset
        heads[level_at] = second + 1 if second + 1 < max_buckets else 0
        counts[level_at] = max_buckets - 1
        total = total_0 + total_1
        deviation = up_deviation
        offset = up_offset
        size_inverse *= 0.5
        half_size *= 2.0
        level += 1
        level_at += 1
        buckets_at += max_buckets
    slot = np.int64(heads[level_at]) + np.int64(counts[level_at])
    at = buckets_at + (slot if slot < max_buckets else slot - max_buckets)
    totals[at] = total
    deviations[at] = deviation
    offsets[at] = offset
    counts[level_at] += 1
    return level


@part
def find_cut(
    counts: NDArray[np.uint8],
    heads: NDArray[np.uint8],
    totals: NDArray[np.float64],
    level_at: int,
    buckets_at: int,
    n_levels: int,
    max_buckets: int,
    width: float,
    total: float,
    variance: float,
    delta: float,
    min_window_length: float,
) -> tuple[bool, float, float]:
    """The oldest cut of the window whose two means differ too much: found, difference, epsilon.

    Most cuts are far from it, and are passed over without a division or a root. With
    n0' = n0 - min_window_length + 1, n1' likewise, p = n0' n1', q = n0 n1, s = n0' + n1' and
    1/m = p / s, epsilon = sqrt(a/m) + b/m for a = 2 variance/width delta' and b = 2/3 delta', so
    epsilon**2 >= a/m + (b/m)**2 = s (a p + b**2 s) / p**2. And the difference of the means is
    |u0 n1 - u1 n0| / q. Hence there is no cut where (u0 n1 - u1 n0)**2 p**2 is below
    q**2 s (a p + b**2 s). Rounding: the terms 1e-15 (|u0 n1| + |u1 n0|) (nine units of roundoff
    where four suffice) and 1e-12 (relative, where some thirty units suffice) keep the inequality
    true for the rounded epsilon and difference. A NaN or an overflow on the left fails the
    comparison, and then the test itself is made; an underflow on the left means no cut, since a
    cut's |u0 n1 - u1 n0| is above q b/m > 0.1.
    """
    log_term = math.log(2.0 * math.log(width) / delta)
    a = 2.0 * (variance / width) * log_term
    b = 2.0 / 3.0 * log_term
    bb = b * b
    s = width - 2.0 * min_window_length + 2.0
    n0 = 0.0
    n1 = width
    u0 = 0.0
    u1 = total
    size = 1.0
    for _ in range(n_levels - 1):
        size *= 2.0
    for level in range(n_levels - 1, -1, -1):
        first = buckets_at + level * max_buckets
        beyond = first + max_buckets
        at = int(first + np.int64(heads[level_at + level]))
        for left in range(np.int64(counts[level_at + level]), 0, -1):
            bucket = totals[at]
            at = at + 1 if at + 1 < beyond else first
            n0 += size
            n1 -= size
            u0 += bucket
            u1 -= bucket
            if n1 < min_window_length or (level == 0 and left == 1):
                return False, 0.0, 0.0
            if n0 < min_window_length:
                continue
            p = (n0 - min_window_length + 1.0) * (n1 - min_window_length + 1.0)
            q = n0 * n1
            mass_0 = u0 * n1
            mass_1 = u1 * n0
            apart = (abs(mass_0 - mass_1) + 1e-15 * (abs(mass_0) + abs(mass_1))) * p
            if apart * apart * (1.0 + 1e-12) < q * q * s * (a * p + bb * s):
                continue
            difference = abs(u0 / n0 - u1 / n1)
            m_inverse = 1.0 / (n0 - min_window_length + 1.0) + 1.0 / (n1 - min_window_length + 1.0)
            epsilon = math.sqrt(2.0 * m_inverse * (variance / width) * log_term)
            epsilon += 2.0 / 3.0 * log_term * m_inverse
            if difference > epsilon:
                return True, difference, epsilon
        size *= 0.5
    return False, 0.0, 0.0


@kernel(
    *BLOCKS,
    *TRIGGERS,
    BOOL_IN,
    I64,
    *([F64] * 3),
    *([U8] * 2),
    *([F64] * 2),
    I64,
    *([types.int64] * 3),
    types.float64,
    *([types.int64] * 3),
    types.float64,
    *FIRED,
)
def adwin_update(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    row_index: NDArray[np.int32],
    offset: NDArray[np.int64],
    enabled: NDArray[np.bool_],
    n: NDArray[np.int64],
    total: NDArray[np.float64],
    variance: NDArray[np.float64],
    only: NDArray[np.float64],
    counts: NDArray[np.uint8],
    heads: NDArray[np.uint8],
    bucket_total: NDArray[np.float64],
    bucket_deviation: NDArray[np.float64],
    bucket_offset: NDArray[np.int64],
    max_levels: int,
    max_buckets: int,
    clock: int,
    delta: float,
    min_window_length: int,
    grace_period: int,
    n_lanes: int,
    limit: float,
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
    fired_change: NDArray[np.int64],
) -> int:
    """Fold the blocks of a batch from `cursor` (block, lane, row, firings, levels) on.

    By lane: `n` observations in the window, their `total`, the sum of their squared deviations
    `variance`, and `only`, the one value they all have, or NaN. `counts` and `heads` are
    (lanes, levels), `bucket_*` are (lanes, levels, max_buckets), flat. Values beyond `limit`
    count as `limit`. Returns `DONE`, `FULL`, `NO_LANE`, or `LEVELS` with the number needed in
    `cursor[4]`.
    """
    n_fired = cursor[3]
    shortest = float(min_window_length)
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
            count = n[one]
            # Level l is not in use before observation (max_buckets + 1) 2**(l - 1).
            need = 1
            while ((max_buckets + 1) << (need - 1)) <= count + n_rows - begin:
                need += 1
            if need > max_levels:
                cursor[0] = b
                cursor[1] = j
                cursor[2] = begin
                cursor[3] = n_fired
                cursor[4] = need
                return LEVELS
            levels_at = one * max_levels
            buckets_at = levels_at * max_buckets
            n_levels = max_levels
            while n_levels > 0 and counts[levels_at + n_levels - 1] == 0:
                n_levels -= 1
            start = block_value_ptr[b] + (j - first_lane) * n_rows
            until_check = clock - count % clock
            width = float(count)
            whole = total[one]
            squares = variance[one]
            same = only[one]
            full = False
            for i in range(begin, n_rows):
                x = value[start + i]
                if x != x:  # noqa: PLR0124  # NaN: nothing observed
                    continue
                x = min(max(x, -limit), limit)
                if count > 0:
                    away = x - whole / width
                    squares += width * away * away / (width + 1.0)
                    if x != same:
                        same = math.nan
                else:
                    same = x
                count += 1
                width += 1.0
                whole += x
                level = insert(
                    x,
                    offset[row_index[first_row + i]],
                    counts,
                    heads,
                    bucket_total,
                    bucket_deviation,
                    bucket_offset,
                    levels_at,
                    buckets_at,
                    max_buckets,
                )
                n_levels = max(n_levels, level + 1)
                until_check -= 1
                if until_check > 0:
                    continue
                until_check = clock
                if count <= grace_period:
                    continue
                # A window of one value c has no cut: bucket totals are exact multiples of c, the
                # window's is off by at most n**2 roundoffs of c, so with n buckets at most the
                # means differ by less than 4.1 n**2 1.2e-16 |c| / n1, while epsilon is above
                # 0.66 log_term / n1 and log_term above 0.32. That is n**2 |c| < 4e14.
                if width * width * abs(same) < 1e14:
                    continue
                found, difference, epsilon = find_cut(
                    counts,
                    heads,
                    bucket_total,
                    levels_at,
                    buckets_at,
                    n_levels,
                    max_buckets,
                    width,
                    whole,
                    squares,
                    delta,
                    shortest,
                )
                if not found:
                    continue
                fired_row[n_fired] = row_index[first_row + i]
                fired_lane[n_fired] = one
                fired_numbers[n_fired, 0] = difference
                fired_numbers[n_fired, 1] = epsilon
                dropped_n = 0.0
                dropped_total = 0.0
                while found:
                    top = levels_at + n_levels - 1
                    head = np.int64(heads[top])
                    oldest = buckets_at + (n_levels - 1) * max_buckets + head
                    size = float(1 << (n_levels - 1))
                    gone = bucket_total[oldest]
                    width -= size
                    whole -= gone
                    apart = gone / size - whole / width
                    squares -= bucket_deviation[oldest] + (
                        size * width * apart * apart / (size + width)
                    )
                    dropped_n += size
                    dropped_total += gone
                    heads[top] = head + 1 if head + 1 < max_buckets else 0
                    counts[top] -= 1
                    if counts[top] == 0:
                        n_levels -= 1
                    found, difference, epsilon = find_cut(
                        counts,
                        heads,
                        bucket_total,
                        levels_at,
                        buckets_at,
                        n_levels,
                        max_buckets,
                        width,
                        whole,
                        squares,
                        delta,
                        shortest,
                    )
                fired_numbers[n_fired, 2] = dropped_total / dropped_n
                fired_numbers[n_fired, 3] = whole / width
                fired_numbers[n_fired, 4] = dropped_n
                fired_numbers[n_fired, 5] = width
                oldest = buckets_at + (n_levels - 1) * max_buckets
                oldest += np.int64(heads[levels_at + n_levels - 1])
                fired_change[n_fired] = bucket_offset[oldest]
                n_fired += 1
                for at in range(levels_at, levels_at + n_levels):
                    counts[at] = 0
                n_levels = 0
                count = 0
                width = 0.0
                whole = 0.0
                squares = 0.0
                same = math.nan
                if n_fired == fired_row.shape[0]:
                    cursor[0] = b
                    cursor[1] = j
                    cursor[2] = i + 1
                    full = True
                    break
            n[one] = count
            total[one] = whole
            variance[one] = squares
            only[one] = same
            if full:
                cursor[3] = n_fired
                return FULL
        cursor[1] = 0
    cursor[3] = n_fired
    return DONE
