"""What `driftsentry alerts` shows of whatever stands on the topic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from streams import alert_reader
from streams.alert_reader import AlertsError, as_cloudevent, as_sentence
from streams.cli import main
from streams.embedded import EmbeddedBroker
from tests.fuzz.outputs import ALERT, OUTPUT, Written


def event_of(value: bytes | None, headers: Any = OUTPUT.headers) -> dict[str, object]:
    return as_cloudevent(Written(value, list(headers)))  # type: ignore[arg-type]  # of the client's class few methods are used


def test_an_alert_is_a_cloudevent_and_a_sentence() -> None:
    event = event_of(OUTPUT.value)
    assert event["type"] == "io.driftsentry.drift.opened.v1"
    assert event["datacontenttype"] == "application/json"
    assert event["data"] == ALERT.model_dump()
    assert ALERT.message in as_sentence(event)


@pytest.mark.parametrize("value", [b"hello", b"\xff", b"{", b"NaN", b"[" * 5_000])
def test_a_record_that_is_no_json_is_named(value: bytes) -> None:
    with pytest.raises(AlertsError, match=r"alerts\[0\]:7 is no JSON"):
        event_of(value)


@pytest.mark.parametrize("value", [None, b"", b"null", b"[]", b'"x"', b'{"revision": "two"}'])
def test_other_json_is_a_line_without_an_alert(value: bytes | None) -> None:
    assert "update" not in as_sentence(event_of(value))


def test_a_finding_is_a_sentence_with_its_revision() -> None:
    value = b'{"message": "m 1: probed", "severity": "High", "unmapped": {"revision": 3}}'
    assert as_sentence(event_of(value)).endswith("HIGH     m 1: probed (update 2)")
    assert "update" not in as_sentence(event_of(b'{"unmapped": {}, "revision": 5}'))


def test_alerts_are_of_one_topic() -> None:
    command = ["alerts", "--bootstrap-servers", "127.0.0.1:1", "--liveness", "--anomalies"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "they are two topics" in result.stderr


def test_a_foreign_record_does_not_end_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> Iterator[Written]:
        for value in (OUTPUT.value, b"hello", OUTPUT.value):
            yield Written(value, list(OUTPUT.headers))

    monkeypatch.setattr(alert_reader, "read_alerts", read)
    with EmbeddedBroker() as broker:
        servers = broker.bootstrap_servers
        command = ["alerts", "--bootstrap-servers", servers, "--no-follow", "--json"]
        result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    events = [orjson.loads(line) for line in result.stdout.splitlines()]
    assert [event["data"]["alert_id"] for event in events] == [ALERT.alert_id] * 2
    assert "no JSON" in result.stderr
