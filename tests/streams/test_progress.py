"""What the worker says of itself: rates, what it has counted, and how far a replay is."""

from __future__ import annotations

from dataclasses import dataclass

from structlog.testing import capture_logs

from schemas.config import DetectionConfig
from streams.lineage import Lineage
from streams.progress import REPLAY_INTERVAL_S, STATUS_INTERVAL_S, Progress
from streams.recovery import Recovered
from streams.worker import Detection, OutputTopics, PartitionWorker
from tests.streams.events import TP, shifting_stream

LINEAGE = Lineage(deployment="driftsentry", topic_id="t", partition=0, start_offset=0)
STREAM = shifting_stream(400, seed=5, shift_at=400, bad_every=50)


@dataclass
class ManualClock:
    now_s: float = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def worker(live_from: int = 0) -> PartitionWorker:
    detection = Detection(DetectionConfig(), None)
    topics = OutputTopics("alerts", "dead", "journal")
    return PartitionWorker(TP, LINEAGE, detection, 0, topics, live_from=live_from)


def test_the_status_has_the_rate_and_what_was_counted_and_no_zeros() -> None:
    clock, partition = ManualClock(), worker()
    progress = Progress(clock)
    with capture_logs() as lines:
        progress.report({TP: partition}, {})
        partition.process(STREAM)
        progress.committed(3)
        clock.sleep(STATUS_INTERVAL_S)
        progress.report({TP: partition}, {TP: 0.0})

    (status,) = [line for line in lines if line["event"] == "status"]
    assert status["records_per_s"] == 400 / STATUS_INTERVAL_S
    assert (status["partitions"], status["paused"], status["outputs"]) == (1, 1, 3)
    assert (status["n_events"], status["n_predictions"]) == (392, 392)
    assert status["n_dead_letters"] == 8
    assert status["replay_debt"] == 400
    assert "n_labels" not in status


def test_the_replay_debt_is_what_lies_behind_the_newest_checkpoint() -> None:
    clock, partition = ManualClock(), worker()
    progress = Progress(clock)
    debts: list[int] = []
    progress.report({TP: partition}, {})
    for stop in (100, 300):
        partition.process(STREAM[partition.next_offset : stop])
        for checkpoint in (-1, 40, 250, 310):
            partition.checkpointed(checkpoint, "digest")
            clock.sleep(STATUS_INTERVAL_S)
            with capture_logs() as lines:
                progress.report({TP: partition}, {})
            (status,) = lines
            debts.append(status["replay_debt"])
    assert debts == [100, 60, 0, 0, 300, 260, 50, 0]


def test_a_replay_says_how_far_it_is_and_when_it_is_complete() -> None:
    clock, partition = ManualClock(), worker(live_from=400)
    progress = Progress(clock)
    with capture_logs() as lines:
        progress.assigned(TP, partition, Recovered(partition, 400))
        partition.process(STREAM[:100])
        clock.sleep(REPLAY_INTERVAL_S)
        progress.report({TP: partition}, {})
        partition.process(STREAM[100:])
        clock.sleep(REPLAY_INTERVAL_S)
        progress.report({TP: partition}, {})

    said = {line["event"]: line for line in lines}
    assert said["partition assigned"]["replay"] == 400
    assert (said["replay"]["events_done"], said["replay"]["events_left"]) == (100, 300)
    assert said["replay"]["seconds_left"] == 6
    assert said["replay complete"]["events"] == 400
