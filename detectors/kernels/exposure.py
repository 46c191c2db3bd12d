"""How many coarse cells of the input space a source has had answered: HyperLogLog of each place."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from detectors.kernels.compile import (
    BOOL_IN,
    DONE,
    F64,
    F64_2D,
    FULL,
    I32,
    I32_IN,
    I64,
    I64_IN,
    kernel,
    part,
)

U8 = types.Array(types.uint8, 1, "C")
U8_2D = types.Array(types.uint8, 2, "C")
U64 = types.Array(types.uint64, 1, "C")
F32_2D_IN = types.Array(types.float32, 2, "C", readonly=True)
F64_2D_IN = types.Array(types.float64, 2, "C", readonly=True)
F64_3D = types.Array(types.float64, 3, "C")
F64_4D = types.Array(types.float64, 4, "C")

N_AXES: Final = 4
"""Of the grid of cells."""
N_REGISTERS: Final = 256
"""A power of two. The standard error of the estimate is 1.04 / 16 = 6.5 %."""
MAX_RANK: Final = 57
"""Of a hash: 56 bits are left where 8 choose the register."""
N_OCTAVES: Final = 24
"""The curve knows how many cells benign clients have after 1, 2, 4, ... 2 ** 23 rows."""
MIN_ROWS: Final = 64
"""Distinct rows of a source before anything is said of it."""
REACHABLE: Final = 0
EXCESS: Final = 1
"""Columns of the limits."""
_FAR: Final = 1e15
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_ROOT_12: Final = math.sqrt(12.0)


@part
def _mixed(x: np.uint64) -> np.uint64:
    """The output function of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


@part
def _cell(
    z: NDArray[np.float32],
    i: int,
    n_numbers: int,
    n_dims: int,
    axes: NDArray[np.float64],
    phase: NDArray[np.float64],
    salt: np.uint64,
) -> np.uint64:
    """The hash of the cell in which a row lies; `axes` (dims, N_AXES) in cells a unit.

    A category counts as a salted number of variance 1.
    """
    word = _mixed(salt + _GOLDEN)
    for p in range(N_AXES):
        total = phase[p]
        for c in range(n_dims):
            x = np.float64(z[i, c])
            if c >= n_numbers:
                whole = np.int64(x) if abs(x) < _FAR else np.int64(-1)
                bits = _mixed(_mixed(salt ^ np.uint64(whole)) + np.uint64(c))
                x = (np.float64(bits >> np.uint64(11)) / 2.0**53 - 0.5) * _ROOT_12
            total += x * axes[c, p]
        cell = math.floor(total)
        at = np.int64(cell) if abs(cell) < _FAR else np.int64(0)
        word = _mixed(word ^ np.uint64(at))
    return word


@part
def _take(registers: NDArray[np.uint8], word: np.uint64) -> bool:
    """Note a hash; whether that changed anything."""
    at = np.int64(word & np.uint64(N_REGISTERS - 1))
    rest = word >> np.uint64(8)
    rank = 1
    while rank < MAX_RANK and rest & np.uint64(1) == np.uint64(0):
        rest >>= np.uint64(1)
        rank += 1
    if registers[at] >= rank:
        return False
    registers[at] = rank
    return True


@part
def _estimate(registers: NDArray[np.uint8]) -> float:
    """How many distinct hashes were noted: the improved raw estimator.

    Source: Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017),
    algorithm 6; without the correction for ranks beyond the last, which no stream reaches.
    """
    total = 0.0
    empty = 0
    for j in range(N_REGISTERS):
        if registers[j] == 0:
            empty += 1
        else:
            total += 1.0 / np.float64(np.int64(1) << np.int64(registers[j]))
    if empty == N_REGISTERS:
        return 0.0
    # sigma(x) = x + sum over k of x ** (2 ** k) * 2 ** (k - 1), for x < 1.
    x = empty / N_REGISTERS
    weight = 1.0
    sigma = x
    for _ in range(64):
        x *= x
        more = sigma + x * weight
        if more == sigma:
            break
        sigma = more
        weight += weight
    total += N_REGISTERS * sigma
    return N_REGISTERS * N_REGISTERS / (2.0 * math.log(2.0) * total)


@part
def _expected(curve: NDArray[np.float64], n_rows: int) -> float:
    """Cells of benign clients after so many rows: linear between powers of two."""
    octave = 0
    while octave + 2 < N_OCTAVES and (2 << octave) <= n_rows:
        octave += 1
    along = n_rows / (1 << octave) - 1.0
    low, high = curve[octave], curve[octave + 1]
    return float(low + along * (high - low))


@part
def _exposure(cells: float, expected: float, reachable: float) -> float:
    """0..1: the share of all cells, as many times as it is more than benign clients have."""
    share = min(1.0, cells / reachable)
    return min(1.0, share * max(1.0, cells / expected))


