from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.drift.moments import MomentsBank
from schemas.config import MomentsConfig
from tests.detectors.batches import feed, one_model, random_values, split


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 1000))
def test_moments_are_those_of_all_observations(seed: int, n: int) -> None:
    values = random_values(np.random.default_rng(seed), n)
    bank = MomentsBank(MomentsConfig(), 1, None)
    assert feed(bank, split(one_model(values), [n // 3])) == []
    seen = values[~np.isnan(values)]
    assert bank.n[0] == len(seen)
    if len(seen):
        scale = 1.0 + float(np.abs(seen).max())
        assert bank.mean[0] == pytest.approx(seen.mean(), abs=1e-9 * scale)
        assert bank.m2[0] == pytest.approx(seen.var() * len(seen), abs=1e-9 * scale**2 * len(seen))
        assert bank.last[0] == seen[-1]
    else:
        assert (bank.mean[0], bank.m2[0]) == (0.0, 0.0)
        assert np.isnan(bank.last[0])


def test_the_fold_is_welfords_in_time_order() -> None:
    values = np.random.default_rng(2).normal(3.0, 2.0, 500)
    n, mean, m2 = 0, 0.0, 0.0
    for x in values.tolist():
        n += 1
        away = x - mean
        mean += away * (1.0 / n)
        m2 += away * (x - mean)
    bank = MomentsBank(MomentsConfig(), 1, None)
    feed(bank, split(one_model(values), [17, 300]))
    assert (bank.n[0], bank.mean[0], bank.m2[0]) == (n, mean, m2)


def test_views_cannot_be_written_to_and_follow_the_bank() -> None:
    bank = MomentsBank(MomentsConfig(), 1, None)
    for view in (bank.n, bank.mean, bank.m2, bank.last):
        assert view.shape == (1,)
        assert not view.flags.writeable
    n = bank.n
    feed(bank, split(one_model(np.ones(5)), []))
    assert n[0] == 5
