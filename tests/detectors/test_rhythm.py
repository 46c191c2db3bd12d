"""Daily and weekly rhythms: found where there is one, and then no reason for an alarm."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.drift.focus import FocusBank
from detectors.drift.ranks import Indicator, LaneReference, Ranks, fit, fit_in_time
from detectors.drift.rhythm import (
    DAY,
    MAX_KNOT,
    MIN_RHYTHM_ROWS,
    WEEK,
    Rhythm,
    Wanted,
    find,
)
from detectors.kernels.rhythm import HOUR_MS
from schemas.batch import F64, I64
from schemas.config import FocusConfig
from schemas.findings import Aspect, Firing
from tests.detectors.batches import feed, one_model, split

DAY_MS = DAY * HOUR_MS
START = 1_700_000_000_000


def regular(n: int, per_day: int) -> I64:
    """(n,) event times, so many a day, evenly spaced."""
    return START + np.arange(n, dtype=np.int64) * DAY_MS // per_day


def by_day(times: I64) -> F64:
    """(n,) the hour of each time as a share of the day."""
    return (times % DAY_MS) / DAY_MS


def sine(times: I64) -> F64:
    return np.sin(2.0 * np.pi * by_day(times))


def office(times: I64) -> F64:
    """Two levels, with edges amid an hour."""
    return np.where(np.abs(by_day(times) - 0.55) < 0.2, 1.0, -1.0)


def workdays(times: I64) -> F64:
    """A daily cycle that is weak on two days of the week."""
    return sine(times) * np.where(times // DAY_MS % 7 >= 5, 0.2, 1.0)


def standardised(x: F64, n_reference: int) -> F64:
    """(lanes, rows) in standard deviations of the first rows."""
    own = x[:, :n_reference]
    z: F64 = (x - own.mean(axis=1, keepdims=True)) / own.std(axis=1, keepdims=True)
    return z


def walked(rng: np.random.Generator, phi: float, n: int) -> F64:
    x = rng.normal(size=n)
    for i in range(1, n):
        x[i] += phi * x[i - 1]
    return x


def watch(z: F64, times: I64, n_reference: int, arl0: float, wanted: Wanted) -> list[Firing]:
    """The alarms of lanes (lanes, rows) whose first rows are their references, as a fold has it."""
    references = [fit_in_time(x[:n_reference], times[:n_reference], wanted) for x in z]
    bank = FocusBank(FocusConfig(), len(z), None)
    lanes = np.arange(len(z), dtype=np.int32)
    bank.learn(lanes, [LaneReference(each, arl0) for each in references])
    rest, at = z[:, n_reference:].copy(), times[n_reference:]
    for lane, each in enumerate(references):
        if isinstance(each, Ranks) and each.rhythm is not None:
            rest[lane] = each.rhythm.without(rest[lane], at)
    columns = np.ascontiguousarray(rest.T)
    fired = feed(bank, split(one_model(columns), range(5_000, len(columns), 5_000)))
    return [firing for firing in fired if firing.aspect != Aspect.SETTLED]


def test_a_daily_cycle_is_found_as_it_is() -> None:
    times = regular(4_000, 200)
    rng = np.random.default_rng(1)
    x = sine(times) + 0.5 * rng.normal(size=4_000)
    found = find(x, times, None)
    assert found is not None
    assert (found.name, found.periods) == ("day", 20)
    truth = np.sin(2.0 * np.pi * (np.arange(DAY) + 0.5) / DAY)
    assert np.abs(found.knots - truth).max() < 0.1
    assert found.share == pytest.approx(0.5 / 0.75, abs=0.03)
    left = found.without(x, times)
    assert left.mean() == pytest.approx(x.mean(), abs=1e-6)
    assert left.std() == pytest.approx(0.5, abs=0.02)


def test_days_that_differ_within_a_week_are_a_weekly_rhythm() -> None:
    times = regular(7_000, 100)
    x = 1.5 * workdays(times) + np.random.default_rng(2).normal(size=7_000)
    found = find(x, times, None)
    assert found is not None
    assert (found.name, found.periods, len(found.knots)) == ("week", 10, WEEK)
    hour = np.arange(WEEK) * HOUR_MS + HOUR_MS // 2
    assert np.abs(found.knots - 1.5 * workdays(hour)).mean() < 0.15
    only = find(x, times, "day")
    assert only is not None
    assert only.name == "day"
    assert only.share < found.share


@pytest.mark.parametrize("law", ["normal", "lognormal", "AR 0.9", "random walk", "step"])
@pytest.mark.parametrize("per_day", [400, 80])
def test_what_has_no_rhythm_is_seldom_given_one(law: str, per_day: int) -> None:
    """100 references of 2,000 rows, seeded. Stated: one in 1,000 for each of day and week.

    Seen of other seeds, without a step: 22 in 19,200.
    """
    times = regular(2_000, per_day)
    n_found = 0
    for seed in range(100):
        rng = np.random.default_rng([seed, per_day])
        laws: dict[str, Callable[[np.random.Generator], F64]] = {
            "normal": lambda own: own.normal(size=2_000),
            "lognormal": lambda own: own.lognormal(size=2_000),
            "AR 0.9": lambda own: walked(own, 0.9, 2_000),
            "random walk": lambda own: walked(own, 1.0, 2_000),
            "step": lambda own: own.normal(size=2_000) + 3.0 * (np.arange(2_000) > 800),
        }
        x = laws[law](rng)
        n_found += find((x - x.mean()) / x.std(), times, None) is not None
    assert n_found <= 2


@pytest.mark.parametrize(
    ("n", "per_day", "wanted"),
    [(2_000, 1_000, None), (2_000, 1_000, "day"), (MIN_RHYTHM_ROWS - 1, 50, None)],
)
def test_a_reference_too_short_for_a_rhythm_is_taken_as_ever(
    n: int, per_day: int, wanted: Wanted
) -> None:
    times = regular(n, per_day)
    x = sine(times) + np.random.default_rng(3).normal(size=n)
    ranks, plain = fit_in_time(x, times, wanted), fit(x)
    assert isinstance(ranks, Ranks)
    assert isinstance(plain, Ranks)
    assert ranks.rhythm is None
    assert (ranks.cuts == plain.cuts).all()
    assert ranks.variance == plain.variance


def test_the_config_decides_where_it_says_something() -> None:
    times = regular(2_100, 100)
    rng = np.random.default_rng(4)
    x = 1.5 * workdays(times) + rng.normal(size=2_100)
    assert find(x, times, "none") is None
    # Three weeks are too few to be sure of one, and enough for who knows.
    by_itself, stated = find(x, times, None), find(x, times, "week")
    assert by_itself is not None
    assert stated is not None
    assert (by_itself.name, stated.name, stated.periods) == ("day", "week", 3)
    indicator = fit_in_time((x > 0.0).astype(np.float64), times, "day")
    assert isinstance(indicator, Indicator)


@pytest.mark.parametrize("shape", [sine, office])
@pytest.mark.parametrize(("n_reference", "per_day"), [(2_000, 200), (2_000, 500), (20_000, 1_000)])
@pytest.mark.parametrize("is_even", [True, False])
def test_false_alarms_under_a_cycle_stay_within_twice_the_stated_number(
    shape: Callable[[I64], F64], n_reference: int, per_day: int, is_even: bool
) -> None:
    """20 lanes of 10,000 rows at ARL0 1e4, hence 20 alarms stated; seeded.

    A reference for each; where it is not even, 19 of 20 events come in half of the day.
    """
    rng = np.random.default_rng([n_reference, per_day, is_even])
    n = n_reference + 10_000
    times = regular(n, per_day)
    if not is_even:
        hour = np.where(rng.random(n) < 0.95, rng.uniform(8.0, 20.0, n), rng.uniform(0.0, 24.0, n))
        within = np.sort(hour.reshape(-1, per_day), axis=1).ravel() * HOUR_MS
        midnight = (START // DAY_MS + np.arange(n) // per_day) * DAY_MS
        times = midnight + within.astype(np.int64)
    z = standardised(rng.normal(size=(20, n)) + shape(times), n_reference)
    assert len(watch(z, times, n_reference, 1e4, None)) <= 40


@pytest.mark.parametrize("law", ["twice as wide by day", "counts"])
def test_a_signal_that_swings_more_at_some_hours_keeps_its_budget(law: str) -> None:
    """20 lanes of 10,000 rows at ARL0 1e4, hence 20 alarms stated; seeded."""
    times = regular(12_000, 200)
    rng = np.random.default_rng(6)
    wave = sine(times)
    laws: dict[str, Callable[[], F64]] = {
        "twice as wide by day": lambda: (1.0 + 0.5 * wave) * rng.normal(size=(20, 12_000)) + wave,
        "counts": lambda: rng.poisson(4.0 * np.exp(0.7 * wave), (20, 12_000)).astype(np.float64),
    }
    x = laws[law]()
    assert len(watch(standardised(x, 2_000), times, 2_000, 1e4, None)) <= 40


def test_a_shift_under_a_cycle_is_found_in_far_fewer_rows() -> None:
    """Half a standard deviation of the noise, at ARL0 1e6; ten lanes, seeded, none false."""
    times = regular(22_000, 200)
    rng = np.random.default_rng(7)
    x = rng.normal(size=(10, 22_000)) + sine(times)
    x[:, 12_000:] += 0.5
    z = standardised(x, 2_000)
    late: dict[Wanted, list[float]] = {}
    for wanted in (None, "none"):
        first: dict[int, Firing] = {}
        for firing in watch(z, times, 2_000, 1e6, wanted):
            first.setdefault(firing.lane, firing)
        assert all(firing.offset >= 10_000 for firing in first.values())
        late[wanted] = sorted(
            first[lane].offset - 10_000.0 if lane in first else math.inf for lane in range(10)
        )
        if wanted is None:
            for firing in first.values():
                assert abs(firing.change_offset - 10_000) < 200
                assert firing.before == pytest.approx(0.0, abs=0.1)
    assert late[None][-1] < 400
    assert late["none"][5] > 8 * late[None][5]


def test_between_the_hours_it_is_smooth_and_it_goes_round() -> None:
    rng = np.random.default_rng(8)
    for hours in (DAY, WEEK):
        rhythm = Rhythm(rng.normal(size=hours), 5, 0.5)
        middle = np.arange(hours, dtype=np.int64) * HOUR_MS + HOUR_MS // 2
        for period in (-3, 0, 7):
            at = middle + period * hours * HOUR_MS
            assert (rhythm.without(np.zeros(hours), at) == -rhythm.knots).all()
        fine = np.arange(-HOUR_MS, hours * HOUR_MS, 60_000, dtype=np.int64)
        values = rhythm.without(np.zeros(len(fine)), fine)
        assert np.abs(np.diff(values)).max() < 0.2
    missing = rhythm.without(np.array([np.nan, 1e6, -1e6]), fine[:3])
    assert np.isnan(missing[0])
    assert (np.abs(missing[1:]) <= 1e6).all()


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    span=st.sampled_from([0, 1, DAY_MS, 4 * DAY_MS, 60 * DAY_MS, 2**40, 2**62]),
    values=st.sampled_from(["few", "huge", "heavy", "cycle", "almost constant"]),
    clocks=st.sampled_from(["right", "some far off", "two ages", "office"]),
    wanted=st.sampled_from([None, "day", "week", "none"]),
)
def test_no_reference_is_beyond_it(
    seed: int, span: int, values: str, clocks: str, wanted: Wanted
) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(900, 1_500))
    times = np.sort((rng.random(n) * span).astype(np.int64))
    if clocks == "some far off":
        times[rng.integers(0, n, 20)] = rng.choice(np.array([-(2**63), 2**63 - 1, 0]), 20)
    elif clocks == "two ages":
        times[n // 2 :] += 2**61
    elif clocks == "office":
        times = times // DAY_MS * DAY_MS + times % (3 * HOUR_MS)
    kinds: dict[str, Callable[[], F64]] = {
        "few": lambda: rng.integers(0, 3, n).astype(np.float64),
        "huge": lambda: 1e6 * rng.choice([-1.0, 0.5, 1.0], n),
        "heavy": lambda: np.clip(rng.standard_cauchy(n), -1e6, 1e6),
        "cycle": lambda: sine(times) + 1e-9 * rng.normal(size=n),
        "almost constant": lambda: (np.arange(n) == 7) * 1.0 + (np.arange(n) == 9) * 2.0,
    }
    x = kinds[values]()
    ranks = fit_in_time(x, times, wanted)
    again = fit_in_time(x.copy(), times.copy(), wanted)
    assert isinstance(ranks, Ranks) == isinstance(again, Ranks)
    if not isinstance(ranks, Ranks) or ranks.rhythm is None:
        return
    assert isinstance(again, Ranks)
    assert again.rhythm is not None
    assert again.rhythm.knots.tobytes() == ranks.rhythm.knots.tobytes()
    assert (np.abs(ranks.rhythm.knots) <= MAX_KNOT).all()
    assert ranks.rhythm.periods >= 3
    assert 0.0 < ranks.rhythm.share < 1.0
    assert all(1.0 <= each < math.inf for each in ranks.variance)
    assert ranks.n <= n
