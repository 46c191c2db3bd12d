"""SIGTERM under load: ten seconds at most, nothing lost, nothing to be done again."""

from __future__ import annotations

import signal
import time

import pytest
from confluent_kafka.admin import AdminClient

from streams.launch import EXIT_FAILED
from tests.delivery.conftest import DETECTION
from tests.delivery.kit import Run, SmallRun, make_topics
from tests.delivery.oracle import expected_outputs
from tests.delivery.outputs import Outputs, check_equal
from tests.kit.kafka_server import KafkaCluster


def test_stopped_under_load_it_drains_commits_and_saves(
    kafka: str, redis_url: str, traffic: str, undisturbed: Outputs
) -> None:
    # No checkpoint but the last: what a stop saves is all there is.
    settings = {"poll_records": 48, "checkpoint_interval_s": 3_600.0}
    with Run(kafka, redis_url, traffic, detection=DETECTION, worker=settings) as run:
        n_all = sum(run.ends().values())
        for share in (0.2, 0.6):
            worker = run.start(instance="a")
            run.wait_committed(int(share * n_all))
            seconds = worker.stop()
            assert seconds < 10
            assert run.n_committed() < n_all, "there was no load any more"
        last = run.start(instance="a")
        run.wait_done()
        last.stop()

        assert not any(
            worker.said("replay") for worker in run.workers[1:] if worker.said("replay ")
        )
        taken = [
            line["replay"] for worker in run.workers for line in worker.said("partition assigned")
        ]
        assert taken == [0] * 12
        check_equal(run.outputs(), undisturbed)


@pytest.mark.long
def test_a_stop_ends_in_time_also_where_no_broker_answers(redis_url: str) -> None:
    with KafkaCluster() as cluster:
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap_servers})
        make_topics(admin, {"events": 4})
        # The broker must not end the member's session while it hangs.
        settings = {
            "session_timeout_ms": 30_000,
            "transaction_timeout_ms": 20_000,
            # There is always something that waits for its commit.
            "poll_records": 8,
            "commit_interval_ms": 300,
        }
        with SmallRun(cluster.bootstrap_servers, redis_url, "events", worker=settings) as run:
            worker = run.start(instance="a")
            run.send(16_000)
            run.wait_committed(500)
            (node,) = cluster.nodes
            node.send(signal.SIGSTOP)
            start_s = time.monotonic()
            worker.send(signal.SIGTERM)
            code = worker.wait(10.0)
            assert time.monotonic() - start_s < 10
            # Not SIGCONT: a broker that has been frozen for so long stumbles over its own past.
            node.restart()
            assert code == EXIT_FAILED, worker.log()
            assert worker.said("stopped without draining")
            cluster.wait_in_sync()
            assert run.n_committed() < 16_000

            again = run.start(instance="a")
            run.wait_done()
            again.stop()
            check_equal(run.outputs(), expected_outputs(run))
