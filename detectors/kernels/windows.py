"""Windows of a model's events against the frozen reference, on the reference's bins or cells.

Counts are whole numbers, so the Kolmogorov-Smirnov distance is exact. All of it stands in this
file, since numba's cache looks at no other one.
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
    I32,
    I64,
    I64_IN,
    NO_LANE,
    TRIGGERS,
    U8,
    kernel,
    part,
)

I32_2D = types.Array(types.int32, 2, "C")

MIN_ROWS = 20
"""A window with fewer rows that are there says nothing."""
ONE_SIDED = 0.9
"""Where the mean moved by so much of the Wasserstein distance, the change is one of the mean: all
rows have gone the same way."""
BACK_WITHIN = 0.1
"""A lane that lies so near, in reference standard deviations, is back at its reference."""
AT_REFERENCE, AWAY, NEAR = range(3)
"""Where a lane stands: away, since it fired, or so near that it may fire again but not yet back."""
MEAN, SETTLED, SHAPE = 0, 2, 3
"""Aspects of a firing, as in `schemas.findings.Aspect`."""
KS, WASSERSTEIN = range(2)
"""What is kept of the latest window; of a category its relative entropy and its chi distance."""
N_LATEST = 2


@part
def _kolmogorov(
    one: int,
    n_bins: int,
    reference: NDArray[np.int32],
    counts: NDArray[np.int32],
    n_reference: int,
    n: int,
) -> float:
    """The largest difference of the two distribution functions at the cuts."""
    below_reference, below, largest = 0, 0, 0.0
    for k in range(n_bins - 1):
        below_reference += reference[one, k]
        below += counts[one, k]
        largest = max(largest, abs(below_reference / n_reference - below / n))
    return largest


@part
def _wasserstein(
    one: int,
    n_bins: int,
    reference: NDArray[np.int32],
    means: NDArray[np.float64],
    counts: NDArray[np.int32],
    sums: NDArray[np.float64],
    n_reference: int,
    n: int,
) -> float:
    """The Wasserstein-1 distance of the two sets of rows, each at the mean of its bin.

    Both are gone through from the lowest bin up, and what is left of one is moved to what is left
    of the other: in one dimension nothing is cheaper. Masses are whole numbers of 1 / (n n').
    """
    i, j = 0, 0
    left = reference[one, 0] * n
    right = counts[one, 0] * n_reference
    total = 0.0
    while True:
        while left == 0 and i + 1 < n_bins:
            i += 1
            left = reference[one, i] * n
        while right == 0 and j + 1 < n_bins:
            j += 1
            right = counts[one, j] * n_reference
        moved = min(left, right)
        if moved <= 0:
            return total / (float(n_reference) * float(n))
        total += float(moved) * abs(means[one, i] - sums[one, j] / counts[one, j])
        left -= moved
        right -= moved


@part
def _relative_entropy(
    one: int,
    n_bins: int,
    reference: NDArray[np.int32],
    counts: NDArray[np.int32],
    n_reference: int,
    n: int,
) -> float:
    """That of the window to both samples together, in nats: what is in neither counts nothing."""
    total = 0.0
    for k in range(n_bins):
        if counts[one, k] > 0:
            q = counts[one, k] / n
            m = (float(counts[one, k]) + float(reference[one, k])) / (float(n) + n_reference)
            total += q * math.log(q / m)
    return max(total, 0.0)


@part
def _chi(
    one: int,
    n_bins: int,
    reference: NDArray[np.int32],
    counts: NDArray[np.int32],
    n_reference: int,
    n: int,
) -> float:
    """How far any score of the cells moves at most, in its standard deviations over both laws.

    The root of the sum of (q - p)**2 / ((p + q) / 2), less what it is on average by chance.
    """
    total, n_used = 0.0, 0
    for k in range(n_bins):
        p, q = reference[one, k] / n_reference, counts[one, k] / n
        if p + q > 0.0:
            n_used += 1
            total += 2.0 * (q - p) * (q - p) / (p + q)
    total -= (n_used - 1) * (1.0 / n_reference + 1.0 / n)
    return math.sqrt(max(total, 0.0))


@kernel(
    *BLOCKS,
    *TRIGGERS,
    I64_IN,
    BOOL_IN,
    BOOL_IN,
    *(I32, F64_2D, I32_2D, F64_2D, F64),
    *(I64, I64, I32_2D, F64_2D, F64),
    *(U8, F64, I32_2D, F64_2D),
    types.int64,
    types.float64,
    types.int64,
    *FIRED,
)
def windows_update(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    row_index: NDArray[np.int32],
    offset: NDArray[np.int64],
    model_event: NDArray[np.int64],
    enabled: NDArray[np.bool_],
    is_category: NDArray[np.bool_],
    n_cuts: NDArray[np.int32],
    cuts: NDArray[np.float64],
    reference: NDArray[np.int32],
    means: NDArray[np.float64],
    level: NDArray[np.float64],
    window: NDArray[np.int64],
    first_offset: NDArray[np.int64],
    counts: NDArray[np.int32],
    sums: NDArray[np.float64],
    distance: NDArray[np.float64],
    standing: NDArray[np.uint8],
    limit: NDArray[np.float64],
    latest_counts: NDArray[np.int32],
    latest: NDArray[np.float64],
    window_events: int,
    z_limit: float,
    n_lanes: int,
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
    fired_change: NDArray[np.int64],
) -> int:
    """Fold blocks into the lanes, from `cursor` on.

    A lane's rows are counted in `counts`, summed up in `sums` (lanes, bins), and their absolute
    values in `distance`; -1 as `first_offset` says that its window has none yet. The window is
    judged at its last event, or where that is missing at the first row after it. `level` (lanes,)
    is what the square of the distance is held against, over the sizes of the two samples; of a
    category what n times the relative entropy is. A category's values are numbers of cells, and
    its cuts lie between them.
    """
    n_fired = cursor[3]
    for b in range(cursor[0], len(block_row_ptr) - 1):
        first_row = block_row_ptr[b]
        rows = block_row_ptr[b + 1] - first_row
        first_lane = block_lane_ptr[b]
        for j in range(cursor[1], block_lane_ptr[b + 1] - first_lane):
            one = lane[first_lane + j]
            if one < 0 or one >= n_lanes:
                return NO_LANE
            i = cursor[2]
            cursor[2] = 0
            size_cuts = n_cuts[one]
            if not enabled[one] or size_cuts == 0:
                continue
            at = block_value_ptr[b] + j * rows
            begins = window[one] * window_events
            while i < rows:
                x = value[at + i]
                if math.isnan(x):
                    i += 1
                    continue
                row = row_index[first_row + i]
                event = model_event[row]
                if begins <= event < begins + window_events:
                    x = min(max(x, -z_limit), z_limit)
                    k, left = 0, size_cuts
                    while left > 0:
                        half = (left + 1) >> 1
                        k = k + half if cuts[one, k + half - 1] <= x else k
                        left -= half
                    counts[one, k] += 1
                    sums[one, k] += x
                    distance[one] += abs(x)
                    if first_offset[one] < 0:
                        first_offset[one] = offset[row]
                    i += 1
                    if event + 1 < begins + window_events:
                        continue
                elif first_offset[one] < 0:
                    window[one] = event // window_events
                    begins = window[one] * window_events
                    continue
                # The window is over.
                n_bins = size_cuts + 1
                n_reference, n = 0, 0
                total = 0.0
                for k in range(n_bins):
                    n_reference += reference[one, k]
                    n += counts[one, k]
                    total += sums[one, k]
                aspect = -1
                found, high, far, mean, mean_distance = 0.0, 0.0, 0.0, 0.0, 0.0
                if n >= MIN_ROWS:
                    if is_category[one]:
                        found = _relative_entropy(one, n_bins, reference, counts, n_reference, n)
                        far = _chi(one, n_bins, reference, counts, n_reference, n)
                        high = level[one] / n
                    else:
                        found = _kolmogorov(one, n_bins, reference, counts, n_reference, n)
                        far = _wasserstein(
                            one, n_bins, reference, means, counts, sums, n_reference, n
                        )
                        high = math.sqrt(level[one] * (1.0 / n_reference + 1.0 / n))
                        mean, mean_distance = total / n, distance[one] / n
                    for k in range(n_bins):
                        latest_counts[one, k] = counts[one, k]
                    latest[one, KS] = found
                    latest[one, WASSERSTEIN] = far
                    if found > high and standing[one] != AWAY:
                        standing[one] = AWAY
                        limit[one] = high
                        is_one_sided = not is_category[one] and abs(mean) >= ONE_SIDED * far
                        aspect = MEAN if is_one_sided else SHAPE
                    # A window of few rows, whose threshold is high, must not pass for a return.
                    elif standing[one] == AWAY and found <= min(high, limit[one]):
                        standing[one] = NEAR
                    if standing[one] == NEAR and far <= BACK_WITHIN:
                        standing[one] = AT_REFERENCE
                        aspect = SETTLED
                change = first_offset[one]
                first_offset[one] = -1
                distance[one] = 0.0
                for k in range(n_bins):
                    counts[one, k] = 0
                    sums[one, k] = 0.0
                if aspect < 0:
                    continue
                is_settled = aspect == SETTLED
                fired_row[n_fired] = row
                fired_lane[n_fired] = one
                fired_numbers[n_fired, 0] = mean_distance if is_settled else found
                fired_numbers[n_fired, 1] = 0.0 if is_settled else high
                fired_numbers[n_fired, 2] = 0.0
                fired_numbers[n_fired, 3] = mean
                fired_numbers[n_fired, 4] = 0.0 if is_settled else n_reference
                fired_numbers[n_fired, 5] = n
                fired_numbers[n_fired, 6] = aspect
                fired_change[n_fired] = change
                n_fired += 1
                if n_fired == len(fired_row):
                    cursor[0] = b
                    cursor[1] = j
                    cursor[2] = i
                    cursor[3] = n_fired
                    return FULL
        cursor[1] = 0
    cursor[3] = n_fired
    return DONE
