"""Two workers share the partitions; one goes, in whatever way, and the other takes over."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.delivery.conftest import DETECTION
from tests.delivery.kit import Run, WorkerProcess, wait_until
from tests.delivery.outputs import Outputs, check_equal

SESSION_S = 3.0
TAKEN = "partition assigned"


@pytest.fixture
def run(kafka: str, redis_url: str, traffic: str) -> Iterator[Run]:
    # Few records a poll: there must be something left when the other takes over.
    settings = {"poll_records": 12, "session_timeout_ms": int(SESSION_S * 1000)}
    with Run(kafka, redis_url, traffic, detection=DETECTION, worker=settings) as run:
        yield run


def share(run: Run, *instances: str | None) -> list[WorkerProcess]:
    """Start workers, and wait until each folds half of the partitions."""
    workers = [run.start(instance=instance) for instance in instances]
    wait_until(lambda: run.shares() == [2, 2], lambda: f"{run.shares()}\n{run.logs()}")
    run.wait_committed(run.n_committed() + 2_000)
    return workers


def finish(run: Run, expected: Outputs, worker: WorkerProcess, n_taken: int) -> None:
    """Let this worker finish, which had taken so many partitions before the other went."""
    n_all = sum(run.ends().values())
    assert run.n_committed() < n_all, "nothing was left to take over"
    run.wait_done()
    worker.stop()
    assert len(worker.said(TAKEN)) > n_taken
    assert not any(worker.said("state_divergence") for worker in run.workers)
    check_equal(run.outputs(), expected)


def test_a_worker_is_stopped_and_the_other_takes_over(run: Run, undisturbed: Outputs) -> None:
    first, second = share(run, None, None)
    n_taken = len(second.said(TAKEN))
    first.stop()
    finish(run, undisturbed, second, n_taken)


def test_a_dynamic_member_is_killed_and_the_other_takes_over(
    run: Run, undisturbed: Outputs
) -> None:
    first, second = share(run, None, None)
    n_taken = len(second.said(TAKEN))
    first.kill()
    finish(run, undisturbed, second, n_taken)


@pytest.mark.long
def test_a_static_member_is_killed_and_the_other_takes_over(run: Run, undisturbed: Outputs) -> None:
    first, second = share(run, "a", "b")
    n_taken = len(first.said(TAKEN))
    second.kill()
    finish(run, undisturbed, first, n_taken)


def test_a_zombie_wakes_up_and_commits_nothing_more(run: Run, undisturbed: Outputs) -> None:
    zombie, other = share(run, "a", "b")
    n_taken = len(other.said(TAKEN))
    zombie.send(signal.SIGSTOP)
    other.wait_said(TAKEN, n_taken + 1)
    n_committed = run.n_committed()
    wait_until(lambda: run.n_committed() > n_committed, "the other does not go on")
    zombie.send(signal.SIGCONT)
    run.wait_done()
    time.sleep(0.5)
    assert zombie.is_running(), zombie.log()
    zombie.stop()
    other.stop()
    assert not any(worker.said("state_divergence") for worker in run.workers)
    check_equal(run.outputs(), undisturbed)
