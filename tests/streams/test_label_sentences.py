"""Errors of classes and of numbers as a person reads them."""

from __future__ import annotations

import pytest

from schemas.alerts import AlertData, WorstGroup
from streams.label_sentences import label_subject, worst_groups
from tests.streams.demo_kit import MODELS, alert_data


@pytest.mark.parametrize(
    ("signal", "unit", "words"),
    [
        ("error", "share", "the share of wrong predictions"),
        ("error", "value", "the error (predicted less true)"),
        ("error", "spread", "the error (predicted less true)"),
        ("error:region=west", "share", "the share of wrong predictions where region=west"),
        ("error:region=west", "value", "the error (predicted less true) where region=west"),
        ("error:region=west", "spread", "the error (predicted less true) where region=west"),
    ],
)
def test_an_error_is_told_as_what_it_is(signal: str, unit: str, words: str) -> None:
    moved = alert_data(MODELS[0], signal, 10).signals[0].model_copy(update={"unit": unit})
    assert label_subject(moved) == words


@pytest.mark.parametrize(
    ("signal", "unit", "what"),
    [
        ("error", "share", "errors"),
        ("error_gap", "value", "errors"),
        ("error", "value", "absolute error"),
        ("error", "spread", "absolute error"),
    ],
)
def test_the_worst_groups_are_told_by_their_share_of_the_loss(
    signal: str, unit: str, what: str
) -> None:
    alert: AlertData = alert_data(MODELS[0], signal, 10)
    worst = [WorstGroup(signal="error:region=west", of_errors=0.61, of_events=0.33)]
    moved = alert.signals[0].model_copy(update={"unit": unit, "worst_groups": worst})
    assert worst_groups(moved) == (
        f"; worst: region=west with 61 % of the {what} on 33 % of the events"
    )
    assert worst_groups(moved.model_copy(update={"worst_groups": []})) == ""
