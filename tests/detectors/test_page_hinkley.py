from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift

from detectors.drift.page_hinkley import PageHinkleyBank
from schemas.batch import F64
from schemas.config import PageHinkleyConfig
from schemas.findings import Firing
from tests.detectors.batches import feed, one_model, random_values, split

CONFIGS = st.builds(
    PageHinkleyConfig,
    enabled=st.just(value=True),
    min_instances=st.sampled_from([1, 2, 30, 500]),
    delta=st.sampled_from([0.0, 0.005, 0.05, 1.0]),
    threshold=st.sampled_from([0.001, 1.0, 50.0, 131.0]),
    alpha=st.sampled_from([1.0, 0.9999, 0.5]),
)


def check_parity(config: PageHinkleyConfig, values: F64, cuts: list[int]) -> list[Firing]:
    bank = PageHinkleyBank(config, 1, None)
    firings = feed(bank, split(one_model(values), cuts))
    detector: Any = drift.PageHinkley(
        min_instances=config.min_instances,
        delta=config.delta,
        threshold=config.threshold,
        alpha=config.alpha,
    )
    positions = []
    for i, x in enumerate(values.tolist()):
        if x == x:  # noqa: PLR0124
            detector.update(x)
            if detector.drift_detected:
                positions.append(i)
                rise = detector._sum_increase - detector._min_increase
                fall = detector._max_decrease - detector._sum_decrease
                assert firings[len(positions) - 1].statistic == max(rise, fall)
    assert [firing.offset for firing in firings] == positions
    state = bank.snapshot()
    if not detector.drift_detected:
        assert state["mean"][0] == detector._x_mean.get()
        for name in ("sum_increase", "sum_decrease", "min_increase", "max_decrease"):
            assert state[name][0] == getattr(detector, f"_{name}")
    return firings


def check_meaning(values: F64, firings: list[Firing]) -> None:
    """`before` and `after` are the means of what lies before and since `change_offset`."""
    start = 0
    for firing in firings:
        assert start < firing.change_offset <= firing.offset
        seen = values[start : firing.offset + 1]
        scale = 1.0 + float(np.nanmax(np.abs(seen)))
        before = np.nanmean(values[start : firing.change_offset])
        after = np.nanmean(values[firing.change_offset : firing.offset + 1])
        assert firing.before == pytest.approx(before, abs=1e-9 * scale)
        assert firing.after == pytest.approx(after, abs=1e-9 * scale)
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
    n=st.integers(1, 2000),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_fires_where_river_fires(
    config: PageHinkleyConfig, seed: int, n: int, cuts: list[int]
) -> None:
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
    config: PageHinkleyConfig, values: list[float], repeat: int
) -> None:
    check_parity(config, np.repeat(values, repeat), [])


@pytest.mark.parametrize("shift", [1.5, -1.5])
def test_a_shift_is_dated_on_the_side_that_fired(shift: float) -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(size=4000), rng.normal(shift, 1.0, size=1000)])
    (firing, *_) = check_parity(PageHinkleyConfig(enabled=True), values, [2000])
    assert 4000 < firing.offset < 4200
    assert abs(firing.change_offset - 4000) <= 200
    assert abs(firing.before) < 0.1
    assert firing.after * shift > 0.5
    assert firing.threshold == 131.0


def test_more_firings_than_the_buffer_holds_are_all_told() -> None:
    config = PageHinkleyConfig(enabled=True, min_instances=1, delta=0.0, threshold=0.001)
    values = np.tile([0.0, 1.0], 2000)
    assert len(check_parity(config, values, [1001])) > 1_000
