"""driftsentry: the worker as `driftsentry worker` builds it, exactly-once, checkpoints in Valkey.

With `n_own_partitions` it first takes up its share of an events topic whose events cannot be read
yet, says so, and begins when they can. That is how several workers begin at once.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from benchmarks.kit.detection import RIVERS, SINGLE
from benchmarks.kit.watch import Watch
from benchmarks.peers.task import Found, Task, answer
from detectors.warm import warm
from schemas.alerts import AlertData
from schemas.config import DetectionConfig
from schemas.findings import Finding, Notice
from streams.config import Settings, Topics
from streams.launch import build_runner
from streams.policy import Policy
from streams.redis_address import RedisUrl
from streams.runner import Runner

_FEATURE: Final = "feature:"


def build(task: Task) -> Runner:
    """The worker, with the peers' detectors."""
    settings = Settings(
        bootstrap_servers=task.servers,
        redis_url=RedisUrl(task.redis_url),
        group=task.group,
        instance=task.instance,
        topics=Topics(events=task.topic, alerts=task.alerts),
        checkpoint_topic_interval_s=0.0,
    )
    config = DetectionConfig(reference_events=task.n_reference, detectors=RIVERS, joint=SINGLE)
    return build_runner(settings, config)


def note_findings(events_of_record: int) -> list[Found]:
    """From here on every finding on a feature is noted on its way to policy, and stands here.

    An alert gathers many of them. As an offset each has the number of its event in the partition;
    other signals the peers do not watch.
    """
    found: list[Found] = []
    decide = Policy.decide

    def noting(
        policy: Policy, said: Sequence[Finding | Notice], next_seq: Callable[[], int]
    ) -> list[AlertData]:
        for each in said:
            if isinstance(each, Finding) and each.signal.startswith(_FEATURE):
                number = each.offset * events_of_record + each.event_row
                feature = each.signal.removeprefix(_FEATURE)
                found.append(Found(policy.partition, number, feature, each.detector))
        return decide(policy, said, next_seq)

    Policy.decide = noting  # type: ignore[method-assign, assignment]  # seen from outside
    return found


def main() -> None:
    """Fold until everything is committed."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    task = Task.read()
    # A worker's kernels are compiled when its image is built.
    warm()
    found = note_findings(task.events_of_record)
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
    answer(figures, found)


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
