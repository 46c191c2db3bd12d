"""The search against one in plain Python, W against scipy's, and how many hits it takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]  # it ships no types

from detectors.drift.lane_table import LaneTable
from detectors.kernels.probing import climbs
from detectors.security.base import MISSING
from detectors.security.neighbour_places import MAX_ROWS, PLACE_COLUMNS, ROOM
from detectors.security.neighbour_rates import (
    AIM,
    alarm_at,
    needed_hits,
    needed_steps,
    upper_count,
    upper_share,
)
from detectors.security.neighbour_search import LEAST_SAME, Asked, Found, find
from detectors.security.shapiro import LEAST, MOST, all_weights, w_of, weights_of

N_PLACES = 3


def random_rows(rng: np.random.Generator, n: int, d: int, n_numbers: int) -> Asked:
    """Rows that are near one another, equal, missing, of other models and widths at times."""
    z = np.zeros((n, 64), np.float32)
    z[:, :d] = rng.normal(size=(n, d)) * rng.choice([0.01, 1.0], (n, 1))
    z[:, n_numbers:d] = rng.integers(0, 3, (n, d - n_numbers))
    z[:, :d][rng.random((n, d)) < 0.02] = MISSING
    for i in np.flatnonzero(rng.random(n) < 0.1).tolist():
        z[i] = z[max(i - 3, 0)]
    source = rng.integers(-1, N_PLACES, n).astype(np.int32)
    return Asked(
        z=z,
        is_repeat=rng.random(n) < 0.05,
        source=source,
        is_first=rng.random(n) < 0.01,
        model=(rng.random(n) < 0.005).astype(np.int32),
        predicted=rng.integers(0, 3, n).astype(np.int32),
        n_dims=np.array([d, max(d - 1, 1)], np.int32),
        n_numbers=np.array([n_numbers, min(n_numbers, max(d - 1, 1))], np.int32),
    )


def plain(asked: Asked) -> list[tuple[int, bool, float, float, float, float]]:
    """The search, row by row, on lists; every column of `Found` but W."""
    kept: dict[int, list[tuple[np.ndarray, int]]] = {}
    owner: dict[int, int] = {}
    count: dict[int, int] = {}
    out = []
    inf = math.inf
    for i, place in enumerate(asked.source.tolist()):
        model = int(asked.model[i])
        begins = place >= 0 and (bool(asked.is_first[i]) or owner.get(place) != model)
        if begins:
            kept[place], count[place], owner[place] = [], 0, model
        none = (0, begins, inf, inf, 0.0, inf)
        if place < 0 or asked.is_repeat[i]:
            out.append(none)
            continue
        d, numbers = int(asked.n_dims[model]), int(asked.n_numbers[model])
        row, mine = asked.z[i, :d], int(asked.predicted[i])
        apart = []
        for earlier, _ in kept[place]:
            squares = ((earlier[:numbers] - row[:numbers]).astype(np.float64) ** 2).sum()
            apart.append(squares + 2.0 * float((earlier[numbers:] != row[numbers:]).sum()))
        if apart and min(apart) == 0.0:
            out.append(none)
            continue
        same = [a for a, (_, c) in zip(apart, kept[place], strict=True) if c == mine]
        other = [a for a, (_, c) in zip(apart, kept[place], strict=True) if c != mine]
        count[place] += 1
        out.append(
            (
                count[place],
                begins,
                math.sqrt(min(apart, default=inf)),
                math.sqrt(min(same)) if len(same) >= LEAST_SAME else inf,
                _is_less(min(other, default=inf), min(same, default=inf)),
                math.sqrt(apart[-1]) if apart else inf,
            )
        )
        kept[place].append((row, mine))
        del kept[place][: -min(MAX_ROWS, ROOM // d)]
    return out


def _is_less(one: float, other: float) -> float:
    """NaN where it hangs on rounding."""
    if one < math.inf and abs(one - other) <= 1e-6 * max(one, other):
        return math.nan
    return float(one < other)


def searched(asked: Asked) -> Found:
    return find(asked, LaneTable(PLACE_COLUMNS, N_PLACES, None), np.zeros(N_PLACES * ROOM, "f4"))


def compare(asked: Asked) -> None:
    found = searched(asked)
    expected = plain(asked)
    for name, column in zip(
        ("position", "begins", "nearest", "same", "is_flip", "step"),
        zip(*expected, strict=True),
        strict=True,
    ):
        of_kernel = np.asarray(getattr(found, name), np.float64)
        # Of a tie, but for rounding, either class may be nearer.
        is_tie = np.isnan(np.asarray(column, np.float64))
        of_kernel[is_tie] = np.nan
        np.testing.assert_allclose(of_kernel, column, rtol=1e-5, err_msg=name)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 250), d=st.integers(1, 12))
def test_the_search_is_a_plain_one(seed: int, n: int, d: int) -> None:
    rng = np.random.default_rng(seed)
    compare(random_rows(rng, n, d, int(rng.integers(0, d + 1))))


@pytest.mark.parametrize("d", [4, 64])
def test_a_ring_that_is_full_forgets_the_oldest(d: int) -> None:
    compare(random_rows(np.random.default_rng(d), 1_400, d, d))


def test_w_is_looked_at_every_ten_distinct_rows_among_the_latest() -> None:
    rng = np.random.default_rng(4)
    asked = random_rows(rng, 3_000, 3, 3)
    asked.source[:] = 1
    asked.is_first[:] = False
    asked.model[:] = 0
    found = searched(asked)
    same: list[float] = []
    n_looks = 0
    for i in range(3_000):
        if found.position[i] == 0 or (found.position[i] % 10 and np.isinf(found.same[i])):
            assert np.isnan(found.w[i])
            continue
        if np.isfinite(found.same[i]):
            same.append(found.same[i])
        if found.position[i] % 10 or len(same) < LEAST:
            assert np.isnan(found.w[i])
            continue
        latest = np.array(same[-MOST:], np.float32).astype(np.float64)
        inside = latest[np.abs(latest - latest.mean()) <= 3.0 * latest.std()]
        if len(inside) < LEAST:
            continue
        n_looks += 1
        assert found.w[i] == pytest.approx(stats.shapiro(inside).statistic, abs=1e-6)
    assert n_looks > 200


@pytest.mark.parametrize("n", [6, 7, 20, 100, 101, 333, 500, 5_000])
def test_weights_give_the_w_of_scipy(n: int) -> None:
    weights = weights_of(n)
    assert 2.0 * (weights**2).sum() == pytest.approx(1.0)
    rng = np.random.default_rng(n)
    for sample in (
        rng.normal(size=n),
        rng.exponential(size=n),
        rng.random(n),
        rng.normal(size=n) ** 3,
    ):
        x = np.sort(sample)
        w = (weights * (x[::-1] - x)[: n // 2]).sum() ** 2 / ((x - x.mean()) ** 2).sum()
        assert w == pytest.approx(stats.shapiro(sample).statistic, abs=1e-7)


def test_w_of_too_few_of_equal_and_of_extreme_distances() -> None:
    assert math.isnan(w_of(np.arange(99.0)))
    assert not math.isnan(w_of(np.arange(100.0)))
    assert w_of(np.ones(200)) == 1.0
    assert 0.0 <= w_of(np.append(np.zeros(499), 1e9)) <= 1.0
    first = all_weights().first
    assert (np.diff(first)[LEAST:] == np.arange(LEAST, MOST + 1) // 2).all()


def test_a_climb_is_as_long_as_its_small_steps_one_way() -> None:
    score = np.array([0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2, np.nan, 0.1, 0.2, 0.3, 0.4])
    step = np.full(14, 0.1)
    step[12] = 0.31
    position = np.arange(1, 15)
    position[5] = 0  # a repeat: as if it had not been
    out = np.zeros(14, np.int64)
    begins = np.zeros(14, np.bool_)
    begins[0] = True
    climbs(
        position,
        begins,
        np.zeros(14, np.int32),
        step,
        score,
        0.1,
        np.zeros(1),
        np.ones(1, np.int8),
        np.full(1, 9),
        out,
    )
    assert out.tolist() == [0, 1, 2, 0, 1, 0, 0, 1, 2, 0, 0, 1, 0, 1]


@pytest.mark.parametrize("n", [0, 1, 2, 5, 10, 30, 100, 1_000])
def test_the_upper_count_is_not_below_the_exact_limit(n: int) -> None:
    exact = stats.chi2.ppf(0.95, 2 * (n + 1)) / 2.0
    assert exact <= upper_count(n) <= exact * 1.03 + 0.6


def test_the_upper_share_covers_at_least_what_it_says() -> None:
    assert upper_share(0, 0) > 0.75
    for n in (5, 20, 100, 1_000):
        shares = [upper_share(k, n) for k in range(n + 1)]
        assert shares == sorted(shares)
        assert shares[-1] < 1.0
        for k in range(0, int(0.9 * n), max(n // 50, 1)):
            assert shares[k] >= k / n
            if n >= 100:
                limit = stats.binomtest(k, n).proportion_ci(0.9, "wilson").high
                assert limit - 0.02 < shares[k] < limit + 0.04


@pytest.mark.parametrize("among", [32, 64, 200])
@pytest.mark.parametrize("rate", [1e-7, 1e-4, 1e-3, 1e-2, 0.1])
def test_needed_hits_are_the_fewest_that_keep_the_aim(rate: float, among: int) -> None:
    needed = needed_hits(rate, 1.0, among)
    begins = [rate * stats.binom.sf(k - 2, among - 1, rate) for k in range(1, among + 1)]
    assert needed == 1 + next(k for k, p in enumerate(begins) if p <= AIM)


def test_hits_that_clump_or_that_are_usual_ask_for_more() -> None:
    assert needed_hits(1e-3, 3.0, 64) > needed_hits(1e-3, 1.0, 64)
    assert needed_hits(1.0, 1.0, 64) == 0
    assert alarm_at(1e-4, 1.0, 0.0, 3, 64) == 3
    assert alarm_at(1e-4, 1.0, 7.0, 3, 64) == 8
    assert alarm_at(1e-4, 1.0, 7.0, 3, 128) == 15
    assert alarm_at(0.9, 1.0, 0.0, 3, 64) == 0
    assert alarm_at(1e-4, 1.0, 64.0, 3, 64) == 0


def test_needed_hits_hold_in_independent_hits() -> None:
    """Counted, not computed: how often an alarm begins at a rate at which that can be counted."""
    rng = np.random.default_rng(6)
    rate, among, n = 0.02, 64, 2_000_000
    needed = needed_hits(rate, 1.0, among)
    at = np.flatnonzero(rng.random(n) < rate)
    begins = at[needed - 1 :] - at[: len(at) - needed + 1] < among
    assert int(begins.sum()) <= 8  # 2 are expected
    fewer = at[needed - 3 :] - at[: len(at) - needed + 3] < among
    assert int(fewer.sum()) > 8


def test_needed_steps_follow_how_often_runs_go_on() -> None:
    assert needed_steps(1_000_000_000, 0, 0, 0) == 3.0
    short, long = needed_steps(10_000, 100, 30, 100), needed_steps(10_000, 100, 90, 100)
    assert 10 < short < long < 200
    assert needed_steps(10_000, 1, 10**9, 10**9) > 1_000
