"""A monitoring report says what the trail says of its span, and no more."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.audit_trail import AuditKind, AuditRecord, Head, plain
from schemas.config import DetectionConfig
from schemas.monitoring_report import MonitoringReport, Section
from streams.cli import main
from streams.monitoring_controls import CONTROLS
from streams.monitoring_page import render_monitoring_report
from streams.monitoring_report import SCOPE, Span, make_report
from streams.trail_facts import Fact, noted
from tests.streams.trail_kit import CHAIN, START_MS

HOUR_MS = 3_600_000
SPAN = Span(START_MS, START_MS + 24 * HOUR_MS)
DOCUMENT = DetectionConfig(generation=3).model_dump_json()
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def at(hour: float) -> int:
    return START_MS + int(hour * HOUR_MS)


def said(kind: AuditKind, hour: float, by: str | None = None, /, **facts: Any) -> Fact:
    return Fact(kind, plain(facts), at(hour), "event", by)


def configured(kind: AuditKind, hour: float, partition: int, config: str, **facts: Any) -> Fact:
    own = {"group": "workers", "duty": "drift", "deployment": "d", "generation": 3}
    more = {"document": DOCUMENT, "versions": {"focus": 2}, "offset": 0, "start_offset": 9}
    return said(kind, hour, partition=partition, config=config, **own, **more, **facts)


def looked(hour: float, n_events: int, lineage: str = "l1", every_s: int = 3_600) -> Fact:
    worker = {
        "group": "workers",
        "topic": "events",
        "partition": 0,
        "lineage": lineage,
        "offset": n_events + 10,
        "n_events": n_events,
        "n_refused": n_events // 10,
        "n_said": n_events // 100,
        "config": "c1",
        "digest": "d1",
        "digest_offset": 4,
    }
    return said("progress", hour, workers=[worker], read=[], every_s=every_s)


def incident(hour: float, name: str = "i1", by: str | None = None, **facts: Any) -> Fact:
    verdict = {
        "reason": "harmful_drift" if by is None else "data_fault",
        "rule": "predictions_worse" if by is None else "overruled",
        "because": "error rose",
        "by": by,
        "note": by and "a join",
        "ruled": by and "harmful_drift",
        "was_evidence_opened": None if by is None else True,
    }
    whole = {
        "incident_id": name,
        "status": "opened",
        "model_id": "churn",
        "model_versions": ["7"],
        "severity": "high",
        "start_ms": at(hour),
        "last_ms": at(hour),
        "closed_ms": None,
        "message": "churn 7: something <b>moved</b>",
        "verdict": verdict,
    }
    return said("incident", hour, by, **{**whole, **facts})


def request(hour: float, status: str, name: str = "r1", **facts: Any) -> Fact:
    whole = {
        "request_id": name,
        "status": status,
        "model_id": "churn",
        "model_version": "7",
        "incident_id": "i1",
        "reason": "harmful_drift",
        "holds": [{"reason": "attack_suspected", "detail": "ask"}] if status == "held" else [],
        "message": "retrain",
    }
    return said("retraining", hour, None, **{**whole, **facts})


def bytes_of(*facts: Fact) -> list[bytes]:
    records: list[AuditRecord] = []
    head: Head | None = None
    for each in [Fact("begun", {}, at(-100), "noted"), *facts]:
        records.append(noted(CHAIN, head, each, START_MS))
        head = records[-1].head
    return [record.dump() for record in records]


def made(*facts: Fact, model_id: str | None = None, until: Span = SPAN) -> MonitoringReport:
    report = make_report(
        enumerate(bytes_of(*facts)), until, until.until_ms + 1, "1.2.3", model_id=model_id
    )
    assert report.trail.is_whole
    return report


def test_the_plan_is_what_was_in_force_in_the_span() -> None:
    report = made(
        configured("lineage", -50, 0, "gone before"),
        configured("config", -20, 0, "c0"),
        configured("config", 5, 0, "c1"),
        configured("lineage", -20, 1, "c0"),
        configured("config", 25, 1, "later"),
    )
    assert [(each.config, each.partitions) for each in report.plan] == [("c0", [0, 1]), ("c1", [0])]
    assert report.plan[0].since_ms == at(-20)
    assert report.plan[0].document == orjson.loads(DOCUMENT)
    assert [each.kind for each in report.changes] == ["config"]


def test_coverage_is_what_was_folded_between_two_looks_of_one_fold() -> None:
    report = made(
        looked(-5, 100),
        looked(-1, 1_000),
        *(looked(hour, 1_000 + 100 * hour) for hour in range(20)),
        looked(20, 50, "l2"),
        looked(21, 80, "l2"),
        looked(25, 9_000, "l2"),
    )
    first, second = report.coverage
    assert (first.lineage, first.n_events, first.n_refused, first.n_said) == ("l1", 1_900, 190, 19)
    assert (first.first_ms, first.last_ms, first.n_looks) == (at(-1), at(19), 21)
    assert (second.lineage, second.n_events) == ("l2", 30)


@pytest.mark.parametrize(
    ("kind", "hour", "n"), [("lineage", 1, 80), ("reset", 1, 80), ("lineage", -3, 30)]
)
def test_of_a_fold_that_began_in_the_span_all_counts(kind: AuditKind, hour: float, n: int) -> None:
    # What it had folded up to the first look was left out.
    report = made(
        looked(-9, 7, "l0"),
        configured(kind, hour, 0, "c1", lineage="l1"),
        looked(hour + 1, 50),
        looked(9, 80),
    )
    (found,) = report.coverage
    assert found.n_events == n
    assert found.first_offset == (9 if hour > 0 else 60)


def test_gaps_are_told_with_their_reasons() -> None:
    report = made(
        *(looked(hour, 100 * hour) for hour in (-1, 0, 1, 2)),
        configured("reset", 3, 0, "c1", reason="log_truncated", parent="l1"),
        said(
            *("liveness", 4),
            kind="silence", model_id="churn", model_version="7", since_ms=at(3.5),
            until_ms=at(4), message="no prediction",
        ),
        said("liveness", 5, kind="recovered", model_id="churn", model_version="7"),
        said("lost", 6, topic="commands", partition=0, from_offset=4, reason="removed"),
        looked(9, 2_000),
        *(looked(hour, 100 * hour) for hour in range(10, 24)),
    )  # fmt: skip
    told = [(each.kind, each.since_ms, each.until_ms) for each in report.gaps]
    assert told == [
        ("not_noted", at(2), at(9)),
        ("reset", at(3), at(3)),
        ("silence", at(3.5), at(4)),
        ("lost", at(6), at(6)),
    ]
    assert "log_truncated" in report.gaps[1].reason


@pytest.mark.parametrize(
    ("looks", "gaps"),
    [
        ([], [(0, 24)]),
        ([-1, *range(24)], []),
        ([*range(24)], []),
        ([-5, *range(3, 24)], [(0, 3)]),
        ([*range(20)], [(19, 24)]),
        ([3, *range(4, 24)], [(0, 3)]),
    ],
)
def test_a_time_without_a_look_at_the_workers_is_a_gap(
    looks: list[int], gaps: list[tuple[int, int]]
) -> None:
    report = made(*(looked(hour, 1) for hour in looks))
    assert [(each.since_ms, each.until_ms) for each in report.gaps] == [
        (at(since), at(until)) for since, until in gaps
    ]


def test_an_incident_is_as_the_span_left_it_with_who_decided() -> None:
    opened = {"kind": "opened", "incident_id": "i1", "model_id": "churn"}
    report = made(
        incident(-3),
        said("said", 1, "ana", **opened),
        said("said", 2, "ana", **opened),
        incident(3, by="ana"),
        incident(30, by="bob"),
        incident(-20, "over", closed_ms=at(-10)),
        incident(-20, "open"),
        incident(2, "gone"),
        said("incident_gone", 3, incident_id="gone"),
        incident(25, "later"),
    )
    by_name = {each.incident_id: each for each in report.incidents}
    assert set(by_name) == {"i1", "open", "gone"}
    found = by_name["i1"]
    assert (found.by, found.ruled, found.was_evidence_opened) == ("ana", "harmful_drift", True)
    assert found.opened_by == ["ana"]
    assert (found.n_records, found.first_seq, found.last_seq) == (2, 2, 5)
    assert by_name["gone"].status == "gone"
    assert found.first_noted_ms > 0
    assert made(incident(1), model_id="other").incidents == []


@pytest.mark.parametrize("place", ["evidence_ids", "verdict"])
def test_who_was_shown_the_evidence_is_told_when_it_is_part_of_another_incident(place: str) -> None:
    # "Opened by nobody; who overruled had opened the evidence" was said of it.
    shown, other = "0a" * 16, "0b" * 16
    opened = {"kind": "opened", "model_id": "churn"}
    in_it: dict[str, Any] = {"evidence_ids": [other, shown]}
    if place == "verdict":
        ruled = {"by": "ana", "was_evidence_opened": True, "covers": {shown: 1}}
        in_it = {"evidence_ids": [other], "verdict": ruled}
    report = made(
        incident(1, "i1", evidence_ids=[shown]),
        said("said", 2, "ana", incident_id="i1", evidence={shown: 1}, **opened),
        said("incident_gone", 3, incident_id="i1"),
        incident(3, "i2", "ana", **in_it),
        said("said", 4, "bob", incident_id="i2", evidence={other: 1, shown: 1}, **opened),
        said("said", 5, "ana", incident_id="i2", evidence={other: 1, shown: 1}, **opened),
        incident(3, "i3", evidence_ids=["0c" * 16]),
    )
    opened_by = {each.incident_id: each.opened_by for each in report.incidents}
    assert opened_by == {"i1": ["ana", "bob"], "i2": ["ana", "bob"], "i3": []}
    assert "opened by nobody; who overruled had" not in render_monitoring_report(report)


def test_a_request_is_as_the_span_left_it() -> None:
    report = made(
        request(-5, "held"),
        request(2, "released", approved_by="ana", was_evidence_opened=False),
        request(-5, "released", "before"),
        request(-5, "held", "still"),
        request(25, "released", "still"),
    )
    by_name = {each.request_id: each for each in report.requests}
    assert {name: each.status for name, each in by_name.items()} == {
        "r1": "released",
        "still": "held",
    }
    assert (by_name["r1"].approved_by, by_name["r1"].was_evidence_opened) == ("ana", False)
    assert by_name["still"].holds == ["ask"]


def test_a_request_or_a_follow_up_that_is_gone_is_held_no_more() -> None:
    whole = {"followup_id": "f1", "model_id": "churn", "model_version": "8", "last_version": "7"}
    report = made(
        request(-5, "held", "before"),
        said("retraining_gone", -4, request_id="before"),
        request(-5, "held", "now"),
        said("retraining_gone", 3, request_id="now"),
        said("rollback_gone", 3, request_id="unknown"),
        said("followup", -2, status="following", **whole),
        said("followup_gone", 4, followup_id="f1"),
    )
    assert [(each.request_id, each.status) for each in report.requests] == [("now", "gone")]
    assert [(each.followup_id, each.status) for each in report.followups] == [("f1", "gone")]
    assert report.n_unreadable == 0


def test_a_word_that_names_no_model_is_in_the_report_of_each() -> None:
    words = (
        said("said", 1, "ana", kind="acknowledge", command_id="c1", alert_id="a1"),
        said("said", 2, "ana", kind="withdraw", command_id="c2", withdraws="c1"),
        said("said", 3, "ana", kind="mute", command_id="c3", model_id="other"),
    )
    report = made(*words, model_id="churn")
    assert [each.kind for each in report.decisions] == ["acknowledge", "withdraw"]


def test_a_reference_that_came_into_force_is_a_change_with_its_digest() -> None:
    command = {
        "kind": "reference",
        "command_id": "r-1",
        "model_id": "churn",
        "model_version": "7",
        "digest": "d1d2",
    }
    own = {"group": "workers", "partition": 3, "offset": 1_700}
    (change,) = made(said("applied", 1, "ana", command=command, **own)).changes
    assert (change.kind, change.about, change.by) == ("applied", "workers, partition 3", "ana")
    assert change.detail == "at offset 1,700: reference r-1 of churn 7, digest d1d2"


def test_a_follow_up_is_as_the_span_left_it() -> None:
    whole = {"followup_id": "f1", "model_id": "churn", "model_version": "8", "last_version": "7"}
    report = made(
        said("followup", 1, status="following", verdict="not_known", **whole),
        said("followup", 2, status="told", verdict="worse", retraining_id="r1", **whole),
        said("followup", -2, **{**whole, "followup_id": "before"}),
    )
    (found,) = report.followups
    assert (found.verdict, found.retraining_id, found.n_records) == ("worse", "r1", 2)
    assert "churn 8, after 7" in render_monitoring_report(report)


def test_words_of_people_are_listed() -> None:
    report = made(
        said("said", 1, "ana", kind="mute", model_id="churn", reason="works", command_id="a"),
        said("said", 2, "bob", kind="withdraw", withdraws="a", command_id="b"),
        said(
            *("said", 3, "bob"),
            kind="approve", request_id="r1", incident_id="i1", model_id="m", command_id="c",
        ),
        said("said", 30, "eve", kind="mute", model_id="churn"),
        Fact("unreadable", {"reason": "no JSON"}, at(4), "record"),
    )  # fmt: skip
    assert [(each.by, each.kind, each.about) for each in report.decisions] == [
        ("ana", "mute", "model churn"),
        ("bob", "withdraw", "command a"),
        ("bob", "approve", "request r1"),
    ]
    assert report.n_unreadable == 1


def test_every_section_is_on_some_duty_and_every_duty_says_what_there_is() -> None:
    named = {name for each in CONTROLS for name in each.sections}
    assert named == set(get_args(Section))
    assert len({(each.framework, each.control) for each in CONTROLS}) == len(CONTROLS)
    for each in CONTROLS:
        assert each.evidence
        assert each.sections or "not in this report" in each.evidence
    for words in (SCOPE, *(each.evidence for each in CONTROLS)):
        assert not re.search(r"\bcompl(y|iant|iance)\b", words)


# The page


class Page(HTMLParser):
    """What a browser would load, run, and where links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            assert not name.startswith("on"), name
            if name == "id":
                self.ids.add(str(value))
            if name == "href":
                self.links.add(str(value))


