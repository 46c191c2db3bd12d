"""How fast sources send, how many there are, how fast they change, and what they are answered.

Everything is seen at the ends of blocks. All of it stands in this file, since numba's cache looks
at no other one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import BOOL_IN, I32, I32_IN, I64, I64_IN, NO_LANE, kernel, part

RATE_BLOCK = 64
"""Events of a source, whose time is taken."""
NAMES_BLOCK = 1_024
"""Events of a model, whose sources are counted."""
ANSWERS_BLOCK = 128
"""Distinct rows of a source; two such blocks are a window of answers."""
N_CELLS = 4_096
"""Sources fall into so many cells by their keyed hash: those that are taken say how many there are
(linear counting; Whang, Vander-Zanden and Taylor 1990)."""
PAST = 16
"""Blocks that are a past."""
EPOCH = 64
"""A block is held against the peak of the epochs of so many blocks before its own: else whoever
grows from block to block raises the bar that is to stop it."""
FADE = 0.125
"""Octaves of a peak that are forgotten with each epoch: what comes again soon stays usual."""
IN_A_ROW = 4
"""Blocks that alarm, where each comes within so many blocks of the one before."""
QUIET = 16
"""Blocks without a hit, after which evidence that was told is void; other evidence is after
`IN_A_ROW`."""
STEP = 0.02
"""Of a median that has seen many blocks, in octaves."""
FASTER, ABOVE_PEAK, FEWER_OTHERS, MORE_NAMES, MORE_THAN_EVER = range(5)
"""Of `limits`, in octaves: faster than usual, than ever, and with fewer events of others beside its
own than usual; more of a model's sources, or of places that are given, than usual, and than ever.
"""
N_LIMITS = 5
LEAST_NAMES = 64
"""Fewer sources, or places that change hands, in a block are no flood."""
LEAST_OTHERS = 64
"""Answers of others, with fewer of which nothing is said of them."""
GRID = 64
"""Shares are rounded up to one in so many."""

RATE_RULE, NAMES_RULE, TURNOVER_RULE, ANSWERS_RULE = range(4)
N_BLOCKS, RUN, TOTAL, NEXT, LAST, FIRST_OFFSET, FIRST_TIME = range(7)
N_HISTORY = 7
MEDIAN, OTHERS, EDGE, NOW, PEAK, TOLD = range(6)
N_LEVELS = 6
WHAT, STATISTIC, THRESHOLD, HITS, SEEN, BASELINE, DETAIL = range(7)
N_FIRED = 7
NO_PEAK = -1e9

U64_2D_IN = types.Array(types.uint64, 2, "C", readonly=True)
I32_2D_IN = types.Array(types.int32, 2, "C", readonly=True)
I32_3D = types.Array(types.int32, 3, "C")
U8_2D = types.Array(types.uint8, 2, "C")
F64_2D = types.Array(types.float64, 2, "C")
F64_2D_IN = types.Array(types.float64, 2, "C", readonly=True)
I64_2D = types.Array(types.int64, 2, "C")
I64_3D = types.Array(types.int64, 3, "C")


@part
def _octaves(x: float) -> float:
    """About log2 of x >= 1, within 0.09: linear between powers of 2, the same on every machine."""
    m, e = math.frexp(x)
    return e - 2.0 + 2.0 * m


@part
def _is_above(
    history: NDArray[np.int64], level: NDArray[np.float64], x: float, usual: float, ever: float
) -> bool:
    """Whether x is so far above what is usual and above all there was."""
    if history[N_BLOCKS] < PAST:
        return False
    return bool(x > level[MEDIAN] + usual and x > level[PEAK] + ever)


@part
def _approach(level: NDArray[np.float64], at: int, n: int, x: float) -> None:
    """Move a median by one step; n blocks before."""
    if n == 0:
        level[at] = x
        return
    step = max(STEP, 1.0 / (n + 1.0))
    if x > level[at]:
        level[at] = min(level[at] + step, x)
    else:
        level[at] = max(level[at] - step, x)


@part
def _note(
    history: NDArray[np.int64],
    level: NDArray[np.float64],
    x: float,
    is_above: bool,
    is_hit: bool,
    offset: int,
    time: int,
) -> bool:
    """Take a block into the past. Whether it makes an alarm.

    What `is_above` the limits is no hit where something else excuses it.
    """
    n = history[N_BLOCKS]
    history[N_BLOCKS] = n + 1
    _approach(level, MEDIAN, n, x)
    if n == 0:
        level[EDGE:] = NO_PEAK
    # What is above does not become usual beyond what was told, nor does the block before it, in the
    # middle of which it may have begun: so a block enters its epoch when the next one has come.
    is_told = history[NEXT] > 0 and n - history[LAST] <= QUIET
    if not is_above or is_told:
        level[NOW] = max(level[NOW], level[EDGE])
    level[EDGE] = x
    if is_above:
        level[EDGE] = min(x, level[TOLD]) if is_told else NO_PEAK
    if n + 1 == PAST or (n + 1) % EPOCH == 0:
        level[PEAK] = max(level[PEAK] - FADE, level[NOW])
        level[NOW] = NO_PEAK
    if n - history[LAST] > IN_A_ROW:
        history[RUN] = 0
    if not is_hit:
        return False
    is_old = n - history[LAST] > QUIET or (history[RUN] == 0 and history[NEXT] == 0)
    if history[TOTAL] == 0 or is_old:
        history[TOTAL] = 0
        history[NEXT] = 0
        history[FIRST_OFFSET] = offset
        history[FIRST_TIME] = time
    history[RUN] += 1
    history[TOTAL] += 1
    history[LAST] = n
    if history[RUN] < IN_A_ROW or history[TOTAL] < history[NEXT]:
        return False
    history[NEXT] = 2 * history[TOTAL]
    level[TOLD] = x
    level[NOW] = max(level[NOW], x)
    return True


@part
def _judge(
    rule: int,
    n: Any,
    n_least: Any,
    history: NDArray[np.int64],
    level: NDArray[np.float64],
    first: NDArray[np.int64],
    limits: NDArray[np.float64],
    fired: NDArray[np.float64],
    fired_first: NDArray[np.int64],
) -> bool:
    """Whether a model's block with a count of n makes an alarm, which is written down then.

    `n_least` has to be `LEAST_NAMES` for a flood.
    """
    x = _octaves(float(max(n, 1)))
    is_above = _is_above(history, level, x, limits[MORE_NAMES], limits[MORE_THAN_EVER])
    is_above = is_above and bool(n_least >= LEAST_NAMES)
    before = level[MEDIAN]
    if not _note(history, level, x, is_above, is_above, first[0], first[1]):
        return False
    fired[WHAT] = rule
    fired[STATISTIC] = x
    fired[THRESHOLD] = before + limits[MORE_NAMES]
    fired[HITS] = history[TOTAL] * NAMES_BLOCK
    fired[SEEN] = history[TOTAL] * NAMES_BLOCK
    fired[BASELINE] = before
    fired[DETAIL] = n
    fired_first[0] = history[FIRST_OFFSET]
    fired_first[1] = history[FIRST_TIME]
    return True


@kernel(
    *(I64_IN, I64_IN, I32_IN, BOOL_IN, I32_IN, BOOL_IN, I32_IN, U64_2D_IN, I32_IN),
    *(F64_2D_IN, I32_2D_IN, F64_2D_IN, F64_2D_IN, I32_IN, I64_2D),
    *(I64, U8_2D, I64_2D, I64_2D, F64_2D, I64_2D, I64_2D, F64_2D),
    *(I32, I32, I64, I64_2D, I64_2D, F64_2D, I64, I32_3D, I64_3D, I64_2D, I64_2D),
    *(I64, F64_2D, I64_2D),
)
def volume_update(
    offset: NDArray[np.int64],
    event_time_ms: NDArray[np.int64],
    model: NDArray[np.int32],
    is_repeat: NDArray[np.bool_],
    source: NDArray[np.int32],
    is_first: NDArray[np.bool_],
    kind: NDArray[np.int32],
    source_words: NDArray[np.uint64],
    predicted: NDArray[np.int32],
    limits: NDArray[np.float64],
    entry: NDArray[np.int32],
    usual: NDArray[np.float64],
    most: NDArray[np.float64],
    critical: NDArray[np.int32],
    answers_all: NDArray[np.int64],
    n_events: NDArray[np.int64],
    cells: NDArray[np.uint8],
    names_first: NDArray[np.int64],
    names_history: NDArray[np.int64],
    names_level: NDArray[np.float64],
    n_places_given: NDArray[np.int64],
    places_history: NDArray[np.int64],
    places_level: NDArray[np.float64],
    owner: NDArray[np.int32],
    judged: NDArray[np.int32],
    n_rows: NDArray[np.int64],
    block: NDArray[np.int64],
    history: NDArray[np.int64],
    level: NDArray[np.float64],
    n_distinct: NDArray[np.int64],
    answers: NDArray[np.int32],
    answers_start: NDArray[np.int64],
    answers_first: NDArray[np.int64],
    answers_evidence: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired: NDArray[np.float64],
    fired_first: NDArray[np.int64],
) -> int:
    """Fold the rows of a stretch. Returns how often it fired, or -`NO_LANE` at an unknown number.

    `block` (S, 3): time, events of the model and offset at the first row of a block.
    """
    n_fired = 0
    n_places = len(owner)
    n_classes = answers_all.shape[1]
    for i in range(len(offset)):
        m, place = np.int64(model[i]), np.int64(source[i])
        if m < 0 or m >= len(entry) or place >= n_places:
            return -NO_LANE
        k = np.int64(kind[i])
        if k < 0 or k >= entry.shape[1]:
            return -NO_LANE
        if entry[m, k] < 0:
            k = np.int64(0)
        time = event_time_ms[i]

        # How many sources there are.
        now = n_events[m]
        n_events[m] = now + 1
        if now % NAMES_BLOCK == 0:
            names_first[m, 0] = offset[i]
            names_first[m, 1] = time
        cell = np.int64(source_words[i, 0] & np.uint64(N_CELLS - 1))
        cells[m, cell >> 3] |= np.uint8(1 << (cell & 7))
        if now % NAMES_BLOCK == NAMES_BLOCK - 1:
            n_names = np.int64(0)
            for b in range(N_CELLS // 8):
                bits = np.int64(cells[m, b])
                while bits > 0:
                    n_names += bits & 1
                    bits >>= 1
                cells[m, b] = 0
            history_m, level_m, first = names_history[m], names_level[m], names_first[m]
            if _judge(
                NAMES_RULE, n_names, n_names, history_m, level_m, first, limits[m],
                fired[n_fired], fired_first[n_fired],
            ):  # fmt: skip
                fired_row[n_fired] = i
                n_fired += 1
            # How many places it was given, and how many of them another source had to leave.
            history_m, level_m = places_history[m], places_level[m]
            n_given, n_taken = n_places_given[m, 0], n_places_given[m, 1]
            n_places_given[m, :] = 0
            if _judge(
                TURNOVER_RULE, n_given, n_taken, history_m, level_m, first, limits[m],
                fired[n_fired], fired_first[n_fired],
            ):  # fmt: skip
                fired_row[n_fired] = i
                n_fired += 1
        if place < 0:
            continue
        if is_first[i]:
            n_places_given[m, 0] += 1
            n_places_given[m, 1] += owner[place] >= 0
        if is_first[i] or owner[place] != m or judged[place] != k:
            owner[place] = m
            judged[place] = k
            n_rows[place] = 0
            block[place, :] = 0
            history[place, :] = 0
            level[place, :] = 0.0
            n_distinct[place] = 0
            answers[place, :, :] = 0
            answers_start[place, :, :] = 0
            answers_first[place, :] = 0
            answers_evidence[place, :] = 0

        # How fast this one sends.
        n = n_rows[place]
        n_rows[place] = n + 1
        if n % RATE_BLOCK == 0:
            block[place, 0] = time
            block[place, 1] = now
            block[place, 2] = offset[i]
        if n % RATE_BLOCK == RATE_BLOCK - 1:
            # Clocks may go backwards: that is no time at all.
            x = -_octaves(max(float(time) - float(block[place, 0]), 1.0))
            # Not its share, which ends at 1, however fast it is.
            others = -_octaves(max(now + 2.0 - block[place, 1] - RATE_BLOCK, 1.0))
            own, past = history[place], level[place]
            is_above = _is_above(own, past, x, limits[m, FASTER], limits[m, ABOVE_PEAK])
            is_hit = is_above and bool(others > past[OTHERS] + limits[m, FEWER_OTHERS])
            before = past[MEDIAN]
            _approach(past, OTHERS, own[N_BLOCKS], others)
            if _note(own, past, x, is_above, is_hit, block[place, 2], block[place, 0]):
                fired_row[n_fired] = i
                fired[n_fired, WHAT] = RATE_RULE
                fired[n_fired, STATISTIC] = x - before
                fired[n_fired, THRESHOLD] = limits[m, FASTER]
                fired[n_fired, HITS] = own[TOTAL] * RATE_BLOCK
                fired[n_fired, SEEN] = own[TOTAL] * RATE_BLOCK
                fired[n_fired, BASELINE] = 0.0
                fired[n_fired, DETAIL] = 0
                fired_first[n_fired, 0] = own[FIRST_OFFSET]
                fired_first[n_fired, 1] = own[FIRST_TIME]
                n_fired += 1

        # What it is answered.
        e = np.int64(entry[m, k])
        if e < 0 or is_repeat[i]:
            continue
        c = min(max(np.int64(predicted[i]), 0), n_classes - 1)
        d = n_distinct[place]
        n_distinct[place] = d + 1
        if d % ANSWERS_BLOCK == 0:
            for j in range(n_classes):
                answers[place, 0, j] = answers[place, 1, j]
                answers[place, 1, j] = 0
                answers_start[place, 0, j] = answers_start[place, 1, j]
                answers_start[place, 1, j] = answers_all[e, j]
            answers_first[place, 0] = answers_first[place, 2]
            answers_first[place, 1] = answers_first[place, 3]
            answers_first[place, 2] = offset[i]
            answers_first[place, 3] = time
        answers[place, 1, c] += 1
        answers_all[e, c] += 1
        if d % ANSWERS_BLOCK < ANSWERS_BLOCK - 1 or d < ANSWERS_BLOCK:
            continue
        n_others = -2 * ANSWERS_BLOCK
        for j in range(n_classes):
            n_others += answers_all[e, j] - answers_start[place, 0, j]
        worst, excess, needed = -1, np.int64(0), np.int64(0)
        for j in range(n_classes):
            if not most[e, j] > 0.0:
                continue
            count = np.int64(answers[place, 0, j]) + answers[place, 1, j]
            bound = most[e, j]
            if n_others >= LEAST_OTHERS:
                theirs = answers_all[e, j] - answers_start[place, 0, j] - count
                # As far above the others as benign sources were above the mean.
                bound = max(bound, theirs / n_others + most[e, j] - usual[e, j])
            at = np.int64(math.ceil(min(max(bound, 0.0), 1.0) * GRID))
            if count - critical[at] >= excess and count >= critical[at]:
                worst, excess, needed = j, count - critical[at], np.int64(critical[at])
        if worst >= 0:
            own = answers_evidence[place]
            if own[0] == 0 or d - own[2] > QUIET * RATE_BLOCK:
                own[0] = 0
                own[1] = 0
                own[3] = answers_first[place, 0]
                own[4] = answers_first[place, 1]
            own[0] += 1
            own[2] = d
            if own[0] >= own[1]:
                own[1] = 2 * own[0]
                fired_row[n_fired] = i
                fired[n_fired, WHAT] = ANSWERS_RULE
                fired[n_fired, STATISTIC] = needed + excess
                fired[n_fired, THRESHOLD] = needed
                fired[n_fired, HITS] = needed + excess
                fired[n_fired, SEEN] = 2 * ANSWERS_BLOCK
                fired[n_fired, BASELINE] = usual[e, worst] * 2 * ANSWERS_BLOCK
                fired[n_fired, DETAIL] = worst
                fired_first[n_fired, 0] = own[3]
                fired_first[n_fired, 1] = own[4]
                n_fired += 1
    return n_fired
