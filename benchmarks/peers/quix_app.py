"""Quix Streams and river; runs in an environment of its own (`benchmarks.peers.environment`)."""

from __future__ import annotations

import importlib
import tempfile
from typing import Any

from benchmarks.kit.watch import Watch
from benchmarks.peers.river_monitor import RiverMonitor
from benchmarks.peers.task import READER, Task, answer


def run(task: Task, directory: str) -> None:
    """Read to the end of the task; what Quix Streams keeps goes into the directory."""
    # By name: the environment in which types are checked has no such module.
    quix: Any = importlib.import_module("quixstreams")
    app = quix.Application(
        broker_address=task.servers,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        state_dir=directory,
        consumer_extra_config={**READER, "isolation.level": "read_committed"},
        loglevel="WARNING",
    )
    topic = app.topic(task.topic, value_deserializer="json", key_deserializer="bytes")
    monitor = RiverMonitor(task.n_reference)
    watch = Watch(task.n_warm)
    result: dict[str, float] = {}
    n_read = 0

    def fold(event: dict[str, Any]) -> None:
        nonlocal n_read
        context = quix.message_context()
        monitor.update(context.partition, context.offset, event["features"])
        n_read += 1
        watch.at(n_read)
        if n_read == task.n_events:
            result.update(watch.figures(n_read))
            app.stop()

    app.dataframe(topic).update(fold)
    app.run()
    answer(result, monitor.found)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="driftsentry-quix-") as name:
        run(Task.read(), name)
