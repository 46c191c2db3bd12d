"""Signals of labels: what they observe, that they find what they are for, that batches say nothing.

The streams are seeded; each states how far it is from what it finds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import StateError
from detectors.fold import Fold
from detectors.outcome_scores import randomised_quantile
from detectors.performance.groups import slice_metrics
from detectors.slice_counts import GroupCounts
from schemas.batch import ModelKey
from schemas.config import (
    BoundsConfig,
    DetectionConfig,
    LabelsConfig,
    ModelConfig,
    SignalConfig,
)
from schemas.findings import Finding
from tests.detectors.decoded import Event, decoded
from tests.detectors.folding import as_bytes, fold_in

CONFIG = DetectionConfig(
    reference_events=200,
    arl0=1e7,
    labels=LabelsConfig(
        enabled=True, calibration_labels=200, reference_labels=400, max_delay_ms=200_000
    ),
    model={"m": ModelConfig(slices=["region"])},
)
REGIONS = ("north", "south", "west")

Truth = Callable[[int, float, str, float], bool]
"""Of an event's number, score and region, and a number from 0 to 1: whether it is positive."""


def as_scored(_: int, score: float, __: str, u: float) -> bool:
    """As often as the score says."""
    return u < score


def stream(
    n: int,
    truth: Truth = as_scored,
    *,
    delay: int = 30,
    missing: Callable[[int], float] = lambda _: 0.0,
    score: Callable[[int, Any], float] = lambda _, rng: float(rng.random()),
    threshold: Callable[[int, str], float] = lambda _, __: 0.5,
    seed: int = 1,
) -> list[Event]:
    """n predictions a second apart, and each one's label so many events later."""
    rng = np.random.default_rng(seed)
    made: list[Event] = []
    labels: dict[int, Event] = {}
    for i in range(n + delay):
        if i < n:
            p, region = score(i, rng), REGIONS[int(rng.integers(3))]
            y, is_lost = truth(i, p, region, float(rng.random())), rng.random() < missing(i)
            made.append(
                Event(
                    len(made),
                    features={"x": float(i % 7), "region": region, "old": bool(i % 2)},
                    model=ModelKey("m", "1"),
                    prediction=int(p >= threshold(i, region)),
                    score=p,
                    event_id=i + 1,
                    ts=1_000 * i,
                    record_ts=1_000 * i,
                )
            )
            if not is_lost:
                labels[i + delay] = Event(
                    0, model=ModelKey("m", ""), prediction=int(y), event_id=i + 1, is_label=True
                )
        if i in labels:
            said = labels[i]
            made.append(
                Event(
                    len(made),
                    model=said.model,
                    prediction=said.prediction,
                    event_id=said.event_id,
                    is_label=True,
                    ts=1_000 * i,
                    record_ts=1_000 * i,
                )
            )
    return made


def found(events: list[Event], config: DetectionConfig = CONFIG) -> list[Finding]:
    fold = Fold(config)
    return [each for each in fold.process(decoded(events)) if isinstance(each, Finding)]


def first_of(findings: list[Finding], signal: str) -> Finding:
    of = [each for each in findings if each.signal == signal and each.aspect != 2]
    assert of, f"nothing was found on {signal}: {sorted({each.signal for each in findings})}"
    return of[0]


def signals_of(fold: Fold) -> dict[str, int]:
    """The signals of labels by name, and their lanes."""
    monitor = fold.catalog.monitor(0)
    return {monitor.name(s): s.lane for s in monitor.signals if s.is_outcome}


