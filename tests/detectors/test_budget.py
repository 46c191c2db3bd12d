"""The budget of false alerts: what a detector that has one is told of it."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from benchmarks.kit.detection import rivers
from detectors.budget import is_strong
from detectors.drift.focus import FocusBank
from detectors.drift.ranks import Indicator, process_variance
from detectors.drift.thresholds import octave_thresholds
from detectors.fold import Fold
from detectors.kernels.observe import SOURCE_MISSING
from detectors.signals import Scale, Signal
from schemas.config import (
    AdwinConfig,
    BoundsConfig,
    DetectionConfig,
    DetectorsConfig,
    FocusConfig,
    KswinConfig,
    PageHinkleyConfig,
    WindowsConfig,
)
from schemas.findings import Firing
from tests.detectors.decoded import Event, decoded
from tests.detectors.folding import SMALL, as_bytes, findings, normal_events


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


def test_detectors_that_begin_anew_stand_where_their_references_ended() -> None:
    """Whatever they have seen since, and whether or not they come from a state."""
    config = SMALL.model_copy(update={"reference_events": 100, "arl0": 500})
    events = normal_events(1_200, shift_at=500, shift=3.0)
    fold = Fold(config)
    fold.process(decoded(events[:100]))
    fresh = as_bytes({name: bank.snapshot() for name, bank in fold.banks.items()})
    fold.process(decoded(events[100:]))
    assert fold.counters["n_findings"] > 0
    for again in (Fold(config, fold.snapshot()), fold):
        again.banks.begin_anew()
        assert as_bytes({name: bank.snapshot() for name, bank in again.banks.items()}) == fresh


def test_a_lane_tells_what_it_promises() -> None:
    config = DetectionConfig(reference_events=100, arl0=5_000)
    fold = Fold(config)
    fold.process(decoded(normal_events(600, shift_at=9_999, shift=0.0)))
    bank = fold.banks["focus"]
    assert isinstance(bank, FocusBank)
    lanes = {fold.catalog.monitor(0).name(s): s.lane for s in fold.catalog.monitor(0).signals}
    x, missing = bank.budget(lanes["feature:x"]), bank.budget(lanes["missing:x"])
    assert x is not None
    assert missing is not None
    assert (x.n, x.arl0, x.n_aspects) == (500, 5_000.0, 2)
    assert (missing.n, missing.arl0, missing.n_aspects) == (500, 5_000.0, 1)
    assert (x.youngest, x.oldest) == (octave_thresholds(1e4)[0], octave_thresholds(1e4)[-1])
    bank.set_enabled(np.array([lanes["feature:x"]], np.int32), False)
    assert bank.budget(lanes["feature:x"]) is None
    bank.reset(np.array([lanes["missing:x"]], np.int32))
    assert bank.budget(lanes["missing:x"]) is None


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


LOOSE_ADWIN = DetectorsConfig(adwin=AdwinConfig(enabled=True, delta=0.5))
ADWIN = DetectorsConfig(adwin=AdwinConfig(enabled=True))
KSWIN = DetectorsConfig(kswin=KswinConfig(enabled=True, seed=1))


@pytest.mark.parametrize(
    ("name", "detectors", "shift", "n_rows", "opens"),
    [
        ("adwin", LOOSE_ADWIN, 0.0, 30_000, False),
        ("adwin", ADWIN, 2.0, 600, True),
        ("kswin", KSWIN, 0.0, 30_000, False),
        ("kswin", KSWIN, 6.0, 600, True),
    ],
)
def test_what_the_others_find_is_within_the_budget_only_where_it_is_strong(
    name: str, detectors: DetectorsConfig, shift: float, n_rows: int, opens: bool
) -> None:
    """Loose, or KSWIN as river has it, they fire without a change, and that opens no alert."""
    config = DetectionConfig(reference_events=1_000, arl0=1e6, detectors=detectors)
    events = normal_events(1_000 + n_rows, shift_at=1_000 + n_rows // 2, shift=shift)
    said = findings(Fold(config).process(decoded(events)), "feature:x")
    of_other = [f for f in said if f.detector == name]
    assert of_other
    assert any(f.is_within_budget for f in of_other) == opens
    assert all(f.is_within_budget for f in said if f.detector == "focus")


@pytest.mark.parametrize(("shift", "counts"), [(0.5, False), (3.0, True)])
def test_the_budget_is_kept_without_a_detector_that_has_one(shift: float, counts: bool) -> None:
    config = DetectionConfig(reference_events=100, arl0=1e9, detectors=rivers(3.0))
    said = Fold(config).process(decoded(normal_events(3_000, shift_at=2_900, shift=shift)))
    found = findings(said, "feature:x")
    assert found
    assert any(f.is_within_budget for f in found) == counts


def test_without_rows_of_a_reference_nothing_says_what_is_within_the_budget() -> None:
    bounds = BoundsConfig(max_learning_values=0)
    config = DetectionConfig(reference_events=100, arl0=1e9, bounds=bounds, detectors=rivers(3.0))
    said = Fold(config).process(decoded(normal_events(3_000, shift_at=2_900, shift=0.5)))
    found = findings(said, "feature:x")
    assert found
    assert all(f.is_within_budget for f in found)


def test_what_adwin_finds_in_a_correlated_signal_keeps_the_budget() -> None:
    """0.06 alarms are stated for it; at the variance of the residuals it was 65."""
    noise = np.random.default_rng(5).normal(size=60_000).tolist()
    x = [0.0]
    for step in noise[1:]:
        x.append(0.9 * x[-1] + step)
    config = DetectionConfig(
        reference_events=2_000,
        arl0=1e6,
        detectors=DetectorsConfig(
            adwin=AdwinConfig(enabled=True), page_hinkley=PageHinkleyConfig(enabled=True)
        ),
    )
    said = Fold(config).process(decoded([Event(i, {"x": v}) for i, v in enumerate(x)]))
    found = findings(said, "feature:x")
    assert len(found) > 100
    assert not [f for f in found if f.is_within_budget]


@pytest.mark.parametrize(("phi", "variance"), [(0.0, 1.0), (0.5, 3.0), (0.9, 19.0)])
def test_the_variance_of_an_autoregression_of_order_one(phi: float, variance: float) -> None:
    assert process_variance([phi, 0.0, 0.0]) == pytest.approx(variance)


def test_a_rare_event_or_two_are_no_evidence() -> None:
    """1 of 5 events where 1 in 1,000 is usual: the normal ratio says 99, that of shares 4.3."""
    scale = Scale(0, 0.0, 0.001, sqrt(0.001 * 0.999))
    ranks = Indicator(cut=0.0, ones=20, raw=0.0, variance=1.0, n=20_000)
    signal = Signal(SOURCE_MISSING, 0, 0, scale, lane=0, ranks=ranks)
    z = (0.2 - scale.mean) / scale.sd
    few = Firing(0, 0, 0, 0, "adwin", 0, 0, 1.0, 1.0, 0.0, z, 0, n_before=20_000, n_after=5)
    assert not is_strong(few, signal, 1e5)
    assert is_strong(few._replace(n_after=100), signal, 1e5)


def test_detectors_with_a_budget_share_it_where_both_watch() -> None:
    """A share is left to `focus` alone, and has all of its own."""
    both = DetectorsConfig(windows=WindowsConfig(enabled=True))
    events = decoded(normal_events(300, shift_at=9_999, shift=0.0))
    fold = Fold(DetectionConfig(reference_events=100, arl0=5_000, detectors=both))
    fold.process(events)
    state = fold.snapshot()
    of_windows, of_focus = state["windows"]["arl0"], state["focus"]["arl0"]
    assert set(of_focus) == {5_000.0, 10_000.0}
    assert of_windows.tolist() == np.where(of_focus == 10_000.0, 10_000.0, 0.0).tolist()

    alone = DetectionConfig(generation=2, reference_events=100, arl0=5_000)
    fold.reconfigure(alone)
    assert set(fold.snapshot()["focus"]["arl0"]) == {5_000.0}
    assert fold.snapshot()["focus"]["n"].max() == 0
