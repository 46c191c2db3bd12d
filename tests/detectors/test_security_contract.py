"""The laws of `detectors.security.base`, for every bank of the registry of attacks."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from detectors.base import BankState, StateError
from detectors.security.base import (
    MISSING,
    SecurityBank,
    SecurityRows,
    SecuritySpec,
    Suspicion,
    TooFewRowsError,
)
from detectors.security.registry import LABEL_SECURITY_REGISTRY, SECURITY_REGISTRY
from schemas.security_config import ProvenanceConfig, SecurityDetectorsConfig
from tests.detectors.batches import state_bytes
from tests.detectors.security_streams import (
    N_MODELS,
    Queries,
    boundary_walk,
    embedded,
    independent,
    learned,
    part_of,
    security_rows,
    split_at,
)

N_PLACES = 8
DIMS = 5
N_NUMBERS = 4
SALT = 0xFEDC_BA98_7654_3210
CONFIGS: dict[str, BaseModel] = {"provenance": ProvenanceConfig(capacity=256)}
"""Smaller than the defaults, so that what is bounded is full."""
MAX_BYTES_OF_PLACE = 65_536
CASES = [pytest.param(spec, id=name) for name, spec in SECURITY_REGISTRY.items()]
every_detector = pytest.mark.parametrize("spec", CASES)


def config_of(spec: SecuritySpec) -> BaseModel:
    return CONFIGS.get(spec.name, spec.config_type())


def benign(n: int, seed: int = 1) -> Queries:
    own = independent(np.random.default_rng(seed), n, DIMS, N_PLACES - 1)
    own.z[:, N_NUMBERS:] = np.floor(3 * np.abs(own.z[:, N_NUMBERS:]))
    return own


def stream(seed: int, n: int) -> SecurityRows:
    """Benign rows of two models, an attack among them, things missing, and places that change."""
    rng = np.random.default_rng(seed)
    walk = boundary_walk(rng, max(n // 4, 1), DIMS, 0.05, 1)
    walk.source[:] = 2
    walk.z[:, N_NUMBERS:] = 1.0
    mixed = embedded(benign(n, seed), walk, 3, n // 4)
    z = np.where(rng.random(mixed.z.shape) < 0.02, np.float32(MISSING), mixed.z)
    own = security_rows(mixed._replace(z=z.astype(np.float32)), N_PLACES, n_numbers=N_NUMBERS)
    is_first = own.is_first | ((rng.random(len(own)) < 0.01) & (own.source >= 0))
    words = own.source_words.copy()
    for place in range(N_PLACES):
        at = own.source == place
        words[at, 0] += np.cumsum(is_first[at]).astype(np.uint64) * np.uint64(1_000)
    score = own.score.copy()
    score[rng.random(len(own)) < 0.1] = np.nan
    return replace(
        own,
        model=np.where(own.source >= 0, own.source % N_MODELS, 0).astype(np.int32),
        kind=np.maximum(own.source % 3, 0).astype(np.int32),
        is_first=is_first,
        source_words=words,
        score=score,
        margin=np.where(np.isnan(score), np.float32(np.nan), own.margin),
    )


def build(spec: SecuritySpec, state: BankState | None = None) -> SecurityBank:
    return spec.build(config_of(spec), N_MODELS, N_PLACES, SALT, state)


def new(spec: SecuritySpec, reviewed: bool = True) -> SecurityBank:
    """A bank that judges both models; kind 2 is judged as kind 0."""
    bank = build(spec)
    own, other = (spec.fit(learned(benign(2_000, seed), N_NUMBERS), reviewed) for seed in (11, 12))
    for model in range(N_MODELS):
        bank.calibrate(model, 0, spec.strictest([own, other]), reviewed=reviewed)
        bank.calibrate(model, 1, other, reviewed=reviewed)
    return bank


def feed(bank: SecurityBank, parts: list[SecurityRows]) -> list[Suspicion]:
    return sorted(suspicion for part in parts for suspicion in bank.update(part))


def test_the_registries_and_the_config_name_the_same_detectors() -> None:
    sections = SecurityDetectorsConfig.model_fields
    assert {*SECURITY_REGISTRY, *LABEL_SECURITY_REGISTRY} == set(sections)
    assert not SECURITY_REGISTRY.keys() & LABEL_SECURITY_REGISTRY.keys()
    for name, spec in SECURITY_REGISTRY.items():
        assert spec.name == name
        assert sections[name].annotation is spec.config_type
        assert spec.version >= 1
    for name, of_labels in LABEL_SECURITY_REGISTRY.items():
        assert of_labels.name == name
        assert sections[name].annotation is of_labels.config_type


@every_detector
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 500),
    cuts=st.lists(st.integers(0, 600), max_size=5),
)
def test_any_split_gives_the_same_suspicions_and_the_same_state(
    spec: SecuritySpec, seed: int, n: int, cuts: list[int]
) -> None:
    rows = stream(seed, n)
    whole, parts = new(spec), new(spec)
    expected = feed(whole, [rows])
    assert feed(parts, split_at(rows, cuts)) == expected
    assert state_bytes(parts.snapshot()) == state_bytes(whole.snapshot())


@every_detector
def test_row_by_row_is_the_same_as_at_once(spec: SecuritySpec) -> None:
    rows = stream(5, 700)
    whole, single = new(spec), new(spec)
    expected = feed(whole, [rows])
    assert feed(single, split_at(rows, list(range(len(rows))))) == expected
    assert state_bytes(single.snapshot()) == state_bytes(whole.snapshot())
    assert whole.standing().tobytes() == single.standing().tobytes()


@every_detector
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 500), cut=st.integers(0, 600))
def test_resumed_at_any_row_it_goes_on_as_if_never_interrupted(
    spec: SecuritySpec, seed: int, n: int, cut: int
) -> None:
    rows = stream(seed, n)
    before, after = split_at(rows, [cut])
    whole = new(spec)
    expected = feed(whole, [rows])
    first = new(spec)
    found = first.update(before)
    second = build(spec, first.snapshot())
    assert state_bytes(second.snapshot()) == state_bytes(first.snapshot())
    assert second.standing().tobytes() == first.standing().tobytes()
    assert sorted(found + second.update(after)) == expected
    assert state_bytes(second.snapshot()) == state_bytes(whole.snapshot())


@every_detector
def test_a_snapshot_is_plain_and_shares_no_memory(spec: SecuritySpec) -> None:
    before, after = split_at(stream(4, 600), [300])
    bank = new(spec)
    bank.update(before)
    snapshot = bank.snapshot()
    held = state_bytes(snapshot)
    for array in snapshot.values():
        assert array.dtype.kind in "fiub"
        assert array.dtype.newbyteorder("<") == array.dtype
        assert array.flags.c_contiguous
    resumed = build(spec, snapshot)
    bank.update(after)
    resumed.update(after)
    assert state_bytes(snapshot) == held
    for array in bank.snapshot().values():
        array.fill(0)
    assert state_bytes(bank.snapshot()) == state_bytes(resumed.snapshot())


@every_detector
def test_update_neither_keeps_nor_changes_the_rows(spec: SecuritySpec) -> None:
    rows = stream(6, 600)
    before = {f.name: getattr(rows, f.name).tobytes() for f in fields(rows)}
    bank = new(spec)
    bank.update(rows)
    assert {f.name: getattr(rows, f.name).tobytes() for f in fields(rows)} == before
    state = state_bytes(bank.snapshot())
    for f in fields(rows):
        getattr(rows, f.name).fill(0)
    assert state_bytes(bank.snapshot()) == state


@every_detector
def test_rows_in_memory_that_cannot_be_written_are_the_same(spec: SecuritySpec) -> None:
    rows = stream(7, 400)
    expected = new(spec).update(rows)
    for f in fields(rows):
        getattr(rows, f.name).flags.writeable = False
    assert new(spec).update(rows) == expected


@every_detector
def test_what_is_told_is_of_the_row_and_of_its_source(spec: SecuritySpec) -> None:
    rows = stream(8, 3_000)
    for suspicion in new(spec, reviewed=False).update(rows):
        (row,) = np.flatnonzero(rows.offset == suspicion.offset)
        assert suspicion.event_time_ms == rows.event_time_ms[row]
        assert 0 <= suspicion.model < N_MODELS
        assert suspicion.source in {-1, int(rows.source[row])}
        assert suspicion.first_offset <= suspicion.offset
        assert suspicion.first_offset in rows.offset
        assert suspicion.n_hits >= 2
        assert suspicion.is_provisional
        assert np.isfinite([suspicion.statistic, suspicion.threshold, suspicion.baseline]).all()


@every_detector
def test_who_is_not_calibrated_is_not_judged(spec: SecuritySpec) -> None:
    bank = build(spec)
    assert bank.update(stream(9, 1_000)) == []
    assert not bank.standing().any()


@every_detector
def test_memory_depends_on_models_and_places_and_not_on_rows(spec: SecuritySpec) -> None:
    bank = new(spec)
    sizes = []
    for k in range(4):
        bank.update(stream(20 + k, 4_000))
        sizes.append(sum(array.nbytes for array in bank.snapshot().values()))
    assert max(sizes[1:]) <= 1.1 * sizes[0]
    more = spec.build(config_of(spec), N_MODELS, 4 * N_PLACES, SALT, None)
    empty = build(spec)
    grown = sum(a.nbytes for a in more.snapshot().values())
    own = sum(a.nbytes for a in empty.snapshot().values())
    assert grown - own <= 3 * N_PLACES * MAX_BYTES_OF_PLACE


@every_detector
def test_a_place_that_changes_hands_begins_anew(spec: SecuritySpec) -> None:
    rows = stream(10, 2_000)
    bank = new(spec)
    bank.update(rows)
    last = part_of(rows, len(rows) - 1, len(rows))
    far = np.zeros_like(last.z)
    far[0, :DIMS] = [7.5, -7.5, 7.5, -7.5, 99.0]
    for place in range(1, N_PLACES):
        bank.update(
            replace(
                last,
                z=far * np.float32(1 - place / 20),
                source=np.array([place], np.int32),
                model=np.array([place % N_MODELS], np.int32),
                is_first=np.ones(1, np.bool_),
                is_repeat=np.zeros(1, np.bool_),
                row_hash=np.array([place], np.uint64),
                number=last.number + place,
                offset=last.offset + place,
            )
        )
        assert bank.standing()[place] <= 1


@every_detector
def test_a_model_that_is_forgotten_is_judged_no_more(spec: SecuritySpec) -> None:
    rows = stream(13, 1_500)
    of_model = rows.model == 0
    bank = new(spec)
    bank.update(rows)
    bank.forget(0)
    resumed = build(spec, bank.snapshot())
    assert not bank.standing()[np.unique(rows.source[of_model & (rows.source >= 0)])].any()
    found = bank.update(rows)
    assert found == resumed.update(rows)
    assert all(suspicion.model == 1 for suspicion in found)


@every_detector
def test_an_empty_stretch_changes_nothing(spec: SecuritySpec) -> None:
    rows = stream(14, 200)
    bank = new(spec)
    bank.update(rows)
    state = state_bytes(bank.snapshot())
    assert bank.update(part_of(rows, 0, 0)) == []
    assert state_bytes(bank.snapshot()) == state


@every_detector
def test_a_fit_is_the_same_each_time_and_the_strictest_of_one_is_itself(
    spec: SecuritySpec,
) -> None:
    rows = learned(benign(2_000), N_NUMBERS)
    one, other = spec.fit(rows, True), spec.fit(rows, True)
    alone = spec.strictest([one])
    for name, array in one.items():
        assert array.dtype == np.float64
        assert array.tobytes() == other[name].tobytes() == alone[name].tobytes()


@every_detector
@pytest.mark.parametrize("n", [0, 1, 2, 30])
def test_of_few_rows_something_comes_that_can_be_taken_or_nothing(
    spec: SecuritySpec, n: int
) -> None:
    rows = learned(benign(n), N_NUMBERS)
    try:
        fitted = spec.fit(rows, False)
    except TooFewRowsError:
        return
    build(spec).calibrate(0, 0, fitted, reviewed=False)


@every_detector
def test_what_is_no_calibration_is_refused_and_changes_nothing(spec: SecuritySpec) -> None:
    bank = new(spec)
    before = state_bytes(bank.snapshot())
    own = dict(spec.fit(learned(benign(2_000), N_NUMBERS), True))
    wrong: list[dict[str, Any]] = [{"surplus": np.zeros(3)}]
    for name, array in own.items():
        wrong.append({k: v for k, v in own.items() if k != name})
        wrong.append(own | {name: np.full(array.shape, np.inf)})
        wrong.append(own | {name: array[None]})
    for each in wrong:
        with pytest.raises(StateError):
            bank.calibrate(0, 0, each, reviewed=True)
    assert state_bytes(bank.snapshot()) == before


@every_detector
def test_a_snapshot_of_another_form_is_refused(spec: SecuritySpec) -> None:
    bank = new(spec)
    bank.update(stream(15, 800))
    state = dict(bank.snapshot())

    def refused(changed: BankState, n_models: int = N_MODELS) -> None:
        with pytest.raises(StateError):
            spec.build(config_of(spec), n_models, N_PLACES, SALT, changed)

    build(spec, state)
    refused({})
    refused(state, N_MODELS + 1)
    refused(state | {"surplus": np.zeros(4)})
    for name, array in state.items():
        refused({k: v for k, v in state.items() if k != name})
        refused(state | {name: array[None]})
        wider = np.float32 if array.dtype != np.float32 else np.float64
        refused(state | {name: array.astype(wider)})


@every_detector
def test_a_snapshot_with_numbers_that_cannot_be_is_refused_or_goes_on(spec: SecuritySpec) -> None:
    before, after = split_at(stream(16, 900), [600])
    bank = new(spec)
    bank.update(before)
    state = dict(bank.snapshot())
    rng = np.random.default_rng(17)
    n_refused = 0
    for name, array in state.items():
        if not array.size or array.dtype.kind == "b":
            continue
        extremes: list[float] = [np.inf, -np.inf, np.nan, 1e300]
        if array.dtype.kind != "f":
            info = np.iinfo(array.dtype)
            extremes = [int(info.min), int(info.max), int(info.max) // 2]
        for number in extremes:
            changed = array.copy()
            with np.errstate(over="ignore"):
                changed.flat[int(rng.integers(array.size))] = number
            try:
                hostile = build(spec, state | {name: changed})
            except StateError:
                n_refused += 1
                continue
            hostile.update(after)
            hostile.standing()
    assert n_refused > 0


@every_detector
@pytest.mark.parametrize(("model", "place"), [(N_MODELS, 0), (-1, 0), (0, N_PLACES)])
def test_rows_of_a_slot_or_a_place_that_is_not_there_are_refused(
    spec: SecuritySpec, model: int, place: int
) -> None:
    rows = part_of(stream(18, 50), 0, 1)
    wrong = replace(rows, model=np.array([model], np.int32), source=np.array([place], np.int32))
    with pytest.raises(IndexError):
        new(spec).update(wrong)
