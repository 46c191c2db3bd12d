"""FOCuS: a change of a mean at any time, of any size, the mean before it unknown.

Source: Romano, Eckley, Fearnhead and Rigaill, JMLR 2023. Of all times at which the mean may have
changed only the vertices of the convex hull of the cumulative sums can have the highest
likelihood ratio; of these a lane keeps at most `CAP` a side. Sums are of integers, hence exact.

All of it stands in this file, since numba's cache looks at no other one. What runs at every row
stands in the kernel itself: an array that is handed to a function there is counted each time.
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
    F64,
    F64_2D,
    FIRED,
    FULL,
    I32,
    I64,
    NO_LANE,
    TRIGGERS,
    U8,
    kernel,
    part,
)

I32_2D = types.Array(types.int32, 2, "C")

CAP = 20
"""Vertices kept of each hull. A smaller set only lowers the maximum: never a false alarm more."""
N_ASPECTS = 2
N_SIDES = 2
FORM_NONE, FORM_RANKED, FORM_BINARY = range(3)
"""What a lane is: without a reference (it observes nothing), ranked, or an indicator."""
T, SUM, RAW, OFFSET = range(4)
N_FIELDS = 4
"""Of a vertex: updates before the change, sums of scores and of values up to it, and the offset of
the first row after it. As floats: whole numbers are exact in them up to 2**53."""
TOTAL, TOTAL_RAW, BASE_T, BASE_SUM, BASE_RAW, BOUND, LAST = range(7)
N_WALK = 7
"""Of a lane's aspect: the sums so far, where its first segment begins, what no candidate's log
likelihood ratio is above, and the latest score (the mean, where no row came since the base)."""
SETTLED = 2
"""The aspect of a firing that says: a working baseline was taken up."""
MAX_RESTARTS = 2
"""How often an alarm lets a lane collect its next baseline anew: else it might wait for ever."""
ONE_SIDED = 0.9
"""A change of distances by which the mean moved as good as all the way is one of the mean."""
MAX_ALARMS = 32
"""Of a lane until its next baseline: a signal whose new state is one change after the other, seen
from the old one, has said so by then."""
MOST_INFLATION = 100.0
SHIFT, SCALE = range(2)
N_AFFINE = 6
NEXT_SHIFT, NEXT_SCALE, SUMS = range(3)
N_SUMS = 4
VALUES = SUMS + N_ASPECTS * N_SUMS
N_COLLECTED = VALUES + N_ASPECTS + 1
"""Behind the sums of values and of distances stands that of squares."""
LEAST_SCALE = 0.5
"""No baseline is narrower, next to its reference: a signal that stands still for a while would turn
every move into a change."""
MOST_TAIL = 16.0
ONE = 65536.0
"""Scores are whole multiples of 1/65536."""
N_OCTAVES = 28
"""Thresholds stand for octaves of age; the last is for everything older."""


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
def _bin(x: float, cuts: NDArray[np.float64], n_cuts: int) -> int:
    """How many of the cuts are not above x."""
    # As many steps for each x and nothing to guess: a processor takes it in its stride.
    low, left = 0, n_cuts
    while left > 0:
        half = (left + 1) >> 1
        low = low + half if cuts[low + half - 1] <= x else low
        left -= half
    return low


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
    mean = collected[one, SUMS] / rows
    if collected[one, SUMS + 1] / rows - mean * mean < LEAST_SCALE * LEAST_SCALE:
        return False
    if collected[one, NEXT_SCALE] <= LEAST_SCALE:
        return False
    affine[one, SHIFT] = collected[one, NEXT_SHIFT]
    affine[one, SCALE] = collected[one, NEXT_SCALE]
    for aspect in range(N_ASPECTS):
        at = SUMS + N_SUMS * aspect
        mean = collected[one, at] / rows
        square = collected[one, at + 1] / rows - mean * mean
        # Rows that all lie as far out have no spread of their own.
        width = max(math.sqrt(max(square, 0.0)), LEAST_SCALE)
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
    vertex: NDArray[np.float64],
    first: int,
    base_t: float,
    base_sum: float,
    end_t: float,
    end_sum: float,
) -> None:
    """Remove the vertex of a full hull whose loss lowers the statistic least."""
    least, at = math.inf, 0
    for i in range(CAP):
        here = first + i * N_FIELDS
        t0, s0 = base_t, base_sum
        t1, s1 = end_t, end_sum
        if i > 0:
            t0, s0 = vertex[here - N_FIELDS + T], vertex[here - N_FIELDS + SUM]
        if i + 1 < CAP:
            t1, s1 = vertex[here + N_FIELDS + T], vertex[here + N_FIELDS + SUM]
        left, right = vertex[here + T] - t0, t1 - vertex[here + T]
        distance = vertex[here + SUM] - s0 - (s1 - s0) * (left / (left + right))
        loss = distance * distance * (left + right) / (left * right)
        if loss < least:
            least, at = loss, i
    for j in range(first + at * N_FIELDS, first + (CAP - 1) * N_FIELDS):
        vertex[j] = vertex[j + N_FIELDS]


@part
def _begin_at(
    one: int,
    aspect: int,
    end_t: float,
    base_t: float,
    base_sum: float,
    base_raw: float,
    walk: NDArray[np.float64],
    n_vertices: NDArray[np.uint8],
) -> None:
    """Let the first segment of an aspect begin there, and its next candidate be the present."""
    w = (one * N_ASPECTS + aspect) * N_WALK
    walk[w + BASE_T] = base_t
    walk[w + BASE_SUM] = base_sum
    walk[w + BASE_RAW] = base_raw
    walk[w + BOUND] = 0.0
    walk[w + LAST] = (walk[w + TOTAL] - base_sum) / (end_t - base_t)
    for side in range(N_SIDES):
        n_vertices[(one * N_ASPECTS + aspect) * N_SIDES + side] = 0


@part
def _first_since(
    one: int,
    aspect: int,
    since_t: float,
    end_t: float,
    step: float,
    value: float,
    walk: NDArray[np.float64],
    n_vertices: NDArray[np.uint8],
    vertex: NDArray[np.float64],
) -> tuple[float, float, float]:
    """The first point of the walk, not before `since_t`, whose sums are known: T, SUM, RAW.

    Only vertices remember theirs, and the point before the latest row can be told.
    """
    w = (one * N_ASPECTS + aspect) * N_WALK
    found_t, found_sum = end_t - 1.0, walk[w + TOTAL] - step
    found_raw = walk[w + TOTAL_RAW] - value
    for side in range(N_SIDES):
        hull = (one * N_ASPECTS + aspect) * N_SIDES + side
        for i in range(n_vertices[hull]):
            here = (hull * CAP + i) * N_FIELDS
            if since_t <= vertex[here + T] < found_t:
                found_t = vertex[here + T]
                found_sum = vertex[here + SUM]
                found_raw = vertex[here + RAW]
    return found_t, found_sum, found_raw


@kernel(
    *BLOCKS,
    *TRIGGERS,
    BOOL_IN,
    *(U8, I32, I64),
    *(F64, F64_2D, F64_2D),
    *(U8, F64),
    *(F64_2D, I32_2D, I32_2D, F64_2D, F64_2D, F64_2D),
    F64_2D,
    *(I32, I32, U8, F64, F64_2D),
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
    walk: NDArray[np.float64],
    variance: NDArray[np.float64],
    lightest: NDArray[np.float64],
    n_vertices: NDArray[np.uint8],
    vertex: NDArray[np.float64],
    cuts: NDArray[np.float64],
    location: NDArray[np.int32],
    spread: NDArray[np.int32],
    coefficient: NDArray[np.float64],
    recent: NDArray[np.float64],
    affine: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    n_baseline: NDArray[np.int32],
    n_collected: NDArray[np.int32],
    n_alarms: NDArray[np.uint8],
    inflation: NDArray[np.float64],
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

    Flat, as (lane, aspect, N_WALK), (lane, aspect, side) and (lane, aspect, side, CAP, N_FIELDS),
    are `walk`, `n_vertices` and `vertex`; side 0 looks for a rise. The seventh number of a firing
    is its aspect.

    `affine` (lane, 6) is the working baseline: what is subtracted from a residual, what it is
    divided by, and the same of location and of spread. `n_collected` rows of the next one have
    been seen since an alarm, -1: there was none; `collected` is what was made of them.
    """
    n_fired = cursor[3]
    order = coefficient.shape[1]
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
            size_cuts = n_cuts[one]
            shift, scale = affine[one, SHIFT], affine[one, SCALE]
            is_rebased = False
            for p in range(2, N_AFFINE, 2):
                is_rebased |= affine[one, p] != 0.0 or affine[one, p + 1] != 1.0
            is_process = False
            for p in range(order):
                is_process |= coefficient[one, p] != 0.0
            count = n[one]
            # The longest that the shorter of two segments can be has the lowest threshold.
            reach, reach_edge = 0, 4.0
            for i in range(start, rows):
                x = value[at + i]
                if math.isnan(x):
                    continue
                x = min(max(x, -z_limit), z_limit)
                row_offset = float(offset[row_index[first_row + i]])
                residual = x
                if is_process:
                    for p in range(order):
                        residual -= coefficient[one, p] * recent[one, p]
                    for p in range(order - 1, 0, -1):
                        recent[one, p] = recent[one, p - 1]
                    recent[one, 0] = x
                if is_binary:
                    step0 = 1.0 if x > cuts[one, 0] else 0.0
                    step1 = 0.0
                else:
                    moved = (residual - shift) / scale
                    k, left = 0, size_cuts
                    while left > 0:
                        half = (left + 1) >> 1
                        k = k + half if cuts[one, k + half - 1] <= moved else k
                        left -= half
                    step0, step1 = float(location[one, k]), float(spread[one, k])
                    if is_rebased:
                        step0 = np.rint((step0 - affine[one, 2]) / affine[one, 3])
                        step1 = np.rint((step1 - affine[one, 4]) / affine[one, 5])
                count += 1
                end_t = float(count)
                longest = end_t - walk[one * N_ASPECTS * N_WALK + BASE_T]
                if not is_binary:
                    other_t = walk[(one * N_ASPECTS + 1) * N_WALK + BASE_T]
                    longest = max(longest, end_t - other_t)
                while reach_edge <= longest and reach < N_OCTAVES - 1:
                    reach_edge *= 2.0
                    reach += 1
                fired_aspect = -1
                ratio, statistic, limit = 1.0, 0.0, 0.0
                change_t, change_sum, change_raw, change_offset = 0.0, 0.0, 0.0, 0.0
                for aspect in range(aspects):
                    step = step0 if aspect == 0 else step1
                    w = (one * N_ASPECTS + aspect) * N_WALK
                    base_t, base_sum = walk[w + BASE_T], walk[w + BASE_SUM]
                    # The end before this row becomes a candidate: for a rise if the walk bends
                    # upwards there, for a fall if it bends downwards, and for neither if not.
                    last_step = walk[w + LAST]
                    if step != last_step:
                        hull = (one * N_ASPECTS + aspect) * N_SIDES + (step < last_step)
                        sign = 1.0 if step > last_step else -1.0
                        first = hull * CAP * N_FIELDS
                        new_t, new_sum = end_t - 1.0, walk[w + TOTAL]
                        size = int(n_vertices[hull])
                        last = first + (size - 1) * N_FIELDS
                        while size > 0:
                            t0, s0 = base_t, base_sum
                            if size > 1:
                                t0, s0 = vertex[last - N_FIELDS + T], vertex[last - N_FIELDS + SUM]
                            above = (vertex[last + SUM] - s0) * (new_t - t0)
                            if sign * (above - (new_sum - s0) * (vertex[last + T] - t0)) < 0.0:
                                break
                            size -= 1
                            last -= N_FIELDS
                        if size == CAP:
                            _drop_least(vertex, first, base_t, base_sum, new_t, new_sum)
                            size -= 1
                        here = first + size * N_FIELDS
                        vertex[here + T] = new_t
                        vertex[here + SUM] = new_sum
                        vertex[here + RAW] = walk[w + TOTAL_RAW]
                        vertex[here + OFFSET] = row_offset
                        n_vertices[hull] = size + 1
                        walk[w + LAST] = step
                    end_sum = walk[w + TOTAL] + step
                    walk[w + TOTAL] = end_sum
                    walk[w + TOTAL_RAW] += x if aspect == 0 else abs(x)
                    all_t, all_sum = end_t - base_t, end_sum - base_sum
                    # A row raises no candidate's likelihood ratio by more than what it takes from
                    # the likelihood of one segment for all rows. While their bound is below every
                    # threshold none has to be looked at.
                    unit = variance[one, aspect]
                    if aspect == 0:
                        unit *= inflation[one]
                    if is_binary:
                        ones = all_sum - step
                        if step > 0.0:
                            rise = math.log((all_t - 1.0) / ones) if ones > 0.0 else math.inf
                        else:
                            zeros = all_t - 1.0 - ones
                            rise = ones / zeros if zeros > 0.0 else math.inf
                    else:
                        lean = step * all_t - all_sum
                        rise = 0.5 * lean * lean / (all_t * (all_t - 1.0))
                    bound = walk[w + BOUND] + rise
                    if bound > thresholds[one, reach] * unit:
                        bound = 0.0
                        for side in range(N_SIDES):
                            hull = (one * N_ASPECTS + aspect) * N_SIDES + side
                            for v in range(n_vertices[hull]):
                                here = (hull * CAP + v) * N_FIELDS
                                age, span = end_t - vertex[here + T], vertex[here + T] - base_t
                                before = vertex[here + SUM] - base_sum
                                if is_binary:
                                    found = _bernoulli(all_sum - before, before, age, span)
                                else:
                                    gap = all_sum * span - before * all_t
                                    found = gap * gap / (2.0 * all_t * age * span)
                                bound = max(bound, found)
                                octave, edge = 0, 2.0
                                while edge <= min(age, span) and octave < N_OCTAVES - 1:
                                    edge *= 2.0
                                    octave += 1
                                high = thresholds[one, octave]
                                if found > ratio * high * unit:
                                    fired_aspect, ratio = aspect, found / (high * unit)
                                    statistic, limit = found / unit, high
                                    change_t, change_sum = vertex[here + T], vertex[here + SUM]
                                    change_raw = vertex[here + RAW]
                                    change_offset = vertex[here + OFFSET]
                    walk[w + BOUND] = bound
                if n_collected[one] >= 0:
                    if not is_binary:
                        _collect(
                            residual,
                            one,
                            n_collected[one],
                            n_baseline[one] // 2,
                            size_cuts,
                            cuts,
                            location,
                            spread,
                            affine,
                            collected,
                        )
                    collected[one, VALUES] += x
                    collected[one, VALUES + 1] += abs(x)
                    collected[one, VALUES + 2] += x * x
                    n_collected[one] += 1
                if fired_aspect >= 0:
                    w = (one * N_ASPECTS + fired_aspect) * N_WALK
                    k_rows, m_rows = end_t - change_t, change_t - walk[w + BASE_T]
                    after = (walk[w + TOTAL_RAW] - change_raw) / k_rows
                    before = (change_raw - walk[w + BASE_RAW]) / m_rows
                    if fired_aspect == 1 and after > before > 0.0:
                        # Until a baseline knows better: else every swing passed for a shift.
                        wider = min((after / before) ** 2, MOST_INFLATION)
                        inflation[one] = max(inflation[one], wider)
                    other_t, other_sum, other_raw = 0.0, 0.0, 0.0
                    if not is_binary:
                        other_t, other_sum, other_raw = _first_since(
                            one,
                            1 - fired_aspect,
                            change_t,
                            end_t,
                            step0 if fired_aspect == 1 else step1,
                            x if fired_aspect == 1 else abs(x),
                            walk,
                            n_vertices,
                            vertex,
                        )
                    told_aspect = fired_aspect
                    if fired_aspect == 1:
                        # A jump of the mean changes the distances too, and is found by them a row
                        # sooner: rows that lie on one side, all of them, have moved.
                        w = one * N_ASPECTS * N_WALK
                        mean_rows, mean_span = end_t - other_t, other_t - walk[w + BASE_T]
                        mean_after = (walk[w + TOTAL_RAW] - other_raw) / mean_rows
                        mean_before = (other_raw - walk[w + BASE_RAW]) / mean_span
                        if abs(mean_after - mean_before) >= ONE_SIDED * max(after, before):
                            told_aspect = 0
                            before, after = mean_before, mean_after
                            m_rows, k_rows = mean_span, mean_rows
                    fired_row[n_fired] = row_index[first_row + i]
                    fired_lane[n_fired] = one
                    fired_numbers[n_fired, 0] = statistic
                    fired_numbers[n_fired, 1] = limit
                    fired_numbers[n_fired, 2] = before
                    fired_numbers[n_fired, 3] = after
                    fired_numbers[n_fired, 4] = m_rows
                    fired_numbers[n_fired, 5] = k_rows
                    fired_numbers[n_fired, 6] = told_aspect
                    fired_change[n_fired] = int(change_offset)
                    n_alarms[one] = min(n_alarms[one] + 1, MAX_ALARMS + 1)
                    n_fired += n_alarms[one] <= MAX_ALARMS
                    reach, reach_edge = 0, 4.0
                    for aspect in range(aspects):
                        new_t, new_sum, new_raw = change_t, change_sum, change_raw
                        if aspect != fired_aspect:
                            new_t, new_sum, new_raw = other_t, other_sum, other_raw
                        _begin_at(one, aspect, end_t, new_t, new_sum, new_raw, walk, n_vertices)
                    if n_collected[one] < 0 or n_alarms[one] <= MAX_RESTARTS:
                        n_collected[one] = 0
                        collected[one, :] = 0.0
                if n_collected[one] == n_baseline[one]:
                    seen = float(n_collected[one])
                    fired_row[n_fired] = row_index[first_row + i]
                    fired_lane[n_fired] = one
                    fired_numbers[n_fired, 0] = collected[one, VALUES + 1] / seen
                    fired_numbers[n_fired, 1] = collected[one, VALUES + 2] / seen
                    fired_numbers[n_fired, 2] = 0.0
                    fired_numbers[n_fired, 3] = collected[one, VALUES] / seen
                    fired_numbers[n_fired, 4] = 0.0
                    fired_numbers[n_fired, 5] = seen
                    fired_numbers[n_fired, 6] = SETTLED
                    fired_change[n_fired] = int(row_offset)
                    n_fired += 1
                    half = seen - n_baseline[one] // 2
                    if not is_binary and _install(one, half, affine, collected, variance, lightest):
                        shift, scale = affine[one, SHIFT], affine[one, SCALE]
                        is_rebased = True
                        reach, reach_edge = 0, 4.0
                        for aspect in range(N_ASPECTS):
                            # The rows it was measured on are the first segment: their scores
                            # add up to nothing.
                            w = (one * N_ASPECTS + aspect) * N_WALK
                            mean = collected[one, VALUES + aspect] / seen
                            _begin_at(
                                one,
                                aspect,
                                end_t,
                                end_t - half,
                                walk[w + TOTAL],
                                walk[w + TOTAL_RAW] - mean * half,
                                walk,
                                n_vertices,
                            )
                    n_collected[one] = -1
                    n_alarms[one] = 0
                    inflation[one] = 1.0
                    collected[one, :] = 0.0
                if n_fired + 2 > len(fired_row):
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
