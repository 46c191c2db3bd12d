"""A site of three brokers and a Valkey behind a network that can fail, and deployments on it."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.duties import Duty
from streams.embedded import EmbeddedValkey
from streams.kafka_clients import kafka_error
from streams.kafka_errors import is_passing
from streams.lineage import Metadata, load_metadata
from tests.delivery.attacked import attacked_stream
from tests.delivery.kit import SmallRun, WorkerProcess, make_topics, wait_until
from tests.delivery.traffic import N_PARTITIONS
from tests.faults.feed import Feed, labelled_stream
from tests.kit.kafka_server import KafkaCluster
from tests.kit.proxy import Edge, Network
from tests.kit.valkey_server import valkey_server

ASSIGNED: Final = "partition assigned"
SESSION_MS: Final = 2_000
TRANSACTION_MS: Final = 2_000
DETECTORS: Final = {
    "adwin": {"enabled": True},
    "page_hinkley": {"enabled": True},
    "kswin": {"enabled": True, "seed": 1},
    "windows": {"enabled": True, "window_events": 50},
    "trend": {"enabled": True, "block_rows": 20},
}
"""Beside those that are on by default."""
OF_ATTACKS: Final[Mapping[str, Any]] = {
    "labels": {"enabled": False},
    "security": {
        "learn_events": 200,
        "max_models": 4,
        "max_sources": 64,
        "quiet_events": 1_024,
    },
}
"""The same of the security duty, whose workers have `SOURCE_KEY`."""
SOURCE_KEY: Final = b"a key that only these tests have"
MEMBERS: Final = ("a", "b", "c")
"""Workers by name. Those in `STATIC` are static members with a transactional id of their own."""
STATIC: Final = ("a", "b")
BROKER_PROPERTIES: Final[Mapping[str, object]] = {
    # A zombie's open transaction hides its partitions' commits; by default it is looked for only
    # every 10 s whether one is too old.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 200,
    "transaction.max.timeout.ms": 60_000,
}
_N_DATABASES: Final = 64
_PAUSE_S: Final = 0.03
_NUMBERS = itertools.count(1)


class Site(NamedTuple):
    """Where deployments run."""

    cluster: KafkaCluster
    network: Network
    valkey: EmbeddedValkey
    redis_edge: Edge


@contextmanager
def new_site() -> Iterator[Site]:
    """Three brokers, each behind an edge, and a Valkey behind another."""
    with (
        Network() as network,
        KafkaCluster(3, properties=BROKER_PROPERTIES, network=network) as cluster,
        valkey_server("--databases", str(_N_DATABASES)) as valkey,
    ):
        yield Site(cluster, network, valkey, network.edge(valkey.port))


class Deployment(SmallRun):
    """Three workers over a topic of its own that is being written; their ways lead over edges."""

    def __init__(
        self,
        site: Site,
        *,
        events_per_s: int = 200,
        members: tuple[str, ...] = MEMBERS,
        detection: Mapping[str, Any] | None = None,
        worker: Mapping[str, Any] | None = None,
        duty: Duty = "drift",
    ) -> None:
        self.site = site
        number = next(_NUMBERS)
        kafka = site.cluster.bootstrap_servers
        topic = f"events.{os.getpid()}-{number}"
        make_topics(AdminClient({"bootstrap.servers": kafka}), {topic: N_PARTITIONS})
        database = number % (_N_DATABASES - 1) + 1
        super().__init__(
            kafka,
            site.valkey.url.removesuffix("/0") + f"/{database}",
            topic,
            detection={
                "reference_events": 100,
                "arl0": 1_000,
                "detectors": DETECTORS,
                "labels": {"enabled": True, "reference_labels": 100, "calibration_labels": 100},
                **(OF_ATTACKS if duty == "security" else {}),
                **(detection or {}),
            },
            duty=duty,
            source_key=SOURCE_KEY if duty == "security" else None,
            worker={
                # A transaction at each tick of the feed: more of them only keep brokers busy.
                "commit_interval_ms": 50,
                "session_timeout_ms": SESSION_MS,
                "transaction_timeout_ms": TRANSACTION_MS,
                **(worker or {}),
            },
        )
        with self.store() as store:
            store.flushdb()
        self.kafka_of_workers = site.cluster.edge_servers
        self.redis_of_workers = f"redis://127.0.0.1:{site.redis_edge.port}/{database}"
        stream = attacked_stream if duty == "security" else labelled_stream
        self.feed = Feed(kafka, topic, events_per_s, stream)
        self.members: dict[str, WorkerProcess] = {}
        self.wanted = members
        self.n_ended = 0
        self._positions = dict.fromkeys(range(N_PARTITIONS), -1)

    def begin(self) -> None:
        """Start the workers and the feed, and wait until every partition is being folded."""
        self.feed.start()
        self.ensure_members()
        self.recovery_s(lambda: None)

    def ensure_members(self) -> None:
        """Start every worker that does not run; one that wants a person is a failure."""
        for name in self.wanted:
            worker = self.members.get(name)
            if worker is not None and worker.is_running():
                continue
            if worker is not None and (code := worker.wait()) >= 0:
                assert code == 1, f"{name} ended with {code}:\n{worker.log()}"
                self.n_ended += 1
            instance = name if name in STATIC else None
            self.members[name] = self.start(instance=instance, redis_url=self.redis_of_workers)

    def ready_members(self) -> list[str]:
        """Those that fold something, or have."""
        return [
            name
            for name, worker in self.members.items()
            if worker.is_running() and worker.said(ASSIGNED)
        ]

    def positions(self) -> dict[int, int]:
        """The committed offset of each partition as last heard, -1 where there is none."""
        asked = [TopicPartition(self.events, number) for number in self._positions]
        try:
            answer = self._reader.committed(asked, 2)
        except KafkaException as error:
            if not is_passing(kafka_error(error)):
                raise
            return dict(self._positions)
        for each in answer:
            if each.error is None and each.offset >= 0:
                self._positions[each.partition] = each.offset
        return dict(self._positions)

    def recovery_s(self, fault: Callable[[], object], timeout_s: float = 180.0) -> float:
        """Seconds from the fault until every partition has committed beyond where it then stood."""
        start_s = time.monotonic()
        fault()
        at = self.positions()
        while not all(now > at[number] for number, now in self.positions().items()):
            self.ensure_alive()
            assert time.monotonic() - start_s < timeout_s, (
                f"{self.positions()}, at the fault {at}\n{self.logs()}"
            )
            time.sleep(_PAUSE_S)
        return time.monotonic() - start_s

    def ensure_alive(self) -> None:
        """As a supervisor would: start again what has ended by itself.

        That is with an exit code, or by an assertion of the client library (SIGABRT): librdkafka
        has one that fails now and then where a request times out as its transaction is given up.
        """
        ended = [worker.wait() for worker in self.members.values() if not worker.is_running()]
        if any(code >= 0 or code == -signal.SIGABRT for code in ended):
            self.ensure_members()

    def quiesce(self) -> None:
        """Stop the feed, and wait until all of it is committed and saved."""
        self.feed.stop()
        self.ensure_members()
        ends = self.ends()
        deadline_s = time.monotonic() + 60

        def waiting() -> str:
            return f"{self.positions()} of {ends}, saved {self.checkpoints()}\n{self.logs()}"

        while any(now < ends[number] for number, now in self.positions().items()):
            self.ensure_alive()
            assert time.monotonic() < deadline_s, waiting()
            time.sleep(_PAUSE_S)
        wait_until(
            lambda: all(kept[:1] == [ends[n]] for n, kept in self.checkpoints().items()), waiting
        )

    def metadata(self) -> dict[int, Metadata | None]:
        """What the latest commit of each partition says."""
        asked = [TopicPartition(self.events, number) for number in self._positions]
        deadline_s = time.monotonic() + 60
        while True:
            try:
                answer = self._reader.committed(asked, 10)
            except KafkaException as error:
                # After a fault the group may have another coordinator for a moment.
                if not is_passing(kafka_error(error)) or time.monotonic() > deadline_s:
                    raise
                time.sleep(_PAUSE_S)
            else:
                return {each.partition: load_metadata(each.metadata or "") for each in answer}

    def close(self) -> None:
        """End everything that this deployment has started."""
        self.site.network.forget()
        self.feed.close()
        super().close()
