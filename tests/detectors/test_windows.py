"""Windows against the reference: distances by hand, the budget, and when it speaks again."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.drift.bins import N_BINS, fit_bins
from detectors.drift.focus import FocusBank
from detectors.drift.ranks import LaneReference, Ranks, fit, fit_indicator, rank_variance
from detectors.drift.windows import WindowsBank, squared_level
from detectors.fold import Fold
from schemas.batch import F64
from schemas.config import DetectionConfig, DetectorsConfig, FocusConfig, WindowsConfig
from schemas.findings import Aspect, Distances, Firing
from tests.detectors.batches import feed, one_model, split, state_bytes
from tests.detectors.decoded import Event
from tests.detectors.folding import as_bytes, findings, fold_in


def bank_of(references: list[F64], arl0: float, window_events: int = 2_000) -> WindowsBank:
    """A bank with a lane for each of these references."""
    bank = WindowsBank(
        WindowsConfig(enabled=True, window_events=window_events), len(references), None
    )
    lanes = np.arange(len(references), dtype=np.int32)
    bank.learn(lanes, [LaneReference(fit(x), arl0) for x in references])
    return bank


def said(bank: WindowsBank | FocusBank, values: F64) -> list[Firing]:
    """All that is said of these rows (n,) or (n, lanes), in order."""
    return feed(bank, split(one_model(values), range(5_000, len(values), 5_000)))


def by_hand(reference: F64, window: F64) -> Distances:
    """The four distances in plain numpy, on the bins of the reference."""
    bins = fit_bins(reference)
    of_reference = np.searchsorted(bins.cuts, reference, side="right")
    of_window = np.searchsorted(bins.cuts, window, side="right")
    k = len(bins.cuts) + 1
    counts = [np.bincount(each, minlength=k) for each in (of_reference, of_window)]
    p, q = (each / each.sum() for each in counts)
    a, b = ((each + 0.5) / (each.sum() + 0.5 * k) for each in counts)
    middle = (p + q) / 2

    def entropy(x: F64) -> float:
        return -float(sum(each * math.log2(each) for each in x if each > 0))

    # Every row at the mean of its bin, then the area between the two distribution functions.
    rows = [
        np.array([values[of_bin == one].mean() for one in of_bin])
        for values, of_bin in ((reference, of_reference), (window, of_window))
    ]
    at = np.sort(np.concatenate(rows))
    below = [np.searchsorted(np.sort(each), at[:-1], side="right") / len(each) for each in rows]
    return Distances(
        psi=float(np.sum((b - a) * np.log(b / a))),
        js=entropy(middle) - (entropy(p) + entropy(q)) / 2,
        ks=float(np.abs(np.cumsum(p) - np.cumsum(q)).max()),
        wasserstein=float(np.sum(np.abs(below[0] - below[1]) * np.diff(at))),
    )


def draw(rng: np.random.Generator, kind: str, n: int) -> F64:
    """Rows of one law."""
    match kind:
        case "few":
            return np.round(rng.normal(size=n) * 2.0)
        case "tied":
            return np.where(rng.random(n) < 0.9, -1.0, rng.normal(size=n))
        case "heavy":
            return np.clip(rng.standard_cauchy(size=n), -1e6, 1e6)
        case _:
            return rng.normal(size=n)


laws = st.sampled_from(["normal", "few", "tied", "heavy"])


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=laws,
    n=st.integers(20, 300),
    shift=st.sampled_from([0.0, 0.3, -2.0, 50.0]),
)
def test_the_distances_are_those_worked_out_by_hand(
    seed: int, kind: str, n: int, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    reference = draw(rng, kind, 200)
    if len(np.unique(reference)) <= 2:
        return
    window = draw(rng, kind, n) + shift
    bank = bank_of([reference], 1e4, n)
    firings = said(bank, window)
    found, expected = bank.distances(0), by_hand(reference, window)
    assert found is not None
    for name in ("psi", "js", "ks"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=2e-6)
    assert found.wasserstein == pytest.approx(expected.wasserstein, rel=1e-6, abs=2e-6)
    ranks = fit(reference)
    assert isinstance(ranks, Ranks)
    variance = rank_variance(ranks)
    threshold = math.sqrt(variance * math.log(2 / (n / 1e4)) / 2 * (1 / 200 + 1 / n))
    assert expected.ks is not None
    assert len(firings) == (expected.ks > threshold)
    for firing in firings:
        assert firing.statistic == pytest.approx(expected.ks)
        assert firing.threshold == pytest.approx(threshold)
        assert firing.after == pytest.approx(window.mean())
        assert (firing.n_before, firing.n_after) == (200, n)
        assert (firing.offset, firing.change_offset) == (n - 1, 0)
        assert firing.distances == found


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), kind=laws, n=st.integers(3, 500))
def test_bins_hold_every_row_and_none_is_empty(seed: int, kind: str, n: int) -> None:
    x = draw(np.random.default_rng(seed), kind, n)
    if len(np.unique(x)) < 2:
        return
    bins = fit_bins(x)
    assert 1 <= len(bins.cuts) < N_BINS
    assert all(a < b for a, b in pairwise(bins.cuts.tolist()))
    assert bins.counts.sum() == n
    assert bins.counts.min() >= 1
    assert float(bins.means @ bins.counts) == pytest.approx(float(x.sum()), rel=1e-9, abs=1e-6)
    if kind == "normal" and n >= 100:
        assert bins.counts.max() <= n / N_BINS + 1


def test_the_bound_holds_what_it_says() -> None:
    """Of samples of one law, no more than the stated share lie beyond: here 0.05 of 4,000."""
    rng = np.random.default_rng(3)
    high = math.sqrt(squared_level(0.05) * (1 / 300 + 1 / 200))
    n_beyond = 0
    grid = np.linspace(0.0, 1.0, 1_001)
    for _ in range(4_000):
        x, y = np.sort(rng.random(300)), np.sort(rng.random(200))
        below_x = np.searchsorted(x, grid, side="right") / 300
        n_beyond += np.abs(below_x - np.searchsorted(y, grid, side="right") / 200).max() > high
    # Three standard errors of the count are 41.
    assert 100 < n_beyond < 200 + 41


def autoregression(rng: np.random.Generator, shape: tuple[int, int], phi: float) -> F64:
    """(rows, lanes) of the first order."""
    x = rng.normal(size=shape)
    for i in range(1, len(x)):
        x[i] = phi * x[i - 1] + math.sqrt(1 - phi * phi) * x[i]
    return x


@pytest.mark.parametrize("law", ["normal", "lognormal", "few", "AR(1) 0.5", "AR(1) 0.9"])
def test_it_keeps_its_rate_where_nothing_changes(law: str) -> None:
    """200 references with 30 windows each at a chance of 0.01: 60 false alarms are stated.

    More than 84 would be three Poisson standard errors too many.
    """
    rng = np.random.default_rng(21)
    window, n_windows, n_lanes, n_reference = 500, 30, 200, 1_000
    shape = (n_reference + window * n_windows, n_lanes)
    if law.startswith("AR"):
        x = autoregression(rng, shape, float(law.split()[1]))
    else:
        x = rng.normal(size=shape)
        x = {"normal": x, "lognormal": np.exp(x), "few": np.round(x)}[law]
    x = (x - x[:n_reference].mean(axis=0)) / x[:n_reference].std(axis=0)
    bank = bank_of(list(x[:n_reference].T.copy()), window / 0.01, window)
    firings = said(bank, x[n_reference:])
    alarms = [firing for firing in firings if firing.aspect != Aspect.SETTLED]
    assert len(alarms) <= 84


def bimodal(rng: np.random.Generator, n: int) -> F64:
    """Of mean 0, whose absolute values have the mean normal score of a standard normal's."""
    return np.where(rng.random(n) < 0.5, -0.711, 0.711) + 0.3 * rng.normal(size=n)


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_a_change_of_shape_that_focus_does_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=2_000)
    values = np.concatenate([rng.normal(size=10_000), bimodal(rng, 20_000)])
    focus = FocusBank(FocusConfig(enabled=True), 1, None)
    focus.learn(np.zeros(1, np.int32), [LaneReference(fit(reference), 1e6)])
    assert not said(focus, values)
    (firing,) = said(bank_of([reference], 1e6), values)
    assert firing.aspect == Aspect.SHAPE
    assert firing.model_event == 11_999
    assert firing.change_offset == 10_000
    assert abs(firing.after) < 0.1
    assert firing.distances is not None
    assert firing.distances.wasserstein == pytest.approx(0.2, abs=0.1)


