"""From suspicions to anomalies: what belongs together, what is told, when it is over."""

from __future__ import annotations

from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.security.base import Suspicion, Technique
from schemas.anomalies import AnomalyData
from schemas.batch import ModelKey
from streams import anomaly_book
from streams.anomaly import MAX_DETAILS, MAX_DETECTORS, MAX_RANGES, with_range
from streams.anomaly_records import confidence_of
from tests.streams.anomaly_kit import (
    QUIET,
    Told,
    cluster,
    passed,
    place_of,
    policy,
    suspicion,
)


def said(records: list[AnomalyData]) -> list[tuple[str, int]]:
    """Status and revision of each."""
    return [(record.unmapped.status, record.unmapped.revision) for record in records]


def test_one_firing_opens_and_twice_the_evidence_updates() -> None:
    told = Told()
    assert said(told.until(10, suspicion(5))) == [("opened", 1)]
    assert told.until(20, suspicion(12, n_hits=5)) == []
    (record,) = told.until(30, suspicion(25, n_hits=6))
    assert said([record]) == [("updated", 2)]
    assert record.count == 6
    assert record.unmapped.seq == 2
    assert record.finding_info.created_time == 5_000
    assert record.finding_info.modified_time == record.time == 25_000
    assert record.unmapped.opened_offset == place_of(5)[0]
    assert (record.unmapped.trigger_offset, record.unmapped.trigger_row) == place_of(25)


def test_a_detector_that_joins_is_news_and_raises_the_confidence() -> None:
    told = Told()
    (one,) = told.until(10, suspicion(5))
    (two,) = told.until(20, cluster(12, [(7, 9)]))
    assert one.finding_info.uid == two.finding_info.uid
    assert two.unmapped.detectors == ["probing", "provenance"]
    assert (one.confidence_score, two.confidence_score) == (40, 60)
    assert (one.confidence, two.confidence) == ("Low", "Medium")
    # The severity of probing is high; of what is hardly sure it is one less.
    assert (one.severity, two.severity) == ("Medium", "High")
    assert two.finding_info.related_analytics is not None
    assert [each.uid for each in two.finding_info.related_analytics] == ["provenance"]
    assert len(two.anomaly_analyses) == 2


def test_a_calibration_that_was_reviewed_since_is_news() -> None:
    told = Told()
    (before,) = told.until(10, suspicion(5))
    (after,) = told.until(20, suspicion(12, is_provisional=False))
    assert (before.unmapped.is_provisional, after.unmapped.is_provisional) == (True, False)
    assert (before.confidence_score, after.confidence_score) == (40, 60)
    assert "nobody has reviewed" in before.message
    assert "nobody has reviewed" not in after.message


@pytest.mark.parametrize(
    ("n", "n_reviewed", "score"),
    [
        (1, 0, 40),
        (1, 1, 60),
        (2, 0, 60),
        (2, 1, 70),
        (2, 2, 80),
        (3, 0, 70),
        (4, 2, 80),
        (5, 5, 90),
    ],
)
def test_confidence_is_of_how_many_agree_and_of_what_was_reviewed(
    n: int, n_reviewed: int, score: int
) -> None:
    told = Told()
    for number in range(n):
        given = {"detector": f"d{number}", "is_provisional": number >= n_reviewed}
        (record,) = told.until(told.policy.book.n_events + 5, suspicion(number, **given))
    assert record.confidence_score == score
    assert record.confidence == {1: "Low", 2: "Medium", 3: "High"}[confidence_of(score)]


def test_a_detector_that_begins_anew_does_not_lose_its_evidence() -> None:
    told = Told()
    told.until(10, suspicion(5, n_hits=12))
    assert told.until(20, suspicion(12, n_hits=3)) == []
    (record,) = told.until(30, suspicion(22, n_hits=12))
    assert record.count == 24
    # Two detectors see the same events: the larger number counts.
    (record,) = told.until(40, suspicion(35, n_hits=20, detector="query_distance"))
    assert record.count == 24


@pytest.mark.parametrize(
    "other",
    [
        {"technique": Technique.INVERSION},
        {"model": 1},
        {"source_words": (7, 10)},
        {"source_words": (0, 0)},
        {"detail": "exposure"},
    ],
)
def test_what_differs_in_kind_or_source_is_an_anomaly_of_its_own(other: dict[str, Any]) -> None:
    told = Told()
    (one,) = told.until(10, suspicion(5))
    (two,) = told.until(20, suspicion(5, **other) if other.get("model") else suspicion(12, **other))
    assert said([one, two]) == [("opened", 1), ("opened", 1)]
    assert one.finding_info.uid != two.finding_info.uid
    assert len(told.policy.book.by_uid) == 2


