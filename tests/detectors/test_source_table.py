"""The table of sources: whatever the batches, it is bounded and keeps who is watched."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.base import StateError
from detectors.mixing import GOLDEN, splitmix64
from detectors.security import sources
from detectors.security.base import Suspicion, Technique
from detectors.security.sources import MIN_IDLE, REFUSALS, RING, SOURCE_COUNTERS, SourceTable
from schemas.batch import I32, I64, U64
from tests.detectors.damage import Arrays, cut, put
from tests.detectors.folding import as_bytes


class Run:
    """A table, and what it said of all events so far."""

    def __init__(self, n_places: int = 16, admit_after: int = 1) -> None:
        self.counters = dict.fromkeys(SOURCE_COUNTERS, 0)
        self.table = SourceTable(n_places, admit_after, self.counters)
        self.number = 0
        self.place: list[int] = []
        self.is_first: list[bool] = []
        self.is_repeat: list[bool] = []
        self.kind: list[int] = []
        self.pressure: list[Suspicion] = []

    def send(self, source: I64, row: I64 | None = None, model: I32 | None = None) -> Run:
        """Events of these sources; rows are all different, if none are given."""
        n = len(source)
        number = np.arange(self.number, self.number + n, dtype=np.int64)
        rows = number if row is None else row
        placed = self.table.place(
            np.zeros(n, np.int32) if model is None else model,
            words(source),
            number,
            rows.astype(np.uint64),
            number * 2,
            np.zeros(n, np.int32),
            number * 10,
        )
        self.number += n
        self.place += placed.source.tolist()
        self.is_first += placed.is_first.tolist()
        self.is_repeat += placed.is_repeat.tolist()
        self.kind += placed.kind.tolist()
        self.pressure += placed.pressure
        return self

    def resumed(self) -> Run:
        """The same, built from its snapshot."""
        other = Run()
        other.__dict__.update(self.__dict__)
        other.counters = dict(self.counters)
        n_places, admit_after = self.table.n_places, int(self.table._limits[0])
        state = self.table.snapshot()
        other.table = SourceTable(n_places, admit_after, other.counters, state, self.number)
        return other

    def said(self) -> object:
        state = as_bytes({"sources": self.table.snapshot()})
        told = self.place, self.is_first, self.is_repeat, self.kind, self.pressure
        return told, self.counters, state


def words(source: I64) -> U64:
    low = splitmix64(source.astype(np.uint64) + GOLDEN)
    return np.stack([low, splitmix64(low)], axis=1)


def ids(*numbers: int) -> I64:
    return np.array(numbers, np.int64)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 4_000),
    cuts=st.lists(st.integers(0, 4_000), max_size=5),
    admit_after=st.integers(1, 4),
)
def test_any_split_and_any_resumption_give_the_same(
    seed: int, n: int, cuts: Sequence[int], admit_after: int
) -> None:
    rng = np.random.default_rng(seed)
    # A few that come often, and many that do not: the table is full, and somebody has to go.
    source = np.where(rng.random(n) < 0.5, rng.integers(0, 12, n), rng.integers(0, 60, n))
    model = rng.integers(0, 2, n).astype(np.int32)
    row = rng.integers(0, 40, n)
    whole = Run(16, admit_after).send(source, row, model)
    parts = Run(16, admit_after)
    edges = [0, *sorted(min(cut, n) for cut in cuts), n]
    for start, stop in pairwise(edges):
        parts = parts.resumed().send(source[start:stop], row[start:stop], model[start:stop])
    assert parts.said() == whole.said()
    taken = whole.table.owner >= 0
    assert np.count_nonzero(taken) <= 16


def test_a_source_is_followed_from_its_fourth_event_on() -> None:
    run = Run(16, 4).send(ids(5, 5, 5, 5, 5, 6))
    assert run.place == [-1, -1, -1, 0, 0, -1]
    assert run.is_first == [False, False, False, True, False, False]
    assert run.counters["n_admitted_sources"] == 1


def test_two_models_have_two_sources_of_one_name() -> None:
    run = Run().send(ids(5, 5, 5), model=np.array([0, 1, 0], np.int32))
    assert run.place == [0, 1, 0]


def test_who_is_longest_idle_gives_way_and_only_after_a_thousand_events() -> None:
    run = Run(16).send(np.arange(16, dtype=np.int64))
    # Source 3 is then idle the longest: all before it have come once more.
    run.send(ids(0, 1, 2)).send(np.full(MIN_IDLE - 17, 15))
    assert run.send(ids(99)).place[-1] == -1
    assert run.counters["n_refused_sources"] == 1
    run.send(ids(98))
    assert (run.place[-1], run.is_first[-1]) == (3, True)
    # Source 3 comes anew, in the place of the next one.
    run.send(ids(3))
    assert (run.place[-1], run.is_first[-1]) == (4, True)
    assert run.counters["n_evicted_sources"] == 2


def test_against_whom_something_stands_keeps_its_place() -> None:
    run = Run(16).send(np.arange(16, dtype=np.int64))
    standing = np.zeros(16, np.int32)
    standing[[0, 1]] = 1
    run.table.read_standing(standing, run.number)
    run.send(np.full(MIN_IDLE, 15)).send(ids(99, 98, 97))
    assert run.place[-3:] == [2, 3, 4]
    # What stood against them is over: they go, since they are idle the longest.
    run.table.read_standing(np.zeros(16, np.int32), run.number)
    assert run.resumed().send(ids(96, 95)).place[-2:] == [0, 1]


def test_at_most_half_of_the_table_is_protected_those_with_most_against_them() -> None:
    run = Run(16).send(np.arange(16, dtype=np.int64))
    run.table.read_standing(np.arange(1, 17, dtype=np.int32), run.number)
    run.send(np.full(MIN_IDLE, 15)).send(np.arange(100, 110, dtype=np.int64))
    assert run.place[-10:] == [0, 1, 2, 3, 4, 5, 6, 7, -1, -1]


def test_after_a_million_events_protection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PROTECTED_FOR", 3_000)
    run = Run(16).send(np.arange(16, dtype=np.int64))
    standing = np.zeros(16, np.int32)
    standing[0] = 9
    run.table.read_standing(standing, run.number)
    run.send(np.full(2_980, 15)).send(ids(99))
    assert run.place[-1] == 1
    run.send(np.full(10, 15)).send(ids(98))
    assert run.place[-1] == 0


def test_a_row_is_a_repeat_while_it_is_among_the_latest_distinct_ones() -> None:
    run = Run().send(ids(1, 1, 1, 2), ids(7, 7, 8, 7))
    assert run.is_repeat == [False, True, False, False]
    # What is sent again moves to the end: a canary is known for as long as it comes.
    others = np.arange(100, 100 + RING - 1, dtype=np.int64)
    run.send(np.full(RING - 1, 1), others).send(ids(1), ids(8))
    run.send(np.full(RING - 1, 1), others + 1_000).send(ids(1), ids(8))
    run.send(np.full(RING, 1), others[:1] + 2_000 + np.arange(RING)).send(ids(1), ids(8))
    canaries = [run.is_repeat[3 + k] for k in (RING + 1, 2 * RING + 1, 3 * RING + 2)]
    assert canaries == [True, True, False]
    assert run.resumed().send(ids(1, 1), ids(8, 2_101)).is_repeat[-2:] == [True, True]


def test_kinds_are_known_by_name_and_the_others_are_of_none() -> None:
    run = Run()
    of = {(int(low), int(high)): k for k, (low, high) in enumerate(words(np.arange(1, 6)))}
    run.table.set_kinds(of)
    run.send(ids(1, 2, 3, 4, 5, 6))
    assert run.kind == [0, 1, 2, 3, 4, 0]


def test_refusals_are_told_when_they_are_many_and_when_they_have_doubled() -> None:
    run = Run(16)
    turns = np.tile(np.arange(16, dtype=np.int64), 20)
    for k in range(70):
        run.send(turns).send(ids(1_000 + k))
    assert run.counters["n_refused_sources"] == 70
    assert [(s.n_hits, s.technique, s.source) for s in run.pressure] == [
        (REFUSALS, Technique.PRESSURE, -1),
        (2 * REFUSALS, Technique.PRESSURE, -1),
    ]
    first = run.pressure[0]
    assert first.first_offset == 2 * 320
    assert first.n_seen == (REFUSALS - 1) * 321 + 1
    # After a quiet spell it begins anew.
    run.send(np.tile(turns, 4)).send(np.repeat(np.arange(2_000, 2_000 + REFUSALS), 1))
    assert [s.n_hits for s in run.pressure[2:]] == [REFUSALS]


def test_a_million_names_neither_grow_the_table_nor_push_out_who_is_watched() -> None:
    run = Run(64, 4).send(np.full(10, 7))
    place = run.place[-1]
    assert place >= 0
    n, size = 50_000, 0
    for k in range(20):
        standing = np.zeros(64, np.int32)
        standing[place] = 1
        run.table.read_standing(standing, run.number)
        # Some names come often enough to be admitted.
        flood = np.arange(n, dtype=np.int64) + 1_000_000 * (k + 1)
        flood[: n // 10] //= 5
        flood[n // 2] = 7
        run.send(flood)
        for told in (run.place, run.is_first, run.is_repeat, run.kind):
            del told[:-1]
        now = sum(array.nbytes for array in run.table.snapshot().values())
        assert len(run.table) <= 64
        if k == 4:
            size = now
        if k > 4:
            assert now <= size
    assert run.send(ids(7)).place[-1] == place
    assert not run.is_first[-1]
    assert run.counters["n_admitted_sources"] > 10_000


def test_the_places_of_a_model_that_is_gone_are_free() -> None:
    run = Run(16).send(np.arange(8, dtype=np.int64), model=np.repeat([0, 1], 4).astype(np.int32))
    run.table.forget(0)
    assert (run.table.owner[:4] == -1).all()
    run.send(ids(50, 5), model=np.array([2, 1], np.int32))
    assert run.place[-2:] == [0, 5]
    assert run.is_first[-2:] == [True, False]
    assert run.resumed().said() == run.said()


def used() -> tuple[Arrays, int]:
    run = Run(16, 2)
    rng = np.random.default_rng(3)
    run.send(rng.integers(0, 30, 3_000), rng.integers(0, 400, 3_000))
    run.send(np.tile(np.arange(16), 40)).send(np.repeat(np.arange(500, 540), 2))
    run.table.read_standing(np.arange(16, dtype=np.int32), run.number)
    return dict(run.table.snapshot()), run.number


def test_a_snapshot_of_another_form_is_refused() -> None:
    state, number = used()
    counters = dict.fromkeys(SOURCE_COUNTERS, 0)
    SourceTable(16, 2, counters, state, number)

    def refused(changed: dict[str, NDArray[Any]]) -> None:
        with pytest.raises(StateError):
            SourceTable(16, 2, counters, changed, number)

    refused({})
    refused(state | {"surplus": np.zeros(4)})
    for name, array in state.items():
        assert len(array), name
        refused({k: v for k, v in state.items() if k != name})
        refused(state | {name: array[:-1]})
        refused(state | {name: array[None]})
        refused(state | {name: array.astype(np.float32)})


HOSTILE = {
    "place beyond": put("place", 15, 16),
    "place below": put("place", 0, -1),
    "place twice": put("place", 1, 0),
    "owner": put("owner", 0, -1),
    "seen yet to come": put("last", 0, 2**40),
    "seen before all": put("last", 0, -1),
    "ring counts": put("ring_n", 0, 0),
    "ring counts, many": put("ring_n", 0, 2**62),
    "standing": put("standing", 0, -1),
    "protected, and nothing stands": put("is_protected", 0, 1),
    "protected twice": put("is_protected", 9, 2),
    "door beyond": put("door", 0, 2**30),
    "door count": put("door_n", 0, 0),
    "door count, many": put("door_n", 0, 2**31 - 1),
    "door model": put("door_model", 0, -5),
    "door yet to come": put("door_last", 0, 2**62),
    "refusals, negative": put("refusals", 0, -1),
    "refusals, more than came": put("refusals", 0, 2**50),
    "refusals, told at": put("refusals", 3, 1),
    "cut": cut("refusals"),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_snapshot_that_contradicts_itself_is_refused(change: Any) -> None:
    state, number = used()
    changed = {name: array.copy() for name, array in state.items()}
    change(changed)
    with pytest.raises(StateError):
        SourceTable(16, 2, dict.fromkeys(SOURCE_COUNTERS, 0), changed, number)


def test_one_name_or_one_event_twice_is_refused() -> None:
    state, number = used()
    for name in ("names", "last"):
        changed = {key: array.copy() for key, array in state.items()}
        changed[name][1] = changed[name][0]
        changed["owner"][:] = 0
        with pytest.raises(StateError):
            SourceTable(16, 2, dict.fromkeys(SOURCE_COUNTERS, 0), changed, number)
