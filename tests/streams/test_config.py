"""The settings themselves: what they refuse, what they warn of, what they never show."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.config import Settings, Topics, settings_warnings
from streams.config_errors import ConfigError
from streams.credentials import (
    checkpoint_key,
    redis_client_address,
    secret_values,
    source_key,
)
from streams.hosts import is_loopback, parse_brokers
from streams.kafka_properties import KafkaValue, is_secret, read_properties
from streams.redis_address import RedisUrl
from streams.references import expand, read_key, read_secret_file

SECRET = "hunter2-the-secret-nobody-may-see"  # noqa: S105


def secret_file(directory: Path, content: bytes = SECRET.encode(), mode: int = 0o600) -> Path:
    path = directory / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_settings_are_frozen_strict_and_know_their_fields() -> None:
    settings = Settings()
    for name in Settings.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(settings, name, None)
    with pytest.raises(ValidationError):
        Settings.model_validate({"poll_records": "12"})
    with pytest.raises(ValidationError):
        Settings.model_validate({"polls": 12})


def test_the_defaults_are_those_of_the_design() -> None:
    settings = Settings()
    assert settings.topics == Topics(
        events="driftsentry.events",
        alerts="driftsentry.alerts",
        dead_letter="driftsentry.dead-letter",
        journal="driftsentry.journal",
    )
    assert (settings.group, settings.instance, settings.mode) == (
        "driftsentry",
        None,
        "exactly-once",
    )
    assert (settings.commit_interval_ms, settings.poll_records) == (200, 8192)
    assert (settings.checkpoint_interval_s, settings.checkpoint_events) == (30, 200_000)
    assert settings.max_replay_events == 20_000_000
    assert settings.transaction_timeout_ms == 10_000


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "127.0.0.1", "127.9.8.7", "::1", "[::1]", "::ffff:127.0.0.1"],
)
def test_loopback_hosts(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["kafka", "10.0.0.1", "localhost.example.com", "128.0.0.1", "::2", "", "127"]
)
def test_hosts_elsewhere(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("servers", ["", "a:b", "a:0", "a:70000", "a b:1", "a:1,", ":1", "x@h:1"])
def test_a_broker_list_that_is_none(servers: str) -> None:
    assert parse_brokers(servers) is None
    with pytest.raises(ValidationError, match="HOST:PORT"):
        Settings(bootstrap_servers=servers)


@pytest.mark.parametrize(
    ("servers", "kafka"),
    [
        ("kafka:9092", {}),
        ("localhost:9092,kafka:9092", {}),
        ("10.0.0.1:9092", {"security.protocol": "PLAINTEXT"}),
        ("kafka:9092", {"security.protocol": "plaintext"}),
        ("kafka:9092", {"security.protocol": "SASL_PLAINTEXT"}),
        ("PLAINTEXT://kafka:9092", {"security.protocol": "SSL"}),
        ("kafka:9093", {"security.protocol": "SSL", "enable.ssl.certificate.verification": False}),
        ("kafka:9093", {"security.protocol": "SSL", "enable.ssl.certificate.verification": "f"}),
        ("k:9093", {"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "none"}),
    ],
)
def test_a_broker_elsewhere_needs_encryption_or_insecure(
    servers: str, kafka: dict[str, KafkaValue]
) -> None:
    with pytest.raises(ValidationError, match="on another machine"):
        Settings(bootstrap_servers=servers, kafka=kafka)
    allowed = Settings(bootstrap_servers=servers, kafka=kafka, insecure=True)
    assert any("--insecure" in warning for warning in settings_warnings(allowed))


@pytest.mark.parametrize(
    ("servers", "kafka"),
    [
        ("localhost:9092", {}),
        ("127.0.0.1:9092,[::1]:9092", {"security.protocol": "SASL_PLAINTEXT"}),
        ("kafka:9093", {"security.protocol": "SSL"}),
        ("kafka:9093", {"security.protocol": "sasl_ssl"}),
    ],
)
def test_a_safe_connection_needs_no_permission(servers: str, kafka: dict[str, KafkaValue]) -> None:
    settings = Settings(bootstrap_servers=servers, kafka=kafka)
    assert settings_warnings(settings) == []


@pytest.mark.parametrize("protocol", ["TLS", "${env:X}", 1, True, ""])
def test_a_security_protocol_that_is_none(protocol: KafkaValue) -> None:
    with pytest.raises(ValidationError, match=r"security\.protocol"):
        Settings(kafka={"security.protocol": protocol})


@pytest.mark.parametrize("field", ["alerts", "dead_letter", "journal"])
def test_what_goes_out_may_not_come_in_again(field: str) -> None:
    with pytest.raises(ValidationError, match="is the events topic too and what goes out"):
        Settings(topics=Topics(**{field: "driftsentry.events"}))


def test_two_outputs_need_two_topics() -> None:
    with pytest.raises(ValidationError, match=r"topics\.dead_letter.*is the alerts topic too"):
        Settings(topics=Topics(alerts="out", dead_letter="out"))


@pytest.mark.parametrize("name", ["", "a b", "ä", "a" * 250, "a/b", ".", ".."])
def test_a_topic_s_name_that_kafka_refuses(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings(topics=Topics(alerts=name))


@pytest.mark.parametrize(
    "name",
    [
        *("group.id", "bootstrap.servers", "transactional.id", "enable.auto.commit", "acks"),
        *("isolation.level", "auto.offset.reset", "group.protocol", "session.timeout.ms"),
    ],
)
def test_what_the_guarantee_rests_on_cannot_be_set(name: str) -> None:
    with pytest.raises(ValidationError, match="is set by the worker"):
        Settings(kafka={name: "x"})


@pytest.mark.parametrize("name", ["stats_cb", "oauth_cb", "logger", "default.topic.config", "a b"])
def test_what_no_text_can_give_cannot_be_set(name: str) -> None:
    with pytest.raises(ValidationError, match="no property that can be set here"):
        Settings(kafka={name: "x"})


@pytest.mark.parametrize("value", ["${vault:x}", "${env:}", "${", "a${x}b", "${env:a${env:b}}"])
def test_a_reference_of_another_form_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="holds `"):
        Settings(kafka={"sasl.password": value})
    with pytest.raises(ValidationError, match="holds `"):
        Settings(redis_url=RedisUrl(f"redis://:{value}@localhost/0"))


def test_a_key_is_always_a_reference() -> None:
    for name in ("source_key", "checkpoint_key"):
        with pytest.raises(ValidationError) as caught:
            Settings.model_validate({name: SECRET})
        assert SECRET not in str(caught.value)
        assert "is not a reference" in str(caught.value)


def test_a_commit_must_fit_into_a_transaction() -> None:
    with pytest.raises(ValidationError, match="commit_interval_ms"):
        Settings(commit_interval_ms=6_000, transaction_timeout_ms=10_000)


@pytest.mark.parametrize(
    "url", ["http://h", "redis://", "redis://h:x", "h:6379", "redis://h/zero", "unix://", "redis:"]
)
def test_an_address_of_redis_that_is_none(url: str) -> None:
    with pytest.raises(ValidationError, match="redis_url"):
        Settings(redis_url=RedisUrl(url))


def test_plaintext_redis_elsewhere_is_warned_of() -> None:
    elsewhere = Settings(redis_url=RedisUrl(f"redis://user:{SECRET}@cache:6379/0"))
    (warning,) = settings_warnings(elsewhere)
    assert "redis://user:***@cache:6379/0 is reached without encryption" in warning
    assert SECRET not in warning
    for url in ("rediss://cache/0", "redis://127.0.0.1/0", "unix:///run/redis.sock"):
        assert settings_warnings(Settings(redis_url=RedisUrl(url))) == []


def test_at_least_once_is_said_aloud() -> None:
    (warning,) = settings_warnings(Settings(mode="at-least-once"))
    assert "twice" in warning


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@localhost/0",
        f"redis://user:{SECRET}@localhost/0",
        f"redis://{SECRET}@localhost/0",
        f"redis://localhost/0?password={SECRET}",
        f"redis://a@b:{SECRET}@localhost/0",
        f"redis://[{SECRET}",
        SECRET,
    ],
)
def test_a_redis_url_shows_no_password(url: str) -> None:
    shown = RedisUrl(url)
    assert SECRET not in f"{shown} {shown!r}"


def test_settings_show_no_secret() -> None:
    settings = Settings(
        redis_url=RedisUrl(f"redis://:{SECRET}@localhost/0"),
        kafka={
            "sasl.password": SECRET,
            "ssl.key.pem": SECRET,
            "sasl.oauthbearer.client.secret": SECRET,
            "sasl.username": "visible",
        },
    )
    for shown in (
        repr(settings),
        str(settings),
        str(settings.model_dump()),
        settings.model_dump_json(),
    ):
        assert SECRET not in shown
        assert "visible" in shown


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("sasl.password", True),
        ("ssl.key.password", True),
        ("ssl.keystore.password", True),
        ("ssl.key.pem", True),
        ("sasl.oauthbearer.client.secret", True),
        ("sasl.oauthbearer.config", True),
        ("sasl.oauthbearer.assertion.private.key.passphrase", True),
        ("ssl.key.location", False),
        ("ssl.ca.pem", False),
        ("ssl.certificate.pem", False),
        ("sasl.oauthbearer.token.endpoint.url", False),
        ("sasl.username", False),
        ("sasl.kerberos.keytab", False),
        ("linger.ms", False),
    ],
)
def test_which_properties_are_secret(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


def test_references_are_read_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = secret_file(tmp_path, f"{SECRET}/@:é\n".encode())
    settings = Settings(
        redis_url=RedisUrl(f"rediss://user:${{file:{path}}}@cache/0"),
        kafka={"sasl.password": "${env:PW}", "sasl.username": "u-${env:PW}", "linger.ms": 5},
    )
    with pytest.raises(ConfigError, match="PW, which is not set") as caught:
        read_properties(settings.kafka)
    assert len(caught.value.problems) == 2
    monkeypatch.setenv("PW", "${env:PW}")
    assert read_properties(settings.kafka) == {
        # What a reference gives is not read again.
        "sasl.password": "${env:PW}",
        "sasl.username": "u-${env:PW}",
        "linger.ms": 5,
    }
    assert redis_client_address(settings) == f"rediss://user:{SECRET}%2F%40%3A%C3%A9@cache/0"


def test_a_whole_address_may_stand_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(redis_url=RedisUrl("${env:REDIS}"))
    monkeypatch.setenv("REDIS", f"redis://:{SECRET}@h/0")
    assert redis_client_address(settings) == f"redis://:{SECRET}@h/0"
    assert SECRET not in f"{settings!r}"
    monkeypatch.setenv("REDIS", f"http://{SECRET}")
    with pytest.raises(ConfigError, match="should begin with redis://") as caught:
        redis_client_address(settings)
    assert SECRET not in str(caught.value)


def test_booleans_are_librdkafka_s() -> None:
    settings = Settings(kafka={"enable.metrics.push": False, "socket.keepalive.enable": True})
    read = read_properties(settings.kafka)
    assert (read["enable.metrics.push"], read["socket.keepalive.enable"]) == ("false", "true")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o601, 0o666])
def test_a_secret_s_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path, mode=mode)
    of_root_for_its_group = path.stat().st_uid == 0 and mode == 0o640
    if of_root_for_its_group:
        assert read_secret_file(str(path), "x") == SECRET.encode()
        return
    with pytest.raises(ConfigError, match=f"run `chmod 600 {path}`"):
        read_secret_file(str(path), "x")


def test_root_s_file_may_be_its_group_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kubernetes mounts a secret for a process that is not root."""
    path = secret_file(tmp_path, mode=0o440)
    real = os.fstat

    def owned_by(uid: int) -> None:
        def fstat(descriptor: int) -> os.stat_result:
            values = list(real(descriptor))
            values[stat.ST_UID] = uid
            return os.stat_result(values)

        monkeypatch.setattr(os, "fstat", fstat)

    owned_by(0)
    assert read_secret_file(str(path), "x") == SECRET.encode()
    owned_by(1000)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_secret_file(str(path), "x")


