"""One node of a real Apache Kafka (KRaft): broker and controller in one process."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from streams.embedded import free_port
from streams.process_guard import GuardedProcess, ProcessGuard
from tests.kit.kafka_libs import CLASSES, LIBS, KafkaUnavailableError, java_command

STARTED: Final = "Kafka Server started"
PORT_TAKEN: Final = ("Address already in use", "BindException")
LOG4J: Final = """\
<Configuration status="ERROR">
  <Appenders>
    <Console name="out"><PatternLayout pattern="%d{ABSOLUTE} %p %c{1}: %m%n"/></Console>
  </Appenders>
  <Loggers>
    <Root level="INFO"><AppenderRef ref="out"/></Root>
    <Logger name="org.apache.kafka.common.config" level="WARN"/>
    <Logger name="kafka.server.KafkaConfig" level="WARN"/>
  </Loggers>
</Configuration>
"""


class PortTakenError(RuntimeError):
    """Somebody took a port between the choice and the start."""


class KafkaStartError(RuntimeError):
    """A node did not start; the message holds the end of its log."""


def free_ports(n: int) -> list[int]:
    """So many ports that are free now, each another one: `free_port` may give one twice."""
    ports: dict[int, None] = {}
    while len(ports) < n:
        ports[free_port()] = None
    return list(ports)


class KafkaNode:
    """One combined node: broker and controller. It keeps its ports and its data over restarts."""

    def __init__(
        self,
        node_id: int,
        directory: Path,
        guard: ProcessGuard,
        *,
        heap_mib: int,
        record_classes: Path | None = None,
    ) -> None:
        self.node_id = node_id
        self.directory = directory
        self.port, self.controller_port, self.edge_port = free_ports(3)
        """Where a proxy leads to, if there is one: clients that come here are sent to it."""
        self._guard = guard
        self._heap_mib = heap_mib
        self._record_classes = record_classes
        self._server: GuardedProcess | None = None
        self._log_read = 0
        (directory / "tmp").mkdir(parents=True)
        (directory / "log4j2.xml").write_text(LOG4J, encoding="utf-8")

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """Everything the node has said, over all its starts."""
        return self.directory / "server.log"

    @property
    def pid(self) -> int:
        """The process id of the node that runs, or ran last."""
        if self._server is None:
            raise RuntimeError("the node was never started")
        return self._server.pid

    def format(
        self,
        cluster_id: str,
        properties: Mapping[str, object],
        *,
        alone: bool,
        proxy_port: int | None = None,
    ) -> None:
        """Write the node's properties and format its storage.

        With `proxy_port` clients of `edge_port` are told to connect there.
        """
        path = self.directory / "server.properties"
        own: dict[str, object] = {
            "process.roles": "broker,controller",
            "node.id": self.node_id,
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self.directory / "data",
        }
        if proxy_port is not None:
            own["listeners"] = f"{own['listeners']},EDGE://127.0.0.1:{self.edge_port}"
            own["advertised.listeners"] = (
                f"{own['advertised.listeners']},EDGE://127.0.0.1:{proxy_port}"
            )
            own["listener.security.protocol.map"] = (
                f"{own['listener.security.protocol.map']},EDGE:PLAINTEXT"
            )
        lines = [f"{name}={value}" for name, value in (own | dict(properties)).items()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        done = subprocess.run(
            [
                *(*self._java(), "kafka.tools.StorageTool", "format"),
                *("-t", cluster_id, "-c", str(path)),
                *(["--standalone"] if alone else []),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise KafkaStartError(f"formatting failed: {done.stdout}{done.stderr}")

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the node and wait until it says that it has started."""
        self.launch()
        self.wait_started(timeout_s)

    def launch(self) -> None:
        """Start the node without waiting: several nodes need each other to get ready."""
        if self.is_running():
            raise RuntimeError(f"node {self.node_id} runs already")
        self._log_read = self.log.stat().st_size if self.log.exists() else 0
        self._server = GuardedProcess(
            [*self._java(), "kafka.Kafka", str(self.directory / "server.properties")],
            guard=self._guard,
            log=self.log,
        )

    def wait_started(self, timeout_s: float = 60.0) -> None:
        """Wait for the node's own word; raises `PortTakenError` or `KafkaStartError`."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            running = self.is_running()
            said = self.log.read_bytes()[self._log_read :].decode("utf-8", "replace")
            if any(words in said for words in PORT_TAKEN):
                self.kill()
                raise PortTakenError(f"a port of node {self.node_id} was taken")
            if STARTED in said:
                return
            if not running:
                raise KafkaStartError(f"node {self.node_id} ended:\n{said[-4000:]}")
            time.sleep(0.05)
        raise KafkaStartError(f"node {self.node_id} not ready after {timeout_s:g} s")

    def is_running(self) -> bool:
        """Whether the node's process runs."""
        return self._server is not None and self._server.is_running()

    def send(self, signal_number: int) -> None:
        """Send a signal to the node (SIGSTOP: it hangs)."""
        if self._server is not None:
            self._server.send(signal_number)

    def stop(self, timeout_s: float = 30.0) -> None:
        """End the node in order (SIGTERM)."""
        if self._server is not None:
            self._server.stop(timeout_s)

    def kill(self) -> None:
        """End the node by SIGKILL; what it had written to its log files stays."""
        if self._server is not None:
            self._server.kill()

    def restart(self, timeout_s: float = 60.0) -> None:
        """Start the node again with its ports and its data."""
        if self.is_running():
            self.stop()
        for _ in range(5):
            try:
                return self.start(timeout_s)
            except PortTakenError:
                time.sleep(1.0)
        raise PortTakenError(f"a port of node {self.node_id} stays taken")

    def _java(self) -> list[str]:
        java = java_command()
        if java is None:
            raise KafkaUnavailableError("no Java")
        return [
            *(java, f"-Xmx{self._heap_mib}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
            # Otherwise a killed Java leaves files behind in the machine's own temporary directory.
            *("-XX:-UsePerfData", f"-Djava.io.tmpdir={self.directory / 'tmp'}"),
            f"-Dlog4j2.configurationFile={self.directory / 'log4j2.xml'}",
            *self._shared_classes(),
            *("-cp", f"{LIBS}/*"),
        ]

    def _shared_classes(self) -> list[str]:
        """What makes Java read its classes from an archive, or write one when it ends."""
        if self._record_classes is not None:
            return [f"-XX:ArchiveClassesAtExit={self._record_classes}"]
        # Java checks whether the archive is its own, and does without where it is not.
        return [f"-XX:SharedArchiveFile={CLASSES}"] if CLASSES.exists() else []
