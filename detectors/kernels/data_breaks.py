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
RARE: Final = 1.0 / 16.0
"""A state that so many rows at most are usually in does not become common by itself."""
RARE_BROKEN: Final = 0.25
"""Which share of the rows that are usually elsewhere is in a rare state, where data broke: fewer
are no event of the data, but of some clients."""
COMMON_BROKEN: Final = 0.875
"""The same of states that are not rare, whose shares move with who asks and when: hardly any row
is elsewhere."""
NEAR: Final = 0.25
"""A row that lies so much nearer to the others of its state, in the columns that did not break,
than good rows lie to one another, is not one of many honest ones: from no place are good rows
nearer than half of what two of them are apart on average, so this is half of the least there is.
"""
SIGMAS: Final = 5.0
"""By chance one row in 3 million is beyond so many for each feature, however the shares lie."""
N_ATOMS: Final = 8
"""Values of a column whose usual shares are known; the first is `MISSING`."""
AMONG: Final = 16
SUSTAINED: Final = 3
"""So many broken rows among the latest `AMONG` of a source, and it takes part in the break: of good
rows one in a hundred lies beyond a limit, and so many together do once in 10,000."""
NEEDED: Final = 32
"""Broken rows that are told of: half a ring of them."""
QUIET: Final = 1_024
"""Rows of a model without a broken one, after which the evidence begins anew."""

TOTAL, NEXT, LAST, FIRST_ROW, FIRST_OFFSET, FIRST_TIME = range(6)
"""Of a model's evidence: broken rows, at how many it is told next, the latest and the first."""
N_EVIDENCE: Final = 6
MISSING: Final = -9.0
MAX_DIMS: Final = 64

F32_2D_IN = types.Array(types.float32, 2, "C", readonly=True)
F32_3D = types.Array(types.float32, 3, "C")
F32_3D_IN = types.Array(types.float32, 3, "C", readonly=True)
F64_2D_IN = types.Array(types.float64, 2, "C", readonly=True)
F64_3D_IN = types.Array(types.float64, 3, "C", readonly=True)
U64 = types.Array(types.uint64, 1, "C")
I32_2D = types.Array(types.int32, 2, "C")
U64_2D = types.Array(types.uint64, 2, "C")
U64_2D_IN = types.Array(types.uint64, 2, "C", readonly=True)
BOOL_1D = types.Array(types.boolean, 1, "C", readonly=True)


@part
def _is_beyond(count: int, n: int, usual: float) -> bool:
    """Whether so many of n rows are more than come of clients who change, and no chance."""
    excess = count - n * usual
    wanted = RARE_BROKEN if usual <= RARE else COMMON_BROKEN
    if excess <= 0.0 or excess < wanted * n * (1.0 - usual):
        return False
    # A share of 0 or 1 has an error, too: that of one row in as many as there are.
    share = min(max(usual, 1.0 / n), 1.0 - 1.0 / n)
    return excess * excess >= SIGMAS * SIGMAS * n * share * (1.0 - share)


@part
def _n_broken(
    z: NDArray[np.float32],
    n_dims: int | np.int64,
    n_numbers: int | np.int64,
    ring_z: NDArray[np.float32],
    is_other: NDArray[np.int32],
    n_others: int,
    atom: NDArray[np.float32],
    share: NDArray[np.float64],
    limit: NDArray[np.float32],
    outside: NDArray[np.float64],
    apart: NDArray[np.float64],
    is_alike: NDArray[np.int32],
    is_broken: NDArray[np.bool_],
) -> int:
    """In how many columns a row is where too many of the others are as well.

    None, where these others are not as different in the other columns as honest ones are.
    """
    n = 0
    is_alike[:] = 0
    for c in range(n_dims):
        is_broken[c] = False
        x = z[c]
        count = 0
        for s in range(RING):
            count += is_other[s] if ring_z[c, s] == x else 0
        if count >= RARE_BROKEN * n_others:
            usual = share[c, N_ATOMS]
            for a in range(N_ATOMS):
                if atom[c, a] == x:
                    usual = share[c, a]
                    break
            if _is_beyond(count, n_others, usual):
                n += 1
                is_broken[c] = True
                for s in range(RING):
                    is_alike[s] |= is_other[s] if ring_z[c, s] == x else 0
                continue
        if c >= n_numbers or x == np.float32(MISSING):
            continue
        if x > limit[c, 1]:
            count = 0
            for s in range(RING):
                count += is_other[s] if ring_z[c, s] > limit[c, 1] else 0
            if _is_beyond(count, n_others, outside[c, 1]):
                n += 1
                is_broken[c] = True
                for s in range(RING):
                    is_alike[s] |= is_other[s] if ring_z[c, s] > limit[c, 1] else 0
        elif x < limit[c, 0]:
            count = 0
            for s in range(RING):
                is_low = ring_z[c, s] < limit[c, 0] and ring_z[c, s] != np.float32(MISSING)
                count += is_other[s] if is_low else 0
            if _is_beyond(count, n_others, outside[c, 0]):
                n += 1
                is_broken[c] = True
                for s in range(RING):
                    is_low = ring_z[c, s] < limit[c, 0] and ring_z[c, s] != np.float32(MISSING)
                    is_alike[s] |= is_other[s] if is_low else 0
    # Where more than half of the features broke it may as well be one row that is asked for again
    # and again, a little changed.
    if n == 0 or 2 * n > n_dims:
        return 0
    n_alike, far, usual = 0, 0.0, 0.0
    for s in range(RING):
        n_alike += is_alike[s]
    for c in range(n_dims):
        if is_broken[c]:
            continue
        usual += apart[c]
        for s in range(RING):
            if is_alike[s] > 0 and c < n_numbers:
                far += abs(np.float64(ring_z[c, s]) - np.float64(z[c]))
            elif is_alike[s] > 0:
                far += 1.0 if ring_z[c, s] != z[c] else 0.0
    return n if far >= NEAR * usual * n_alike else 0