def test_at_one_event_two_sources_or_techniques_have_two_names() -> None:
    told = Told()
    both = [suspicion(5, source_words=(1, 1)), suspicion(5, source_words=(2, 2))]
    more = [suspicion(5, technique=Technique.CHAFF), cluster(5, [(3, 3), (4, 4)])]
    exposed = suspicion(5, technique=Technique.CHAFF, detail="exposure")
    records = told.until(10, *both, *more, exposed)
    assert len({record.finding_info.uid for record in records}) == 5


def test_a_place_says_nothing_and_the_source_all() -> None:
    told = Told()
    told.until(10, suspicion(5, source=3, source_words=(1, 2)))
    assert len(told.until(20, suspicion(12, source=3, source_words=(5, 6)))) == 1
    assert told.until(30, suspicion(25, source=8, source_words=(1, 2))) == []


def test_clusters_are_one_where_they_share_a_source() -> None:
    told = Told()
    (one,) = told.until(10, cluster(5, [(1, 1), (2, 2)]))
    assert told.until(20, cluster(12, [(2, 2), (3, 3)])) == []
    (apart,) = told.until(30, cluster(25, [(8, 8), (9, 9)]))
    assert apart.finding_info.uid != one.finding_info.uid
    (grown,) = told.until(40, cluster(35, [(3, 3), (4, 4)], n_hits=6))
    assert grown.finding_info.uid == one.finding_info.uid
    assert grown.unmapped.n_sources == 4
    # Those that were said last come first.
    own = [f"{n:02x}" + "00" * 7 for n in (3, 4, 2, 1)]
    assert grown.unmapped.quarantine.sources == [each * 2 for each in own]


def test_a_cluster_of_one_source_is_that_source() -> None:
    told = Told()
    (one,) = told.until(10, suspicion(5, source_words=(1, 2)))
    (two,) = told.until(20, cluster(12, [(1, 2)]))
    assert one.finding_info.uid == two.finding_info.uid
    assert two.unmapped.detectors == ["probing", "provenance"]


def test_a_cluster_of_one_source_without_a_name_is_what_has_none() -> None:
    told = Told()
    (one,) = told.until(10, suspicion(5, source_words=(0, 0)))
    (two,) = told.until(20, cluster(12, [], n_sources=1))
    assert one.finding_info.uid == two.finding_info.uid
    assert two.unmapped.quarantine.without_source


def test_a_slot_says_nothing_and_the_model_all() -> None:
    told = Told()
    (one,) = told.until(10, suspicion(5))
    (two,) = told.until(20, suspicion(12, model_key=ModelKey("next", "1")))
    assert one.finding_info.uid != two.finding_info.uid
    assert "next 1: source" in two.message


def test_who_names_nobody_is_one() -> None:
    told = Told()
    flood = {"technique": Technique.PRESSURE, "detector": "pressure", "model": -1}
    assert len(told.until(10, cluster(5, [], **flood))) == 1
    assert told.until(20, cluster(12, [], **flood)) == []
    # Others of the same kind that name somebody are not among them.
    assert len(told.until(30, cluster(25, [(1, 1), (2, 2)], **flood))) == 1


def test_further_sources_stand_behind_the_one_it_is_about() -> None:
    told = Told()
    (record,) = told.until(10, suspicion(5, source_words=(1, 1), sources=((2, 2),), n_sources=2))
    assert record.unmapped.quarantine.sources[0][:2] == "01"
    assert record.unmapped.n_sources == 2
    assert told.until(20, suspicion(12, source_words=(1, 1))) == []


def test_an_anomaly_is_over_after_so_many_events_without_evidence() -> None:
    told = Told()
    told.until(10, suspicion(5))
    assert told.until(5 + QUIET) == []
    (record,) = told.until(5 + QUIET + 1)
    assert said([record]) == [("closed", 2)]
    assert record.unmapped.ending == "quiet"
    assert record.status_detail == "no new evidence among 1,024 events of the partition"
    assert (record.status, record.is_alert) == ("Ended", False)
    offset_and_row = record.unmapped.trigger_offset, record.unmapped.trigger_row
    assert offset_and_row == place_of(5 + QUIET)
    assert record.time == (5 + QUIET) * 1_000
    assert told.policy.book.by_uid == {}
    # What comes later is another anomaly.
    (again,) = told.until(3_000, suspicion(2_500))
    assert said([again]) == [("opened", 1)]
    assert again.finding_info.uid != record.finding_info.uid


