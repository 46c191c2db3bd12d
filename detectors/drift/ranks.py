"""What is known of a signal's reference: its bins, the way to normal scores, how those vary.

Everything here is a pure function of the reference's rows in their order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Final

import numpy as np

from detectors.drift.bins import Bins, fit_bins
from detectors.drift.rhythm import Rhythm, Wanted, find
from detectors.kernels.focus import ONE
from schemas.batch import F64, I32, I64

N_CUTS: Final = 130
"""Cuts of a reference at most: as fine in its tails as in its middle."""
GRAIN: Final = ONE
"""Normal scores are whole multiples of one in so many: their sums are exact."""
MAX_ORDER: Final = 3
"""Of the autoregression."""
MIN_AUTOREGRESSION: Final = 100
"""Rows of a reference from which on an autoregression is fitted."""
LEAST_EXPLAINED: Final = 0.1
"""Share of the variance that an autoregression must explain; less is left to the variance."""
_FEW: Final = 20
"""A signal with at most so many values is no linear process, and gets no autoregression."""
_SPACING: Final = 1.0 / 16.0
_FURTHEST: Final = 4.0


@dataclass(frozen=True, slots=True)
class Ranks:
    """The transform of a ranked lane and what its reference adds to the start of the walk.

    A residual falls into bin k = number of `cuts` not above it; `location[k]` is its normal score
    and `spread[k]` the normal score of that one's absolute value, in 1/65536.
    """

    cuts: F64
    location: I32
    spread: I32
    coefficient: F64
    """(MAX_ORDER,) autoregression by lag; zero where there is none."""
    recent: F64
    """(MAX_ORDER,) the last rows, latest first."""
    sums: tuple[int, int]
    """Sums of location and spread over the rows."""
    raw: tuple[float, float]
    """Sums of the rows and of their absolute values."""
    variance: tuple[float, float]
    """By which the squares of location and of spread grow, beyond those of independent normals."""
    tails: tuple[float, float]
    """What of the variance is due to tails heavier than a normal's, as factors."""
    n: int
    bins: Bins
    """The rows themselves, where the cuts above are of residuals."""
    rhythm: Rhythm | None = None
    """What was taken out of the rows before all of this, and is out of what a lane observes."""


@dataclass(frozen=True, slots=True)
class Indicator:
    """An indicator's reference: rows, ones, and the long-run variance relative to independence."""

    cut: float
    """A row above it is a one."""
    ones: int
    raw: float
    variance: float
    n: int


@dataclass(frozen=True, slots=True)
class Frequencies:
    """A category's reference, by cell: where the most frequent ones and all others fall."""

    counts: I32
    """(k,) rows in each cell, 4 <= k <= N_BINS."""
    variance: float
    """By which a mean over its rows varies more than one over independent rows."""
    n: int


@dataclass(frozen=True, slots=True)
class LaneReference:
    """What a lane is given when its reference is complete."""

    ranks: Ranks | Indicator | Frequencies
    arl0: float
    """Mean number of the signal's rows between false alarms, 1 or more."""


def fit(x: F64) -> Ranks | Indicator:
    """Fit a reference of (n,) rows, n > 0, none of them NaN; an indicator where two values occur.

    Of one value alone an indicator of what lies above it: give departures, to see both sides.
    """
    values = np.unique(x)
    if len(values) <= 2:
        return fit_indicator(x, float(values.mean()))
    coefficient = autoregression(x) if len(values) > _FEW else np.zeros(MAX_ORDER)
    residual = _residual(x, coefficient)
    order = len(x) - len(residual)
    cuts = quantile_cuts(residual)
    at = np.searchsorted(cuts, residual, side="right")
    weight = np.bincount(at, minlength=len(cuts) + 1).astype(np.float64)
    below = np.concatenate([[0.0], np.cumsum(weight)])[:-1]
    location = _standardised(_normal_scores(below, weight), weight)
    spread = _standardised(_absolute_scores(location, weight), weight)
    z, w = location[at], spread[at]
    of_z = long_run_variance(z)
    tails = tail_factor(location, weight), tail_factor(spread, weight)
    grains_z, grains_w = (np.rint(each * GRAIN).astype(np.int32) for each in (location, spread))
    recent = np.zeros(MAX_ORDER)
    recent[: min(MAX_ORDER, len(x))] = x[::-1][:MAX_ORDER]
    return Ranks(
        cuts=cuts,
        location=grains_z,
        spread=grains_w,
        coefficient=coefficient,
        recent=recent,
        sums=(int(grains_z[at].sum(dtype=np.int64)), int(grains_w[at].sum(dtype=np.int64))),
        # The first rows have no residual; the others stand for them.
        raw=(float(x[order:].sum()), float(np.abs(x[order:]).sum())),
        variance=(tails[0] * of_z, tails[1] * max(of_z, long_run_variance(w))),
        tails=tails,
        n=len(residual),
        bins=fit_bins(x),
    )


