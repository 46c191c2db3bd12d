"""What librdkafka's properties become for the responder's client, and what cannot be translated."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.config import Settings
from streams.config_errors import ConfigError
from streams.kafka_properties import KafkaValue
from streams.responder_connection import Connection, connection, is_of_trust

LOGIN: dict[str, KafkaValue] = {
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "SCRAM-SHA-512",
    "sasl.username": "responder",
    "sasl.password": "${env:WORD}",
}
ENVIRON = {"WORD": "wr1tten-nowhere"}


def connected(servers: str = "localhost:9092", **kafka: Any) -> Connection:
    properties = {name.replace("__", "."): value for name, value in kafka.items()}
    return connection(Settings(bootstrap_servers=servers, kafka=properties), ENVIRON)


def refused(kafka: dict[str, KafkaValue], servers: str = "localhost:9092") -> str:
    with pytest.raises(ConfigError) as told:
        connection(Settings(bootstrap_servers=servers, kafka=kafka), ENVIRON)
    return str(told.value)


def test_without_properties_it_is_plain() -> None:
    plain = connected("localhost:9092,[::1]:9093")
    assert plain.brokers == (("localhost", 9092), ("::1", 9093))
    assert plain.client_id == "driftsentry-responder"
    assert plain.tls is None
    assert plain.mechanism is None


def test_user_and_password_are_read_and_never_shown() -> None:
    found = connection(Settings(kafka=LOGIN), ENVIRON)
    assert (found.mechanism, found.username) == ("SCRAM-SHA-512", "responder")
    assert found.password == ENVIRON["WORD"]
    assert found.tls is None
    assert "wr1tten" not in repr(found)


def test_tls_checks_certificate_and_name_unless_told_otherwise() -> None:
    strict = connected(security__protocol="SSL").tls
    assert strict is not None
    assert strict.check_hostname
    assert strict.verify_mode is ssl.CERT_REQUIRED

    no_name = connected(
        security__protocol="ssl", ssl__endpoint__identification__algorithm="none"
    ).tls
    assert no_name is not None
    assert not no_name.check_hostname
    assert no_name.verify_mode is ssl.CERT_REQUIRED

    nothing = connected(security__protocol="SSL", enable__ssl__certificate__verification=False).tls
    assert nothing is not None
    assert nothing.verify_mode is ssl.CERT_NONE


def test_a_certificate_and_its_key_are_shown_to_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        ssl.SSLContext, "load_cert_chain", lambda _self, *given: loaded.append(given)
    )
    kafka: dict[str, KafkaValue] = {
        "security.protocol": "SSL",
        "ssl.certificate.location": "/own.pem",
        "ssl.key.location": "/own.key",
        "ssl.key.password": "${env:WORD}",
    }
    connection(Settings(kafka=kafka), ENVIRON)
    assert loaded == [("/own.pem", "/own.key", ENVIRON["WORD"])]


@pytest.mark.parametrize("name", ["ssl.ca.location", "ssl.certificate.location"])
def test_a_file_that_cannot_be_used_is_named_without_its_content(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file.pem"
    path.write_text("s3cret", encoding="utf-8")
    for value in (str(path), str(tmp_path / "none.pem")):
        said = refused({"security.protocol": "SSL", name: value})
        assert said.startswith(f'worker.kafka."{name}": cannot be used: ')
        assert "s3cret" not in said


@pytest.mark.parametrize(
    ("kafka", "words"),
    [
        ({"ssl.keystore.location": "/a.p12"}, ["ssl.keystore.location", "ssl.key.location"]),
        ({"ssl.key.pem": "${env:WORD}"}, ["ssl.key.pem", "write it to a file"]),
        ({"sasl.oauthbearer.method": "oidc"}, ["sasl.oauthbearer.method"]),
        ({"enable.sasl.oauthbearer.unsecure.jwt": True}, ["unsecure"]),
        ({**LOGIN, "sasl.mechanism": "GSSAPI"}, ["found GSSAPI", "PLAIN, SCRAM-SHA-256"]),
        ({"security.protocol": "SASL_SSL"}, ["found GSSAPI", "sasl.mechanism"]),
        ({**LOGIN, "sasl.username": ""}, ["sasl.username", "is needed with SCRAM-SHA-512"]),
        (
            {"security.protocol": "SSL", "ssl.key.location": "/k"},
            ["ssl.certificate.location", "is needed with"],
        ),
        ({"security.protocol": "SSL", "ssl.cipher.suites": "none-such"}, ["ssl.cipher.suites"]),
    ],
)
def test_what_cannot_be_translated_is_refused_by_name(
    kafka: dict[str, KafkaValue], words: list[str]
) -> None:
    said = refused(kafka)
    for word in words:
        assert word in said
    assert "wr1tten" not in said


def test_a_broker_with_another_protocol_is_refused() -> None:
    assert "SSL://localhost is not PLAINTEXT" in refused({}, "SSL://localhost:9092")
    assert connected("PLAINTEXT://localhost:9092").brokers == (("localhost", 9092),)


def test_what_only_tunes_the_other_client_is_named() -> None:
    found = connected(fetch__wait__max__ms=5, client__id="r", socket__keepalive__enable=True)
    assert found.without_effect == ("fetch.wait.max.ms", "socket.keepalive.enable")
    assert found.client_id == "r"


@given(name=st.from_regex(r"(ssl|sasl|security)(\.[a-z]{1,9}){1,4}", fullmatch=True))
def test_nothing_of_trust_is_ever_left_out_silently(name: str) -> None:
    assert is_of_trust(name)
    said = ""
    try:
        found = connection(Settings(kafka={name: "x"}), {})
    except (ConfigError, ValueError) as error:
        said = str(error)
    else:
        assert name not in found.without_effect
        return
    assert name in said
