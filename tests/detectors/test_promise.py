"""Which references are believed to keep a budget, and how long one would do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.drift.ranks import fit, fit_in_time, fit_indicator
from detectors.promise import Promise, Reason, Verdict, reference_rows, verdict_of
from schemas.batch import F64


def autoregression(phi: float, n: int, seed: int = 3) -> F64:
    noise = np.random.default_rng(seed).normal(size=n + 500)
    x = np.empty(n + 500)
    last = 0.0
    for i, step in enumerate(noise.tolist()):
        last = phi * last + step
        x[i] = last
    return x[500:]


def of_normal(n: int, seed: int = 1) -> Verdict:
    return verdict_of(fit(np.random.default_rng(seed).normal(size=n)))


def test_independent_rows_are_believed_from_2000_on() -> None:
    assert of_normal(2_000)[:5] == (Promise.KEPT, Reason.INDEPENDENT, 2_000, 20, 2_000)
    assert of_normal(300)[:5] == (Promise.PROVISIONAL, Reason.INDEPENDENT, 300, 20, 2_000)


def test_independent_rows_are_seldom_taken_for_others() -> None:
    reasons = [of_normal(2_000, seed).reason for seed in range(100)]
    assert reasons.count(Reason.CORRELATED) <= 15
    assert set(reasons) <= {Reason.INDEPENDENT, Reason.CORRELATED}


@pytest.mark.parametrize(("phi", "n"), [(0.5, 2_000), (0.9, 2_000), (0.9, 450)])
def test_rows_that_depend_on_each_other_need_20000(phi: float, n: int) -> None:
    verdict = verdict_of(fit(autoregression(phi, n)))
    assert (verdict.promise, verdict.reason) == (Promise.PROVISIONAL, Reason.CORRELATED)
    assert (verdict.rows, verdict.least) == (n, 400)
    assert verdict.enough == 20_000
    assert verdict.variance > (1.0 + phi) / (1.0 - phi) / 2.0


def test_with_few_of_them_the_budget_is_not_kept_and_with_20000_it_is() -> None:
    few = verdict_of(fit(autoregression(0.9, 200)))
    assert (few.promise, few.least) == (Promise.NOT_KEPT, 400)
    assert verdict_of(fit(autoregression(0.9, 20_000))).promise is Promise.KEPT


def test_stronger_correlation_than_was_measured_needs_rows_in_proportion() -> None:
    verdict = verdict_of(fit(autoregression(0.99, 20_000)))
    assert verdict.promise is Promise.PROVISIONAL
    assert verdict.variance > 60.0
    assert verdict.enough == pytest.approx(20_000 * verdict.variance / 30.0, abs=1.0)
    assert verdict.least == pytest.approx(400 * verdict.variance / 30.0, abs=1.0)


def test_what_is_rare_needs_twenty_of_its_kind() -> None:
    x = np.zeros(5_000)
    x[[40, 1_700, 4_100]] = 1.0
    for rows in (x, 1.0 - x):
        verdict = verdict_of(fit_indicator(rows, 0.5))
        assert verdict[:5] == (Promise.PROVISIONAL, Reason.RARE, 5_000, 20, 33_334)


def test_what_never_occurred_has_no_frequency_to_ask_more_of() -> None:
    assert verdict_of(fit_indicator(np.zeros(2_000), 0.5)).promise is Promise.KEPT


def test_a_share_that_comes_in_runs_depends_on_itself() -> None:
    x = (autoregression(0.95, 3_000) > 0.0).astype(np.float64)
    verdict = verdict_of(fit_indicator(x, 0.5))
    assert (verdict.promise, verdict.reason) == (Promise.PROVISIONAL, Reason.CORRELATED)


@pytest.mark.parametrize(("per_day", "periods"), [(1_000, 5), (400, 12)])
def test_a_rhythm_needs_ten_periods(per_day: int, periods: int) -> None:
    n = per_day * periods
    times = np.arange(n, dtype=np.int64) * 86_400_000 // per_day
    wave = np.sin(2.0 * np.pi * np.arange(n) / per_day)
    ranks = fit_in_time(wave + np.random.default_rng(2).normal(size=n), times, None)
    verdict = verdict_of(ranks)
    assert verdict.rows == n
    # Its own error is none of the rows': they depend on nothing.
    assert verdict.variance == pytest.approx(1.0, abs=0.1)
    if periods < 10:
        expected = Promise.PROVISIONAL, Reason.RHYTHM, n, 20, 2 * n
    else:
        expected = Promise.KEPT, Reason.INDEPENDENT, n, 20, 2_000
    assert verdict[:5] == expected


def test_without_rows_of_a_reference_nothing_is_kept() -> None:
    assert verdict_of(None) == (Promise.NOT_KEPT, Reason.NO_ROWS, 0, 20, 2_000, 1.0)


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), min_size=20, max_size=300),
    st.booleans(),
)
def test_no_reference_is_beyond_the_rule(values: list[float], as_share: bool) -> None:
    x = np.array(values)
    ranks = fit_indicator(x, float(np.median(x))) if as_share else fit(x)
    verdict = verdict_of(ranks)
    assert verdict.rows == reference_rows(ranks) == len(x)
    assert 20 <= verdict.least <= verdict.enough
    assert verdict.variance >= 1.0
    assert (verdict.promise is Promise.KEPT) == (verdict.rows >= verdict.enough)
    assert (verdict.promise is Promise.NOT_KEPT) == (verdict.rows < verdict.least)
