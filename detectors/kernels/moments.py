"""Running mean and sum of squared deviations, by Welford's update (Welford 1962)."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import BLOCKS, BOOL_IN, DONE, F64, I64, NO_LANE, kernel


@kernel(*BLOCKS, BOOL_IN, I64, F64, F64, F64, types.int64, types.float64)
def moments_update(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    enabled: NDArray[np.bool_],
    n: NDArray[np.int64],
    mean: NDArray[np.float64],
    m2: NDArray[np.float64],
    last: NDArray[np.float64],
    n_lanes: int,
    limit: float,
) -> int:
    """Fold every block of a batch into n, mean, m2 and last, by lane.

    A strict left fold in time order, hence independent of how the rows are split into batches.
    Values beyond `limit` count as `limit`. Returns `DONE`, or `NO_LANE` at an unknown lane.
    """
    for b in range(block_row_ptr.shape[0] - 1):
        n_rows = block_row_ptr[b + 1] - block_row_ptr[b]
        first = block_value_ptr[b]
        for j in range(block_lane_ptr[b], block_lane_ptr[b + 1]):
            one = lane[j]
            if one < 0 or one >= n_lanes:
                return NO_LANE
            start = first
            first += n_rows
            if not enabled[one]:
                continue
            count = n[one]
            width = float(count)
            centre = mean[one]
            squares = m2[one]
            recent = last[one]
            for i in range(start, first):
                x = value[i]
                if x != x:  # noqa: PLR0124  # NaN: nothing observed
                    continue
                x = min(max(x, -limit), limit)
                width += 1.0
                away = x - centre
                # The reciprocal does not wait for the mean: it shortens the chain from one
                # observation to the next by a division.
                centre += away * (1.0 / width)
                squares += away * (x - centre)
                recent = x
                count += 1
            n[one] = count
            mean[one] = centre
            m2[one] = squares
            last[one] = recent
    return DONE