def test_a_model_has_the_signals_of_its_outputs_and_slices() -> None:
    fold = Fold(CONFIG)
    fold.process(decoded(stream(4_000)))
    names = signals_of(fold)
    assert set(names) == {
        *("error", "label_delay", "label_coverage", "calibration", "expected_error", "error_gap"),
        *("label:1", "leakage"),
        *("error:region=north", "error:region=south", "error:region=west"),
        *("error:old=true", "error:old=false"),
        *("selection_ratio:region", "recall_gap:region", "false_positive_gap:region"),
    }
    # What is observed once in a block of a thousand labels has no reference after so few.
    assert {name for name, lane in names.items() if lane < 0} == {
        *("expected_error", "error_gap", "leakage"),
        *("selection_ratio:region", "recall_gap:region", "false_positive_gap:region"),
    }


def test_nothing_is_found_where_nothing_changes() -> None:
    assert [each.signal for each in found(stream(12_000))] == []


def test_errors_that_rise_are_found_and_so_is_the_group_they_are_in() -> None:
    def reverses_in_the_west(i: int, p: float, region: str, u: float) -> bool:
        return (u < p) is not (i >= 5_000 and region == "west")

    findings = found(stream(9_000, reverses_in_the_west))
    error, west = first_of(findings, "error"), first_of(findings, "error:region=west")
    # A quarter of all and so many of the west are wrong before; half of all, three quarters after.
    assert error.is_share
    assert error.effect > 0
    assert west.effect > 0.8
    # Two rows an event from the first label on, which is what offsets count.
    assert 10_000 <= west.change_offset <= 10_400
    assert west.offset < 10_600
    assert not [each for each in findings if each.signal == "error:region=north"]
    assert error.worst[0].signal == "error:region=west"
    assert error.worst[0].of_errors > error.worst[0].of_events == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_groups_that_have_a_little_more_of_the_errors_by_chance_are_not_named(seed: int) -> None:
    """All regions become worse alike: some have 34 % of the errors on 33 % of the events."""
    findings = found(stream(8_000, lambda i, p, _, u: (u < p) is not (i >= 5_000), seed=seed))
    of_errors = [each for each in findings if each.signal in ("error", "error_gap")]
    assert of_errors
    assert {each.worst for each in of_errors} == {()}


def test_labels_that_come_later_and_labels_that_do_not_come_are_found() -> None:
    later = stream(3_000) + [
        _moved(event, 6_000_000, 6_000) for event in stream(3_000, delay=90, seed=2)
    ]
    assert first_of(found(later), "label_delay").effect > 1.0
    rarer = found(stream(9_000, missing=lambda i: 0.1 if i < 4_000 else 0.4))
    coverage = first_of(rarer, "label_coverage")
    assert coverage.before == pytest.approx(0.9, abs=0.03)
    assert coverage.after < coverage.before


def _moved(event: Event, ms: int, ids: int) -> Event:
    return Event(
        event.offset + ids,
        event.features,
        event.model,
        event.score,
        event.prediction,
        event.is_label,
        event.ts + ms,
        event.record_ts + ms,
        event.event_id + ids,
    )


def test_scores_that_mean_less_are_found_by_the_calibration_alone() -> None:
    """Outcomes nearer to one half than the scores say: as many are wrong as the scores differ."""

    def weaker(i: int, p: float, _: str, u: float) -> bool:
        return u < (p if i < 5_000 else 0.5 + 0.5 * (p - 0.5))

    moved = first_of(found(stream(11_000, weaker)), "calibration")
    assert moved.aspect == 1, "the spread: too few outcomes in the middle of what was expected"


def test_covariates_that_move_leave_the_calibration_where_it_is() -> None:
    findings = found(
        stream(12_000, score=lambda i, rng: float(rng.beta(2, 2) if i < 6_000 else rng.beta(1, 4)))
    )
    assert not [each for each in findings if each.signal == "calibration"]
    assert first_of(findings, "score").effect < 0
    assert first_of(findings, "label:1").after < 0.4


def test_what_scores_expect_is_found_before_any_label_comes() -> None:
    def surer(i: int, rng: Any) -> float:
        return float(rng.beta(0.3, 0.3) if i < 15_000 else rng.beta(2, 2))

    findings = found(stream(18_000, score=surer, missing=lambda i: float(i >= 15_000)))
    expected = first_of(findings, "expected_error")
    assert expected.after > expected.before
    assert not [each for each in findings if each.signal in ("error", "error_gap")]


