"""Off-distribution, baseline guard and volume: what they find, and whom they never accuse."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom  # type: ignore[import-untyped] # it has no annotations

from detectors.base import StateError
from detectors.security import baseline_guard, off_distribution, volume
from detectors.security.base import (
    MISSING,
    Calibration,
    SecurityBank,
    SecurityRows,
    SecuritySpec,
    Suspicion,
    Technique,
    TooFewRowsError,
)
from detectors.security.binomial import critical_counts
from schemas.batch import F64, I64
from tests.detectors.source_rows import autoregressive, cut, fold, gaussian, learned, rows_of

SPECS = (off_distribution.SPEC, baseline_guard.SPEC, volume.SPEC)
N_PLACES = 24
SALT = 0x5EED


def bank_of(
    spec: SecuritySpec,
    calibration: Calibration | None,
    state: dict[str, NDArray[Any]] | None = None,
    *,
    reviewed: bool = True,
) -> SecurityBank:
    bank = spec.build(spec.config_type(), 1, N_PLACES, SALT, state)
    if calibration is not None:
        bank.calibrate(0, 0, calibration, reviewed=reviewed)
    return bank


def benign(seed: int, n: int, n_sources: int, d: int = 6) -> tuple[F64, I64, I64]:
    rng = np.random.default_rng(seed)
    x, y = gaussian(rng, n, d)
    return x, rng.integers(0, n_sources, n), y


def fitted(spec: SecuritySpec, d: int = 6, n_sources: int = 20, n: int = 4_000) -> Calibration:
    return spec.fit(learned(rows_of(*benign(1, n, n_sources, d))), True)


def mixed_attack() -> SecurityRows:
    """A stream in which each of the three banks finds something, with repeats and strangers."""
    rng = np.random.default_rng(11)
    n = 24_000
    x, source, y = benign(2, n, 19)
    late = np.arange(n) > 12_000
    # Source 18 goes away slowly and far; then 19 comes, is off, sends fast and has one class.
    at = source == 18
    x[at, 0] += np.linspace(0.0, 6.0, n)[at]
    off = late & (rng.random(n) < 0.1)
    source[off], y[off] = 19, 1
    x[off] = rng.uniform(-4.0, 4.0, (int(off.sum()), x.shape[1]))
    source[rng.random(n) < 0.02] = -1
    is_repeat = (rng.random(n) < 0.05).tolist()
    return rows_of(x, source, y, is_repeat=is_repeat)


def same(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a
    )


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_any_split_and_any_resume_gives_the_same(spec: SecuritySpec) -> None:
    rows = mixed_attack()
    calibration = fitted(spec)
    whole = bank_of(spec, calibration)
    expected = fold(whole, rows)
    assert expected, "the stream must make it fire"
    rng = np.random.default_rng(3)
    bank = bank_of(spec, calibration)
    found: list[Suspicion] = []
    edges = [0, 1, 2, *sorted(rng.integers(0, len(rows), 40).tolist()), len(rows)]
    for begin, end in pairwise(edges):
        found += fold(bank, cut(rows, begin, end))
        bank = bank_of(spec, None, dict(bank.snapshot()))
    assert found == expected
    assert same(bank.snapshot(), whole.snapshot())
    assert np.array_equal(bank.standing(), whole.standing())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_place_that_changes_hands_and_a_model_that_is_forgotten_begin_anew(
    spec: SecuritySpec,
) -> None:
    rows = mixed_attack()
    calibration = fitted(spec)
    bank = bank_of(spec, calibration)
    fold(bank, rows)
    bank.forget(0)
    assert same(bank.snapshot(), bank_of(spec, None).snapshot())
    # A source that is new at every 7th row never has a window, a past, or a vote.
    x, source, y = benign(5, 6_000, 1)
    x += 6.0
    renewed = rows_of(x, source, y)
    renewed.is_first[::7] = True
    assert fold(bank_of(spec, calibration), renewed) == []


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_repeats_of_one_row_accuse_nobody(spec: SecuritySpec) -> None:
    x, source, y = benign(6, 4_000, 20)
    is_canary = source == 4
    x[is_canary], y[is_canary] = 5.0, 1
    rows = rows_of(x, source, y, is_repeat=is_canary.tolist())
    assert fold(bank_of(spec, fitted(spec)), rows) == []


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_snapshot_that_is_none_is_refused(spec: SecuritySpec) -> None:
    rows = mixed_attack()
    bank = bank_of(spec, fitted(spec))
    fold(bank, cut(rows, 0, 8_000))
    state = dict(bank.snapshot())
    for name, array in state.items():
        without = {key: value for key, value in state.items() if key != name}
        for broken in (
            without,
            {**state, name: array[:-1]} if name != "entry" else without,
            {**state, name: array.astype(np.complex128)},
            {**state, "more": array},
        ):
            with pytest.raises(StateError):
                bank_of(spec, None, broken)
    for name, value in (("owner", 1), ("owner", -2), ("judged", 8), ("n_rows", -1), ("entry", 3)):
        array = state[name].copy()
        array.flat[0] = value
        with pytest.raises(StateError):
            bank_of(spec, None, {**state, name: array})


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_no_made_up_snapshot_makes_it_fail_or_lose_what_it_may_hold(spec: SecuritySpec) -> None:
    rows = mixed_attack()
    bank = bank_of(spec, fitted(spec))
    fold(bank, cut(rows, 0, 8_000))
    state = dict(bank.snapshot())
    rng = np.random.default_rng(9)
    n_taken = 0
    for _ in range(150):
        name = sorted(state)[int(rng.integers(len(state)))]
        array = state[name].copy()
        flat = array.reshape(-1).view(np.uint8)
        for at in rng.integers(0, flat.size, 3):
            flat[at] = rng.integers(0, 256)
        try:
            hostile = bank_of(spec, None, {**state, name: array})
        except StateError:
            continue
        n_taken += 1
        fold(hostile, cut(rows, 8_000, 9_000))
        # What it has come to is a state again.
        bank_of(spec, None, dict(hostile.snapshot()))
    assert n_taken > 0


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_calibration_that_is_none_is_refused_and_changes_nothing(spec: SecuritySpec) -> None:
    calibration = dict(fitted(spec))
    bank = bank_of(spec, calibration)
    before = bank.snapshot()
    for name, array in calibration.items():
        for broken in (np.full_like(array, np.nan), array[:0], np.full_like(array, -1e9)):
            with pytest.raises(StateError):
                bank.calibrate(0, 0, {**calibration, name: broken}, reviewed=True)
    with pytest.raises(StateError):
        bank.calibrate(1, 0, calibration, reviewed=True)
    assert same(bank.snapshot(), before)
    assert same(spec.strictest([calibration, calibration]), spec.strictest([calibration]))


def test_rows_that_nobody_knows_are_refused() -> None:
    for spec in SPECS:
        x, source, y = benign(6, 10, 2)
        rows = rows_of(x, source, y)
        rows.source[5] = N_PLACES
        with pytest.raises(IndexError):
            bank_of(spec, fitted(spec)).update(rows)


@pytest.mark.parametrize("d", [6, 30])
def test_uniform_extraction_is_found_within_100_queries(d: int) -> None:
    """One in ten events is a query that has nothing of the data but its range."""
    spec = off_distribution.SPEC
    calibration = fitted(spec, d)
    for seed in range(5):
        rng = np.random.default_rng(100 + seed)
        x, source, y = benign(200 + seed, 1_500, 19, d)
        is_query = np.arange(1_500) % 10 == 0
        source[is_query] = 20
        x[is_query] = rng.uniform(-3.0, 3.0, (150, d))
        y[is_query] = (x[is_query].sum(axis=1) > 0.5).astype(np.int64)
        found = fold(bank_of(spec, calibration), rows_of(x, source, y))
        assert found
        assert {each.source for each in found} == {20}
        assert np.count_nonzero(is_query[: found[0].offset + 1]) <= 100


def test_categories_count_for_windows() -> None:
    """A source whose numbers are usual, and whose categories are none that were ever seen."""
    spec = off_distribution.SPEC
    rng = np.random.default_rng(4)

    def mixed(n: int, n_values: int) -> F64:
        numbers, _ = gaussian(rng, n, 3)
        return np.concatenate([numbers, rng.integers(1, n_values + 1, (n, 3))], axis=1)

    x, source, y = mixed(4_000, 3), rng.integers(0, 20, 4_000), rng.integers(0, 2, 4_000)
    calibration = spec.fit(learned(rows_of(x, source, y, n_numbers=3)), True)
    x, source, y = mixed(8_000, 3), rng.integers(0, 20, 8_000), rng.integers(0, 2, 8_000)
    x[source == 7, 3:] += 1_000.0
    found = fold(bank_of(spec, calibration), rows_of(x, source, y, n_numbers=3))
    assert {each.source for each in found} == {7}
    assert found[0].detail == "window"


def test_too_few_rows_are_said() -> None:
    few = learned(rows_of(*benign(1, 400, 5)))
    for spec in (off_distribution.SPEC, baseline_guard.SPEC):
        with pytest.raises(TooFewRowsError):
            spec.fit(few, False)
    assert not volume.SPEC.fit(few, False)["most"].any()
    some = off_distribution.SPEC.fit(learned(rows_of(*benign(1, 1_900, 5))), False)
    assert some["window_threshold"][0] == 0.0
    assert some["event_threshold"][0] > 0.0


def test_missing_columns_and_constant_ones_are_survived() -> None:
    x, source, y = benign(1, 4_000, 20)
    x[:, 0], x[:, 1] = MISSING, 0.0
    for spec in SPECS:
        calibration = spec.fit(learned(rows_of(x, source, y)), False)
        assert all(np.isfinite(each).all() for each in calibration.values())
        assert fold(bank_of(spec, calibration), rows_of(x, source, y)) == []


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_drift_of_all_accuses_nobody(spec: SecuritySpec) -> None:
    """Slow, or at once; shares of the sources from 40 % down to less than 1 %."""
    calibration = fitted(spec)
    n = 60_000
    x, _, y = benign(21, n, 20)
    weights = 1.0 / np.arange(1, 21)
    source = np.random.default_rng(22).choice(20, n, p=weights / weights.sum())
    slow = x + np.linspace(0.0, 3.0, n)[:, np.newaxis]
    abrupt = x.copy()
    abrupt[n // 2 :] += 2.0
    for moved in (slow, abrupt):
        answers = (moved.sum(axis=1) > 0.5).astype(np.int64)
        for predicted in (y, answers):
            assert fold(bank_of(spec, calibration), rows_of(moved, source, predicted)) == []


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_clients_in_time_order_are_not_accused_over_200_000_events(spec: SecuritySpec) -> None:
    """The rows of each source follow each other, AR(1) at 0.95; learned from the first 2,000."""
    rng = np.random.default_rng(31)
    n = 202_000
    source = rng.integers(0, 5, n)
    x, y = autoregressive(rng, source, 6, 0.95)
    rows = rows_of(x, source, y)
    calibration = spec.fit(learned(cut(rows, 0, 2_000)), False)
    bank = bank_of(spec, calibration, reviewed=False)
    assert fold(bank, cut(rows, 2_000, n)) == []


def test_independent_rows_accuse_nobody_over_200_000_events() -> None:
    x, source, y = benign(41, 200_000, 20)
    rows = rows_of(x, source, y)
    for spec in SPECS:
        assert fold(bank_of(spec, fitted(spec)), rows) == []


def test_one_of_twenty_that_goes_away_slowly_is_found_and_the_candidate_stays() -> None:
    """Frog-boiling: 3 deviations in 100,000 events, of a source with 5 % of them."""
    n = 100_000
    x, source, y = benign(51, n, 20)
    ramp = np.linspace(0.0, 3.0, n)
    x[source == 7, 2] += ramp[source == 7]
    bank = bank_of(baseline_guard.SPEC, fitted(baseline_guard.SPEC))
    found = fold(bank, rows_of(x, source, y))
    assert {(each.source, each.detail) for each in found} == {(7, "number 2")}
    assert found[0].technique is Technique.FROG_BOILING
    assert ramp[found[0].offset] < 1.5
    assert isinstance(bank, baseline_guard.BaselineGuardBank)
    state = bank.baseline(0)
    assert state is not None
    assert np.abs(state.candidate[:6]).max() < 0.1
    assert not state.is_open.any()


def test_a_drift_of_all_opens_the_gap_to_the_candidate() -> None:
    x, source, y = benign(52, 40_000, 20)
    x[:, 3] += np.linspace(0.0, 1.0, 40_000)
    bank = bank_of(baseline_guard.SPEC, fitted(baseline_guard.SPEC))
    assert fold(bank, rows_of(x, source, y)) == []
    assert isinstance(bank, baseline_guard.BaselineGuardBank)
    state = bank.baseline(0)
    assert state is not None
    assert state.n_sources == 20
    assert state.is_open.tolist() == [f == 3 for f in range(64)]
    assert 0.7 < state.candidate[3] < 1.0


def arrivals(rates: F64, seconds: int, seed: int) -> tuple[I64, I64]:
    """Sources and times (ms) of Poisson arrivals; rates (sources, seconds) per second."""
    counts = np.random.default_rng(seed).poisson(rates)
    rng = np.random.default_rng(seed + 1)
    source, second = np.nonzero(counts)
    source, second = (np.repeat(each, counts[source, second]) for each in (source, second))
    time = second * 1_000 + rng.integers(0, 1_000, len(second))
    order = np.argsort(time, kind="stable")
    assert second.max() < seconds
    return source[order], time[order]


def of_arrivals(source: I64, time: I64) -> SecurityRows:
    rng = np.random.default_rng(7)
    n = len(source)
    return rows_of(rng.normal(size=(n, 2)), source, rng.integers(0, 2, n), time_ms=time)


def test_a_source_that_sends_far_more_is_found_and_a_load_test_by_all_is_not() -> None:
    seconds = 6_000
    rates = np.full((20, seconds), 0.5)
    bank = bank_of(volume.SPEC, None)
    usual = arrivals(rates, seconds, 1)
    assert fold(bank, of_arrivals(*usual)) == []
    everybody = rates.copy()
    everybody[:, 4_000:] *= 20.0
    assert fold(bank_of(volume.SPEC, None), of_arrivals(*arrivals(everybody, seconds, 2))) == []
    one = rates.copy()
    one[3, 4_000:] *= 60.0
    source, time = arrivals(one, seconds, 3)
    found = fold(bank_of(volume.SPEC, None), of_arrivals(source, time))
    assert {(each.source, each.technique) for each in found} == {(3, Technique.VOLUME)}
    begun = int(np.searchsorted(time, 4_000_000))
    assert np.count_nonzero(source[begun : found[0].offset] == 3) < 400
    # The day and its night are everybody's.
    daily = rates * (1.0 + 0.95 * np.sin(np.arange(seconds) / 200.0))
    assert fold(bank_of(volume.SPEC, None), of_arrivals(*arrivals(daily, seconds, 4))) == []


def test_a_flood_of_names_is_found_and_said_of_nobody() -> None:
    n, begun = 60_000, 40_000
    x, source, y = benign(61, n, 20)
    rows = rows_of(x, source, y)
    words, place = rows.source_words.copy(), rows.source.copy()
    fresh = np.arange(n)[begun::2]
    mixed = fresh.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    words[fresh] = (mixed ^ (mixed >> np.uint64(29)))[:, np.newaxis]
    place[fresh] = -1
    rows.source_words[:], rows.source[:] = words, place
    found = fold(bank_of(volume.SPEC, None), rows)
    assert found
    assert {(each.source, each.detail) for each in found} == {(-1, "sources")}
    assert begun < found[0].offset < begun + 6 * 1_024
    assert found[0].n_sources > 256
    quiet = rows_of(*benign(62, n, 20))
    assert fold(bank_of(volume.SPEC, None), quiet) == []


def test_one_sided_answers_are_found_unless_all_have_them() -> None:
    calibration = fitted(volume.SPEC)
    x, source, y = benign(71, 40_000, 20)
    one = y.copy()
    one[source == 9] = 1
    found = fold(bank_of(volume.SPEC, calibration), rows_of(x, source, one))
    assert {(each.source, each.detail) for each in found} == {(9, "answers of class 1")}
    assert found[0].n_seen == 256
    everybody = np.where(np.arange(40_000) > 20_000, 1, y)
    assert fold(bank_of(volume.SPEC, calibration), rows_of(x, source, everybody)) == []


def test_the_bounds_of_counts_are_those_of_the_binomial_distribution() -> None:
    for n, one_in in ((256, 10**8), (16, 10**6)):
        counts = critical_counts(n, one_in)
        for k in range(1, 64):
            count = int(counts[k])
            assert binom.sf(count - 1, n, k / 64) <= (1.0 + 1e-9) / one_in
            assert binom.sf(count - 2, n, k / 64) > (1.0 - 1e-9) / one_in
