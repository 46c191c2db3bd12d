"""What an audit says at its end, and while it goes on."""

from __future__ import annotations

import orjson
import pytest

from schemas.records import TopicPartition
from streams.audit_observed import Position, Seen
from streams.audit_report import Report
from streams.audit_verdict import Difference, Kind, Verdict, differing_fields
from streams.verify import AuditProgress

TP = TopicPartition("events", 3)


def report(*, exactly_once: bool = True, from_checkpoint: bool = False) -> Report:
    verdict = Verdict(n_events=12_345)
    verdict.n_equal["alerts"], verdict.n_equal["dead_letter"] = 1, 1_200
    return Report("g", "events", exactly_once, from_checkpoint, verdict, n_partitions=4)


def missing(seq: int) -> Difference:
    return Difference(Kind.MISSING, 3, "a" * 32, "it is not there", "alerts", seq, "id.1", 77)


def test_all_is_verified() -> None:
    found = report()
    assert found.exit_code == 0
    assert found.sentence() == (
        "Verified 12,345 events in 4 partitions from the start to the committed offsets: each of "
        "1 alert and 1,200 dead letters is there exactly once, as the fold says."
    )
    assert list(found.lines()) == []


def test_at_least_once_promises_less() -> None:
    found = report(exactly_once=False, from_checkpoint=True)
    found.verdict.n_repeats = 2
    assert found.exit_code == 0
    assert "from the oldest checkpoint" in found.sentence()
    assert "at least once (2 allowed repeats)" in found.sentence()


def test_differences_come_before_what_could_not_be_verified() -> None:
    found = report()
    for seq in range(1, 8):
        found.verdict.differs(missing(seq))
    found.verdict.differs(Difference(Kind.METADATA, 0, "b" * 32, "n_alerts is 1, and 2"))
    found.verdict.unverified.append("events[1]: gone")
    assert found.exit_code == 1
    assert found.sentence() == (
        "Differences found in 12,345 events in 4 partitions: 7 missing, 1 commit metadata "
        "differs; and not all could be verified."
    )
    lines = list(found.lines())
    assert lines[1] == (
        "missing: alert seq 1 id.1: it is not there (partition 3, lineage aaaaaaaaaaaa, input "
        "offset 77)"
    )
    assert "missing: and 2 more" in lines
    assert "not verified: events[1]: gone" in lines


@pytest.mark.parametrize("n_partitions", [0, 4])
def test_what_was_not_seen_is_not_claimed(n_partitions: int) -> None:
    found = report()
    found.n_partitions = n_partitions
    if n_partitions:
        found.verdict.n_expired = 3
    assert found.exit_code == 3
    assert found.sentence().startswith("Could not verify all: ")


def test_a_name_from_a_record_cannot_write_to_the_terminal() -> None:
    found = report()
    found.foreign.append(("x\x1b[2J", "lineage", 2))
    found.verdict.unverified.append("kind '\x1b[31m'")
    said = "\n".join((*found.lines(), found.sentence()))
    assert "\x1b" not in said
    assert "2 records of another fold" in said


def test_json_holds_all_of_it() -> None:
    found = report()
    found.verdict.differs(missing(4))
    said = orjson.loads(orjson.dumps(found.as_json()))
    assert said["exit_code"] == 1
    assert said["differences"] == {"missing": 1}
    assert said["examples"][0]["seq"] == 4
    assert said["sentence"] == found.sentence()


def test_verdicts_add_up_and_keep_only_so_many_examples() -> None:
    total = Verdict(n_examples=2)
    for _ in range(3):
        one = Verdict(n_examples=2, n_events=10, notes=["n"])
        for seq in range(3):
            one.differs(missing(seq + 1))
        total.add(one)
    assert (total.n_events, total.n_differences, len(total.examples)) == (30, {Kind.MISSING: 9}, 2)
    assert total.notes == ["n"]


def test_which_fields_differ_is_named() -> None:
    seen = Seen(b"k", b'{"a": 1, "b": 2}', (("h", b"1"), ("i", b"2")), 5)
    assert differing_fields(seen, seen) == []
    assert differing_fields(seen, seen._replace(timestamp_ms=-1)) == []
    changed = Seen(b"l", b'{"a": 1, "b": 3}', (("h", b"0"), ("i", b"2")), 6)
    assert differing_fields(seen, changed) == ["key", "timestamp", "header h", "data.b"]
    assert differing_fields(seen, seen._replace(value=b'{"b": 2, "a": 1}')) == ["value"]
    assert differing_fields(seen, seen._replace(headers=seen.headers[::-1])) == ["order of headers"]


def test_progress_is_said_now_and_then_with_rate_and_time_left() -> None:
    said: list[str] = []
    now = [0.0]
    progress = AuditProgress(said.append, 1_000, lambda: now[0])
    # The first batch took as long as loading the kernels does.
    progress.folded(TP, 200)
    assert said == []
    now[0] = 4.0
    progress.folded(TP, 400)
    progress.folded(TP, 1)
    assert said == ["events[3]: 600 of about 1,000 events, 100 a second, 4 s left"]


def test_where_a_record_stands_is_said() -> None:
    found = report()
    found.verdict.differs(
        Difference(Kind.DUPLICATED, 3, "a" * 32, "again", "dead_letter", 9, position=Position(1, 8))
    )
    (line,) = found.lines()
    assert line.startswith("duplicated: dead letter seq 9: again (")
    assert "at 1:8 of the output topic" in line
