"""Intervals hold the truth as often as they say: seeded simulations, the error stated.

Of 2,000 seeds at 95 % the share varies by 0.5 % (one standard deviation). An interval that is exact
for many rows must come within 2 % of its level at a few hundred; one that is a bound must not fall
short of it by more than three standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from detectors.kernels.performance import N_COUNTS, N_SUMS
from detectors.performance import intervals
from detectors.performance.classes import macro, of_class
from detectors.performance.intervals import Measure
from detectors.performance.outputs import N_RELIABILITY, Output, ScoreOf, Task, even_cuts
from detectors.performance.ranking import place, roc_auc
from detectors.performance.reliability import CalibrationError, calibration_error, reliability
from detectors.performance.tally import Tally
from schemas.batch import F64, I64

N_SEEDS = 2000
Z = intervals.quantile(0.95)
SHORT = 0.95 - 3 * math.sqrt(0.95 * 0.05 / N_SEEDS)


def coverage(
    draw: Callable[[np.random.Generator], Measure | CalibrationError | None], truth: float
) -> float:
    """The share of the seeds whose interval holds the truth."""
    n = sum(holds(draw(np.random.default_rng(seed)), truth) for seed in range(N_SEEDS))
    return n / N_SEEDS


def holds(found: Measure | CalibrationError | None, truth: float) -> bool:
    """Whether the truth lies in the interval; one that is not there does not hold it."""
    return found is not None and found.low <= truth <= found.high


MATRICES = {
    "binary": [[0.62, 0.08], [0.05, 0.25]],
    "rare": [[0.90, 0.04], [0.02, 0.04]],
    "good": [[0.60, 0.005], [0.005, 0.39]],
    "three and others": [
        [0.30, 0.05, 0.02, 0.01],
        [0.04, 0.25, 0.03, 0.00],
        [0.02, 0.02, 0.15, 0.02],
        [0.01, 0.03, 0.02, 0.03],
    ],
}


def with_others(p: list[list[float]]) -> F64:
    """The matrix with an empty row and column for classes beyond it, if it has none."""
    matrix = np.array(p)
    return matrix if len(matrix) == 4 else np.pad(matrix, ((0, 1), (0, 1)))


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("of", ["one class", "macro"])
def test_precision_recall_and_f1(name: str, of: str) -> None:
    p = with_others(MATRICES[name])
    r = len(p) - 1
    hit, n_true, n_guess = np.diagonal(p)[:r], p.sum(axis=1)[:r], p.sum(axis=0)[:r]
    one = slice(None) if of == "macro" else slice(1, 2)
    truths = {
        "precision": float((hit / n_guess)[one].mean()),
        "recall": float((hit / n_true)[one].mean()),
        "f1": float((2 * hit / (n_true + n_guess))[one].mean()),
    }
    n_held = dict.fromkeys(truths, 0)
    for seed in range(N_SEEDS):
        rng = np.random.default_rng(seed)
        confusion = rng.multinomial(500, p.ravel()).reshape(p.shape)
        found = macro(confusion, Z) if of == "macro" else of_class(confusion, 1, Z)
        for which, truth in truths.items():
            n_held[which] += holds(getattr(found, which), truth)
    for which, n in n_held.items():
        assert 0.93 <= n / N_SEEDS <= 0.985, which


def normal_below(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


@pytest.mark.parametrize(
    ("shift", "n_negative", "n_positive"),
    [(0.0, 300, 300), (1.0, 300, 300), (1.0, 1000, 30), (2.5, 300, 100), (2.5, 2000, 20)],
)
def test_auc(shift: float, n_negative: int, n_positive: int) -> None:
    cuts = np.linspace(-3.0, 5.5, 63).tolist()
    laws = [
        np.diff([0.0, *(normal_below(cut - centre) for cut in cuts), 1.0])
        for centre in (0.0, shift)
    ]
    truth = place(*laws)
    assert truth is not None
    exact = normal_below(shift / math.sqrt(2.0))
    assert abs(truth.auc - exact) <= truth.error <= 0.03

    def draw(rng: np.random.Generator) -> Measure | None:
        counts = [
            rng.multinomial(n, p) for n, p in zip((n_negative, n_positive), laws, strict=True)
        ]
        return roc_auc(np.array(counts), Z)

    # With 20 positives the variance itself is a guess.
    assert (0.93 if n_positive > 20 else 0.915) <= coverage(draw, truth.auc) <= 0.97


def test_the_variance_of_the_area_is_delongs_over_single_rows() -> None:
    rng = np.random.default_rng(3)
    histogram = rng.integers(0, 9, (2, 16))
    low, high = (np.repeat(np.arange(16), each) for each in histogram)
    order = (np.sign(high[:, np.newaxis] - low[np.newaxis, :]) + 1.0) / 2.0
    variance = order.mean(axis=1).var(ddof=1) / len(high) + order.mean(axis=0).var(ddof=1) / len(
        low
    )
    share = float(order.mean())
    m = min(len(low), len(high))
    variance += (share * (1 - share) / m - variance) / m
    wanted = intervals.wilson(share, share * (1 - share) / variance, Z)
    found = roc_auc(histogram, Z)
    assert found is not None
    assert found.value == pytest.approx(share)
    assert (found.low, found.high) == pytest.approx(wanted)


@pytest.mark.parametrize("n", [1, 5, 40, 1000])
@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_wilson_is_where_the_score_test_begins_to_reject(n: int, p: float) -> None:
    k = round(n * p)
    found = intervals.proportion(k, n, Z)
    assert found is not None
    for end in (found.low, found.high):
        if 0.0 < end < 1.0:
            assert abs(k / n - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(Z)


@pytest.mark.parametrize("draw_of", ["error", "square", "bounded"])
def test_means(draw_of: str) -> None:
    truth = {"error": math.sqrt(2 / math.pi), "square": 1.0, "bounded": 2 / 7}[draw_of]

    def draw(rng: np.random.Generator) -> Measure | None:
        x = rng.beta(2, 5, 400) if draw_of == "bounded" else np.abs(rng.normal(size=400))
        x = x * x if draw_of == "square" else x
        return intervals.mean(float(x.sum()), float((x * x).sum()), 400, Z)

    assert 0.93 <= coverage(draw, truth) <= 0.97


def tally_of(score: F64, outcome: I64) -> Tally:
    """A tally of a binary model with these probabilities and outcomes."""
    cuts = even_cuts(64)
    at = np.searchsorted(cuts, score, side="right")
    return Tally(
        Output(Task.BINARY, ScoreOf.POSITIVE, 1, tuple(cuts)),
        np.zeros(2, np.int64),
        np.zeros(N_COUNTS, np.int64),
        np.zeros((3, 3), np.int64),
        np.array([np.bincount(at[outcome == one], minlength=64) for one in (0, 1)]),
        np.bincount(at, score, minlength=64).astype(np.float64),
        np.zeros(N_SUMS),
    )


@pytest.mark.parametrize(("power", "n"), [(1.0, 500), (1.3, 500), (2.0, 500), (1.3, 10_000)])
def test_the_calibration_error_is_within_its_bound(power: float, n: int) -> None:
    rng = np.random.default_rng(12)
    score = rng.beta(1.5, 2.5, n)
    p = score**power
    at = np.searchsorted(even_cuts(64), score, side="right") // (64 // N_RELIABILITY)
    truth = float(np.abs(np.bincount(at, p - score, minlength=N_RELIABILITY)).sum() / n)
    n_held, n_zero, values, chances = 0, 0, [], []
    for seed in range(500):
        outcome = np.less(np.random.default_rng(seed).random(n), p).astype(np.int64)
        found = calibration_error(reliability(tally_of(score, outcome), Z), Z)
        assert found is not None
        n_held += found.low <= truth <= found.high
        n_zero += found.low == 0.0
        values.append(found.value)
        chances.append(found.by_chance)
    assert n_held / 500 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 500)
    if power == 1.0:
        # Probabilities that are right: what is seen is what chance brings, and 0 is not excluded.
        assert truth == 0.0
        assert np.mean(values) == pytest.approx(np.mean(chances), rel=0.15)
        assert n_zero / 500 >= 0.95
    if power == 2.0 or n == 10_000:
        assert n_zero == 0


def test_a_sum_of_one_row_says_nothing_of_its_spread() -> None:
    assert intervals.mean(3.0, 9.0, 1, Z) is None
    assert intervals.mean(0.0, 0.0, 0, Z) is None
    assert intervals.proportion(0, 0, Z) is None
    assert intervals.mean(6.0, 18.0, 2, Z) == Measure(3.0, 3.0, 3.0, 2)
