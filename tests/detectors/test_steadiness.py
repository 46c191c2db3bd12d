"""A reference that is too short for what its stream does is told; a change is none of that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.fold import Fold
from detectors.monitor import Monitor
from detectors.steadiness import Unsteady, block_variance, unsteady_signals
from schemas.batch import F64, Decoded, ModelKey
from schemas.config import DetectionConfig
from streams.past import taken
from tests.detectors.decoded import table

KEY = ModelKey("m", "1")
N = 60_000


def stream(x: F64, seed: int = 1) -> Decoded:
    """x as a feature, beside one that is steady, one that is rare, a score and two classes."""
    rng = np.random.default_rng(seed)
    n = len(x)
    columns = {"x": x, "y": rng.normal(size=n), "rare": (rng.random(n) < 0.02).astype(float)}
    return table(KEY, columns, rng.random(n), (rng.random(n) < 0.3).astype(float), 0)


def judged(x: F64, n_reference: int = 2_000, seed: int = 1) -> list[Unsteady]:
    """What is said of a reference of the first rows by all that come after them."""
    config = DetectionConfig(reference_events=n_reference)
    events = stream(x, seed)
    fold = Fold(config)
    fold.process(taken(events, np.arange(n_reference)))
    monitor = fold.catalog.monitor(0)
    return unsteady_signals(monitor, taken(events, np.arange(n_reference, len(x))), config)


def autoregression(rng: np.random.Generator, phi: float) -> F64:
    noise = rng.normal(size=N)
    out = np.empty(N)
    level = 0.0
    for i, each in enumerate(noise.tolist()):
        level = phi * level + each
        out[i] = level
    return out


@pytest.mark.parametrize("seed", range(4))
def test_of_steady_streams_nothing_is_said(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for x in (
        rng.normal(size=N),
        rng.exponential(size=N),
        rng.standard_t(3, size=N),
        autoregression(rng, 0.5),
        autoregression(rng, 0.9),
    ):
        assert judged(x, seed=seed) == []


def test_a_few_changes_are_not_what_it_looks_for() -> None:
    x = np.random.default_rng(2).normal(size=N)
    x += 3.0 * (np.arange(N) >= 20_000) - 2.0 * (np.arange(N) >= 35_000)
    assert judged(x) == []


def wandering(seed: int = 3) -> F64:
    """A level of its own for each 1,500 rows."""
    rng = np.random.default_rng(seed)
    levels = 0.4 * rng.normal(size=N // 1_500)
    return rng.normal(size=N) + np.repeat(levels, 1_500)


def rhythm() -> F64:
    """A cycle of 5,000 rows."""
    x = np.random.default_rng(4).normal(size=N)
    return x + 0.7 * np.sin(2 * np.pi * np.arange(N) / 5_000)


@pytest.mark.parametrize("x", [wandering(), rhythm()])
def test_what_the_reference_was_too_short_to_see_is_told_and_what_would_do(x: F64) -> None:
    (found,) = judged(x, n_reference=500)
    assert found.signal == "feature:x"
    assert found.factor > 4.0
    assert found.rows == 500
    assert found.enough == max(16 * found.block, 1_000)
    # With as many rows as it proposes, the reference allows for it.
    assert judged(x, n_reference=min(found.enough, N // 2)) == []


PER_DAY = 400


def by_day(seed: int, level: F64 | float = 0.0) -> Decoded:
    """A feature that follows the hour, 400 rows a day for 50 days, and `level` beside it."""
    n = 20_000
    rng = np.random.default_rng(seed)
    wave = 3.0 * np.sin(2.0 * np.pi * np.arange(n) / PER_DAY)
    events = stream(50.0 + wave + level + rng.normal(size=n), seed)
    return replace(events, event_time_ms=np.arange(n, dtype=np.int64) * (86_400_000 // PER_DAY))


def judged_by_day(events: Decoded) -> tuple[Monitor, list[Unsteady]]:
    config = DetectionConfig(reference_events=8_000)
    fold = Fold(config)
    fold.process(taken(events, np.arange(8_000)))
    monitor = fold.catalog.monitor(0)
    return monitor, unsteady_signals(monitor, taken(events, np.arange(8_000, 20_000)), config)


@pytest.mark.parametrize("seed", range(3))
def test_a_rhythm_that_the_reference_knows_is_steady(seed: int) -> None:
    monitor, found = judged_by_day(by_day(seed))
    (signal,) = [each for each in monitor.signals if monitor.name(each) == "feature:x"]
    assert signal.rhythm is not None
    assert found == []


def test_a_level_that_wanders_beneath_a_rhythm_is_told() -> None:
    """It has stood still over the reference, and has a level of its own every 300 rows since."""
    level = np.repeat(np.random.default_rng(6).normal(size=67), 300)[:20_000]
    level[:8_000] = 0.0
    monitor, (found,) = judged_by_day(by_day(7, level))
    (signal,) = [each for each in monitor.signals if monitor.name(each) == "feature:x"]
    assert signal.rhythm is not None
    assert found.signal == "feature:x"
    assert found.factor > 4.0


def test_few_rows_say_nothing() -> None:
    assert judged(wandering()[:3_000], n_reference=500) == []


def test_a_feature_that_came_late_and_one_that_is_gone_are_judged_or_left_out() -> None:
    config = DetectionConfig(reference_events=500)
    events = stream(wandering())
    fold = Fold(config)
    fold.process(taken(events, np.arange(500)))
    later = taken(events, np.arange(500, N))
    only_y = table(KEY, {"y": np.zeros(N - 500)}, later.score, later.prediction, 500)
    assert all(
        each.signal != "feature:x"
        for each in unsteady_signals(fold.catalog.monitor(0), only_y, config)
    )


def test_the_variance_of_means_is_that_of_normal_ones() -> None:
    means = 3.0 * np.random.default_rng(5).normal(size=20_000)
    assert block_variance(means.tolist()) == pytest.approx(9.0, rel=0.05)
    assert block_variance([1.0] * 40) == 0.0
