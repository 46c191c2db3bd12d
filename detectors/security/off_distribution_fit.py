"""What benign rows say of off-distribution: what each class looks like, and how far windows lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Final

import numpy as np

from detectors.kernels import off_distribution as kernel
from detectors.security.base import (
    F32,
    MAX_CLASSES,
    MAX_DIMS,
    MISSING,
    Calibration,
    Learned,
    TooFewRowsError,
)
from detectors.security.random_features import features_of, seed_of, width_of
from schemas.batch import F64, I64, Bool

LEAST_ROWS: Final = 500
"""Distinct rows, with fewer of which nothing is said at all ..."""
LEAST_WINDOW_ROWS: Final = 2_000
"""... and nothing of windows: 142 rows took every one for strange."""
_MAX_ROWS: Final = 50_000
"""The latest ones; more say nothing else."""
_LEAST_OF_CLASS: Final = 200
"""A class with fewer rows is judged by all of them."""
_LEAST_SCALE: Final = 0.1
"""Of a number within a class: what hardly varies is no measure."""
_IQR: Final = 1.349
_MARGIN: Final = 1.15
_UNREVIEWED: Final = 1.1
"""And so much more where nobody has looked at the rows."""
_Z: Final = 4.75
"""The normal quantile of one window in a million."""
_LEAST_SEGMENTS: Final = 20
_SEGMENTS: Final = (100, 50, 25, 10)
"""Rows of the stretches whose sums are compared: windows, or else what the sources have."""
_LEAST_SHAPE: Final = 1.0
_RARE: Final = 0.999
_LAG: Final = 8
_LONGER: Final = 2.0
"""The tail where rows depend on each other wholly: they have seen the bulk alone. Of a normal one
twenty rows see 2 deviations and a million 5."""
_MOST_WINDOW: Final = 9.0
"""A window of 100 rows comes to 10 at most, as features have length 1: beyond this nothing fires.
"""
_MOST_HITS: Final = 16
_DIGITS: Final = 9
"""What is frozen is rounded, so that another machine's last bits change nothing."""

OFF: Final = 0.0
"""The threshold of a rule that is off."""


@dataclass(frozen=True, slots=True)
class _Distinct:
    """The rows of `Learned` without exact repeats of a source, those of a source in a row."""

    z: F32
    predicted: I64
    source: I64

    def stretches(self) -> list[tuple[int, int]]:
        """Where the rows of each source begin and end."""
        cuts = np.flatnonzero(np.diff(self.source)) + 1
        edges = [0, *cuts.tolist(), len(self.source)]
        return list(pairwise(edges))


def _distinct(rows: Learned) -> _Distinct:
    latest = slice(max(len(rows) - _MAX_ROWS, 0), None)
    source = rows.source[latest].astype(np.int64)
    pairs = np.stack([source.astype(np.uint64), rows.row_hash[latest]], axis=1)
    first = np.sort(np.unique(pairs, axis=0, return_index=True)[1])
    order = first[np.argsort(source[first], kind="stable")]
    predicted = np.clip(rows.predicted[latest][order].astype(np.int64), 0, MAX_CLASSES - 1)
    z = np.where(np.isfinite(rows.z[latest][order]), rows.z[latest][order], np.float32(MISSING))
    return _Distinct(z.astype(np.float32), predicted, source[order])


def fit(rows: Learned, reviewed: bool) -> Calibration:
    """Means, centres and thresholds for one kind of client.

    Raises `TooFewRowsError` below 500 distinct rows; below 2,000 windows are not judged.
    """
    own = _distinct(rows)
    n = len(own.predicted)
    if n < LEAST_ROWS:
        raise TooFewRowsError(f"off_distribution needs {LEAST_ROWS} distinct rows, not {n}")
    margin = 1.0 if reviewed else _UNREVIEWED
    seed = seed_of(rows.row_hash)
    width = round(width_of(own.z, rows.n_numbers, seed), 6)
    is_frequent = np.bincount(own.predicted, minlength=MAX_CLASSES) >= _LEAST_OF_CLASS
    mean = np.zeros((MAX_CLASSES, kernel.N_FEATURES))
    window = OFF
    if n >= LEAST_WINDOW_ROWS:
        features = features_of(own.z, rows.n_numbers, seed, width).astype(np.float64)
        mean[:] = features.mean(axis=0)
        for c in np.flatnonzero(is_frequent):
            mean[c] = features[own.predicted == c].mean(axis=0)
        mean = np.round(mean, _DIGITS)
        window = _window_threshold(features - mean[own.predicted], own, margin)
    centre, scale = _centres(own, rows.n_numbers, is_frequent)
    far = _distances(own, rows.n_numbers, centre, scale)
    event, need = _event_threshold(far, own, margin)
    return {
        "seed": np.array([float(seed)]),
        "width": np.array([width]),
        "mean": mean,
        "window_threshold": np.array([window]),
        "centre": centre,
        "scale": scale,
        "event_threshold": np.array([event if rows.n_numbers else OFF]),
        "event_need": np.array([float(need)]),
    }


