"""The audit trail on a real Kafka: written through kills, broken on purpose, verified, reported."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from schemas.audit_trail import AuditRecord, Head, read_audit_record
from schemas.config import DetectionConfig
from schemas.responses import OverruleIncident
from streams.cli import main
from streams.config import Settings, Topics
from streams.lineage import JournalEntry, Lineage
from streams.opened import audit_reader_of
from streams.ports import FencedError
from streams.process_guard import GuardedProcess, ProcessGuard
from streams.topics import create_topics
from streams.trail_check import check_trail
from streams.trail_kafka import KafkaTrail, trail_records
from streams.trail_service import TrailOptions, TrailService
from streams.trail_writer import TrailLostError, TrailWriter
from tests.streams.incident_kit import START_MS, alert, silence
from tests.streams.incident_scene import incidents, written
from tests.streams.trail_kit import OTHER_CHAIN, hashed_anew, trail, values

pytestmark = pytest.mark.kafka

PARTITIONED = (
    *("events", "journal", "commands", "liveness"),
    *("incidents", "retraining", "rollback", "followup", "audit"),
)
READ_S = 60.0


class Stage:
    """The topics of one deployment on the broker."""

    def __init__(self, servers: str, unique_name: Callable[[str], str]) -> None:
        names = {name: unique_name(name) for name in PARTITIONED}
        self.settings = Settings(
            bootstrap_servers=servers, group=unique_name("workers"), topics=Topics(**names)
        )
        self.names = names
        admin = AdminClient({"bootstrap.servers": servers})
        create_topics(admin, names)  # type: ignore[arg-type]

    @property
    def environment(self) -> dict[str, str]:
        topics = {f"DRIFTSENTRY_{name.upper()}_TOPIC": topic for name, topic in self.names.items()}
        return topics | {
            "DRIFTSENTRY_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "DRIFTSENTRY_GROUP": self.settings.group,
        }

    def write(self, name: str, *records: tuple[bytes, bytes | None]) -> None:
        producer = Producer({"bootstrap.servers": self.settings.bootstrap_servers})
        for key, value in records:
            producer.produce(self.names[name], value, key)
        assert producer.flush(30) == 0

    def values(self) -> list[tuple[int, bytes | None]]:
        reader = audit_reader_of(self.settings)
        try:
            return list(trail_records(reader, self.names["audit"]))
        finally:
            reader.close()

    def records(self) -> list[AuditRecord]:
        return [read_audit_record(value) for _, value in self.values()]

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, env=self.environment)


@pytest.fixture
def stage(kafka: str, unique_name: Callable[[str], str]) -> Stage:
    return Stage(kafka, unique_name)


@pytest.fixture
def guard() -> Iterator[ProcessGuard]:
    with ProcessGuard() as guard:
        yield guard


def written_down(stage: Stage, n_records: int, *, accept_reset: bool = False) -> None:
    """A writer in this process, until so many source records are in the trail."""
    log = KafkaTrail(stage.settings)
    try:
        writer = TrailWriter(
            log,
            groups=[stage.settings.group],
            release="0",
            now_ms=lambda: time.time_ns() // 1_000_000,
            accept_reset=accept_reset,
        )
        writer.take_up(is_start=True)
        deadline_s = time.monotonic() + READ_S
        n_read = 0
        while n_read < n_records:
            assert time.monotonic() < deadline_s
            n_read += writer.step(0.2)
        writer.note_progress(writer.log.progress(), 60)
        writer.end()
    finally:
        log.close()


def journaled(stage: Stage, partition: int) -> tuple[bytes, bytes]:
    entry = JournalEntry(
        kind="lineage",
        lineage=Lineage(deployment="d", topic_id="t", partition=partition, start_offset=0),
        offset=0,
        generation=1,
        config="c0",
        versions={"focus": 1},
        document=DetectionConfig(),
    )
    return f"{stage.settings.group}|t|{partition}".encode(), entry.dump()


def word(n: int) -> tuple[bytes, bytes]:
    said = OverruleIncident(
        command_id=f"word-{n}",
        deployment="d",
        model_id="m",
        incident_id="ab" * 16,
        by="ana",
        reason=f"reason {n}",
        verdict="data_fault",
        evidence={"cd" * 16: 1},
    )
    return b"m", said.model_dump_json().encode()


def test_what_other_topics_say_is_in_the_trail_once_and_the_page_shows_it(
    stage: Stage, tmp_path: Path
) -> None:
    (incident,) = incidents(alert(1), silence(1))
    stage.write("journal", journaled(stage, 0), (b"others|t|0", b"{}"))
    stage.write("commands", word(1), (b"m", b"no command"))
    stage.write("incidents", tuple(written(incident)), (b"0" * 32, None))  # type: ignore[arg-type]
    stage.write("liveness", (b"m", silence(1)))
    written_down(stage, 7)
    kinds = Counter(record.kind for record in stage.records())
    assert kinds == {
        **dict.fromkeys(("begun", "started", "progress", "stopped"), 1),
        **dict.fromkeys(("lineage", "said", "incident", "incident_gone", "liveness"), 1),
        "unreadable": 1,
    }
    # A second one begins where the first has ended.
    stage.write("commands", word(2))
    written_down(stage, 1)
    whole = stage.run("audit", "verify")
    assert whole.exit_code == 0, whole.output
    head = stage.records()[-1].head
    assert f"whole; head {head}" in whole.output

    exported = tmp_path / "trail.ndjson"
    assert stage.run("audit", "export", "--output", str(exported)).exit_code == 0
    assert exported.read_bytes().splitlines() == [value for _, value in stage.values()]
    again = stage.run("audit", "verify", "--file", str(exported), "--head", str(head), "--json")
    assert again.exit_code == 0, again.output
    assert orjson.loads(again.stdout)["heads_found"] == [str(head)]

    span = ("--from", str(START_MS - 1), "--to", str(int(time.time() * 1000) + 1_000))
    made = stage.run("report", *span)
    assert made.exit_code == 0, made.output
    report = orjson.loads(made.stdout)
    assert [each["incident_id"] for each in report["incidents"]] == [incident.incident_id]
    assert [each["command_id"] for each in report["decisions"]] == ["word-1", "word-2"]
    assert report["plan"][0]["document"]["generation"] == 1
    page = tmp_path / "report.html"
    html = stage.run("report", *span, "--format", "html", "--output", str(page))
    assert html.exit_code == 0, html.output
    assert "The trail is whole" in page.read_text("utf-8")


def kept_seq(head_file: Path) -> int:
    return Head.parse(head_file.read_text("ascii")).seq if head_file.exists() else 0


def n_said(stage: Stage) -> int:
    return sum(record.kind == "said" for record in stage.records())


def test_killed_in_the_middle_it_has_nothing_twice_and_nothing_missing(
    stage: Stage, guard: ProcessGuard, tmp_path: Path
) -> None:
    seeded = random.Random(8)
    n_written = 0
    head_file = tmp_path / "head"
    command = [
        *(sys.executable, "-m", "streams", "audit", "run", "--progress-s", "1"),
        *("--head-file", str(head_file)),
    ]
    environment = {**os.environ, **stage.environment}
    for n_run in range(5):
        process = GuardedProcess(
            command, guard=guard, log=tmp_path / "auditor.log", env=environment
        )
        at_least = kept_seq(head_file) + 3
        stage.write("commands", *(word(n) for n in range(n_written, n_written + 40)))
        n_written += 40
        while kept_seq(head_file) < at_least:
            assert process.is_running(), process.log_text()
            time.sleep(0.05)
        # Now that it works it has more to do than it can do before it is killed.
        stage.write("commands", *(word(n) for n in range(n_written, n_written + 400)))
        n_written += 400
        if n_run < 4:
            time.sleep(seeded.uniform(0, 0.2))
            process.send(signal.SIGKILL)
            while process.is_running():
                time.sleep(0.02)
    deadline_s = time.monotonic() + READ_S
    while kept_seq(head_file) <= n_written or n_said(stage) < n_written:
        assert time.monotonic() < deadline_s, process.log_text()
        assert process.is_running(), process.log_text()
        time.sleep(0.5)
    assert process.stop(30) == 0, process.log_text()

    found = check_trail(stage.values())
    assert found.is_whole, found.breaks
    said = [record for record in stage.records() if record.kind == "said"]
    assert [record.facts["command_id"] for record in said] == [
        f"word-{n}" for n in range(n_written)
    ]
    assert stage.records()[-1].kind == "stopped"
    assert Head.parse(head_file.read_text("ascii")) == stage.records()[-1].head
    verified = stage.run("audit", "verify", "--head", str(head_file))
    assert verified.exit_code == 0, verified.output


WHOLE = trail(8)
VALUES = values(WHOLE)
FORGED = hashed_anew(WHOLE[3], {"facts": {"number": "another"}}).dump()
BROKEN: dict[str, tuple[list[bytes], str, int, int]] = {
    # How it was broken: what is there, the kind, the record, the offset at which it shows.
    "a changed byte": (
        [*VALUES[:3], VALUES[3].replace(b"word 3", b"word 4"), *VALUES[4:]], "changed", 4, 3,
    ),
    "changed and hashed anew": ([*VALUES[:3], FORGED, *VALUES[4:]], "changed", 4, 4),
    "taken out": ([*VALUES[:3], *VALUES[4:]], "missing", 4, 3),
    "in another order": ([*VALUES[:3], VALUES[4], VALUES[3], *VALUES[5:]], "reordered", 4, 3),
    "twice": ([*VALUES[:5], VALUES[3], *VALUES[5:]], "doubled", 4, 5),
    "of another writer": (
        [*VALUES[:3], values(trail(2, OTHER_CHAIN))[1], *VALUES[3:]], "foreign", 4, 3,
    ),
    "no record": ([*VALUES[:3], b"something", *VALUES[3:]], "foreign", 4, 3),
    "cut": (VALUES[:5], "truncated", 6, 4),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_a_trail_that_is_broken_on_purpose_is_told_by_the_record(stage: Stage, how: str) -> None:
    broken, kind, seq, offset = BROKEN[how]
    stage.write("audit", *((b"chain", value) for value in broken))
    result = stage.run("audit", "verify", "--head", str(WHOLE[-1].head))
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith(f"BROKEN {kind} at offset {offset}: seq {seq}: ")


def test_records_that_were_removed_at_the_beginning_need_a_kept_head(stage: Stage) -> None:
    stage.write("audit", *((b"chain", value) for value in VALUES[2:]))
    result = stage.run("audit", "verify")
    assert result.exit_code == 3, result.output
    assert "begins at seq 3" in result.output
    result = stage.run("audit", "verify", "--head", str(WHOLE[1].head))
    assert result.exit_code == 0, result.output


def test_a_topic_without_a_trail_is_not_verified(stage: Stage) -> None:
    result = stage.run("audit", "verify")
    assert result.exit_code == 3, result.output
    assert "there is no record" in result.output


def test_what_somebody_else_wrote_behind_the_trail_stops_the_writer(
    stage: Stage, tmp_path: Path
) -> None:
    written_down(stage, 0)
    stage.write("audit", (b"x", b"foreign"))
    with pytest.raises(TrailLostError, match="accept-reset"):
        written_down(stage, 0)
    result = stage.run("audit", "run")
    assert result.exit_code == 3, result.output
    written_down(stage, 0, accept_reset=True)
    kinds = [found.kind for found in check_trail(stage.values()).breaks]
    assert kinds == ["foreign", "restarted"]
    # Nobody hinders an export by it.
    stage.write("audit", (b"x", None), (b"x", b"two\nlines"))
    path = tmp_path / "trail.ndjson"
    result = stage.run("audit", "export", "--output", str(path))
    assert result.exit_code == 0, result.output
    assert "2 of them can be none of a trail" in result.output
    lines = path.read_bytes().splitlines()
    assert len(lines) == len(stage.values())
    found = [each.kind for each in check_trail(enumerate(lines)).breaks]
    assert found == ["foreign", "restarted", "foreign", "foreign"]


def test_a_second_writer_ends_the_first(stage: Stage) -> None:
    first = KafkaTrail(stage.settings)
    second = KafkaTrail(stage.settings)
    try:
        writers = [
            TrailWriter(log, [stage.settings.group], "0", lambda: START_MS)
            for log in (first, second)
        ]
        writers[0].take_up(is_start=True)
        writers[1].take_up(is_start=True)
        with pytest.raises(FencedError):
            TrailService(writers[0], TrailOptions())._work()
        writers[1].end()
    finally:
        first.close()
        second.close()
    assert check_trail(stage.values()).is_whole


def test_a_topic_of_several_partitions_is_refused(
    stage: Stage, new_topic: Callable[..., str]
) -> None:
    stage.names["audit"] = new_topic("audit", n_partitions=2)
    result = stage.run("audit", "run")
    assert result.exit_code == 2, result.output
    assert "a chain needs one" in result.output
