"""Labels against what is expected of them: a CUSUM by source and class pair, and one of a model.

Whoever turns a share f of labels over makes a disagreement that is expected with probability p one
of p + f (1 - 2 p). The CUSUM of a source sums up the log likelihood ratio of f = `FLIPPED` to none
(Page 1954): where the model is sure a disagreement says much, where it guesses nothing. That of a
model is of `POOL_RATIO` times the odds. The exponential of either has the mean 1 wherever labels
are as expected, whatever p follows what.

All in the order of the log: classes get numbers, sources get places and lose them. Everything
stands in this file, since numba's cache looks at no other one.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    DONE,
    F64_2D,
    F64_IN,
    FULL,
    I32,
    I32_IN,
    I64,
    I64_2D,
    I64_IN,
    U8,
    kernel,
    part,
)
from schemas.batch import F64 as F64A
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import U8 as U8A

I64_2D_IN: Final = types.Array(types.int64, 2, "C", readonly=True)
I64_3D: Final = types.Array(types.int64, 3, "C")
F64_3D: Final = types.Array(types.float64, 3, "C")
F32_2D: Final = types.Array(types.float32, 2, "C")
U16_2D: Final = types.Array(types.uint16, 2, "C")

LEARNED: Final = 4
"""Status: a model has all labels of its reference; freeze it and call again."""
EXAMINE: Final = 5
"""Status: so many labels of a model since the last look; look and call again."""

N_CLASSES: Final = 16
OTHER: Final = N_CLASSES - 1
"""The number of all classes beyond the table, and of labels that no prediction has said yet."""
ANY: Final = N_CLASSES * N_CLASSES
"""The pair of all disagreements; the others are predicted * N_CLASSES + label."""
N_BINS: Final = 10
"""Of confidence; a prediction without a score has the bin behind them."""
N_LANES: Final = 9
"""CUSUMs of a place: that of all disagreements, and of as many pairs as there are others."""
EXAMINE_LABELS: Final = 1024
QUIET_LABELS: Final = 1024
"""A source that has been accused begins anew after so many labels without new evidence."""

# Of a model: whole numbers, then others.
LABELS, PHASE, KNOWN, TWO_SIDED, REVIEWED = range(5)
EPOCH, POOL_HITS, POOL_SEEN, POOL_OFFSET, POOL_TIME, REST_HITS = range(5, 11)
N_MODEL: Final = 11
THRESHOLD, POOL_THRESHOLD, POOL_STATISTIC, POOL_LEVEL, POOL_EXPECTED, REST_EXPECTED = range(6)
N_MODEL_X: Final = 6
LEARNING, FROZEN = range(2)

# Of a place.
OWNER, WORD_LOW, WORD_HIGH, LAST, SEEN, PEAK_SEEN, OWN_EPOCH, OWN_HITS = range(8)
N_PLACE: Final = 8
LEVEL, PEAK, OWN_EXPECTED = range(3)
N_PLACE_X: Final = 3
# Of a CUSUM.
N_GROUPS: Final = 3
"""Of predictions, by how sure they are."""
PAIR, LANE_SEEN, FIRST_OFFSET, FIRST_TIME, HITS, BASE_HITS = 0, 1, 2, 3, 4, 4 + N_GROUPS
N_LANE: Final = 4 + 2 * N_GROUPS
STATISTIC, EXPECTED, BASE_EXPECTED = 0, 1, 1 + N_GROUPS
N_LANE_X: Final = 1 + 2 * N_GROUPS
"""Hits, what was expected, and both of all sources as they were when it began, stand by group."""

# Of a name at the door: a keyed hash, how often it came, and when it was last there.
DOOR_KEY, DOOR_COUNT, DOOR_LAST = range(3)
N_DOOR: Final = 3
DOOR_WAYS: Final = 4

CLOCK, HAND, REFUSED, REFUSED_LEVEL, LAST_REFUSED, ADMITTED, EVICTED = range(7)
"""Of the bank: labels so far, where the search for a place goes on, refusals since it was last
calm, at how many of them the next finding is, when the last was; admitted and evicted in all."""
N_NUMBERS: Final = 7

ADMIT_AFTER: Final = 4
IDLE_LABELS: Final = 1_000
FORGOTTEN_LABELS: Final = 1_000_000
WINDOW: Final = 64
"""Places that one search for a place looks at."""
FIRST_PRESSURE: Final = 256

# Of a firing.
ROW, KIND, FIRED_PAIR, FIRED_HITS, FIRED_SEEN, FIRED_OFFSET, FIRED_TIME = range(7)
N_FIRED: Final = 7
FIRED_STATISTIC, FIRED_THRESHOLD, FIRED_EXPECTED = range(3)
N_FIRED_X: Final = 3
OF_SOURCE, OF_TABLE = range(2)

FLIPPED: Final = 0.15
"""The share of a source's labels that its CUSUM finds soonest."""
LEAST_P: Final = 0.01
"""No disagreement was less expected than this: so one of them never says much."""
LN_2: Final = 0.6931471805599453
GROUP_P: Final = (0.06, 0.15)
"""Below these probabilities of a disagreement predictions are in the first group, the second."""
GROUP_RATIO: Final = (4.0, 2.0, 1.3)
"""How much more often than others who lies disagrees, in each group: about what it is where a
share `FLIPPED` or a little more is turned over."""
_LN_GROUP_RATIO = (1.3862943611198906, 0.6931471805599453, 0.26236426446749106)
LEAST_HITS: Final = 8
OTHERS_THRESHOLD: Final = 10.0
"""How far a source must stand out from all others of its model. When all of them drift, at most one
in 20,000 is accused: the exponential of what is tested has the mean 1."""
POOL_RATIO: Final = 1.3
LN_POOL_RATIO: Final = 0.26236426446749106
_POOL_EXCESS = POOL_RATIO - 1.0

