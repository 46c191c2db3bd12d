"""What is wrong with single events: each kind is found, and a clean stream says nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import BankState, StateError
from detectors.fold import Fold
from detectors.limits import MARGIN, Limits
from detectors.monitor import Monitor
from detectors.recent import N_PLACES, RecentIds
from detectors.reference_document import monitor_of
from detectors.reference_fit import fit_reference
from schemas.batch import ModelKey
from schemas.config import DetectionConfig
from schemas.findings import Aspect, Finding, Notice
from schemas.reference import BadReferenceError
from tests.detectors.decoded import MODEL, Event, decoded

N_CLEAN = 1_600
CONFIG = DetectionConfig.model_validate(
    {"reference_events": 800, "arl0": 1_000_000, "quality": {"duplicate": True}}
)
START_MS = 1_790_000_000_000


def clean(n: int, seed: int = 1) -> list[Event]:
    """Two numbers that never repeat, one that does, a category; a latency, a time, an id."""
    rng = np.random.default_rng(seed)
    return [
        Event(
            i,
            {
                "few": float(rng.integers(3)),
                "plan": "ab"[int(rng.integers(2))],
                "x": float(rng.normal()),
                "y": float(rng.exponential()),
            },
            ts=START_MS + 1_000 * i,
            record_ts=START_MS + 1_000 * i,
            event_id=i + 1,
            latency_ms=float(rng.gamma(4.0)),
        )
        for i in range(n)
    ]


def broken(n: int, how: Callable[[Event], Event], every: int = 1) -> list[Event]:
    """Clean events, then some to each of which (or to one of so many) this is done."""
    events = clean(N_CLEAN + n)
    return [how(e) if i >= N_CLEAN and i % every == 0 else e for i, e in enumerate(events)]


def with_value(e: Event, name: str, value: object) -> Event:
    return replace(e, features={**e.features, name: value})


def moved(events: Sequence[Event], config: DetectionConfig = CONFIG) -> dict[str, int]:
    """The signals that were found to move, and after how many events first."""
    fold = Fold(config)
    found: dict[str, int] = {}
    for start in range(0, len(events), 400):
        for each in fold.process(decoded(events[start : start + 400])):
            if isinstance(each, Finding) and each.aspect != Aspect.SETTLED:
                found.setdefault(each.signal, each.model_event)
    return found


BREAKS: dict[str, tuple[Callable[[Event], Event], int]] = {
    "latency": (lambda e: replace(e, latency_ms=3.0 * e.latency_ms), 1),
    "quality:late": (lambda e: replace(e, ts=e.ts - 1_000_000), 10),
    "quality:future": (lambda e: replace(e, ts=e.ts + 1_000_000), 10),
    "quality:duplicate": (lambda e: replace(e, event_id=e.event_id - 1), 10),
    "quality:range": (lambda e: with_value(e, "x", -999.0), 20),
    "quality:stuck": (lambda e: with_value(e, "y", 0.7), 1),
    "quality:type": (lambda e: with_value(e, "x", str(e.features["x"])), 10),
}


@pytest.mark.parametrize("signal", BREAKS)
def test_what_breaks_is_found_and_only_from_then_on(signal: str) -> None:
    how, every = BREAKS[signal]
    found = moved(broken(400, how, every))
    assert found[signal] >= N_CLEAN
    assert min(found.values()) >= N_CLEAN


@pytest.mark.parametrize(
    ("signal", "feature"), [("quality:range", "x"), ("quality:stuck", "y"), ("quality:type", "x")]
)
@pytest.mark.parametrize("at_once", [1, 7, 400])
def test_the_feature_that_broke_is_named(signal: str, feature: str, at_once: int) -> None:
    fold = Fold(CONFIG)
    events = broken(400, *BREAKS[signal])
    said = [
        each
        for start in range(0, len(events), at_once)
        for each in fold.process(decoded(events[start : start + at_once]))
        if isinstance(each, Finding) and each.aspect != Aspect.SETTLED
    ]
    assert {each.named for each in said if each.signal == signal} == {feature}
    others = [e for e in said if not e.signal.startswith("quality:")]
    assert {each.named for each in others if each.signal != "representativeness"} <= {""}


def test_a_clean_stream_says_nothing() -> None:
    assert moved(clean(6_000, seed=3)) == {}


@pytest.mark.parametrize("signal", BREAKS)
def test_what_is_switched_off_has_no_lane(signal: str) -> None:
    name = signal.removeprefix("quality:")
    config = CONFIG.model_copy(update={"quality": CONFIG.quality.model_copy(update={name: False})})
    fold = Fold(config)
    fold.process(decoded(clean(900)))
    monitor = fold.catalog.monitor(0)
    lanes = {monitor.name(s): s.lane for s in monitor.signals}
    others = set(BREAKS) - {signal}
    # Nobody reads ids where nobody looks for duplicates.
    assert lanes.get(signal, -1) == -1
    assert all(lanes[other] >= 0 for other in others)


def test_a_number_is_beyond_where_it_lies_half_a_span_off() -> None:
    fold = Fold(CONFIG)
    fold.process(decoded(clean(900)))
    limits = fold.catalog.monitor(0).limits
    assert limits is not None
    names = [fold.catalog.monitor(0).features[f] for f in limits.features.tolist()]
    assert names == ["few", "x", "y"]
    assert limits.varies.tolist() == [0, 1, 1]
    for name, low, high in zip(names, limits.low, limits.high, strict=True):
        x = np.array([e.features[name] for e in clean(800)], np.float64)
        margin = MARGIN * (x.max() - x.min())
        assert (low, high) == (x.min() - margin, x.max() + margin)


def test_an_id_is_recent_for_its_own_version_and_label_alone() -> None:
    one, two = ModelKey("m", "1"), ModelKey("m", "2")
    events = [
        Event(0, model=one, event_id=7),
        Event(1, model=two, event_id=7),
        Event(2, model=ModelKey("m", ""), event_id=7, is_label=True, prediction=1),
        Event(3, model=one, event_id=7),
        Event(4, model=one),
        Event(5, model=one),
    ]
    duplicate, has_id = RecentIds().duplicates(decoded(events))
    assert duplicate.tolist() == [False, False, False, True, False, False]
    assert has_id.tolist() == [True, True, False, True, False, False]


def test_old_ids_give_way() -> None:
    recent = RecentIds()
    rng = np.random.default_rng(5)
    ids = rng.integers(1, 2**63, 10 * N_PLACES).tolist()
    first = decoded([Event(0, event_id=ids[0])])
    assert not recent.duplicates(first)[0].any()
    assert recent.duplicates(first)[0].all()
    rest = replace(
        first,
        offset=np.arange(len(ids)),
        is_label=np.zeros(len(ids), np.bool_),
        model=np.zeros(len(ids), np.int32),
        event_id=np.array(ids, np.uint64),
    )
    recent.duplicates(rest)
    assert not recent.duplicates(first)[0].any()


@given(st.lists(st.integers(1, 12), max_size=60), st.sets(st.integers(0, 60), max_size=4))
@settings(deadline=None, max_examples=40)
def test_duplicates_do_not_hang_on_batches(ids: list[int], cuts: set[int]) -> None:
    events = [Event(i, event_id=each) for i, each in enumerate(ids)]
    found: list[bool] = []
    recent = RecentIds()
    edges = sorted({0, len(ids), *(cut for cut in cuts if cut < len(ids))})
    for start, stop in itertools.pairwise(edges):
        found += recent.duplicates(decoded(events[start:stop]))[0].tolist()
    assert found == [each in ids[:i] for i, each in enumerate(ids)]


def said_and_state(
    events: Sequence[Event], cuts: Sequence[int], resumed: bool
) -> tuple[list[Finding | Notice], dict[str, BankState]]:
    fold = Fold(CONFIG)
    said: list[Finding | Notice] = []
    edges = sorted({0, *cuts, len(events)})
    for start, stop in itertools.pairwise(edges):
        said += fold.process(decoded(events[start:stop]))
        if resumed:
            fold = Fold(CONFIG, fold.snapshot())
    return said, fold.snapshot()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("signal", ["quality:stuck", "quality:duplicate"])
def test_what_is_said_hangs_on_neither_batches_nor_restarts(signal: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    events = broken(200, *BREAKS[signal])
    whole = said_and_state(events, [], resumed=False)
    cuts = rng.integers(1, len(events), 6).tolist()
    parted = said_and_state(events, cuts, resumed=True)
    assert signal in {each.signal for each in whole[0] if isinstance(each, Finding)}
    assert parted[0] == whole[0]
    for part, state in whole[1].items():
        for name, array in state.items():
            assert parted[1][part][name].tobytes() == array.tobytes(), (part, name)


def test_a_reference_document_holds_the_limits_and_the_signals() -> None:
    document = fit_reference(decoded(clean(900)), CONFIG).document
    monitor = monitor_of(document, MODEL)
    assert set(BREAKS) <= {monitor.name(signal) for signal in monitor.signals}
    assert monitor.limits is not None
    assert np.isnan(monitor.limits.last).all()
    fold = Fold(CONFIG)
    fold.set_reference(*MODEL[:2], document)
    said = fold.process(decoded([with_value(e, "y", 0.7) for e in clean(100, seed=2)]))
    assert "quality:stuck" in {each.signal for each in said if isinstance(each, Finding)}


def test_a_document_without_limits_is_taken() -> None:
    """As an earlier release has written it: here of events without any number."""
    events = [replace(e, features={"plan": e.features["plan"]}) for e in clean(900)]
    document = fit_reference(decoded(events), CONFIG).document
    arrays = {k: v for k, v in document.arrays.items() if not k.startswith("limits_")}
    assert len(arrays) == len(document.arrays) - 3
    monitor = monitor_of(document.model_copy(update={"arrays": arrays}), MODEL)
    assert monitor.limits is None
    arrays["limits_last"] = document.arrays["limits_last"]
    with pytest.raises(BadReferenceError):
        monitor_of(document.model_copy(update={"arrays": arrays}), MODEL)


def test_a_version_inherits_the_limits() -> None:
    fold = Fold(CONFIG)
    events = clean(1_200)
    fold.process(decoded(events[:900]))
    heir = ModelKey("m", "2")
    fold.process(decoded([replace(e, model=heir) for e in events[900:]]))
    parent, child = fold.catalog.monitor(0), fold.catalog.monitor(1)
    names = [[m.features[f] for f in _limits(m).features.tolist()] for m in (parent, child)]
    assert sorted(names[0]) == sorted(names[1])
    assert {parent.name(s) for s in parent.signals if s.is_quality} == {
        child.name(s) for s in child.signals if s.is_quality
    }
    # What is of events each version learns anew.
    assert not any(s.is_of_event for s in child.signals)


def _limits(monitor: Monitor) -> Limits:
    assert monitor.limits is not None
    return monitor.limits


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("limits_numbers", (0, 0), 1),  # a category
        ("limits_numbers", (0, 0), 99),
        ("limits_numbers", (0, 1), 2),
        ("limits_reach", (0, 0), np.nan),
        ("limits_reach", (0, 1), -1e9),
        ("limits_last", (1,), np.inf),
    ],
)
def test_limits_that_cannot_be_are_refused(name: str, place: tuple[int, ...], value: float) -> None:
    fold = Fold(CONFIG)
    fold.process(decoded(clean(900)))
    state = fold.snapshot()
    damaged = state["fold"][name].copy()
    damaged[place] = value
    with pytest.raises(StateError):
        Fold(CONFIG, state | {"fold": dict(state["fold"]) | {name: damaged}})
