"""How long broken data hold a retraining, and what is made of revisions that are not kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given, settings

from schemas.responder_config import RetrainingConfig
from schemas.retraining import RetrainingData
from streams.incident_evidence import Evidence, merged
from streams.known_then import known_at
from streams.troubles import Stretch, Trouble, ended_after, is_in, troubles_of
from tests.streams.incident_kit import moved
from tests.streams.test_retraining_gate import (
    ACT,
    CONFIG,
    attack,
    drafts_of,
    held_for,
    only,
    ranges_of,
    worse,
)
from tests.streams.test_retraining_late import Record, judged, stories

BROKEN = moved("quality:range", change_offset=5_100, found_offset=5_150)
MISSING = moved("missing:age", effect=0.9, change_offset=5_120, found_offset=5_150)
SCORE = moved("score", change_offset=5_110, found_offset=5_600)
DRIFTED = moved("feature:age", change_offset=5_100, found_offset=5_150)
BACK = {"standing": "returned"}


def told(revision: int, offset: int, *signals: dict[str, Any], **given: Any) -> bytes:
    """An alert on more than broken data, in this revision."""
    fields = {"revision": revision, "signals": [DRIFTED, *signals], "trigger_offset": offset}
    return worse(2, revision, **{**fields, **given})


def test_a_fault_is_over_where_all_that_broke_is_back_whatever_else_is_not() -> None:
    first = told(1, 5_150, BROKEN, MISSING)
    half = told(2, 5_300, {**BROKEN, **BACK}, MISSING)
    assert held_for(only(worse(), first, half)) == ["data_fault_open"]
    both = told(3, 5_400, {**BROKEN, **BACK}, {**MISSING, **BACK})
    assert ranges_of(only(worse(), first, half, both)) == [(5_401, 6_400)]
    # What is told of something else later does not move it.
    more = told(4, 5_600, {**BROKEN, **BACK}, {**MISSING, **BACK}, SCORE)
    assert ranges_of(only(worse(), first, half, both, more)) == [(5_401, 6_400)]


@pytest.mark.parametrize("standing", ["returning", "superseded", "moved"])
def test_what_is_not_back_is_not_over(standing: str) -> None:
    later = told(2, 5_300, {**BROKEN, "standing": standing})
    assert held_for(only(worse(), told(1, 5_150, BROKEN), later)) == ["data_fault_open"]


def test_what_broke_and_is_not_named_is_not_back() -> None:
    back = {**BROKEN, **BACK}
    later = told(2, 5_300, back, n_faults_unnamed=1)
    assert held_for(only(worse(), told(1, 5_150, BROKEN), later)) == ["data_fault_open"]


def test_a_signal_is_back_where_all_of_it_is() -> None:
    """Its mean, spread and shape are entries of their own."""
    mean, spread = ({**BROKEN, "signal": "latency", "unit": unit} for unit in ("value", "spread"))
    half = told(2, 5_300, {**mean, **BACK}, spread)
    assert held_for(only(worse(), told(1, 5_150, mean, spread), half)) == ["data_fault_open"]
    both = told(3, 5_400, {**mean, **BACK}, {**spread, **BACK})
    records = [told(1, 5_150, mean, spread), half, both]
    assert ranges_of(only(worse(), *records)) == [(5_401, 6_400)]


GONE_ON = {**BROKEN, "standing": "superseded"}
AGAIN = moved("quality:range", change_offset=5_290, found_offset=5_300)


def second(revision: int, offset: int, *signals: dict[str, Any], **given: Any) -> bytes:
    """The alert into which the fault has moved on."""
    fields = {"revision": revision, "signals": list(signals), "trigger_offset": offset}
    return worse(3, revision, **{**fields, **given})


def test_a_fault_that_moves_twice_is_over_where_the_second_alert_says_so() -> None:
    first = [told(1, 5_150, BROKEN), told(2, 5_300, GONE_ON)]
    assert held_for(only(worse(), *first)) == ["data_fault_open"]
    assert held_for(only(worse(), *first, second(1, 5_300, AGAIN))) == ["data_fault_open"]
    over = [second(1, 5_300, AGAIN), second(2, 5_500, {**AGAIN, **BACK})]
    assert ranges_of(only(worse(), *first, *over)) == [(5_501, 6_500)]
    elsewhere = [second(1, 5_300, AGAIN, lineage="e" * 32), over[1]]
    assert held_for(only(worse(), *first, elsewhere[0])) == ["data_fault_open"]


@pytest.mark.parametrize(
    ("own", "again"),
    [
        # Mended in two steps: the first leaves too little of it for a fault.
        (MISSING, {"effect": 0.4, "change_offset": 5_290, "found_offset": 5_300}),
        # Its shape goes with whatever of it moves.
        (
            {**BROKEN, "signal": "latency", "unit": "shape"},
            {"unit": "value", "change_offset": 5_290, "found_offset": 5_300},
        ),
        # The first alert came to know of it after the second one had.
        ({**BROKEN, "found_offset": 5_310}, {"change_offset": 5_290, "found_offset": 5_300}),
        # Two detectors found it at one event.
        ({**BROKEN, "found_offset": 5_300}, {"change_offset": 5_290, "found_offset": 5_300}),
    ],
    ids=["in two steps", "shape", "late", "at once"],
)
def test_a_fault_that_has_moved_on_is_over_where_the_signal_is_back(
    own: dict[str, Any], again: dict[str, Any]
) -> None:
    moved_on = {**own, **again}
    first = [told(1, 5_150, own), told(2, 5_300, {**own, "standing": "superseded"})]
    assert held_for(only(worse(), *first, second(1, 5_300, moved_on))) == ["data_fault_open"]
    over = second(2, 5_500, {**moved_on, **BACK}, status="resolved", resolution="returned")
    ((begins, _),) = ranges_of(only(worse(), *first, second(1, 5_300, moved_on), over))
    assert begins == 5_501


def test_a_fault_that_has_moved_on_is_over_where_less_is_missing_than_in_the_reference() -> None:
    gone_on = {**MISSING, "standing": "superseded"}
    first = [told(1, 5_150, MISSING), told(2, 5_300, gone_on)]
    less = {**MISSING, "effect": -0.2, "direction": "fell"}
    less |= {"change_offset": 5_290, "found_offset": 5_300}
    assert ranges_of(only(worse(), *first, second(1, 5_300, less))) == [(5_301, 6_300)]
    in_one = told(2, 5_300, {**less, "change_offset": 5_290})
    assert ranges_of(only(worse(), first[0], in_one)) == [(5_301, 6_300)]


def test_a_fault_that_moves_into_an_alert_which_is_told_late_is_away_until_then() -> None:
    first = [told(1, 5_150, BROKEN), told(2, 5_300, GONE_ON)]
    late = [second(1, 8_000, AGAIN), second(2, 8_100, {**AGAIN, **BACK})]
    assert ranges_of(only(worse(), *first, *late)) == [(8_101, 9_100)]


@pytest.mark.parametrize(
    ("resolution", "standing", "holds"),
    [
        ("returned", "returned", False),
        ("new_reference", "moved", False),
        ("superseded", "superseded", True),
        ("forgotten", "moved", True),
    ],
)
def test_an_alert_that_is_given_up_says_nothing_of_where_its_signals_are(
    resolution: str, standing: str, holds: bool
) -> None:
    last = told(
        2, 5_300, {**BROKEN, "standing": standing}, status="resolved", resolution=resolution
    )
    request = only(worse(), told(1, 5_150, BROKEN), last)
    if holds:
        assert held_for(request) == ["data_fault_open"]
    else:
        assert ranges_of(request) == [(5_301, 6_300)]


def test_an_attack_that_was_closed_for_want_of_room_is_not_over() -> None:
    opened = attack((5_100, 5_200), technique="probing")
    fields = orjson.loads(attack((5_100, 5_200), technique="probing", is_over=True))
    assert ranges_of(only(worse(), opened, orjson.dumps(fields))) == [(5_201, 6_200)]
    fields["unmapped"]["ending"] = "room"
    assert held_for(only(worse(), opened, orjson.dumps(fields))) == ["attack_suspected"]


def test_what_breaks_again_holds_again() -> None:
    records = [
        told(1, 5_150, BROKEN),
        told(2, 5_300, {**BROKEN, **BACK}),
        told(3, 5_350, BROKEN),
    ]
    assert held_for(only(worse(), *records)) == ["data_fault_open"]
    over = told(4, 5_500, {**BROKEN, **BACK})
    assert ranges_of(only(worse(), *records, over)) == [(5_501, 6_500)]


def test_what_an_alert_says_whose_first_records_are_gone_is_taken_to_have_been_away() -> None:
    late = told(3, 8_000, {**BROKEN, **BACK})
    assert ranges_of(only(worse(), late)) == [(8_001, 9_100)]


@pytest.fixture
def _few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.incident_evidence.MAX_EARLIER", 2)


@pytest.mark.usefixtures("_few_are_kept")
def test_between_revisions_that_are_kept_a_fault_may_have_come_back() -> None:
    """The third, which is not kept, is told before the window ends, as far as anybody knows."""
    records = [told(1, 5_150, BROKEN), told(2, 5_300, {**BROKEN, **BACK})]
    assert ranges_of(only(worse(), *records)) == [(5_301, 6_300)]
    again, behind = told(3, 5_350, BROKEN), told(4, 8_000, BROKEN)
    assert held_for(only(worse(), *records, again, behind)) == ["data_fault_open"]
    over = told(4, 8_000, {**BROKEN, **BACK})
    assert ranges_of(only(worse(), *records, again, over)) == [(8_001, 9_000)]
    closed = told(2, 5_300, {**BROKEN, **BACK}, status="resolved", resolution="returned")
    assert held_for(only(worse(), records[0], closed, again, behind)) == ["data_fault_open"]


@pytest.mark.usefixtures("_few_are_kept")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"effect": 0.3}, {"effect": 0.9}),
        ({"signal": "feature:x"}, {"signal": "feature:x", "part_factor": 0.01}),
        ({"signal": "latency", **BACK}, {"signal": "latency", "unit": "spread"}),
    ],
    ids=["it grew", "its unit changed", "another number of it"],
)
def test_between_revisions_that_are_kept_a_signal_may_have_become_a_fault(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    seen, grown = {**MISSING, **before}, {**MISSING, **after}
    records = [told(n, 5_150 + n, seen) for n in (1, 2)]
    records += [told(n, 5_300 + n, grown) for n in (3, 4)] + [told(5, 8_000, grown)]
    assert held_for(only(worse(), *records)) == ["data_fault_open"]


@pytest.mark.usefixtures("_few_are_kept")
def test_between_revisions_that_are_kept_nothing_of_a_quarantine_is_lost() -> None:
    def liars(revision: int, offset: int, *ranges: tuple[int, int]) -> bytes:
        fields = orjson.loads(attack(*ranges))
        fields["unmapped"].update(revision=revision, trigger_offset=offset)
        return orjson.dumps(fields)

    # One that goes on may have joined what was apart.
    apart = [liars(1, 5_050, (5_010, 5_020)), liars(2, 5_310, (5_010, 5_020), (5_030, 5_040))]
    apart += [liars(4, 8_000, (5_010, 5_040), (5_060, 5_070))]
    (part,) = only(worse(), *apart, config=ACT).quarantine
    assert [(each.first_offset, each.last_offset) for each in part.ranges] == [(5_010, 5_999)]
    records = [
        liars(1, 5_050, (5_000, 5_050)),
        liars(2, 5_310, (5_000, 5_050), (5_300, 5_310)),
        liars(3, 5_400, (5_000, 5_290), (5_300, 5_400)),
        liars(4, 8_000, (5_000, 5_290), (5_300, 8_000)),
    ]
    (part,) = only(worse(), *records, config=ACT).quarantine
    left_out = [(each.first_offset, each.last_offset) for each in part.ranges]
    assert left_out == [(5_000, 5_290), (5_300, 5_999)]


def test_an_attack_whose_first_records_are_gone_is_taken_to_have_gone_on() -> None:
    over = attack((5_100, 5_300), is_over=True)
    assert ranges_of(only(worse(), over)) == [(5_301, 6_300)]


def is_left_out(request: RetrainingData, attack: Evidence) -> bool:
    """Whether all whom an attack names are left out: by name, or with everybody."""
    assert attack.anomaly is not None
    named = set(attack.anomaly.unmapped.quarantine.sources)
    return any(
        part.evidence_id == attack.evidence_id and (named <= set(part.sources) or not part.sources)
        for part in request.quarantine
    )


def released_on_trouble(
    records: Sequence[Record], config: RetrainingConfig, n_kept: int
) -> list[Trouble]:
    """Trouble in what is released by who keeps so few revisions, as all of them tell it."""
    told_in_all = [each.says for each in records]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streams.incident_evidence.MAX_EARLIER", n_kept)
        found = [judged(each, config) for each in drafts_of(told_in_all, config)]
    spoilt: list[Trouble] = []
    for request in found:
        if request.status != "released":
            continue
        (part,) = request.window.parts
        first, last = part.ranges[0].first_offset, part.ranges[-1].last_offset
        stretch = Stretch(part.partition, first, last)
        for each in merged(told_in_all).values():
            known = known_at(each, last)
            if known is None or not any(is_in(one, stretch) for one in troubles_of(known)):
                continue
            # Of poisoning that is over it is known by then how far it went.
            over = ended_after(each, known) or known
            if not known.is_of_attack or not is_left_out(request, known):
                spoilt += [one for one in troubles_of(over) if is_in(one, stretch)]
    return spoilt


@pytest.mark.parametrize("config", [CONFIG, ACT], ids=["ask", "act"])
@pytest.mark.parametrize("n_kept", [0, 1, 2, 16])
@given(records=stories())
@settings(max_examples=60, deadline=None)
def test_nothing_is_released_on_trouble_however_few_revisions_are_kept(
    n_kept: int, config: RetrainingConfig, records: list[Record]
) -> None:
    assert released_on_trouble(records, config, n_kept) == []
