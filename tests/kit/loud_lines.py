"""Lines that must stand at the end of a run, whichever process has something to say."""

from __future__ import annotations

from typing import Any, Final

import pytest

_LINES: Final = pytest.StashKey[dict[str, None]]()
_KEY: Final = "loud lines"


def say_at_the_end(config: pytest.Config, line: str) -> None:
    """Have this line written below the tests, once."""
    lines = config.stash.setdefault(_LINES, {})
    lines[line] = None
    # Set by pytest-xdist, in the processes that run the tests for another.
    output: dict[str, Any] | None = getattr(config, "workeroutput", None)
    if output is not None:
        output[_KEY] = list(lines)


def take_over(node: Any) -> None:
    """Take over what a process had to say that ran tests for this one."""
    # One that died has no output.
    for line in getattr(node, "workeroutput", {}).get(_KEY, ()):
        say_at_the_end(node.config, line)


def write_all(terminal: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the lines, loudly."""
    for line in config.stash.get(_LINES, {}):
        terminal.write_line(line, red=True, bold=True)
