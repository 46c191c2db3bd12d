"""What is counted of versions in a window: losses, groups, and that only places decide."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.records import Record
from schemas.retraining import CleanWindow
from streams import version_reader
from streams.crossed_cells import BothCells
from streams.difference import Sums
from streams.responder_ports import ModelName
from streams.version_facts import Slicing, VersionEvents, VersionTally, group_name
from streams.version_reader import KafkaVersionWindows
from tests.streams.rollback_kit import DECODER, MODEL, every, served
from tests.streams.test_window_facts import LIMITS
from tests.streams.window_kit import MemoryEvents, labelled, predicted, record, window

CONFIG = DetectionConfig()
AUTOMATIC = Slicing()


def tallies_of(
    *polls: list[Record],
    new: str = "8",
    old: str | None = None,
    slicing: Slicing = AUTOMATIC,
    last: int = 9_999,
) -> dict[str, VersionTally]:
    events = VersionEvents(
        "churn",
        window((0, 0, last), (1, 0, last)),
        slicing,
        max_future_ms=CONFIG.max_future_ms,
        max_late_ms=CONFIG.max_late_ms,
    )
    for poll in polls:
        events.take(decode_records(poll[0].tp, poll, LIMITS, None, None).events)
    return events.tallies(new, old)


def test_each_version_has_its_own_losses_and_groups() -> None:
    records = served(0, 80, lambda i: "78"[i // 4 % 2], lambda i: i // 4 % 2 == 1 and i % 4 == 0)
    found = tallies_of(records)
    assert list(found) == ["8", "7"]
    assert (found["7"].n_predictions, found["7"].labelled) == (40, Sums(40, 0.0, 0.0))
    assert found["8"].labelled == Sums(40, 10.0, 10.0)
    assert found["8"].loss == "error_rate"
    # Those that are wrong have even numbers: they are of plan a.
    assert found["8"].groups == {"plan=a": Sums(20, 10.0, 10.0), "plan=b": Sums(20, 0.0, 0.0)}


def test_the_last_version_is_the_one_with_most_predictions() -> None:
    few, many = served(0, 10, "6"), served(40, 20, "7")
    assert list(tallies_of([*few, *many])) == ["7"]
    assert list(tallies_of([*few, *many], old="6")) == ["6"]
    tie = [*served(0, 10, "6"), *served(40, 10, "7"), *served(80, 3, "8")]
    assert list(tallies_of(tie)) == ["8", "6"]
    assert tallies_of(served(0, 10, "7", model_id="other")) == {}
    assert tallies_of() == {}


def test_numbers_lose_by_their_distance() -> None:
    records = []
    for i in range(40):
        records += [
            record(2 * i, predicted(i, i + 0.5, model_version="8")),
            record(2 * i + 1, labelled(i, i + 2.5 * (i % 2))),
        ]
    found = tallies_of(records)["8"]
    assert found.loss == "absolute_error"
    assert found.labelled == Sums(40, 20 * 0.5 + 20 * 2.0, 20 * 0.25 + 20 * 4.0)
    assert found.n_labels == 40


def test_a_prediction_of_nothing_and_a_label_of_nothing_are_no_loss() -> None:
    records = [
        record(0, predicted(0, None, model_version="8")),
        record(1, labelled(0, 1)),
        record(2, predicted(1, 1, model_version="8")),
        record(3, labelled(1, 0)),
        record(4, predicted(2, 1, model_version="8")),
    ]
    found = tallies_of(records)["8"]
    assert (found.n_predictions, found.labelled) == (3, Sums(1, 1.0, 1.0))


def of_features(n: int, features: Any) -> list[Record]:
    found = []
    for i in range(n):
        found += [
            record(2 * i, predicted(i, 1, model_version="8", features=features(i))),
            record(2 * i + 1, labelled(i, 1)),
        ]
    return found


def groups(records: list[Record], **slicing: Any) -> list[str]:
    return list(tallies_of(records, slicing=Slicing(**slicing))["8"].groups)


def test_slices_are_named_ones_and_a_few_with_few_categories() -> None:
    records = of_features(
        400, lambda i: {"b": i % 2 == 0, "many": f"m{i % 12}", "a": "xy"[i % 2], "one": "same"}
    )
    assert groups(records) == ["a=x", "a=y", "b=false", "b=true"]
    assert groups(records, n_automatic=1) == ["a=x", "a=y"]
    named = groups(records, named=("many", "gone"), n_automatic=0)
    assert named == [f"many=m{i}" for i in sorted(range(12), key=str)]


def test_a_few_odd_values_undo_no_slice() -> None:
    def features(i: int) -> dict[str, object]:
        if i % 50 == 0:
            return {"plan": i}
        return {"plan": f"odd{i}" if i % 51 == 0 else "ab"[i % 2]}

    assert groups(of_features(500, features)) == ["plan=a", "plan=b"]
    assert groups(of_features(500, lambda i: {"plan": i if i % 3 else "a"})) == []
    assert groups(of_features(5_000, lambda i: {"id": f"c{i}", "x": "ab"[i % 2]})) == [
        "x=a",
        "x=b",
    ]


def test_names_of_groups_are_those_of_signals() -> None:
    assert group_name("a=b", "c") != group_name("a", "b=c")
    assert group_name("plan", "a") == "plan=a"


_events = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.booleans(),
        st.sampled_from(["6", "7", "8"]),
        st.integers(0, 1),
        st.sampled_from(["a", "b", True, 3, None]),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(_events, st.integers(0, 2**32))
def test_only_places_decide(drawn: list[tuple[int, bool, str, int, object]], seed: int) -> None:
    """In any order, in any parts, and some of it twice."""
    records = [
        record(
            offset,
            labelled(number, value)
            if is_label
            else predicted(number, value, model_version=version, features={"plan": plan}),
        )
        for offset, (number, is_label, version, value, plan) in enumerate(drawn)
    ]
    whole = tallies_of(*([records] if records else []))
    shuffled = random.Random(seed)
    parts = [[each] for each in records]
    parts += [[each] for each in records if shuffled.random() < 0.3 and "3" not in repr(each)]
    shuffled.shuffle(parts)
    assert tallies_of(*parts) == whole


@pytest.mark.parametrize("asked", [None, "6"])
def test_what_lies_outside_the_window_is_not_counted(asked: str | None) -> None:
    records = [*served(0, 50, "6", every(2)), *served(100, 50, "8")]
    found = tallies_of(records, old=asked, last=149)
    assert (found["6"].n_labels, found["8"].n_labels) == (50, 25)


def test_each_label_is_in_one_cell_of_all_features() -> None:
    found = tallies_of(of_features(480, lambda i: {"a": "xy"[i % 2], "b": "uvw"[i % 3]}))["8"]
    crossing = BothCells(found.cells, found.cells).crossed(["a", "b"])
    assert crossing is not None
    assert crossing.pairs == [(Sums(80, 0.0, 0.0), Sums(80, 0.0, 0.0))] * 6


def test_windows_with_many_cells_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    tallies = tallies_of(served(0, 80, lambda i: "78"[i // 4 % 2]))
    n_bytes = sum(each.cells.n_bytes for each in tallies.values())
    monkeypatch.setattr(version_reader, "_KEPT_BYTES", 2 * n_bytes)
    read: list[int] = []

    def reads(_: object, __: ModelName, asked: CleanWindow, *___: object) -> object:
        read.append(asked.parts[0].ranges[0].last_offset)
        return tallies

    monkeypatch.setattr(KafkaVersionWindows, "_read", reads)
    windows = KafkaVersionWindows(MemoryEvents([], high=0), DECODER)

    async def ask(*ends: int) -> None:
        for end in ends:
            await windows.tallies(MODEL, window((0, 0, end)), {0: "f"}, "8", None)

    asyncio.run(ask(1, 2, 1, 3, 1, 2))
    assert read == [1, 2, 3, 2]
    monkeypatch.setattr(version_reader, "_KEPT_BYTES", 1)
    asyncio.run(ask(4, 4))
    assert read == [1, 2, 3, 2, 4]
