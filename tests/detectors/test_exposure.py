"""Exposure: its estimate, its curve, who is ranked above whom, its laws and its bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.base import BankState, StateError
from detectors.kernels.exposure import N_REGISTERS, count_distinct
from detectors.mixing import GOLDEN, splitmix64
from detectors.security.base import Calibration, SecurityRows, Suspicion, Technique, TooFewRowsError
from detectors.security.exposure import LEVELS, SPEC, ExposureBank
from detectors.security.exposure_fit import grid
from schemas.security_config import ExposureConfig
from tests.detectors.security_streams import (
    N_MODELS,
    Queries,
    independent,
    learned,
    security_rows,
    split_at,
    time_ordered,
)

N_PLACES: Final = 64
N_LEARNED: Final = 2_000
DIMS: Final = 6
THIEF: Final = 50


def bank(salt: int = 7, state: BankState | None = None) -> ExposureBank:
    return ExposureBank(ExposureConfig(), N_MODELS, N_PLACES, salt, state)


def fitted(queries: Queries, *, reviewed: bool = True) -> Calibration:
    return SPEC.fit(learned(queries.between(0, N_LEARNED)), reviewed)


def uniform(rng: np.random.Generator, n: int, dims: int) -> Queries:
    """What thieves send who know the ranges of the features and no benign row."""
    z = rng.uniform(-4.0, 4.0, (n, dims)).astype(np.float32)
    return Queries(z, np.full(n, THIEF), np.ones(n, np.bool_))


def estimate(words: NDArray[np.uint64]) -> float:
    found = np.zeros(1)
    count_distinct(words, np.zeros(N_REGISTERS, np.uint8), found)
    return float(found[0])


def hashes(seed: int, n: int) -> NDArray[np.uint64]:
    start = splitmix64(np.array([seed], np.uint64) + GOLDEN)
    return splitmix64(start + np.arange(n, dtype=np.uint64) * GOLDEN)


@pytest.mark.parametrize("n", [1, 10, 100, 400, 640, 1_280, 3_000, 50_000])
def test_the_estimate_errs_by_six_percent_and_has_no_bias(n: int) -> None:
    """200 seeds: the mean of errors of 6.5 % is within 2 %, four standard errors."""
    ratio = np.array([estimate(hashes(seed, n)) / n for seed in range(200)])
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)
    assert ratio.std() < 0.08
    assert np.abs(ratio - 1.0).max() < 0.30


def test_what_comes_again_changes_no_estimate() -> None:
    words = hashes(3, 500)
    assert estimate(np.tile(words, 9)) == estimate(words)
    assert estimate(words[:0]) == 0.0


@pytest.mark.parametrize("dims", [2, DIMS, 30])
def test_a_thief_with_made_up_rows_is_said_at_two_levels_once_each(dims: int) -> None:
    rng = np.random.default_rng(dims)
    own = bank()
    own.calibrate(0, 0, fitted(independent(rng, N_LEARNED, dims)), reviewed=True)
    rows = security_rows(uniform(rng, 4_000, dims), N_PLACES)
    said = own.update(rows)
    assert 1 <= len(said) <= len(LEVELS)
    assert said[-1].threshold == LEVELS[-1]
    for one in said:
        assert (one.source, one.technique, one.detail) == (THIEF, Technique.EXTRACTION, "exposure")
        assert 1.0 >= one.statistic >= one.threshold > 0.0
        assert one.statistic > one.baseline
        assert one.n_seen == (one.offset - 100) // 2 + 1 <= 1_000
        assert one.first_offset == 100
        assert not one.is_provisional
    assert own.standing()[THIEF] == 2
    assert own.update(replace(rows, is_first=np.zeros(len(rows), np.bool_))) == []


@pytest.mark.parametrize("dims", [2, DIMS, 30])
@pytest.mark.parametrize("make", [independent, time_ordered])
@pytest.mark.parametrize("salt", [1, 2, 3])
def test_benign_sources_are_never_said_however_long_they_send(
    make: Any, dims: int, salt: int
) -> None:
    benign = make(np.random.default_rng(dims), N_LEARNED + 60_000, dims, n_sources=8)
    own = bank(salt)
    own.calibrate(0, 0, fitted(benign, reviewed=False), reviewed=False)
    rest = benign.between(N_LEARNED)
    assert own.update(security_rows(rest, N_PLACES)) == []
    assert not own.standing().any()
    assert len(own.ranked(0, 100)) == 8


def test_a_thief_with_benign_rows_is_ranked_first_and_never_said() -> None:
    """He sends independent rows of the pool; honest clients of the same age walk in it."""
    rng = np.random.default_rng(4)
    pool = independent(rng, N_LEARNED, DIMS)
    own = bank()
    own.calibrate(0, 0, fitted(pool), reviewed=True)
    n = 600
    honest = time_ordered(rng, 20 * n, DIMS, n_sources=20, memory=0.99)
    thief = independent(rng, n, DIMS)
    queries = Queries(
        np.concatenate([honest.z, thief.z]),
        np.concatenate([honest.source, np.full(n, THIEF)]),
        np.concatenate([honest.is_attack, np.ones(n, np.bool_)]),
    )
    assert own.update(security_rows(queries, N_PLACES)) == []
    ranked = own.ranked(0, 3)
    assert ranked[0].place == THIEF
    assert len(ranked) == 3
    assert ranked[0].exposure > 1.5 * ranked[1].exposure
    assert ranked[0].n_rows == n
    assert own.ranked(1, 3) == []


def test_the_benign_curve_is_what_the_banks_own_cells_are_whatever_the_salt() -> None:
    rng = np.random.default_rng(5)
    mixing = rng.normal(size=(DIMS, DIMS))
    pool = independent(rng, 4_000, DIMS)
    pool = pool._replace(z=(pool.z @ mixing).astype(np.float32))
    learned_of = fitted(pool)
    for salt in range(8):
        own = bank(salt)
        own.calibrate(0, 0, learned_of, reviewed=True)
        later = pool.between(2_000, 3_024)._replace(source=np.full(1_024, 3))
        own.update(security_rows(later, N_PLACES))
        (one,) = own.ranked(0, 9)
        assert one.cells == pytest.approx(one.expected, rel=0.25)
        assert one.expected == pytest.approx(float(learned_of["curve"][10]))


def test_axes_are_uncorrelated_in_the_benign_rows_and_differ_by_salt() -> None:
    rng = np.random.default_rng(6)
    pool = independent(rng, 2_000, DIMS)
    pool = pool._replace(z=(pool.z @ rng.normal(size=(DIMS, DIMS))).astype(np.float32))
    learned_of = fitted(pool)
    axes, phase = grid(learned_of, 5)
    own = axes[:DIMS] * learned_of["width"][0]
    assert own.T @ learned_of["covariance"] @ own == pytest.approx(np.eye(4), abs=1e-6)
    assert ((phase >= 0.0) & (phase < 1.0)).all()
    assert not np.allclose(axes, grid(learned_of, 6)[0])


def test_rows_without_any_spread_and_rows_of_categories_are_no_error() -> None:
    same = Queries(np.zeros((300, 2), np.float32), np.ones(300, np.int64), np.zeros(300, np.bool_))
    hashed = replace(learned(same), row_hash=np.arange(300, dtype=np.uint64))
    assert SPEC.fit(hashed, True)["reachable"][0] == 1.0
    rng = np.random.default_rng(7)
    z = np.floor(rng.exponential(3.0, (2_000, DIMS))).astype(np.float32)
    categories = Queries(z, np.ones(2_000, np.int64), np.zeros(2_000, np.bool_))
    learned_of = SPEC.fit(learned(categories, n_numbers=0), True)
    own = bank()
    own.calibrate(0, 0, learned_of, reviewed=True)
    assert own.update(security_rows(categories, N_PLACES, n_numbers=0)) == []
    (one,) = own.ranked(0, 1)
    assert one.cells == pytest.approx(one.expected, rel=0.3)


def test_repeats_count_nowhere_and_a_place_that_changes_hands_begins_anew() -> None:
    rng = np.random.default_rng(8)
    own = bank()
    own.calibrate(0, 0, fitted(independent(rng, N_LEARNED, DIMS)), reviewed=True)
    rows = security_rows(uniform(rng, 500, DIMS), N_PLACES)
    assert own.update(replace(rows, is_repeat=np.ones(500, np.bool_))) == []
    assert own.ranked(0, 1) == []
    assert own.update(rows) != []
    assert own.ranked(0, 1)[0].n_rows == 500
    one = security_rows(uniform(rng, 1, DIMS), N_PLACES)
    assert one.is_first.all()
    own.update(one)
    assert own.ranked(0, 1)[0].n_rows == 1
    assert not own.standing().any()
    own.forget(0)
    assert state_bytes(own.snapshot()) == state_bytes(bank().snapshot())


def mixed_rows(seed: int, n: int) -> SecurityRows:
    rng = np.random.default_rng(seed)
    z = np.where(rng.random(n)[:, np.newaxis] < 0.5, 1.0, 5.0) * rng.normal(size=(n, 3))
    z[:, 2] = rng.integers(0, 3, n)
    source = np.minimum(rng.integers(0, 90, n), rng.integers(0, 90, n)) // 10
    queries = Queries(z.astype(np.float32), source, np.zeros(n, np.bool_))
    rows = security_rows(queries, N_PLACES, n_numbers=2)
    is_first = rows.is_first | ((rng.random(n) < 0.003) & (rows.source >= 0))
    model = np.where(rows.source % 3 == 1, 1, 0).astype(np.int32)
    return replace(rows, is_first=is_first, model=model, kind=(rows.source % 3 + 1) // 2)


def eager(state: BankState | None = None) -> ExposureBank:
    own = bank(state=state)
    if state is None:
        rng = np.random.default_rng(1)
        pool = independent(rng, N_LEARNED, 3)
        pool.z[:, 2] = rng.integers(0, 3, N_LEARNED)
        learned_of = SPEC.fit(learned(pool, n_numbers=2), True)
        other = {**learned_of, "excess": np.array([1.0]), "reachable": np.array([20.0])}
        for model in range(N_MODELS):
            own.calibrate(model, 0, learned_of, reviewed=True)
            own.calibrate(model, 1, other, reviewed=False)
    return own


def state_bytes(state: BankState) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.items()}


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 2_000),
    cuts=st.lists(st.integers(0, 2_000), max_size=6),
    at=st.integers(0, 2_000),
)
def test_any_split_and_any_resume_give_the_same_suspicions_and_the_same_state(
    seed: int, n: int, cuts: list[int], at: int
) -> None:
    rows = mixed_rows(seed, n)
    before = {name: np.array(getattr(rows, name)) for name in rows.__dataclass_fields__}
    whole, parted = eager(), eager()
    expected = whole.update(rows)
    assert all(np.array_equal(getattr(rows, name), old) for name, old in before.items())
    said: list[Suspicion] = []
    for part in split_at(rows, [*cuts, at]):
        if len(part) and part.number[0] >= at:
            parted = eager(parted.snapshot())
        said += parted.update(part)
    assert said == expected
    assert state_bytes(parted.snapshot()) == state_bytes(whole.snapshot())
    assert parted.ranked(0, 99) == whole.ranked(0, 99)


def test_the_streams_of_the_laws_do_fire() -> None:
    assert len(eager().update(mixed_rows(1, 2_000))) >= 3


def test_a_place_takes_less_than_300_bytes_and_no_more_later() -> None:
    own = eager()
    per_place = [a.nbytes / N_PLACES for a in own.snapshot().values() if len(a) == N_PLACES]
    assert sum(per_place) < 300
    size = sum(array.nbytes for array in own.snapshot().values())
    own.update(mixed_rows(2, 20_000))
    assert sum(array.nbytes for array in own.snapshot().values()) == size


def test_what_cannot_be_calibrated_says_so() -> None:
    few = independent(np.random.default_rng(1), 150, DIMS)
    with pytest.raises(TooFewRowsError, match="200 distinct rows, there are 150"):
        SPEC.fit(learned(few), True)
    good = fitted(independent(np.random.default_rng(2), N_LEARNED, DIMS))
    for name, array in good.items():
        wrong: list[NDArray[Any]] = [np.full_like(array, np.nan), array[:-1]]
        for each in [*wrong, array.astype(np.float32)]:
            with pytest.raises(StateError):
                bank().calibrate(0, 0, {**good, name: each}, reviewed=True)
        with pytest.raises(StateError):
            bank().calibrate(0, 0, {k: v for k, v in good.items() if k != name}, reviewed=True)


def test_unreviewed_rows_make_a_more_careful_calibration_and_the_strictest_is_soonest_full() -> (
    None
):
    rng = np.random.default_rng(3)
    steady, walking = independent(rng, N_LEARNED, DIMS), time_ordered(rng, N_LEARNED, DIMS)
    sure, slow = fitted(steady), fitted(walking)
    assert fitted(steady, reviewed=False)["excess"] > sure["excess"]
    assert slow["reachable"] < sure["reachable"]
    assert SPEC.strictest([sure, slow]) == slow


def test_a_row_of_nobody_is_an_error() -> None:
    rows = mixed_rows(4, 5)
    with pytest.raises(IndexError):
        bank().update(replace(rows, model=np.full(5, N_MODELS, np.int32)))
    with pytest.raises(IndexError):
        bank().update(replace(rows, source=np.full(5, N_PLACES, np.int32)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("axes", np.nan),
        ("phase", np.inf),
        ("curve", 0.0),
        ("curve", np.nan),
        ("limits", -1.0),
        ("limits", np.inf),
        ("registers", 58),
        ("n_rows", -1),
        ("n_rows", 5),
        ("level", 3),
        ("place_model", N_MODELS),
        ("place_model", -2),
        ("place_kind", 8),
        ("place_kind", -1),
        ("first_offset", 2**60),
        ("given", 2),
        ("reviewed", 2),
    ],
)
def test_a_hostile_snapshot_is_refused(name: str, value: float) -> None:
    state = {n: array.copy() for n, array in eager().snapshot().items()}
    state[name].reshape(-1)[0] = value
    with pytest.raises(StateError):
        bank(state=state)
    with pytest.raises(StateError):
        bank(state={k: v for k, v in state.items() if k != name})


def test_a_state_of_extremes_is_folded_without_harm() -> None:
    state = {n: array.copy() for n, array in eager().snapshot().items()}
    state["registers"][:], state["n_rows"][:] = 57, 2**53 - 1
    state["axes"][:] = 1e308
    own = bank(state=state)
    rows = mixed_rows(5, 500)
    with np.errstate(all="ignore"):
        own.update(replace(rows, z=np.full_like(rows.z, np.nan)))
        own.update(replace(rows, z=np.full_like(rows.z, 8.0)))
    bank(state=own.snapshot())