NASTY = "<script>alert(1)</script>\x1b[2J&\"'"


def test_the_page_loads_nothing_and_escapes_what_came_from_outside() -> None:
    report = made(
        looked(1, 1_000),
        configured("lineage", 1, 0, NASTY),
        incident(1, NASTY, NASTY, severity=NASTY, message=NASTY, model_id=NASTY),
        request(2, NASTY, NASTY, message=NASTY),
        said("said", 1, NASTY, kind=NASTY, model_id=NASTY, reason=NASTY),
        said("lost", 2, topic=NASTY, reason=NASTY),
        model_id=None,
    )
    text = render_monitoring_report(report)
    parsed = Page()
    parsed.feed(text)
    assert not parsed.tags & {"script", "img", "link", "iframe"}
    assert "b" in parsed.tags
    assert "\x1b" not in text
    assert parsed.links <= {f"#{name}" for name in parsed.ids}
    assert set(get_args(Section)) <= parsed.ids
    assert "The trail is whole" in text
    assert "Article 12(1)" in text


def test_the_page_of_a_broken_trail_says_so_first() -> None:
    broken = [value for n, value in enumerate(bytes_of(incident(1), incident(2))) if n != 1]
    report = make_report(enumerate(broken), SPAN, SPAN.until_ms, "1")
    text = render_monitoring_report(report)
    assert text.index("The trail is broken") < text.index("Register of incidents")
    empty = render_monitoring_report(make_report([], SPAN, SPAN.until_ms, "1"))
    assert "There is no trail" in empty
    cut = make_report(enumerate(bytes_of(incident(1), incident(2))[1:]), SPAN, SPAN.until_ms, "1")
    assert "Not all of the trail could be verified" in render_monitoring_report(cut)


