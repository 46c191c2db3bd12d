"""docker-compose.yml: what it says runs, on the real parts, without docker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError

from streams.config import Settings
from streams.embedded import EmbeddedValkey, free_port
from streams.kafka_clients import ask_patiently
from streams.process_guard import GuardedProcess, ProcessGuard
from tests.kit.install import ci_forbids_skips, compose_commands
from tests.kit.kafka_node import KafkaNode, PortTakenError

REPOSITORY = Path(__file__).resolve().parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
DRIFTSENTRY = str(Path(sys.executable).with_name("driftsentry"))
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


@dataclass(frozen=True)
class Stack:
    """The parts of the compose file on this machine, and what their names become here."""

    kafka: str
    valkey: EmbeddedValkey
    guard: ProcessGuard
    directory: Path

    def environment(self, service: str) -> dict[str, str]:
        """What compose would give the service, and nothing of ours but what finds the program."""
        here = {"PATH": os.environ["PATH"], "HOME": str(self.directory)}
        for name, value in SERVICES[service].get("environment", {}).items():
            text = str(value).replace("kafka:9092", self.kafka)
            here[name] = text.replace("valkey:6379", f"127.0.0.1:{self.valkey.port}")
        return here

    def command(self, service: str) -> list[str]:
        return [DRIFTSENTRY, *SERVICES[service]["command"]]

    def start(self, service: str) -> GuardedProcess:
        log = self.directory / f"{service}.log"
        return GuardedProcess(
            self.command(service), guard=self.guard, log=log, env=self.environment(service)
        )


def kafka_properties(
    environment: dict[str, Any], ports: dict[str, int], data: Path
) -> dict[str, object]:
    """The properties that the image makes of its environment, with names and ports of ours."""
    properties: dict[str, object] = {}
    for name, value in environment.items():
        if not name.startswith("KAFKA_"):
            continue
        text = str(value)
        if name in {"KAFKA_LISTENERS", "KAFKA_ADVERTISED_LISTENERS"}:
            text = text.replace("://:", "://127.0.0.1:")
        if "LISTENERS" in name or "VOTERS" in name:
            for of_image, here in ports.items():
                text = text.replace(f":{of_image}", f":{here}")
            text = text.replace("kafka:", "127.0.0.1:").replace("localhost:", "127.0.0.1:")
        if name == "KAFKA_LOG_DIRS":
            text = str(data)
        properties[name.removeprefix("KAFKA_").lower().replace("_", ".")] = text
    return properties


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Kafka and Valkey as the file configures them."""
    directory = tmp_path_factory.mktemp("compose")
    program, *arguments = SERVICES["valkey"]["command"]
    assert program == "valkey-server"
    with (
        ProcessGuard() as guard,
        # The file's own policy must win over another one.
        EmbeddedValkey(maxmemory_policy="allkeys-lru", arguments=arguments) as valkey,
    ):
        node = start_kafka(directory, guard)
        try:
            yield Stack(node.address, valkey, guard, directory)
        finally:
            node.kill()


def start_kafka(directory: Path, guard: ProcessGuard) -> KafkaNode:
    """A node with the properties of the file; on other ports where one was taken."""
    environment = SERVICES["kafka"]["environment"]
    for attempt in range(5):
        node = KafkaNode(1, directory / f"kafka-{attempt}", guard, heap_mib=512)
        ports = {"9092": node.port, "9093": node.controller_port, "9094": free_port()}
        properties = kafka_properties(environment, ports, node.directory / "data")
        # The image formats with the cluster id of its environment, and with voters.
        node.format(environment["CLUSTER_ID"], properties, alone=False)
        try:
            node.start()
        except PortTakenError:
            continue
        return node
    raise AssertionError("no free ports")


