"""`driftsentry notify` on a real broker: what is committed is told, at least once, to each."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from pydantic import BaseModel
from standardwebhooks.webhooks import Webhook

from streams.group_offsets import GroupOffsets
from streams.kafka_clients import ask_patiently
from streams.process_guard import GuardedProcess, ProcessGuard
from tests.delivery.kit import commit_for, wait_until
from tests.kit.https_receiver import OK, SECRETS, Receiver, https_receiver, status
from tests.streams.incident_scene import written
from tests.streams.notify_kit import held, incident, released


class Scene:
    """Topics, receivers and processes of one test."""

    def __init__(
        self, servers: str, topics: Mapping[str, str], directory: Path, guard: ProcessGuard
    ) -> None:
        self.servers, self.topics, self.directory = servers, topics, directory
        self._guard = guard
        self.group = f"{topics['incidents']}.group"
        self.ready = directory / "ready"
        self._groups = GroupOffsets(servers, {})
        self._n_started = 0

    def write(self, *records: BaseModel, producer: Producer | None = None) -> None:
        chosen = producer or Producer({"bootstrap.servers": self.servers})
        for number, each in enumerate(records):
            key, value = written(each)
            name = "incidents" if hasattr(each, "verdict") else "retraining"
            # In turns: both partitions have something.
            chosen.produce(self.topics[name], value, key, number % 2)
        assert chosen.flush(30) == 0

    def configure(self, *receivers: Receiver, **given: Any) -> None:
        """A webhook `hook-N` for each receiver."""
        webhooks = {
            f"hook-{number}": {
                "url": each.url,
                "secrets": ["${env:HOOK_SECRET}"],
                "ca_file": str(each.ca_file),
                "allow_private_addresses": ["127.0.0.1/32"],
                "start": "earliest",
                **given,
            }
            for number, each in enumerate(receivers)
        }
        worker = {
            "bootstrap_servers": self.servers,
            "group": self.group,
            "topics": dict(self.topics),
            "log_format": "json",
            "session_timeout_ms": 6_000,
            "notify": {"hosts": ["localhost"], "webhooks": webhooks},
        }
        self.config.write_text(yaml.safe_dump({"worker": worker}), encoding="utf-8")

    @property
    def config(self) -> Path:
        return self.directory / "driftsentry.yaml"

    def start(self) -> GuardedProcess:
        self._n_started += 1
        environ = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTSENTRY_")}
        return GuardedProcess(
            [
                *(sys.executable, "-m", "streams", "notify", "--config", str(self.config)),
                *("--ready-file", str(self.ready)),
            ],
            guard=self._guard,
            log=self.directory / f"notify-{self._n_started}.log",
            env={**environ, "HOOK_SECRET": SECRETS[0]},
        )

    def lag(self, number: int) -> int:
        """Offsets of committed records that the group of this webhook has not committed."""
        group = f"{self.group}.notify.hook-{number}"
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": "lag"})
        try:
            lag = 0
            for name in ("incidents", "retraining", "rollback"):
                topic = self.topics[name]
                known = consumer.list_topics(topic, timeout=10).topics[topic].partitions
                for each in self._groups.committed(group, [(topic, one) for one in known], 60.0):
                    lag -= each.offset
                for partition in known:
                    place = TopicPartition(topic, partition)
                    ask = partial(consumer.get_watermark_offsets, place, timeout=10)
                    lag += ask_patiently(ask, 30)[1]
            return lag
        finally:
            consumer.close()

    def undelivered(self) -> list[dict[str, Any]]:
        consumer = Consumer(
            {
                "bootstrap.servers": self.servers,
                "group.id": "undelivered",
                "enable.partition.eof": True,
            }
        )
        try:
            consumer.assign([TopicPartition(self.topics["undelivered"], 0, 0)])
            found = []
            while (message := consumer.poll(30)) is not None and message.error() is None:
                value = message.value()
                assert isinstance(value, bytes)
                found.append(orjson.loads(value))
            return found
        finally:
            consumer.close()


@pytest.fixture
def scene(kafka: str, new_topic: Callable[..., str], tmp_path: Path) -> Iterator[Scene]:
    topics = {
        "incidents": new_topic("incidents", 2),
        "retraining": new_topic("retraining", 2),
        "rollback": new_topic("rollback", 2),
        "undelivered": new_topic("undelivered", 1),
    }
    with ProcessGuard() as guard:
        yield Scene(kafka, topics, tmp_path, guard)


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[list[Receiver]]:
    for each in ("one", "two"):
        (tmp_path / each).mkdir()
    with https_receiver(tmp_path / "one") as one, https_receiver(tmp_path / "two") as two:
        yield [one, two]


def told(receiver: Receiver) -> list[Any]:
    """The data of what arrived, verified, once for each id, in the order of first arrival."""
    found: dict[str, Any] = {}
    for each in receiver.got:
        body = Webhook(SECRETS[0]).verify(each.body, each.headers)
        found.setdefault(each.headers["webhook-id"], body["data"])
    return list(found.values())


def stopped(process: GuardedProcess) -> str:
    """Its log, once it has ended as it should."""
    assert process.stop(60) == 0, process.log_text()
    return process.log_text()


def test_committed_records_are_told_and_aborted_ones_are_not(
    scene: Scene, receivers: list[Receiver]
) -> None:
    receiver = receivers[0]
    scene.configure(receiver)
    producer = Producer({"bootstrap.servers": scene.servers, "transactional.id": scene.group})
    producer.init_transactions(30)
    one, request = incident("low"), released()
    for records, ends_well in (
        ([incident("medium")], False),
        ([one, request], True),
        ([incident("critical")], False),
    ):
        producer.begin_transaction()
        scene.write(*records, producer=producer)
        (producer.commit_transaction if ends_well else producer.abort_transaction)(30)
    process = scene.start()
    wait_until(lambda: len(told(receiver)) >= 2, process.log_text)
    last = incident("high")
    scene.write(last)
    wait_until(lambda: len(told(receiver)) >= 3, process.log_text)
    wait_until(scene.ready.exists, process.log_text)
    assert json.loads(scene.ready.read_text())["hook-0"]["n_failed"] == 0
    log = stopped(process)
    assert not scene.ready.exists()
    found = told(receiver)
    assert {each.get("incident_id", "") for each in found} >= {one.incident_id, last.incident_id}
    assert [each["request_id"] for each in found if "request_id" in each] == [request.request_id]
    assert len(found) == 3
    assert SECRETS[0].removeprefix("whsec_") not in log


def test_after_a_kill_what_was_not_taken_is_told_again_under_its_id(
    scene: Scene, receivers: list[Receiver]
) -> None:
    receiver = receivers[0]
    receiver.then(status(500))
    scene.configure(receiver)
    scene.write(incident("low"), incident("high"), held())
    process = scene.start()
    wait_until(lambda: len(receiver.got) >= 2, process.log_text)
    os.kill(process.pid, signal.SIGKILL)
    process.kill()
    n_before = len(receiver.got)
    ids = {each.headers["webhook-id"] for each in receiver.got}
    # Nothing was taken, so it is stuck at one record.
    assert len(ids) == 1
    receiver.then(OK)
    process = scene.start()
    wait_until(lambda: scene.lag(0) == 0, process.log_text)
    after = [each.headers["webhook-id"] for each in receiver.got[n_before:]]
    assert ids <= set(after)
    assert len(set(after)) == 3
    stopped(process)
    # What is committed is not told once more.
    n_before = len(receiver.got)
    process = scene.start()
    scene.write(incident("critical"))
    wait_until(lambda: len(receiver.got) > n_before, process.log_text)
    stopped(process)
    assert len(receiver.got) == n_before + 1


def test_a_receiver_that_takes_nothing_holds_up_no_other(
    scene: Scene, receivers: list[Receiver]
) -> None:
    bad, good = receivers
    bad.then(status(503))
    scene.configure(bad, good)
    scene.write(incident("low"), incident("high"), held())
    process = scene.start()
    wait_until(lambda: len(told(good)) == 3, process.log_text)
    wait_until(lambda: scene.lag(1) == 0, process.log_text)
    wait_until(lambda: len(told(bad)) == 1, process.log_text)
    assert scene.lag(0) > 0
    stopped(process)
    assert scene.undelivered() == []


def test_what_is_given_up_stands_on_its_topic_and_the_next_is_told(
    scene: Scene, receivers: list[Receiver]
) -> None:
    receiver = receivers[0]
    receiver.then(status(400), OK)
    scene.configure(receiver, give_up_s=0.000_001)
    one, other = incident("low"), incident("high")
    scene.write(one, other)
    process = scene.start()
    wait_until(lambda: scene.lag(0) == 0, process.log_text)
    stopped(process)
    (letter,) = scene.undelivered()
    assert (letter["sink"], letter["reason"], letter["n_attempts"]) == ("hook-0", "status 400", 1)
    assert letter["message_id"] == receiver.got[0].headers["webhook-id"]
    assert letter["key"] in {one.incident_id, other.incident_id}
    assert len(receiver.got) == 2


def test_a_new_receiver_is_told_from_now_on_and_that_is_kept(
    scene: Scene, receivers: list[Receiver]
) -> None:
    receiver = receivers[0]
    scene.configure(receiver, start="latest")
    scene.write(incident("low"))
    process = scene.start()
    wait_until(scene.ready.exists, process.log_text)
    # Killed before anything has come: where it began is committed all the same.
    wait_until(lambda: scene.lag(0) == 0, process.log_text)
    process.kill()
    missed = incident("high")
    scene.write(missed)
    process = scene.start()
    wait_until(lambda: len(receiver.got) == 1, process.log_text)
    stopped(process)
    (found,) = told(receiver)
    assert found["incident_id"] == missed.incident_id


def test_a_topic_that_was_made_anew_is_told_from_its_beginning(
    scene: Scene, receivers: list[Receiver]
) -> None:
    receiver = receivers[0]
    scene.configure(receiver)
    scene.write(incident("low"))
    beyond = [
        TopicPartition(scene.topics[name], partition, 1_000)
        for name in ("incidents", "retraining", "rollback")
        for partition in (0, 1)
    ]
    commit_for(scene.servers, f"{scene.group}.notify.hook-0", *beyond)
    process = scene.start()
    wait_until(lambda: len(receiver.got) == 1, process.log_text)
    assert "the topic was made anew" in stopped(process)


def test_two_processes_share_the_work_and_one_takes_over(
    scene: Scene, receivers: list[Receiver]
) -> None:
    receiver = receivers[0]
    receiver.then(status(500))
    scene.configure(receiver, about=["incidents"])
    scene.write(*(incident(each) for each in ("low", "medium", "high", "critical")))
    first = scene.start()
    # While it waits for its receiver it lets the other one in.
    wait_until(lambda: bool(receiver.got), first.log_text)
    second = scene.start()
    wait_until(lambda: len({e.headers["webhook-id"] for e in receiver.got}) > 1, second.log_text)
    first.kill()
    receiver.then(OK)
    wait_until(lambda: scene.lag(0) == 0, second.log_text)
    stopped(second)
    assert len(told(receiver)) == 4
    assert scene.undelivered() == []


def test_without_its_topics_it_ends_and_says_what_makes_them(
    scene: Scene, receivers: list[Receiver]
) -> None:
    scene.topics = {**scene.topics, "retraining": "there-is-none"}
    scene.configure(receivers[0])
    process = scene.start()
    wait_until(lambda: not process.is_running(), process.log_text)
    assert "driftsentry topics create" in process.log_text()
    assert process.kill() == 1
