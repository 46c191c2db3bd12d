"""Calibrations as documents: there and back to the bit, and what is refused in which words."""

from __future__ import annotations

import copy
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.base import StateError
from detectors.security.calibration import ModelCalibration
from detectors.security.calibration_document import (
    KindFit,
    calibration_of,
    document_of,
    is_salted,
)
from detectors.security.calibration_fit import CalibrationRows, Choice
from detectors.security.fold import SecurityFold
from detectors.security.population import Population
from schemas.calibration import (
    MAX_CALIBRATION_BYTES,
    BadCalibrationError,
    CalibrationDocument,
    parse_calibration,
)
from tests.streams.calibration_kit import CONFIG, KEY, benign, calibration, decoded

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def tree(document: CalibrationDocument) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(document.canonical())
    return found


@st.composite
def populations(draw: st.DrawFn) -> Population:
    names = sorted(draw(st.sets(st.text(max_size=8), min_size=1, max_size=70)))
    is_category = draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    numbers = st.lists(FINITE, min_size=len(names), max_size=len(names))
    positive = st.floats(1e-300, 1e300)
    codes = st.integers(-(2**63), 2**63 - 1).filter(bool)
    return Population(
        features=tuple(names),
        is_category=np.array(is_category, np.bool_),
        centre=np.array(draw(numbers), np.float64),
        scale=np.array(draw(st.lists(positive, min_size=len(names), max_size=len(names)))),
        classes=np.array(draw(st.lists(codes, max_size=15, unique=True)), np.int64),
        output=draw(st.integers(0, 7)),
        n_rows=draw(st.integers(1, 2**31 - 1)),
    )


