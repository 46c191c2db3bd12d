"""The budget of false alerts: what a detector that has one is told of it."""

from __future__ import annotations

import pytest

from detectors.fold import Fold
from schemas.config import AdwinConfig, DetectionConfig, DetectorsConfig, FocusConfig
from tests.detectors.decoded import Event, decoded
from tests.detectors.folding import as_bytes, findings, normal_events
from tests.kit.detection import rivers


def test_another_budget_begins_the_detectors_that_have_one_anew() -> None:
    detectors = DetectorsConfig(adwin=AdwinConfig(enabled=True))
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


@pytest.mark.parametrize(
    ("delta", "shift", "n_rows", "opens"), [(0.5, 0.0, 30_000, False), (0.002, 2.0, 600, True)]
)
def test_what_adwin_finds_is_within_the_budget_only_where_it_is_strong(
    delta: float, shift: float, n_rows: int, opens: bool
) -> None:
    """With a loose delta it fires without a change, and none of that opens an alert."""
    config = DetectionConfig(
        reference_events=1_000,
        arl0=1e6,
        detectors=DetectorsConfig(adwin=AdwinConfig(enabled=True, delta=delta)),
    )
    events = normal_events(1_000 + n_rows, shift_at=1_000 + n_rows // 2, shift=shift)
    said = findings(Fold(config).process(decoded(events)), "feature:x")
    of_adwin = [f for f in said if f.detector == "adwin"]
    assert of_adwin
    assert any(f.is_within_budget for f in of_adwin) == opens
    assert all(f.is_within_budget for f in said if f.detector == "focus")


def test_without_a_detector_that_has_a_budget_every_finding_counts() -> None:
    config = DetectionConfig(reference_events=100, detectors=rivers())
    said = Fold(config).process(decoded(normal_events(3_000, shift_at=1_000, shift=0.5)))
    found = findings(said, "feature:x")
    assert found
    assert all(f.is_within_budget for f in found)
