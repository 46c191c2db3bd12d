"""Leakage: what it observes, that it finds what it is for, that batches say nothing, its bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.base import StateError
from detectors.feature_sample import WORDS, FeatureSample, Sampled, is_sampled
from detectors.fold import Fold
from detectors.kernels.leakage import strengths
from detectors.labels.join import Joined
from detectors.leakage import NOBODY, LeakageBlock, SampledLabels
from detectors.outcome_sources import LEAKAGE_ROWS, MAX_SAMPLED, SAMPLED_ONE_OF
from schemas.batch import I64
from schemas.config import BoundsConfig, DetectionConfig, ModelConfig, SignalConfig
from schemas.findings import Aspect, Finding
from tests.detectors.decoded import decoded
from tests.detectors.folding import Said, as_bytes, findings, fold_in
from tests.detectors.leaks import CONFIG, stream

REFERENCE: Final = 50 * LEAKAGE_ROWS
SHIFT: Final = REFERENCE + 2 * LEAKAGE_ROWS


def test_a_feature_that_becomes_a_copy_of_the_label_is_found_and_named_in_any_batches() -> None:
    """An AUC of 0.98, of what was noise; the label of prediction i stands at row 2 i + 30."""
    events = stream(SHIFT + 14 * LEAKAGE_ROWS, lambda i: 3.0 * (i >= SHIFT))
    said = Fold(CONFIG).process(decoded(events))
    leaks = [each for each in findings(said, "leakage") if each.aspect == Aspect.MEAN]
    assert leaks
    first = leaks[0]
    assert first.named == "late"
    assert first.before < 0.3
    assert first.after > 0.9
    assert first.effect > 3.0
    assert 2 * SHIFT <= first.change_offset <= 2 * (SHIFT + 2 * LEAKAGE_ROWS)
    assert first.block == LEAKAGE_ROWS * SAMPLED_ONE_OF
    others = {each.named for each in only_findings(said) if each.signal != "leakage"}
    assert others <= {"", "late"}, "a late number repeats, and that is told by its name too"

    parted, middle = Fold(CONFIG), 2 * SHIFT + 777
    again = fold_in(parted, events[:middle], cuts=[5_000, 5_001, 20_011])
    resumed = Fold(CONFIG, parted.snapshot())
    again += fold_in(resumed, events[middle:], cuts=[first.offset - middle, 4_000])
    assert again == said


def test_nothing_is_found_where_nothing_changes() -> None:
    assert (
        findings(Fold(CONFIG).process(decoded(stream(REFERENCE + 5_000, seed=2))), "leakage") == []
    )


def test_what_leaked_from_the_beginning_is_no_change_and_is_shown() -> None:
    fold = Fold(CONFIG)
    said = fold.process(decoded(stream(REFERENCE + LEAKAGE_ROWS, lambda _: 5.0)))
    assert findings(said, "leakage") == []
    assert fold.outcomes is not None
    shown = fold.outcomes.leakage_of(0)
    assert shown is not None
    assert (shown.feature, shown.was_in_reference) == ("late", True)
    assert shown.strength > 0.95
    assert shown.reference == pytest.approx(shown.strength, abs=0.03)


def only_findings(said: Said) -> list[Finding]:
    return [each for each in said if isinstance(each, Finding)]


SHORT: Final = stream(420, lambda i: 3.0 * (i >= 250), delay=60)


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(SHORT)), max_size=6),
    at=st.integers(0, len(SHORT)),
    max_rows=st.sampled_from([0, 1, 59, 60, 61, 400]),
)
def test_any_batches_and_any_resume_give_the_same_state(
    cuts: list[int], at: int, max_rows: int
) -> None:
    config = bounded(max_rows)
    whole = Fold(config)
    said = whole.process(decoded(SHORT))
    parted = Fold(config)
    again = fold_in(parted, SHORT[:at], cuts=[cut for cut in cuts if cut < at])
    resumed = Fold(config, parted.snapshot())
    again += fold_in(resumed, SHORT[at:], cuts=[cut - at for cut in cuts if cut > at])
    assert again == said
    assert as_bytes(resumed.snapshot()) == as_bytes(whole.snapshot())


def bounded(max_rows: int) -> DetectionConfig:
    return CONFIG.model_copy(update={"bounds": BoundsConfig(max_leakage_rows=max_rows)})


def n_labelled(fold: Fold) -> int:
    """Rows of the sample whose labels have come, of a block that has not ended."""
    return int(fold.snapshot()["outcomes"]["leakage_rows"][0])


def test_a_label_finds_the_features_while_not_too_many_newer_ones_are_kept() -> None:
    """Sixty predictions are kept between a prediction and the row of its label, and itself."""
    events, n_of_block = SHORT[:600], 600 // 2 - 30 - CONFIG.reference_events
    for max_rows, expected in [(60, 0), (61, n_of_block), (1_000, n_of_block)]:
        fold = Fold(bounded(max_rows))
        fold.process(decoded(events))
        assert n_labelled(fold) == expected
        assert fold.outcomes is not None
        assert len(fold.outcomes.sample) <= max_rows


def test_a_lower_bound_holds_at_once() -> None:
    fold = Fold(CONFIG)
    fold.process(decoded(SHORT))
    fold.reconfigure(bounded(7))
    assert fold.outcomes is not None
    assert len(fold.outcomes.sample) == 7
    assert as_bytes(Fold(bounded(7), fold.snapshot()).snapshot()) == as_bytes(fold.snapshot())


def test_a_label_of_a_class_that_nobody_predicted_does_not_count() -> None:
    """Its number lies far beyond those of classes, and so would memory that is counted by it."""
    events = [replace(e, prediction=7) if e.is_label and i % 3 else e for i, e in enumerate(SHORT)]
    fold, whole = Fold(CONFIG), Fold(CONFIG)
    fold.process(decoded(events[:600]))
    whole.process(decoded(SHORT[:600]))
    assert 0 < n_labelled(fold) < n_labelled(whole)
    assert as_bytes(Fold(CONFIG, fold.snapshot()).snapshot()) == as_bytes(fold.snapshot())


def test_a_signal_that_is_switched_off_keeps_no_features() -> None:
    off = ModelConfig(signals={"leakage": SignalConfig(monitor=False)})
    fold = Fold(CONFIG.model_copy(update={"model": {"m": off}}))
    fold.process(decoded(SHORT))
    assert fold.outcomes is not None
    assert len(fold.outcomes.sample) == 0
    assert fold.catalog.monitor(0).sampled == []


def test_one_of_eight_keys_is_in_the_sample_whatever_they_look_like() -> None:
    rng = np.random.default_rng(5)
    n = 200_000
    for keys in (np.arange(n), rng.integers(-(2**63), 2**63, n), np.arange(n) << 32):
        # Five standard errors of a share of so many.
        assert np.mean(is_sampled(keys.astype(np.int64))) == pytest.approx(1 / 8, abs=0.0037)


def by_ranks(x: NDArray[Any], is_so: NDArray[np.bool_], least: int) -> float:
    """|2 AUC - 1| by the ranks of those that are so, ties in the middle: Mann and Whitney."""
    x, is_so = x[~np.isnan(x)], is_so[~np.isnan(x)]
    n_so, n_not = int(is_so.sum()), int((~is_so).sum())
    if min(n_so, n_not) < least:
        return float("nan")
    ordered = np.sort(x)
    rank = (np.searchsorted(ordered, x, "left") + np.searchsorted(ordered, x, "right") + 1) / 2
    auc = (rank[is_so].sum() - n_so * (n_so + 1) / 2) / (n_so * n_not)
    return float(abs(2 * auc - 1))


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.floats(0, 1))
def test_the_strength_is_that_of_the_ranks(seed: int, n: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-3, 4, (n, 6)).astype(np.float32)
    values[:, 1] = rng.normal(size=n)
    values[:, 2] = np.float32(7.0)
    values[rng.random((n, 6)) < missing * 0.9] = np.nan
    values[0, 3], values[-1, 3] = np.inf, -np.inf
    is_so = rng.random(n) < 0.4
    found = np.empty(5)
    strengths(values, is_so, 3, found)
    expected = [by_ranks(values[:, j], is_so, 3) for j in range(5)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def labels_of(label: NDArray[Any], values: NDArray[Any]) -> SampledLabels:
    wide = np.full((len(label), MAX_SAMPLED), np.nan, np.float32)
    wide[:, : values.shape[1]] = values
    return SampledLabels(np.arange(len(label), dtype=np.int32), label.astype(np.int32), wide)


def test_of_many_classes_it_is_the_most_frequent_one_and_of_one_class_nothing() -> None:
    rng = np.random.default_rng(1)
    label = rng.choice(3, LEAKAGE_ROWS, p=[0.2, 0.5, 0.3])
    values = np.stack([rng.normal(size=LEAKAGE_ROWS), label == 1, label == 2], axis=1)
    block = LeakageBlock(3, -1)
    ended = block.add(labels_of(label, values))
    assert (ended.row.tolist(), ended.feature) == ([LEAKAGE_ROWS - 1], [1])
    assert ended.strength.tolist() == [1.0]
    # Labels of no class do not count; of a single class no feature tells anything.
    nothing = block.add(labels_of(np.repeat([-1, 1], LEAKAGE_ROWS), np.zeros((500, 3))))
    assert nothing.feature == [NOBODY]
    assert np.isnan(nothing.strength).all()
    assert block.last == (1, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60),
    st.integers(0, 8),
    st.lists(st.integers(1, 12), min_size=1, max_size=8),
)
def test_the_sample_is_the_same_as_row_by_row(
    rows: list[tuple[bool, int]], max_rows: int, sizes: list[int]
) -> None:
    """A row is a prediction with the next number, or the label of one that may never have been."""
    kept: list[int] = []
    expected: list[int] = []
    for is_prediction, number in rows:
        if is_prediction:
            kept.append(2 * len(kept))
        else:
            held = kept[max(len(kept) - max_rows, 0) :]
            expected.append(number if number in held else -1)
    sample = FeatureSample(max_rows)
    found: list[int] = []
    start, n = 0, 0
    for turn in range(len(rows) + 1):
        part = rows[start : start + sizes[turn % len(sizes)]]
        start += len(part)
        own = [i for i, (is_prediction, _) in enumerate(part) if is_prediction]
        words = np.zeros((len(own), WORDS), np.int64)
        words[:, 0] = 2 * np.arange(n, n + len(own))
        words[:, 1] = words[:, 0] + 1
        n += len(own)
        labels = [
            (i, number) for i, (is_prediction, number) in enumerate(part) if not is_prediction
        ]
        got = sample.advance(Sampled(np.array(own, np.int64), words), joined_at(labels))
        found += [int(got.tag[at]) - 1 if at >= 0 else -1 for at in got.at.tolist()]
        sample = FeatureSample(max_rows, sample.snapshot())
    assert found == expected
    assert len(sample) == min(len(kept), max_rows)


def joined_at(labels: list[tuple[int, int]]) -> Joined:
    """Labels at these rows, of predictions with these numbers; all keys are in the sample."""
    k = len(labels)
    some, numbers = np.zeros(k), np.zeros(k, np.int64)
    row = np.array([row for row, _ in labels], np.int32)
    key: I64 = np.zeros(k, np.int64)
    assert is_sampled(key).all()
    return Joined(
        row=row,
        slot=np.zeros(k, np.int32),
        offset=numbers,
        event_row=row,
        predicted=some,
        predicted_code=numbers,
        score=some,
        label=some,
        label_code=numbers,
        event_time_ms=numbers,
        delay_ms=numbers,
        source=np.zeros((k, 2), np.int64),
        label_source=np.zeros((k, 2), np.int64),
        slices=numbers,
        key=key,
        number=np.array([number for _, number in labels], np.int64),
    )


@pytest.fixture(scope="module")
def honest() -> dict[str, dict[str, Any]]:
    fold = Fold(CONFIG)
    fold.process(decoded(SHORT[:600]))
    return {part: dict(arrays) for part, arrays in fold.snapshot().items()}


def _first(value: float) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def change(array: NDArray[Any]) -> NDArray[Any]:
        changed = array.copy()
        changed.flat[0] = value
        return changed

    return change


def _tag(array: NDArray[Any]) -> NDArray[Any]:
    changed = array.copy()
    changed[3, 1] = -5
    return changed


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("leakage_rows", lambda a: a + LEAKAGE_ROWS, "out of range"),
        ("leakage_rows", lambda a: -a, "out of range"),
        ("leakage_rows", lambda a: np.append(a, 0), "too long"),
        ("leakage_labels", _first(-1), "no class"),
        ("leakage_labels", _first(2), "no class"),
        ("leakage_labels", lambda a: a[:-1], "too short"),
        ("leakage_values", np.zeros_like, "a feature too many"),
        ("leakage_values", lambda a: a.astype(np.float64), "leakage_values"),
        ("leakage_last", _first(3.0), "no feature"),
        ("leakage_last", _first(0.5), "no feature"),
        ("leakage_last", _first(float("nan")), "no feature"),
        ("leakage_last", lambda a: a + 1.5, "no feature"),
        ("sampled", lambda a: a + 1, "expected"),
        ("sampled", lambda a: a[::-1] - 1, "end before they begin"),
        ("sample_0000000000000000", lambda a: a[::-1], "not in order"),
        ("sample_0000000000000000", _first(-1), "not in order"),
        ("sample_0000000000000000", _tag, "nobody"),
        ("sample_0000000000000000", lambda a: a + 10_000, "never came"),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(
    honest: dict[str, dict[str, Any]], name: str, change: Callable[[Any], Any], says: str
) -> None:
    state = {part: dict(arrays) for part, arrays in honest.items()}
    state["outcomes"][name] = change(state["outcomes"][name])
    with pytest.raises(StateError, match=says):
        Fold(CONFIG, state)


def test_a_sample_beyond_the_bound_is_refused(honest: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(StateError, match="max_leakage_rows"):
        Fold(bounded(5), honest)


def test_a_monitor_whose_features_do_not_wait_as_it_says_is_refused(
    honest: dict[str, dict[str, Any]],
) -> None:
    raw = honest["fold"]["document"].tobytes()
    assert b'"sampled":[1,2,3]' in raw
    for said in (b'"sampled":[2,1,3]', b'"sampled":[0,2,3]', b'"sampled":[1,2,9]', b'"sampled":[]'):
        changed = np.frombuffer(raw.replace(b'"sampled":[1,2,3]', said), np.uint8).copy()
        with pytest.raises(StateError, match="wait"):
            Fold(CONFIG, {**honest, "fold": {**honest["fold"], "document": changed}})
