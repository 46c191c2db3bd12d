"""Features together: a change of correlation alone is found, and where nothing changes is quiet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import StateError
from detectors.budget import arl0_of_detector, events_between_alarms
from detectors.drift.joint import (
    block_distances,
    correlation_of,
    residual_components,
    seed_of,
    standardise,
    usual_patterns,
)
from detectors.fold import Fold
from detectors.monitor import Monitor
from detectors.reference_document import monitor_of
from detectors.reference_fit import fit_reference
from detectors.signals import Signal
from schemas.batch import F64, Decoded, ModelKey, ValueKind
from schemas.config import (
    BoundsConfig,
    DetectionConfig,
    JointConfig,
    ModelConfig,
    SignalConfig,
    WindowsConfig,
)
from schemas.findings import Aspect, Finding
from schemas.signal_names import REPRESENTATIVENESS
from streams.reference_report import reference_json, reference_lines
from tests.detectors.damage import Arrays, cut, put
from tests.detectors.decoded import MODEL, Event, decoded, table
from tests.detectors.folding import as_bytes, findings, fold_in

N_REFERENCE = 2_000
ALL_OF_IT = JointConfig(mmd=True)
NAMES = ("joint:residual", "joint:mmd", "joint:missing")


def normal(n: int, p: int, correlation: float, seed: int) -> F64:
    """(n, p) standard normals, the first two correlated: margins are always the same."""
    x = np.random.default_rng([seed, p, n]).normal(size=(n, p))
    x[:, 1] = correlation * x[:, 0] + np.sqrt(1.0 - correlation**2) * x[:, 1]
    return x


def numbers(x: F64, first: int = 0, model: ModelKey = MODEL) -> Decoded:
    """These rows as events, NaN as null."""
    n = len(x)
    columns = {f"f{i:03}": x[:, i] for i in range(x.shape[1])}
    rng = np.random.default_rng(first)
    of = table(model, columns, rng.random(n), np.zeros(n), first)
    return replace(of, kind=np.where(np.isnan(of.value), ValueKind.NULL, of.kind).astype(np.uint8))


def config(p: int = 0, joint: JointConfig = ALL_OF_IT, **others: Any) -> DetectionConfig:
    """ARL0 as stated; of p features nothing but what they say together is watched."""
    off = SignalConfig(monitor=False)
    names = [f"{kind}:f{i:03}" for i in range(p) for kind in ("feature", "missing")]
    # A change of correlation makes rows that are unusual in all features more frequent.
    names.append(REPRESENTATIVENESS)
    signals = dict.fromkeys([*names, *(("score", "class:0") if p else ())], off)
    return DetectionConfig(
        **{"reference_events": N_REFERENCE, "arl0": 1e6, **others},
        joint=joint,
        model={"m": ModelConfig(signals=signals)},
    )


def monitor_in(fold: Fold, key: ModelKey = MODEL) -> Monitor:
    return fold.catalog.monitor(fold.catalog.slot_of[key])


def joint_signals(monitor: Monitor) -> dict[str, Signal]:
    return {monitor.name(s): s for s in monitor.signals if s.is_joint}


def changes(said: Sequence[object], since: int = 0) -> list[Finding]:
    return [
        each
        for each in said
        if isinstance(each, Finding) and each.aspect != Aspect.SETTLED and each.offset >= since
    ]


@pytest.mark.parametrize(
    ("p", "before", "after", "signal", "within"),
    [
        (2, 0.8, 0.0, "joint:residual", 100),
        (20, 0.8, 0.0, "joint:residual", 200),
        (2, 0.0, 0.8, "joint:residual", 4_000),
        (2, 0.0, 0.5, "joint:mmd", 500),
        (5, 0.0, 0.5, "joint:mmd", 1_000),
        (20, 0.0, 0.8, "joint:mmd", 2_000),
        (5, 0.8, 0.0, "joint:mmd", 500),
    ],
)
def test_a_change_of_correlation_alone_is_found_in_both_directions(
    p: int, before: float, after: float, signal: str, within: int
) -> None:
    """Seeded; four streams each, at an ARL0 of 1e6. On the margins themselves nothing is found."""
    start = N_REFERENCE + 4_000
    for seed in range(4):
        fold = Fold(config(joint=ALL_OF_IT))
        said = fold.process(numbers(normal(start, p, before, seed)))
        said += fold.process(numbers(normal(within, p, after, seed + 50), start))
        found = changes(findings(said, signal))
        assert found, seed
        assert found[0].offset >= start
        assert abs(found[0].change_offset - start) <= max(200, within // 2)
        assert not [each for each in changes(said) if each.signal not in NAMES]


def test_features_that_depend_on_their_past_have_no_residual() -> None:
    """Four times the alarms that were stated came of it: far events come together."""
    x = normal(N_REFERENCE + 1, 5, 0.7, 3)
    for i in range(1, len(x)):
        x[i] = 0.8 * x[i - 1] + 0.6 * x[i]
    fold = Fold(config())
    fold.process(numbers(x))

    assert joint_signals(monitor_in(fold)).keys() == {"joint:mmd"}


@pytest.mark.parametrize("p", [2, 5, 20])
def test_where_nothing_changes_alarms_stay_within_the_stated_bound(p: int) -> None:
    """Seeded: six streams of 50,000 events at an ARL0 of 20,000, so 15 are stated of each signal.

    More than 26 come with a chance of 0.3 % where exactly 15 are to be expected.
    """
    alarms: Counter[str] = Counter()
    for seed in range(6):
        for correlation in (0.0, 0.8) if p < 20 else (0.8,):
            fold = Fold(config(p, arl0=20_000))
            n = 25_000 if p < 20 else 50_000
            said = fold.process(numbers(normal(N_REFERENCE + n, p, correlation, 100 + seed)))
            alarms.update(each.signal for each in changes(said))
    assert set(alarms) <= set(NAMES)
    assert max(alarms.values(), default=0) <= 26, alarms


def gappy(n: int, together: bool, seed: int) -> F64:
    """Two features, each missing in a tenth of the rows: by themselves, or both at once."""
    rng = np.random.default_rng([seed, n])
    x = rng.normal(size=(n, 2))
    first = rng.random(n) < 0.1
    x[first, 0] = np.nan
    x[first if together else rng.random(n) < 0.1, 1] = np.nan
    return x


def test_features_that_begin_to_be_missing_together_are_found_where_none_is_missing_more() -> None:
    fold = Fold(config())
    said = fold.process(numbers(gappy(6_000, False, 1)))
    assert not changes(said)
    own = joint_signals(monitor_in(fold))["joint:missing"]
    assert own.is_share
    assert not own.is_output
    assert own.scale.mean == pytest.approx(0.01, abs=0.006)
    said = fold.process(numbers(gappy(4_000, True, 2), 6_000))
    found = findings(said, "joint:missing")
    assert found[0].offset < 6_400
    assert found[0].after == pytest.approx(0.1, abs=0.08)
    assert not findings(said, "missing:f000")


def test_combinations_are_the_most_frequent_that_make_up_95_of_100_rows() -> None:
    absent = np.zeros((1_000, 3), np.bool_)
    absent[:80, 0] = absent[80:130, 1] = absent[130:150, :2] = absent[150:170, 2] = True
    assert usual_patterns(absent).tolist() == [0, 1, 2]
    # Of equally frequent ones the lesser number comes first.
    absent[100:130, 1] = False
    assert usual_patterns(absent).tolist() == [0, 1, 2]
    absent[:, 2] = True
    assert usual_patterns(absent).tolist() == [4, 5]
    assert usual_patterns(absent[:0]).tolist() == []
    many = np.random.default_rng(1).random((4_000, 64)) < 0.5
    assert len(usual_patterns(many)) == 64


def test_patterns_are_watched_only_where_two_features_are_missing_at_times() -> None:
    one = normal(N_REFERENCE, 3, 0.0, 1)
    one[::7, 0] = np.nan
    always = one.copy()
    always[:, 2] = np.nan
    for x in (one, always):
        fold = Fold(config())
        fold.process(numbers(x))
        assert set(joint_signals(monitor_in(fold))) == {"joint:residual", "joint:mmd"}


@pytest.mark.parametrize("p", [1, 0])
def test_one_feature_or_none_has_nothing_to_go_with(p: int) -> None:
    fold = Fold(config())
    events = [
        Event(i, {f"f{j}": float(i % 7) for j in range(p)}, score=0.5) for i in range(N_REFERENCE)
    ]
    fold_in(fold, events, [])
    assert monitor_in(fold).joint is None
    assert not joint_signals(monitor_in(fold))


def test_constant_equal_and_huge_features_divide_by_nothing() -> None:
    x = normal(N_REFERENCE + 3_000, 8, 0.0, 3)
    x[:, 2] = 7.0
    x[:, 3] = x[:, 0]
    x[:, 4] = 2.0 * x[:, 1] + 1.0
    x[:, 5] = 0.0
    x[17, 5] = 1e200
    x[19, 5] = -3.0
    x[:, 6] *= 1e149
    x[:, 7] = x[:, 0] + x[:, 1]
    fold = Fold(config(8))
    said = fold.process(numbers(x))
    joint = monitor_in(fold).joint
    assert joint is not None
    assert joint.features.tolist() == [0, 1, 3, 4, 6, 7]
    assert np.isfinite(joint.components).all()
    assert not changes(said)
    x = normal(1_000, 8, 0.0, 4)
    x[:, 2] = 7.0
    x[:, 5] = 0.0
    found = changes(fold.process(numbers(x, len(x))))
    assert "joint:residual" in {each.signal for each in found}


def test_two_features_that_are_one_have_a_residual_that_is_always_zero_and_its_end_is_seen() -> (
    None
):
    x = normal(N_REFERENCE + 500, 2, 0.0, 3)
    x[:, 1] = 3.0 * x[:, 0] - 2.0
    fold = Fold(config(2, JointConfig()))
    assert not changes(fold.process(numbers(x)))
    assert joint_signals(monitor_in(fold))["joint:residual"].is_departure
    found = changes(fold.process(numbers(normal(100, 2, 0.0, 3), len(x))))
    assert found[0].signal == "joint:residual"
    assert found[0].is_departure


def test_a_hundred_features_are_cut_at_64_and_the_state_is_bounded() -> None:
    x = normal(N_REFERENCE + 1_500, 100, 0.8, 5)
    x[:, 50:] += x[:, :50]
    x[np.random.default_rng(1).random(x.shape) < 0.02] = np.nan
    fold = Fold(config(joint=ALL_OF_IT))
    fold.process(numbers(x))
    joint = monitor_in(fold).joint
    assert joint is not None
    assert joint.features.tolist() == list(range(64))
    assert joint.missing.tolist() == list(range(64))
    assert joint.components.shape[0] <= 16
    assert len(joint.patterns) <= 64
    again = Fold(config(joint=ALL_OF_IT), fold.snapshot())
    assert as_bytes(again.snapshot()) == as_bytes(fold.snapshot())
    fewer = Fold(config(joint=JointConfig(max_features=3)))
    fewer.process(numbers(x))
    own = monitor_in(fewer).joint
    assert own is not None
    assert own.features.tolist() == [0, 1, 2]


def small() -> DetectionConfig:
    """Short blocks, all detectors with a budget."""
    base = config(joint=JointConfig(mmd=True, block_events=20), reference_events=400, arl0=2_000)
    detectors = base.detectors.model_copy(
        update={"windows": WindowsConfig(enabled=True, window_events=100)}
    )
    return base.model_copy(update={"detectors": detectors})


def mixed(n: int, seed: int = 1) -> list[Event]:
    """Three numbers that go together and come apart at 700, with gaps, a word, a late feature."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        x = float(rng.normal())
        features: dict[str, object] = {
            "x": x,
            "y": x + 0.3 * float(rng.normal()) if i < 700 else float(rng.normal()),
            "z": float(rng.normal()),
            "word": str(rng.choice(["a", "b"])),
        }
        for name in ("x", "z", "word"):
            if rng.random() < 0.1:
                features[name] = None
        if rng.random() < 0.02:
            features = {"word": "a"}
        if i >= 100:
            features["late"] = float(rng.normal())
        made.append(Event(i, features, score=0.5, ts=1_000 + 1_000 * i))
    return made


