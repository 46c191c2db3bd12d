"""`driftsentry window export`: what it writes, says and refuses, and that of a real topic."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from schemas.records import TopicPartition
from schemas.retraining import CleanWindow, Hold, RetrainingData
from streams import opened
from streams.audit_reader import AuditReader
from streams.cli import main
from streams.config import Topics
from streams.ports import LogError
from streams.prediction_regions import Region
from streams.responder_ports import ModelName, WindowGoneError
from streams.retraining_gate import WindowFacts
from streams.window_reader import KafkaEventWindows, WindowError
from tests.delivery.kit import wait_until
from tests.streams.events import START_MS
from tests.streams.window_kit import (
    DECODER,
    KEY,
    SECRET,
    MemoryEvents,
    labelled,
    predicted,
    quarantine,
    record,
    request,
    window,
)

FIRST, SECOND, GONE = "a1" * 16, "a1" * 15 + "b2", "c3" * 16
EVENTS = [predicted(1), labelled(1), predicted(2), labelled(2, 0, source="eve")]
WHOLE = window((0, 0, 3))
HOLD = Hold(reason="attack_suspected", detail="poisoning is suspected", evidence_ids=["a" * 32])


class MemoryTopics(MemoryEvents):
    """The events topic, and the latest records of the retraining topic."""

    low = 0

    def __init__(self, requests: Mapping[str, RetrainingData]) -> None:
        records = [record(offset, event) for offset, event in enumerate(EVENTS)]
        super().__init__(records, low=self.low, high=4)
        self.requests = requests
        self.is_closed = False

    def latest(self, topic: str, prefix: bytes) -> dict[bytes, bytes]:
        return {
            name.removeprefix(f"{topic} ").encode(): of.model_dump_json().encode()
            for name, of in self.requests.items()
            if name.startswith(f"{topic} {prefix.decode()}")
        }

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("DRIFTSENTRY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DRIFTSENTRY_SOURCE_KEY", SECRET)


@pytest.fixture
def topics(monkeypatch: pytest.MonkeyPatch) -> Callable[..., MemoryTopics]:
    def hold(of: RetrainingData, topic: str = "driftsentry.retraining") -> MemoryTopics:
        found = MemoryTopics({f"{topic} {FIRST}": of})
        monkeypatch.setattr(opened, "answering_reader_of", lambda _: found)
        return found

    return hold


def run(*arguments: str, output: str = "out.ndjson", servers: str = "127.0.0.1:1") -> Result:
    command = ["window", "export", *arguments, "--output", output]
    if servers:
        command += ["--bootstrap-servers", servers]
    return CliRunner().invoke(main, command, prog_name="driftsentry")


def ids_in(path: str = "out.ndjson") -> list[str]:
    return [orjson.loads(line)["event_id"] for line in Path(path).read_bytes().splitlines()]


def test_a_released_request_is_exported(topics: Callable[..., MemoryTopics]) -> None:
    of = window((0, 0, 3), n_predictions=2, n_labels=1, n_quarantined=1)
    reader = topics(request(of, quarantine(0, 9, "eve")))
    result = run(FIRST)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "1 labelled predictions of churn 7 written to out.ndjson",
        "of 2 predictions in the window; 1 with a label were left out, in quarantine",
    ]
    assert (result.stderr, ids_in(), reader.is_closed) == ("", ["e1"], True)
    assert run(FIRST[:12].upper(), output="out.parquet").exit_code == 0
    assert sorted(each.name for each in Path().iterdir()) == ["out.ndjson", "out.parquet"]


def test_the_topic_of_requests_may_have_another_name(topics: Callable[..., MemoryTopics]) -> None:
    topics(request(WHOLE), "elsewhere")
    assert run(FIRST, "--retraining-topic", "elsewhere").exit_code == 0
    result = run(FIRST)
    assert (
        result.exit_code,
        f"there is no request {FIRST}; `driftsentry incident req" in result.stderr,
    ) == (
        1,
        True,
    )


def test_what_is_held_is_refused_with_its_reasons_and_exported_only_when_asked(
    topics: Callable[..., MemoryTopics],
) -> None:
    topics(request(WHOLE, status="held", holds=[HOLD]))
    result = run(FIRST)
    assert result.exit_code == 3
    assert "the request is held: poisoning is suspected. Nothing was written" in result.stderr
    assert list(Path().iterdir()) == []
    result = run(FIRST, "--held")
    assert result.exit_code == 0
    assert "warning: the request is held, do not train on this: poisoning is" in result.stderr
    assert ids_in() == ["e1", "e2"]


def test_what_names_no_request_or_several_is_a_sentence(
    topics: Callable[..., MemoryTopics],
) -> None:
    held = topics(request(WHOLE))
    held.requests = {f"driftsentry.retraining {name}": request(WHOLE) for name in (FIRST, SECOND)}
    for typed, said in (
        ("a1a1", f"2 begin with a1a1: {FIRST}, {SECOND}; give more digits"),
        ("a1a2", "there is no request a1a2; `driftsentry incident requests` names those"),
        ("a1a", "'a1a' names no request: give its id, or at least the first 4 of its 32"),
    ):
        result = run(typed)
        assert (result.exit_code, said in result.stderr) == (1, True), result.stderr
    assert list(Path().iterdir()) == []
    assert run(SECOND).exit_code == 0


def test_what_was_withdrawn_is_never_exported(topics: Callable[..., MemoryTopics]) -> None:
    topics(request(WHOLE, status="withdrawn"))
    for asked in ((FIRST,), (FIRST, "--held")):
        result = run(*asked)
        assert (result.exit_code, "was withdrawn" in result.stderr) == (3, True)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("of", "exit_code", "said"),
    [
        (request(window((0, 0, 4))), 1, "could not be read: events[0] can be read up to offset 3"),
        (request(window((0, 0, 0))), 1, "none of the 1 predictions of churn 7"),
        (
            request(window((0, 0, 3), n_predictions=9, n_labels=9, n_quarantined=0)),
            3,
            "the request speaks of 9 predictions",
        ),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(
    topics: Callable[..., MemoryTopics], of: RetrainingData, exit_code: int, said: str
) -> None:
    topics(of)
    result = run(FIRST)
    assert (result.exit_code, said in result.stderr) == (exit_code, True), result.stderr
    assert list(Path().iterdir()) == []


def test_events_that_retention_has_removed_are_no_use_in_trying_again(
    topics: Callable[..., MemoryTopics], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryTopics, "low", 1)
    topics(request(WHOLE))
    result = run(FIRST)
    assert (result.exit_code, "retention has removed events of it" in result.stderr) == (3, True)
    assert list(Path().iterdir()) == []


def test_without_the_key_of_the_quarantine_nothing_is_written(
    topics: Callable[..., MemoryTopics], monkeypatch: pytest.MonkeyPatch
) -> None:
    topics(request(WHOLE, quarantine(0, 9, "eve")))
    for key in (None, "another key of sixteen bytes or more"):
        if key is None:
            monkeypatch.delenv("DRIFTSENTRY_SOURCE_KEY")
        else:
            monkeypatch.setenv("DRIFTSENTRY_SOURCE_KEY", key)
        result = run(FIRST)
        assert result.exit_code == 2
        assert f"pseudonyms by key {KEY.fingerprint}" in result.stderr
        assert "set `worker.source_key`" in result.stderr
    assert list(Path().iterdir()) == []


def test_wrong_usage_is_a_sentence(topics: Callable[..., MemoryTopics]) -> None:
    topics(request(WHOLE))
    result = run(FIRST, output="out.csv")
    assert (result.exit_code, "does not end in .ndjson or .parquet" in result.stderr) == (2, True)
    result = run(FIRST, servers="")
    assert (result.exit_code, "bootstrap_servers" in result.stderr) == (2, True)
    result = run(FIRST, output="no/such/folder/out.ndjson")
    assert (result.exit_code, "could not be written: No such file" in result.stderr) == (1, True)
    assert result.stderr.endswith("; name a file in another place with --output\n")


# A real topic.


def sent(kafka: str, topic: str, *events: Any, commit: bool | None = None) -> list[int]:
    """Send events of `churn`; within a transaction where it is said whether that is committed.

    Returns the offsets that they have got.
    """
    config: dict[str, Any] = {"bootstrap.servers": kafka, "enable.idempotence": True}
    offsets: list[int] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        offset = message.offset()
        assert error is None, error
        assert offset is not None
        offsets.append(offset)

    if commit is not None:
        config["transactional.id"] = f"{topic}-{commit}-{time.monotonic_ns()}"
    producer = Producer(config)
    if commit is not None:
        producer.init_transactions(30)
        producer.begin_transaction()
    for event in events:
        producer.produce(
            topic, value=orjson.dumps(event), key=b"churn", partition=0, on_delivery=delivered
        )
    assert producer.flush(30) == 0
    assert len(offsets) == len(events)
    if commit is not None:
        (producer.commit_transaction if commit else producer.abort_transaction)(30)
    return offsets


def reader_of(kafka: str, events: str, patience_s: float = 30.0) -> AuditReader:
    return AuditReader(kafka, Topics(events=events), group="none", patience_s=patience_s)


def facts_of(kafka: str, of: CleanWindow) -> WindowFacts:
    reader = reader_of(kafka, of.topic)
    try:
        windows = KafkaEventWindows(reader, DECODER)
        return asyncio.run(windows.facts(ModelName("driftsentry", "churn"), "7", of, ()))
    finally:
        reader.close()


@pytest.mark.kafka
def test_committed_events_of_a_real_topic_are_exported(
    kafka: str, new_topic: Callable[..., str]
) -> None:
    topic, requests = new_topic("events"), new_topic("retraining", n_partitions=2)
    sent(kafka, topic, predicted(1), predicted(2))  # 0, 1
    sent(kafka, topic, labelled(1, 0), predicted(3), commit=False)  # 2, 3, marker 4
    sent(kafka, topic, labelled(1), labelled(2), commit=True)  # 5, 6, marker 7
    (beyond,) = sent(kafka, topic, labelled(3))
    of = WHOLE.model_copy(update={"topic": topic})
    part = of.parts[0]
    ranges = [part.ranges[0].model_copy(update={"last_offset": beyond - 1})]
    of = of.model_copy(update={"parts": [part.model_copy(update={"ranges": ranges})]})
    times = START_MS + 1, START_MS + 2
    assert facts_of(kafka, of) == WindowFacts(
        2, 2, 0, 0, *times, (Region("class", "class=1", 2, 2, 2),)
    )

    said = of.model_copy(update={"n_predictions": 2, "n_labels": 2, "n_quarantined": 0})
    producer = Producer({"bootstrap.servers": kafka})
    for status, key in (("held", FIRST), ("released", FIRST), ("held", SECOND), ("held", GONE)):
        value = request(said, request_id=key, status=status).model_dump_json()
        producer.produce(requests, value=value, key=key)
    producer.produce(requests, value=None, key=GONE)
    assert producer.flush(30) == 0
    names = ("--retraining-topic", requests)
    result = run(FIRST, *names, servers=kafka)
    assert result.exit_code == 0, result.output
    assert ids_in() == ["e1", "e2"]
    first = Path("out.ndjson").read_bytes()
    assert run(FIRST, *names, servers=kafka).exit_code == 0
    assert Path("out.ndjson").read_bytes() == first
    assert run(SECOND, *names, servers=kafka).exit_code == 3
    assert run(SECOND[:8], *names, servers=kafka).exit_code == 1
    gone = run(GONE, *names, servers=kafka)
    assert (gone.exit_code, f"no request {GONE}" in gone.stderr) == (1, True)
    nowhere = run(FIRST, "--retraining-topic", f"{requests}-no", servers=kafka)
    assert (nowhere.exit_code, "there is no topic" in nowhere.stderr) == (1, True)


@pytest.mark.kafka
def test_events_that_are_gone_or_not_yet_committed_are_an_error(
    kafka: str, new_topic: Callable[..., str]
) -> None:
    topic = new_topic("events")
    of = WHOLE.model_copy(update={"topic": topic})
    sent(kafka, topic, *EVENTS[:2])
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    for event in EVENTS[2:]:
        producer.produce(topic, value=orjson.dumps(event), key=b"churn", partition=0)
    assert producer.flush(30) == 0
    with pytest.raises(WindowError, match="can be read up to offset 1, and the window ends at 3"):
        facts_of(kafka, of)
    producer.commit_transaction(30)
    # Brokers answer before what is committed can be read.
    reader = reader_of(kafka, topic)
    try:
        wait_until(lambda: reader.watermarks(TopicPartition(topic, 0)).high > 3, "the commit")
    finally:
        reader.close()
    assert facts_of(kafka, of).n_labels == 2

    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([KafkaPartition(topic, 0, 1)]).values():
        future.result(timeout=30)
    with pytest.raises(WindowGoneError, match="begins at offset 1, and the window at 0: retention"):
        facts_of(kafka, of)
    # What goes between the look at the range and the reading is seen as well.
    reader = reader_of(kafka, topic)
    try:
        with pytest.raises(LogError, match="retention removed records while they were read"):
            list(reader.events(TopicPartition(topic, 0), 0, 4))
    finally:
        reader.close()