def test_evidence_at_the_last_moment_keeps_it_open() -> None:
    told = Told()
    told.until(10, suspicion(5))
    assert told.until(5 + QUIET + 1, suspicion(5 + QUIET)) == []
    assert len(told.until(5 + 2 * QUIET)) == 0
    assert len(told.until(5 + 2 * QUIET + 1)) == 1


def test_what_is_over_is_told_before_what_comes_later() -> None:
    told = Told()
    told.until(10, suspicion(5))
    records = told.until(9_000, suspicion(2_000, source_words=(1, 1)), suspicion(7_000))
    assert [(r.unmapped.status, r.time // 1_000) for r in records] == [
        ("closed", 5 + QUIET),
        ("opened", 2_000),
        ("closed", 2_000 + QUIET),
        ("opened", 7_000),
        ("closed", 7_000 + QUIET),
    ]
    assert [record.unmapped.seq for record in records] == [2, 3, 4, 5, 6]


def test_a_shorter_quiet_time_closes_at_once_what_has_been_quiet_for_longer() -> None:
    told = Told(policy(quiet_events=100_000))
    told.until(50_000, suspicion(5))
    again = Told(policy(told.policy.snapshot()))
    assert again.until(50_000) == []
    (record,) = again.until(50_001)
    assert record.time == 50_000_000
    assert again.until(60_000) == []


def test_a_label_that_lies_between_two_events_is_at_the_next() -> None:
    own = policy()
    numbers = count(1)
    # Only every third event is a prediction.
    events = passed(0, 30)
    predictions = events._replace(
        offset=events.offset[::3], event_row=events.event_row[::3], event_time_ms=events[2][::3]
    )
    own.decide([suspicion(28)], predictions, lambda: next(numbers))
    (anomaly,) = own.book.by_uid.values()
    assert anomaly.opened.number == anomaly.last_number == own.book.n_events == 10


def test_the_table_is_bounded_and_the_longest_quiet_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(anomaly_book, "MAX_ANOMALIES", 3)
    told = Told()
    for n in range(3):
        told.until(10 * (n + 1), suspicion(10 * n, source_words=(n + 1, 0)))
    told.until(40, suspicion(35, source_words=(1, 0)))
    closed, opened = told.until(50, suspicion(45, source_words=(9, 0)))
    assert said([closed, opened]) == [("closed", 2), ("opened", 1)]
    assert closed.unmapped.ending == "room"
    # The first has had evidence since; the second is the longest quiet.
    assert closed.unmapped.quarantine.sources == ["02" + "00" * 15]
    assert len(told.policy.book.by_uid) == 3
    # It may come again, as another one.
    _, back = told.until(60, suspicion(55, source_words=(2, 0)))
    assert back.finding_info.uid != closed.finding_info.uid


def test_what_one_anomaly_holds_is_bounded() -> None:
    told = Told()
    for n in range(100):
        given = {"first_offset": 40 * n, "detector": f"d{n}", "detail": f"pair {n}"}
        told.until(60 * n + 1, suspicion(60 * n, **given))
    (anomaly,) = told.policy.book.by_uid.values()
    assert len(anomaly.seen) == MAX_DETECTORS
    assert len(anomaly.ranges) == MAX_RANGES
    assert len(anomaly.details) == MAX_DETAILS
    assert anomaly.ranges[0][0] == 0
    assert anomaly.ranges[-1][1] == place_of(60 * 99)[0]


def test_each_analysis_has_the_details_that_its_own_detector_has_said() -> None:
    told = Told()
    told.until(
        20,
        suspicion(5, detector="probing", detail="flips"),
        suspicion(6, detector="provenance", detail="near queries"),
    )
    # After a restart as well, and where both say the same.
    told = Told(policy(told.policy.snapshot()))
    *_, said = told.until(
        300,
        suspicion(205, detector="probing", detail="near queries", n_hits=80),
        suspicion(206, detector="volume", n_hits=80),
    )
    patterns = {
        one.anomalies[0].observation_parameter: one.anomalies[0].observed_pattern
        for one in said.anomaly_analyses
    }
    assert patterns == {
        "probing": "flips; near queries",
        "provenance": "near queries",
        "volume": None,
    }
    assert said.unmapped.details == ["flips", "near queries"]


def test_numbers_that_grow_stand_in_fields_of_their_own() -> None:
    told = Told()
    for i, n_hits in enumerate((8, 20, 50)):
        grown = {"n_hits": n_hits, "n_expected": n_hits / 4, "n_slices": i + 1}
        (said,) = told.until(
            200 * (i + 1),
            suspicion(200 * i + 5, technique=Technique.BACKDOOR, detail="1 -> 0", **grown),
        )
    assert said.unmapped.details == ["1 -> 0"]
    assert "(1 -> 0)" in said.message
    (analysis,) = said.anomaly_analyses
    values = {each.observed_pattern: each.observations[0].value for each in analysis.baselines}
    assert values == {"usual": "0.25", "threshold": "3", "expected": "12.5"}
    slices = {each.observation_parameter: each.observations[0].value for each in analysis.anomalies}
    assert slices["suspect_slices"] == "3"
    (plain,) = Told().until(20, suspicion(5))
    assert len(plain.anomaly_analyses[0].anomalies) == 1
    assert len(plain.anomaly_analyses[0].baselines) == 2


def test_a_new_key_begins_new_anomalies_and_old_ones_keep_the_id_of_theirs() -> None:
    told = Told()
    (before,) = told.until(10, suspicion(5))
    told.policy.key_id = "f" * 32
    (after,) = told.until(20, suspicion(12))
    assert before.finding_info.uid != after.finding_info.uid
    closed = told.until(20 + QUIET)
    assert [record.unmapped.quarantine.source_key for record in closed] == [
        before.unmapped.quarantine.source_key,
        "f" * 32,
    ]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 20)), min_size=1, max_size=40))
