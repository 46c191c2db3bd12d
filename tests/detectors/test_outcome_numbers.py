"""Errors of groups where numbers are predicted: signals, worst groups, means in the live view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import StateError
from detectors.fold import Fold
from detectors.monitor_state import MonitorDocument, MonitorReader, snapshot_monitors
from detectors.outcome_groups import loss_unit
from detectors.outcome_sources import DISPARITY_ROWS, SOURCE_SLICE, SOURCE_SLICE_RESIDUE
from detectors.performance.groups import GroupMetrics
from detectors.slice_counts import LOSS_PARTS, MAX_LOSS, SliceCounts
from schemas.batch import ModelKey
from schemas.config import DetectionConfig, ModelConfig, SignalConfig
from schemas.findings import Aspect
from tests.detectors.decoded import Event, decoded
from tests.detectors.folding import as_bytes, fold_in
from tests.detectors.test_outcome_signals import (
    CONFIG,
    REGIONS,
    first_of,
    found,
    signals_of,
    with_labels,
)

Error = Callable[[int, str, float], float]
"""Of an event's number, its region and a normal number: predicted less true."""
MEAN, SD = 100.0, 10.0
"""Of the predictions."""


def as_ever(_: int, __: str, normal: float) -> float:
    """Errors that are the same in all groups."""
    return normal


def stream(
    n: int,
    error: Error = as_ever,
    *,
    delay: int = 30,
    predict: Callable[[float], float] = lambda normal: MEAN + SD * normal,
    seed: int = 1,
) -> list[Event]:
    """n predictions of numbers a second apart, and each one's label so many events later."""
    rng = np.random.default_rng(seed)
    made: list[Event] = []
    truth: list[float] = []
    for i in range(n + delay):
        ms = 1_000 * i
        if i < n:
            region, x = REGIONS[int(rng.integers(3))], predict(float(rng.normal()))
            truth.append(x - error(i, region, float(rng.normal())))
            features = {"x": float(i % 7), "region": region, "old": bool(i % 2)}
            made.append(
                Event(len(made), features, prediction=x, event_id=i + 1, ts=ms, record_ts=ms)
            )
        if i >= delay:
            made.append(
                Event(
                    len(made),
                    model=ModelKey("m", ""),
                    prediction=truth[i - delay],
                    is_label=True,
                    ts=ms,
                    record_ts=ms,
                    event_id=i - delay + 1,
                )
            )
    return made


def folded(events: list[Event], config: DetectionConfig = CONFIG) -> Fold:
    fold = Fold(config)
    fold.process(decoded(events))
    return fold


def groups_of(fold: Fold) -> dict[str, GroupMetrics]:
    """What the live view has of the regions."""
    assert fold.outcomes is not None
    return fold.outcomes.slices_of(0)["region"].groups


def test_a_model_of_numbers_has_signals_of_its_groups() -> None:
    fold = folded(stream(4_000))
    names = signals_of(fold)
    assert set(names) == {
        *("error", "label_delay", "label_coverage"),
        *("error:region=north", "error:region=south", "error:region=west"),
        *("error:old=true", "error:old=false"),
    }
    assert all(lane >= 0 for lane in names.values())
    # What it learned is of the group: predicted less true, in the prediction's unit.
    monitor = fold.catalog.monitor(0)
    of = {monitor.name(signal): signal for signal in monitor.signals}["error:region=west"]
    assert not of.is_share
    assert not of.is_error, "detectors of errors watch shares"
    assert of.scale.mean == pytest.approx(0.0, abs=0.5)
    assert of.scale.sd == pytest.approx(1.0, abs=0.3)


def test_they_have_their_share_of_the_budget_before_the_first_label() -> None:
    fold = folded([event for event in stream(1_000) if not event.is_label])
    monitor = fold.catalog.monitor(0)
    n_of_events = sum(signal.lane >= 0 for signal in monitor.signals)
    assert monitor.n_sharing == n_of_events + 8


def test_they_are_switched_off_by_their_names() -> None:
    off = ModelConfig(slices=["region"], signals={"error:region=west": SignalConfig(monitor=False)})
    names = signals_of(folded(stream(700), CONFIG.model_copy(update={"model": {"m": off}})))
    assert "error:region=north" in names
    assert "error:region=west" not in names


def test_nothing_is_found_where_nothing_changes() -> None:
    assert [each.signal for each in found(stream(9_000))] == []


