"""Random Fourier features of scaled rows, whose mean says what a population looks like.

The inner product of two rows' features is about exp(-d^2 / 2 s^2) at a distance d (Rahimi and
Recht, NIPS 2007), so the distance of two means is the maximum mean discrepancy of that kernel.
"""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import numpy as np

from detectors.kernels import off_distribution as kernel
from detectors.mixing import GOLDEN, splitmix64
from detectors.security.base import F32, MAX_DIMS
from schemas.batch import I32, U64

_OF_TABLE: Final = 0x7B1F4C2D9E3A5601
_PAIRS: Final = 2_048


class Columns(NamedTuple):
    """Where the directions of each column stand in the table of normal numbers."""

    row: I32
    """(MAX_DIMS,) no row twice."""
    at: I32
    """(MAX_DIMS,)"""


@functools.cache
def normal_table() -> F32:
    """(64, 128) numbers that are nearly normal, over 2 pi: products with them are in turns.

    Sums of twelve uniform numbers: of additions alone, so that every machine has the same ones.
    """
    n = kernel.N_ROWS * 2 * kernel.N_DIRECTIONS
    bits = splitmix64(np.uint64(_OF_TABLE) + GOLDEN * np.arange(3 * n, dtype=np.uint64))
    parts = bits.view(np.uint16).reshape(n, 12).astype(np.int64).sum(axis=1)
    table = ((parts + 6.0) / 65536.0 - 6.0) / (2.0 * np.pi)
    found: F32 = table.astype(np.float32).reshape(kernel.N_ROWS, -1)
    found.flags.writeable = False
    return found


def columns_of(seed: int) -> Columns:
    """The stretches of the table that belong to the columns, drawn by counting from the seed."""
    draws = splitmix64(np.uint64(seed) + GOLDEN * np.arange(1, 2 * MAX_DIMS + 1, dtype=np.uint64))
    row = np.argsort(draws[:MAX_DIMS], kind="stable").astype(np.int32)
    at = (draws[MAX_DIMS:] % np.uint64(kernel.N_DIRECTIONS)).astype(np.int32)
    return Columns(row, at)


def seed_of(row_hash: U64) -> int:
    """A seed of 52 bits that follows from the keyed hashes of rows: nobody else can know it."""
    mixed = splitmix64(row_hash + GOLDEN * np.arange(1, len(row_hash) + 1, dtype=np.uint64))
    return int(np.bitwise_xor.reduce(splitmix64(mixed))) & ((1 << 52) - 1)


def width_of(z: F32, n_numbers: int, seed: int) -> float:
    """The s of the kernel: the median distance of two of the rows, of pairs drawn by counting."""
    n = len(z)
    draws = splitmix64(np.uint64(seed) + GOLDEN * np.arange(1, 2 * _PAIRS + 1, dtype=np.uint64))
    a, b = (draws % np.uint64(n)).astype(np.int64).reshape(2, -1)
    off = z[a].astype(np.float64) - z[b]
    squared = np.einsum("ij,ij->i", off[:, :n_numbers], off[:, :n_numbers])
    squared += 2.0 * kernel.CATEGORY**2 * np.count_nonzero(off[:, n_numbers:], axis=1)
    squared = squared[a != b]
    return max(float(np.sqrt(np.median(squared))) if len(squared) else 0.0, 0.1)


def features_of(z: F32, n_numbers: int, seed: int, width: float) -> F32:
    """(n, N_FEATURES) those of rows (n, n_dims), n_dims <= MAX_DIMS."""
    out = np.empty((len(z), kernel.N_FEATURES), np.float32)
    columns = columns_of(seed)
    kernel.embed(
        np.ascontiguousarray(z, np.float32),
        n_numbers,
        normal_table(),
        *columns,
        np.uint64(seed),
        np.float32(1.0 / width),
        np.empty(kernel.N_DIRECTIONS, np.float32),
        out,
    )
    return out
