"""The bank of nearest queries: its contract, what it finds, whom it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.base import BankState, StateError
from detectors.security.base import (
    MISSING,
    Calibration,
    SecurityRows,
    Suspicion,
    Technique,
    TooFewRowsError,
)
from detectors.security.neighbour_fit import FIELDS
from detectors.security.neighbours import SPEC, NeighboursBank, build
from schemas.security_config import InversionConfig, NeighboursConfig, ProbingConfig
from tests.detectors.batches import state_bytes
from tests.detectors.damage import cut as without_last
from tests.detectors.damage import put
from tests.detectors.queries import cut, learned, rows_of, stretches

N_PLACES = 6
EAGER = NeighboursConfig(
    probing=ProbingConfig(flips=2, flips_of=40, near=2, near_of=20),
    inversion=InversionConfig(steps=2),
)
EASY: Calibration = {
    "near": np.array([1.5]),
    "margin": np.array([0.5]),
    "flips": np.array([1e-9, 1.0, 0.0]),
    "boundary": np.array([1e-9, 1.0, 0.0]),
    "w": np.array([0.97, 0.99]),
    "climb": np.array([2.0, 1.0]),
}
"""With it much fires."""
Floats = NDArray[np.float64]


def scored(z: Floats) -> dict[str, Any]:
    """What a model of two classes says of rows: its boundary goes through the centre."""
    score = 1.0 / (1.0 + np.exp(-2.0 * z[:, 0] - z[:, 1]))
    return {
        "predicted": (score > 0.5).astype(np.int32),
        "margin": np.abs(2.0 * score - 1.0),
        "score": score,
    }


def bank_of(config: NeighboursConfig, calibration: Calibration, salt: int = 7) -> NeighboursBank:
    bank = build(config, 2, N_PLACES, salt, None)
    bank.calibrate(0, 0, calibration, reviewed=True)
    bank.calibrate(1, 0, calibration, reviewed=False)
    return bank


def mixed(rng: np.random.Generator, n: int) -> SecurityRows:
    """Two models, one with a category; repeats, values that are none, places that change hands."""
    z = rng.normal(size=(n, 3)) * rng.choice([0.05, 1.0], (n, 1))
    z[:, 2] = rng.integers(0, 3, n)
    z[rng.random((n, 3)) < 0.02] = MISSING
    z[rng.random((n, 3)) < 0.005] = rng.choice([np.nan, np.inf, -np.inf, 1e30])
    again = np.flatnonzero(rng.random(n) < 0.1)
    z[again[again > 3]] = z[again[again > 3] - 2]
    source = rng.integers(-1, N_PLACES, n)
    with np.errstate(all="ignore"):
        said = scored(np.nan_to_num(z, posinf=9.0, neginf=-9.0))
    said["score"][rng.random(n) < 0.05] = np.nan
    said["margin"][np.isnan(said["score"])] = np.nan
    is_first = rng.random(n) < 0.01
    return rows_of(
        z,
        **said,
        source=source,
        model=np.where(source >= 0, source % 2, 0),
        kind=rng.integers(0, 3, n),
        is_first=is_first,
        n_dims=[3, 2],
        n_numbers=[2, 2],
    )


def feed(bank: NeighboursBank, rows: SecurityRows, cuts: list[int]) -> list[Suspicion]:
    return sorted(s for part in stretches(rows, cuts) for s in bank.update(part))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 900),
    cuts=st.lists(st.integers(0, 900), max_size=6),
)
def test_any_split_and_any_resume_is_the_same_as_at_once(
    seed: int, n: int, cuts: list[int]
) -> None:
    rows = mixed(np.random.default_rng(seed), n)
    whole, parts, resumed = (bank_of(EAGER, EASY) for _ in range(3))
    expected = feed(whole, rows, [])
    assert feed(parts, rows, cuts) == expected
    found = []
    for part in stretches(rows, cuts):
        found += resumed.update(part)
        resumed = build(EAGER, 2, N_PLACES, 7, resumed.snapshot())
    assert sorted(found) == expected
    for bank in (parts, resumed):
        assert state_bytes(bank.snapshot()) == state_bytes(whole.snapshot())
        assert (bank.standing() == whole.standing()).all()


def test_every_rule_fires_in_those_rows() -> None:
    """So that what the property above compares is not nothing."""
    rows = mixed(np.random.default_rng(3), 4_000)
    fired = {(s.detector, s.detail) for s in feed(bank_of(EAGER, EASY), rows, [])}
    assert fired >= {("probing", "flips"), ("probing", "boundary"), ("inversion", "")}


def test_update_leaves_its_rows_alone() -> None:
    rows = mixed(np.random.default_rng(4), 300)
    bank = bank_of(EAGER, EASY)
    before = state_bytes({k: getattr(rows, k) for k in rows.__slots__})
    for name in rows.__slots__:
        getattr(rows, name).flags.writeable = False
    bank.update(rows)
    assert state_bytes({k: getattr(rows, k) for k in rows.__slots__}) == before


def test_a_place_that_changes_hands_is_like_a_new_one() -> None:
    rng = np.random.default_rng(5)
    used, new = bank_of(EAGER, EASY), bank_of(EAGER, EASY)
    for bank, seed in ((used, 6), (new, None)):
        if seed is not None:
            bank.update(cut(mixed(np.random.default_rng(seed), 2_000), 0, 2_000))
    z = rng.normal(size=(500, 3)) * 0.2
    rows = rows_of(
        z, **scored(z), source=np.arange(500) % N_PLACES, model=np.arange(500) % 2, n_dims=[3, 2]
    )
    assert used.update(rows) == new.update(rows)
    assert state_bytes(used.snapshot()) == state_bytes(new.snapshot())


def test_memory_is_bounded_and_below_64_kb_a_place() -> None:
    rng = np.random.default_rng(8)
    z = rng.normal(size=(900, 64))
    bank = build(NeighboursConfig(), 1, 3, 0, None)
    rows = rows_of(z, predicted=rng.integers(0, 9, 900), source=rng.integers(0, 3, 900))
    bank.update(rows)
    size = sum(a.nbytes for a in bank.snapshot().values())
    bank.update(rows)
    assert sum(a.nbytes for a in bank.snapshot().values()) == size
    assert size < 3 * 48_000
    own = sum(bank._places[name].nbytes for name in bank._places.names) + bank._ring.nbytes
    assert own < 3 * 48_000


# What it finds.


def calm(rng: np.random.Generator, n: int, d: int = 8, n_sources: int = 20) -> SecurityRows:
    """Independent rows of many clients."""
    z = rng.normal(size=(n, d))
    return rows_of(z, **scored(z), source=rng.integers(0, n_sources, n))


def boundary_walk(rng: np.random.Generator, n: int, d: int = 8) -> Floats:
    """A search for the boundary: halving between two rows of unlike class, then steps along it."""
    inside, outside = rng.normal(size=(2, d))
    inside[0], outside[0] = 2.0, -2.0
    queries = []
    for _ in range(12):
        middle = (inside + outside) / 2.0
        queries.append(middle)
        if scored(middle[np.newaxis])["predicted"][0]:
            inside = middle
        else:
            outside = middle
    while len(queries) < n:
        inside = inside + rng.normal(size=d) * 0.02
        queries.append(inside.copy())
    return np.array(queries)


def grid_walk(rng: np.random.Generator, n: int, d: int = 8) -> Floats:
    """One feature after the other is moved to and fro by a little: finite differences."""
    z = rng.normal(size=(n, d))
    z[:] = z[0]
    z[:, 0] = 0.02 - z[0, 1] / 2.0
    at = np.arange(n)
    z[at, at // 2 % d] += np.where(at % 2 == 0, 0.05, -0.05) * (1 + at // (2 * d))
    return z


@pytest.mark.parametrize("reviewed", [False, True])
@pytest.mark.parametrize("walk", [boundary_walk, grid_walk])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_search_for_the_boundary_is_found(
    walk: Callable[[np.random.Generator, int], Floats], seed: int, reviewed: bool
) -> None:
    rng = np.random.default_rng(seed)
    bank = build(NeighboursConfig(), 1, 1, seed, None)
    bank.calibrate(0, 0, SPEC.fit(learned(calm(rng, 3_000), 8), reviewed), reviewed=reviewed)
    z = walk(rng, 80)
    found = bank.update(rows_of(z, **scored(z)))
    first = min(found)
    assert first.offset - 100 < 60
    assert (first.detector, first.technique) == ("probing", Technique.PROBING)
    assert first.statistic >= first.threshold > first.baseline
    assert first.n_hits <= first.n_seen <= first.offset - 99
    assert 100 <= first.first_offset < first.offset
    assert first.first_time_ms == 1_000 * (first.first_offset - 100)
    assert first.is_provisional is not reviewed
    assert bank.standing()[0] > 0


def test_it_fires_again_only_when_the_evidence_has_doubled_until_it_was_quiet() -> None:
    rng = np.random.default_rng(11)
    bank = bank_of(NeighboursConfig(probing=ProbingConfig(near=64, near_of=64)), EASY)
    near = np.zeros((500, 4))
    near[:, 0] = rng.normal(size=500) * 0.05
    far = rng.normal(size=(1_100, 4)) * 1e3
    z = np.concatenate([near, far, near + 0.001])
    rows = rows_of(z, predicted=np.arange(len(z)) % 2, n_dims=[4, 4])
    found = [s for s in bank.update(rows) if s.detail == "flips"]
    early = [s for s in found if s.offset < 100 + 500]
    assert [s.n_hits for s in early] == [3 * 2**k for k in range(len(early))]
    assert [s.threshold for s in early] == [3 * 2**k for k in range(len(early))]
    assert len(early) >= 6
    late = [s for s in found if s.offset >= 100 + 1_600]
    assert late[0].n_hits == 3
    assert late[0].first_offset >= 100 + 1_600
    assert len(found) == len(early) + len(late)


def test_extraction_by_a_line_search_is_found_by_its_distances() -> None:
    rng = np.random.default_rng(12)
    calibration = SPEC.fit(learned(calm(rng, 6_000), 8), True)
    assert 0.5 < calibration["w"][0] < calibration["w"][1] < 1.0
    bank = build(NeighboursConfig(), 1, 2, 3, None)
    bank.calibrate(0, 0, calibration, reviewed=True)
    z = rng.normal(size=(600, 8))
    z[1::2] = z[::2] + rng.normal(size=(300, 8)) * 1e-3
    honest = rng.normal(size=(600, 8))
    both = np.empty((1_200, 8))
    both[::2], both[1::2] = z, honest
    rows = rows_of(both, predicted=np.zeros(1_200), source=np.arange(1_200) % 2)
    found = bank.update(rows)
    assert {(s.detector, s.source) for s in found} == {("query_distance", 0)}
    first = min(found)
    assert first.technique is Technique.EXTRACTION
    assert first.statistic < first.threshold < first.baseline
    assert first.n_hits >= 30


@pytest.mark.parametrize("way", [1.0, -1.0])
def test_a_long_climb_is_found_and_one_that_falls_back_is_not(way: float) -> None:
    rng = np.random.default_rng(13)
    bank = build(NeighboursConfig(), 1, 2, 3, None)
    bank.calibrate(0, 0, SPEC.fit(learned(calm(rng, 3_000), 8), True), reviewed=True)
    climb = np.zeros((60, 8))
    climb[:, 0] = way * (1.0 + 0.05 * np.arange(60))
    back = climb.copy()
    back[::7, 0] -= way * 0.21
    both = np.empty((120, 8))
    both[::2], both[1::2] = climb, back
    found = bank.update(rows_of(both, **scored(both), source=np.arange(120) % 2))
    inversions = [s for s in found if s.detector == "inversion"]
    assert [s.source for s in inversions] == [0] * len(inversions)
    assert inversions[0].n_hits == inversions[0].threshold >= 20
    assert inversions[0].technique is Technique.INVERSION
    assert inversions[0].first_offset == 102


# Whom it leaves alone.


def slow(rng: np.random.Generator, n: int, d: int, n_sources: int) -> SecurityRows:
    """Sensors whose rows follow one another, one exact retry in ten, one canary in five."""
    z = np.empty((n, d))
    now = rng.normal(size=(n_sources, d))
    source = rng.integers(0, n_sources, n)
    noise = rng.normal(size=(n, d))
    canary = rng.normal(size=d)
    draw = rng.random(n)
    for i, place in enumerate(source.tolist()):
        if draw[i] < 0.1:
            z[i] = now[place]
        elif draw[i] < 0.3:
            z[i] = canary
        else:
            now[place] = 0.95 * now[place] + (1 - 0.95**2) ** 0.5 * noise[i]
            z[i] = now[place]
    return rows_of(z, **scored(z), source=source)


@pytest.mark.parametrize("reviewed", [False, True])
def test_clients_in_time_order_that_retry_are_not_accused(reviewed: bool) -> None:
    rng = np.random.default_rng(21)
    bank = build(NeighboursConfig(), 1, 10, 5, None)
    before = learned(slow(rng, 5_000, 6, 10), 6)
    bank.calibrate(0, 0, SPEC.fit(before, reviewed), reviewed=reviewed)
    found = []
    for _ in range(10):
        found += bank.update(slow(rng, 20_000, 6, 10))
    assert found == []


def test_repeats_count_nowhere() -> None:
    bank = bank_of(EAGER, EASY)
    z = np.tile(np.array([[0.01, 0.0], [0.02, 0.0]]), (400, 1))
    assert bank.update(rows_of(z, predicted=np.arange(800) % 2, margin=0.0, n_dims=[2, 2])) == []
    # So do rows that are equal once they are scaled, though they were not before.
    rows = rows_of(z, predicted=np.arange(800) % 2, margin=0.0, n_dims=[2, 2])
    rows.is_repeat[:] = False
    assert bank.update(rows) == []
    assert bank.snapshot()["n"].tolist() == [2]


def test_what_is_off_is_off() -> None:
    rows = mixed(np.random.default_rng(3), 2_000)
    fired = {s.detector for s in bank_of(EAGER, EASY).update(rows)}
    assert "probing" in fired
    off = EAGER.model_copy(update={"probing": ProbingConfig(enabled=False)})
    assert {s.detector for s in bank_of(off, EASY).update(rows)} == fired - {"probing"}
    none = NeighboursConfig(enabled=False)
    assert bank_of(none, EASY).update(rows) == []
    on = bank_of(EAGER, EASY)
    on.update(rows)
    assert build(none, 2, N_PLACES, 7, on.snapshot()).snapshot()["place"].size == 0


def test_an_uncalibrated_or_forgotten_model_accuses_nobody() -> None:
    rows = mixed(np.random.default_rng(3), 2_000)
    assert build(EAGER, 2, N_PLACES, 7, None).update(rows) == []
    bank = bank_of(EAGER, EASY)
    bank.update(rows)
    bank.forget(0)
    bank.forget(1)
    assert state_bytes(bank.snapshot()) == state_bytes(
        build(EAGER, 2, N_PLACES, 7, None).snapshot()
    )


def test_a_kind_has_its_own_thresholds_and_others_those_of_kind_0() -> None:
    never = {**EASY, "near": np.array([0.0])}
    bank = build(EAGER, 1, 3, 7, None)
    with pytest.raises(StateError, match="before kind 0"):
        bank.calibrate(0, 2, EASY, reviewed=True)
    bank.calibrate(0, 0, never, reviewed=True)
    bank.calibrate(0, 2, EASY, reviewed=False)
    z = np.random.default_rng(1).normal(size=(150, 4)) * 0.1
    rows = rows_of(z, **scored(z), source=np.arange(150) % 3, kind=np.arange(150) % 3)
    found = bank.update(rows)
    assert {(s.source, s.is_provisional) for s in found} == {(2, True)}


def test_salts_move_thresholds_by_five_percent_at_most() -> None:
    in_use = {
        float(bank_of(NeighboursConfig(), EASY, salt)._table[0, 0, 0]) for salt in range(-50, 50)
    }
    assert len(in_use) == 100
    assert 1.5 * 0.95 <= min(in_use) < 1.5 * 0.97
    assert 1.5 * 1.03 < max(in_use) <= 1.5 * 1.05


@pytest.mark.parametrize(
    ("name", "value"), [("source", 6), ("model", 2), ("model", -1), ("kind", 8), ("kind", -1)]
)
def test_rows_of_what_there_is_not_are_refused(name: str, value: int) -> None:
    rows = rows_of(np.zeros((3, 2)), n_dims=[2, 2])
    getattr(rows, name)[1] = value
    with pytest.raises(IndexError):
        bank_of(EAGER, EASY).update(rows)


# The rows thresholds are made of.


def test_too_few_rows_are_refused_and_more_give_what_a_bank_takes() -> None:
    rng = np.random.default_rng(31)
    with pytest.raises(TooFewRowsError, match="200 are needed"):
        SPEC.fit(learned(calm(rng, 150), 8), False)
    for n in (250, 1_000):
        calibration = SPEC.fit(learned(calm(rng, n), 8), False)
        assert {name: array.shape for name, array in calibration.items()} == {
            name: (length,) for name, length in FIELDS.items()
        }
        bank_of(NeighboursConfig(), calibration)
    assert SPEC.fit(learned(calm(rng, 250), 8), False)["w"][0] == 0.0


def test_constant_rows_are_too_few() -> None:
    rows = learned(rows_of(np.ones((500, 3))), 3)
    with pytest.raises(TooFewRowsError):
        SPEC.fit(rows, True)


def test_without_scores_there_is_no_boundary_and_no_climb_to_see() -> None:
    rng = np.random.default_rng(32)
    z = rng.normal(size=(1_000, 3))
    calibration = SPEC.fit(learned(rows_of(z, predicted=z[:, 0] > 0), 3), True)
    assert calibration["boundary"].tolist() == [1.0, 1.0, 0.0]
    assert calibration["margin"].tolist() == [0.0]


def test_benign_rows_that_flip_often_ask_for_more_flips() -> None:
    rng = np.random.default_rng(33)
    z = rng.normal(size=(4_000, 2))
    usual = SPEC.fit(learned(rows_of(z, **scored(z)), 2), True)
    blind = SPEC.fit(learned(rows_of(z, predicted=rng.integers(0, 2, 4_000)), 2), True)
    assert blind["flips"][0] > usual["flips"][0]
    tables = [bank_of(NeighboursConfig(), c)._table[0, 0] for c in (usual, blind)]
    assert 3 <= tables[0][2] < tables[1][2]


def test_the_strictest_lets_through_least() -> None:
    lax: Calibration = {
        "near": np.array([0.1]),
        "margin": np.array([0.9]),
        "flips": np.array([1.0, 1.0, 0.0]),
        "boundary": np.array([0.1, 3.0, 2.0]),
        "w": np.array([0.0, 0.0]),
        "climb": np.array([0.0, 300.0]),
    }
    strictest = SPEC.strictest([lax, EASY])
    assert strictest["near"][0] == 1.5
    assert strictest["margin"][0] == 0.9
    for name in ("flips", "boundary", "w", "climb"):
        assert strictest[name].tolist() == EASY[name].tolist()
    bank_of(EAGER, strictest)


# Snapshots that no rows have left.


@pytest.mark.parametrize(
    "damage",
    [
        put("n", 0, -1),
        put("dims", 0, 0),
        put("dims", 0, 65),
        put("owner", 0, 2),
        put("owner", 0, -1),
        put("place", 0, N_PLACES),
        put("place", 1, 0),
        put("n_sample", 0, -1),
        put("n_hits", (0, 0), -1),
        put("n_hits", (0, 0), 2**60),
        put("hits", (0, 0), -1),
        put("run", (0, 0), -1),
        put("episode", (0, 0), -1),
        put("way", 0, 2),
        put("known", (0, 0), 3),
        put("known", (0, 1), 1),
        put("ring", 0, float("nan")),
        put("sample", (0, 0), float("nan")),
        put("ring_class", (0, 0), -1),
        without_last("ring"),
        without_last("place"),
        without_last("known"),
    ],
)
def test_a_damaged_state_is_refused(damage: Callable[[dict[str, NDArray[Any]]], None]) -> None:
    bank = bank_of(EAGER, EASY)
    bank.update(mixed(np.random.default_rng(9), 500))
    state: dict[str, Any] = dict(bank.snapshot())
    build(EAGER, 2, N_PLACES, 7, state)
    damage(state)
    with pytest.raises(StateError):
        build(EAGER, 2, N_PLACES, 7, state)


@pytest.mark.parametrize("change", [{"near": np.array([np.nan])}, {"w": np.array([2.0, 1.0])}])
def test_a_calibration_that_is_none_is_refused(change: BankState) -> None:
    bank = bank_of(EAGER, EASY)
    with pytest.raises(StateError):
        bank.calibrate(0, 0, {**EASY, **change}, reviewed=True)
    with pytest.raises(StateError):
        bank.calibrate(0, 0, {"near": np.array([1.0])}, reviewed=True)
