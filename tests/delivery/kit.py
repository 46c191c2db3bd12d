"""Runs: real worker processes with a group, a Redis prefix and output topics of their own."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import orjson
import redis
import yaml
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.records import TopicPartition as InputPartition
from schemas.source_hash import SourceKey
from streams.kafka_clients import answered_offset, kafka_error
from streams.kafka_errors import is_passing
from streams.process_guard import GuardedProcess, ProcessGuard
from streams.redis_store import RedisStore
from tests.delivery.outputs import OFFSETS, Outputs, read_outputs
from tests.delivery.traffic import produce, small_stream
from tests.kit.kafka_server import make_new_topics

NUMBERS = itertools.count(1)
WAIT_S = 400.0


def wait_until(
    is_so: Callable[[], object], what: str | Callable[[], str], timeout_s: float = WAIT_S
) -> None:
    """Ask again and again; the assertion error says `what` did not happen."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        said = what if isinstance(what, str) else ""
        assert time.monotonic() < deadline_s, said or (what() if callable(what) else what)
        time.sleep(0.01)


def commit_for(kafka: str, group: str, *places: TopicPartition) -> None:
    """Commit offsets for a group without members."""

    def is_committed() -> bool:
        # A broker that has just started may leave a client without an answer for good, or answer
        # partition by partition that it is not yet the group's coordinator.
        admin = AdminClient({"bootstrap.servers": kafka})
        request = ConsumerGroupTopicPartitions(group, list(places))
        try:
            (answer,) = admin.alter_consumer_group_offsets([request], request_timeout=15).values()
            found = answer.result(timeout=30).topic_partitions
        except (KafkaException, TimeoutError):
            return False
        return all(each.error is None for each in found)

    wait_until(is_committed, f"{group} could not commit {places}", WAIT_S)


class WorkerProcess:
    """`python -m streams worker` in a session of its own; its log lines are JSON in a file."""

    def __init__(self, command: list[str], *, guard: ProcessGuard, log: Path) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTSENTRY_")}
        self._process = GuardedProcess(command, guard=guard, log=log, env=environ)

    def lines(self) -> list[dict[str, Any]]:
        """What it has said so far; a line that is no JSON (a traceback) under `event`."""
        found: list[dict[str, Any]] = []
        for line in self._process.log_text().splitlines():
            try:
                found.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                found.append({"event": line})
        return found

    def said(self, text: str) -> list[dict[str, Any]]:
        """The lines in which this text stands anywhere."""
        return [line for line in self.lines() if text in str(line)]

    def wait_said(self, text: str, n: int = 1, timeout_s: float = WAIT_S) -> None:
        """Wait until so many lines hold this text; fails when the process ends before."""

        def ready() -> bool:
            running = self._process.is_running()
            if len(self.said(text)) >= n:
                return True
            assert running, f"the worker ended before it said {text!r}:\n{self.log()}"
            return False

        wait_until(ready, lambda: f"not said {n} times: {text!r}\n{self.log()}", timeout_s)

    def text(self) -> str:
        """Its log."""
        return self._process.log_text()

    def log(self) -> str:
        """The end of its log."""
        return "\n".join(self._process.log_text().splitlines()[-60:])

    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process.is_running()

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send(number)

    def kill(self) -> None:
        """kill -9."""
        assert self._process.is_running(), f"ended before it was killed:\n{self.log()}"
        assert self._process.kill() == -signal.SIGKILL

    def end(self) -> None:
        """Have it ended, whatever it does."""
        self._process.kill()

    def wait(self, timeout_s: float = WAIT_S) -> int:
        """Wait for it to end by itself; its exit code."""
        wait_until(lambda: not self.is_running(), lambda: f"still runs:\n{self.log()}", timeout_s)
        return self._process.stop()

    def stop(self, timeout_s: float = 10.0) -> float:
        """End it by SIGTERM, which it must obey in time and with exit code 0; the seconds."""
        assert self._process.is_running(), f"ended before it was stopped:\n{self.log()}"
        start_s = time.monotonic()
        self.send(signal.SIGTERM)
        code = self.wait(timeout_s)
        assert code == 0, f"exit code {code}:\n{self.log()}"
        return time.monotonic() - start_s


