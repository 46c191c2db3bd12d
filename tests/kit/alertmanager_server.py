"""A real Alertmanager for one test, on a loopback port, without a cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from streams.embedded import free_port
from streams.process_guard import GuardedProcess, ProcessGuard

PACKAGE: Final = "prometheus-alertmanager"
FOLDER: Final = Path(__file__).resolve().parents[2] / "var" / "alertmanager"
TEMPLATES: Final = Path("/usr/share/prometheus/alertmanager")
MISSING: Final = f"no Alertmanager here (Debian, Ubuntu: apt-get install {PACKAGE})"

_CONFIG: Final = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
_START_S: Final = 30.0
_N_ATTEMPTS: Final = 5


def alertmanager_command() -> str | None:
    """The program: on the path, or where `tests.kit.install` has put it."""
    unpacked = FOLDER / "usr" / "bin" / PACKAGE
    for each in ("prometheus-alertmanager", "alertmanager"):
        if (found := shutil.which(each)) is not None:
            return found
    return str(unpacked) if unpacked.exists() and TEMPLATES.exists() else None


def unpack_alertmanager() -> str:
    """Have Debian's package unpacked, and say in a line what was done.

    Not installed: its service would be started then. But for its templates, which Debian's program
    looks for in one place only, so that it has to be root who asks.
    """
    if alertmanager_command() is not None:
        return "Alertmanager is there"
    if os.geteuid() != 0 or shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return MISSING
    with tempfile.TemporaryDirectory(prefix="alertmanager-") as scratch:
        for command in (["apt-get", "-q", "update"], ["apt-get", "-q", "download", PACKAGE]):
            done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)
        packages = list(Path(scratch).glob("*.deb"))
        if not packages:
            last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            return f"{MISSING}: {last}"
        target = Path(scratch) / "unpacked"
        subprocess.run(["dpkg-deb", "--extract", str(packages[0]), str(target)], check=True)
        FOLDER.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(FOLDER, ignore_errors=True)
        shutil.move(target, FOLDER)
    if not TEMPLATES.exists():
        shutil.copytree(FOLDER / TEMPLATES.relative_to("/"), TEMPLATES)
    return f"Alertmanager: {FOLDER}"


class Alertmanager:
    """A running one."""

    def __init__(self, port: int, process: GuardedProcess) -> None:
        self.url: Final = f"http://127.0.0.1:{port}"
        self._process: Final = process

    def alerts(self) -> list[dict[str, Any]]:
        """What `GET /api/v2/alerts` says: those that fire."""
        found: list[dict[str, Any]] = json.loads(_get(f"{self.url}/api/v2/alerts"))
        return sorted(found, key=lambda each: sorted(each["labels"].items()))

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            _get(f"{self.url}/-/ready")
        except OSError:
            return False
        return True

    def is_running(self) -> bool:
        """Whether its process runs."""
        return self._process.is_running()

    def log_text(self) -> str:
        """What it has said."""
        return self._process.log_text()


def _get(url: str) -> bytes:
    """The body. Raises OSError where it does not answer, or with another status than 200."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own server's
        body: bytes = answer.read()
    return body


@contextmanager
def alertmanager_server(directory: Path) -> Iterator[Alertmanager]:
    """Run one; its files are in `directory`."""
    program = alertmanager_command()
    assert program is not None, MISSING
    config = directory / "alertmanager.yml"
    config.write_text(_CONFIG, encoding="utf-8")
    with ProcessGuard() as guard:
        for attempt in range(_N_ATTEMPTS):
            port = free_port()
            process = GuardedProcess(
                [
                    program,
                    f"--config.file={config}",
                    f"--storage.path={directory / f'data-{attempt}'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--cluster.listen-address=",
                ],
                guard=guard,
                log=directory / f"alertmanager-{attempt}.log",
            )
            server = Alertmanager(port, process)
            deadline_s = time.monotonic() + _START_S
            while server.is_running() and not server.is_ready():
                assert time.monotonic() < deadline_s, server.log_text()
                time.sleep(0.05)
            if server.is_running():
                try:
                    yield server
                finally:
                    process.kill()
                return
        raise AssertionError(f"Alertmanager does not start: {server.log_text()}")
