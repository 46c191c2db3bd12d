"""A responder that reads late asks for what one asks for that reads at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.responder_config import IncidentConfig, RetrainingConfig
from schemas.retraining import RetrainingData
from streams.incident_evidence import MAX_EARLIER, Evidence
from streams.incident_reasons import moved_of
from streams.retraining_draft import Draft
from streams.retraining_gate import WindowFacts, request_of
from streams.signal_meaning import is_harm
from tests.streams.incident_kit import START_MS, alert, anomalies, evidence, moved
from tests.streams.test_retraining_gate import ACT, CONFIG, OTHER_DUTY, drafts_of

PARTITION = 2
EVERY = 2**40
INCIDENTS = IncidentConfig(quiet_ms=50_000)
"""Over after 500 offsets of quiet."""
SIGNALS = ("error", "feature:age", "quality:range", "expected_error")
TECHNIQUES = ("label_poisoning", "probing", "data_change")


class Record(NamedTuple):
    """What a record says, and the offset of the event at which it was told."""

    told: int
    says: Evidence


def time_ms(offset: int) -> int:
    """Events are 0.1 s apart: everything below is of one incident."""
    return START_MS + 100 * offset


def alert_records(
    number: int, version: str, changes: Sequence[int], told: Sequence[int], resolves: bool
) -> list[Record]:
    """An alert of which each revision finds a signal more; `changes` are how far back it began.

    Every third one says that it is over, and the next that it has come back; the one before says
    that data which broke are back, while the rest is not.
    """
    records = []
    signals: list[dict[str, Any]] = []
    for revision, at in enumerate(told, 1):
        is_over = resolves and (revision % 3 == 0 or revision == len(told) > 1)
        units = ("share", "spread") if is_over else ("share",) if resolves else ()
        back = SIGNALS if is_over else ("quality:range",) if revision % 3 == 2 else ()
        signals = [
            {
                **each,
                "standing": "returned"
                if each["signal"] in back and each["unit"] in units
                else "moved",
            }
            for each in signals
        ]
        if not is_over and revision <= len(changes):
            name = SIGNALS[(number + revision) % len(SIGNALS)]
            # Its spread is an entry of its own, and comes back by itself.
            unit = "spread" if revision // 4 else "share"
            began = at - changes[revision - 1]
            signals = [*signals, moved(name, unit=unit, change_offset=began, found_offset=at)]
        fields: dict[str, Any] = {"status": "resolved", "resolution": "returned"} if is_over else {}
        value = alert(
            number,
            **fields,
            revision=revision,
            signals=signals,
            signal=signals[0]["signal"],
            event_time_ms=time_ms(at),
            trigger_offset=at,
            opened_offset=told[0],
            change_offset=signals[0]["change_offset"],
            partition=PARTITION,
            model_version=version,
        )
        records.append(Record(at, *evidence(value)))
    return records


def anomaly_records(
    number: int, technique: str, back: Sequence[int], told: Sequence[int], closes: bool
) -> list[Record]:
    """An anomaly of which each revision adds a stretch of offsets and a source."""
    opened, *_, closed = anomalies()
    records = []
    ranges: list[dict[str, int]] = []
    for revision, at in enumerate(told, 1):
        is_last = closes and revision == len(told) > 1
        fields = orjson.loads(closed if is_last else opened)
        if not is_last:
            first = max(at - back[(revision - 1) % len(back)], 0)
            first = max([first, *(each["last_offset"] + 1 for each in ranges)])
            ranges = [*ranges, {"first_offset": first, "last_offset": at}]
        fields["finding_info"]["uid"] = f"{number + 1_000:032x}"
        fields.update(start_time=time_ms(told[0]), end_time=time_ms(at), time=time_ms(at))
        own = fields["unmapped"]
        own.update(
            technique=technique,
            revision=revision,
            opened_offset=told[0],
            trigger_offset=at,
            partition=PARTITION,
            lineage=OTHER_DUTY,
        )
        own["quarantine"].update(
            partition=PARTITION,
            ranges=ranges,
            sources=[f"{each:032x}" for each in range(len(ranges))],
            is_complete=len(ranges) != 2,
            without_source=False,
        )
        records.append(Record(at, *evidence(orjson.dumps(fields))))
    return records


_alerts_told = st.lists(st.integers(5_000, 9_000), min_size=1, max_size=6, unique=True).map(sorted)
_attacks_told = st.lists(st.integers(3_000, 9_000), min_size=1, max_size=4, unique=True).map(sorted)
_back = st.lists(st.integers(1, 2_500), min_size=1, max_size=4)


@st.composite
def stories(draw: st.DrawFn) -> list[Record]:
    """What is told of one model, in the log's order: at least one alert."""
    records: list[Record] = []
    for number in range(1, 1 + draw(st.integers(1, 3))):
        version = draw(st.sampled_from(["7", "8"]))
        records += alert_records(
            number, version, draw(_back), draw(_alerts_told), draw(st.booleans())
        )
    for number in range(draw(st.integers(0, 2))):
        technique = draw(st.sampled_from(TECHNIQUES))
        records += anomaly_records(
            number, technique, draw(_back), draw(_attacks_told), draw(st.booleans())
        )
    return sorted(records, key=lambda each: each.told)


