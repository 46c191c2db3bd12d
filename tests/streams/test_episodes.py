"""Episodes: what joins one, what opens another, and how one ends."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.alerts import AlertData
from schemas.config import PolicyConfig
from schemas.findings import Aspect, Distances, Finding
from streams.episode_state import restore_episodes
from streams.episodes import MAX_OF_MODEL, MAX_SIGNALS, MAX_TELLING
from streams.policy import Policy
from streams.signal_meaning import RETURN_SD
from tests.streams.policy_kit import decide, finding, policy, settled


def window(
    event: int, *, wasserstein: float = 0.3, aspect: Aspect = Aspect.SHAPE, mean: float = 0.0
) -> Finding:
    """What the comparison of windows says of the 2,000 events before `event`."""
    effect = wasserstein if aspect is Aspect.SHAPE else mean
    return finding(event, effect=effect, n_after=2_000, detector="windows", aspect=aspect)._replace(
        move=mean, after=mean, distances=Distances(0.2, 0.05, 0.1, wasserstein), n_before=2_000
    )


def story(*said: Finding) -> list[tuple[int, int, str, str | None]]:
    """Each record: which alert by order of opening, its revision, status and resolution."""
    numbers: dict[str, int] = {}
    return [
        (numbers.setdefault(a.alert_id, len(numbers)), a.revision, a.status, a.resolution)
        for a in decide(policy(), *said)
    ]


def test_signals_with_close_change_points_are_one_episode() -> None:
    assert story(
        finding(5_000, n_after=50),
        finding(5_400, signal="score", n_after=450),
        finding(6_500, signal="class:1", n_after=600, effect=0.8),
        finding(9_000, signal="prediction", n_after=50),
    ) == [
        (0, 1, "opened", None),
        (0, 2, "updated", None),
        (0, 3, "updated", None),
        (1, 1, "opened", None),
    ]


def test_a_weak_change_is_located_roughly_and_a_strong_one_says_where_it_was() -> None:
    weak = finding(12_000, signal="score", effect=0.06, n_after=9_000)
    strong = finding(12_100, effect=1.0, n_after=4_100)
    first, second = decide(policy(), weak, strong)

    assert second.alert_id == first.alert_id
    assert (first.change_offset, second.change_offset) == (6_000, 16_000)
    assert second.signal == "feature:x"


def test_a_weak_change_is_not_further_off_than_its_own_events() -> None:
    weak = finding(12_000, signal="score", effect=0.06, n_after=1_500)
    strong = finding(12_100, effect=1.0, n_after=4_100)
    assert [n for n, *_ in story(weak, strong)] == [0, 1]


def test_of_two_episodes_the_nearer_one_is_joined() -> None:
    assert [
        n
        for n, *_ in story(
            finding(5_000),
            finding(6_500, signal="class:1"),
            finding(6_600, signal="score", n_after=1_400),
        )
    ] == [0, 1, 0]


def test_the_same_again_is_counted_and_not_told() -> None:
    own = policy()
    first, *rest = decide(own, finding(5_000), finding(5_050), finding(5_100, effect=0.9))
    assert rest == []
    (stronger,) = decide(own, finding(5_200, detector="adwin", effect=1.2, n_after=300))
    assert (stronger.revision, stronger.n_findings, stronger.effect) == (2, 4, 1.2)
    (signal,) = stronger.signals
    assert signal.detectors == ["focus", "adwin"]
    assert signal.found_offset == first.trigger_offset


@pytest.mark.parametrize(("effect", "told"), [(0.3, False), (0.6, True), (-0.6, True)])
def test_an_update_is_told_where_it_is_more_severe(effect: float, told: bool) -> None:
    records = decide(
        policy(), finding(5_000, effect=0.3), finding(5_100, effect=effect, n_after=200)
    )
    assert len(records) == 1 + told


def test_a_mean_that_becomes_known_is_told_and_a_few_events_do_not_hide_it() -> None:
    own = policy()
    first, second = decide(
        own, finding(5_000, effect=2.4, n_after=5), finding(5_060, effect=1.5, n_after=65)
    )
    assert (first.after, first.effect) == (None, 2.0)
    assert (second.after, second.effect) == (1.5, 1.5)
    assert decide(own, finding(5_070, effect=9.0, n_after=4)) == []


def test_a_signal_that_goes_on_moving_stays_in_its_episode() -> None:
    ramp = [finding(5_000 + 900 * i, effect=0.3 + 0.1 * i) for i in range(8)]
    assert {n for n, *_ in story(*ramp)} == {0}
    endless = [finding(5_000 + 900 * i, effect=0.3 + 0.1 * i) for i in range(40)]
    assert {n for n, *_ in story(*endless)} > {0, 1}


def test_a_return_resolves_the_episode() -> None:
    own = policy()
    opened, joined, part, whole = decide(
        own,
        finding(5_000),
        finding(5_010, signal="score"),
        settled(8_000, effect=0.05, spread=1.0),
        settled(8_030, signal="score", effect=-0.02),
    )
    assert len({a.alert_id for a in (opened, joined, part, whole)}) == 1
    assert (part.status, part.resolution) == ("updated", None)
    assert {s.signal: s.standing for s in part.signals} == {
        "feature:x": "returned",
        "score": "moved",
    }
    assert (whole.status, whole.resolution, whole.revision) == ("resolved", "returned", 4)
    assert whole.effect == 1.0
    assert "is back within 0.1 sd of its reference, found at offset 16060" in whole.message
    assert "back, or coming back, by now: feature x" in part.message
    assert "it had moved since about offset 9800" in whole.message


def test_who_sees_a_return_later_says_nothing_more() -> None:
    assert story(
        finding(5_000),
        finding(8_000, effect=0.05, before=1.0, detector="adwin"),
        finding(8_300, effect=0.05, before=1.0, n_after=400),
        settled(9_000, effect=0.0),
    )[-1] == (0, 2, "resolved", "returned")


def test_late_evidence_opens_a_resolved_episode_again() -> None:
    assert story(
        finding(5_000),
        settled(5_300, effect=0.05),
        finding(5_400, signal="score", n_after=500),
        settled(5_600, signal="score", effect=0.0),
    ) == [
        (0, 1, "opened", None),
        (0, 2, "resolved", "returned"),
        (0, 3, "updated", None),
        (0, 4, "resolved", "returned"),
    ]


def test_a_spread_that_was_found_over_few_events_has_a_level_once_it_has_settled() -> None:
    own = policy()
    (few,) = decide(own, finding(5_000, effect=4.2, n_after=5, aspect=Aspect.SPREAD))
    assert (few.after, few.effect) == (None, 4.0)
    (known,) = decide(own, settled(7_000, effect=0.0, spread=3.9))
    assert (known.status, known.unit) == ("updated", "spread")
    assert (known.after, known.effect) == (3.9, 3.9)
    assert "spread of feature x rose from 0 to 3.9 (+3.90 sd" in known.message


@pytest.mark.parametrize("aspect", [Aspect.MEAN, Aspect.SPREAD])
def test_what_moves_again_before_it_settled_has_a_level_from_then_on(aspect: Aspect) -> None:
    """FOCuS begins at the change: what was before its next one is what was after the last."""
    own = policy()
    few = finding(5_000, effect=4.2, n_after=5, aspect=aspect)
    opened, joined = decide(own, few, finding(5_010, signal="score"))
    assert (joined.alert_id, joined.after) == (opened.alert_id, None)
    again = finding(8_000, effect=2.0, before=3.8, n_after=22, aspect=aspect)
    later, earlier = decide(own, again)
    assert later.alert_id != opened.alert_id
    assert (earlier.alert_id, earlier.status) == (opened.alert_id, "updated")
    (moved,) = [each for each in earlier.signals if each.signal == "feature:x"]
    assert (moved.standing, moved.after, moved.effect) == ("superseded", 3.8, 3.8)


def test_what_others_say_of_before_completes_no_level() -> None:
    """Theirs may reach back beyond the change."""
    own = policy()
    few = finding(5_000, effect=4.2, n_after=5)
    decide(own, few, finding(5_010, signal="score"))
    assert len(decide(own, finding(8_000, effect=2.0, before=3.8, detector="adwin"))) == 1


def test_a_settled_baseline_at_the_reference_is_a_return_and_one_elsewhere_is_none() -> None:
    own = policy()
    decide(own, finding(5_000), finding(5_000, aspect=Aspect.SPREAD))
    assert decide(own, settled(7_000, effect=RETURN_SD + 0.01, spread=0.2)) == []
    (part,) = decide(own, settled(9_000, effect=-RETURN_SD, spread=0.2))
    assert {s.unit: s.standing for s in part.signals} == {"value": "returned", "spread": "moved"}
    (whole,) = decide(own, settled(11_000, effect=-RETURN_SD, spread=-0.1))
    assert (whole.status, whole.resolution) == ("resolved", "returned")


def test_both_aspects_return_in_one_record() -> None:
    own = policy()
    decide(own, finding(5_000), finding(5_000, aspect=Aspect.SPREAD))
    (whole,) = decide(own, settled(9_000, effect=0.0))
    assert (whole.status, whole.revision) == ("resolved", 3)


def test_a_signal_that_moves_on_belongs_to_the_later_episode() -> None:
    own = policy()
    records = decide(
        own,
        finding(5_000),
        finding(5_010, signal="score"),
        finding(9_000, effect=2.0, before=1.0),
        finding(9_010, signal="score", effect=2.0, before=1.0),
    )
    first, _, second, joined, ended = records
    assert [a.status for a in records] == ["opened", "updated", "opened", "updated", "resolved"]
    assert ended.alert_id == first.alert_id != second.alert_id == joined.alert_id
    assert ended.resolution == "superseded"
    assert {s.standing for s in ended.signals} == {"superseded"}
    assert "was followed by another one of the same signals" in ended.message


def test_late_evidence_of_what_has_moved_on_is_counted_and_not_told() -> None:
    own = policy()
    first, second, ended = decide(own, finding(5_000), finding(9_000, effect=2.0, before=1.0))
    late = finding(9_100, n_after=4_200, detector="adwin")
    later = finding(9_100, n_after=2_100, detector="page_hinkley")
    assert ended.alert_id == first.alert_id
    assert decide(own, late) == []
    (joined,) = decide(own, later)
    assert (joined.alert_id, joined.status) == (second.alert_id, "updated")


def test_a_small_change_is_no_return() -> None:
    # Of 0.05 sd: all of it lies within what counts as returned.
    assert story(
        finding(9_000, effect=0.05, n_after=5_000),
        finding(9_100, effect=0.06, n_after=5_100, detector="adwin"),
    ) == [(0, 1, "opened", None), (0, 2, "updated", None)]


def test_what_focus_sees_come_back_opens_nothing_and_waits_for_the_baseline() -> None:
    few = finding(8_000, effect=0.4, before=2.0, n_after=8)
    opened, returning, back = decide(
        policy(), finding(5_000, effect=2.0), few, settled(10_000, effect=0.03)
    )
    assert (opened.alert_id, returning.status) == (returning.alert_id, "updated")
    assert [each.standing for each in returning.signals] == ["returning"]
    assert "it is coming back, seen at offset 16000" in returning.message
    assert (back.status, back.resolution) == ("resolved", "returned")
    assert story(finding(5_000, effect=2.0), few, few._replace(model_event=8_001)) == [
        (0, 1, "opened", None),
        (0, 2, "updated", None),
    ]
    assert story(finding(5_000, effect=2.0), few, settled(10_000, effect=0.3))[-1] == (
        *(0, 3, "updated", None),
    )


def test_weak_evidence_resolves_nothing_and_a_baseline_elsewhere_opens_it_again() -> None:
    back = finding(7_500, effect=0.08, before=1.0, detector="adwin")
    weak = back._replace(is_within_budget=False)
    assert story(finding(5_000), weak, settled(9_500, effect=1.0)) == [(0, 1, "opened", None)]
    assert story(finding(5_000), back, settled(8_000, effect=1.0)) == [
        (0, 1, "opened", None),
        (0, 2, "resolved", "returned"),
        (0, 3, "updated", None),
    ]


def test_late_evidence_of_what_has_come_back_opens_nothing() -> None:
    late = finding(7_200, effect=0.6, n_after=2_300, detector="adwin")
    assert story(finding(5_000), settled(7_100, effect=0.0), late)[1:] == [
        (0, 2, "resolved", "returned")
    ]


def test_a_baseline_elsewhere_says_where_the_signal_is() -> None:
    own = policy()
    (opened,) = decide(own, finding(5_000, effect=9.0, n_after=5))
    assert (opened.after, opened.effect, opened.severity) == (None, 9.0, "critical")
    (known,) = decide(own, settled(7_000, effect=0.3))
    assert (known.after, known.effect, known.severity) == (0.3, 0.3, "medium")


def test_a_baseline_part_of_the_way_back_does_not_hide_how_far_it_was() -> None:
    own = policy()
    decide(own, finding(5_000, effect=2.0), settled(7_000, effect=2.1))
    returning, part = decide(
        own, finding(15_000, effect=-0.17, before=2.1, n_after=30), settled(17_000, effect=-0.17)
    )
    assert [each.standing for each in returning.signals] == ["returning"]
    assert [(each.standing, each.effect) for each in part.signals] == [("moved", 2.1)]


def test_means_that_differ_by_one_event_are_not_both_told() -> None:
    own = policy()
    (first,) = decide(own, finding(5_000, n_after=25))
    (second,) = decide(own, finding(5_001, n_after=26, effect=1.3, detector="adwin"))
    assert (second.after, second.effect) == (first.after, first.effect)


def test_a_resolved_alert_names_only_what_has_come_back() -> None:
    *_, resolved = decide(
        policy(),
        finding(5_000),
        finding(5_010, signal="score", effect=0.5),
        finding(9_000, effect=2.0, before=1.0),
        settled(9_500, signal="score", effect=0.0),
    )
    assert resolved.resolution == "returned"
    assert resolved.message.startswith("m 7: the score is back within")
    assert "feature x" not in resolved.message


def test_versions_of_a_model_have_episodes_of_their_own() -> None:
    assert [n for n, *_ in story(finding(5_000), finding(5_000, version="8"))] == [0, 1]


def test_open_episodes_and_their_signals_are_bounded() -> None:
    own = policy(cooldown=0)
    records = decide(own, *(finding(1_000 * i, effect=1.0 + i) for i in range(1, 100)))
    assert len(own.book.episodes) <= MAX_OF_MODEL
    assert {a.resolution for a in records} == {None, "superseded"}
    many = policy()
    records = decide(many, *(finding(5_000, signal=f"class:{i}") for i in range(MAX_SIGNALS + 50)))
    assert len(records) == MAX_SIGNALS
    (episode,) = many.book.episodes.values()
    assert (len(episode.evidence), episode.n_findings) == (MAX_SIGNALS, MAX_SIGNALS + 50)


@pytest.mark.parametrize(("signal", "is_told"), [("quality:range", True), ("feature:y", False)])
def test_that_broken_data_have_moved_on_into_another_alert_is_told(
    signal: str, is_told: bool
) -> None:
    own = policy(cooldown=1_000)
    first, *_ = decide(own, finding(5_000), finding(5_010, signal=signal, effect=0.3))
    records = decide(own, finding(9_000, signal=signal, effect=1.0, before=0.3))
    of_first = [each for each in records if each.alert_id == first.alert_id]
    assert len(records) == 1 + len(of_first)
    told = [one.standing for each in of_first for one in each.signals if one.signal == signal]
    assert told == (["superseded"] if is_told else [])


def test_what_tells_of_broken_data_or_harm_has_room_beyond_the_others() -> None:
    many = policy()
    decide(many, *(finding(5_000, signal=f"class:{i}") for i in range(MAX_SIGNALS + 50)))
    (told,) = decide(many, finding(5_010, signal="quality:range", effect=0.1))
    assert told.signals[-1].signal == "quality:range"
    missing = (finding(5_020, signal=f"missing:{i}") for i in range(2 * MAX_TELLING))
    last = decide(many, *missing)[-1]
    (episode,) = many.book.episodes.values()
    assert len(episode.evidence) == MAX_SIGNALS + MAX_TELLING
    restored = restore_episodes(many.snapshot())
    assert restored.episodes == many.book.episodes
    assert last.n_signals == MAX_SIGNALS + MAX_TELLING


def test_the_first_of_too_many_is_forgotten_and_that_is_said() -> None:
    own = policy(cooldown=0)
    apart = [finding(1_000 * i, signal=f"class:{i}") for i in range(1, MAX_OF_MODEL + 2)]
    *opened, forgotten, last = decide(own, *apart)
    assert {a.status for a in (*opened, last)} == {"opened"}
    assert (forgotten.status, forgotten.resolution) == ("resolved", "forgotten")
    assert forgotten.alert_id == opened[0].alert_id
    assert "is no longer followed" in forgotten.message


def test_an_alert_says_what_share_of_the_budget_the_week_has_used() -> None:
    day = 86_400_000
    apart = [
        finding(3_000 * i, signal=f"class:{i}", ts=day * at, accepted=2.0)
        for i, at in enumerate((0, 1, 6, 10), 1)
    ]
    assert [a.budget_share for a in decide(policy(), *apart)] == [0.5, 1.0, 1.5, 1.0]
    (unknown,) = decide(policy(), finding(5_000, accepted=0.0))
    assert unknown.budget_share is None


def test_a_change_of_shape_is_an_episode_until_a_window_is_back() -> None:
    own = policy()
    opened, resolved = decide(
        own, window(6_000), window(12_000, wasserstein=0.03, aspect=Aspect.SETTLED)
    )
    assert (opened.unit, opened.effect, opened.severity) == ("shape", 0.3, "medium")
    assert opened.signals[0].distances is not None
    assert opened.signals[0].distances.wasserstein == 0.3
    assert opened.message == (
        "m 7: the distribution of feature x changed (0.30 sd from its reference) since about "
        "offset 8000, found by the comparison of windows at offset 12000."
    )
    assert (resolved.status, resolved.resolution) == ("resolved", "returned")


def test_a_window_joins_the_change_that_focus_found_in_it() -> None:
    assert story(
        finding(5_600, n_after=30),
        window(6_000, aspect=Aspect.MEAN, mean=0.4, wasserstein=0.4),
        window(6_000),
        settled(7_600, effect=1.0),
    ) == [
        (0, 1, "opened", None),
        (0, 2, "updated", None),
        (0, 3, "updated", None),
    ]


def test_a_window_says_nothing_of_the_return_of_a_change_amid_it() -> None:
    own = policy()
    back = window(6_000, wasserstein=0.05, aspect=Aspect.SETTLED, mean=0.02)
    (opened,) = decide(own, finding(5_990, n_after=30), back)
    assert opened.status == "opened"
    again = window(8_000, wasserstein=0.05, aspect=Aspect.SETTLED, mean=0.02)
    (resolved,) = decide(own, again, start=2)
    assert (resolved.status, resolved.resolution) == ("resolved", "returned")


def category(event: int, *, chi: float, aspect: Aspect = Aspect.SHAPE) -> Finding:
    """What the comparison of windows says of a category as a whole."""
    distances = Distances(0.2, 0.05, chi=chi, new=0.12, vanished=("a", "b", "c", "d"))
    return window(event, aspect=aspect, wasserstein=chi)._replace(distances=distances)


def test_a_category_has_no_means_and_says_what_came_and_went() -> None:
    own = policy()
    (opened,) = decide(own, category(6_000, chi=0.4))
    (moved,) = opened.signals
    assert (moved.unit, moved.direction, moved.effect) == ("shape", "changed", 0.4)
    assert (moved.before, moved.after, opened.before, opened.after) == (None,) * 4
    assert moved.distances is not None
    assert (moved.distances.ks, moved.distances.chi) == (None, 0.4)
    assert "0.40 sd from its reference; 12 % new; none of a, b, c and 1 more)" in opened.message
    again = Policy(PolicyConfig(), "lineage", "deployment", 3, own.snapshot())
    for each in (own, again):
        settled_there = category(12_000, chi=0.05, aspect=Aspect.SETTLED)
        (resolved,) = decide(each, settled_there, start=2)
        assert (resolved.status, resolved.resolution) == ("resolved", "returned")
        assert resolved.signals[0].distances == moved.distances


def test_an_episode_of_features_together_is_restored() -> None:
    own = policy()
    decide(own, finding(5_000, signal="joint:residual"))
    again = Policy(PolicyConfig(), "lineage", "deployment", 3, own.snapshot())
    assert again.snapshot()["episodes"].tobytes() == own.snapshot()["episodes"].tobytes()


def test_a_later_move_takes_the_shape_with_it() -> None:
    assert story(window(6_000), finding(20_000)) == [
        (0, 1, "opened", None),
        (1, 1, "opened", None),
        (0, 2, "resolved", "superseded"),
    ]


signals = st.sampled_from(["feature:x", "score", "class:1"])
levels = st.sampled_from([-1.0, -0.05, 0.0, 0.05, 0.3, 1.0, 2.0])


@st.composite
def stories(draw: st.DrawFn) -> list[Finding]:
    """Findings in the order of a log, of three signals that go from level to level."""
    event, said = 2_000, []
    for _ in range(draw(st.integers(0, 25))):
        event += draw(st.sampled_from([1, 2, 40, 500, 2_000]))
        said.append(
            finding(
                event,
                signal=draw(signals),
                effect=draw(levels),
                before=draw(levels),
                n_after=draw(st.sampled_from([3, 30, 300, 1_900])),
                detector=draw(st.sampled_from(["focus", "adwin"])),
                aspect=draw(st.sampled_from([Aspect.MEAN, Aspect.SPREAD, Aspect.SETTLED])),
                ts=event * 10_000_000,
            )
            if draw(st.integers(0, 3))
            else window(
                event,
                wasserstein=abs(draw(levels)),
                aspect=draw(st.sampled_from([Aspect.MEAN, Aspect.SHAPE, Aspect.SETTLED])),
                mean=draw(levels),
            )
        )
    return said


def test_evidence_below_the_budget_joins_an_episode_and_opens_none() -> None:
    weak = finding(5_050, detector="adwin")._replace(is_within_budget=False)
    assert story(weak) == []
    assert story(finding(5_000), weak) == [(0, 1, "opened", None), (0, 2, "updated", None)]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=stories(), at=st.integers(0, 25))
def test_episodes_survive_a_snapshot(said: list[Finding], at: int) -> None:
    whole = decide(policy(), *said)
    first = policy()
    before = decide(first, *said[:at])
    second = Policy(PolicyConfig(), "lineage", "deployment", 3, first.snapshot())
    assert second.snapshot()["episodes"].tobytes() == first.snapshot()["episodes"].tobytes()
    assert before + decide(second, *said[at:], start=len(before) + 1) == whole


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(said=stories())
def test_whoever_keeps_the_latest_revision_knows_what_is_open(said: list[Finding]) -> None:
    own = policy()
    latest: dict[str, AlertData] = {}
    for alert in decide(own, *said):
        before = latest.get(alert.alert_id)
        assert alert.revision == (1 if before is None else before.revision + 1)
        assert (alert.status == "opened") == (before is None)
        assert (alert.status == "resolved") == (alert.resolution is not None)
        latest[alert.alert_id] = alert
    is_open = {name for name, alert in latest.items() if alert.status != "resolved"}
    assert is_open == {name for name, e in own.book.episodes.items() if e.closed_event < 0}
    for name, alert in latest.items():
        moved = {s.signal for s in alert.signals if s.standing in {"moved", "returning"}}
        assert bool(moved) == (name in is_open)
    # A signal is where it is in one episode alone: that of its latest change.
    live = [
        watched
        for episode in own.book.episodes.values()
        for watched, each in episode.evidence.items()
        if each.standing in {0, 3}
    ]
    assert len(live) == len(set(live))


def test_the_mean_of_a_few_blocks_is_back_as_near_as_it_is_known() -> None:
    """20 blocks of 100 events: 3 / sqrt(20) standard deviations of one."""
    for effect, is_back in ((0.6, True), (0.7, False)):
        own = policy()
        decide(own, finding(5_000, signal="joint:mmd", effect=3.0)._replace(block=100))
        seen = settled(9_500, effect=effect, signal="joint:mmd")
        ended = decide(own, seen._replace(block=100, n_after=2_000))
        assert bool(ended) == is_back
        if is_back:
            assert ended[0].status == "resolved"
            assert "is back at its reference" in ended[0].message
        assert not decide(own, settled(9_900, effect=effect, signal="feature:x"))
