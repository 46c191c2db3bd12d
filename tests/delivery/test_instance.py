"""The same instance started twice: the newer one goes on, the older one ends, for good."""

from __future__ import annotations

import time

from streams.launch import EXIT_FAILED
from tests.delivery.kit import SmallRun
from tests.delivery.oracle import expected_outputs
from tests.delivery.outputs import check_equal


def test_an_older_worker_of_the_same_instance_ends_and_does_not_fence_the_newer(
    small_run: SmallRun,
) -> None:
    older = small_run.start(instance="a")
    small_run.send(1_000)
    small_run.wait_done()
    newer = small_run.start(instance="a")
    newer.wait_said("partition assigned", 4)
    small_run.send(1_000)

    assert older.wait(15) == EXIT_FAILED, older.log()
    assert older.said("give each a name of its own with --instance"), older.log()
    small_run.wait_done()
    time.sleep(0.5)
    assert newer.is_running(), newer.log()
    small_run.send(400)
    small_run.wait_done()
    newer.stop()
    assert not newer.said("FENCED"), newer.log()
    check_equal(small_run.outputs(), expected_outputs(small_run))