def judged(draft: Draft, config: RetrainingConfig) -> RetrainingData:
    """The request when its window is settled."""
    (end,) = draft.last.values()
    return request_of(draft, WindowFacts(900, 800, 160, 0, START_MS, time_ms(end)), [], config)


def asked(told: Sequence[Evidence], config: RetrainingConfig) -> list[Draft]:
    return drafts_of(told, config, incidents=INCIDENTS)


def requests(records: Sequence[Record], config: RetrainingConfig) -> dict[str, RetrainingData]:
    found = [judged(each, config) for each in asked([one.says for one in records], config)]
    return {each.request_id: each for each in found}


def released_at_once(
    records: Sequence[Record], config: RetrainingConfig
) -> Iterator[RetrainingData]:
    """What is released before more is told, by whoever reads every record when it is written."""
    places = sorted({each.told for each in records})
    for place, following in zip(places, [*places[1:], EVERY], strict=True):
        for draft in asked([each.says for each in records if each.told <= place], config):
            (end,) = draft.last.values()
            request = judged(draft, config)
            if end < following and request.status == "released":
                yield request


def check(records: Sequence[Record], late: Sequence[Record], config: RetrainingConfig) -> int:
    """How many requests were asked for at once; who read all of it late has asked for the same."""
    found = requests(late, config)
    at_once = list(released_at_once(records, config))
    for request in at_once:
        assert found.get(request.request_id) == request
    return len(at_once)