# Of splitmix64 (Steele, Lea and Flood 2014), as signed numbers.
_M1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_M2 = 0x94D049BB133111EB - (1 << 64)
_ROOT_HALF = 0.7071067811865476
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)


@part
def _log_1p(x: float) -> float:
    """ln(1 + x) for 0 <= x <= 1, to 1e-10: 2 artanh(x / (2 + x)) as a series.

    The C library's differs between machines, and what it says would be in the state.
    """
    s = x / (2.0 + x)
    z = s * s
    t = 1.0 / 17.0
    t = t * z + 1.0 / 15.0
    t = t * z + 1.0 / 13.0
    t = t * z + 1.0 / 11.0
    t = t * z + 1.0 / 9.0
    t = t * z + 1.0 / 7.0
    t = t * z + 1.0 / 5.0
    t = t * z + 1.0 / 3.0
    t = t * z + 1.0
    return 2.0 * s * t


@part
def _log(x: float) -> float:
    """ln(x) for x > 0 to 1e-10, of additions, products and quotients alone."""
    m, e = math.frexp(x)
    if m < _ROOT_HALF:
        m *= 2.0
        e -= 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    t = 1.0 / 13.0
    t = t * z + 1.0 / 11.0
    t = t * z + 1.0 / 9.0
    t = t * z + 1.0 / 7.0
    t = t * z + 1.0 / 5.0
    t = t * z + 1.0 / 3.0
    t = t * z + 1.0
    return 2.0 * s * t + e * LN_2


@part
def _evidence(p: float, is_hit: bool) -> float:
    """The log likelihood ratio of labels that are turned over to honest ones, for one label."""
    p = max(p, LEAST_P)
    if p >= 0.5:
        return 0.0
    more = FLIPPED * (1.0 - 2.0 * p)
    return _log(1.0 + more / p) if is_hit else _log(1.0 - more / (1.0 - p))


@part
def _mixed(x: int) -> int:
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _M1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _M2
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


@part
def _hash(model: int, low: int, high: int, salt: int) -> int:
    """Of a source of a model; who does not know the salt cannot make two of them meet."""
    return _mixed(_mixed(_mixed(low ^ salt) ^ high) + (model + 1) * _GOLDEN)


