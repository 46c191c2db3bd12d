"""What adds up against a source: near pairs, and distances and scores that go on unbroken."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
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
    NO_LANE,
    kernel,
    part,
)

F32_IN = types.Array(types.float32, 1, "C", readonly=True)
I8 = types.Array(types.int8, 1, "C")

FLIPS, BOUNDARY, DISTANCE, CLIMB = range(4)
"""The rules. The first two count hits among the latest rows, the others what goes on unbroken."""
N_RULES = 4
N_WINDOWED = 2

MAX_HITS = 64
"""So many of the latest hits are kept for each rule that counts among the latest rows."""

# What of each model and kind of client the rules go by: a rule that needs 0 is off.
NEAR, LOW, NEEDED, USUAL, W = 0, 1, 2, 2 + N_RULES, 2 + 2 * N_RULES
N_THRESHOLDS = W + 1

TOTAL, NEXT, LAST, POSITION, OFFSET, TIME = range(6)
"""Of an episode: its evidence, that at which it fires next (0: it has not begun), the latest hit,
and the earliest one that is counted."""
N_EPISODE = 6
N_FIRST = 3
N_RUN = 1 + N_FIRST

STEPS = 3.0
"""A step of a climb is shorter than so many times the distance of near rows."""


@part
def _weigh(
    own: NDArray[np.int64],
    held: int | np.int64,
    needed: int | np.int64,
    added: int | np.int64,
    position: int,
    first: NDArray[np.int64],
    quiet: int,
) -> int | np.int64:
    """Count a hit of a rule: what its evidence had to reach, if it has reached it now, or else 0.

    An episode begins where what is `held` at present is as much as is `needed`; a hit of one that
    has begun is `added` to its evidence. `first` is position, offset and time of the earliest.
    """
    if own[NEXT] > 0 and position - own[LAST] > quiet:
        own[:] = 0
    own[LAST] = position
    if own[NEXT] == 0:
        if held < needed:
            return 0
        reached = needed
        own[TOTAL] = held
        own[POSITION:] = first
    else:
        reached = own[NEXT]
        own[TOTAL] += added
        if own[TOTAL] < reached:
            return 0
    own[NEXT] = 2 * own[TOTAL]
    return reached


@part
def _climb(
    place: int,
    score: float,
    step: float,
    limit: float,
    last: NDArray[np.float64],
    way: NDArray[np.int8],
    run: int,
) -> int:
    """How many steps long the climb of a place is with this row, after `run` before it.

    A score that falls is another class's that climbs: either way counts, but not both in one run.
    """
    moved = 0
    if step < STEPS * limit:
        if score > last[place]:
            moved = 1
        elif score < last[place]:
            moved = -1
    if moved == 0:
        run = 0
    elif moved == way[place]:
        run += 1
    else:
        run = 1
    way[place] = np.int8(moved)
    last[place] = score
    return run


@kernel(I64_IN, BOOL_IN, I32_IN, F64_IN, F64_IN, types.float64, F64, I8, I64, I64)
def climbs(
    position: NDArray[np.int64],
    begins: NDArray[np.bool_],
    source: NDArray[np.int32],
    step: NDArray[np.float64],
    score: NDArray[np.float64],
    limit: float,
    last: NDArray[np.float64],
    way: NDArray[np.int8],
    run: NDArray[np.int64],
    out: NDArray[np.int64],
) -> int:
    """How long the climb is of which each row is the latest step, into `out`.

    `last`, `way` and `run` have what each place has come to. Returns `DONE`.
    """
    for i in range(source.shape[0]):
        out[i] = 0
        place = source[i]
        if begins[i]:
            last[place] = np.nan
            way[place] = 0
            run[place] = 0
        if position[i] > 0:
            run[place] = _climb(place, score[i], step[i], limit, last, way, run[place])
            out[i] = run[place]
    return DONE


@kernel(
    *(I64_IN, BOOL_IN, I32_IN, I32_IN, I32_IN, F64_IN, BOOL_IN, F64_IN, F64_IN),
    *(F32_IN, F64_IN, I64_IN, I64_IN),
    *(F64_IN, types.int64, I64_IN, types.int64, types.int64),
    *(I64, I64, I64, I64, F64, I8),
    *(I64, I64, I32, F64_2D, I64_2D),
)
def accuse(
    position: NDArray[np.int64],
    begins: NDArray[np.bool_],
    source: NDArray[np.int32],
    model: NDArray[np.int32],
    kind: NDArray[np.int32],
    nearest: NDArray[np.float64],
    is_flip: NDArray[np.bool_],
    step: NDArray[np.float64],
    w: NDArray[np.float64],
    margin: NDArray[np.float32],
    score: NDArray[np.float64],
    offset: NDArray[np.int64],
    time: NDArray[np.int64],
    table: NDArray[np.float64],
    n_kinds: int,
    among: NDArray[np.int64],
    every: int,
    quiet: int,
    hits: NDArray[np.int64],
    n_hits: NDArray[np.int64],
    episode: NDArray[np.int64],
    run: NDArray[np.int64],
    last: NDArray[np.float64],
    way: NDArray[np.int8],
    cursor: NDArray[np.int64],
    fired_row: NDArray[np.int64],
    fired_rule: NDArray[np.int32],
    fired_numbers: NDArray[np.float64],
    fired_counts: NDArray[np.int64],
) -> int:
    """Weigh the rows from `cursor[0]` on; `cursor[1]` counts what has fired.

    The first columns are what `search` and `normality` have found of the rows, `table` has
    `N_THRESHOLDS` numbers of each model and kind. A windowed rule counts its hits among the latest
    `among` rows of a place; W has to be low so many looks in a row, one in `every`
    rows.
    `hits` has position, offset and time of the latest `MAX_HITS` hits, the kth of all at
    (k - 1) modulo that; `run` the length, position, offset and time of what goes on unbroken.

    Of what fires: row and rule; statistic, threshold and what is usual; the events that count,
    those among which they are, offset and time of the first. Returns `DONE`, `FULL` or `NO_LANE`.
    """
    n_fired = cursor[1]
    first = np.zeros(N_FIRST, np.int64)
    for i in range(cursor[0], source.shape[0]):
        place = source[i]
        if place < 0:
            continue
        at = (np.int64(model[i]) * n_kinds + kind[i]) * N_THRESHOLDS
        if kind[i] < 0 or kind[i] >= n_kinds or at < 0 or at >= table.shape[0]:
            return NO_LANE
        if n_fired + N_RULES > fired_row.shape[0]:
            cursor[0] = i
            cursor[1] = n_fired
            return FULL
        if begins[i]:
            n = N_WINDOWED * MAX_HITS * N_FIRST
            hits[place * n : (place + 1) * n] = 0
            n_hits[place * N_WINDOWED : (place + 1) * N_WINDOWED] = 0
            n = N_RULES * N_EPISODE
            episode[place * n : (place + 1) * n] = 0
            run[place * 2 * N_RUN : (place + 1) * 2 * N_RUN] = 0
            last[place] = np.nan
            way[place] = 0
        now = position[i]
        if now == 0:
            continue
        limit = table[at + NEAR]
        is_near = nearest[i] < limit
        for rule in range(N_RULES):
            needed = np.int64(table[at + NEEDED + rule])
            held = np.int64(0)
            added = np.int64(1)
            own = episode[(place * N_RULES + rule) * N_EPISODE :][:N_EPISODE]
            if rule < N_WINDOWED:
                if needed == 0 or not is_near:
                    continue
                if rule == FLIPS and not is_flip[i]:
                    continue
                if rule == BOUNDARY and not margin[i] < table[at + LOW]:
                    continue
                which = place * N_WINDOWED + rule
                kept = hits[which * MAX_HITS * N_FIRST : (which + 1) * MAX_HITS * N_FIRST]
                slot = N_FIRST * (n_hits[which] % MAX_HITS)
                kept[slot] = now
                kept[slot + 1] = offset[i]
                kept[slot + 2] = time[i]
                n_hits[which] += 1
                for back in range(min(n_hits[which], MAX_HITS)):
                    slot = N_FIRST * ((n_hits[which] - 1 - back) % MAX_HITS)
                    if now - kept[slot] >= among[rule]:
                        break
                    held += 1
                    first[:] = kept[slot : slot + N_FIRST]
            else:
                mine = run[(place * 2 + rule - N_WINDOWED) * N_RUN :][:N_RUN]
                if rule == CLIMB:
                    mine[0] = _climb(place, score[i], step[i], limit, last, way, mine[0])
                elif w[i] == w[i]:  # not NaN: there is a look at this row
                    mine[0] = mine[0] + 1 if w[i] < table[at + W] else 0
                else:
                    continue
                held = mine[0]
                if held <= 1:
                    mine[1] = now
                    mine[2] = offset[i]
                    mine[3] = time[i]
                if needed == 0 or held == 0 or (rule == CLIMB and held < needed):
                    continue
                if rule == CLIMB and held == needed:
                    added = needed
                first[:] = mine[1:]
            reached = _weigh(own, held, needed, added, now, first, quiet)
            if reached == 0:
                continue
            total = own[TOTAL]
            fired_row[n_fired] = i
            fired_rule[n_fired] = rule
            fired_numbers[n_fired, 0] = total
            fired_numbers[n_fired, 1] = reached
            if rule == DISTANCE:
                fired_numbers[n_fired, 0] = w[i]
                fired_numbers[n_fired, 1] = table[at + W]
                total *= every
            fired_numbers[n_fired, 2] = table[at + USUAL + rule]
            fired_counts[n_fired, 0] = total
            fired_counts[n_fired, 1] = max(now - own[POSITION] + 1, total)
            fired_counts[n_fired, 2] = own[OFFSET]
            fired_counts[n_fired, 3] = own[TIME]
            n_fired += 1
    cursor[0] = source.shape[0]
    cursor[1] = n_fired
    return DONE
