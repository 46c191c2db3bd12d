"""Intervals of differences, against what others compute and by how often they hold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]  # it ships no types

from streams.difference import (
    Sums,
    mean_difference,
    same_mix_difference,
    share_difference,
    shared_level,
    student_quantile,
)
from streams.version_facts import MAX_LOSS


def sums(values: np.ndarray) -> Sums:
    return Sums(len(values), float(values.sum()), float(np.square(values).sum()))


@pytest.mark.parametrize(
    ("new", "old", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table II, method 10.
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((0, 10), (0, 20), -0.1611, 0.2775),
    ],
)
def test_shares_as_newcombe_has_them(
    new: tuple[int, int], old: tuple[int, int], low: float, high: float
) -> None:
    found = share_difference(new, old, 0.95)
    assert [found.low, found.high] == pytest.approx([low, high], abs=6e-5)


@pytest.mark.parametrize("freedom", [29, 60.5, 1_000])
@pytest.mark.parametrize("p", [0.9, 0.975, 0.999, 0.99999])
def test_student_s_quantile(p: float, freedom: float) -> None:
    assert student_quantile(p, freedom) == pytest.approx(stats.t.ppf(p, freedom), rel=1e-3)


def spread(values: np.ndarray, least: float) -> np.ndarray:
    """The same mean, and a variance of at least so much."""
    more = math.sqrt(max(least / values.var(ddof=1), 1.0))
    return np.asarray(values.mean() + (values - values.mean()) * more)


@given(st.integers(0, 2**32), st.floats(0.8, 0.999))
def test_means_as_scipy_has_them(seed: int, level: float) -> None:
    """Where no side has less variance than both of them together."""
    rng = np.random.default_rng(seed)
    one = rng.exponential(2.0, rng.integers(40, 200))
    other = rng.exponential(3.0, rng.integers(40, 200))
    found = mean_difference(sums(one), sums(other), level)
    least = np.concatenate([one, other]).var(ddof=1)
    wanted = stats.ttest_ind(
        spread(one, least), spread(other, least), equal_var=False
    ).confidence_interval(level)
    assert found.low == pytest.approx(wanted.low, rel=2e-3, abs=1e-3)
    assert found.high == pytest.approx(wanted.high, rel=2e-3, abs=1e-3)


_losses = st.lists(st.floats(0.0, MAX_LOSS), min_size=2, max_size=40)


@given(_losses, _losses, st.floats(0.8, 0.999))
def test_means_of_whatever_size_have_an_interval(
    one: list[float], other: list[float], level: float
) -> None:
    # Welch's degrees of freedom were no number where a loss was 1e80, or 1e-90.
    found = mean_difference(sums(np.array(one)), sums(np.array(other)), level)
    assert all(math.isfinite(each) for each in found)
    assert found.low <= found.difference <= found.high


@given(st.lists(st.floats(0.0, 1e60), max_size=30), st.integers(0, 30))
def test_what_is_left_without_a_part(values: list[float], n: int) -> None:
    whole, part = np.array(values), np.array(values[:n])
    left = sums(whole).less([sums(part)])
    assert left.n == len(values[n:])
    assert left.total == pytest.approx(float(whole[n:].sum()), rel=1e-9, abs=1e-6 * whole.sum())


def test_means_that_never_vary_differ_surely() -> None:
    found = mean_difference(Sums(40, 80.0, 160.0), Sums(40, 40.0, 40.0), 0.95)
    assert found.difference == 1.0
    assert 0.7 < found.low < 1.0 < found.high < 1.3


@pytest.mark.parametrize("loss", [0.1, 0.3, 1e-9, 123.456, 1e59])
def test_losses_that_are_all_the_same_differ_by_no_rounding(loss: float) -> None:
    for n in range(500, 600, 7):
        for m in range(500, 900, 11):
            pair = sums(np.full(n, loss)), sums(np.full(m, loss))
            found = mean_difference(*pair, 0.95)
            assert found.low <= 0.0 <= found.high
            found = same_mix_difference([pair, pair[::-1]], 0.95, of_shares=False)
            assert found.low <= 0.0 <= found.high


@pytest.mark.parametrize("mean", [1e8, 1.7e9])
def test_a_variance_that_rounding_took_makes_no_difference(mean: float) -> None:
    rng = np.random.default_rng(2)
    n_false = 0
    for _ in range(200):
        new, old = (sums(mean + rng.standard_normal(n)) for n in (700, 600))
        n_false += mean_difference(new, old, 0.95).low > 0.0
    # Of 200; 22 and 30 without a least variance.
    assert n_false <= 5


def lognormal(rng: np.random.Generator, n: int, by: float) -> np.ndarray:
    return np.exp(rng.standard_normal(n)) * by


def mostly_zero(rng: np.random.Generator, n: int, by: float) -> np.ndarray:
    return np.asarray(rng.exponential(1.0, n) * (rng.random(n) < 0.05 * by))


@pytest.mark.parametrize(("law", "worse"), [(lognormal, 3.0), (mostly_zero, 8.0)])
def test_few_skewed_losses_of_one_side_make_no_difference(law: Any, worse: float) -> None:
    """Of equal laws: the new one has nine times the labels, in each of 32 groups."""
    rng = np.random.default_rng(5)
    n_runs, n_groups, level = 200, 32, shared_level(0.95, 32)
    n_false = n_missed = 0
    for _ in range(n_runs):
        olds = [sums(law(rng, 220, 1.0)) for _ in range(n_groups)]
        alike = [mean_difference(sums(law(rng, 2_000, 1.0)), old, level) for old in olds]
        n_false += any(each.low > 0.0 for each in alike)
        n_missed += mean_difference(sums(law(rng, 2_000, worse)), olds[0], level).low <= 0.0
    # By the variance of each side alone a sixth of the first, more than half of the second.
    assert n_false / n_runs <= 0.05
    assert n_missed == 0


@given(st.integers(0, 60), st.integers(1, 60), st.integers(0, 60), st.integers(1, 60))
def test_the_other_way_round_is_the_mirror_image(k: int, n: int, j: int, m: int) -> None:
    k, j = min(k, n), min(j, m)
    there = share_difference((k, n), (j, m), 0.95)
    back = share_difference((j, m), (k, n), 0.95)
    assert there.low <= there.difference + 1e-12
    assert there.difference <= there.high + 1e-12
    assert [back.low, back.high] == pytest.approx([-there.high, -there.low])


def test_a_family_of_intervals_holds_at_its_level() -> None:
    """Ten pairs of equal shares: at 95 % one run in twenty may find one that differs."""
    rng = np.random.default_rng(7)
    level, n = shared_level(0.95, 10), 400
    n_wrong = 0
    for _ in range(1_000):
        counts = rng.binomial(n, 0.2, (10, 2))
        n_wrong += any(
            (found := share_difference((int(a), n), (int(b), n), level)).low > 0.0
            or found.high < 0.0
            for a, b in counts
        )
    # Three standard errors of a share of 0.05 in 1,000 runs.
    assert n_wrong / 1_000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1_000)
    assert n_wrong > 0


def test_on_the_same_mix_an_interval_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    sizes = ((300, 100), (80, 240), (20, 60))
    shares = np.array([0.02, 0.3, 0.1])
    weights = np.array([n for n, _ in sizes]) / 400
    n_false = 0
    for _ in range(2_000):
        pairs = [
            (Sums(n, k := rng.binomial(n, p), k), Sums(m, j := rng.binomial(m, q), j))
            for (n, m), p, q in zip(sizes, shares + 0.05, shares, strict=True)
        ]
        found = same_mix_difference(pairs, 0.95, of_shares=True)
        assert found.difference == pytest.approx(
            sum(w * (a.mean - b.mean) for w, (a, b) in zip(weights, pairs, strict=True))
        )
        n_false += not found.low <= 0.05 <= found.high
    # A standard error of 2,000 draws is 0.5 %; variances are taken rather too large.
    assert n_false / 2_000 < 0.065


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(0, MAX_LOSS), min_size=2, max_size=6),
            st.lists(st.floats(0, MAX_LOSS), min_size=2, max_size=6),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_on_the_same_mix_whatever_the_losses_are_the_interval_is_finite(
    given_pairs: list[tuple[list[float], list[float]]],
) -> None:
    pairs = [(sums(np.array(new)), sums(np.array(old))) for new, old in given_pairs]
    found = same_mix_difference(pairs, 0.99, of_shares=False)
    assert all(math.isfinite(each) for each in found)
    assert found.low <= found.difference <= found.high
    turned = same_mix_difference([(new, new) for new, _ in pairs], 0.99, of_shares=False)
    assert turned.difference == 0.0
