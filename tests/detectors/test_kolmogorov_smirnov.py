from __future__ import annotations

import warnings
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]  # it ships no types

from detectors.drift.kolmogorov_smirnov import critical_distance, probability

SIZES = [1, 2, 3, 7, 10, 30, 31, 100, 257, 700]


def scipys(size: int, distance: int) -> float:
    """The p-value of two samples that far apart, as river asks for it.

    Where it is next to 1, rounding may take scipy beyond that: it says so and approximates.
    """
    first = np.arange(float(size))
    with warnings.catch_warnings():
        warnings.simplefilter("error" if probability(size, distance) < 0.999 else "ignore")
        statistic, p = stats.ks_2samp(first, first + distance - 0.5, method="auto")
    assert round(statistic * size) == distance
    return float(p)


@pytest.mark.parametrize("size", SIZES)
def test_the_p_value_is_scipys(size: int) -> None:
    for distance in sorted({*range(2, min(size, 40) + 1), size // 2 + 1, size} - {1}):
        ours, theirs = float(probability(size, distance)), scipys(size, distance)
        # It approximates next to 1, where it says so.
        tolerance = 1e-11 if ours < 0.999 else 0.01
        assert ours == pytest.approx(theirs, rel=tolerance, abs=1e-300)
    assert probability(size, 1) == probability(size, 0) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_the_p_value_is_that_of_all_orders(size: int) -> None:
    """Every order of the two samples' values, counted one by one."""
    greatest = []
    for mine in combinations(range(2 * size), size):
        steps = np.where(np.isin(np.arange(2 * size), mine), 1, -1)
        greatest.append(int(np.abs(np.cumsum(steps)).max()))
    for distance in range(size + 1):
        share = Fraction(sum(each >= distance for each in greatest), len(greatest))
        assert probability(size, distance) == share


@given(size=st.integers(1, 120), alpha=st.floats(1e-300, 1.0, exclude_max=True))
def test_the_critical_distance_is_the_least_that_fires(size: int, alpha: float) -> None:
    critical = critical_distance(size, alpha)

    def fires(distance: int) -> bool:
        return probability(size, distance) <= Fraction(alpha) and distance / size > 0.1

    assert 1 <= critical <= size + 1
    assert critical == size + 1 or fires(critical)
    assert critical == 1 or not fires(critical - 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("alpha", [0.9, 0.05, 0.005, 1e-4, 1e-9])
def test_the_critical_distance_is_where_scipy_and_river_draw_the_line(
    size: int, alpha: float
) -> None:
    critical = critical_distance(size, alpha)
    for distance in range(max(critical - 3, 1), min(critical + 3, size) + 1):
        fires = scipys(size, distance) <= alpha and distance / size > 0.1
        assert fires == (distance >= critical)
