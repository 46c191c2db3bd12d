"""How the responder reaches Kafka: `kafka.*` is written for librdkafka; Faust has another client.

What decides who is trusted is translated, or refused by name. What only tunes librdkafka has no
meaning here; `Connection.without_effect` names it.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

from streams.config import Settings
from streams.config_errors import ConfigError, Problem, dotted
from streams.hosts import parse_brokers
from streams.kafka_properties import KafkaValue, read_properties

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TRANSLATED: Final = frozenset(
    {
        "client.id",
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "sasl.password",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.cipher.suites",
        "ssl.endpoint.identification.algorithm",
        "enable.ssl.certificate.verification",
    }
)
_REMEDY: Final[Mapping[str, str]] = {
    "ssl.certificate.pem": "write it to a file and use `ssl.certificate.location`",
    "ssl.key.pem": "write it to a file and use `ssl.key.location`",
    "ssl.keystore.location": (
        "take key and certificate out of it and use `ssl.key.location` and "
        "`ssl.certificate.location`"
    ),
}
_OF_TRUST: Final = ("sasl.", "ssl.", "security.", "https.", "oauthbearer.")
_OF_TRUST_TOO: Final = frozenset({"enable.sasl.oauthbearer.unsecure.jwt", "plugin.library.paths"})


@dataclass(frozen=True, slots=True)
class Connection:
    """Brokers, and how they and the responder know each other. Its secrets are not shown."""

    brokers: tuple[tuple[str, int], ...]
    """Hosts (IPv6 without brackets) and ports."""
    client_id: str
    tls: ssl.SSLContext | None
    """None: without encryption."""
    mechanism: Mechanism | None
    """Of SASL; None: without."""
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    without_effect: tuple[str, ...] = ()
    """Properties that tune librdkafka and mean nothing to this client."""


def connection(settings: Settings, environ: Mapping[str, str] = os.environ) -> Connection:
    """The responder's connection. Raises `ConfigError`, which names each property."""
    properties = read_properties(settings.kafka, environ)
    problems: list[Problem] = []
    for name in properties:
        if is_of_trust(name) and name not in _TRANSLATED:
            text = "is nothing that the responder's client can do"
            problems.append(_problem(name, text, _REMEDY.get(name, "")))
    protocol = str(properties.get("security.protocol", "PLAINTEXT")).upper()
    brokers = parse_brokers(settings.bootstrap_servers) or []
    for broker in brokers:
        if broker.protocol not in {"", protocol}:
            text = f"{broker.protocol}://{broker.host} is not {protocol}, the `security.protocol`"
            problems.append(Problem(dotted(("worker", "bootstrap_servers")), text))
    mechanism = _mechanism(properties, protocol, problems)
    tls = _tls(properties, problems) if protocol in {"SSL", "SASL_SSL"} else None
    if problems:
        raise ConfigError(*problems)
    return Connection(
        brokers=tuple((broker.host.strip("[]"), broker.port) for broker in brokers),
        client_id=str(properties.get("client.id", "driftsentry-responder")),
        tls=tls,
        mechanism=mechanism,
        username=str(properties.get("sasl.username", "")),
        password=str(properties.get("sasl.password", "")),
        without_effect=tuple(sorted(name for name in properties if name not in _TRANSLATED)),
    )


def is_of_trust(name: str) -> bool:
    """Whether the property of this name decides who is trusted, or what is said to whom."""
    return name.startswith(_OF_TRUST) or name in _OF_TRUST_TOO


def _problem(name: str, text: str, remedy: str = "") -> Problem:
    return Problem(dotted(("worker", "kafka", name)), text, remedy)


def _mechanism(
    properties: Mapping[str, KafkaValue], protocol: str, problems: list[Problem]
) -> Mechanism | None:
    if protocol not in {"SASL_PLAINTEXT", "SASL_SSL"}:
        return None
    names = [name for name in ("sasl.mechanism", "sasl.mechanisms") if name in properties]
    # As in librdkafka, where Kerberos is the default.
    found = str(properties[names[0]]).upper() if names else "GSSAPI"
    if found not in _MECHANISMS:
        name = names[0] if names else "sasl.mechanism"
        text = f"found {found}, which the responder's client does not do"
        problems.append(_problem(name, text, f"use one of {', '.join(_MECHANISMS)}"))
        return None
    problems += [
        _problem(name, f"is needed with {found}")
        for name in ("sasl.username", "sasl.password")
        if not properties.get(name)
    ]
    return cast("Mechanism", found)


def _tls(properties: Mapping[str, KafkaValue], problems: list[Problem]) -> ssl.SSLContext:
    """What the broker's certificate is held against, and what is shown to it."""
    context = ssl.create_default_context()
    try:
        context = _trusting(properties)
    except (OSError, ValueError) as error:
        problems.append(_problem("ssl.ca.location", f"cannot be used: {_reason(error)}"))
    try:
        _show_certificate(context, properties, problems)
    except (OSError, ValueError) as error:
        problems.append(_problem("ssl.certificate.location", f"cannot be used: {_reason(error)}"))
    if ciphers := properties.get("ssl.cipher.suites"):
        try:
            context.set_ciphers(str(ciphers))
        except ssl.SSLError:
            problems.append(_problem("ssl.cipher.suites", "names no cipher that is known here"))
    if str(properties.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    verified = str(properties.get("enable.ssl.certificate.verification", "true")).lower()
    if verified in {"false", "f", "0"}:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _trusting(properties: Mapping[str, KafkaValue]) -> ssl.SSLContext:
    """Authorities that are named stand alone; without any, those of the machine are trusted."""
    location = str(properties.get("ssl.ca.location", "probe"))
    pem = properties.get("ssl.ca.pem")
    path = None if location == "probe" else Path(location)
    return ssl.create_default_context(
        cafile=None if path is None or path.is_dir() else path,
        capath=path if path is not None and path.is_dir() else None,
        cadata=None if pem is None else str(pem),
    )


def _show_certificate(
    context: ssl.SSLContext, properties: Mapping[str, KafkaValue], problems: list[Problem]
) -> None:
    certificate = properties.get("ssl.certificate.location")
    key = properties.get("ssl.key.location")
    if certificate is None and key is None:
        return
    if certificate is None:
        problems.append(_problem("ssl.certificate.location", "is needed with `ssl.key.location`"))
        return
    # A password is always given: without one OpenSSL would ask at the terminal.
    password = str(properties.get("ssl.key.password", ""))
    context.load_cert_chain(str(certificate), None if key is None else str(key), password)


def _reason(error: OSError | ValueError) -> str:
    """What is wrong, without what stands in the file."""
    if isinstance(error, ssl.SSLError):
        return error.reason or "it is not what TLS needs"
    return (error.strerror if isinstance(error, OSError) else None) or "it is not what TLS needs"