def test_predictions_that_are_too_high_in_one_group_are_found_there() -> None:
    def high_in_the_west(i: int, region: str, normal: float) -> float:
        return normal + 2.0 * (i >= 5_000 and region == "west")

    findings = found(stream(8_000, high_in_the_west))
    west = first_of(findings, "error:region=west")
    assert west.effect > 1.0
    # Two rows an event from the first label on, which is what offsets count.
    assert 9_950 <= west.change_offset <= 10_200
    assert west.offset < 10_400
    assert not west.is_share
    assert west.worst == (), "it is of one group"
    assert not [each for each in findings if each.signal == "error:region=north"]
    error = first_of(findings, "error")
    # Few of the latest labels are of rows that it is so for, until the detector has settled.
    error = next(
        each
        for each in findings
        if each.signal == "error" and each.aspect is Aspect.SETTLED and each.offset > error.offset
    )
    assert error.worst[0].signal == "error:region=west"
    assert error.worst[0].of_errors > error.worst[0].of_events == pytest.approx(1 / 3, abs=0.05)


def test_errors_that_grow_to_both_sides_are_found_by_their_spread_and_say_where() -> None:
    """The mean stays at 0: a share of the loss that counted errors with their signs would not."""

    def wide_in_the_south(i: int, region: str, normal: float) -> float:
        return normal * (4.0 if i >= 5_000 and region == "south" else 1.0)

    events = stream(6_000, wide_in_the_south)
    findings = found(events)
    spread = [each for each in findings if each.signal == "error" and each.aspect == Aspect.SPREAD]
    assert spread
    last = spread[-1]
    assert [each.signal for each in last.worst][:1] == ["error:region=south"]
    # Its share of the absolute error by then, of the block that is under way and the one before.
    predicted = {event.event_id: event for event in events if not event.is_label}
    complete = predicted[CONFIG.reference_events].offset
    labels = [e for e in events if e.is_label and complete < e.offset <= last.offset]
    recent = labels[max((len(labels) - 1) // DISPARITY_ROWS - 1, 0) * DISPARITY_ROWS :]
    loss = dict.fromkeys(REGIONS, 0.0)
    for event in recent:
        made = predicted[event.event_id]
        error = float(made.prediction or 0) - float(event.prediction or 0)
        loss[str(made.features["region"])] += abs(error)
    of_errors = loss["south"] / sum(loss.values())
    assert last.worst[0].of_errors == pytest.approx(of_errors, abs=1e-3)
    assert of_errors > last.worst[0].of_events
    of_group = [each for each in findings if each.signal == "error:region=south"]
    assert any(each.aspect == Aspect.SPREAD for each in of_group)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 2_900), max_size=6), at=st.integers(0, 2_900))
def test_any_batches_and_any_resume_give_the_same(cuts: list[int], at: int) -> None:
    def high_in_the_west(i: int, region: str, normal: float) -> float:
        return normal + 3.0 * (i > 900 and region == "west")

    config = with_labels(reference_labels=80)
    events = stream(1_460, high_in_the_west)[:2_900]
    whole = Fold(config)
    said = whole.process(decoded(events))
    assert any(getattr(each, "worst", ()) for each in said)
    parted = Fold(config)
    again = fold_in(parted, events[:at], cuts=[cut for cut in cuts if cut < at])
    resumed = Fold(config, parted.snapshot())
    again += fold_in(resumed, events[at:], cuts=[cut - at for cut in cuts if cut > at])
    assert again == said
    assert as_bytes(resumed.snapshot()) == as_bytes(whole.snapshot())
    assert groups_of(resumed) == groups_of(whole)


def test_the_mean_absolute_error_of_groups_is_that_of_their_rows() -> None:
    """Of the window, which holds all rows while they are fewer than nine thousand."""

    def by_region(_: int, region: str, normal: float) -> float:
        return normal * (1 + REGIONS.index(region))

    events = stream(3_000, by_region)
    fold = folded(events)
    label_of = {event.event_id: event.prediction for event in events if event.is_label}
    predicted = [event for event in events if not event.is_label]
    complete = predicted[CONFIG.reference_events - 1].offset
    unit = loss_unit(fold.catalog.monitor(0))
    assert unit == pytest.approx(SD / LOSS_PARTS, rel=0.2)
    for region in REGIONS:
        error = np.array(
            [
                abs(float(event.prediction or 0) - float(label_of[event.event_id] or 0))
                for event in predicted
                if event.features["region"] == region and event.offset > complete
            ]
        )
        own = groups_of(fold)[region]
        assert own.n_rows == len(error)
        assert own.accuracy is None
        assert own.mae is not None
        assert own.mae.n == len(error)
        assert own.mae.error == unit / 2
        assert own.mae.value == pytest.approx(error.mean(), abs=unit / 2)
        reach = 1.96 * error.std(ddof=1) / np.sqrt(len(error))
        assert own.mae.high - own.mae.value == pytest.approx(reach, rel=0.01)
        assert own.mae.value - own.mae.low == pytest.approx(reach, rel=0.01)