@settings(deadline=None, max_examples=12)
@given(cuts=st.lists(st.integers(1, 999), max_size=6), resumed=st.integers(1, 999))
def test_no_split_and_no_resumption_changes_anything(cuts: list[int], resumed: int) -> None:
    stream = mixed(1_000)
    whole = Fold(small())
    expected = fold_in(whole, stream, [])
    assert {each.signal for each in changes(expected)} >= {"joint:residual", "joint:mmd"}
    fold, said = Fold(small()), []
    for start, stop in pairwise(sorted({0, resumed, *cuts, len(stream)})):
        if start == resumed:
            fold = Fold(small(), fold.snapshot())
        said += fold_in(fold, stream[start:stop], [])
    assert said == expected
    assert as_bytes(fold.snapshot()) == as_bytes(whole.snapshot())


def test_models_side_by_side_are_what_they_are_alone() -> None:
    """Admissions and references of others, amid a block, take nothing from it."""
    keys = [ModelKey("m", "1"), ModelKey("n", "1"), ModelKey("o", "1")]
    streams = [
        [replace(e, model=key, offset=3 * e.offset + k) for e in mixed(800 - 90 * k, k)]
        for k, key in enumerate(keys)
    ]
    beside = Fold(small())
    said = fold_in(beside, sorted((e for s in streams for e in s), key=lambda e: e.offset), [555])
    for key, stream in zip(keys, streams, strict=True):
        alone = Fold(small())
        own = [(f.signal, f.offset, f.after) for f in changes(fold_in(alone, stream, []))]
        assert own == [(f.signal, f.offset, f.after) for f in changes(said) if f.model_id == key[0]]
        mine, theirs = monitor_in(beside, key).partial, monitor_in(alone, key).partial
        assert mine is not None
        assert theirs is not None
        assert mine.sums.tobytes() == theirs.sums.tobytes()


