"""Rows of a source against what the benign ones of the same predicted classes look like.

Two rules: the sum of a window's deviations in random Fourier features (Rahimi and Recht 2007), and
single rows far from the centre of their class. All of it stands in this file, since numba's cache
looks at no other one.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import BOOL_IN, DONE, I32, I32_IN, I64, I64_IN, NO_LANE, kernel, part

N_DIRECTIONS = 64
N_FEATURES = 128
"""The cosines of all directions, then the sines."""
N_ROWS = 64
"""Of the table of normal numbers; as wide as two times the directions."""
BLOCK = 50
"""Distinct rows; two of them in a row are a window."""
RING = 16
"""Distinct rows among which single hits are counted."""
SPAN = 64
"""Distinct rows in whose stretch of the log the others are counted, where they are few in that of
the ring."""
MANY_OTHERS = 36
"""So many are not few."""
GRID = 64
"""Shares are rounded up to one in so many."""
QUIET = 1_024
"""After so many distinct rows of a source without a hit its evidence is void."""
LEAST_OTHERS = 25
"""Rows of others in the span of a window, with fewer of which nothing is said of them."""
LEAST_OTHER_ROWS = 4
"""The same of single rows ..."""
ALONE = 64
"""... unless there are so many hits, and next to nobody else."""
CATEGORY = 1.4142135623730951
"""Two rows whose categories differ are twice as far apart, in squares, as this."""
CLIP = 8.0
"""A number counts as so many scales from its class at most."""
MISSING = -9.0

WINDOW_RULE, EVENT_RULE = range(2)
TOTAL, NEXT, LAST, FIRST_OFFSET, FIRST_TIME = range(5)
"""Of a rule's evidence: how much, at how much it fires next, the row of the latest, the first."""
N_EVIDENCE = 5
WHAT, STATISTIC, THRESHOLD, HITS, SEEN = range(5)
N_FIRED = 5

F32_2D_IN = types.Array(types.float32, 2, "C", readonly=True)
F32_3D_IN = types.Array(types.float32, 3, "C", readonly=True)
F64_IN = types.Array(types.float64, 1, "C", readonly=True)
I32_2D_IN = types.Array(types.int32, 2, "C", readonly=True)
U64_IN = types.Array(types.uint64, 1, "C", readonly=True)
U64 = types.Array(types.uint64, 1, "C")
F32 = types.Array(types.float32, 1, "C")
F32_2D = types.Array(types.float32, 2, "C")
F64_2D = types.Array(types.float64, 2, "C")
F64_3D = types.Array(types.float64, 3, "C")
I64_2D = types.Array(types.int64, 2, "C")
I64_3D = types.Array(types.int64, 3, "C")


@part
def _mixed(x: np.uint64) -> np.uint64:
    """The output of SplitMix64 at this state."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@part
def _embed(
    z: NDArray[np.float32],
    n_numbers: int,
    n_dims: int,
    table: NDArray[np.float32],
    column_row: NDArray[np.int32],
    column_at: NDArray[np.int32],
    seed: np.uint64,
    inverse: np.float32,
    turn: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Write the features of a row: cosine and sine of its product with every direction.

    A column's directions are a stretch of a row of the table, which one follows from the seed; of a
    category from its value too. Both functions are polynomials: the C library's differ between
    machines, and what they say would be in the state.
    """
    turn[:] = np.float32(0.0)
    for f in range(n_dims):
        x = z[f]
        if not -16777216.0 <= x <= 16777216.0:
            x = np.float32(MISSING)
        row, at = np.int64(column_row[f]), np.int64(column_at[f])
        if f >= n_numbers:
            h = _mixed(seed + np.uint64(np.int64(x) * 64 + f) * np.uint64(0x9E3779B97F4A7C15))
            row, at = np.int64(h & np.uint64(63)), np.int64((h >> np.uint64(6)) & np.uint64(63))
            x = np.float32(CATEGORY)
        x = min(max(x, np.float32(MISSING)), np.float32(-MISSING)) * inverse
        for j in range(N_DIRECTIONS):
            turn[j] += table[row, at + j] * x
    # Added and taken away again, this rounds to a whole number.
    whole = np.float32(12582912.0)
    for j in range(N_DIRECTIONS):
        u = turn[j] - ((turn[j] + whole) - whole)
        x = u * np.float32(6.2831853)
        t = x * x
        c = t * np.float32(-1.1470746e-11) + np.float32(2.0876757e-9)
        c = c * t - np.float32(2.7557319e-7)
        c = c * t + np.float32(2.4801587e-5)
        c = c * t - np.float32(1.3888889e-3)
        c = c * t + np.float32(4.1666667e-2)
        c = c * t - np.float32(0.5)
        out[j] = (c * t + np.float32(1.0)) * np.float32(0.125)
        s = t * np.float32(1.6059044e-10) - np.float32(2.5052108e-8)
        s = s * t + np.float32(2.7557319e-6)
        s = s * t - np.float32(1.9841270e-4)
        s = s * t + np.float32(8.3333333e-3)
        s = s * t - np.float32(0.16666667)
        out[N_DIRECTIONS + j] = (s * t + np.float32(1.0)) * x * np.float32(0.125)


