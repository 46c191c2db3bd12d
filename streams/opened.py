"""Adapters as the settings name them, for whatever command needs one."""

from __future__ import annotations

from typing import Final

from streams.audit_reader import AuditReader
from streams.checkpoint_topic import CheckpointTopic
from streams.config import Settings
from streams.credentials import redis_client_address
from streams.kafka_chunks import KafkaChunkLog
from streams.kafka_clients import require_broker
from streams.kafka_properties import read_properties
from streams.redis_store import RedisStore

_PATIENCE_S: Final = 60.0


def store_of(settings: Settings) -> RedisStore:
    """The store. Raises `ConfigError`, `StoreError` or `ValueError` for a wrong address."""
    return RedisStore(
        redis_client_address(settings), group=settings.group, prefix=settings.redis_prefix
    )


def checkpoint_topic_of(settings: Settings) -> CheckpointTopic:
    """The checkpoints topic; nothing is asked of the brokers yet."""
    chunks = KafkaChunkLog(
        settings.bootstrap_servers,
        settings.topics.checkpoints,
        group=settings.group,
        kafka_properties=read_properties(settings.kafka),
    )
    return CheckpointTopic(chunks, group=settings.group)


def audit_reader_of(settings: Settings) -> AuditReader:
    """A reader that waits longer than the workers' transactions may stay open."""
    return AuditReader(
        settings.bootstrap_servers,
        settings.topics,
        group=settings.group,
        kafka_properties=read_properties(settings.kafka),
        patience_s=max(_PATIENCE_S, 3 * settings.transaction_timeout_ms / 1000),
    )


def answering_reader_of(settings: Settings) -> AuditReader:
    """The same for a command that ends: raises `NoBrokerError` where no broker answers soon."""
    require_broker(settings.bootstrap_servers, read_properties(settings.kafka))
    return audit_reader_of(settings)
