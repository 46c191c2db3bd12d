"""The judge of the drift detectors: its streams, its counts, and that processes change nothing."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.drift.calibrate import calibrate, with_parameter
from benchmarks.drift.contest import DEFAULTS, FOCUS, OURS
from benchmarks.drift.delays import Delays, delays
from benchmarks.drift.episodes import Episode
from benchmarks.drift.hits import ALWAYS, Hits, score
from benchmarks.drift.labelled import agreed
from benchmarks.drift.nulls import FalseAlarms, false_alarms
from benchmarks.drift.parts import SPACINGS, null_named
from benchmarks.drift.real_tables import episode_table
from benchmarks.drift.streams import CHANGES, NULLS
from benchmarks.drift.tables import defaults_table, delay_table, equal_table, null_table
from benchmarks.drift.work import Task, Workers
from streams.census import REAL_CHANGES
from tests.benchmarks.run import rows, run_quick

ADWIN, PAGE_HINKLEY, KSWIN = DEFAULTS


@given(
    fired=st.sets(st.integers(0, 99), max_size=30),
    cuts=st.sets(st.integers(0, 120), min_size=2, max_size=8),
    first=st.integers(0, 50),
)
def test_hits_are_what_counting_rows_says(fired: set[int], cuts: set[int], first: int) -> None:
    windows = list(pairwise(sorted(cuts)))[::2]
    inside = [set(range(max(a, first), min(b, 100))) for a, b in windows]
    inside = [window for window in inside if window]
    alarms = sorted(row for row in fired if row >= first)
    hits = score(alarms, windows, first, 100)
    assert hits.n_windows == len(inside)
    assert hits.n_hit == sum(bool(window & set(alarms)) for window in inside)
    assert hits.n_alarms == len(alarms)
    assert hits.n_outside == len(set(alarms).difference(*inside))
    missed = sum((1 - len(window) / (100 - first)) ** len(alarms) for window in inside)
    assert hits.n_chance == pytest.approx(len(inside) - missed)


def test_an_alarm_at_every_row_hits_all_there_is() -> None:
    hits = score(range(10, 90), [(0, 10), (20, 25), (85, 200)], 10, 90)
    assert (hits.n_windows, hits.n_hit, hits.n_alarms, hits.n_outside) == (2, 2, 80, 70)
    assert hits.n_chance == pytest.approx(2.0, abs=0.02)


def test_chance_is_what_alarms_at_random_rows_hit() -> None:
    rng = np.random.default_rng(5)
    windows = [(100, 150), (400, 700)]
    hit = [score(sorted(rng.integers(0, 1_000, 4)), windows, 0, 1_000).n_hit for _ in range(4_000)]
    assert np.mean(hit) == pytest.approx(score([1, 2, 3, 4], windows, 0, 1_000).n_chance, abs=0.05)


def test_hits_of_several_streams_add_up() -> None:
    one, other = score([5, 50], [(0, 10)], 0, 100), score([7], [(0, 10), (20, 30)], 0, 40)
    assert one + other == Hits(3, 2, one.n_chance + other.n_chance, 3, 1)


@pytest.mark.parametrize(
    ("annotations", "points"),
    [
        ([[], [], [], [], []], []),
        ([[10], [12], [15], [], []], [10]),
        ([[10], [12], [16], [], []], []),
        ([[10, 11, 12], [13], [], [], []], []),
        ([[10, 90], [11, 91], [12, 92], [13], [90]], [10, 90]),
        ([[1, 8], [8], [9], [], []], [8]),
    ],
)
def test_a_change_point_is_what_enough_annotators_saw(
    annotations: list[list[int]], points: list[int]
) -> None:
    assert agreed(annotations) == points


@pytest.mark.parametrize("name", ["normal, 1 sd as a ramp of 1,000 rows", "gradually mixed"])
def test_a_gradual_change_comes_in_proportion(name: str) -> None:
    over = 1_000
    change = next(
        one
        for one in CHANGES
        if one.over == over and (one.name == name or (name == "gradually mixed" and not one.slope))
    )
    rng = np.random.default_rng(3)
    blocks = [change.rows(rng, (2_000, 250), start) for start in range(0, 1_500, 250)]
    means = [float(block.mean()) for block in blocks]
    assert means == pytest.approx([0.125, 0.375, 0.625, 0.875, 1.0, 1.0], abs=0.01)
    first = change.rows(rng, (50_000, 1), 0)
    assert abs(float(first.mean())) < 0.03


def test_every_change_has_a_name_of_its_own() -> None:
    assert len({one.name for one in CHANGES}) == len(CHANGES)
    assert len({one.name for one in NULLS}) == len(NULLS)


@pytest.mark.parametrize("who", DEFAULTS, ids=[one.name for one in DEFAULTS])
def test_a_calibrated_detector_errs_as_often_as_was_wanted(who: object) -> None:
    """At a rate that so few updates can show; KSWIN has one level for each distance."""
    entrant = next(one for one in DEFAULTS if one is who)
    n_updates = 40_000 if entrant is KSWIN else 400_000
    found = calibrate(entrant, n_updates / 40.0, n_updates)
    assert found.wanted == 40.0
    assert 8 < found.n_alarms < 120
    assert abs(found.n_alarms - 40) <= (40 if entrant is KSWIN else 8)
    again = false_alarms(NULLS[0], found.entrant, 1_000, math.inf, n_updates)
    assert again.n_alarms == found.n_alarms
    assert again.detector.startswith(f"{entrant.name}, {found.parameter} ")
    assert calibrate(entrant, n_updates / 40.0, n_updates) == found


def test_another_parameter_changes_nothing_else() -> None:
    changed = with_parameter(PAGE_HINKLEY, 7.0)
    assert dict(changed.config) == dict(PAGE_HINKLEY.config) | {"threshold": 7.0}


def test_any_number_of_processes_gives_the_same_in_the_same_order() -> None:
    tasks = [
        Task(null.name, null_named, (null.name, who, 200, 1e4, 20_000))
        for null in (NULLS[0], NULLS[5])
        for who in (ADWIN, KSWIN)
    ]
    found: list[list[FalseAlarms]] = []
    for n_processes in (1, 2):
        with Workers(n_processes) as workers:
            found.append(workers.run("nulls", tasks))
    assert found[0] == found[1]
    assert [(one.null, one.detector) for one in found[0]] == [
        (null.name, who.name) for null in (NULLS[0], NULLS[5]) for who in (ADWIN, KSWIN)
    ]
    assert any(one.n_alarms for one in found[0])


@pytest.mark.parametrize("n_processes", [1, 2])
def test_what_a_task_raises_is_raised(n_processes: int) -> None:
    with Workers(n_processes) as workers, pytest.raises(ZeroDivisionError):
        workers.run("part", [Task("one", divmod, (1, 0))])


def test_a_task_that_cannot_be_sent_is_an_error_and_not_a_wait() -> None:
    tasks = [Task(null.name, false_alarms, (null, ADWIN, 200, 1e4, 2_000)) for null in NULLS]
    with Workers(2) as workers, pytest.raises((AttributeError, pickle.PicklingError)):
        workers.run("nulls", tasks)


def test_delays_count_rows_from_the_change_and_what_came_before_it() -> None:
    step = next(one for one in CHANGES if one.name == "normal, 2 sd")
    own = delays(step, FOCUS, 2_000, 1e6, 8)
    assert 3 <= own.median <= 20
    assert own.n_missed == own.n_false == 0
    restless = delays(step, KSWIN, 2_000, math.inf, 2)
    assert restless.n_false > 20


def test_episodes_of_a_change_and_all_others_are_counted() -> None:
    of = [Episode(137_911, 138_819, 137_921, "feature:RELP", 7, 7, "open")] * 2
    others = [Episode(None, row, row, "feature:ANC", 1, 1, "open") for row in (5, 9)]
    table = {row[0]: row for row in episode_table(1e8, [*of, *others]).rows}
    assert [table[f"{change:,}"][1] for change, _ in REAL_CHANGES] == ["2", "0", "0"]
    assert table["all others"][1] == "2"
    assert table["all others"][3] == "5, 9"


def test_the_table_of_nulls_has_targets_where_something_is_promised() -> None:
    found = [
        FalseAlarms(null.name, "focus", n, 200_000, 3, 2, 1)
        for null in NULLS
        for n in (2_000, 20_000)
    ]
    table = {row[0]: row[1:] for row in null_table(1e5, found).rows}
    assert table["normal, 2,000 rows"] == ("1.50", "2", "3", "0.6 to 8.8", "2", "1", "2")
    assert table["AR(1) 0.9, 20,000 rows"][1] == "2"
    assert table["AR(1) 0.9, 2,000 rows"][1] == ""
    assert table["daily cycle, 200 a day, 2,000 rows"][1] == ""


def test_the_tables_of_delays_say_who_missed_and_what_chance_does() -> None:
    sure = Delays("normal, 1 sd", "focus", 20_000, 10, 30.0, 50.0, 0, 0, 2.0, 9.0)
    often = replace(sure, detector="KSWIN", median=600.0, p95=math.inf, n_missed=1, n_false=400)
    deaf = replace(sure, detector="ADWIN", median=math.inf, n_missed=10, date_median=math.nan)
    assert delay_table(20_000, 1e6, [sure, deaf]).rows == [
        ("normal, 1 sd", "0.00", "1", "30 / 50", "- / 50 / 10", "0", "0", "2 / 9", "-")
    ]
    assert equal_table(20_000, 1e6, ["KSWIN", "ADWIN"], [sure, often, deaf]).rows == [
        ("normal, 1 sd", "0.05", "30 / 50", "600 / - / 1", "- / 50 / 10", "400 (347)", "0")
    ]
    assert defaults_table(20_000, 1e6, ["KSWIN"], [deaf, often, sure]).rows == [
        ("normal, 1 sd", "30 / 50", "600 / - / 1", "400 (347)")
    ]


@pytest.mark.long
def test_the_judge_runs_all_its_parts_in_any_number_of_processes() -> None:
    said = run_quick("drift", "--processes", "2")
    names = [table["name"] for table in said["tables"]]
    assert names[:4] == ["calibration", "nulls_1e5", "nulls_1e7", "others"]
    for name in ("nulls_1e5", "nulls_1e7"):
        assert len(rows(said, name)) == 2 * len(NULLS)
    assert len(rows(said, "others")) == len(NULLS) * (2 * len(DEFAULTS) + 1)
    for name in ("delays_20000", "delays_2000", "delays_defaults", "delays_equal"):
        assert set(rows(said, name)) == {change.name for change in CHANGES}
    trains = rows(said, "trains")
    assert len(trains) == len(SPACINGS) * (2 * len(DEFAULTS) + len([FOCUS, OURS]) + 1)
    assert trains[f"500 rows apart, {ALWAYS}"][:3] == ["100.0%", "", "100%"]
    assert float(trains["500 rows apart, focus"][0].rstrip("%")) > 90.0
    alone = run_quick("drift", "--processes", "1", "--only", "trains")
    assert alone["figures"]["trains"] == said["figures"]["trains"]
    assert alone["figures"]["calibration"] == said["figures"]["calibration"]
