"""Rows as the security banks see them: hashes of their values, scaled columns, class numbers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    F64_IN,
    I32,
    I32_IN,
    I64_IN,
    U8_IN,
    kernel,
    part,
)
from schemas.batch import F64 as F64A
from schemas.batch import I32 as I32A
from schemas.batch import I64 as I64A
from schemas.batch import U8 as U8A
from schemas.batch import U64 as U64A

U64: Final = types.Array(types.uint64, 1, "C")
U64_IN: Final = types.Array(types.uint64, 1, "C", readonly=True)
F32: Final = types.Array(types.float32, 1, "C")
F32_2D: Final = types.Array(types.float32, 2, "C")
I64_2D_IN: Final = types.Array(types.int64, 2, "C", readonly=True)

# As `schemas.batch.ValueKind`.
_NUMBER, _NULL, _STRING, _BOOLEAN, _INVALID = range(5)

# Of `output`: what a model's answers are.
IS_BINARY: Final = 1
"""There are at most two classes."""
HAS_PROBABILITY: Final = 2
"""All scores were within [0, 1]."""
SCORE_IS_CLASS: Final = 4
"""There were scores alone: what is predicted is whether they reach one half."""

# Of splitmix64 (Steele, Lea and Flood 2014).
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_M1: Final = np.uint64(0xBF58476D1CE4E5B9)
_M2: Final = np.uint64(0x94D049BB133111EB)
_30: Final = np.uint64(30)
_27: Final = np.uint64(27)
_31: Final = np.uint64(31)
_ZERO: Final = np.uint64(0)
_CATEGORY: Final = np.uint64(0xFFFFFF)
"""24 bits: so many a float32 holds exactly."""


@part
def _mixed(x: Any) -> Any:
    """64 bits without a pattern."""
    x = (x ^ (x >> _30)) * _M1
    x = (x ^ (x >> _27)) * _M2
    return x ^ (x >> _31)


@kernel(I64_IN, I32_IN, I64_IN, U64_IN, U8_IN, U64_IN, I64_IN, U64)
def hash_rows(
    value_ptr: I64A,
    shape: I32A,
    shape_ptr: I64A,
    shape_key: U64A,
    kind: U8A,
    word: U64A,
    number: I64A,
    row_hash: U64A,
) -> int:
    """Hash the values of each row, whatever is missing left out; returns how many rows there are.

    `shape_key` has a secret word for each feature of each shape. A value that cannot be told from
    others makes the row one that never comes again.
    """
    for i in range(len(shape)):
        row_hash[i] = _ZERO
        if shape[i] < 0:
            continue
        first = shape_ptr[shape[i]] - value_ptr[i]
        # A sum of keyed hashes: it can be done in any order, so that no value waits for another.
        total = _STEP
        for v in range(value_ptr[i], value_ptr[i + 1]):
            if kind[v] == _NULL:
                continue
            x = word[v]
            if kind[v] == _INVALID:
                x = np.uint64(number[i])
            total += _mixed((x ^ shape_key[first + v]) + np.uint64(kind[v]) * _STEP)
        row_hash[i] = _mixed(total)
    return len(shape)


@kernel(
    *(I64_IN, I64_IN, I64_IN, I32_IN, I32_IN, I32_IN),
    *(U8_IN, U64_IN, F64_IN),
    *(I32_IN, F64_IN, F64_IN, F64_IN, U64_IN),
    F32_2D,
)
def scale_rows(
    first: I64A,
    stop: I64A,
    map_at: I64A,
    entry_of: I32A,
    n_dims: I32A,
    n_numbers: I32A,
    kind: U8A,
    word: U64A,
    number: F64A,
    column: I32A,
    centre: F64A,
    scale: F64A,
    sign: F64A,
    key: U64A,
    z: NDArray[np.float32],
) -> int:
    """Scale rows; returns how many there are.

    Row i has the values first[i]..stop[i]-1; the value v of it is that of the feature
    `entry_of[map_at[i] + v - first[i]]` (-1: of none) of `column`, `centre`, `scale`, `sign` and
    `key`. Its model has `n_dims[i]` columns, of which `n_numbers[i]` are numbers. `word` are the
    values' words, and `number` is the same memory as doubles. z (n, MAX_DIMS) is overwritten.
    """
    width = z.shape[1]
    is_there = np.zeros(width, np.bool_)
    folded = np.zeros(width, np.uint64)
    for i in range(len(first)):
        for c in range(width):
            z[i, c] = 0.0
            is_there[c] = False
            folded[c] = _ZERO
        for v in range(first[i], stop[i]):
            entry = entry_of[map_at[i] + v - first[i]]
            if entry < 0 or kind[v] == _NULL or kind[v] == _INVALID:
                continue
            c = column[entry]
            if c >= n_numbers[i]:
                folded[c] = _mixed(folded[c] + _mixed(word[v] ^ key[entry]))
                is_there[c] = True
                continue
            if kind[v] == _STRING:
                continue
            x = number[v]
            if kind[v] == _BOOLEAN:
                x = np.float64(word[v])
            scaled = (x - centre[entry]) / scale[entry]
            z[i, c] += sign[entry] * min(max(scaled, -8.0), 8.0)
            is_there[c] = True
        for c in range(n_dims[i]):
            if not is_there[c]:
                z[i, c] = -9.0
            elif c < n_numbers[i]:
                z[i, c] = min(max(z[i, c], np.float32(-8.0)), np.float32(8.0))
            else:
                z[i, c] = np.float32(folded[c] & _CATEGORY)
    return len(first)


@kernel(I32_IN, I64_IN, F64_IN, I64_2D_IN, I32_IN, U8_IN, I32, F32)
def read_outputs(
    model: I32A,
    code: I64A,
    score: F64A,
    classes: I64A,
    n_classes: I32A,
    output: U8A,
    predicted: I32A,
    margin: NDArray[np.float32],
) -> int:
    """Number the predicted classes and say how far rows are from the boundary; returns their count.

    `classes` (M, MAX_CLASSES) has the codes of each model's classes, of which all that come later
    are the last one. A code of 0 is none.
    """
    last = classes.shape[1] - 1
    for i in range(len(model)):
        m = model[i]
        predicted[i] = 0
        margin[i] = np.nan
        s = score[i]
        is_score = s >= 0.0 and s <= 1.0 and (output[m] & HAS_PROBABILITY) != 0
        if is_score:
            margin[i] = abs(2.0 * s - 1.0) if output[m] & IS_BINARY else s
        if output[m] & SCORE_IS_CLASS:
            predicted[i] = 1 if is_score and s >= 0.5 else 0
        elif n_classes[m] > 0 and code[i] != 0:
            predicted[i] = last
            for c in range(min(n_classes[m], last)):
                if classes[m, c] == code[i]:
                    predicted[i] = c
                    break
    return len(model)
