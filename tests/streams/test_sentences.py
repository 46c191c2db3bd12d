"""What alerts say of signals with names that somebody else chose."""

from __future__ import annotations

import pytest

from schemas.signal_names import (
    NEW_CATEGORY,
    category_signal,
    class_signal,
    feature_signal,
    new_signal,
    other_signal,
)
from streams.sentences import subject
from tests.streams.demo_kit import MODELS, alert_data


@pytest.mark.parametrize(
    ("signal", "unit", "words"),
    [
        (category_signal("kind", "a=b"), "share", "the share of kind=a=b"),
        (category_signal("a=b", "c"), "share", "the share of a=b=c"),
        (category_signal("kind", NEW_CATEGORY), "share", "the share of kind=__new__"),
        (category_signal("kind", " "), "share", 'the share of kind=" "'),
        (new_signal("a=b"), "share", "the share of new categories of a=b"),
        (class_signal("__other__"), "share", "the share of class __other__"),
        (other_signal(), "share", "the share of class __other__"),
        (feature_signal("a=b"), "value", "feature a=b"),
        (
            feature_signal("a=b"),
            "departures",
            "the share of events whose a=b departs from its constant",
        ),
    ],
)
def test_names_from_outside_are_told_as_they_are(signal: str, unit: str, words: str) -> None:
    moved = alert_data(MODELS[0], signal, 10).signals[0].model_copy(update={"unit": unit})
    assert subject(moved) == words
