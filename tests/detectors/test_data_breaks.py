"""Breaks of the data: which rows are broken, and what is held back because of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import BankState
from detectors.kernels.data_breaks import NEEDED, OF_ONE, RING, TENURE
from detectors.security.base import (
    MISSING,
    Calibration,
    SecurityRows,
    Suspicion,
    Technique,
    TooFewRowsError,
)
from detectors.security.data_breaks import MEMORY, SPEC, DataBreaksBank
from detectors.security.fold import SecurityFold
from schemas.config import DetectionConfig
from schemas.decode import decode_records
from schemas.records import Record, TopicPartition
from schemas.security_config import DataBreaksConfig, SecurityConfig, SecurityDetectorsConfig
from streams.census import read_sample
from streams.traffic import ModelTraffic, census_traffic, timestamp
from tests.detectors.batches import state_bytes
from tests.detectors.security_streams import (
    F32,
    Queries,
    learned,
    part_of,
    security_rows,
    split_at,
)
from tests.schemas.contract import KEY
from tests.schemas.samples import LIMITS

DIMS = 6
N_SOURCES = 20
N_PLACES = 400
N_GOOD = 2 * TENURE
N = N_GOOD + 600
FEATURE = 1


def honest(seed: int, n: int, n_sources: int = N_SOURCES) -> Queries:
    """Numbers, whole ones among them, one that hardly varies and one that never does."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, DIMS))
    z[:, 2] = np.floor(3.0 * np.abs(z[:, 2]))
    z[:, 3] = rng.random(n) < 0.05
    z[:, 4] = 1.0
    source = 1 + rng.integers(0, n_sources, n)
    return Queries(z.astype(np.float32), source, np.zeros(n, np.bool_))


def calibration() -> Calibration:
    return SPEC.fit(learned(honest(1, 4_000)), True)


def new(state: BankState | None = None) -> DataBreaksBank:
    bank = SPEC.build(DataBreaksConfig(), 2, N_PLACES, 7, state)
    assert isinstance(bank, DataBreaksBank)
    if state is None:
        bank.calibrate(0, 0, calibration(), reviewed=True)
    return bank


def rows_of(queries: Queries) -> SecurityRows:
    return security_rows(queries, N_PLACES)


def broken_places(bank: DataBreaksBank) -> list[int]:
    return np.flatnonzero(bank.snapshot()["broken_at"] > 0).tolist()


def accusation(rows: SecurityRows, row: int, **changes: object) -> Suspicion:
    """What a bank might say of the source of a row, at the row."""
    own = Suspicion(
        offset=int(rows.offset[row]),
        event_row=0,
        model=0,
        source=int(rows.source[row]),
        detector="probing",
        technique=Technique.PROBING,
        event_time_ms=0,
        statistic=3.0,
        threshold=3.0,
        n_hits=3,
        n_seen=64,
        first_offset=int(rows.offset[row]),
        first_time_ms=0,
    )
    return own._replace(**changes)  # type: ignore[arg-type]


