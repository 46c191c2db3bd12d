"""FHDDM (Pesaranghader and Viktor 2016), in the order of operations of river 0.26."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    BLOCKS,
    BOOL_IN,
    DONE,
    F64_IN,
    FIRED,
    FULL,
    I32_IN,
    I64,
    I64_IN,
    NO_LANE,
    U8,
    kernel,
    part,
)


@part
def _bit(ring: NDArray[np.uint8], position: int) -> int:
    """One bit of a ring."""
    bit: int = (ring[position >> 3] >> (position & 7)) & 1
    return bit


@kernel(
    *BLOCKS,
    I32_IN,
    BOOL_IN,
    I64,
    U8,
    *([I64] * 2),
    I64_IN,
    F64_IN,
    *([types.int64] * 2),
    *FIRED[:-1],
)
def fhddm_update(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    row_index: NDArray[np.int32],
    enabled: NDArray[np.bool_],
    n: NDArray[np.int64],
    ring: NDArray[np.uint8],
    held: NDArray[np.int64],
    most: NDArray[np.int64],
    sizes: NDArray[np.int64],
    allowed: NDArray[np.float64],
    finds_rise: int,
    n_lanes: int,
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
) -> int:
    """Fold the blocks of a batch from `cursor` (block, lane, row, firings) on.

    A value above 0 is an error. Counted are the errors, or where `finds_rise` is 1 all others.
    `ring` has a bit for each of the last `sizes[0]` observations, the kth of a lane at (k - 1)
    modulo that; of each window `held` is how many of its bits are set and `most` the most there
    were. `allowed` is how far its share may fall. A lane that fires begins anew with its next
    observation. Returns `DONE`, `FULL` or `NO_LANE`.
    """
    n_windows = sizes.shape[0]
    size = sizes[0]
    n_bytes = (size + 7) >> 3
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
            bits = ring[one * n_bytes : (one + 1) * n_bytes]
            first = one * n_windows
            full = False
            for i in range(begin, n_rows):
                x = value[start + i]
                if x != x:  # noqa: PLR0124  # NaN: nothing observed
                    continue
                counts = 1 - finds_rise if x > 0.0 else finds_rise
                for window in range(n_windows):
                    at = first + window
                    held[at] += counts
                    if count >= sizes[window]:
                        held[at] -= _bit(bits, (count - sizes[window]) % size)
                position = count % size
                bits[position >> 3] &= ~(1 << (position & 7)) & 255
                bits[position >> 3] |= counts << (position & 7)
                count += 1
                if count < size:
                    continue
                is_found = False
                statistic = 0.0
                threshold = 0.0
                for window in range(n_windows):
                    at = first + window
                    most[at] = max(most[at], held[at])
                    fallen = most[at] / sizes[window] - held[at] / sizes[window]
                    if fallen > allowed[window] and not is_found:
                        is_found = True
                        statistic = fallen
                        threshold = allowed[window]
                if not is_found:
                    continue
                fired_row[n_fired] = row_index[first_row + i]
                fired_lane[n_fired] = one
                fired_numbers[n_fired, 0] = statistic
                fired_numbers[n_fired, 1] = threshold
                fired_numbers[n_fired, 2] = 1.0 if finds_rise == 1 else -1.0
                n_fired += 1
                count = 0
                bits[:] = 0
                for at in range(first, first + n_windows):
                    held[at] = 0
                    most[at] = 0
                if n_fired == fired_row.shape[0]:
                    cursor[0] = b
                    cursor[1] = j
                    cursor[2] = i + 1
                    full = True
                    break
            n[one] = count
            if full:
                cursor[3] = n_fired
                return FULL
        cursor[1] = 0
    cursor[3] = n_fired
    return DONE
