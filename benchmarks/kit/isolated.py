"""Environments of those that cannot share ours: each is made once, under var/.

What is installed is locked with hashes in a file beside whoever needs it; `make lock` makes it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.kit.children import ROOT

_TIMEOUT_S: Final = 900


class EnvironmentMissingError(RuntimeError):
    """The environment cannot be made; the message says why."""


def isolated_python(name: str, requirements: Path) -> Path:
    """The interpreter of `var/NAME-env`, which has these requirements and nothing else.

    Raises `EnvironmentMissingError`.
    """
    environment = ROOT / "var" / f"{name}-env"
    python = environment / "bin" / "python"
    stamp = environment / "requirements.txt"
    wanted = requirements.read_text("utf-8")
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return python
    _run(sys.executable, "-m", "venv", "--clear", str(environment))
    # What is locked is complete, and may leave out what a contestant names and does not load.
    _run(
        *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--no-compile", "--require-hashes", "--only-binary", ":all:"),
        *("-r", str(requirements)),
    )
    stamp.write_text(wanted, "utf-8")
    return python


def _run(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise EnvironmentMissingError(f"{command[2]} took more than {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["no reason was given"]
        raise EnvironmentMissingError(f"{' '.join(command[1:3])}: {said[-1]}")
