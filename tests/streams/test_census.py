"""The census sample and the traffic that is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from river.drift import ADWIN, PageHinkley

from schemas.batch import F64, ModelKey, ValueKind
from schemas.decode import decode_records
from schemas.events import PredictionEvent
from schemas.limits import DecodeLimits
from schemas.records import Record, TopicPartition
from streams import census
from streams.attack_traffic import credit_traffic
from streams.census import REAL_CHANGES, SAMPLE_SHA256, STRETCHES, CensusSample, read_sample
from streams.delivery_traffic import delivery_traffic
from streams.traffic import (
    REFERENCE_EVENTS,
    ModelTraffic,
    bad_events,
    census_traffic,
    schedule,
    timestamp,
)

SAMPLE = Path(census.__file__).parent / "sample"
TP = TopicPartition("driftsentry.events", 0)
EPOCH_MS = 1_795_405_378_123


@pytest.fixture(scope="module")
def sample() -> CensusSample:
    return read_sample()


@pytest.fixture(scope="module")
def models(sample: CensusSample) -> tuple[ModelTraffic, ...]:
    return census_traffic(sample)


def firings(values: F64) -> tuple[list[int], list[int]]:
    """Where river's ADWIN and Page-Hinkley fire on the values, standardised by the first 2,000."""
    reference = values[:REFERENCE_EVENTS]
    reference = reference[~np.isnan(reference)]
    z = (values - reference.mean()) / reference.std()
    found: tuple[list[int], list[int]] = ([], [])
    adwin: Any = ADWIN  # river's constructor has no types
    detectors = adwin(), PageHinkley(delta=0.05, threshold=131.0, alpha=1.0)
    for detector, at in zip(detectors, found, strict=True):
        for i in range(REFERENCE_EVENTS, len(z)):
            if not np.isnan(z[i]):
                detector.update(float(z[i]))
                if detector.drift_detected:
                    at.append(i)
    return found


def test_the_sample_holds_its_stretches_of_the_data_set_in_file_order(sample: CensusSample) -> None:
    rows = [row for first, end in STRETCHES for row in range(first, end)]
    assert sample.row.tolist() == rows
    assert set(sample.prediction.tolist()) == set(sample.employed.tolist()) == {0, 1}
    assert sample.probability.min() >= 0
    assert sample.probability.max() <= 1
    with pytest.raises(KeyError):
        sample.index_of(STRETCHES[0][1])


def test_the_sample_is_small_and_its_readme_names_it() -> None:
    assert (SAMPLE / "census_ma.csv.gz").stat().st_size <= 400_000
    assert SAMPLE_SHA256 in (SAMPLE / "README.md").read_text(encoding="utf-8")


def test_another_sample_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "SAMPLE_SHA256", "0" * 64)
    with pytest.raises(ValueError, match="not the sample"):
        read_sample()


def test_group_quarters_change_where_the_readme_says(sample: CensusSample) -> None:
    in_group_quarters = sample.features["RELP"] >= 16
    first, second, third = (sample.index_of(change.row) for change in REAL_CHANGES)
    assert 0.05 < in_group_quarters[:first].mean() < 0.1
    assert not in_group_quarters[first:second].any()
    assert in_group_quarters[second:third].all()
    assert not in_group_quarters[third:].any()


def test_river_finds_the_real_changes_and_is_quiet_before(sample: CensusSample) -> None:
    assert firings(sample.features["RELP"].astype(float)) == (
        [4047, 7823, 18095],
        [4272, 7848, 18124],
    )
    assert firings(sample.prediction.astype(float)) == ([7855, 18127], [7962, 18176])
    assert firings(sample.probability) == ([7855, 18127], [7962, 18200])
    first = sample.index_of(REAL_CHANGES[0].row)
    for name, codes in sample.features.items():
        assert firings(codes[:first].astype(float)) == ([], []), name


def test_river_finds_the_injected_change_and_nothing_in_the_control(
    models: tuple[ModelTraffic, ...],
) -> None:
    _, app, control = models
    change = app.changes[0]
    adwin, page_hinkley = firings(app.numbers["AGEP"])
    assert change.event <= min(adwin) < change.event + change.within
    assert change.event <= min(page_hinkley) < change.event + change.within
    for model, until in ((app, change.event), (control, len(control))):
        for name in [*(f"feature:{name}" for name in model.numbers), "missing:ANC", "score"]:
            values = model.signal(name)
            assert values is not None
            assert firings(values[:until]) == ([], []), (model.model_id, name)