def test_ranges_hold_every_offset_and_stay_few_apart_and_in_order(
    found: list[tuple[int, int]],
) -> None:
    ranges: list[tuple[int, int]] = []
    for first, length in found:
        ranges = with_range(ranges, (first, first + length))
    held = {offset for first, last in ranges for offset in range(first, last + 1)}
    wanted = {offset for first, n in found for offset in range(first, first + n + 1)}
    assert wanted <= held
    assert len(ranges) <= MAX_RANGES
    assert all(a[1] + 1 < b[0] for a, b in pairwise(ranges))
    if len(ranges) < MAX_RANGES:
        assert held == wanted


WORDS = st.tuples(st.integers(0, 3), st.integers(0, 1))
SPAN = 6_000


@st.composite
def streams(draw: st.DrawFn) -> list[Suspicion]:
    """Suspicions of few sources at events of a stream, in the order of the log."""
    found = []
    for _ in range(draw(st.integers(1, 25))):
        fields: dict[str, Any] = {
            "technique": draw(st.sampled_from([Technique.PROBING, Technique.BACKDOOR])),
            "n_hits": draw(st.integers(0, 60)),
            "detector": draw(st.sampled_from(["probing", "query_distance", "x"])),
            "model": draw(st.sampled_from([0, 1, -1])),
            "detail": draw(st.sampled_from(["", "exposure", "0 for 1"])),
            "is_provisional": draw(st.booleans()),
            "statistic": draw(st.floats()),
        }
        number = draw(st.integers(0, SPAN - 1))
        if draw(st.booleans()):
            found.append(cluster(number, draw(st.lists(WORDS, max_size=4)), **fields))
        else:
            found.append(suspicion(number, source_words=draw(WORDS), **fields))
    return sorted(found, key=lambda each: (each.offset, each.event_row))


@settings(deadline=None, max_examples=60)
@given(streams(), st.lists(st.integers(1, SPAN - 1), max_size=8, unique=True), st.booleans())
def test_any_split_and_any_resume_say_the_same_and_leave_the_same_bytes(
    stream: list[Suspicion], cuts: list[int], resumes: bool
) -> None:
    whole = Told()
    expected = whole.until(SPAN, *stream)

    own, numbers, records = policy(), count(1), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), SPAN], strict=True):
        within = [s for s in stream if place_of(start) <= (s.offset, s.event_row) < place_of(end)]
        records += own.decide(within, passed(start, end), lambda: next(numbers))
        if resumes:
            own = policy(own.snapshot())
    assert [record.as_ocsf() for record in records] == [each.as_ocsf() for each in expected]
    state, of_whole = own.snapshot(), whole.policy.snapshot()
    assert {name: (a.dtype, a.tobytes()) for name, a in state.items()} == {
        name: (a.dtype, a.tobytes()) for name, a in of_whole.items()
    }
    assert [record.unmapped.seq for record in records] == list(range(1, len(records) + 1))
