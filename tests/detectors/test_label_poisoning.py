"""The bank of poisoned labels: its contract, who is accused and who is not, what it may cost."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.base import StateError
from detectors.kernels import label_poisoning as kernel
from detectors.labels.identity import class_code
from detectors.security.backdoor import slice_columns, slice_words
from detectors.security.base import MISSING, Suspicion, Technique, TooFewRowsError
from detectors.security.label_expectation import (
    REFERENCE_LABELS,
    fit,
    mean_time,
    pool_steps,
    source_steps,
)
from detectors.security.label_poisoning import LabelPoisoning, build, class_text
from schemas.batch import I64
from schemas.security_config import LabelPoisoningConfig
from tests.detectors.damage import cut, put
from tests.detectors.poisoned import (
    CODES,
    SALT,
    Labels,
    bank,
    flipped,
    honest,
    joined,
    pieces,
    source_words,
    taken,
)

N_SOURCES = 20
LIAR = 3


def words_of(source: int) -> tuple[int, int]:
    low, high = source_words(np.array([source])).view(np.uint64)[0].tolist()
    return low, high


def accused(found: list[Suspicion]) -> set[tuple[int, int]]:
    return {words for each in found for words in each.sources}


def mixed_rows(seed: int, n: int = 9_000) -> Any:
    """Labels of two models and a third that hardly speaks: liars, triggers, junk, floods."""
    rng = np.random.default_rng(seed)
    labels = honest(rng, n, 8)
    labels = flipped(rng, labels, (labels.source == LIAR) & (np.arange(n) > n // 2), 0.8)
    # A flood of sources with a few labels each, so that places change hands.
    flood = (rng.random(n) < 0.4) & (np.arange(n) > n // 2)
    source = np.where(flood, 1_000 + np.arange(n) // 12, labels.source)
    source[rng.random(n) < 0.05] = -1
    slices = rng.integers(1, 120, n) | (rng.integers(0, 9, n) << 8)
    is_triggered = (rng.random(n) < 0.05) & (np.arange(n) > n // 2)
    slices[is_triggered] = 7 | (3 << 8)
    label = np.where(is_triggered, 1, labels.label)
    # Classes that no prediction has said, or that come late.
    label[rng.random(n) < 0.01] = 20
    predicted = np.where(rng.random(n) < 0.002, rng.integers(2, 25, n), labels.predicted)
    predicted[is_triggered] = 0
    score = np.where(rng.random(n) < 0.05, rng.choice([np.nan, np.inf, -1e300], n), labels.score)
    slot = np.where(rng.random(n) < 0.7, 0, np.where(rng.random(n) < 0.98, 1, 2))
    rows = joined(
        Labels(source, predicted, label, score), slot=slot.astype(np.int32), slices=slices
    )
    nothing = rng.random(n) < 0.01
    return replace(rows, predicted_code=np.where(nothing, 0, rows.predicted_code))


def small() -> LabelPoisoning:
    return bank(3, 32)


def same(one: Any, other: Any) -> bool:
    return set(one) == set(other) and all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes()
        for name in one
    )


ROWS = mixed_rows(1)
WHOLE = small()
FOUND = sorted(WHOLE.update(ROWS))


def test_the_stream_of_the_contract_has_all_that_there_is() -> None:
    assert {each.technique for each in FOUND} >= {Technique.LABEL_POISONING, Technique.BACKDOOR}
    counts = WHOLE.counts()
    assert counts["n_evicted"] > 10
    assert words_of(LIAR) in accused(FOUND)
    phases = WHOLE.snapshot()["model_n"][:, kernel.PHASE].tolist()
    assert phases == [kernel.FROZEN, kernel.FROZEN, kernel.LEARNING]


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, len(ROWS)), max_size=8), st.integers(0, 8))
def test_any_split_and_any_resumption_says_the_same(cuts: list[int], resume: int) -> None:
    own, found = small(), []
    for k, piece in enumerate(pieces(ROWS, cuts)):
        if k == resume:
            own = build(LabelPoisoningConfig(), 3, 32, SALT, own.snapshot())
        found += own.update(piece)
    assert sorted(found) == FOUND
    assert same(own.snapshot(), WHOLE.snapshot())


def test_a_resumed_bank_goes_on_row_by_row() -> None:
    first, rest = pieces(ROWS, [len(ROWS) - 150])
    own = small()
    found = own.update(first)
    for at in range(len(rest)):
        own = build(LabelPoisoningConfig(), 3, 32, SALT, own.snapshot())
        found += own.update(taken(rest, at, at + 1))
    assert sorted(found) == FOUND
    assert same(own.snapshot(), WHOLE.snapshot())


@pytest.mark.parametrize(("share", "most"), [(1.0, 30), (0.5, 60), (0.2, 200)])
def test_a_lying_source_of_twenty_is_found_and_no_other(share: float, most: int) -> None:
    needed = []
    for seed in range(40):
        rng = np.random.default_rng(1_000 + seed)
        n = REFERENCE_LABELS + N_SOURCES * 600
        labels = honest(rng, n, N_SOURCES)
        lies = (labels.source == LIAR) & (np.arange(n) >= REFERENCE_LABELS)
        found = bank(salt=seed).update(joined(flipped(rng, labels, lies, share)))
        assert accused(found) <= {words_of(LIAR)}
        own = [each for each in found if each.sources]
        needed.append(float(np.count_nonzero(lies[: own[0].offset + 1])) if own else math.inf)
        for each in own:
            assert REFERENCE_LABELS <= each.first_offset <= each.offset
            assert each.first_time_ms == 1_000 * each.first_offset + 500
            assert each.statistic >= each.threshold
            assert kernel.LEAST_HITS <= each.n_hits <= each.n_seen
    assert np.median(needed) <= most


def test_a_source_that_turns_a_tenth_over_is_found_in_the_end() -> None:
    rng = np.random.default_rng(7)
    n = REFERENCE_LABELS + N_SOURCES * 6_000
    labels = honest(rng, n, N_SOURCES)
    lies = (labels.source == LIAR) & (np.arange(n) >= REFERENCE_LABELS)
    found = bank().update(joined(flipped(rng, labels, lies, 0.1)))
    assert accused(found) == {words_of(LIAR)}


def test_nobody_is_accused_over_200_000_honest_labels_of_200_sources() -> None:
    rng = np.random.default_rng(11)
    assert bank(n_places=256).update(joined(honest(rng, 200_000, 200))) == []


@pytest.mark.parametrize("worse", [1.5, 2.2])
def test_drift_that_moves_all_sources_accuses_nobody(worse: float) -> None:
    rng = np.random.default_rng(12)
    n = 60_000
    # Slowly at first, then all at once.
    slope = np.concatenate([np.ones(n // 4), np.linspace(1.0, worse, n // 2), np.full(n // 4, 2.4)])
    own = bank(n_places=128)
    assert own.update(joined(honest(rng, n, 100, worse=slope))) == []
    # It is the sources that are compared: their own CUSUMs alone would have accused them.
    state = own.snapshot()
    assert state["model_x"][0, kernel.POOL_STATISTIC] > state["model_x"][0, kernel.POOL_THRESHOLD]


def test_a_liar_is_found_amid_drift() -> None:
    rng = np.random.default_rng(13)
    n = 30_000
    labels = honest(rng, n, N_SOURCES, worse=np.where(np.arange(n) < 5_000, 1.0, 1.6))
    lies = (labels.source == LIAR) & (np.arange(n) >= 10_000)
    found = bank().update(joined(flipped(rng, labels, lies, 0.5)))
    assert accused(found) == {words_of(LIAR)}


def test_a_pair_of_many_classes_is_named() -> None:
    rng = np.random.default_rng(14)
    n = 24_000
    labels = honest(rng, n, N_SOURCES, n_classes=10, error=0.1)
    lies = (labels.source == LIAR) & (np.arange(n) >= 4_000) & (labels.predicted == 4)
    label = np.where(lies & (rng.random(n) < 0.6), 9, labels.label)
    found = [s for s in bank().update(joined(replace(labels, label=label))) if s.sources]
    assert accused(found) == {words_of(LIAR)}
    # The text stays as it is while the numbers grow: one anomaly keeps each text once.
    assert {each.detail for each in found} == {"4 -> 9"}
    assert len({each.n_expected for each in found}) == len(found) >= 2
    assert all(0.0 < each.n_expected < each.n_hits for each in found)
    # First, and each time that the evidence has doubled: no more than that.
    assert all(b.statistic >= 2.0 * a.statistic for a, b in pairwise(found))


def test_many_small_sources_that_lie_alike_are_a_finding_about_the_model() -> None:
    rng = np.random.default_rng(15)
    n = 26_000
    labels = honest(rng, n, 1_000)
    lies = (labels.source < 200) & (np.arange(n) >= 10_000)
    found = bank(n_places=2_048).update(joined(flipped(rng, labels, lies, 1.0)))
    pooled = [each for each in found if each.detail.startswith("all sources: ")]
    assert pooled
    assert {each.detail for each in pooled} <= {"all sources: 0 -> 1", "all sources: 1 -> 0"}
    assert all(0.0 < each.n_expected < each.n_hits for each in pooled)
    assert all(not each.sources and each.source == -1 for each in pooled)
    assert pooled[0].offset > 10_000


def test_a_trigger_is_found_and_named() -> None:
    rng = np.random.default_rng(16)
    n = 30_000
    labels = honest(rng, n, N_SOURCES)
    slices = rng.integers(1, 33, n) | (rng.integers(1, 6, n) << 8) | (rng.integers(1, 90, n) << 16)
    assert bank().update(joined(labels, slices=slices)) == []
    # One label in a hundred, of all sources alike, has the trigger.
    has_it = (rng.random(n) < 0.01) & (np.arange(n) > 8_000)
    slices = np.where(has_it, slices & ~(0xFF << 16) | (100 << 16), slices)
    label = np.where(has_it, 1, labels.label)
    found = bank().update(joined(replace(labels, label=label), slices=slices))
    assert {each.technique for each in found} == {Technique.BACKDOOR}
    assert {each.detail for each in found} == {"slice 2=100: labels 1"}
    assert all(each.n_slices == 1 and 0.0 < each.n_expected < each.n_hits for each in found)
    assert has_it[found[0].first_offset] or found[0].first_offset > 8_000
    assert np.count_nonzero(has_it[: found[0].offset]) < 150


def test_a_slice_that_is_honestly_worse_is_no_trigger() -> None:
    rng = np.random.default_rng(17)
    n = 60_000
    slices = rng.integers(1, 9, n)
    labels = honest(rng, n, N_SOURCES, worse=np.where(slices == 5, 1.8, 1.0))
    assert [s for s in bank().update(joined(labels, slices=slices)) if not s.sources] == []


def test_a_source_that_seldom_speaks_is_found() -> None:
    rng = np.random.default_rng(18)
    n = 60_000
    labels = honest(rng, n, 40)
    is_rare = np.arange(n) % 1_200 == 0
    source = np.where(is_rare, 777, labels.source)
    label = np.where(is_rare & (np.arange(n) > 3_000), 1 - labels.predicted, labels.label)
    found = bank().update(joined(replace(labels, source=source, label=label)))
    assert accused(found) == {words_of(777)}


def test_a_million_sources_flush_out_no_liar_and_cost_no_memory() -> None:
    rng = np.random.default_rng(19)
    own = bank(n_places=256)
    calm = honest(rng, 8_000, 40)
    lies = (calm.source == LIAR) & (np.arange(8_000) > 7_700)
    found = own.update(joined(flipped(rng, calm, lies, 1.0)))
    before = {name: array.nbytes for name, array in own.snapshot().items()}
    n = 1_000_000
    flood = honest(rng, n, 1)
    # Each name comes once, the liar once in 2,000 labels: longer than a place may be idle.
    is_liar = np.arange(n) % 2_000 == 0
    label = np.where(is_liar, 1 - flood.predicted, flood.label)
    source = np.where(is_liar, LIAR, 10_000 + np.arange(n))
    rows = joined(replace(flood, source=source, label=label), first=8_000)
    found += own.update(rows)
    assert {name: array.nbytes for name, array in own.snapshot().items()} == before
    assert words_of(LIAR) in accused(found)
    assert words_of(LIAR) in {tuple(w) for w in _words(own).tolist()}


def _words(own: LabelPoisoning) -> NDArray[np.uint64]:
    places: I64 = own.snapshot()["places"]
    columns = places[:, kernel.WORD_LOW : kernel.WORD_HIGH + 1]
    return np.ascontiguousarray(columns).view(np.uint64)


def test_a_full_table_is_a_finding_of_its_own() -> None:
    rng = np.random.default_rng(20)
    labels = honest(rng, 14_000, 100)
    found = bank(n_places=16).update(joined(labels))
    assert {each.technique for each in found} == {Technique.PRESSURE}
    assert [each.n_hits for each in found][:2] == [256, 512]


def test_a_liar_who_stops_is_found_anew_when_he_begins_again() -> None:
    rng = np.random.default_rng(21)
    n = 80_000
    labels = honest(rng, n, N_SOURCES)
    at = np.arange(n)
    lies = (labels.source == LIAR) & ((at // 1_000 == 5) | (at // 1_000 == 70))
    found = bank().update(joined(flipped(rng, labels, lies, 1.0)))
    assert accused(found) == {words_of(LIAR)}
    late = [each for each in found if each.offset >= 70_000 and each.sources]
    assert late
    assert late[0].first_offset >= 68_000


def test_a_calibration_is_taken_from_the_first_label_on_and_is_not_provisional() -> None:
    rng = np.random.default_rng(22)
    reviewed = honest(rng, 5_000, 10)
    usual = fit(reviewed.score, CODES[reviewed.predicted], CODES[reviewed.label])
    own = bank(2)
    own.calibrate(1, usual, reviewed=True)
    n = 4_000
    labels = flipped(rng, honest(rng, n, 10), np.arange(n) % 10 == 0, 1.0)
    labels = replace(labels, source=np.arange(n) % 10)
    found = own.update(joined(labels, slot=np.ones(n, np.int32)))
    assert accused(found) == {words_of(0)}
    assert not any(each.is_provisional for each in found)
    with pytest.raises(TooFewRowsError):
        fit(reviewed.score[:100], CODES[reviewed.predicted[:100]], CODES[reviewed.label[:100]])
    for name, number in (("rates", 2.0), ("cuts", math.nan), ("classes", 0.5), ("thresholds", 1.0)):
        wrong = {key: array.copy() for key, array in usual.items()}
        wrong[name].flat[0] = number
        with pytest.raises(StateError):
            own.calibrate(0, wrong, reviewed=True)
    with pytest.raises(StateError):
        own.calibrate(0, {"rates": usual["rates"]}, reviewed=True)


def test_the_first_labels_teach_what_a_calibration_of_them_says() -> None:
    labels = honest(np.random.default_rng(23), REFERENCE_LABELS, 10, n_classes=5)
    usual = fit(labels.score, CODES[labels.predicted], CODES[labels.label])
    learned, given_it = bank(), bank()
    learned.update(joined(labels))
    given_it.calibrate(0, usual, reviewed=False)
    for name in ("class_code", "rates", "shares", "cuts", "model_x"):
        assert np.array_equal(learned.snapshot()[name], given_it.snapshot()[name]), name


def test_a_forgotten_model_leaves_nothing() -> None:
    own = bank(1, 64)
    own.update(joined(honest(np.random.default_rng(24), 6_000, 20)))
    own.forget(0)
    fresh = bank(1, 64).snapshot()
    state = own.snapshot()
    for name in set(fresh) - {"door", "numbers"}:
        assert np.array_equal(state[name], fresh[name]), name
    with pytest.raises(IndexError):
        own.forget(1)
    with pytest.raises(IndexError):
        own.update(joined(honest(np.random.default_rng(1), 5, 2), slot=np.full(5, 1, np.int32)))


@pytest.mark.parametrize("steps", [source_steps, pool_steps])
def test_the_stated_time_between_false_alarms_is_that_of_a_simulation(steps: Any) -> None:
    rng = np.random.default_rng(25)
    rate, weight = np.array([0.4, 0.2, 0.1, 0.02]), np.full(4, 0.25)
    up, down = steps(rate)
    height = 2.5
    statistic, times = np.zeros(2_000), np.zeros(2_000)
    runs = np.ones(2_000, bool)
    while runs.any():
        cell = rng.integers(0, 4, 2_000)
        step = np.where(rng.random(2_000) < rate[cell], up[cell], down[cell])
        statistic = np.maximum(statistic + step, 0.0)
        times[runs] += 1
        runs &= statistic < height
    stated = mean_time(rate, weight, (up, down), height)
    assert 0.85 * times.mean() < stated < 1.07 * times.mean()


def test_what_is_never_right_or_says_nothing_accuses_nobody() -> None:
    rng = np.random.default_rng(26)
    n = 20_000
    # A model of numbers: no label is ever equal to its prediction.
    rows = joined(honest(rng, n, 10))
    rows = replace(rows, predicted_code=rng.integers(1, 2**60, n), label_code=np.full(n, 5))
    own = bank()
    assert own.update(rows) == []
    assert all(np.isfinite(a).all() for a in own.snapshot().values() if a.dtype.kind == "f")


def test_slice_words_have_a_code_for_each_column_and_are_never_negative() -> None:
    z = np.zeros((5, 64), np.float32)
    z[:, 0] = [-8.0, 0.0, 8.0, MISSING, np.nan]
    z[:, 2] = [5.0, 5.0, 6.0, MISSING, -0.0]
    columns = slice_columns(3, 2)
    assert columns.tolist() == [2, 0, 1]
    words = slice_words(z, columns, 2)
    codes = np.stack([(words >> (8 * k)) & 0xFF for k in range(8)])
    assert codes[1].tolist() == [1, 17, 32, 127, 17]
    assert codes[0, 0] == codes[0, 1] != codes[0, 2]
    assert codes[0, 3] == 127
    assert ((codes[:3] >= 1) & (codes[:3] <= 127)).all()
    assert (codes[3:] == 0).all()
    assert (slice_words(np.full((4, 64), MISSING, np.float32), slice_columns(64, 3), 3) > 0).all()
    with pytest.raises(ValueError, match="9 columns"):
        slice_words(z, np.arange(9, dtype=np.int32), 2)


def test_classes_are_named_where_their_code_tells_the_name() -> None:
    assert [class_text(code) for code in CODES[:3].tolist()] == ["0", "1", "2"]
    assert class_text(0) == "other"
    assert class_text(class_code("spam")).startswith("#")


DAMAGE = {
    "phase": put("model_n", (0, kernel.PHASE), 2),
    "learns too much": put("model_n", (2, kernel.LABELS), REFERENCE_LABELS),
    "classes": put("model_n", (0, kernel.KNOWN), 16),
    "class twice": lambda s: s["class_code"][0].__setitem__(1, s["class_code"][0, 0]),
    "threshold": put("model_x", (0, kernel.THRESHOLD), 0.0),
    "statistic": put("model_x", (0, kernel.POOL_STATISTIC), math.nan),
    "rate": lambda s: s["rates"].__setitem__((0, 0, 0), 1.5),
    "share": lambda s: s["shares"].__setitem__((0, 0, 0), -0.1),
    "owner": put("places", (0, kernel.OWNER), 3),
    "future": put("places", (0, kernel.LAST), 2**40),
    "pair": lambda s: s["lanes"].__setitem__((0, 1, kernel.PAIR), kernel.ANY),
    "no lane of all": lambda s: s["lanes"].__setitem__((0, 0, kernel.PAIR), 3),
    "hits": lambda s: s["lanes"].__setitem__((0, 0, kernel.HITS), 2**53 + 1),
    "two places": lambda s: s["places"].__setitem__(0, s["places"][1]),
    "hand": put("numbers", kernel.HAND, 32),
    "door": lambda s: s["door"].__setitem__((0, 0, kernel.DOOR_COUNT), 5),
    "learned": cut("learn_pair"),
    "learned pair": put("learn_pair", 0, 2 * kernel.ANY),
    "slice": lambda s: s["slice_slices"].__setitem__((0, 0, 0), 8 * 128 + 1),
    "slice hits": lambda s: s["slice_hits"].__setitem__((0, 0, 0), 2**50),
    "slice found": lambda s: s["slice_found"].__setitem__((0, 0), math.inf),
    "array too many": lambda s: s.__setitem__("more", np.zeros(1)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_state_that_no_labels_leave_is_refused(name: str) -> None:
    state = dict(WHOLE.snapshot())
    build(LabelPoisoningConfig(), 3, 32, SALT, state)
    DAMAGE[name](state)  # type: ignore[no-untyped-call]
    with pytest.raises(StateError):
        build(LabelPoisoningConfig(), 3, 32, SALT, state)


def test_switched_off_it_sees_nothing() -> None:
    own = LabelPoisoning(LabelPoisoningConfig(enabled=False), 3, 32, SALT)
    assert own.update(ROWS) == []
    assert same(own.snapshot(), small().snapshot())