@part
def _find(model: int, low: int, high: int, home: int, places: I64A, index: I32A) -> int:
    """Where a source stands in the index; where it is not there, -1 less the place for it."""
    mask = len(index) - 1
    at = home & mask
    while index[at] >= 0:
        p = index[at]
        if (
            places[p, WORD_LOW] == low
            and places[p, WORD_HIGH] == high
            and places[p, OWNER] == model
        ):
            return at
        at = (at + 1) & mask
    return -1 - at


@part
def _remove(place: int, places: I64A, index: I32A, salt: int) -> None:
    """Take a place out of the index; those behind it move up, so that no search ends too soon."""
    mask = len(index) - 1
    low, high = places[place, WORD_LOW], places[place, WORD_HIGH]
    model = places[place, OWNER]
    hole = _find(model, low, high, _hash(model, low, high, salt), places, index)
    if hole < 0:
        return
    at = (hole + 1) & mask
    while index[at] >= 0:
        p = index[at]
        home = _hash(places[p, OWNER], places[p, WORD_LOW], places[p, WORD_HIGH], salt)
        if ((at - home) & mask) >= ((at - hole) & mask):
            index[hole] = p
            hole = at
        at = (at + 1) & mask
    index[hole] = -1


@part
def _standing(
    place: int, places: I64A, levels: F64A, sums: F64A, model_x: F64A, jitter: float
) -> int:
    """How much is held against a source: fourths of what it takes to accuse it."""
    most = 0.0
    for k in range(N_LANES):
        most = max(most, sums[place, k, STATISTIC])
    held = int(4.0 * most / (model_x[places[place, OWNER], THRESHOLD] * jitter))
    return held + 4 if levels[place, LEVEL] > 0.0 else held


@part
def _clear(place: int, lanes: I64A, sums: F64A, levels: F64A) -> None:
    for k in range(N_LANES):
        lanes[place, k, :] = 0
        lanes[place, k, PAIR] = ANY if k == 0 else -1
        sums[place, k, :] = 0.0
    levels[place, LEVEL] = 0.0
    levels[place, PEAK] = 0.0


@part
def _give_up(place: int, model_n: I64A, model_x: F64A, places: I64A, levels: F64A) -> None:
    """What a place has counted for its model's pool goes to the sources that have no place."""
    m = places[place, OWNER]
    if places[place, OWN_EPOCH] == model_n[m, EPOCH]:
        model_n[m, REST_HITS] += places[place, OWN_HITS]
        model_x[m, REST_EXPECTED] += levels[place, OWN_EXPECTED]


@part
def _free_place(
    model_n: I64A,
    model_x: F64A,
    places: I64A,
    levels: F64A,
    lanes: I64A,
    sums: F64A,
    index: I32A,
    numbers: I64A,
    salt: int,
    jitter: float,
) -> int:
    """A place for a new source; -1: those that were looked at are needed."""
    n = places.shape[0]
    window = min(WINDOW, n)
    n_protected, lowest, least = 0, -1, 0
    found = -1
    hand = numbers[HAND]
    for step in range(window):
        p = (hand + step) % n
        numbers[HAND] = (p + 1) % n
        if places[p, OWNER] < 0:
            found = p
            break
        idle = numbers[CLOCK] - places[p, LAST]
        if idle < IDLE_LABELS:
            continue
        standing = _standing(p, places, levels, sums, model_x, jitter)
        if standing == 0 or idle >= FORGOTTEN_LABELS:
            found = p
            break
        n_protected += 1
        if lowest < 0 or standing < least:
            lowest, least = p, standing
    if found < 0 and 2 * n_protected > window:
        found = lowest
    if found >= 0 and places[found, OWNER] >= 0:
        _give_up(found, model_n, model_x, places, levels)
        _remove(found, places, index, salt)
        places[found, OWNER] = -1
        numbers[EVICTED] += 1
    if found >= 0:
        places[found, :] = 0
        levels[found, :] = 0.0
        _clear(found, lanes, sums, levels)
    return found


