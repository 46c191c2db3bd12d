"""Rows as a kernel may have them that checks nothing: in range, or refused."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.security.base import F32, MAX_DIMS, N_KINDS, SecurityRows
from schemas.batch import I32


class KernelRows(NamedTuple):
    """What of the rows a kernel indexes other arrays with."""

    z: F32
    kind: I32
    """(n,) 0..N_KINDS-1."""
    n_dims: I32
    """(M,) 0..MAX_DIMS."""
    n_numbers: I32
    """(M,) at most as many."""


def kernel_rows(rows: SecurityRows, n_models: int, n_places: int) -> KernelRows:
    """These rows, at least one. Raises IndexError at a model or a place that there is not."""
    if rows.model.min() < 0 or rows.model.max() >= n_models:
        raise IndexError(f"models {rows.model.min()}..{rows.model.max()} of {n_models}")
    if rows.source.min() < -1 or rows.source.max() >= n_places:
        raise IndexError(f"places {rows.source.min()}..{rows.source.max()} of {n_places}")
    n_dims = np.clip(rows.n_dims, 0, MAX_DIMS).astype(np.int32)
    return KernelRows(
        np.ascontiguousarray(rows.z, np.float32),
        np.clip(rows.kind, 0, N_KINDS - 1),
        n_dims,
        np.clip(rows.n_numbers, 0, n_dims).astype(np.int32),
    )
