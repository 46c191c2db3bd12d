"""What holds a rollback: attacks and broken data in what was compared, by what was known then."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from streams.incident_evidence import Evidence
from streams.incident_reasons import Overruling
from tests.streams.incident_kit import evidence, moved, shown
from tests.streams.rollback_kit import Place, run
from tests.streams.test_retraining_gate import attack, worse
from tests.streams.test_rollback import ACT, hear, held_for, in_partition_0, switch


@pytest.mark.parametrize(
    ("first", "is_over", "holds"),
    [
        (1_100, False, True),
        (700, False, True),
        # A source that lies has lied since, as far as anybody knows, until it is over.
        (450, False, True),
        (450, True, False),
        (1_450, False, False),
    ],
    ids=["in the new", "in the old", "since before", "over before", "behind"],
)
def test_an_attack_in_what_was_compared_holds_it(first: int, is_over: bool, holds: bool) -> None:
    place = Place(switch(), ACT)
    for each in evidence(in_partition_0(attack((first, first + 20), is_over=is_over))):
        run(place.desk.take(each))
    place.settle(2_000)
    (request,) = place.requests()
    assert held_for(request) == (["attack_suspected"] if holds else [])
    if holds:
        (incident,) = [key for key in place.topic.compacted() if key.startswith("incident/")]
        seen = shown(attack((first, first + 20)))
        name = incident.partition("/")[2]
        hear(place, Overruling(1, name, "benign_drift", "ana", "a test", seen))
        assert [each.status for each in place.requests()] == ["released"]


def found_at(
    offset: int,
    *ranges: tuple[int, int],
    revision: int = 1,
    trigger: int | None = None,
    **given: Any,
) -> list[Evidence]:
    """A revision of an attack that was found at an offset."""
    fields = orjson.loads(in_partition_0(attack(*ranges, **given)))
    fields["unmapped"].update(
        opened_offset=offset, trigger_offset=trigger or offset, revision=revision
    )
    return evidence(orjson.dumps(fields))


def status_of(told: Iterable[Evidence]) -> tuple[str, list[str]]:
    place = Place(switch(), ACT)
    for each in told:
        run(place.desk.take(each))
    place.settle(2_000)
    (request,) = place.requests()
    return request.status, held_for(request)


@pytest.mark.parametrize("technique", ["label_poisoning", "model_extraction"])
@pytest.mark.parametrize("is_over", [False, True])
def test_an_attack_on_the_old_window_that_is_found_in_the_new_one_holds_it(
    technique: str, is_over: bool
) -> None:
    told = found_at(1_100, (700, 990), technique=technique, is_over=is_over)
    assert status_of(told) == ("held", ["attack_suspected"])
    late = found_at(1_500, (700, 990), technique=technique, is_over=is_over)
    assert status_of(late) == ("released", []), "found behind what was compared"


def test_what_is_told_of_an_attack_behind_what_was_compared_does_not_enter() -> None:
    early = found_at(450, (450, 470), technique="model_extraction")
    more = found_at(
        450,
        (450, 470),
        (1_200, 1_250),
        technique="model_extraction",
        revision=2,
        trigger=5_000,
    )
    assert status_of(early) == status_of([*early, *more]) == ("released", [])
    before = found_at(450, (450, 470))
    assert status_of(before) == ("held", ["attack_suspected"]), "poisoning goes on until it is over"
    over = found_at(450, (450, 470), revision=2, trigger=5_000, is_over=True)
    assert status_of([*before, *over]) == ("released", []), "it did not go on"
    went_on = found_at(450, (450, 470), (1_200, 1_250), revision=2, trigger=5_000, is_over=True)
    assert status_of([*before, *went_on]) == ("held", ["attack_suspected"])


def test_data_that_break_again_behind_what_was_compared_do_not_enter() -> None:
    signal = moved("quality:range", change_offset=1_100, found_offset=1_120)
    fields = {"partition": 0, "change_offset": 1_100, "signals": [signal]}
    back = {"status": "resolved", "resolution": "returned"}
    told = [
        worse(2, 1, trigger_offset=1_120, **fields),
        worse(2, 2, trigger_offset=1_300, revision=2, **fields, **back),
    ]
    again = worse(2, 3, trigger_offset=5_000, revision=3, status="updated", **fields)
    assert status_of(evidence(*told)) == status_of(evidence(*told, again)) == ("released", [])


@pytest.mark.parametrize(("is_over", "holds"), [(False, ["data_fault_open"]), (True, [])])
def test_data_that_broke_hold_it_until_they_are_whole(is_over: bool, holds: list[str]) -> None:
    signal = moved("quality:range", change_offset=1_100, found_offset=1_120)
    fault = {"partition": 0, "trigger_offset": 1_120, "change_offset": 1_100, "signals": [signal]}
    over = {
        **fault,
        "revision": 2,
        "status": "resolved",
        "trigger_offset": 1_300,
        "resolution": "returned",
    }
    place = Place(switch(), ACT)
    for each in evidence(worse(2, 1, **fault), *([worse(2, 2, **over)] if is_over else [])):
        run(place.desk.take(each))
    place.settle(2_000)
    assert held_for(place.requests()[0]) == holds
