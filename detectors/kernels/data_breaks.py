"""Which rows lie where many rows of other sources lie now, and hardly any lay in good times."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    BOOL_IN,
    DONE,
    FULL,
    I32,
    I32_IN,
    I64,
    I64_2D,
    I64_IN,
    kernel,
    part,
)

RING: Final = 64
"""Latest rows of a model with which a row is compared: half of them have changed 32 rows after a
break, before a client has sent many."""
OF_ONE: Final = 8
"""Of these are one source's at most, so that three sources or more speak where enough rows do."""
LEAST_OTHERS: Final = 24
"""Rows of other sources, of fewer of which nothing is said."""
TENURE: Final = 1_024
"""Rows of its model after a source was first seen, from which on its rows are in the ring: whoever
comes to attack says nothing of what is usual."""
BROKEN_ONE_IN: Final = 4
"""Of the rows that could be in a state are in it on top of what is usual: fewer are no event of
the data, but of some clients."""
SIGMAS: Final = 5.0
"""By chance one row in 3 million is beyond so many for each feature, however the shares lie: a
wrong one would hold what is found of its source for 256 rows."""
N_ATOMS: Final = 8
"""Values of a column whose usual shares are known; the first is `MISSING`."""
NEEDED: Final = 32
"""Broken rows that are told of: half a ring of them."""
QUIET: Final = 1_024
"""Rows of a model without a broken one, after which the evidence begins anew."""

TOTAL, NEXT, LAST, FIRST_ROW, FIRST_OFFSET, FIRST_TIME = range(6)
"""Of a model's evidence: broken rows, at how many it is told next, the latest and the first."""
N_EVIDENCE: Final = 6
MISSING: Final = -9.0

F32_2D_IN = types.Array(types.float32, 2, "C", readonly=True)
F32_3D = types.Array(types.float32, 3, "C")
F32_3D_IN = types.Array(types.float32, 3, "C", readonly=True)
F64_3D_IN = types.Array(types.float64, 3, "C", readonly=True)
I32_2D = types.Array(types.int32, 2, "C")
U64_2D = types.Array(types.uint64, 2, "C")
U64_2D_IN = types.Array(types.uint64, 2, "C", readonly=True)
BOOL_1D = types.Array(types.boolean, 1, "C", readonly=True)


@part
def _is_beyond(count: int, n: int, usual: float) -> bool:
    """Whether so many of n rows are a quarter of those that are not usually so, and no chance."""
    excess = count - n * usual
    if BROKEN_ONE_IN * excess < n * (1.0 - usual):
        return False
    # A share of 0 has an error, too: that of one row in as many as there are.
    share = max(usual, 1.0 / n)
    return excess * excess >= SIGMAS * SIGMAS * n * share * (1.0 - share)


@part
def _n_broken(
    z: NDArray[np.float32],
    n_dims: int,
    n_numbers: int,
    ring_z: NDArray[np.float32],
    is_other: NDArray[np.int32],
    n_others: int,
    atom: NDArray[np.float32],
    share: NDArray[np.float64],
    limit: NDArray[np.float32],
    outside: NDArray[np.float64],
) -> int:
    """In how many columns a row is where too many of the others are as well."""
    n = 0
    for c in range(n_dims):
        x = z[c]
        count = 0
        for s in range(RING):
            count += is_other[s] if ring_z[c, s] == x else 0
        if BROKEN_ONE_IN * count >= n_others:
            usual = share[c, N_ATOMS]
            for a in range(N_ATOMS):
                if atom[c, a] == x:
                    usual = share[c, a]
                    break
            if _is_beyond(count, n_others, usual):
                n += 1
                continue
        if c >= n_numbers or x == np.float32(MISSING):
            continue
        if x > limit[c, 1]:
            count = 0
            for s in range(RING):
                count += is_other[s] if ring_z[c, s] > limit[c, 1] else 0
            n += 1 if _is_beyond(count, n_others, outside[c, 1]) else 0
        elif x < limit[c, 0]:
            count = 0
            for s in range(RING):
                is_low = ring_z[c, s] < limit[c, 0] and ring_z[c, s] != np.float32(MISSING)
                count += is_other[s] if is_low else 0
            n += 1 if _is_beyond(count, n_others, outside[c, 0]) else 0
    return n


