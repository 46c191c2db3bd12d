"""Child processes of a benchmark: so that CPU time and memory are a contestant's own.

A child gets its task as one JSON argument and answers with JSON lines; the last one is its result.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ROOT: Final = Path(__file__).resolve().parents[2]
_LINES_SHOWN: Final = 30
_ENDS_S: Final = 30
"""How long a child may take to end after its result."""


class ChildError(RuntimeError):
    """A child ended without a result; the message holds the end of what it said."""


class Child:
    """One child process, ended at the latest with the `with` block that it is used in."""

    def __init__(
        self,
        module: str,
        task: DataclassInstance,
        *,
        python: str | Path = sys.executable,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.module = module
        self._said: list[str] = []
        # stderr goes the same way: librdkafka and frameworks log there, and it explains a failure.
        self.process = subprocess.Popen(
            [str(python), "-m", module, json.dumps(asdict(task))],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )

    def answer(self) -> dict[str, Any]:
        """The next JSON object it prints. Raises `ChildError` where it ends before."""
        for line in self._out():
            if line.startswith("{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
            self._said.append(line.rstrip())
        code = self.process.wait()
        said = "\n".join(self._said[-_LINES_SHOWN:])
        raise ChildError(f"{self.module} ended with {code} and no result:\n{said}")

    def _out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def close(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._out().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_child(
    module: str, task: DataclassInstance, *, python: str | Path = sys.executable
) -> dict[str, Any]:
    """Run a child to its end; its one answer."""
    with Child(module, task, python=python) as child:
        answer = child.answer()
        # It still has its files to remove.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(_ENDS_S)
        return answer
