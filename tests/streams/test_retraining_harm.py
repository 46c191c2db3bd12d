"""Harm that is told behind the window of a change that was benign until then."""

from __future__ import annotations

from typing import Any

import orjson

from tests.streams.incident_kit import moved
from tests.streams.test_retraining_gate import attack, drafts, only, ranges_of, worse

FEATURE = moved("feature:age", change_offset=5_000, found_offset=5_200)


def harm(found: int, began: int, **given: Any) -> dict[str, Any]:
    return moved("error", change_offset=began, found_offset=found, **given)


def test_harm_that_is_told_behind_the_window_has_a_window_of_its_own() -> None:
    benign = worse(1, signals=[FEATURE])
    assert drafts(benign) == []
    late = worse(2, 30, signals=[harm(9_000, 4_900)], opened_offset=9_000, trigger_offset=9_000)
    request = only(benign, late)
    assert (request.status, request.reason) == ("released", "harmful_drift")
    # What was first told of it stands at 9,000: no window ends before that.
    assert ranges_of(request) == [(4_900, 9_000)]
    near = worse(2, 30, signals=[harm(9_000, 8_800)], opened_offset=9_000, trigger_offset=9_000)
    assert ranges_of(only(benign, near)) == [(8_800, 9_799)]
    assert ranges_of(only(benign, near, n_doublings=2)) == [(8_800, 12_799)]


def test_harm_that_joins_an_alert_behind_its_window_has_one_too() -> None:
    later = worse(
        revision=2,
        status="updated",
        minute=30,
        signals=[FEATURE, harm(9_000, 8_800)],
        trigger_offset=9_000,
    )
    assert ranges_of(only(worse(signals=[FEATURE]), later)) == [(8_800, 9_799)]


def test_harm_that_began_earlier_and_was_told_by_the_end_belongs_to_its_window() -> None:
    records = [
        worse(1, signals=[FEATURE]),
        worse(2, 30, signals=[harm(9_000, 8_800)], opened_offset=9_000, trigger_offset=9_000),
        worse(3, 31, signals=[harm(9_500, 8_500)], opened_offset=9_500, trigger_offset=9_500),
        worse(4, 32, signals=[harm(9_900, 8_000)], opened_offset=9_900, trigger_offset=9_900),
    ]
    assert ranges_of(only(*records)) == [(8_500, 9_799)]


def test_harm_within_the_window_has_no_other_one() -> None:
    soon = worse(2, 1, signals=[harm(5_900, 5_100)], opened_offset=5_900, trigger_offset=5_900)
    assert ranges_of(only(worse(signals=[FEATURE]), soon)) == [(5_000, 5_999)]


def test_harm_that_had_come_back_by_the_end_of_its_window_asks_for_none_and_the_next_does() -> None:
    benign = worse(1, signals=[FEATURE])
    first = {"opened_offset": 9_000, "change_offset": 8_800}
    brief = [
        worse(2, 30, signals=[harm(9_000, 8_800)], trigger_offset=9_000, **first),
        worse(
            2,
            31,
            revision=2,
            status="updated",
            trigger_offset=9_300,
            signals=[harm(9_000, 8_800, direction="fell", effect=-0.4)],
            **first,
        ),
    ]
    assert drafts(benign, *brief) == []
    again = worse(
        3, 40, signals=[harm(20_000, 19_900)], opened_offset=20_000, trigger_offset=20_000
    )
    assert ranges_of(only(benign, *brief, again)) == [(19_900, 20_899)]


def test_the_window_of_harm_is_the_same_for_who_reads_late() -> None:
    def record(revision: int, offset: int, *more: dict[str, Any]) -> bytes:
        status = "opened" if revision == 1 else "updated"
        places = {"trigger_offset": offset, "revision": revision}
        return worse(1, revision, signals=[FEATURE, *more], status=status, **places)

    told = [record(1, 5_200), *(record(n, 6_000 + n) for n in range(2, 8))]
    told.append(record(8, 9_000, harm(9_000, 8_800)))
    at_once = only(*told)
    assert ranges_of(at_once) == [(8_800, 9_799)]
    told += [record(n, 10_000 + n, harm(9_000, 8_800)) for n in range(9, 40)]
    assert ranges_of(only(*told)) == [(8_800, 9_799)]
    # Its first record was the seventeenth, which is not kept.
    many = [record(1, 5_200), *(record(n, 6_000 + n) for n in range(2, 17))]
    many.append(record(17, 9_000, harm(9_000, 8_800)))
    assert ranges_of(only(*many)) == [(8_800, 9_799)]
    many += [record(n, 10_000 + n, harm(9_000, 8_800)) for n in range(18, 40)]
    assert ranges_of(only(*many)) == [(8_800, 9_799)]


