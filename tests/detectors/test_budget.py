"""The budget of false alerts: what a detector that has one is told of it."""

from __future__ import annotations

import pytest

from detectors.fold import Fold
from schemas.config import DetectionConfig, DetectorsConfig, FocusConfig
from tests.detectors.decoded import Event, decoded
from tests.detectors.folding import as_bytes, normal_events


def test_another_budget_begins_the_detectors_that_have_one_anew() -> None:
    detectors = DetectorsConfig(focus=FocusConfig(enabled=True))
    fold = Fold(DetectionConfig(reference_events=100, detectors=detectors))
    fold.process(decoded(normal_events(600, shift_at=9_999, shift=0.0)))
    before = fold.snapshot()
    # Events a second apart, and as many signals as have lanes, once a week.
    n_signals = before["focus"]["arl0"].size
    assert before["focus"]["arl0"].tolist() == [604_800.0 * n_signals] * n_signals
    changed = DetectionConfig(generation=2, reference_events=100, detectors=detectors, arl0=5_000)
    fold.reconfigure(changed)
    after = fold.snapshot()

    assert as_bytes({"adwin": after["adwin"]}) == as_bytes({"adwin": before["adwin"]})
    assert before["focus"]["n"].max() == 500
    assert after["focus"]["n"].max() == 0
    assert (after["focus"]["arl0"] == 5_000).all()
    assert (after["focus"]["form"] == before["focus"]["form"]).all()
    assert as_bytes({"fold": Fold(changed, after).snapshot()["fold"]}) == as_bytes(
        {"fold": after["fold"]}
    )


def test_a_budget_is_shared_by_all_signals_of_a_model_and_bears_a_wrong_clock() -> None:
    config = DetectionConfig(
        reference_events=100, detectors=DetectorsConfig(focus=FocusConfig(enabled=True))
    )
    fold = Fold(config)
    events = normal_events(600, shift_at=9_999, shift=0.0)
    later = [
        Event(e.offset, {**e.features, **({"late": 1.0 * (i % 3)} if i >= 300 else {})}, ts=e.ts)
        for i, e in enumerate(events)
    ]
    later[50] = Event(50, later[50].features, ts=0)
    fold.process(decoded(later[:300]))
    few = fold.snapshot()["focus"]["arl0"]
    fold.process(decoded(later[300:]))
    all_of_them = fold.snapshot()["focus"]["arl0"]
    assert len(all_of_them) > len(few)
    assert few == pytest.approx(604_800.0 * len(few))
    assert all_of_them == pytest.approx(604_800.0 * len(all_of_them))


def test_no_budget_makes_a_state_that_is_refused() -> None:
    config = DetectionConfig(
        reference_events=20,
        false_alerts="0.000001 per year",
        detectors=DetectorsConfig(focus=FocusConfig(enabled=True)),
    )
    fold = Fold(config)
    events = [Event(i, {"x": float(i % 7)}, ts=1_000_000 + i // 19) for i in range(60)]
    fold.process(decoded(events))
    assert as_bytes(Fold(config, fold.snapshot()).snapshot()) == as_bytes(fold.snapshot())
