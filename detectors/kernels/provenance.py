"""Near queries of all sources: a hash index of the latest distinct rows, and what joins what."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    BOOL,
    BOOL_IN,
    DONE,
    F64,
    F64_2D,
    F64_IN,
    FULL,
    I32,
    I32_IN,
    I64,
    I64_2D,
    I64_IN,
    kernel,
    part,
)

U64 = types.Array(types.uint64, 1, "C")
U64_IN = types.Array(types.uint64, 1, "C", readonly=True)
U64_2D = types.Array(types.uint64, 2, "C")
U64_2D_IN = types.Array(types.uint64, 2, "C", readonly=True)
U8_2D = types.Array(types.uint8, 2, "C")
F32_IN = types.Array(types.float32, 1, "C", readonly=True)
F32_2D = types.Array(types.float32, 2, "C")
F32_2D_IN = types.Array(types.float32, 2, "C", readonly=True)
I32_2D = types.Array(types.int32, 2, "C")
I32_3D = types.Array(types.int32, 3, "C")
U32_3D = types.Array(types.uint32, 3, "C")

N_GRIDS: Final = 8
N_PROJECTIONS: Final = 6
"""Of a grid: its cells are the combinations of so many."""
N_SLOTS: Final = 8
"""Rows that a bucket remembers, the latest ones."""
CELL_WIDTH: Final = 4.0
"""Of a grid, in radii. With normal projections two rows that are a radius apart share a cell of a
projection with probability 0.80, and all cells of at least one of the 8 grids with 0.91; half a
radius: 0.998 (Datar, Immorlica, Indyk, Mirrokni 2004, formula of section 3.2)."""
CATEGORY_APART: Final = 2.0
"""What each category that differs adds to a distance."""
MIN_OTHER: Final = 2
"""Members of another class than most: one alone says nothing."""
OTHER_ONE_IN: Final = 16
LOW_ONE_IN: Final = 4
RULE_CLASSES: Final = 1
RULE_LOW: Final = 2
_FAR: Final = 1e15
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


@part
def _mixed(x: np.uint64) -> np.uint64:
    """The output function of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


@part
def _distance(
    z: NDArray[np.float32],
    i: int,
    others: NDArray[np.float32],
    j: int,
    n_numbers: int,
    n_dims: int,
    limit: float,
) -> float:
    """Of row i to row j of the others; infinite where it is not below the limit."""
    bound = limit * limit
    total = 0.0
    for c in range(n_numbers):
        step = np.float64(z[i, c]) - np.float64(others[j, c])
        total += step * step
        # So written that a NaN is far, too.
        if not total < bound:
            return math.inf
    apart = math.sqrt(total)
    for c in range(n_numbers, n_dims):
        if z[i, c] != others[j, c]:
            apart += CATEGORY_APART
    return apart if apart < limit else math.inf


@part
def _find_keys(
    z: NDArray[np.float32],
    i: int,
    n_numbers: int,
    n_dims: int,
    model: int,
    projection: NDArray[np.float64],
    phase: NDArray[np.float64],
    per_width: float,
    salt: np.uint64,
    total: NDArray[np.float64],
    key: NDArray[np.uint64],
) -> None:
    """Write into `key` (N_GRIDS,) in which cell of each grid a row lies."""
    for p in range(N_GRIDS * N_PROJECTIONS):
        total[p] = phase[p]
    for c in range(n_numbers):
        x = np.float64(z[i, c]) * per_width
        for p in range(N_GRIDS * N_PROJECTIONS):
            total[p] += x * projection[c, p]
    # No radius reaches as far as a category that differs: all must be the same.
    base = _mixed(salt + np.uint64(model))
    for c in range(n_numbers, n_dims):
        x = np.float64(z[i, c])
        whole = np.int64(x) if abs(x) < _FAR else np.int64(-1)
        base = _mixed(base ^ np.uint64(whole))
    for g in range(N_GRIDS):
        word = _mixed(base + np.uint64(g + 1))
        for k in range(N_PROJECTIONS):
            cell = math.floor(total[g * N_PROJECTIONS + k])
            whole = np.int64(cell) if abs(cell) < _FAR else np.int64(0)
            word = _mixed(word ^ np.uint64(whole))
        key[g] = word


