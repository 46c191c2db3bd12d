"""A suspicion is of the model and at the event that it was raised at, however polls are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detectors.labels.join import Joined
from detectors.security.base import Suspicion, Technique
from detectors.security.fold import SecurityFold
from schemas.batch import ModelKey
from schemas.config import BoundsConfig, DetectionConfig, LabelsConfig
from schemas.decode import decode_records
from schemas.limits import DecodeLimits
from schemas.records import Record
from schemas.security_config import SecurityConfig
from tests.streams.events import START_MS, TP, label, prediction, record

LIMITS = DecodeLimits(event_ids=True)


def suspicion(offset: int, event_row: int, **given: Any) -> Suspicion:
    fields: dict[str, Any] = {
        "offset": offset,
        "event_row": event_row,
        "model": 0,
        "source": -1,
        "detector": "d",
        "technique": Technique.PROBING,
        "event_time_ms": 0,
        "statistic": 1.0,
        "threshold": 1.0,
        "n_hits": 1,
        "n_seen": 1,
        "first_offset": offset,
        "first_time_ms": 0,
    }
    return Suspicion(**{**fields, **given})


def suspicions(
    records: list[Record], cuts: list[int], config: DetectionConfig, monkeypatch: Any
) -> list[Suspicion]:
    """Of banks that suspect each first row of a stretch, and each label that is joined."""
    fold = SecurityFold(config, None)

    def watch(columns: Any, slot: Any, start: int, said: list[Suspicion]) -> None:
        if slot[0] >= 0:
            events = columns.events
            place = int(events.offset[start]), int(events.row[start])
            said.append(suspicion(*place, model=int(slot[0])))

    def update_labels(joined: Joined) -> list[Suspicion]:
        places = zip(joined.offset.tolist(), joined.event_row.tolist(), strict=True)
        return [suspicion(*place, detector="label") for place in places]

    monkeypatch.setattr(fold, "_watch", watch)
    monkeypatch.setattr(fold.banks, "update_labels", update_labels)
    found: list[Suspicion] = []
    for start, end in zip([0, *cuts], [*cuts, len(records)], strict=True):
        events = decode_records(TP, records[start:end], LIMITS, None, None).events
        found += fold.process(events)
    return found


@pytest.mark.parametrize("cuts", [[], [1], [2, 3], [1, 2, 3, 4, 5]])
def test_a_suspicion_names_the_model_that_had_the_slot_then(
    cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DetectionConfig(
        security=SecurityConfig(max_models=1), bounds=BoundsConfig(min_idle_records=0)
    )
    records = [record(i, prediction(i, {"x": 1.0}, model=f"m{i}"), key=f"m{i}") for i in range(6)]
    found = suspicions(records, cuts, config, monkeypatch)
    assert [each.model for each in found] == [0] * 6
    assert [each.model_key for each in found] == [ModelKey(f"m{i}", "1") for i in range(6)]


@pytest.mark.parametrize("cuts", [[], [1], [2], [3], [1, 2, 3]])
def test_what_an_early_label_shows_is_known_when_its_prediction_comes(
    cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DetectionConfig(labels=LabelsConfig(enabled=True))
    records = [
        record(10, prediction(0, {"x": 1.0})),
        record(11, label(1, 1, ts=START_MS + 1)),
        record(12, prediction(2, {"x": 1.0})),
        record(13, prediction(1, {"x": 1.0}, prediction=1)),
    ]
    found = suspicions(records, cuts, config, monkeypatch)
    assert [each.offset for each in found if each.detector == "label"] == [13]
    assert all(each.model_key == ModelKey("m", "1") for each in found)
    assert np.all(np.diff([each.offset for each in found]) >= 0)
