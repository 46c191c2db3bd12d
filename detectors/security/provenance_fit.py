"""How near benign queries of a model come to one another, and in how great clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.base import StateError
from detectors.kernels.provenance import CATEGORY_APART, MIN_OTHER, nearest_before
from detectors.security.base import Calibration, Learned, TooFewRowsError
from schemas.batch import F64, I64, Bool

MIN_ROWS: Final = 200
"""Distinct ones that a calibration needs."""
MAX_ROWS: Final = 6_000
"""The latest so many are compared, each with all before it."""
SHARES: Final = (0.16, 0.08, 0.04, 0.02, 0.01, 0.005, 0.0025)
"""Of benign rows that join another one, in a full ring; the first, and so the longest reach, at
which clusters as great as an alarm are as seldom as `AIM` says. Unreviewed: the next one."""
LEAST_MEMBERS: Final = 12
PROVISIONAL_MEMBERS: Final = 16
"""Unreviewed rows may be of one quiet hour."""
MAX_MEMBERS: Final = 1_000_000
LOW_QUANTILE: Final = 0.05
DIMENSION_SHARE: Final = 0.05
MIN_DIMENSION: Final = 0.5
AIM: Final = 2.0
"""Clusters among a million benign rows that may have as many members as make an alarm."""
MAX_RADIUS: Final = 64.0
TYPICAL_CAPACITY: Final = 16_384


class Cluster(NamedTuple):
    """Benign rows that joined one another."""

    members: int
    others: int
    """Members that are not of its most frequent class."""
    low: int


def fit(rows: Learned, reviewed: bool) -> Calibration:
    """Radius, low margin and needed members of benign rows.

    A ring that is `c` times as long as the rows has `c` times as many neighbours within the same
    distance. So joins are studied at a radius at which a small share of these rows joins, and the
    bank takes the radius at which a full ring has that share: smaller by the c-th part of a power
    law whose exponent is estimated from the smallest distances (Hill 1975). The clusters seen at
    the larger radius are what the full ring will have. Arrays of one number: `radius` (0: off),
    `rows` (that stood before a row on average), `dimension`, `low`, `members`, `largest`.
    """
    z, own = _distinct(rows)
    n = len(z)
    if n < MIN_ROWS:
        raise TooFewRowsError(f"provenance needs {MIN_ROWS} distinct rows, there are {n}")
    low = _low_margin(rows)
    nearest, which = np.empty(n), np.empty(n, np.int64)
    nearest_before(z, rows.n_numbers, nearest, which)
    least = LEAST_MEMBERS if reviewed else PROVISIONAL_MEMBERS
    apart = np.sort(nearest[np.isfinite(nearest) & (nearest > 0.0)])
    if rows.n_numbers == 0 or len(apart) < MIN_ROWS // 2:
        return _calibration(0.0, n / 2, 1.0, low, least, 0)
    # Whatever differs in a category is far: the grids ask for all categories to be the same.
    most = CATEGORY_APART if rows.n_numbers < z.shape[1] else MAX_RADIUS
    is_low = np.nan_to_num(rows.margin[own], nan=np.inf) < low
    tried: list[tuple[int, float, int]] = []
    for share in SHARES:
        radius = min(float(np.quantile(apart, share)), most)
        clusters = replay(nearest, which, radius, rows.predicted[own], is_low)
        largest = max((c.members for c in clusters if _counts(c)), default=0)
        tried.append((max(LEAST_MEMBERS, _tail(clusters, n), 2 * largest), radius, largest))
    fewest = min(members for members, _, _ in tried)
    chosen = next(at for at, (members, _, _) in enumerate(tried) if members == fewest)
    chosen = chosen if reviewed else min(chosen + 1, len(tried) - 1)
    members, radius, largest = tried[chosen]
    dimension = _dimension(apart, z.shape[1])
    return _calibration(radius, n / 2, dimension, low, max(least, members), largest)


def replay(
    nearest: F64, which: I64, radius: float, predicted: NDArray[np.int32], is_low: Bool
) -> list[Cluster]:
    """The clusters of rows whose nearest one before them is within the radius."""
    cluster = np.full(len(nearest), -1)
    rows: list[list[int]] = []
    for i in np.flatnonzero(nearest < radius).tolist():
        parent = int(which[i])
        if cluster[parent] < 0:
            cluster[parent] = len(rows)
            rows.append([parent])
        cluster[i] = cluster[parent]
        rows[cluster[i]].append(i)
    return [
        Cluster(
            len(own),
            len(own) - int(np.bincount(predicted[own]).max()),
            int(is_low[own].sum()),
        )
        for own in rows
    ]


def strictest(calibrations: Sequence[Calibration]) -> Calibration:
    """The longest reach, the highest low margin, and the fewest members of all kinds."""
    on = [c for c in calibrations if c["radius"][0] > 0.0] or list(calibrations)
    widest = max(on, key=lambda c: reach(c, TYPICAL_CAPACITY))
    return {
        **widest,
        "low": np.max([c["low"] for c in on], axis=0),
        "members": np.min([c["members"] for c in on], axis=0),
        "largest": np.min([c["largest"] for c in on], axis=0),
    }


def reach(calibration: Calibration, capacity: int) -> float:
    """The radius for a ring of this capacity. Raises `StateError` where this is no calibration."""
    radius, rows, dimension = (
        number(calibration, name, low, high)
        for name, low, high in (
            ("radius", 0.0, MAX_RADIUS),
            ("rows", 1.0, 1e9),
            ("dimension", MIN_DIMENSION, 64.0),
        )
    )
    return radius * math.pow(min(1.0, rows / capacity), 1.0 / dimension)


def number(calibration: Calibration, name: str, low: float, high: float) -> float:
    """The one number of an array of a calibration. Raises `StateError`."""
    array = calibration.get(name)
    if array is None or array.shape != (1,) or array.dtype != np.float64:
        raise StateError(f"the calibration has no number {name!r}")
    if not low <= float(array[0]) <= high:
        raise StateError(f"{name} of the calibration is out of range")
    return float(array[0])


def _calibration(
    radius: float, rows: float, dimension: float, low: float, members: int, largest: int
) -> Calibration:
    named = {
        "radius": radius,
        "rows": rows,
        "dimension": dimension,
        "low": low,
        "members": min(members, MAX_MEMBERS),
        "largest": largest,
    }
    return {name: np.array([value], np.float64) for name, value in named.items()}


def _distinct(rows: Learned) -> tuple[NDArray[np.float32], I64]:
    """(n, dims) each row once, at its first place, the latest `MAX_ROWS`; and which they are."""
    first = np.sort(np.unique(rows.row_hash, return_index=True)[1])[-MAX_ROWS:].astype(np.int64)
    return np.ascontiguousarray(rows.z[first], np.float32), first


def _low_margin(rows: Learned) -> float:
    margin = rows.margin[np.isfinite(rows.margin)].astype(np.float64)
    return float(np.quantile(margin, LOW_QUANTILE)) if len(margin) >= MIN_ROWS // 2 else 0.0


def _counts(cluster: Cluster) -> bool:
    """Whether it would be suspect if it had more members; laxer than the rules are."""
    return cluster.others >= MIN_OTHER - 1 or 8 * cluster.low >= cluster.members


def _tail(clusters: list[Cluster], n: int) -> int:
    """As many members as at most `AIM` clusters of a million rows have, if sizes are geometric."""
    if not clusters:
        return 0
    joins = sum(cluster.members - 1 for cluster in clusters)
    again = (joins - len(clusters) + 1.0) / (joins + 2.0)
    per_million = len(clusters) / n * 1e6
    return 2 + math.ceil(max(0.0, math.log(AIM / per_million) / math.log(again)))


def _dimension(apart: F64, n_dims: int) -> float:
    """With which power of the distance the number of neighbours grows, at small ones."""
    k = max(20, math.ceil(DIMENSION_SHARE * len(apart)))
    k = min(k, len(apart) - 1)
    spread = float(np.mean(np.log(apart[k] / apart[:k])))
    return min(max(1.0 / spread if spread > 0.0 else MIN_DIMENSION, MIN_DIMENSION), float(n_dims))
