"""A command that ends says in one sentence that no broker answers."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from streams import kafka_clients
from streams.cli import main
from streams.embedded import EmbeddedBroker
from streams.kafka_clients import NoBrokerError, require_broker

NOBODY = "127.0.0.1:1"
ID = "ab" * 16
SPAN = ["--from", "2026-01-01", "--to", "2026-02-01"]
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