def test_harm_that_was_found_in_the_window_and_told_behind_it_has_one_too() -> None:
    """As with `policy.confirm`, or when a mute ends."""
    benign = worse(1, signals=[FEATURE])
    late = worse(2, 30, signals=[harm(5_900, 5_800)], opened_offset=5_900, trigger_offset=6_300)
    assert ranges_of(only(benign, late)) == [(5_800, 6_799)]
    revised = worse(
        1,
        30,
        revision=2,
        status="updated",
        signals=[FEATURE, harm(5_900, 5_800)],
        trigger_offset=6_300,
    )
    assert ranges_of(only(benign, revised)) == [(5_800, 6_799)]


def test_which_window_it_is_does_not_hang_on_when_an_attack_in_the_first_is_told_over() -> None:
    told = [
        worse(1, signals=[FEATURE]),
        worse(2, 30, signals=[harm(6_300, 6_200)], opened_offset=6_300, trigger_offset=6_300),
    ]
    open_one = attack((5_500, 5_600), technique="model_extraction")
    over = orjson.loads(attack((5_500, 5_600), technique="model_extraction", is_over=True))
    over["unmapped"]["trigger_offset"] = 50_000
    assert ranges_of(only(*told, open_one)) == [(6_200, 7_199)]
    assert ranges_of(only(*told, open_one, orjson.dumps(over))) == [(6_200, 7_199)]


def test_harm_behind_a_window_that_was_too_short_and_asks_no_more_when_doubled() -> None:
    first = {"opened_offset": 5_200, "change_offset": 5_000}
    told = [
        worse(1, signals=[harm(5_200, 5_000)], **first),
        worse(
            1,
            20,
            revision=2,
            status="updated",
            trigger_offset=6_500,
            signals=[harm(5_200, 5_000, direction="fell", effect=-0.4)],
            **first,
        ),
        worse(2, 30, signals=[harm(20_000, 19_900)], opened_offset=20_000, trigger_offset=20_000),
    ]
    assert ranges_of(only(*told)) == [(5_000, 5_999)]
    (draft,) = drafts(*told, n_doublings=1)
    assert draft.last == {2: 21_899}
    # What the doubled one passed over has to be known to its end.
    assert draft.passed == {2: 6_999}


def test_a_later_window_waits_until_the_earlier_one_is_known_in_all_partitions() -> None:
    records = [
        worse(1, signals=[FEATURE]),
        worse(2, 1, signals=[FEATURE], partition=3),
        worse(3, 30, signals=[harm(9_000, 8_800)], opened_offset=9_000, trigger_offset=9_000),
    ]
    (draft,) = drafts(*records)
    assert draft.last == {2: 9_799}
    assert draft.passed == {2: 5_999, 3: 5_999}


def test_of_records_that_are_not_kept_no_window_begins_before_the_harm() -> None:
    def record(revision: int, offset: int, *signals: dict[str, Any]) -> bytes:
        status = "opened" if revision == 1 else "updated"
        places = {"trigger_offset": offset, "revision": revision}
        return worse(1, revision, signals=list(signals), status=status, **places)

    better = moved("error", change_offset=5_000, found_offset=5_200, direction="fell", effect=-0.4)
    told = [record(1, 5_200, better), *(record(n, 6_000 + n, better) for n in range(2, 17))]
    told.append(record(17, 9_000, harm(5_200, 8_800)))
    assert ranges_of(only(*told)) == [(8_800, 9_799)]
    told.append(record(18, 9_500, harm(5_200, 8_800)))
    assert ranges_of(only(*told)) == [(8_800, 9_799)]
