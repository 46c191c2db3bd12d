"""What a search among the latest distinct rows of each place says of a row."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from detectors.drift.lane_table import LaneTable
from detectors.kernels.compile import NO_LANE
from detectors.kernels.neighbours import search
from detectors.kernels.query_distance import normality
from detectors.security.base import F32, MISSING
from detectors.security.neighbour_places import MAX_ROWS, ROOM
from detectors.security.shapiro import LEAST, MOST, all_weights
from schemas.batch import F64, I32, I64, Bool

LEAST_SAME: Final = 10
"""A distance to rows of the same class counts from so many of them on."""
EVERY: Final = 10
"""Distinct rows of a place from one look at its distances to the next."""


class Found(NamedTuple):
    """What the search says of n rows."""

    position: I64
    """(n,) the how-manieth distinct row of its source; 0: it counts nowhere."""
    begins: Bool
    """(n,) whether its place begins anew with it."""
    nearest: F64
    """(n,) distance to the nearest row that is kept; infinite where there is none."""
    same: F64
    """(n,) the same among rows of the same class, where there are `LEAST_SAME`."""
    is_flip: Bool
    """(n,) whether the nearest is of another class."""
    step: F64
    """(n,) distance to the distinct row before."""
    w: F64
    """(n,) W of the source's distances; NaN where they were not looked at."""


class Asked(NamedTuple):
    """The columns of n rows, and (M,) of their models, that a search goes by."""

    z: F32
    """(n, any width)"""
    is_repeat: Bool
    source: I32
    is_first: Bool
    model: I32
    predicted: I32
    n_dims: I32
    n_numbers: I32


def find(asked: Asked, places: LaneTable, ring: F32) -> Found:
    """Find the nearest of each row, and keep it. Raises IndexError at what there is not."""
    n = len(asked.source)
    found = Found(
        np.zeros(n, np.int64),
        np.zeros(n, np.bool_),
        np.empty(n),
        np.empty(n),
        np.zeros(n, np.bool_),
        np.empty(n),
        np.empty(n),
    )
    weights = all_weights()
    status = search(
        np.ascontiguousarray(asked.z).reshape(-1),
        asked.z.shape[1],
        *asked[1:],
        ring,
        places["ring_class"].reshape(-1),
        places["n"],
        places["dims"],
        places["owner"],
        places.n_lanes,
        MAX_ROWS,
        LEAST_SAME,
        MISSING,
        np.empty(ROOM, np.float32),
        np.empty(MAX_ROWS, np.float32),
        *found[:-1],
    )
    if status == NO_LANE:
        raise IndexError(f"a row of a place, model or width that {places.n_lanes} places have not")
    normality(
        found.position,
        found.begins,
        asked.source,
        found.same,
        places["sample"].reshape(-1),
        places["n_sample"],
        MOST,
        EVERY,
        LEAST,
        np.empty(MOST),
        *weights,
        found.w,
    )
    return found
