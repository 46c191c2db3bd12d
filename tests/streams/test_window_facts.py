"""What is counted of a clean window: the join, what is left out, and that only places decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.limits import DecodeLimits
from schemas.records import Record
from schemas.source_hash import SourceKey
from streams.retraining_gate import WindowFacts
from streams.window_facts import Pairs, QuarantineKeyError, WindowEvents, WindowWish
from tests.schemas.arrow_streams import stream_of
from tests.streams.events import START_MS
from tests.streams.window_kit import (
    KEY,
    hash_of,
    labelled,
    predicted,
    quarantine,
    record,
    window,
    wish,
)

CONFIG = DetectionConfig()
LIMITS = replace(DecodeLimits.of(CONFIG), event_ids=True)
WHOLE = wish(window((0, 0, 999)))


def events_of(
    polls: list[list[Record]], of: WindowWish = WHOLE, key: SourceKey | None = KEY
) -> WindowEvents:
    events = WindowEvents(
        of, key, max_future_ms=CONFIG.max_future_ms, max_late_ms=CONFIG.max_late_ms
    )
    for poll in polls:
        events.take(decode_records(poll[0].tp, poll, LIMITS, key, None).events)
    return events


def facts_of(*events: dict[str, Any], of: WindowWish = WHOLE) -> WindowFacts:
    """Of events at the offsets 0, 1, ... of partition 0."""
    poll = [record(offset, event) for offset, event in enumerate(events)]
    return events_of([poll] if poll else [], of).facts()


def counts(facts: WindowFacts) -> tuple[int, int, int | None, int]:
    return facts[:4]


def test_labels_find_their_predictions_before_them_and_behind() -> None:
    facts = facts_of(
        *(labelled(1, 0), predicted(1, 1), predicted(2, 1), labelled(2, 1), predicted(3, 0))
    )
    assert counts(facts) == (3, 2, 1, 0)
    assert (facts.since_ms, facts.until_ms) == (START_MS + 1, START_MS + 3)


def test_a_window_without_events_says_nothing() -> None:
    assert facts_of() == WindowFacts(0, 0, None, 0, None, None)
    assert facts_of(labelled(1)) == WindowFacts(0, 0, None, 0, START_MS + 1, START_MS + 1)


def test_the_first_label_counts_and_the_first_prediction_of_whatever_version() -> None:
    assert counts(facts_of(predicted(1, 1), labelled(1, 1), labelled(1, 0))) == (1, 1, 0, 0)
    assert counts(facts_of(predicted(1, 1), labelled(1, 0), labelled(1, 1))) == (1, 1, 1, 0)
    twice = facts_of(predicted(1, 1), predicted(1, 0), labelled(1, 1))
    assert counts(twice) == (1, 1, 0, 0)
    of_another = facts_of(predicted(1, 1, model_version="6"), predicted(1, 0), labelled(1, 0))
    assert counts(of_another) == (0, 0, None, 0)


@pytest.mark.parametrize(
    ("prediction", "label", "is_wrong"),
    [("1", 1, False), (1, 1.0, False), (True, 1, True), ("a", "a", False), ("a", "b", True)],
)
def test_same_class_by_name_or_same_number(prediction: Any, label: Any, is_wrong: bool) -> None:
    assert facts_of(predicted(1, prediction), labelled(1, label)).n_errors == int(is_wrong)


def test_numbers_have_no_errors_and_a_few_numbers_do_not_hide_those_of_classes() -> None:
    numbers = [predicted(i, i + 0.5) for i in range(5)]
    assert facts_of(*numbers, labelled(1, 0.5)).n_errors is None
    many = [predicted(i, i) for i in range(30)]
    assert facts_of(*many, labelled(1, 2)).n_errors is None
    classes = [predicted(i, i % 2) for i in range(10, 20)]
    assert facts_of(*classes, predicted(1, 0.5), labelled(11, 0), labelled(12, 0)).n_errors == 1
    none = [predicted(i, None) for i in range(5)]
    assert counts(facts_of(*none, labelled(1, 1))) == (5, 1, None, 0)


def test_other_models_and_offsets_are_not_looked_at_and_shards_join_apart() -> None:
    poll = [
        record(1, predicted(1)),
        record(9, labelled(1)),
        record(3, predicted(2, model_id="other"), key="other"),
        record(4, predicted(3, shard=1), key="churn/1"),
        record(5, labelled(3, shard=2), key="churn/2"),
        record(6, labelled(3, 0, shard=1), key="churn/1"),
    ]
    poll.sort(key=lambda each: each.offset)
    assert counts(events_of([poll], wish(window((0, 1, 8)))).facts()) == (2, 1, 1, 0)
    assert counts(events_of([poll], wish(window((0, 1, 9)))).facts()) == (2, 2, 1, 0)
    assert counts(events_of([poll], wish(window((1, 0, 9)))).facts()) == (0, 0, None, 0)
    two = wish(window((0, 1, 3), (0, 6, 9)))
    assert counts(events_of([poll], two).facts()) == (1, 1, 0, 0)


def test_events_of_partitions_do_not_meet() -> None:
    polls = [[record(0, predicted(1), 0)], [record(0, labelled(1), 1)]]
    of = wish(window((0, 0, 9), (1, 0, 9)))
    assert counts(events_of(polls, of).facts()) == (1, 0, 0, 0)


def test_what_is_left_out_are_labels_and_predictions_of_a_source_in_its_ranges() -> None:
    events = [
        *(predicted(1, source="eve"), labelled(1)),
        *(predicted(2), labelled(2, source="eve")),
        *(predicted(3, source="ann"), labelled(3, source="bob")),
        *(predicted(4), labelled(4)),
        *(predicted(5, source="eve"), labelled(5, source="eve")),
    ]
    whole = window((0, 0, 99))
    named = quarantine(0, 7, "eve", "mallory")
    assert counts(facts_of(*events, of=wish(whole, named))) == (5, 3, 0, 2)
    nameless = quarantine(0, 9, "eve", without_source=True)
    assert counts(facts_of(*events, of=wish(whole, nameless))) == (5, 1, 0, 4)
    everybody = quarantine(2, 5, without_source=True)
    assert counts(facts_of(*events, of=wish(whole, everybody))) == (5, 3, 0, 2)
    elsewhere = quarantine(0, 9, "eve", partition=1)
    assert counts(facts_of(*events, of=wish(whole, elsewhere))) == (5, 5, 0, 0)


def test_a_first_label_that_is_left_out_is_not_replaced_by_a_second_one() -> None:
    of = wish(window((0, 0, 99)), quarantine(0, 99, "eve"))
    events = predicted(1), labelled(1, 0, source="eve"), labelled(1, 1, source="ann")
    # Nothing is left of which anybody could say what is wrong.
    assert counts(facts_of(*events, of=of)) == (1, 0, None, 1)


def test_sources_are_never_looked_for_with_another_key_or_without_one() -> None:
    other = SourceKey(b"another key of 32 bytes, or more")
    named = wish(window((0, 0, 9)), quarantine(0, 9, "eve"))
    for key, said in ((None, "none is configured"), (other, other.fingerprint)):
        with pytest.raises(QuarantineKeyError, match=said):
            events_of([], named, key)
    # Nobody has to know sources where all events of the ranges are left out.
    everybody = wish(window((0, 0, 9)), quarantine(0, 9, without_source=True))
    poll = [record(0, predicted(1)), record(1, labelled(1))]
    assert counts(events_of([poll], everybody, None).facts()) == (1, 0, None, 1)


def test_one_event_with_a_wrong_time_does_not_move_the_window() -> None:
    usual = [predicted(i) for i in range(1, 9)]
    late, future = predicted(20, ts=0), predicted(21, ts=START_MS + 10**12)
    facts = facts_of(*usual, late, future, labelled(21, ts=START_MS + 10**12))
    assert (facts.since_ms, facts.until_ms) == (START_MS + 1, START_MS + 8)
    assert counts(facts) == (10, 1, 0, 0)
    of = wish(window((0, 0, 99)), quarantine(0, 0, without_source=True))
    held_up = facts_of(predicted(20, ts=START_MS - 50), *usual, of=of)
    assert held_up.since_ms == START_MS + 1


def test_rows_of_one_record_have_places_of_their_own() -> None:
    value = stream_of([predicted(1, 0), predicted(2, 1), predicted(3, 1)])
    poll = [record(0, value), record(1, labelled(3, 0)), record(2, labelled(1, 0))]
    assert counts(events_of([poll]).facts()) == (3, 2, 1, 0)


def test_refused_events_do_not_count() -> None:
    poll = [record(0, b"no event"), record(1, predicted(1)), record(2, labelled(1), key="wrong")]
    assert counts(events_of([poll]).facts()) == (1, 0, 0, 0)


# Any events, in any polls, beside a plain count.

SOURCES = st.sampled_from([None, "", "eve", "ann"])
VALUES = st.sampled_from([0, 1, "1", 1.0, 0.5, True, "a"])
NUMBERS = st.integers(0, 4)
EVENTS = st.one_of(
    st.builds(
        lambda n, v, s, version, late: predicted(
            n, v, source=s, model_version=version, ts=START_MS + 10_000 * n - late
        ),
        NUMBERS,
        st.none() | VALUES,
        SOURCES,
        st.sampled_from(["7", "7", "6"]),
        st.sampled_from([0, 0, 10**7]),
    ),
    st.builds(
        lambda n, v, s, ahead: labelled(n, v, source=s, ts=START_MS + ahead),
        *(NUMBERS, VALUES, SOURCES, st.sampled_from([0, 30_000, 10**11])),
    ),
)
PLACED = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 3), EVENTS), max_size=24)
RANGES = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted)
PARTS = st.builds(
    lambda within, names, partition, nameless: quarantine(
        *within, *names, partition=partition, without_source=nameless
    ),
    RANGES,
    st.sets(st.sampled_from(["eve", "ann", "bob"])).map(sorted),
    st.integers(0, 1),
    st.booleans(),
)


def log_of(placed: list[tuple[int, int, dict[str, Any]]]) -> list[Record]:
    """Each partition's events at ascending offsets, with gaps."""
    at = {0: -1, 1: -1}
    found = []
    for partition, step, event in placed:
        at[partition] += step
        found.append(record(at[partition], event, partition))
    return found