def test_a_block_ends_at_a_multiple_of_its_events_and_says_nothing_in_between() -> None:
    fold = Fold(small())
    fold_in(fold, mixed(1_000), [])
    found = findings(fold_in(Fold(small()), mixed(1_000), []), "joint:mmd")
    assert found
    assert {(each.model_event + 1) % 20 for each in found} == {0}
    own = joint_signals(monitor_in(fold))["joint:mmd"]
    assert own.ranks is not None
    assert own.ranks.n == 19  # of 400 rows some had no number
    assert arl0_of_detector(fold.config, monitor_in(fold), own) == pytest.approx(
        2 * events_between_alarms(fold.config, monitor_in(fold)) / 20
    )


def test_a_new_version_inherits_it_whatever_the_order_of_its_features() -> None:
    fold = Fold(small())
    fold_in(fold, mixed(600), [])
    heir = ModelKey("m", "2")
    later = [replace(e, model=heir) for e in mixed(1_000)[600:]]
    said = fold_in(fold, later, [])
    own, theirs = monitor_in(fold), monitor_in(fold, heir)
    assert set(joint_signals(theirs)) == set(joint_signals(own)) == set(NAMES)
    assert own.joint is not None
    assert theirs.joint is not None
    named = [own.features[f] for f in own.joint.features.tolist()]
    assert [theirs.features[f] for f in theirs.joint.features.tolist()] == named == ["x", "y", "z"]
    assert "joint:residual" in {f.signal for f in changes(said) if f.model_version == "2"}


