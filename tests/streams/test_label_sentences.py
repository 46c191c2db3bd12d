"""Errors of classes and of numbers as a person reads them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson
import pytest

from detectors.fold import Fold
from schemas.alerts import AlertData, WorstGroup
from schemas.findings import Aspect, BlockReference, GroupLoss
from streams.label_sentences import label_subject, worst_groups
from streams.performance_view import performance_view
from streams.policy import MAX_LISTED, Policy
from streams.sentences import move_of_named, subject
from tests.detectors.decoded import decoded
from tests.detectors.test_outcome_numbers import stream
from tests.detectors.test_outcome_signals import CONFIG
from tests.detectors.test_outcome_signals import stream as of_classes
from tests.streams.demo_kit import MODELS, alert_data
from tests.streams.policy_kit import decide, finding, policy, settled

OF_NUMBER = "the error (predicted less true)"
DEPARTS = "the share of predictions whose error (predicted less true) departs from its constant"


@pytest.mark.parametrize(
    ("signal", "of", "unit", "words"),
    [
        ("error", "class", "share", "the share of wrong predictions"),
        ("error", "class", "shape", "the share of wrong predictions"),
        ("error", "number", "value", OF_NUMBER),
        ("error", "number", "spread", OF_NUMBER),
        ("error", "number", "departures", DEPARTS),
        ("error:region=west", "class", "share", "the share of wrong predictions where region=west"),
        ("error:region=west", "number", "value", f"{OF_NUMBER} where region=west"),
        ("error:region=west", "number", "spread", f"{OF_NUMBER} where region=west"),
        ("error:region=west", "number", "departures", f"{DEPARTS} where region=west"),
    ],
)
def test_an_error_is_told_as_what_it_is(signal: str, of: str, unit: str, words: str) -> None:
    """The kind of the signal says it, not what its values look like."""
    moved = alert_data(MODELS[0], signal, 10).signals[0]
    assert label_subject(moved.model_copy(update={"error_of": of, "unit": unit})) == words


def test_errors_that_are_all_the_same_are_no_share_of_wrong_predictions() -> None:
    """A model of numbers that is off by exactly 5, and then by 7, in one region by 9."""

    def constant(i: int, region: str, _: float) -> float:
        return 5.0 if i < 1_500 else 9.0 if region == "west" else 7.0

    # Whole numbers: what is taken from them is exact.
    events = stream(2_500, constant, predict=lambda normal: float(round(100.0 + 10.0 * normal)))
    alerts = decide(policy(), *Fold(CONFIG).process(decoded(events)))
    told = {moved.signal: moved for alert in alerts for moved in alert.signals}
    error, west = told["error"], told["error:region=west"]
    assert (error.unit, error.error_of) == (west.unit, west.error_of) == ("departures", "number")
    assert subject(error) == DEPARTS
    assert subject(west) == f"{DEPARTS} where region=west"
    assert move_of_named(error).startswith("the share that departs from its constant rose from ")
    assert not any("wrong" in alert.message for alert in alerts)
    assert "% of the absolute error on" in worst_groups(error)


def test_the_errors_of_classes_are_a_share_of_wrong_predictions() -> None:
    events = of_classes(4_000, lambda i, p, _, u: (u < p) is not (i > 2_000))
    alerts = decide(policy(), *Fold(CONFIG).process(decoded(events)))
    error = next(moved for alert in alerts for moved in alert.signals if moved.signal == "error")
    assert error.error_of == "class"
    assert subject(error) == "the share of wrong predictions"


@pytest.mark.parametrize(
    ("signal", "of", "what"),
    [
        ("error", "class", "errors"),
        ("error_gap", None, "errors"),
        ("error", "number", "absolute error"),
    ],
)
def test_the_worst_groups_are_told_by_their_share_of_the_loss(
    signal: str, of: str | None, what: str
) -> None:
    alert: AlertData = alert_data(MODELS[0], signal, 10)
    worst = [WorstGroup(signal="error:region=west", of_errors=0.61, of_events=0.33)]
    moved = alert.signals[0].model_copy(update={"error_of": of, "worst_groups": worst})
    assert worst_groups(moved) == (
        f"; worst: region=west with 61 % of the {what} on 33 % of the events"
    )
    assert worst_groups(moved.model_copy(update={"worst_groups": []})) == ""


def test_groups_that_stand_out_when_an_error_has_settled_are_told_then() -> None:
    west = GroupLoss("error:region=west", 0.61, 0.33)
    first, later = decide(
        policy(),
        finding(5_000, signal="error"),
        settled(7_000, signal="error", effect=1.0)._replace(worst=(west,)),
        settled(7_100, signal="error", effect=1.0)._replace(worst=(west,)),
    )
    assert first.signals[0].worst_groups == []
    assert later.status == "updated"
    assert later.signals[0].worst_groups == [WorstGroup(**asdict(west))]
    assert "; worst: region=west with 61 % of the errors on 33 % of the events" in later.message


def test_groups_that_are_named_again_and_again_are_news_once_before_it_settles() -> None:
    west, east = (
        GroupLoss("error:region=west", 0.61, 0.33),
        GroupLoss("error:region=east", 0.5, 0.3),
    )
    own = policy()
    (first,) = decide(own, finding(5_000, signal="error")._replace(worst=(west,)))
    assert [each.signal for each in first.signals[0].worst_groups] == [west.signal]
    again = finding(5_030, signal="error", n_after=130)._replace(worst=(west, east))
    assert decide(own, again) == []
    as_before = settled(7_000, signal="error", effect=1.0)._replace(worst=(east,))
    assert decide(own, as_before) == []
    more = settled(7_100, signal="error", effect=1.0)._replace(worst=(west, east))
    (told,) = decide(own, more)
    assert [each.signal for each in told.signals[0].worst_groups] == [west.signal, east.signal]


WEST = GroupLoss("error:region=west", 0.61, 0.33)
NAMED = "; worst: region=west with 61 % of the errors on 33 % of the events"
NOT_TRUSTED = "The estimate of performance from scores is not to be trusted"


@pytest.mark.parametrize("signal", ["error", "error_gap"])
def test_worst_groups_are_named_wherever_an_error_stands_in_the_alert(signal: str) -> None:
    others = [finding(5_000, signal=f"feature:x{i:02}", effect=5.0) for i in range(MAX_LISTED + 5)]
    of_errors = finding(5_010, signal=signal, effect=0.4)._replace(worst=(WEST,))
    later = finding(5_020, signal="score", effect=4.0)
    *_, told, last = decide(policy(), *others, of_errors, later)
    assert told.signals[0].signal == "feature:x00"
    for alert in (told, last):
        assert signal in [each.signal for each in alert.signals]
        assert NAMED in alert.message
        assert alert.message.count("worst:") == 1


def test_worst_groups_of_an_error_that_is_back_are_not_named() -> None:
    *_, back = decide(
        policy(),
        finding(5_000),
        finding(5_010, signal="error")._replace(worst=(WEST,)),
        settled(7_000, signal="error", effect=0.0),
    )
    assert "worst" not in back.message


@pytest.mark.parametrize("effect", [0.5, 9.0])
def test_a_gap_says_wherever_it_stands_that_the_estimate_is_not_to_be_trusted(
    effect: float,
) -> None:
    first, both = decide(
        policy(), finding(5_000, effect=1.0), finding(5_010, signal="error_gap", effect=effect)
    )
    assert NOT_TRUSTED not in first.message
    assert both.message.count(NOT_TRUSTED) == 1


def test_what_is_expected_is_told_beside_the_reference_wherever_it_stands() -> None:
    """Blocks of 50 vary by 0.02: 200 of them in the reference, 8 since the change."""
    own = policy()
    expected = finding(5_010, signal="expected_error", effect=2.0, n_after=400)._replace(
        after=0.215, reference=BlockReference(0.175, 0.02, 200, 50)
    )
    _, alert = decide(own, finding(5_000, effect=9.0), expected)
    says = (
        " Scores make one expect an error rate of 0.215 [0.201, 0.229], in the reference 0.175 "
        "[0.172, 0.178]."
    )
    assert alert.signals[0].signal == "feature:x"
    assert says in alert.message
    told = alert.signals[1].expected
    assert told is not None
    assert told.value == 0.215
    assert told.high is not None
    assert told.high - 0.215 == pytest.approx(1.96 * 0.02 / 8**0.5, rel=1e-4)
    again = Policy(own.config, "lineage", "deployment", 3, own.snapshot())
    (more,) = decide(again, finding(5_020, signal="score"))
    assert says in more.message


@pytest.mark.parametrize("change", [{"aspect": Aspect.SPREAD}, {"is_departure": True}])
def test_what_is_not_known_of_an_estimate_is_not_told(change: dict[str, Any]) -> None:
    expected = finding(5_000, signal="expected_error")._replace(
        **change, reference=BlockReference(0.175, 0.0, 200, 50)
    )
    (alert,) = decide(policy(), expected)
    told = alert.signals[0].expected
    assert told is not None
    assert (told.value, told.low, told.reference) == (None, None, 0.175)
    assert "Scores make one expect" not in alert.message


def test_the_fold_knows_what_was_expected_in_the_reference() -> None:
    def surer(i: int, rng: Any) -> float:
        return float(rng.beta(0.3, 0.3) if i < 15_000 else rng.beta(2, 2))

    events = of_classes(18_000, score=surer)
    fold = Fold(CONFIG)
    before = fold.process(decoded(events[:29_000]))
    assert fold.outcomes is not None
    within = fold.outcomes.expected_error_of(0)
    assert within is not None
    assert within.is_within
    assert within.reference_low <= within.value <= within.reference_high
    alerts = decide(policy(), *before, *fold.process(decoded(events[29_000:])))
    told = next(
        each
        for alert in reversed(alerts)
        for each in alert.signals
        if each.signal == "expected_error" and each.unit == "value"
    )
    assert told.expected is not None
    value, low = told.expected.value, told.expected.low
    assert value is not None
    assert low is not None
    assert told.expected.reference == pytest.approx(within.reference)
    assert low > told.expected.reference_high
    assert any("Scores make one expect an error rate of 0." in each.message for each in alerts)
    shown = orjson.loads(performance_view(fold.outcomes, 0))["expected_error"]
    assert not shown["is_within"]
    assert shown["value"] > shown["reference_high"]
    assert orjson.loads(performance_view(fold.outcomes, 0))["expected"]["accuracy"][
        "value"
    ] == pytest.approx(1.0 - shown["value"])
