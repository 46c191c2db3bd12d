"""The estimate beside its reference: how often it lies within where nothing changes."""

from __future__ import annotations

import math

import numpy as np

from detectors.performance.expected import beside_reference, mean_interval


def test_an_interval_of_a_mean_is_the_normal_one_and_stays_a_share() -> None:
    low, high = mean_interval(0.2, 0.1, 100)
    assert math.isclose(low, 0.2 - 0.0195996, abs_tol=1e-6)
    assert math.isclose(high, 0.2 + 0.0195996, abs_tol=1e-6)
    assert mean_interval(0.01, 0.1, 4)[0] == 0.0
    assert mean_interval(0.99, 0.1, 4)[1] == 1.0
    assert mean_interval(0.3, 0.0, 7) == (0.3, 0.3)


def test_it_lies_within_in_95_of_100_cases_whatever_it_rests_on() -> None:
    """Of 2,000 seeds: three standard deviations are 1.5 %."""
    rng = np.random.default_rng(2)
    for n, n_reference in ((20, 200), (200, 200), (200, 50)):
        within = 0
        for _ in range(2_000):
            reference = 0.2 + 0.02 * rng.normal(size=n_reference)
            now = float((0.2 + 0.02 * rng.normal(size=n)).mean())
            known = (float(reference.mean()), float(reference.std()), n_reference)
            within += beside_reference(now, now, now, n, known).is_within
        assert abs(within / 2_000 - 0.95) < 0.02
