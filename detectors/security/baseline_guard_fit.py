"""What benign rows say of how far the median of one source wanders by itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import inf, log, sqrt
from typing import Final

import numpy as np

from detectors.security.base import MAX_DIMS, MISSING, Calibration, Learned, TooFewRowsError
from schemas.batch import F64, Bool

LEAST_ROWS: Final = 500
"""In stretches of one source each that are long enough to say how rows hang together in time."""
_LEAST_STRETCH: Final = 64
_MAX_ROWS: Final = 50_000
_LAGS: Final = (1, 8, 32)
_MEMORY: Final = 250.0
"""Rows over which such a median forgets: 1 / (2 f step) of a normal density f."""
_OWN_SD: Final = 0.056
"""Of the median of independent normal rows: the root of step / 4 f."""
_DEVIATIONS: Final = 8.0
"""A threshold is so many standard deviations of a median: of two that are compared, nearly 6."""
_FLOOR: Final = 0.4
_CEILING: Final = 7.0
"""Numbers are clipped at 8: beyond this nothing is seen."""
_UNREVIEWED: Final = 1.25
_DIGITS: Final = 9

OFF: Final = 0.0


def fit(rows: Learned, reviewed: bool) -> Calibration:
    """Where each number lies, and how far the median of a source may move; 0: it is not judged.

    Raises `TooFewRowsError` without 500 rows of sources that have 64 or more each.
    """
    latest = slice(max(len(rows) - _MAX_ROWS, 0), None)
    source = rows.source[latest]
    order = np.argsort(source, kind="stable")
    cuts = np.flatnonzero(np.diff(source[order])) + 1
    stretches = [
        (begin, end)
        for begin, end in pairwise([0, *cuts.tolist(), len(order)])
        if end - begin >= _LEAST_STRETCH
    ]
    n = sum(end - begin for begin, end in stretches)
    if n < LEAST_ROWS:
        raise TooFewRowsError(
            f"baseline_guard needs {LEAST_ROWS} rows of sources with {_LEAST_STRETCH} each, not {n}"
        )
    centre, threshold = np.zeros(MAX_DIMS), np.full(MAX_DIMS, OFF)
    for f in range(rows.n_numbers):
        x = rows.z[latest, f][order].astype(np.float64)
        there = x > MISSING
        if not there.any():
            continue
        low, middle, high = np.quantile(x[there], (0.4, 0.5, 0.6))
        centre[f] = round(float(middle), _DIGITS)
        wander = _wander(x, there, stretches)
        most = max(_FLOOR, _DEVIATIONS * sqrt(_OWN_SD**2 + wander), float(high - low))
        most *= 1.0 if reviewed else _UNREVIEWED
        threshold[f] = round(most, _DIGITS) if most <= _CEILING else OFF
    return {"centre": centre, "threshold": threshold}


def _wander(x: F64, there: Bool, stretches: list[tuple[int, int]]) -> float:
    """The variance that the dependence of a source's rows adds to that of its median.

    That of an AR(1) process seen through a median with this memory; two lags say its size and its
    range, so that noise on top does not hide it. Rows without dependence add nothing, however much
    sources differ. Where there is some, sources that differ look like a slow process, too: a short
    stretch cannot tell these apart, and the greater is taken.
    """
    within = x.copy()
    for begin, end in stretches:
        own = there[begin:end]
        within[begin:end] -= x[begin:end][own].mean() if own.any() else 0.0
    shortest = min(end - begin for begin, end in stretches)
    first, doubt = _correlation(within, there, stretches, _LAGS[0])
    if first + 4.0 / shortest < 1.5 * doubt:
        return 0.0
    overall = x - x[there].mean()
    found = [_correlation(overall, there, stretches, lag) for lag in _LAGS]
    variance = min(found[0][0], 1.0) * 4.0 / (4.0 + _MEMORY)
    for (a, (near, _)), (b, (far, doubt)) in pairwise(zip(_LAGS, found, strict=True)):
        if far > doubt:
            range_ = (b - a) / log(near / far) if near > far else inf
            share = range_ / (range_ + _MEMORY) if range_ < inf else 1.0
            variance = max(variance, min(max(near, far), 1.0) * share)
    return variance * float(x[there].var())


def _correlation(
    x: F64, there: Bool, stretches: list[tuple[int, int]], lag: int
) -> tuple[float, float]:
    """The correlation of centred rows of one source that stand so far apart, and thrice its error.

    Not above 0 where there is none.
    """
    total, n, square, m = 0.0, 0, 0.0, 0
    for begin, end in stretches:
        both = there[begin : end - lag] & there[begin + lag : end]
        product = x[begin : end - lag] * x[begin + lag : end]
        total += float(product[both].sum())
        n += int(both.sum())
        own = x[begin:end][there[begin:end]]
        square += float(np.dot(own, own))
        m += len(own)
    if n == 0 or square <= 0.0:
        return 0.0, inf
    return max(total / n / (square / m), 0.0), 3.0 / sqrt(n)


def strictest(calibrations: Sequence[Calibration]) -> Calibration:
    """The least threshold of each number that is on; the middle of the centres."""
    thresholds = np.stack([each["threshold"] for each in calibrations])
    least = np.where(thresholds > OFF, thresholds, np.inf).min(axis=0)
    centre = np.median(np.stack([each["centre"] for each in calibrations]), axis=0)
    return {"centre": centre, "threshold": np.where(np.isfinite(least), least, OFF)}
