"""What labels tell of each model version, fed by the fold: any batches, resumed, bounded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import StateError
from detectors.fold import Fold
from detectors.performance.outputs import even_cuts
from detectors.reference_fit import fit_reference
from schemas.batch import ModelKey
from schemas.config import BoundsConfig, DetectionConfig, LabelsConfig
from tests.detectors.decoded import Event, decoded
from tests.detectors.folding import as_bytes, fold_in, notices

N_REFERENCE = 100
CONFIG = DetectionConfig(
    reference_events=N_REFERENCE,
    labels=LabelsConfig(enabled=True, calibration_labels=500),
)


def events(
    n: int, *, models: Sequence[str] = ("m",), delay: int = 40, seed: int = 1
) -> list[Event]:
    """n predictions of calibrated scores, and each one's label so many events later."""
    rng = np.random.default_rng(seed)
    made: list[Event] = []
    offset = 0
    p = rng.random(n)
    truth = (rng.random(n) < p).astype(int).tolist()

    def add(**more: object) -> None:
        nonlocal offset
        made.append(Event(offset, ts=offset, record_ts=offset, **more))  # type: ignore[arg-type]
        offset += 1

    for i in range(n + delay):
        name = models[i % len(models)]
        if i < n:
            said = {"prediction": int(p[i] >= 0.5), "score": float(p[i]), "event_id": i + 1}
            add(features={"x": float(i % 7)}, model=ModelKey(name, "1"), **said)
        if i >= delay:
            about = i - delay
            of = ModelKey(models[about % len(models)], "")
            add(model=of, prediction=truth[about], event_id=about + 1, is_label=True)
    return made


def test_the_metrics_are_those_of_the_rows_joined_since_the_reference() -> None:
    made = events(5_000)
    fold = Fold(CONFIG)
    fold.process(decoded(made))
    assert fold.outcomes is not None
    found = fold.outcomes.metrics_of(0)
    assert found is not None
    total, window = found.total, found.windows[10_000]
    label_of = {event.event_id: event.prediction for event in made if event.is_label}
    predicted = [event for event in made if not event.is_label]
    # Pairs that were complete with the reference's last event, or before, are over with it.
    complete = predicted[N_REFERENCE - 1].offset
    rows = [
        (event.prediction, label_of[event.event_id], event.score)
        for event in predicted
        if next_label(made, event.event_id) > complete
    ]
    assert total.n_rows == len(rows) == window.n_rows
    right = sum(guess == truth for guess, truth, _ in rows)
    assert total.accuracy is not None
    assert total.accuracy.value == pytest.approx(right / len(rows))
    brier = np.mean([(score - truth) ** 2 for _, truth, score in rows])  # type: ignore[operator]
    assert total.brier is not None
    assert total.brier.value == pytest.approx(brier)
    assert total.positive is not None
    assert total.positive.recall is not None
    hits = sum(guess == truth == 1 for guess, truth, _ in rows)
    assert total.positive.recall.value == pytest.approx(hits / sum(t == 1 for _, t, _ in rows))
    assert fold.outcomes.class_names(0) == fold.catalog.monitor(0).classes


def next_label(made: Sequence[Event], event_id: int) -> int:
    """The offset of the label of this event."""
    return next(e.offset for e in made if e.is_label and e.event_id == event_id)


def test_what_is_expected_is_what_comes() -> None:
    fold = Fold(CONFIG)
    fold.process(decoded(events(9_000)))
    assert fold.outcomes is not None
    expected, found = fold.outcomes.estimate_of(0), fold.outcomes.metrics_of(0)
    assert expected is not None
    assert found is not None
    for name in ("accuracy", "auc"):
        guess, truth = getattr(expected, name), getattr(found.total, name)
        assert guess.low - 0.02 <= truth.value <= guess.high + 0.02, name
    assert expected.accuracy is not None
    assert expected.accuracy.value == pytest.approx(0.75, abs=0.03)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 2_600), max_size=5, unique=True), at=st.integers(0, 5))
def test_any_batches_and_any_resume_give_the_same_bytes(cuts: list[int], at: int) -> None:
    made = events(1_300, models=("a", "b", "b"))
    whole = Fold(CONFIG)
    fold_in(whole, made, [])
    part = Fold(CONFIG)
    bounds = [0, *sorted(cuts), len(made)]
    for number, (start, stop) in enumerate(pairwise(bounds)):
        if number == at:
            part = Fold(CONFIG, part.snapshot())
        part.process(decoded(made[start:stop]))
    assert as_bytes(part.snapshot()) == as_bytes(whole.snapshot())


