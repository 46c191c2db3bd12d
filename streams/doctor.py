"""What stands in the way of a worker: brokers, topics, rights, Redis; and what to do about it.

That of a responder is in `streams/responder_doctor.py`.

It asks and compares. What it writes: a transactional id of its own, with which it opens no
transaction, so that it never fences a worker; and nobody's checkpoint in Redis, removed again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Final

import click
from confluent_kafka import Consumer, KafkaException, Producer, TopicCollection
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from schemas.config import DetectionConfig
from schemas.records import TopicPartition
from streams.check_result import CheckResult, topic_results
from streams.config import Settings
from streams.config_errors import ConfigError
from streams.credentials import checkpoint_key, source_key
from streams.embedded import is_mock_cluster
from streams.kafka_clients import (
    ClientConfigError,
    admin_config,
    ask_patiently,
    describe,
    kafka_error,
    open_client,
    producer_config,
    reader_config,
)
from streams.kafka_errors import NOT_AUTHORISED
from streams.kafka_properties import KafkaValue, read_properties
from streams.opened import store_of
from streams.ports import StoreError
from streams.redis_store import RedisStore
from streams.responder_doctor import responder_checks
from streams.topics import Duty, needed_in, specs_of

_REQUEST_S: Final = 10.0
_NEEDED: Final[Mapping[Duty, tuple[str, ...]]] = {
    "events": ("READ", "DESCRIBE"),
    "alerts": ("WRITE", "DESCRIBE"),
    "dead_letter": ("WRITE", "DESCRIBE"),
    "journal": ("READ", "WRITE", "DESCRIBE"),
    "commands": ("READ", "DESCRIBE"),
    "checkpoints": ("READ", "WRITE", "DESCRIBE"),
    "liveness": ("WRITE", "DESCRIBE"),
    "anomalies": ("WRITE", "DESCRIBE"),
}


def run_doctor(settings: Settings, detection: DetectionConfig | None = None) -> int:
    """Check everything these settings name and print it; 0 where workers and responders can run.

    Else 1. `detection` None: as it is by default.
    """
    results: list[CheckResult] = []
    for result in chain(
        checks(settings), responder_checks(settings, detection or DetectionConfig())
    ):
        click.echo(f"{'ok' if result.ok else 'FAILED':<6}  {result.name}: {result.detail}")
        if result.remedy:
            click.echo(f"        -> {result.remedy}")
        results.append(result)
    n_failed = sum(not result.ok for result in results)
    click.echo(f"{n_failed} of {len(results)} checks failed" if n_failed else "all is well")
    return 1 if n_failed else 0


def checks(settings: Settings) -> Iterator[CheckResult]:
    """The checks in the order in which one needs the other."""
    try:
        properties = read_properties(settings.kafka)
    except ConfigError as error:
        remedy = "correct the reference, or set the variable or the file it names"
        yield CheckResult("kafka properties", False, str(error), remedy)
    else:
        yield from kafka_checks(
            settings.bootstrap_servers,
            properties,
            group=settings.group,
            instance=settings.instance,
            names=needed_in(settings),
            exactly_once=settings.mode == "exactly-once",
            transaction_timeout_ms=settings.transaction_timeout_ms,
        )
    yield from key_checks(settings)
    yield redis_check(lambda: store_of(settings), settings.topics.events)


def kafka_checks(
    bootstrap_servers: str,
    properties: Mapping[str, KafkaValue],
    *,
    group: str,
    instance: str | None,
    names: Mapping[Duty, str],
    exactly_once: bool,
    transaction_timeout_ms: int,
) -> Iterator[CheckResult]:
    """Brokers, topics, rights, group and transactions; where no broker answers, only that."""
    try:
        admin = open_client(AdminClient, admin_config(bootstrap_servers, properties), "admin")
        metadata = admin.list_topics(timeout=_REQUEST_S)
    except (ClientConfigError, KafkaException) as exception:
        text = (
            describe(kafka_error(exception))
            if isinstance(exception, KafkaException)
            else str(exception)
        )
        remedy = "check the address, the network, `security.protocol` and the credentials"
        yield CheckResult("brokers", False, f"{bootstrap_servers}: {text}", remedy)
        return
    is_mock = is_mock_cluster(metadata.cluster_id)
    said = f"{len(metadata.brokers)} of cluster {metadata.cluster_id} answer"
    if is_mock:
        remedy = "for trying things out only: delivery is at-least-once, and nothing is kept"
        yield CheckResult("brokers", True, f"{said}; it is librdkafka's mock", remedy)
    else:
        yield CheckResult("brokers", True, said)
    yield from topic_results(admin, names)
    if is_mock:
        return
    yield from _right_checks(admin, names)
    yield _group_check(bootstrap_servers, properties, group, names["events"])
    if exactly_once:
        yield _transaction_check(
            bootstrap_servers, properties, group, instance, transaction_timeout_ms
        )


def key_checks(settings: Settings) -> Iterator[CheckResult]:
    """Whether the keys that the settings refer to can be read."""
    keys = {
        "source key": (settings.source_key, source_key),
        "checkpoint key": (settings.checkpoint_key, checkpoint_key),
    }
    for name, (reference, read) in keys.items():
        if reference is None:
            continue
        try:
            read(settings)
        except ConfigError as error:
            remedy = "set the variable or the file it names"
            yield CheckResult(name, False, str(error), remedy)
        else:
            yield CheckResult(name, True, "can be read")


def redis_check(open_store: Callable[[], RedisStore], events_topic: str) -> CheckResult:
    """Whether checkpoints can be read, and will not be thrown away."""
    remedy = (
        "start it, or correct the address, the user or its rights; without Redis detection goes "
        "on, and a restart reads the events again from the start of the lineage"
    )
    try:
        store = open_store()
    except (StoreError, ConfigError, ValueError) as error:
        return CheckResult("redis", False, str(error), "correct `worker.redis_url`")
    try:
        problems = store.check_policy()
        store.manifests(TopicPartition(events_topic, 0))
        # No topic can be called so: the partition is nobody's.
        store.try_out(TopicPartition(f"{events_topic} doctor", 0))
    except StoreError as error:
        return CheckResult("redis", False, str(error), remedy)
    finally:
        store.close()
    if problems:
        return CheckResult("redis", False, " ".join(problems), "set its policy to noeviction")
    return CheckResult("redis", True, "answers, and throws nothing away")


def _right_checks(admin: AdminClient, names: Mapping[Duty, str]) -> Iterator[CheckResult]:
    described = admin.describe_topics(
        TopicCollection(list(dict.fromkeys(names.values()))),
        include_authorized_operations=True,
        request_timeout=_REQUEST_S,
    )
    for spec in specs_of(names):
        topic = names[spec.duty]
        try:
            allowed = described[topic].result(timeout=2 * _REQUEST_S).authorized_operations
        except KafkaException as exception:
            error = kafka_error(exception)
            if error.code() in NOT_AUTHORISED:
                remedy = f"allow {' and '.join(_NEEDED[spec.duty])} on it"
                yield CheckResult(f"rights on {topic}", False, describe(error), remedy)
            continue  # a topic that does not exist has been said
        if allowed is None:
            yield CheckResult(f"rights on {topic}", True, "the brokers do not say")
            continue
        granted = {operation.name for operation in allowed}
        missing = [] if "ALL" in granted else [n for n in _NEEDED[spec.duty] if n not in granted]
        if missing:
            remedy = f"allow {' and '.join(missing)} on topic {topic}"
            yield CheckResult(f"rights on {topic}", False, f"no {', no '.join(missing)}", remedy)
        else:
            detail = ", ".join(_NEEDED[spec.duty])
            yield CheckResult(f"rights on {topic}", True, detail)


def _group_check(
    bootstrap_servers: str, properties: Mapping[str, KafkaValue], group: str, events: str
) -> CheckResult:
    name = f"group {group}"
    reader = open_client(Consumer, reader_config(bootstrap_servers, group, properties), "consumer")
    # The first group of a new cluster waits until the topic of all offsets has been made, and is
    # told meanwhile that its coordinator is not there, or loads.
    try:
        offset = ask_patiently(lambda: _committed(reader, events), 3 * _REQUEST_S)
    except KafkaException as exception:
        remedy = f"allow READ and DESCRIBE on group {group}"
        return CheckResult(name, False, describe(kafka_error(exception)), remedy)
    finally:
        reader.close()
    what = "nothing" if offset < 0 else f"offset {offset}"
    return CheckResult(name, True, f"its commits can be read ({what} for {events}[0])")


def _committed(reader: Consumer, events: str) -> int:
    (answer,) = reader.committed([KafkaPartition(events, 0)], _REQUEST_S)
    if answer.error is not None:
        raise KafkaException(answer.error)
    return answer.offset


def _transaction_check(
    bootstrap_servers: str,
    properties: Mapping[str, KafkaValue],
    group: str,
    instance: str | None,
    transaction_timeout_ms: int,
) -> CheckResult:
    # Never the worker's own: that would end it.
    transactional_id = f"{group}.doctor-{uuid.uuid4().hex}"
    remedy = (
        f"allow WRITE and DESCRIBE on the transactional ids that begin with {group}. , and see to "
        "it that the brokers' transaction.max.timeout.ms is not below "
        f"{transaction_timeout_ms}; or choose the mode at-least-once"
    )
    config = producer_config(
        bootstrap_servers,
        properties,
        transactional_id=transactional_id,
        transaction_timeout_ms=transaction_timeout_ms,
    )
    producer = open_client(Producer, config, "producer")
    try:
        producer.init_transactions(3 * _REQUEST_S)
    except KafkaException as exception:
        return CheckResult("transactions", False, describe(kafka_error(exception)), remedy)
    which = "random without `--instance`" if instance is None else f"{group}.{instance}"
    return CheckResult("transactions", True, f"a producer can begin them (a worker's id: {which})")
