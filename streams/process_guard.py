"""Child processes that end with their parent, whatever ends it.

A parent that is killed with SIGKILL runs no handler, and a signal on the parent's death exists on
Linux only. So a small process of its own holds the reading end of a pipe: the parent writes into it
what is to be ended, and when the pipe closes, for whatever reason, the guard ends it.

This file is both sides. The guard runs it as a script, so it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO


class ProcessGuard:
    """Ends the watched processes and removes the watched directories when this process ends."""

    def __init__(self) -> None:
        self._guard = subprocess.Popen(  # noqa: S603 - our interpreter on this very file
            [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            bufsize=1,
            # A session of its own: Ctrl-C in the parent's terminal must not end the guard first.
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The guard's own process id."""
        return self._guard.pid

    def watch(self, pid: int) -> None:
        """End the process group of this process with ours; it must lead that group."""
        self._tell(f"+process {pid}")

    def forget(self, pid: int) -> None:
        """Leave this process alone: it has ended, and its id may become another's."""
        self._tell(f"-process {pid}")

    def watch_directory(self, directory: Path) -> None:
        """Remove this directory after the processes have ended."""
        self._tell(f"+directory {directory}")

    def close(self) -> None:
        """Have the guard end everything that is still watched now, and end itself."""
        if self._guard.stdin is not None and not self._guard.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._guard.stdin.close()
        self._guard.wait()

    def __enter__(self) -> Self:
        """Nothing more to do: the guard runs since it was made."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _tell(self, line: str) -> None:
        if self._guard.stdin is None or self._guard.stdin.closed:
            raise RuntimeError("the process guard is closed")
        self._guard.stdin.write(line + "\n")
        self._guard.stdin.flush()


class GuardedProcess:
    """A server in a session of its own, its output in a file, watched by a guard."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        guard: ProcessGuard,
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command`; its output is appended to `log`; `env` None inherits ours."""
        self._guard = guard
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the caller's own command, no shell
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
        guard.watch(self._process.pid)

    @property
    def pid(self) -> int:
        """The process id; it stays readable after the end."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process still runs."""
        if self._process.poll() is None:
            return True
        self._ended()
        return False

    def send(self, signal_number: int) -> None:
        """Send a signal to this process alone (SIGSTOP and SIGCONT are of use in fault tests)."""
        self._process.send_signal(signal_number)

    def stop(self, timeout_s: float = 10.0) -> int:
        """End by SIGTERM, and by SIGKILL after `timeout_s`; the exit status."""
        self._process.terminate()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._kill()
        return self._ended()

    def kill(self) -> int:
        """End by SIGKILL, with the processes that it has started; the exit status."""
        self._kill()
        return self._ended()

    def log_text(self) -> str:
        """All output so far, of every process that wrote to the same log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def _kill(self) -> None:
        # It leads a group of its own, which has its id as long as it was not waited for.
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _ended(self) -> int:
        status = self._process.wait()
        with contextlib.suppress(RuntimeError, BrokenPipeError):
            self._guard.forget(self._process.pid)
        return status


def guard_until_closed(commands: TextIO) -> None:
    """Follow the parent's commands until they end, then end and remove what is still watched."""
    processes: dict[int, None] = {}
    directories: dict[str, None] = {}
    for line in commands:
        verb, _, operand = line.rstrip("\n").partition(" ")
        if verb == "+process":
            processes[int(operand)] = None
        elif verb == "-process":
            processes.pop(int(operand), None)
        elif verb == "+directory":
            directories[operand] = None
    for pid in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    # A killed process may write a last file while the directory is being removed.
    deadline_s = time.monotonic() + 10.0
    for directory in directories:
        while Path(directory).exists() and time.monotonic() < deadline_s:
            shutil.rmtree(directory, ignore_errors=True)
            time.sleep(0.02)


if __name__ == "__main__":
    guard_until_closed(sys.stdin)
