"""The judge of what labels show: its logs, its counts, its tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.concept.census import CHUNK, RUNS, Alarm, Named, Told, by_chunk, by_group, parted
from benchmarks.concept.decay import decay_table, steady_table
from benchmarks.concept.rare import COMPETITORS, OURS, RIVERS, Found, rare_table
from benchmarks.concept.rows import CONCEPT, RECOVERY, SLICES, LabelledCensus, Log, sample
from benchmarks.drift.contest import FOCUS, Contestant
from benchmarks.drift.nulls import FalseAlarms
from benchmarks.performance.rows import CensusRows
from benchmarks.trend import Found as Contest
from schemas.batch import Decoded, ValueKind
from streams.census import FEATURES
from tests.benchmarks.run import rows, run_quick


def first_rows(n: int) -> LabelledCensus:
    own = sample()
    cut = CensusRows(*(getattr(own.rows, name)[:n] for name in CensusRows.__slots__))
    return LabelledCensus(own.row[:n], {k: v[:n] for k, v in own.features.items()}, cut)


def values_of(poll: Decoded, event: int) -> dict[str, object]:
    """The features of an event, as its sender wrote them."""
    span = slice(poll.value_ptr[event], poll.value_ptr[event + 1])
    names = poll.shapes[poll.shape[event]]
    return {
        name: poll.categories[int(value)] if kind == ValueKind.STRING else value
        for name, value, kind in zip(names, poll.value[span], poll.kind[span], strict=True)
    }


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 60), delay=st.integers(0, 80))
def test_a_log_holds_every_row_and_its_label_so_many_predictions_later(n: int, delay: int) -> None:
    data = first_rows(n)
    log = Log(data, delay)
    (poll,) = log.polls()
    assert len(poll) == len(log) == 2 * n
    row_of = {int(event_id): i for i, event_id in enumerate(poll.event_id[~poll.is_label])}
    assert list(row_of.values()) == list(range(n))
    for event in range(2 * n):
        about = row_of[int(poll.event_id[event])]
        assert log.about[event] == about
        if poll.is_label[event]:
            # So many later, and those at the end after the last one.
            assert log.clock[event] == min(about + delay, n - 1)
            assert poll.prediction[event] == data.rows.employed[about]
            continue
        assert poll.prediction[event] == data.rows.predicted[about]
        assert poll.score[event] == data.rows.score[about]
        assert values_of(poll, event) == {
            name: str(data.features[name][about])
            if name in SLICES
            else float(data.features[name][about])
            for name in FEATURES
        }


def test_alarms_are_of_the_drift_of_the_recovery_or_of_neither() -> None:
    fired = [5, CONCEPT - 1, CONCEPT + 347, CONCEPT + 900, RECOVERY + 956, RECOVERY + 2_000]
    others = [5, CONCEPT - 1, CONCEPT + 900, RECOVERY + 2_000]
    assert parted(fired) == (347, 956, others)
    assert parted([RECOVERY]) == (None, 0, [])
    assert parted([]) == (None, None, [])


def test_a_chunk_begins_with_the_drift_and_its_truth_is_counted() -> None:
    data = sample()
    chunks = by_chunk(data, 2_000)
    (amid,) = [each for each in chunks if each.start == CONCEPT]
    start = data.index_of(CONCEPT)
    wrong = data.rows.predicted[start:] != data.rows.employed[start:]
    assert amid.accuracy == pytest.approx(1.0 - wrong[:CHUNK].mean())
    assert all(each.low < each.estimate < each.high for each in chunks)
    # The estimate does not know that other people come now, of whom more are wrong.
    assert amid.high < 0.9
    assert not amid.is_held


def test_groups_share_the_errors_and_the_events() -> None:
    alarm = Alarm("error:MAR=5", CONCEPT + 167, CONCEPT, is_rise=True)
    groups = by_group(sample(), Told([alarm], 0, [Named(CONCEPT + 9, ["error:RELP=17"])]))
    for feature in SLICES:
        own = [each for each in groups if each.signal.startswith(f"error:{feature}=")]
        assert sum(each.of_events for each in own) == pytest.approx(1.0, abs=0.1)
        assert sum(each.of_errors for each in own) == pytest.approx(1.0, abs=0.1)
    beyond = [each.of_errors - each.of_events for each in groups]
    assert beyond == sorted(beyond, reverse=True)
    assert {each.signal: each.named for each in groups if each.named is not None} == {
        "error:RELP=17": 9
    }
    assert {each.signal: each.late for each in groups if each.late is not None} == {
        "error:MAR=5": 167
    }


def test_rare_errors_are_given_as_they_are_to_who_has_no_reference() -> None:
    assert [each.n_reference > 0 for each in COMPETITORS] == [True] * len(OURS) + [False] * 7
    errors = np.concatenate([np.zeros((1, 3_000)), np.ones((1, 3_000))], axis=1)
    means: dict[str, tuple[float, float]] = {}
    for who in RIVERS:
        contestant = Contestant(who, np.zeros((1, 1_000)), math.inf, is_raw=True)
        first = min(contestant.feed(errors))
        assert first.offset >= 3_000
        means[who.name] = first.before, first.after
    assert all(0.0 <= before < 0.1 for before, _ in means.values()), means
    assert all(0.5 < after <= 1.0 for _, after in means.values()), means


def test_the_table_of_the_doubling_says_who_missed_and_what_chance_does() -> None:
    found = [Found(each.name, [10.0, 30.0, math.inf], 4) for each in COMPETITORS]
    quiet = [
        FalseAlarms("Bernoulli 0.01", each.name, each.n_reference, 60_000_000, 1_000, 1, 0)
        for each in COMPETITORS
    ]
    table = {row[0]: row[1:] for row in rare_table(found, quiet).rows}
    assert len(table) == len(COMPETITORS)
    shown = table[f"{FOCUS.name}, ARL0 1e+06, reference 20,000"]
    assert shown[:4] == ("2 of 3", "30 / -", "4", "1,000")
    # An alarm in 60,000 labels on the average: one or more in 1 - 1/e of such stretches.
    assert shown[5:] == ("60", "63.2%")
    assert table["DDM"][5:] == ("", "63.2%")


def test_the_table_of_the_decay_takes_the_sooner_of_two_that_share() -> None:
    late = {
        "focus": [100_000.0, 300_000.0, math.inf],
        "trend": [200_000.0, 200_000.0, 200_000.0],
        "focus, shared": [250_000.0, 600_000.0, math.inf],
        "trend, shared": [500_000.0, 500_000.0, 500_000.0],
    }
    table = {
        row[0].partition(", ARL0")[0]: row[1:]
        for row in decay_table({2_000: [Contest("", 1e6, late, {})]}).rows
    }
    assert table["focus"] == ("2 of 3", "100,000", "300,000", "-", "0.888", "1")
    assert table["trend"] == ("3 of 3", "200,000", "200,000", "200,000", "0.892", "2")
    assert table["either, shared"] == ("3 of 3", "250,000", "500,000", "500,000", "0.880", "")


def test_the_table_without_a_decay_counts_beside_what_is_stated() -> None:
    alarms = FalseAlarms("Bernoulli 0.1", "trend", 2_000, 100_000_000, 50, 7, 0)
    (row,) = steady_table({2_000: [(1e6, alarms)]}).rows
    assert row[1:] == ("0.50", "50", "37.1 to 65.9", "100", "7")


@pytest.mark.long
def test_labels_show_a_doubling_a_drift_and_no_decay_in_a_quick_run() -> None:
    said = run_quick("concept")
    assert said["not_run"] == []
    doubling = rows(said, "rare")
    assert set(doubling) == {each.name for each in COMPETITORS}
    assert all(doubling[each.name][0] == "5 of 5" for each in OURS)
    (errors, adwin) = rows(said, "errors").values()
    assert int(errors[0]) < 1_000 > int(adwin[0])
    (run,) = said["figures"]["census"]["runs"]
    assert run["n_joined"] == len(sample())
    assert run["n_labels"] == RUNS[0].n_labels
    assert any(row >= CONCEPT and named[0] == "error:RELP=17" for row, named in run["named"])
    assert all(row[0] == "0 of 5" for row in rows(said, "decay").values())
