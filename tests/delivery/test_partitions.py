"""Partitions are added to a topic that is being folded: the worker goes on, and says it loudly."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka.cimpl import NewPartitions

from tests.delivery.kit import SmallRun
from tests.delivery.oracle import expected_outputs, journal_of
from tests.delivery.outputs import check_equal
from tests.delivery.traffic import produce, small_stream
from tests.delivery.verifying import report

ADDED = "partition added to the topic"
# By default a client looks for new partitions every five minutes.
SOON: dict[str, Any] = {"kafka": {"topic.metadata.refresh.interval.ms": 500}}


@pytest.mark.parametrize("is_running", [True, False], ids=["while it runs", "while it does not"])
def test_an_added_partition_gets_a_lineage_from_its_first_record_on(
    small_run: SmallRun, *, is_running: bool
) -> None:
    small_run.send(800)
    worker = small_run.start(**SOON)
    small_run.wait_done()
    if not is_running:
        worker.stop()
    moved = [sent._replace(partition=4 + i % 2) for i, sent in enumerate(small_stream(1_200, 800))]
    new = NewPartitions(small_run.events, 6)
    small_run.admin.create_partitions([new])[small_run.events].result(timeout=30)
    produce(small_run.kafka, small_run.events, moved, 800)
    if not is_running:
        # The records of before are not passed over, whatever a first start is told.
        worker = small_run.start(start="latest", **SOON)
    small_run.wait_done()
    worker.stop()

    entries = journal_of(small_run)
    assert {n: [entry.kind for entry in of] for n, of in entries.items()} == {
        n: ["lineage"] for n in range(6)
    }
    assert {n: of[0].n_partitions for n, of in entries.items()} == {
        **dict.fromkeys(range(4), 4),
        **dict.fromkeys((4, 5), 6),
    }
    assert [entries[n][0].reason for n in range(6)] == [
        *[""] * 4,
        *["the topic had 4 partitions when it was first folded"] * 2,
    ]
    assert sorted(line["partition"] for line in worker.said(ADDED)) == [
        f"{small_run.events}[4]",
        f"{small_run.events}[5]",
    ]
    outputs = small_run.outputs()
    assert {stream.partition for stream in outputs} == set(range(6))
    check_equal(outputs, expected_outputs(small_run))
    verified = report(small_run)
    assert verified["exit_code"] == 0, verified
    assert verified["n_partitions"] == 6

    # It is said once.
    again = small_run.start()
    small_run.send(40)
    small_run.wait_done([0])
    again.stop()
    assert not again.said(ADDED)
