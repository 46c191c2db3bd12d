"""ADWIN's buckets, out of their rings and one after the other, for a snapshot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.kernels.compile import F64, F64_IN, I64, I64_IN, U8_IN, kernel


@kernel(U8_IN, U8_IN, F64_IN, F64_IN, I64_IN, I64_IN, F64, F64, I64)
def pack_buckets(
    counts: NDArray[np.uint8],
    heads: NDArray[np.uint8],
    total: NDArray[np.float64],
    deviation: NDArray[np.float64],
    offset: NDArray[np.int64],
    shape: NDArray[np.int64],
    packed_total: NDArray[np.float64],
    packed_deviation: NDArray[np.float64],
    packed_offset: NDArray[np.int64],
) -> int:
    """Copy the buckets in use, of each level the oldest first; how many there were.

    `shape` is (lanes, levels, max_buckets), that of the flat arrays; the packed ones have room.
    """
    packed = 0
    max_buckets = shape[2]
    for at in range(shape[0] * shape[1]):
        slot = np.int64(heads[at])
        for _ in range(counts[at]):
            packed_total[packed] = total[at * max_buckets + slot]
            packed_deviation[packed] = deviation[at * max_buckets + slot]
            packed_offset[packed] = offset[at * max_buckets + slot]
            packed += 1
            slot = slot + 1 if slot + 1 < max_buckets else np.int64(0)
    return packed
