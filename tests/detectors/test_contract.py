"""The laws of `detectors.base`, for every bank of the registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import BaseModel

from detectors.base import Z_LIMIT, BankState, DetectorBank, DetectorSpec, StateError
from detectors.registry import REGISTRY
from schemas.config import (
    AdwinConfig,
    DetectorsConfig,
    FocusConfig,
    KswinConfig,
    PageHinkleyConfig,
    TrendConfig,
    WindowsConfig,
)
from schemas.error_config import DdmConfig, EddmConfig, FhddmConfig, HddmAConfig, HddmWConfig
from tests.detectors.batches import (
    COLUMNS,
    Stream,
    batch_of,
    feed,
    one_model,
    random_stream,
    split,
    state_bytes,
    teach,
)

# Beside every detector's default: settings with which it fires often, where it has any.
EAGER: dict[str, BaseModel] = {
    "adwin": AdwinConfig(
        enabled=True, delta=0.5, clock=3, max_buckets=2, min_window_length=1, grace_period=0
    ),
    "focus": FocusConfig(enabled=True, baseline_rows=30),
    "page_hinkley": PageHinkleyConfig(enabled=True, min_instances=2, delta=0.0, threshold=0.5),
    "kswin": KswinConfig(enabled=True, seed=5, window_size=20, stat_size=7, alpha=0.3),
    "windows": WindowsConfig(enabled=True, window_events=20),
    "trend": TrendConfig(enabled=True, block_rows=5, n_blocks=24, n_scales=2),
    "ddm": DdmConfig(enabled=True, warm_start=3, warning_threshold=1.0, drift_threshold=1.5),
    "eddm": EddmConfig(enabled=True, warm_start=3, alpha=1.0, beta=0.98),
    "hddm_a": HddmAConfig(
        enabled=True, drift_confidence=0.5, warning_confidence=0.8, two_sided_test=True
    ),
    "hddm_w": HddmWConfig(
        enabled=True,
        drift_confidence=0.5,
        warning_confidence=0.8,
        lambda_val=0.2,
        two_sided_test=True,
    ),
    "fhddm": FhddmConfig(
        enabled=True, sliding_window_size=20, short_window_size=7, confidence_level=0.3
    ),
}
ON = {
    "adwin": AdwinConfig(enabled=True),
    "page_hinkley": PageHinkleyConfig(enabled=True),
    "kswin": KswinConfig(enabled=True, seed=1),
    "windows": WindowsConfig(enabled=True),
    "trend": TrendConfig(enabled=True),
    "ddm": DdmConfig(enabled=True),
    "eddm": EddmConfig(enabled=True),
    "hddm_a": HddmAConfig(enabled=True),
    "hddm_w": HddmWConfig(enabled=True),
    "fhddm": FhddmConfig(enabled=True),
}
"""What is off by default is tried with its defaults, but on."""
JUDGES_BY_REFERENCE = {"focus", "windows"}
"""To these a lane that stands still has changed, if its reference did not."""
SIGNED = {"total", "base_t", "base_sum", "vertex_sum", "location", "spread"}
"""Whole numbers that may be negative."""
MAX_BYTES = {"focus": 5_200, "trend": 3_300}
"""State of a lane with its reference; of the others 2,000."""
CASES = [
    pytest.param(spec, config, id=f"{name}-{kind}")
    for name, spec in REGISTRY.items()
    for kind, config in (("default", ON.get(name, spec.config_type())), ("eager", EAGER.get(name)))
    if config is not None
]
every_detector = pytest.mark.parametrize(("spec", "config"), CASES)


def n_lanes(stream: Stream) -> int:
    return sum(len(lanes) for lanes in stream.lanes)


def to_and_fro(n: int) -> Stream:
    """Two lanes that leave their reference every 200 rows, and come back."""
    away = np.arange(n)[:, np.newaxis] // 100 % 2
    return one_model(np.random.default_rng(7).normal(size=(n, 2)) + 3.0 * away, first_offset=40)


def new(spec: DetectorSpec, config: BaseModel, lanes: int) -> DetectorBank:
    bank = spec.build(config, lanes, None)
    teach(bank, range(lanes), eager=config == EAGER.get(spec.name))
    return bank


def test_the_registry_and_the_config_name_the_same_detectors() -> None:
    fields = DetectorsConfig.model_fields
    assert set(REGISTRY) == set(fields)
    for name, spec in REGISTRY.items():
        assert spec.name == name
        assert fields[name].annotation is spec.config_type
        assert spec.version >= 1


@every_detector
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 600),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
def test_any_split_gives_the_same_firings_and_the_same_state(
    spec: DetectorSpec, config: BaseModel, seed: int, n: int, cuts: list[int]
) -> None:
    stream = random_stream(np.random.default_rng(seed), n)
    whole = new(spec, config, n_lanes(stream))
    parts = new(spec, config, n_lanes(stream))
    expected = feed(whole, split(stream, []))
    assert feed(parts, split(stream, [min(cut, n) for cut in cuts])) == expected
    assert state_bytes(parts.snapshot()) == state_bytes(whole.snapshot())


@every_detector
def test_row_by_row_is_the_same_as_at_once(spec: DetectorSpec, config: BaseModel) -> None:
    stream = random_stream(np.random.default_rng(8), 700)
    whole = new(spec, config, n_lanes(stream))
    rows = new(spec, config, n_lanes(stream))
    expected = feed(whole, split(stream, []))
    assert feed(rows, split(stream, range(700))) == expected
    assert state_bytes(rows.snapshot()) == state_bytes(whole.snapshot())


@every_detector
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 600), cut=st.integers(0, 600))
def test_resumed_at_any_row_it_goes_on_as_if_never_interrupted(
    spec: DetectorSpec, config: BaseModel, seed: int, n: int, cut: int
) -> None:
    stream = random_stream(np.random.default_rng(seed), n)
    lanes = n_lanes(stream)
    cut = min(cut, n)
    whole = new(spec, config, lanes)
    expected = feed(whole, split(stream, []))
    first = new(spec, config, lanes)
    firings = first.update(batch_of(stream, 0, cut))
    snapshot = first.snapshot()
    second = spec.build(config, lanes, snapshot)
    assert state_bytes(second.snapshot()) == state_bytes(snapshot)
    firings += second.update(batch_of(stream, cut, n))
    assert sorted(firings) == expected
    assert state_bytes(second.snapshot()) == state_bytes(whole.snapshot())


@every_detector
def test_a_snapshot_is_plain_and_shares_no_memory(spec: DetectorSpec, config: BaseModel) -> None:
    stream = random_stream(np.random.default_rng(4), 500)
    bank = new(spec, config, n_lanes(stream))
    bank.update(batch_of(stream, 0, 300))
    snapshot = bank.snapshot()
    before = state_bytes(snapshot)
    for array in snapshot.values():
        assert array.dtype.kind in "fiub"
        assert array.dtype.newbyteorder("<") == array.dtype
        assert array.flags.c_contiguous
    resumed = spec.build(config, n_lanes(stream), snapshot)
    bank.update(batch_of(stream, 300, 500))
    resumed.update(batch_of(stream, 300, 500))
    assert state_bytes(snapshot) == before
    for array in bank.snapshot().values():
        array.fill(0)
    assert state_bytes(bank.snapshot()) == state_bytes(resumed.snapshot())


@every_detector
def test_update_neither_keeps_nor_changes_the_batch(spec: DetectorSpec, config: BaseModel) -> None:
    stream = random_stream(np.random.default_rng(5), 600)
    bank = new(spec, config, n_lanes(stream))
    batch = batch_of(stream, 0, 600, read_only=False)
    before = {name: getattr(batch, name).tobytes() for name in COLUMNS}
    bank.update(batch)
    assert {name: getattr(batch, name).tobytes() for name in COLUMNS} == before
    state = state_bytes(bank.snapshot())
    for name in COLUMNS:
        getattr(batch, name).fill(0)
    assert state_bytes(bank.snapshot()) == state


@every_detector
def test_a_trigger_is_told_with_its_own_row(spec: DetectorSpec, config: BaseModel) -> None:
    n_firings = 0
    for stream in (random_stream(np.random.default_rng(6), 3000), to_and_fro(3000)):
        bank = new(spec, config, n_lanes(stream))
        firings = feed(bank, split(stream, [10, 1000]))
        n_firings += len(firings)
        for firing in firings:
            (row,) = np.flatnonzero(stream.offset == firing.offset)
            assert firing.detector == spec.name
            assert firing.model == stream.model[row]
            assert firing.lane in stream.lanes[firing.model]
            assert firing.event_time_ms == 1_000 + 10 * row
            assert firing.model_event == stream.model_event[row]
            assert firing.event_row == 0
            assert firing.change_offset in stream.offset
            assert np.isfinite(firing[7:11]).all()
            assert firing.n_before >= 0
            assert firing.n_after >= 1
    if config == EAGER.get(spec.name):
        assert n_firings > 10


@every_detector
@pytest.mark.parametrize("value", [np.nan, 0.0, 1.0, -0.0, 1e6, 1e-310])
def test_missing_and_constant_lanes_never_fire(
    spec: DetectorSpec, config: BaseModel, value: float
) -> None:
    bank = new(spec, config, 2)
    untouched = state_bytes(new(spec, config, 2).snapshot())
    firings = feed(bank, split(one_model(np.full((3000, 2), value)), [1, 2999]))
    assert firings == [] or (spec.name in JUDGES_BY_REFERENCE and not np.isnan(value))
    if np.isnan(value):
        assert state_bytes(bank.snapshot()) == untouched
    for array in bank.snapshot().values():
        assert not np.isneginf(array).any()


@every_detector
def test_an_empty_batch_and_a_bank_without_lanes(spec: DetectorSpec, config: BaseModel) -> None:
    stream = one_model(np.ones((5, 2)))
    bank = new(spec, config, 0)
    empty = state_bytes(bank.snapshot())
    assert bank.update(batch_of(stream, 0, 0)) == []
    assert state_bytes(bank.snapshot()) == empty
    assert state_bytes(spec.build(config, 0, bank.snapshot()).snapshot()) == empty
    bank.resize(2)
    assert bank.update(batch_of(stream, 0, 5)) == []


@every_detector
@pytest.mark.parametrize("huge", [1e308, -1e308, np.inf, -np.inf, 1.5e6])
def test_beyond_the_limit_counts_as_the_limit(
    spec: DetectorSpec, config: BaseModel, huge: float
) -> None:
    rng = np.random.default_rng(9)
    values = rng.normal(size=(2000, 1))
    values[rng.random(2000) < 0.2] = huge
    beyond, at_limit = new(spec, config, 1), new(spec, config, 1)
    firings = feed(beyond, split(one_model(values), [700]))
    assert firings == feed(at_limit, split(one_model(np.clip(values, -Z_LIMIT, Z_LIMIT)), []))
    state = beyond.snapshot()
    assert state_bytes(state) == state_bytes(at_limit.snapshot())
    assert state_bytes(spec.build(config, 1, state).snapshot()) == state_bytes(state)


@every_detector
def test_memory_depends_on_lanes_and_not_on_rows(spec: DetectorSpec, config: BaseModel) -> None:
    values = np.random.default_rng(10).normal(size=(64_000, 1))
    bank = new(spec, config, 1)
    sizes = []
    for batch in split(one_model(values), [1000, 2000, 4000, 8000, 16_000, 32_000]):
        bank.update(batch)
        sizes.append(sum(array.nbytes for array in bank.snapshot().values()))
    # Whatever holds a window of 2**k rows may hold one level of buckets more for 2**(k + 1).
    assert max(np.diff(sizes)) <= 2 * 25 * 5
    assert max(sizes) <= MAX_BYTES.get(spec.name, 2_000)


@every_detector
def test_reset_gives_the_initial_state_and_leaves_the_others(
    spec: DetectorSpec, config: BaseModel
) -> None:
    values = np.random.default_rng(12).normal(size=(300, 3))
    bank = new(spec, config, 3)
    bank.update(batch_of(one_model(values), 0, 300))
    bank.set_enabled(np.array([1], np.int32), False)
    bank.reset(np.array([2, 1], np.int32))
    teach(bank, [1, 2], eager=config == EAGER.get(spec.name))
    alone = new(spec, config, 3)
    alone.update(batch_of(one_model(np.where([True, False, False], values, np.nan)), 0, 300))
    assert state_bytes(bank.snapshot()) == state_bytes(alone.snapshot())
    bank.reset(np.array([0], np.int32))
    teach(bank, [0], eager=config == EAGER.get(spec.name))
    assert state_bytes(bank.snapshot()) == state_bytes(new(spec, config, 3).snapshot())


@every_detector
def test_lanes_that_come_later_are_like_lanes_from_the_start(
    spec: DetectorSpec, config: BaseModel
) -> None:
    values = np.random.default_rng(13).normal(size=(400, 5))
    values[:100, 1:] = np.nan
    values[:200, 2:] = np.nan
    stream = one_model(values)
    early, late = new(spec, config, 5), new(spec, config, 1)
    firings = feed(early, split(stream, [100, 200]))
    late_firings = late.update(batch_of(one_model(values[:, :1]), 0, 100))
    late.resize(2)
    teach(late, [1], eager=config == EAGER.get(spec.name))
    narrow = Stream(stream.offset, stream.model, [np.arange(2, dtype=np.int32)], values[:, :2])
    late_firings += late.update(batch_of(narrow, 100, 200))
    late.resize(5)
    late.resize(3)
    teach(late, [2, 3, 4], eager=config == EAGER.get(spec.name))
    late_firings += late.update(batch_of(stream, 200, 400))
    assert sorted(late_firings) == firings
    assert state_bytes(late.snapshot()) == state_bytes(early.snapshot())


@every_detector
def test_a_lane_switched_off_observes_nothing(spec: DetectorSpec, config: BaseModel) -> None:
    values = np.random.default_rng(14).normal(size=(500, 3)) * 3
    bank, other = new(spec, config, 3), new(spec, config, 3)
    off = np.array([1], np.int32)
    firings = bank.update(batch_of(one_model(values), 0, 200))
    bank.set_enabled(off, False)
    resumed = spec.build(config, 3, bank.snapshot())
    firings += resumed.update(batch_of(one_model(values), 200, 400))
    resumed.set_enabled(off, True)
    firings += resumed.update(batch_of(one_model(values), 400, 500))
    values[200:400, 1] = np.nan
    assert sorted(firings) == feed(other, split(one_model(values), []))
    assert state_bytes(resumed.snapshot()) == state_bytes(other.snapshot())


@every_detector
def test_a_detector_off_by_config_runs_where_it_is_switched_on(
    spec: DetectorSpec, config: BaseModel
) -> None:
    off = config.model_copy(update={"enabled": False})
    values = np.random.default_rng(15).normal(size=(200, 2))
    bank = new(spec, off, 2)
    initial = state_bytes(bank.snapshot())
    assert bank.update(batch_of(one_model(values), 0, 200)) == []
    assert state_bytes(bank.snapshot()) == initial
    bank.set_enabled(np.array([1], np.int32), True)
    bank.update(batch_of(one_model(values), 0, 200))
    assert state_bytes(bank.snapshot()) != initial


@every_detector
@pytest.mark.parametrize("lane", [-1, 2, 2**31 - 1])
def test_a_lane_that_is_not_there_is_refused(
    spec: DetectorSpec, config: BaseModel, lane: int
) -> None:
    bank = new(spec, config, 2)
    lanes = np.array([lane], np.int32)
    stream = Stream(np.arange(3), np.zeros(3, np.int32), [lanes], np.ones((3, 1)))
    with pytest.raises(IndexError):
        bank.update(batch_of(stream, 0, 3))
    with pytest.raises(IndexError):
        bank.reset(lanes)
    with pytest.raises(IndexError):
        bank.set_enabled(lanes, False)


def used_state(spec: DetectorSpec, config: BaseModel) -> dict[str, NDArray[Any]]:
    bank = new(spec, config, 4)
    values = np.random.default_rng(16).normal(size=(333, 4))
    values[:, 3] = np.nan
    bank.update(batch_of(one_model(values), 0, 333))
    return dict(bank.snapshot())


@every_detector
def test_a_snapshot_of_another_form_is_refused(spec: DetectorSpec, config: BaseModel) -> None:
    state = used_state(spec, config)

    def refused(changed: BankState, n_lanes: int = 4) -> None:
        with pytest.raises(StateError):
            spec.build(config, n_lanes, changed)

    spec.build(config, 4, state)
    refused(state, 3)
    refused(state, 5)
    refused({})
    refused(state | {"surplus": np.zeros(4)})
    for name, array in state.items():
        refused({k: v for k, v in state.items() if k != name})
        refused(state | {name: array[:-1]})
        refused(state | {name: array[None]})
        refused(state | {name: array.astype(np.float32)})
        refused(
            state | {name: array.astype(array.dtype.newbyteorder(">"))}
            if array.itemsize > 1
            else state | {name: array.astype(np.int16)}
        )


def _range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """The least and the greatest number of a dtype."""
    if dtype.kind == "f":
        return -np.inf, np.inf
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


@every_detector
def test_a_snapshot_with_a_number_that_cannot_be_is_refused(
    spec: DetectorSpec, config: BaseModel
) -> None:
    state = used_state(spec, config)
    for name, array in state.items():
        impossible: dict[str, list[float]] = {
            "f": [np.inf, -np.inf],
            "i": [-2, 2**62, -(2**63)],
            "u": [255],
            "b": [],
        }
        for number in impossible[array.dtype.kind]:
            if name.endswith("_offset") and number > 0:
                continue  # an offset is carried and told, nothing is computed from it
            changed = array.copy()
            if number == -2 and name in SIGNED:
                continue
            lowest, highest = _range(array.dtype)
            changed.flat[0] = min(max(number, lowest), highest)
            with pytest.raises(StateError):
                spec.build(config, 4, state | {name: changed})
