"""Runs a benchmark as its users do."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.kit.pages import ROOT


def run_quick(name: str, *options: str) -> dict[str, Any]:
    """What it says in its last line, with `--quick --json`."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--quick", "--json", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1_200,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert said["benchmark"] == name
    assert said["quick"]
    return said


def rows(said: dict[str, Any], table: str) -> dict[str, list[str]]:
    """The other cells of a table's rows, by the first one."""
    found = next(one for one in said["tables"] if one["name"] == table)
    assert all(len(row) == len(found["columns"]) for row in found["rows"])
    return {first: others for first, *others in found["rows"]}
