"""driftsentry: the worker as `driftsentry worker` builds it, exactly-once, checkpoints in Valkey.

With `n_own_partitions` it first takes up its share of an events topic whose events cannot be read
yet, says so, and begins when they can. That is how several workers begin at once.
"""

from __future__ import annotations

import gc
import json
import sys
import time

import structlog

from benchmarks.kit.watch import Watch
from benchmarks.peers.task import Task, answer
from detectors.warm import warm
from schemas.config import DetectionConfig, PolicyConfig
from streams.config import Settings, Topics
from streams.launch import build_runner
from streams.redis_address import RedisUrl
from streams.runner import Runner


def build(task: Task) -> Runner:
    """The worker; of every finding it makes an alert of its own, so that they can be counted."""
    settings = Settings(
        bootstrap_servers=task.servers,
        redis_url=RedisUrl(task.redis_url),
        group=task.group,
        instance=task.instance,
        topics=Topics(events=task.topic, alerts=task.alerts),
        checkpoint_topic_interval_s=0.0,
    )
    config = DetectionConfig(
        reference_events=task.n_reference, policy=PolicyConfig(cooldown_events=0)
    )
    return build_runner(settings, config)


def main() -> None:
    """Fold until everything is committed."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    task = Task.read()
    # A worker's kernels are compiled when its image is built.
    warm()
    runner = build(task)
    # As `streams.launch.run` does.
    gc.collect()
    gc.freeze()
    gc.disable()
    runner.log.subscribe(runner)
    if task.n_own_partitions:
        _take_up(runner, task.n_own_partitions)
        print(json.dumps({"is_ready": True}), flush=True)
    watch = Watch(task.n_warm)
    n_committed = 0
    while n_committed < task.n_records:
        runner.step()
        n_committed = sum(held.committed for held in runner.held.values())
        watch.at(_n_folded(runner))
    figures = watch.figures(_n_folded(runner)) | {"ended_s": time.monotonic()}
    runner.drain()
    runner.checkpointer.close(10)
    runner.log.close()
    runner.commits.close()
    runner.store.close()
    answer(figures)


def _n_folded(runner: Runner) -> int:
    """Events, of which a record may hold several."""
    return sum(held.worker.fold.counters["n_events"] for held in runner.held.values())


def _take_up(runner: Runner, n_partitions: int) -> None:
    """Until so many partitions, no more, are assigned and ready for their first event."""
    while len(runner.held) != n_partitions or any(
        held.recovered is not None for held in runner.held.values()
    ):
        runner.step()


if __name__ == "__main__":
    main()
