"""A real Apache Kafka (KRaft) on loopback ports, in a directory of its own."""

from __future__ import annotations

import base64
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.process_guard import ProcessGuard
from tests.kit.kafka_libs import LIBS, KafkaUnavailableError, why_unavailable
from tests.kit.kafka_node import KafkaNode, KafkaStartError, PortTakenError
from tests.kit.proxy import Edge, Network


class KafkaCluster:
    """One or three combined nodes on 127.0.0.1; `close` leaves neither processes nor files."""

    def __init__(
        self,
        n_nodes: int = 1,
        *,
        properties: Mapping[str, object] | None = None,
        network: Network | None = None,
        record_classes: Path | None = None,
    ) -> None:
        """Start the nodes and wait until all of them are in the cluster.

        `properties` are further broker properties; they win over those of `node_properties`. With
        `network` each node has an edge of it too: see `edges`. A node that is stopped writes
        `record_classes`, an archive of the classes it has loaded (`tests.kit.class_archive`).
        """
        if (why := why_unavailable()) is not None:
            raise KafkaUnavailableError(why)
        # A leading byte of zeros: an id that begins with "-" would be read as an option.
        raw = bytes(1) + secrets.token_bytes(15)
        self.cluster_id: Final = base64.urlsafe_b64encode(raw).decode()[:22]
        self._properties = dict(properties or {})
        self._network = network
        self._record_classes = record_classes
        self.edges: list[Edge] = []
        self._guard = ProcessGuard()
        self.directory: Final = Path(tempfile.mkdtemp(prefix="driftsentry-kafka-"))
        self._guard.watch_directory(self.directory)
        self.nodes: list[KafkaNode] = []
        try:
            self._start_on_free_ports(n_nodes)
        except BaseException as error:
            logs = self.close(keep_logs=True)
            error.add_note(f"the logs of the nodes are kept in {logs}")
            raise

    @property
    def bootstrap_servers(self) -> str:
        """The address of every node."""
        return ",".join(node.address for node in self.nodes)

    @property
    def edge_servers(self) -> str:
        """The address of every edge: clients that begin here never leave the network."""
        return ",".join(f"127.0.0.1:{edge.port}" for edge in self.edges)

    @property
    def guard_pid(self) -> int:
        """The process that ends the nodes when ours ends."""
        return self._guard.pid

    def wait_in_sync(self, timeout_s: float = 60.0) -> None:
        """Wait until a client sees every running node in this very cluster, and a controller."""
        running = [node for node in self.nodes if node.is_running()]
        servers = ",".join(node.address for node in running)
        admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if all(_accepts(node.port) for node in running):
                metadata = admin.list_topics(timeout=10)
                if str(metadata.cluster_id) != self.cluster_id:
                    raise PortTakenError("another cluster answers at our port")
                if len(metadata.brokers) >= len(running) and metadata.controller_id >= 0:
                    return
            time.sleep(0.05)
        raise KafkaStartError(f"not all of {servers} were in sync after {timeout_s:g} s")

    def wait_replicated(self, timeout_s: float = 60.0) -> None:
        """Wait until every partition, of the cluster's own topics too, has all its replicas."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        deadline_s = time.monotonic() + timeout_s
        behind: list[str] = ["all"]
        while behind:
            if time.monotonic() > deadline_s:
                raise KafkaStartError(f"replicas missing after {timeout_s:g} s: {behind[:5]}")
            topics = admin.list_topics(timeout=10).topics
            behind = [
                f"{name}[{number}]"
                for name, topic in topics.items()
                for number, partition in topic.partitions.items()
                if len(partition.isrs) < len(partition.replicas)
            ]
            time.sleep(0.05)

    def close(self, *, keep_logs: bool = False) -> Path | None:
        """End all nodes and remove all files; the directory of the kept logs, if any."""
        kept: Path | None = None
        if keep_logs and self.directory.exists():
            kept = (
                LIBS.parent / "kafka-logs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{self.cluster_id}"
            )
            for node in self.nodes:
                if node.log.exists():
                    kept.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(node.log, kept / f"node-{node.node_id}.log")
        self._guard.close()
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        return kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        logs = self.close(keep_logs=error is not None)
        if error is not None and logs is not None:
            error.add_note(f"the logs of the Kafka nodes are kept in {logs}")

    def _start_on_free_ports(self, n_nodes: int) -> None:
        for attempt in range(5):
            self.nodes = [
                KafkaNode(
                    number,
                    self.directory / f"attempt-{attempt}" / f"node-{number}",
                    self._guard,
                    heap_mib=512 if n_nodes == 1 else 384,
                    record_classes=self._record_classes,
                )
                for number in range(1, n_nodes + 1)
            ]
            properties = node_properties(self.nodes) | self._properties
            self.edges = (
                [self._network.edge(node.edge_port, kafka=True) for node in self.nodes]
                if self._network is not None
                else []
            )
            for node, edge in zip_longest(self.nodes, self.edges):
                proxy_port = None if edge is None else edge.port
                node.format(self.cluster_id, properties, alone=n_nodes == 1, proxy_port=proxy_port)
            try:
                for node in self.nodes:
                    node.launch()
                for node in self.nodes:
                    node.wait_started()
                self.wait_in_sync()
            except PortTakenError:
                for node in self.nodes:
                    node.kill()
            else:
                return
        raise KafkaStartError("no free ports after five attempts")


def node_properties(nodes: list[KafkaNode]) -> dict[str, object]:
    """The broker properties that all nodes share: small, quick to start, quick to notice."""
    voters = [f"{node.node_id}@127.0.0.1:{node.controller_port}" for node in nodes]
    n_replicas = min(len(nodes), 3)
    n_in_sync = 2 if n_replicas == 3 else 1
    shared: dict[str, object] = {
        "auto.create.topics.enable": "false",
        "default.replication.factor": n_replicas,
        "min.insync.replicas": n_in_sync,
        "offsets.topic.replication.factor": n_replicas,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": n_replicas,
        "transaction.state.log.min.isr": n_in_sync,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": n_replicas,
        "share.coordinator.state.topic.min.isr": n_in_sync,
        "share.coordinator.state.topic.num.partitions": 1,
        "group.initial.rebalance.delay.ms": 0,
        # Tests of dead members would wait for 6 s each.
        "group.min.session.timeout.ms": 1000,
        "num.network.threads": 2,
        "num.io.threads": 4,
        "log.cleaner.dedupe.buffer.size": 2 * 1024 * 1024,
        # A killed node is let in again only after its old session has ended.
        "broker.session.timeout.ms": 3000,
        "broker.heartbeat.interval.ms": 500,
    }
    if len(nodes) == 1:
        shared["controller.quorum.bootstrap.servers"] = f"127.0.0.1:{nodes[0].controller_port}"
    else:
        shared["controller.quorum.voters"] = ",".join(voters)
    return shared


def make_new_topics(admin: AdminClient, new: Sequence[NewTopic]) -> None:
    """Make these topics, and wait until the broker knows of them: it hears of them a bit later."""
    for future in admin.create_topics(list(new)).values():
        future.result(timeout=30)
    deadline_s = time.monotonic() + 30
    while missing := {topic.topic for topic in new} - admin.list_topics(timeout=10).topics.keys():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"made, and not there: {missing}")
        time.sleep(0.01)


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