@pytest.mark.parametrize("quarantine", ["ask", "act"])
@given(records=stories(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_what_is_told_behind_a_window_changes_nothing_of_its_request(
    quarantine: Literal["ask", "act"], records: list[Record], data: st.DataObject
) -> None:
    config = ACT if quarantine == "act" else CONFIG
    check(records, data.draw(st.permutations(records)), config)


WORSE = alert_records(2, "7", [10], [5_000], resolves=False)
BACK = alert_records(2, "7", [10], [5_000, 5_100], resolves=True)


@pytest.mark.parametrize(
    ("at_once", "behind"),
    [
        # An attack of before the window, that is told to have gone on in it when it is over.
        (WORSE, anomaly_records(1, "probing", [10, 4_000], [3_000, 8_000, 8_100], closes=True)),
        # A change that is over before the window ends, and comes back behind it.
        (BACK, alert_records(6, "7", [10], [7_000], resolves=False)),
        # One that began earlier than it was first told to.
        (WORSE, alert_records(6, "7", [4_000], [7_000], resolves=False)),
        # A new version, which gets worse as well.
        (WORSE, alert_records(6, "8", [10], [7_000], resolves=False)),
    ],
)
def test_what_was_told_behind_a_window_once(at_once: list[Record], behind: list[Record]) -> None:
    records = sorted([*at_once, *behind], key=lambda each: each.told)
    assert check(records, records[::-1], CONFIG)


def test_a_change_that_comes_back_is_asked_for_no_more() -> None:
    (request,) = requests(BACK, CONFIG).values()
    assert request.status == "withdrawn"
    again = alert_records(6, "7", [10], [7_000], resolves=False)
    (request,) = requests([*BACK, *again], CONFIG).values()
    assert request.status == "released"


@given(records=stories())
@settings(max_examples=150, deadline=None)
def test_of_every_harm_a_retraining_is_asked_for(records: list[Record]) -> None:
    alerts = [each for each in records if each.says.alert is not None]
    is_worse = any(is_harm(moved) for _, _, moved in moved_of([each.says for each in alerts]))
    config = CONFIG.model_copy(update={"reasons": ("harmful_drift", "benign_drift", "data_fault")})
    assert requests(alerts, config)
    assert is_worse or not requests(alerts, CONFIG)


def many(n: int, at: int, *last: dict[str, Any]) -> list[Record]:
    """An alert that finds a signal in each revision, and these in the last."""
    signals = [
        moved(f"feature:f{each}", change_offset=4_990, found_offset=5_000) for each in range(n)
    ]
    return [
        Record(
            5_000 + revision,
            *evidence(
                alert(
                    6,
                    revision=revision,
                    signals=[*signals[:revision], *(last if revision > n else [])],
                    event_time_ms=time_ms(5_000 + revision),
                    trigger_offset=at if revision > n else 5_000 + revision,
                    change_offset=4_990,
                    partition=PARTITION,
                )
            ),
        )
        for revision in range(1, n + 2)
    ]


def test_what_an_alert_of_many_revisions_says_counts_when_it_is_told() -> None:
    harm = moved("error", change_offset=5_100, found_offset=5_400)
    broken = moved("quality:range", change_offset=5_100, found_offset=5_400)
    (request,) = requests(many(MAX_EARLIER + 4, 5_400, harm), CONFIG).values()
    assert request.status == "released"
    (request,) = requests([*WORSE, *many(MAX_EARLIER + 4, 5_400, broken)], CONFIG).values()
    assert [each.reason for each in request.holds] == ["data_fault_open"]
    # Told behind the window's end: of its signals some were found before.
    behind = moved("quality:range", change_offset=5_100, found_offset=8_900)
    story = [*many(MAX_EARLIER + 4, 5_400, harm), *many(MAX_EARLIER + 5, 9_000, harm, behind)[-1:]]
    (request,) = requests(story, CONFIG).values()
    assert request.reason == "harmful_drift"


def test_an_attack_of_many_revisions_is_seen_where_it_is() -> None:
    told = [*range(3_000, 3_000 + MAX_EARLIER + 3), 5_200]
    attack = anomaly_records(1, "probing", [1], told, closes=False)
    (request,) = requests([*WORSE, *attack], CONFIG).values()
    assert [each.reason for each in request.holds] == ["attack_suspected"]


def test_of_two_versions_that_get_worse_the_newer_one_is_replaced() -> None:
    for resolves in (False, True):
        old = alert_records(2, "7", [10, 10], [5_010, 6_300], resolves=resolves)
        new = alert_records(6, "8", [50], [5_700], resolves=False)
        assert [each.model_version for each in requests([*old, *new], CONFIG).values()] == ["8"]


def test_a_fault_that_comes_back_behind_the_window_moves_it_no_more() -> None:
    fault = alert_records(1, "7", [10], [5_100, 5_200, 5_300, 8_000], resolves=True)
    assert any(each.says.alert and each.says.alert.status == "resolved" for each in fault[2:3])
    records = sorted([*alert_records(2, "7", [10], [5_010], resolves=False), *fault])
    assert check(records, records[::-1], CONFIG)


def test_what_is_told_late_is_known_late() -> None:
    broken = moved("quality:range", change_offset=5_090, found_offset=5_100)
    told = alert(
        7,
        revision=1,
        signals=[broken],
        event_time_ms=time_ms(9_000),
        trigger_offset=9_000,
        partition=PARTITION,
    )
    late = [Record(9_000, *evidence(told))]
    assert check([*WORSE, *late], [*late, *WORSE], CONFIG)


def test_one_trouble_that_is_not_over_is_waited_for_beside_one_that_is() -> None:
    open_one = anomaly_records(1, "probing", [100], [5_200], closes=False)
    over = anomaly_records(2, "data_change", [50], [5_300, 5_400], closes=True)
    (request,) = requests([*WORSE, *open_one, *over], CONFIG).values()
    assert [each.reason for each in request.holds] == ["attack_suspected"]
    assert request.window.parts[0].ranges[0].first_offset == WORSE[0].told - 10
