"""Policy: what belongs to one alert, how severe it is, and what is never said."""

from __future__ import annotations

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.base import StateError
from schemas.config import PolicyConfig
from schemas.findings import Aspect, Finding, Notice
from streams.evidence import MIN_EVENTS, severity, sharpness_of
from streams.policy import MAX_LISTED, Policy
from tests.streams.policy_kit import decide, policy, settled


def finding(
    *,
    event: int = 5_000,
    detector: str = "adwin",
    signal: str = "feature:x",
    effect: float = 1.5,
    move: float | None = None,
    n_before: int = 1_000,
    n_after: int = 100,
    is_share: bool = False,
    is_departure: bool = False,
    admitted: int = 0,
) -> Finding:
    return Finding(
        detector=detector,
        model_id="m",
        model_version="7",
        shard=-1,
        signal=signal,
        offset=event * 2,
        event_row=0,
        model=0,
        lane=0,
        model_event=event,
        event_time_ms=1,
        statistic=2.0,
        threshold=1.0,
        before=10.125 + 3 * (effect - (effect if move is None else move)),
        after=10.125 + 3 * effect,
        effect=effect,
        change_offset=event * 2 - 50,
        n_before=n_before,
        n_after=n_after,
        is_share=is_share,
        is_departure=is_departure,
        admitted=admitted,
        move=effect if move is None else move,
    )


def test_a_change_of_spread_is_told_apart_from_one_of_the_mean() -> None:
    wider = finding(event=5_010)._replace(aspect=Aspect.SPREAD)
    settled = finding(event=5_020)._replace(aspect=Aspect.SETTLED, spread_effect=1.0)
    mean, spread = decide(policy(), finding(event=5_000), wider, settled)
    assert (mean.revision, spread.revision) == (1, 2)
    assert mean.alert_id == spread.alert_id
    assert [(each.signal, each.unit) for each in spread.signals] == [
        ("feature:x", "value"),
        ("feature:x", "spread"),
    ]
    assert "with it moved the spread of feature x" in spread.message


def test_findings_of_one_change_are_revisions_of_one_alert() -> None:
    first, second, third, other = decide(
        policy(),
        finding(event=5_000),
        finding(event=6_000, detector="page_hinkley"),
        finding(event=6_000, signal="score", effect=2.0),
        finding(event=7_101, signal="score", effect=-2.0),
    )

    assert [a.revision for a in (first, second, third, other)] == [1, 2, 3, 1]
    assert first.alert_id == second.alert_id == third.alert_id != other.alert_id
    assert [a.status for a in (first, second, third, other)] == [
        *("opened", "updated", "updated", "opened")
    ]
    assert second.detectors == ["adwin", "page_hinkley"]
    assert second.opened_offset == first.trigger_offset
    assert (third.signal, third.effect, third.n_signals, third.n_findings) == ("score", 2.0, 2, 3)
    assert [each.signal for each in third.signals] == ["score", "feature:x"]


def test_a_record_names_the_strongest_signals_and_its_own() -> None:
    many = [finding(event=5_000, signal=f"feature:{i:02}", effect=9.0 - i / 10) for i in range(40)]
    last = decide(policy(), *many)[-1]

    assert last.n_signals == 40
    assert [each.signal for each in last.signals] == [
        *(f"feature:{i:02}" for i in range(MAX_LISTED)),
        "feature:39",
    ]
    assert "with it moved feature 01, feature 02, feature 03 and 36 more" in last.message


@pytest.mark.parametrize(
    ("signal", "effect"),
    [("quality:range", 0.3), ("missing:age", 0.6), ("latency", -0.3), ("calibration", 0.3)],
)
def test_what_says_that_data_broke_or_the_model_is_worse_is_always_named(
    signal: str, effect: float
) -> None:
    """A retraining is held, or asked for, by what stands in the record."""
    many = [finding(event=5_000, signal=f"feature:{i:02}", effect=9.0) for i in range(40)]
    small = finding(event=5_000, signal=signal, effect=effect)
    last = decide(policy(), *many, small, finding(event=5_000, signal="score", effect=8.0))[-1]
    assert [each.signal for each in last.signals][MAX_LISTED:] == ["score", signal]
    assert last.n_signals == 42