def _residual(x: F64, coefficient: F64) -> F64:
    """What an autoregression leaves of the rows, but of the first ones, which have no past."""
    order = int(np.max(np.flatnonzero(coefficient), initial=-1)) + 1
    residual = x[order:].copy()
    for lag in range(1, order + 1):
        residual -= coefficient[lag - 1] * x[order - lag : len(x) - lag]
    return residual


def fit_in_time(x: F64, times: I64, wanted: Wanted) -> Ranks | Indicator:
    """As `fit`, of rows with event times in ms: without their daily or weekly rhythm, if any.

    It is taken out only where that lets a change of the mean be found sooner: the variance of a
    mean of many rows is less without it, the error of the rhythm itself counted.
    """
    plain = fit(x)
    rhythm = None if isinstance(plain, Indicator) else find(x, times, wanted)
    if rhythm is None or isinstance(plain, Indicator):
        return plain
    own = fit(rhythm.without(x, times))
    if isinstance(own, Indicator):
        return plain
    residual = _residual(rhythm.without(x, times), own.coefficient)
    times = times[len(x) - len(residual) :]
    at = np.searchsorted(own.cuts, residual, side="right")
    z, w = own.location[at] / GRAIN, own.spread[at] / GRAIN
    location = own.variance[0] * rhythm.inflation * rhythm.widest(z, times)
    # What comes again every day must not come near a threshold by itself.
    location = max(location, rhythm.left_over(z, times, location))
    spread = max(own.variance[1], rhythm.left_over(w, times, own.variance[1]))
    own = replace(own, variance=(_rounded_up(location), _rounded_up(spread)), rhythm=rhythm)
    is_better = (1.0 - rhythm.share) * _noise(own) < _noise(plain)
    return own if is_better else plain


def _noise(ranks: Ranks) -> float:
    """The variance of a mean of many rows, next to that of independent ones of this variance."""
    return ranks.variance[0] * process_variance(ranks.coefficient.tolist())


def fit_indicator(x: F64, cut: float) -> Indicator:
    """Fit a reference of (n,) rows of which those above `cut`, maybe none or all, are ones."""
    ones = (x > cut).astype(np.float64)
    return Indicator(cut, int(ones.sum()), float(x.sum()), long_run_variance(ones), len(x))


def quantile_cuts(x: F64) -> F64:
    """Ascending cuts (<= N_CUTS,) between the bins of a reference, evenly spaced in normal score.

    The outermost bins lie beyond every row: what falls into them is further out than all of these.
    """
    ordered = np.sort(x)
    values = np.unique(ordered)
    n_inner = N_CUTS - 2
    if len(values) - 1 <= n_inner:
        inner = values[1:]
    else:
        inner = np.unique(ordered[(_grid() * len(ordered)).astype(np.int64)])
        inner = inner[inner > ordered[0]]
    ends = [ordered[0], *inner.tolist(), np.nextafter(ordered[-1], np.inf)]
    return np.array(ends, np.float64)


@functools.cache
def _grid() -> F64:
    """Probabilities whose normal scores are evenly spaced."""
    normal = NormalDist()
    n = int(_FURTHEST / _SPACING)
    return np.array([normal.cdf(k * _SPACING) for k in range(-n + 1, n)])


def _normal_scores(below: F64, weight: F64) -> F64:
    """The normal scores of mid-ranks: `below` rows are smaller, `weight` are equal."""
    n = int(weight.sum())
    probability = (below + 0.5 * weight + 0.5) / (n + 1)
    quantile = NormalDist().inv_cdf
    return np.array([quantile(each) for each in probability.tolist()])


def _absolute_scores(location: F64, weight: F64) -> F64:
    """The normal scores of the absolute values' mid-ranks."""
    size = np.round(np.abs(location), 9)
    sizes, of_bin = np.unique(size, return_inverse=True)
    equal = np.bincount(of_bin, weights=weight, minlength=len(sizes)).astype(np.float64)
    below = np.concatenate([[0.0], np.cumsum(equal)])[:-1]
    return _normal_scores(below, equal)[of_bin]


def _standardised(score: F64, weight: F64) -> F64:
    n = weight.sum()
    mean = float((score * weight).sum() / n)
    sd = math.sqrt(float((((score - mean) ** 2) * weight).sum() / n))
    standardised: F64 = (score - mean) / (sd if sd > 0.0 else 1.0)
    return standardised


