"""A poll is folded in pieces: a stop, or a commit, can come between two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa  # type: ignore[import-untyped]  # it comes without type hints
import pytest

from schemas.records import Record, Records, TopicPartition
from streams.memory_commits import MemoryCommits
from streams.ports import Committed, Output
from streams.worker import MAX_BYTES_AT_ONCE, PartitionWorker
from tests.streams.test_runner import EVENTS, FaultyCommits, House, house_with_events, undisturbed
from tests.streams.test_worker import worker as partition_worker

TP = TopicPartition("events", 0)


def stream_of_nothing(n_rows: int) -> bytes:
    """An Arrow stream of some 200 bytes, each row of which is refused."""
    batch = pa.record_batch([pa.nulls(n_rows)], names=["nothing"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.worker.MAX_BYTES_AT_ONCE", 1_500)


@pytest.mark.usefixtures("small_pieces")
def test_a_stop_in_the_middle_of_a_poll_leaves_the_rest_to_the_next_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = house_with_events()
    expected = undisturbed(house).outputs()
    run = house.run("stopped")
    fold = PartitionWorker._fold
    n_stops = 0
    for n_pieces in (1, 2, 3, 5, 8, 13, 21):
        runner = run.worker()
        left = n_pieces

        def counted(self: PartitionWorker, records: Records) -> None:
            nonlocal left
            fold(self, records)
            left -= 1
            runner.stopping |= left == 0  # noqa: B023 - it is used within this turn only

        with monkeypatch.context() as patch:
            patch.setattr(PartitionWorker, "_fold", counted)
            runner.run()
        assert left == 0, "it folded on"
        n_stops += any(
            house.broker.committed(run.name, tp) is not None for tp in EVENTS
        ) and not all(map(run.is_done, EVENTS))
    run.finish(run.worker())

    assert n_stops == 7
    assert run.outputs() == expected


@pytest.mark.usefixtures("small_pieces")
def test_many_outputs_do_not_wait_for_the_commit_that_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House()
    values = [stream_of_nothing(50), b"{}", None]
    house.produce([Record(TP, i, 1_000, b"m", values[i % 3]) for i in range(60)])
    run, at_once = house.run("bounded"), house.run("at-once")
    at_once.finish(at_once.worker())
    sizes: list[int] = []

    class Counted(FaultyCommits):
        def publish(
            self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, Committed]
        ) -> None:
            sizes.append(len(outputs))
            super().publish(outputs, offsets)

    monkeypatch.setattr("streams.runner.MAX_OUTBOX", 60)
    runner = run.worker()
    assert isinstance(runner.commits, MemoryCommits)
    runner.commits.__class__ = Counted
    run.finish(runner)

    assert run.outputs() == at_once.outputs()
    assert sum(len(rows) for rows in run.outputs().values()) == 20 * 52
    # A piece more than what may wait: one Arrow stream, since each counts as much as a piece.
    assert max(sizes) < 60 + 55


def test_arrow_streams_are_folded_few_at_a_time_however_short_they_are() -> None:
    value = stream_of_nothing(4_096)
    assert len(value) < 300
    records = Records.of([Record(TP, i, 1_000, b"m", value) for i in range(400)])

    cuts = partition_worker().cuts(records)

    assert cuts[-1] == 400
    assert max(b - a for a, b in zip([0, *cuts], cuts, strict=False)) <= 16
    assert partition_worker().cuts(Records.of([Record(TP, 0, 0, b"m", b"{}")] * 4_096)) == [4_096]
    assert MAX_BYTES_AT_ONCE == 8 * 2**20