@part
def _distance(
    z: NDArray[np.float32],
    n_numbers: int,
    centre: NDArray[np.float32],
    inverse_scale: NDArray[np.float32],
) -> float:
    """The mean distance of a row's numbers from the centre, in scales, each at most `CLIP`."""
    total, n = 0.0, 0
    for f in range(n_numbers):
        x = z[f]
        if x > MISSING:
            n += 1
            total += min(abs(float(x) - centre[f]) * inverse_scale[f], CLIP)
    return total / n if n > 0 else 0.0


@kernel(
    *(F32_2D_IN, types.int64, F32_2D_IN, I32_IN, I32_IN, types.uint64, types.float32),
    *(F32, F32_2D),
)
def embed(
    z: NDArray[np.float32],
    n_numbers: int,
    table: NDArray[np.float32],
    column_row: NDArray[np.int32],
    column_at: NDArray[np.int32],
    seed: np.uint64,
    inverse: np.float32,
    turn: NDArray[np.float32],
    out: NDArray[np.float32],
) -> int:
    """Fill `out` (n, N_FEATURES) with the features of rows (n, n_dims)."""
    for i in range(len(z)):
        _embed(
            z[i],
            n_numbers,
            z.shape[1],
            table,
            column_row,
            column_at,
            seed,
            inverse,
            turn,
            out[i],
        )
    return DONE


@part
def _share(hits: int, n: int) -> float:
    """What a share may be at most, with three standard errors (Wilson 1927); n > 0."""
    error = math.sqrt(hits * (n - hits) / n + 2.25)
    return min((hits + 4.5 + 3.0 * error) / (n + 9.0), 1.0)


@part
def _add(own: NDArray[np.int64], now: int, offset: int, time: int) -> None:
    if own[TOTAL] == 0 or now - own[LAST] > QUIET:
        own[TOTAL] = 0
        own[NEXT] = 0
        own[FIRST_OFFSET] = offset
        own[FIRST_TIME] = time
    own[TOTAL] += 1
    own[LAST] = now


