"""Floods that grow: neither a slope nor half a block of onset hides one from `volume`."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.kernels import volume as kernel
from detectors.security import volume
from detectors.security.base import SecurityRows, Suspicion, Technique
from detectors.security.fold import SecurityFold
from detectors.security.sources import needed_refusals
from schemas.batch import F64, I64
from schemas.config import DetectionConfig
from tests.detectors.security_events import KEY, benign, numbers
from tests.detectors.source_rows import fold, rows_of

BLOCK = kernel.NAMES_BLOCK
CONFIG = DetectionConfig.model_validate({
    "security": {"learn_events": 1_000, "max_models": 2, "max_sources": 512}
})  # fmt: skip
N_CLIENTS = 20


def quiet(rng: np.random.Generator, n_blocks: int) -> SecurityFold:
    """A fold that has seen so many blocks of twenty clients, and the model's first 1,000 events."""
    own = SecurityFold(CONFIG, KEY)
    assert own.process(benign(rng, 1_000 + n_blocks * BLOCK, n_sources=N_CLIENTS)) == []
    return own


def more_names(
    own: SecurityFold, rng: np.random.Generator, n_new: I64, events_of_each: int = 1
) -> list[Suspicion]:
    """Blocks in each of which so many events are of new names, the others of the clients."""
    said: list[Suspicion] = []
    name = 1_000
    for n in n_new.tolist():
        who = 1 + rng.integers(0, N_CLIENTS, BLOCK)
        at = np.sort(rng.permutation(BLOCK)[:n])
        who[at] = name + np.arange(n) // events_of_each
        name += n
        x = rng.normal(size=(BLOCK, 4))
        said += own.process(numbers(x, who, first=own.counters["n_events"]))
    return said


@pytest.mark.parametrize("n_blocks", [20, 70, 120])
@pytest.mark.parametrize("growth", [1.1, 1.5, 1.9])
def test_names_that_grow_from_block_to_block_are_told(growth: float, n_blocks: int) -> None:
    rng = np.random.default_rng(5)
    own = quiet(rng, n_blocks)
    names = np.minimum(N_CLIENTS * growth ** np.arange(1, 80), 1_000)
    n_new = (names - N_CLIENTS).clip(0).astype(np.int64)
    said = more_names(own, rng, n_new)
    assert {(each.source, each.technique, each.detail) for each in said} == {
        (-1, Technique.CHAFF, "sources")
    }
    # Of 8 times as many as usual, the next four blocks at the latest.
    n_until = (said[0].offset + 1 - 1_000) / BLOCK - n_blocks
    assert n_until <= np.log(8.0) / np.log(growth) + kernel.IN_A_ROW + 1


def test_where_in_its_block_a_flood_begins_does_not_matter() -> None:
    told = []
    for place in range(16):
        rng = np.random.default_rng(6)
        own = quiet(rng, 48 + place)
        shift = benign(rng, 1 + 64 * place, n_sources=N_CLIENTS, first=own.counters["n_events"])
        assert own.process(shift) == []
        said = more_names(own, rng, np.full(20, 5 * N_CLIENTS))
        told.append({(each.technique, each.detail) for each in said})
    assert told == [{(Technique.CHAFF, "sources")}] * 16


def test_names_that_push_others_out_are_pressure_though_none_is_refused() -> None:
    rng = np.random.default_rng(7)
    own = quiet(rng, 70)
    said = more_names(own, rng, np.full(60, 900), events_of_each=4)
    assert own.counters["n_refused_sources"] == 0
    assert own.counters["n_evicted_sources"] > 5_000
    assert {(each.source, each.technique, each.detail) for each in said} == {
        (-1, Technique.CHAFF, "sources"),
        (-1, Technique.PRESSURE, "turnover"),
    }
    assert all(each.n_sources > 100 for each in said)


