"""The demo's responder and its operator: the same commands as anywhere, each in its own process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from schemas.incidents import IncidentData
from schemas.retraining import RetrainingData
from streams.demo_responses import SHORT, Decision

OPERATOR: Final = "demo-operator"

CONFIG: Final = """\
detection:
  labels:
    enabled: true
    calibration_labels: 500
    reference_labels: 500
worker:
  responder:
    sweep_s: 0.5
    retraining:
      window_offsets: 6000
"""
"""The demo's configuration: labels are joined. A run of a minute has no room for a reference of
2,000 labels and a window of 20,000 offsets; all else is as it is by default."""

_COMMAND_S: Final = 60.0


class OperatorError(RuntimeError):
    """A command of the operator has failed; the message is what it said."""


def responder_command(bootstrap_servers: str, redis_url: str, config: Path) -> list[str]:
    """The responder; without its supervisor, since the demo looks after it."""
    return [
        *(sys.executable, "-m", "streams", "respond", "--no-supervisor", "--config", str(config)),
        *("--bootstrap-servers", bootstrap_servers, "--redis-url", redis_url),
    ]


def approve(
    request: RetrainingData,
    incidents: Sequence[IncidentData],
    because: str,
    *,
    bootstrap_servers: str,
    env: Mapping[str, str],
    clock: Callable[[], float] = time.monotonic,
) -> Decision:
    """Open the evidence of these incidents and approve of a request's quarantine.

    `clock` gives the decision's time. Raises `OperatorError` where a command does not succeed, as
    where evidence cannot be shown.
    """
    typed = [("show", each.incident_id[:SHORT]) for each in incidents]
    commands = [["incident", *each, "--by", OPERATOR] for each in typed]
    commands.append(
        ["incident", "approve", request.request_id[:SHORT], "--by", OPERATOR, "--because", because]
    )
    for command in commands:
        _run([*command, "--bootstrap-servers", bootstrap_servers], env)
    return Decision(
        clock(),
        request.request_id,
        OPERATOR,
        because,
        tuple(f"driftsentry {' '.join(map(_quoted, command))}" for command in commands),
    )


def _run(command: Sequence[str], env: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - our interpreter on our own command line
            [sys.executable, "-m", "streams", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=dict(env),
            timeout=_COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OperatorError(f"`driftsentry {command[0]} {command[1]}` did not end") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise OperatorError(f"`driftsentry {command[0]} {command[1]}` has failed: {said}")


def _quoted(word: str) -> str:
    return f'"{word}"' if " " in word else word
