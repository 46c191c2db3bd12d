"""A number that moved by a factor that units differ by is told so, and others are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.fold import Fold
from schemas.alerts import AlertData
from schemas.config import DetectionConfig, PolicyConfig
from schemas.findings import Aspect, Finding
from streams.policy import Policy
from streams.sentences import drift_sentence
from streams.units import FACTORS, FURTHEST, MOST_PART, part_factor, unit_factor
from tests.detectors.decoded import Event, decoded
from tests.detectors.folding import fold_in
from tests.streams.demo_kit import MODELS, alert_data
from tests.streams.policy_kit import decide, finding, policy


def told(before: float, after: float, effect: float = 5.0) -> str:
    (moved,) = alert_data(MODELS[0], "feature:x", 10).signals
    change = {"before": before, "after": after, "effect": effect, "unit": "value"}
    return unit_factor(moved.model_copy(update=change))


@given(
    st.sampled_from(sorted(FACTORS)),
    st.floats(1e5, 1e6),
    st.floats(-0.9 * FURTHEST, 0.9 * FURTHEST),
    st.booleans(),
)
def test_each_factor_is_told_both_ways(
    factor: float, before: float, error: float, is_larger: bool
) -> None:
    after = before * factor * (1 + error) if is_larger else before / factor / (1 + error)
    said = told(before, after)
    assert FACTORS[factor] in said
    assert ("larger" if is_larger else "smaller") in said


@pytest.mark.parametrize(
    ("before", "after", "effect"),
    [(10.0, 5_000.0, 9.0), (10.0, 10_000.0, 2.0), (0.0, 1_000.0, 9.0), (-3.0, 3_000.0, 9.0)],
)
def test_what_is_no_factor_is_not_told(before: float, after: float, effect: float) -> None:
    assert told(before, after, effect) == ""


def test_degrees_have_another_zero() -> None:
    assert "Celsius had become Fahrenheit" in told(21.0, 69.8)
    assert "Fahrenheit had become Celsius" in told(69.8, 21.0)


@pytest.mark.parametrize(("factor", "words"), [(1_000.0, "factor of 1,000"), (1.0, "")])
def test_a_feature_in_another_unit_is_told_by_its_alert(factor: float, words: str) -> None:
    """Or, shifted as far by itself, not: 5,234 is no multiple that units differ by."""
    x = np.random.default_rng(3).normal(10.0, 2.0, size=5_000)
    x[2_000:] = x[2_000:] * factor if factor != 1.0 else x[2_000:] + 5_234.0
    events = [Event(i, {"weight": float(each)}) for i, each in enumerate(x.tolist())]
    fold = Fold(DetectionConfig(reference_events=1_000, arl0=1e7))
    policy = Policy(PolicyConfig(), "a" * 32, "d", 0)
    alerts = [a for a in policy.decide(fold.process(decoded(events)), lambda: 1) if a.after]
    said = [drift_sentence(alert) for alert in alerts]
    assert said
    assert any("Look at the unit of weight" in each for each in said) == bool(words)
    assert any(words in each for each in said)


def baseline(
    factor: float, part: float, mean: float = 10.0, sd: float = 2.0, n: int = 1_000
) -> Finding:
    """That of a feature of which such a part is larger by a factor; by its exact moments."""
    after = mean * (1.0 + part * (factor - 1.0))
    square = (mean * mean + sd * sd) * (1.0 + part * (factor * factor - 1.0))
    effect = (after - mean) / sd
    own = finding(5_000, signal="feature:x", effect=effect, n_after=n, aspect=Aspect.SETTLED)
    threshold = (square - 2.0 * mean * after + mean * mean) / (sd * sd)
    return own._replace(before=mean, after=after, threshold=threshold, n_before=0)


@settings(deadline=None)
@given(
    st.sampled_from(sorted(FACTORS)),
    # Moments are rounded, and so is the part that they tell: at `MOST_PART` it may be more.
    st.floats(0.03, MOST_PART * (1.0 - 1e-9)),
    st.floats(1e-9, 1e9),
    st.floats(0.01, 0.2),
    st.booleans(),
)
def test_the_factor_of_a_part_follows_whatever_part_it_is(
    factor: float, part: float, mean: float, spread: float, is_negative: bool
) -> None:
    mean = -mean if is_negative else mean
    assert part_factor(baseline(factor, part, mean, spread * abs(mean))) == factor


@settings(deadline=None)
@given(
    st.floats(-1e12, 1e12), st.floats(-1e150, 1e150), st.floats(-1e150, 1e150), st.floats(0, 1e12)
)
def test_no_moments_are_too_much(effect: float, before: float, after: float, square: float) -> None:
    own = baseline(10.0, 0.5)._replace(effect=effect, before=before, after=after, threshold=square)
    assert part_factor(own) in {0.0, *FACTORS}


@pytest.mark.parametrize(
    "own",
    [
        baseline(500.0, 0.3),
        baseline(1_000.0 * (1 + 2 * FURTHEST), 0.3),
        # All of it moved, which its mean says.
        baseline(1_000.0, 1.0),
        baseline(1_000.0, 0.019),
        # Inches among centimetres are where others were: no values beyond.
        baseline(2.54, 0.3, 10.0, 8.0),
        baseline(1_000.0, 0.3, 1.0, 2.0),
        baseline(1_000.0, 0.3, 0.0),
        baseline(0.001, 0.3),
        baseline(1_000.0, 0.0),
        baseline(1_000.0, 0.3)._replace(aspect=Aspect.MEAN),
        baseline(1_000.0, 0.3)._replace(detector="windows"),
        baseline(1_000.0, 0.3)._replace(signal="score"),
        baseline(1_000.0, 0.3)._replace(is_share=True),
    ],
)
def test_what_is_no_part_by_a_factor_is_not_told(own: Finding) -> None:
    assert part_factor(own) == 0.0


def test_it_is_news_once_and_survives_a_restart() -> None:
    own = policy()
    moved = finding(4_100, effect=1_000.0)._replace(before=10.0)
    decide(own, moved)
    (told,) = decide(own, baseline(1_000.0, 0.3))
    assert told.signals[0].part_factor == 1_000.0
    assert "Look at the unit of x: some of its values are larger by a factor of 1,000." in (
        told.message
    )
    assert decide(own, baseline(1_000.0, 0.3)) == []
    again = Policy(PolicyConfig(), "lineage", "deployment", 3, own.snapshot())
    # Its unit is mended, and another one comes.
    (other,) = decide(again, baseline(60.0, 0.3))
    assert other.signals[0].part_factor == 60.0
    back = decide(again, baseline(1.0, 0.3))
    assert all("Look at" not in drift_sentence(each) for each in back)


def mixed(share: float, factor: float, cuts: list[int]) -> list[AlertData]:
    """A feature of which some values come in another unit from event 2,000 on."""
    rng = np.random.default_rng(3)
    x = rng.normal(10.0, 2.0, size=5_000)
    x = np.where((np.arange(5_000) >= 2_000) & (rng.random(5_000) < share), factor * x, x)
    events = [Event(i, {"weight": float(each)}) for i, each in enumerate(x.tolist())]
    fold = Fold(DetectionConfig(reference_events=1_000, arl0=1e7))
    own = Policy(PolicyConfig(), "a" * 32, "d", 0)
    return own.decide(fold_in(fold, events, cuts), lambda: 1)


def test_one_of_several_producers_with_another_unit_is_told_whatever_the_batches() -> None:
    alerts = mixed(0.3, 1_000.0, [])
    said = [drift_sentence(alert) for alert in alerts]
    words = "Look at the unit of weight: some of its values are larger by a factor of 1,000."
    assert any(each.endswith(words) for each in said)
    assert mixed(0.3, 1_000.0, [2_005, 2_400, 2_999, 3_400]) == alerts


def test_values_that_spread_to_both_sides_are_of_no_other_unit() -> None:
    """A tenth of them wild: as far, and of either sign."""
    alerts = mixed(0.3, -1_000.0, [])
    assert alerts
    assert not any(each.part_factor for alert in alerts for each in alert.signals)
