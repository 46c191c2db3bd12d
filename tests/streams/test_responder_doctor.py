"""The doctor says what stands in the way of a responder; of what was never started, its topics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

from confluent_kafka import (
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from schemas.config import DetectionConfig
from streams.check_result import CheckResult
from streams.config import Settings
from streams.responder_doctor import responder_checks
from streams.responder_ports import ModelName
from streams.responder_redis import RedisIncidentStore
from tests.delivery.kit import commit_for, wait_until
from tests.streams.incident_kit import alert, evidence
from tests.streams.test_doctor import UNREACHABLE, create, settings_for

DETECTION = DetectionConfig()


def by_name(settings: Settings) -> dict[str, CheckResult]:
    return {each.name: each for each in responder_checks(settings, DETECTION)}


def commit(settings: Settings, group: str, topic: str, offset: int) -> None:
    commit_for(settings.bootstrap_servers, group, TopicPartition(topic, 0, offset))


def warm(settings: Settings) -> None:
    """A fresh cluster makes the topic of its groups for the first of them, which takes a while."""
    commit(settings, f"{settings.group}.warm", settings.topics.events, 0)


def test_of_brokers_that_do_not_answer_nothing_is_said_twice(
    redis_url: str, unique_name: Callable[[str], str]
) -> None:
    assert by_name(settings_for(UNREACHABLE, redis_url, unique_name)) == {}


def test_what_was_never_started_lacks_nothing(
    kafka: str, redis_url: str, unique_name: Callable[[str], str]
) -> None:
    settings = settings_for(kafka, redis_url, unique_name, redis_prefix=unique_name("prefix"))
    create(settings)
    warm(settings)
    found = by_name(settings)
    assert not [each for each in found.values() if not each.ok]
    assert f"topic {settings.topics.retraining}" in found
    waits = found["responder waits for security"]
    assert "has committed 0 of" in waits.detail
    assert "--duty security" in waits.remedy
    assert found[f"responder's prefix {settings.redis_prefix}"].detail == "holds nothing yet"
    assert found[f"responder {settings.group}.responder"].detail == "none has run yet"


def test_one_that_was_at_work_and_is_not_any_more_is_told_of(
    kafka: str, redis_url: str, unique_name: Callable[[str], str]
) -> None:
    settings = settings_for(kafka, redis_url, unique_name, redis_prefix=unique_name("prefix"))
    create(settings)
    warm(settings)
    producer = Producer({"bootstrap.servers": kafka})
    for _ in range(3):
        producer.produce(settings.topics.alerts, b"{}", b"churn", 0)
    assert producer.flush(60) == 0
    commit(settings, f"{settings.group}.responder", settings.topics.alerts, 1)
    commit(settings, settings.group, settings.topics.events, 5)
    found = by_name(settings)
    failed = {name: each for name, each in found.items() if not each.ok}
    assert set(failed) == {
        "responder waits for security",
        f"responder's prefix {settings.redis_prefix}",
        f"responder {settings.group}.responder",
    }
    assert found["responder waits for drift"].ok
    assert "--rebuild" in failed[f"responder's prefix {settings.redis_prefix}"].remedy
    waiting = failed[f"responder {settings.group}.responder"]
    assert waiting.detail == "none runs, and 2 records wait"


def test_topics_that_are_not_shared_alike_are_a_failure(
    kafka: str, redis_url: str, unique_name: Callable[[str], str]
) -> None:
    settings = settings_for(kafka, redis_url, unique_name)
    create(settings)
    warm(settings)
    admin = AdminClient({"bootstrap.servers": kafka})
    (answer,) = admin.create_partitions([NewPartitions(settings.topics.anomalies, 9)]).values()
    answer.result(timeout=60)
    found: list[CheckResult] = []

    def is_seen() -> bool:
        # Not every broker has heard of it when it is done.
        found[:] = [by_name(settings)["responder's topics"]]
        return not found[0].ok

    wait_until(is_seen, lambda: f"{found}", 60)
    assert f"{settings.topics.anomalies} 9" in found[0].detail


def test_a_prefix_that_another_deployment_uses_is_a_failure(
    kafka: str, redis_url: str, unique_name: Callable[[str], str]
) -> None:
    prefix = unique_name("prefix")
    settings = settings_for(kafka, redis_url, unique_name, redis_prefix=prefix)
    create(settings)
    warm(settings)

    async def write(*deployments: str) -> None:
        store = RedisIncidentStore(redis_url, prefix=prefix)
        await store.start(uuid4().hex)
        for each in deployments:
            (known,) = evidence(alert(1, deployment=each))
            model = ModelName(known.deployment, known.model_id)
            assert await store.write(model, 0, [known], ())
        await store.close()

    asyncio.run(write("driftsentry"))
    assert by_name(settings)[f"responder's prefix {prefix}"].detail == "holds 1 models"
    asyncio.run(write("staging"))
    found = by_name(settings)[f"responder's prefix {prefix}"]
    assert not found.ok
    assert "other deployments: staging" in found.detail
