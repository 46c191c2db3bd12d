"""FOCuS: a change of a mean at any time, of any size, the mean before it unknown.

Source: Romano, Eckley, Fearnhead and Rigaill, JMLR 2023. Of all times at which the mean may have
changed only the vertices of the convex hull of the cumulative sums can have the highest
likelihood ratio; of these a lane keeps at most `CAP` a side. Sums are of integers, hence exact.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    BLOCKS,
    BOOL_IN,
    DONE,
    F64_2D,
    FIRED,
    FULL,
    I32,
    I64,
    I64_2D,
    NO_LANE,
    TRIGGERS,
    U8,
    kernel,
    part,
)

I32_2D = types.Array(types.int32, 2, "C")
I64_3D = types.Array(types.int64, 3, "C")
F64_3D = types.Array(types.float64, 3, "C")
U8_2D = types.Array(types.uint8, 2, "C")

CAP = 20
"""Vertices kept of each hull. A smaller set only lowers the maximum: never a false alarm more."""
N_ASPECTS = 2
N_SIDES = 2
FORM_NONE, FORM_RANKED, FORM_BINARY = range(3)
"""What a lane is: without a reference (it observes nothing), ranked, or an indicator."""
YOUNG = 64
"""Candidates up to this age are evaluated at every update, older ones at every 16th."""
SETTLED = 2
"""The aspect of a firing that says: a working baseline was taken up."""
MAX_RESTARTS = 2
"""How often an alarm lets a lane collect its next baseline anew: else it might wait for ever."""
SHIFT, SCALE = range(2)
N_AFFINE = 6
NEXT_SHIFT, NEXT_SCALE, SUMS = range(3)
N_SUMS = 4
RAW = SUMS + N_ASPECTS * N_SUMS
N_COLLECTED = RAW + N_ASPECTS
LEAST_SCALE = 0.5
"""No baseline is narrower, next to its reference: a signal that stands still for a while would turn
every move into a change."""
MOST_TAIL = 16.0
ONE = 65536.0
"""Scores are whole multiples of 1/65536."""
N_OCTAVES = 28
"""Thresholds stand for octaves of age; the last is for everything older."""


@part
def _gaussian(after: float, before: float, k: float, m: float) -> float:
    """Log likelihood ratio of a shift of the mean, unit variance: k rows against m before."""
    gap = after * m - before * k
    return gap * gap / (2.0 * m * k * (m + k))


@part
def _entropy(ones: float, rows: float) -> float:
    """Maximal log likelihood of `ones` ones among `rows` Bernoulli rows."""
    if ones <= 0.0 or ones >= rows:
        return 0.0
    zeros = rows - ones
    return ones * math.log(ones) + zeros * math.log(zeros) - rows * math.log(rows)


@part
def _bernoulli(after: float, before: float, k: float, m: float) -> float:
    """Log likelihood ratio of a change of a probability."""
    return _entropy(before, m) + _entropy(after, k) - _entropy(before + after, m + k)


@part
def _bernoulli_bound(after: float, before: float, k: float, m: float) -> float:
    """No less than `_bernoulli`, without a logarithm: a divergence is at most its chi-squared."""
    ones = before + after
    zeros = m + k - ones
    if ones <= 0.0 or zeros <= 0.0:
        return 0.0
    gap = after * m - before * k
    return gap * gap * (m + k) / (m * k * ones * zeros)


@part
def _bin(x: float, cuts: NDArray[np.float64], n_cuts: int) -> int:
    """How many of the cuts are not above x."""
    low, high = 0, n_cuts
    while low < high:
        middle = (low + high) >> 1
        if x < cuts[middle]:
            high = middle
        else:
            low = middle + 1
    return low


@part
def _rebased(score: int, centre: float, width: float) -> int:
    """The score against the working baseline."""
    if centre == 0.0 and width == 1.0:
        return score
    return int(np.rint((float(score) - centre) / width))


@part
def _collect(
    residual: float,
    one: int,
    n_seen: int,
    half: int,
    n_cuts: int,
    cuts: NDArray[np.float64],
    location: NDArray[np.int32],
    spread: NDArray[np.int32],
    affine: NDArray[np.float64],
    collected: NDArray[np.float64],
) -> None:
    """Learn the next baseline from one more row.

    From the first rows their mean; then, up to half of them, by stochastic approximation the shift
    and the scale at which the scores have mean 0 and variance 1; over the rest, the scores' own
    moments there. Scores are bounded, so no outlier moves it far.
    """
    if n_seen == 0:
        collected[one, NEXT_SCALE] = affine[one, SCALE]
    if n_seen < half // 10:
        collected[one, NEXT_SHIFT] += (residual - collected[one, NEXT_SHIFT]) / (n_seen + 1.0)
        return
    scale = collected[one, NEXT_SCALE]
    k = _bin((residual - collected[one, NEXT_SHIFT]) / scale, cuts[one], n_cuts)
    z, w = float(location[one, k]), float(spread[one, k])
    if n_seen < half:
        gain = 1.0 / float(n_seen)
        score = z / ONE
        collected[one, NEXT_SHIFT] += gain * scale * score
        wider = scale * math.exp(gain * (score * score - 1.0))
        collected[one, NEXT_SCALE] = max(wider, LEAST_SCALE)
        return
    for aspect in range(N_ASPECTS):
        score = (z if aspect == 0 else w) / ONE
        at = SUMS + N_SUMS * aspect
        collected[one, at] += score
        collected[one, at + 1] += score * score
        up, down = math.exp(score), math.exp(-score)
        collected[one, at + 2] += up * up
        collected[one, at + 3] += down * down


@part
def _install(
    one: int,
    rows: float,
    affine: NDArray[np.float64],
    collected: NDArray[np.float64],
    variance: NDArray[np.float64],
    lightest: NDArray[np.float64],
) -> bool:
    """Make what was collected the working baseline; False where it is too unlike the reference.

    A signal that stands still, say, has no spread to measure later moves by.
    """
    for aspect in range(N_ASPECTS):
        at = SUMS + N_SUMS * aspect
        mean = collected[one, at] / rows
        if collected[one, at + 1] / rows - mean * mean < LEAST_SCALE * LEAST_SCALE:
            return False
    if collected[one, NEXT_SCALE] <= LEAST_SCALE:
        return False
    affine[one, SHIFT] = collected[one, NEXT_SHIFT]
    affine[one, SCALE] = collected[one, NEXT_SCALE]
    for aspect in range(N_ASPECTS):
        at = SUMS + N_SUMS * aspect
        mean = collected[one, at] / rows
        square = collected[one, at + 1] / rows - mean * mean
        width = math.sqrt(square)
        affine[one, 2 + 2 * aspect] = mean * ONE
        affine[one, 3 + 2 * aspect] = width
        # The tails of what goes through another reference's transform may be heavier than normal:
        # as in the reference, the variance grows by what bounds their exponential moments.
        up = math.log(collected[one, at + 2] / rows) - 2.0 * mean
        down = math.log(collected[one, at + 3] / rows) + 2.0 * mean
        factor = max(up, down) / (2.0 * width * width)
        heavier = min(max(factor, 1.0), MOST_TAIL)
        variance[one, aspect] = max(variance[one, aspect], lightest[one, aspect] * heavier)
    return True


@part
def _drop_least(
    vertex_t: NDArray[np.int64],
    vertex_sum: NDArray[np.int64],
    vertex_raw: NDArray[np.float64],
    vertex_offset: NDArray[np.int64],
    count: int,
    base_t: int,
    base_sum: int,
    end_t: int,
    end_sum: int,
) -> None:
    """Remove the vertex whose loss lowers the statistic least."""
    least, at = math.inf, 0
    for i in range(count):
        t = vertex_t[i]
        s = float(vertex_sum[i])
        t0, s0 = base_t, float(base_sum)
        t1, s1 = end_t, float(end_sum)
        if i > 0:
            t0, s0 = vertex_t[i - 1], float(vertex_sum[i - 1])
        if i + 1 < count:
            t1, s1 = vertex_t[i + 1], float(vertex_sum[i + 1])
        left, right = float(t - t0), float(t1 - t)
        distance = s - s0 - (s1 - s0) * (left / (left + right))
        loss = distance * distance * (left + right) / (left * right)
        if loss < least:
            least, at = loss, i
    for i in range(at, count - 1):
        vertex_t[i] = vertex_t[i + 1]
        vertex_sum[i] = vertex_sum[i + 1]
        vertex_raw[i] = vertex_raw[i + 1]
        vertex_offset[i] = vertex_offset[i + 1]


@part
def _evaluate(
    hull: int,
    one: int,
    is_binary: bool,
    end_t: int,
    end_sum: int,
    base_t: int,
    base_sum: int,
    variance: float,
    every: bool,
    n_vertices: NDArray[np.uint8],
    vertex_t: NDArray[np.int64],
    vertex_sum: NDArray[np.int64],
    threshold: NDArray[np.float64],
) -> tuple[int, float, float, float]:
    """The vertex furthest above its threshold, its ratio to it, its statistic, its threshold.

    (-1, 1, 0, 0) where none is.
    """
    best, ratio, statistic, limit = -1, 1.0, 0.0, 0.0
    octave = 0
    for i in range(n_vertices[one, hull] - 1, -1, -1):
        age = end_t - vertex_t[one, hull, i]
        if age > YOUNG and not every:
            break
        span = vertex_t[one, hull, i] - base_t
        shorter = min(age, span)
        while (2 << octave) <= shorter:
            octave += 1
        while (1 << octave) > shorter:
            octave -= 1
        k, m = float(age), float(span)
        after = float(end_sum - vertex_sum[one, hull, i])
        before = float(vertex_sum[one, hull, i] - base_sum)
        high = threshold[min(octave, N_OCTAVES - 1)]
        if is_binary:
            if _bernoulli_bound(after, before, k, m) <= high * variance:
                continue
            found = _bernoulli(after, before, k, m) / variance
        else:
            gap = after * m - before * k
            if gap * gap <= 2.0 * m * k * (m + k) * high * variance:
                continue
            found = _gaussian(after, before, k, m) / variance
        if found > ratio * high:
            best, ratio, statistic, limit = i, found / high, found, high
    return best, ratio, statistic, limit


@kernel(
    *BLOCKS,
    *TRIGGERS,
    BOOL_IN,
    *(U8, I32, I64),
    *(I64_2D, F64_2D, I64_2D, I64_2D, F64_2D, F64_2D, F64_2D),
    *(U8_2D, I64_3D, I64_3D, F64_3D, I64_3D),
    *(F64_2D, I32_2D, I32_2D, F64_2D, F64_2D, F64_2D),
    *(F64_2D, I32),
    *(I32, I32, U8, F64_2D),
    types.float64,
    types.int64,
    *FIRED,
)
def focus_update(
    block_row_ptr: NDArray[np.int64],
    block_lane_ptr: NDArray[np.int64],
    block_value_ptr: NDArray[np.int64],
    lane: NDArray[np.int32],
    value: NDArray[np.float64],
    row_index: NDArray[np.int32],
    offset: NDArray[np.int64],
    enabled: NDArray[np.bool_],
    form: NDArray[np.uint8],
    n_cuts: NDArray[np.int32],
    n: NDArray[np.int64],
    total: NDArray[np.int64],
    raw: NDArray[np.float64],
    base_t: NDArray[np.int64],
    base_sum: NDArray[np.int64],
    base_raw: NDArray[np.float64],
    variance: NDArray[np.float64],
    lightest: NDArray[np.float64],
    n_vertices: NDArray[np.uint8],
    vertex_t: NDArray[np.int64],
    vertex_sum: NDArray[np.int64],
    vertex_raw: NDArray[np.float64],
    vertex_offset: NDArray[np.int64],
    cuts: NDArray[np.float64],
    location: NDArray[np.int32],
    spread: NDArray[np.int32],
    coefficient: NDArray[np.float64],
    recent: NDArray[np.float64],
    affine: NDArray[np.float64],
    threshold: NDArray[np.float64],
    threshold_row: NDArray[np.int32],
    n_baseline: NDArray[np.int32],
    n_collected: NDArray[np.int32],
    n_restarts: NDArray[np.uint8],
    collected: NDArray[np.float64],
    z_limit: float,
    n_lanes: int,
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_lane: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
    fired_change: NDArray[np.int64],
) -> int:
    """Fold blocks into the lanes, from `cursor` on.

    Indexed (lane,), (lane, aspect), (lane, hull, vertex) with hull = 2 * aspect + side; side 0
    looks for a rise. The seventh number of a firing is its aspect.

    `affine` (lane, 6) is the working baseline: what is subtracted from a residual, what it is
    divided by, and the same of location and of spread. `n_collected` rows of the next one have
    been seen since an alarm, -1: there was none; `collected` is what was made of them.
    """
    n_fired = cursor[3]
    for b in range(cursor[0], len(block_row_ptr) - 1):
        first_row = block_row_ptr[b]
        rows = block_row_ptr[b + 1] - first_row
        first_lane = block_lane_ptr[b]
        for j in range(cursor[1], block_lane_ptr[b + 1] - first_lane):
            one = lane[first_lane + j]
            if one < 0 or one >= n_lanes:
                return NO_LANE
            start = cursor[2]
            cursor[2] = 0
            kind = form[one]
            if not enabled[one] or kind == FORM_NONE:
                continue
            at = block_value_ptr[b] + j * rows
            is_binary = kind == FORM_BINARY
            aspects = 1 if is_binary else N_ASPECTS
            highs = threshold[threshold_row[one]]
            count = n[one]
            for i in range(start, rows):
                x = value[at + i]
                if math.isnan(x):
                    continue
                x = min(max(x, -z_limit), z_limit)
                row_offset = offset[row_index[first_row + i]]
                step0, step1 = 0, 0
                if is_binary:
                    step0 = 1 if x > cuts[one, 0] else 0
                else:
                    residual = x
                    for p in range(coefficient.shape[1]):
                        residual -= coefficient[one, p] * recent[one, p]
                    for p in range(coefficient.shape[1] - 1, 0, -1):
                        recent[one, p] = recent[one, p - 1]
                    recent[one, 0] = x
                    moved = (residual - affine[one, SHIFT]) / affine[one, SCALE]
                    k = _bin(moved, cuts[one], n_cuts[one])
                    step0 = _rebased(location[one, k], affine[one, 2], affine[one, 3])
                    step1 = _rebased(spread[one, k], affine[one, 4], affine[one, 5])
                count += 1
                every = count % 16 == 0
                fired_hull = -1
                ratio, statistic, limit = 1.0, 0.0, 0.0
                change_t, change_sum, change_raw, change_offset = 0, 0, 0.0, 0
                for aspect in range(aspects):
                    step = step0 if aspect == 0 else step1
                    before_t, before_sum = base_t[one, aspect], base_sum[one, aspect]
                    end_sum = total[one, aspect] + step
                    end_raw = raw[one, aspect] + (x if aspect == 0 else abs(x))
                    total[one, aspect] = end_sum
                    raw[one, aspect] = end_raw
                    # An update below the mean brings no candidate for a rise nearer to its
                    # threshold, save one that most of the rows lie behind: every 16th is for that.
                    lean = float(step) * float(count - before_t) - float(end_sum - before_sum)
                    for side in range(N_SIDES):
                        hull = N_SIDES * aspect + side
                        sign = 1.0 - 2.0 * side
                        size = n_vertices[one, hull]
                        if size > 0:
                            vertex_offset[one, hull, size - 1] = row_offset
                        while size > 0:
                            t1 = vertex_t[one, hull, size - 1]
                            s1 = vertex_sum[one, hull, size - 1]
                            t0, s0 = before_t, before_sum
                            if size > 1:
                                t0 = vertex_t[one, hull, size - 2]
                                s0 = vertex_sum[one, hull, size - 2]
                            above = float(s1 - s0) * float(count - t0)
                            chord = float(end_sum - s0) * float(t1 - t0)
                            if sign * (above - chord) < 0.0:
                                break
                            size -= 1
                        n_vertices[one, hull] = size
                        if every or sign * lean > 0.0:
                            best, by, found, over = _evaluate(
                                hull,
                                one,
                                is_binary,
                                count,
                                end_sum,
                                before_t,
                                before_sum,
                                variance[one, aspect],
                                every,
                                n_vertices,
                                vertex_t,
                                vertex_sum,
                                highs,
                            )
                            if best >= 0 and by > ratio:
                                fired_hull, ratio, statistic, limit = hull, by, found, over
                                change_t = vertex_t[one, hull, best]
                                change_sum = vertex_sum[one, hull, best]
                                change_raw = vertex_raw[one, hull, best]
                                change_offset = vertex_offset[one, hull, best]
                        if size == CAP:
                            _drop_least(
                                vertex_t[one, hull],
                                vertex_sum[one, hull],
                                vertex_raw[one, hull],
                                vertex_offset[one, hull],
                                size,
                                before_t,
                                before_sum,
                                count,
                                end_sum,
                            )
                            size -= 1
                        vertex_t[one, hull, size] = count
                        vertex_sum[one, hull, size] = end_sum
                        vertex_raw[one, hull, size] = end_raw
                        vertex_offset[one, hull, size] = -1
                        n_vertices[one, hull] = size + 1
                settled = False
                if n_collected[one] >= 0:
                    if not is_binary:
                        _collect(
                            residual,
                            one,
                            n_collected[one],
                            n_baseline[one] // 2,
                            n_cuts[one],
                            cuts,
                            location,
                            spread,
                            affine,
                            collected,
                        )
                    collected[one, RAW] += x
                    collected[one, RAW + 1] += abs(x)
                    n_collected[one] += 1
                    settled = n_collected[one] == n_baseline[one] and fired_hull < 0
                if settled:
                    fired_row[n_fired] = row_index[first_row + i]
                    fired_lane[n_fired] = one
                    rows_seen = float(n_collected[one])
                    fired_numbers[n_fired, 0] = collected[one, RAW + 1] / rows_seen
                    fired_numbers[n_fired, 1] = 0.0
                    fired_numbers[n_fired, 2] = 0.0
                    fired_numbers[n_fired, 3] = collected[one, RAW] / rows_seen
                    fired_numbers[n_fired, 4] = 0.0
                    fired_numbers[n_fired, 5] = rows_seen
                    fired_numbers[n_fired, 6] = SETTLED
                    fired_change[n_fired] = row_offset
                    n_fired += 1
                    half = n_baseline[one] - n_baseline[one] // 2
                    if not is_binary and _install(
                        one, float(half), affine, collected, variance, lightest
                    ):
                        for aspect in range(N_ASPECTS):
                            # The rows it was measured on are its first segment: their sum is 0.
                            base_t[one, aspect] = count - half
                            base_sum[one, aspect] = total[one, aspect]
                            base_raw[one, aspect] = raw[one, aspect] - (
                                collected[one, RAW + aspect] / rows_seen * half
                            )
                            for hull in range(N_SIDES * aspect, N_SIDES * aspect + N_SIDES):
                                n_vertices[one, hull] = 1
                                vertex_t[one, hull, 0] = count
                                vertex_sum[one, hull, 0] = total[one, aspect]
                                vertex_raw[one, hull, 0] = raw[one, aspect]
                                vertex_offset[one, hull, 0] = -1
                    n_collected[one] = -1
                    collected[one, :] = 0.0
                if fired_hull >= 0:
                    aspect = fired_hull // N_SIDES
                    k = count - change_t
                    m = change_t - base_t[one, aspect]
                    fired_row[n_fired] = row_index[first_row + i]
                    fired_lane[n_fired] = one
                    fired_numbers[n_fired, 0] = statistic
                    fired_numbers[n_fired, 1] = limit
                    fired_numbers[n_fired, 2] = (change_raw - base_raw[one, aspect]) / m
                    fired_numbers[n_fired, 3] = (raw[one, aspect] - change_raw) / k
                    fired_numbers[n_fired, 4] = m
                    fired_numbers[n_fired, 5] = k
                    fired_numbers[n_fired, 6] = aspect
                    fired_change[n_fired] = change_offset
                    n_fired += 1
                    for other in range(aspects):
                        new_t = count - 1
                        step = step0 if other == 0 else step1
                        new_sum = total[one, other] - step
                        new_raw = raw[one, other] - (x if other == 0 else abs(x))
                        if other == aspect:
                            new_t, new_sum, new_raw = change_t, change_sum, change_raw
                        else:
                            # Only hull vertices remember their sums: the first not before.
                            for hull in range(N_SIDES * other, N_SIDES * other + N_SIDES):
                                for v in range(n_vertices[one, hull]):
                                    t = vertex_t[one, hull, v]
                                    if change_t <= t < new_t:
                                        new_t = t
                                        new_sum = vertex_sum[one, hull, v]
                                        new_raw = vertex_raw[one, hull, v]
                        base_t[one, other] = new_t
                        base_sum[one, other] = new_sum
                        base_raw[one, other] = new_raw
                        for hull in range(N_SIDES * other, N_SIDES * other + N_SIDES):
                            n_vertices[one, hull] = 1
                            vertex_t[one, hull, 0] = count
                            vertex_sum[one, hull, 0] = total[one, other]
                            vertex_raw[one, hull, 0] = raw[one, other]
                            vertex_offset[one, hull, 0] = -1
                    if n_collected[one] < 0:
                        n_restarts[one] = 0
                        n_collected[one] = 0
                    elif n_restarts[one] < MAX_RESTARTS or n_collected[one] >= n_baseline[one]:
                        n_restarts[one] = min(n_restarts[one] + 1, MAX_RESTARTS)
                        n_collected[one] = 0
                        collected[one, :] = 0.0
                if n_fired == len(fired_row):
                    n[one] = count
                    cursor[0] = b
                    cursor[1] = j
                    cursor[2] = i + 1
                    cursor[3] = n_fired
                    return FULL
            n[one] = count
        cursor[1] = 0
    cursor[3] = n_fired
    return DONE