FACTS = st.dictionaries(
    st.sampled_from(
        ["incident_id", "verdict", "workers", "kind", "group", "partition", "config", "document",
         "versions", "start_ms", "closed_ms", "holds", "every_s", "command", "by", "reason"]
    ),
    st.one_of(
        st.none(), st.integers(-5, 2**50), st.text(max_size=4), st.lists(st.integers(), max_size=2),
        st.just({"kind": 1, "lineage": "x"}), st.just([{"lineage": "x", "n_events": "y"}]),
    ),
    max_size=8,
)  # fmt: skip


@UNHURRIED
@given(st.lists(st.tuples(st.sampled_from(get_args(AuditKind)), FACTS), max_size=6))
def test_whatever_a_trail_holds_can_be_reported(facts: list[tuple[AuditKind, Any]]) -> None:
    whole = [Fact(kind, plain(each), at(1), "event") for kind, each in facts]
    render_monitoring_report(made(*whole))


# The command


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    path = tmp_path / "trail.ndjson"
    path.write_bytes(b"".join(value + b"\n" for value in bytes_of(incident(1), request(2, "held"))))
    return path


def test_the_command_writes_json_and_html_of_a_file(exported: Path, tmp_path: Path) -> None:
    span = ("--from", "2026-11-23", "--to", "2026-11-24T12:00:00+02:00")
    result = CliRunner().invoke(main, ["report", *span, "--file", str(exported)])
    assert result.exit_code == 0, result.output
    report = MonitoringReport.model_validate_json(result.stdout)
    assert (report.from_ms, report.until_ms) == (1_795_392_000_000, 1_795_514_400_000)
    assert [each.incident_id for each in report.incidents] == ["i1"]
    page = tmp_path / "page.html"
    arguments = [
        "report",
        *span,
        "--file",
        str(exported),
        "--format",
        "html",
        "--output",
        str(page),
    ]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert page.read_text("utf-8").startswith("<!doctype html>")