def test_a_secret_s_file_that_cannot_be_used(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    empty = secret_file(tmp_path, b"\n")
    for path, why in (
        (fifo, "not a plain file"),
        (tmp_path, "not a plain file"),
        (tmp_path / "none", "No such file"),
        (empty, "is empty"),
    ):
        with pytest.raises(ConfigError, match=why):
            read_secret_file(str(path), "x")
    with pytest.raises(ConfigError, match="larger than"):
        read_secret_file(str(secret_file(tmp_path, b"x" * 65_537)), "x")
    with pytest.raises(ConfigError, match="not UTF-8"):
        expand(f"${{file:{secret_file(tmp_path, bytes([255]))}}}", "x")
    with pytest.raises(ConfigError, match="not a file name"):
        expand("${file:a\0b}", "x")


def test_keys_have_16_bytes_or_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = secret_file(tmp_path, b"\xff" * 16 + b"\n")
    assert read_key(f"${{file:{path}}}", "worker.source_key") == b"\xff" * 16
    monkeypatch.setenv("KEY", "k" * 15)
    with pytest.raises(ConfigError, match="15 bytes, at least 16"):
        read_key("${env:KEY}", "worker.source_key")
    monkeypatch.setenv("KEY", "k" * 16)
    settings = Settings(source_key="${env:KEY}", checkpoint_key=f"${{file:{path}}}")
    assert source_key(settings) == b"k" * 16
    assert checkpoint_key(settings) == b"\xff" * 16
    assert source_key(Settings()) is None
    assert checkpoint_key(Settings()) is None


def test_the_log_learns_every_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "p@ss-word")
    path = secret_file(tmp_path)
    settings = Settings(
        redis_url=RedisUrl("redis://:${env:PW}@localhost/0"),
        kafka={"sasl.password": "${env:PW}", "ssl.key.password": "${env:NOT_SET}"},
        source_key=f"${{file:{path}}}",
    )
    assert secret_values(settings) == {"p@ss-word", "p%40ss-word", SECRET}