def test_only_the_injected_change_is_not_in_the_file(
    sample: CensusSample, models: tuple[ModelTraffic, ...]
) -> None:
    in_order, app, _ = models
    for name, values in in_order.numbers.items():
        sent = ~np.isnan(values)
        assert np.array_equal(values[sent], sample.features[name][sent])
        assert sent.all() == (name != "ANC")
    ages = app.numbers["AGEP"]
    assert ages[: app.changes[0].event].max() <= sample.features["AGEP"].max()
    assert (ages[app.changes[0].event :] % 12 == 0).all()
    assert [change.injected for model in models for change in model.changes] == [
        False,
        False,
        False,
        True,
    ]


def test_traffic_is_the_same_on_every_call(
    sample: CensusSample, models: tuple[ModelTraffic, ...]
) -> None:
    for one, other in zip(models, census_traffic(sample), strict=True):
        assert one.categories == other.categories
        assert np.array_equal(one.score, other.score)
        for name, values in one.numbers.items():
            assert np.array_equal(values, other.numbers[name], equal_nan=True)


def test_the_schedule_holds_every_event_once_and_ends_all_models_together(
    models: tuple[ModelTraffic, ...],
) -> None:
    order = schedule(models)
    for i, model in enumerate(models):
        places = np.flatnonzero(order.model == i)
        assert np.array_equal(order.event[places], np.arange(len(model)))
        assert places[0] < 3 * len(models)
        assert places[-1] >= len(order.model) - 3 * len(models)


def test_the_schedule_has_each_label_behind_its_prediction() -> None:
    model = delivery_traffic()
    assert model.labels is not None
    order = schedule([credit_traffic(), model])
    place = {
        (int(event), bool(is_label)): i
        for i, (of, event, is_label) in enumerate(zip(*order, strict=True))
        if of == 1
    }
    n, after = len(model), model.labels.after
    assert len(place) == 2 * n - after
    for event in range(n - after):
        assert place[event, True] > place[event + after, False]
        assert event + after + 1 == n or place[event, True] < place[event + after + 1, False]


def test_signals_are_what_the_worker_sees(models: tuple[ModelTraffic, ...]) -> None:
    model = models[0]
    missing, numeric, share = (
        model.signal(name) for name in ("missing:ANC", "feature:ANC", "class:1")
    )
    assert missing is not None
    assert numeric is not None
    assert share is not None
    assert np.array_equal(missing == 1, np.isnan(numeric))
    assert 0.03 < missing.mean() < 0.07
    assert np.array_equal(share, model.prediction)
    assert model.signal("score") is model.score
    assert model.signal("feature:SEX") is None
    assert model.signal("missing:unheard") is None
    assert model.signal("prediction") is None


def test_timestamps_are_rfc_3339() -> None:
    assert timestamp(EPOCH_MS) == "2026-11-23T03:42:58.123Z"


def record(offset: int, key: bytes, value: bytes) -> Record:
    return Record(TP, offset, EPOCH_MS, key, value)


def test_the_decoder_takes_every_event_and_sees_what_was_meant(
    models: tuple[ModelTraffic, ...],
) -> None:
    for model in models:
        key = model.model_id.encode()
        values = [model.event(i, f"e{i}", timestamp(EPOCH_MS)) for i in range(0, len(model), 7)]
        events, rejects = decode_records(
            TP,
            [record(i, key, orjson.dumps(value)) for i, value in enumerate(values)],
            DecodeLimits(),
            None,
            None,
        )
        assert rejects == []
        assert events.n_unknown_fields == 0
        assert events.models == [ModelKey(model.model_id, "1")]
        assert events.event_time_ms.tolist() == [EPOCH_MS] * len(values)
        assert np.array_equal(events.score, model.score[::7])
        assert np.array_equal(events.prediction, model.prediction[::7])
        (names,) = events.shapes
        table = events.value.reshape(len(values), len(names))
        kinds = events.kind.reshape(len(values), len(names))
        for name, column in zip(names, table.T, strict=True):
            if name == "SEX":
                assert (kinds[:, names.index(name)] == ValueKind.STRING).all()
            else:
                assert np.array_equal(column, model.numbers[name][::7], equal_nan=True)
        PredictionEvent.model_validate(values[0])


def test_the_decoder_refuses_each_bad_event_for_its_own_mistake(
    models: tuple[ModelTraffic, ...],
) -> None:
    bad = list(bad_events(models[0], EPOCH_MS))
    records = [record(i, event.key, event.value) for i, event in enumerate(bad)]
    events, rejects = decode_records(TP, records, DecodeLimits(), None, None)
    assert len(events) == 0
    assert [reject.reason for reject in rejects] == [
        "not_json",
        "key_mismatch",
        "missing_field",
        "not_json",
    ]