class Run:
    """A deployment over one input topic: workers, and what they have published."""

    def __init__(
        self,
        kafka: str,
        redis_url: str,
        events: str,
        *,
        detection: Mapping[str, Any] | None = None,
        worker: Mapping[str, Any] | None = None,
        duty: Literal["drift", "security"] = "drift",
        source_key: bytes | None = None,
    ) -> None:
        """`detection` and `worker` are the sections of the configuration file.

        What is committed, published and kept is looked at for one duty.
        """
        name = f"run-{os.getpid()}-{next(NUMBERS)}"
        self.name = name
        self.kafka = kafka
        self.kafka_of_workers = kafka
        self.redis_url = redis_url
        self.events = events
        self.group = name if duty == "drift" else f"{name}.security"
        self.duty = duty
        self.source_key = None if source_key is None else SourceKey(source_key)
        self.topics = {"alerts": f"{name}.alerts", "dead_letter": f"{name}.dead-letter"}
        if duty == "security":
            self.topics["anomalies"] = f"{name}.anomalies"
        self.journal = f"{name}.journal"
        self.checkpoints_topic = f"{name}.checkpoints"
        self.commands = f"{name}.commands"
        self.detection = dict(detection or {})
        self.settings: dict[str, Any] = {
            "group": name,
            "redis_prefix": name,
            "topics": {
                **self.topics,
                "events": events,
                "journal": self.journal,
                "commands": self.commands,
                "checkpoints": self.checkpoints_topic,
            },
            # A test that wants the topic makes it, and says how often.
            "checkpoint_topic_interval_s": 0,
            "log_format": "json",
            "commit_interval_ms": 20,
            "checkpoint_interval_s": 0.3,
            "transaction_timeout_ms": 2_000,
            "duty": duty,
            **(worker or {}),
        }
        self.workers: list[WorkerProcess] = []
        self._guard = ProcessGuard()
        self.directory = Path(tempfile.mkdtemp(prefix="driftsentry-run-"))
        self._guard.watch_directory(self.directory)
        if source_key is not None:
            path = self.directory / "source.key"
            path.touch(mode=0o600)
            path.write_bytes(source_key)
            self.settings["source_key"] = f"${{file:{path}}}"
        self.admin = AdminClient({"bootstrap.servers": kafka})
        make_topics(
            self.admin,
            {**dict.fromkeys(self.topics.values(), 2), self.journal: 1, self.commands: 1},
        )
        self._reader = Consumer({"bootstrap.servers": kafka, "group.id": self.group})

    def start(
        self,
        *options: str,
        instance: str | None = None,
        redis_url: str | None = None,
        detection: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> WorkerProcess:
        """Start a worker; further `settings` and another `detection` are its alone."""
        number = len(self.workers)
        config = self.directory / f"worker-{number}.yaml"
        document = {
            "worker": {**self.settings, **settings},
            "detection": {**self.detection, **(detection or {})},
        }
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        command = [sys.executable, "-m", "streams", "worker", "--config", str(config)]
        command += ["--bootstrap-servers", self.kafka_of_workers]
        command += ["--redis-url", self.redis_url if redis_url is None else redis_url]
        if instance is not None:
            command += ["--instance", instance]
        log = self.directory / f"worker-{number}.log"
        worker = WorkerProcess([*command, *options], guard=self._guard, log=log)
        self.workers.append(worker)
        return worker

    def store(self) -> redis.Redis:
        """The Redis of this run."""
        return redis.Redis.from_url(self.redis_url)

    def ends(self) -> dict[int, int]:
        """The end of each partition of the input."""
        deadline_s = time.monotonic() + 20
        while True:
            try:
                topic = self.admin.list_topics(self.events, 10).topics[self.events]
                latest = {
                    TopicPartition(self.events, n): OFFSETS.latest() for n in topic.partitions
                }
                found = {
                    tp.partition: answered_offset(future.result(timeout=30).offset)
                    for tp, future in self.admin.list_offsets(latest).items()
                }
            except KafkaException:
                # A broker that was frozen has lost its leadership and takes it up again.
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.1)
            else:
                return found

    def committed(self) -> dict[int, int]:
        """The committed offset of each partition that has one."""
        asked = [TopicPartition(self.events, number) for number in self.ends()]
        try:
            answer = self._reader.committed(asked, 5)
        except KafkaException as error:
            # The coordinator comes up with the first commit of all.
            if is_passing(kafka_error(error)):
                return {}
            raise
        return {each.partition: each.offset for each in answer if each.offset >= 0}

    def n_committed(self) -> int:
        """Records whose fold is committed, over all partitions."""
        return sum(self.committed().values())

    def wait_committed(self, n: int, timeout_s: float = WAIT_S) -> None:
        """Wait until so many records are committed."""
        wait_until(
            lambda: self._alive() and self.n_committed() >= n,
            lambda: f"{self.committed()} of {n}\n{self.logs()}",
            timeout_s,
        )

    def wait_done(self, partitions: Iterable[int] | None = None, timeout_s: float = WAIT_S) -> None:
        """Wait until the input is committed to its end, or these partitions of it."""
        ends = self.ends()
        wanted = {number: ends[number] for number in partitions or ends}

        def done() -> bool:
            committed = self.committed()
            return self._alive() and all(committed.get(n, -1) >= end for n, end in wanted.items())

        wait_until(done, lambda: f"{self.committed()} of {wanted}\n{self.logs()}", timeout_s)

    def shares(self) -> list[int]:
        """How many partitions each member of the group has, the least first."""
        described = self.admin.describe_consumer_groups([self.group])[self.group].result(timeout=30)
        return sorted(
            len(member.assignment.topic_partitions)
            for member in described.members
            if member.assignment is not None
        )

    def move_offsets(self, offsets: Mapping[int, int]) -> None:
        """Set committed offsets as an operator's tool does: without metadata."""
        moved = [TopicPartition(self.events, n, offset) for n, offset in offsets.items()]
        # The coordinator hears of the last member's leaving a bit later.
        commit_for(self.kafka, self.group, *moved)

    def outputs(self) -> Outputs:
        """Everything committed on the alerts and dead-letter topics."""
        return read_outputs(self.kafka, self.topics)

    def logs(self) -> str:
        """What the workers said last."""
        return "\n".join(f"-- worker {i}:\n{w.log()}" for i, w in enumerate(self.workers))

    def close(self) -> None:
        """End the workers and remove their files."""
        self._guard.close()
        for worker in self.workers:
            worker._process.kill()
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(self.logs())
        self.close()

    def _alive(self) -> bool:
        assert any(worker.is_running() for worker in self.workers), f"all ended\n{self.logs()}"
        return True


