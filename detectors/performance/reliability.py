"""Whether probabilities mean what they say: reliability bins and the expected calibration error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from detectors.performance.intervals import Measure, proportion, total_of
from detectors.performance.outputs import N_RELIABILITY, ScoreOf
from detectors.performance.tally import Tally


class ReliabilityBin(NamedTuple):
    """One bar of a reliability diagram."""

    low: float
    high: float
    """Probabilities from `low` to below `high`; the last bin contains 1."""
    n: int
    predicted: float | None
    """The mean probability of its rows; None without rows."""
    observed: Measure | None
    """The share of its rows that are of the positive class (or right); None without rows."""


class CalibrationError(NamedTuple):
    """The expected calibration error: the mean distance of observed share and mean probability."""

    value: float
    low: float
    high: float
    n: int
    by_chance: float
    """What it would be, on average, of probabilities that are right in every bin."""


def reliability(tally: Tally, z: float) -> tuple[ReliabilityBin, ...]:
    """(16,) bins, each of as many neighbouring score bins; empty where scores are no probabilities.

    They are the same for every window, so that windows can be compared.
    """
    if tally.output.score_of < ScoreOf.POSITIVE:
        return ()
    counts = tally.histogram.reshape(2, N_RELIABILITY, -1).sum(axis=2)
    width = tally.histogram.shape[1] // N_RELIABILITY
    edges = [0.0, *tally.output.cuts[width - 1 :: width], 1.0]
    bins = []
    for k in range(N_RELIABILITY):
        positives, n = int(counts[1, k]), int(counts[:, k].sum())
        scores = total_of(tally.score_sums[k * width : (k + 1) * width])
        predicted = scores / n if n else None
        observed = proportion(positives, n, z)
        bins.append(ReliabilityBin(edges[k], edges[k + 1], n, predicted, observed))
    return tuple(bins)


def calibration_error(bins: Sequence[ReliabilityBin], z: float) -> CalibrationError | None:
    """The expected calibration error of a reliability diagram (Naeini et al., AAAI 2015).

    Given the scores, the error T that is seen and the true one E of these bins obey, with the
    shares w, the standard errors s of what is observed, and m the mean of the sum of w |noise|:
    E <= mean of T <= E + m, by Jensen's inequality and the triangle's, and the variance of T is at
    most the sum of w**2 s**2. So the interval [T - m - z sd, T + z sd] holds E at least as often as
    it says. It is wide by m for that. None without rows.
    """
    n = sum(each.n for each in bins)
    if not n:
        return None
    value, chance, variance = [], [], []
    for each in bins:
        if each.observed is None or each.predicted is None:
            continue
        share = each.n / n
        k = each.observed.value * each.n
        smooth = (k + 1.0) / (each.n + 2.0)
        error = math.sqrt(smooth * (1.0 - smooth) / each.n)
        value.append(share * abs(each.observed.value - each.predicted))
        chance.append(share * error * math.sqrt(2.0 / math.pi))
        variance.append(share * share * error * error)
    found, by_chance = math.fsum(value), math.fsum(chance)
    reach = z * math.sqrt(math.fsum(variance))
    low, high = max(found - by_chance - reach, 0.0), min(found + reach, 1.0)
    return CalibrationError(found, low, high, n, by_chance)
