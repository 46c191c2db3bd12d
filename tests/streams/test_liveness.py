"""The rules of silence and volume, under a clock that the tests turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.learning import WEEK_MS
from schemas.batch import ModelKey
from schemas.liveness import LivenessData
from schemas.records import TopicPartition
from streams.liveness import (
    MAX_RUNS,
    MIN_EXPECTED,
    SILENT_EXPECTED,
    LivenessWatch,
    Said,
    Seen,
    Usual,
)
from streams.liveness_records import duration, liveness_data

WINDOW_MS = 60_000
START = 29_923_800  # a minute, and a multiple of 8
DAY = 1_440
KEY = ModelKey("m", "1")
TP = TopicPartition("events", 2)


@dataclass
class Minutes:
    """One model, or some, minute by minute; `rate` is that of the references, a minute."""

    rate: float = 100.0
    at: int = START
    watch: LivenessWatch = field(default_factory=lambda: LivenessWatch(WINDOW_MS))
    total: dict[ModelKey, int] = field(default_factory=lambda: {KEY: 2_000})
    admitted: dict[ModelKey, int] = field(default_factory=lambda: {KEY: 0})

    def __post_init__(self) -> None:
        self.tick()

    def tick(self, *, is_current: bool = True) -> list[Said]:
        models = [
            Seen(key, n, self.rate * WEEK_MS / WINDOW_MS, self.admitted[key])
            for key, n in self.total.items()
        ]
        return self.watch.tick(self.at * WINDOW_MS + 17, models, is_current=is_current)

    def go(
        self, counts: Sequence[int], key: ModelKey = KEY, *, is_current: bool = True
    ) -> list[Said]:
        """One minute for each count; what was said."""
        said: list[Said] = []
        for count in counts:
            self.at += 1
            self.total[key] += count
            said += self.tick(is_current=is_current)
        return said


def data(said: Said) -> LivenessData:
    return liveness_data(said, "d", TP, WINDOW_MS)


def kinds(said: Sequence[Said]) -> list[str]:
    return [("over " if each.is_over else "") + each.kind for each in said]


def test_a_silence_is_told_once_and_its_end_too() -> None:
    minutes = Minutes()
    assert minutes.go([100] * 10) == []
    assert minutes.go([0, 0]) == []
    (silence,) = minutes.go([0] * 34)
    assert silence == Said(KEY, "silence", False, START + 12, 1, START + 10, START + 13, 0, 300.0)
    (over,) = minutes.go([40])
    assert kinds([over]) == ["over silence"]
    assert (over.since, over.until) == (START + 10, START + 46)
    said = data(over)
    assert said.message == "m 1: predictions come again, after 36 minutes without one."
    assert (said.kind, said.recovered_from, said.severity) == ("recovered", "silence", "low")


def test_the_sentence_says_what_to_look_at() -> None:
    minutes = Minutes(rate=35.0)
    minutes.go([35] * 10)
    (silence,) = minutes.go([0] * 5)
    said = data(silence)
    assert said.message == (
        "m 1: no prediction for 3 minutes, where about 105 were to be expected. Look at the "
        "service that sends them, at the errors of its producer, and at topic events, partition 2."
    )
    assert (said.kind, said.severity, said.shard, said.n_events) == ("silence", "high", None, 0)
    assert said.window_start_ms == (START + 12) * WINDOW_MS
    assert said.until_ms - said.since_ms == 3 * WINDOW_MS


def test_a_slow_model_is_silent_only_after_many_were_to_be_expected() -> None:
    minutes = Minutes(rate=0.1)  # six an hour: 50 in more than eight hours
    minutes.go([1] + [0] * 9)
    minutes.go(([0] * 9 + [1]) * 30)
    assert minutes.go([0] * 500) == []
    (silence,) = minutes.go([0] * 5)
    assert silence.n_windows == 256
    assert silence.n_expected == pytest.approx(50.1)


def test_nothing_is_said_of_a_model_without_a_rate_or_that_was_never_heard() -> None:
    unknown = Minutes(rate=0.0)
    unknown.go([100] * 10)
    assert unknown.go([0] * 1_000) == []
    unheard = Minutes()
    assert unheard.go([0] * 1_000) == []


def test_nothing_is_said_while_the_worker_lags_and_the_time_does_not_count() -> None:
    minutes = Minutes()
    minutes.go([100] * 10)
    assert minutes.go([0] * 60, is_current=False) == []
    assert minutes.go([0, 0]) == []
    (silence,) = minutes.go([0])
    # It is counted from the last prediction, and told when it could be judged for long enough.
    assert (silence.since, silence.until) == (START + 10, START + 73)
    # A gap that the worker's lag has made is no habit.
    assert kinds(minutes.go([100, 0, 0, 0, 0])) == ["over silence", "silence"]


def test_a_lag_voids_the_windows_of_volume() -> None:
    minutes = Minutes()
    minutes.go([100] * 5)
    assert minutes.go([9, 9]) == []
    assert minutes.go([9], is_current=False) == []
    # The window after it may hold what came before it.
    assert minutes.go([9, 9, 9]) == []
    assert kinds(minutes.go([9])) == ["low_volume"]


def test_a_process_that_stood_still_begins_to_count_anew() -> None:
    minutes = Minutes()
    minutes.go([100] * 10)
    minutes.go([0])
    minutes.at += 30
    assert minutes.go([0, 0, 0]) == []
    assert kinds(minutes.go([0])) == ["silence"]


@pytest.mark.parametrize("back", [1, 3, 500])
def test_a_clock_that_is_set_back_does_no_harm(back: int) -> None:
    minutes = Minutes()
    minutes.go([100] * 10)
    minutes.at -= back
    assert minutes.go([100] * 5) == []
    assert kinds(minutes.go([0] * 5)) == ["silence"]


def test_a_model_that_sleeps_each_night_is_told_of_twice_at_most() -> None:
    minutes = Minutes()
    night, day = [0] * 600, [100] * 840
    said = [kinds(minutes.go(day + night)) for _ in range(10)]
    assert said == [["silence"], ["over silence", "silence"], ["over silence"], *[[]] * 7]
    # A silence of three nights is told of: it is none of them.
    assert kinds(minutes.go([0] * 2_000)) == ["silence"]


def test_a_weekend_of_a_model_that_sleeps_is_learned_too() -> None:
    minutes = Minutes()
    day = [100] * 840 + [0] * 600
    week = day * 5 + [0] * 2 * DAY
    n_said = [sum(not said.is_over for said in minutes.go(week)) for _ in range(5)]
    assert n_said == [3, 1, 0, 0, 0]


def test_one_outage_does_not_blunt_what_comes_after_it() -> None:
    minutes = Minutes()
    minutes.go([100] * 10)
    assert kinds(minutes.go([0] * 300 + [100])) == ["silence", "over silence"]
    minutes.go([100] * 60)
    assert kinds(minutes.go([0] * 3)) == ["silence"]


def test_volume_is_told_after_three_windows_and_only_beyond_the_factor() -> None:
    minutes = Minutes()
    minutes.go([100] * 5)
    assert minutes.go([25] * 50 + [400] * 50) == []
    assert minutes.go([24] * 2 + [100] + [24] * 2) == []
    (low,) = minutes.go([24] * 100)
    said = data(low)
    assert (low.kind, low.n_events, low.until - low.since) == ("low_volume", 72, 3)
    assert said.message.startswith(
        "m 1: 72 predictions in 3 minutes, where about 300 were to be expected. Look at the "
    )
    (over,) = minutes.go([90, 90])
    assert data(over).message == (
        "m 1: as many predictions come as is to be expected again, after 102 minutes of too few "
        "(2,448 where about 10,200 were to be expected)."
    )
    (high,) = minutes.go([401] * 20)
    assert (high.kind, data(high).severity) == ("high_volume", "medium")
    assert "sent again and again" in data(high).message
    assert kinds(minutes.go([100])) == ["over high_volume"]


def test_a_volume_that_was_never_as_expected_is_not_told() -> None:
    """The reference may be of a batch, or of other hours than these."""
    minutes = Minutes(rate=10_000.0)
    assert minutes.go([100] * 1_000) == []
    assert Minutes(rate=10.0).go([100] * 1_000) == []


def test_a_nightly_ebb_is_told_of_twice_at_most() -> None:
    minutes = Minutes()
    said = [kinds(minutes.go([100] * 840 + [10] * 600)) for _ in range(8)]
    assert said[:3] == [["low_volume"], ["over low_volume", "low_volume"], ["over low_volume"]]
    assert said[3:] == [[]] * 5


def test_a_silence_takes_the_place_of_a_low_volume() -> None:
    minutes = Minutes()
    minutes.go([100] * 5)
    assert kinds(minutes.go([5] * 5 + [0] * 10)) == ["low_volume", "silence"]
    assert kinds(minutes.go([100] * 5)) == ["over silence"]


def test_a_version_that_was_replaced_is_not_missed() -> None:
    heir, other = ModelKey("m", "2"), ModelKey("n", "1")
    for key, admitted, expected in (
        (heir, 500, []),
        (heir, 0, ["silence"]),  # an earlier version goes on: this one is missed
        (other, 500, ["silence"]),
        (ModelKey("m", "2", shard=1), 500, ["silence"]),
    ):
        minutes = Minutes()
        minutes.admitted[KEY] = 100
        minutes.go([100] * 10)
        minutes.total[key], minutes.admitted[key] = 0, admitted
        said = minutes.go([100] * 20, key)
        assert kinds([each for each in said if each.key == KEY]) == expected, key


def test_a_low_volume_of_a_version_that_is_being_replaced_is_not_told() -> None:
    minutes = Minutes()
    minutes.go([100] * 10)
    heir = ModelKey("m", "2")
    minutes.total[heir], minutes.admitted[heir] = 0, 500
    for _ in range(10):
        minutes.total[KEY] += 5
        assert minutes.go([95], heir) == []


def test_a_model_that_gave_way_and_came_back_is_met_anew() -> None:
    minutes = Minutes()
    minutes.go([100] * 10)
    minutes.total[KEY] = 0
    assert minutes.go([0] * 20) == []
    minutes.go([100] * 5)
    assert kinds(minutes.go([0] * 5)) == ["silence"]
    del minutes.total[KEY]
    minutes.at += 1
    assert minutes.tick() == []


@given(st.integers(1, 2_000_000_000))
def test_windows_are_the_shortest_in_which_enough_is_expected(per_week: int) -> None:
    minutes = Minutes(rate=per_week * WINDOW_MS / WEEK_MS)
    minutes.go([1, 1])
    size = minutes.watch._models[KEY].size
    if not size:
        assert 8_192 * minutes.rate < MIN_EXPECTED
        return
    assert size.bit_count() == 1
    assert size * minutes.rate >= MIN_EXPECTED
    assert size == 1 or size // 2 * minutes.rate < MIN_EXPECTED


MINUTE = st.tuples(
    st.sampled_from([0, 0, 0, 1, 10, 100, 100, 1_000, -50]),
    st.booleans() | st.just(True),
    st.sampled_from([1, 1, 1, 1, 1, 2, 40, -3]),
    st.integers(1, 12),
)


@given(st.lists(MINUTE, max_size=40), st.sampled_from([0.0, 0.3, 3.0, 100.0]))
def test_whatever_comes_what_is_said_makes_sense(
    story: list[tuple[int, bool, int, int]], rate: float
) -> None:
    minutes = Minutes(rate=rate)
    open_kind: str | None = None
    for count, is_current, step, n_times in story:
        minutes.at += step - 1
        for _ in range(n_times):
            count_now = max(count, -minutes.total[KEY])
            if count_now < 0 or step < 0:
                open_kind = None  # what was told is forgotten
            for said in minutes.go([count_now], is_current=is_current):
                told = data(said)
                assert said.since <= said.until <= minutes.at
                assert said.n_expected == pytest.approx(rate * (said.until - said.since))
                assert told.window_start_ms % WINDOW_MS == 0
                assert said.window <= minutes.at - 1 < said.window + said.n_windows
                if said.is_over:
                    assert open_kind == said.kind
                    open_kind = None
                    continue
                assert open_kind != said.kind
                assert is_current
                open_kind = said.kind
                if said.kind == "silence":
                    assert (said.n_events, count_now) == (0, 0)
                    assert said.n_expected >= SILENT_EXPECTED
                elif said.kind == "low_volume":
                    assert 0 < 4 * said.n_events < said.n_expected
                else:
                    assert said.n_events > 4 * said.n_expected


def story_of(seed: int) -> Iterator[int]:
    """Minutes of a lively and troubled life: outages, ebbs, floods."""
    rng = np.random.default_rng(seed)
    while True:
        level = rng.choice([0, 10, 100, 600])
        yield from rng.poisson(level, rng.integers(1, 30)).tolist()
        yield from rng.poisson(100, rng.integers(5, 90)).tolist()


@pytest.mark.parametrize("seed", range(2))
def test_ids_differ_within_a_worker_and_are_one_for_two_workers(seed: int) -> None:
    story = story_of(seed)
    counts = [next(story) for _ in range(2_000)]
    first, second = Minutes(), Minutes(at=START + 57)
    said = [data(each) for each in first.go(counts)]
    assert len({each.kind for each in said}) == 4
    ids = [each.liveness_id for each in said]
    assert len(set(ids)) == len(ids)
    # One that took the partition up an hour later, and had seen all that counts before each.
    again = [data(each) for each in second.go(counts[57:])]
    assert set(again) & set(said)
    for each in again:
        same = [other for other in said if other.liveness_id == each.liveness_id]
        assert all(other.kind == each.kind for other in same)
    assert liveness_data(first_of(first), "other", TP, WINDOW_MS).liveness_id not in ids


def first_of(minutes: Minutes) -> Said:
    minutes.go([100] * 60)
    return minutes.go([0] * 5_000)[0]


@pytest.mark.parametrize("seed", range(4))
def test_steady_traffic_is_never_told_of(seed: int) -> None:
    """Four days, of events that come by tens at once."""
    rng = np.random.default_rng(seed)
    counts = 10 * rng.poisson(4.0, 4 * DAY)
    minutes = Minutes(rate=40.0)
    assert minutes.go(counts.tolist()) == []


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 30)), max_size=80))
def test_what_is_usual_is_the_second_longest_that_is_remembered(
    runs: list[tuple[int, int]],
) -> None:
    usual, memory, at = Usual(200), 200, 0
    ended: list[tuple[int, int]] = []
    for length, pause in runs:
        at += pause
        usual.note(length, at)
        ended.append((at, length))
        recent = sorted(n for when, n in ended if at - when <= memory)
        if len(usual._runs) < MAX_RUNS:
            assert usual.length(at) == (recent[-2] if len(recent) > 1 else 0)
        assert len(usual._runs) <= MAX_RUNS


def test_no_more_runs_are_remembered_than_the_bound() -> None:
    usual = Usual(10_000)
    for at in range(1, 200):
        usual.note(1_000 - at, at)
    assert len(usual._runs) == MAX_RUNS
    assert usual.length(200) == 998


@pytest.mark.parametrize(
    ("length_ms", "words"),
    [
        (1_000, "1 second"), (0, "0 seconds"), (60_000, "60 seconds"), (120_000, "2 minutes"),
        (34 * 60_000, "34 minutes"), (7_200_000, "2 hours"), (40 * 3_600_000, "40 hours"),
        (4 * 86_400_000, "4 days"), (3 * WEEK_MS, "3 weeks"),
    ],
)  # fmt: skip
def test_a_length_of_time_in_words(length_ms: int, words: str) -> None:
    assert duration(length_ms) == words