def test_truth_that_parts_from_what_scores_expect_is_found() -> None:
    def turned(i: int, p: float, _: str, u: float) -> bool:
        return u < (p if i < 15_000 else 1.0 - p)

    gap = first_of(found(stream(18_000, turned)), "error_gap")
    assert gap.before == pytest.approx(0.0, abs=0.02)
    assert gap.after > 0.2


def test_groups_that_are_treated_unequally_from_some_time_on_are_found() -> None:
    """With a higher threshold for one group its selection rate falls, which is no error of it."""

    def unequal(i: int, region: str) -> float:
        return 0.8 if i >= 55_000 and region == "south" else 0.5

    findings = found(stream(66_000, threshold=unequal))
    ratio = first_of(findings, "selection_ratio:region")
    assert ratio.before > 0.8
    # A block with a part of the change among the first: near 0.4, that of a threshold of 0.8.
    assert 0.3 < ratio.after < 0.7


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 2_900), max_size=6), at=st.integers(0, 2_900))
def test_any_batches_and_any_resume_give_the_same(cuts: list[int], at: int) -> None:
    config = CONFIG.model_copy(
        update={"labels": CONFIG.labels.model_copy(update={"reference_labels": 80})}
    )
    events = stream(1_460, lambda i, p, region, u: (u < p) is not (i > 900 and region == "west"))
    whole = Fold(config)
    said = whole.process(decoded(events[:2_900]))
    parted = Fold(config)
    again = fold_in(parted, events[:at], cuts=[cut for cut in cuts if cut < at])
    resumed = Fold(config, parted.snapshot())
    again += fold_in(resumed, events[at:2_900], cuts=[cut - at for cut in cuts if cut > at])
    assert again == said
    assert as_bytes(resumed.snapshot()) == as_bytes(whole.snapshot())


def test_a_signal_that_finds_no_lane_is_counted_and_said_once() -> None:
    config = CONFIG.model_copy(update={"bounds": BoundsConfig(max_lanes=20)})
    fold = Fold(config)
    said = fold.process(decoded(stream(3_000)))
    lanes = [lane for lane in signals_of(fold).values() if lane >= 0]
    events = [s for s in fold.catalog.monitor(0).signals if s.lane >= 0 and not s.is_outcome]
    assert len(lanes) + len(events) == 20
    assert fold.counters["n_refused_signals"] > 0
    assert [each.bound for each in said if not isinstance(each, Finding)] == ["max_lanes"]


def test_labels_that_are_switched_off_take_their_signals_along() -> None:
    fold = Fold(CONFIG)
    fold.process(decoded(stream(3_000)))
    n_lanes = len(signals_of(fold))
    assert n_lanes
    fold.reconfigure(CONFIG.model_copy(update={"labels": LabelsConfig()}))
    assert signals_of(fold) == {}
    assert fold.catalog.monitor(0).n_outcomes == 0
    assert as_bytes(Fold(fold.config, fold.snapshot()).snapshot()) == as_bytes(fold.snapshot())


def with_labels(**update: int) -> DetectionConfig:
    return CONFIG.model_copy(update={"labels": CONFIG.labels.model_copy(update=update)})


def test_a_shorter_reference_holds_at_once() -> None:
    """What was learned is cut, and the next label completes it: so does a state that is resumed."""
    events = stream(1_200)
    fold = Fold(CONFIG)
    fold.process(decoded(events[:1_000]))
    assert signals_of(fold)["error"] < 0
    shorter = with_labels(reference_labels=80)
    fold.reconfigure(shorter)
    resumed = Fold(shorter, fold.snapshot())
    for each in (fold, resumed):
        each.process(decoded(events[1_000:1_010]))
        assert signals_of(each)["error"] >= 0
    assert as_bytes(fold.snapshot()) == as_bytes(resumed.snapshot())


