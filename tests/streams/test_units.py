"""A number that moved by a factor that units differ by is told so, and others are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.fold import Fold
from schemas.config import DetectionConfig, PolicyConfig
from streams.policy import Policy
from streams.sentences import drift_sentence
from streams.units import FACTORS, FURTHEST, unit_factor
from tests.detectors.decoded import Event, decoded
from tests.streams.demo_kit import MODELS, alert_data


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
