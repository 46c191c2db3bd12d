"""An error, or a share of missing values, that comes to lie on the other side of its reference."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.commands import Acknowledge
from schemas.findings import Finding
from streams.episode_state import restore_episodes
from streams.evidence import evidence_of, watched_by
from streams.policy import Policy
from streams.signal_meaning import is_harm
from tests.streams.policy_kit import decide, finding, policy, settled


def error(event: int, effect: float, **given: Any) -> Finding:
    return finding(event, signal="error", effect=effect, **given)._replace(is_share=True)


def level(event: int, effect: float) -> Finding:
    return settled(event, signal="error", effect=effect)._replace(is_share=True)


def told(own: Policy, *said: Finding) -> list[tuple[str, float, bool]]:
    """Direction, effect and whether that is harm, of each record that is told."""
    return [
        (moved.direction, moved.effect, is_harm(moved))
        for alert in decide(own, *said)
        for moved in alert.signals
    ]


@pytest.mark.parametrize(
    "then",
    [
        [finding(5_600, signal="error", effect=0.35, before=-0.6, n_after=400)],
        [
            finding(5_600, signal="error", effect=0.25, before=-0.6),
            settled(7_000, signal="error", effect=0.25),
        ],
    ],
)
def test_an_error_that_fell_and_then_rose_above_its_reference_is_told_as_harm(
    then: list[Finding],
) -> None:
    """It has never been as far above as it was below."""
    own = policy()
    said = (finding(5_000, signal="error", effect=-0.6), *then)
    fell, *_, rose = decide(own, *(each._replace(is_share=True) for each in said))
    assert not is_harm(fell.signals[0])
    assert rose.alert_id == fell.alert_id
    (moved,) = rose.signals
    assert is_harm(moved)
    assert (moved.direction, moved.effect) == ("rose", then[-1].effect)
    assert moved.change_offset > fell.signals[0].change_offset
    assert restore_episodes(own.snapshot()).episodes == own.book.episodes
    # And the other way round: the better news is told, too.
    at, effect = then[-1].model_event + 500, then[-1].effect
    down = finding(at, signal="error", effect=-0.5, before=effect, n_after=450)
    better = decide(own, down._replace(is_share=True))[-1]
    assert better.alert_id == fell.alert_id
    assert not is_harm(better.signals[0])


def test_a_feature_on_the_other_side_is_told_by_how_far_it_was_at_most() -> None:
    own = policy()
    first = finding(5_000, effect=-0.6)
    decide(own, first, finding(5_600, effect=0.35, before=-0.6, n_after=400))
    (episode,) = own.book.episodes.values()
    assert [each.effect for each in episode.evidence.values()] == [-0.6]


def test_late_evidence_of_the_one_side_does_not_take_back_the_other() -> None:
    own = policy()
    told(own, error(5_000, -0.3), error(5_600, 0.5, before=-0.3, n_after=400))
    late = error(5_650, -0.15, n_after=750, detector="adwin")
    assert told(own, late) == [("rose", 0.5, True)]


@pytest.mark.parametrize(
    "late",
    [
        # Farther out than where it is now, and twice.
        [error(5_650, -0.55, n_after=750, detector="adwin")],
        [
            error(5_650, -0.15, n_after=750, detector="adwin"),
            error(5_660, -0.12, n_after=720, detector="kswin"),
        ],
        # A baseline from before the move.
        [level(7_000, -0.25)._replace(change_offset=9_900, n_after=2_050)],
    ],
)
def test_no_late_evidence_takes_harm_back(late: list[Finding]) -> None:
    own = policy()
    told(own, error(5_000, -0.6), error(5_600, 0.5, before=-0.6, n_after=400))
    assert all(is_harm for *_, is_harm in told(own, *late))
    assert told(own, error(5_700, 1.2, before=0.5, n_after=450)) == [("rose", 1.2, True)]


def test_a_side_that_few_events_saw_first_is_told_by_the_next_mean() -> None:
    own = policy()
    told(own, error(5_000, -0.6))
    assert told(own, error(5_205, 0.6, before=-0.6, n_after=15)) == []
    assert told(own, error(5_300, 0.6, before=-0.6, n_after=110)) == [("rose", 0.6, True)]


def test_near_the_reference_it_is_where_it_moved_that_is_left_behind() -> None:
    near = evidence_of(error(9_000, 0.06, before=0.7))
    rose = error(9_200, 0.6, before=0.06)
    assert near.is_across(watched_by(rose), evidence_of(rose))
    fell = error(9_200, -0.6, before=0.06)
    assert not near.is_across(watched_by(fell), evidence_of(fell))


def test_another_side_is_told_though_both_means_rest_on_as_many_events() -> None:
    own = policy()
    said = told(own, error(5_000, -0.6), error(5_300, 0.6, before=-0.6, n_after=110))
    assert said == [("fell", -0.6, False), ("rose", 0.6, True)]


def test_a_size_over_few_events_hides_no_side() -> None:
    own = policy()
    few = error(5_000, -0.45, n_after=15)
    assert told(own, few, level(7_000, 0.4))[-1] == ("rose", 0.4, True)


def test_what_it_rose_from_is_not_said_where_that_lies_beyond_where_it_is() -> None:
    own = policy()
    said = (
        error(5_000, 0.9),
        error(9_000, -0.5, before=0.9),
        level(12_000, 0.3),
    )
    (moved,) = decide(own, *said)[-1].signals
    assert (moved.direction, moved.before, moved.after) == ("rose", None, 0.3)


def test_who_knows_of_the_one_side_is_told_that_the_other_gets_worse() -> None:
    own = policy()
    (first,) = decide(own, error(5_000, -0.6))
    order = Acknowledge(command_id="c1", alert_id=first.alert_id, by="ann")
    own.obey(order, 20_000, 77, lambda: 9)
    (worse,) = decide(own, error(5_600, 0.25, before=-0.6, n_after=400))
    assert worse.severity == "medium"
    (worst,) = decide(own, error(6_000, 0.7, before=0.25, n_after=300))
    assert worst.severity == "high"
