"""Performance on labels: any batches give the same bytes, and plain numpy the same numbers."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.kernels.performance import CLASSES, LOG_LOSS, N_COUNTS, ROWS, SCORED
from detectors.performance.intervals import Measure
from detectors.performance.labelled import LabelledPerformance
from detectors.performance.metrics import Metrics, metrics
from detectors.performance.outputs import Output, ScoreOf, Shape, Task, even_cuts, quantile_cuts
from detectors.performance.rows import JoinedRows
from detectors.performance.tally import Tally
from detectors.performance.unlabelled import UnlabelledPerformance
from schemas.batch import F64, I32
from tests.detectors.batches import state_bytes
from tests.detectors.joined import (
    N_SLOTS,
    OUTPUTS,
    SHAPE,
    WINDOWS,
    batches,
    labelled,
    random_rows,
    taken,
    unlabelled,
    without_labels,
)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 300),
    cuts=st.lists(st.integers(0, 300), max_size=6),
    resume_at=st.integers(0, 6),
)
def test_any_batches_and_any_resume_give_the_same_bytes(
    seed: int, n: int, cuts: list[int], resume_at: int
) -> None:
    rows = random_rows(np.random.default_rng(seed), n)
    whole, whole_scores = labelled(), unlabelled()
    whole.update(rows)
    whole_scores.update(without_labels(rows))
    parts, scores = labelled(), unlabelled()
    for number, batch in enumerate(batches(rows, [min(cut, n) for cut in cuts])):
        if number == resume_at:
            parts = LabelledPerformance(SHAPE, WINDOWS, N_SLOTS, parts.snapshot())
            scores = UnlabelledPerformance(SHAPE, N_SLOTS, scores.snapshot())
        parts.update(batch)
        scores.update(without_labels(batch))
    assert state_bytes(parts.snapshot()) == state_bytes(whole.snapshot())
    assert state_bytes(scores.snapshot()) == state_bytes(whole_scores.snapshot())
    # And what was folded is a state that is taken.
    LabelledPerformance(SHAPE, WINDOWS, N_SLOTS, whole.snapshot())
    UnlabelledPerformance(SHAPE, N_SLOTS, whole_scores.snapshot())


def window_of(rows: JoinedRows, window: int) -> JoinedRows:
    """The rows of one slot that a window holds, from the definition."""
    n_gone = max(len(rows) - window, 0)
    return taken(rows, slice(-(-n_gone * 10 // window) * window // 10, None))


def close(measure: Measure | None, value: float | None) -> None:
    if value is None:
        assert measure is None
        return
    assert measure is not None
    assert measure.value == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert measure.low <= measure.value * (1 + 1e-12)
    assert measure.value <= measure.high * (1 + 1e-12)


def mean_of(values: F64) -> float | None:
    return float(values.mean()) if len(values) > 1 else None


def area(score: F64, is_so: F64) -> float | None:
    """The share of pairs in order, ties half, by comparing all of them."""
    high, low = score[is_so > 0], score[is_so == 0]
    if not len(high) or not len(low):
        return None
    pairs = np.sign(high[:, np.newaxis] - low[np.newaxis, :])
    return float((pairs.mean() + 1.0) / 2.0)


def check_by_hand(found: Metrics, rows: JoinedRows, output: Output) -> None:
    """All numbers again, over the rows themselves."""
    y, guess, s = rows.label_class, rows.predicted_class, rows.score
    assert found.n_rows == len(rows)
    if len(rows):
        assert found.first_ms == rows.event_time_ms.min()
        assert found.last_ms == rows.event_time_ms.max()
    is_regression = output.task == Task.REGRESSION
    numbers = np.isfinite(rows.predicted) & np.isfinite(rows.label) & is_regression
    error = np.minimum(np.abs(rows.predicted[numbers] - rows.label[numbers]), 1e60)
    close(found.mae, mean_of(error))
    square = mean_of(error**2)
    close(found.rmse, None if square is None else math.sqrt(square))
    has_classes = output.task in {Task.BINARY, Task.MULTICLASS}
    both = (y >= 0) & (guess >= 0) & has_classes
    close(found.accuracy, float((y == guess)[both].mean()) if both.any() else None)
    assert found.n_pooled == int(((y >= 3) | (guess >= 3))[both].sum())
    check_classes(found, y[both], guess[both], output)

    usable = (y >= 0) & np.isfinite(s) & has_classes & (output.score_of != ScoreOf.NONE)
    if output.task == Task.MULTICLASS or output.score_of == ScoreOf.PREDICTED:
        usable &= guess >= 0
    if output.score_of >= ScoreOf.POSITIVE:
        is_probability = (s >= 0.0) & (s <= 1.0)
        assert found.n_refused == int((usable & ~is_probability).sum())
        usable &= is_probability
    is_binary = output.task == Task.BINARY
    is_so = ((y == output.positive) if is_binary else (y == guess))[usable].astype(np.float64)
    q = s[usable]
    if is_binary and output.score_of == ScoreOf.PREDICTED:
        q = np.where(guess[usable] == output.positive, q, 1.0 - q)
    exact = area(q, is_so)
    if exact is None:
        assert found.auc is None
    else:
        assert found.auc is not None
        assert abs(found.auc.value - exact) <= found.auc.error + 1e-12
        binned = np.searchsorted(np.array(output.cuts), q, side="right").astype(np.float64)
        close(found.auc, area(binned, is_so))
    if output.score_of < ScoreOf.POSITIVE:
        assert (found.log_loss, found.brier, found.reliability) == (None, None, ())
        return
    p = np.clip(np.where(is_so > 0, q, 1.0 - q), 2.0**-52, 1.0 - 2.0**-52)
    close(found.log_loss, mean_of(-np.log(p)))
    close(found.brier, mean_of((q - is_so) ** 2))
    check_calibration(found, q, is_so, np.array(output.cuts))


def check_classes(found: Metrics, y: I32, guess: I32, output: Output) -> None:
    occurring = sorted({one for one in [*y.tolist(), *guess.tolist()] if one < 3})
    assert sorted(found.by_class) == occurring
    means: dict[str, list[float]] = {"precision": [], "recall": [], "f1": []}
    for one in occurring:
        hit = int(((y == one) & (guess == one)).sum())
        n_true, n_guess = int((y == one).sum()), int((guess == one).sum())
        of = found.by_class[one]
        by_hand = {
            "precision": hit / n_guess if n_guess else None,
            "recall": hit / n_true if n_true else None,
            "f1": 2 * hit / (n_true + n_guess),
        }
        for name, value in by_hand.items():
            close(getattr(of, name), value)
            means[name].append(value or 0.0)
        if one == output.positive:
            assert found.positive == of
    if occurring:
        assert found.macro is not None
        for name, values in means.items():
            close(getattr(found.macro, name), sum(values) / len(values))


def check_calibration(found: Metrics, q: F64, is_so: F64, cuts: F64) -> None:
    if not len(q):
        assert found.calibration is None
        return
    bin_of = np.searchsorted(cuts, q, side="right") * 16 // (len(cuts) + 1)
    total = 0.0
    for k, each in enumerate(found.reliability):
        inside = bin_of == k
        assert each.n == inside.sum()
        if each.n:
            close(each.observed, float(is_so[inside].mean()))
            assert each.predicted == pytest.approx(q[inside].mean())
            assert each.low <= q[inside].min()
            assert q[inside].max() <= each.high
            total += inside.mean() * abs(is_so[inside].mean() - q[inside].mean())
    assert found.calibration is not None
    assert found.calibration.value == pytest.approx(total, abs=1e-12)
    assert found.calibration.low <= total <= found.calibration.high + 1e-12


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 400))
def test_metrics_are_those_of_the_rows_by_plain_numpy(seed: int, n: int) -> None:
    rows = random_rows(np.random.default_rng(seed), n)
    bank = labelled()
    for batch in batches(rows, [n // 3]):
        bank.update(batch)
    for slot in range(N_SLOTS):
        own = taken(rows, rows.slot == slot)
        check_by_hand(metrics(bank.total(slot)), own, bank.output(slot))
        for window in WINDOWS:
            latest = window_of(own, window)
            assert min(len(own), window - window // 10 + 1) <= len(latest) <= window
            check_by_hand(metrics(bank.window(slot, window)), latest, bank.output(slot))


def test_the_logarithm_is_the_c_librarys_to_its_last_bits() -> None:
    rng = np.random.default_rng(4)
    p = np.concatenate([rng.random(2000), 2.0 ** -rng.uniform(0, 52, 2000), [0.0, 1.0, 0.5]])
    output = Output(Task.BINARY, ScoreOf.POSITIVE, 1)
    bank = labelled(Shape(), [output], [])
    one, none = np.ones(1, np.int32), np.full(1, np.nan)
    for each in p.tolist():
        bank.declare(0, output)
        score, time = np.array([each]), np.zeros(1, np.int64)
        bank.update(JoinedRows(0 * one, one, none, score, one, none, time))
        wanted = -math.log(min(max(each, 2.0**-52), 1.0 - 2.0**-52))
        assert bank.total(0).sum_of(LOG_LOSS) == pytest.approx(wanted, rel=1e-15, abs=0.0)


def test_a_perfect_model_has_intervals_that_are_not_empty() -> None:
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, 60).astype(np.int32)
    bank = labelled(Shape(), [Output(Task.BINARY, ScoreOf.POSITIVE, 1)])
    none, slot = np.full(60, np.nan), np.zeros(60, np.int32)
    score = np.where(y == 1, 0.95, 0.05)
    bank.update(JoinedRows(slot, y, none, score, y, none, np.arange(60)))
    found = metrics(bank.total(0))
    assert found.positive is not None
    assert found.macro is not None
    for measure in (found.accuracy, found.auc, *found.positive, *found.macro):
        assert measure is not None
        assert measure.value == measure.high == 1.0
        assert 0.8 < measure.low < 1.0


def test_one_level_up_is_wider_and_a_wrong_one_is_refused() -> None:
    bank = labelled()
    bank.update(random_rows(np.random.default_rng(6), 400))
    narrow, wide = (metrics(bank.total(0), level).accuracy for level in (0.8, 0.99))
    assert narrow is not None
    assert wide is not None
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high
    with pytest.raises(ValueError, match="level of an interval is 95: between 0 and 1"):
        metrics(bank.total(0), 95)


def test_declaring_and_resetting_a_slot_begins_anew_and_leaves_the_others() -> None:
    rows = random_rows(np.random.default_rng(7), 300)
    bank, other = labelled(), labelled()
    bank.update(rows)
    other.update(taken(rows, rows.slot != 1))
    bank.declare(1, OUTPUTS[1])
    assert state_bytes(bank.snapshot()) == state_bytes(other.snapshot())
    bank.reset(np.array([0], np.int32))
    assert bank.output(0) == replace(Output(), cuts=tuple(even_cuts(SHAPE.n_bins)))
    assert bank.total(0).counts.tolist() == [0] * N_COUNTS
    bank.resize(N_SLOTS + 5)
    assert bank.total(N_SLOTS + 4).counts.tolist() == [0] * N_COUNTS


def test_rows_of_an_unknown_slot_fold_nothing() -> None:
    rows = random_rows(np.random.default_rng(8), 50)
    for slot in (-1, N_SLOTS, 2**31 - 1):
        wrong = replace(rows, slot=np.where(np.arange(50) == 49, np.int32(slot), rows.slot))
        bank, scores = labelled(), unlabelled()
        empty, no_scores = state_bytes(bank.snapshot()), state_bytes(scores.snapshot())
        with pytest.raises(IndexError):
            bank.update(wrong)
        with pytest.raises(IndexError):
            scores.update(without_labels(wrong))
        assert state_bytes(bank.snapshot()) == empty
        assert state_bytes(scores.snapshot()) == no_scores
    with pytest.raises(IndexError):
        labelled().window(N_SLOTS, WINDOWS[0])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 400),
    at=st.integers(0, 400),
    windows=st.lists(st.sampled_from([10, 20, 30, 200]), max_size=4, unique=True),
)
def test_other_windows_begin_empty_and_those_that_stay_keep_their_rows(
    seed: int, n: int, at: int, windows: list[int]
) -> None:
    rows = random_rows(np.random.default_rng(seed), n)
    bank, other = labelled(), labelled()
    first, second = batches(rows, [min(at, n)])
    for each in (bank, other):
        each.update(first)
    bank.set_windows(windows)
    resumed = LabelledPerformance(SHAPE, windows, N_SLOTS, bank.snapshot())
    for each in (bank, resumed, other):
        each.update(second)
    assert state_bytes(resumed.snapshot()) == state_bytes(bank.snapshot())
    LabelledPerformance(SHAPE, windows, N_SLOTS, bank.snapshot())
    for slot in range(N_SLOTS):
        assert metrics(bank.total(slot)) == metrics(other.total(slot))
        since = taken(second, second.slot == slot)
        for window in windows:
            found = metrics(bank.window(slot, window))
            if window in WINDOWS:
                assert found == metrics(other.window(slot, window))
            else:
                check_by_hand(found, window_of(since, window), bank.output(slot))


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ((100, 15), "a window of 15 rows: give a multiple of 10, above 0"),
        ((0,), "a window of 0 rows: give a multiple of 10, above 0"),
        ((2**31 * 10,), "a window of 21474836480 rows"),
        ((20, 20), "`windows` are .20, 20.: give each once"),
    ],
)
def test_windows_that_no_ring_can_be_are_refused_and_nothing_changes(
    windows: tuple[int, ...], words: str
) -> None:
    bank = labelled()
    bank.update(random_rows(np.random.default_rng(12), 300))
    before = state_bytes(bank.snapshot())
    with pytest.raises(ValueError, match=words):
        bank.set_windows(windows)
    assert (bank.windows, state_bytes(bank.snapshot())) == (WINDOWS, before)
    with pytest.raises(ValueError, match="not in tuple"):
        bank.window(0, 20)


@pytest.mark.parametrize("name", [field.name for field in fields(JoinedRows)])
def test_columns_of_another_kind_are_refused_by_name(name: str) -> None:
    rows = random_rows(np.random.default_rng(9), 8)
    column = getattr(rows, name)
    for wrong in (column.astype(np.float32), column[:-1], np.repeat(column, 2)[::2]):
        if name == "slot" and len(wrong) == 7:
            continue  # then it is the others that are too long
        with pytest.raises(ValueError, match=f"`{name}` is .*; give a contiguous array"):
            replace(rows, **{name: wrong})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Output(Task.BINARY), "`positive` is -1 of a BINARY model"),
        (lambda: Output(Task.MULTICLASS, positive=1), "`positive` is 1 of a MULTICLASS"),
        (lambda: Output(Task.REGRESSION, ScoreOf.POSITIVE), "a REGRESSION model has no score"),
        (lambda: Output(Task.MULTICLASS, ScoreOf.POSITIVE), "use PREDICTED"),
        (lambda: Output(Task.MULTICLASS, ScoreOf.RANK), "`cuts`.*quantile_cuts"),
        (lambda: Output(Task.BINARY, ScoreOf.RANK, 0, (1.0, 0.0)), "not finite and ascending"),
        (lambda: Shape(n_bins=40), "`n_bins` is 40: a multiple of 16"),
        (lambda: Shape(block_rows=0), "`block_rows` is 0: 1 to"),
        (lambda: labelled(outputs=[Output(Task.BINARY, positive=3)]), "below `max_classes`, 3"),
        (
            lambda: labelled(outputs=[Output(Task.MULTICLASS, ScoreOf.RANK, cuts=(0.0,))]),
            "`cuts` has 1: give 15",
        ),
    ],
)
def test_outputs_that_make_no_sense_are_refused_with_the_remedy(make: object, words: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=words):
        make()


def test_cuts_are_ascending_and_finer_at_the_ends() -> None:
    cuts = even_cuts(64)
    widths = np.diff([0.0, *cuts, 1.0])
    assert widths.min() > 0
    assert widths[0] == pytest.approx(widths[-1])
    assert widths[0] < 0.001
    assert 0.02 < widths[32] < 0.025
    rng = np.random.default_rng(10)
    score = rng.normal(size=6400)
    held = np.bincount(np.searchsorted(quantile_cuts(score, 64), score, side="right"))
    assert held.tolist() == [100] * 64


def test_what_is_counted_is_named_as_the_kernel_counts_it() -> None:
    rows = random_rows(np.random.default_rng(11), 200)
    bank = labelled()
    bank.update(rows)
    tally: Tally = bank.total(0)
    assert tally.count(ROWS) == (rows.slot == 0).sum()
    assert tally.count(CLASSES) == tally.confusion.sum()
    assert tally.count(SCORED) == tally.scores.sum()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(0, 300), at=st.integers(0, 300))
def test_what_came_since_a_tally_is_what_these_rows_alone_add_up_to(
    seed: int, n: int, at: int
) -> None:
    rows = random_rows(np.random.default_rng(seed), n)
    whole, rest = labelled(), labelled()
    first, second = batches(rows, [min(at, n)])
    whole.update(first)
    before = [whole.total(slot) for slot in range(N_SLOTS)]
    whole.update(second)
    rest.update(second)
    for slot in range(N_SLOTS):
        found, wanted = whole.total(slot).since(before[slot]), rest.total(slot)
        for name in ("counts", "confusion", "histogram"):
            assert (getattr(found, name) == getattr(wanted, name)).all()
        for name in ("score_sums", "sums"):
            # Of a difference of two sums the rounding is that of the sums.
            most = float(getattr(whole.total(slot), name).max())
            np.testing.assert_allclose(
                getattr(found, name), getattr(wanted, name), rtol=1e-9, atol=1e-12 * most
            )
        if wanted.count(ROWS):
            with pytest.raises(ValueError, match="begins with another one"):
                before[slot].since(whole.total(slot))


@given(n=st.integers(0, 100), n_blocks=st.integers(1, 9))
def test_the_latest_blocks_of_predictions_hold_these(n: int, n_blocks: int) -> None:
    rows = random_rows(np.random.default_rng(n), 3_000)
    own = np.flatnonzero(rows.slot == 0)[:n]
    bank, latest = unlabelled(), unlabelled()
    bank.update(without_labels(taken(rows, own)))
    kept = min(n_blocks, SHAPE.n_blocks)
    full = (n - 1) // SHAPE.block_rows - kept + 1
    latest.update(without_labels(taken(rows, own[max(full, 0) * SHAPE.block_rows :])))
    assert bank.n_rows(0) == n
    assert (bank.window(0, n_blocks) == latest.window(0)).all()
