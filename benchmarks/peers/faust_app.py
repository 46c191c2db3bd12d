"""Faust and river: an agent over the topic, with state in memory."""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

import faust
import orjson

from benchmarks.kit.watch import Watch
from benchmarks.peers.river_monitor import RiverMonitor
from benchmarks.peers.task import Task, answer


async def run(task: Task, directory: str) -> None:
    """Read to the end of the task; what Faust keeps goes into the directory."""
    make: Any = faust.App  # it has no types to speak of
    app = make(
        task.group,
        broker=f"kafka://{task.servers}",
        store="memory://",
        datadir=directory,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        consumer_auto_offset_reset="earliest",
        loop=asyncio.get_running_loop(),
    )
    # Bytes, parsed by ourselves: its own JSON codec is slower.
    topic = app.topic(task.topic, value_serializer="raw", key_serializer="raw")
    monitor = RiverMonitor(task.n_reference)
    watch = Watch(task.n_warm)
    done = asyncio.Event()
    result: dict[str, float] = {}

    @app.agent(topic)  # type: ignore[untyped-decorator]  # it has no types
    async def fold(stream: Any) -> None:
        n_read = 0
        async for event in stream.events():
            message = event.message
            features = orjson.loads(event.value)["features"]
            monitor.update(message.partition, message.offset, features)
            n_read += 1
            watch.at(n_read)
            if n_read == task.n_events:
                result.update(watch.figures(n_read))
                done.set()

    app.finalize()
    await app.start()
    await done.wait()
    await app.stop()
    answer(result, monitor.found)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="driftsentry-faust-") as name:
        asyncio.run(run(Task.read(), name))
