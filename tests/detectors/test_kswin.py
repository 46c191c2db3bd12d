from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from detectors.base import StateError
from detectors.drift.kolmogorov_smirnov import critical_distance, probability
from detectors.drift.kswin import KswinBank
from schemas.batch import F64
from schemas.config import KswinConfig
from schemas.findings import Firing
from tests.detectors.batches import feed, one_model, random_values, split
from tests.detectors.river_kswin import own_kswin, positions, river_kswin


@st.composite
def configs(draw: st.DrawFn) -> KswinConfig:
    stat_size = draw(st.sampled_from([2, 3, 5, 10, 30]))
    least = float(probability(stat_size, stat_size))
    return KswinConfig(
        enabled=True,
        seed=draw(st.sampled_from([0, 1, 2**32 - 1])),
        window_size=2 * stat_size + draw(st.sampled_from([0, 1, 7, 40])),
        stat_size=stat_size,
        alpha=max(draw(st.sampled_from([1e-4, 0.005, 0.05, 0.3, 0.9])), 1.001 * least),
    )


def river_positions(detector: Any, values: F64) -> list[int]:
    fired = []
    for i, x in enumerate(values.tolist()):
        if x == x:  # noqa: PLR0124
            detector.update(x)
            if detector.drift_detected:
                fired.append(i)
    return fired


def check_parity(config: KswinConfig, values: F64, cuts: list[int]) -> list[Firing]:
    firings = feed(KswinBank(config, 1, None), split(one_model(values), cuts))
    assert [firing.offset for firing in firings] == river_positions(river_kswin(config), values)
    return firings


def check_meaning(config: KswinConfig, values: F64, firings: list[Firing]) -> None:
    """`before` and `after` are the means of the window's older part and of the recent one."""
    for firing in firings:
        rows = np.flatnonzero(~np.isnan(values[: firing.offset + 1]))[-config.window_size :]
        older, recent = rows[: -config.stat_size], rows[-config.stat_size :]
        scale = 1.0 + float(np.abs(values[rows]).max())
        assert firing.before == pytest.approx(values[older].mean(), abs=1e-9 * scale)
        assert firing.after == pytest.approx(values[recent].mean(), abs=1e-9 * scale)
        assert firing.change_offset == recent[0]
        assert firing.n_before == len(older) == config.window_size - config.stat_size
        assert firing.n_after == len(recent)
        assert 1.0 >= firing.statistic >= firing.threshold > 0.1


@settings(max_examples=60, deadline=None)
@given(
    config=configs(),
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 600),
    cuts=st.lists(st.integers(0, 600), max_size=8),
)
def test_fires_where_river_fires(config: KswinConfig, seed: int, n: int, cuts: list[int]) -> None:
    values = random_values(np.random.default_rng(seed), n)
    firings = check_parity(config, values, [min(cut, n) for cut in cuts])
    check_meaning(config, values, firings)


@settings(max_examples=60, deadline=None)
@given(
    config=configs(),
    values=st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, -0.0, 1.0]), min_size=1),
    repeat=st.integers(1, 6),
)
def test_fires_where_river_fires_on_any_values(
    config: KswinConfig, values: list[float], repeat: int
) -> None:
    check_parity(config, np.repeat(values, repeat), [])


def test_at_rivers_defaults_it_fires_where_river_fires() -> None:
    config = KswinConfig(enabled=True, seed=42)
    rows = np.arange(3_000)
    values = np.random.default_rng(4).normal(size=3_000) + 1.5 * (rows // 500 % 2)
    firings = check_parity(config, values, [700, 701, 2000])
    assert len(firings) > 4
    check_meaning(config, values, firings)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 2**40),
    size=st.integers(1, 20),
    more=st.integers(0, 30),
)
def test_a_draw_is_a_set_of_positions(seed: int, n: int, size: int, more: int) -> None:
    drawn = positions(seed, n, size + more, size)
    assert len(set(drawn)) == size
    assert set(drawn) <= set(range(size + more))


@pytest.mark.parametrize("seed", [0, 1, 7, 2**32 - 1])
def test_every_set_is_drawn_as_often(seed: int) -> None:
    """Chi-square over all 20 sets of 3 of 6, 20,000 draws; 19 degrees: above 58 once in 10^5."""
    drawn = Counter(tuple(sorted(positions(seed, n, 6, 3))) for n in range(9, 20_009))
    assert drawn.keys() == set(combinations(range(6), 3))
    assert sum((count - 1_000) ** 2 / 1_000 for count in drawn.values()) < 58


def test_draws_in_a_row_know_nothing_of_each_other() -> None:
    """Of 10 of 20: how many are drawn again by the next one, 5 on average, variance 25 / 19."""
    sets = [set(positions(3, n, 20, 10)) for n in range(30, 20_031)]
    again = [len(a & b) for a, b in pairwise(sets)]
    assert abs(np.mean(again) - 5.0) < 4 * np.sqrt(25 / 19 / len(again))


