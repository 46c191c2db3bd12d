"""The store is a cache: gone, back, empty, older or hanging, it changes nothing that is said."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from confluent_kafka import TopicPartition

from tests.delivery.kit import SmallRun, dumped, wait_until
from tests.delivery.oracle import expected_outputs
from tests.delivery.outputs import check_equal, check_sequences, n_records
from tests.kit.valkey_server import valkey_server

REPLAYED = "replay complete"


def all_saved(run: SmallRun) -> Callable[[], bool]:
    """Whether every partition has a checkpoint at its end."""

    def saved() -> bool:
        ends = run.ends()
        return all(kept[:1] == [ends[number]] for number, kept in run.checkpoints().items())

    return saved


def test_without_redis_it_detects_and_checkpoints_come_when_it_is_back(small_run: SmallRun) -> None:
    with valkey_server() as server:
        server.kill()
        small_run.redis_url = server.url
        worker = small_run.start()
        small_run.send(3_000)
        small_run.wait_done()
        worker.wait_said("goes on without Redis")
        worker.wait_said("checkpoint not saved; detection goes on")
        assert n_records(small_run.outputs(), "alerts") > 10

        # No event comes any more: what was not saved is saved all the same.
        server.restart()
        wait_until(all_saved(small_run), lambda: f"{small_run.checkpoints()}\n{worker.log()}")
        assert worker.said("the store takes checkpoints again")

        # It goes again in the middle, and the worker with it.
        server.kill()
        small_run.send(1_000)
        small_run.wait_done()
        worker.kill()
        server.restart()
        again = small_run.start()
        small_run.send(1_000)
        small_run.wait_done()
        assert len(again.said("folding from the lineage's start")) == 4
        again.stop()
    check_equal(small_run.outputs(), expected_outputs(small_run))


def test_a_hanging_redis_does_not_keep_the_worker_from_stopping(small_run: SmallRun) -> None:
    with valkey_server() as server:
        small_run.redis_url = server.url
        worker = small_run.start()
        small_run.send(2_000)
        small_run.wait_committed(500)
        server.send(signal.SIGSTOP)
        small_run.wait_done()
        worker.stop(timeout_s=10.0)
        server.send(signal.SIGCONT)
    check_equal(small_run.outputs(), expected_outputs(small_run))


def test_a_redis_that_was_rolled_back_costs_a_longer_replay(small_run: SmallRun) -> None:
    worker = small_run.start()
    small_run.send(2_000)
    small_run.wait_done()
    wait_until(all_saved(small_run), worker.log)
    with small_run.store() as store:
        old = dumped(store)
        small_run.send(2_000)
        small_run.wait_done()
        worker.stop()
        assert all_saved(small_run)()
        store.flushdb()
        for key, (content, ttl_ms) in old.items():
            store.restore(key, ttl_ms, content)
    assert all(kept[0] == 500 for kept in small_run.checkpoints().values())

    again = small_run.start()
    small_run.send(400)
    small_run.wait_done()
    again.stop()

    assert sorted(line["events"] for line in again.said(REPLAYED)) == [500] * 4
    assert not again.said("state_divergence")
    assert all_saved(small_run)()
    check_equal(small_run.outputs(), expected_outputs(small_run))


def test_a_state_that_cannot_be_had_pauses_its_partition_alone(small_run: SmallRun) -> None:
    worker = small_run.start()
    small_run.send(2_000)
    small_run.wait_done()
    worker.stop()
    said_before = small_run.outputs()
    with small_run.store() as store:
        store.flushdb()
    cut = [TopicPartition(small_run.events, 2, 100)]
    for future in small_run.admin.delete_records(cut).values():
        future.result(timeout=30)
    small_run.send(2_000)

    again = small_run.start()
    small_run.wait_done([0, 1, 3])
    again.wait_said("partition paused: its state cannot be had")
    time.sleep(0.5)
    again.stop()

    assert small_run.committed()[2] == 500
    paused = again.said("partition paused")
    assert {line["partition"] for line in paused} == {f"{small_run.events}[2]"}
    found, expected = small_run.outputs(), expected_outputs(small_run)
    others = {stream: said for stream, said in found.items() if stream.partition != 2}
    check_equal(
        others, {stream: said for stream, said in expected.items() if stream.partition != 2}
    )
    of_paused = {stream: said for stream, said in found.items() if stream.partition == 2}
    check_equal(of_paused, {s: said for s, said in said_before.items() if s.partition == 2})


def test_a_state_that_cannot_be_had_is_waited_for(small_run: SmallRun) -> None:
    with valkey_server() as server:
        small_run.redis_url = server.url
        worker = small_run.start()
        small_run.send(2_000)
        small_run.wait_done()
        worker.stop()
        cut = [TopicPartition(small_run.events, 2, 100)]
        for future in small_run.admin.delete_records(cut).values():
            future.result(timeout=30)

        server.send(signal.SIGSTOP)
        again = small_run.start()
        small_run.send(1_000)
        small_run.wait_done([0, 1, 3])
        again.wait_said("partition paused: its state cannot be had")
        server.send(signal.SIGCONT)
        small_run.wait_done([2])
        again.stop()

    check_sequences(small_run.outputs())
    paused = again.said("partition paused")
    assert {line["partition"] for line in paused} == {f"{small_run.events}[2]"}
    assert small_run.committed() == dict.fromkeys(range(4), 750)