def run(stack: Stack, service: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        stack.command(service),
        env=stack.environment(service),
        cwd=stack.directory,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def n_records(servers: str, topic: str) -> int:
    """How many offsets of the topic are taken, over its partitions."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "count"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ranges = [
            # A broker that has just made the topic may not know yet that it leads it.
            ask_patiently(partial(consumer.get_watermark_offsets, place, timeout=10), 30)
            for place in (TopicPartition(topic, partition) for partition in partitions)
        ]
        return sum(high - low for low, high in ranges)
    finally:
        consumer.close()


def wait_for_records(
    stack: Stack, topic: str, processes: list[GuardedProcess], timeout_s: float = 120.0
) -> None:
    deadline_s = time.monotonic() + timeout_s
    while n_records(stack.kafka, topic) == 0:
        logs = "\n".join(process.log_text()[-3000:] for process in processes)
        assert time.monotonic() < deadline_s, f"nothing on {topic}\n{logs}"
        time.sleep(0.25)


@pytest.mark.parametrize("profiles", [[], ["--profile", "demo"]], ids=["plain", "demo"])
def test_a_compose_program_accepts_the_file(profiles: list[str]) -> None:
    commands = compose_commands()
    if not commands:
        why = "no compose program here (Debian: apt-get install docker-compose)"
        assert not ci_forbids_skips(), why
        pytest.skip(why)
    for command in commands:
        done = subprocess.run(
            [*command, "-f", str(REPOSITORY / "docker-compose.yml"), *profiles, "config"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        shown = yaml.safe_load(done.stdout)["services"]
        expected = {name for name, one in SERVICES.items() if profiles or "profiles" not in one}
        assert expected <= set(shown)


def test_services_name_each_other_and_their_volumes() -> None:
    assert set(SERVICES) == {
        *("kafka", "valkey", "topics", "worker", "responder", "auditor", "demo-producer"),
    }
    volumes = set(COMPOSE["volumes"])
    for name, service in SERVICES.items():
        assert "image" in service
        assert ":" in service["image"]
        assert not service["image"].endswith(":latest")
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in volumes
        for other, condition in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            assert condition["condition"] in CONDITIONS
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
        for value in service.get("environment", {}).values():
            # YAML's bare `false` or `no` would reach the program as something else.
            assert isinstance(value, str | int)
            assert not isinstance(value, bool)
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), "an open port without a password"


def test_our_services_run_the_image_of_the_dockerfile_without_privileges() -> None:
    assert OURS == ["auditor", "demo-producer", "responder", "topics", "worker"]
    for name in OURS:
        service = SERVICES[name]
        assert service["build"] == "."
        assert service["cap_drop"] == ["ALL"]
    assert SERVICES["demo-producer"]["profiles"] == ["demo"]
    assert [name for name, service in SERVICES.items() if "profiles" in service] == [
        "demo-producer"
    ]


@pytest.mark.parametrize("service", OURS)
def test_our_services_are_let_in_to_a_plaintext_broker_because_they_say_so(service: str) -> None:
    servers = SERVICES[service]["environment"]["DRIFTSENTRY_BOOTSTRAP_SERVERS"]
    assert "--insecure" in SERVICES[service]["command"]
    assert Settings(bootstrap_servers=servers, insecure=True).bootstrap_servers == servers
    with pytest.raises(ValidationError, match="not encrypted"):
        Settings(bootstrap_servers=servers)


def test_the_dockerfile_copies_only_what_is_there_and_not_ignored() -> None:
    allowed = {
        line[1:]
        for line in (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    copied: set[str] = set()
    text = (REPOSITORY / "Dockerfile").read_text("utf-8")
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and not words[1].startswith("--"):
            copied.update(words[1:-1])
    assert copied == allowed
    assert all((REPOSITORY / name).exists() for name in copied)
    assert "PYTHONSAFEPATH=1" in text
    user = text.index("\nUSER driftsentry")
    assert user < text.index("RUN python -m detectors.warm") < text.index("\nENTRYPOINT")


@pytest.mark.kafka
def test_every_service_runs_as_the_file_says(stack: Stack) -> None:
    with redis.Redis.from_url(stack.valkey.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("maxmemory") == {"maxmemory": str(512 * 1024 * 1024)}

    made = run(stack, "topics")
    assert made.returncode == 0, made.stdout + made.stderr
    topics = AdminClient({"bootstrap.servers": stack.kafka}).list_topics(timeout=10).topics
    assert {"driftsentry.events", "driftsentry.alerts"} <= set(topics)
    again = run(stack, "topics")
    assert again.returncode == 0, again.stdout + again.stderr

    processes = [stack.start("worker"), stack.start("demo-producer")]
    worker, producer = processes
    try:
        wait_for_records(stack, "driftsentry.events", processes)
        wait_for_records(stack, "driftsentry.alerts", processes)
        assert worker.is_running(), worker.log_text()
        assert producer.stop() == 0, producer.log_text()
        stopping_s = time.monotonic()
        grace_s = float(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
        assert worker.stop(grace_s) == 0, worker.log_text()
        assert time.monotonic() - stopping_s < 10
    finally:
        for process in processes:
            process.kill()
    with redis.Redis.from_url(stack.valkey.url) as client:
        assert client.dbsize() > 0
