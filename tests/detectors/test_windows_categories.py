"""Windows of categories: the bound, the budget, what is found, what it leaves alone, its state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from math import comb, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import StateError
from detectors.budget import arl0_of_detector, events_between_alarms
from detectors.categories import cells_of, n_cells
from detectors.drift.bins import N_BINS, jensen_shannon, psi
from detectors.drift.cells import divergence_level, fit_cells
from detectors.drift.ranks import Frequencies, LaneReference, long_run_variance
from detectors.drift.windows import WindowsBank
from detectors.fold import Fold
from detectors.monitor_state import MonitorDocument, MonitorReader, snapshot_monitors
from detectors.reference_document import monitor_of
from detectors.reference_fit import fit_reference
from detectors.registry import REGISTRY
from detectors.signals import Signal
from schemas.batch import F64, I64, ModelKey
from schemas.config import (
    AdwinConfig,
    DetectionConfig,
    DetectorsConfig,
    KswinConfig,
    ModelConfig,
    PageHinkleyConfig,
    SignalConfig,
    TrendConfig,
    WindowsConfig,
)
from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig
from schemas.findings import Aspect, Finding, Firing
from tests.detectors.batches import feed, one_model, split, state_bytes
from tests.detectors.decoded import MODEL, Event, decoded
from tests.detectors.folding import Said, as_bytes, findings, fold_in

N_REFERENCE = 2_000
WINDOW = 500
ON = DetectionConfig(
    reference_events=N_REFERENCE,
    arl0=1e5,
    detectors=DetectorsConfig(windows=WindowsConfig(enabled=True, window_events=WINDOW)),
)


def of_shares(rng: np.random.Generator, shares: dict[str, float], n: int) -> list[str]:
    """Independent values with these shares."""
    return [str(x) for x in rng.choice(list(shares), n, p=list(shares.values()))]


def words(values: Sequence[str], first: int = 0) -> list[Event]:
    return [Event(first + i, {"w": value}) for i, value in enumerate(values)]


def whole(said: Said) -> list[Finding]:
    return findings(said, "feature:w")


def cells_signal(fold: Fold) -> Signal:
    (signal,) = [s for s in fold.catalog.monitor(0).signals if s.is_cells]
    return signal


def divergence(window: int, n: int, both: int, n_both: int) -> float:
    """n times the relative entropy of (window, n - window) to (both, n_both - both)."""
    pairs = (window, both), (n - window, n_both - both)
    return sum(x * log(x / n * n_both / y) for x, y in pairs if x > 0)


@pytest.mark.parametrize(("n", "n_reference"), [(20, 20), (100, 1_000), (1_000, 100)])
@pytest.mark.parametrize("chance", [0.3, 1e-2, 1e-4, 1e-8])
def test_two_cells_keep_the_bound_exactly(n: int, n_reference: int, chance: float) -> None:
    """Given how often a value occurs in both samples, its window's part is hypergeometric."""
    level, n_both = divergence_level(chance, 2), n + n_reference
    for both in {1, 2, 3, 5, 8, 13, n // 2, n_both // 3, n_both // 2}:
        n_beyond = sum(
            comb(both, x) * comb(n_both - both, n - x)
            for x in range(max(0, n - n_both + both), min(both, n) + 1)
            if divergence(x, n, both, n_both) > level
        )
        assert n_beyond <= chance * comb(n_both, n)


@given(chance=st.floats(1e-15, 1.0), k=st.integers(2, N_BINS))
def test_the_level_solves_the_bound(chance: float, k: int) -> None:
    x, shape = divergence_level(chance, k), float(k - 1)
    assert x >= shape
    bound = -(x - shape) + shape * math.log(x / shape)
    assert bound == pytest.approx(math.log(chance), abs=1e-6)


LAWS = ["even", "long tail", "rare", "repeats", "groups take turns"]


def draw(rng: np.random.Generator, law: str, n: int) -> I64:
    """Numbers of cells, of one law."""
    if law == "even":
        return rng.integers(1, 6, n)
    if law == "long tail":
        share = 1.0 / np.arange(1, 19)
        return rng.choice(18, n, p=share / share.sum()) + 1
    if law == "rare":
        return rng.choice(5, n, p=[0.99, 0.004, 0.003, 0.002, 0.001])
    if law == "repeats":
        fresh = rng.random(n) > 0.6
        fresh[0] = True
        return rng.integers(0, 6, n)[np.maximum.accumulate(np.where(fresh, np.arange(n), 0))]
    group = (np.cumsum(rng.random(n) < 0.05) + rng.integers(2)) % 2
    return 3 * group + rng.integers(0, 3, n)


def bank_of(references: Sequence[Frequencies], chance: float) -> WindowsBank:
    bank = WindowsBank(WindowsConfig(enabled=True, window_events=WINDOW), len(references), None)
    lanes = np.arange(len(references), dtype=np.int32)
    bank.learn(lanes, [LaneReference(each, WINDOW / chance) for each in references])
    return bank


def said(bank: WindowsBank, values: F64) -> list[Firing]:
    return feed(bank, split(one_model(values), range(5_000, len(values), 5_000)))


@pytest.mark.parametrize("chance", [0.05, 0.01])
@pytest.mark.parametrize("law", LAWS)
def test_it_keeps_its_rate_where_nothing_changes(law: str, chance: float) -> None:
    """100 references with 30 windows each: at most what is stated and three Poisson errors."""
    rng = np.random.default_rng(11)
    n_lanes, n_windows = 100, 30
    x = np.stack([draw(rng, law, N_REFERENCE + WINDOW * n_windows) for _ in range(n_lanes)], axis=1)
    references = [fit_cells(x[:N_REFERENCE, j].astype(float), 20) for j in range(n_lanes)]
    firings = said(bank_of(references, chance), x[N_REFERENCE:].astype(float))
    stated = chance * n_lanes * n_windows
    alarms = [firing for firing in firings if firing.aspect != Aspect.SETTLED]
    assert len(alarms) <= stated + 3.0 * math.sqrt(stated)


def test_groups_that_take_turns_vary_more_than_any_cell_tells() -> None:
    rng = np.random.default_rng(2)
    x = [draw(rng, LAWS[-1], 20_000).astype(float) for _ in range(5)]
    turns = [fit_cells(own, 7).variance for own in x]
    of_cells = [max(long_run_variance((own == k).astype(float)) for k in range(6)) for own in x]
    even = [fit_cells(draw(rng, "even", 20_000).astype(float), 7).variance for _ in range(5)]
    # Of a chain that changes its group with 0.05 the long-run variance is 0.95 / 0.05.
    assert all(19.0 * 0.8 < variance < 19.0 * 3.0 for variance in turns)
    assert max(of_cells) < 0.75 * min(turns)
    assert max(even) < 1.5


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(4, N_BINS),
    move=st.sampled_from([0.0, 0.5, 3.0]),
)
def test_the_distances_are_those_worked_out_by_hand(seed: int, k: int, move: float) -> None:
    rng = np.random.default_rng(seed)
    law = rng.dirichlet(np.ones(k))
    other = law * np.exp(move * rng.normal(size=k))
    reference = fit_cells(rng.choice(k, 300, p=law).astype(float), k)
    x = rng.choice(k, WINDOW, p=other / other.sum())
    bank = bank_of([reference], 0.01)
    firings = said(bank, x.astype(float))
    counts = np.bincount(x, minlength=k)
    p, q = reference.counts / 300, counts / WINDOW
    m = (reference.counts + counts) / (300 + WINDOW)
    used = p + q > 0
    chance = (used.sum() - 1) * (1 / 300 + 1 / WINDOW)
    chi = math.sqrt(max(np.sum(2 * (q - p)[used] ** 2 / (p + q)[used]) - chance, 0.0))
    entropy = float(np.sum(q[q > 0] * np.log(q[q > 0] / m[q > 0])))
    own = bank.distances(0)
    assert own is not None
    assert (own.ks, own.wasserstein) == (None, None)
    assert own.chi == own.effect == pytest.approx(chi, abs=2e-6)
    assert own.new == pytest.approx(q[1], abs=2e-6)
    assert own.psi == psi(reference.counts, counts.astype(np.int32))
    assert own.js == jensen_shannon(reference.counts, counts.astype(np.int32))
    threshold = reference.variance * divergence_level(0.01, k) / WINDOW
    assert len(firings) == (entropy > threshold)
    for firing in firings:
        assert firing.aspect == Aspect.SHAPE
        assert firing.statistic == pytest.approx(entropy)
        assert firing.threshold == pytest.approx(threshold)
        assert (firing.n_before, firing.n_after) == (300, WINDOW)