@kernel(
    I64_IN,  # offset
    I64_IN,  # event_time_ms
    I64_IN,  # number
    I32_IN,  # model
    F32_2D_IN,  # z
    BOOL_IN,  # is_repeat
    U64_IN,  # row_hash
    I32_IN,  # source
    BOOL_IN,  # is_first
    I32_IN,  # kind
    U64_2D_IN,  # source_words
    I32_IN,  # predicted
    F32_IN,  # margin
    I32_IN,  # n_dims
    I32_IN,  # n_numbers
    F64_2D,  # projection
    F64_IN,  # phase
    F64_IN,  # per_width
    types.uint64,  # salt
    F64_2D,  # radius
    F64_2D,  # low
    I64_2D,  # needed
    I64,  # next_slot
    F32_2D,  # ring_z
    I32,  # ring_model
    U64,  # ring_hash
    U64_2D,  # ring_words
    I32,  # ring_place
    I32,  # ring_class
    BOOL,  # ring_low
    I32,  # ring_cluster
    I64,  # ring_offset
    I64,  # ring_time
    I64,  # ring_number
    I32_3D,  # bucket_slot
    U32_3D,  # bucket_tag
    U8_2D,  # bucket_next
    I32,  # members
    I32_2D,  # classes
    I32,  # n_low
    I64,  # joined
    I64,  # fired
    I32,  # cluster_model
    I64,  # place_since
    F64,  # total
    U64,  # key
    I64,  # cursor
)
def provenance_update(
    offset: NDArray[np.int64],
    event_time_ms: NDArray[np.int64],
    number: NDArray[np.int64],
    model: NDArray[np.int32],
    z: NDArray[np.float32],
    is_repeat: NDArray[np.bool_],
    row_hash: NDArray[np.uint64],
    source: NDArray[np.int32],
    is_first: NDArray[np.bool_],
    kind: NDArray[np.int32],
    source_words: NDArray[np.uint64],
    predicted: NDArray[np.int32],
    margin: NDArray[np.float32],
    n_dims: NDArray[np.int32],
    n_numbers: NDArray[np.int32],
    projection: NDArray[np.float64],
    phase: NDArray[np.float64],
    per_width: NDArray[np.float64],
    salt: np.uint64,
    radius: NDArray[np.float64],
    low: NDArray[np.float64],
    needed: NDArray[np.int64],
    next_slot: NDArray[np.int64],
    ring_z: NDArray[np.float32],
    ring_model: NDArray[np.int32],
    ring_hash: NDArray[np.uint64],
    ring_words: NDArray[np.uint64],
    ring_place: NDArray[np.int32],
    ring_class: NDArray[np.int32],
    ring_low: NDArray[np.bool_],
    ring_cluster: NDArray[np.int32],
    ring_offset: NDArray[np.int64],
    ring_time: NDArray[np.int64],
    ring_number: NDArray[np.int64],
    bucket_slot: NDArray[np.int32],
    bucket_tag: NDArray[np.uint32],
    bucket_next: NDArray[np.uint8],
    members: NDArray[np.int32],
    classes: NDArray[np.int32],
    n_low: NDArray[np.int32],
    joined: NDArray[np.int64],
    fired: NDArray[np.int64],
    cluster_model: NDArray[np.int32],
    place_since: NDArray[np.int64],
    total: NDArray[np.float64],
    key: NDArray[np.uint64],
    cursor: NDArray[np.int64],
) -> int:
    """Go on at row `cursor[0]`; stop behind the first one with which a cluster fires.

    `FULL`: the cluster `cursor[1]` fired by the rules `cursor[2]` (bits) with the row before
    `cursor[0]`. The models, kinds, classes and places of the rows must be in range. A row joins
    the cluster of its nearest row; two clusters never become one, so that a benign row between
    two groups does not make one great group of them.
    """
    capacity = len(ring_model)
    mask = np.uint64(bucket_next.shape[1] - 1)
    for i in range(cursor[0], len(offset)):
        place = source[i]
        if place >= 0 and is_first[i]:
            place_since[place] = number[i]
        m = model[i]
        reach = radius[m, kind[i]]
        if is_repeat[i] or not reach > 0.0:
            continue
        numbers, dims = n_numbers[m], n_dims[m]
        _find_keys(z, i, numbers, dims, m, projection, phase, per_width[m], salt, total, key)
        slot = next_slot[0]
        best = reach
        parent = -1
        is_same = False
        for g in range(N_GRIDS):
            bucket = np.int64(key[g] & mask)
            tag = np.uint32(key[g] >> np.uint64(32))
            for s in range(N_SLOTS):
                other = bucket_slot[g, bucket, s]
                # The oldest one leaves for this row. A slot that was given to another row since
                # is as good a candidate: the distance is of what stands there.
                if other < 0 or bucket_tag[g, bucket, s] != tag or other == slot:
                    continue
                if ring_model[other] != m:
                    continue
                if ring_hash[other] == row_hash[i]:
                    is_same = True
                    break
                apart = _distance(z, i, ring_z, other, numbers, dims, best)
                if apart < best:
                    best = apart
                    parent = other
            if is_same:
                break
        if is_same:
            continue

        next_slot[0] = slot + 1 if slot + 1 < capacity else 0
        old = ring_cluster[slot]
        if old >= 0:
            members[old] -= 1
            classes[old, ring_class[slot]] -= 1
            n_low[old] -= 1 if ring_low[slot] else 0
            if members[old] == 0:
                joined[old] = 0
                fired[old] = 0
                cluster_model[old] = -1
        for c in range(dims):
            ring_z[slot, c] = z[i, c]
        for c in range(dims, ring_z.shape[1]):
            ring_z[slot, c] = 0.0
        ring_model[slot] = m
        ring_hash[slot] = row_hash[i]
        ring_words[slot, 0] = source_words[i, 0]
        ring_words[slot, 1] = source_words[i, 1]
        ring_place[slot] = place
        ring_class[slot] = predicted[i]
        ring_low[slot] = np.float64(margin[i]) < low[m, kind[i]]
        ring_cluster[slot] = -1
        ring_offset[slot] = offset[i]
        ring_time[slot] = event_time_ms[i]
        ring_number[slot] = number[i]
        for g in range(N_GRIDS):
            bucket = np.int64(key[g] & mask)
            at = bucket_next[g, bucket]
            bucket_slot[g, bucket, at] = slot
            bucket_tag[g, bucket, at] = np.uint32(key[g] >> np.uint64(32))
            bucket_next[g, bucket] = (at + 1) % N_SLOTS
        if parent < 0:
            continue

        one = ring_cluster[parent]
        if one < 0:
            # Every cluster has a row, and this row and its parent have none: one is free.
            one = np.int32(slot)
            for _ in range(capacity):
                if members[one] == 0:
                    break
                one = np.int32(one + 1 if one + 1 < capacity else 0)
            cluster_model[one] = m
            joined[one] = 1
            members[one] = 1
            classes[one, ring_class[parent]] = 1
            n_low[one] = 1 if ring_low[parent] else 0
            ring_cluster[parent] = one
        ring_cluster[slot] = one
        joined[one] += 1
        members[one] += 1
        classes[one, ring_class[slot]] += 1
        n_low[one] += 1 if ring_low[slot] else 0
        size = members[one]
        if size < needed[m, kind[i]] or (fired[one] > 0 and joined[one] < 2 * fired[one]):
            continue
        most = 0
        for c in range(classes.shape[1]):
            most = max(most, classes[one, c])
        others = size - most
        rules = 0
        if others >= MIN_OTHER and others * OTHER_ONE_IN >= size:
            rules += RULE_CLASSES
        if n_low[one] * LOW_ONE_IN >= size:
            rules += RULE_LOW
        if rules == 0:
            continue
        fired[one] = joined[one]
        cursor[0] = i + 1
        cursor[1] = one
        cursor[2] = rules
        return FULL
    cursor[0] = len(offset)
    return DONE


@kernel(F32_2D_IN, types.int64, F64, I64)
def nearest_before(
    z: NDArray[np.float32],
    n_numbers: int,
    distance: NDArray[np.float64],
    which: NDArray[np.int64],
) -> int:
    """Write how far each row (n, dims) is from the nearest one before it, and which that is.

    Infinite and -1 for the first one.
    """
    for i in range(len(z)):
        best = math.inf
        which[i] = -1
        for j in range(i):
            apart = _distance(z, i, z, j, n_numbers, z.shape[1], best)
            if apart < best:
                best = apart
                which[i] = j
        distance[i] = best
    return DONE
