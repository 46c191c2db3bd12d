"""The groups of events: which category a feature has, looked up row by row."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import DONE, F64_IN, I32_IN, I64, I64_IN, U8_IN, kernel

U8_2D_IN = types.Array(types.uint8, 2, "C", readonly=True)
_STRING, _BOOLEAN = 2, 3


@kernel(
    *(I32_IN, I32_IN, U8_2D_IN, U8_2D_IN),
    *(I64_IN, I64_IN, I32_IN, F64_IN, U8_IN, types.int64, I64),
)
def mark_groups(
    rows: NDArray[np.int32],
    feature: NDArray[np.int32],
    of_name: NDArray[np.uint8],
    of_flag: NDArray[np.uint8],
    value_ptr: NDArray[np.int64],
    column_ptr: NDArray[np.int64],
    column: NDArray[np.int32],
    value: NDArray[np.float64],
    kind: NDArray[np.uint8],
    tag: int,
    words: NDArray[np.int64],
) -> int:
    """Write the groups of these rows of one model into `words`, slice j in its byte j, and `tag`.

    `of_name` (slices, names + 1) says by the poll's category which group it is, `of_flag`
    (slices, 2) by false and true. A name too long to be kept has none.
    """
    n_names = of_name.shape[1] - 1
    for i in rows:
        word = tag
        for j in range(len(feature)):
            c = column[column_ptr[i] + feature[j]]
            if c < 0:
                continue
            at = value_ptr[i] + c
            group = 0
            if kind[at] == _STRING and value[at] >= 0.0:
                name = int(value[at])
                group = of_name[j, name] if name < n_names else 0
            elif kind[at] == _BOOLEAN:
                group = of_flag[j, 1 if value[at] > 0.5 else 0]
            word |= int(group) << (8 * j)
        words[i] = word
    return DONE
