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
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
_LOOK_EVERY_S: Final = 0.1
_STOP_S: Final = 15.0
"""A worker ends by itself, if need be hard, within 9 s of a signal."""


def run_both(arguments: Sequence[str]) -> int:
    """Run a worker of each duty with these arguments; the exit code of the one that ended first.

    SIGTERM and SIGINT are passed on, also where they come while workers are being started. Where
    both end as asked it is 0.
    """
    workers: dict[str, subprocess.Popen[bytes]] = {}
    asked: set[int] = set()

    def pass_on(number: int, _frame: FrameType | None) -> None:
        asked.add(number)
        for worker in workers.values():
            worker.send_signal(number)

    # Before the first worker: else a signal would end this process alone and leave it behind.
    before = {each: signal.signal(each, pass_on) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        for duty in DUTIES:
            if not asked:
                workers[duty] = _start(arguments, duty)
        # One that was just being started has not heard of it: it is told at the end.
        return EXIT_OK if len(workers) < len(DUTIES) else _watch(workers, asked)
    finally:
        _end(workers)
        # Not before: who is asked twice must not leave them behind either.
        for number, handler in before.items():
            signal.signal(number, handler)


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


def _watch(workers: dict[str, subprocess.Popen[bytes]], asked: set[int]) -> int:
    """The exit code of the first that ends."""
    while True:
        for duty, worker in workers.items():
            code = worker.poll()
            if code is not None:
                log.info("a worker has ended; the other one is asked to", duty=duty, code=code)
                # By the very signal that was passed on: it had no handler yet, so it had begun
                # nothing.
                return EXIT_OK if -code in asked else EXIT_FAILED if code < 0 else code
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
