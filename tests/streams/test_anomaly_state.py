"""A snapshot of the open anomalies is read as it was written, and no other one is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.base import StateError
from detectors.security.base import Technique
from streams.anomaly_state import _COLUMNS, restore_anomalies, snapshot_anomalies
from tests.streams.anomaly_kit import Told, cluster, passed, policy, suspicion

Arrays = dict[str, NDArray[Any]]
Change = Callable[[Arrays], None]


def snapshot() -> Arrays:
    told = Told()
    told.until(
        100,
        suspicion(5),
        suspicion(6, detector="query_distance", detail="0 for 1", n_expected=1.5),
        suspicion(7, model=1, technique=Technique.BACKDOOR, source_words=(0, 0), n_slices=2),
        cluster(8, [(2**64 - 1, 1), (3, 4)], first_offset=0),
        suspicion(90, first_offset=60),
        cluster(91, [], model=-1, technique=Technique.PRESSURE, detail="exposure"),
    )
    return dict(told.policy.snapshot())


def test_what_was_written_is_read() -> None:
    state = snapshot()
    assert {array.dtype.kind for array in state.values()} == {"i", "u", "f"}
    book = restore_anomalies(state)
    assert len(book.by_uid) == 4
    again = snapshot_anomalies(book)
    assert list(again) == list(state)
    assert all(again[name].tobytes() == state[name].tobytes() for name in state)
    empty = policy().snapshot()
    assert restore_anomalies(empty).by_uid == {}


def test_the_snapshot_shares_no_memory_with_the_policy() -> None:
    told = Told(policy(snapshot()))
    state = told.policy.snapshot()
    kept = {name: array.copy() for name, array in state.items()}
    told.until(200, suspicion(150, n_hits=100))
    assert all((state[name] == kept[name]).all() for name in kept if name != "anomaly_statistic")


def cell(column: str, value: int, row: int = 0) -> Change:
    def change(state: Arrays) -> None:
        state["anomaly"][row, _COLUMNS.index(column)] = value

    return change


def entry(name: str, at: Any, value: float) -> Change:
    def change(state: Arrays) -> None:
        state[name][at] = value

    return change


def text(old: bytes, new: bytes) -> Change:
    def change(state: Arrays) -> None:
        raw = state["anomaly_text"].tobytes()
        assert old in raw
        assert len(old) == len(new)
        state["anomaly_text"] = np.frombuffer(raw.replace(old, new), np.uint8).copy()

    return change


def shorter(name: str) -> Change:
    def change(state: Arrays) -> None:
        state[name] = state[name][:-1]

    return change


def longer(name: str) -> Change:
    def change(state: Arrays) -> None:
        state[name] = np.concatenate([state[name], state[name][-1:]])

    return change


def twice(state: Arrays) -> None:
    """Every anomaly twice."""
    for name in set(state) - {"anomaly_events"}:
        state[name] = np.concatenate([state[name], state[name]])


CHANGES: dict[str, Change] = {
    **{
        f"{name} {value}": cell(name, value) for name in _COLUMNS for value in (-(1 << 62), 1 << 62)
    },
    **{
        f"{name} {value}": cell(name, value)
        for name, value in [
            *[("has_model", 2), ("is_exposure", -1), ("is_cluster", 2), ("has_model", 0)],
            *[("revision", 0), ("n_detectors", 0), ("n_named", 0), ("n_ranges", 0)],
            *[("n_named", 2), ("n_ranges", 5), ("n_details", 2), ("n_sources", 0)],
            *[("opened_number", 95), ("last_number", 101), ("shard", -2)],
        ]
    },
    **{f"{name} is cut": shorter(name) for name in snapshot() if name != "anomaly_events"},
    **{f"{name} goes on": longer(name) for name in snapshot() if name != "anomaly_events"},
    # The second detector of the first anomaly has said its only detail.
    "a detail that is not there": entry("anomaly_seen", (1, -1), 2),
    "a detail below none": entry("anomaly_seen", (1, -1), -1),
    "all is there twice": twice,
    "no events": entry("anomaly_events", 0, 4),
    "a negative number of events": entry("anomaly_events", 0, -1),
    "a shard without a model": cell("shard", 1, row=3),
    "ranges in no order": entry("anomaly_range", (0, 0), 80),
    "a range that ends before it begins": entry("anomaly_range", (0, 1), -1),
    "a negative offset": entry("anomaly_range", (0, 0), -1),
    "a negative count": entry("anomaly_seen", (0, 1), -1),
    "half provisional": entry("anomaly_seen", (0, 3), 2),
    "a time that cannot be": entry("anomaly_seen", (0, 4), 1 << 61),
    "a negative number of slices": entry("anomaly_seen", (0, 6), -1),
    "a negative length": entry("anomaly_text_bytes", 0, -1),
    "no technique": text(b"backdoor", b"frontdoo"),
    "no UTF-8": text(b"query_distance", b"query_distanc\xff"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_made_up_snapshot_is_refused(change: Change) -> None:
    state = snapshot()
    change(state)
    with pytest.raises(StateError):
        policy(state)


def test_a_name_that_is_no_hash_is_refused() -> None:
    state = snapshot()
    state["anomaly_text"][0] = ord("X")
    with pytest.raises(StateError, match="names no anomaly"):
        policy(state)


def test_two_anomalies_of_one_source_are_refused() -> None:
    told = Told()
    told.until(10, suspicion(1), suspicion(2, source_words=(1, 1)))
    state = told.policy.snapshot()
    state["anomaly_source"][1] = state["anomaly_source"][0]
    with pytest.raises(StateError, match="two anomalies are one"):
        policy(state)


@pytest.mark.parametrize("name", list(snapshot()))
def test_a_missing_or_retyped_array_is_refused(name: str) -> None:
    state = snapshot()
    array = state.pop(name)
    with pytest.raises(StateError):
        policy(dict(state))
    with pytest.raises(StateError):
        policy({**state, name: array.astype(np.float32)})


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_whatever_is_read_can_go_on(data: st.DataObject) -> None:
    """A changed number is refused, or makes a policy that works."""
    state = snapshot()
    name = data.draw(st.sampled_from(sorted(set(state) - {"anomaly_statistic"})))
    array = state[name]
    at = data.draw(st.integers(0, array.size - 1))
    info = np.iinfo(array.dtype)
    number = data.draw(
        st.integers(int(info.min), int(info.max)) | st.integers(0, 100).filter(lambda n: n < 256)
    )
    array.reshape(-1)[at] = number
    try:
        own = policy(state)
    except StateError:
        return
    start = own.book.n_events
    told = Told(own)
    if start < 1 << 30:
        records = told.until(start + 3_000, suspicion(start + 1), cluster(start + 2, [(3, 4)]))
        assert all(record.as_ocsf() for record in records)
    else:
        # As far on as no log is: there are no such offsets.
        own.decide([], passed(0, 5), lambda: 1)
    policy(own.snapshot())
