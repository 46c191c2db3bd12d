"""A category that no event has any more is told to be gone, and others are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from detectors.fold import Fold
from schemas.alerts import AlertData, MovedSignal, Vanished
from schemas.config import DetectionConfig, PolicyConfig
from schemas.signal_names import category_signal, new_signal
from streams.evidence import Evidence, evidence_of
from streams.policy import Policy
from streams.sentences import drift_sentence
from streams.vanished import vanished, vanished_categories
from tests.detectors.decoded import Event
from tests.detectors.folding import fold_in
from tests.streams.demo_kit import MODELS, alert_data
from tests.streams.policy_kit import finding

N_BEFORE = 2_000
SHARES: dict[object, float] = {"card": 0.5, "cash": 0.3, "cheque": 0.2}


def stream(after: dict[object, float], seed: int = 3, before: object = None) -> list[Event]:
    """Payments by kind, with these shares from event 2,000 on."""
    rng = np.random.default_rng(seed)
    own = SHARES if before is None else before
    assert isinstance(own, dict)
    kinds: list[object] = []
    for shares, n in ((own, N_BEFORE), (after, 2_000)):
        of_row = rng.choice(len(shares), n, p=list(shares.values()))
        kinds += [list(shares)[k] for k in of_row.tolist()]
    return [Event(i, {"kind": kind}) for i, kind in enumerate(kinds)]


def alerts(events: list[Event], cuts: list[int]) -> list[AlertData]:
    fold = Fold(DetectionConfig(reference_events=1_000, arl0=1e7))
    own = Policy(PolicyConfig(), "a" * 32, "d", 0)
    return own.decide(fold_in(fold, events, cuts), lambda: 1)


@pytest.mark.parametrize("seed", range(10))
def test_one_that_vanishes_is_told_without_comparing_windows(seed: int) -> None:
    said = alerts(stream({"card": 0.7, "cash": 0.3}, seed), [])
    assert said
    assert all(each.change_offset >= N_BEFORE - 100 for each in said)
    words = " Look at what writes kind: cheque of the reference has vanished."
    assert drift_sentence(said[-1]).endswith(words)
    assert alerts(stream({"card": 0.7, "cash": 0.3}, seed), [1_999, 2_010, 2_500]) == said


def test_several_are_named_and_so_is_a_new_name_in_their_place() -> None:
    said = alerts(stream({"card": 0.5, "CASH": 0.3, "CHEQUE": 0.2}), [])
    assert drift_sentence(said[-1]).endswith(
        " Look at what writes kind: cash and cheque of the reference have vanished, and there are "
        "values that the reference had not (renamed?)."
    )


@pytest.mark.parametrize(
    ("before", "left", "words"),
    [
        ({"a": 0.6, "b": 0.4}, "b", "nothing but b is left"),
        ({"a": 0.6, "b": 0.4}, "a", "b of the reference has vanished"),
        ({True: 0.6, False: 0.4}, True, "nothing but true is left"),
        ({True: 0.6, False: 0.4}, False, "true of the reference has vanished"),
    ],
)
def test_of_two_categories_either_may_vanish(
    before: dict[object, float], left: object, words: str
) -> None:
    said = alerts(stream({left: 1.0}, before=before), [])
    assert any(f" Look at what writes kind: {words}" in drift_sentence(each) for each in said)


@pytest.mark.parametrize("seed", range(10))
def test_one_that_becomes_rare_has_not_vanished(seed: int) -> None:
    said = alerts(stream({"card": 0.66, "cash": 0.29, "cheque": 0.05}, seed), [])
    assert said
    assert not any("vanished" in drift_sentence(each) for each in said)


def test_one_that_came_back_is_not_told_to_be_gone() -> None:
    gone = stream({"card": 0.7, "cash": 0.3})
    back = [Event(len(gone) + i, e.features) for i, e in enumerate(stream(SHARES, seed=8))]
    said = alerts([*gone, *back], [])
    assert said[-1].status == "resolved"
    assert "vanished" not in drift_sentence(said[-1])


KIND = category_signal("kind", "a")


def evidence(before: float, after: float, n_after: int = 1_000, **change: Any) -> Evidence:
    own = finding(5_000, effect=after - before, n_after=n_after)
    own = own._replace(before=before, after=after, is_share=True)
    return evidence_of(own._replace(**change))


@pytest.mark.parametrize(
    ("signal", "own", "what"),
    [
        (KIND, evidence(0.3, 0.0), "category"),
        (KIND, evidence(0.3, 0.006), "category"),
        (KIND, evidence(0.3, 0.007), None),
        (KIND, evidence(0.3, 0.0, 100), "category"),
        # Of so few values none may have come by chance.
        (KIND, evidence(0.3, 0.0, 99), None),
        (KIND, evidence(0.3, 0.0, 1_000, n_before=19), None),
        (KIND, evidence(0.3, 0.9861), "others"),
        (KIND, evidence(0.3, 0.985), None),
        (KIND, evidence(0.3, 1.0, 42), None),
        (KIND, evidence(0.3, 1.0, 43), "others"),
        (KIND, evidence(0.3, 0.0, 1_000, is_share=False), None),
        (KIND, evidence(0.3, 0.0, 1_000, is_departure=True), None),
        (new_signal("kind"), evidence(0.3, 0.0), None),
        (category_signal("kind", "__new__"), evidence(0.3, 0.0), "category"),
        ("class:a", evidence(0.3, 0.0), None),
        ("missing:a", evidence(0.3, 0.0), None),
        ("feature:kind", evidence(0.3, 0.0), None),
    ],
)
def test_what_has_vanished_is_as_good_as_gone(
    signal: str, own: Evidence, what: Vanished | None
) -> None:
    assert vanished(signal, own) == what


def moved(signal: str, what: Vanished | None, **change: object) -> MovedSignal:
    (own,) = alert_data(MODELS[0], signal, 10).signals
    return own.model_copy(update={"unit": "share", "direction": "fell", "vanished": what, **change})


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (moved(KIND, None), ""),
        (moved(KIND, "category"), "what writes kind: a of the reference has vanished"),
        (
            moved(KIND, "others"),
            "what writes kind: nothing but a is left, other values of the reference have vanished",
        ),
        (
            moved(category_signal(" a=b", "__new__"), "category"),
            'what writes " a=b": __new__ of the reference has vanished',
        ),
        (
            moved(category_signal("", ""), "category"),
            'what writes "": "" of the reference has vanished',
        ),
    ],
)
def test_names_from_outside_are_told_as_they_are(own: MovedSignal, words: str) -> None:
    assert vanished_categories([own]) == words


def test_many_are_counted_and_those_of_another_feature_left_out() -> None:
    own = [moved(category_signal("kind", name), "category") for name in "abcde"]
    other = moved(category_signal("colour", "red"), "category")
    assert vanished_categories([*own, other]) == (
        "what writes kind: a, b, c and 2 more of the reference have vanished"
    )
    assert vanished_categories([other, *own]).startswith("what writes colour: red of")


def test_it_is_told_beside_what_broke() -> None:
    (own,) = alert_data(MODELS[0], "quality:late", 10).signals
    late = own.model_copy(update={"unit": "share", "direction": "rose"})
    alert = alert_data(MODELS[0], "quality:late", 10)
    both = alert.model_copy(update={"signals": [late, moved(KIND, "category")]})
    said = drift_sentence(both)
    assert " Look at queues and retries" in said
    assert said.endswith(" Look at what writes kind: a of the reference has vanished.")
    returned = moved(KIND, "category", standing="returned")
    alone = alert.model_copy(update={"signals": [late, returned]})
    assert "vanished" not in drift_sentence(alone)
