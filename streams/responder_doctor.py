"""What stands in the way of a responder: its topics, its part of Redis, the duties it waits for.

It asks and compares, and changes nothing. Of a responder that was never started nothing is missing
but its topics: whatever else there is to say is advice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.config import DetectionConfig
from streams.check_result import CheckResult, topic_results
from streams.config import Settings
from streams.config_errors import ConfigError
from streams.credentials import redis_client_address
from streams.embedded import is_mock_cluster
from streams.kafka_clients import (
    ClientConfigError,
    admin_config,
    describe,
    kafka_error,
    open_client,
)
from streams.kafka_properties import read_properties
from streams.opened import audit_reader_of
from streams.ports import LogError, StoreError
from streams.responder_ports import IncidentStoreError, ModelName
from streams.responder_probe import ResponderProbe, duty_groups
from streams.responder_redis import RedisIncidentStore
from streams.responder_topics import TopicsUnfitError, check_topics
from streams.topics import Duty

_REQUEST_S: Final = 10.0
_MAX_NAMED: Final = 8


def responder_checks(settings: Settings, detection: DetectionConfig) -> Iterator[CheckResult]:
    """The checks in their order. Where its topics were never made there is one line alone.

    Whether brokers answer at all is asked before, and said there.
    """
    own: dict[Duty, str] = {
        "incidents": settings.topics.incidents,
        "retraining": settings.topics.retraining,
    }
    try:
        properties = read_properties(settings.kafka)
        admin = open_client(
            AdminClient, admin_config(settings.bootstrap_servers, properties), "admin client"
        )
        metadata = admin.list_topics(timeout=_REQUEST_S)
    except (ConfigError, ClientConfigError, KafkaException):
        return
    if not set(own.values()) & metadata.topics.keys():
        yield CheckResult(
            "responder",
            True,
            f"not checked: there is no {own['incidents']}, or this user may not describe it",
            "who wants incidents and retraining requests makes it by `driftsentry topics create`",
        )
        return
    # The others are checked as those of workers, but for one that workers may do without.
    read: dict[Duty, str] = {"liveness": settings.topics.liveness}
    yield from topic_results(admin, own | ({} if settings.liveness_window_s > 0 else read))
    try:
        yield from _kafka_checks(settings, detection, is_mock_cluster(metadata.cluster_id))
    except KafkaException as error:
        yield CheckResult("responder", False, describe(kafka_error(error)), _RIGHTS)
    except (LogError, ClientConfigError) as error:
        yield CheckResult("responder", False, str(error), _RIGHTS)


_RIGHTS: Final = "docs/acl-kafka.md has the responder's rights"


def _kafka_checks(
    settings: Settings, detection: DetectionConfig, is_mock: bool
) -> Iterator[CheckResult]:
    group = f"{settings.group}.responder"
    reader = audit_reader_of(settings)
    try:
        probe = ResponderProbe(settings, detection, group, reader)
        try:
            check_topics(probe, settings)
        except TopicsUnfitError as error:
            yield CheckResult("responder's topics", False, str(error))
        else:
            yield CheckResult("responder's topics", True, "those it reads are shared out alike")
        if is_mock:
            return
        done, n_members = probe.done(), probe.n_members()
        is_used = bool(done) or n_members > 0
        yield from _duty_checks(settings, probe, is_used)
        yield _redis_check(settings, detection.deployment, has_read=any(done.values()))
        lag = sum(max(0, end - done.get(place, 0)) for place, end in probe.readable().items())
        yield _readiness(group, n_members, lag, is_used)
    finally:
        reader.close()


def _duty_checks(settings: Settings, probe: ResponderProbe, is_used: bool) -> Iterator[CheckResult]:
    events = probe.partitions([settings.topics.events])
    for duty, group in zip(settings.responder.duties, duty_groups(settings), strict=True):
        n_committed = len(probe.committed(group, events))
        said = f"group {group} has committed {n_committed} of {len(events)} partitions"
        remedy = ""
        if not n_committed:
            remedy = (
                f"run workers with `--duty {duty}`, or take it out of `worker.responder.duties`: "
                "until then every retraining request is held"
            )
        yield CheckResult(
            f"responder waits for {duty}", bool(n_committed or not is_used), said, remedy
        )


def _redis_check(settings: Settings, deployment: str, *, has_read: bool) -> CheckResult:
    name = f"responder's prefix {settings.redis_prefix}"
    try:
        epoch, models = asyncio.run(_kept(settings))
    except (IncidentStoreError, StoreError, ConfigError, ValueError) as error:
        return CheckResult(name, False, str(error), "docs/acl-redis.md has the responder's rights")
    others = sorted({each.deployment for each in models} - {deployment})
    if others:
        return CheckResult(
            name,
            False,
            f"holds models of other deployments: {', '.join(others[:_MAX_NAMED])}",
            "give each deployment a `worker.redis_prefix` of its own",
        )
    if epoch is None and has_read:
        return CheckResult(
            name,
            False,
            "holds nothing of this responder, and its group has read alerts before",
            "Redis was emptied, or this is another one, or another prefix: correct it, or stop "
            "every responder and run `driftsentry respond --rebuild`",
        )
    said = "nothing yet" if epoch is None else f"{len(models)} models"
    return CheckResult(name, True, f"holds {said}")


async def _kept(settings: Settings) -> tuple[str | None, list[ModelName]]:
    store = RedisIncidentStore(redis_client_address(settings), prefix=settings.redis_prefix)
    try:
        return await store.epoch(), await store.models()
    finally:
        await store.close()


def _readiness(group: str, n_members: int, lag: int, is_used: bool) -> CheckResult:
    name = f"responder {group}"
    if not is_used:
        return CheckResult(name, True, "none has run yet", "`driftsentry respond` starts one")
    if not n_members:
        return CheckResult(
            name, False, f"none runs, and {lag:,} records wait", "start `driftsentry respond`"
        )
    return CheckResult(name, True, f"{n_members} run, {lag:,} records wait")
