"""The nearest earlier query of the same source: one search for all that is made of it.

A place keeps its latest distinct rows by column: all first numbers, then all second ones. So the
inner loop goes over rows and not over columns, and runs as wide as the machine is, though the sums
of each row are made in the order of its columns. That is faster than to give up a row early.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    BOOL_IN,
    DONE,
    F64,
    I32,
    I32_IN,
    I64,
    NO_LANE,
    kernel,
)

F32 = types.Array(types.float32, 1, "C")
F32_IN = types.Array(types.float32, 1, "C", readonly=True)
I8 = types.Array(types.int8, 1, "C")
BOOLS = types.Array(types.boolean, 1, "C")


@kernel(
    *(F32_IN, types.int64, BOOL_IN, I32_IN, BOOL_IN, I32_IN, I32_IN, I32_IN, I32_IN),
    *(F32, I8, I64, I32, I32, types.int64, types.int64, types.int64, types.float64),
    *(F32, F32, I64, BOOLS, F64, F64, BOOLS, F64),
)
def search(
    z: NDArray[np.float32],
    stride: int,
    is_repeat: NDArray[np.bool_],
    source: NDArray[np.int32],
    is_first: NDArray[np.bool_],
    model: NDArray[np.int32],
    predicted: NDArray[np.int32],
    n_dims: NDArray[np.int32],
    n_numbers: NDArray[np.int32],
    ring: NDArray[np.float32],
    ring_class: NDArray[np.int8],
    n: NDArray[np.int64],
    dims: NDArray[np.int32],
    owner: NDArray[np.int32],
    n_places: int,
    max_rows: int,
    least_same: int,
    missing: float,
    query: NDArray[np.float32],
    squared: NDArray[np.float32],
    position: NDArray[np.int64],
    begins: NDArray[np.bool_],
    nearest: NDArray[np.float64],
    same: NDArray[np.float64],
    is_flip: NDArray[np.bool_],
    step: NDArray[np.float64],
) -> int:
    """Find each row's nearest earlier one of its place, then keep it there.

    A place has as much of `ring` as any other, for at most `max_rows` rows of `dims` columns: fewer
    where they are wide; `n` is how many it has ever kept, `owner` the model of its rows. A row
    whose model or width is another one begins the place anew, like `is_first`.

    Of each row: `position`, the how-manieth distinct one of its place it is, 0 where it is counted
    nowhere (no place, a repeat, or at distance 0 of a row that is kept); `begins`; the distances
    `nearest`, `same` (to rows of the same class, where there are `least_same` of them or more) and
    `step` (to the one before), infinite where there is none; `is_flip`: the nearest is of another
    class. `query` and `squared` are room. Returns `DONE`, or `NO_LANE` at a place, model or width
    that there is not.
    """
    room = ring.shape[0] // n_places
    for i in range(source.shape[0]):
        position[i] = 0
        begins[i] = False
        nearest[i] = np.inf
        same[i] = np.inf
        is_flip[i] = False
        step[i] = np.inf
        place = source[i]
        if place < 0:
            continue
        of = model[i]
        if place >= n_places or of < 0 or of >= n_dims.shape[0]:
            return NO_LANE
        width = n_dims[of]
        if width < 0 or width > stride or width > query.shape[0] or width > room:
            return NO_LANE
        if width == 0:
            continue
        classes = ring_class[place * max_rows : (place + 1) * max_rows]
        if is_first[i] or owner[place] != of or dims[place] != width:
            begins[i] = True
            n[place] = 0
            owner[place] = of
            dims[place] = width
            classes[:] = 0
        if is_repeat[i]:
            continue
        kept = min(max_rows, room // width)
        filled = min(n[place], kept)
        numbers = min(max(n_numbers[of], 0), width)
        row = z[i * stride : i * stride + width]
        own = ring[place * room : place * room + width * kept]
        total = squared[:filled]
        for j in range(filled):
            total[j] = 0.0
        for k in range(width):
            x = row[k]
            if not abs(x) <= 1e9:  # beyond it, infinite, or not a number
                x = np.float32(missing)
            query[k] = x
            column = own[k * kept : k * kept + filled]
            if k < numbers:
                for j in range(filled):
                    apart = column[j] - x
                    total[j] += apart * apart
            else:
                for j in range(filled):
                    total[j] += np.float32(0.0 if column[j] == x else 2.0)
        mine = np.int8(min(max(predicted[i], 0), 127))
        least = np.float32(np.inf)
        other = np.float32(np.inf)
        n_same = 0
        for j in range(filled):
            if classes[j] == mine:
                n_same += 1
                least = min(least, total[j])
            else:
                other = min(other, total[j])
        if filled > 0:
            if least == 0.0 or other == 0.0:
                continue
            nearest[i] = math.sqrt(min(least, other))
            if n_same >= least_same:
                same[i] = math.sqrt(least)
            is_flip[i] = other < least
            step[i] = math.sqrt(total[(n[place] - 1) % kept])
        at = n[place] % kept
        for k in range(width):
            own[k * kept + at] = query[k]
        classes[at] = mine
        n[place] += 1
        position[i] = n[place]
    return DONE
