"""The doctor finds what is wrong, says what to do, and disturbs nobody."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from streams.config import Settings, Topics
from streams.doctor import _group_check, checks, key_checks, redis_check, run_doctor
from streams.embedded import EmbeddedBroker
from streams.kafka_commits import KafkaCommits
from streams.kafka_log import KafkaLog
from streams.redis_address import RedisUrl
from streams.redis_store import RedisStore
from streams.topics import create_topics, names_in

UNREACHABLE = "127.0.0.1:1"


def settings_for(
    servers: str, redis_url: str, unique_name: Callable[[str], str], **more: object
) -> Settings:
    topics = Topics(
        events=unique_name("events"),
        alerts=unique_name("alerts"),
        dead_letter=unique_name("dead"),
        journal=unique_name("journal"),
        commands=unique_name("commands"),
        checkpoints=unique_name("checkpoints"),
        liveness=unique_name("liveness"),
        anomalies=unique_name("anomalies"),
        incidents=unique_name("incidents"),
        retraining=unique_name("retraining"),
    )
    return Settings.model_validate(
        {
            "bootstrap_servers": servers,
            "redis_url": RedisUrl(redis_url),
            "group": unique_name("group"),
            "topics": topics,
            **more,
        }
    )


def create(settings: Settings) -> None:
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    create_topics(admin, names_in(settings))


def test_all_is_well_where_a_worker_can_run_and_the_worker_is_not_fenced(
    kafka: str,
    redis_url: str,
    unique_name: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = settings_for(kafka, redis_url, unique_name, instance="one")
    create(settings)
    log = KafkaLog(kafka, settings.topics.events, group=settings.group, instance="one")
    commits = KafkaCommits(log, kafka, journal_topic=settings.topics.journal, instance="one")
    assert run_doctor(settings) == 0
    said = capsys.readouterr().out
    assert "FAILED" not in said
    assert "all is well" in said
    for what in (
        *("brokers", f"topic {settings.topics.journal}", "rights on", "group", "redis"),
        *("responder's topics", "responder waits for security", "responder's prefix"),
    ):
        assert f"ok      {what}" in said
    assert f"a worker's id: {settings.group}.one" in said
    commits.publish([], {})
    commits.close()
    log.close()


def test_missing_topics_are_failures_with_their_remedy(
    kafka: str,
    redis_url: str,
    unique_name: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = settings_for(kafka, redis_url, unique_name)
    assert run_doctor(settings) == 1
    said = capsys.readouterr().out
    assert said.count("does not exist") == 7
    assert "`driftsentry topics create`" in said
    failed = [line for line in said.splitlines() if line.startswith("FAILED")]
    assert "7 of " in said, failed
    # Nobody has to run a responder.
    assert f"ok      responder: not checked: there is no {settings.topics.incidents}" in said
    # Without checkpoints in Kafka, or without liveness, their topics are not asked for.
    without = settings.model_copy(
        update={"checkpoint_topic_interval_s": 0.0, "liveness_window_s": 0}
    )
    assert run_doctor(without) == 1
    assert capsys.readouterr().out.count("does not exist") == 5
    # Only who looks for attacks writes of them.
    assert settings.topics.anomalies not in said
    assert run_doctor(settings.model_copy(update={"duty": "security"})) == 1
    assert f"topic {settings.topics.anomalies}: does not exist" in capsys.readouterr().out


def test_what_does_not_answer_is_said_and_the_rest_is_checked_all_the_same(
    unique_name: Callable[[str], str], redis_url: str
) -> None:
    settings = settings_for(UNREACHABLE, redis_url, unique_name)
    brokers, cache = checks(settings)
    assert (brokers.name, brokers.ok) == ("brokers", False)
    assert UNREACHABLE in brokers.detail
    assert "security.protocol" in brokers.remedy
    assert (cache.name, cache.ok) == ("redis", True)


def test_the_mock_broker_is_told_from_a_real_one_and_a_missing_redis_is_said(
    unique_name: Callable[[str], str],
) -> None:
    with EmbeddedBroker() as broker:
        settings = settings_for(broker.bootstrap_servers, f"redis://{UNREACHABLE}/0", unique_name)
        results = list(checks(settings))
    assert results[0].ok
    assert "mock" in results[0].detail
    assert "at-least-once" in results[0].remedy
    assert not any(result.name == "transactions" for result in results)
    assert results[-1].name == "redis"
    assert not results[-1].ok
    assert "without Redis detection goes on" in results[-1].remedy


def test_a_redis_that_may_throw_checkpoints_away_is_a_failure(
    redis_url: str,
) -> None:
    client = redis.Redis.from_url(redis_url)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        cache = redis_check(lambda: RedisStore(redis_url, group="group"), "events")
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()
    assert not cache.ok
    assert "allkeys-lru" in cache.detail


def test_a_reference_that_cannot_be_read_is_said(
    redis_url: str, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THERE_IS_NO_SUCH_VARIABLE", raising=False)
    given = {"sasl.password": "${env:THERE_IS_NO_SUCH_VARIABLE}"}
    first, _ = checks(settings_for(UNREACHABLE, redis_url, unique_name, kafka=given))
    assert not first.ok
    assert "THERE_IS_NO_SUCH_VARIABLE" in first.detail


def test_a_key_that_cannot_be_read_is_named(
    redis_url: str, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOD_KEY", "0123456789abcdef0123456789abcdef")
    settings = settings_for(
        UNREACHABLE,
        redis_url,
        unique_name,
        source_key="${env:NO_SUCH_KEY}",
        checkpoint_key="${env:GOOD_KEY}",
    )
    source, checkpoint = key_checks(settings)

    assert (source.name, source.ok) == ("source key", False)
    assert "NO_SUCH_KEY" in source.detail
    assert (checkpoint.name, checkpoint.ok) == ("checkpoint key", True)


def test_a_redis_user_who_may_not_write_is_noticed_and_nothing_is_left_behind(
    redis_url: str, unique_name: Callable[[str], str]
) -> None:
    name = unique_name("reader")
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command(
            *("ACL", "SETUSER", name, "on", ">secret", "~*", "+@read", "+@connection", "+info")
        )
        try:
            url = redis_url.replace("redis://", f"redis://{name}:secret@")
            refused = redis_check(lambda: RedisStore(url, group="g"), "events")
            taken = redis_check(lambda: RedisStore(redis_url, group="g"), "events")
        finally:
            client.execute_command("ACL", "DELUSER", name)
        assert client.dbsize() == 0
    assert not refused.ok
    assert "permission" in refused.detail
    assert taken.ok


class NewCluster:
    """A consumer whose group's coordinator loads at first, and is told so in two ways."""

    def __init__(self) -> None:
        loads, absent = KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.NOT_COORDINATOR
        self.errors = [KafkaError(loads), KafkaError(absent)]

    def committed(self, _asked: list[KafkaPartition], _timeout_s: float) -> list[Any]:
        if len(self.errors) > 1:
            raise KafkaException(self.errors.pop())
        error = self.errors.pop() if self.errors else None
        return [SimpleNamespace(offset=-1001 if error else 7, error=error)]

    def close(self) -> None:
        """Nothing is open."""


def test_a_coordinator_that_loads_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster that was just made the group was said to be refused."""
    monkeypatch.setattr("streams.doctor.open_client", lambda *_: NewCluster())
    found = _group_check("localhost:1", {}, "g", "events")
    assert (found.ok, found.detail) == (True, "its commits can be read (offset 7 for events[0])")
