"""Which events have a number far beyond the reference, or one that repeats its previous value."""

from __future__ import annotations

import numpy as np

from detectors.kernels.compile import F64, F64_IN, I32, I32_IN, I64_IN, U8_IN, kernel
from schemas.batch import F64 as F64A
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import U8 as U8A


@kernel(
    *(I32_IN, I32_IN, I64_IN, I64_IN, I32_IN, F64_IN, F64_IN, U8_IN),
    *(I64_IN, I64_IN, I32_IN, F64_IN, F64, F64, F64, I32, I32),
)
def check_limits(
    rows: I32A,
    block_slot: I32A,
    block_row_ptr: I64A,
    limit_ptr: I64A,
    feature: I32A,
    low: F64A,
    high: F64A,
    varies: U8A,
    value_ptr: I64A,
    column_ptr: I64A,
    column: I32A,
    number: F64A,
    last: F64A,
    beyond: F64A,
    stuck: F64A,
    which_beyond: I32A,
    which_stuck: I32A,
) -> int:
    """Write 1 or 0 for the rows of slots that have limits into `beyond` and `stuck` (n,).

    Slot s has `limit_ptr[s]:limit_ptr[s + 1]` of them, and `last` the latest value of each, NaN
    before the first. Which feature of a row is the first of which it is so goes into the `which_`
    arrays (n,), -1 where none. Rows of other slots are left as they are.
    """
    for b in range(len(block_slot)):
        first = limit_ptr[block_slot[b]]
        end = limit_ptr[block_slot[b] + 1]
        if first == end:
            continue
        for r in range(block_row_ptr[b], block_row_ptr[b + 1]):
            i = rows[r]
            first_beyond = -1
            first_stuck = -1
            for j in range(first, end):
                c = column[column_ptr[i] + feature[j]]
                if c < 0:
                    continue
                x = number[value_ptr[i] + c]
                if np.isnan(x):
                    continue
                if first_beyond < 0 and (x < low[j] or x > high[j]):
                    first_beyond = feature[j]
                if varies[j]:
                    if first_stuck < 0 and x == last[j]:
                        first_stuck = feature[j]
                    last[j] = x
            beyond[i] = 1.0 if first_beyond >= 0 else 0.0
            stuck[i] = 1.0 if first_stuck >= 0 else 0.0
            which_beyond[i] = first_beyond
            which_stuck[i] = first_stuck
    return 0
