"""When each partition's state is saved: after a while, after enough events, and before it goes.

What a partition that is held consists of stands here too: the state to save, and the commit at
which it may be saved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from schemas.records import TopicPartition
from streams.checkpointer import Checkpointer
from streams.ports import Clock, Committed
from streams.recovery import Recovered
from streams.spares import Spares
from streams.worker import PartitionWorker

ALERT_INTERVAL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often things happen."""

    poll_records: int = 1_024
    poll_timeout_s: float = 0.05
    commit_interval_s: float = 0.2
    alert_interval_s: float = ALERT_INTERVAL_S
    """Between two commits where an alert waits for the second."""
    checkpoint_interval_s: float = 30.0
    checkpoint_events: int = 200_000
    view_interval_s: float = 2.0
    drain_s: float = 5.0


@dataclass(slots=True)
class Held:
    """A partition this process folds."""

    worker: PartitionWorker
    committed: int
    recovered: Recovered | None
    """What the replay is still to be checked against."""
    checkpoint_due_s: float
    taken_up_at: Committed | None
    """What was committed when it was taken up."""
    checkpoint_records: int = 0
    """`worker.n_records` at the latest checkpoint; -1 where the store has none of this state."""
    n_heard: int = -1
    """Commands that the process had heard of in all when this partition last looked."""


@dataclass(slots=True)
class Checkpoints:
    """Hands states over to be saved, each at an offset that is committed."""

    checkpointer: Checkpointer
    spares: Spares
    clock: Clock
    cadence: Cadence

    def save_due(self, helds: Mapping[TopicPartition, Held], now_s: float) -> None:
        """Save the states whose time has come, or that have folded enough since the last time."""
        self._note_saved(helds)
        for tp, held in helds.items():
            n_records = held.worker.n_records - held.checkpoint_records
            # One that could not be saved is tried again by time alone: it is a whole state.
            is_far = held.checkpoint_records >= 0 and n_records >= self.cadence.checkpoint_events
            due = now_s >= held.checkpoint_due_s or is_far
            if (due and n_records > 0) or self.spares.wants(tp, held.worker.next_offset):
                self.save(tp, held)

    def save_now(
        self, helds: Mapping[TopicPartition, Held], leaving: Collection[TopicPartition]
    ) -> None:
        """Save the states of those that are leaving and wait for it, `drain_s` at most."""
        deadline_s = self.clock.monotonic_s() + self.cadence.drain_s
        # An older state of a partition may be under way, and only one at a time can be.
        self.checkpointer.wait(self.cadence.drain_s)
        self._note_saved(helds)
        for tp in leaving:
            if helds[tp].worker.n_records != helds[tp].checkpoint_records:
                self.save(tp, helds[tp])
        self.checkpointer.wait(max(0.0, deadline_s - self.clock.monotonic_s()))

    def save(self, tp: TopicPartition, held: Held) -> None:
        """Save the state, if it stands at a committed offset (a replay stands before one)."""
        worker = held.worker
        replaying = held.recovered is not None and worker.next_offset < held.committed
        at_commit = held.recovered is None and worker.next_offset == held.committed
        if self.checkpointer.is_busy(tp) or not (replaying or at_commit):
            return
        self.checkpointer.submit(tp, worker.checkpoint())
        held.checkpoint_records = worker.n_records
        spread = 0.75 + 0.5 * (tp.partition % 16) / 16
        held.checkpoint_due_s = (
            self.clock.monotonic_s() + self.cadence.checkpoint_interval_s * spread
        )

    def _note_saved(self, helds: Mapping[TopicPartition, Held]) -> None:
        """Take note of what became of the checkpoints that were under way."""
        for tp, saved in self.checkpointer.finished().items():
            held = helds.get(tp)
            if held is None:
                continue
            if saved is None:
                # Due again, after the usual time: also where no event comes any more.
                held.checkpoint_records = -1
            elif held.worker.lineage.id == saved.lineage and held.recovered is None:
                held.worker.checkpointed(saved.next_offset, saved.digest)
