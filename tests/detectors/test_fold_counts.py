"""Counts have 63 bits: a partition may be old, and a made-up state may say anything."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from detectors.base import BankState, StateError
from detectors.fold import COUNTERS, Fold
from schemas.batch import ModelKey
from schemas.config import BoundsConfig, DetectionConfig
from schemas.findings import Finding
from tests.detectors.decoded import Event, decoded

CONFIG = DetectionConfig(reference_events=20, bounds=BoundsConfig(max_models=2, min_idle_records=5))
N_BEFORE = 60


def events(start: int, stop: int) -> list[Event]:
    """Two models, the values of both high from event 100 on."""
    return [
        Event(i, {"x": float(i % 7) + 50.0 * (i >= 100)}, ModelKey("ab"[i % 2], "1"))
        for i in range(start, stop)
    ]


def older(state: Mapping[str, BankState], n: int) -> dict[str, BankState]:
    """The state as it would be had n labels come before everything else."""
    of_fold = dict(state["fold"])
    numbers = of_fold["numbers"].copy()
    for counter in ("n_events", "n_labels"):
        numbers[COUNTERS.index(counter)] += n
    return dict(state) | {
        "fold": of_fold | {"numbers": numbers, "last_seen": of_fold["last_seen"] + n}
    }


def begun() -> dict[str, BankState]:
    fold = Fold(CONFIG)
    fold.process(decoded(events(0, N_BEFORE)))
    return fold.snapshot()


@pytest.mark.parametrize("n", [2**31 - N_BEFORE - 30, 2**31, 2**32 - 100, 2**40])
def test_a_partition_of_billions_of_events_goes_on_as_a_young_one(n: int) -> None:
    young, old = Fold(CONFIG, begun()), Fold(CONFIG, older(begun(), n))
    for start in range(N_BEFORE, 300, 60):
        poll = decoded(events(start, start + 60))
        expected = young.process(poll)
        assert old.process(poll) == expected
    assert old.counters["n_findings"] > 0
    assert old.catalog.last_seen.tolist() == [298 + n, 299 + n]
    assert Fold(CONFIG, old.snapshot()).counters == old.counters


def test_a_new_model_takes_the_place_of_the_idle_one_however_old_the_partition() -> None:
    n = 2**31 - N_BEFORE - 3
    fold = Fold(CONFIG, older(begun(), n))
    said = fold.process(
        decoded([Event(i, {"x": float(i % 7)}, ModelKey("a", "1")) for i in range(60, 70)])
    )
    said += fold.process(decoded([Event(70, {"x": 1.0}, ModelKey("c", "1"))]))
    assert [key.model_id for key in fold.catalog.slot_of] == ["a", "c"]
    assert not any(isinstance(each, Finding) for each in said)


@pytest.mark.parametrize("counter", COUNTERS)
def test_a_made_up_counter_that_would_run_over_is_refused(counter: str) -> None:
    state = begun()
    numbers = state["fold"]["numbers"].copy()
    numbers[COUNTERS.index(counter)] = np.iinfo(np.int64).max
    with pytest.raises(StateError, match="counter"):
        Fold(CONFIG, state | {"fold": dict(state["fold"]) | {"numbers": numbers}})


@pytest.mark.parametrize("name", ["n_events", "last_seen"])
def test_a_made_up_count_of_a_model_that_would_run_over_is_refused(name: str) -> None:
    state = begun()
    counts = np.full_like(state["fold"][name], 2**63 - 1)
    with pytest.raises(StateError, match="counter"):
        Fold(CONFIG, state | {"fold": dict(state["fold"]) | {name: counts}})
