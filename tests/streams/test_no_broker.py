"""A command says in one sentence that no broker answers, and a service in one line of its log."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams import kafka_clients
from streams.cli import main
from streams.embedded import EmbeddedBroker
from streams.kafka_clients import NoBrokerError, require_broker
from tests.kit.https_receiver import SECRETS

NOBODY = "127.0.0.1:1"
ID = "ab" * 16
SPAN = ["--from", "2026-01-01", "--to", "2026-02-01"]
WEBHOOK = (
    "hosts: [localhost], webhooks: {main: {url: 'https://localhost/', "
    "secrets: ['${env:HOOK_SECRET}']}}"
)
ALERTMANAGER = "alertmanagers: {main: {url: 'http://127.0.0.1:1', allow_http: true}}"
DECIDED = ["--because", "looked", "--by", "ana"]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_clients, "ANSWER_S", 0.3)


def test_a_broker_that_answers_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_clients, "ANSWER_S", 20.0)
    with EmbeddedBroker() as broker:
        require_broker(broker.bootstrap_servers, {})


def test_the_sentence_holds_no_secret() -> None:
    with pytest.raises(NoBrokerError) as raised:
        require_broker(NOBODY, {"sasl.password": "127.0.0.1"})
    assert "127.0.0.1" not in str(raised.value).removeprefix(f"no broker answers at {NOBODY}: ")


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["incident", "list"], 1),
        (["incident", "show", ID, "--by", "ana"], 1),
        (["incident", "overrule", ID, "data_fault", *DECIDED], 1),
        (["incident", "requests"], 1),
        (["incident", "approve", ID, *DECIDED], 1),
        (["rollback", "requests"], 1),
        (["rollback", "followups"], 1),
        (["rollback", "followup", ID], 1),
        (["rollback", "show", ID, "--by", "ana"], 1),
        (["rollback", "approve", ID, *DECIDED], 1),
        (["window", "export", ID, "--output", "x.ndjson"], 1),
        (["mute", "m", "--for", "1h"], 1),
        (["plan", "m", "--until", "2100-01-01T00:00:00Z"], 1),
        (["acknowledge", ID], 1),
        (["withdraw", "mute-0123456789ab"], 1),
        (["emit"], 1),
        (["alerts"], 1),
        (["alerts", "--no-follow"], 1),
        (["topics", "create"], 1),
        (["budget", "--redis-url", "redis://127.0.0.1:1"], 1),
        (["reference", "fit", "--from-topic", "--model", "m"], 1),
        (["reference", "show", ID], 1),
        (["security", "calibrate", "--from-topic", "--model", "m"], 1),
        (["audit", "verify"], 3),
        (["audit", "export", "--output", "x.ndjson"], 3),
        (["report", *SPAN], 3),
        (["verify"], 3),
    ],
    ids=lambda given: "-".join(given[:2]) if isinstance(given, list) else str(given),
)
def test_that_no_broker_answers_is_one_sentence_and_no_log(
    arguments: list[str],
    exit_code: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DRIFTSENTRY_SOURCE_KEY", "ab" * 32)
    result = CliRunner().invoke(main, [*arguments, "--bootstrap-servers", NOBODY])
    assert result.exit_code == exit_code
    (line,) = result.stderr.splitlines()
    assert line.startswith("driftsentry: ")
    assert f"no broker answers at {NOBODY}: " in line
    assert line.endswith("check the address, the network, `security.protocol` and the credentials")
    assert result.stdout == ""
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def _signals() -> Iterator[None]:
    """A service takes the signals of its process."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("receiver", [WEBHOOK, ALERTMANAGER], ids=["webhook", "alertmanager"])
@pytest.mark.parametrize("service", [["notify"], ["audit", "run"]], ids=" ".join)
def test_a_service_that_finds_no_broker_ends_with_one_line(
    service: list[str],
    receiver: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DRIFTSENTRY_SOURCE_KEY", "ab" * 32)
    config = tmp_path / "driftsentry.yaml"
    config.write_text(f"worker: {{notify: {{{receiver}}}}}\n", "utf-8")
    monkeypatch.setenv("HOOK_SECRET", SECRETS[0])
    arguments = [*service, "--config", str(config), "--bootstrap-servers", NOBODY]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert "stopped" in line
    assert f"no broker answers at {NOBODY}: " in line
    assert capfd.readouterr() == ("", "")
