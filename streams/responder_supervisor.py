"""A small parent that starts a responder again when it ends by itself.

Faust's consumers have been seen to stop reading without an error; `streams/responder_watch.py`
sees that and ends the process, and somebody has to start it again. Where that is done by something
else, as in Kubernetes, `--no-supervisor` leaves this out.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

import structlog

log = structlog.get_logger(__name__)

FOR_A_PERSON: Final = frozenset({2, 3})
"""Exit codes that starting again does not mend."""
_FIRST_S: Final = 1.0
_LONGEST_S: Final = 60.0
_LONG_S: Final = 300.0
"""Whoever ran for so long starts with the shortest pause again."""
_STOP_S: Final = 40.0
_LOOK_S: Final = 0.1
_PARENT_S: Final = 2.0


class Backoff:
    """How long to wait before the next start. Pure."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_S

    def after(self, ran_s: float) -> float:
        """The pause after a run of this length: twice the last one, up to a minute."""
        if ran_s >= _LONG_S:
            self._pause_s = _FIRST_S
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, _LONGEST_S)
        return pause_s


def supervise(arguments: Sequence[str]) -> int:
    """Run `driftsentry ARGUMENTS` until it ends as asked, or asks for a person; its exit code."""
    command = [sys.executable, "-m", "streams", *arguments, "--started-by", str(os.getpid())]
    return keep_running(lambda: subprocess.Popen(command))  # noqa: S603 - this very program


def keep_running(start: Callable[[], subprocess.Popen[bytes]]) -> int:
    """Start it, and again where it fails; SIGTERM and SIGINT are passed on and end both."""
    asked = threading.Event()
    child: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        asked.set()
        for each in child:
            each.send_signal(number)

    before = {each: signal.signal(each, pass_on) for each in (signal.SIGTERM, signal.SIGINT)}
    backoff = Backoff()
    try:
        while True:
            started_s = time.monotonic()
            child[:] = [start()]
            if asked.is_set():
                child[0].send_signal(signal.SIGTERM)
            code = _wait(child[0], asked)
            if asked.is_set() or code == 0 or code in FOR_A_PERSON:
                return code if code >= 0 else 1
            pause_s = backoff.after(time.monotonic() - started_s)
            log.warning("the responder has ended and is started again", code=code, after_s=pause_s)
            if asked.wait(pause_s):
                return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if child and child[0].poll() is None:
            child[0].kill()
            child[0].wait()


def _wait(child: subprocess.Popen[bytes], asked: threading.Event) -> int:
    """Its exit code; killed where it does not end in time once asked."""
    deadline_s: float | None = None
    while (code := child.poll()) is None:
        if asked.is_set():
            deadline_s = deadline_s or time.monotonic() + _STOP_S
            if time.monotonic() > deadline_s:
                child.kill()
        time.sleep(_LOOK_S)
    return code


async def mind_parent(parent: int, stop: asyncio.Event) -> None:
    """End where the parent is gone: at the start, too, which may wait for ever."""
    while os.getppid() == parent:
        await asyncio.sleep(_PARENT_S)
    log.warning("the process that restarts this responder is gone: it ends")
    stop.set()
