"""Coarse cells of a model's inputs, and how many of them benign clients come to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import StateError
from detectors.kernels.exposure import N_AXES, N_OCTAVES, find_cells
from detectors.mixing import GOLDEN, splitmix64
from detectors.security.base import MAX_DIMS, Calibration, Learned, TooFewRowsError
from schemas.batch import F64, U64

MIN_ROWS: Final = 200
"""Distinct ones that a calibration needs."""
MAX_ROWS: Final = 20_000
N_TRIED: Final = 6
"""Grids over which the curve is a mean: the bank's own has another salt."""
WIDTHS: Final = (0.125, 0.18, 0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Of a cell, in standard deviations of the benign rows along its axis."""
CELLS_PER_ROW: Final = 0.25
"""The width is the one at which the rows lie in about so many cells each."""
MOST_UNSEEN: Final = 4.0
"""So many times the cells that were seen are reachable at most."""
LEAST_EXCESS: Final = 1.5
HEADROOM: Final = 1.25
MAX_CELLS: Final = 1e12


def fit(rows: Learned, reviewed: bool) -> Calibration:
    """The benign curve: distinct cells against distinct rows, of rows drawn at random from all.

    Clients whose rows come in an order of time see fewer. `covariance` (dims, dims)
    gives the cells their shape, `width` their size, `curve` (N_OCTAVES,) says how many there are
    in 2 ** k rows, `reachable` in all, `excess` from how many times the curve on a source has seen
    more than benign ones.
    """
    first = np.sort(np.unique(rows.row_hash, return_index=True)[1])[-MAX_ROWS:]
    n = len(first)
    if n < MIN_ROWS:
        raise TooFewRowsError(f"exposure needs {MIN_ROWS} distinct rows, there are {n}")
    z = np.ascontiguousarray(rows.z[first], np.float32)
    covariance = _covariance(z, rows.n_numbers)
    found = [_n_cells(z, rows, covariance, width) / (CELLS_PER_ROW * n) for width in WIDTHS]
    width = WIDTHS[int(np.argmin(np.abs(np.log(found))))]
    tried = [_cells(z, rows.n_numbers, covariance, width, salt) for salt in range(N_TRIED)]
    counts = [np.unique(cell, return_counts=True)[1] for cell in tried]
    sizes = np.exp2(np.arange(N_OCTAVES))
    curve = np.mean([_rarefied(own, np.minimum(sizes, n)) for own in counts], axis=0)
    # Nobody knows how it goes on: at most in proportion.
    curve *= np.maximum(1.0, sizes / n)
    spread = max(_spread(cell, n) for cell in tried)
    excess = max(LEAST_EXCESS, HEADROOM * spread) * (1.0 if reviewed else HEADROOM)
    return {
        "covariance": covariance,
        "width": np.array([width]),
        "curve": curve,
        "reachable": np.array([float(np.mean([_reachable(own) for own in counts]))]),
        "excess": np.array([excess]),
    }


def strictest(calibrations: Sequence[Calibration]) -> Calibration:
    """The one of the kind that is content with the fewest cells: cells of two do not compare."""
    return dict(min(calibrations, key=lambda c: float(c["reachable"][0])))


def grid(calibration: Calibration, salt: int) -> tuple[F64, F64]:
    """(MAX_DIMS, N_AXES) axes, in cells a unit, and (N_AXES,) phases, by the salt.

    The axes are uncorrelated in the benign rows and their cells equally wide in its standard
    deviations, so that rows lie in about as many cells whatever the salt is. Raises `StateError`.
    """
    covariance = require(calibration, "covariance", (None, None), -1e6, 1e6)
    n_dims = len(covariance)
    if covariance.shape[1] != n_dims or not 1 <= n_dims <= MAX_DIMS:
        raise StateError(f"a covariance of shape {covariance.shape}")
    return _axes(covariance, float(require(calibration, "width", (1,), 1e-3, 1e3)[0]), salt)


def require(
    calibration: Calibration, name: str, shape: tuple[int | None, ...], low: float, high: float
) -> F64:
    """One array of a calibration. Raises `StateError` where it is missing or out of range."""
    array = calibration.get(name)
    if array is None or array.dtype != np.float64 or array.ndim != len(shape):
        raise StateError(f"the calibration has no {name!r}")
    if any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        raise StateError(f"{name} of the calibration has shape {array.shape}")
    if not np.all((array >= low) & (array <= high)):
        raise StateError(f"{name} of the calibration is out of range")
    return array


def _axes(covariance: F64, width: float, salt: int) -> tuple[F64, F64]:
    n_dims = len(covariance)
    count = np.arange(1, N_AXES * (n_dims + 1) + 1, dtype=np.uint64)
    start = splitmix64(np.array([salt & (2**64 - 1)], np.uint64) + GOLDEN)
    words: U64 = splitmix64(start + count * GOLDEN)
    uniform = (words >> np.uint64(11)).astype(np.float64) / 2.0**53
    raw = uniform[:-N_AXES].reshape(N_AXES, n_dims) * 2.0 - 1.0
    axes = np.zeros((MAX_DIMS, N_AXES))
    negligible = 1e-9 * max(float(np.trace(covariance)), 1e-9)
    kept: list[F64] = []
    for drawn in raw:
        axis = drawn
        for other in kept:
            axis = axis - (axis @ covariance @ other) * other
        variance = float(axis @ covariance @ axis)
        if variance > negligible:
            kept.append(axis / np.sqrt(variance))
    for at, axis in enumerate(kept):
        axes[:n_dims, at] = axis / width
    return axes, uniform[-N_AXES:]


def _covariance(z: NDArray[np.float32], n_numbers: int) -> F64:
    """(dims, dims) as the kernel sees rows: categories as random numbers, each for itself."""
    covariance = np.zeros((z.shape[1], z.shape[1]))
    own = z[:, :n_numbers].astype(np.float64)
    centred = own - own.mean(axis=0)
    covariance[:n_numbers, :n_numbers] = centred.T @ centred / len(z)
    for c in range(n_numbers, z.shape[1]):
        share = np.unique(z[:, c], return_counts=True)[1] / len(z)
        covariance[c, c] = 1.0 - float(np.sum(share * share))
    return covariance


def _cells(z: NDArray[np.float32], n_numbers: int, covariance: F64, width: float, salt: int) -> U64:
    axes, phase = _axes(covariance, width, salt)
    cell = np.empty(len(z), np.uint64)
    find_cells(z, n_numbers, axes, phase, np.uint64(salt), cell)
    return cell


def _n_cells(z: NDArray[np.float32], rows: Learned, covariance: F64, width: float) -> int:
    """In two grids, the mean."""
    found = [_cells(z, rows.n_numbers, covariance, width, salt) for salt in (0, 1)]
    return max(1, sum(len(np.unique(cell)) for cell in found) // 2)


def _rarefied(counts: NDArray[np.int64], sizes: F64) -> F64:
    """How many of the cells, with so many rows each, are in a sample of each size."""
    n = counts.sum()
    missed = (1.0 - sizes[:, np.newaxis] / n) ** counts
    return np.asarray((1.0 - missed).sum(axis=1))


def _reachable(counts: NDArray[np.int64]) -> float:
    """How many cells there are at least (Chao 1984): those seen once say how many were not."""
    seen, once, twice = len(counts), int(np.sum(counts == 1)), int(np.sum(counts == 2))
    return min(seen + once * (once - 1) / (2.0 * (twice + 1)), (1.0 + MOST_UNSEEN) * seen)


def _spread(cell: U64, n: int) -> float:
    """How far above the curve the quarters of the rows come, the most of them."""
    quarters = np.array_split(cell, 4)
    counts = np.unique(cell, return_counts=True)[1]
    sizes = np.array([float(len(quarter)) for quarter in quarters])
    expected = _rarefied(counts, np.minimum(sizes, n))
    found = np.array([len(np.unique(quarter)) for quarter in quarters])
    return float(np.max(found / expected))
