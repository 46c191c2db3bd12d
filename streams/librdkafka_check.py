"""Asks librdkafka itself whether it knows the properties under `kafka` and can read their values.

A client without brokers is made for each of them; nothing is connected to, no reference is read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Final

from confluent_kafka import KafkaException, Producer

from streams.config_errors import did_you_mean
from streams.kafka_properties import KafkaValue, is_secret
from streams.references import has_reference

_USUAL: Final = (
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.kerberos.service.name",
    "sasl.kerberos.principal",
    "sasl.kerberos.keytab",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.token.endpoint.url",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "client.id",
    "client.rack",
    "compression.type",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "socket.keepalive.enable",
    "reconnect.backoff.max.ms",
    "linger.ms",
)
_UNTRIED: Final = frozenset({"plugin.library.paths"})
"""Trying this one would load a library."""


def librdkafka_problems(kafka: Mapping[str, KafkaValue]) -> Iterator[tuple[str, str, str]]:
    """What librdkafka does not know or cannot read, as (name, text, remedy)."""
    for name, value in kafka.items():
        if name in _UNTRIED:
            continue
        refers = isinstance(value, str) and has_reference(value)
        said = _refusal(name, "reference" if refers else value)
        if said.startswith("No such configuration property"):
            yield name, "is no property of librdkafka", did_you_mean(name, _USUAL)
        elif not refers and ("Invalid value" in said or "outside allowed range" in said):
            # What it says may repeat the value.
            text = "has a value that librdkafka refuses"
            yield name, text if is_secret(name) else f"{text}: {said.strip()}", ""


def _refusal(name: str, value: KafkaValue) -> str:
    silent = logging.getLogger("driftsentry.librdkafka_check")
    silent.propagate = False
    silent.addHandler(logging.NullHandler())
    try:
        Producer({name: value}, logger=silent)
    except KafkaException as error:
        return str(error.args[0].str())
    except (TypeError, ValueError):
        return "Invalid value"
    return ""