def _window_threshold(off: F64, own: _Distinct, margin: float) -> float:
    """Of the norm of a window's sum over the root of its rows; `OFF` where nothing says what.

    What rows alone make of it, as if they were independent, is known from their covariance. How
    much sources differ from each other, and rows hang together in time, is seen in the sums of
    stretches of one source each; both grow with the length, which is how shorter stretches stand
    for windows. The quantile is that of a gamma distribution (Wilson and Hilferty 1931).
    """
    n = len(off)
    covariance = off.T @ off / n
    expected = float(np.trace(covariance))
    shape = expected**2 / (2.0 * float(np.sum(covariance**2)) + 1e-12)
    for length in _SEGMENTS:
        sums, halves = _sums(off, own, length)
        if len(sums) >= _LEAST_SEGMENTS:
            break
    else:
        return OFF
    mine = np.sum(sums**2, axis=1) / length
    # The rows are part of what they are compared with, which later ones are not.
    error = (1.0 + length / n) / (1.0 - length / n)
    mine *= error
    seen = float(mine.mean())
    doubt = 2.0 * float(mine.std()) / sqrt(len(mine))
    between = max((seen + doubt - expected) / (length - 1), 0.0)
    size = 2 * kernel.BLOCK
    likely = expected + (size - 1) * between
    if seen > expected + doubt:
        shape = min(shape, max(seen**2 / (float(mine.var()) + 1e-12), _LEAST_SHAPE))
    spread = 1.0 / (9.0 * shape)
    rare = likely * (1.0 - spread + _Z * sqrt(spread)) ** 3
    most = max(float(np.sum(halves**2, axis=1).max()) / length * error, float(mine.max()))
    most *= likely / max(seen, 1e-12) if length < size else 1.0
    threshold = round(sqrt(max(rare, most * _MARGIN**2)) * margin, _DIGITS)
    return threshold if threshold < _MOST_WINDOW else OFF


def _sums(off: F64, own: _Distinct, length: int) -> tuple[F64, F64]:
    """Sums of the stretches of so many rows of one source, and of those shifted by half of it."""
    found: tuple[list[F64], list[F64]] = ([], [])
    for begin, end in own.stretches():
        for shift, sums in zip((0, length // 2), found, strict=True):
            k = (end - begin - shift) // length
            if k > 0:
                first = begin + shift
                stretch = off[first : first + k * length]
                sums.append(stretch.reshape(k, length, -1).sum(axis=1))
    width = off.shape[1]
    disjoint, halves = (np.concatenate([np.zeros((0, width)), *sums]) for sums in found)
    return disjoint, halves if len(halves) else disjoint


def _centres(own: _Distinct, n_numbers: int, is_frequent: Bool) -> tuple[F64, F64]:
    """(MAX_CLASSES, MAX_DIMS) median and robust standard deviation of each number by class."""
    centre = np.zeros((MAX_CLASSES, MAX_DIMS))
    scale = np.ones((MAX_CLASSES, MAX_DIMS))
    for c in (-1, *np.flatnonzero(is_frequent).tolist()):
        z = own.z[own.predicted == c, :n_numbers] if c >= 0 else own.z[:, :n_numbers]
        there = np.where(z > MISSING, z, np.nan).astype(np.float64)
        there[:, ~np.any(z > MISSING, axis=0)] = 0.0
        low, middle, high = np.nanquantile(there, (0.25, 0.5, 0.75), axis=0)
        at = slice(None) if c < 0 else c
        centre[at, :n_numbers] = np.round(middle, _DIGITS)
        scale[at, :n_numbers] = np.round(np.maximum((high - low) / _IQR, _LEAST_SCALE), _DIGITS)
    return centre, scale


def _distances(own: _Distinct, n_numbers: int, centre: F64, scale: F64) -> F64:
    """(n,) the mean clipped distance of each row's numbers from the centre of its class."""
    z = own.z[:, :n_numbers].astype(np.float64)
    there = z > MISSING
    c = own.predicted
    off = np.abs(z - centre[c, :n_numbers]) / scale[c, :n_numbers]
    off = np.where(there, np.minimum(off, kernel.CLIP), 0.0)
    far: F64 = off.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return far


def _event_threshold(far: F64, own: _Distinct, margin: float) -> tuple[float, int]:
    """What one row of a thousand goes beyond, and how many of 16 make an alarm.

    Where rows hang together in time, or sources differ, so few rows have not seen the tail: it is
    taken to be longer by as much as they hang together.
    """
    usual = float(np.median(far))
    rare = float(np.quantile(far, _RARE))
    near, n_pairs, variance = 0.0, 0, float(far.var())
    centred = far - far.mean()
    for begin, end in own.stretches():
        if end - begin > _LAG:
            near += float(np.dot(centred[begin : end - _LAG], centred[begin + _LAG : end]))
            n_pairs += end - begin - _LAG
    correlation = near / n_pairs / variance if n_pairs and variance > 0.0 else 0.0
    if correlation < 3.0 / sqrt(max(n_pairs, 1)):
        correlation = 0.0
    threshold = round(
        (usual + (rare - usual) * (1.0 + _LONGER * min(correlation, 1.0))) * margin, _DIGITS
    )
    is_hit = (far > threshold).astype(np.int64)
    most = 0
    for begin, end in own.stretches():
        total = np.concatenate([[0], np.cumsum(is_hit[begin:end])])
        last = np.arange(1, end - begin + 1)
        most = max(most, int((total[last] - total[np.maximum(last - kernel.RING, 0)]).max()))
    need = max(kernel.RING // 2, 2 * most + 4)
    return (threshold, need) if need <= _MOST_HITS else (OFF, kernel.RING)


_OF_WINDOWS: Final = ("seed", "width", "mean", "window_threshold")
_OF_EVENTS: Final = ("centre", "scale", "event_threshold", "event_need")


def strictest(calibrations: Sequence[Calibration]) -> Calibration:
    """Of each rule the calibration with the least threshold, as a whole: means are not mixed."""
    chosen: dict[str, F64] = {}
    for names, threshold in ((_OF_WINDOWS, "window_threshold"), (_OF_EVENTS, "event_threshold")):
        used = [each for each in calibrations if each[threshold][0] > OFF] or calibrations
        strict = min(used, key=lambda each: float(each[threshold][0]))
        chosen.update({name: np.asarray(strict[name], np.float64) for name in names})
    return chosen
