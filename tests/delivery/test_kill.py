"""Killed at random moments, its Redis wiped: what comes out is what the log says, folded in one go.

So is what is kept: references, detectors, predictions that wait for labels, metrics.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.delivery.conftest import DETECTION
from tests.delivery.kit import Run
from tests.delivery.oracle import folded, outputs_of
from tests.delivery.outputs import check_equal
from tests.faults.audit import check_states

LABELLED = {**DETECTION, "labels": {"enabled": True}}


def moments(seed: int, n_kills: int) -> tuple[list[float], list[float], int]:
    """Shares of the input at which to kill, seconds to wait then, and the kill to wipe after."""
    rng = np.random.default_rng(seed)
    shares = np.sort(rng.uniform(0.02, 0.9, n_kills)).tolist()
    # A commit takes some 10 ms, and 20 ms lie between two: every state of it is hit.
    delays_s = rng.uniform(0.0, 0.06, n_kills).tolist()
    return shares, delays_s, int(rng.integers(1, n_kills))


def kill_and_compare(kafka: str, redis_url: str, topic: str, seed: int, n_kills: int) -> None:
    shares, delays_s, wiped = moments(seed, n_kills)
    print(f"seed {seed}: kills at {np.round(shares, 3)}, Redis wiped after kill {wiped + 1}")
    with Run(kafka, redis_url, topic, detection=LABELLED, worker={"poll_records": 48}) as run:
        n_all = sum(run.ends().values())
        n_replayed = n_late = 0
        for number, (share, delay_s) in enumerate(zip(shares, delays_s, strict=True)):
            worker = run.start(instance="a")
            if number == wiped + 1:
                # In the middle of folding all of it again.
                worker.wait_said("folding from the lineage's start")
                time.sleep(5 * delay_s)
            else:
                run.wait_committed(int(share * n_all))
                time.sleep(delay_s)
            worker.kill()
            n_late += run.n_committed() >= n_all
            n_replayed += len(worker.said("replay complete"))
            if number == wiped:
                with run.store() as store:
                    assert store.dbsize() > 0
                    store.flushdb()
        last = run.start(instance="a")
        run.wait_done()
        last.stop()
        n_replayed += len(last.said("replay complete"))

        # On a busy machine the last one may come after the last event, where it says little.
        assert n_late <= 1
        assert n_replayed > 0
        assert not any(worker.said("state_divergence") for worker in run.workers)
        check_folded(run)


def check_folded(run: Run) -> None:
    """What was said, and what is kept in the end, is the fold of the log in one go."""
    workers = folded(run)
    check_equal(run.outputs(), outputs_of(workers))
    check_states(run, workers)
    counters = [worker.fold.counters for worker in workers]
    assert sum(each["n_joined_labels"] for each in counters) > 2_000
    joins = [worker.fold.labels for worker in workers if worker.fold.labels is not None]
    assert max(join.pending.n_indexed for join in joins) > 5_000


def test_five_kills_and_a_wiped_redis_leave_no_trace(
    kafka: str, redis_url: str, traffic: str
) -> None:
    kill_and_compare(kafka, redis_url, traffic, seed=3, n_kills=5)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10, 16))
def test_many_kills_leave_no_trace(kafka: str, redis_url: str, traffic: str, seed: int) -> None:
    kill_and_compare(kafka, redis_url, traffic, seed, n_kills=12)