@settings(max_examples=10, deadline=None)
@given(
    # When the reference is complete, near 160, labels are counted anew, in all windows.
    cuts=st.lists(st.integers(200, 2_600), max_size=4, unique=True),
    at=st.integers(0, 4),
    is_resumed=st.booleans(),
)
def test_other_windows_hold_what_comes_from_then_on(
    cuts: list[int], at: int, is_resumed: bool
) -> None:
    made = events(1_300)
    before = windowed([100, 200, 1_000])
    after = windowed([100, 500, 1_000])
    plain, switched = Fold(windowed([100, 200, 1_000])), Fold(before)
    bounds = [0, *sorted(cuts), len(made)]
    at %= len(bounds) - 1
    n_before = 0
    for number, (start, stop) in enumerate(pairwise(bounds)):
        if number == at:
            n_before = n_rows(switched)
            switched.reconfigure(after)
            if is_resumed:
                switched = Fold(after, switched.snapshot())
        for fold in (plain, switched):
            fold.process(decoded(made[start:stop]))
    assert switched.outcomes is not None
    assert plain.outcomes is not None
    found, other = switched.outcomes.metrics_of(0), plain.outcomes.metrics_of(0)
    assert found is not None
    assert other is not None
    assert list(found.windows) == [100, 500, 1_000]
    assert (found.total, found.windows[100]) == (other.total, other.windows[100])
    assert found.windows[1_000] == other.windows[1_000]
    n = found.total.n_rows - n_before
    assert found.windows[500].n_rows == n - max(-(-(n - 500) // 50) * 50, 0)
    # Whoever has the state under other windows than it was made with has another config.
    with pytest.raises(StateError, match=r"the state has windows \[100, 500, 1000\]"):
        Fold(before, switched.snapshot())


def windowed(windows: list[int]) -> DetectionConfig:
    """The config with these windows."""
    labels = CONFIG.labels.model_copy(update={"windows": windows})
    return CONFIG.model_copy(update={"labels": labels})


def n_rows(fold: Fold) -> int:
    """Labels that are measured so far."""
    assert fold.outcomes is not None
    found = fold.outcomes.metrics_of(0)
    return 0 if found is None else found.total.n_rows


def test_models_beyond_the_bound_are_counted_and_said_once() -> None:
    config = CONFIG.model_copy(update={"bounds": BoundsConfig(max_measured_models=1)})
    made = events(600, models=("a", "b"))
    said = []
    fold = Fold(config)
    for start in range(0, len(made), 100):
        said += fold.process(decoded(made[start : start + 100]))
    assert fold.outcomes is not None
    assert [fold.outcomes.metrics_of(slot) is not None for slot in (0, 1)] == [True, False]
    assert [(n.bound, n.model_id) for n in notices(said)] == [("max_measured_models", "b")]
    assert fold.counters["n_unmeasured_labels"] == 300


def test_a_model_that_gives_way_gives_its_place_back() -> None:
    bounds = BoundsConfig(max_models=1, min_idle_records=0, max_measured_models=1)
    fold = Fold(CONFIG.model_copy(update={"bounds": bounds}))
    fold.process(decoded(events(300, models=("a",))))
    assert fold.outcomes is not None
    assert fold.outcomes.metrics_of(0) is not None
    later = [
        Event(
            10_000 + i,
            {"x": 1.0},
            ModelKey("b", "1"),
            ts=10_000,
            record_ts=10_000,
            event_id=9_000 + i,
        )
        for i in range(3)
    ]
    fold.process(decoded(later))
    assert fold.outcomes.metrics_of(0) is None
    assert as_bytes(Fold(fold.config, fold.snapshot()).snapshot()) == as_bytes(fold.snapshot())


def test_a_reference_that_is_set_brings_its_own_calibration_and_begins_anew() -> None:
    made = events(1_000)
    fold = Fold(CONFIG)
    fold.process(decoded(made[:1_500]))
    document = fit_reference(decoded([e for e in made if not e.is_label]), CONFIG).document
    assert document.output is not None
    counts = [[1] * 64, [3] * 64]
    output = document.output.model_copy(update={"counts": counts})
    fold.set_reference("m", "1", document.model_copy(update={"output": output}))
    assert fold.outcomes is not None
    assert fold.outcomes.metrics_of(0) is None
    fold.process(decoded(made[1_500:]))
    expected = fold.outcomes.estimate_of(0)
    assert expected is not None
    assert expected.auc is not None
    assert expected.auc.value == pytest.approx(0.5, abs=0.01)
    assert even_cuts(64).shape == (63,)


def test_a_state_that_contradicts_itself_is_refused() -> None:
    fold = Fold(CONFIG)
    fold.process(decoded(events(600)))
    for name, change in (
        ("slots", lambda a: a + 7),
        ("slots", lambda a: np.concatenate([a, a])),
        ("labelled_task", lambda a: a * 0),
        ("unlabelled_positive", lambda a: 1 - a),
    ):
        state = {part: dict(arrays) for part, arrays in fold.snapshot().items()}
        state["outcomes"][name] = change(state["outcomes"][name])
        with pytest.raises(StateError):
            Fold(CONFIG, state)
    state = {part: dict(arrays) for part, arrays in fold.snapshot().items()}
    state["outcomes"]["more"] = np.zeros(1)
    with pytest.raises(StateError, match="more"):
        Fold(CONFIG, state)
