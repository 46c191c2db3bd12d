"""The judge of incidents: one change is one incident, and what is asked for is asked for once."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from benchmarks.incidents import DETECTION, Run, Story, made_step, run, story_table
from benchmarks.kit.responding import MODEL, START_MS, Chain, EventColumns
from schemas.responder_config import RetrainingConfig
from tests.benchmarks.run import rows, run_quick

N_BEFORE, N_AFTER = 5_000, 11_500


@pytest.mark.parametrize("seed", [0, 1])
def test_one_change_is_one_incident_and_its_request_is_out_once(seed: int) -> None:
    own = run("step", made_step(seed, N_BEFORE, N_AFTER).log(), [N_BEFORE])
    (story,) = own.stories
    assert own.of_change(0) == [story]
    assert (own.n_gone, own.n_told_again) == (0, 0)
    assert story.reason == "harmful_drift"
    assert N_BEFORE <= story.opened <= N_BEFORE + 500
    request = story.request
    assert request is not None
    assert (request.status, request.n_released) == ("released", 1)
    assert request.benefit is not None
    assert 0.0 < request.benefit[1] < request.benefit[0] < request.benefit[2]
    assert abs(request.first - N_BEFORE) <= 100
    # Its window ends 10,000 predictions, with their labels, behind where the change was first told
    # to have begun, and is settled at the poll behind that. More signals may move where it begins.
    assert request.released is not None
    assert 10_000 <= request.released - request.first <= 10_600


def test_without_a_change_there_is_no_incident() -> None:
    steady = made_step(3, N_BEFORE + N_AFTER, 0)
    own = run("steady", steady.log(), [])
    assert own.stories == own.before() == []


def test_a_log_has_each_label_so_many_predictions_later() -> None:
    n = 5
    own = EventColumns(
        features={"x": [0.5] * n},
        predicted=[0] * n,
        score=[0.1] * n,
        source=["a"] * n,
        label=[1] * n,
        label_source=["b"] * n,
    )
    for delay, wanted in ((0, "plplplplpl"), (2, "ppplplplll"), (9, "ppppplllll")):
        log = own.log(delay)
        kinds = "".join(
            "l" if b'"label"' in value else "p" for value in log.records.values if value
        )
        assert kinds == wanted
        seconds = [(time_ms - START_MS) // 1_000 for time_ms in log.times_ms]
        assert seconds == sorted(seconds)
        assert set(log.records.keys) == {MODEL.encode()}


def test_a_poll_may_have_any_length() -> None:
    columns = made_step(0, 2_000, 3_000)
    ends = []
    for poll in (1_000, 2_777):
        chain = Chain(columns.log(), DETECTION, [RetrainingConfig(window_offsets=1_000)])
        asyncio.run(chain.run(poll))
        (responder,) = chain.responders
        ends.append(responder.outlet.compacted())
    assert ends[0].keys() == ends[1].keys()
    assert ends[0] == ends[1]


def test_incidents_belong_to_the_change_before_them() -> None:
    def story(opened: int) -> Story:
        return Story("1" * 32, "harmful_drift", [], "updated", "high", opened, opened, opened,
                     1, 0, 1, 1, "m", None)  # fmt: skip

    own = Run("x", 1_000, [100, 500], [story(at) for at in (50, 100, 499, 700)], 0, 0)
    assert [each.opened for each in own.before()] == [50]
    assert [each.opened for each in own.of_change(0)] == [100, 499]
    assert [each.opened for each in own.of_change(1)] == [700]
    table = story_table("x", "incidents", own)
    assert [row[3] for row in table.rows] == ["50", "100", "499", "700"]


def test_each_real_change_of_the_census_is_one_incident() -> None:
    said = run_quick("incidents", "--only", "census")
    assert said["not_run"] == []
    own = said["figures"]["census"]
    begin = [each["start"] for each in own["stories"]]
    ends = [*own["changes"][1:], 10**9]
    assert [
        sum(change <= row < end for row in begin)
        for change, end in zip(own["changes"], ends, strict=True)
    ] == [1, 1, 1]
    assert len(begin) == 3
    assert own["n_gone"] == own["n_told_again"] == 0
    assert len(rows(said, "census")) == len(rows(said, "sentences")) == 3


@pytest.mark.long
def test_quick_runs_of_the_made_stream() -> None:
    said = run_quick("incidents", "--only", "steps")
    steps = rows(said, "steps")
    assert steps["incidents after the change: one in"] == ["2"]
    assert steps["requests released: one in"] == ["2"]


def test_the_made_stream_changes_where_it_says() -> None:
    own = made_step(5, 4_000, 4_000)
    wrong = np.array(own.predicted) != np.array(own.label)
    assert wrong[:4_000].mean() < 0.2
    assert wrong[4_000:].mean() > 0.25
