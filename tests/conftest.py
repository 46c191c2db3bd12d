"""The real servers of the tests, one of each for the whole run, and names nobody else has.

- `kafka`: bootstrap servers of a real Apache Kafka (`kafka_cluster` is the cluster itself);
- `new_topic`: makes topics in it; `unique_name`: names for groups, topics, instances;
- `valkey`: address of a real Valkey; `redis_url`: an empty database in it; `redis_prefix`.

A test that stops, kills or fills a server starts one of its own, from `tests.kit`. Where several
processes run the tests, each has servers and ports of its own; who runs what: `tests.kit.shares`.
"""

from __future__ import annotations

import gc
import itertools
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import redis
import structlog
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # it ships no types

from streams import embedded
from streams.embedded import EmbeddedValkey
from tests.kit.install import ci_forbids_skips
from tests.kit.kafka_libs import why_unavailable
from tests.kit.kafka_server import KafkaCluster, make_new_topics
from tests.kit.loud_lines import say_at_the_end, take_over, write_all
from tests.kit.shares import by_share, n_processes, own_number, share_of

# How long an example takes is no matter of a test. All else is as the environment has it.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

N_DATABASES = 1024
NUMBERS = itertools.count(1)


def pytest_configure() -> None:
    """Share out the ports: a server that is killed and restarted must find its own still free."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a shell starts `make test &`; the programs under test would inherit their deafness.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    n_ports = len(embedded.PORTS) // n_processes()
    first = embedded.PORTS[own_number() * n_ports]
    embedded.PORTS = range(first, first + n_ports)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Give each process one share after the other, in the order of the collection."""
    scheduler = LoadFileScheduling(config, log)
    scheduler._split_scope = share_of
    config.option.loadscopereorder = False
    return scheduler


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process that ends wants to be said."""
    take_over(node)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Mark what uses the broker; skip it where there can be none, or let it fail under CI."""
    for item in items:
        if "kafka_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker("kafka")
    yield
    by_share(items)
    # After the selection by -m and -k: a run that asks for no Kafka test needs no Kafka.
    needing = [item for item in items if item.get_closest_marker("kafka") is not None]
    if not needing or (why := why_unavailable()) is None:
        return
    if ci_forbids_skips():
        say_at_the_end(config, f"CI: {len(needing)} TESTS NEED A REAL KAFKA AND FAIL: {why}")
        return
    say_at_the_end(config, f"NO REAL KAFKA: {len(needing)} TESTS DID NOT RUN ({why})")
    for item in needing:
        item.add_marker(pytest.mark.skip(reason=f"no real Kafka: {why}"))


def pytest_runtest_setup() -> None:
    """Let no test inherit where another has sent the log: tests run in any order."""
    structlog.reset_defaults()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Let no test hold what its fixtures gave it while they are taken down.

    The last test of a process would hold its clients until its broker is gone.
    """
    if isinstance(item, pytest.Function):
        item.funcargs.clear()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say loudly what was missing."""
    write_all(terminalreporter, config)


@pytest.fixture(scope="session")
def kafka_cluster(request: pytest.FixtureRequest) -> Iterator[KafkaCluster]:
    """One real broker for the whole run; tests must leave it running."""
    cluster = KafkaCluster()
    try:
        yield cluster
    finally:
        gc.collect()
        left = [
            each for each in gc.get_objects() if isinstance(each, (AdminClient, Consumer, Producer))
        ]
        has_failed = request.session.testsfailed > 0
        logs = cluster.close(keep_logs=has_failed)
        if logs is not None:
            print(f"\nthe log of the Kafka node is kept in {logs}")
    # A client that outlives its broker says so on stderr, below the summary of the tests. The
    # trace of a failure may hold some.
    assert has_failed or not left, f"clients that no test has let go of: {left}"


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
        make_new_topics(admin, [topic])
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
