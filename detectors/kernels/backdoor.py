"""Disagreements by slice of the features and by label, beside how many were expected there."""

from __future__ import annotations

from typing import Final

from numba import types

from detectors.kernels.compile import (
    DONE,
    F64_2D,
    I32_IN,
    I64_2D,
    I64_IN,
    U8_IN,
    kernel,
    part,
)
from schemas.batch import F64 as F64A
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import U8 as U8A

I64_3D: Final = types.Array(types.int64, 3, "C")
F64_3D: Final = types.Array(types.float64, 3, "C")

N_CLASSES: Final = 16
N_FEATURES: Final = 8
MAX_CODE: Final = 127
N_ROWS: Final = 256
"""Slices of a model that are counted: as many sets as ways."""
N_WAYS: Final = 16
KEY, LABELS, FIRST_OFFSET, FIRST_TIME, QUIET = range(5)
"""Of a slice: feature * 128 + code (0: free), labels, the first disagreement that is counted, and
how many looks ago something was last found in it."""
N_SLICE: Final = 5

# Of splitmix64 (Steele, Lea and Flood 2014), as signed numbers.
_M1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_M2 = 0x94D049BB133111EB - (1 << 64)


@part
def _set_of(key: int, salt: int) -> int:
    x = key ^ salt
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _M1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _M2
    return (x ^ ((x >> 31) & 0x1FFFFFFFF)) & (N_ROWS // N_WAYS - 1)


@part
def _row_of(m: int, key: int, salt: int, slices: I64A, found: F64A) -> int:
    """The row of a slice; where it has none, that of the smallest of its set that is not suspect.

    -1: all of the set are suspect. The row that is given away has another key.
    """
    first = _set_of(key, salt) * N_WAYS
    best = -1
    for row in range(first, first + N_WAYS):
        if slices[m, row, KEY] == key:
            return row
        if found[m, row] > 0.0:
            continue
        if best < 0 or slices[m, row, LABELS] < slices[m, best, LABELS]:
            best = row
    return best


@kernel(
    *(I32_IN, I64_IN, I64_IN, I64_IN, U8_IN, U8_IN, U8_IN, I64_IN),
    *(types.int64, types.int64, types.int64),
    *(F64_3D, F64_3D, I64_3D, F64_2D, I64_3D, F64_3D, I64_2D, F64_2D),
)
def count_slices(
    slot: I32A,
    words: I64A,
    offset: I64A,
    time: I64A,
    predicted: U8A,
    label: U8A,
    confidence_bin: U8A,
    is_hit: I64A,
    start: int,
    stop: int,
    salt: int,
    rates: F64A,
    shares: F64A,
    slices: I64A,
    found: F64A,
    hits: I64A,
    expected: F64A,
    all_hits: I64A,
    all_expected: F64A,
) -> int:
    """Count the rows from `start` to `stop` that have a bin, each in the slices of its word.

    `hits` and `expected` (M, N_ROWS, N_CLASSES) count disagreements by label, `all_hits` and
    `all_expected` (M, N_CLASSES) those of all labels of the model. Returns `DONE`.
    """
    for i in range(start, stop):
        b = confidence_bin[i]
        if b == 255:
            continue
        m, c, y = slot[i], predicted[i], label[i]
        p = rates[m, c, b]
        for k in range(N_CLASSES):
            all_expected[m, k] += p * shares[m, c, k]
        all_hits[m, y] += is_hit[i]
        for feature in range(N_FEATURES):
            code = (words[i] >> (8 * feature)) & 0xFF
            if code == 0 or code > MAX_CODE:
                continue
            key = feature * (MAX_CODE + 1) + code
            row = _row_of(m, key, salt, slices, found)
            if row < 0:
                continue
            if slices[m, row, KEY] != key:
                slices[m, row, :] = 0
                slices[m, row, KEY] = key
                hits[m, row, :] = 0
                expected[m, row, :] = 0.0
            slices[m, row, LABELS] += 1
            for k in range(N_CLASSES):
                expected[m, row, k] += p * shares[m, c, k]
            if is_hit[i] == 0:
                continue
            n_before = 0
            for k in range(N_CLASSES):
                n_before += hits[m, row, k]
            if n_before == 0:
                slices[m, row, FIRST_OFFSET] = offset[i]
                slices[m, row, FIRST_TIME] = time[i]
            hits[m, row, y] += 1
    return DONE