def broken(queries: Queries, how: str, is_hit: np.ndarray) -> Queries:
    """The same from `N_GOOD` on with a feature broken, for the rows that it hits."""
    z = queries.z.copy()
    at = np.flatnonzero(is_hit & (np.arange(len(z)) >= N_GOOD))
    if how == "unit":
        z[at, FEATURE] = np.clip(12.0 * z[at, FEATURE] + 6.0, -8.0, 8.0)
    elif how == "stuck":
        z[at, FEATURE] = 0.123
    elif how == "filled":
        z[at, FEATURE] = -8.0
    elif how == "missing":
        z[at, FEATURE] = MISSING
    else:
        z[at, : DIMS // 2] = MISSING
    return queries._replace(z=z.astype(np.float32))


HOW = ("unit", "stuck", "filled", "missing", "half missing")
everybody = np.ones(N, np.bool_)


@pytest.mark.parametrize("how", HOW)
def test_a_break_of_all_is_told_and_all_are_excused(how: str) -> None:
    bank = new()
    rows = rows_of(broken(honest(2, N), how, everybody))
    said = bank.update(rows)
    assert {one.technique for one in said} == {Technique.DATA_CHANGE}
    assert said[0].n_hits == NEEDED
    assert N_GOOD < rows.number[rows.offset == said[0].offset][0] < N_GOOD + 4 * NEEDED
    assert [one.n_hits for one in said] == [NEEDED << k for k in range(len(said))]
    assert (said[0].source, said[0].sources, said[0].is_provisional) == (-1, (), False)
    assert said[0].detail == f"{3 if how == 'half missing' else 1} of {DIMS} features"
    # Now and then another column of a row lies beyond its range as well, and is not named.
    assert {one.columns for one in said} == {(0, 1, 2) if how == "half missing" else (FEATURE,)}
    assert broken_places(bank) == list(range(1, 1 + N_SOURCES))


@pytest.mark.parametrize("how", HOW)
def test_of_a_break_of_half_of_the_clients_the_other_half_is_not_excused(how: str) -> None:
    queries = honest(3, N)
    is_hit = queries.source % 2 == 0
    bank = new()
    assert bank.update(rows_of(broken(queries, how, is_hit)))
    hit = [place for place in range(1, 1 + N_SOURCES) if place % 2 == 0]
    # Not even those of whom now and then a row is beyond the range by itself.
    assert broken_places(bank) == hit


def test_rows_as_ever_are_not_broken() -> None:
    """Nor is a column that never varied, or a value that most rows have."""
    bank = new()
    assert bank.update(rows_of(honest(4, 20_000))) == []
    assert broken_places(bank) == []


def test_a_common_value_is_broken_where_nothing_else_is_left() -> None:
    """Of 60 % of rows that are 0 in good times, 80 % is a change of clients, and all a break."""
    good = honest(1, 4_000)
    good.z[:, 5] = np.where(np.random.default_rng(1).random(4_000) < 0.6, 0.0, good.z[:, 5])
    own = SPEC.fit(learned(good), True)
    for share, is_told in ((0.8, False), (1.0, True)):
        queries = honest(5, N)
        is_zero = np.random.default_rng(2).random(N) < np.where(np.arange(N) < N_GOOD, 0.6, share)
        queries.z[:, 5] = np.where(is_zero, 0.0, queries.z[:, 5])
        bank = new()
        bank.calibrate(0, 0, own, reviewed=True)
        assert bool(bank.update(rows_of(queries))) == is_told


def test_what_breaks_in_more_than_half_of_the_features_is_no_break() -> None:
    queries = honest(6, N)
    queries.z[N_GOOD:, : DIMS // 2 + 1] = MISSING
    bank = new()
    assert bank.update(rows_of(queries)) == []


def test_three_sources_say_nothing_of_one_another_and_four_do() -> None:
    for n_sources, is_told in ((3, False), (4, True)):
        bank = new()
        rows = rows_of(broken(honest(7, N, n_sources), "missing", everybody))
        assert bool(bank.update(rows)) == is_told


def test_one_source_and_names_that_are_new_break_nothing() -> None:
    """A flood of broken rows from one client, or from 200 that come with it."""
    for n_names in (1, 200):
        queries = honest(8, N_GOOD + TENURE)
        source = queries.source.copy()
        source[N_GOOD:] = np.where(
            np.arange(TENURE) % 10 < 9, 100 + np.arange(TENURE) % n_names, source[N_GOOD:]
        )
        z = queries.z.copy()
        z[source >= 100, FEATURE] = -8.0
        bank = new()
        assert bank.update(rows_of(Queries(z, source, queries.is_attack))) == []
        ring = bank.snapshot()["ring_place"][0]
        assert np.bincount(ring[ring >= 0]).max() <= OF_ONE
        assert len(ring) == RING


def test_honest_clients_who_repeat_themselves_still_say_what_is_usual() -> None:
    """They send 8 rows each again and again; known names whose rows are broken are a tenth."""
    n, begins = 20_000, 15_000
    queries = honest(16, n)
    rng = np.random.default_rng(16)
    of_client = honest(17, 8 * N_SOURCES).z.reshape(N_SOURCES, 8, DIMS)
    source = queries.source.copy()
    source[rng.random(len(source)) < 0.1] = 100
    is_name = source == 100
    source[is_name] += np.arange(is_name.sum()) % 20
    z = of_client[(source - 1) % N_SOURCES, rng.integers(0, 8, len(source))]
    z[is_name] = queries.z[is_name]
    z[is_name & (np.arange(n) >= begins), FEATURE] = -8.0
    rows = rows_of(Queries(z, source, queries.is_attack))
    assert rows.is_repeat[begins:].mean() > 0.85
    assert new().update(rows) == []


def test_known_names_that_search_in_one_place_are_not_excused() -> None:
    """Half of their features lie out of range together, and in the others they hardly differ."""
    rng = np.random.default_rng(9)
    queries = honest(9, N)
    walk: F32 = np.tile(np.array([9.0, -9.5, 30.0, 0.0, 1.0, 0.4], np.float32), (N, 1))
    walk[:, :2] = np.clip(walk[:, :2], -8.0, 8.0)
    walk[:, 5] += 0.01 * rng.normal(size=N).astype(np.float32)
    is_walk = (np.arange(N) >= N_GOOD) & (rng.random(N) < 0.7)
    z = np.where(is_walk[:, np.newaxis], walk, queries.z).astype(np.float32)
    assert new().update(rows_of(queries._replace(z=z))) == []
    # The same with all other features as ever is a break.
    walk[:, 3:] = queries.z[:, 3:]
    z = np.where(is_walk[:, np.newaxis], walk, queries.z).astype(np.float32)
    assert new().update(rows_of(queries._replace(z=z))) != []


def test_what_is_found_of_broken_rows_is_held_and_what_is_found_of_others_is_not() -> None:
    queries = honest(10, N)
    rows = rows_of(broken(queries, "missing", queries.source % 2 == 0))
    last = {int(place): row for row, place in enumerate(rows.source)}
    before, of_broken, of_good = 1_500, last[2], last[3]
    found = [
        accusation(rows, before),
        accusation(rows, of_broken),
        accusation(rows, of_good),
        accusation(rows, of_broken, technique=Technique.VOLUME, detector="volume"),
        accusation(rows, of_broken, technique=Technique.EXTRACTION, detector="exposure"),
        # A flood of names, which is about nobody.
        accusation(rows, of_broken, technique=Technique.CHAFF, detector="volume", source=-1),
    ]
    # One-sided answers are another matter: what a model is sent decides what it answers.
    one_sided = accusation(rows, of_broken, technique=Technique.CHAFF, detector="volume")
    assert new().sift(rows, [one_sided]).n_held == 1
    sifted = new().sift(rows, found)
    assert sifted.n_held == 1
    kept = {(one.offset, one.technique) for one in sifted.said}
    assert (found[1].offset, Technique.PROBING) not in kept
    assert {(one.offset, one.technique) for one in found if one != found[1]} <= kept


@pytest.mark.parametrize(("n_broken", "is_held"), [(1, False), (2, True), (4, True)])
def test_a_cluster_is_held_where_half_of_its_sources_sent_broken_rows(
    n_broken: int, is_held: bool
) -> None:
    queries = honest(11, N)
    rows = rows_of(broken(queries, "missing", queries.source % 2 == 0))
    names = [2, 4, 6, 8][:n_broken] + [1, 3, 5, 7][: 4 - n_broken]
    words = tuple((7 * name, name) for name in names)
    cluster = accusation(rows, N - 1, source=-1, sources=words, n_sources=4)
    assert new().sift(rows, [cluster]).n_held == int(is_held)
    strangers = accusation(rows, N - 1, source=-1, sources=((1, 999),), n_sources=1)
    assert new().sift(rows, [strangers]).n_held == 0


def test_what_is_held_is_held_until_nothing_broken_is_left_of_the_source() -> None:
    """Of the bank with the longest memory; longer where the evidence is older than that."""
    queries = broken(honest(12, N), "missing", everybody)
    after = honest(13, 20 * (MEMORY + 60))
    both = Queries(
        np.concatenate([queries.z, after.z]),
        np.concatenate([queries.source, after.source]),
        np.concatenate([queries.is_attack, after.is_attack]),
    )
    rows = rows_of(both)
    of_source = np.flatnonzero((rows.source == 5) & (np.arange(len(rows)) >= N))
    early, late = int(of_source[MEMORY - 40]), int(of_source[MEMORY + 40])
    old = accusation(rows, late, first_offset=int(rows.offset[N_GOOD]))
    for found, is_held in (
        (accusation(rows, early), True),
        (accusation(rows, late), False),
        (old, True),
    ):
        assert new().sift(rows, [found]).n_held == int(is_held)


def test_a_place_that_changes_hands_is_not_excused_by_who_had_it() -> None:
    rows = rows_of(broken(honest(14, N), "missing", everybody))
    last = N - 1
    is_first = rows.is_first.copy()
    is_first[last] = True
    z = rows.z.copy()
    z[last] = rows.z[0]
    taken = replace(rows, is_first=is_first, z=z)
    assert new().sift(taken, [accusation(taken, last)]).n_held == 0
    assert new().sift(rows, [accusation(rows, last)]).n_held == 1


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, N), max_size=6),
    at=st.integers(0, N),
)
def test_any_split_and_any_resume_hold_the_same(seed: int, cuts: list[int], at: int) -> None:
    rng = np.random.default_rng(seed)
    queries = honest(seed, N)
    is_hit = queries.source % int(rng.integers(1, 3)) == 0
    rows = rows_of(broken(queries, HOW[seed % len(HOW)], is_hit))
    found = [accusation(rows, int(row)) for row in rng.integers(0, N, 12)]
    whole, parted = new(), new()
    expected = whole.sift(rows, found)
    said, n_held = [], 0
    for part in split_at(rows, [*cuts, at]):
        if len(part) and part.number[0] >= at:
            parted = new(parted.snapshot())
        of_part = [one for one in found if one.offset in part.offset]
        sifted = parted.sift(part, of_part)
        said += sifted.said
        n_held += sifted.n_held
    assert sorted(said) == sorted(expected.said)
    assert n_held == expected.n_held
    assert state_bytes(parted.snapshot()) == state_bytes(whole.snapshot())


