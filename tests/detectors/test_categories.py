"""Features that are categories: learned, frozen, watched by the share of each, restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.base import BankState, StateError
from detectors.budget import arl0_of_detector
from detectors.categories import LEAST_KEPT, NameNumbers, Tally
from detectors.drift.ranks import Indicator
from detectors.fold import Fold
from detectors.kernels.observe import UNKNOWN
from detectors.monitor import Monitor
from detectors.reference_document import monitor_of
from detectors.reference_fit import fit_reference
from detectors.steadiness import unsteady_signals
from schemas.batch import ModelKey, ValueKind
from schemas.config import (
    BoundsConfig,
    DetectionConfig,
    ModelConfig,
    MomentsConfig,
    SignalConfig,
)
from schemas.findings import Finding
from schemas.limits import MAX_CATEGORIES_CHARS
from schemas.reference import BadReferenceError
from tests.detectors.decoded import MODEL, Event, decoded
from tests.detectors.folding import NO_QUALITY, SMALL, as_bytes, findings, fold_in, notices

N = 60
CONFIG = DetectionConfig(reference_events=N, arl0=1e5, quality=NO_QUALITY)
NEW = "feature:w=__new__"


def words(values: Sequence[object], *, first: int = 0, model: ModelKey = MODEL) -> list[Event]:
    """Events with one feature, `w`; left out where the value is Ellipsis."""
    return [
        Event(first + i, {} if value is ... else {"w": value}, model)
        for i, value in enumerate(values)
    ]


def monitor_after(values: Sequence[object], config: DetectionConfig = CONFIG) -> Monitor:
    fold = Fold(config)
    fold_in(fold, words(values), [])
    return fold.catalog.monitor(0)


def names(monitor: Monitor) -> list[str]:
    """Of its features, but categories as a whole."""
    return [monitor.name(s) for s in monitor.signals if s.is_input and not s.is_cells]


def cycle(kinds: str, n: int = N) -> list[object]:
    return [kinds[i % len(kinds)] for i in range(n)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (cycle("abc"), ["feature:w=a", "feature:w=b", "feature:w=c", NEW]),
        (cycle("ba"), ["feature:w=b", NEW]),
        (cycle("a"), ["feature:w=a"]),
        ([True, False] * 30, ["feature:w=true"]),
        ([False] * N, ["feature:w=false"]),
        (["x" * 257, "a", "b"] * 20, ["feature:w=a", "feature:w=b", NEW]),
        (["x" * 257] * N, []),
        ([f"id-{i}" for i in range(N)], [NEW]),
        ([None] * N, []),
        ([1.0] * 31 + cycle("ab", 29), ["feature:w"]),
    ],
)  # fmt: skip
def test_which_shares_are_watched(values: list[object], expected: list[str]) -> None:
    assert names(monitor_after(values)) == [*expected, "missing:w"]


def test_the_most_frequent_ones_have_shares_and_all_have_names() -> None:
    bounds = BoundsConfig(max_category_signals=2)
    values = [*cycle("d", 20), *cycle("a", 10), *cycle("c", 20), *cycle("b", 9), "e"]
    monitor = monitor_after(values, CONFIG.model_copy(update={"bounds": bounds}))
    assert names(monitor) == ["feature:w=d", "feature:w=c", NEW, "missing:w"]
    (own,) = monitor.categories
    assert dict(zip(own.names, own.counts, strict=True)) == {
        "d": 20,
        "a": 10,
        "c": 20,
        "b": 9,
        "e": 1,
    }
    means = [round(signal.scale.mean, 6) for signal in monitor.signals[:3]]
    assert means == [round(20 / N, 6), round(20 / N, 6), round(1 / N, 6)]


def test_of_more_than_are_known_by_name_nothing_is_new() -> None:
    bounds = BoundsConfig(max_categories=4)
    values = [*cycle("abcd", N - 4), *"efgh"]
    monitor = monitor_after(values, CONFIG.model_copy(update={"bounds": bounds}))
    assert NEW not in names(monitor)
    (own,) = monitor.categories
    assert (own.names, own.n_other, own.is_full) == (tuple("abcd"), 4, True)
    assert own.n == N
    seldom = [*cycle("a", N - LEAST_KEPT), *cycle("b", LEAST_KEPT - 1), "c"]
    assert names(monitor_after(seldom)) == ["feature:w=a", NEW, "missing:w"]


@pytest.mark.parametrize("cuts", [[], [7, 30], list(range(N))])
def test_names_without_room_are_others_however_the_events_are_split(cuts: list[int]) -> None:
    long = [letter * 250 for letter in "abcdefghij"]
    fold = Fold(CONFIG)
    fold_in(fold, words([*long, "k" * 48, "l" * 49, "m", *cycle("a", N - 13)]), cuts)
    (own,) = fold.catalog.monitor(0).categories
    assert own.names == (*long[:8], "k" * 48)
    assert sum(map(len, own.names)) == MAX_CATEGORIES_CHARS
    assert own.is_full
    assert own.n == N


def test_a_share_is_of_the_values_that_are_there() -> None:
    fold = Fold(CONFIG.model_copy(update={"arl0": 1e9}))
    fold_in(fold, words(["a", "b", "c", None] * 15), [])
    rest = ["a", "a", None, ..., 4.0, True, "c", "zz", "x" * 257, "b"]
    fold_in(fold, words(rest, first=N), [])
    monitor, bank = fold.catalog.monitor(0), fold.banks["moments"].snapshot()
    seen = {
        monitor.name(s): (
            int(bank["n"][s.lane]),
            round(s.scale.raw(float(bank["mean"][s.lane])), 6),
        )
        for s in monitor.signals
        if s.lane >= 0
    }
    there = 6
    assert seen == {
        "feature:w=a": (there, round(2 / there, 6)),
        "feature:w=b": (there, round(1 / there, 6)),
        "feature:w=c": (there, round(1 / there, 6)),
        NEW: (there, round(1 / there, 6)),
        "missing:w": (10, 0.4),
    }


def test_a_category_is_never_taken_for_a_number() -> None:
    numbers = [float(i % 7) for i in range(N)]
    fold = Fold(CONFIG)
    fold_in(fold, words(numbers), [])
    fold_in(fold, words(["a", "b", True, False] * 200, first=N), [])
    monitor, bank = fold.catalog.monitor(0), fold.banks["moments"].snapshot()
    assert names(monitor) == ["feature:w", "missing:w"]
    assert bank["n"][monitor.signals[0].lane] == 0
    # Nor while it is learned: a reference with some words in it has the numbers' moments.
    monitor = monitor_after([*numbers[:40], *cycle("ab", 10), *[True] * 10])
    assert monitor.signals[0].scale.mean == pytest.approx(np.mean(numbers[:40]))
    ranks = monitor.signals[0].ranks
    assert ranks is not None
    assert ranks.n == 40


def found(values: Sequence[object], n: int, config: DetectionConfig) -> dict[str, Finding]:
    """The first finding of each signal."""
    fold = Fold(config.model_copy(update={"reference_events": n}))
    firsts: dict[str, Finding] = {}
    for each in fold_in(fold, words(values), []):
        if isinstance(each, Finding):
            firsts.setdefault(each.signal, each)
    return firsts


def drawn(seed: int, n: int, shares: Mapping[object, float]) -> list[object]:
    rng = np.random.default_rng(seed)
    kinds = list(shares)
    return [kinds[k] for k in rng.choice(len(kinds), n, p=list(shares.values()))]


@pytest.mark.parametrize(
    ("before", "after", "signal", "moved"),
    [
        ({"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 0.3, "b": 0.5, "c": 0.2}, "feature:w=b", (0.3, 0.5)),
        ({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.45, "z": 0.05}, NEW, (0.0, 0.05)),
        ({"a": 0.5, "b": 0.4, "c": 0.1}, {"a": 0.6, "b": 0.4}, "feature:w=c", (0.1, 0.0)),
        ({True: 0.2, False: 0.8}, {True: 0.5, False: 0.5}, "feature:w=true", (0.2, 0.5)),
    ],
)
def test_a_share_that_changes_a_new_one_and_one_that_vanishes_are_found(
    before: Mapping[object, float],
    after: Mapping[object, float],
    signal: str,
    moved: tuple[float, float],
) -> None:
    values = drawn(1, 4_000, before) + drawn(2, 1_000, after)
    finding = found(values, 2_000, CONFIG)[signal]
    assert 4_000 <= finding.offset < 4_400
    assert finding.change_offset == pytest.approx(4_000, abs=60)
    assert (finding.before, finding.after) == pytest.approx(moved, abs=0.12)
    assert finding.is_share
    assert finding.is_within_budget


def zipf(seed: int, n: int) -> list[object]:
    """A long tail: whatever has been seen, some values are always of what has not."""
    ranks = np.random.default_rng(seed).zipf(2.0, n)
    return [f"k{min(int(k), 10**9)}" for k in ranks]


def test_without_a_change_there_are_no_more_findings_than_accepted() -> None:
    # What comes now and then from a long tail is new every time, and no news.
    arl0, n, n_seeds = 20_000.0, 8_000, 12
    config = CONFIG.model_copy(update={"arl0": arl0})
    n_found = n_lanes = n_new = 0
    for seed in range(n_seeds):
        fold = Fold(config.model_copy(update={"reference_events": 2_000}))
        bounds = BoundsConfig(max_categories=256)
        fold.reconfigure(fold.config.model_copy(update={"bounds": bounds}))
        said = fold_in(fold, words(zipf(seed, n)), [])
        n_found += sum(isinstance(each, Finding) for each in said)
        assert notices(said) == []
        monitor = fold.catalog.monitor(0)
        n_new += NEW in names(monitor)
        n_lanes += monitor.n_lanes
    assert n_new == n_seeds
    expected = n_lanes * (n - 2_000) / arl0
    assert n_found <= 2 * expected


def test_what_was_there_once_says_how_often_one_is_new() -> None:
    monitor = monitor_after([*cycle("ab", N - 6), *"uvwxyz"])
    signal = next(s for s in monitor.signals if monitor.name(s) == NEW)
    assert signal.scale.mean == pytest.approx(6 / N)
    assert isinstance(signal.ranks, Indicator)
    assert (signal.ranks.ones, signal.ranks.n) == (6, N)


def test_the_config_names_a_category_or_all_of_a_feature() -> None:
    def watched(**signals: SignalConfig) -> list[str]:
        named = {f"feature:{name}": config for name, config in signals.items()}
        config = CONFIG.model_copy(update={"model": {"m": ModelConfig(signals=named)}})
        monitor = monitor_after(cycle("abc"), config)
        return [monitor.name(signal) for signal in monitor.signals if signal.lane >= 0]

    off, on = SignalConfig(monitor=False), SignalConfig()
    assert watched(**{"w=a": off}) == ["feature:w=b", "feature:w=c", NEW, "missing:w"]
    assert watched(w=off) == ["missing:w"]
    assert watched(w=off, **{"w=b": on}) == ["feature:w=b", "missing:w"]
    assert watched(w=SignalConfig(kind="number")) == ["missing:w"]
    forced = CONFIG.model_copy(
        update={"model": {"m": ModelConfig(signals={"feature:w": SignalConfig(kind="category")})}}
    )
    monitor = monitor_after([*cycle("ab", 20), *[1.0] * 40], forced)
    assert names(monitor) == ["feature:w=b", NEW, "missing:w"]


def test_the_budget_is_shared_by_all_shares() -> None:
    config = DetectionConfig(
        reference_events=N, false_alerts="1 per week and model", quality=NO_QUALITY
    )
    few, many = monitor_after(cycle("ab"), config), monitor_after(cycle("abcdef"), config)
    assert (few.n_lanes, many.n_lanes) == (3, 8)
    each = [arl0_of_detector(config, m, m.signals[0]) for m in (few, many)]
    assert each[1] == pytest.approx(each[0] * 8 / 3)


def test_a_new_version_has_the_categories_of_the_one_before() -> None:
    fold = Fold(CONFIG)
    fold_in(fold, words(cycle("abc")), [])
    other = ModelKey("m", "2")
    fold_in(fold, words(cycle("abd", 400), first=N, model=other), [])
    old, new = (fold.catalog.monitor(fold.catalog.slot_of[key]) for key in (MODEL, other))
    assert names(new)[:4] == names(old)[:4]
    assert new.categories == old.categories
    said = fold_in(fold, words(cycle("abd", 400), first=N + 400, model=other), [])
    assert findings(said, NEW) == []
    bank = fold.banks["moments"].snapshot()
    lane = next(s.lane for s in new.signals if new.name(s) == NEW)
    assert new.signals[3].scale.raw(float(bank["mean"][lane])) == pytest.approx(266 / 800, abs=0.01)


def test_a_reference_holds_the_frequencies_and_is_the_same_when_set() -> None:
    values = [*drawn(3, 300, {"a": 0.5, "b": 0.3, "c": 0.15, None: 0.05}), "once"]
    config = CONFIG.model_copy(update={"reference_events": len(values)})
    document = fit_reference(decoded(words(values)), config).document
    (own,) = document.categories
    counts = dict(zip(own.names, own.counts, strict=True))
    assert counts == {name: values.count(name) for name in ("a", "b", "c", "once")}
    learned, given = Fold(config), Fold(config)
    fold_in(learned, words(values), [])
    given.set_reference("m", "1", document)
    later = words(drawn(4, 500, {"a": 0.2, "b": 0.6, "zz": 0.2}), first=len(values))
    told = [
        [(f.signal, f.offset, f.before, f.after) for f in said if isinstance(f, Finding)]
        for said in (fold_in(learned, later, []), fold_in(given, later, [100]))
    ]
    assert told[0] == told[1]
    assert told[0]
    one, other = learned.catalog.monitor(0), given.catalog.monitor(0)
    assert (names(one), one.categories) == (names(other), other.categories)


@pytest.mark.parametrize(
    "change",
    [
        {"feature": 1},
        {"names": ["a", "a", "c"]},
        {"counts": [1, 2]},
        {"names": ["a"], "counts": [3]},
    ],
)
def test_a_document_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    document = fit_reference(decoded(words(cycle("abc"))), CONFIG).document
    own = document.categories[0].model_copy(update=change)
    with pytest.raises(BadReferenceError):
        monitor_of(document.model_copy(update={"categories": [own]}), MODEL)
    with pytest.raises(BadReferenceError):
        monitor_of(document.model_copy(update={"categories": [own, own]}), MODEL)


VALUES: list[object] = ["a", "b", "c", "d", "x" * 257, True, False, None, ..., 1.0, 2.5]


@st.composite
def mixed(draw: st.DrawFn) -> list[Event]:
    """Two features of any kind, of one or two models."""
    values = draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=12))
    n = draw(st.integers(1, 120))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    found = []
    for i in range(n):
        own = {name: values[int(rng.integers(len(values)))] for name in ("v", "w")}
        key = ModelKey("m", "12"[int(rng.integers(2))]) if draw(st.booleans()) else MODEL
        found.append(Event(i, {k: v for k, v in own.items() if v is not ...}, key))
    return found


CONFIGS = st.sampled_from(
    [
        SMALL.model_copy(
            update={"bounds": SMALL.bounds.model_copy(update={"max_lanes": 100, **bounds})}
        )
        for bounds in ({}, {"max_categories": 2, "max_category_signals": 1})
    ]
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(mixed(), CONFIGS, st.lists(st.integers(0, 120), max_size=6))
def test_any_split_and_resuming_at_any_event_give_the_same(
    events: list[Event], config: DetectionConfig, cuts: list[int]
) -> None:
    cuts = sorted(min(cut, len(events)) for cut in cuts)
    whole, split, single = Fold(config), Fold(config), Fold(config)
    said = fold_in(whole, events, [])
    assert fold_in(split, events, cuts) == said
    assert fold_in(single, events, list(range(len(events)))) == said
    state = as_bytes(whole.snapshot())
    assert as_bytes(split.snapshot()) == as_bytes(single.snapshot()) == state
    resumed, before = Fold(config), []
    for start, stop in zip([0, *cuts], [*cuts, len(events)], strict=True):
        before += fold_in(resumed, events[start:stop], [])
        resumed = Fold(config, resumed.snapshot())
    assert before == said
    assert as_bytes(resumed.snapshot()) == state


def learning_state() -> dict[str, dict[str, np.ndarray]]:
    fold = Fold(CONFIG)
    fold_in(fold, words([*cycle("abc", 20), True, False, True]), [])
    return {name: dict(part) for name, part in fold.snapshot().items()}


def frozen_state() -> dict[str, dict[str, np.ndarray]]:
    fold = Fold(CONFIG)
    fold_in(fold, words(cycle("abc", N + 5)), [])
    return {name: dict(part) for name, part in fold.snapshot().items()}


def with_document(
    state: dict[str, dict[str, np.ndarray]], edit: Callable[[dict[str, object]], None]
) -> dict[str, BankState]:
    document = orjson.loads(state["fold"]["document"].tobytes())
    edit(document["slots"][0])
    state["fold"]["document"] = np.frombuffer(orjson.dumps(document), np.uint8).copy()
    return dict(state)


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m["cohorts"][0].update(names=[]),
        lambda m: m["cohorts"][0].update(names=[["a", "b"]]),
        lambda m: m["cohorts"][0].update(names=[["a", "a", "b"]]),
        lambda m: m["cohorts"][0].update(names=[["a", "b", "x" * 257]]),
    ],
)
def test_a_learning_state_that_cannot_be_is_refused(edit: Callable[[object], None]) -> None:
    with pytest.raises(StateError):
        Fold(CONFIG, with_document(learning_state(), edit))


@pytest.mark.parametrize(
    ("name", "at", "number"),
    [("n_category", 0, 1_000), ("n_category", 0, -1), ("others", 1, 4), ("others", 0, -1)],
)
def test_counts_that_cannot_be_are_refused(name: str, at: int, number: int) -> None:
    state = learning_state()
    state["fold"][f"cohort_{name}"].flat[at] = number
    with pytest.raises(StateError):
        Fold(CONFIG, state)


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m["categories"][0].update(feature=1),
        lambda m: m["categories"][0].update(feature=-1),
        lambda m: m["categories"][0].update(counts=[1]),
        lambda m: m["categories"][0].update(counts=[1, 2, -1]),
        lambda m: m["categories"][0].update(names=["a", "a", "b"]),
        lambda m: m["categories"].append(m["categories"][0]),
        lambda m: m["categories"].clear(),
        lambda m: m.update(kinds=[int(ValueKind.NUMBER)]),
        lambda m: m.update(kinds=[int(ValueKind.BOOLEAN)]),
        lambda m: m["signals"][0].__setitem__(6, 3),
        lambda m: m["signals"][0].__setitem__(6, -1),
        lambda m: m["signals"][0].__setitem__(1, 1),
        lambda m: m["signals"][3].__setitem__(6, 1),
        lambda m: m["signals"][0].__setitem__(0, 8),
        lambda m: m["signals"][0].pop(),
    ],
)
def test_a_frozen_state_that_cannot_be_is_refused(edit: Callable[[object], None]) -> None:
    with pytest.raises(StateError):
        Fold(CONFIG, with_document(frozen_state(), edit))


def test_kept_rows_with_any_code_are_borne() -> None:
    for code in (-2.0, 0.5, 3.0, 1e300, -1e300, np.inf, np.nan):
        state = learning_state()
        state["fold"]["rows_value"][:] = code
        fold_in(Fold(CONFIG, state), words(cycle("abc", N), first=23), [])


def test_moments_alone_watch_categories_without_keeping_rows() -> None:
    off = {name: {"enabled": False} for name in ("focus",)}
    detectors = CONFIG.detectors.model_validate({**off, "moments": MomentsConfig()})
    monitor = monitor_after(cycle("abc"), CONFIG.model_copy(update={"detectors": detectors}))
    assert names(monitor)[:4] == ["feature:w=a", "feature:w=b", "feature:w=c", NEW]


@pytest.mark.parametrize("words_of", [("a", "b", "c"), (False, True)])
def test_a_share_that_wanders_is_said_to_need_a_longer_reference(
    words_of: tuple[object, ...],
) -> None:
    n_reference, n, block = 2_000, 28_000, 400
    config = CONFIG.model_copy(update={"reference_events": n_reference, "arl0": 1e9})
    rng = np.random.default_rng(8)
    wandering = np.repeat(rng.uniform(0.2, 0.8, n // block), block)
    shares = np.concatenate([np.full(n_reference, 0.5), wandering])
    rest = rng.integers(0, len(words_of) - 1, len(shares))
    is_last = rng.random(len(shares)) < shares
    values = [words_of[-1] if last else words_of[k] for last, k in zip(is_last, rest, strict=True)]
    fold = Fold(config)
    fold_in(fold, words(values[:n_reference]), [])
    monitor = fold.catalog.monitor(0)
    # In another order of appearance than in the reference: they are known by name.
    later = words(values[:n_reference:-1])
    unsteady = {each.signal for each in unsteady_signals(monitor, decoded(later), config)}
    last = "true" if words_of[-1] is True else "c"
    assert f"feature:w={last}" in unsteady
    steady = words([*drawn(9, n, dict.fromkeys(words_of, 1 / len(words_of)))])
    even = Fold(config)
    fold_in(even, steady[:n_reference], [])
    assert unsteady_signals(even.catalog.monitor(0), decoded(steady[n_reference:]), config) == []


def test_a_tally_counts_in_order_within_its_bound() -> None:
    tally = Tally()
    for codes, table in (([1.0, 0.0, 1.0, -1.0], ["b", "a"]), ([0.0, 1.0], ["c", "a"])):
        value, kind = np.array(codes), np.full(len(codes), ValueKind.STRING, np.uint8)
        tally.learn(value, kind, table, 2)
    assert (tally.number, tally.counts, tally.n_long) == ({"a": 0, "b": 1}, [3, 1], 1)
    assert value.tolist() == [-1.0, 0.0]


def test_names_are_numbered_and_forgotten_with_their_monitors() -> None:
    known = NameNumbers()
    assert known.numbers(["a", "b", "true"]) == [2, 3, 1]
    poll = ["x", "a"]
    assert known.of_poll(poll).tolist() == [UNKNOWN, 2]
    known.numbers(["x"])
    assert known.of_poll(poll).tolist() == [4, 2]
    known.settle()
    assert not known.is_stale()
    known.numbers(map(str, range(2_000)))
    assert known.is_stale()


def test_models_that_come_and_go_leave_no_names_behind() -> None:
    bounds = BoundsConfig(max_models=2, min_idle_records=0)
    fold = Fold(DetectionConfig(reference_events=20, bounds=bounds, quality=NO_QUALITY))
    for model in range(120):
        values: list[object] = [f"{model}-{i % 19}" for i in range(24)]
        fold_in(fold, words(values, first=100 * model, model=ModelKey(f"m{model}", "1")), [])
    assert len(fold.catalog.names.numbers([])) == 0
    assert max(fold.catalog.names.numbers(["another"])) < 1_024 + 4 * 40