@part
def _knock(key: int, door: I64A, clock: int) -> int:
    """Count a name at the door; where it stands there: set * DOOR_WAYS + way."""
    key = key if key != 0 else 1
    own = (key >> 20) & (door.shape[0] - 1)
    best = 0
    for way in range(DOOR_WAYS):
        if door[own, way, DOOR_KEY] == key:
            door[own, way, DOOR_COUNT] = min(door[own, way, DOOR_COUNT] + 1, ADMIT_AFTER)
            door[own, way, DOOR_LAST] = clock
            return int(own * DOOR_WAYS + way)
        count, least = door[own, way, DOOR_COUNT], door[own, best, DOOR_COUNT]
        if count < least or (
            count == least and door[own, way, DOOR_LAST] < door[own, best, DOOR_LAST]
        ):
            best = way
    door[own, best, DOOR_KEY] = key
    door[own, best, DOOR_COUNT] = 1
    door[own, best, DOOR_LAST] = clock
    return int(own * DOOR_WAYS + best)


@part
def _observe(
    place: int,
    k: int,
    is_hit: bool,
    p: float,
    group: int,
    hits: I64A,
    expected: F64A,
    offset: int,
    time: int,
    lanes: I64A,
    sums: F64A,
) -> None:
    """Advance a CUSUM of a place by a label that disagrees with probability p.

    `hits` and `expected` (N_GROUPS,) are the model's of the same kind, before this label.
    """
    statistic = sums[place, k, STATISTIC]
    if statistic <= 0.0:
        if not is_hit:
            return
        lanes[place, k, LANE_SEEN] = 0
        lanes[place, k, FIRST_OFFSET] = offset
        lanes[place, k, FIRST_TIME] = time
        for g in range(N_GROUPS):
            lanes[place, k, HITS + g] = 0
            lanes[place, k, BASE_HITS + g] = hits[g]
            sums[place, k, EXPECTED + g] = 0.0
            sums[place, k, BASE_EXPECTED + g] = expected[g]
    statistic += _evidence(p, is_hit)
    if is_hit:
        lanes[place, k, HITS + group] += 1
    lanes[place, k, LANE_SEEN] += 1
    sums[place, k, EXPECTED + group] += p
    sums[place, k, STATISTIC] = max(statistic, 0.0)
    if statistic <= 0.0 and k > 0:
        lanes[place, k, PAIR] = -1


@part
def _total_hits(place: int, k: int, lanes: I64A) -> int:
    return int(lanes[place, k, HITS] + lanes[place, k, HITS + 1] + lanes[place, k, HITS + 2])


@part
def _total_expected(place: int, k: int, sums: F64A) -> float:
    return float(
        sums[place, k, EXPECTED] + sums[place, k, EXPECTED + 1] + sums[place, k, EXPECTED + 2]
    )


@part
def _against_others(
    place: int,
    k: int,
    m: int,
    hits: I64A,
    expected: F64A,
    shares: F64A,
    lanes: I64A,
    sums: F64A,
) -> float:
    """The log likelihood ratio of this source disagreeing more often than others to as often.

    Given how many disagreements there were of all since its CUSUM began, among predictions that
    are as sure, each is this source's with the share that it has in what was expected: what moved
    all of them cancels.
    """
    pair = lanes[place, k, PAIR]
    of = N_CLASSES if pair == ANY else pair // N_CLASSES
    share_of_pair = 1.0 if pair == ANY else shares[m, of, pair % N_CLASSES]
    ratio = 0.0
    for g in range(N_GROUPS):
        own = lanes[place, k, HITS + g]
        n_all = max(hits[m, pair, g] - lanes[place, k, BASE_HITS + g], own)
        total = (expected[m, of, g] - sums[place, k, BASE_EXPECTED + g]) * share_of_pair
        part_of_it = sums[place, k, EXPECTED + g]
        share = min(part_of_it / total, 1.0) if total > 0.0 else 1.0
        ratio += own * _LN_GROUP_RATIO[g] - n_all * _log(1.0 + (GROUP_RATIO[g] - 1.0) * share)
    return ratio