@kernel(
    *(I64_IN, I64_IN, I32_IN, F32_2D_IN, BOOL_IN, I32_IN, BOOL_IN, I32_IN, I32_IN),
    *(I32_IN, I32_IN, I32_2D_IN, F32_2D_IN, I32_2D_IN, I32_2D_IN, U64_IN, F64_IN),
    *(F32_3D_IN, F32_3D_IN, F32_3D_IN, F64_IN, F64_IN, I32_IN, I32_IN, F64_2D, I64_2D),
    *(I32, I32, I64, I64_3D, U64, I64_3D, F64_3D, F64_3D, I64_2D, I64_3D),
    *(F32, F32, I64, F64_2D, I64_2D),
)
def off_distribution_update(
    offset: NDArray[np.int64],
    event_time_ms: NDArray[np.int64],
    model: NDArray[np.int32],
    z: NDArray[np.float32],
    is_repeat: NDArray[np.bool_],
    source: NDArray[np.int32],
    is_first: NDArray[np.bool_],
    kind: NDArray[np.int32],
    predicted: NDArray[np.int32],
    n_dims: NDArray[np.int32],
    n_numbers: NDArray[np.int32],
    entry: NDArray[np.int32],
    table: NDArray[np.float32],
    column_row: NDArray[np.int32],
    column_at: NDArray[np.int32],
    seed: NDArray[np.uint64],
    inverse: NDArray[np.float64],
    mean: NDArray[np.float32],
    centre: NDArray[np.float32],
    inverse_scale: NDArray[np.float32],
    window_threshold: NDArray[np.float64],
    event_threshold: NDArray[np.float64],
    event_need: NDArray[np.int32],
    critical: NDArray[np.int32],
    sum_all: NDArray[np.float64],
    n_all: NDArray[np.int64],
    owner: NDArray[np.int32],
    judged: NDArray[np.int32],
    n_rows: NDArray[np.int64],
    evidence: NDArray[np.int64],
    hits: NDArray[np.uint64],
    ring: NDArray[np.int64],
    block_sum: NDArray[np.float64],
    block_start: NDArray[np.float64],
    block_n_start: NDArray[np.int64],
    block_first: NDArray[np.int64],
    turn: NDArray[np.float32],
    features: NDArray[np.float32],
    fired_row: NDArray[np.int64],
    fired: NDArray[np.float64],
    fired_first: NDArray[np.int64],
) -> int:
    """Fold the rows of a stretch. Returns how often it fired, or -`NO_LANE` at an unknown number.

    `sum_all` and `n_all` (rows, hits) are of all sources of an entry together. What a place noted
    of them when its window began says how the others fared in the same stretch of the log.
    """
    n_fired = 0
    n_places = len(owner)
    n_classes = mean.shape[1]
    for i in range(len(offset)):
        m, place = np.int64(model[i]), np.int64(source[i])
        if m < 0 or m >= len(entry) or place >= n_places:
            return -NO_LANE
        k = np.int64(kind[i])
        if k < 0 or k >= entry.shape[1]:
            return -NO_LANE
        if entry[m, k] < 0:
            k = np.int64(0)
        if place < 0:
            continue
        if is_first[i] or owner[place] != m or judged[place] != k:
            owner[place] = m
            judged[place] = k
            n_rows[place] = 0
            hits[place] = np.uint64(0)
            ring[place, :, :] = 0
            block_sum[place, :, :] = 0.0
            block_start[place, :, :] = 0.0
            block_n_start[place, :] = 0
            block_first[place, :, :] = 0
            evidence[place, :, :] = 0
        e = np.int64(entry[m, k])
        if e < 0 or is_repeat[i]:
            continue
        dims = min(max(np.int64(n_dims[m]), 0), z.shape[1])
        numbers = min(max(np.int64(n_numbers[m]), 0), dims)
        c = min(max(np.int64(predicted[i]), 0), n_classes - 1)
        now = n_rows[place]
        n_rows[place] = now + 1

        # What is far from the centre of its class.
        if event_threshold[e] > 0.0:
            far = _distance(z[i], numbers, centre[e, c], inverse_scale[e, c])
            is_hit = far > event_threshold[e]
            own = evidence[place, EVENT_RULE]
            before = hits[place]
            if is_hit and own[NEXT] == 0 and before & np.uint64(0x7FFF) == np.uint64(0):
                own[TOTAL] = 0
            bits = (before << np.uint64(1)) | np.uint64(1 if is_hit else 0)
            hits[place] = bits
            n_hits, n_span_hits = np.int64(0), np.int64(0)
            for b in range(SPAN):
                bit = np.int64((bits >> np.uint64(b)) & np.uint64(1))
                n_span_hits += bit
                n_hits += bit if b < RING else np.int64(0)
            ring[place, now % SPAN, 0] = n_all[e, 0]
            ring[place, now % SPAN, 1] = n_all[e, 1]
            n_all[e, 1] += 1 if is_hit else 0
            if is_hit:
                _add(own, now, offset[i], event_time_ms[i])
                if n_hits >= event_need[e] and own[TOTAL] >= own[NEXT]:
                    n_own, n_span = min(now + 1, RING), min(now + 1, SPAN)
                    since, long_ago = (now + 1 - n_own) % SPAN, (now + 1 - n_span) % SPAN
                    n_near = n_all[e, 0] + 1 - ring[place, since, 0] - n_own
                    hits_near = n_all[e, 1] - ring[place, since, 1] - n_hits
                    n_others, hits_others = n_near, hits_near
                    if n_near < MANY_OTHERS:
                        n_others = n_all[e, 0] + 1 - ring[place, long_ago, 0] - n_span
                        hits_others = n_all[e, 1] - ring[place, long_ago, 1] - n_span_hits
                    if n_others < LEAST_OTHER_ROWS:
                        agree = own[TOTAL] >= ALONE
                    else:
                        share = _share(max(hits_others, 0), max(n_others, hits_others))
                        is_common = 2 * hits_near * n_own >= n_hits * n_near and n_near > 0
                        agree = n_hits >= critical[np.int64(math.ceil(share * GRID))]
                        agree = agree and not is_common
                    if agree:
                        own[NEXT] = 2 * own[TOTAL]
                        fired_row[n_fired] = i
                        fired[n_fired, WHAT] = EVENT_RULE
                        fired[n_fired, STATISTIC] = n_hits
                        fired[n_fired, THRESHOLD] = event_need[e]
                        fired[n_fired, HITS] = own[TOTAL]
                        fired[n_fired, SEEN] = n_own
                        fired_first[n_fired, 0] = own[FIRST_OFFSET]
                        fired_first[n_fired, 1] = own[FIRST_TIME]
                        n_fired += 1

        # What a window of them comes to.
        if window_threshold[e] > 0.0:
            _embed(
                z[i],
                numbers,
                dims,
                table,
                column_row[e],
                column_at[e],
                seed[e],
                np.float32(inverse[e]),
                turn,
                features,
            )
            if now % BLOCK == 0:
                for j in range(N_FEATURES):
                    block_sum[place, 0, j] = block_sum[place, 1, j]
                    block_sum[place, 1, j] = 0.0
                    block_start[place, 0, j] = block_start[place, 1, j]
                    block_start[place, 1, j] = sum_all[e, j]
                block_n_start[place, 0] = block_n_start[place, 1]
                block_n_start[place, 1] = n_all[e, 0]
                block_first[place, 0, 0] = block_first[place, 1, 0]
                block_first[place, 0, 1] = block_first[place, 1, 1]
                block_first[place, 1, 0] = offset[i]
                block_first[place, 1, 1] = event_time_ms[i]
            for j in range(N_FEATURES):
                off = float(features[j]) - mean[e, c, j]
                block_sum[place, 1, j] += off
                sum_all[e, j] += off
        n_all[e, 0] += 1
        if window_threshold[e] > 0.0 and now % BLOCK == BLOCK - 1 and now >= BLOCK:
            size = 2.0 * BLOCK
            n_others = n_all[e, 0] - block_n_start[place, 0] - 2 * BLOCK
            frozen, other, moved = 0.0, 0.0, 0.0
            for j in range(N_FEATURES):
                mine = block_sum[place, 0, j] + block_sum[place, 1, j]
                frozen += mine * mine
                if n_others > 0:
                    theirs = (sum_all[e, j] - block_start[place, 0, j] - mine) / n_others
                    moved += theirs * theirs
                    apart = mine - size * theirs
                    other += apart * apart
            statistic = math.sqrt(frozen / size)
            if n_others >= LEAST_OTHERS:
                # The mean of the others errs, too. And where they have moved, what chance makes of
                # a window is no longer known: then it has to be up to twice as far from them.
                drift = math.sqrt(max(moved - 1.0 / n_others, 0.0) * size)
                apart = math.sqrt(other / size / (1.0 + size / n_others))
                apart /= 1.0 + min(drift / window_threshold[e], 1.0)
                statistic = min(statistic, apart)
            if statistic > window_threshold[e]:
                own = evidence[place, WINDOW_RULE]
                _add(own, now, block_first[place, 0, 0], block_first[place, 0, 1])
                if own[TOTAL] >= own[NEXT]:
                    own[NEXT] = 2 * own[TOTAL]
                    fired_row[n_fired] = i
                    fired[n_fired, WHAT] = WINDOW_RULE
                    fired[n_fired, STATISTIC] = statistic
                    fired[n_fired, THRESHOLD] = window_threshold[e]
                    fired[n_fired, HITS] = 2 * BLOCK
                    fired[n_fired, SEEN] = 2 * BLOCK
                    fired_first[n_fired, 0] = block_first[place, 0, 0]
                    fired_first[n_fired, 1] = block_first[place, 0, 1]
                    n_fired += 1
    return n_fired