def test_the_most_frequent_have_cells_of_their_own() -> None:
    names = [f"c{i:02}" for i in range(30)]
    counts = [100 - i for i in range(20)] + [4] * 10
    cells = cells_of(names, counts)
    assert cells == [*range(2, 20), *[0] * 12]
    assert n_cells(cells) == N_BINS
    assert n_cells(cells_of(["a", "b"], [9, 4])) == 0
    assert n_cells([]) == 0


RARE = {f"r{i}": 0.02 for i in range(5)}
BEFORE = {"a": 0.5, "b": 0.3, "c": 0.1, **RARE}
CHANGES: dict[str, dict[str, float]] = {
    "shares": {"a": 0.2, "b": 0.6, "c": 0.1, **RARE},
    "new": {"a": 0.45, "b": 0.25, "c": 0.1, "zz": 0.1, **RARE},
    "vanished": {"a": 0.6, "b": 0.3, **RARE},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(3))
def test_a_change_is_found_once_and_told_of_when_it_is_over(change: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    after = CHANGES[change]
    values = of_shares(rng, BEFORE, 6_000) + of_shares(rng, after, 4_000)
    values += of_shares(rng, BEFORE, 4_000)
    fold = Fold(ON)
    found = whole(fold_in(fold, words(values), []))
    assert [f.aspect for f in found] == [Aspect.SHAPE, Aspect.SETTLED]
    first, back = found
    assert first.detector == "windows"
    # Where the shares of two change places, the first of the two windows may not be enough.
    assert first.change_offset in (6_000, 6_000 + WINDOW)
    assert first.model_event == first.change_offset + WINDOW - 1
    assert first.is_within_budget
    own = first.distances
    assert own is not None
    assert first.effect == own.chi == own.effect > 0.2
    assert own.vanished == (("c",) if change == "vanished" else ())
    assert own.new is not None
    assert (own.new > 0.05) == (change == "new")
    assert back.model_event >= 10_000 + WINDOW - 1
    assert back.distances is not None
    assert back.distances.effect <= 0.1


@settings(deadline=None, max_examples=5)
@given(
    cuts=st.sets(st.integers(1, 5_999), max_size=6),
    at=st.integers(1, 5_999),
    seed=st.integers(0, 9),
)
def test_any_split_and_any_resumption_give_the_same(cuts: set[int], at: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = of_shares(rng, BEFORE, 4_000) + of_shares(rng, CHANGES["new"], 2_000)
    events = words(values)
    fold = Fold(ON)
    expected = fold_in(fold, events, [])
    assert whole(expected)
    first = Fold(ON)
    told = fold_in(first, events[:at], [c for c in cuts if c < at])
    second = Fold(ON, first.snapshot())
    told += fold_in(second, events[at:], [c - at for c in cuts if c > at])
    assert told == expected
    assert as_bytes(second.snapshot()) == as_bytes(fold.snapshot())


def test_other_detectors_take_no_cell_for_a_number() -> None:
    detectors = DetectorsConfig(
        windows=ON.detectors.windows,
        adwin=AdwinConfig(enabled=True),
        page_hinkley=PageHinkleyConfig(enabled=True),
        kswin=KswinConfig(enabled=True, seed=3),
        ddm=DdmConfig(enabled=True),
        eddm=EddmConfig(enabled=True),
        hddm_a=HddmAConfig(enabled=True),
        hddm_w=HddmWConfig(enabled=True),
        fhddm=FhddmConfig(enabled=True),
        trend=TrendConfig(enabled=True),
    )
    fold = Fold(ON.model_copy(update={"detectors": detectors}))
    rng = np.random.default_rng(4)
    fold_in(fold, words(of_shares(rng, BEFORE, N_REFERENCE)), [])
    lane = cells_signal(fold).lane
    later = words(of_shares(rng, CHANGES["shares"], 3_000), first=N_REFERENCE)
    found = whole(fold_in(fold, later, []))
    assert {f.detector for f in found} == {"windows"}
    watching = {name: bool(bank.snapshot()["enabled"][lane]) for name, bank in fold.banks.items()}
    assert watching == {name: name == "windows" for name in REGISTRY}
    moments = fold.banks["moments"].snapshot()
    assert moments["n"][lane] == 0


def test_without_windows_there_is_no_lane_and_no_part_of_the_budget() -> None:
    off = ON.model_copy(update={"detectors": DetectorsConfig(), "arl0": None})
    rng = np.random.default_rng(5)
    events = words(of_shares(rng, BEFORE, N_REFERENCE))
    fold = Fold(off)
    fold_in(fold, events, [])
    monitor = fold.catalog.monitor(0)
    n_lanes = monitor.n_lanes
    assert cells_signal(fold).lane == -1
    on = off.model_copy(update={"detectors": ON.detectors})
    fold.reconfigure(on)
    assert cells_signal(fold).lane >= 0
    assert monitor.n_lanes == n_lanes + 1
    own = cells_signal(fold)
    # It is watched by one detector alone, which has all of its budget.
    assert arl0_of_detector(on, monitor, own) == events_between_alarms(on, monitor)
    fold.reconfigure(off)
    assert monitor.n_lanes == n_lanes
    only = ModelConfig(signals={"feature:w": SignalConfig(detectors=["focus"])})
    fold.reconfigure(on.model_copy(update={"model": {MODEL.model_id: only}}))
    assert cells_signal(fold).lane == -1


def test_a_reference_as_a_document_has_its_cells_with_it() -> None:
    rng = np.random.default_rng(6)
    events = decoded(words(of_shares(rng, BEFORE, N_REFERENCE)))
    fold = Fold(ON)
    fold.process(events)
    learned = cells_signal(fold).ranks
    document = fit_reference(events, ON).document
    (fitted,) = [s.ranks for s in monitor_of(document, ModelKey("m", "1")).signals if s.is_cells]
    assert isinstance(learned, Frequencies)
    assert isinstance(fitted, Frequencies)
    assert fitted.counts.tolist() == learned.counts.tolist()
    assert (fitted.n, fitted.variance) == (learned.n, learned.variance)
    assert learned.n == N_REFERENCE == learned.counts.sum()


def read_again(counts: list[int], n: int, **changed: object) -> None:
    """Store and read a monitor whose category has these cells."""
    rng = np.random.default_rng(7)
    fold = Fold(ON)
    fold_in(fold, words(of_shares(rng, BEFORE, N_REFERENCE)), [])
    monitor = fold.catalog.monitor(0)
    at = monitor.signals.index(cells_signal(fold))
    own = Frequencies(np.array(counts, np.int32), 1.5, n)
    monitor.signals[at] = replace(monitor.signals[at], ranks=own, **changed)  # type: ignore[arg-type]
    (document,), arrays = snapshot_monitors([monitor])
    reader = MonitorReader(arrays)
    again = reader.monitor(MonitorDocument.model_validate(document))
    reader.finish()
    (signal,) = [s for s in again.signals if s.is_cells]
    assert isinstance(signal.ranks, Frequencies)
    assert signal.ranks.counts.tolist() == counts


def test_a_state_whose_cells_contradict_its_categories_is_refused() -> None:
    right = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    read_again(right, sum(right))
    for counts, n in ((right, 9), (right[:-1], 28), ([*right, 0], 36), ([-1, 37, *[0] * 8], 36)):
        with pytest.raises(StateError):
            read_again(counts, n)
    with pytest.raises(StateError, match="out of range"):
        read_again(right, 36, category=2)


@pytest.mark.parametrize("x", [-1e6, -1.0, 0.4, 19.6, 1e300])
def test_no_number_leads_beyond_the_cells(x: float) -> None:
    reference = Frequencies(np.array([10, 0, 50, 40], np.int32), 1.0, 100)
    bank = bank_of([reference], 0.01)
    said(bank, np.full(WINDOW, x))
    own = bank.snapshot()["latest_counts"][0]
    assert own.sum() == own[:4].sum() == WINDOW
    again = WindowsBank(WindowsConfig(enabled=True, window_events=WINDOW), 1, bank.snapshot())
    assert state_bytes(again.snapshot()) == state_bytes(bank.snapshot())


def test_a_category_without_cells_is_refused() -> None:
    bank = WindowsBank(WindowsConfig(enabled=True, window_events=WINDOW), 1, None)
    made_up = bank.snapshot()
    made_up["is_category"][0] = True
    with pytest.raises(StateError, match="no cells"):
        WindowsBank(WindowsConfig(enabled=True, window_events=WINDOW), 1, made_up)
