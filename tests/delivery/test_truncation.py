"""A log that lost its end and was filled again beyond the commit: only leader epochs can tell."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.launch import EXIT_OPERATOR
from tests.delivery.kit import SmallRun, WorkerProcess, make_topics
from tests.delivery.oracle import expected_outputs, journal_of
from tests.delivery.outputs import check_equal
from tests.delivery.traffic import N_PARTITIONS
from tests.kit.kafka_server import KafkaCluster


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[KafkaCluster]:
    """A broker that these tests may stop."""
    with KafkaCluster() as cluster:
        yield cluster


@pytest.fixture
def run(
    own_cluster: KafkaCluster, redis_url: str, unique_name: Callable[[str], str]
) -> Iterator[SmallRun]:
    """A run on that broker over a topic of its own, as yet empty."""
    kafka, topic = own_cluster.bootstrap_servers, unique_name("events")
    make_topics(AdminClient({"bootstrap.servers": kafka}), {topic: N_PARTITIONS})
    detection, settings = {"reference_events": 100}, {"session_timeout_ms": 3_000}
    with SmallRun(kafka, redis_url, topic, detection=detection, worker=settings) as made:
        yield made


def fold(run: SmallRun, n: int, mode: str = "exactly-once") -> None:
    """Send n events; a worker folds them and leaves."""
    run.send(n)
    worker = run.start(mode=mode)
    run.wait_done()
    worker.stop()


def restart(cluster: KafkaCluster) -> None:
    """A new leader epoch for every partition."""
    cluster.nodes[0].restart()
    cluster.wait_in_sync()


def committed_epochs(run: SmallRun) -> list[int]:
    asked = [TopicPartition(run.events, number) for number in range(N_PARTITIONS)]
    answer = run._reader.committed(asked, 10)
    assert all(each.leader_epoch is not None for each in answer), answer
    return [each.leader_epoch for each in answer]


def says_truncated(worker: WorkerProcess) -> str:
    """The worker ends because the log is another one; what it says."""
    assert worker.wait() == EXIT_OPERATOR, worker.log()
    (line,) = worker.said("a person has to decide")
    reason = str(line["reason"])
    assert reason.startswith("log_truncated at "), reason
    assert "--accept-reset" in reason
    return reason


@pytest.mark.kafka
def test_a_new_leader_that_has_everything_is_no_truncation(
    own_cluster: KafkaCluster, run: SmallRun
) -> None:
    fold(run, 400, mode="at-least-once")
    before = committed_epochs(run)
    worker = run.start()
    worker.wait_said("partition assigned", N_PARTITIONS)
    restart(own_cluster)
    run.send(400)
    run.wait_done()
    after = committed_epochs(run)
    assert all(new > old for old, new in zip(before, after, strict=True))
    worker.kill()

    # From the commit or a checkpoint of an earlier leader; then from the start of the log.
    fold(run, 100)
    run.store().flushdb()
    restart(own_cluster)
    fold(run, 100)
    assert not [line for worker in run.workers for line in worker.said("truncated")]
    check_equal(run.outputs(), expected_outputs(run))


@pytest.mark.kafka
def test_a_log_cut_off_and_filled_again_is_asked_about_wherever_reading_begins(
    own_cluster: KafkaCluster, run: SmallRun
) -> None:
    (node,) = own_cluster.nodes
    fold(run, 200)
    # The disk of partition 1 loses what comes next, as the log of a replica that fell behind.
    node.stop()
    log = node.directory / "data" / f"{run.events}-1"
    kept = Path(shutil.copytree(log, run.directory / "kept"))
    node.restart()
    own_cluster.wait_in_sync()
    run.send(200)
    live = run.start()
    run.wait_done()
    outputs = run.outputs()
    node.stop()
    shutil.rmtree(log)
    shutil.copytree(kept, log)
    node.restart()
    own_cluster.wait_in_sync()
    assert run.ends() == {0: 100, 1: 50, 2: 100, 3: 100}
    run.send(400)
    assert run.ends() == {0: 200, 1: 150, 2: 200, 3: 200}
    assert run.committed()[1] == 100

    # By one that had read the old log, from a checkpoint at the commit, from the log's start.
    says_truncated(live)
    for _ in range(2):
        worker = run.start()
        reason = says_truncated(worker)
        assert f"{run.events}[1]: the log before offset 100 is not the one" in reason
        assert "the record before it had leader epoch" in reason
        run.store().flushdb()
    assert worker.said("folding from the lineage's start")
    found = run.outputs()
    assert {s: said for s, said in found.items() if s.partition == 1} == {
        s: said for s, said in outputs.items() if s.partition == 1
    }

    run.move_offsets({1: 50})
    accepting = run.start("--accept-reset")
    run.wait_done()
    accepting.stop()
    assert [(entry.kind, entry.offset) for entry in journal_of(run)[1]] == [
        ("lineage", 0),
        ("reset", 50),
    ]
    fold(run, 100)
