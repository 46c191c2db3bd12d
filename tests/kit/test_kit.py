"""The servers of the kit are what they claim to be, and leave nothing behind."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams import embedded
from streams.embedded import (
    EmbeddedBroker,
    EmbeddedServerError,
    EmbeddedValkey,
    free_port,
    is_mock_cluster,
)
from tests.kit import kafka_node
from tests.kit.kafka_libs import LIBS
from tests.kit.kafka_server import KafkaCluster
from tests.kit.valkey_server import server_binaries, valkey_server

NewTopicFunction = Callable[..., str]


def produce_in_transaction(servers: str, topic: str, values: list[str], *, commit: bool) -> None:
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "transactional.id": f"{topic}.writer",
            "transaction.timeout.ms": 10_000,
            "message.timeout.ms": 9_000,
        }
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value.encode(), partition=0)
    producer.flush(30)
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


def read_all(servers: str, topic: str, n_expected: int, isolation: str) -> list[str]:
    """The topic's records, once no further one came for a moment after the expected number."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"{topic}.reader",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    values: list[str] = []
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            messages: list[Message] = consumer.consume(100, 0.5)
            for message in messages:
                if (error := message.error()) is not None:
                    raise KafkaException(error)
                values.append((message.value() or b"").decode())
            if not messages and len(values) >= n_expected:
                return values
    finally:
        consumer.close()
    return values


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()[:1] not in {"", "Z"}


def wait_until(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def test_committed_readers_do_not_see_an_aborted_transaction(
    kafka: str, new_topic: NewTopicFunction
) -> None:
    topic = new_topic("aborted")
    produce_in_transaction(kafka, topic, ["a", "b"], commit=True)
    produce_in_transaction(kafka, topic, ["x", "y"], commit=False)
    produce_in_transaction(kafka, topic, ["c"], commit=True)
    assert read_all(kafka, topic, 3, "read_committed") == ["a", "b", "c"]
    assert read_all(kafka, topic, 5, "read_uncommitted") == ["a", "b", "x", "y", "c"]


def test_topics_are_not_made_by_asking_for_them(
    kafka: str, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("missing")
    metadata = AdminClient({"bootstrap.servers": kafka}).list_topics(name, timeout=10)
    assert metadata.topics[name].error is not None
    assert not is_mock_cluster(metadata.cluster_id)


@pytest.mark.kafka
def test_a_killed_node_comes_back_with_its_data_and_goes_without_a_trace() -> None:
    with KafkaCluster() as cluster:
        node = cluster.nodes[0]
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0})
        admin.create_topics([NewTopic("kept", num_partitions=1)])["kept"].result(timeout=30)
        produce_in_transaction(cluster.bootstrap_servers, "kept", ["before"], commit=True)
        first_pid, address = node.pid, node.address
        node.kill()
        assert not is_alive(first_pid)
        node.restart()
        cluster.wait_in_sync()
        assert node.pid != first_pid
        assert node.address == address
        produce_in_transaction(cluster.bootstrap_servers, "kept", ["after"], commit=True)
        values = read_all(cluster.bootstrap_servers, "kept", 2, "read_committed")
        assert values == ["before", "after"]
        pids = [node.pid, cluster.guard_pid]
        assert all(is_alive(pid) for pid in pids)
    assert not any(is_alive(pid) for pid in pids)
    assert not cluster.directory.exists()


@pytest.mark.kafka
@pytest.mark.long
def test_three_nodes_keep_a_topic_when_one_is_killed() -> None:
    with KafkaCluster(3) as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0})
        topic = NewTopic("replicated", num_partitions=1, replication_factor=3)
        admin.create_topics([topic])["replicated"].result(timeout=30)
        produce_in_transaction(cluster.bootstrap_servers, "replicated", ["a"], commit=True)
        cluster.nodes[0].kill()
        produce_in_transaction(cluster.bootstrap_servers, "replicated", ["b"], commit=True)
        cluster.nodes[0].restart()
        cluster.wait_in_sync()
        values = read_all(cluster.bootstrap_servers, "replicated", 2, "read_committed")
        assert values == ["a", "b"]


