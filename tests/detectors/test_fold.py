"""The fold's laws: independent of batches, resumable at any event, bounded, honest about input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.kit.detection import rivers
from detectors.base import BankState, StateError
from detectors.fold import Fold
from detectors.monitor_state import snapshot_monitors
from schemas.batch import ModelKey
from schemas.config import (
    DetectionConfig,
    ModelConfig,
    SignalConfig,
)
from schemas.findings import Finding
from tests.detectors.decoded import Event, Scalar, decoded
from tests.detectors.folding import SMALL, as_bytes, findings, fold_in, normal_events

values: st.SearchStrategy[object] = st.one_of(
    st.sampled_from([0.0, 1.0, 1.0, 5.0, -3.5, 1e308, 5e-324, -0.0]),
    st.sampled_from([None, "a", True, 7, [1]]),
)
predictions: st.SearchStrategy[Scalar] = st.sampled_from([None, 0, 1, 1, 2, 3, 4, "x", True, 0.5])


@st.composite
def streams(draw: st.DrawFn) -> list[Event]:
    n = draw(st.integers(0, 120))
    seed = draw(st.integers(0, 2**32 - 1))
    pool = draw(st.lists(values, min_size=1, max_size=4))
    classes = draw(st.lists(predictions, min_size=1, max_size=3))
    keys = [ModelKey("a", "1"), ModelKey("a", "2"), ModelKey("b", "1"), ModelKey("b", "1", 0)]
    n_models = draw(st.integers(1, 4))
    names = ["f0", "f1", "f2", "f3", "f4", "f5"]
    n_names = draw(st.integers(0, 6))
    # From which event on each feature, the score and the prediction are there.
    begins = [draw(st.sampled_from([0, 0, 0, 20, 25, 60])) for _ in range(8)]
    rng = np.random.default_rng(seed)
    level = 0.0
    offset = 0
    events = []
    for i in range(n):
        offset += int(rng.integers(1, 3))
        if rng.random() < 0.03:
            level += float(rng.normal()) * 20
        present = [
            name
            for name, begin in zip(names[:n_names], begins, strict=False)
            if rng.random() < 0.9 and i >= begin
        ]
        features: dict[str, object] = {
            name: (
                float(rng.normal()) + level
                if rng.random() < 0.6
                else pool[int(rng.integers(len(pool)))]
            )
            for name in present
        }
        events.append(
            Event(
                offset=offset,
                features=features,
                model=keys[int(rng.integers(n_models))],
                score=float(rng.random()) if rng.random() < 0.8 and i >= begins[6] else np.nan,
                prediction=classes[int(rng.integers(len(classes)))] if i >= begins[7] else None,
                is_label=bool(rng.random() < 0.2),
                ts=int(rng.integers(0, 1_000_000)),
                event_id=int(rng.integers(0, 20)),
            )
        )
    return [as_label(e) if e.is_label else e for e in events]


def as_label(event: Event) -> Event:
    model = event.model._replace(model_version="")
    says = 0 if event.prediction is None else event.prediction
    return replace(event, features={}, model=model, score=np.nan, prediction=says)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(events=streams(), cuts=st.lists(st.integers(0, 120), max_size=8))
def test_any_split_gives_the_same_findings_and_state(events: list[Event], cuts: list[int]) -> None:
    whole, parts, single = Fold(SMALL), Fold(SMALL), Fold(SMALL)

    said = fold_in(whole, events, [])

    assert fold_in(parts, events, [c for c in cuts if c <= len(events)]) == said
    assert fold_in(single, events, list(range(len(events)))) == said
    assert as_bytes(parts.snapshot()) == as_bytes(whole.snapshot())
    assert as_bytes(single.snapshot()) == as_bytes(whole.snapshot())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(events=streams(), at=st.integers(0, 120))
def test_resuming_at_any_event_equals_going_on(events: list[Event], at: int) -> None:
    at = min(at, len(events))
    whole, first = Fold(SMALL), Fold(SMALL)
    said = fold_in(whole, events, [])

    before = fold_in(first, events[:at], [])
    second = Fold(SMALL, first.snapshot())

    assert before + fold_in(second, events[at:], []) == said
    assert as_bytes(second.snapshot()) == as_bytes(whole.snapshot())


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(events=streams(), seed=st.integers(0, 2**32 - 1))
def test_a_damaged_state_is_refused_or_harmless(events: list[Event], seed: int) -> None:
    fold = Fold(SMALL)
    fold_in(fold, events, [])
    rng = np.random.default_rng(seed)
    parts = {part: dict(state) for part, state in fold.snapshot().items()}
    part = sorted(parts)[int(rng.integers(len(parts)))]
    name = sorted(parts[part])[int(rng.integers(len(parts[part])))]
    raw = bytearray(parts[part][name].tobytes())
    if raw:
        raw[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
    array = parts[part][name]
    parts[part][name] = np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)

    try:
        damaged = Fold(SMALL, parts)
    except StateError:
        return
    fold_in(damaged, [Event(10_000, {"f0": 1.0}, prediction=1)], [])


def test_a_finding_says_what_moved_from_what_to_what_and_since_when() -> None:
    events = normal_events(4_000, shift_at=3_000, shift=2.0)

    found = findings(
        Fold(DetectionConfig(detectors=rivers())).process(decoded(events)), "feature:x"
    )

    assert {f.detector for f in found} == {"adwin", "page_hinkley"}
    hinkley = next(f for f in found if f.detector == "page_hinkley")
    assert abs(hinkley.before) < 0.2
    assert 0.5 < hinkley.after < 2.3
    assert 2_700 < hinkley.change_offset <= 3_010
    assert 3_050 < hinkley.offset < 3_150
    adwin = next(f for f in found if f.detector == "adwin")
    # ADWIN dates a change to the edge of a bucket, so its window still holds older rows.
    assert abs(adwin.before) < 0.2
    assert 0.5 < adwin.after < 2.3
    assert abs(adwin.change_offset - 3_000) < 70


def test_a_second_version_inherits_the_input_reference() -> None:
    fold = Fold(DetectionConfig())
    fold.process(decoded(normal_events(2_500, shift_at=9_999, shift=0.0)))
    rng = np.random.default_rng(2)
    second = [
        Event(10_000 + i, {"x": float(rng.normal()) + 3.0}, ModelKey("m", "2"), score=0.5)
        for i in range(300)
    ]

    fold.process(decoded(second))

    parent, child = fold.catalog.monitor(0), fold.catalog.monitor(1)
    assert [(s.source, s.scale) for s in child.signals] == [
        (s.source, s.scale) for s in parent.signals if s.is_input or s.is_quality
    ]
    moments = fold.banks["moments"].snapshot()
    lane = next(s.lane for s in child.signals if child.name(s) == "feature:x")
    assert moments["n"][lane] == 300
    assert 2.8 < moments["mean"][lane] < 3.2


@pytest.mark.parametrize(
    ("predictions_", "expected"),
    [
        ([0, 1], {"class:1", "class:__other__"}),
        (["no", "yes"], {"class:yes", "class:__other__"}),
        ([True, False], {"class:true", "class:__other__"}),
        (["only"], {"class:only"}),
        ([0, 1, 2], {"class:0", "class:1", "class:2", "class:__other__"}),
        (list(range(21)), {"prediction"}),
        ([0, 1, 0.5], {"prediction"}),
        ([None], set()),
    ],
)
def test_what_the_reference_makes_of_a_prediction(
    predictions_: list[Scalar], expected: set[str]
) -> None:
    fold = Fold(DetectionConfig(reference_events=200))
    fold.process(
        decoded([Event(i, prediction=predictions_[i % len(predictions_)]) for i in range(200)])
    )
    monitor = fold.catalog.monitor(0)

    of_events = {"quality:late", "quality:future"}
    assert {monitor.name(signal) for signal in monitor.signals} == expected | of_events


def test_config_says_what_a_prediction_is() -> None:
    config = DetectionConfig(
        reference_events=200,
        model={"m": ModelConfig(signals={"prediction": SignalConfig(kind="number")})},
    )
    fold = Fold(config)
    fold.process(decoded([Event(i, prediction=i % 2) for i in range(200)]))
    monitor = fold.catalog.monitor(0)

    assert [monitor.name(signal) for signal in monitor.signals if signal.is_output] == [
        "prediction"
    ]


@pytest.mark.parametrize(
    ("reference", "later", "signal"),
    [
        (4.0, 5.0, "feature:x"),  # constant in the reference
        (4.0, None, "missing:x"),  # never missing in it
        (None, 4.0, "missing:x"),  # always missing in it
    ],
)
def test_a_degenerate_reference_has_a_rule(reference: object, later: object, signal: str) -> None:
    fold = Fold(DetectionConfig(reference_events=500))
    quiet = fold.process(decoded([Event(i, {"x": reference}) for i in range(2_000)]))
    moved = fold.process(decoded([Event(2_000 + i, {"x": later}) for i in range(200)]))

    assert quiet == []
    assert {f.signal for f in moved if isinstance(f, Finding)} == {signal}
    first = findings(moved, signal)[0]
    assert np.isfinite([first.before, first.after, first.effect]).all()
    assert first.offset < 2_050


def test_one_class_only_then_another() -> None:
    fold = Fold(DetectionConfig(reference_events=500))
    quiet = fold.process(decoded([Event(i, prediction="a") for i in range(2_000)]))
    moved = fold.process(decoded([Event(2_000 + i, prediction="b") for i in range(200)]))

    assert quiet == []
    assert findings(moved, "class:a")[0].effect < 0


@pytest.mark.parametrize(
    ("reference", "later"),
    [
        ([1.7e12, 1.7e12 + 1], 2.5e12),  # a spread within the rounding of its size
        ([1e308], 1e307),  # beyond what is told apart: both are huge
        ([0.1 + 0.2, 0.3], 0.4),
    ],
)
def test_a_reference_with_hardly_any_spread_is_not_blind(
    reference: list[float], later: float
) -> None:
    fold = Fold(DetectionConfig(reference_events=500))
    quiet = fold.process(
        decoded([Event(i, {"x": reference[i % len(reference)]}) for i in range(2_000)])
    )
    moved = fold.process(decoded([Event(2_000 + i, {"x": later}) for i in range(200)]))

    assert quiet == []
    assert bool(findings(moved, "feature:x")) == (later < 1e150)


def test_outputs_that_begin_late_learn_their_reference_from_their_first_event() -> None:
    fold = Fold(DetectionConfig(reference_events=200))
    rng = np.random.default_rng(4)
    fold.process(decoded([Event(i, {"x": float(rng.normal())}) for i in range(300)]))
    outputs = [(float(rng.random()), int(rng.random() < 0.5)) for _ in range(1_200)]
    quiet = fold.process(
        decoded([Event(300 + i, score=s, prediction=p) for i, (s, p) in enumerate(outputs)])
    )
    moved = fold.process(decoded([Event(2_000 + i, score=3.0, prediction=1) for i in range(300)]))
    monitor = fold.catalog.monitor(0)

    assert findings(quiet, "score") == findings(quiet, "class:1") == []
    assert {"score", "class:1"} <= {monitor.name(s) for s in monitor.signals}
    assert findings(moved, "score")
    assert findings(moved, "class:1")


def test_late_events_are_counted_one_by_one_and_in_batches() -> None:
    config = DetectionConfig(max_late_ms=100)
    events = [Event(i, ts=ts) for i, ts in enumerate([1_000, 950, 899, 1_000, 2, 10**13, 900])]
    whole, single = Fold(config), Fold(config)
    whole.process(decoded(events))
    fold_in(single, events, list(range(len(events))))

    assert whole.counters["n_late"] == single.counters["n_late"] == 2


def test_a_state_that_claims_absurd_sizes_or_counts_is_refused() -> None:
    fold = Fold(SMALL)
    events = [Event(i, {"x": 1.0}, score=float(i), prediction=i % 2) for i in range(10)]
    fold.process(decoded(events))

    def forged(name: str, old: bytes = b"", new: bytes = b"") -> dict[str, BankState]:
        parts = fold.snapshot()
        of_fold = dict(parts["fold"])
        raw = of_fold[name].tobytes()
        if old:
            assert old in raw
            of_fold[name] = np.frombuffer(raw.replace(old, new), np.uint8)
        else:
            of_fold[name] = np.full_like(of_fold[name], -1)
        return parts | {"fold": of_fold}

    for parts in (
        forged("document", b'"n_lanes":0', b'"n_lanes":17179869184'),
        forged("document", b'"n_classes":2', b'"n_classes":1'),
        forged("document", b'"features":["x"],"kinds"', b'"features":["x","x"],"kinds"'),
        forged("numbers"),
        forged("n_events"),
        forged("cohort_n_kind"),
        {name: state for name, state in fold.snapshot().items() if name != "adwin"},
    ):
        with pytest.raises(StateError):
            Fold(SMALL, parts)


def test_a_value_of_another_kind_is_counted_and_missing() -> None:
    fold = Fold(DetectionConfig(reference_events=100))
    fold.process(decoded([Event(i, {"x": float(i % 7)}) for i in range(600)]))
    said = fold.process(decoded([Event(600 + i, {"x": "7"}) for i in range(100)]))

    assert fold.counters["n_unfit_values"] == 100
    assert {f.signal for f in said if isinstance(f, Finding)} == {"missing:x", "quality:type"}


def test_an_event_from_the_future_does_not_advance_the_watermark() -> None:
    fold = Fold(DetectionConfig())
    fold.process(decoded([Event(0, ts=1_000), Event(1, ts=10**13), Event(2, ts=900)]))

    assert fold.watermark_ms == 1_000
    assert fold.counters["n_future"] == 1


def test_a_changed_detector_begins_anew_and_the_others_go_on() -> None:
    fold = Fold(DetectionConfig(reference_events=100, detectors=rivers()))
    fold.process(decoded(normal_events(600, shift_at=9_999, shift=0.0)))
    before = fold.snapshot()
    changed = DetectionConfig(
        generation=2,
        reference_events=100,
        detectors=rivers(50.0),
    )
    fold.reconfigure(changed)
    after = fold.snapshot()

    assert as_bytes({"adwin": after["adwin"]}) == as_bytes({"adwin": before["adwin"]})
    assert before["page_hinkley"]["n"].max() == 500
    assert after["page_hinkley"]["n"].max() == 0


def test_earlier_snapshots_change_nothing_of_later_ones() -> None:
    """What was written of signals is kept: it follows them when they come, go and get lanes."""
    off = SMALL.model_copy(
        update={"model": {"m": ModelConfig(signals={"feature:x": SignalConfig(monitor=False)})}}
    )
    fold = Fold(SMALL)
    events = normal_events(120, shift_at=90, shift=5.0)
    for start in range(0, len(events), 10):
        fold.process(decoded(events[start : start + 10]))
        if start in (60, 80):
            fold.reconfigure(off if start == 60 else SMALL)
        monitors = [each for each in fold.catalog.slots if each is not None]
        kept = snapshot_monitors(monitors, fold.catalog.written)
        anew = snapshot_monitors(monitors)
        assert kept[0] == anew[0]
        assert as_bytes({"": kept[1]}) == as_bytes({"": anew[1]})


def test_a_signal_can_be_switched_off_and_its_detectors_chosen() -> None:
    config = DetectionConfig(
        reference_events=100,
        detectors=rivers(),
        model={
            "m": ModelConfig(
                signals={
                    "missing:x": SignalConfig(monitor=False),
                    "feature:x": SignalConfig(detectors=["page_hinkley"]),
                }
            )
        },
    )
    fold = Fold(config)
    said = fold.process(decoded(normal_events(3_000, shift_at=1_000, shift=3.0)))
    monitor = fold.catalog.monitor(0)

    assert {monitor.name(s): s.lane for s in monitor.signals}["missing:x"] == -1
    assert {f.detector for f in findings(said, "feature:x")} == {"page_hinkley"}