@kernel(
    *(I64_IN, I64_IN, I32_IN, F32_2D_IN, BOOL_IN, I32_IN, BOOL_IN, U64_2D_IN, I32_IN, I32_IN),
    *(types.int64, BOOL_1D, F32_3D_IN, F64_3D_IN, F32_3D_IN, F64_3D_IN, F64_2D_IN),
    *(F32_3D, I32_2D, I64_2D, I64, I64_2D, I64_2D, I32, U64_2D),
    *(I64, I64, I64, I64, U64, I32, I64),
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
    apart: NDArray[np.float64],
    ring_z: NDArray[np.float32],
    ring_place: NDArray[np.int32],
    ring_row: NDArray[np.int64],
    n_rows: NDArray[np.int64],
    evidence: NDArray[np.int64],
    moved: NDArray[np.int64],
    owner: NDArray[np.int32],
    words: NDArray[np.uint64],
    since: NDArray[np.int64],
    n_sent: NDArray[np.int64],
    broken_at: NDArray[np.int64],
    broken_offset: NDArray[np.int64],
    hits: NDArray[np.uint64],
    is_other: NDArray[np.int32],
    cursor: NDArray[np.int64],
) -> int:
    """Advance over the rows from `cursor[0]` to before `stop`; stop behind one that is told of.

    `FULL`: the row before `cursor[0]` has `cursor[1]` broken columns, and is told of. Models and
    places must be in range. Of the ring of a model: `ring_row` is the number of the row among the
    model's, -1: none; `ring_place` -1: it is of a source that has left its place. `moved` counts
    for each column in how many of the evidence's broken rows it broke. A place notes how many rows
    it has sent (`n_sent`), which of the latest 64 were broken (`hits`, the latest one lowest), and
    with which row, from 1 on, and at which offset it last took part in a break.
    """
    is_alike, is_broken = np.zeros(RING, np.int32), np.zeros(MAX_DIMS, np.bool_)
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
            hits[place] = np.uint64(0)
        words[place, 0] = source_words[i, 0]
        words[place, 1] = source_words[i, 1]
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
        dims, numbers = np.int64(n_dims[m]), np.int64(n_numbers[m])
        broken = 0
        if n_others >= LEAST_OTHERS and not is_repeat[i]:
            broken = _n_broken(
                z[i],
                dims,
                numbers,
                ring_z[m],
                is_other,
                n_others,
                atom[m],
                share[m],
                limit[m],
                outside[m],
                apart[m],
                is_alike,
                is_broken,
            )
        if now - since[place] >= TENURE:
            slot = oldest if n_own < OF_ONE else own_oldest
            for c in range(dims):
                ring_z[m, c, slot] = z[i, c]
            ring_place[m, slot] = np.int32(place)
            ring_row[m, slot] = now
        # A repeat says what the model is sent now, but is no evidence of or for its source.
        if is_repeat[i]:
            continue
        n_sent[place] += 1
        hits[place] = (hits[place] << np.uint64(1)) | np.uint64(1 if broken > 0 else 0)
        if broken == 0:
            continue
        n_hits = np.int64(0)
        for b in range(AMONG):
            n_hits += np.int64((hits[place] >> np.uint64(b)) & np.uint64(1))
        if n_hits >= SUSTAINED:
            broken_at[place] = n_sent[place]
            broken_offset[place] = offset[i]
        own = evidence[m]
        if own[TOTAL] == 0 or now - own[LAST] > QUIET:
            own[TOTAL] = 0
            own[NEXT] = NEEDED
            own[FIRST_ROW] = now
            own[FIRST_OFFSET] = offset[i]
            own[FIRST_TIME] = event_time_ms[i]
            moved[m, :] = 0
        own[TOTAL] += 1
        for c in range(dims):
            moved[m, c] += np.int64(1 if is_broken[c] else 0)
        own[LAST] = now
        if own[TOTAL] >= own[NEXT]:
            own[NEXT] = 2 * own[TOTAL]
            cursor[0] = i + 1
            cursor[1] = broken
            return FULL
    cursor[0] = max(cursor[0], stop)
    return DONE
