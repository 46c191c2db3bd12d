"""What is kept of features until labels come, and how well each of them alone tells the label."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import BOOL_IN, DONE, F64, F64_IN, I32_IN, I64, I64_IN, kernel

F32_2D = types.Array(types.float32, 2, "C")
F32_2D_IN = types.Array(types.float32, 2, "C", readonly=True)
I64_2D_IN = types.Array(types.int64, 2, "C", readonly=True)


@kernel(I64_IN, I32_IN, I64_IN, I64_IN, I32_IN, F64_IN, F32_2D)
def take_features(
    rows: NDArray[np.int64],
    feature: NDArray[np.int32],
    value_ptr: NDArray[np.int64],
    column_ptr: NDArray[np.int64],
    column: NDArray[np.int32],
    number: NDArray[np.float64],
    taken: NDArray[np.float32],
) -> int:
    """Write these features of these rows of one model into `taken` (rows, features or more).

    `number` holds the values of the poll that are numbers. What is missing stays as it stands
    there, and so does what is none: a NaN of another form would be other bytes of state.
    """
    for i in range(len(rows)):
        for j in range(len(feature)):
            c = column[column_ptr[rows[i]] + feature[j]]
            if c < 0:
                continue
            x = number[value_ptr[rows[i]] + c]
            if not np.isnan(x):
                taken[i, j] = np.float32(x)
    return DONE


@kernel(I64_IN, I64_2D_IN, types.int64, I64)
def find_numbers(
    wanted: NDArray[np.int64], words: NDArray[np.int64], n_words: int, at: NDArray[np.int64]
) -> int:
    """Write into `at` (k,) where each wanted number stands in the first column; -1: nowhere.

    The first `n_words` rows of `words` ascend by it.
    """
    for i in range(len(wanted)):
        low, high = 0, n_words
        while low < high:
            middle = (low + high) // 2
            if words[middle, 0] < wanted[i]:
                low = middle + 1
            else:
                high = middle
        at[i] = low if low < n_words and words[low, 0] == wanted[i] else -1
    return DONE


@kernel(F32_2D_IN, BOOL_IN, types.int64, F64)
def strengths(
    values: NDArray[np.float32],
    is_so: NDArray[np.bool_],
    min_rows: int,
    strength: NDArray[np.float64],
) -> int:
    """Write into `strength` (features,) |2 AUC - 1| of each feature as a score of `is_so` (n,).

    `values` is (n, features or more). A row without the feature does not count; NaN where fewer
    than `min_rows` are so, or are not. Every pair is counted in whole numbers, ties as neither, so
    that the order of rows says nothing.
    """
    n = len(is_so)
    for j in range(len(strength)):
        n_so, n_not, ahead = 0, 0, 0
        for i in range(n):
            if values[i, j] == values[i, j]:
                n_so += 1 if is_so[i] else 0
                n_not += 0 if is_so[i] else 1
        if n_so < min_rows or n_not < min_rows:
            strength[j] = np.nan
            continue
        for i in range(n):
            if not is_so[i] or values[i, j] != values[i, j]:
                continue
            for k in range(n):
                # Of a NaN both are false.
                if not is_so[k]:
                    ahead += 1 if values[i, j] > values[k, j] else 0
                    ahead -= 1 if values[i, j] < values[k, j] else 0
        strength[j] = abs(ahead) / (n_so * n_not)
    return DONE
