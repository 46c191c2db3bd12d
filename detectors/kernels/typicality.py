"""How unusual a row's values are by the frozen reference: one lookup for each feature."""

from __future__ import annotations

import numpy as np

from detectors.kernels.compile import F64, F64_IN, I32, I32_IN, I64, I64_IN, U8_IN, kernel, part
from schemas.batch import F64 as F64A
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import U8 as U8A

N_CUTS = 31
"""Of a number, in ascending order; those that are left over are infinite."""
CELL_MISSING, CELL_OTHER, CELL_NEW = 32, 33, 34
"""Beside the cells between the cuts; of categories these alone, and each name."""
N_CELLS = 35
# Indices are unsigned where it costs a third of the time to ask whether one counts from the end.
GRAIN = 16.0
"""Scores are whole multiples of one nat in so many: their sums are exact."""
PERIOD = 16
"""So many events of a model are taken into account at one time in what has been unusual of late."""
FADE = 8
"""Of which one in so many is forgotten each time."""

# As in `detectors.kernels.observe`.
KIND_ANY = 254
UNKNOWN = -1
TOO_LONG = -2


@part
def _name(x: float, kind: int, name_of: I32A) -> int:
    """The number of a category's name; a boolean is its own."""
    if kind == 3:
        return 1 if x == 1.0 else 0
    if x == -1.0:
        return TOO_LONG
    if x >= 0.0 and x < len(name_of):
        return int(name_of[int(x)])
    return UNKNOWN


@part
def _place(number: int, known: I32A, first: int, end: int) -> int:
    """Where `known[first:end]`, ascending, has this number; -1: nowhere."""
    past = end
    while first < end:
        middle = (first + end) >> 1
        if known[middle] < number:
            first = middle + 1
        else:
            end = middle
    return first if first < past and known[first] == number else -1


@part
def _cell(x: float, cuts: F64A, first: int) -> int:
    """The number of cuts not above x, of N_CUTS from `first` on; without a branch to guess."""
    at = first + 16 * np.int64(x >= cuts[np.uint64(first + 15)])
    at += 8 * np.int64(x >= cuts[np.uint64(at + 7)])
    at += 4 * np.int64(x >= cuts[np.uint64(at + 3)])
    at += 2 * np.int64(x >= cuts[np.uint64(at + 1)])
    at += np.int64(x >= cuts[np.uint64(at)])
    return int(at) - first


@kernel(
    *(I32_IN, I32_IN, I64_IN, I32_IN, I64_IN, I32_IN, U8_IN, F64_IN, I32_IN, I64_IN, I32_IN),
    *(I32_IN, I64_IN, I64_IN, I32_IN, F64_IN, U8_IN, I32_IN, I64_IN, I64, I32, F64, I32),
)
def score_rows(
    rows: I32A,
    block_slot: I32A,
    block_row_ptr: I64A,
    of_slot: I32A,
    ptr: I64A,
    feature: I32A,
    expected: U8A,
    cuts: F64A,
    cells: I32A,
    known_ptr: I64A,
    known: I32A,
    known_score: I32A,
    value_ptr: I64A,
    column_ptr: I64A,
    column: I32A,
    value: F64A,
    kind: U8A,
    name_of: I32A,
    model_event: I64A,
    recent: I64A,
    worst: I32A,
    out: F64A,
    which: I32A,
) -> int:
    """Write the mean score of the features of each row of slots that have any into `out` (n,).

    Blocks and columns are those of `detectors.kernels.observe`. Slot s is model `of_slot[s]`, -1:
    none. Model m has the features `ptr[m]:ptr[m + 1]`; feature j has N_CUTS of `cuts`, N_CELLS of
    `cells` (scores in 1/GRAIN nat) and the names `known[known_ptr[j]:known_ptr[j + 1]]`. `recent`
    is the sum of its scores, which fades, and `worst` (models,) the feature whose sum was the
    largest when it last faded; both go on. As of each row it stands in `which` (n,). Rows of other
    slots are left as they are.
    """
    for b in range(len(block_slot)):
        m = of_slot[block_slot[b]]
        if m < 0:
            continue
        first = ptr[m]
        n_features = ptr[m + 1] - first
        for r in range(block_row_ptr[b], block_row_ptr[b + 1]):
            i = rows[r]
            at, map_at = value_ptr[i], column_ptr[i]
            total = np.int64(0)
            for j in range(first, first + n_features):
                c = column[np.uint64(map_at + feature[j])]
                wanted = expected[j]
                score = np.int64(cells[j * N_CELLS + CELL_MISSING])
                if c >= 0:
                    got = kind[np.uint64(at + c)]
                    if got == wanted:
                        if wanted == 0:
                            cell = _cell(value[np.uint64(at + c)], cuts, j * N_CUTS)
                            score = np.int64(cells[np.uint64(j * N_CELLS + cell)])
                        else:
                            name = _name(value[at + c], wanted, name_of)
                            place = _place(name, known, known_ptr[j], known_ptr[j + 1])
                            if place >= 0:
                                score = np.int64(known_score[place])
                            elif name == TOO_LONG:
                                score = np.int64(cells[j * N_CELLS + CELL_OTHER])
                            else:
                                score = np.int64(cells[j * N_CELLS + CELL_NEW])
                    elif wanted == KIND_ANY and (got == 0 or 2 <= got <= 3):
                        score = np.int64(cells[j * N_CELLS])
                recent[np.uint64(j)] += score
                total += score
            out[i] = total / (GRAIN * n_features)
            if (model_event[i] + 1) % PERIOD == 0:
                most = recent[first]
                worst[m] = feature[first]
                for j in range(first, first + n_features):
                    if recent[j] > most:
                        most = recent[j]
                        worst[m] = feature[j]
                    recent[j] -= recent[j] // FADE
            which[i] = worst[m]
    return 0
