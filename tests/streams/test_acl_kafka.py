"""docs/acl-kafka.md, run: its rights are enough for the worker, the emitter and the reader.

One real broker with an authoriser; users log in over SASL at a second, loopback listener.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import (
    Consumer,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from schemas.commands import read_command
from schemas.records import TopicPartition as InputPartition
from schemas.responses import is_response
from schemas.undelivered import UndeliveredData
from streams.checkpoint_topic import CheckpointTopic
from streams.cli import main
from streams.config import Settings
from streams.embedded import free_port
from streams.group_offsets import GroupOffsets
from streams.kafka_chunks import KafkaChunkLog
from streams.kafka_commands import KafkaCommandLog
from streams.kafka_liveness import KafkaLiveness
from streams.notify_alertmanager import TopicTail
from streams.notify_news import TopicEntry
from streams.notify_reader import GroupReader
from streams.notify_undelivered import Undelivered
from streams.ports import Output, SaidRecord
from streams.process_guard import ProcessGuard
from streams.responder_probe import duty_groups
from streams.trail_kafka import KafkaTrail
from streams.trail_writer import TrailWriter
from tests.kit.kafka_node import KafkaNode
from tests.kit.kafka_server import node_properties
from tests.streams.incident_kit import alert
from tests.streams.incident_scene import incidents, written

PAGE = Path(__file__).parents[2] / "docs" / "acl-kafka.md"
USERS = (
    *("driftsentry", "producer", "reader", "guard", "speaker", "auditor", "operator", "nobody"),
    *("responder", "judge", "trainer", "messenger", "notary"),
)
CLUSTER_ID = "Y2xzZW50cnktYWNsLXRlcw"

pytestmark = pytest.mark.kafka


def word(user: str) -> str:
    return f"{user}-password"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The SASL address of a broker that has run every command of the page."""
    directory = tmp_path_factory.mktemp("acl")
    port = free_port()
    with ProcessGuard() as guard:
        node = KafkaNode(1, directory, guard, heap_mib=512)
        users = " ".join(f'user_{user}="{word(user)}"' for user in USERS)
        node.format(
            CLUSTER_ID,
            {
                **node_properties([node]),
                "listeners": (
                    f"PLAINTEXT://{node.address},CONTROLLER://127.0.0.1:{node.controller_port},"
                    f"SASL://127.0.0.1:{port}"
                ),
                "advertised.listeners": f"PLAINTEXT://{node.address},SASL://127.0.0.1:{port}",
                "listener.security.protocol.map": (
                    "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT"
                ),
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl.plain.sasl.jaas.config": (
                    f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
                ),
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                # The broker itself, and this test where it makes the topics.
                "super.users": "User:ANONYMOUS",
            },
            alone=True,
        )
        try:
            node.start()
            run_commands_of_the_page(node.address)
            yield f"127.0.0.1:{port}"
        finally:
            node.kill()


