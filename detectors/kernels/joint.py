"""What a row's features say together: its residual, blocks of pair products, which are missing."""

from __future__ import annotations

import numpy as np
from numba import types

from detectors.kernels.compile import (
    F64,
    F64_2D,
    F64_IN,
    I32_IN,
    I64,
    I64_IN,
    U8_IN,
    kernel,
)
from schemas.batch import F64 as F64A
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import U8 as U8A

# Where each number of a model stands in the table of `detectors.joint_table`.
(
    FEATURE_AT,
    N_FEATURES,
    COMPONENT_AT,
    N_COMPONENTS,
    PAIR_AT,
    BLOCK_EVENTS,
    MISSING_AT,
    N_MISSING,
    PATTERN_AT,
    N_PATTERNS,
) = range(10)
N_NUMBERS = 10

# And of each numeric feature: mean and sd of the reference, then of what is left between limits.
MEAN, SD, CENTRE, WIDTH = range(4)

LIMIT = 3.0
"""So far out, in reference standard deviations, a value counts: one outlier is no correlation."""
GRAIN = 1048576.0
"""Residuals are multiples of one in so many: rounding alone is no residual."""
MAX_RAW = 1e150
"""As in `detectors.kernels.observe`."""

F64_2D_IN = types.Array(types.float64, 2, "C", readonly=True)
I64_2D_IN = types.Array(types.int64, 2, "C", readonly=True)


@kernel(
    *(I32_IN, I32_IN, I64_IN, I32_IN, I64_2D_IN, I32_IN, F64_2D_IN, F64_IN, F64_IN, F64_IN),
    *(I32_IN, U8_IN, I64_IN, I64_IN, I64_IN, I32_IN, F64_IN, U8_IN, I64_IN),
    *(F64, I64, F64, F64_2D),
)
def derive(
    rows: I32A,
    block_slot: I32A,
    block_row_ptr: I64A,
    of_slot: I32A,
    numbers: I64A,
    feature: I32A,
    scales: F64A,
    components: F64A,
    pair_means: F64A,
    unit: F64A,
    missing: I32A,
    expected: U8A,
    patterns: I64A,
    value_ptr: I64A,
    column_ptr: I64A,
    column: I32A,
    value: F64A,
    kind: U8A,
    model_event: I64A,
    sums: F64A,
    count: I64A,
    own: F64A,
    out: F64A,
) -> int:
    """Fill `out` (3, n), NaN before, with each row's residual, block distance and missing pattern.

    Blocks and columns are those of `detectors.kernels.observe`; slot s has the table's row
    `of_slot[s]`, -1: none; `scales` has one over sd and width. `sums` and `count` hold what the
    current block of each model has come to, and go on. `own` is room for the values of a row.
    """
    for b in range(len(block_slot)):
        j = of_slot[block_slot[b]]
        if j < 0:
            continue
        first_feature, p = numbers[j, FEATURE_AT], numbers[j, N_FEATURES]
        first_component, m = numbers[j, COMPONENT_AT], numbers[j, N_COMPONENTS]
        first_pair, block = numbers[j, PAIR_AT], numbers[j, BLOCK_EVENTS]
        first_missing, n_missing = numbers[j, MISSING_AT], numbers[j, N_MISSING]
        first_pattern, n_patterns = numbers[j, PATTERN_AT], numbers[j, N_PATTERNS]
        for r in range(block_row_ptr[b], block_row_ptr[b + 1]):
            i = rows[r]
            at, map_at = value_ptr[i], column_ptr[i]
            n_there = 0
            for f in range(p):
                c = column[map_at + feature[first_feature + f]]
                own[f] = 0.0
                if c >= 0 and kind[at + c] == 0:
                    n_there += 1
                    s = first_feature + f
                    x = min(max(value[at + c], -MAX_RAW), MAX_RAW)
                    z = min(max((x - scales[s, MEAN]) * scales[s, SD], -LIMIT), LIMIT)
                    own[f] = (z - scales[s, CENTRE]) * scales[s, WIDTH]
            if n_there > 0 and m > 0:
                total = 0.0
                for q in range(m):
                    along = 0.0
                    for f in range(p):
                        along += components[first_component + q * p + f] * own[f]
                    total += along * along
                out[0, i] = np.floor(total * GRAIN + 0.5) / GRAIN
            if block > 0:
                if n_there > 0:
                    count[j] += 1
                    q = first_pair
                    for f in range(p - 1):
                        mine, others, to = own[f], own[f + 1 : p], sums[q : q + p - f - 1]
                        for h in range(len(to)):
                            to[h] += mine * others[h]
                        q += len(to)
                if (model_event[i] + 1) % block == 0:
                    n_pairs = p * (p - 1) // 2
                    if 2 * count[j] >= block:
                        total = 0.0
                        for q in range(first_pair, first_pair + n_pairs):
                            off = sums[q] / count[j] - pair_means[q]
                            total += off * off
                        out[1, i] = total * count[j] / unit[j]
                    count[j] = 0
                    for q in range(first_pair, first_pair + n_pairs):
                        sums[q] = 0.0
            if n_missing > 0:
                which = np.int64(0)
                for f in range(n_missing):
                    c = column[map_at + missing[first_missing + f]]
                    is_missing = True
                    if c >= 0:
                        got = kind[at + c]
                        scalar = got == 0 or 2 <= got <= 3
                        wanted = expected[first_missing + f]
                        is_missing = not (got == wanted or (wanted == 254 and scalar))
                    if is_missing:
                        which |= np.int64(1) << np.int64(f)
                out[2, i] = 1.0
                for q in range(first_pattern, first_pattern + n_patterns):
                    if patterns[q] == which:
                        out[2, i] = 0.0
                        break
    return 0
