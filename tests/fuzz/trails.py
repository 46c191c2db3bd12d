"""Targets: what the auditor reads of other topics, and what is read of a trail."""

from __future__ import annotations

from schemas.audit_trail import AuditRecordError, read_audit_record
from schemas.printable import masked
from schemas.records import TopicPartition
from streams.monitoring_page import render_monitoring_report
from streams.monitoring_report import Span, make_report
from streams.trail_check import check_trail, summary_lines
from streams.trail_facts import SOURCES, Unread, fact_of, noted
from tests.fuzz.commits import ENTRY
from tests.fuzz.incidents import WORDS
from tests.fuzz.target import Choices, Target, must
from tests.streams.incident_kit import silence
from tests.streams.trail_kit import CHAIN, START_MS, trail, values

TP = TopicPartition("topic", 0)
NAMES = tuple(SOURCES)
WHOLE = trail(4)
SPAN = Span(START_MS - 1, START_MS + 86_400_000)


def run_noted(content: bytes) -> None:
    """Whatever stands on a topic becomes a record that is whole, and can be reported."""
    choices = Choices(content)
    source = choices.one_of(NAMES)
    at_ms = choices.number(8)
    value = choices.take(4_096)
    record = Unread(TP, 3, at_ms, b"driftsentry|topic|0", value or None)
    fact = fact_of(source, record, ["driftsentry"])
    must(fact is not None, "a record of these workers that is not noted")
    assert fact is not None
    record_of = noted(CHAIN, WHOLE[-1].head, fact, START_MS)
    found = [*values(WHOLE), record_of.dump()]
    must(check_trail(enumerate(found)).is_whole, "a trail that is not whole")
    must(read_audit_record(found[-1]) == record_of, "another record after writing and reading")
    page(found)


def run_trail(content: bytes) -> None:
    """A trail of any lines is checked and reported, and only one of records is whole."""
    lines = content.split(b"\n")
    found = check_trail(enumerate(lines))
    for line in lines:
        try:
            record = read_audit_record(line)
        except AuditRecordError as error:
            must(not found.is_whole, "a whole trail with what is no record")
            must(str(error), "an error without a sentence")
            continue
        must(record.dump() == line, "other bytes than were read")
    for said in summary_lines(found, {"name": "trail", "place": "line"}):
        must(said, "an empty line")
    page(lines)


def page(lines: list[bytes]) -> None:
    """The report of a trail as a page: no control character in it."""
    text = render_monitoring_report(make_report(enumerate(lines), SPAN, SPAN.until_ms, "1"))
    must(masked(text.replace("\n", "")) == text.replace("\n", ""), "a control character on a page")


def noted_seeds() -> list[bytes]:
    """A record of every topic, then some that are none."""
    time = START_MS.to_bytes(8, "little")
    of = {
        "commands": WORDS[0].model_dump_json().encode(),
        "journal": ENTRY.dump(),
        "liveness": silence(),
        "incidents": b'{"incident_id":"ab","verdict":{"by":"ana"},"start_ms":1}',
        "retraining": b'{"request_id":"ab","holds":[{"detail":"d"}],"benefit":{"loss":0.5}}',
        "followup": b'{"followup_id":"ab","verdict":"worse"}',
        "rollback": b'{"request_id":"ab","status":"held"}',
    }
    good = [bytes([NAMES.index(name)]) + time + value for name, value in of.items()]
    return [*good, b"", bytes([NAMES.index("incidents")]) + time]


def trail_seeds() -> list[bytes]:
    """A whole trail, then one with a record missing, and none."""
    lines = values(WHOLE)
    return [b"\n".join(lines), b"\n".join([*lines[:1], *lines[2:]]), b"", lines[0]]


TOKENS = (
    *(b'"kind":"config"', b'"kind":"incident"', b'"kind":"progress"', b'"seq":2', b'"verdict":{'),
    *(b'"workers":[{"lineage":"a"}]', b'"\x1b[2J"', b"null", b"-1", b"9007199254740993", b"1.5"),
)
TARGETS = (
    Target("noted", run_noted, noted_seeds, TOKENS),
    Target("trail", run_trail, trail_seeds, TOKENS),
)
