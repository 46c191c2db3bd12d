"""What is past a bound: one alert, a counter, and never more memory."""

from __future__ import annotations

import pytest

from benchmarks.kit.detection import RIVERS
from detectors.fold import Fold
from schemas.batch import ModelKey
from schemas.config import (
    BoundsConfig,
    DetectionConfig,
    FocusConfig,
    LabelsConfig,
    ModelConfig,
    SignalConfig,
)
from tests.detectors.decoded import Event, decoded
from tests.detectors.folding import (
    NO_QUALITY,
    SMALL,
    Said,
    as_bytes,
    findings,
    fold_in,
    normal_events,
    notices,
)


def test_the_longest_idle_model_gives_way_and_it_is_said_once() -> None:
    fold = Fold(SMALL)
    said: Said = []
    for i, name in enumerate(["a", "b", *["c"] * 3, *["b"] * 6, *["c"] * 2, "a"]):
        said += fold.process(decoded([Event(i, model=ModelKey(name, "1"))]))

    assert [(n.bound, n.model_id, n.offset) for n in notices(said)] == [("max_models", "c", 2)]
    assert {key.model_id for key in fold.catalog.slot_of} == {"b", "c"}
    assert fold.counters["n_evicted_models"] == 1
    assert fold.counters["n_refused_models"] == 4


def test_a_flood_of_names_does_not_grow_the_state() -> None:
    def flooded(n: int) -> int:
        # What waits for labels stands in blocks, which grow up to one: tests.detectors.test_labels.
        fold = Fold(SMALL.model_copy(update={"labels": LabelsConfig()}))
        events = [Event(i, {f"f{i}": 1.0}, ModelKey(f"m{i:06}", "1")) for i in range(n)]
        fold_in(fold, events, list(range(0, n, 500)))
        return sum(len(raw) for raw in as_bytes(fold.snapshot()).values())

    assert flooded(2_000) <= flooded(500) + 200


def test_features_past_the_bound_are_counted_and_said_once() -> None:
    fold = Fold(SMALL)
    names = [f"f{j}" for j in range(6)]
    said = fold.process(decoded([Event(i, dict.fromkeys(names, 1.0)) for i in range(10)]))

    assert [n.bound for n in notices(said)] == ["max_features"]
    assert fold.counters["n_refused_features"] == 20
    assert fold.catalog.monitor(0).features == names[:4]


def test_a_feature_past_the_bound_is_said_however_the_events_are_split() -> None:
    config = DetectionConfig(reference_events=20, bounds=BoundsConfig(max_features=2))
    events = [
        Event(i, dict.fromkeys(["a", *["b"] * (i >= 25), *["c"] * (i >= 60)], 1.0))
        for i in range(120)
    ]

    for cuts in ([], [50], list(range(120))):
        said = fold_in(Fold(config), events, cuts)
        assert [(n.bound, n.offset) for n in notices(said)] == [("max_features", 60)]