def test_a_calibration_has_the_shares_of_values_and_how_far_rows_are_apart() -> None:
    queries = honest(1, 900)
    queries.z[::9, 0] = MISSING
    own = SPEC.fit(learned(queries, DIMS - 1), True)
    z = queries.z
    assert own["share"][0, 0] == pytest.approx(100 / 900)
    assert own["atom"][3, 1:3].tolist() == [0.0, 1.0]
    assert own["share"][3, 1] == pytest.approx(float((z[:, 3] == 0.0).mean()))
    assert own["share"][1, -1] == pytest.approx(1 / 900)
    assert own["share"][4].tolist()[:2] == [0.0, 1.0]
    for c, of in ((1, z[:, 1]), (2, z[:, 2])):
        pairs = np.abs(of[:, np.newaxis] - of).sum() / (900 * 899)
        assert own["apart"][c] == pytest.approx(pairs, rel=1e-4)
        assert own["outside"][c].max() <= 0.01 + 1e-9
    differ = (z[:, 5:6] != z[:, 5]).sum() / (900 * 899)
    assert own["apart"][5] == pytest.approx(differ)
    with pytest.raises(TooFewRowsError, match="200 distinct rows, there are 150"):
        SPEC.fit(learned(honest(1, 150)), True)


def test_the_strictest_calls_nothing_broken_that_is_usual_of_one_kind() -> None:
    one, other = honest(1, 2_000), honest(2, 2_000)
    other.z[:, FEATURE] = np.where(np.arange(2_000) % 2, -8.0, 4.0)
    fitted = [SPEC.fit(learned(each), True) for each in (one, other)]
    both = SPEC.strictest(fitted)
    at = both["atom"][FEATURE].tolist().index(-8.0)
    assert both["share"][FEATURE, at] == pytest.approx(0.5)
    assert both["limit"][FEATURE].tolist() == [-8.0, 4.0]
    assert (both["share"][:, 0] == 0.0).all()
    bank = new()
    bank.calibrate(0, 0, both, reviewed=True)
    assert bank.update(rows_of(broken(honest(3, N), "filled", honest(3, N).source % 2 == 0))) == []