def plainly(placed: list[tuple[int, int, dict[str, Any]]], of: WindowWish) -> list[list[Any]]:
    """What stands for the window: [prediction, label or None, is left out], as documents."""
    at = {0: -1, 1: -1}
    firsts: dict[tuple[int, str], dict[str, list[Any]]] = {}
    for partition, step, event in placed:
        at[partition] += step
        offset = at[partition]
        if not any(
            part.partition == partition
            and any(one.first_offset <= offset <= one.last_offset for one in part.ranges)
            for part in of.window.parts
        ):
            continue
        source = event.get("source") or event.get("label_source")
        is_out = any(
            part.partition == partition
            and any(one.first_offset <= offset <= one.last_offset for one in part.ranges)
            and (
                not part.sources
                or (source and hash_of(source) in part.sources)
                or (not source and part.without_source)
            )
            for part in of.quarantine
        )
        about = firsts.setdefault((partition, event["event_id"]), {})
        about.setdefault(event["type"], [event, is_out, (partition, offset)])
    found = []
    for about in firsts.values():
        prediction, label = about.get("prediction"), about.get("label")
        if prediction is not None and prediction[0]["model_version"] == "7":
            is_out = prediction[1] or (label is not None and label[1])
            found.append([prediction[2], prediction[0], label and label[0], is_out])
    return sorted(found, key=lambda each: each[0])


