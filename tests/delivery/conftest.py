"""The eight models' topic, made once, and what an undisturbed worker says of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests.delivery.kit import Run, SmallRun, make_topics
from tests.delivery.outputs import Outputs, n_records
from tests.delivery.traffic import N_PARTITIONS, NO_ELEC2, eight_models, elec2_path, produce
from tests.kit.loud_lines import say_at_the_end

DETECTION: dict[str, Any] = {
    "reference_events": 500,
    "arl0": 5_000,
    "detectors": {"adwin": {"enabled": True}, "page_hinkley": {"enabled": True}},
}


@pytest.fixture(scope="session")
def traffic(kafka: str, request: pytest.FixtureRequest) -> str:
    """A topic of four partitions that holds the eight models."""
    if elec2_path() is None:
        say_at_the_end(request.config, NO_ELEC2)
    topic = f"eight-models.{os.getpid()}"
    make_topics(AdminClient({"bootstrap.servers": kafka}), {topic: N_PARTITIONS})
    produce(kafka, topic, eight_models(n_real=10_000, n_generated=4_000))
    return topic


@pytest.fixture(scope="session")
def undisturbed(kafka: str, valkey: str, traffic: str) -> Outputs:
    """What one worker publishes that nobody disturbs."""
    with Run(kafka, valkey, traffic, detection=DETECTION) as run:
        assert all(end > 5_000 for end in run.ends().values())
        worker = run.start()
        run.wait_done()
        worker.stop()
        outputs = run.outputs()
    by_partition = {stream[:2] for stream in outputs}
    assert by_partition >= {("alerts", number) for number in range(N_PARTITIONS)}
    assert n_records(outputs, "alerts") > 200
    assert n_records(outputs, "dead_letter") > 200
    return outputs


@pytest.fixture
def small_run(kafka: str, redis_url: str, unique_name: Callable[[str], str]) -> Iterator[SmallRun]:
    """A run over a topic of its own, of four small models, as yet empty."""
    topic = unique_name("events")
    make_topics(AdminClient({"bootstrap.servers": kafka}), {topic: N_PARTITIONS})
    # Without a cooldown to speak of each swing of its third feature is an alert, and without rows
    # of references nothing says which of them are within the budget.
    detection = {
        "reference_events": 100,
        "bounds": {"max_learning_values": 0},
        "policy": {"cooldown_events": 20},
        "detectors": {
            "adwin": {"enabled": True},
            "focus": {"enabled": False},
            "page_hinkley": {"enabled": True},
        },
    }
    settings = {"session_timeout_ms": 3_000}
    with SmallRun(kafka, redis_url, topic, detection=detection, worker=settings) as run:
        yield run