class SmallRun(Run):
    """A run whose input is sent in parts."""

    n_sent = 0

    def send(self, n: int) -> None:
        """Send the next n events of the small stream, over all partitions alike."""
        produce(self.kafka, self.events, small_stream(n, self.n_sent), self.n_sent)
        self.n_sent += n

    def checkpoints(self) -> dict[int, list[int]]:
        """The offsets of the kept checkpoints of each partition, newest first."""
        store = RedisStore(self.redis_url, group=self.group, prefix=self.name)
        try:
            return {
                number: [
                    kept.next_offset
                    for kept in store.manifests(InputPartition(self.events, number))
                ]
                for number in self.ends()
            }
        finally:
            store.close()


def make_topics(admin: AdminClient, n_partitions: Mapping[str, int]) -> None:
    """Make these topics, and wait for them."""
    # The timestamps of the events are in the past.
    keep = {"retention.ms": "-1"}
    new = [NewTopic(name, num_partitions=n, config=keep) for name, n in n_partitions.items()]
    make_new_topics(admin, new)


def dumped(store: redis.Redis) -> dict[bytes, tuple[bytes, int]]:
    """Every key of the store: its content and the milliseconds it has to live, 0 for ever."""
    keys: list[Any] = list(store.keys("*"))
    contents = {bytes(key): (store.dump(key), max(0, store.pttl(key))) for key in keys}
    # A segment may have expired, or been taken over, since the keys were asked for.
    return {key: (bytes(dump), ttl_ms) for key, (dump, ttl_ms) in contents.items() if dump}