@pytest.mark.parametrize("size", [1e6, 1e300])
def test_one_error_beyond_all_measure_is_counted_as_a_thousand_standard_deviations(
    size: float,
) -> None:
    def one_wild(i: int, _: str, normal: float) -> float:
        return size if i == 1_000 else normal

    fold = folded(stream(1_200, one_wild))
    unit = loss_unit(fold.catalog.monitor(0))
    most = max(groups_of(fold).values(), key=lambda own: own.mae.value if own.mae else 0.0)
    assert most.mae is not None
    assert most.mae.value == pytest.approx(MAX_LOSS * unit / most.n_rows, rel=0.05)
    assert as_bytes(Fold(CONFIG, fold.snapshot()).snapshot()) == as_bytes(fold.snapshot())


@pytest.mark.parametrize(
    ("constant", "unit"), [(50.0, 50.0 / LOSS_PARTS), (0.0, 1.0 / LOSS_PARTS), (-1e-200, None)]
)
def test_constant_predictions_are_measured_by_their_size(
    constant: float, unit: float | None
) -> None:
    fold = folded(stream(600, predict=lambda _: constant))
    assert loss_unit(fold.catalog.monitor(0)) == (1.0 / LOSS_PARTS if unit is None else unit)
    error = groups_of(fold)["west"].mae
    assert error is not None
    assert 0.5 < error.value < 1.1


def test_a_label_that_is_no_number_is_in_no_group() -> None:
    events = stream(600)
    fold = folded(
        [
            Event(
                event.offset,
                model=event.model,
                prediction="unknown",
                is_label=True,
                ts=event.ts,
                record_ts=event.record_ts,
                event_id=event.event_id,
            )
            if event.is_label
            else event
            for event in events
        ]
    )
    assert {own.n_rows for own in groups_of(fold).values()} == {0}
    assert {own.mae for own in groups_of(fold).values()} == {None}


def _with_losses(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A change of the sums where there are rows."""

    def changed(sums: Any) -> Any:
        own = sums.copy()
        own[sums[..., 0] > 0] = change(sums[sums[..., 0] > 0])
        return own

    return changed


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("slice_losses", lambda a: a - 1, "of no rows"),
        ("slice_losses", lambda a: a + 1, "of no rows"),
        ("slice_losses", _with_losses(lambda a: a * [MAX_LOSS, 1]), "of no rows"),
        ("slice_losses", _with_losses(lambda a: a * [1, 0]), "of no rows"),
        ("slice_losses", _with_losses(lambda a: a * [1, 2**30]), "of no rows"),
        ("slice_losses", _with_losses(lambda a: a * 0 + 2**62), "of no rows"),
        # Fewer squares than the same errors at their mean have.
        ("slice_losses", _with_losses(lambda a: a * [1, 0] + a[:, :1] * [0, 1]), "of no rows"),
        ("slice_losses", lambda a: a[:-1], "too short"),
        ("slice_losses", lambda a: np.concatenate([a, a]), "too long"),
        ("slice_losses", lambda a: a.astype(np.float64), "slice_losses"),
        ("slice_counts", lambda a: a * 0, "of no rows"),
        # Numbers are in the first cell alone.
        ("slice_counts", lambda a: a[..., ::-1].copy(), "of no rows"),
    ],
)
def test_a_state_of_errors_that_contradicts_itself_is_refused(
    name: str, change: Callable[[Any], Any], says: str
) -> None:
    fold = folded(stream(500))
    state = {part: dict(arrays) for part, arrays in fold.snapshot().items()}
    state["outcomes"][name] = change(state["outcomes"][name])
    with pytest.raises(StateError, match=says):
        Fold(CONFIG, state)


def test_models_of_classes_have_no_sums_of_errors() -> None:
    counts = SliceCounts(2, 1)
    assert counts.losses is None
    assert counts.copy().losses is None
    assert counts.is_consistent()
    assert counts.window(0).losses is None


def test_a_monitor_whose_groups_have_errors_of_another_kind_is_refused() -> None:
    """Of numbers as if they were shares: they would be told as percentages."""
    fold = folded(stream(500))
    documents, arrays = snapshot_monitors([fold.catalog.monitor(0)])
    signals = documents[0]["signals"]
    document = orjson.dumps(documents[0])
    assert MonitorReader(arrays).monitor(MonitorDocument.model_validate_json(document)).slices
    for row in signals:
        if row[0] == SOURCE_SLICE_RESIDUE:
            row[0] = SOURCE_SLICE
    document = orjson.dumps(documents[0])
    with pytest.raises(StateError, match="not of what is predicted"):
        MonitorReader(arrays).monitor(MonitorDocument.model_validate_json(document))
