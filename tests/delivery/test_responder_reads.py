"""What the responder's app is given: every committed record at least once, and no other.

On a real broker, in processes of their own, with transactions that commit, abort and stay open.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiokafka  # type: ignore[import-untyped]  # it comes without type hints
import orjson
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.committed_transport import FaustChangedError
from streams.config import Settings
from streams.kafka_clients import ask_patiently
from streams.process_guard import ProcessGuard
from streams.responder_app import make_app, run_app
from tests.delivery.kit import WorkerProcess, wait_until


class Topic:
    """A topic that is written to in transactions, and what readers may be given of it."""

    def __init__(self, kafka: str, name: str, unique_name: Callable[[str], str]) -> None:
        self.kafka = kafka
        self.name = name
        self.committed: set[str] = set()
        self._numbers = itertools.count()
        self._names = unique_name

    def producer(self) -> Producer:
        """A producer within a transaction of its own."""
        config = {"bootstrap.servers": self.kafka, "transactional.id": self._names("writer")}
        producer = Producer({**config, "retry.backoff.ms": 5, "retry.backoff.max.ms": 20})
        producer.init_transactions(30)
        producer.begin_transaction()
        return producer

    def write(self, producer: Producer, what: str, n: int, partition: int = 0) -> list[str]:
        """Write n records, so that the broker has them; their values."""
        values = [f"{what}-{next(self._numbers)}" for _ in range(n)]
        for value in values:
            producer.produce(self.name, value.encode(), b"model", partition)
        assert producer.flush(30) == 0
        return values

    def commit(self, producer: Producer, values: list[str]) -> None:
        """Commit the transaction of these values."""
        producer.commit_transaction(30)
        self.committed.update(values)

    def transaction(self, n: int, partition: int = 0, *, is_aborted: bool = False) -> None:
        """A whole transaction."""
        producer = self.producer()
        values = self.write(producer, "aborted" if is_aborted else "committed", n, partition)
        if is_aborted:
            producer.abort_transaction(30)
        else:
            self.commit(producer, values)

    def readable_to(self, partition: int = 0) -> int:
        """Where a reader of committed records must stop: at the first open transaction."""
        config = {"bootstrap.servers": self.kafka, "group.id": "none"}
        reader = Consumer({**config, "isolation.level": "read_committed"})
        try:
            place = TopicPartition(self.name, partition)
            _, end = ask_patiently(lambda: reader.get_watermark_offsets(place, 30), 60)
        finally:
            reader.close()
        return int(end)


class Responders:
    """Processes of one responder group, and the record of what they have handled."""

    def __init__(self, topic: Topic, group: str, directory: Path, guard: ProcessGuard) -> None:
        self.topic = topic
        self.record = directory / "record"
        self.record.touch()
        self._directory = directory
        self._guard = guard
        self._numbers = itertools.count()
        self._group = group
        config = {"bootstrap.servers": topic.kafka, "group.id": f"{group}.responder"}
        self._reader = Consumer(config)

    def start(self, own: Mapping[str, object] | None = None, **more: Any) -> WorkerProcess:
        """Start one; `own` are further settings of it."""
        settings = {
            "bootstrap_servers": self.topic.kafka,
            "group": self._group,
            "instance": "a",
            "commit_interval_ms": 50,
            "session_timeout_ms": 3_000,
            **(own or {}),
        }
        document = {"settings": settings, "topics": [self.topic.name], "record": str(self.record)}
        number = next(self._numbers)
        path = self._directory / f"responder-{number}.json"
        path.write_bytes(orjson.dumps({**document, **more}))
        command = [sys.executable, "-W", "error", "-m", "tests.delivery.responder_child", str(path)]
        return WorkerProcess(command, guard=self._guard, log=self._directory / f"{number}.log")

    def lines(self) -> list[dict[str, Any]]:
        """What was handled, in that order, and marks."""
        return [orjson.loads(line) for line in self.record.read_text("utf-8").splitlines()]

    def handled(self) -> list[str]:
        """The values that were handled, in that order, and marks."""
        return [line["value"] for line in self.lines()]

    def mark(self) -> None:
        """Write a mark beside the values, which says that everything after it came after now."""
        with self.record.open("a", encoding="utf-8") as record:
            record.write('{"value": "mark"}\n')

    def committed(self, partition: int = 0) -> int:
        """The offset that the group has committed; -1001 before the first."""
        asked = [TopicPartition(self.topic.name, partition)]
        return int(self._reader.committed(asked, 30)[0].offset)

    def wait_handled(self, n: int, process: WorkerProcess) -> None:
        """Wait until so many are handled, and something is committed."""
        wait_until(lambda: len(self.handled()) >= n and self.committed() > 0, process.log, 60)

    def wait_done(self, process: WorkerProcess, partition: int = 0) -> None:
        """Wait until the group has committed all that can be read."""
        end = self.topic.readable_to(partition)

        def done() -> bool:
            assert process.is_running(), process.log()
            return self.committed(partition) >= end

        wait_until(done, lambda: f"{self.committed(partition)} of {end}\n{process.log()}", 60)
        assert self.committed(partition) == end

    def shares(self) -> list[int]:
        """How many partitions each member of the group has, the least first."""
        admin = AdminClient({"bootstrap.servers": self.topic.kafka})
        group = f"{self._group}.responder"
        described = admin.describe_consumer_groups([group])[group].result(timeout=30)
        return sorted(
            len(member.assignment.topic_partitions)
            for member in described.members
            if member.assignment is not None
        )

    def close(self) -> None:
        """Let go of the broker."""
        self._reader.close()


@pytest.fixture
def topic(kafka: str, new_topic: Callable[..., str], unique_name: Callable[[str], str]) -> Topic:
    return Topic(kafka, new_topic("alerts", n_partitions=2), unique_name)


@pytest.fixture
def responders(
    topic: Topic, unique_name: Callable[[str], str], tmp_path: Path
) -> Iterator[Responders]:
    with ProcessGuard() as guard:
        made = Responders(topic, unique_name("group"), tmp_path, guard)
        yield made
        made.close()


def test_exactly_the_committed_records_are_handled_and_open_ones_after_their_commit(
    topic: Topic, responders: Responders
) -> None:
    # A record at offset 0 and then a gap: from here on Faust itself commits nothing.
    topic.transaction(1)
    topic.transaction(4, is_aborted=True)
    topic.transaction(3)
    plain = Producer({"bootstrap.servers": topic.kafka})
    topic.committed.update(topic.write(plain, "plain", 2))
    topic.transaction(2, partition=1, is_aborted=True)
    before = set(topic.committed)
    open_one = topic.producer()
    open_values = topic.write(open_one, "open", 3)
    topic.transaction(2)
    topic.transaction(2, is_aborted=True)

    process = responders.start()
    responders.wait_done(process)
    responders.wait_done(process, partition=1)
    assert sorted(responders.handled()) == sorted(before)

    responders.mark()
    topic.commit(open_one, open_values)
    # The end of what can be read moves some time after the commit.
    responders.wait_handled(len(topic.committed) + 1, process)
    responders.wait_done(process)
    process.stop()
    handled = responders.handled()
    assert handled.index("mark") == len(before)
    assert sorted(handled) == sorted([*topic.committed, "mark"])
    assert [line["event"] for line in process.lines() if "on stdout" in line["event"]] == [
        "on stdout",
        "still on stdout",
    ]


def test_after_kill_9_everything_committed_is_handled_at_least_once(
    topic: Topic, responders: Responders
) -> None:
    for number in range(12):
        topic.transaction(40, partition=number % 2)
        topic.transaction(7, partition=number % 2, is_aborted=True)
    process = responders.start()
    for _ in range(2):
        # Behind what is there, so that each of them is killed in the middle of something.
        topic.transaction(400)
        responders.wait_handled(len(responders.handled()) + 50, process)
        process.kill()
        process = responders.start()
    responders.wait_done(process)
    responders.wait_done(process, partition=1)
    process.stop()
    handled = responders.handled()
    assert set(handled) == topic.committed
    # What was committed was not handled again.
    assert len(handled) < 2 * len(topic.committed)


def test_partitions_move_to_another_responder_and_back(
    topic: Topic, responders: Responders
) -> None:
    for number in range(6):
        topic.transaction(30, partition=number % 2)
        topic.transaction(5, partition=number % 2, is_aborted=True)
    first = responders.start()
    responders.wait_done(first)
    second = responders.start({"instance": "b"})
    wait_until(lambda: responders.shares() == [1, 1], second.log, 60)
    for partition in (0, 1):
        topic.transaction(30, partition=partition)
        topic.transaction(30, partition=partition, is_aborted=True)
    responders.wait_done(first)
    responders.wait_done(second, partition=1)
    second.kill()
    for partition in (0, 1):
        topic.transaction(30, partition=partition)
    responders.wait_done(first)
    responders.wait_done(first, partition=1)
    first.stop()
    assert set(responders.handled()) == topic.committed


def test_a_record_whose_handler_fails_ends_the_app_and_comes_again(
    topic: Topic, responders: Responders
) -> None:
    topic.transaction(20)
    failing = "committed-7"
    assert failing in topic.committed
    process = responders.start(fail_at=failing)
    assert process.wait(60) != 0
    assert process.said(f"cannot handle {failing}")
    assert responders.committed() <= 7
    before = responders.handled()
    assert failing not in before
    assert "committed-8" not in before

    process = responders.start()
    responders.wait_done(process)
    process.stop()
    assert set(responders.handled()) == topic.committed


def test_a_record_is_handed_out_as_it_is(topic: Topic, responders: Responders) -> None:
    producer = Producer({"bootstrap.servers": topic.kafka})
    headers: list[tuple[str, str | bytes | None]]
    headers = [("ce_id", b"1"), ("seen", b"a"), ("seen", b"b")]
    producer.produce(topic.name, b"value", b"key", 0, timestamp=1_795_405_378_123, headers=headers)
    producer.produce(topic.name, None, b"gone", 0, timestamp=1)
    producer.produce(topic.name, b"", None, 0, timestamp=2)
    assert producer.flush(30) == 0
    process = responders.start()
    responders.wait_done(process)
    process.stop()
    keys = ("partition", "offset", "timestamp_ms", "key", "value", "headers")
    assert [tuple(line[key] for key in keys) for line in responders.lines()] == [
        (0, 0, 1_795_405_378_123, "key", "value", [["ce_id", "1"], ["seen", "a"], ["seen", "b"]]),
        (0, 1, 1, "gone", None, []),
        (0, 2, 2, None, "", []),
    ]


def test_it_ends_when_told_though_a_handler_hangs_and_the_record_comes_again(
    topic: Topic, responders: Responders
) -> None:
    topic.transaction(9)
    process = responders.start(hang_at="committed-4")
    process.wait_said("hangs")
    process.stop()
    assert responders.handled() == [f"committed-{number}" for number in range(4)]
    process = responders.start()
    responders.wait_done(process)
    process.stop()
    # In the order of the log, and the first ones were committed at the end of the first process.
    assert responders.handled() == [f"committed-{number}" for number in range(9)]


def test_it_ends_when_told_before_it_has_any_partition(
    topic: Topic, responders: Responders
) -> None:
    topic.transaction(3)
    process = responders.start()
    process.wait_said("on stdout")
    process.stop()
    assert process.said("still on stdout")
    assert set(responders.handled()) <= topic.committed


# Faust raises it in its thread, too, where nobody can catch it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_client_that_reads_more_than_committed_records_is_not_started(
    kafka: str, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer = aiokafka.AIOKafkaConsumer

    def careless(**options: Any) -> aiokafka.AIOKafkaConsumer:
        return consumer(**(options | {"isolation_level": "read_uncommitted"}))

    async def run() -> None:
        await run_app(
            make_app(Settings(bootstrap_servers=kafka, group=unique_name("group"))),
            asyncio.Event(),
        )

    monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", careless)
    with pytest.raises(FaustChangedError, match="not read_committed"):
        asyncio.run(run())
    # Its thread ends by the same error, which is to be heard of here and not in the next test.
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(10)


def test_nothing_of_faust_is_set_by_the_environment(
    topic: Topic, responders: Responders, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "BROKER_URL": "kafka://127.0.0.1:1",
        "BROKER_CONSUMER_URL": "kafka://127.0.0.1:1",
        "PROCESSING_GUARANTEE": "exactly_once",
        "APP_WEB_ENABLED": "true",
        "APP_DATADIR": str(responders.record),
        "DJANGO_SETTINGS_MODULE": "no.such.module",
        "FAUST_STRICT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    before = sorted(Path.cwd().iterdir())
    topic.transaction(3)
    process = responders.start()
    responders.wait_done(process)
    process.stop()
    assert set(responders.handled()) == topic.committed
    assert sorted(Path.cwd().iterdir()) == before
