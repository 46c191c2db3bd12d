"""`worker --duty all` is asked to stop while it starts, and while it stops: nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

BOTH = """
import os, signal, subprocess, sys
from streams import both_duties

moment = sys.argv[1]

def ask():
    os.kill(os.getpid(), signal.SIGTERM)

def start(arguments, duty):
    child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    print(child.pid, flush=True)
    if moment == duty:
        ask()
    return child

def end(workers, really=both_duties._end):
    if moment == "the end":
        ask()
    really(workers)

def sleep(seconds):
    if moment in ("later", "the end"):
        ask()

both_duties._start, both_duties._end, both_duties.time.sleep = start, end, sleep
sys.exit(both_duties.run_both(["worker"]))
"""
WORKER = """
import os, signal
from streams import config_loader
from streams.cli import main

config_loader.load = lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM)
main()
"""


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("moment", ["drift", "security", "later", "the end"])
def test_whenever_it_is_asked_to_stop_it_ends_well_and_leaves_nobody(moment: str) -> None:
    """While the first worker is started, or the second; later; and once more at the end."""
    done = subprocess.run(
        [sys.executable, "-c", BOTH, moment],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    pids = [int(line) for line in done.stdout.splitlines() if line.isdecimal()]
    left = [pid for pid in pids if is_there(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert not left
    # Who is asked before the second one is there starts no second one.
    assert len(pids) == (1 if moment == "drift" else 2)


def test_a_worker_that_ends_by_itself_is_told_by_its_exit_code() -> None:
    script = BOTH.replace('["sleep", "600"]', '["sh", "-c", "kill -9 $$"]')
    done = subprocess.run(
        [sys.executable, "-c", script, "never"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 1


@pytest.mark.parametrize("duty", ["drift", "security", "all"])
def test_a_worker_that_is_asked_before_it_has_begun_ends_at_once(duty: str) -> None:
    """A container's first process has no handler but its own: the signal must not be lost."""
    command = [sys.executable, "-c", WORKER, "worker", "--duty", duty]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "stopped before anything had begun" in done.stderr