def test_a_signal_that_is_switched_off_while_it_learns_gets_no_lane() -> None:
    events = stream(2_000)
    fold = Fold(CONFIG)
    fold.process(decoded(events[:800]))
    off = ModelConfig(slices=["region"], signals={"error": SignalConfig(monitor=False)})
    fold.reconfigure(CONFIG.model_copy(update={"model": {"m": off}}))
    fold.process(decoded(events[800:]))
    lanes = signals_of(fold)
    assert lanes["error"] < 0 <= lanes["label_delay"]
    assert fold.counters["n_refused_signals"] == 0


def test_fewer_labels_for_the_calibration_hold_at_once() -> None:
    longer = with_labels(calibration_labels=10_000)
    fold = Fold(longer)
    fold.process(decoded(stream(1_000)))
    assert fold.outcomes is not None
    assert fold.outcomes.estimate_of(0) is None
    fold.reconfigure(CONFIG)
    assert fold.outcomes.estimate_of(0) is not None


def test_slices_of_a_version_without_signals_of_labels_may_change() -> None:
    """Of a version whose signals are all switched off nothing learns in groups of earlier ones."""
    names = [*signals_of(_of(stream(700), CONFIG)), "leakage"]
    off = {name: SignalConfig(monitor=False) for name in names}
    quiet = CONFIG.model_copy(update={"model": {"m": ModelConfig(slices=["region"], signals=off)}})
    fold = _of(stream(700), quiet)
    assert signals_of(fold) == {}
    other = ModelConfig(slices=["old"], signals={"error:region=west": SignalConfig(monitor=False)})
    changed = with_labels(automatic_slices=0).model_copy(update={"model": {"m": other}})
    fold.reconfigure(changed)
    assert "error:old=true" in signals_of(fold)
    resumed = Fold(changed, fold.snapshot())
    for each in (fold, resumed):
        each.process(decoded([_moved(event, 800_000, 1_400) for event in stream(300, seed=2)]))
        assert each.outcomes is not None
        assert set(each.outcomes.slices_of(0)) == {"old"}
    assert as_bytes(fold.snapshot()) == as_bytes(resumed.snapshot())


def _of(events: list[Event], config: DetectionConfig) -> Fold:
    fold = Fold(config)
    fold.process(decoded(events))
    return fold


def test_what_labels_tell_has_its_share_of_the_budget_before_the_first_label() -> None:
    """Else the first label would change what the events before it in a batch have decided."""
    without = [event for event in stream(1_000) if not event.is_label]
    fold = Fold(CONFIG)
    fold.process(decoded(without))
    monitor = fold.catalog.monitor(0)
    n_of_events = sum(signal.lane >= 0 for signal in monitor.signals)
    assert monitor.n_sharing == n_of_events + 16


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(-(2**62), 2**62)), min_size=1, max_size=50),
    st.randoms(use_true_random=False),
)
def test_the_quantile_of_an_outcome_lies_where_its_probability_says(
    rows: list[tuple[float, int]], random: Any
) -> None:
    p = np.array([each for each, _ in rows])
    key = np.array([each for _, each in rows], np.int64)
    is_so = np.array([random.random() < each for each in p.tolist()])
    u = randomised_quantile(is_so, p, key)
    assert ((u >= 0) & (u <= 1)).all()
    assert (u[is_so] >= 1 - p[is_so]).all()
    assert (u[~is_so] <= 1 - p[~is_so]).all()


