"""What alerts say of signals with names that somebody else chose."""

from __future__ import annotations

import pytest

from schemas.alerts import WindowDistances
from schemas.config import PolicyConfig
from schemas.signal_names import (
    LATENCY,
    NEW_CATEGORY,
    QUALITY,
    QUALITY_RANGE,
    QUALITY_STUCK,
    QUALITY_TYPE,
    category_signal,
    class_signal,
    feature_signal,
    new_signal,
    other_signal,
)
from streams.detection_check import signal_problem
from streams.policy import Policy
from streams.sentences import drift_sentence, move, subject
from tests.streams.demo_kit import MODELS, alert_data
from tests.streams.policy_kit import decide, finding, policy

GONE = WindowDistances(
    psi=1.0, js=0.5, ks=None, wasserstein=None, chi=1.0, new=0.0, vanished=["", "a", "b "]
)


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
    moved = alert_data(MODELS[0], feature_signal("kind"), 10).signals[0]
    told = moved.model_copy(update={"unit": "shape", "effect": 1.0, "distances": GONE})
    assert move(told) == 'changed (1.00 sd from its reference; none of "", a and "b ")'


@pytest.mark.parametrize("signal", [LATENCY, *QUALITY])
def test_what_broke_in_events_is_told_with_where_to_look(signal: str) -> None:
    """Its name is one that a config may name, and a state with its episode is taken up."""
    own = policy()
    (opened,) = decide(own, finding(500, signal=signal))
    words = subject(opened.signals[0])
    assert words.startswith("the ")
    assert f"{words} rose" in opened.message
    assert opened.message.count(" Look at ") == 1
    back = [each.model_copy(update={"standing": "returned"}) for each in opened.signals]
    resolved = opened.model_copy(update={"resolution": "returned", "signals": back})
    assert "Look at" not in drift_sentence(resolved)
    assert signal_problem(signal) == ("", "")
    again = policy()
    decide(again, finding(500, signal=signal))
    state = again.snapshot()
    assert (
        Policy(PolicyConfig(), "lineage", "deployment", 3, state).snapshot().keys() == state.keys()
    )


def test_a_fall_says_nothing_of_where_to_look() -> None:
    (fell,) = decide(policy(), finding(500, signal=LATENCY, effect=-1.0))
    assert "fell" in fell.message
    assert "Look at" not in fell.message


def test_the_feature_stands_before_what_broke_in_it() -> None:
    (alert,) = decide(
        policy(),
        finding(500, signal=QUALITY_TYPE, effect=9.0),
        finding(501, signal="missing:x", effect=1.0),
    )[-1:]
    assert [each.signal for each in alert.signals] == ["missing:x", QUALITY_TYPE]
    assert alert.message.endswith(
        "Look at what writes the features: numbers as text, or another schema."
    )


def test_what_broke_and_is_whole_again_is_still_where_to_look() -> None:
    (alert,) = decide(
        policy(),
        finding(500, signal=QUALITY_STUCK, effect=9.0),
        finding(501, signal="feature:x", effect=1.0),
    )[-1:]
    signals = [
        each.model_copy(update={"standing": "returned"}) if each.signal == QUALITY_STUCK else each
        for each in alert.signals
    ]
    later = alert.model_copy(update={"signals": signals})
    assert " Look at caches, joins and sensors" in drift_sentence(later)


@pytest.mark.parametrize("signal", [QUALITY_RANGE, QUALITY_STUCK, QUALITY_TYPE])
def test_the_feature_that_broke_is_named_where_to_look(signal: str) -> None:
    (alert,) = decide(policy(), finding(500, signal=signal)._replace(named="a b"))
    assert alert.signals[0].named_feature == "a b"
    assert " Look at a b first: " in alert.message


@pytest.mark.parametrize(
    ("signal", "change", "where"),
    [
        ("joint:missing", {}, "joins and services that give several features at once"),
        ("feature:x", {"unit": "departures"}, "what writes x: it was constant in the reference"),
        (
            "feature:x",
            {"distances": GONE, "direction": "changed", "unit": "shape"},
            "what writes x: values of the reference are gone",
        ),
        ("label:yes", {}, "how labels are made"),
    ],
)
def test_every_kind_of_broken_data_says_where_to_look(
    signal: str, change: dict[str, object], where: str
) -> None:
    (alert,) = decide(policy(), finding(500, signal=signal))
    moved = alert.signals[0].model_copy(update=change)
    assert f" Look at {where}" in drift_sentence(alert.model_copy(update={"signals": [moved]}))


def test_a_name_of_no_quality_signal_is_told_the_right_ones() -> None:
    text, remedy = signal_problem("quality:rage")
    assert text
    assert QUALITY_RANGE in remedy
