"""Redis lost and the head of the input gone: the state comes from the topic, or from the spool.

Folding again from the lineage's start is impossible in each of these, so what comes out equal was
not made that way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import TopicPartition
from confluent_kafka.cimpl import NewTopic

from schemas.records import TopicPartition as InputPartition
from streams.checkpoint_topic import CheckpointTopic
from streams.embedded import EmbeddedValkey
from streams.kafka_chunks import KafkaChunkLog
from streams.spool import Spool
from streams.topics import TOPICS
from tests.delivery.kit import Run, SmallRun, WorkerProcess, wait_until
from tests.delivery.outputs import check_equal, check_sequences, n_records
from tests.delivery.traffic import N_PARTITIONS
from tests.kit.valkey_server import valkey_server

TAKEN = "state taken from a spare place"
(CHECKPOINTS,) = [spec for spec in TOPICS if spec.duty == "checkpoints"]


class Disturbed:
    """A run beside an undisturbed one over the same input, with a Redis of its own."""

    def __init__(self, quiet: SmallRun, run: Run, redis: EmbeddedValkey) -> None:
        self.quiet = quiet
        self.run = run
        self.redis = redis

    def lose_the_head(self, before: Mapping[int, int]) -> None:
        """Delete what lies before these offsets, as retention does."""
        assert all(offset > 0 for offset in before.values())
        cut = [TopicPartition(self.run.events, n, offset) for n, offset in before.items()]
        for future in self.run.admin.delete_records(cut).values():
            future.result(timeout=30)

    def finish_and_compare(self, worker: WorkerProcess, taken: Mapping[int, int]) -> None:
        """Send more, and see that it makes no difference that the state was taken from there."""
        worker.wait_said(TAKEN, n=N_PARTITIONS)
        said = {line["partition"]: line["offset"] for line in worker.said(TAKEN)}
        assert said == {f"{self.run.events}[{n}]": offset for n, offset in taken.items()}
        self.quiet.send(1_000)
        for each in (self.quiet, self.run):
            each.wait_done()
        worker.stop()
        found, expected = self.run.outputs(), self.quiet.outputs()
        assert n_records(expected, "alerts") > 10
        check_sequences(found)
        check_equal(found, expected)
        assert not worker.said("state_divergence")
        assert not worker.said("folding from the lineage's start")


@contextmanager
def disturbed(quiet: SmallRun, settings: Mapping[str, object]) -> Iterator[Disturbed]:
    worker = {"session_timeout_ms": 3_000, "checkpoint_interval_s": 0.1, **settings}
    with (
        valkey_server() as redis,
        Run(quiet.kafka, redis.url, quiet.events, detection=quiet.detection, worker=worker) as run,
    ):
        config = {**CHECKPOINTS.config, "retention.ms": "-1"}
        new = NewTopic(run.checkpoints_topic, num_partitions=3, config=config)
        run.admin.create_topics([new])[run.checkpoints_topic].result(timeout=30)
        quiet.start()
        yield Disturbed(quiet, run, redis)


def test_with_redis_wiped_and_the_head_gone_the_state_comes_from_the_topic(
    small_run: SmallRun, tmp_path: Path
) -> None:
    key = tmp_path / "checkpoint.key"
    key.write_text(os.urandom(32).hex())
    key.chmod(0o600)
    settings = {"checkpoint_topic_interval_s": 0.2, "checkpoint_key": f"${{file:{key}}}"}
    with disturbed(small_run, settings) as pair:
        run = pair.run
        topic = CheckpointTopic(
            KafkaChunkLog(run.kafka, run.checkpoints_topic, group=run.name), group=run.name
        )

        def kept() -> dict[int, int]:
            found = {n: topic.manifests(InputPartition(run.events, n)) for n in range(N_PARTITIONS)}
            return {n: manifests[0].next_offset for n, manifests in found.items() if manifests}

        worker = run.start(instance="a")
        small_run.send(2_000)
        wait_until(lambda: len(kept()) == N_PARTITIONS and min(kept().values()) > 0, worker.log)
        small_run.send(1_000)
        run.wait_done()
        worker.kill()
        pair.redis.kill()
        pair.redis.restart()
        taken = kept()
        topic.close()
        pair.lose_the_head(taken)

        pair.finish_and_compare(run.start(instance="a"), taken)


def test_with_redis_down_and_the_head_gone_the_state_comes_from_the_spool(
    small_run: SmallRun, tmp_path: Path
) -> None:
    with disturbed(small_run, {"spool_dir": str(tmp_path / "spool")}) as pair:
        run = pair.run
        spool = Spool(tmp_path / "spool", group=run.name)

        def kept() -> dict[int, int]:
            found = {n: spool.manifests(InputPartition(run.events, n)) for n in range(N_PARTITIONS)}
            return {n: manifests[0].next_offset for n, manifests in found.items() if manifests}

        worker = run.start(instance="a")
        small_run.send(1_000)
        run.wait_done()
        assert kept() == {}
        pair.redis.kill()
        small_run.send(1_000)
        wait_until(lambda: len(kept()) == N_PARTITIONS and min(kept().values()) > 250, worker.log)
        small_run.send(1_000)
        run.wait_done()
        worker.kill()
        taken = kept()
        pair.lose_the_head(taken)

        again = run.start(instance="a")
        again.wait_said(TAKEN, n=N_PARTITIONS)
        pair.finish_and_compare(again, taken)

        # A clean stop without Redis leaves everything in the spool: nothing is to be replayed.
        ends = run.ends()
        assert kept() == ends
        last = run.start(instance="a")
        last.wait_said(TAKEN, n=N_PARTITIONS)
        assert {line["replay"] for line in last.said("partition assigned")} == {0}
        pair.redis.restart()
        wait_until(lambda: kept() == {}, last.log)
        last.stop()