@kernel(
    I64_IN,  # offset
    I64_IN,  # event_time_ms
    I32_IN,  # model
    F32_2D_IN,  # z
    BOOL_IN,  # is_repeat
    I32_IN,  # source
    BOOL_IN,  # is_first
    I32_IN,  # kind
    I32_IN,  # n_dims
    I32_IN,  # n_numbers
    types.uint64,  # salt
    F64_4D,  # axes
    F64_3D,  # phase
    F64_3D,  # curve
    F64_3D,  # limits
    F64_2D_IN,  # levels
    U8_2D,  # registers
    I64,  # n_rows
    U8,  # level
    I64,  # first_offset
    I64,  # first_time
    I32,  # place_model
    I32,  # place_kind
    F64,  # said
    I64,  # cursor
)
def exposure_update(
    offset: NDArray[np.int64],
    event_time_ms: NDArray[np.int64],
    model: NDArray[np.int32],
    z: NDArray[np.float32],
    is_repeat: NDArray[np.bool_],
    source: NDArray[np.int32],
    is_first: NDArray[np.bool_],
    kind: NDArray[np.int32],
    n_dims: NDArray[np.int32],
    n_numbers: NDArray[np.int32],
    salt: np.uint64,
    axes: NDArray[np.float64],
    phase: NDArray[np.float64],
    curve: NDArray[np.float64],
    limits: NDArray[np.float64],
    levels: NDArray[np.float64],
    registers: NDArray[np.uint8],
    n_rows: NDArray[np.int64],
    level: NDArray[np.uint8],
    first_offset: NDArray[np.int64],
    first_time: NDArray[np.int64],
    place_model: NDArray[np.int32],
    place_kind: NDArray[np.int32],
    said: NDArray[np.float64],
    cursor: NDArray[np.int64],
) -> int:
    """Go on at row `cursor[0]`; stop behind the first one with which a source reaches a level.

    `FULL`: the place `cursor[1]` came to the level `cursor[2]` (1, 2) with the row before
    `cursor[0]`; `said` holds its exposure, its cells, and those of benign clients. `levels` is
    (1, 2). A model whose `limits` say that nothing is reachable is off.
    """
    for i in range(cursor[0], len(offset)):
        place = source[i]
        if place < 0:
            continue
        if is_first[i]:
            registers[place, :] = 0
            n_rows[place] = 0
            level[place] = 0
        m = model[i]
        k = kind[i]
        # A place is of one source, and so of one model and kind, until it changes hands.
        place_model[place] = m
        place_kind[place] = k
        reachable = limits[m, k, REACHABLE]
        if is_repeat[i] or not reachable > 0.0:
            continue
        if n_rows[place] == 0:
            first_offset[place] = offset[i]
            first_time[place] = event_time_ms[i]
        n_rows[place] += 1
        word = _cell(z, i, n_numbers[m], n_dims[m], axes[m, k], phase[m, k], salt)
        # More rows without a new cell only make less of it.
        if not _take(registers[place], word) or level[place] >= 2 or n_rows[place] < MIN_ROWS:
            continue
        cells = _estimate(registers[place])
        expected = _expected(curve[m, k], n_rows[place])
        if cells < expected * limits[m, k, EXCESS]:
            continue
        exposure = _exposure(cells, expected, reachable)
        reached = 0
        for j in range(2):
            if exposure >= levels[0, j]:
                reached = j + 1
        if reached <= level[place]:
            continue
        level[place] = reached
        said[0] = exposure
        said[1] = cells
        said[2] = expected
        cursor[0] = i + 1
        cursor[1] = place
        cursor[2] = reached
        return FULL
    cursor[0] = len(offset)
    return DONE


@kernel(I32, I32, I64, U8_2D, F64_3D, F64_3D, F64_2D)
def exposures(
    model: NDArray[np.int32],
    kind: NDArray[np.int32],
    n_rows: NDArray[np.int64],
    registers: NDArray[np.uint8],
    curve: NDArray[np.float64],
    limits: NDArray[np.float64],
    seen: NDArray[np.float64],
) -> int:
    """Write exposure, cells, and cells of benign clients of each place into `seen` (S, 3)."""
    for place in range(len(n_rows)):
        seen[place, :] = 0.0
        m = model[place]
        if m < 0 or n_rows[place] == 0:
            continue
        reachable = limits[m, kind[place], REACHABLE]
        if not reachable > 0.0:
            continue
        seen[place, 1] = _estimate(registers[place])
        seen[place, 2] = _expected(curve[m, kind[place]], n_rows[place])
        seen[place, 0] = _exposure(seen[place, 1], seen[place, 2], reachable)
    return DONE


@kernel(F32_2D_IN, types.int64, F64_2D, F64, types.uint64, U64)
def find_cells(
    z: NDArray[np.float32],
    n_numbers: int,
    axes: NDArray[np.float64],
    phase: NDArray[np.float64],
    salt: np.uint64,
    cell: NDArray[np.uint64],
) -> int:
    """Write the hash of the cell of each row (n, dims)."""
    for i in range(len(z)):
        cell[i] = _cell(z, i, n_numbers, z.shape[1], axes, phase, salt)
    return DONE


@kernel(U64, U8, F64)
def count_distinct(
    word: NDArray[np.uint64], registers: NDArray[np.uint8], estimate: NDArray[np.float64]
) -> int:
    """Note these hashes in `registers`, and write how many are distinct."""
    for i in range(len(word)):
        _take(registers, word[i])
    estimate[0] = _estimate(registers)
    return DONE
