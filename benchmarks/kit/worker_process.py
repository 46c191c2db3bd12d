"""The worker as its users start it, `driftsentry worker`, with the defaults of its settings."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.kit.servers import Servers
from streams.config import Topics
from streams.kafka_clients import kafka_error
from streams.kafka_errors import is_passing
from streams.process_guard import GuardedProcess, ProcessGuard


@contextmanager
def worker_process(
    site: Servers,
    topics: Topics,
    group: str,
    detection: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
) -> Iterator[GuardedProcess]:
    """A running worker, stopped with the block. `environment` is added to this process's."""
    document = {
        "worker": {
            "group": group,
            "topics": topics.model_dump(),
            "redis_prefix": group,
            "checkpoint_topic_interval_s": 0,
        },
        "detection": dict(detection),
    }
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTSENTRY_")}
    with tempfile.TemporaryDirectory(prefix="driftsentry-benchmark-") as name:
        config = Path(name) / "worker.yaml"
        config.write_text(json.dumps(document), "utf-8")  # JSON is YAML
        guard = ProcessGuard()
        process = GuardedProcess(
            [
                *(sys.executable, "-m", "streams", "worker", "--config", str(config)),
                *("--bootstrap-servers", site.kafka, "--redis-url", site.redis_url),
            ],
            guard=guard,
            log=Path(name) / "worker.log",
            env={**inherited, **(environment or {})},
        )
        try:
            yield process
        finally:
            process.stop()
            guard.close()


class Progress:
    """How many events a group has committed, asked from outside of it."""

    def __init__(self, site: Servers, topics: Topics, group: str, n_partitions: int) -> None:
        self._reader = Consumer({"bootstrap.servers": site.kafka, "group.id": group})
        self._partitions = [TopicPartition(topics.events, p) for p in range(n_partitions)]

    def n_committed(self) -> int:
        """Of all partitions; 0 where the broker's coordinator is not ready to say it."""
        try:
            answer = self._reader.committed(self._partitions, 10)
        except KafkaException as error:
            if not is_passing(kafka_error(error)):
                raise
            return 0
        return sum(max(0, each.offset) for each in answer)

    def close(self) -> None:
        """Done asking."""
        self._reader.close()