@pytest.mark.parametrize(
    ("shift", "scale", "aspect"), [(0.5, 1.0, Aspect.MEAN), (0.0, 2.0, Aspect.SHAPE)]
)
def test_it_speaks_once_until_the_signal_is_back(
    shift: float, scale: float, aspect: Aspect
) -> None:
    rng = np.random.default_rng(5)
    reference, values = rng.normal(size=2_000), rng.normal(size=40_000)
    for away in (slice(6_000, 16_000), slice(24_000, 30_000)):
        values[away] = values[away] * scale + shift
    firings = said(bank_of([reference], 1e6), values)
    assert [(f.aspect, f.model_event) for f in firings] == [
        (aspect, 7_999),
        (Aspect.SETTLED, 17_999),
        (aspect, 25_999),
        (Aspect.SETTLED, 31_999),
    ]
    back = firings[1]
    assert back.n_after == 2_000
    assert back.distances is not None
    assert back.distances.effect == back.distances.wasserstein
    assert back.distances.effect <= 0.1
    assert back.statistic == pytest.approx(np.abs(values[16_000:18_000]).mean())


def test_a_window_of_few_rows_is_no_return_and_one_of_fewer_says_nothing() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(size=12_000) + 0.4
    present = np.ones(12_000, np.bool_)
    present[4_000:6_000] = np.arange(2_000) < 25
    present[6_000:8_000] = np.arange(2_000) < 19
    bank = bank_of([rng.normal(size=2_000)], 1e6)
    firings = said(bank, np.where(present, values, np.nan))
    assert [f.model_event for f in firings] == [1_999]
    bank = bank_of([rng.normal(size=2_000)], 1e6)
    said(bank, np.where(present, values + 50.0, np.nan)[6_000:8_000])
    assert bank.distances(0) is None


