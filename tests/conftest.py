"""The real servers of the tests, one of each for the whole run, and names nobody else has.

- `kafka`: bootstrap servers of a real Apache Kafka (`kafka_cluster` is the cluster itself);
- `new_topic`: makes topics in it; `unique_name`: names for groups, topics, instances;
- `valkey`: address of a real Valkey; `redis_url`: an empty database in it; `redis_prefix`.

A test that stops, kills or fills a server starts one of its own, from `tests.kit`.
"""

from __future__ import annotations

import gc
import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping

import pytest
import redis
import structlog
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.embedded import EmbeddedValkey
from tests.kit.install import ci_forbids_skips
from tests.kit.kafka_libs import why_unavailable
from tests.kit.kafka_server import KafkaCluster

N_DATABASES = 1024
SKIPPED = pytest.StashKey[tuple[int, str]]()
NUMBERS = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Mark what uses the broker; skip it, or fail the run under CI, where there can be none."""
    for item in items:
        if "kafka_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("kafka")
    yield
    # After the selection by -m and -k: a run that asks for no Kafka test needs no Kafka.
    needing = [item for item in items if item.get_closest_marker("kafka") is not None]
    if not needing or (why := why_unavailable()) is None:
        return
    if ci_forbids_skips():
        raise pytest.UsageError(f"CI: {len(needing)} tests need a real Kafka: {why}")
    config.stash[SKIPPED] = (len(needing), why)
    for item in needing:
        item.add_marker(pytest.mark.skip(reason=f"no real Kafka: {why}"))


def pytest_runtest_setup() -> None:
    """Let no test inherit where another has sent the log: tests run in any order."""
    structlog.reset_defaults()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say loudly that the broker was missing."""
    if SKIPPED in config.stash:
        n_skipped, why = config.stash[SKIPPED]
        terminalreporter.write_line(
            f"NO REAL KAFKA: {n_skipped} TESTS DID NOT RUN ({why})", red=True, bold=True
        )


@pytest.fixture(scope="session")
def kafka_cluster(request: pytest.FixtureRequest) -> Iterator[KafkaCluster]:
    """One real broker for the whole run; tests must leave it running."""
    cluster = KafkaCluster()
    try:
        yield cluster
    finally:
        # A client that outlives its broker says so on stderr, below the summary of the tests.
        gc.collect()
        logs = cluster.close(keep_logs=request.session.testsfailed > 0)
        if logs is not None:
            print(f"\nthe log of the Kafka node is kept in {logs}")


@pytest.fixture(scope="session")
def kafka(kafka_cluster: KafkaCluster) -> str:
    """Bootstrap servers of the one real broker of this run."""
    return kafka_cluster.bootstrap_servers


@pytest.fixture
def unique_name(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Makes names, for topics, groups and instances, that no other test of any run has."""
    test = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name)[:60].strip("-")
    return lambda what: f"{what}.{test}.{os.getpid()}-{next(NUMBERS)}"


@pytest.fixture
def new_topic(kafka: str, unique_name: Callable[[str], str]) -> Callable[..., str]:
    """Makes a topic in the real broker: `new_topic("events", n_partitions=4, config={...})`."""
    admin = AdminClient({"bootstrap.servers": kafka})

    def create(
        what: str = "events", n_partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> str:
        name = unique_name(what)
        topic = NewTopic(name, num_partitions=n_partitions, config=dict(config or {}))
        admin.create_topics([topic])[name].result(timeout=30)
        return name

    return create


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """Address of the one real Valkey of this run (database 0, shared by all tests)."""
    with EmbeddedValkey(arguments=("--databases", str(N_DATABASES))) as server:
        yield server.url


@pytest.fixture
def redis_url(valkey: str) -> str:
    """Address of an empty database in the Valkey of this run."""
    url = f"{valkey.removesuffix('/0')}/{next(NUMBERS) % (N_DATABASES - 1) + 1}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def redis_prefix(unique_name: Callable[[str], str]) -> str:
    """A key prefix that no other test has."""
    return unique_name("ds")
