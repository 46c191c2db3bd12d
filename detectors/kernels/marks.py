"""Dates what detectors of errors have found: marks at ages of powers of two, and the likeliest."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    BLOCKS,
    BOOL_IN,
    DONE,
    F64,
    FIRED,
    I64,
    TRIGGERS,
    kernel,
    part,
)

N_LEVELS: Final = 16
"""A change is dated to within a factor of two of its age, up to 2 ** N_LEVELS observations."""


@part
def _surprise(ones: int, n: int, share: float) -> float:
    """N times the relative entropy of a share of `ones` in n to another one, 0 < share < 1."""
    own = ones / n
    total = 0.0
    if ones > 0:
        total += ones * math.log(own / share)
    if ones < n:
        total += (n - ones) * math.log((1.0 - own) / (1.0 - share))
    return total


@part
def _ratio(ones_before: int, n_before: int, ones: int, n: int, sign: float) -> float:
    """The log likelihood ratio of two shares to one; negative where they moved the other way."""
    n_after, ones_after = n - n_before, ones - ones_before
    if ones in (0, n):
        return 0.0
    share = ones / n
    ratio = _surprise(ones_before, n_before, share) + _surprise(ones_after, n_after, share)
    moved = ones_after / n_after - ones_before / n_before
    return ratio if sign * moved > 0.0 else -ratio


@kernel(
    *BLOCKS,
    *TRIGGERS,
    BOOL_IN,
    *([I64] * 2),
    *([F64] * 2),
    *([I64] * 2),
    types.float64,
    I64,
    *FIRED,
)
def date_errors(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    row_index: NDArray[np.int32],
    offset: NDArray[np.int64],
    enabled: NDArray[np.bool_],
    seen: NDArray[np.int64],
    ones: NDArray[np.int64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    mark_ones: NDArray[np.int64],
    mark_offset: NDArray[np.int64],
    limit: float,
    dated: NDArray[np.int64],
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
    fired_change: NDArray[np.int64],
) -> int:
    """Go after a detector, from `dated` (block, lane, row) to its `cursor`, where it has stopped.

    Whatever it fired stands in order in `fired_*`, its numbers statistic, threshold and sign (1: a
    rise, -1: a fall); the means, on what they rest, and the offset of the change are added. Of each
    lane `seen` and `ones` count the observations and the errors (values above 0), `low` and `high`
    are the last value of each kind, not beyond `limit`. A level k has two marks: before the latest
    observation whose number less one is a multiple of 2 ** k, and before the one 2 ** k earlier:
    `mark_ones` counts the errors up to there, `mark_offset` belongs to that observation. Of them
    the change is at the one with the greatest likelihood ratio. Returns `DONE`.
    """
    k = 0
    for b in range(dated[0], block_row_ptr.shape[0] - 1):
        if b > cursor[0]:
            break
        first_row = block_row_ptr[b]
        n_rows = block_row_ptr[b + 1] - first_row
        first_lane = block_lane_ptr[b]
        for j in range(max(first_lane, dated[1]), block_lane_ptr[b + 1]):
            begin = dated[2]
            end = n_rows
            # Where it stopped amid a block, what comes after is not dated yet.
            if b == cursor[0]:
                if j > cursor[1]:
                    break
                end = cursor[2] if j == cursor[1] else n_rows
            dated[2] = 0
            one = lane[j]
            if not enabled[one]:
                continue
            start = block_value_ptr[b] + (j - first_lane) * n_rows
            first = one * 2 * N_LEVELS
            count = seen[one]
            n_errors = ones[one]
            below = low[one]
            above = high[one]
            for i in range(begin, end):
                x = value[start + i]
                if x != x:  # noqa: PLR0124  # NaN: nothing observed
                    continue
                row = row_index[first_row + i]
                level = 0
                while level < N_LEVELS and count & ((1 << level) - 1) == 0:
                    at = first + 2 * level
                    mark_ones[at + 1] = mark_ones[at]
                    mark_offset[at + 1] = mark_offset[at]
                    mark_ones[at] = n_errors
                    mark_offset[at] = offset[row]
                    level += 1
                count += 1
                if x > 0.0:
                    n_errors += 1
                    above = min(x, limit)
                else:
                    below = max(x, -limit)
                if k == cursor[3] or fired_lane[k] != one or fired_row[k] != row:
                    continue
                # Before the first observation there is nothing but the reference mean, z = 0.
                best = -math.inf
                n_before = 0
                ones_before = 0
                change = offset[row]
                for level in range(N_LEVELS):
                    latest = ((count - 1) >> level) << level
                    for older in range(2):
                        n_there = latest - (older << level)
                        if n_there <= 0:
                            continue
                        at = first + 2 * level + older
                        ratio = _ratio(mark_ones[at], n_there, n_errors, count, fired_numbers[k, 2])
                        if ratio > best:
                            best = ratio
                            n_before = n_there
                            ones_before = mark_ones[at]
                            change = mark_offset[at]
                span = above - below
                share = (n_errors - ones_before) / (count - n_before)
                before = below + ones_before / n_before * span if n_before > 0 else 0.0
                fired_numbers[k, 2] = before
                fired_numbers[k, 3] = below + share * span
                fired_numbers[k, 4] = n_before
                fired_numbers[k, 5] = count - n_before
                fired_change[k] = change
                k += 1
                count = 0
                n_errors = 0
                below = 0.0
                above = 0.0
                for at in range(first, first + 2 * N_LEVELS):
                    mark_ones[at] = 0
                    mark_offset[at] = -1
            seen[one] = count
            ones[one] = n_errors
            low[one] = below
            high[one] = above
        dated[1] = 0
    dated[0] = cursor[0]
    dated[1] = cursor[1]
    dated[2] = cursor[2]
    return DONE
