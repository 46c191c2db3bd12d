from __future__ import annotations

import doctest
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from schemas import events
from schemas.batch import ValueKind
from schemas.events import EVENT, PredictionEvent, classify

PREDICTION: dict[str, Any] = {
    "type": "prediction",
    "event_id": "e",
    "model_id": "m",
    "model_version": "1",
    "ts": "2026-03-01T12:00:00Z",
    "features": {"a": 1, "b": None, "c": "x", "d": True, "e": [1]},
}


def test_the_example_in_the_docstring() -> None:
    outcome = doctest.testmod(events)
    assert (outcome.attempted > 0, outcome.failed) == (True, 0)


def test_features_are_kept_as_they_are_and_classified() -> None:
    event = EVENT.validate_python(PREDICTION)
    assert isinstance(event, PredictionEvent)
    assert event.features == PREDICTION["features"]
    assert list(event.kinds.values()) == [
        ValueKind.NUMBER,
        ValueKind.NULL,
        ValueKind.STRING,
        ValueKind.BOOLEAN,
        ValueKind.INVALID,
    ]


def test_what_a_producer_dumps_is_accepted_again() -> None:
    event = EVENT.validate_python(PREDICTION)
    assert EVENT.validate_python(orjson.loads(event.model_dump_json())) == event


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 10**400])
def test_a_producer_is_told_of_a_number_that_is_no_json(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        classify(number)
    for wrong in ({"features": {"a": number}}, {"score": number}):
        with pytest.raises(ValidationError):
            EVENT.validate_python({**PREDICTION, **wrong})


@pytest.mark.parametrize("value", [1, None, "x", [], [PREDICTION], {}, {"type": "x"}])
def test_what_is_no_event_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        EVENT.validate_python(value)
