"""KSWIN (Raab, Heusinger and Schleif 2020): the recent part of a window against a random sample.

The sample's positions come from SplitMix64 (Steele, Lea and Flood 2014), a generator that counts:
which are drawn at a lane's nth observation is a function of the seed and n alone.
"""

from __future__ import annotations

from typing import Any, Final

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
    part,
)

# An int64 beside a uint64 would make a float64 of both: all of these are uint64.
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)


@part
def _mixed(state: Any) -> Any:
    """SplitMix64's output at this state; uint64 both."""
    z = (state ^ (state >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@part
def _n_below(ordered: NDArray[np.float64], x: float) -> int:
    """How many of them are less than x."""
    low, high = 0, ordered.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] < x:
            low = middle + 1
        else:
            high = middle
    return low


@part
def _n_up_to(ordered: NDArray[np.float64], x: float) -> int:
    """How many of them are x or less."""
    low, high = 0, ordered.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] <= x:
            low = middle + 1
        else:
            high = middle
    return low


@part
def _exchange(ordered: NDArray[np.float64], leaving: float, x: float) -> None:
    """Take one value out of them, which is there, and put x in."""
    at = _n_below(ordered, leaving)
    while at + 1 < ordered.shape[0] and ordered[at + 1] < x:
        ordered[at] = ordered[at + 1]
        at += 1
    while at > 0 and ordered[at - 1] > x:
        ordered[at] = ordered[at - 1]
        at -= 1
    ordered[at] = x


@part
def _mean(ring: NDArray[np.float64], start: int, count: int) -> float:
    """Of so many entries of a ring from `start` on, added in their order."""
    total = 0.0
    for k in range(count):
        total += ring[(start + k) % ring.shape[0]]
    return total / count


@kernel(
    *BLOCKS,
    *TRIGGERS,
    BOOL_IN,
    I64,
    F64,
    I64,
    *([types.int64] * 4),
    types.float64,
    types.int64,
    F64,
    *([I64] * 3),
    *FIRED,
)
def kswin_update(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    row_index: NDArray[np.int32],
    offset: NDArray[np.int64],
    enabled: NDArray[np.bool_],
    n: NDArray[np.int64],
    window: NDArray[np.float64],
    recent_offset: NDArray[np.int64],
    window_size: int,
    stat_size: int,
    critical: int,
    seed: int,
    limit: float,
    n_lanes: int,
    ordered: NDArray[np.float64],
    n_not_above: NDArray[np.int64],
    n_under: NDArray[np.int64],
    taken: NDArray[np.int64],
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
    fired_change: NDArray[np.int64],
) -> int:
    """Fold the blocks of a batch from `cursor` (block, lane, row, firings) on.

    Of each lane, `window` is a ring of the last `window_size` values, and `recent_offset` one of
    the offsets of the last `stat_size`. The kth observation of a lane stands at (k - 1) modulo
    their length. A lane fires where the two distribution functions are `critical` / `stat_size`
    apart or more, and begins anew with its next observation. Values beyond `limit` count as
    `limit`. Returns `DONE`, `FULL` or `NO_LANE`.

    Room to work in, whose content means nothing between calls: `ordered` (stat_size,),
    `n_not_above` and `n_under` (stat_size + 1,), `taken` (window_size - stat_size,).
    """
    older = window_size - stat_size
    first_state = np.uint64(seed)
    taken[:] = 0
    n_drawn = 0
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
            ring = window[one * window_size : (one + 1) * window_size]
            offsets = recent_offset[one * stat_size : (one + 1) * stat_size]
            count = n[one]
            is_ordered = False
            full = False
            for i in range(begin, n_rows):
                x = value[start + i]
                if x != x:  # noqa: PLR0124  # NaN: nothing observed
                    continue
                x = min(max(x, -limit), limit)
                ring[count % window_size] = x
                offsets[count % stat_size] = offset[row_index[first_row + i]]
                count += 1
                if count < window_size:
                    continue
                oldest = count % window_size
                if is_ordered:
                    _exchange(ordered, ring[(oldest + older - 1) % window_size], x)
                else:
                    for k in range(stat_size):
                        ordered[k] = ring[(oldest + older + k) % window_size]
                    ordered.sort()
                    is_ordered = True
                # Floyd's sample without replacement (Bentley and Floyd 1987). Of each that is
                # drawn: from which recent value on it is no greater, and from which it is less.
                state = _mixed(first_state + np.uint64(count) * _STEP)
                n_not_above[:] = 0
                n_under[:] = 0
                n_drawn += 1
                for last in range(older - stat_size, older):
                    state += _STEP
                    scaled = (_mixed(state) >> np.uint64(16)) * np.uint64(last + 1)
                    drawn = np.int64(scaled >> np.uint64(48))
                    if taken[drawn] == n_drawn:
                        drawn = np.int64(last)
                    taken[drawn] = n_drawn
                    at = oldest + drawn
                    y = ring[at - window_size if at >= window_size else at]
                    below = _n_below(ordered, y)
                    n_not_above[below] += 1
                    if below < stat_size and ordered[below] == y:
                        below = _n_up_to(ordered, y)
                    n_under[below] += 1
                # Between two recent values their distribution function stands still and the
                # sample's only rises: the greatest distances are just before a recent value and at
                # one. Within a tie both are less than at its ends.
                up_to = 0
                under = 0
                distance = 0
                for k in range(stat_size):
                    up_to += n_not_above[k]
                    under += n_under[k]
                    distance = max(distance, under - k, k + 1 - up_to)
                if distance < critical:
                    continue
                fired_row[n_fired] = row_index[first_row + i]
                fired_lane[n_fired] = one
                fired_numbers[n_fired, 0] = distance / stat_size
                fired_numbers[n_fired, 1] = critical / stat_size
                fired_numbers[n_fired, 2] = _mean(ring, oldest, older)
                fired_numbers[n_fired, 3] = _mean(ring, oldest + older, stat_size)
                fired_numbers[n_fired, 4] = older
                fired_numbers[n_fired, 5] = stat_size
                fired_change[n_fired] = offsets[count % stat_size]
                n_fired += 1
                ring[:] = 0.0
                offsets[:] = -1
                count = 0
                is_ordered = False
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
