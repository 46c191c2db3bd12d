"""Write an archive of the classes that a Kafka node loads: Java reads them from it when it starts.

Without one every start parses and checks the same ten thousand classes anew, which is half of what
a start costs; the tests start many nodes. Java itself sees whether an archive is of the same Java
and the same jars, and does without it otherwise.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kit.kafka_libs import CLASSES
from tests.kit.kafka_server import KafkaCluster, make_new_topics

STOPPING_S = 120.0
"""The archive is written when Java ends, which takes some seconds."""


def write_class_archive() -> None:
    """Start a node, let it do a transaction, and put what it loaded into `CLASSES`, whole.

    Raises what `KafkaCluster` raises, and OSError where no archive came of it.
    """
    with tempfile.TemporaryDirectory(prefix="kafka-classes-", dir=CLASSES.parent) as scratch:
        written = Path(scratch) / CLASSES.name
        with KafkaCluster(record_classes=written) as cluster:
            exercise(cluster.bootstrap_servers)
            for node in cluster.nodes:
                node.stop(STOPPING_S)
        written.replace(CLASSES)


def exercise(bootstrap_servers: str) -> None:
    """What most tests make a node do first."""
    client: dict[str, str | int | float | bool] = {
        "bootstrap.servers": bootstrap_servers,
        "log_level": 0,
    }
    make_new_topics(AdminClient(client), [NewTopic("classes", 1, 1)])
    producer = Producer({**client, "transactional.id": "classes"})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce("classes", b"value")
    producer.commit_transaction(60)