def arguments_of_kafka_acls() -> argparse.ArgumentParser:
    """The options of kafka-acls.sh that the page uses; another one is an error."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--operation", action="append", required=True)
    parser.add_argument("--resource-pattern-type", choices=["prefixed"])
    resource = parser.add_mutually_exclusive_group(required=True)
    for kind in ("topic", "group", "transactional-id"):
        resource.add_argument(f"--{kind}")
    return parser


def run_commands_of_the_page(address: str) -> None:
    """Give the rights of every line, as kafka-acls.sh does (which is not among the test's jars)."""
    lines = re.findall(r"^kafka-acls\.sh ADMIN (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(lines) == 61
    rights: list[AclBinding] = []
    for line in lines:
        asked = arguments_of_kafka_acls().parse_args(line.split())
        kind, name = next(
            (kind, name)
            for kind, name in (
                (ResourceType.TOPIC, asked.topic),
                (ResourceType.GROUP, asked.group),
                (ResourceType.TRANSACTIONAL_ID, asked.transactional_id),
            )
            if name is not None
        )
        pattern = ResourcePatternType.LITERAL
        if asked.resource_pattern_type == "prefixed":
            pattern = ResourcePatternType.PREFIXED
        for operation in asked.operation:
            code = AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()]
            rights.append(
                AclBinding(
                    *(kind, name, pattern, asked.allow_principal, "*"),
                    *(code, AclPermissionType.ALLOW),
                )
            )
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_acls(rights).values():
        future.result(timeout=30)


def login(address: str, user: str) -> dict[str, str | int | float | bool]:
    return {
        "bootstrap.servers": address,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": word(user),
        "log_level": 0,
    }


def run_as(address: str, user: str, *arguments: str, said: str | None = None) -> Result:
    environ = {
        "DRIFTSENTRY_BOOTSTRAP_SERVERS": address,
        "DRIFTSENTRY_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "DRIFTSENTRY_KAFKA_SASL_MECHANISM": "PLAIN",
        "DRIFTSENTRY_KAFKA_SASL_USERNAME": user,
        "DRIFTSENTRY_KAFKA_SASL_PASSWORD": word(user),
    }
    result = CliRunner().invoke(main, list(arguments), input=said, env=environ)
    assert word(user) not in result.output
    return result


@pytest.fixture(scope="module")
def with_topics(secured: str) -> str:
    result = run_as(secured, "operator", "topics", "create", "--partitions", "2")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("created") == 14
    again = run_as(secured, "operator", "topics", "create", "--partitions", "2")
    assert again.exit_code == 0, again.output
    assert again.stdout.count("existing") + again.stdout.count("different") == 14
    return secured


def consumed(consumer: Consumer, n_wanted: int) -> list[TopicPartition]:
    found: list[TopicPartition] = []
    deadline_s = time.monotonic() + 30
    while len(found) < n_wanted:
        assert time.monotonic() < deadline_s
        for message in consumer.consume(10, 0.5):
            assert message.error() is None, message.error()
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            assert topic is not None
            assert partition is not None
            assert offset is not None
            found.append(TopicPartition(topic, partition, offset + 1, metadata="state"))
    return found


def test_a_worker_s_calls_an_emitter_s_and_a_reader_s_are_allowed(with_topics: str) -> None:
    events = "".join(json.dumps({"model_id": "m", "features": {"x": i}}) + "\n" for i in range(5))
    sent = run_as(with_topics, "producer", "emit", "--fill", said=events + "no event\n")
    assert "5 events sent to driftsentry.events" in sent.stderr
    assert "line 6 is not JSON" in sent.stderr
    assert sent.exit_code == 1

    worker = login(with_topics, "driftsentry")
    consumer = Consumer(
        {
            **worker,
            "group.id": "driftsentry",
            "group.instance.id": "w-1",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    producer = Producer({**worker, "transactional.id": "driftsentry.w-1"})
    try:
        consumer.subscribe(["driftsentry.events"])
        offsets = consumed(consumer, 5)
        producer.init_transactions(30)
        producer.begin_transaction()
        alert = {"message": "x fell\x1b[2J", "severity": "high", "revision": 2}
        headers: list[tuple[str, str | bytes | None]] = [
            *(("content-type", b"application/json"), ("ce_id", b"1.1"), ("ce_time", b"T"))
        ]
        producer.produce("driftsentry.alerts", json.dumps(alert), b"m", headers=headers)
        producer.produce("driftsentry.dead-letter", b"{}", b"m")
        producer.produce("driftsentry.journal", b"{}", b"m")
        producer.send_offsets_to_transaction(offsets[-1:], consumer.consumer_group_metadata(), 30)
        producer.commit_transaction(30)
        # What was aborted must not be read.
        producer.begin_transaction()
        producer.produce("driftsentry.alerts", b'{"message": "aborted"}', b"m")
        producer.flush(30)
        producer.abort_transaction(30)
        (committed,) = consumer.committed(
            [TopicPartition(offsets[-1].topic, offsets[-1].partition)]
        )
        assert (committed.offset, committed.metadata) == (5, "state")
    finally:
        consumer.close()

    journal = Consumer({**worker, "group.id": "driftsentry", "enable.auto.commit": False})
    try:
        journal.assign([TopicPartition("driftsentry.journal", 0, 0)])
        assert len(consumed(journal, 1)) == 1
    finally:
        journal.close()

    properties = {k: v for k, v in worker.items() if "boot" not in k}
    link = KafkaLiveness(with_topics, kafka_properties=properties)
    link.ask_ends([InputPartition("driftsentry.events", 0)])
    silence = b'{"message": "x is silent", "severity": "high"}'
    link.send([Output("driftsentry.liveness", -1, b"x", silence, (), 1)])
    probed = b'{"message": "x is probed", "severity": "High", "unmapped": {"revision": 2}}'
    link.send([Output("driftsentry.anomalies", -1, b"x", probed, (), 1)])
    deadline_s = time.monotonic() + 30
    while not link.ends() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert link.ends()
    link.close()
    assert link.n_lost == 0, link.reason
    told = run_as(with_topics, "guard", "alerts", "--no-follow", "--anomalies")
    assert "x is probed (update 1)" in told.stdout
    not_told = run_as(with_topics, "reader", "alerts", "--no-follow", "--anomalies")
    assert not_told.exit_code == 1
    assert "this user may not describe it" in not_told.stderr
    told = run_as(with_topics, "reader", "alerts", "--no-follow", "--liveness")
    assert "x is silent" in told.stdout
    assert "x fell" not in told.stdout

    told = run_as(with_topics, "reader", "alerts", "--no-follow")
    assert told.exit_code == 0, told.output
    assert "T HIGH     x fell?[2J (update 1)" in told.stdout.splitlines()
    assert "aborted" not in told.stdout
    as_json = run_as(with_topics, "reader", "alerts", "--no-follow", "--json")
    event = {"datacontenttype": "application/json", "id": "1.1", "time": "T", "data": alert}
    assert event in [json.loads(line) for line in as_json.stdout.splitlines()]


def test_a_speaker_s_call_is_allowed_and_a_worker_hears_it(with_topics: str) -> None:
    said = run_as(with_topics, "speaker", "mute", "m", "--for", "2h")
    assert said.exit_code == 0, said.output
    properties = {k: v for k, v in login(with_topics, "driftsentry").items() if "boot" not in k}
    commands = KafkaCommandLog(
        with_topics,
        "driftsentry.commands",
        group="driftsentry",
        topic_id_of=lambda _: "id",
        kafka_properties=properties,
    )
    try:
        heard: list[SaidRecord] = []
        deadline_s = time.monotonic() + 30
        while not heard and time.monotonic() < deadline_s:
            # A judge may have spoken before.
            heard += [each for each in commands.read() if not is_response(each.value)]
            time.sleep(0.05)
    finally:
        commands.close()
    (record,) = heard
    assert read_command(record.value).command_id == said.stdout.strip()
    refused = run_as(with_topics, "reader", "mute", "m", "--for", "2h")
    assert refused.exit_code == 1
    assert "the command was not taken" in refused.stderr


def test_an_auditor_s_calls_are_allowed_and_its_trail_can_be_verified(
    with_topics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTARY_PASSWORD", word("notary"))
    left_out = {"bootstrap.servers", "log_level"}
    own = {k: v for k, v in login(with_topics, "notary").items() if k not in left_out}
    settings = Settings(
        bootstrap_servers=with_topics, kafka=own | {"sasl.password": "${env:NOTARY_PASSWORD}"}
    )
    log = KafkaTrail(settings)
    try:
        writer = TrailWriter(log, duty_groups(settings), "0", lambda: 1)
        writer.take_up(is_start=True)
        writer.step(5.0)
        writer.note_progress(writer.log.progress(), 60)
        writer.end()
    finally:
        log.close()
    verified = run_as(with_topics, "auditor", "audit", "verify")
    assert verified.exit_code == 0, verified.output
    refused = run_as(with_topics, "reader", "audit", "verify")
    assert refused.exit_code == 3, refused.output


def test_a_responder_s_calls_are_allowed_and_a_judge_decides(with_topics: str) -> None:
    (found,) = incidents(alert(1))
    as_worker = Producer(login(with_topics, "driftsentry"))
    as_worker.produce("driftsentry.alerts", alert(1), b"churn")
    assert as_worker.flush(30) == 0
    own = login(with_topics, "responder")
    inputs = ["alerts", "anomalies", "liveness", "commands", "events"]
    consumer = Consumer(
        {
            **own,
            "group.id": "driftsentry.responder",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    try:
        consumer.subscribe([f"driftsentry.{name}" for name in inputs])
        position = consumed(consumer, 1)[-1]
        consumer.commit(offsets=[position], asynchronous=False)
        known = consumer.assignment()
        assert {each.topic for each in known} == {f"driftsentry.{name}" for name in inputs}
    finally:
        consumer.close()
    rights = {name: value for name, value in own.items() if name != "bootstrap.servers"}
    groups = GroupOffsets(str(own["bootstrap.servers"]), rights)
    for group in ("driftsentry", "driftsentry.security"):
        groups.committed(group, [("driftsentry.events", 0)], 30.0)
    with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        groups.committed("another", [("driftsentry.events", 0)], 30.0)
    responder = Producer({**own, "enable.idempotence": True})
    record = written(found)
    responder.produce("driftsentry.incidents", record.value, record.key)
    for name in ("retraining", "rollback", "followup"):
        responder.produce(f"driftsentry.{name}", None, b"x")
    assert responder.flush(30) == 0

    listed = run_as(with_topics, "judge", "incident", "list")
    assert listed.stdout.startswith(found.incident_id[:12]), listed.output
    assert run_as(with_topics, "judge", "incident", "requests").exit_code == 0
    assert run_as(with_topics, "judge", "rollback", "requests").exit_code == 0
    assert run_as(with_topics, "judge", "rollback", "followups").exit_code == 0
    shown = run_as(with_topics, "judge", "incident", "show", found.incident_id, "--by", "ana")
    assert shown.exit_code == 0, shown.output
    decision = ("incident", "overrule", found.incident_id, "data_fault", "--because", "a join")
    said = run_as(with_topics, "judge", *decision, "--by", "ana")
    assert said.exit_code == 0, said.output
    for user in ("reader", "speaker", "guard"):
        refused = run_as(with_topics, user, *decision, "--unseen")
        assert refused.exit_code == 1
        assert "this user may not describe it" in refused.stderr


def test_a_messenger_s_calls_are_allowed(with_topics: str) -> None:
    own = {k: v for k, v in login(with_topics, "messenger").items() if k != "bootstrap.servers"}
    reader = GroupReader(
        with_topics,
        "driftsentry.notify.oncall",
        ["driftsentry.incidents", "driftsentry.retraining"],
        own,
        start="latest",
        session_timeout_ms=10_000,
    )
    deadline_s = time.monotonic() + 60
    try:
        while not reader.assigned:
            assert time.monotonic() < deadline_s
            reader.next()
        (topic, partition), *_ = reader.assigned
        reader.done(TopicEntry(topic, partition, 0, b"", None, 0))
    finally:
        reader.close()
    tail = TopicTail(with_topics, "driftsentry.notify.am", ["driftsentry.incidents"], own)
    try:
        while not tail.is_whole:
            assert time.monotonic() < deadline_s
            tail.next()
    finally:
        tail.close()
    letter = UndeliveredData(
        sink="oncall",
        topic=topic,
        partition=partition,
        offset=0,
        key="k",
        message_id="msg_1",
        type="t",
        reason="status 500",
        n_attempts=1,
        gave_up_ms=0,
    )
    Undelivered(with_topics, "driftsentry.undelivered", own).publish(letter)


def test_an_auditor_s_calls_are_allowed(with_topics: str) -> None:
    result = run_as(with_topics, "auditor", "verify")
    # Nothing was folded here: at most another program has committed something.
    assert result.exit_code == 3, result.output
    assert result.stdout.splitlines()[-1].startswith("Could not verify all: 0 events")
    assert "AUTHORIZATION" not in result.output


def test_what_budget_asks_of_brokers_is_allowed_to_an_auditor(
    with_topics: str, redis_url: str
) -> None:
    result = run_as(with_topics, "auditor", "budget", "--redis-url", redis_url)
    # No worker has run here: there is no state, neither in Redis nor on the topic.
    assert result.exit_code == 1, result.output
    assert "there is no state of group driftsentry to tell of" in result.stderr
    assert "AUTHORIZATION" not in result.output
    own = {k: v for k, v in login(with_topics, "auditor").items() if k != "bootstrap.servers"}
    name, group = "driftsentry.checkpoints", "driftsentry"
    chunks = KafkaChunkLog(with_topics, name, group=group, kafka_properties=own)
    topic = CheckpointTopic(chunks, group=group)
    assert topic.manifests(InputPartition("driftsentry.events", 0)) == []


def test_what_is_not_given_is_refused(with_topics: str) -> None:
    nobody = run_as(with_topics, "nobody", "alerts", "--no-follow")
    assert nobody.exit_code == 1
    assert "this user may not describe it" in nobody.stderr
    emitted = run_as(with_topics, "reader", "emit", said='{"model_id": "m"}\n')
    assert emitted.exit_code == 1
    assert "Traceback" not in emitted.output
    worker = login(with_topics, "driftsentry")
    other = Producer({**worker, "transactional.id": "other.w-1"})
    with pytest.raises(KafkaException, match="TRANSACTIONAL_ID_AUTHORIZATION_FAILED"):
        other.init_transactions(30)
    unseen = AdminClient(worker).list_topics(timeout=30).topics
    assert set(unseen) == {
        "driftsentry.events",
        "driftsentry.alerts",
        "driftsentry.dead-letter",
        "driftsentry.journal",
        "driftsentry.commands",
        "driftsentry.checkpoints",
        "driftsentry.liveness",
        "driftsentry.anomalies",
    }


def test_alerts_are_followed_until_interrupted(with_topics: str) -> None:
    environ = {
        **os.environ,
        "DRIFTSENTRY_BOOTSTRAP_SERVERS": with_topics,
        "DRIFTSENTRY_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "DRIFTSENTRY_KAFKA_SASL_MECHANISM": "PLAIN",
        "DRIFTSENTRY_KAFKA_SASL_USERNAME": "reader",
        "DRIFTSENTRY_KAFKA_SASL_PASSWORD": word("reader"),
    }
    command = [sys.executable, "-m", "streams", "alerts", "--from-beginning"]
    process = subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        producer = Producer(login(with_topics, "driftsentry"))
        producer.produce("driftsentry.alerts", b'{"message": "the marker"}', b"m")
        assert producer.flush(30) == 0
        assert process.stdout is not None
        assert any("the marker" in line for line in process.stdout)
    finally:
        process.send_signal(2)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "Traceback" not in said