@pytest.mark.parametrize("draw", [np.random.Generator.normal, np.random.Generator.exponential])
@pytest.mark.parametrize("alpha", [0.005, 0.05, 0.3])
def test_a_single_test_is_wrong_as_often_as_the_law_says(
    alpha: float, draw: Callable[..., F64]
) -> None:
    """The first test of 20,000 lanes in which nothing changes."""
    n_lanes = 20_000
    config = KswinConfig(enabled=True, seed=9, window_size=50, stat_size=20, alpha=alpha)
    values = draw(np.random.default_rng(21), size=(50, n_lanes))
    firings = KswinBank(config, n_lanes, None).update(*split(one_model(values), []))
    p = float(probability(20, critical_distance(20, alpha)))
    assert p <= alpha
    assert abs(len(firings) - n_lanes * p) < 4 * np.sqrt(n_lanes * p * (1 - p))


def test_false_alarms_come_as_often_as_rivers_own_draws_give_them() -> None:
    """Firings in noise, with Python's generator in river and with ours: as two Poisson counts."""
    config = KswinConfig(enabled=True, seed=8, window_size=30, stat_size=15, alpha=0.1)
    values = np.random.default_rng(22).normal(size=8_000)
    ours = len(feed(KswinBank(config, 1, None), split(one_model(values), [])))
    rivers = len(river_positions(own_kswin(config), values))
    assert ours > 100
    assert abs(ours - rivers) < 4 * np.sqrt(ours + rivers)


def test_another_seed_draws_otherwise() -> None:
    values = np.random.default_rng(2).normal(size=5_000)
    of_seed = []
    for seed in (1, 1, 2):
        config = KswinConfig(enabled=True, seed=seed, alpha=0.05)
        firings = feed(KswinBank(config, 1, None), split(one_model(values), []))
        of_seed.append([firing.offset for firing in firings])
    assert of_seed[0] == of_seed[1] != of_seed[2]


def test_a_change_of_spread_alone_is_found() -> None:
    rng = np.random.default_rng(6)
    values = np.concatenate([rng.normal(size=500), rng.normal(0.0, 5.0, size=200)])
    config = KswinConfig(enabled=True, seed=1, window_size=400, stat_size=100, alpha=1e-4)
    (firing, *_) = check_parity(config, values, [])
    assert 500 < firing.offset < 600
    assert abs(firing.after - firing.before) < 1.0


def test_bytes_of_a_lane_are_its_window() -> None:
    bank = KswinBank(KswinConfig(enabled=True, seed=1, alpha=1e-9), 4, None)
    values = np.random.default_rng(1).normal(size=(5_000, 4))
    for batch in split(one_model(values), [10, 1_000]):
        assert bank.update(batch) == []
        size = sum(array.nbytes for array in bank.snapshot().values())
        assert size == 4 * (9 + 8 * 100 + 8 * 30)


def test_more_firings_than_the_buffer_holds_are_all_told() -> None:
    config = KswinConfig(enabled=True, seed=1, window_size=4, stat_size=2, alpha=0.5)
    assert len(check_parity(config, np.arange(3_000.0), [1_001])) == 750


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("window", (0, 3), 1.0),
        ("window", (1, 0), np.nan),
        ("window", (1, 0), 2e6),
        ("recent_offset", (0, 3), 7),
        ("recent_offset", (1, 0), -1),
    ],
)
def test_a_window_that_does_not_fit_its_count_is_refused(
    name: str, at: tuple[int, int], value: float
) -> None:
    """Lane 0 has observed three values, lane 1 a full window."""
    config = KswinConfig(enabled=True, seed=1, window_size=10, stat_size=5, alpha=0.05)
    bank = KswinBank(config, 2, None)
    values = np.random.default_rng(1).normal(size=(12, 2))
    values[3:, 0] = np.nan
    bank.update(*split(one_model(values), []))
    state = bank.snapshot()
    KswinBank(config, 2, state)
    state[name][at] = value
    with pytest.raises(StateError):
        KswinBank(config, 2, state)


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"enabled": True}, "seed", "write `seed: 1`"),
        ({"enabled": True, "seed": None}, "seed", "write `seed: 1`"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"window_size": 59}, "stat_size", "at most half of `window_size`, which is 59"),
        ({"stat_size": 51}, "stat_size", "lower it or raise `window_size`"),
        ({"alpha": 1e-17}, "alpha", "raise it or `stat_size`"),
        ({"stat_size": 4, "alpha": 0.02}, "alpha", "0.0286, the least p-value"),
    ],
)
def test_a_config_that_cannot_work_is_refused_by_field(
    fields: dict[str, Any], field: str, text: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        KswinConfig.model_validate(fields)
    (error,) = caught.value.errors()
    assert error["loc"] == (field,)
    assert text in error["msg"]


def test_off_it_needs_no_seed() -> None:
    assert KswinConfig().seed is None
    assert not KswinConfig().enabled
