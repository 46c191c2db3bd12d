from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift

from detectors.drift.adwin import AdwinBank
from schemas.batch import F64
from schemas.config import AdwinConfig
from schemas.findings import Firing
from tests.detectors.batches import feed, one_model, random_values, split

CONFIGS = st.builds(
    AdwinConfig,
    enabled=st.just(value=True),
    delta=st.sampled_from([1e-12, 0.002, 0.05, 0.3, 0.999]),
    clock=st.sampled_from([1, 2, 7, 32, 64]),
    max_buckets=st.sampled_from([2, 3, 5, 8, 64]),
    min_window_length=st.sampled_from([1, 2, 5, 40]),
    grace_period=st.sampled_from([0, 1, 10, 200]),
)


def river_adwin(config: AdwinConfig) -> Any:
    make: Any = drift.ADWIN  # it has no annotations
    return make(
        delta=config.delta,
        clock=config.clock,
        max_buckets=config.max_buckets,
        min_window_length=config.min_window_length,
        grace_period=config.grace_period,
    )


def river_positions(config: AdwinConfig, values: F64) -> tuple[list[int], Any]:
    detector = river_adwin(config)
    positions = []
    for i, x in enumerate(values.tolist()):
        if x == x:  # noqa: PLR0124
            detector.update(x)
            if detector.drift_detected:
                positions.append(i)
    return positions, detector


def check_parity(config: AdwinConfig, values: F64, cuts: list[int]) -> list[Firing]:
    bank = AdwinBank(config, 1, None)
    firings = feed(bank, split(one_model(values), cuts))
    positions, detector = river_positions(config, values)
    assert [firing.offset for firing in firings] == positions
    state = bank.snapshot()
    if not detector.drift_detected:
        # Not nearly, but to the last bit: river's window and ours are the same numbers.
        assert state["n"][0] == detector.width
        assert state["total"][0] == detector.total
        assert state["variance"][0] == detector.variance
    return firings


def check_meaning(values: F64, firings: list[Firing]) -> None:
    """`before` and `after` are the means of what lies before and since `change_offset`."""
    start = 0
    for firing in firings:
        assert start < firing.change_offset <= firing.offset
        before = values[start : firing.change_offset]
        after = values[firing.change_offset : firing.offset + 1]
        scale = 1.0 + float(np.nanmax(np.abs(values[start : firing.offset + 1])))
        assert firing.before == pytest.approx(np.nanmean(before), abs=1e-9 * scale)
        assert firing.after == pytest.approx(np.nanmean(after), abs=1e-9 * scale)
        assert values[firing.change_offset] == values[firing.change_offset]
        assert firing.n_before == np.count_nonzero(~np.isnan(values[start : firing.change_offset]))
        assert firing.n_after == np.count_nonzero(
            ~np.isnan(values[firing.change_offset : firing.offset + 1])
        )
        assert firing.statistic > firing.threshold > 0
        start = firing.offset + 1


@settings(max_examples=400, deadline=None)
@given(
    config=CONFIGS,
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=8),
)
def test_fires_where_river_fires(config: AdwinConfig, seed: int, n: int, cuts: list[int]) -> None:
    values = random_values(np.random.default_rng(seed), n)
    firings = check_parity(config, values, [min(cut, n) for cut in cuts])
    check_meaning(values, firings)


@settings(max_examples=400, deadline=None)
@given(
    config=CONFIGS,
    values=st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 1.0]), min_size=1, max_size=80),
    repeat=st.integers(1, 6),
)
def test_fires_where_river_fires_on_any_values(
    config: AdwinConfig, values: list[float], repeat: int
) -> None:
    check_parity(config, np.repeat(values, repeat), [])


@pytest.mark.parametrize("value", [0.0, 1.0, 1 / 3, -0.1, 1e6, 1e-300])
@pytest.mark.parametrize("clock", [1, 32])
def test_a_constant_lane_never_fires_and_fires_with_river_once_it_moves(
    value: float, clock: int
) -> None:
    config = AdwinConfig(enabled=True, clock=clock)
    values = np.full(12_000, value)
    assert check_parity(config, values, [5000]) == []
    values[9_000:] -= 0.3 * (1 + abs(value))
    assert check_parity(config, values, [5000, 9001])


@pytest.mark.parametrize("p", [0.5, 0.05, 0.001])
def test_two_valued_lanes_fire_where_river_fires(p: float) -> None:
    rng = np.random.default_rng(11)
    values = (rng.random(60_000) < p).astype(np.float64)
    values[40_000:] = rng.random(20_000) < min(1.0, 3 * p)
    z = (values - p) / np.sqrt(p * (1 - p))
    assert check_parity(AdwinConfig(enabled=True), z, [1, 20_000])


def test_a_window_grows_new_levels_across_batches() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=50_000)
    assert (
        check_parity(
            AdwinConfig(enabled=True, max_buckets=2, clock=512), values, [*range(0, 300, 7), 3000]
        )
        == []
    )


def test_the_mean_of_a_shift_is_told() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(size=4000), rng.normal(2.0, 1.0, size=1000)])
    (firing, *_) = check_parity(AdwinConfig(enabled=True), values, [])
    assert 4000 < firing.offset < 4064
    assert abs(firing.change_offset - 4000) <= 200
    assert abs(firing.before) < 0.1


def test_bytes_of_a_lane_grow_with_the_logarithm() -> None:
    rng = np.random.default_rng(1)
    bank = AdwinBank(AdwinConfig(enabled=True, delta=1e-9), 1, None)
    sizes = []
    stream = one_model(rng.normal(size=1_000_000))
    for batch in split(stream, [1_000, 10_000, 100_000]):
        assert bank.update(batch) == []
        sizes.append(sum(array.nbytes for array in bank.snapshot().values()))
    assert max(np.diff(sizes)) <= 4 * 25 * 5 + 4
    assert sizes[-1] <= 2_500
