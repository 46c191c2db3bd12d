"""The servers of a benchmark, and topics in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.embedded import EmbeddedValkey
from tests.kit.kafka_server import KafkaCluster


class Servers(NamedTuple):
    """Where a benchmark's servers are."""

    kafka: str
    redis_url: str

    def make_topics(self, *names: str, n_partitions: int) -> None:
        """Create these topics and wait until they are there."""
        admin = AdminClient({"bootstrap.servers": self.kafka})
        made = admin.create_topics([NewTopic(name, n_partitions) for name in names])
        for future in made.values():
            future.result()


@contextmanager
def servers() -> Iterator[Servers]:
    """A real Kafka of one node and a real Valkey, for the length of the block."""
    with KafkaCluster() as cluster, EmbeddedValkey() as valkey:
        yield Servers(cluster.bootstrap_servers, valkey.url)