@settings(deadline=None, max_examples=30)
@given(
    population=populations(),
    kinds=st.dictionaries(st.text(max_size=8), st.booleans(), min_size=1, max_size=3),
)
def test_there_and_back_everything_is_the_same_to_the_bit(
    population: Population, kinds: dict[str, bool]
) -> None:
    fitted = calibration_of(calibration()).kinds[""]
    given_kinds = {
        kind: KindFit(
            7,
            3,
            (1, 2),
            fitted if is_whole else {"provenance": fitted["provenance"]},
            {} if is_whole else {"exposure": "too few"},
        )
        for kind, is_whole in kinds.items()
    }
    document = document_of("m", "1", population, given_kinds, KEY.fingerprint)
    assert document.source_key == (KEY.fingerprint if is_salted(population) else None)
    laid_out = orjson.dumps(document.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
    again = parse_calibration(laid_out)
    assert (again, again.digest) == (document, document.digest)
    assert again.canonical() == document.canonical()
    read = calibration_of(again)
    before = ModelCalibration(
        population, {kind: own.detectors for kind, own in given_kinds.items()}, True
    )
    assert read.is_as(before)
    assert list(read.kinds) == sorted(kinds)
    fewer = ModelCalibration(population, {"": fitted}, False)
    assert not read.is_as(fewer)


def test_the_same_rows_give_the_same_bytes_however_they_are_cut() -> None:
    whole = calibration()
    rows = CalibrationRows(Choice("m", "1"), CONFIG, KEY)
    taken = benign(700)
    for start in range(0, 700, 33):
        rows.take("", decoded(taken[start : start + 33]))
    assert rows.fit().canonical() == whole.canonical()
    assert calibration(seed=3).digest != whole.digest


def test_of_each_kind_the_latest_rows_count_by_the_population_of_no_kind() -> None:
    choice = Choice("m", "1", 500)
    rows, latest = (CalibrationRows(choice, CONFIG, KEY) for _ in range(2))
    taken, others = benign(700), benign(300, 9)
    for start in range(0, 700, 90):
        rows.take("", decoded(taken[start : start + 90]))
    rows.take("batch", decoded(others))
    latest.take("", decoded(taken[200:]))
    latest.take("batch", decoded(others))
    document = rows.fit()
    assert [(k.kind, k.n_rows, k.n_sources) for k in document.kinds] == [
        ("", 500, 20),
        ("batch", 300, 20),
    ]
    assert document.population.n_rows == 500
    assert document.canonical() == latest.fit().canonical()
    alone = CalibrationRows(choice, CONFIG, KEY)
    alone.take("", decoded(taken))
    assert document.population == alone.fit().population
    of_kinds = CalibrationRows(choice, CONFIG, KEY)
    of_kinds.take("batch", decoded(others))
    of_kinds.take("grid", decoded(taken))
    assert of_kinds.fit().population.n_rows == 800


def test_a_handful_of_rows_of_no_kind_makes_no_population() -> None:
    choice, taken, others = Choice("m", "1"), benign(200), benign(700, 9)
    populations = []
    for n in (199, 200):
        rows = CalibrationRows(choice, CONFIG, KEY)
        rows.take("", decoded(taken[:n]))
        rows.take("batch", decoded(others))
        populations.append(rows.fit().population)
    assert [each.n_rows for each in populations] == [899, 200]
    together = CalibrationRows(choice, CONFIG, KEY)
    together.take("", decoded(taken[:199]))
    together.take("", decoded(others))
    assert populations[0] == together.fit().population
    alone = CalibrationRows(choice, CONFIG, KEY)
    alone.take("", decoded(taken))
    assert populations[1] == alone.fit().population


def test_for_what_the_rows_are_too_few_is_said_with_how_many_it_needs() -> None:
    own = calibration(400).kinds[0]
    assert own.missing["off_distribution"] == "off_distribution needs 500 distinct rows, not 400"
    assert "baseline_guard needs 500 rows" in own.missing["baseline_guard"]
    assert sorted(own.detectors) == [
        "data_breaks",
        "exposure",
        "neighbours",
        "provenance",
        "volume",
    ]
    few = CalibrationRows(Choice("m", "1"), CONFIG, KEY)
    few.take("", decoded(benign(15)))
    assert sorted(few.fit().kinds[0].detectors) == ["volume"]
    none = CalibrationRows(Choice("m", "2"), CONFIG, KEY)
    none.take("", decoded(benign(5)))
    with pytest.raises(BadCalibrationError, match=r"no prediction of model m, version 2.*m 1"):
        none.fit()


def _numbers(array: dict[str, Any], values: list[float]) -> None:
    array["data"] = b64encode(np.array(values, "<f8").tobytes()).decode()


def _arrays(document: dict[str, Any], detector: str) -> dict[str, Any]:
    found: dict[str, Any] = document["kinds"][0]["detectors"][detector]
    return found


HOSTILE: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no version": (lambda d: d.pop("v") and d.update(v=2), "^v: "),
    "unknown field": (lambda d: d.update(extra=1), "^extra: "),
    "no kinds": (lambda d: d.update(kinds=[]), "^kinds: "),
    "many kinds": (lambda d: d.update(kinds=d["kinds"] * 9), "^kinds: "),
    "a kind twice": (lambda d: d.update(kinds=d["kinds"] * 2), "`kinds` names one twice"),
    "text for a number": (lambda d: d["kinds"][0].update(n_rows="7"), r"^kinds\.0\.n_rows: "),
    "no rows": (lambda d: d["kinds"][0].update(n_rows=0), r"^kinds\.0\.n_rows: "),
    "more sources than rows": (lambda d: d["kinds"][0].update(n_sources=9_999), "`n_sources`"),
    "times": (lambda d: d["kinds"][0].update(first_ms=2**41), "`first_ms` is after"),
    "a scale of 0": (
        lambda d: d["population"]["scale"].__setitem__(0, 0.0),
        r"^population\.scale\.0: ",
    ),
    "too few centres": (lambda d: d["population"]["centre"].pop(), "`centre` has another length"),
    "features out of order": (lambda d: d["population"]["features"].reverse(), "^population: "),
    "class 0": (lambda d: d["population"].update(classes=[0]), "^population: "),
    "no bits": (lambda d: d["population"].update(output=8), r"^population\.output: "),
    "salted": (lambda d: d.update(is_salted=True), "^is_salted: "),
    "a key": (lambda d: d.update(source_key="0" * 32), "`source_key`"),
    "versions": (lambda d: d["versions"].pop("exposure"), "`versions` are not those"),
    "another version": (
        lambda d: d["versions"].update(exposure=77),
        r"^versions\.exposure: .*version 77",
    ),
    "unknown detector": (
        lambda d: (
            d["versions"].update(guesses=1),
            d["kinds"][0]["detectors"].update(guesses={}),
        ),
        r"^versions\.guesses: there is no such detector",
    ),
    "missing as well": (
        lambda d: d["kinds"][0].update(missing={"exposure": "why"}),
        "`missing` names exposure",
    ),
    "an array less": (
        lambda d: _arrays(d, "off_distribution").pop("window_threshold"),
        r"^kinds\.\.detectors\.off_distribution: .*window_threshold",
    ),
    "no base64": (
        lambda d: _arrays(d, "provenance")["radius"].update(data="?"),
        r"^kinds\.\.detectors\.provenance\.radius: its data is no base64",
    ),
    "another shape": (
        lambda d: _arrays(d, "exposure")["covariance"].update(shape=[4_096, 4_096, 4_096]),
        r"^kinds\.\.detectors\.exposure\.covariance: .* not the numbers of the shape",
    ),
    "a negative shape": (
        lambda d: _arrays(d, "exposure")["curve"].update(shape=[-1]),
        r"exposure\.curve\.shape\.0: ",
    ),
    "infinite": (
        lambda d: _numbers(_arrays(d, "provenance")["radius"], [float("inf")]),
        r"^kinds\.\.detectors\.provenance\.radius: a number is not finite",
    ),
    "out of range": (
        lambda d: _numbers(_arrays(d, "exposure")["excess"], [-1.0]),
        r"^kinds\.\.detectors\.exposure: excess",
    ),
    "a rate above 1": (
        lambda d: _numbers(_arrays(d, "neighbours")["flips"], [2.0, 1.0, 0.0]),
        r"^kinds\.\.detectors\.neighbours: a rate",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_refused_and_the_field_is_named(name: str) -> None:
    spoil, says = HOSTILE[name]
    document = tree(calibration())
    spoil(document)
    with pytest.raises(BadCalibrationError, match=says):
        calibration_of(parse_calibration(orjson.dumps(document)))


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(BadCalibrationError, match="more than a calibration has"):
        parse_calibration(b" " * (4 * MAX_CALIBRATION_BYTES + 1))
    document = tree(calibration())
    array = _arrays(document, "exposure")["covariance"]
    array["data"] = "A" * (MAX_CALIBRATION_BYTES - 10)
    with pytest.raises(BadCalibrationError, match="leave kinds out"):
        parse_calibration(orjson.dumps(document))
    for value in (b"", b"{", b"[]", b"null", b"\xff"):
        with pytest.raises(BadCalibrationError):
            parse_calibration(value)


def test_two_kinds_of_which_one_lacks_an_array_are_none() -> None:
    """The strictest of them was chosen before either was looked at: a KeyError."""
    whole = calibration_of(calibration(n_batch=600))
    for detector, name in (("off_distribution", "window_threshold"), ("exposure", "reachable")):
        kinds = {kind: dict(own) for kind, own in whole.kinds.items()}
        kinds["batch"][detector] = {n: a for n, a in kinds[""][detector].items() if n != name}
        with pytest.raises(StateError, match=name):
            ModelCalibration(whole.population, kinds, True).check()


def _places(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places of values in a tree, but of long lists the first ones alone."""
    found = [at] if at else []
    children = node.items() if isinstance(node, dict) else enumerate(node[:3])
    if isinstance(node, dict | list):
        for key, child in children:
            found += _places(child, (*at, key)) if isinstance(child, dict | list) else [(*at, key)]
    return found


PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FINITE | st.text(max_size=5)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_whatever_stands_in_a_field_it_is_refused_or_can_be_judged_by(data: st.DataObject) -> None:
    document = copy.deepcopy(tree(calibration()))
    place = data.draw(st.sampled_from(_places(document)))
    node: Any = document
    for key in place[:-1]:
        node = node[key]
    if place[-1] == "data":
        raw = bytearray(b64decode(node["data"]))
        at = data.draw(st.integers(0, len(raw) // 8 - 1))
        raw[8 * at : 8 * at + 8] = data.draw(st.binary(min_size=8, max_size=8))
        node["data"] = b64encode(raw).decode()
    else:
        node[place[-1]] = data.draw(PLAIN | st.lists(PLAIN, max_size=3))
    try:
        value = orjson.dumps(document)
    except TypeError:  # an integer beyond 64 bits, or half of a surrogate pair
        return
    try:
        own = calibration_of(parse_calibration(value))
    except BadCalibrationError:
        return
    fold = SecurityFold(CONFIG, KEY)
    fold.set_calibration("m", "1", own)
    fold.process(decoded(benign(40)))
    again = SecurityFold(CONFIG, KEY, fold.snapshot())
    assert again.has_calibration("m", "1", own)
