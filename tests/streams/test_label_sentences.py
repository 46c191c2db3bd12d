"""Errors of classes and of numbers as a person reads them."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from detectors.fold import Fold
from schemas.alerts import AlertData, WorstGroup
from schemas.findings import GroupLoss
from streams.label_sentences import label_subject, worst_groups
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
