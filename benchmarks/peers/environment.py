"""The environment of contestants that cannot share ours: made once, under var/.

Quix Streams needs a confluent-kafka older than driftsentry's. What is installed is locked with
hashes in `requirements-quix.txt`, beside this file; `make lock` makes it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.kit.children import ROOT

REQUIREMENTS: Final = Path(__file__).with_name("requirements-quix.txt")
ENVIRONMENT: Final = ROOT / "var" / "quix-env"
_TIMEOUT_S: Final = 900


class EnvironmentMissingError(RuntimeError):
    """The environment cannot be made; the message says why."""


def quix_python() -> Path:
    """The interpreter that has Quix Streams. Raises `EnvironmentMissingError`."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / "requirements.txt"
    wanted = REQUIREMENTS.read_text("utf-8")
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return python
    _run(sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT))
    _run(
        *(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS)),
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