@part
def _pool(
    m: int,
    place: int,
    is_hit: bool,
    p: float,
    offset: int,
    time: int,
    model_n: I64A,
    model_x: F64A,
    hits: I64A,
    expected: F64A,
    base_hits: I64A,
    base_expected: F64A,
    places: I64A,
    levels: F64A,
) -> None:
    """Advance the CUSUM of all of a model's labels, and what each source has part in it."""
    statistic = model_x[m, POOL_STATISTIC]
    if statistic <= 0.0:
        if not is_hit:
            return
        model_n[m, EPOCH] += 1
        model_n[m, POOL_HITS] = 0
        model_n[m, POOL_SEEN] = 0
        model_n[m, POOL_OFFSET] = offset
        model_n[m, POOL_TIME] = time
        model_n[m, REST_HITS] = 0
        model_x[m, POOL_EXPECTED] = 0.0
        model_x[m, REST_EXPECTED] = 0.0
        for pair in range(ANY):
            base_hits[m, pair] = hits[m, pair, 0] + hits[m, pair, 1] + hits[m, pair, 2]
        for c in range(N_CLASSES):
            base_expected[m, c] = expected[m, c, 0] + expected[m, c, 1] + expected[m, c, 2]
    statistic -= _log_1p(_POOL_EXCESS * p)
    model_n[m, POOL_SEEN] += 1
    model_x[m, POOL_EXPECTED] += p
    own = 0
    if is_hit:
        statistic += LN_POOL_RATIO
        model_n[m, POOL_HITS] += 1
        own = 1
    model_x[m, POOL_STATISTIC] = max(statistic, 0.0)
    if place < 0:
        model_n[m, REST_HITS] += own
        model_x[m, REST_EXPECTED] += p
        return
    if places[place, OWN_EPOCH] != model_n[m, EPOCH]:
        places[place, OWN_EPOCH] = model_n[m, EPOCH]
        places[place, OWN_HITS] = 0
        levels[place, OWN_EXPECTED] = 0.0
    places[place, OWN_HITS] += own
    levels[place, OWN_EXPECTED] += p


@part
def _confidence_bin(score: float, is_two_sided: bool, m: int, cuts: F64A) -> int:
    """How many cuts are below the prediction's confidence; the bin behind all where it has none."""
    if score != score:  # noqa: PLR0124  # NaN: there is no score
        return N_BINS
    x = abs(2.0 * score - 1.0) if is_two_sided else score
    b = 0
    for k in range(N_BINS - 1):
        if x > cuts[m, k]:
            b += 1
    return b


@part
def _class_of(code: int, m: int, may_add: bool, model_n: I64A, class_code: I64A) -> int:
    """The number of a class of the model, in the order in which predictions first said them."""
    n = model_n[m, KNOWN]
    for c in range(n):
        if class_code[m, c] == code:
            return c
    if not may_add or n >= OTHER:
        return OTHER
    class_code[m, n] = code
    model_n[m, KNOWN] += 1
    return int(n)


@kernel(I64_2D, I32, types.int64)
def index_givers(places: I64A, index: I32A, salt: int) -> int:
    """Enter every place that has an owner into an index that is empty; how many were there twice.

    `index` has a power of two entries, at least twice as many as there are places.
    """
    n_twice = 0
    for p in range(places.shape[0]):
        m = places[p, OWNER]
        if m < 0:
            continue
        low, high = places[p, WORD_LOW], places[p, WORD_HIGH]
        at = _find(m, low, high, _hash(m, low, high, salt), places, index)
        if at >= 0:
            n_twice += 1
        else:
            index[-1 - at] = p
    return n_twice