def test_switches_take_lanes_away_and_give_them_back() -> None:
    fold = Fold(small())
    fold_in(fold, mixed(500), [])
    off = JointConfig(residual=False, mmd=False, missing=False, block_events=20)
    fold.reconfigure(small().model_copy(update={"generation": 2, "joint": off}))
    assert {s.lane for s in joint_signals(monitor_in(fold)).values()} == {-1}
    fold_in(fold, mixed(510)[500:], [])
    fold.reconfigure(small().model_copy(update={"generation": 3}))
    assert all(s.lane >= 0 for s in joint_signals(monitor_in(fold)).values())
    said = fold_in(fold, mixed(1_000)[510:], [])
    assert {"joint:residual", "joint:mmd"} <= {each.signal for each in changes(said)}
    never = Fold(small().model_copy(update={"joint": off}))
    fold_in(never, mixed(500), [])
    assert monitor_in(never).joint is None
    one = ModelConfig(signals={"joint:residual": SignalConfig(monitor=False)})
    named = Fold(small().model_copy(update={"model": {"m": one}}))
    fold_in(named, mixed(500), [])
    assert joint_signals(monitor_in(named))["joint:residual"].lane == -1


def test_a_reference_document_has_it_whatever_the_config_switches_on() -> None:
    stream = mixed(500)
    quiet = small().model_copy(update={"joint": JointConfig(residual=False, block_events=20)})
    document = fit_reference(decoded(stream), quiet).document
    monitor = monitor_of(document, MODEL)
    assert set(joint_signals(monitor)) == set(NAMES)
    assert reference_json(document)["joint"] == {
        "n_numeric": 3,
        "n_components": 1,
        "block_events": 20,
        "n_missing": 4,
        "n_combinations": len(monitor.joint.patterns if monitor.joint else ()),
    }
    assert any("together: 3 numeric features" in line for line in reference_lines(document))
    fold = Fold(small())
    fold.set_reference(*MODEL[:2], document)
    said = fold_in(fold, mixed(1_000)[500:], [])
    assert {"joint:residual", "joint:mmd"} <= {each.signal for each in changes(said)}


