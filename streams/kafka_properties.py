"""`kafka.*`: librdkafka's properties, which of them are secret, and which the worker keeps.

Everything is passed on verbatim save what would break the delivery guarantee or contradict a
setting of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from streams.config_errors import ConfigError, Problem, did_you_mean, dotted
from streams.hosts import Broker, is_loopback
from streams.references import expand, has_reference, reference_problem

KafkaValue = str | int | bool | float

_SECRET: Final = re.compile(
    r"password|secret|token|credential|passphrase|jaas|\bkey\b|oauthbearer\.config", re.IGNORECASE
)
_NOT_SECRET: Final = re.compile(r"\.(location|url|file|path|provider|method|id|format)$|refresh")

_KEPT: Final[Mapping[str, str]] = {
    "bootstrap.servers": "use `worker.bootstrap_servers`",
    "metadata.broker.list": "use `worker.bootstrap_servers`",
    "group.id": "use `worker.group`",
    "group.instance.id": "use `worker.instance`",
    "group.protocol": "the worker is a member of a classic group",
    "group.remote.assignor": "the worker is a member of a classic group",
    "partition.assignment.strategy": "it is always cooperative-sticky",
    "transactional.id": "it follows from `worker.group` and `worker.instance`",
    "transaction.timeout.ms": "use `worker.transaction_timeout_ms`",
    "session.timeout.ms": "use `worker.session_timeout_ms`",
    "message.timeout.ms": "it follows from `worker.transaction_timeout_ms`",
    "delivery.timeout.ms": "it follows from `worker.transaction_timeout_ms`",
    "enable.auto.commit": "offsets are committed together with the alerts",
    "enable.auto.offset.store": "offsets are committed together with the alerts",
    "auto.commit.interval.ms": "use `worker.commit_interval_ms`",
    "auto.offset.reset": "it is always error; use `worker.start` for a new partition",
    "isolation.level": "it is always read_committed",
    "enable.idempotence": "it is always on",
    "acks": "it is always all",
    "request.required.acks": "it is always all",
}
_PLAINTEXT: Final = frozenset({"PLAINTEXT", "SASL_PLAINTEXT"})
_PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_NAME: Final = re.compile(r"[A-Za-z0-9]+([.-][A-Za-z0-9]+)+|debug")
_NOT_TEXT: Final = frozenset({"default.topic.config"})
_MASK: Final = "***"


def is_secret(name: str) -> bool:
    """Whether the property of this name holds a secret."""
    return _SECRET.search(name) is not None and _NOT_SECRET.search(name) is None


def masked_properties(kafka: Mapping[str, KafkaValue]) -> dict[str, KafkaValue]:
    """The properties for people to read: a reference is shown, a secret is not."""
    return {
        name: _MASK if is_secret(name) and not _only_refers(value) else value
        for name, value in kafka.items()
    }


def _only_refers(value: KafkaValue) -> bool:
    # Text around a reference may be part of a secret (`user=a password=b${env:X}`).
    return isinstance(value, str) and re.fullmatch(r"\$\{(env|file):[^${}]+\}", value) is not None


def property_problems(kafka: Mapping[str, KafkaValue]) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the properties, as (name, text, remedy)."""
    for name, value in kafka.items():
        if name in _KEPT:
            yield name, "is set by the worker", _KEPT[name]
        elif _NAME.fullmatch(name) is None or name in _NOT_TEXT:
            # Callbacks and other values that no text can give.
            yield name, "is no property that can be set here", ""
        if isinstance(value, str) and (problem := reference_problem(value)):
            yield name, problem, ""
    protocol = kafka.get("security.protocol", "PLAINTEXT")
    if not isinstance(protocol, str) or has_reference(protocol):
        yield "security.protocol", "should stand here itself", f"one of {', '.join(_PROTOCOLS)}"
    elif protocol.upper() not in _PROTOCOLS:
        remedy = did_you_mean(protocol, _PROTOCOLS)
        yield "security.protocol", f"should be one of {', '.join(_PROTOCOLS)}", remedy


def insecure_reason(brokers: Sequence[Broker], kafka: Mapping[str, KafkaValue]) -> str:
    """Why the connection to a broker on another machine would not be safe; "" where it is."""
    elsewhere = [broker for broker in brokers if not is_loopback(broker.host)]
    protocol = str(kafka.get("security.protocol", "PLAINTEXT")).upper()
    for broker in elsewhere:
        if protocol in _PLAINTEXT or broker.protocol in _PLAINTEXT:
            return f"{broker.host} is on another machine and the connection is not encrypted"
    if not elsewhere:
        return ""
    if str(kafka.get("enable.ssl.certificate.verification", "true")).lower() in {"false", "f", "0"}:
        return f"{elsewhere[0].host} is on another machine and its certificate is not verified"
    if str(kafka.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        return f"{elsewhere[0].host} is on another machine and its name is not verified"
    return ""


def read_properties(
    kafka: Mapping[str, KafkaValue], environ: Mapping[str, str] = os.environ
) -> dict[str, KafkaValue]:
    """The properties with their references read, for a client. Raises `ConfigError`."""
    read: dict[str, KafkaValue] = {}
    problems: list[Problem] = []
    for name, value in kafka.items():
        try:
            read[name] = _librdkafka_value(name, value, environ)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(*problems)
    return read


def _librdkafka_value(name: str, value: KafkaValue, environ: Mapping[str, str]) -> KafkaValue:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return expand(value, dotted(("worker", "kafka", name)), environ)
    return value
