"""`driftsentry budget` on a real cluster: states from Valkey or the topic, alerts, the past."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import yaml
from click.testing import CliRunner, Result
from confluent_kafka.admin import AdminClient

from streams.cli import main
from tests.delivery.kit import SmallRun, make_topics, wait_until
from tests.delivery.outputs import read_to_end, said
from tests.delivery.traffic import N_PARTITIONS

N_EVENTS = 6_000


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("DRIFTSENTRY_"):
            monkeypatch.delenv(name)


@pytest.fixture
def watched(kafka: str, redis_url: str, unique_name: Callable[[str], str]) -> Iterator[SmallRun]:
    """Four small models watched by `focus`, whose third feature moves to and fro."""
    topic = unique_name("events")
    make_topics(AdminClient({"bootstrap.servers": kafka}), {topic: N_PARTITIONS})
    detection = {"reference_events": 100, "arl0": 2_000, "policy": {"cooldown_events": 20}}
    # Each state goes to the topic as well, as soon as it is saved.
    settings = {"session_timeout_ms": 3_000, "checkpoint_topic_interval_s": 0.05}
    with SmallRun(kafka, redis_url, topic, detection=detection, worker=settings) as run:
        make_topics(run.admin, {run.checkpoints_topic: 1})
        yield run


def call(run: SmallRun, *arguments: str, **settings: Any) -> Result:
    config = run.directory / "budget.yaml"
    worker = {**run.settings, "log_format": "text", **settings}
    config.write_text(yaml.safe_dump({"worker": worker}), encoding="utf-8")
    command = ["budget", "--config", str(config), "--bootstrap-servers", run.kafka]
    return CliRunner().invoke(main, [*command, "--redis-url", run.redis_url, *arguments])


def opened(run: SmallRun) -> Counter[str]:
    """How many alerts each model has opened, by what stands on the topic."""
    records = [said(message) for message in read_to_end(run.kafka, run.topics["alerts"])]
    alerts = [orjson.loads(record.value or b"") for record in records]
    return Counter(alert["model_id"] for alert in alerts if alert["revision"] == 1)


def test_it_tells_of_every_model_and_replays_its_past(watched: SmallRun) -> None:
    run = watched
    empty = call(run)
    assert empty.exit_code == 1
    assert f"there is no state of group {run.name}" in empty.stderr

    worker = run.start()
    run.send(N_EVENTS)
    run.wait_done()

    def kept() -> set[str]:
        return {line["partition"] for line in worker.said("checkpoint kept in the topic")}

    wait_until(lambda: len(kept()) == N_PARTITIONS, worker.log)
    worker.stop()

    result = call(run, "--json", "--replay", "--events", "900", "--seed", "3")
    assert result.exit_code == 0, result.output
    found = orjson.loads(result.stdout)
    assert found["notes"] == []
    models = found["models"]
    assert [model["model_id"] for model in models] == ["m0", "m1", "m2", "m3"]
    assert opened(run).total() > 8
    for number, model in enumerate(models):
        assert model["partition"] == number
        # Every 37th record of all is refused.
        good = [i % 37 != 36 for i in range(number, N_EVENTS, N_PARTITIONS)]
        assert model["n_events"] == sum(good)
        assert (model["n_reference"], model["arl0"]) == (100, 2_000)
        assert model["observed"]["n_alerts"] == opened(run)[model["model_id"]]
        assert [each["kind"] for each in model["replays"]] == ["shuffled", "blocks", "frozen"]
        n = sum(good[-900:])
        assert [each["n_events"] for each in model["replays"]] == [n - 100, n - 100, n]
    text = call(run, "--model", "m2")
    assert text.exit_code == 0
    assert text.stdout.startswith("m2 1  (partition 2, state at ")
    assert "m1 1" not in text.stdout
    unknown = call(run, "--model", "m9")
    assert unknown.exit_code == 2
    assert "no state knows the model m9; known: m0, m1, m2, m3" in unknown.stderr

    # Without Redis it comes from the topic, and without both from nowhere.
    down = call(run, "--json", "--redis-url", "redis://127.0.0.1:1/0")
    assert down.exit_code == 0, down.output
    told = orjson.loads(down.stdout)
    assert [model["model_id"] for model in told["models"]] == ["m0", "m1", "m2", "m3"]
    assert len(told["notes"]) == N_PARTITIONS
    assert all("Redis at 127.0.0.1:1" in note for note in told["notes"])
    with run.store() as redis:
        redis.flushdb()
    gone = call(run, checkpoint_topic_interval_s=0)
    assert gone.exit_code == 1
    assert "no place has a checkpoint of it that can be used" in gone.stderr
    assert "Traceback" not in gone.output