def test_the_bound_on_lanes_holds_for_them_too() -> None:
    few = small().model_copy(update={"bounds": BoundsConfig(max_lanes=5)})
    fold = Fold(few)
    fold_in(fold, mixed(420), [])
    assert monitor_in(fold).n_lanes == 0


def test_the_residual_is_that_of_an_independent_computation() -> None:
    x = normal(1_000, 4, 0.8, 9)
    fold = Fold(config(4, JointConfig(), reference_events=1_000))
    fold.process(numbers(x))
    joint = monitor_in(fold).joint
    assert joint is not None
    z = np.clip((x - x.mean(axis=0)) / x.std(axis=0), -3.0, 3.0)
    g = (z - z.mean(axis=0)) / z.std(axis=0)
    variance, vectors = np.linalg.eigh(np.corrcoef(z.T))
    assert joint.components.shape == (1, 4)
    expected = (g @ vectors[:, 0]) ** 2 / variance[0]
    mine = ((g @ joint.components.T) ** 2).sum(axis=1)
    assert np.allclose(mine, expected, atol=1e-5)
    scale = joint_signals(monitor_in(fold))["joint:residual"].scale
    assert scale.mean == pytest.approx(expected.mean(), abs=1e-5)
    assert joint.pair_means == pytest.approx(np.corrcoef(z.T)[np.triu_indices(4, 1)], abs=1e-6)


def test_components_are_those_below_what_chance_shows() -> None:
    rng = np.random.default_rng(2)
    g, scales, varies = standardise(rng.normal(size=(2_000, 30)), np.zeros(30), np.ones(30))
    assert varies.all()
    assert scales.shape == (30, 4)
    assert residual_components(correlation_of(g), 2_000).shape == (0, 30)
    assert residual_components(correlation_of(g[:, :16]), 2_000).shape == (16, 16)
    tied = np.full((30, 30), 0.9) + 0.1 * np.eye(30)
    assert residual_components(tied, 2_000).shape == (16, 30)


