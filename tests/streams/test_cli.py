"""The command line: what it says, what it never says, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import structlog
import yaml
from click.testing import CliRunner, Result
from pydantic import BaseModel

from schemas.config import DetectionConfig
from streams.cli import main
from streams.config import Settings
from streams.credentials import redis_client_address
from streams.emit import BadLine, event_key, filled, records
from streams.kafka_properties import read_properties

SECRET = "hunter2-the-secret-nobody-may-see"  # noqa: S105
EXAMPLE = Path(__file__).parents[2] / "examples" / "driftsentry.yaml"
COMMANDS = [
    *("worker", "topics", "doctor", "config", "demo", "demo-producer", "emit", "alerts"),
    *("scan", "verify", "budget", "notify"),
    *("incident", "incident list", "incident show", "incident overrule"),
    *("incident requests", "incident approve"),
    *("topics create", "config check", "config schema", "config show"),
]


def run(*arguments: str, environ: dict[str, str] | None = None, said: str | None = None) -> Result:
    return CliRunner().invoke(
        main, list(arguments), input=said, env=environ, prog_name="driftsentry"
    )


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("DRIFTSENTRY_"):
            monkeypatch.delenv(name)


class Called(BaseModel):
    """What the command handed on."""

    settings: Settings | None = None
    detection: DetectionConfig | None = None


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Called:
    """Stands in for `streams.launch`, whose own tests need brokers."""
    called = Called()

    def stand_in(settings: Settings, detection: DetectionConfig) -> int:
        called.settings, called.detection = settings, detection
        return 3 if settings.accept_reset else 0

    module = types.ModuleType("streams.launch")
    vars(module)["run"] = stand_in
    monkeypatch.setitem(sys.modules, "streams.launch", module)
    return called


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage: driftsentry" in result.output


def test_help_loads_nothing_heavy_and_python_m_streams_is_the_same() -> None:
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "import runpy\n"
        "try: runpy.run_module('streams', run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "heavy = {'numpy', 'numba', 'confluent_kafka', 'pydantic', 'redis', 'yaml', 'rich'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage: driftsentry" in done.stdout


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.output.startswith("driftsentry ")


def test_the_worker_gets_what_was_said(runner: Called, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("worker: {group: file, kafka: {linger.ms: 5}}\ndetection: {generation: 4}\n")
    result = run(
        "worker",
        *("--bootstrap-servers", "kafka:9092", "--redis-url", "redis://localhost/1"),
        *("--config", str(path), "--instance", "w-1", "--mode", "at-least-once", "--insecure"),
        *("--start", "latest", "--redis-prefix", "p", "--alerts-topic", "a", "--events-topic", "e"),
        *("--dead-letter-topic", "d", "--journal-topic", "j", "--checkpoints-topic", "c"),
        *("--commands-topic", "o", "--liveness-topic", "l", "--anomalies-topic", "n"),
        *("--incidents-topic", "i"),
        *("--retraining-topic", "r"),
        *("--rollback-topic", "b"),
        *("--followup-topic", "f"),
        *("--undelivered-topic", "u"),
        *("--audit-topic", "t"),
        *("-X", "client.id=x=y"),
    )
    assert result.exit_code == 0, result.output
    settings = runner.settings
    assert settings is not None
    assert (settings.bootstrap_servers, settings.group, settings.instance) == (
        "kafka:9092",
        "file",
        "w-1",
    )
    assert (settings.mode, settings.insecure, settings.start) == ("at-least-once", True, "latest")
    assert settings.topics.model_dump() == {
        "events": "e",
        "alerts": "a",
        "dead_letter": "d",
        "journal": "j",
        "commands": "o",
        "checkpoints": "c",
        "liveness": "l",
        "anomalies": "n",
        "incidents": "i",
        "retraining": "r",
        "rollback": "b",
        "followup": "f",
        "undelivered": "u",
        "audit": "t",
    }
    assert settings.kafka == {"linger.ms": 5, "client.id": "x=y"}
    assert settings.redis_url.get_secret_value() == "redis://localhost/1"
    assert runner.detection == DetectionConfig(generation=4)
    assert "twice" in result.stderr


def test_the_worker_s_exit_code_is_the_command_s(runner: Called) -> None:
    environ = {
        "DRIFTSENTRY_BOOTSTRAP_SERVERS": "localhost:9092",
        "DRIFTSENTRY_REDIS_URL": "redis://localhost/0",
    }
    assert run("worker", environ=environ).exit_code == 0
    assert run("worker", "--accept-reset", environ=environ).exit_code == 3
    assert runner.settings is not None
    assert runner.settings.accept_reset


def test_a_worker_does_not_guess_where_to_go() -> None:
    result = run("worker")
    assert result.exit_code == 2
    assert "give --bootstrap-servers or set DRIFTSENTRY_BOOTSTRAP_SERVERS" in result.stderr
    assert "give --redis-url or set DRIFTSENTRY_REDIS_URL" in result.stderr


def test_a_plaintext_broker_elsewhere_is_refused() -> None:
    result = run("alerts", "--bootstrap-servers", "kafka:9092")
    assert result.exit_code == 2
    assert "say `--insecure`" in result.stderr
    assert "Traceback" not in result.stderr


def test_config_check() -> None:
    result = run("config", "check", str(EXAMPLE))
    assert (result.exit_code, result.stdout) == (0, f"{EXAMPLE} is a valid configuration\n")


def test_config_check_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("worker: {gruop: x}\ndetection: {models: learnt}\n")
    result = run("config", "check", str(path))
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "2 things are wrong" in result.stderr
    assert f"{path}:1: worker.gruop: unknown field; did you mean `group`?" in result.stderr
    assert f"{path}:2: detection.models: found 'learnt'" in result.stderr


def test_config_check_looks_at_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("worker: {kafka: {sasl.password: '${env:NOT_SET_HERE}'}}\n")
    environ = {"DRIFTSENTRY_POLL_RECORDS": "wrong", "DRIFTSENTRY_CONFIG": "/none"}
    assert run("config", "check", str(path), environ=environ).exit_code == 0


def test_config_schema_is_json() -> None:
    result = run("config", "schema")
    assert result.exit_code == 0
    assert set(json.loads(result.stdout)["properties"]) == {"worker", "detection"}


def test_config_show_gives_what_is_in_force_and_can_be_read_again(tmp_path: Path) -> None:
    result = run("config", "show", "--group", "g", environ={"DRIFTSENTRY_POLL_RECORDS": "7"})
    assert result.exit_code == 0
    shown = yaml.safe_load(result.stdout)
    assert (shown["worker"]["group"], shown["worker"]["poll_records"]) == ("g", 7)
    path = tmp_path / "c.yaml"
    path.write_text(result.stdout)
    assert run("config", "check", str(path)).exit_code == 0


def secrets_everywhere(tmp_path: Path) -> dict[str, str]:
    key = tmp_path / "key"
    key.write_text(SECRET)
    key.chmod(0o600)
    return {
        "DRIFTSENTRY_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "DRIFTSENTRY_REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0",
        "DRIFTSENTRY_KAFKA_SASL_PASSWORD": SECRET,
        "DRIFTSENTRY_KAFKA_SSL_KEY_PEM": SECRET,
        "DRIFTSENTRY_SOURCE_KEY": SECRET,
        "DRIFTSENTRY_CHECKPOINT_KEY_FILE": str(key),
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["config", "show"],
        ["config", "show", "--redis-url", f"rediss://u:{SECRET}@h/0"],
        ["config", "show", "-X", f"sasl.password={SECRET}"],
        ["config", "show", "--redis-url", f"http://{SECRET}@h"],
        ["worker", "--redis-url", f"redis://{SECRET}@h/x"],
        ["worker", "--mode", "wrong", f"redis://:{SECRET}@h"],
        ["worker", "--nothing", f"redis://:{SECRET}@h"],
        ["worker", f"redis://:{SECRET}@h"],
        ["emit", f"redis://:{SECRET}@h"],
        ["--debug", "worker"],
        ["worker", "--log-format", "json"],
    ],
)
def test_no_output_holds_a_secret(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(settings: Settings, _detection: DetectionConfig) -> int:
        text = f"{read_properties(settings.kafka)} {redis_client_address(settings)}"
        structlog.get_logger().error(text, url=redis_client_address(settings))
        raise RuntimeError(f"cannot connect with {text}")

    module = types.ModuleType("streams.launch")
    vars(module)["run"] = fails
    monkeypatch.setitem(sys.modules, "streams.launch", module)
    result = run(*arguments, environ=secrets_everywhere(tmp_path))
    assert SECRET not in result.output
    assert SECRET not in result.stderr
    assert result.output + result.stderr


def test_tracebacks_only_with_debug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("streams.launch")
    vars(module)["run"] = lambda _settings, _detection: 1 // 0
    monkeypatch.setitem(sys.modules, "streams.launch", module)
    environ = secrets_everywhere(tmp_path)
    quiet, loud = run("worker", environ=environ), run("--debug", "worker", environ=environ)
    assert (quiet.exit_code, loud.exit_code) == (1, 1)
    assert "Traceback" not in quiet.stderr
    assert "driftsentry: integer division or modulo by zero" in quiet.stderr
    assert "Traceback" in loud.stderr


def test_a_broker_that_does_not_answer_is_a_sentence() -> None:
    result = run("alerts", "--bootstrap-servers", "127.0.0.1:1", "--no-follow", "-X", "log_level=0")
    assert result.exit_code == 2
    assert "log_level" in result.stderr


def test_keys_are_those_the_worker_expects() -> None:
    assert event_key({"model_id": "é"}) == "é".encode()
    assert event_key({"model_id": "m", "shard": None}) == b"m"
    assert event_key({"model_id": "m", "shard": 3}) == b"m/3"
    for wrong in ({}, {"model_id": ""}, {"model_id": 1}, {"model_id": "m", "shard": True}):
        with pytest.raises(ValueError, match="should be"):
            event_key(wrong)


def test_lines_that_are_no_events_are_named() -> None:
    lines = [b'{"model_id": "m"}\n', b"\n", b"[1]\n", b"{\n", b'{"model_id": 1}\n']
    first, *bad = records(lines)
    assert first == (b"m", b'{"model_id": "m"}')
    assert bad == [
        BadLine(3, "is not a JSON object"),
        BadLine(4, "is not JSON"),
        BadLine(5, "`model_id` should be a string that is not empty"),
    ]


def test_filling_adds_what_is_missing_and_nothing_else() -> None:
    event = filled({"model_id": "m", "label": 1})
    assert event["type"] == "label"
    assert isinstance(event["ts"], int)
    assert event["event_id"] != filled({"model_id": "m"})["event_id"]
    whole = {"model_id": "m", "type": "prediction", "ts": 1, "event_id": "e"}
    assert filled(whole) == whole