def test_features_of_all_models_are_bounded_however_the_events_are_split() -> None:
    config = DetectionConfig(reference_events=20, bounds=BoundsConfig(max_total_features=5))
    events = [
        Event(i, dict.fromkeys("abc", 1.0), ModelKey("abc"[min(i // 3, 1 + i % 2)], "1"))
        for i in range(60)
    ]
    states = []
    for cuts in ([], [4], [25, 50], list(range(60))):
        fold = Fold(config)
        said = fold_in(fold, events, cuts)
        states.append(as_bytes(fold.snapshot()))
        models = [fold.catalog.monitor(slot) for slot in range(3)]
        assert [(n.bound, n.model_id, n.offset) for n in notices(said)] == [
            ("max_total_features", "b", 3)
        ]
        assert [(m.key.model_id, m.features) for m in models] == [
            *(("a", ["a", "b", "c"]), ("b", ["a", "b"]), ("c", [])),
        ]
        # One of each of the events of b, three of each of those of c.
        n_of = [sum(e.model.model_id == name for e in events) for name in "bc"]
        assert fold.counters["n_refused_features"] == n_of[0] + 3 * n_of[1]
    assert states == states[:1] * len(states)


def test_a_version_takes_over_features_only_where_there_is_room_for_them() -> None:
    for room, is_taken in ((6, True), (5, False)):
        bounds = BoundsConfig(max_total_features=room)
        fold = Fold(DetectionConfig(reference_events=20, bounds=bounds))
        features = dict.fromkeys("abc", 1.0)
        quiet = fold.process(decoded([Event(i, features) for i in range(20)]))
        said = fold.process(
            decoded([Event(20 + i, features, ModelKey("m", "2")) for i in range(3)])
        )
        later = fold.catalog.monitor(1)
        assert quiet == []
        assert (later.n_learned == 3) == is_taken
        assert len(later.features) == room - 3
        assert [(n.bound, n.offset) for n in notices(said)] == (
            [] if is_taken else [("max_total_features", 20)]
        )


def test_room_for_features_comes_back_with_a_model_that_gives_way() -> None:
    bounds = BoundsConfig(max_models=2, max_total_features=4, min_idle_records=0)
    fold = Fold(DetectionConfig(reference_events=20, bounds=bounds))
    for i, name in enumerate("abcc"):
        fold.process(decoded([Event(i, dict.fromkeys("xyz", 1.0), ModelKey(name, "1"))]))
    resumed = Fold(fold.config, fold.snapshot())
    for each in (fold, resumed):
        each.process(decoded([Event(4, dict.fromkeys("xyz", 1.0), ModelKey("b", "1"))]))
        assert {m.key.model_id: m.features for m in each.catalog.slots if m} == {
            "c": ["x", "y", "z"],
            "b": ["x"],
        }
    assert as_bytes(fold.snapshot()) == as_bytes(resumed.snapshot())


def test_a_version_whose_inputs_find_no_lanes_says_so() -> None:
    config = DetectionConfig(
        reference_events=20, bounds=BoundsConfig(max_lanes=8), quality=NO_QUALITY
    )
    fold = Fold(config)
    features = dict.fromkeys("abc", 1.0)
    first = [Event(i, features, score=i % 7 / 7) for i in range(40)]
    second = [Event(100 + i, features, ModelKey("m", "2")) for i in range(10)]
    quiet = fold.process(decoded(first))
    said = fold.process(decoded(second))

    assert quiet == []
    assert [(n.bound, n.model_version, n.offset) for n in notices(said)] == [
        ("max_lanes", "2", 100)
    ]
    # Of each feature its value and whether it is missing.
    assert fold.counters["n_refused_signals"] == 6


def test_signals_that_a_config_asks_for_past_the_bound_are_said_at_the_next_event() -> None:
    def config(generation: int, monitor: bool) -> DetectionConfig:
        signals = {"missing:x": SignalConfig(monitor=monitor)}
        return DetectionConfig(
            generation=generation,
            reference_events=20,
            bounds=BoundsConfig(max_lanes=2),
            quality=NO_QUALITY,
            model={"m": ModelConfig(signals=signals)},
        )

    fold = Fold(config(1, False))
    quiet = fold.process(decoded(normal_events(60, shift_at=60, shift=0.0)))
    fold.reconfigure(config(2, True))
    resumed = Fold(config(2, True), fold.snapshot())
    other = [Event(60 + i, {"y": 1.0}, ModelKey("other", "1")) for i in range(2)]

    assert quiet == []
    assert fold.counters["n_refused_signals"] == 1
    for each in (fold, resumed):
        said = each.process(decoded(other))
        assert [(n.bound, n.model_id, n.offset) for n in notices(said)] == [("max_lanes", "m", 60)]
    assert as_bytes(fold.snapshot()) == as_bytes(resumed.snapshot())


def test_that_models_give_way_is_said_once_and_counted() -> None:
    bounds = BoundsConfig(max_models=2, min_idle_records=0)
    fold = Fold(DetectionConfig(reference_events=20, bounds=bounds))
    said: Said = []
    for i in range(100):
        said += fold.process(decoded([Event(i, model=ModelKey(f"m{i % 5}", "1"))]))

    assert [(n.bound, n.offset) for n in notices(said)] == [("max_models", 2)]
    assert fold.counters["n_evicted_models"] == 98


def test_few_classes_are_classes_whatever_the_bound() -> None:
    bounds = BoundsConfig(max_classes=10)
    fold = Fold(DetectionConfig(reference_events=200, bounds=bounds))
    said = fold.process(decoded([Event(i, prediction=i % 15) for i in range(200)]))
    monitor = fold.catalog.monitor(0)

    assert [n.bound for n in notices(said)] == ["max_classes"]
    outputs = [s for s in monitor.signals if s.is_output]
    assert [monitor.name(s) for s in outputs] == [
        *(f"class:{c}" for c in range(10)),
        "class:__other__",
    ]
    assert outputs[-1].scale.mean == pytest.approx(1 / 3, abs=0.01)
    n_in_reference = fold.counters["n_refused_classes"]
    assert n_in_reference == sum(i % 15 >= 10 for i in range(200))
    fold.process(decoded([Event(200 + i, prediction=i % 15) for i in range(30)]))
    assert fold.counters["n_refused_classes"] == n_in_reference + 10


def test_a_class_that_is_new_after_the_reference_is_past_no_bound() -> None:
    fold = Fold(DetectionConfig(reference_events=20))
    said = fold.process(decoded([Event(i, prediction=i // 20) for i in range(40)]))

    assert notices(said) == []
    assert fold.counters["n_refused_classes"] == 0


def test_numbers_are_no_classes_past_a_bound() -> None:
    fold = Fold(DetectionConfig(reference_events=200))
    said = fold.process(decoded([Event(i, prediction=i) for i in range(200)]))
    monitor = fold.catalog.monitor(0)

    assert said == []
    assert [monitor.name(s) for s in monitor.signals if s.is_output] == ["prediction"]


def test_a_reference_without_room_for_its_rows_is_said_and_leaves_the_others_be() -> None:
    config = DetectionConfig(
        reference_events=100,
        arl0=1_000,
        bounds=BoundsConfig(max_learning_values=399),
        detectors=RIVERS.model_copy(update={"focus": FocusConfig(enabled=True)}),
    )
    fold = Fold(config)
    said = fold.process(decoded(normal_events(3_000, shift_at=1_000, shift=3.0)))
    assert [n.bound for n in notices(said)] == ["max_learning_values"]
    assert {f.detector for f in findings(said, "feature:x")} == {"adwin", "page_hinkley"}
    assert fold.catalog.n_reserved == 0
    assert fold.counters["n_refused_references"] == 1


def test_places_that_nobody_has_taken_over_yet_are_resumed() -> None:
    """Of a model that gave its lanes up, and of one that a lower bound has left no place for."""
    config = DetectionConfig(
        reference_events=20,
        bounds=BoundsConfig(max_lanes=14, min_idle_records=0),
        quality=NO_QUALITY,
    )
    fold = Fold(config)
    for i, name in enumerate("abc"):
        own = [Event(100 * i + k, {"x": float(k)}, ModelKey(name, "1")) for k in range(25)]
        fold.process(decoded(own))
    wide = [Event(900 + k, dict.fromkeys("pqrstu", 1.0), ModelKey("d", "1")) for k in range(25)]
    fold.process(decoded(wide))
    assert None in fold.catalog.slots
    assert as_bytes(Fold(config, fold.snapshot()).snapshot()) == as_bytes(fold.snapshot())

    lower = config.model_copy(update={"bounds": BoundsConfig(max_models=1)})
    other = Fold(config)
    other.process(decoded([Event(i, {}, ModelKey("ab"[i % 2], "1")) for i in range(10)]))
    other.reconfigure(lower)
    assert None in other.catalog.slots
    assert as_bytes(Fold(lower, other.snapshot()).snapshot()) == as_bytes(other.snapshot())
