"""Guesses that a stranger agrees with, wishes that are met, and the lines that explain both."""

from __future__ import annotations

from typing import Any

import pytest

from streams.scan_columns import (
    ColumnKind,
    Plan,
    Profile,
    Role,
    ScanError,
    Wishes,
    plan_columns,
    plan_lines,
)
from streams.scan_time import TimeUnit, time_unit, to_ms

KIND_OF: dict[type, ColumnKind] = {str: "text", int: "number", float: "number", bool: "number"}


def profiles(**samples: Any) -> list[Profile]:
    return [Profile(name, KIND_OF[type(value)], [value]) for name, value in samples.items()]


def plan(wishes: Wishes | None = None, **samples: Any) -> Plan:
    return plan_columns(profiles(**samples), wishes or Wishes())


@pytest.mark.parametrize(
    ("role", "name", "value"),
    [
        ("time", "ts", 1_790_000_000),
        ("time", "Timestamp", "2026-03-01 12:00:00"),
        ("time", "event_time", "2026-03-01T12:00:00Z"),
        ("time", "date", "2026-03-01"),
        ("time", "createdAt", 1_790_000_000_000),
        ("prediction", "prediction", 1),
        ("prediction", "y_pred", "yes"),
        ("prediction", "Predicted", 0.5),
        ("score", "probability", 0.5),
        ("score", "predicted_probability", 0.5),
        ("score", "y_score", 0.5),
        ("score", "Predicted Probability", 0.5),
        ("label", "target", 1),
        ("label", "y_true", "no"),
        ("label", "actual", 1.5),
        ("event_id", "id", 7),
        ("event_id", "Unnamed: 0", 7),
        ("event_id", "", 7),
        ("model_id", "model_id", "churn"),
        ("model_version", "model_version", 7),
    ],
)
def test_a_column_is_guessed_by_its_name(role: Role, name: str, value: Any) -> None:
    found = plan(**{"age": 41, name: value, "income": 2.5})
    assert found.roles == {role: name}
    assert found.guessed == {role}
    assert found.features == ("age", "income")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score", "high"),  # a score is a number
        ("score", True),
        ("model", "Corolla"),  # of a car
        ("version", "GTI"),
        ("timeout", 1_790_000_000),
    ],
)
def test_a_name_alone_is_not_enough(name: str, value: Any) -> None:
    found = plan(**{"age": 41, name: value})
    assert found.roles == {}
    assert found.features == ("age", name)


def test_what_tells_the_time_is_no_feature() -> None:
    found = plan(ts=1_790_000_000, date=0.25, year=2026, id=1, uuid="a", age=41)
    assert found.roles == {"time": "ts", "event_id": "id"}
    assert found.features == ("age",)
    assert set(found.left_out) == {"date", "year", "uuid"}
    # A number that is no moment: rows are counted instead.
    assert plan(date=0.25, age=41).roles == {}


def test_wishes_come_first() -> None:
    wishes = Wishes({"prediction": "guess", "score": "none", "label": "score"}, drop=("age",))
    found = plan(wishes, prediction=1, guess=1, score=0.5, age=41, year=2026)
    assert found.roles == {"prediction": "guess", "label": "score"}
    assert found.guessed == frozenset()
    assert found.features == ("prediction",)
    found = plan(Wishes(features=("year", "score")), year=2026, score=0.5, age=41)
    assert found.features == ("year", "score")
    assert found.roles == {}


@pytest.mark.parametrize(
    ("wishes", "remedy"),
    [
        (Wishes({"time": "when"}), "there is no column `when`; the file has `age`, `plan`"),
        (Wishes(drop=("when",)), "there is no column `when`"),
        (Wishes({"time": "plan"}), "--time none"),
        (Wishes({"score": "plan"}), "--score none"),
        (Wishes({"score": "age", "prediction": "age"}), "name it in one"),
    ],
)
def test_a_wish_that_cannot_be_met_is_an_error_with_a_remedy(wishes: Wishes, remedy: str) -> None:
    with pytest.raises(ScanError) as caught:
        plan(wishes, age=41, plan="basic")
    assert remedy in str(caught.value)


def test_a_guess_never_takes_a_column_that_was_named_for_something_else() -> None:
    found = plan(Wishes({"prediction": "score"}), score=0.5, prob=0.25)
    assert found.roles == {"prediction": "score", "score": "prob"}
    found = plan(Wishes(features=("score",)), score=0.5, age=41)
    assert found.roles == {}


def test_every_decision_is_said_with_the_option_that_changes_it() -> None:
    found = plan(ts=1_790_000_000, y_pred=1, proba=0.5, target=1, age=41, plan="basic", year=2026)
    text = "\n".join(plan_lines(found, "churn", "7"))
    for word in ("`ts`", "`y_pred`", "`proba`", "`target`", "churn", "7", "`age`", "`year`"):
        assert word in text
    for option in ("--time", "--prediction", "--score", "--label", "--model", "--drop"):
        assert option in text
    assert text.count("a guess") == 4
    assert "1 of text" in text


@pytest.mark.parametrize(
    ("value", "unit", "ms"),
    [
        (1_790_000_000, "s", 1_790_000_000_000),
        (1_790_000_000.25, "s", 1_790_000_000_250),
        (1_790_000_000_250, "ms", 1_790_000_000_250),
        (1_790_000_000_250_999, "us", 1_790_000_000_250),
        (1_790_000_000_250_999_999, "ns", 1_790_000_000_250),
        ("2026-03-01T12:00:00.250Z", "text", 1_772_366_400_250),
        ("2026-03-01T13:00:00.250+01:00", "text", 1_772_366_400_250),
        ("2026-03-01 12:00:00.25", "text", 1_772_366_400_250),
        ("2026-03-01", "text", 1_772_323_200_000),
    ],
)
def test_times_are_read_as_files_write_them(value: Any, unit: str, ms: int) -> None:
    found = time_unit([value])
    assert found == unit
    assert to_ms(value, found) == ms


@pytest.mark.parametrize("value", [41, 0.25, -1, 10**20, "soon", "12:00", True, None, 20_260_301])
def test_what_is_no_time_is_not_taken_for_one(value: Any) -> None:
    assert time_unit([value]) is None
    assert time_unit([]) is None


@pytest.mark.parametrize("value", [None, "soon", -5, float("nan"), float("inf"), 1e300, 10**30])
def test_a_bad_time_among_good_ones_is_left_for_the_decoder_to_refuse(value: Any) -> None:
    units: list[TimeUnit] = ["s", "ms", "us", "ns", "text"]
    for unit in units:
        ms = to_ms(value, unit)
        assert type(ms) is not int or not 0 <= ms <= 253_402_300_799_999