def test_a_table_whose_places_always_change_hands_is_under_no_pressure() -> None:
    rng = np.random.default_rng(8)
    own = SecurityFold(CONFIG, KEY)
    # Two thousand clients, each in visits of eight events, and places for 512 of them.
    visits = rng.integers(1, 2_000, 25_000)
    who = np.repeat(visits, 8)
    for start in range(0, len(who), 20 * BLOCK):
        part = who[start : start + 20 * BLOCK]
        order = np.lexsort((rng.random(len(part)), np.arange(len(part)) // 64))
        x = rng.normal(size=(len(part), 4))
        assert own.process(numbers(x, part[order], first=own.counters["n_events"])) == []
    assert own.counters["n_evicted_sources"] > 10_000


@pytest.mark.parametrize("growth", [1.1, 1.3, 1.7])
def test_a_source_that_sends_faster_and_faster_is_told(growth: float) -> None:
    rng = np.random.default_rng(9)
    factors = np.minimum(growth ** np.arange(1, 120), 600.0)
    # Of a hundred events a second five are its own; the others keep their pace.
    parts = [(np.full(60_000, 0.05), 10.0)]
    parts += [
        (np.full(int(64 / (share := 0.05 * f / (0.05 * f + 0.95))), share), 9.5 * (1.0 - share))
        for f in factors.tolist()
    ]
    shares = np.concatenate([share for share, _ in parts])
    steps = np.concatenate([np.full(len(share), step) for share, step in parts])
    n = len(shares)
    who = np.where(rng.random(n) < shares, 0, 1 + rng.integers(0, N_CLIENTS - 1, n))
    rows = rows_of(
        rng.normal(size=(n, 2)),
        who,
        rng.integers(0, 2, n),
        time_ms=np.cumsum(steps).astype(np.int64),
    )
    bank = volume.SPEC.build(volume.SPEC.config_type(), 1, N_CLIENTS, 1, None)
    said = fold(bank, rows)
    assert {(each.source, each.technique, each.detail) for each in said} == {
        (0, Technique.VOLUME, "rate")
    }
    begun = np.concatenate([[len(share)] for share, _ in parts]).cumsum()
    # Of 32 times its pace, the next four blocks at the latest.
    n_until = float(np.searchsorted(begun, said[0].offset))
    assert n_until <= np.log(32.0) / np.log(growth) + kernel.IN_A_ROW + 1


def test_limits_are_the_deployments_own() -> None:
    limits = []
    for salt in range(20):
        rng = np.random.default_rng(6)
        n = 40 * BLOCK
        source = rng.integers(0, N_CLIENTS, n)
        fresh = rng.random(n) < np.where(np.arange(n) < 30 * BLOCK, 0.0, 0.3)
        words = rows_of(np.zeros((n, 1)), np.where(fresh, np.arange(n) + 100, source), source)
        words.source[fresh] = -1
        bank = volume.SPEC.build(volume.SPEC.config_type(), 1, N_CLIENTS, salt, None)
        (found, *_) = fold(bank, words)
        limits.append(found.threshold - found.baseline)
    assert len(set(limits)) == 20
    assert 1.9 <= min(limits) < max(limits) <= 2.1


def test_how_many_refusals_are_told_is_the_deployments_own() -> None:
    needed = {needed_refusals(salt) for salt in range(1_000)}
    assert needed == set(range(24, 41))


def test_a_slope_that_the_usual_can_follow_is_no_flood() -> None:
    """Twice in 128 blocks: a service that grows. It is the limit that docs/security.md states."""
    rng = np.random.default_rng(10)
    own = quiet(rng, 20)
    names = np.minimum(N_CLIENTS * 2.0 ** (np.arange(1, 300) / 128.0), 1_000)
    assert more_names(own, rng, (names - N_CLIENTS).clip(0).astype(np.int64)) == []


def told_blocks(n_of: I64, seed: int = 11) -> list[int]:
    """In which blocks `sources` is told, where each has so many clients out of three thousand."""
    rng = np.random.default_rng(seed)
    who = np.concatenate([
        rng.permutation(np.concatenate([
            own := rng.choice(3_000, n, replace=False), rng.choice(own, BLOCK - n)
        ]))
        for n in n_of.tolist()
    ])  # fmt: skip
    rows = rows_of(np.zeros((len(who), 1)), who, who)
    rows.source[:] = -1
    bank = volume.SPEC.build(volume.SPEC.config_type(), 1, N_CLIENTS, 1, None)
    return [found.offset // BLOCK for found in fold(bank, rows)]


@pytest.mark.parametrize("slope", [8, 32, 64])
def test_a_day_that_follows_on_a_night_is_told_once_and_then_usual(slope: int) -> None:
    up = np.exp(np.linspace(np.log(6), np.log(400), slope))
    day = np.concatenate([np.full(150, 6), up, np.full(150, 400), up[::-1]]).astype(np.int64)
    told = told_blocks(np.tile(day, 4))
    assert told
    assert max(told) < len(day)


def test_pauses_do_not_hide_a_flood() -> None:
    floods = np.tile([900, 900, 900, 20], 30)
    assert told_blocks(np.concatenate([np.full(40, 20), floods]))
    # Three are few, whatever they are.
    assert told_blocks(np.concatenate([np.full(40, 20), [900] * 3, np.full(40, 20)])) == []


def test_a_table_that_fills_slowly_is_under_no_pressure_when_it_is_full() -> None:
    rng = np.random.default_rng(12)
    config = DetectionConfig.model_validate({
        "security": {"learn_events": 1_000, "max_models": 2, "max_sources": 2_048}
    })  # fmt: skip
    own = SecurityFold(config, KEY)
    n = 60 * BLOCK
    # Ever new users, eight events of each, a hundred at a time.
    order = np.argsort(np.arange(n) // 8 * 8 + 800 * rng.random(n), kind="stable")
    who = (1 + np.arange(n) // 8)[order]
    assert own.process(numbers(rng.normal(size=(n, 4)), who)) == []
    assert own.counters["n_evicted_sources"] > 3_000


def test_names_that_all_change_within_the_hour_are_no_pressure() -> None:
    rng = np.random.default_rng(13)
    own = SecurityFold(CONFIG, KEY)
    for hour in range(6):
        n = 40 * BLOCK
        who = 1 + 450 * hour + rng.integers(0, 450, n)
        assert own.process(numbers(rng.normal(size=(n, 4)), who, first=hour * n)) == []
    assert own.counters["n_evicted_sources"] > 1_000


def paced(own_ms: list[F64], others: F64, n_others: int) -> SecurityRows:
    """Queries at these times (ms): of sources 0, 1, ... and of others behind them, in turn."""
    k = len(own_ms)
    time = np.concatenate([*own_ms, others])
    who = np.concatenate([
        *(np.full(len(times), number) for number, times in enumerate(own_ms)),
        k + np.arange(len(others)) % n_others,
    ])  # fmt: skip
    order = np.argsort(time, kind="stable")
    n = len(time)
    return rows_of(
        np.zeros((n, 1)), who[order], np.zeros(n, np.int64), time_ms=time[order].astype(np.int64)
    )


def of_rate(rows: SecurityRows) -> set[int]:
    bank = volume.SPEC.build(volume.SPEC.config_type(), 1, N_CLIENTS, 1, None)
    return {found.source for found in fold(bank, rows) if found.detail == "rate"}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5])
def test_a_source_is_told_whatever_part_of_the_traffic_it_is(share: float) -> None:
    begin = np.cumsum(np.full(64 * 40, 10.0 / share))
    flood = begin[-1] + np.cumsum(np.full(64 * 20, 0.01 / share))
    others = np.arange(0.0, flood[-1], 10.0 / (1.0 - share))
    assert of_rate(paced([np.concatenate([begin, flood])], others, 3)) == {0}


@pytest.mark.parametrize(("n_fast", "is_told"), [(4, True), (10, False)])
def test_several_sources_at_once_are_told_and_half_of_all_are_a_load_test(
    n_fast: int, is_told: bool
) -> None:
    rng = np.random.default_rng(14)
    begin, flood = np.full(64 * 40, 200.0), np.full(64 * 20, 0.2)
    pace = np.concatenate([begin, flood])
    own = [np.cumsum(pace) + 0.2 * rng.random() for _ in range(n_fast)]
    others = np.arange(0.0, own[0][-1], 200.0 / (N_CLIENTS - n_fast))
    told = of_rate(paced(own, others, N_CLIENTS - n_fast))
    assert told == (set(range(n_fast)) if is_told else set())


@pytest.mark.parametrize("n_cover", [0, 450, 600])
def test_a_burst_that_others_excuse_does_not_make_room_for_a_flood(n_cover: int) -> None:
    begin = np.cumsum(np.full(64 * 60, 200.0))
    burst = begin[-1] + np.linspace(1.0, 30.0, 130)
    quiet = burst[-1] + np.cumsum(np.full(64 * 62 - 130, 200.0))
    flood = quiet[-1] + np.cumsum(np.full(8_000, 0.2))
    usual = np.arange(0.0, flood[-1], 10.0 / 0.95)
    others = np.concatenate([usual, begin[-1] + np.linspace(1.0, 30.0, n_cover)])
    assert of_rate(paced([np.concatenate([begin, burst, quiet, flood])], np.sort(others), 19)) == {
        0
    }


def test_a_small_flood_that_is_told_makes_no_room_for_a_large_one() -> None:
    begin = np.cumsum(np.full(64 * 40, 200.0))
    small = begin[-1] + np.cumsum(np.full(64 * 5, 200.0 / 12))
    large = small[-1] + np.cumsum(np.full(64 * 2, 0.002))
    quiet = large[-1] + np.cumsum(np.full(64 * 64, 200.0))
    flood = quiet[-1] + np.cumsum(np.full(64 * 64, 0.02))
    own = np.concatenate([begin, small, large, quiet, flood])
    rows = paced([own], np.arange(0.0, own[-1], 10.0 / 0.95), 19)
    bank = volume.SPEC.build(volume.SPEC.config_type(), 1, N_CLIENTS, 1, None)
    said = [each for each in fold(bank, rows) if each.detail == "rate"]
    assert said[0].statistic < 5.0
    assert said[-1].statistic > 10.0
    assert said[-1].event_time_ms > quiet[-1]


@pytest.mark.parametrize("n_rows", [310, 400, 1_500])
def test_a_job_that_comes_every_night_is_told_once(n_rows: int) -> None:
    nights: list[F64] = []
    at = 0.0
    for _ in range(8):
        day = at + np.cumsum(np.full(64 * 60, 2_000.0))
        night = day[-1] + np.cumsum(np.full(n_rows, 50.0))
        nights += [day, night]
        at = float(night[-1])
    rows = paced([np.concatenate(nights)], np.arange(0.0, at, 100.0), 19)
    bank = volume.SPEC.build(volume.SPEC.config_type(), 1, N_CLIENTS, 1, None)
    told = [each.event_time_ms for each in fold(bank, rows) if each.detail == "rate"]
    assert told
    # In the second night at the latest: the blocks of the first may lie badly.
    assert max(told) <= nights[3][-1]