def test_the_quantiles_of_outcomes_that_are_as_probable_as_said_are_even() -> None:
    rng = np.random.default_rng(3)
    p, n = rng.beta(1, 9, 40_000), 40_000
    u = np.sort(randomised_quantile(rng.random(n) < p, p, rng.integers(-(2**62), 2**62, n)))
    # Kolmogorov: the distance is above 1.95 / sqrt(n) in one of a thousand samples.
    assert np.abs(u - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("n_learned", lambda a: a + 10**6, "learned more"),
        ("learned", lambda a: a + 0.5, "cannot observe"),
        ("learned", lambda a: a[:-1], "too short"),
        ("blocks", lambda a: a - 10**9, "out of range"),
        ("slice_counts", lambda a: a - 1, "of no rows"),
        ("slice_rows", lambda a: a * 0, "of no rows"),
        ("slice_rows", lambda a: np.append(a, 0), "too long"),
    ],
)
def test_a_state_of_the_signals_that_contradicts_itself_is_refused(
    name: str, change: Callable[[Any], Any], says: str
) -> None:
    fold = Fold(CONFIG)
    fold.process(decoded(stream(500)))
    state = {part: dict(arrays) for part, arrays in fold.snapshot().items()}
    state["outcomes"][name] = change(state["outcomes"][name])
    with pytest.raises(StateError, match=says):
        Fold(CONFIG, state)


def test_the_metrics_of_groups_are_those_of_their_rows() -> None:
    """Of the window, which holds all rows while they are fewer than nine thousand."""
    events = stream(4_000, threshold=lambda _, region: 0.7 if region == "south" else 0.5)
    fold = Fold(CONFIG)
    fold.process(decoded(events))
    assert fold.outcomes is not None
    found = fold.outcomes.slices_of(0)
    label_of = {
        event.event_id: (event.offset, event.prediction) for event in events if event.is_label
    }
    predicted = [event for event in events if not event.is_label]
    complete = predicted[CONFIG.reference_events - 1].offset
    for region in REGIONS:
        # Those in a group were made when the reference was complete.
        rows = [
            (event.prediction, label_of[event.event_id][1])
            for event in predicted
            if event.features["region"] == region and event.offset > complete
        ]
        own = found["region"].groups[region]
        positives = [guess for guess, truth in rows if truth == 1]
        assert own.n_rows == len(rows)
        assert own.accuracy is not None
        assert own.accuracy.value == pytest.approx(np.mean([a == b for a, b in rows]))
        assert own.selection_rate is not None
        assert own.selection_rate.value == pytest.approx(np.mean([a for a, _ in rows]))
        assert own.recall is not None
        assert own.recall.value == pytest.approx(np.mean(np.array(positives, np.float64)))
    gap = found["region"].selection_ratio
    assert gap is not None
    assert gap.lowest == "south"
    assert gap.measure.low < gap.measure.value == pytest.approx(0.6, abs=0.06)
    assert gap.measure.high > gap.measure.value


@pytest.mark.parametrize("seed", range(2))
def test_intervals_between_two_groups_hold_what_is_so(seed: int) -> None:
    """Of 95 % over 2,000 draws: 93 to 97.5 %, five standard errors about it and its rounding."""
    rng = np.random.default_rng(seed)
    held = {"selection_ratio": 0, "recall_gap": 0}
    p = (0.3, 0.4)
    for _ in range(2_000):
        cells = np.zeros((3, 4), np.int64)
        for group in (1, 2):
            hits = int(rng.binomial(400, p[group - 1]))
            # All of them positive: selected is recalled.
            cells[group] = (0, 400 - hits, 0, hits)
        found = slice_metrics(GroupCounts(cells), {1: "a", 2: "b"}, is_binary=True)
        ratio, gap = found.selection_ratio, found.recall_gap
        if ratio is not None and ratio.lowest == "a":
            held["selection_ratio"] += ratio.measure.low <= 0.75 <= ratio.measure.high
        if gap is not None and gap.lowest == "a":
            held["recall_gap"] += gap.measure.low <= 0.1 <= gap.measure.high
    for name, n in held.items():
        assert 0.93 * 2_000 <= n <= 0.975 * 2_000, name