def tail_factor(score: F64, weight: F64) -> float:
    """How much heavier than a standard normal's the tails of the scores are: 1 or more.

    The least variance of a normal whose moment generating function bounds that of the scores.
    """
    t = np.concatenate([np.arange(-40, 0), np.arange(1, 41)]) / 10.0
    mean = (np.exp(np.multiply.outer(t, score)) * weight).sum(axis=1) / weight.sum()
    return _rounded_up(max(1.0, float(np.max(2.0 * np.log(mean) / t**2))))


def autoregression(x: F64) -> F64:
    """(MAX_ORDER,) coefficients by Yule and Walker, of the order with the least BIC."""
    n = len(x)
    none = np.zeros(MAX_ORDER)
    if n < MIN_AUTOREGRESSION:
        return none
    middle, width = float(np.median(x)), float(np.std(x))
    # One far outlier must not pass for independence.
    y = np.clip(x - middle, -4.0 * width, 4.0 * width)
    y -= y.mean()
    covariance = [float(np.sum(y[lag:] * y[: n - lag])) for lag in range(MAX_ORDER + 1)]
    if covariance[0] <= 0.0:
        return none
    correlation = [each / covariance[0] for each in covariance]
    best, least = none, n * math.log(1.0 - LEAST_EXPLAINED)
    solved: list[float] = []
    left = 1.0
    for order in range(1, MAX_ORDER + 1):
        # Levinson's recursion: from the coefficients of one order to those of the next.
        known = sum(c * correlation[order - 1 - k] for k, c in enumerate(solved))
        last = (correlation[order] - known) / left
        solved = [c - last * solved[order - 2 - k] for k, c in enumerate(solved)] + [last]
        left = max(left * (1.0 - last * last), 1e-12)
        criterion = n * math.log(left) + order * math.log(n)
        if criterion < least:
            least = criterion
            # Rounded, so that another machine's last bits change nothing.
            best = np.zeros(MAX_ORDER)
            best[:order] = np.round(solved, 9)
    return best


def rank_variance(ranks: Ranks) -> float:
    """By which shares of a reference's rows vary more than those of independent ones: 1 or more.

    The long-run variance of its normal scores or of their sizes, whichever is larger, and of the
    autoregression that was taken out before they were measured; tails are left out.
    """
    longest = max(v / tail for v, tail in zip(ranks.variance, ranks.tails, strict=True))
    return max(longest, 1.0) * process_variance(ranks.coefficient.tolist())


def process_variance(coefficient: Sequence[float]) -> float:
    """By which the mean of an autoregression of variance 1 varies more than that of noise.

    Its innovations' variance, from the partial autocorrelations (Levinson's recursion backwards),
    over the square of 1 less the sum of its coefficients.
    """
    total = 1.0 - sum(coefficient)
    innovations, phi = 1.0, list(coefficient)
    while phi:
        last = phi.pop()
        innovations *= max(1.0 - last * last, 1e-9)
        phi = [
            (a + last * b) / max(1.0 - last * last, 1e-9)
            for a, b in zip(phi, phi[::-1], strict=True)
        ]
    return max(innovations / max(total * total, 1e-9), 1.0)


def long_run_variance(x: F64, n_errors: float = 3.0) -> float:
    """The long-run variance of (n,) rows over their variance: 1 or more.

    The larger of two estimates: the variance of batch means (and of the differences of
    neighbouring ones) where it is `n_errors` above that of independent rows, one standard error
    added; and that of a first-order autoregression whose coefficient is one standard error above
    the estimate, which is what short references need.
    """
    n = len(x)
    y = x - x.mean()
    variance = float(np.sum(y * y)) / n
    if variance <= 0.0 or n < 4:
        return 1.0
    highest = 1.0
    b = 4
    while n // b >= 16:
        k = n // b
        means = y[: k * b].reshape(k, b).mean(axis=1)
        spread = b * float(np.var(means, ddof=1)) / variance
        steps = b / 2.0 * float(np.mean(np.diff(means) ** 2)) / variance
        for found, error in ((spread, math.sqrt(2 / (k - 1))), (steps, math.sqrt(3 / (k - 1)))):
            if found > 1.0 + n_errors * error:
                highest = max(highest, found * (1.0 + error))
        b *= 2
    first = float(np.sum(y[1:] * y[:-1])) / (n * variance) + 1.0 / math.sqrt(n)
    first = min(first, 0.999)
    return _rounded_up(max(highest, (1.0 + first) / (1.0 - first)))


def _rounded_up(factor: float) -> float:
    """To a multiple of 1/4096, so that another machine's last bits change nothing."""
    return math.ceil(factor * 4096.0) / 4096.0
