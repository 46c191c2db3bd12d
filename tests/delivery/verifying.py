"""`driftsentry verify`, called on what a run has published."""

from __future__ import annotations

import os
from typing import Any

import orjson
import yaml
from click.testing import CliRunner, Result

from streams.cli import main
from tests.delivery.kit import Run


def call(run: Run, *arguments: str, alerts: str | None = None) -> Result:
    """Run the command on what the run has published, or with another alerts topic."""
    topics = {**run.settings["topics"], **({} if alerts is None else {"alerts": alerts})}
    config = run.directory / "verify.yaml"
    settings = {**run.settings, "topics": topics, "log_format": "text"}
    config.write_text(yaml.safe_dump({"worker": settings}), encoding="utf-8")
    command = ["verify", "--config", str(config), "--bootstrap-servers", run.kafka]
    command += ["--redis-url", run.redis_url, *arguments]
    of_this_machine = {name: None for name in os.environ if name.startswith("DRIFTSENTRY_")}
    return CliRunner().invoke(main, command, env=of_this_machine)


def report(run: Run, *arguments: str, alerts: str | None = None) -> dict[str, Any]:
    """What it says as JSON; the exit code is in there too, and the same."""
    result = call(run, "--json", *arguments, alerts=alerts)
    assert result.exit_code in {0, 1, 3}, result.output
    found: dict[str, Any] = orjson.loads(result.stdout)
    assert found["exit_code"] == result.exit_code
    return found
