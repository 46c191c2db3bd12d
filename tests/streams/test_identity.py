from __future__ import annotations

import warnings
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.registry import REGISTRY
from schemas.config import (
    AdwinConfig,
    DetectionConfig,
    DetectorsConfig,
    ModelConfig,
    SignalConfig,
)
from streams.identity import (
    alert_id,
    detection_identity,
    encode_parts,
    key_fingerprint,
    lineage_id,
)

# Few letters, so that parts which could be confused by joining them come up often.
WORDS = st.text("ab:/\0é1s", max_size=4)
PARTS = st.lists(st.one_of(WORDS, st.integers(-(2**70), 2**70), st.none()), max_size=5)
VERSIONS = {"adwin": 1, "page_hinkley": 1}


def typed(parts: list[str | int | None]) -> list[tuple[str, str | int | None]]:
    return [(type(part).__name__, part) for part in parts]


@given(PARTS, PARTS)
def test_different_parts_have_different_encodings(
    left: list[str | int | None], right: list[str | int | None]
) -> None:
    assert (encode_parts(*left) == encode_parts(*right)) == (typed(left) == typed(right))


@given(PARTS, PARTS)
def test_no_encoding_is_the_beginning_of_another_that_goes_on_differently(
    left: list[str | int | None], right: list[str | int | None]
) -> None:
    """So parts can be told apart however many there are: joining is splitting."""
    assert encode_parts(*left, *right) == encode_parts(*left) + encode_parts(*right)
    if encode_parts(*right).startswith(encode_parts(*left)):
        assert typed(right[: len(left)]) == typed(left)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("ab", "c"), ("a", "bc")),
        (("", "a"), ("a", "")),
        (("1",), (1,)),
        ((None,), ("",)),
        ((0,), ("",)),
        ((255,), (-1,)),
        ((256,), (0,)),
        (("a",), ("a", "")),
        (("a\0",), ("a", "\0")),
    ],
)
def test_parts_that_look_alike_when_joined_are_told_apart(
    left: tuple[str | int | None, ...], right: tuple[str | int | None, ...]
) -> None:
    assert encode_parts(*left) != encode_parts(*right)


def test_the_encoding_is_the_one_that_is_written_down() -> None:
    assert encode_parts("é", -1, None) == (
        b"s" + (2).to_bytes(8) + "é".encode() + b"i" + (1).to_bytes(8) + b"\xff" + b"n" + bytes(8)
    )


def test_identities_stay_what_they_are() -> None:
    """Golden: a change here changes the identity of every alert of every deployment."""
    lineage = lineage_id("driftsentry", "drift", "AAAAAAAAAAAAAAAAAAAAAA", 3, 0, 0)
    assert lineage == "41b3da4a198a8272674d45811877e973"
    alert = alert_id(lineage, "census", -1, "1", "feature:RELP", "adwin", "drift", 138511, 0)
    assert alert == "686082886f323438033e688e352dcb2d"


@given(
    st.tuples(WORDS, WORDS, WORDS, st.integers(0, 9), st.integers(0, 9), st.integers(0, 2)),
    st.tuples(WORDS, WORDS, WORDS, st.integers(0, 9), st.integers(0, 9), st.integers(0, 2)),
)
def test_lineages_are_the_same_only_for_the_same_parts(
    left: tuple[str, str, str, int, int, int], right: tuple[str, str, str, int, int, int]
) -> None:
    assert (lineage_id(*left) == lineage_id(*right)) == (left == right)


AlertParts = tuple[str, str, int, str, str, str, str, int, int]
ALERTS: st.SearchStrategy[AlertParts] = st.tuples(
    WORDS, WORDS, st.integers(-1, 3), WORDS, WORDS, WORDS, WORDS, st.integers(0, 9), st.just(0)
)


@given(ALERTS, ALERTS)
def test_alerts_are_the_same_only_for_the_same_parts(left: AlertParts, right: AlertParts) -> None:
    assert (alert_id(*left) == alert_id(*right)) == (left == right)


def test_each_part_of_an_alert_counts() -> None:
    base: AlertParts = ("l", "m", 0, "v", "s", "d", "r", 1, 2)
    changed = [
        (*base[:i], 7 if isinstance(part, int) else "x", *base[i + 1 :])
        for i, part in enumerate(base)
    ]
    identities = {alert_id(*cast("AlertParts", parts)) for parts in [base, *changed]}
    assert len(identities) == len(base) + 1


def test_an_identity_is_32_hex_digits() -> None:
    for identity in (
        lineage_id("d", "drift", "t", 0, 0, 0),
        detection_identity(DetectionConfig(), None, VERSIONS),
    ):
        assert len(bytes.fromhex(identity)) == 16


def test_the_detection_identity_does_not_depend_on_the_order_of_keys() -> None:
    models = {"a": ModelConfig(), "b": ModelConfig(reference_events=50)}
    signals = {"score": SignalConfig(), "feature:x": SignalConfig(monitor=False)}
    backwards = dict(reversed(signals.items()))
    one = DetectionConfig(model=models | {"c": ModelConfig(signals=signals)})
    other = DetectionConfig(
        model={"c": ModelConfig(signals=backwards)} | dict(reversed(models.items()))
    )
    assert detection_identity(one, None, VERSIONS) == detection_identity(
        other, None, dict(reversed(VERSIONS.items()))
    )


def test_whatever_changes_the_fold_changes_the_detection_identity() -> None:
    base = DetectionConfig()
    identities = [
        detection_identity(base, None, VERSIONS),
        detection_identity(base, "00ff", VERSIONS),
        detection_identity(base, "", VERSIONS),
        detection_identity(base, None, VERSIONS | {"adwin": 2}),
        detection_identity(base, None, {"adwin": 1}),
        detection_identity(base.model_copy(update={"generation": 2}), None, VERSIONS),
        detection_identity(base.model_copy(update={"deployment": "other"}), None, VERSIONS),
        detection_identity(
            DetectionConfig(
                detectors=DetectorsConfig(adwin=AdwinConfig(enabled=True, delta=0.0021))
            ),
            None,
            VERSIONS,
        ),
    ]
    assert len(set(identities)) == len(identities)


def test_every_field_of_the_detection_config_is_in_its_identity() -> None:
    """A field that is written nowhere in the identity could differ between two workers unseen."""
    base = DetectionConfig()
    for name in DetectionConfig.model_fields:
        left, right = base.model_copy(update={name: 1}), base.model_copy(update={name: 2})
        # Values of other types than the field's: what is asked is whether they are looked at.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert detection_identity(left, None, {}) != detection_identity(right, None, {})


def test_a_key_s_fingerprint_tells_keys_apart_and_holds_none_of_it() -> None:
    left, right = key_fingerprint(b"k" * 16), key_fingerprint(b"k" * 17)
    assert left != right
    assert len(bytes.fromhex(left)) == 8


def test_the_config_has_a_section_for_every_detector_and_no_other() -> None:
    """`check_detection` knows detectors by these sections, without loading their kernels."""
    assert set(DetectorsConfig.model_fields) == set(REGISTRY)