def test_of_many_faults_so_many_are_named_and_those_that_are_not_back_are_counted() -> None:
    """A record has to fit into a message."""
    own = policy()
    names = [f"missing:{i:03}" for i in range(200)]
    *_, last = decide(own, *(finding(event=5_000, signal=each, effect=0.9) for each in names))
    assert (len(last.signals), last.n_faults_unnamed) == (65, 135)
    *_, half = decide(own, *(settled(9_500, effect=0.0, signal=each) for each in names[:100]))
    assert half.n_faults_unnamed == 36
    *_, back = decide(own, *(settled(9_600, effect=0.0, signal=each) for each in names[100:]))
    assert (back.status, back.n_faults_unnamed) == ("resolved", 0)


def test_faults_that_have_moved_on_are_those_of_the_other_alert() -> None:
    own = policy(cooldown=1_000)
    names = [f"missing:{i:03}" for i in range(120)]
    first, *_ = decide(own, *(finding(event=5_000, signal=each, effect=0.9) for each in names))
    records = decide(own, *(finding(event=9_000, signal=each, effect=1.9) for each in names))
    of_first = [each for each in records if each.alert_id == first.alert_id]
    of_second = [each for each in records if each.alert_id != first.alert_id]
    assert (of_first[-1].resolution, of_first[-1].n_faults_unnamed) == ("superseded", 0)
    assert of_second[-1].n_faults_unnamed == 55


@pytest.mark.parametrize(
    ("effect", "expected"),
    [(0.0, "low"), (-0.2, "medium"), (0.49, "medium"), (-0.5, "high"), (1.0, "critical")],
)
def test_severity_follows_the_size_of_the_effect(effect: float, expected: str) -> None:
    assert severity(effect) == expected
    assert decide(policy(), finding(effect=effect))[0].severity == expected


@given(n_before=st.integers(1, 40), n_after=st.integers(1, 40), effect=st.floats(-1e6, 1e6))
def test_a_mean_over_few_events_is_not_published(
    n_before: int, n_after: int, effect: float
) -> None:
    alert = decide(policy(), finding(n_before=n_before, n_after=n_after, effect=effect))[0]

    assert (alert.before is None) == (n_before < MIN_EVENTS)
    assert (alert.after is None) == (n_after < MIN_EVENTS)
    assert alert.effect is not None
    if n_after < MIN_EVENTS:
        # Together with a known mean the exact effect would give the value away.
        assert alert.effect in range(-10, 11)
    else:
        assert alert.effect == effect


@pytest.mark.parametrize(
    ("effect", "severity_", "told"),
    [
        (0.3, "low", "rose (less than half a sd from its reference)"),
        (-0.3, "low", "fell (less than half a sd from its reference)"),
        (0.55, "critical", "rose (some +1 sd from its reference)"),
    ],
)
def test_severity_is_that_of_the_rounded_effect_and_the_direction_that_of_the_move(
    effect: float, severity_: str, told: str
) -> None:
    alert = decide(policy(), finding(n_before=16, n_after=16, effect=effect))[0]

    assert alert.severity == severity_
    assert told in alert.message


def test_a_model_that_gave_way_and_came_back_has_no_old_alerts() -> None:
    first, forgotten, new = decide(
        policy(), finding(event=80), finding(event=90), finding(event=95, admitted=6_000)
    )

    assert (first.revision, forgotten.revision, new.revision) == (1, 2, 1)
    assert (forgotten.status, forgotten.resolution) == ("resolved", "forgotten")
    assert new.alert_id != first.alert_id == forgotten.alert_id