@settings(deadline=None)
@given(PLACED, st.lists(RANGES, min_size=1, max_size=3), st.lists(PARTS, max_size=2), st.data())
@example([(0, 1, predicted(1)), (0, 1, labelled(1))], [[0, 30]], [], None)
def test_any_polls_of_the_same_events_give_the_same_pairs(
    placed: list[tuple[int, int, dict[str, Any]]],
    ranges: list[list[int]],
    parts: list[Any],
    data: Any,
) -> None:
    of = wish(window(*((p, first, last) for p in (0, 1) for first, last in ranges)), *parts)
    log = log_of(placed)
    single = events_of([[each] for each in log], of)
    pairs, facts = single.pairs(), single.facts()
    wanted = plainly(placed, of)
    assert documents(pairs) == [
        (repr(prediction["prediction"]), repr(label and label["label"]), is_out)
        for _, prediction, label, is_out in wanted
    ]
    n_joined = sum(label is not None for _, _, label, _ in wanted)
    assert facts.n_predictions == len(wanted)
    assert facts.n_labels + facts.n_quarantined == n_joined
    assert facts.n_quarantined == sum(
        label is not None and is_out for _, _, label, is_out in wanted
    )
    if data is None:
        return
    # Other polls, some of them twice, in any order, each of one partition and in log order.
    cuts = data.draw(st.lists(st.integers(1, 6), min_size=len(log), max_size=len(log)))
    polls: list[list[Record]] = []
    for partition in (0, 1):
        rest = [each for each in log if each.tp.partition == partition]
        for size in cuts:
            if rest:
                polls.append(rest[:size])
                rest = rest[size:]
    again = data.draw(st.lists(st.sampled_from(polls), max_size=3)) if polls else []
    other = events_of(data.draw(st.permutations(polls + again)), of)
    assert documents(other.pairs()) == documents(pairs)
    assert other.facts() == facts


def documents(pairs: Pairs) -> list[tuple[str, str, bool]]:
    """Prediction, label, whether it is left out; 1, 1.0 and true are told apart."""
    found = []
    for prediction, label, is_out in zip(
        pairs.prediction.tolist(), pairs.label.tolist(), pairs.is_left_out.tolist(), strict=True
    ):
        true = None if label < 0 else pairs.value(label)
        found.append((repr(pairs.value(prediction)), repr(true), is_out))
    return found
