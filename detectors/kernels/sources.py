"""The table of sources, event by event in the order of the log.

Places 0..S-1 each have the name of a source (two words of a keyed hash) and the slot of its model,
-1 where the place is free. An index leads from names to places: open addressing with linear
probing, at most a quarter full. Two lists, each from the place that is longest idle to the latest
one, hold the places that may be given away and those that are protected; their ends are the
numbers S and S + 1.

Names without a place are counted by a doorkeeper: `WAYS` entries at each of its sets.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from detectors.kernels.compile import BOOL, I32, I32_IN, I64, I64_2D, I64_IN, U8, kernel, part
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import U8 as U8A
from schemas.batch import U64 as U64A
from schemas.batch import Bool

U64: Final = types.Array(types.uint64, 1, "C")
U64_IN: Final = types.Array(types.uint64, 1, "C", readonly=True)
U64_2D: Final = types.Array(types.uint64, 2, "C")
U64_2D_IN: Final = types.Array(types.uint64, 2, "C", readonly=True)

WAYS: Final = 8
"""Entries of a set of the doorkeeper."""

# Of `limits`.
ADMIT_AFTER, MIN_IDLE, PROTECTED_FOR, DOOR_MEMORY, NEEDS, QUIET = range(6)

# Of `at`: the lowest place that may be free, and the refusals of the present spell.
FREE, N_REFUSED, FIRST_NUMBER, LATEST_NUMBER, NEXT, FIRST_OFFSET, FIRST_TIME = range(7)
N_AT: Final = 7

# Of `counts`.
ADMITTED, EVICTED, REFUSED, FORGOTTEN, REPEATS = range(5)
N_COUNTS: Final = 5

# Of a row of `fired`: which row of the events, then what stands in `at` by then.
FIRED_ROW, FIRED_N, FIRED_SEEN, FIRED_OFFSET, FIRED_TIME = range(5)
N_FIRED: Final = 5

# Of splitmix64 (Steele, Lea and Flood 2014).
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_M1: Final = np.uint64(0xBF58476D1CE4E5B9)
_M2: Final = np.uint64(0x94D049BB133111EB)
_30: Final = np.uint64(30)
_27: Final = np.uint64(27)
_31: Final = np.uint64(31)


@part
def _tag(low: Any, high: Any, model: Any) -> Any:
    """64 bits of a name and its model, without a pattern."""
    x = low ^ (np.uint64(model) * _STEP)
    x = (x ^ (x >> _30)) * _M1
    x = (x ^ (x >> _27)) * _M2
    return x ^ (x >> _31) ^ high


@part
def _find(low: Any, high: Any, model: Any, names: U64A, owner: I32A, index: I32A) -> Any:
    """Where a name stands in the index; where it does not, -1 less the position for it."""
    mask = len(index) - 1
    at = np.int64(_tag(low, high, model) & np.uint64(mask))
    while index[at] != 0:
        place = index[at] - 1
        if names[place, 0] == low and names[place, 1] == high and owner[place] == model:
            return at
        at = (at + 1) & mask
    return -1 - at


@part
def _remove(place: Any, names: U64A, owner: I32A, index: I32A) -> None:
    """Take a place out of the index; those behind it move up, so that no search ends too soon."""
    mask = len(index) - 1
    hole = _find(names[place, 0], names[place, 1], owner[place], names, owner, index)
    at = (hole + 1) & mask
    while index[at] != 0:
        other = index[at] - 1
        tag = _tag(names[other, 0], names[other, 1], owner[other])
        home = np.int64(tag & np.uint64(mask))
        if ((at - home) & mask) >= ((at - hole) & mask):
            index[hole] = index[at]
            hole = at
        at = (at + 1) & mask
    index[hole] = 0


@part
def _unlink(place: Any, before: I32A, after: I32A) -> None:
    """Take a place out of its list."""
    after[before[place]] = after[place]
    before[after[place]] = before[place]


@part
def _append(place: Any, end: Any, before: I32A, after: I32A) -> None:
    """Put a place behind the latest one of the list with this end."""
    latest = before[end]
    after[latest] = place
    before[place] = latest
    after[place] = end
    before[end] = place


@part
def _knock(
    tag: Any,
    model: Any,
    number: Any,
    limits: I64A,
    door_tag: U64A,
    door_model: I32A,
    door_n: I32A,
    door_last: I64A,
    counts: I64A,
) -> Any:
    """Count an event of a name without a place; the entry that has it now.

    A new name takes the entry that nobody has or that is forgotten, or else the one with the fewest
    events, of those the longest idle.
    """
    first = np.int64(tag & np.uint64(len(door_tag) // WAYS - 1)) * WAYS
    best: Any = first
    fewest: Any = np.int64(1) << 40
    for entry in range(first, first + WAYS):
        is_known = door_n[entry] > 0 and number - door_last[entry] <= limits[DOOR_MEMORY]
        if is_known and door_tag[entry] == tag and door_model[entry] == model:
            # More than that is never asked for; so the count cannot overflow.
            if door_n[entry] < limits[ADMIT_AFTER]:
                door_n[entry] += 1
            door_last[entry] = number
            return entry
        n = np.int64(door_n[entry]) if is_known else np.int64(0)
        if n < fewest or (n == fewest and n > 0 and door_last[entry] < door_last[best]):
            best, fewest = entry, n
    if fewest > 0:
        counts[FORGOTTEN] += 1
    door_tag[best] = tag
    door_model[best] = model
    door_n[best] = 1
    door_last[best] = number
    return best


@part
def _victim(number: Any, limits: I64A, last: I64A, after: I32A) -> Any:
    """The place that is given away at this event; -1: none is idle for long enough."""
    n_places = len(last)
    found: Any = -1
    place = after[n_places]
    if place < n_places and number - last[place] >= limits[MIN_IDLE]:
        found = place
    place = after[n_places + 1]
    if (
        place < n_places
        and number - last[place] >= limits[PROTECTED_FOR]
        and (found < 0 or last[place] < last[found])
    ):
        found = place
    return found


@part
def _kind(low: Any, high: Any, kind_words: U64A, kind_of: I32A) -> Any:
    """The kind of a source, from a sorted table of names; 0: it is not in it."""
    start, stop = 0, len(kind_of)
    while start < stop:
        at = (start + stop) // 2
        if kind_words[at, 0] < low or (kind_words[at, 0] == low and kind_words[at, 1] < high):
            start = at + 1
        else:
            stop = at
    if start < len(kind_of) and kind_words[start, 0] == low and kind_words[start, 1] == high:
        return np.int64(kind_of[start])
    return 0


@part
def _repeats(place: Any, row_hash: Any, ring: U64A, ring_n: I64A) -> bool:
    """Whether a source has sent this row among its latest ones; it is the latest one from here on.

    The ring has distinct rows, latest last: one that comes again moves to the end.
    """
    size = ring.shape[1]
    n = ring_n[place]
    held = min(n, size)
    back = 0
    for k in range(1, held + 1):
        if ring[place, (n - k) % size] == row_hash:
            back = k
            break
    if back == 0:
        ring[place, n % size] = row_hash
        ring_n[place] = n + 1
        return False
    for k in range(back, 1, -1):
        ring[place, (n - k) % size] = ring[place, (n - k + 1) % size]
    ring[place, (n - 1) % size] = row_hash
    return True


@part
def _refuse(number: Any, offset: Any, time: Any, limits: I64A, at: I64A) -> bool:
    """Count a name that got no place; whether that is to be said now."""
    if at[N_REFUSED] == 0 or number - at[LATEST_NUMBER] > limits[QUIET]:
        at[N_REFUSED] = 0
        at[FIRST_NUMBER] = number
        at[NEXT] = limits[NEEDS]
        at[FIRST_OFFSET] = offset
        at[FIRST_TIME] = time
    at[N_REFUSED] += 1
    at[LATEST_NUMBER] = number
    if at[N_REFUSED] < at[NEXT]:
        return False
    at[NEXT] = 2 * at[N_REFUSED]
    return True


@kernel(
    *(I32_IN, U64_2D_IN, I64_IN, U64_IN, I64_IN, I64_IN),
    *(I64_IN, U64_2D_IN, I32_IN),
    *(U64_2D, I32, I64, U64_2D, I64, I32, U8, I32, I32, I32),
    *(U64, I32, I32, I64, I64, I64),
    *(I32, BOOL, BOOL, I32, I64_2D),
)
def place_rows(
    model: I32A,
    words: U64A,
    number: I64A,
    row_hash: U64A,
    offset: I64A,
    time: I64A,
    limits: I64A,
    kind_words: U64A,
    kind_of: I32A,
    names: U64A,
    owner: I32A,
    last: I64A,
    ring: U64A,
    ring_n: I64A,
    standing: I32A,
    is_protected: U8A,
    before: I32A,
    after: I32A,
    index: I32A,
    door_tag: U64A,
    door_model: I32A,
    door_n: I32A,
    door_last: I64A,
    at: I64A,
    counts: I64A,
    source: I32A,
    is_first: Bool,
    is_repeat: Bool,
    kind: I32A,
    fired: I64A,
) -> int:
    """Find or give each row's source its place; returns how many rows of `fired` are filled."""
    n_places = len(owner)
    n_fired = 0
    for i in range(len(model)):
        low, high, m = words[i, 0], words[i, 1], model[i]
        kind[i] = _kind(low, high, kind_words, kind_of)
        source[i] = -1
        is_first[i] = False
        is_repeat[i] = False
        found = _find(low, high, m, names, owner, index)
        if found >= 0:
            place = np.int64(index[found]) - 1
            _unlink(place, before, after)
        else:
            entry = _knock(
                _tag(low, high, m),
                m,
                number[i],
                limits,
                door_tag,
                door_model,
                door_n,
                door_last,
                counts,
            )
            if door_n[entry] < limits[ADMIT_AFTER]:
                continue
            while at[FREE] < n_places and owner[at[FREE]] >= 0:
                at[FREE] += 1
            if at[FREE] < n_places:
                place = at[FREE]
            else:
                place = np.int64(_victim(number[i], limits, last, after))
                if place < 0:
                    counts[REFUSED] += 1
                    if _refuse(number[i], offset[i], time[i], limits, at):
                        fired[n_fired, FIRED_ROW] = i
                        fired[n_fired, FIRED_N] = at[N_REFUSED]
                        fired[n_fired, FIRED_SEEN] = number[i] - at[FIRST_NUMBER] + 1
                        fired[n_fired, FIRED_OFFSET] = at[FIRST_OFFSET]
                        fired[n_fired, FIRED_TIME] = at[FIRST_TIME]
                        n_fired += 1
                    continue
                _remove(place, names, owner, index)
                _unlink(place, before, after)
                counts[EVICTED] += 1
            door_n[entry] = 0
            door_tag[entry] = 0
            door_model[entry] = 0
            door_last[entry] = 0
            names[place, 0] = low
            names[place, 1] = high
            owner[place] = m
            ring[place, :] = 0
            ring_n[place] = 0
            standing[place] = 0
            is_protected[place] = 0
            # Its position is looked for anew: taking the other one out may have moved what is near.
            index[-1 - _find(low, high, m, names, owner, index)] = place + 1
            is_first[i] = True
            counts[ADMITTED] += 1
        last[place] = number[i]
        _append(place, n_places + np.int64(is_protected[place]), before, after)
        source[i] = place
        if _repeats(place, row_hash[i], ring, ring_n):
            is_repeat[i] = True
            counts[REPEATS] += 1
    return n_fired


@kernel(U64_2D, I32, I32)
def index_places(names: U64A, owner: I32A, index: I32A) -> int:
    """Fill an empty index with the places that are taken; how many names are twice there."""
    n_twice = 0
    for place in range(len(owner)):
        if owner[place] < 0:
            continue
        at = _find(names[place, 0], names[place, 1], owner[place], names, owner, index)
        if at >= 0:
            n_twice += 1
        else:
            index[-1 - at] = place + 1
    return n_twice
