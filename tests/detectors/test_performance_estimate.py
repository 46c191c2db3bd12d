"""What is expected without labels, beside what labels say then: simulations, their error stated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.performance.calibration import LEAST_ROWS, Calibration, calibrate
from detectors.performance.estimate import Estimate, estimate
from detectors.performance.metrics import Metrics, metrics
from detectors.performance.outputs import Output, ScoreOf, Shape, Task, even_cuts
from detectors.performance.rows import JoinedRows
from schemas.batch import F64, I64
from tests.detectors.joined import labelled, random_rows, unlabelled, without_labels

BINARY = Output(Task.BINARY, ScoreOf.POSITIVE, 1)
CUTS = even_cuts(64)
NAMES = ("accuracy", "precision", "recall", "f1", "auc")


def histogram(score: F64, outcome: I64) -> I64:
    """(2, 64) rows by outcome and bin."""
    at = np.searchsorted(CUTS, score, side="right")
    return np.array([np.bincount(at[outcome == one], minlength=64) for one in (0, 1)])


def means(score: F64) -> F64:
    """The true probability of a score of a model that is too sure of itself."""
    return np.asarray(0.15 + 0.7 * score**1.5)


def stream(rng: np.random.Generator, n: int, a: float, b: float) -> tuple[F64, I64]:
    """Scores of one law, and outcomes as `means` has them."""
    score = rng.beta(a, b, n)
    return score, np.less(rng.random(n), means(score)).astype(np.int64)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), min_size=1, max_size=16))
def test_pools_hold_all_rows_and_enough_of_them(rows: list[tuple[int, int]]) -> None:
    counts = np.array(rows, np.int64).T
    n, hits = counts.sum(axis=0), counts[1]
    found = calibrate(counts)
    if not n.any():
        assert found is None
        return
    assert found is not None
    assert sorted(set(found.pool.tolist())) == list(range(len(found.variance)))
    assert (np.diff(found.pool) >= 0).all()
    assert ((found.p >= 0) & (found.p <= 1) & (found.spread > 0)).all()
    assert (found.variance > 0).all()
    assert found.is_known[n > 0].all()
    n_known = 0
    for number in range(len(found.variance)):
        bins = np.flatnonzero(found.pool == number)
        k, total = hits[bins].sum(), n[bins].sum()
        if found.is_known[bins[0]]:
            n_known += 1
            assert found.p[bins].tolist() == [k / total] * len(bins)
            assert total >= min(LEAST_ROWS, n.sum())
            smooth = (k + 1) / (total + 2)
            assert found.variance[number] == pytest.approx(smooth * (1 - smooth) / total)
            continue
        assert total == 0
        low = found.p[bins[0] - 1] if bins[0] else 0.0
        high = found.p[bins[-1] + 1] if bins[-1] + 1 < len(n) else 1.0
        assert found.p[bins] == pytest.approx((low + high) / 2)
        assert found.variance[number] >= (high - low) ** 2 / 12
    assert 1 <= n_known <= max(n.sum() // LEAST_ROWS, 1)
    assert (n * found.p).sum() == pytest.approx(hits.sum())


def simulated(seed: int, n_reference: int, n: int, a: float, b: float) -> tuple[Estimate, Metrics]:
    """An estimate for a window, and the metrics that its labels give."""
    rng = np.random.default_rng(seed)
    calibration = calibrate(histogram(*stream(rng, n_reference, 2.0, 2.0)))
    assert calibration is not None
    score, outcome = stream(rng, n, a, b)
    guess = (score >= 0.5).astype(np.int64)
    cells = histogram(score, guess)
    bank = labelled(Shape(block_rows=n), [BINARY])
    none = np.full(n, np.nan)
    slot = np.zeros(n, np.int32)
    classes = [each.astype(np.int32) for each in (guess, outcome)]
    bank.update(JoinedRows(slot, classes[0], none, score, classes[1], none, np.arange(n)))
    return estimate(cells, calibration, Task.BINARY), metrics(bank.total(0))


@pytest.mark.parametrize(
    ("n_reference", "n", "a", "b"),
    [
        (5_000, 1_000, 2.0, 2.0),
        (5_000, 1_000, 1.0, 2.5),
        (20_000, 2_000, 3.0, 1.5),
        (1_000, 5_000, 2.0, 2.0),
    ],
    ids=["as the reference", "lower scores", "higher scores", "a short reference"],
)
def test_the_interval_holds_what_labels_say_later(
    n_reference: int, n: int, a: float, b: float
) -> None:
    n_seeds = 400
    held = dict.fromkeys(NAMES, 0)
    error: dict[str, list[float]] = {name: [] for name in NAMES}
    for seed in range(n_seeds):
        expected, realised = simulated(seed, n_reference, n, a, b)
        for name in NAMES:
            guess = getattr(expected, name)
            found = getattr(realised, name, None) or getattr(realised.positive, name)
            held[name] += guess.low <= found.value <= guess.high
            error[name].append(guess.value - found.value)
    # One standard deviation of the share over 400 seeds is 1.1 %. Both areas have the same bins.
    for name, n_held in held.items():
        error_of_share = math.sqrt(0.95 * 0.05 / n_seeds)
        assert abs(n_held / n_seeds - 0.95) <= 3 * error_of_share, (name, held)
        assert abs(np.mean(error[name])) < 0.004, name


def test_estimate_and_interval_are_mean_and_spread_of_the_outcomes() -> None:
    # The delta method against outcomes that are drawn, where the reference is known for certain.
    rng = np.random.default_rng(20)
    score = rng.beta(2.0, 2.0, 3_000)
    cells = histogram(score, (score >= 0.4).astype(np.int64))
    p = means(np.array([*CUTS, 1.0]))
    known = np.zeros(64)
    certain = Calibration(p, np.arange(64, dtype=np.int32), known == 0, p * (1 - p), known)
    found = estimate(cells, certain, Task.BINARY)
    drawn: dict[str, list[float]] = {name: [] for name in NAMES}
    n_negative, n_positive = cells.sum(axis=1).tolist()
    for _ in range(4_000):
        outcomes = rng.binomial(cells, p)
        hits, missed = outcomes[1].sum(), outcomes[0].sum()
        drawn["accuracy"].append((n_negative - missed + hits) / 3_000)
        drawn["precision"].append(hits / n_positive)
        drawn["recall"].append(hits / (hits + missed))
        drawn["f1"].append(2 * hits / (n_positive + hits + missed))
        ones = outcomes.sum(axis=0)
        zeros = cells.sum(axis=0) - ones
        below = np.cumsum(zeros) - 0.5 * zeros
        drawn["auc"].append((ones * below).sum() / (ones.sum() * zeros.sum()))
    for name, values in drawn.items():
        measure = getattr(found, name)
        sd = float(np.std(values))
        assert measure.value == pytest.approx(np.mean(values), abs=5 * sd / math.sqrt(4_000)), name
        assert (measure.high - measure.low) / (2 * 1.96) == pytest.approx(sd, rel=0.05), name
    assert found.confusion.sum() == pytest.approx(3_000)
    assert found.confusion.sum(axis=0) == pytest.approx([n_negative, n_positive])


def test_a_concept_that_moved_is_not_seen_and_inputs_that_moved_are() -> None:
    # What the method can see and what it cannot: docs say so, and this is the proof of it.
    rng = np.random.default_rng(21)
    calibration = calibrate(histogram(*stream(rng, 50_000, 2.0, 2.0)))
    assert calibration is not None

    def expected(score: F64) -> float:
        cells = histogram(score, (score >= 0.5).astype(np.int64))
        accuracy = estimate(cells, calibration, Task.BINARY).accuracy
        assert accuracy is not None
        return accuracy.value

    surer, unsure = rng.beta(0.4, 0.4, 20_000), rng.beta(8.0, 8.0, 20_000)
    for score in (surer, unsure):
        outcome = rng.random(20_000) < means(score)
        assert expected(score) == pytest.approx(np.mean((score >= 0.5) == outcome), abs=0.015)
        turned = rng.random(20_000) < 1.0 - means(score)
        assert abs(expected(score) - np.mean((score >= 0.5) == turned)) > 0.05
    assert expected(surer) > expected(unsure) + 0.1


def test_scores_beyond_the_reference_are_counted_and_widen_the_interval() -> None:
    rng = np.random.default_rng(22)
    score = rng.uniform(0.3, 0.6, 5_000)
    outcome = np.less(rng.random(5_000), means(score)).astype(np.int64)
    calibration = calibrate(histogram(score, outcome))
    assert calibration is not None
    inside = np.full(1_000, 0.45)
    beyond = np.full(1_000, 0.95)
    found = [
        estimate(histogram(each, np.ones(1_000, np.int64)), calibration, Task.BINARY)
        for each in (inside, beyond)
    ]
    assert [each.n_unknown for each in found] == [0, 1_000]
    precise, vague = (each.precision for each in found)
    assert precise is not None
    assert vague is not None
    assert vague.high - vague.low > 3 * (precise.high - precise.low)


def test_the_bank_learns_a_reference_and_estimates_its_window() -> None:
    rng = np.random.default_rng(23)
    confidence = Output(Task.MULTICLASS, ScoreOf.PREDICTED)
    shape = Shape(n_blocks=4, block_rows=500)
    outputs = [confidence, BINARY]
    told, scores = labelled(shape, outputs, [2_000]), unlabelled(shape, outputs)
    n = 20_000
    score, right = stream(rng, n, 2.0, 2.0)
    guess = rng.integers(0, 4, n).astype(np.int32)
    true = np.where(right == 1, guess, (guess + 1) % 4).astype(np.int32)
    slot, none = np.zeros(n, np.int32), np.full(n, np.nan)
    rows = JoinedRows(slot, guess, none, score, true, none, np.arange(n))
    told.update(rows)
    scores.update(without_labels(rows))
    assert scores.estimate(0) is None
    scores.learn(0, told.total(0))
    found, realised = scores.estimate(0), metrics(told.window(0, 2_000))
    assert found is not None
    assert found.accuracy is not None
    assert realised.accuracy is not None
    assert found.n_rows == realised.n_rows == 2_000
    assert scores.times(0) == (realised.first_ms, realised.last_ms) == (18_000, 19_999)
    assert found.accuracy.low <= realised.accuracy.value <= found.accuracy.high
    assert (found.precision, found.recall, found.f1) == (None, None, None)
    assert scores.estimate(1) is None
    with pytest.raises(ValueError, match="take the reference from the same model version"):
        scores.learn(1, told.total(0))
    # What is learned stays with the snapshot, and goes with the slot.
    again = type(scores)(shape, 2, scores.snapshot())
    assert again.estimate(0) is not None
    again.declare(0, confidence)
    assert again.estimate(0) is None
    assert again.times(0) == (0, 0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 300))
def test_cells_are_those_of_the_windows_rows_by_plain_numpy(seed: int, n: int) -> None:
    rows = random_rows(np.random.default_rng(seed), n)
    bank = unlabelled()
    bank.update(without_labels(rows))
    for slot in range(bank.n_slots):
        output = bank.output(slot)
        at = np.flatnonzero(rows.slot == slot)
        s, guess = rows.score[at], rows.predicted_class[at]
        has_score = output.score_of != ScoreOf.NONE
        is_bad = ~((s >= 0) & (s <= 1)) & (output.score_of >= ScoreOf.POSITIVE)
        usable = np.isfinite(s) & (guess >= 0) & has_score
        assert bank.refused(slot) == (usable & is_bad).sum()
        usable &= ~is_bad
        usable[: max((len(at) - 1) // 7 - 2, 0) * 7] = False
        is_binary = output.task == Task.BINARY
        second = (guess == output.positive) | (not is_binary)
        if is_binary and output.score_of == ScoreOf.PREDICTED:
            s = np.where(second, s, 1.0 - s)
        k = np.searchsorted(np.array(output.cuts), s, side="right")
        wanted = np.zeros((2, 16), np.int64)
        np.add.at(wanted, (second[usable].astype(np.int64), k[usable]), 1)
        assert bank.window(slot).tolist() == wanted.tolist()


def test_no_rows_expect_nothing() -> None:
    calibration = calibrate(np.ones((2, 64), np.int64))
    assert calibration is not None
    found = estimate(np.zeros((2, 64), np.int64), calibration, Task.BINARY)
    assert all(getattr(found, name) is None for name in NAMES)
    assert (found.n_rows, found.n_unknown) == (0, 0)
