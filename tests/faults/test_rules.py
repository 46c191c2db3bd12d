"""Under load, what changes a fold or takes its events away: it goes on, or stops, as is written.

The cases that need an empty group (a moved offset, a topic made again) are in tests/delivery.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition

from tests.delivery.kit import wait_until
from tests.delivery.oracle import expected_outputs, journal_of
from tests.delivery.outputs import Outputs, check_equal
from tests.delivery.verifying import report
from tests.faults.audit import audit
from tests.faults.deployment import Deployment, Site

pytestmark = pytest.mark.kafka

SECOND = {"generation": 2, "detectors": {"page_hinkley": {"enabled": True, "threshold": 20.0}}}
CUT = 2


@pytest.fixture
def run(site: Site) -> Iterator[Deployment]:
    # Who is stopped for some seconds stays a member.
    with Deployment(site, members=("a", "b"), worker={"session_timeout_ms": 30_000}) as run:
        run.begin()
        yield run


def test_a_higher_generation_begins_at_a_barrier_while_events_come(run: Deployment) -> None:
    # One after the other, and one that is killed while the other still has the older config.
    run.members.pop("a").stop()
    run.detection |= SECOND
    run.recovery_s(run.ensure_members)
    run.members["b"].kill()
    run.recovery_s(run.ensure_members)
    wait_until(
        lambda: all(said is not None and said.generation == 2 for said in run.metadata().values()),
        run.logs,
    )
    assert audit(run).is_clean
    for entries in journal_of(run).values():
        assert [(entry.kind, entry.generation) for entry in entries] == [
            ("lineage", 1),
            ("config", 2),
        ]


def test_events_that_retention_has_removed_stop_their_partition_alone(run: Deployment) -> None:
    for worker in run.members.values():
        worker.send(signal.SIGSTOP)
    # Far more than what may have been on its way to them.
    end = run.ends()[CUT]
    wait_until(lambda: run.ends()[CUT] > end + 100, "no events come")
    cut = TopicPartition(run.events, CUT, run.ends()[CUT] - 10)
    run.admin.delete_records([cut])[cut].result(timeout=30)
    for worker in run.members.values():
        worker.send(signal.SIGCONT)

    # Whoever has it ends, says why, and is started again; from then on it is paused. One that was
    # stopped within a transaction has to take up its partitions anew, and pauses it at once.
    def is_paused() -> bool:
        run.ensure_alive()
        return bool(_said(run, "partition paused: its state cannot be had"))

    wait_until(is_paused, run.logs)
    run.feed.stop()
    run.wait_done([number for number in run.ends() if number != CUT])
    assert run.n_ended == 0 or _said(run, "its retention has removed it")
    assert {line["partition"] for line in _said(run, "partition paused")} == {
        f"{run.events}[{CUT}]"
    }
    assert run.positions()[CUT] < cut.offset
    check_equal(_others(run.outputs()), _others(expected_outputs(run)))
    of_others = [word for n in run.ends() if n != CUT for word in ("--partition", str(n))]
    verified = report(run, *of_others)
    assert verified["exit_code"] == 0, verified
    # What retention has taken nobody can fold again, and that is what is said.
    verified = report(run, "--partition", str(CUT))
    assert verified["exit_code"] == 3, verified
    assert not verified["differences"], verified


def _said(run: Deployment, text: str) -> list[dict[str, object]]:
    return [line for worker in run.workers for line in worker.said(text)]


def _others(outputs: Outputs) -> Outputs:
    return {stream: said for stream, said in outputs.items() if stream.partition != CUT}
