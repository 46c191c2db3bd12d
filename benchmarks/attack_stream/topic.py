"""Events to a topic, and what is committed on others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from benchmarks.kit.servers import Servers
from streams.config import Topics
from streams.kafka_errors import PARTITION_END
from streams.lineage import load_journal


def send(site: Servers, topic: str, events: Mapping[str, Iterator[bytes]]) -> dict[str, list[int]]:
    """All models' events, in turn; the offsets of each model's. Raises RuntimeError."""
    offsets: dict[str, list[int]] = {model_id: [] for model_id in events}
    failed: list[KafkaError] = []

    def taken(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)
            return
        key, offset = message.key(), message.offset()
        assert isinstance(key, bytes)
        assert offset is not None
        offsets[key.decode()].append(offset)

    producer = Producer(
        {"bootstrap.servers": site.kafka, "enable.idempotence": True, "linger.ms": 20}
    )
    left = dict(events)
    while left:
        for model_id in [*left]:
            value = next(left[model_id], None)
            if value is None:
                del left[model_id]
                continue
            while True:
                try:
                    producer.produce(topic, value, model_id.encode(), on_delivery=taken)
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
        producer.poll(0)
    if producer.flush(60.0) or failed:
        raise RuntimeError(f"events could not be sent: {failed[:1] or 'no answer'}")
    return offsets


def committed_records(site: Servers, topic: str) -> list[bytes]:
    """What stands on a topic, read by a consumer that sees only what is committed."""
    reader = Consumer(
        {
            "bootstrap.servers": site.kafka,
            "group.id": "attack-stream-reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    numbers = reader.list_topics(topic, 10).topics[topic].partitions
    reader.assign([TopicPartition(topic, number, 0) for number in numbers])
    found, n_ended = [], 0
    while n_ended < len(numbers):
        for message in reader.consume(500, 5.0):
            error = message.error()
            if error is not None and error.code() == PARTITION_END:
                n_ended += 1
            elif error is not None:
                raise RuntimeError(str(error))
            else:
                found.append(message.value() or b"")
    reader.close()
    return found


def n_in_force(site: Servers, topics: Topics) -> int:
    """In how many partitions, over all models, a calibration was put in force."""
    journal = load_journal(committed_records(site, topics.journal))
    return sum(entry.kind == "command" for entry in journal)