def test_a_broken_trail_is_reported_with_exit_code_1(exported: Path) -> None:
    lines = exported.read_bytes().splitlines(keepends=True)
    exported.write_bytes(lines[0] + lines[2])
    span = ("--from", "1795428000000", "--to", "1795514400000")
    result = CliRunner().invoke(main, ["report", *span, "--file", str(exported)])
    assert result.exit_code == 1
    assert "not whole" in result.stderr
    assert orjson.loads(result.stdout)["trail"]["breaks"][0]["kind"] == "missing"
    exported.write_bytes(b"".join(lines[1:]))
    assert CliRunner().invoke(main, ["report", *span, "--file", str(exported)]).exit_code == 3
    verify = ["audit", "verify", "--file", str(exported)]
    assert CliRunner().invoke(main, verify).exit_code == 3


@pytest.mark.parametrize("form", ["json", "html"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_report_that_cannot_be_written_does_not_say_that_the_trail_is_broken(
    form: str, first: int, tmp_path: Path
) -> None:
    # Exit code 1 means that the report is made, and the trail broken.
    exported, output = tmp_path / "trail.ndjson", tmp_path / "nowhere" / "x"
    exported.write_bytes(b"".join(each + b"\n" for each in bytes_of(incident(3))[first:]))
    span = ["--from", "2026-11-23", "--to", "2026-11-25", "--file", str(exported)]
    given = ["report", *span, "--format", form, "--output", str(output)]
    result = CliRunner().invoke(main, given)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        f"driftsentry: {output} could not be written: No such file or directory; name a file in "
        "another place with --output\n"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--from", "yesterday", "--to", "2026-01-01"], "is no time"),
        (["--from", "1795428000", "--to", "1795440000"], "is no time"),  # seconds
        (["--from", "2026-01-02", "--to", "2026-01-01"], "must end after it begins"),
        (["--from", "2026-01-01", "--to", "2026-01-02", "--head", "1:ab"], "no head"),
    ],
)
def test_wrong_usage_is_told(given: list[str], said: str, exported: Path) -> None:
    result = CliRunner().invoke(main, ["report", *given, "--file", str(exported)])
    assert result.exit_code == 2
    assert said in result.stderr
