"""What alerts say of signals with names that somebody else chose."""

from __future__ import annotations

import pytest

from schemas.alerts import WindowDistances
from schemas.signal_names import (
    NEW_CATEGORY,
    category_signal,
    class_signal,
    feature_signal,
    new_signal,
    other_signal,
)
from streams.sentences import move, subject
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
        (other_signal(), "share", "the share of other classes"),
        (feature_signal(""), "value", 'feature ""'),
        (
            feature_signal(" a"),
            "departures",
            'the share of events whose " a" departs from its constant',
        ),
        ("missing: ", "share", 'the share of missing " "'),
        (new_signal("b "), "share", 'the share of new categories of "b "'),
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


def test_categories_that_vanished_are_seen() -> None:
    gone = WindowDistances(
        psi=1.0, js=0.5, ks=None, wasserstein=None, chi=1.0, new=0.0, vanished=["", "a", "b "]
    )
    moved = alert_data(MODELS[0], feature_signal("kind"), 10).signals[0]
    told = moved.model_copy(update={"unit": "shape", "effect": 1.0, "distances": gone})
    assert move(told) == 'changed (1.00 sd from its reference; none of "", a and "b ")'
