"""`worker --duty all`: the same worker twice, once for drift and once for security.

Two processes, so that neither waits for the other's kernels. They live and end together: who starts
this one again has both again.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Final, Literal

import structlog

log = structlog.get_logger(__name__)

DUTIES: Final[tuple[Literal["drift", "security"], ...]] = ("drift", "security")
_LOOK_EVERY_S: Final = 0.1
_STOP_S: Final = 15.0
"""A worker ends by itself, if need be hard, within 9 s of a signal."""


def run_both(arguments: Sequence[str]) -> int:
    """Run a worker of each duty with these arguments; the exit code of the one that ended first.

    SIGTERM and SIGINT are passed on. Where both end as asked it is 0.
    """
    workers: dict[str, subprocess.Popen[bytes]] = {duty: _start(arguments, duty) for duty in DUTIES}

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for worker in workers.values():
            worker.send_signal(number)

    before = {each: signal.signal(each, pass_on) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        return _watch(workers)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _end(workers)


def arguments_of(arguments: Sequence[str], duty: str) -> list[str]:
    """The command line of one duty: that of both, which named another one."""
    own: list[str] = []
    is_value = False
    for each in arguments:
        if is_value or each == "--duty":
            is_value = not is_value
        elif not each.startswith("--duty="):
            own.append(each)
    return [*own, "--duty", duty]


def _start(arguments: Sequence[str], duty: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "streams", *arguments_of(arguments, duty)]
    return subprocess.Popen(command)  # noqa: S603 - this very program


def _watch(workers: dict[str, subprocess.Popen[bytes]]) -> int:
    while True:
        for duty, worker in workers.items():
            code = worker.poll()
            if code is not None:
                log.info("a worker has ended; the other one is asked to", duty=duty, code=code)
                return max(code, 1 if code < 0 else 0)
        time.sleep(_LOOK_EVERY_S)


def _end(workers: dict[str, subprocess.Popen[bytes]]) -> None:
    """Ask whoever is there to stop, and see to it."""
    for worker in workers.values():
        if worker.poll() is None:
            worker.terminate()
    due_s = time.monotonic() + _STOP_S
    for worker in workers.values():
        try:
            worker.wait(max(due_s - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
