"""Leakage as a person reads it: in the alert that names the feature, and in the live view."""

from __future__ import annotations

import orjson
import pytest

from detectors.fold import Fold
from schemas.alerts import MovedSignal
from schemas.config import PolicyConfig
from streams.label_sentences import advice
from streams.performance_view import performance_view
from streams.policy import Policy
from tests.detectors.decoded import decoded
from tests.detectors.leaks import CONFIG, stream
from tests.streams.policy_kit import decide, finding, policy

AFTER = 0.95


def moved(after: float = AFTER, before: float = 0.2, leaking: str = "odd=name") -> MovedSignal:
    own = policy()
    found = finding(9_000, signal="leakage", effect=after, before=before)._replace(named=leaking)
    (alert,) = decide(own, found)
    return alert.signals[0]


def test_an_alert_names_the_feature_and_asks_when_it_is_known() -> None:
    (alert,) = decide(
        policy(),
        finding(9_000, signal="leakage", effect=AFTER, before=0.2)._replace(named="odd=name"),
    )
    assert alert.signals[0].named_feature == "odd=name"
    assert (
        "the strength of the one feature that tells most of the label (0 nothing, 1 all) rose "
        "from 0.2 to 0.95" in alert.message
    )
    assert alert.message.endswith(
        " Feature odd=name predicts the label nearly by itself: is it known when the model "
        "predicts?"
    )


@pytest.mark.parametrize(
    ("after", "before", "leaking", "says"),
    [
        (
            0.5,
            0.2,
            "a",
            " Feature a predicts more of the label: is it known when the model predicts?",
        ),
        (0.1, 0.9, "a", ""),
        (0.9, 0.1, "", ""),
    ],
)
def test_it_says_no_more_than_is_so(after: float, before: float, leaking: str, says: str) -> None:
    assert advice(moved(after, before, leaking)) == says


def test_the_feature_outlives_a_restart_and_is_that_of_the_latest_finding() -> None:
    own = policy()
    first = finding(9_000, signal="leakage", effect=0.9)._replace(named="a")
    decide(own, first)
    again = Policy(PolicyConfig(), "lineage", "deployment", 3, own.snapshot())
    assert again.snapshot()["episodes"].tobytes() == own.snapshot()["episodes"].tobytes()
    (alert,) = decide(
        again,
        finding(9_300, signal="leakage", effect=2.5, detector="trend")._replace(named="b"),
        start=2,
    )
    assert alert.revision == 2
    assert alert.signals[0].named_feature == "b"
    other = Policy(PolicyConfig(), "lineage", "deployment", 3, own.snapshot())
    (alert,) = decide(other, finding(9_300, signal="feature:x", effect=9.0), start=2)
    assert {each.signal: each.named_feature for each in alert.signals} == {
        "feature:x": None,
        "leakage": "a",
    }


def test_the_live_view_has_the_feature_that_tells_most() -> None:
    fold = Fold(CONFIG)
    events = stream(480, lambda _: 3.0)
    fold.process(decoded(events[:600]))
    assert orjson.loads(performance_view(fold.outcomes, 0))["leakage"] is None
    fold.process(decoded(events[600:]))
    shown = orjson.loads(performance_view(fold.outcomes, 0))["leakage"]
    assert shown == {
        "feature": "late",
        "strength": pytest.approx(0.96, abs=0.04),
        "reference": None,
        "was_in_reference": False,
    }
