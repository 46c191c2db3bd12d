"""The trend bank beside a plain implementation, and what it is for: slow moves, at its rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]  # it ships no types

from detectors.drift.ranks import LaneReference, fit, fit_indicator
from detectors.drift.trend import TrendBank, chance_level
from detectors.fold import Fold
from detectors.kernels import trend as kernels
from schemas.batch import F64
from schemas.config import DetectionConfig, DetectorsConfig, TrendConfig
from schemas.findings import Firing
from streams.budget_signals import signal_budgets
from tests.detectors.batches import batch_of, feed, one_model, split
from tests.detectors.decoded import decoded
from tests.detectors.folding import normal_events

CONFIG = TrendConfig(enabled=True, block_rows=20, n_blocks=32, n_scales=2)
SLOW = TrendConfig(enabled=True, block_rows=100, n_blocks=64, n_scales=1)
N_REFERENCE = 2_000

_concordance: Any = kernels._concordance
_dependence: Any = kernels._dependence
_inflation: Any = kernels._inflation


def taught(
    n_lanes: int, arl0: float, config: TrendConfig = CONFIG, *, share: float | None = None
) -> TrendBank:
    """A bank whose lanes have a reference: standard normal, or of zeros and ones, standardised."""
    bank = TrendBank(config, n_lanes, None)
    for lane in range(n_lanes):
        rng = np.random.default_rng([lane, 1])
        x = rng.normal(size=N_REFERENCE)
        if share is not None:
            x = shares(rng, np.full(N_REFERENCE, share), share)
        ranks = fit(x) if share is None else fit_indicator(x, 0.5)
        bank.learn(np.array([lane], np.int32), [LaneReference(ranks, arl0)])
    return bank


def shares(rng: np.random.Generator, p: F64, frozen: float) -> F64:
    """Ones with probability `p` and zeros, in z of a reference with the share `frozen`."""
    ones = (rng.random(p.shape) < p).astype(np.float64)
    z: F64 = (ones - frozen) / math.sqrt(frozen * (1.0 - frozen))
    return z


def run(bank: TrendBank, values: F64) -> list[Firing]:
    """What fires on (rows, lanes), in batches of no particular size."""
    return feed(bank, split(one_model(values), range(0, len(values), 7_001)))


series = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.25, 0.5, 3.0]), min_size=4, max_size=40)


@settings(max_examples=60, deadline=None)
@given(x=st.one_of(series, st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=40)))
def test_s_and_its_variance_are_those_of_scipy(x: list[float]) -> None:
    n = len(x)
    rank = np.zeros(n)
    s, variance = _concordance(0, 0, n, np.array(x).reshape(1, 1, n), rank)
    assert s == sum(np.sign(x[j] - x[i]) for j in range(n) for i in range(j))
    assert rank.tolist() == stats.rankdata(x).tolist()
    found: Any = stats.kendalltau(np.arange(n), x, method="asymptotic")
    if len(set(x)) == 1:
        assert (s, variance) == (0, 0.0)
        return
    assert 2.0 * stats.norm.sf(abs(s) / math.sqrt(variance)) == pytest.approx(found.pvalue)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(24, 256))
def test_the_dependence_is_that_of_the_ranks_without_their_line(seed: int, n: int) -> None:
    rank = np.random.default_rng(seed).permutation(n) + 1.0
    t = np.arange(n)
    left = rank - np.polyval(np.polyfit(t, rank, 1), t)
    first = float(np.sum(left[1:] * left[:-1]) / np.sum(left * left))
    first += (1.0 + 4.0 * max(first, 0.0)) / n + 1.0 / math.sqrt(n)
    assert _dependence(n, rank) == pytest.approx(min(max(first, 0.0), 0.95), abs=1e-9)


@pytest.mark.parametrize("first", [0.0, 0.3, 0.95])
@pytest.mark.parametrize("n", [24, 64])
def test_the_variance_grows_as_hamed_and_rao_say(n: int, first: float) -> None:
    lag = np.arange(1, n)
    terms = (n - lag) * (n - lag - 1) * (n - lag - 2) * first**lag
    expected = 1.0 + 2.0 / (n * (n - 1) * (n - 2)) * terms.sum()
    assert _inflation(n, first) == pytest.approx(expected)


def plain(x: F64, reference: F64, arl0: float, config: TrendConfig) -> list[tuple[Any, ...]]:
    """One lane, by lists: offset, statistic, before, after, change offset and n of each firing."""
    ranks: Any = fit(reference)
    assert not ranks.coefficient.any()
    centre, variance = reference.mean(), ranks.variance[0]
    fired: list[tuple[Any, ...]] = []
    begins = 0
    for row in range(len(x)):
        n_rows = config.block_rows
        for _scale in range(config.n_scales):
            n_seen = row + 1 - begins
            if n_seen % n_rows:
                break
            whole = x[begins : row + 1].reshape(-1, n_rows).mean(axis=1)[-config.n_blocks :]
            n = len(whole)
            quarter = n // 4
            if n >= 24:
                s = sum(np.sign(whole[j] - whole[i]) for j in range(n) for i in range(j))
                spread = n * (n - 1) * (2 * n + 5) / 18.0
                factor = _inflation(n, _dependence(n, stats.rankdata(whole)))
                found = (abs(s) - 1.0) / math.sqrt(spread * factor)
                after = whole[-quarter:].mean()
                error = math.sqrt(variance * (1 / (quarter * n_rows) + 1 / len(reference)))
                high = chance_level(n_rows * config.n_scales / arl0)
                if s and found > high and np.sign(s) * (after - centre) > 2.0 * error:
                    change = row + 1 - n * n_rows
                    before = whole[:quarter].mean()
                    fired.append((row, found, high, before, after, change, quarter * n_rows))
                    begins = row + 1
                    break
            n_rows *= 4
    return fired


@pytest.mark.parametrize("seed", range(4))
def test_it_fires_where_a_plain_implementation_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=12_000) + np.cumsum(rng.normal(size=12_000)) * 0.01
    bank = taught(1, 2e4)
    reference = np.random.default_rng([0, 1]).normal(size=N_REFERENCE)
    expected = plain(x, reference, 2e4, CONFIG)
    firings = run(bank, x[:, np.newaxis])
    assert len(expected) >= 2
    assert [f.offset for f in firings] == [each[0] for each in expected]
    for firing, (_, found, high, before, after, change, n) in zip(firings, expected, strict=True):
        assert firing.statistic == pytest.approx(found)
        assert firing.threshold == high
        assert (firing.before, firing.after) == pytest.approx((before, after), abs=1e-8)
        assert (firing.change_offset, firing.n_before, firing.n_after) == (change, n, n)


NULLS: dict[str, Callable[[np.random.Generator, tuple[int, int]], F64]] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy tails": lambda rng, shape: rng.standard_cauchy(size=shape),
    "a rare share": lambda rng, shape: shares(rng, np.full(shape, 0.02), 0.02),
}


@pytest.mark.parametrize("name", NULLS)
def test_without_a_change_it_keeps_its_rate(name: str) -> None:
    arl0, n_lanes, n_rows = 2e3, 20, 60_000
    bank = taught(n_lanes, arl0, share=0.02 if name == "a rare share" else None)
    values = NULLS[name](np.random.default_rng(21), (n_rows, n_lanes))
    n_alarms = len(run(bank, values))
    stated = n_rows * n_lanes / arl0
    # Tests of rings that overlap cross their level together, and it is paid for each of them.
    assert 0 < n_alarms <= stated + 3.0 * math.sqrt(stated)


def test_blocks_that_depend_on_each_other_raise_no_more_alarms() -> None:
    """AR(1) 0.95: neighbouring blocks of 20 rows have a correlation of 0.5."""
    arl0, n_lanes, n_rows = 1e4, 20, 60_000
    rng = np.random.default_rng(22)
    values = np.zeros((n_rows, n_lanes))
    last = rng.normal(size=n_lanes)
    for row, noise in enumerate(rng.normal(size=(n_rows, n_lanes)) * math.sqrt(1 - 0.95**2)):
        last = 0.95 * last + noise
        values[row] = last
    n_alarms = len(run(taught(n_lanes, arl0), values))
    stated = n_rows * n_lanes / arl0
    assert n_alarms <= stated + 3.0 * math.sqrt(stated)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_slow_move_is_found_and_said_as_it_is(sign: float) -> None:
    rng = np.random.default_rng(23)
    n_lanes, n_rows = 10, 20_000
    slope = sign * 0.4 * np.arange(n_rows) / n_rows
    values = rng.normal(size=(n_rows, n_lanes)) + slope[:, np.newaxis]
    first: dict[int, Firing] = {}
    config = SLOW.model_copy(update={"n_scales": 2})
    for firing in run(taught(n_lanes, 1e6, config), values):
        first.setdefault(firing.lane, firing)
    assert len(first) == n_lanes
    for firing in first.values():
        assert sign * firing.after > sign * firing.before
        middle = (firing.offset + firing.offset + 1 - firing.n_after) // 2
        assert firing.after == pytest.approx(slope[middle], abs=4.0 / math.sqrt(firing.n_after))
        middle = firing.change_offset + firing.n_before // 2
        assert firing.before == pytest.approx(slope[middle], abs=4.0 / math.sqrt(firing.n_before))


def test_the_decay_of_a_share_is_found() -> None:
    rng = np.random.default_rng(24)
    n_lanes, n_rows = 10, 200_000
    p = np.linspace(0.10, 0.14, n_rows)[:, np.newaxis].repeat(n_lanes, axis=1)
    values = shares(rng, p, 0.10)
    config = TrendConfig(enabled=True, block_rows=500)
    firings = run(taught(n_lanes, 1e6, config, share=0.10), values)
    assert {f.lane for f in firings} == set(range(n_lanes))
    assert all(f.after > f.before for f in firings)


def test_a_trend_back_to_the_reference_is_none() -> None:
    rng = np.random.default_rng(25)
    away = np.concatenate([np.full(20, 1.0), np.linspace(1.0, 0.0, 20_000), np.zeros(5_000)])
    values = rng.normal(size=(len(away), 40)) + away[:, np.newaxis]
    back = run(taught(40, 1e7, SLOW), values)
    # By chance a few seem to have gone beyond it, by two standard errors at one of many tests.
    assert len({f.lane for f in back}) <= 4
    assert all(f.after < 0.0 for f in back)
    assert {f.lane for f in run(taught(40, 1e7, SLOW), values - 1.0)} == set(range(40))


def test_after_an_alarm_a_new_level_says_nothing_more() -> None:
    rng = np.random.default_rng(26)
    level = np.minimum(np.arange(60_000) / 20_000, 1.0)
    firings = run(taught(10, 1e7, SLOW), rng.normal(size=(60_000, 10)) + level[:, np.newaxis])
    assert {f.lane for f in firings} == set(range(10))
    # So far it looks back.
    assert all(f.offset < 20_000 + 64 * 100 for f in firings)


def test_coarser_scales_see_what_is_too_slow_for_the_finest() -> None:
    rng = np.random.default_rng(27)
    values = rng.normal(size=(40_000, 8)) + (np.arange(40_000) / 1e5)[:, np.newaxis]
    fine, coarse = (
        TrendConfig(enabled=True, block_rows=20, n_blocks=64, n_scales=n) for n in (1, 4)
    )
    slow = run(taught(8, 1e6, coarse), values)
    assert {f.lane for f in slow} == set(range(8))
    assert all(f.n_after >= 6 * 80 for f in slow)
    assert run(taught(8, 1e6, fine), values) == []


def test_with_the_highest_budget_it_still_finds_what_is_plain() -> None:
    rng = np.random.default_rng(28)
    values = rng.normal(size=(200_000, 1)) * 0.1 + (np.arange(200_000) / 1e5)[:, np.newaxis]
    config = TrendConfig(enabled=True)
    assert len(run(taught(1, 1e17, config), values)) >= 1


def test_another_rate_is_kept_from_then_on() -> None:
    rng = np.random.default_rng(29)
    values = rng.normal(size=(20_000, 4)) + (0.4 * np.arange(20_000) / 20_000)[:, np.newaxis]
    early, late = taught(4, 1e3, SLOW), taught(4, 1e9, SLOW)
    late.set_arl0(np.arange(4, dtype=np.int32), 1e3)
    assert late.arl0(3) == 1e3
    found = run(early, values)
    assert found == run(late, values)
    slow = run(taught(4, 1e9, SLOW), values)
    assert found[0].offset < min((f.offset for f in slow), default=len(values))
    late.set_enabled(np.array([3], np.int32), False)
    assert late.arl0(3) is None


def test_the_level_is_that_of_the_chance() -> None:
    assert chance_level(1.0) == chance_level(7.0) == 0.0
    for chance in (0.5, 1e-3, 1e-15, 1e-60):
        level = chance_level(chance)
        assert 2.0 * stats.norm.sf(level) <= chance
        assert 2.0 * stats.norm.sf(level - 2.0 / 1024.0) > chance


def test_the_budget_is_shared_on_shares_too_and_counted() -> None:
    """`trend` watches what `focus` watches, so each has half of every signal's false alarms."""
    both = DetectorsConfig(trend=TrendConfig(enabled=True, block_rows=5, n_blocks=24))
    config = DetectionConfig(reference_events=100, arl0=5_000, detectors=both)
    fold = Fold(config)
    fold.process(decoded(normal_events(300, shift_at=9_999, shift=0.0)))
    state = fold.snapshot()
    assert set(state["focus"]["arl0"]) == {10_000.0}
    assert set(state["trend"]["arl0"]) == {10_000.0}
    for budget in signal_budgets(fold, fold.catalog.monitor(0)):
        assert budget.arl0s == [10_000.0, 10_000.0]
        assert budget.expected == pytest.approx(2 * budget.n_observed / 10_000.0)


def test_a_batch_may_hold_more_firings_than_the_buffer() -> None:
    config = TrendConfig(enabled=True, block_rows=5, n_blocks=24, n_scales=1)
    values = np.add.outer(np.arange(1_000) / 10.0, np.zeros(40))
    bank, other = taught(40, 100.0, config), taught(40, 100.0, config)
    firings = sorted(bank.update(batch_of(one_model(values), 0, 1_000)))
    assert len(firings) > 256
    assert firings == run(other, values)
