"""What a config asks of an alert, and which of its signals is named first."""

from __future__ import annotations

import pytest

from schemas.config import PolicyConfig
from schemas.findings import Finding
from streams.policy import MAX_LISTED, Policy
from tests.streams.policy_kit import decide, finding, policy, settled


def own_policy(*, min_effect: float = 0.0, confirm: bool = False) -> Policy:
    return Policy(PolicyConfig(min_effect=min_effect, confirm=confirm), "lineage", "deployment", 3)


def test_what_lies_near_its_reference_opens_nothing_and_is_named_nowhere() -> None:
    own = own_policy(min_effect=0.2)
    assert decide(own, finding(5_000, effect=0.19), finding(5_010, effect=-0.1)) == []
    (opened,) = decide(own, finding(5_100, effect=0.21))
    assert decide(own, finding(5_150, signal="score", effect=-0.19)) == []
    (joined,) = decide(own, finding(5_200, signal="class:1", effect=-0.2))
    assert joined.alert_id == opened.alert_id
    assert [signal.signal for signal in joined.signals] == ["feature:x", "class:1"]
    # It may come back as near as it likes.
    told = decide(own, settled(7_000, effect=0.0), settled(7_000, effect=0.0, signal="class:1"))
    assert [(each.status, each.resolution) for each in told][-1] == ("resolved", "returned")


def test_small_steps_in_one_direction_add_up() -> None:
    own = own_policy(min_effect=0.2)
    steps = [finding(5_000 * i, effect=0.08 * i, before=0.08 * (i - 1)) for i in range(1, 5)]
    opened = [alert for alert in decide(own, *steps) if alert.status == "opened"]
    assert [alert.effect for alert in opened] == [0.24, 0.32]


def test_without_a_least_effect_all_that_is_significant_is_told() -> None:
    assert len(decide(policy(), finding(5_000, effect=0.01))) == 1


@pytest.mark.parametrize(
    "second",
    [
        finding(5_050, detector="adwin"),
        finding(5_050, signal="score"),
        settled(7_000, effect=0.9),
    ],
)
def test_a_change_to_be_confirmed_is_told_with_its_second_evidence(second: Finding) -> None:
    own = own_policy(confirm=True)
    assert decide(own, finding(5_000), finding(5_020)) == []
    (opened,) = decide(own, second)
    assert (opened.revision, opened.status, opened.opened_offset) == (1, "opened", 10_000)


def test_a_change_that_goes_back_before_it_is_confirmed_is_never_told() -> None:
    own = own_policy(confirm=True)
    assert decide(own, finding(5_000), settled(7_000, effect=0.0)) == []
    assert len(own.book.episodes) == 1
    resumed = Policy(own.config, "lineage", "deployment", 3, own.snapshot())
    assert resumed.snapshot().keys() == own.snapshot().keys()


def test_that_it_is_confirmed_survives_a_restart() -> None:
    own = own_policy(confirm=True)
    decide(own, finding(5_000, effect=0.4), settled(7_000, effect=0.4))
    resumed = Policy(own.config, "lineage", "deployment", 3, own.snapshot())
    (updated,) = decide(resumed, finding(7_500, effect=0.7, n_after=2_500), start=2)
    assert (updated.revision, updated.status) == (2, "updated")


def test_what_is_of_several_features_together_is_named_behind_them() -> None:
    own = policy()
    (alone,) = decide(own, finding(5_000, signal="joint:mmd", effect=9.0))
    assert (alone.signal, alone.severity) == ("joint:mmd", "critical")
    (together,) = decide(own, finding(5_100, effect=0.6))
    assert (together.signal, together.severity) == ("feature:x", "high")
    assert [signal.signal for signal in together.signals] == ["feature:x", "joint:mmd"]


def test_a_baseline_ends_an_alert_of_which_larger_signals_have_moved_on() -> None:
    own = policy()
    many = [f"feature:{i:02}" for i in range(MAX_LISTED)]
    small = finding(5_000, signal="feature:small", effect=0.3)
    (first, *_) = decide(own, *(finding(5_000, signal=s, effect=3.0) for s in many), small)
    moved_on = (finding(9_000, signal=s, effect=5.0, before=3.0) for s in many)
    assert all(each.alert_id != first.alert_id for each in decide(own, *moved_on))
    (ended,) = decide(own, settled(9_100, signal="feature:small", effect=0.0))
    assert (ended.alert_id, ended.resolution) == (first.alert_id, "returned")
    assert [each.signal for each in ended.signals][MAX_LISTED:] == ["feature:small"]
    assert ended.message.startswith("m 7: feature small is back within 0.1 sd of its reference")
