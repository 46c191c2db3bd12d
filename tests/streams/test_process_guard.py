"""Child processes end with whom they belong to, and so do those that they have started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.process_guard import GuardedProcess, ProcessGuard

LEADER = """
import signal, subprocess, sys

signal.signal(signal.SIGTERM, {on_sigterm})
child = '''
import sys, time
with open(sys.argv[1], "w") as pipe:
    print("here", file=pipe, flush=True)
    time.sleep(30)
    print("still here", file=pipe)
'''
subprocess.Popen([sys.executable, "-c", child, sys.argv[1]]).wait()
"""
"""It starts a process that holds the pipe open for as long as it lives, and tells of its age."""


def family(
    directory: Path, guard: ProcessGuard, on_sigterm: str
) -> tuple[GuardedProcess, Callable[[], bytes]]:
    """A process with a child, both running, and what waits for the child's end; what it said."""
    pipe = directory / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", LEADER.format(on_sigterm=on_sigterm), str(pipe)]
    leader = GuardedProcess(command, guard=guard, log=directory / "log")
    reader = pipe.open("rb")
    assert reader.readline() == b"here\n", leader.log_text()

    def rest() -> bytes:
        with reader:
            return reader.read()

    return leader, rest


def test_killing_a_process_kills_what_it_has_started(tmp_path: Path) -> None:
    with ProcessGuard() as guard:
        leader, rest = family(tmp_path, guard, "signal.SIG_DFL")
        assert leader.kill() == -signal.SIGKILL
        assert rest() == b""
        assert not leader.is_running()
        assert leader.kill() == -signal.SIGKILL, "it may be asked again"


def test_a_process_that_does_not_stop_is_killed_with_what_it_has_started(tmp_path: Path) -> None:
    with ProcessGuard() as guard:
        leader, rest = family(tmp_path, guard, "signal.SIG_IGN")
        assert leader.stop(timeout_s=0.01) == -signal.SIGKILL
        assert rest() == b""


def test_a_process_that_stops_says_how_it_ended(tmp_path: Path) -> None:
    with ProcessGuard() as guard:
        log = tmp_path / "log"
        ready = tmp_path / "ready"
        os.mkfifo(ready)
        program = (
            "import signal, sys\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
            "open(sys.argv[1], 'w').close()\n"
            "signal.pause()\n"
        )
        process = GuardedProcess([sys.executable, "-c", program, str(ready)], guard=guard, log=log)
        with ready.open("rb") as reader:
            reader.read()
        assert process.stop(timeout_s=60.0) == 7, process.log_text()


@pytest.mark.parametrize("on_sigterm", ["signal.SIG_DFL", "signal.SIG_IGN"])
def test_the_guard_ends_the_whole_group(tmp_path: Path, on_sigterm: str) -> None:
    guard = ProcessGuard()
    leader, rest = family(tmp_path, guard, on_sigterm)
    guard.close()
    assert rest() == b""
    assert leader.kill() == -signal.SIGKILL
