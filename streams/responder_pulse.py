"""Ends a process whose event loop stands still: nothing that runs in the loop can do that.

A thread looks once a second whether the loop has said that it goes on. It counts its own looks, not
the time: a process that was stopped and goes on, or a machine that slept, is not taken for dead.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger(__name__)

LOOK_S: Final = 1.0


class Pulse:
    """Calls `end` after so many looks in a row without a beat. `start` it; `close` it."""

    def __init__(self, n_looks: int, end: Callable[[], None] | None = None) -> None:
        """`end` None ends the process, with exit code 1."""
        self._n_looks: Final = n_looks
        self._end: Final = end or _end_hard
        self._n_missed = 0
        self._has_beaten = threading.Event()
        self._closing = threading.Event()
        self._thread: Final = threading.Thread(target=self._watch, name="pulse", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def beat(self) -> None:
        """The loop goes on."""
        self._has_beaten.set()

    def look(self) -> bool:
        """One look; whether it was one too many without a beat."""
        if self._has_beaten.is_set():
            self._has_beaten.clear()
            self._n_missed = 0
            return False
        self._n_missed += 1
        return self._n_missed >= self._n_looks

    def close(self) -> None:
        """Look no more."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._closing.wait(LOOK_S):
            if self.look():
                self._end()
                return


def _end_hard() -> None:
    log.critical(
        "stopped hard: its event loop stands still; nothing is lost, and what was not committed "
        "comes again"
    )
    os._exit(1)