@kernel(
    *(I32_IN, I64_IN, I64_IN, F64_IN, I64_2D_IN, I64_IN, I64_IN),
    *(I64_2D, F64_2D, I64_2D, F32_2D, U16_2D, F64_2D, F64_3D, F64_3D),
    *(I64_3D, F64_3D, I64_2D, F64_2D),
    *(I64_2D, F64_2D, I64_3D, F64_3D, I32, I64_3D, I64),
    *(types.int64, types.float64),
    *(I64, U8, U8, U8, I64_2D, F64_2D),
)
def watch_labels(
    slot: I32A,
    predicted_code: I64A,
    label_code: I64A,
    score: F64A,
    source: I64A,
    offset: I64A,
    time: I64A,
    model_n: I64A,
    model_x: F64A,
    class_code: I64A,
    learn_score: NDArray[np.float32],
    learn_pair: NDArray[np.uint16],
    cuts: F64A,
    rates: F64A,
    shares: F64A,
    hits: I64A,
    expected: F64A,
    base_hits: I64A,
    base_expected: F64A,
    places: I64A,
    levels: F64A,
    lanes: I64A,
    sums: F64A,
    index: I32A,
    door: I64A,
    numbers: I64A,
    salt: int,
    jitter: float,
    cursor: I64A,
    row_predicted: U8A,
    row_label: U8A,
    row_bin: U8A,
    fired: I64A,
    fired_x: F64A,
) -> int:
    """Fold labels from row `cursor[0]` on; `cursor[1]` firings stand in `fired` and `fired_x`.

    Of each row that was judged its classes and bin are written; of others the bin is 255. Returns
    `DONE`, `FULL` (empty the firings), `LEARNED` or `EXAMINE` (of the model of the row before
    `cursor[0]`); but for the first, call again.
    """
    while cursor[0] < len(slot):
        if cursor[1] > fired.shape[0] - 2:
            return FULL
        i = cursor[0]
        cursor[0] += 1
        m = slot[i]
        row_bin[i] = 255
        if predicted_code[i] == 0 or label_code[i] == 0:
            continue
        numbers[CLOCK] += 1
        model_n[m, LABELS] += 1
        c = _class_of(predicted_code[i], m, True, model_n, class_code)
        y = _class_of(label_code[i], m, False, model_n, class_code)
        is_hit = predicted_code[i] != label_code[i]
        if model_n[m, PHASE] == LEARNING:
            n = model_n[m, LABELS] - 1
            learn_score[m, n] = score[i]
            learn_pair[m, n] = (ANY if is_hit else 0) + c * N_CLASSES + y
            if n + 1 == learn_score.shape[1]:
                return LEARNED
            continue
        b = _confidence_bin(score[i], model_n[m, TWO_SIDED] != 0, m, cuts)
        row_predicted[i], row_label[i], row_bin[i] = c, y, b
        p = rates[m, c, b]
        group = 0 if p < GROUP_P[0] else 1 if p < GROUP_P[1] else 2
        low, high = source[i, 0], source[i, 1]
        key = _hash(m, low, high, salt)
        at = _find(m, low, high, key, places, index)
        place = index[at] if at >= 0 else -1
        if place < 0:
            knock = _knock(key, door, numbers[CLOCK])
            if door[knock // DOOR_WAYS, knock % DOOR_WAYS, DOOR_COUNT] >= ADMIT_AFTER:
                place = _free_place(
                    model_n, model_x, places, levels, lanes, sums, index, numbers, salt, jitter
                )
                if place >= 0:
                    door[knock // DOOR_WAYS, knock % DOOR_WAYS, :] = 0
                    # Somebody else may have left the index: its entries may have moved.
                    at = _find(m, low, high, key, places, index)
                    index[-1 - at] = place
                    places[place, OWNER] = m
                    places[place, WORD_LOW], places[place, WORD_HIGH] = low, high
                    numbers[ADMITTED] += 1
                else:
                    if numbers[CLOCK] - numbers[LAST_REFUSED] >= FORGOTTEN_LABELS:
                        numbers[REFUSED], numbers[REFUSED_LEVEL] = 0, FIRST_PRESSURE
                    numbers[REFUSED] += 1
                    numbers[LAST_REFUSED] = numbers[CLOCK]
                    if numbers[REFUSED] >= numbers[REFUSED_LEVEL]:
                        f = cursor[1]
                        fired[f, :] = 0
                        fired[f, ROW], fired[f, KIND], fired[f, FIRED_PAIR] = i, OF_TABLE, ANY
                        fired[f, FIRED_HITS] = numbers[REFUSED]
                        fired[f, FIRED_SEEN] = numbers[CLOCK]
                        fired[f, FIRED_OFFSET], fired[f, FIRED_TIME] = offset[i], time[i]
                        fired_x[f, FIRED_STATISTIC] = numbers[REFUSED]
                        fired_x[f, FIRED_THRESHOLD] = numbers[REFUSED_LEVEL]
                        fired_x[f, FIRED_EXPECTED] = 0.0
                        cursor[1] += 1
                        numbers[REFUSED_LEVEL] = 2 * numbers[REFUSED]
        pair = c * N_CLASSES + y
        if place >= 0:
            places[place, LAST] = numbers[CLOCK]
            places[place, SEEN] += 1
            _observe(
                place,
                0,
                is_hit,
                p,
                group,
                hits[m, ANY],
                expected[m, N_CLASSES],
                offset[i],
                time[i],
                lanes,
                sums,
            )
            is_known = False
            for k in range(1, N_LANES):
                own = lanes[place, k, PAIR]
                if own < 0 or own // N_CLASSES != c:
                    continue
                is_known = is_known or own == pair
                share = shares[m, c, own % N_CLASSES]
                _observe(
                    place,
                    k,
                    is_hit and own == pair,
                    p * share,
                    group,
                    hits[m, own],
                    expected[m, c],
                    offset[i],
                    time[i],
                    lanes,
                    sums,
                )
            if is_hit and not is_known:
                k = 1
                for other in range(2, N_LANES):
                    if sums[place, other, STATISTIC] < sums[place, k, STATISTIC]:
                        k = other
                q = p * shares[m, c, y]
                if sums[place, k, STATISTIC] < _evidence(q, True):
                    sums[place, k, STATISTIC] = 0.0
                    lanes[place, k, PAIR] = pair
                    _observe(
                        place,
                        k,
                        True,
                        q,
                        group,
                        hits[m, pair],
                        expected[m, c],
                        offset[i],
                        time[i],
                        lanes,
                        sums,
                    )
        _pool(
            m,
            place,
            is_hit,
            p,
            offset[i],
            time[i],
            model_n,
            model_x,
            hits,
            expected,
            base_hits,
            base_expected,
            places,
            levels,
        )
        if is_hit:
            hits[m, ANY, group] += 1
            hits[m, pair, group] += 1
        expected[m, c, group] += p
        expected[m, N_CLASSES, group] += p
        if place >= 0:
            threshold = model_x[m, THRESHOLD] * jitter
            strongest, k = 0.0, 0
            for lane in range(N_LANES):
                statistic = sums[place, lane, STATISTIC]
                if statistic < threshold:
                    continue
                more = _against_others(place, lane, m, hits, expected, shares, lanes, sums)
                if more <= 0.0:
                    # What was held against it holds for all: what is next counts anew.
                    sums[place, lane, STATISTIC] = 0.0
                    if lane > 0:
                        lanes[place, lane, PAIR] = -1
                elif (
                    more >= OTHERS_THRESHOLD
                    and statistic > strongest
                    and _total_hits(place, lane, lanes) >= LEAST_HITS
                ):
                    strongest, k = statistic, lane
            level = levels[place, LEVEL]
            if strongest > 0.0 and strongest >= 2.0 * level:
                f = cursor[1]
                fired[f, ROW], fired[f, KIND] = i, OF_SOURCE
                fired[f, FIRED_PAIR] = lanes[place, k, PAIR]
                fired[f, FIRED_HITS] = _total_hits(place, k, lanes)
                fired[f, FIRED_SEEN] = lanes[place, k, LANE_SEEN]
                fired[f, FIRED_OFFSET] = lanes[place, k, FIRST_OFFSET]
                fired[f, FIRED_TIME] = lanes[place, k, FIRST_TIME]
                fired_x[f, FIRED_STATISTIC] = strongest
                fired_x[f, FIRED_THRESHOLD] = max(threshold, 2.0 * level)
                fired_x[f, FIRED_EXPECTED] = _total_expected(place, k, sums)
                cursor[1] += 1
                levels[place, LEVEL] = strongest
                levels[place, PEAK] = strongest
                places[place, PEAK_SEEN] = places[place, SEEN]
            elif level > 0.0:
                if strongest > levels[place, PEAK]:
                    levels[place, PEAK] = strongest
                    places[place, PEAK_SEEN] = places[place, SEEN]
                elif places[place, SEEN] - places[place, PEAK_SEEN] >= QUIET_LABELS:
                    _clear(place, lanes, sums, levels)
        if model_n[m, LABELS] % EXAMINE_LABELS == 0:
            return EXAMINE
    return DONE
