"""Which events have a number far beyond the reference, or one that repeats its previous value."""

from __future__ import annotations

import numpy as np

from detectors.kernels.compile import F64, F64_IN, I32_IN, I64_IN, U8_IN, kernel
from schemas.batch import F64 as F64A
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import U8 as U8A


@kernel(
    *(I32_IN, I32_IN, I64_IN, I64_IN, I32_IN, F64_IN, F64_IN, U8_IN),
    *(I64_IN, I64_IN, I32_IN, F64_IN, F64, F64, F64),
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
) -> int:
    """Write 1 or 0 for the rows of slots that have limits into `beyond` and `stuck` (n,).

    Slot s has `limit_ptr[s]:limit_ptr[s + 1]` of them, and `last` the latest value of each, NaN
    before the first. Rows of other slots are left as they are.
    """
    for b in range(len(block_slot)):
        first = limit_ptr[block_slot[b]]
        end = limit_ptr[block_slot[b] + 1]
        if first == end:
            continue
        for r in range(block_row_ptr[b], block_row_ptr[b + 1]):
            i = rows[r]
            is_beyond = False
            is_stuck = False
            for j in range(first, end):
                c = column[column_ptr[i] + feature[j]]
                if c < 0:
                    continue
                x = number[value_ptr[i] + c]
                if np.isnan(x):
                    continue
                if x < low[j] or x > high[j]:
                    is_beyond = True
                if varies[j]:
                    if x == last[j]:
                        is_stuck = True
                    last[j] = x
            beyond[i] = 1.0 if is_beyond else 0.0
            stuck[i] = 1.0 if is_stuck else 0.0
    return 0
