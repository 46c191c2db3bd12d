"""The exact law of a count, beside scipy's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]  # it ships no types

from streams.poisson import at_least, interval

CHI2: Any = stats.chi2
POISSON: Any = stats.poisson


@settings(deadline=None)
@given(st.integers(0, 3_000), st.floats(0.0, 3_000.0))
def test_the_tail_is_that_of_the_law(n: int, mean: float) -> None:
    assert at_least(n, mean) == pytest.approx(float(POISSON.sf(n - 1, mean)), rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(st.integers(0, 3_000))
def test_the_interval_is_garwoods(n: int) -> None:
    low, high = interval(n)
    expected = 0.0 if n == 0 else float(CHI2.ppf(0.025, 2 * n)) / 2.0
    assert low == pytest.approx(expected, rel=1e-6)
    assert high == pytest.approx(float(CHI2.ppf(0.975, 2 * n + 2)) / 2.0, rel=1e-6)


@settings(deadline=None)
@given(st.integers(0, 10**7), st.floats(0.0, 1e9))
def test_every_probability_is_one(n: int, mean: float) -> None:
    assert 0.0 <= at_least(n, mean) <= 1.0 + 1e-9


def test_far_out_it_does_not_round_to_nothing() -> None:
    assert at_least(12, 0.5) == pytest.approx(float(POISSON.sf(11, 0.5)), rel=1e-9)
