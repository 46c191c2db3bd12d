"""The clients get the settings the guarantee needs, and nobody gets a secret to read."""

from __future__ import annotations

import logging

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from streams import kafka_clients
from streams.kafka_clients import (
    FETCH_MAX_BYTES,
    ClientConfigError,
    admin_config,
    consumer_config,
    learn_leaders,
    open_client,
    producer_config,
    reader_config,
    redacted,
)
from streams.kafka_log import KafkaLog
from streams.ports import LogError

SECRET = "hunter" * 3
GIVEN: dict[str, str | int | bool | float] = {
    "security.protocol": "SASL_SSL",
    "sasl.password": SECRET,
    "fetch.min.bytes": 7,
    "fetch.max.bytes": 1_000_000,
    "linger.ms": 9,
    "auto.offset.reset": "earliest",
    "isolation.level": "read_uncommitted",
    "enable.idempotence": "false",
    "acks": 0,
}


def test_the_consumers_settings_win_where_the_guarantee_needs_them_and_give_way_elsewhere() -> None:
    config = consumer_config(
        "host:9092", "group", GIVEN, instance="one", session_timeout_ms=6_000,
        max_poll_interval_ms=300_000,
    )  # fmt: skip
    expected = {
        "bootstrap.servers": "host:9092",
        "group.id": "group",
        "group.instance.id": "one",
        "partition.assignment.strategy": "cooperative-sticky",
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "enable.auto.commit": "false",
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 500,
        "fetch.queue.backoff.ms": 5,
        "fetch.min.bytes": 7,
        "fetch.max.bytes": 1_000_000,
        "sasl.password": SECRET,
    }
    assert {name: config.get(name) for name in expected} == expected
    assert "linger.ms" not in config
    assert "acks" not in config
    received = config["receive.message.max.bytes"]
    assert isinstance(received, int)
    assert received >= FETCH_MAX_BYTES + 512
    dynamic = consumer_config(
        "host:9092", "group", {}, session_timeout_ms=45_000, max_poll_interval_ms=10_000
    )
    assert "group.instance.id" not in dynamic
    # librdkafka refuses a shorter one than the session.
    assert dynamic["max.poll.interval.ms"] == 45_000


def test_the_producers_settings_win_where_the_guarantee_needs_them() -> None:
    config = producer_config(
        "host:9092", GIVEN, transactional_id="group.one", transaction_timeout_ms=10_000
    )
    expected = {
        "transactional.id": "group.one",
        "transaction.timeout.ms": 10_000,
        "enable.idempotence": "true",
        "acks": "all",
        "retry.backoff.ms": 5,
        "retry.backoff.max.ms": 20,
        "linger.ms": 9,
        "security.protocol": "SASL_SSL",
    }
    assert {name: config.get(name) for name in expected} == expected
    delivery, propagation = (
        config["message.timeout.ms"],
        config["topic.metadata.propagation.max.ms"],
    )
    assert isinstance(delivery, int)
    assert isinstance(propagation, int)
    assert propagation < delivery < 10_000
    assert "fetch.min.bytes" not in config
    plain = producer_config("host:9092", {}, transactional_id=None, transaction_timeout_ms=10_000)
    assert "transactional.id" not in plain
    assert "transaction.timeout.ms" not in plain


def test_every_kind_of_client_takes_its_settings_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = {name: value for name, value in GIVEN.items() if not name.startswith(("sasl", "secur"))}
    with caplog.at_level(logging.DEBUG):
        consumer = open_client(
            Consumer,
            consumer_config(
                "127.0.0.1:1", "g", given, session_timeout_ms=6_000, max_poll_interval_ms=6_000
            ),
            "consumer",
        )
        consumer.close()
        open_client(Consumer, reader_config("127.0.0.1:1", "g", given), "reader").close()
        config = producer_config(
            "127.0.0.1:1", given, transactional_id="t", transaction_timeout_ms=10_000
        )
        open_client(Producer, config, "producer").poll(0)
        open_client(AdminClient, admin_config("127.0.0.1:1", given), "admin").poll(0)
    assert "CONFWARN" not in caplog.text


def test_a_property_that_librdkafka_refuses_is_named_and_a_secret_is_not_shown() -> None:
    properties = {"sasl.password": SECRET, "no.such.property": SECRET}
    with pytest.raises(LogError, match=r"no\.such\.property") as raised:
        KafkaLog("127.0.0.1:1", "events", group="group", kafka_properties=properties)
    assert SECRET not in str(raised.value)
    assert raised.value.__cause__ is None
    with pytest.raises(ClientConfigError) as refused:
        open_client(Producer, {"acks": SECRET, "sasl.password": SECRET}, "producer")
    assert SECRET not in str(refused.value)
    assert refused.value.__context__ is None


def test_text_is_shown_without_the_values_of_secret_properties() -> None:
    properties = {"sasl.password": SECRET, "ssl.key.password": "", "client.id": "worker"}
    assert redacted(f"login of worker with {SECRET}", properties) == "login of worker with ***"


def test_leaders_that_nobody_tells_in_time_are_left_to_the_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_clients, "_LEADERS_S", 0.05)
    reader = open_client(Consumer, reader_config("127.0.0.1:1", "group", {}), "reader")
    learn_leaders(reader, "topic")
    assert reader.consume(1, 0.01) == []
    reader.close()
