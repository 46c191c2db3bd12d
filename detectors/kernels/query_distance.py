"""How normal a source's distances to its nearest queries are: Shapiro and Wilk's W."""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    BOOL_IN,
    DONE,
    F64,
    F64_IN,
    I32_IN,
    I64,
    I64_IN,
    kernel,
    part,
)

F32 = types.Array(types.float32, 1, "C")

FARTHEST = 3.0
"""What lies so many standard deviations from the mean is left out."""


@part
def _w(x: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """W of a sorted sample; `weights` are those of its larger half, the largest value's first."""
    n = x.shape[0]
    mean = 0.0
    for i in range(n):
        mean += x[i]
    mean /= n
    squares = 0.0
    for i in range(n):
        squares += (x[i] - mean) * (x[i] - mean)
    slope = 0.0
    for i in range(n // 2):
        slope += weights[i] * (x[n - 1 - i] - x[i])
    if not squares > 0.0:
        return 1.0
    return min(slope * slope / squares, 1.0)


@part
def _trimmed_w(
    x: NDArray[np.float64], least: int, weights: NDArray[np.float64], first: NDArray[np.int64]
) -> float:
    """W of a sample, which is sorted for it, without what lies far out; NaN: too few are left."""
    x.sort()
    n = x.shape[0]
    mean = 0.0
    for i in range(n):
        mean += x[i]
    mean /= n
    squares = 0.0
    for i in range(n):
        squares += (x[i] - mean) * (x[i] - mean)
    limit = FARTHEST * math.sqrt(squares / n)
    low = 0
    while low < n and x[low] < mean - limit:
        low += 1
    high = n
    while high > low and x[high - 1] > mean + limit:
        high -= 1
    left = high - low
    if left < least or left + 1 >= first.shape[0]:
        return np.nan
    return _w(x[low:high], weights[first[left] : first[left + 1]])


@kernel(F64, types.int64, F64_IN, I64_IN, F64)
def shapiro(
    sample: NDArray[np.float64],
    least: int,
    weights: NDArray[np.float64],
    first: NDArray[np.int64],
    out: NDArray[np.float64],
) -> int:
    """W of one sample, which is sorted, into `out[0]`: NaN where fewer than `least` are left.

    The weights of samples of n stand in `weights` from `first[n]` to `first[n + 1]`.
    """
    out[0] = _trimmed_w(sample, least, weights, first)
    return DONE


@kernel(
    *(I64_IN, BOOL_IN, I32_IN, F64_IN, F32, I64, types.int64, types.int64, types.int64),
    *(F64, F64_IN, I64_IN, F64),
)
def normality(
    position: NDArray[np.int64],
    begins: NDArray[np.bool_],
    source: NDArray[np.int32],
    same: NDArray[np.float64],
    sample: NDArray[np.float32],
    n_sample: NDArray[np.int64],
    size: int,
    every: int,
    least: int,
    room: NDArray[np.float64],
    weights: NDArray[np.float64],
    first: NDArray[np.int64],
    w: NDArray[np.float64],
) -> int:
    """Keep the latest `size` distances of each place; give W at every `every`th distinct row.

    `position`, `begins` and `same` are what `detectors.kernels.neighbours.search` has found, whose
    places have been checked; `n_sample` says how many distances a place has ever kept. `w` is NaN
    at all other rows, and where there are fewer than `least`. `room` has `size` places.
    """
    for i in range(source.shape[0]):
        w[i] = np.nan
        place = source[i]
        if place < 0:
            continue
        own = sample[place * size : (place + 1) * size]
        if begins[i]:
            n_sample[place] = 0
            own[:] = 0.0
        if position[i] == 0:
            continue
        if same[i] < np.inf:
            own[n_sample[place] % size] = np.float32(same[i])
            n_sample[place] += 1
        filled = min(n_sample[place], size)
        if position[i] % every == 0 and filled >= least:
            x = room[:filled]
            for j in range(filled):
                x[j] = own[j]
            w[i] = _trimmed_w(x, least, weights, first)
    return DONE