@pytest.mark.parametrize(
    ("signal", "subject"), [("feature:x", "x"), ("score", "score"), ("prediction", "prediction")]
)
def test_a_departure_from_a_constant_is_told_as_a_share(signal: str, subject: str) -> None:
    departed = finding(signal=signal, is_share=True, is_departure=True)._replace(before=0.0)
    alert = decide(policy(), departed._replace(after=0.3))[0]

    assert alert.unit == "departures"
    assert f"the share of events whose {subject} departs from its constant" in alert.message
    assert "from 0 % to 30 %" in alert.message


def test_the_sentence_says_what_from_what_to_what_since_when() -> None:
    message = decide(policy(), finding(effect=1.5))[0].message

    assert message == (
        "m 7: feature x rose from 10.12 to 14.62 (+1.50 sd from its reference) since about offset "
        "9950, found by ADWIN at offset 10000."
    )


def test_a_mean_of_zeros_is_told_as_zero() -> None:
    moved = finding(effect=1.0)._replace(before=4e-14)

    assert "rose from 0 to" in decide(policy(), moved)[0].message


def test_shares_are_told_as_percentages() -> None:
    alert = decide(policy(), finding(signal="missing:x", is_share=True))[0]

    assert "the share of missing x rose from 100 % to 100 %" in alert.message


@pytest.mark.parametrize(
    ("signal", "is_share", "is_departure", "words"),
    [
        ("joint:residual", False, False, "m 7: the distance of events from the correlation of"),
        ("joint:residual", True, True, "the share of events that depart from the numeric features"),
        ("joint:mmd", False, False, "the distance of the products of numeric features"),
        ("joint:missing", True, False, "the share of events with an unusual combination of"),
    ],
)
def test_features_together_are_told_in_words(
    signal: str, is_share: bool, is_departure: bool, words: str
) -> None:
    moved = finding(signal=signal, is_share=is_share, is_departure=is_departure)
    alert = decide(policy(), moved._replace(before=0.1, after=0.3))[0]
    assert words in alert.message
    assert ("from 10 % to 30 %" if is_share else "from 0.1 to 0.3") in alert.message


def test_a_change_seen_in_blocks_is_located_to_a_block() -> None:
    seen = finding(effect=30.0)._replace(n_after=200, move=30.0)
    assert sharpness_of(seen) == pytest.approx(20.0 / 900.0)
    assert sharpness_of(seen._replace(block=100)) == 100.0
    assert sharpness_of(seen._replace(block=100, move=0.1)) == 200.0


def test_a_bound_is_an_alert_of_its_own() -> None:
    notice = Notice(7, 0, "m", "7", 2, "max_features", 1_024, 99)
    alert = decide(policy(), notice)[0]

    assert (alert.kind, alert.signal, alert.effect) == ("bound", "bound:max_features", None)
    assert alert.shard == 2
    assert "more than 1024 features" in alert.message
    assert "bounds.max_features" in alert.message


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_a_damaged_snapshot_is_refused(document: object) -> None:
    try:
        raw = orjson.dumps(document)
    except TypeError:
        return
    try:
        own = Policy(PolicyConfig(), "l", "d", 0, {"episodes": np.frombuffer(raw, np.uint8)})
    except StateError:
        return
    assert own.book.episodes == {}


@pytest.mark.parametrize("name", ["revision", "opened_event", "admitted", "opened_offset"])
@pytest.mark.parametrize("count", [-1, 2**62, 2**63, 2**64 - 1])
def test_a_made_up_count_is_refused(name: str, count: int) -> None:
    # A revision of 2**64 - 1 was taken once, and its update could not be written as JSON.
    first = policy()
    first.decide([finding()], lambda: 1)
    document = orjson.loads(first.snapshot()["episodes"].tobytes())
    document["episodes"][0][name] = count
    raw = orjson.dumps(document)
    with pytest.raises(StateError, match=name):
        Policy(PolicyConfig(), "l", "d", 0, {"episodes": np.frombuffer(raw, np.uint8)})
