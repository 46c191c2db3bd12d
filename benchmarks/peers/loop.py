"""The plain loop: confluent-kafka and `orjson.loads`; with `detect` river on what they give."""

from __future__ import annotations

import gc

import orjson
from confluent_kafka import Consumer

from benchmarks.kit.watch import Watch
from benchmarks.peers.river_monitor import RiverMonitor
from benchmarks.peers.task import POLL_S, READER, Task, answer


def main() -> None:
    """Read to the end of the task."""
    task = Task.read()
    consumer = Consumer(
        {
            **READER,
            "bootstrap.servers": task.servers,
            "group.id": task.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([task.topic])
    monitor = RiverMonitor(task.n_reference)
    loads = orjson.loads
    watch = Watch(task.n_warm)
    n_read = 0
    # As in the worker: the cyclic collector would scan what is never garbage.
    gc.disable()
    while n_read < task.n_events:
        messages = consumer.consume(1_024, POLL_S)
        if task.detect:
            for message in messages:
                event = loads(message.value() or b"null")
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                monitor.update(partition, offset, event["features"])
        else:
            for message in messages:
                loads(message.value() or b"null")
        n_read += len(messages)
        watch.at(n_read)
    figures = watch.figures(n_read)
    consumer.close()
    answer(figures, monitor.found if task.detect else None)


if __name__ == "__main__":
    main()
