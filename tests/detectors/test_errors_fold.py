"""Detectors of errors in the fold: which signals they watch, and what becomes of their findings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.budget import n_sharing
from detectors.fold import Fold
from detectors.registry import REGISTRY
from schemas.config import DetectionConfig, DetectorsConfig, FocusConfig, ModelConfig, SignalConfig
from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig
from tests.detectors.decoded import Event, decoded
from tests.detectors.folding import as_bytes, findings, fold_in

ERRORS = [name for name, spec in REGISTRY.items() if spec.watches_errors_only]
DETECTORS = DetectorsConfig(
    ddm=DdmConfig(enabled=True),
    eddm=EddmConfig(enabled=True),
    hddm_a=HddmAConfig(enabled=True),
    hddm_w=HddmWConfig(enabled=True),
    fhddm=FhddmConfig(enabled=True),
)
N_REFERENCE = 1_000


def config(signals: dict[str, list[str] | None], **update: object) -> DetectionConfig:
    """All of them on; of these signals of model m the detectors are named."""
    own = {name: SignalConfig(detectors=named) for name, named in signals.items()}
    return DetectionConfig(
        reference_events=N_REFERENCE,
        arl0=1e6,
        detectors=DETECTORS,
        model={"m": ModelConfig(signals=own)},
    ).model_copy(update=update)


def events(n: int, shift_at: int, rate: float, seed: int = 3) -> list[Event]:
    """A number that is missing in one event of ten, then at `rate`, and a category that says so."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < np.where(np.arange(n) < shift_at, 0.1, rate)
    x = rng.normal(size=n)
    return [
        Event(i, {"x": None if w else float(v), "wrong": "yes" if w else "no"})
        for i, (v, w) in enumerate(zip(x.tolist(), wrong.tolist(), strict=True))
    ]


def watched(fold: Fold) -> dict[str, set[str]]:
    """Of each signal of the only model, which of the detectors of errors watch it."""
    monitor = fold.catalog.monitor(0)
    on = {name: fold.banks[name].snapshot()["enabled"] for name in ERRORS}
    return {
        monitor.name(signal): {name for name in ERRORS if on[name][signal.lane]}
        for signal in monitor.signals
        if signal.lane >= 0
    }


def test_they_watch_the_shares_that_name_them_and_nothing_else() -> None:
    named = ["focus", *ERRORS]
    fold = Fold(config({"missing:x": named, "feature:x": named, "missing:wrong": None}))
    fold_in(fold, events(N_REFERENCE + 10, 10**6, 0.1), [])
    watching = watched(fold)
    assert watching.pop("missing:x") == set(ERRORS)
    assert {"feature:x", "missing:wrong", "feature:wrong=yes"} <= set(watching)
    assert not any(watching.values())


def test_a_category_named_as_a_whole_names_each_of_its_shares() -> None:
    fold = Fold(config({"feature:wrong": ["hddm_a"]}))
    fold_in(fold, events(N_REFERENCE + 10, 10**6, 0.1), [])
    watching = watched(fold)
    assert watching["feature:wrong=yes"] == {"hddm_a"}
    assert watching["missing:wrong"] == set()


def test_a_config_to_come_may_name_them() -> None:
    fold = Fold(config({}))
    early, late = events(4_000, 3_000, 0.5)[:2_000], events(4_000, 3_000, 0.5)[2_000:]
    assert not [f for f in findings(fold_in(fold, early, []), "missing:x") if f.detector in ERRORS]
    fold.reconfigure(config({"missing:x": ERRORS}, generation=2))
    assert watched(fold)["missing:x"] == set(ERRORS)
    found = {f.detector for f in findings(fold_in(fold, late, []), "missing:x")}
    assert found == set(ERRORS)


@pytest.mark.parametrize("name", ERRORS)
def test_findings_are_in_shares_and_strong_ones_are_within_the_budget(name: str) -> None:
    # At its default HDDM-A fires so soon that it never is as sure as this budget asks.
    sure = DETECTORS.model_copy(update={"hddm_a": HddmAConfig(enabled=True, drift_confidence=1e-9)})
    fold = Fold(config({"missing:x": [name]}, detectors=sure))
    said = findings(fold_in(fold, events(9_000, 6_000, 1.0), [700, 6_100]), "missing:x")
    assert {f.detector for f in said} == {name}
    first = next(f for f in said if f.offset >= 6_000)
    assert first.is_share
    assert first.before == pytest.approx(0.1, abs=0.1)
    assert first.after > 0.3
    assert 5_950 < first.change_offset <= 6_050
    assert any(f.is_within_budget for f in said if f.offset >= 6_000)


def test_what_they_find_without_a_change_is_evidence_only() -> None:
    loose = DETECTORS.model_copy(
        update={
            "ddm": DdmConfig(enabled=True, drift_threshold=1.5),
            "hddm_a": HddmAConfig(enabled=True, drift_confidence=0.2),
            "hddm_w": HddmWConfig(enabled=True, drift_confidence=0.2),
            "fhddm": FhddmConfig(enabled=True, confidence_level=0.2),
        }
    )
    fold = Fold(config({"missing:x": ERRORS}, detectors=loose))
    said = findings(fold_in(fold, events(15_000, 10**6, 0.1), []), "missing:x")
    assert {f.detector for f in said} == set(ERRORS)
    assert len(said) > 50
    assert not [f for f in said if f.is_within_budget]


def test_they_take_no_part_of_the_budget() -> None:
    own = config({"missing:x": ERRORS})
    fold = Fold(own)
    fold_in(fold, events(N_REFERENCE + 10, 10**6, 0.1), [])
    assert all(n_sharing(own, signal) == 1 for signal in fold.catalog.monitor(0).signals)
    assert not any(REGISTRY[name].has_budget for name in ERRORS)


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 3_000), max_size=5),
    at=st.integers(0, 3_000),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_split_and_any_resumption_give_the_same(cuts: list[int], at: int, seed: int) -> None:
    own = config(
        {"missing:x": ["focus", *ERRORS], "feature:wrong=yes": ERRORS},
        reference_events=100,
        detectors=DETECTORS.model_copy(update={"focus": FocusConfig(baseline_rows=20)}),
    )
    stream = events(3_000, 1_500, 0.5, seed)
    fold = Fold(own)
    expected = fold.process(decoded(stream))
    assert {f.detector for f in findings(expected, "missing:x")} >= {"ddm", "hddm_a", "fhddm"}
    first = Fold(own)
    told = fold_in(first, stream[:at], [cut for cut in cuts if cut < at])
    second = Fold(own, first.snapshot())
    told += fold_in(second, stream[at:], [cut - at for cut in cuts if cut > at])
    assert told == expected
    assert as_bytes(second.snapshot()) == as_bytes(fold.snapshot())