def test_drawn_blocks_are_as_far_off_as_later_ones() -> None:
    """Seeded; 600 blocks of 100 of independent rows beside those drawn from 2,000 rows."""
    for p in (3, 12):
        x = normal(62_000, p, 0.0, 21)
        mean, sd = x[:2_000].mean(axis=0), x[:2_000].std(axis=0)
        g, scales, _ = standardise(x[:2_000], mean, sd)
        later = (np.clip((x[2_000:] - mean) / sd, -3, 3) - scales[:, 2]) / scales[:, 3]
        upper = np.triu_indices(p, 1)
        products = (later[:, upper[0]] * later[:, upper[1]]).reshape(600, 100, -1).mean(axis=1)
        off = products - correlation_of(g)[upper]
        distance = 100.0 * (off * off).sum(axis=1)
        drawn, error = block_distances(g, 100, seed_of(["a", "b"]))
        assert drawn.mean() == pytest.approx(distance.mean(), rel=0.12)
        assert drawn.std() == pytest.approx(distance.std(), rel=0.2)
        assert 0.0 < error < 0.2
        again, _ = block_distances(g, 100, seed_of(["a", "b"]))
        assert again.tobytes() == drawn.tobytes()
        assert seed_of(["ab"]) != seed_of(["a", "b"])


def _no_components(state: Arrays) -> None:
    """A signal of a residual, and nothing to measure it in."""
    state["joint_numbers"][0, 1] = 0
    state["joint_components"] = state["joint_components"][:0]


@pytest.mark.parametrize(
    "change",
    [
        *(cut(f"joint_{name}") for name in ("numbers", "units", "features", "scales")),
        *(cut(f"joint_{name}") for name in ("components", "pair_means", "missing", "patterns")),
        *(cut(name) for name in ("partial_counts", "partial_sums")),
        *(put("joint_numbers", (0, k), 10**6) for k in range(5)),
        *(put("joint_numbers", (0, k), -1) for k in range(5)),
        put("joint_features", 0, -1),
        put("joint_features", 0, 99),
        put("joint_features", 1, 0),
        put("joint_missing", 0, 99),
        put("joint_scales", (0, 1), 0.0),
        put("joint_scales", (0, 3), 0.0),
        put("joint_scales", (0, 2), 9.0),
        put("joint_scales", (1, 0), np.nan),
        put("joint_components", 0, 1e9),
        put("joint_pair_means", 0, np.inf),
        put("joint_units", 0, 0.0),
        put("joint_units", 0, np.nan),
        put("joint_patterns", 0, 7),
        put("partial_counts", (0, 1), 0),
        put("partial_counts", (0, 1), 21),
        put("partial_counts", (0, 0), 1),
        put("partial_sums", 0, 1e300),
        put("partial_sums", 0, np.nan),
        _no_components,
    ],
)
def test_a_made_up_joint_reference_is_refused(change: Callable[[Arrays], None]) -> None:
    fold = Fold(small())
    fold_in(fold, mixed(510), [])
    state = {part: dict(arrays) for part, arrays in fold.snapshot().items()}
    assert state["fold"]["partial_counts"].tolist() == [[0, 10]]
    Fold(small(), state)
    change(state["fold"])
    with pytest.raises(StateError):
        Fold(small(), state)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_made_up_joint_reference_is_refused_or_harmless(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fold = Fold(small())
    fold_in(fold, mixed(510), [])
    state = {part: dict(arrays) for part, arrays in fold.snapshot().items()}
    own = state["fold"]
    names = [name for name in sorted(own) if name.startswith(("joint_", "partial_"))]
    for _ in range(int(rng.integers(1, 4))):
        array = own[str(rng.choice(names))]
        number = float(rng.choice([0, 1, -1, 2, 5, 64, 1e9, -1e9]))
        array.flat[int(rng.integers(array.size))] = number
    try:
        again = Fold(small(), state)
    except StateError:
        return
    fold_in(again, mixed(600)[510:], [])
    Fold(small(), again.snapshot())
