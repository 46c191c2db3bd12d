"""The responder's app without a broker: what it is made of, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import faust
import pytest
from faust.auth import SASLCredentials, SSLCredentials

from streams.committed_transport import CommittedTransport, FaustChangedError
from streams.config import Settings
from streams.embedded import free_port
from streams.responder_app import Received, consume, make_app, quiet_faust, responder_group, run_app


def made(settings: Settings | None = None) -> faust.App:
    async def make() -> faust.App:
        return make_app(settings or Settings(), {"WORD": "wr1tten"})

    return asyncio.run(make())


def test_what_faust_would_do_beside_reading_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    # All of them would win over what an app is told, were they read.
    for name in ("BROKER_URL", "BROKER_CONSUMER_URL", "BROKER_CREDENTIALS", "APP_STORE"):
        monkeypatch.setenv(name, "kafka://elsewhere")
    for name in ("APP_WEB_ENABLED", "TOPIC_ALLOW_DECLARE", "STREAM_WAIT_EMPTY", "APP_DEBUG"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("PROCESSING_GUARANTEE", "exactly_once")
    monkeypatch.setenv("TOPIC_DISABLE_LEADER", "false")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "none.such")
    monkeypatch.setenv("APP_ENV_PREFIX", "OTHER_")
    monkeypatch.setenv("APP_ID_FORMAT", "other")
    app = made(Settings(bootstrap_servers="localhost:1,[::1]:2", group="g", instance="a"))
    conf = app.conf
    assert conf.id == "g.responder" == responder_group(Settings(group="g"))
    assert [str(url) for url in conf.broker_consumer] == ["kafka://localhost:1", "kafka://[::1]:2"]
    assert conf.broker_credentials is None
    assert conf.consumer_group_instance_id == "a"
    assert not app.in_transaction
    assert conf.topic_disable_leader
    assert not conf.topic_allow_declare
    assert not conf.web_enabled
    assert not conf.stream_wait_empty
    assert not conf.debug
    assert not conf.worker_redirect_stdouts
    assert str(conf.store) == "memory:"
    assert conf.table_standby_replicas == 0
    assert conf.consumer_auto_offset_reset == "earliest"
    assert list(app.fixups) == []
    assert isinstance(app.transport, CommittedTransport)


def test_the_default_group_is_the_responders_own() -> None:
    assert responder_group(Settings()) == "driftsentry.responder"


@pytest.mark.parametrize("session_ms", [1_000, 30_000, 300_000])
def test_timeouts_belong_together(session_ms: int) -> None:
    conf = made(Settings(session_timeout_ms=session_ms)).conf
    assert conf.broker_session_timeout == session_ms / 1000
    # Otherwise the consumer is not made.
    assert conf.broker_request_timeout >= conf.broker_session_timeout
    assert conf.broker_heartbeat_interval * 3 <= conf.broker_session_timeout


def test_credentials_are_those_of_the_settings() -> None:
    login = {
        "sasl.mechanism": "PLAIN",
        "sasl.username": "responder",
        "sasl.password": "${env:WORD}",
    }
    both = made(Settings(kafka={**login, "security.protocol": "SASL_SSL"})).conf.broker_credentials
    assert isinstance(both, SASLCredentials)
    assert both.protocol.value == "SASL_SSL"
    assert (both.username, both.password) == ("responder", "wr1tten")
    assert both.ssl_context is not None
    plain = made(
        Settings(kafka={**login, "security.protocol": "SASL_PLAINTEXT"})
    ).conf.broker_credentials
    assert isinstance(plain, SASLCredentials)
    assert plain.protocol.value == "SASL_PLAINTEXT"
    assert plain.ssl_context is None
    tls = made(Settings(kafka={"security.protocol": "SSL"})).conf.broker_credentials
    assert isinstance(tls, SSLCredentials)


@pytest.mark.parametrize("name", ["_new_transport", "_create_directories"])
def test_a_faust_that_would_not_ask_the_app_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(faust.App, name)
    with pytest.raises(FaustChangedError, match=f"App.{name}"):
        made()


def test_an_app_without_a_broker_ends_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stdout, stderr, handlers = sys.stdout, sys.stderr, list(logging.getLogger().handlers)

    async def handle(received: Received) -> None:
        raise AssertionError(received)

    async def run() -> None:
        app = make_app(Settings(bootstrap_servers=f"127.0.0.1:{free_port()}"))
        consume(app, "alerts", handle, name="alerts")
        await run_app(app, asyncio.Event())

    quiet_faust(logging.CRITICAL)
    with pytest.raises(Exception, match="Unable to bootstrap"):
        asyncio.run(run())
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    assert logging.getLogger().handlers == handlers
    assert os.listdir() == []  # noqa: PTH208 - of names, wherever it is


def test_of_what_the_client_says_again_and_again_little_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    quiet_faust()
    quiet_faust()
    loud = logging.getLogger("aiokafka.consumer.fetcher")
    before = len(loud.filters)
    quiet_faust()
    assert len(loud.filters) == before == 1
    with caplog.at_level(logging.WARNING, "aiokafka"):
        for number in range(100):
            loud.warning("cannot reach node %d", number)
        loud.warning("another thing")
    assert [record.getMessage() for record in caplog.records] == [
        "cannot reach node 0",
        "another thing",
    ]
