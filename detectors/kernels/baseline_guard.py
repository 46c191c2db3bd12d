"""Medians of each source's numbers, of one value each, and of all of a kind of client together.

All of it stands in this file, since numba's cache looks at no other one.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import BOOL_IN, DONE, I32, I32_IN, I64, NO_LANE, kernel, part

EVERY = 256
"""Events of an entry, after which its candidate is made anew."""
STEP = 0.005
"""Of a median that has seen many values, in scales; of one that has seen n, 1 / n."""
TURN = 16
"""A source counts for the median of all once in so many events of its entry at most."""
MISSING = -9.0

F32_2D_IN = types.Array(types.float32, 2, "C", readonly=True)
I32_2D_IN = types.Array(types.int32, 2, "C", readonly=True)
F64_2D = types.Array(types.float64, 2, "C")
F64_3D = types.Array(types.float64, 3, "C")
I64_2D = types.Array(types.int64, 2, "C")


@part
def _approach(z: NDArray[np.float32], numbers: int, n: int, median: NDArray[np.float64]) -> None:
    """Move each median by one step to the side on which the value lies; n values before it."""
    step = max(STEP, 1.0 / (n + 1.0))
    for f in range(numbers):
        x = z[f]
        if not x > MISSING:
            continue
        if x > median[f]:
            median[f] = min(median[f] + step, x)
        elif x < median[f]:
            median[f] = max(median[f] - step, x)


@kernel(
    *(I32_IN, F32_2D_IN, BOOL_IN, I32_IN, BOOL_IN, I32_IN, I32_IN),
    *(I32_2D_IN, I64, I64, F64_2D, I32, I32, I64, I64, I64, F64_2D),
    *(F64_3D, I64_2D, I64),
)
def baseline_update(
    model: NDArray[np.int32],
    z: NDArray[np.float32],
    is_repeat: NDArray[np.bool_],
    source: NDArray[np.int32],
    is_first: NDArray[np.bool_],
    kind: NDArray[np.int32],
    n_numbers: NDArray[np.int32],
    entry: NDArray[np.int32],
    n_events: NDArray[np.int64],
    n_pooled: NDArray[np.int64],
    pooled: NDArray[np.float64],
    owner: NDArray[np.int32],
    judged: NDArray[np.int32],
    n_rows: NDArray[np.int64],
    latest: NDArray[np.int64],
    turn: NDArray[np.int64],
    median: NDArray[np.float64],
    base: NDArray[np.float64],
    run: NDArray[np.int64],
    cursor: NDArray[np.int64],
) -> int:
    """Fold rows from `cursor[0]` on, up to and with one that ends a stretch of 256 of its entry.

    Then `cursor[1]` is that entry, else -1. `base` and `run` are the bank's, and are cleared where
    a place begins anew. Returns `DONE`, or `NO_LANE` at an unknown number.
    """
    cursor[1] = -1
    n_places = len(owner)
    for i in range(cursor[0], len(model)):
        m, place = np.int64(model[i]), np.int64(source[i])
        if m < 0 or m >= len(entry) or place >= n_places:
            return NO_LANE
        k = np.int64(kind[i])
        if k < 0 or k >= entry.shape[1]:
            return NO_LANE
        if entry[m, k] < 0:
            k = np.int64(0)
        if place < 0:
            continue
        if is_first[i] or owner[place] != m or judged[place] != k:
            owner[place] = m
            judged[place] = k
            n_rows[place] = 0
            latest[place] = 0
            turn[place] = 0
            median[place, :] = 0.0
            base[place, :, :] = 0.0
            run[place, :] = 0
        e = np.int64(entry[m, k])
        if e < 0 or is_repeat[i]:
            continue
        numbers = min(max(np.int64(n_numbers[m]), 0), z.shape[1])
        _approach(z[i], numbers, n_rows[place], median[place])
        n_rows[place] += 1
        now = n_events[e]
        n_events[e] = now + 1
        latest[place] = now
        if turn[place] <= now:
            turn[place] = now + TURN
            _approach(z[i], numbers, n_pooled[e], pooled[e])
            n_pooled[e] += 1
        if (now + 1) % EVERY == 0:
            cursor[0] = i + 1
            cursor[1] = e
            return DONE
    cursor[0] = len(model)
    return DONE
