"""Labels meet their predictions by the rules, whatever the batches, and within bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.base import StateError
from detectors.fold import Fold
from detectors.kernels.labels import COUNTERS
from detectors.labels import join
from detectors.labels.identity import class_code, number_codes
from schemas.batch import ModelKey
from schemas.config import BoundsConfig, DetectionConfig, DetectorsConfig, FocusConfig, LabelsConfig
from streams.segments import cut_into_segments
from tests.detectors.damage import Arrays, cut, put
from tests.detectors.decoded import Event, Scalar, decoded
from tests.detectors.folding import as_bytes
from tests.detectors.label_rules import Pair, Rules

MONITORED = (ModelKey("a", "1"), ModelKey("a", "2"))
OTHERS = (ModelKey("a", "3"), ModelKey("b", "1"))
LABELED = (ModelKey("a", ""), ModelKey("a", ""), ModelKey("b", ""))
VALUES: list[Scalar] = [0, 1, 1.0, -0.0, 0.5, "1", "no", "01", "true", True, False, 2**60]
NO_FOCUS = DetectorsConfig(focus=FocusConfig(enabled=False))


def config_of(labels: LabelsConfig) -> DetectionConfig:
    return DetectionConfig(
        reference_events=20,
        labels=labels,
        detectors=NO_FOCUS,
        max_future_ms=1_000,
        bounds=BoundsConfig(max_models=2, min_idle_records=1_000_000),
    )


@st.composite
def logs(draw: st.DrawFn) -> tuple[LabelsConfig, list[Event]]:
    seed = draw(st.integers(0, 2**32 - 1))
    n = draw(st.integers(0, 150))
    step = draw(st.sampled_from([0, 30, 300]))
    config = LabelsConfig(
        enabled=True,
        max_delay_ms=draw(st.sampled_from([1_000, 3_000])),
        max_early_ms=draw(st.sampled_from([0, 500, 4_000])),
        max_pending=draw(st.sampled_from([1, 5, 1_000])),
        max_early=draw(st.sampled_from([1, 3, 1_000])),
    )
    n_ids = draw(st.sampled_from([3, 20, 200]))
    share = draw(st.sampled_from([0.3, 0.5, 0.7]))
    rng = np.random.default_rng(seed)
    events = [Event(i, model=key, ts=1, event_id=900 + i) for i, key in enumerate(MONITORED)]
    clock = 1
    for i in range(len(events), n):
        clock += int(rng.integers(0, step + 1))
        is_label = bool(rng.random() < share)
        models = LABELED if is_label else (*MONITORED, *MONITORED, *OTHERS)
        says = VALUES[int(rng.integers(len(VALUES)))]
        events.append(
            Event(
                offset=i,
                model=models[int(rng.integers(len(models)))],
                prediction=says if is_label or rng.random() < 0.9 else None,
                score=np.nan if is_label else float(rng.random()),
                is_label=is_label,
                ts=max(0, clock + int(rng.integers(-400, 400)) + 9_000 * int(rng.random() < 0.02)),
                record_ts=clock,
                event_id=int(rng.integers(n_ids)),
            )
        )
    return config, events


def code_of(value: object) -> int:
    """The code of what `label_rules.meaning` gives."""
    if value is None:
        return 0
    return (
        class_code(value)
        if isinstance(value, str)
        else int(number_codes(np.array([value], np.float64))[0])
    )


def fold_in(fold: Fold, events: Sequence[Event], cuts: Sequence[int]) -> list[Pair]:
    """Fold in pieces; the pairs, what they say and what is true by their codes."""
    pairs: list[Pair] = []
    for start, stop in pairwise([0, *sorted(cuts), len(events)]):
        fold.process(decoded(events[start:stop]))
        pairs += [
            (
                events[start + int(joined.row[k])].offset,
                fold.catalog.monitor(int(joined.slot[k])).key,
                int(joined.predicted_code[k]),
                int(joined.label_code[k]),
                int(joined.delay_ms[k]),
                int(joined.offset[k]),
            )
            for joined in fold.joined
            for k in range(len(joined))
        ]
    return pairs


SETTINGS = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@SETTINGS
@given(log=logs(), cuts=st.lists(st.integers(0, 150), max_size=6), block=st.sampled_from([1, 4]))
def test_the_join_does_what_the_rules_say(
    log: tuple[LabelsConfig, list[Event]], cuts: list[int], block: int
) -> None:
    config, events = log
    rules = Rules(config, 1_000, frozenset(MONITORED))
    rules.fold(events)
    with (
        mock.patch.object(join, "BLOCK_PREDICTIONS", block),
        mock.patch.object(join, "BLOCK_ANSWERS", block),
    ):
        whole, parts = Fold(config_of(config)), Fold(config_of(config))
        pairs = fold_in(whole, events, [])
        assert fold_in(parts, events, [c for c in cuts if c <= len(events)]) == pairs
    expected = [(at, key, code_of(s), code_of(t), d, o) for at, key, s, t, d, o in rules.pairs]
    assert pairs == expected
    counted = {name: whole.counters[name] for name in COUNTERS}
    assert counted == {name: rules.counts[name] for name in COUNTERS}
    assert as_bytes(parts.snapshot()) == as_bytes(whole.snapshot())


@SETTINGS
@given(log=logs(), at=st.integers(0, 150), block=st.sampled_from([1, 4]))
def test_resuming_at_any_event_equals_going_on(
    log: tuple[LabelsConfig, list[Event]], at: int, block: int
) -> None:
    config, events = log
    at = min(at, len(events))
    with (
        mock.patch.object(join, "BLOCK_PREDICTIONS", block),
        mock.patch.object(join, "BLOCK_ANSWERS", block),
    ):
        whole, first = Fold(config_of(config)), Fold(config_of(config))
        pairs = fold_in(whole, events, [])
        before = fold_in(first, events[:at], [])
        second = Fold(config_of(config), first.snapshot())
        assert as_bytes(second.snapshot()) == as_bytes(first.snapshot())
        assert before + fold_in(second, events[at:], []) == pairs
        assert as_bytes(second.snapshot()) == as_bytes(whole.snapshot())
        assert second.counters == whole.counters


def test_the_logs_reach_every_rule() -> None:
    # Guards the guard: a rule that no log ever needs would be compared with nothing.
    reached: set[str] = set()

    @settings(deadline=None, max_examples=150, database=None, derandomize=True)
    @given(logs())
    def look(log: tuple[LabelsConfig, list[Event]]) -> None:
        rules = Rules(log[0], 1_000, frozenset(MONITORED))
        rules.fold(log[1])
        reached.update(name for name, n in rules.counts.items() if n)

    look()
    assert reached == set(COUNTERS)


LABELS = LabelsConfig(enabled=True, max_delay_ms=1_000_000, max_pending=100_000)


def many(n: int, first: int = 0, *, labels: bool = False, ts: int = 1_000) -> list[Event]:
    model = ModelKey("m", "") if labels else ModelKey("m", "1")
    return [
        Event(first + i, model=model, is_label=labels, prediction=i % 2, event_id=i, ts=ts)
        for i in range(n)
    ]


def test_what_comes_out_of_a_pair() -> None:
    fold = Fold(config_of(LABELS))
    said = Event(0, model=MONITORED[1], prediction="yes", score=0.25, ts=5_000, event_id=7)
    number = Event(1, model=MONITORED[0], prediction=2.5, ts=5_000, event_id=8)
    nothing = Event(2, model=MONITORED[0], score=0.5, ts=5_000, event_id=9)
    labels = [
        Event(3, model=LABELED[0], is_label=True, prediction="yes", ts=9_000, event_id=7),
        Event(4, model=LABELED[0], is_label=True, prediction=3, ts=4_000, event_id=8),
        Event(5, model=LABELED[0], is_label=True, prediction=True, ts=5_000, event_id=9),
    ]
    events = decoded([said, number, nothing, *labels])
    events.source[:] = np.arange(12).reshape(6, 2)
    fold.process(replace(events, record_time_ms=events.event_time_ms))
    (joined,) = [one for one in fold.joined if len(one)]
    keys = [fold.catalog.monitor(int(slot)).key.model_version for slot in joined.slot]
    assert keys == ["2", "1", "1"]
    assert joined.row.tolist() == [3, 4, 5]
    assert joined.offset.tolist() == [3, 4, 5]
    assert joined.delay_ms.tolist() == [4_000, -1_000, 0]
    assert np.array_equal(joined.predicted, [np.nan, 2.5, np.nan], equal_nan=True)
    assert np.array_equal(joined.label, [np.nan, 3.0, 1.0], equal_nan=True)
    assert np.array_equal(joined.score, [0.25, np.nan, 0.5], equal_nan=True)
    assert (joined.predicted_code == joined.label_code).tolist() == [True, False, False]
    assert joined.predicted_code[2] == 0
    assert joined.source.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert joined.label_source.tolist() == [[6, 7], [8, 9], [10, 11]]


def test_a_label_of_a_version_that_gave_way_is_counted_and_not_given_out() -> None:
    config = DetectionConfig(
        labels=LABELS, detectors=NO_FOCUS, bounds=BoundsConfig(max_models=1, min_idle_records=0)
    )
    fold = Fold(config)
    fold.process(
        decoded(
            [
                Event(0, model=ModelKey("m", "1"), event_id=1, prediction=1),
                Event(1, model=ModelKey("m", "2"), event_id=2, prediction=1),
                Event(2, model=ModelKey("m", "2"), event_id=3, prediction=1),
                *(
                    Event(3 + i, model=ModelKey("m", ""), is_label=True, prediction=1, event_id=i)
                    for i in (1, 2)
                ),
            ]
        )
    )
    assert [joined.offset.tolist() for joined in fold.joined if len(joined)] == [[5]]
    assert fold.counters["n_joined_labels"] == 2
    assert fold.counters["n_unmonitored_labels"] == 1


def test_a_checkpoint_writes_no_old_predictions_again() -> None:
    fold = Fold(config_of(LABELS))
    fold.process(decoded(many(9_000)))
    before: dict[str, bytes] = {}
    cut_into_segments({"labels": fold.snapshot()["labels"]}, before)
    fold.process(decoded(many(2_000, 10_000, labels=True)))
    after: dict[str, bytes] = {}
    table = cut_into_segments({"labels": fold.snapshot()["labels"]}, after)

    assert fold.counters["n_joined_labels"] == 2_000
    blocks = {entry.name: entry.segments for entry in table["labels"] if "pending" in entry.name}
    full = sorted(blocks)[:-1]
    assert len(full) == 2
    assert all(digest in before for name in full for digest in blocks[name])
    new = sum(len(segment) for digest, segment in after.items() if digest not in before)
    assert new < 100_000


def test_memory_and_state_are_bounded() -> None:
    fold = Fold(config_of(LabelsConfig(enabled=True, max_pending=1_000, max_early=50)))
    for step in range(40):
        events = [replace(e, event_id=e.offset) for e in many(2_000, step * 4_000)]
        answered = [replace(e, is_label=True, model=ModelKey("m", "")) for e in events[-300:]]
        lost = many(2_000, step * 4_000, labels=True)
        lost = [replace(e, event_id=10**6 + e.offset) for e in lost]
        fold.process(decoded([*events, *answered, *lost]))
        assert fold.labels is not None
        # A poll of 4,300 events, a block that is begun, and half as much room once more.
        held = {"pending": 1_000 + 4_096, "answers": 2 * 1_000 + 8_192, "early": 50}
        for table in (fold.labels.pending, fold.labels.answers, fold.labels.early):
            assert len(table.words) <= (held[table.name] + 4_300) * 3 // 2 + 256
        assert len(fold.labels.pending.index) < 8 * (1_000 + 4_300)
    state = fold.snapshot()["labels"]
    assert sum(array.nbytes for array in state.values()) < (1_000 + 4_096) * 80 + 2 * 8_192 * 16
    assert len(state["early"]) == 50
    assert fold.counters["n_dropped_labels"] == 40 * 2_000 - 50
    assert fold.counters["n_joined_labels"] == 40 * 300


def test_other_bounds_hold_at_once_and_labels_may_be_switched() -> None:
    fold = Fold(config_of(LABELS))
    fold.process(decoded([*many(100), *many(50, 200, labels=True)]))
    narrow = LabelsConfig(enabled=True, max_delay_ms=1_000_000, max_pending=30)
    fold.reconfigure(config_of(narrow))
    assert fold.counters["n_dropped_predictions"] == 20
    Fold(config_of(narrow), fold.snapshot())
    fold.reconfigure(config_of(LabelsConfig()))
    assert "labels" not in fold.snapshot()
    fold.process(decoded(many(10, 300, labels=True)))
    fold.reconfigure(config_of(LABELS))
    fold.process(decoded([*many(3, 400), *many(3, 500, labels=True)]))
    assert fold.counters["n_joined_labels"] == 53


def test_a_state_without_its_labels_is_refused() -> None:
    state = Fold(config_of(LABELS)).snapshot()
    del state["labels"]
    with pytest.raises(StateError, match="labels"):
        Fold(config_of(LABELS), state)


BLOCK = "pending_0000000000000000"
ANSWERS = "answers_0000000000000000"


def _extra(state: Arrays) -> None:
    state["more"] = np.zeros(1, np.int64)


def _twice(state: Arrays) -> None:
    state[BLOCK][1, 0] = state[BLOCK][0, 0]


def _without(name: str) -> Callable[[Arrays], None]:
    def change(state: Arrays) -> None:
        del state[name]

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (put("numbers", 0, -1), "end before they begin"),
        (put("numbers", 0, 9), "end before they begin"),
        (put("numbers", 2, 2**62), "too many"),
        (put("numbers", 2, 10_000), "blocks of rows"),
        (put("numbers", 2, 7), "shape"),
        (put("numbers", 1, 9), "more predictions are expired"),
        (put("numbers", 4, 9_000), "blocks of rows"),
        (put("numbers", 3, 2), "for less long|is kept for longer"),
        (cut("numbers"), "shape"),
        (cut(BLOCK), "shape"),
        (_without(BLOCK), "blocks of rows"),
        (_without("early"), "early"),
        (_extra, "an array too many"),
        (_twice, "waits twice"),
        (put(BLOCK, (1, 1), -1), "outside of all times"),
        (put(BLOCK, (1, 2), 1_001), "outside of all times"),
        (put(BLOCK, (1, 2), 0), "out of order"),
        (put(BLOCK, (1, 3), 0x7FF0_0000_0000_0000), "infinite"),
        (put(BLOCK, (1, 8), 0x7FF0_0000_0000_0000), "infinite"),
        (put(BLOCK, (1, 9), -1), "group"),
        (put(ANSWERS, (0, 0), 8), "there is not"),
        (put(ANSWERS, (0, 0), -1), "there is not"),
        (put(ANSWERS, (0, 1), 0), "says nothing"),
        (put(ANSWERS, (0, 0), 1), "two answers"),
        (put("early", (0, 2), 1_001), "outside of all times"),
        (put("early", (0, 3), 0x7FF0_0000_0000_0000), "infinite"),
        (put("early", (0, 4), 0), "says nothing"),
        (put("early", (0, 7), -1), "nowhere in the log"),
        (put("early", (0, 8), 2**31), "nowhere in the log"),
    ],
)
def test_a_made_up_state_is_refused(change: Callable[[Arrays], None], why: str) -> None:
    fold = Fold(config_of(LABELS))
    early = [replace(e, event_id=100 + e.event_id) for e in many(2, 30, labels=True)]
    fold.process(decoded([*many(8), *many(4, 20, labels=True), *early]))
    state = fold.snapshot()
    labels = {name: array.copy() for name, array in state["labels"].items()}
    change(labels)
    with pytest.raises(StateError, match=why):
        Fold(config_of(LABELS), {**state, "labels": labels})
