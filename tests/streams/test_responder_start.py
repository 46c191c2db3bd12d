"""How a responder starts: it hears that it is to end, and says that no broker answers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka.admin import AdminClient

from streams import kafka_clients
from streams.cli import main
from streams.config import Settings
from streams.embedded import EmbeddedBroker
from streams.responder_app import unless_stopped
from streams.responder_supervisor import keep_running
from streams.topics import create_topics, names_in

NO_REDIS = "redis://127.0.0.1:1/0"
WAITS = "the responder waits"
HANGS = """
import sys, threading
from streams import responder_service
from streams.cli import main

def hang(*_):
    print("looks at the topics", file=sys.stderr, flush=True)
    threading.Event().wait()

responder_service.check_topics = hang
responder_service._EARLY_STOP_S = 0.1
main(sys.argv[1:])
"""
NOBODY = "127.0.0.1:1"
NOBODY_ANSWERS = """
import sys
from streams import kafka_clients
from streams.cli import main

kafka_clients.ANSWER_S = 0.3
main(sys.argv[1:])
"""


@pytest.fixture
def servers() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        create_topics(admin, names_in(Settings(bootstrap_servers=broker.bootstrap_servers)))
        yield broker.bootstrap_servers


def responder(command: list[str], servers: str, *options: str) -> subprocess.Popen[str]:
    """One whose Redis never answers."""
    return subprocess.Popen(
        [
            *(sys.executable, *command, "respond", "--no-supervisor", *options),
            *("--redis-url", NO_REDIS, "--bootstrap-servers", servers),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_said(process: subprocess.Popen[str], text: str) -> None:
    """Until it says so."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if text in line:
            return
    pytest.fail(said)


@pytest.mark.parametrize(
    ("command", "waits"),
    [(["-m", "streams"], WAITS), (["-c", HANGS], "looks at the topics")],
    ids=["redis", "topics"],
)
def test_who_is_asked_while_it_waits_at_its_start_ends_with_0(
    servers: str, command: list[str], waits: str
) -> None:
    with responder(command, servers) as process:
        try:
            wait_said(process, waits)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "stopped hard" not in said
    assert "Traceback" not in said


def test_whose_parent_is_gone_ends_though_it_waits_at_its_start(servers: str) -> None:
    # A process id that is not that of its parent: so it looks once the parent is gone.
    with responder(["-m", "streams"], servers, "--started-by", str(os.getppid())) as process:
        try:
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert "the process that restarts this responder is gone: it ends" in said


def test_what_fails_before_it_is_stopped_is_raised_and_what_is_done_goes_on() -> None:
    async def fail() -> None:
        raise ValueError("no topics")

    async def run() -> None:
        stop = asyncio.Event()
        assert await unless_stopped(asyncio.sleep(0), stop)
        with pytest.raises(ValueError, match="no topics"):
            await unless_stopped(fail(), stop)
        stop.set()
        assert not await unless_stopped(asyncio.Event().wait(), stop)
        assert not await unless_stopped(asyncio.sleep(0), stop)

    asyncio.run(run())


@pytest.mark.parametrize("how", ["--no-supervisor", "--rebuild"])
def test_that_no_broker_answers_is_one_sentence(
    how: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kafka_clients, "ANSWER_S", 0.3)
    monkeypatch.setenv("DRIFTSENTRY_SOURCE_KEY", "ab" * 32)
    arguments = ["respond", how, "--redis-url", NO_REDIS, "--bootstrap-servers", NOBODY]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"driftsentry: no broker answers at {NOBODY}: ")
    assert line.endswith("check the address, the network, `security.protocol` and the credentials")
    assert result.stdout == ""
    assert capfd.readouterr() == ("", "")


def test_where_no_broker_answers_it_is_started_again(tmp_path: Path) -> None:
    said = tmp_path / "said"
    programs = ["raise SystemExit(0)", NOBODY_ANSWERS]

    def start() -> subprocess.Popen[bytes]:
        with said.open("ab") as file:
            return subprocess.Popen(
                [
                    *(sys.executable, "-c", programs.pop(), "respond", "--redis-url", NO_REDIS),
                    *("--bootstrap-servers", NOBODY, "--started-by", str(os.getpid())),
                ],
                stderr=file,
            )

    assert keep_running(start) == 0
    assert programs == []
    assert f"driftsentry: no broker answers at {NOBODY}: " in said.read_text()
