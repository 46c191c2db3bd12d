"""Taking a daily or weekly rhythm out of what lanes observe, by the hour of each event."""

from __future__ import annotations

import numpy as np
from numba import types

from detectors.kernels.compile import F64, I32_IN, I64_IN, kernel
from schemas.batch import F64 as F64A
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A

HOUR_MS = 3_600_000
MAX_Z = 1e6
"""As in `detectors.kernels.observe`."""
F64_2D_IN = types.Array(types.float64, 2, "C", readonly=True)


@kernel(
    *(I32_IN, I32_IN, I64_IN, I64_IN, I64_IN),
    *(I32_IN, I64_IN, F64_2D_IN, I64_IN, F64),
)
def take_out(
    rows: I32A,
    block_slot: I32A,
    block_row_ptr: I64A,
    block_value_ptr: I64A,
    layout_ptr: I64A,
    rhythm: I32A,
    hours: I64A,
    knots: F64A,
    event_time_ms: I64A,
    value: F64A,
) -> int:
    """Subtract from each value, in place, what its lane's rhythm has at the time of its event.

    Blocks and layout are those of `detectors.kernels.observe`. Lane j has the rhythm of number
    `rhythm[j]`, -1: none; rhythm r comes again after `hours[r]` hours, and `knots[r, h]` is its
    value at the middle of hour h of the epoch, modulo those. Between knots it is the cubic of
    Catmull and Rom (1974), which goes round. NaN stays NaN.
    """
    for b in range(len(block_slot)):
        first = block_row_ptr[b]
        k = block_row_ptr[b + 1] - first
        at = block_value_ptr[b]
        for j in range(layout_ptr[block_slot[b]], layout_ptr[block_slot[b] + 1]):
            own = rhythm[j]
            if own >= 0:
                n = hours[own]
                for r in range(k):
                    phase = (event_time_ms[rows[first + r]] - HOUR_MS // 2) % (n * HOUR_MS)
                    h = phase // HOUR_MS
                    f = (phase - h * HOUR_MS) / HOUR_MS
                    before = h - 1 if h > 0 else n - 1
                    after = h + 1 if h + 1 < n else 0
                    then = after + 1 if after + 1 < n else 0
                    p0, p1, p2, p3 = (
                        knots[own, before],
                        knots[own, h],
                        knots[own, after],
                        knots[own, then],
                    )
                    third = 3.0 * (p1 - p2) + p3 - p0
                    second = 2.0 * p0 - 5.0 * p1 + 4.0 * p2 - p3
                    level = p1 + 0.5 * f * (p2 - p0 + f * (second + f * third))
                    z = value[at + r] - level
                    if not np.isnan(z):
                        value[at + r] = min(max(z, -MAX_Z), MAX_Z)
            at += k
    return 0
