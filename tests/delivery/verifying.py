"""`driftsentry verify`, called on what a run has published, or on an edited copy of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import orjson
import yaml
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from streams.cli import main
from tests.delivery.kit import Run, make_topics
from tests.delivery.outputs import Said, read_to_end, said

Edit = Callable[[list[Said]], list[Said]]


def call(run: Run, *arguments: str, **topics: str) -> Result:
    """Run the command on what the run has published, or with another topic of some duty."""
    config = run.directory / "verify.yaml"
    settings = {**run.settings, "topics": {**run.settings["topics"], **topics}}
    settings["log_format"] = "text"
    config.write_text(yaml.safe_dump({"worker": settings}), encoding="utf-8")
    command = ["verify", "--config", str(config), "--bootstrap-servers", run.kafka]
    command += ["--redis-url", run.redis_url, *arguments]
    of_this_machine = {name: None for name in os.environ if name.startswith("DRIFTSENTRY_")}
    return CliRunner().invoke(main, command, env=of_this_machine)


def report(run: Run, *arguments: str, **topics: str) -> dict[str, Any]:
    """What it says as JSON of the one duty that the run does, with the same exit code."""
    result = call(run, "--json", *arguments, **topics)
    assert result.exit_code in {0, 1, 3}, result.output
    (found,) = orjson.loads(result.stdout)["duties"]
    assert found["exit_code"] == result.exit_code
    assert found["duty"] == run.duty
    of_duty: dict[str, Any] = found
    return of_duty


def records_of(run: Run, duty: str) -> list[Said]:
    """Every record of an output topic, lineage by lineage in the order of `seq`."""
    records = [said(message) for message in read_to_end(run.kafka, run.topics[duty])]
    return sorted(records, key=lambda record: (record.header("ce_lineage"), record.sequence))


def publish(run: Run, topic: str, records: list[Said]) -> None:
    """Write these records, as they are."""
    producer = Producer({"bootstrap.servers": run.kafka, "partitioner": "murmur2_random"})
    for record in records:
        headers: Any = list(record.headers)
        producer.produce(
            topic, record.value, record.key, headers=headers, timestamp=record.timestamp[1]
        )
    assert producer.flush(30) == 0


def copied(run: Run, duty: str, name: str, edit: Edit) -> str:
    """A copy of an output topic with its records edited; its name."""
    topic = f"{run.topics[duty]}-{name}"
    make_topics(run.admin, {topic: 2})
    publish(run, topic, edit(records_of(run, duty)))
    return topic
