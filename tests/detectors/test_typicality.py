"""How typical events are of their reference: scores, what they find, and what stays quiet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import StateError
from detectors.fold import Fold
from detectors.kernels.observe import FIRST_DERIVED, SOURCE_TYPICAL
from detectors.kernels.typicality import (
    CELL_MISSING,
    CELL_NEW,
    CELL_OTHER,
    FADE,
    GRAIN,
    N_CELLS,
    N_CUTS,
    PERIOD,
)
from detectors.reference_document import monitor_of
from detectors.reference_fit import fit_reference
from detectors.typicality import LIMIT, MAX_VALUES, Typical
from schemas.batch import F64, ModelKey
from schemas.config import DetectionConfig
from schemas.findings import Aspect, Finding
from schemas.reference import BadReferenceError
from schemas.signal_names import REPRESENTATIVENESS
from tests.detectors.decoded import MODEL, Event, decoded, table
from tests.detectors.folding import as_bytes, fold_in

N = 2_000
CONFIG = DetectionConfig(reference_events=N, arl0=1e6)
WORDS = ["a", "b", "c", "d"]
SHARES = [0.6, 0.25, 0.1, 0.05]


def mixed(n: int, seed: int = 1) -> list[Event]:
    """A number, a count, one with an atom, a word, a boolean, one that is missing at times."""
    rng = np.random.default_rng(seed)
    return [
        Event(
            i,
            {
                "count": int(rng.poisson(2.0)),
                "flag": bool(rng.random() < 0.1),
                "gap": None if rng.random() < 0.2 else float(rng.exponential()),
                "none": None,
                "rain": max(float(rng.normal()), 0.0),
                "word": WORDS[int(rng.choice(4, p=SHARES))],
                "x": float(rng.normal(5.0, 2.0)),
            },
        )
        for i in range(n)
    ]


def frozen(fold: Fold, slot: int = 0) -> Typical:
    typical = fold.catalog.monitor(slot).typical
    assert typical is not None
    return typical


def score(fold: Fold, typical: Typical, feature: str, value: object) -> float:
    """The score of one value in nats, read off the frozen tables without the kernel."""
    monitor = fold.catalog.monitor(0)
    j = typical.features.tolist().index(monitor.feature_number[feature])
    kind = monitor.kinds[monitor.feature_number[feature]]
    cells = typical.cells[j] / GRAIN
    if value is None:
        return float(cells[CELL_MISSING])
    if isinstance(value, str | bool):
        names = monitor.categories[monitor.feature_number[feature]].names
        name = str(value).lower() if isinstance(value, bool) else value
        scores = (typical.names[j] / GRAIN).tolist()
        own: dict[str, float] = dict(zip(names, scores, strict=True))
        return own.get(name, float(cells[CELL_NEW]))
    if kind != 0:
        return float(cells[0])
    numeric = [f for f in typical.features.tolist() if monitor.kinds[f] == 0]
    cuts = typical.cuts[numeric.index(monitor.feature_number[feature])]
    return float(cells[int(np.count_nonzero(cuts <= float(str(value))))])


def observed(fold: Fold, events: Sequence[Event]) -> F64:
    """(n,) what the lane observes of these events, in nats."""
    signal = next(s for s in fold.catalog.monitor(0).signals if s.source == SOURCE_TYPICAL)
    moments = fold.banks["moments"]
    out = []
    for event in events:
        fold.process(decoded([event]))
        out.append(signal.raw(float(moments.last[signal.lane]), Aspect.MEAN))  # type: ignore[attr-defined]
    return np.array(out)


@pytest.fixture(scope="module")
def learned() -> Fold:
    fold = Fold(CONFIG)
    fold.process(decoded(mixed(N)))
    return fold


def test_a_category_counts_by_its_share(learned: Fold) -> None:
    """Less the entropy: what is common counts against, what is rare for."""
    typical = frozen(learned)
    words = [str(e.features["word"]) for e in mixed(N)[: N // 2]]
    share = np.array([words.count(word) for word in WORDS]) / len(words)
    usual = float(-(share * np.log(share)).sum())
    for word, p in zip(WORDS, share.tolist(), strict=True):
        assert score(learned, typical, "word", word) == pytest.approx(-np.log(p) - usual, abs=0.05)
    assert score(learned, typical, "word", "new") > 3.0
    assert score(learned, typical, "flag", True) > 1.5
    assert score(learned, typical, "flag", False) < 0.0


def test_a_number_counts_by_the_density(learned: Fold) -> None:
    typical = frozen(learned)
    at = np.linspace(-2.0, 2.0, 33)
    own = np.array([score(learned, typical, "x", 5.0 + 2.0 * z) for z in at.tolist()])
    # -log of the normal density, less its mean: (z**2 - 1) / 2.
    assert np.abs(own - (at**2 - 1.0) / 2.0).mean() < 0.15
    assert score(learned, typical, "x", 1e300) == score(learned, typical, "x", -1e300) == LIMIT
    few = [score(learned, typical, "count", k) for k in (2, 4, 6)]
    assert few == sorted(few)
    # Half of its values are 0: nothing else is as usual.
    dry = score(learned, typical, "rain", 0.0)
    assert all(dry < score(learned, typical, "rain", x) for x in (0.5, 1.0, 2.0))


def test_a_missing_value_counts_by_how_often_there_is_none(learned: Fold) -> None:
    typical = frozen(learned)
    gap = score(learned, typical, "gap", None)
    usual = -0.2 * np.log(0.2) - 0.8 * np.log(0.8)
    assert gap == pytest.approx(-np.log(0.2) - usual, abs=0.15)
    assert score(learned, typical, "x", None) == LIMIT
    # What was always missing is unusual where it is there, and nowhere else.
    assert score(learned, typical, "none", 7.0) == LIMIT
    assert score(learned, typical, "none", None) == pytest.approx(0.0, abs=1.0 / GRAIN)


def test_a_row_is_the_mean_of_its_features(learned: Fold) -> None:
    events = [replace(e, offset=N + i) for i, e in enumerate(mixed(40, seed=9))]
    events[3] = replace(events[3], features={**events[3].features, "x": "text", "word": 5.0})
    events[4] = replace(events[4], features={})
    events[5] = replace(events[5], features={**events[5].features, "none": 3.0, "word": "new"})
    typical = frozen(learned)
    names = learned.catalog.monitor(0).features
    expected = []
    for event in events:
        own = dict(event.features)
        if own.get("x") == "text":
            own |= {"x": None, "word": None}
        expected.append(np.mean([score(learned, typical, f, own.get(f)) for f in names]))
    again = Fold(CONFIG, learned.snapshot())
    assert observed(again, events) == pytest.approx(np.array(expected), abs=1e-9)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["count", "flag", "gap", "none", "rain", "word", "x", "late"]),
            st.none()
            | st.booleans()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.sampled_from(["a", "zz", "y" * 300])
            | st.builds(list),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(deadline=None, max_examples=40)
def test_whatever_comes_is_within_bounds(learned: Fold, features: list[dict[str, object]]) -> None:
    again = Fold(CONFIG, learned.snapshot())
    events = [Event(N + i, own) for i, own in enumerate(features)]
    assert np.abs(observed(again, events)).max() <= LIMIT + 1e-9


def changing(n: int, seed: int) -> list[Event]:
    """Of which half are wilder than the reference."""
    events = mixed(n, seed)
    wild = mixed(n, seed + 1)
    return [
        e
        if i < n // 2
        else replace(
            e, features={**e.features, "x": 4.0 * float(str(w.features["x"])), "word": "e"}
        )
        for i, (e, w) in enumerate(zip(events, wild, strict=True))
    ]


@given(st.integers(0, 10_000), st.sets(st.integers(1, 299), max_size=6), st.booleans())
@settings(deadline=None, max_examples=25)
def test_what_is_said_hangs_on_neither_batches_nor_restarts(
    seed: int, cuts: set[int], is_resumed: bool
) -> None:
    config = DetectionConfig(reference_events=80, arl0=500)
    events = changing(300, seed)
    whole, parts = Fold(config), Fold(config)
    said = fold_in(whole, events, [])
    parted = []
    for start, stop in itertools.pairwise([0, *sorted(cuts), len(events)]):
        parted += parts.process(decoded(events[start:stop]))
        if is_resumed:
            parts = Fold(config, parts.snapshot())
    assert parted == said
    assert as_bytes(parts.snapshot()) == as_bytes(whole.snapshot())


@pytest.mark.parametrize("cuts", [[], [2_003, 2_100, 2_511], list(range(2_001, 3_000, 7))])
def test_the_feature_that_is_most_unusual_is_named(cuts: list[int]) -> None:
    events = mixed(4_000, seed=4)
    for i in range(N + 500, 4_000):
        words = {**events[i].features, "word": WORDS[i % 4]}
        events[i] = replace(events[i], features=words)
    said = [f for f in fold_in(Fold(CONFIG), events, cuts) if isinstance(f, Finding)]
    own = [f for f in said if f.signal == REPRESENTATIVENESS and f.aspect == Aspect.MEAN]
    assert own
    assert {each.named for each in own} == {"word"}
    assert all(each.after > each.before for each in own)


def rows(n: int, n_features: int, rng: np.random.Generator) -> dict[str, F64]:
    laws = (
        lambda: rng.normal(50.0, 3.0, n),
        lambda: rng.exponential(2.0, n),
        lambda: rng.lognormal(0.0, 1.0, n),
        lambda: rng.standard_t(5, n),
        lambda: rng.poisson(3.0, n).astype(np.float64),
    )
    return {f"x{j:02}": np.asarray(laws[j % 5](), np.float64) for j in range(n_features)}


def alarms(fold: Fold, columns: dict[str, F64], first: int = 0) -> list[Finding]:
    n = len(next(iter(columns.values())))
    events = table(MODEL, columns, np.full(n, np.nan), np.zeros(n), first)
    return [
        f for f in fold.process(events) if isinstance(f, Finding) and f.aspect != Aspect.SETTLED
    ]


@pytest.mark.parametrize("seed", range(8))
def test_features_that_each_move_a_little_are_found_together_first(seed: int) -> None:
    """Thirty whose spread grows by a tenth: none of them alone is found as soon."""
    rng = np.random.default_rng(seed)
    fold = Fold(CONFIG)
    names = [f"x{j:02}" for j in range(30)]
    alarms(fold, dict(zip(names, rng.normal(size=(30, N + 500)), strict=True)))
    wider = 1.1 * rng.normal(size=(30, 2_000))
    found = alarms(fold, dict(zip(names, wider, strict=True)), N + 500)
    assert found[0].signal == REPRESENTATIVENESS
    assert found[0].offset < N + 500 + 400
    alone = [f.offset for f in found if f.signal.startswith("feature:")]
    assert not alone or min(alone) > found[0].offset


def test_the_reference_of_the_signal_is_of_rows_that_did_not_form_the_scores() -> None:
    """Else rows that come after would be more surprising, each of them by a tenth of a sd."""
    off = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        fold = Fold(DetectionConfig(reference_events=1_000, arl0=1e12))
        alarms(fold, rows(5_000, 30, rng))
        signal = next(s for s in fold.catalog.monitor(0).signals if s.source == SOURCE_TYPICAL)
        moments = fold.banks["moments"]
        off.append(float(moments.mean[signal.lane]))  # type: ignore[attr-defined]
    # Each is the difference of two means, of 500 and of 4,000 rows.
    error = np.sqrt(1 / 500 + 1 / 4_000)
    assert abs(np.mean(off)) < 3.0 * error / np.sqrt(len(off))
    assert np.std(off) < 1.6 * error


def test_false_alarms_keep_the_stated_rate() -> None:
    """Of 20 streams of 15,000 events at an ARL0 of 10,000, each with its own reference: 30."""
    n_alarms = 0
    for seed in range(20):
        rng = np.random.default_rng([seed, 77])
        fold = Fold(DetectionConfig(reference_events=1_000, arl0=10_000))
        found = alarms(fold, rows(16_000, 6, rng))
        n_alarms += sum(each.signal == REPRESENTATIVENESS for each in found)
    # Poisson with a mean of 30: 49 or more come once in a thousand.
    assert n_alarms < 49


def test_one_feature_has_no_such_signal_and_few_rows_have_none() -> None:
    for n_features, n in ((1, 500), (5, 39)):
        fold = Fold(DetectionConfig(reference_events=max(n, 20), arl0=1e6))
        alarms(fold, rows(600, n_features, np.random.default_rng(1)))
        assert fold.catalog.monitor(0).typical is None
        assert not any(s.source == SOURCE_TYPICAL for s in fold.catalog.monitor(0).signals)
    fold = Fold(DetectionConfig(reference_events=40, arl0=1e6))
    alarms(fold, rows(60, 5, np.random.default_rng(1)))
    assert frozen(fold).cells.shape == (5, N_CELLS)


def test_switched_off_it_has_no_lane_and_nothing_is_scored(learned: Fold) -> None:
    off = CONFIG.quality.model_copy(update={"representativeness": False})
    again = Fold(CONFIG.model_copy(update={"quality": off}))
    again.process(decoded(mixed(N + 200)))
    assert not again.catalog.layout.typical.found
    assert not frozen(again).recent.any()
    # Its reference is kept, for a config that wants it.
    again.reconfigure(CONFIG)
    again.process(decoded([replace(e, offset=N + 200 + i) for i, e in enumerate(mixed(50))]))
    assert frozen(again).recent.any()
    assert as_bytes(learned.snapshot()).keys() == as_bytes(again.snapshot()).keys()


def test_a_reference_document_holds_it_and_a_version_inherits_it() -> None:
    document = fit_reference(decoded(mixed(N)), CONFIG).document
    monitor = monitor_of(document, MODEL)
    assert REPRESENTATIVENESS in {monitor.name(s) for s in monitor.signals}
    fold = Fold(CONFIG)
    fold.set_reference(*MODEL[:2], document)
    fold.process(decoded(mixed(100, seed=5)))
    heir = ModelKey("m", "2")
    fold.process(decoded([replace(e, model=heir, offset=100 + i) for i, e in enumerate(mixed(50))]))
    parent, child = frozen(fold, 0), frozen(fold, 1)
    assert parent.cells.tolist() == child.cells.tolist()
    assert parent.recent.tolist() != child.recent.tolist()


def test_a_document_without_scores_is_taken() -> None:
    """As an earlier release has written it: here of one feature alone, which has none."""
    events = [replace(e, features={"word": e.features["word"]}) for e in mixed(900)]
    document = fit_reference(decoded(events), CONFIG).document
    arrays = {k: v for k, v in document.arrays.items() if not k.startswith("typical_")}
    assert len(arrays) == len(document.arrays) - 6
    older = document.model_copy(update={"arrays": arrays})
    assert monitor_of(older, MODEL).typical is None
    recent = arrays | {"typical_recent": document.arrays["typical_recent"]}
    with pytest.raises(BadReferenceError):
        monitor_of(document.model_copy(update={"arrays": recent}), MODEL)
    of_scores = [[SOURCE_TYPICAL, 0, 0, 0, -1, 0], *document.signals[1:]]
    with pytest.raises(BadReferenceError, match="scores"):
        monitor_of(document.model_copy(update={"signals": of_scores}), MODEL)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("typical_features", (0,), 99),
        ("typical_features", (0,), -1),
        ("typical_features", (1,), 0),
        ("typical_cells", (0, 3), int(LIMIT * GRAIN) + 1),
        ("typical_cells", (0, CELL_OTHER), -int(LIMIT * GRAIN) - 1),
        ("typical_names", (0,), 1_000),
        ("typical_cuts", (0, 0), np.nan),
        ("typical_cuts", (0, 0), -np.inf),
        ("typical_cuts", (0, 1), -1e9),
        ("typical_recent", (2,), int(LIMIT * GRAIN) * PERIOD * (FADE + 1) + 1),
        ("typical_worst", (0,), 50),
    ],
)
def test_scores_that_cannot_be_are_refused(
    learned: Fold, name: str, place: tuple[int, ...], value: float
) -> None:
    state = learned.snapshot()
    damaged = state["fold"][name].copy()
    damaged[place] = value
    with pytest.raises(StateError):
        Fold(CONFIG, state | {"fold": dict(state["fold"]) | {name: damaged}})


@given(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.0, 5e-324]),
        min_size=40,
        max_size=120,
    )
)
@settings(deadline=None, max_examples=60)
def test_any_numbers_have_ascending_cuts_and_bounded_scores(values: list[float]) -> None:
    events = [Event(i, {"x": x, "y": float(i * 7_919 % 101)}) for i, x in enumerate(values)]
    fold = Fold(DetectionConfig(reference_events=len(values), arl0=1e6))
    fold.process(decoded(events))
    typical = frozen(fold)
    assert typical.cuts.shape == (2, N_CUTS)
    assert MAX_VALUES == N_CUTS - 1
    assert np.abs(typical.cells).max() <= LIMIT * GRAIN
    # A snapshot is taken up only where its cuts ascend.
    Fold(fold.config, fold.snapshot())
    assert SOURCE_TYPICAL >= FIRST_DERIVED