def folded(model: ModelTraffic, *, holds: bool) -> tuple[list[Suspicion], SecurityFold]:
    detectors = SecurityDetectorsConfig(data_breaks=DataBreaksConfig(enabled=holds))
    config = DetectionConfig(security=SecurityConfig(detectors=detectors))
    fold = SecurityFold(config, KEY)
    tp, key = TopicPartition("events", 0), model.model_id.encode()
    said: list[Suspicion] = []
    for start in range(0, len(model), 1_000):
        records = [
            Record(tp, i, i, key, orjson.dumps(model.event(i, str(i), timestamp(50 * i))))
            for i in range(start, start + 1_000)
        ]
        said += fold.process(decode_records(tp, records, LIMITS, KEY, None).events)
    return said, fold


def test_nobody_is_accused_because_an_app_sends_the_age_in_months() -> None:
    """The demo's injected change: nearly all ages are clipped, so rows differ in one feature less.

    Its rows are drawn again and again, and the prediction is that to the age in years.
    """
    model = census_traffic(read_sample())[1]
    accused, _ = folded(model, holds=False)
    assert {one.detector for one in accused} == {"provenance"}
    assert sum(one.n_sources for one in accused) > 50
    said, fold = folded(model, holds=True)
    assert {one.technique for one in said} == {Technique.DATA_CHANGE}
    assert {one.detail.partition(": ")[2] for one in said} == {"AGEP"}
    (change,) = model.changes
    assert change.event < said[0].offset < change.event + change.within
    assert fold.counters["n_held_suspicions"] == len(accused)
    resumed = SecurityFold(fold.config, KEY, fold.snapshot())
    assert resumed.counters["n_held_suspicions"] == len(accused)


def test_the_control_of_the_demo_has_no_break() -> None:
    said, _ = folded(census_traffic(read_sample())[2], holds=True)
    assert said == []


def test_of_more_features_those_are_named_that_moved_most() -> None:
    """All of one break, but for one feature that broke with every third row alone."""
    queries = honest(18, N)
    queries.z[N_GOOD:, :2] = MISSING
    queries.z[N_GOOD::3, 2] = MISSING
    bank = new()
    said = bank.update(rows_of(queries))
    assert {one.columns for one in said} == {(0, 1)}
    moved = bank.snapshot()["moved"][0]
    assert moved[2] > NEEDED
    bank.forget(0)
    assert not bank.snapshot()["moved"].any()


def test_nothing_is_said_of_a_model_that_is_forgotten() -> None:
    rows = rows_of(broken(honest(15, N), "missing", everybody))
    bank = new()
    assert bank.update(rows)
    bank.forget(0)
    assert broken_places(bank) == []
    assert bank.update(part_of(rows, 0, N)) == []