@kernel(
    *(I64_IN, I64_IN, I32_IN, F32_2D_IN, BOOL_IN, I32_IN, BOOL_IN, U64_2D_IN, I32_IN, I32_IN),
    *(types.int64, BOOL_1D, F32_3D_IN, F64_3D_IN, F32_3D_IN, F64_3D_IN),
    *(F32_3D, I32_2D, I64_2D, I64, I64_2D, I32, U64_2D, I64, I64, I64, I64, I32, I64),
)
def data_breaks_update(
    offset: NDArray[np.int64],
    event_time_ms: NDArray[np.int64],
    model: NDArray[np.int32],
    z: NDArray[np.float32],
    is_repeat: NDArray[np.bool_],
    source: NDArray[np.int32],
    is_first: NDArray[np.bool_],
    source_words: NDArray[np.uint64],
    n_dims: NDArray[np.int32],
    n_numbers: NDArray[np.int32],
    stop: int,
    is_given: NDArray[np.bool_],
    atom: NDArray[np.float32],
    share: NDArray[np.float64],
    limit: NDArray[np.float32],
    outside: NDArray[np.float64],
    ring_z: NDArray[np.float32],
    ring_place: NDArray[np.int32],
    ring_row: NDArray[np.int64],
    n_rows: NDArray[np.int64],
    evidence: NDArray[np.int64],
    owner: NDArray[np.int32],
    words: NDArray[np.uint64],
    since: NDArray[np.int64],
    n_sent: NDArray[np.int64],
    broken_at: NDArray[np.int64],
    broken_offset: NDArray[np.int64],
    is_other: NDArray[np.int32],
    cursor: NDArray[np.int64],
) -> int:
    """Advance over the rows from `cursor[0]` to before `stop`; stop behind one that is told of.

    `FULL`: the row before `cursor[0]` has `cursor[1]` broken columns, and is told of. Models and
    places must be in range. Of the ring of a model: `ring_row` is the number of the row among the
    model's, -1: none; `ring_place` -1: it is of a source that has left its place. A place notes
    how many rows it has sent (`n_sent`), with which of them, from 1 on, and at which offset it
    last sent a broken one.
    """
    for i in range(cursor[0], stop):
        m, place = np.int64(model[i]), np.int64(source[i])
        if place < 0 or not is_given[m]:
            continue
        if is_first[i] or owner[place] != m:
            for s in range(RING):
                if owner[place] >= 0 and ring_place[owner[place], s] == place:
                    ring_place[owner[place], s] = -1
            owner[place] = m
            since[place] = n_rows[m]
            n_sent[place] = 0
            broken_at[place] = 0
            broken_offset[place] = -1
        words[place, 0] = source_words[i, 0]
        words[place, 1] = source_words[i, 1]
        if is_repeat[i]:
            continue
        n_sent[place] += 1
        now = n_rows[m]
        n_rows[m] = now + 1
        n_others, n_own = 0, 0
        oldest, own_oldest = 0, -1
        for s in range(RING):
            is_other[s] = 0
            if ring_row[m, s] >= 0:
                if ring_place[m, s] == place:
                    n_own += 1
                    if own_oldest < 0 or ring_row[m, s] < ring_row[m, own_oldest]:
                        own_oldest = s
                else:
                    is_other[s] = 1
                    n_others += 1
            if ring_row[m, s] < ring_row[m, oldest]:
                oldest = s
        dims = np.int64(n_dims[m])
        broken = 0
        if n_others >= LEAST_OTHERS:
            broken = _n_broken(
                z[i],
                dims,
                np.int64(n_numbers[m]),
                ring_z[m],
                is_other,
                n_others,
                atom[m],
                share[m],
                limit[m],
                outside[m],
            )
        if now - since[place] >= TENURE:
            slot = oldest if n_own < OF_ONE else own_oldest
            for c in range(dims):
                ring_z[m, c, slot] = z[i, c]
            ring_place[m, slot] = np.int32(place)
            ring_row[m, slot] = now
        # Where more than half of the features broke it may as well be one row that is asked for
        # again and again, a little changed.
        if broken == 0 or 2 * broken > dims:
            continue
        broken_at[place] = n_sent[place]
        broken_offset[place] = offset[i]
        own = evidence[m]
        if own[TOTAL] == 0 or now - own[LAST] > QUIET:
            own[TOTAL] = 0
            own[NEXT] = NEEDED
            own[FIRST_ROW] = now
            own[FIRST_OFFSET] = offset[i]
            own[FIRST_TIME] = event_time_ms[i]
        own[TOTAL] += 1
        own[LAST] = now
        if own[TOTAL] >= own[NEXT]:
            own[NEXT] = 2 * own[TOTAL]
            cursor[0] = i + 1
            cursor[1] = broken
            return FULL
    cursor[0] = max(cursor[0], stop)
    return DONE