@pytest.mark.kafka
def test_the_logs_are_kept_when_something_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught, KafkaCluster() as cluster:
        (tmp_path / "nothing").write_text(str(1 / 0))
    (note,) = caught.value.__notes__
    kept = Path(note.rpartition(" ")[2])
    assert kept.parent.parent == LIBS.parent
    assert "Kafka Server started" in (kept / "node-1.log").read_text()
    assert not cluster.directory.exists()
    (kept / "node-1.log").unlink()
    kept.rmdir()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


def ports_of_which_the_first_is(taken: int) -> Callable[[], int]:
    later = itertools.chain([taken], iter(free_port, None))
    return lambda: next(later)


@pytest.mark.kafka
def test_a_cluster_whose_port_was_taken_takes_others(
    taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_node, "free_port", ports_of_which_the_first_is(taken_port))
    with KafkaCluster() as cluster:
        assert cluster.nodes[0].port != taken_port
        # The second attempt: the first had the taken port.
        assert "attempt-1" in str(cluster.nodes[0].directory)


def test_a_node_takes_no_port_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter([5, 5, 6, 5, 7, 8])
    monkeypatch.setattr(kafka_node, "free_port", lambda: next(given))
    assert kafka_node.free_ports(3) == [5, 6, 7]


def test_a_valkey_whose_port_was_taken_takes_another(
    taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "free_port", ports_of_which_the_first_is(taken_port))
    with EmbeddedValkey() as server:
        assert server.port != taken_port
        with redis.Redis.from_url(server.url) as client:
            assert client.ping()


@pytest.fixture(params=sorted(server_binaries()))
def server_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_redis_of_every_kind_serves_restarts_empty_and_leaves_nothing(server_kind: str) -> None:
    with valkey_server(kind=server_kind, maxmemory_policy="allkeys-lru") as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}
            assert client.info("server")["process_id"] == server.pid
            client.set("k", "v")
        server.kill()
        assert not is_alive(server.pid)
        server.restart()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("k") is None
        pid = server.pid
    assert not is_alive(pid)
    assert not server.directory.exists()


def test_a_server_that_refuses_its_arguments_says_why_and_leaves_nothing() -> None:
    with pytest.raises(EmbeddedServerError, match="no-such-option"):
        EmbeddedValkey(arguments=("--no-such-option", "1"))


def test_databases_of_different_tests_are_empty(redis_url: str, redis_prefix: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set(f"{redis_prefix}.k", "v")
        assert client.dbsize() == 1


def test_the_mock_broker_answers_other_clients_and_is_known_as_one() -> None:
    with EmbeddedBroker() as broker:
        assert is_mock_cluster(broker.cluster_id)
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        producer.produce("t", b"hello", partition=0)
        assert producer.flush(10) == 0
        assert read_all(broker.bootstrap_servers, "t", 1, "read_uncommitted") == ["hello"]
    assert not is_mock_cluster("MkU3OEVBNTcwNTJENDM2Qg")
    assert not is_mock_cluster(None)


CHILD = """
    import sys, time
    from streams.embedded import EmbeddedValkey
    server = EmbeddedValkey()
    print(server.pid, server.directory, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def child_with_server() -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=LIBS.parents[1],
    ) as child:
        assert child.stdout is not None
        pid, _, directory = child.stdout.readline().strip().partition(" ")
        yield child, int(pid), Path(directory)
        child.kill()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_goes_with_its_parent_however_that_ends(
    child_with_server: tuple[subprocess.Popen[str], int, Path], signal_number: signal.Signals
) -> None:
    child, server_pid, directory = child_with_server
    assert is_alive(server_pid)
    assert directory.exists()
    child.send_signal(signal_number)
    child.wait(20)
    assert wait_until(lambda: not is_alive(server_pid))
    assert wait_until(lambda: not directory.exists())