def test_windows_are_those_of_the_model_wherever_a_lane_begins() -> None:
    rng = np.random.default_rng(7)
    values = rng.normal(size=(9_000, 2)) + 1.0
    values[:2_500, 1] = np.nan
    values[3_990:, 1] = np.nan
    values[5_123:, 1] = 1.0
    references = [rng.normal(size=2_000) for _ in range(2)]
    firings = said(bank_of(references, 1e6), values)
    # Where the last event of a window is missing it is judged at the next row that is there.
    assert [(f.lane, f.model_event, f.change_offset, f.n_after) for f in firings] == [
        (0, 1_999, 0, 2_000),
        (1, 5_123, 2_500, 1_490),
    ]


def test_an_indicator_has_no_windows() -> None:
    x = np.random.default_rng(8).normal(size=400)
    bank = WindowsBank(WindowsConfig(enabled=True, window_events=20), 1, None)
    empty = state_bytes(bank.snapshot())
    bank.learn(np.zeros(1, np.int32), [LaneReference(fit_indicator(x, 1.0), 100.0)])
    assert not said(bank, x + 5.0)
    assert state_bytes(bank.snapshot()) == empty


def test_a_finding_of_the_fold_says_how_far_the_shape_is_wherever_it_is_resumed() -> None:
    rng = np.random.default_rng(9)
    x = np.concatenate([rng.normal(size=4_000), bimodal(rng, 3_000)]) * 5.0 + 30.0
    events = [Event(i, {"x": value}) for i, value in enumerate(x.tolist())]
    config = DetectionConfig(
        reference_events=1_000,
        arl0=1e5,
        detectors=DetectorsConfig(windows=WindowsConfig(enabled=True, window_events=1_000)),
    )
    whole = Fold(config)
    found = findings(fold_in(whole, events, []), "feature:x")
    (shape,) = [f for f in found if f.detector == "windows"]
    assert shape.aspect is Aspect.SHAPE
    assert shape.is_within_budget
    assert shape.distances is not None
    assert shape.effect == shape.distances.wasserstein
    assert shape.effect > 0.1
    assert shape.model_event % 1_000 == 999
    assert shape.after == pytest.approx(30.0, abs=0.7)

    first = Fold(config)
    said_first = fold_in(first, events[:4_321], [17, 2_500])
    second = Fold(config, first.snapshot())
    said_second = fold_in(second, events[4_321:], [1, 2_000])
    assert findings(said_first + said_second, "feature:x") == found
    assert as_bytes(second.snapshot()) == as_bytes(whole.snapshot())
