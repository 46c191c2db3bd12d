"""The loop: poll, fold, commit, checkpoint. The one place that orders side effects.

The order, for each stretch of records (docs/delivery.md says why):

1. poll (rebalance callbacks fire in here, and nowhere else);
2. fold, with no transaction open; outputs wait in each partition's outbox;
3. every `commit_interval_ms`, and sooner where an alert waits: outputs, offsets and metadata in one
   transaction;
4. only after a confirmed commit, at its offset: a checkpoint, saved in the background.

On an aborted transaction the same outputs are published again: the state is a function of the
position. Where the outcome is unknown, or ownership is lost, every state is dropped and taken up
again from what is committed; nothing is ever sent again blindly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from schemas.records import Record, TopicPartition
from streams.background import Background, BackgroundThread
from streams.checkpointer import Checkpointer
from streams.checkpoints import Cadence, Checkpoints, Held
from streams.generations import next_detection
from streams.lineage import JournalEntry, LineageError
from streams.liveness_teller import LivenessTeller
from streams.obedience import Obedience, has_run_out
from streams.ports import (
    AbortedError,
    Clock,
    CommandLog,
    CommitError,
    Commits,
    Committed,
    EventLog,
    FencedError,
    IndeterminateError,
    LogError,
    NoCommands,
    Output,
    RefusedError,
    StateStore,
)
from streams.progress import Progress
from streams.recovery import (
    OperatorNeededError,
    RecoverySettings,
    check_replay,
    recover,
)
from streams.replay_config import StateUnavailableError
from streams.spares import Spares
from streams.views import live_views
from streams.worker import Detection, OutputTopics

log = structlog.get_logger(__name__)

MAX_ABORTS: Final = 10
"""How often the same outputs are published again before the producer is abandoned."""

MAX_OUTBOX: Final = 16_384
"""Outputs that wait at most, and those of one piece of a poll: a commit that is not due is made."""

RETRY_S: Final = 5.0
"""How long a partition whose state cannot be had stays paused before it is tried again."""


@dataclass(slots=True)
class Runner:
    """A worker process: it owns the log, the commits and every partition's worker.

    `journal_key` gives a partition's key on the journal topic.
    """

    log: EventLog
    commits: Commits
    store: StateStore
    clock: Clock
    detection: Detection
    topics: OutputTopics
    recovery: RecoverySettings
    journal_key: Callable[[TopicPartition], bytes]
    cadence: Cadence = field(default_factory=Cadence)
    spares: Spares = field(default_factory=Spares)
    """Where checkpoints go, and are looked for, beside the store."""
    background: Background = field(default_factory=BackgroundThread)
    """Where checkpoints are saved."""
    commands: CommandLog = field(default_factory=NoCommands)
    """What people say."""
    liveness: LivenessTeller | None = None
    """Who says that events stay away; None: nobody."""
    held: dict[TopicPartition, Held] = field(default_factory=dict)
    adrift: dict[TopicPartition, float] = field(default_factory=dict)
    """Assigned partitions without a state, and when each is to be taken up again."""
    stopping: bool = False
    checkpointer: Checkpointer = field(init=False)
    checkpoints: Checkpoints = field(init=False)
    progress: Progress = field(init=False)
    obedience: Obedience = field(init=False)
    _commit_due_s: float = 0.0
    _alert_due_s: float = 0.0
    _view_due_s: float = 0.0

    def __post_init__(self) -> None:
        self.checkpointer = Checkpointer(
            self.store, self.recovery.checkpoint_key, self.spares, self.background
        )
        self.checkpoints = Checkpoints(self.checkpointer, self.spares, self.clock, self.cadence)
        self.progress = Progress(self.clock)
        self.obedience = Obedience(self.commands)

    def run(self) -> None:
        """Work until `stopping` is set; then drain, commit, checkpoint and leave.

        Raises `OperatorNeededError`, `FencedError` or `LogError`: the process must end.
        """
        self.log.subscribe(self)
        try:
            while not self.stopping:
                self.step()
            self.drain()
        finally:
            self._leave()

    def _leave(self) -> None:
        """Give everything back. What is not committed by now is dropped: an error has ended us."""
        self.on_lost([*self.held, *self.adrift])
        try:
            self.log.close()
        except LogError as error:
            log.warning("the group was not left properly", reason=str(error))
        self.checkpointer.close()

    def step(self) -> None:
        """One turn of the loop."""
        polled = self.log.poll(self.cadence.poll_records, self.cadence.poll_timeout_s)
        self._take_up_adrift()
        # What was read for one that is taken up anew belongs to the place where it stood before.
        anew = {tp for tp in list(self.held) if not self._settle(tp)}
        for tp, records in polled.items():
            if tp not in anew and not self.stopping:
                self._process(tp, records)
        self._obey()
        now_s = self.clock.monotonic_s()
        if now_s >= self._commit_due_s or (now_s >= self._alert_due_s and self._has_alerts()):
            self.commit()
            committed_s = self.clock.monotonic_s()
            self._commit_due_s = committed_s + self.cadence.commit_interval_s
            self._alert_due_s = committed_s + self.cadence.alert_interval_s
        self.checkpoints.save_due(self.held, now_s)
        self._show(now_s)
        if self.liveness is not None:
            self.liveness.step(self.held, now_s)
        self.progress.report({tp: held.worker for tp, held in self.held.items()}, self.adrift)

    def drain(self) -> None:
        """Commit what is folded and save every state."""
        self.commit()
        self.checkpoints.save_now(self.held, self.held.keys())

    # Folding

    def _process(self, tp: TopicPartition, records: Sequence[Record]) -> None:
        held = self.held.get(tp)
        if held is None:
            return
        live_from = held.worker.live_from
        first = held.worker.next_offset
        fresh = records
        if records[0].offset < first:
            fresh = [record for record in records if record.offset >= first]
        if held.recovered is not None:
            replayed = [record for record in fresh if record.offset < live_from]
            if replayed and not self._fold(held, replayed):
                return
            rest = fresh[len(replayed) :]
            if rest and held.worker.next_offset < live_from:
                # Only holes are left before the committed offset.
                held.worker.next_offset = live_from
            if not self._settle(tp):
                return
            fresh = rest
        if fresh:
            self._fold(held, fresh)

    def _fold(self, held: Held, records: Sequence[Record]) -> bool:
        """Fold these records; False where it was left off, or every state was dropped."""
        for _ in held.worker.steps(records):
            if len(held.worker.outbox) >= MAX_OUTBOX and not self.commit():
                return False
            if self.stopping:  # what is not folded is the next worker's
                break
        return held.worker.next_offset > records[-1].offset

    def _settle(self, tp: TopicPartition) -> bool:
        """Once a partition has replayed all that was committed, check it and go live.

        Returns False where the partition's state was dropped.
        """
        held = self.held.get(tp)
        if held is None:
            return False
        recovered = held.recovered
        if recovered is None or not held.worker.is_live:
            return True
        held.worker.settle()
        problem = check_replay(recovered)
        if problem:
            return self._diverged(tp, held, problem)
        held.recovered = None
        if recovered.begins:
            return self._barrier(
                tp, held, recovered.begins, recovered.reason, recovered.n_partitions
            )
        wanted = next_detection(held.worker, self.detection)
        if wanted is None:
            return True
        log.info("detection config switched", partition=str(tp), offset=held.worker.next_offset)
        held.worker.switch(wanted, held.worker.next_offset)
        return self._barrier(tp, held, "config", "")

    def _barrier(
        self, tp: TopicPartition, held: Held, kind: str, reason: str, n_partitions: int = 0
    ) -> bool:
        """Commit and journal, as one, what changes the fold at this offset; then a checkpoint."""
        entry = held.worker.journal_entry(kind, reason, n_partitions)
        if not self._journal(tp, held, [entry]):
            return False
        self.checkpoints.save(tp, held)
        return True

    def _journal(self, tp: TopicPartition, held: Held, entries: Sequence[JournalEntry]) -> bool:
        """Commit what changes the fold at this offset, with its journal and what comes of it."""
        worker, key = held.worker, self.journal_key(tp)
        outputs = [Output(self.topics.journal, -1, key, each.dump(), (), 0) for each in entries]
        outputs += worker.take_outputs()
        offsets = {tp: Committed(worker.next_offset, worker.metadata().dump())}
        if not self._publish(outputs, offsets):
            return False
        held.committed = worker.next_offset
        return True

    def _obey(self) -> None:
        """Do what people have said since the last time, in every partition that is live."""
        self.obedience.listen()
        for tp, held in list(self.held.items()):
            if held.recovered is not None:
                continue
            if held.n_heard == self.obedience.n_heard and not has_run_out(held.worker):
                continue
            if self.stopping or not self.commit():
                return
            held.n_heard = self.obedience.n_heard
            entries = self.obedience.obey(held.worker)
            if entries and not self._journal(tp, held, entries):
                return

    def _diverged(self, tp: TopicPartition, held: Held, problem: str) -> bool:
        """The replayed state is not the committed one: try an older checkpoint, else stop."""
        if self._has_moved(tp, held.taken_up_at):
            log.warning("another member has committed meanwhile", partition=str(tp))
            return self._take_up_again(tp, None)
        log.error("state_divergence", partition=str(tp), reason=problem)
        before = held.worker.loaded_offset
        if before < 0:
            raise OperatorNeededError(
                "state_divergence",
                tp,
                f"folded from the lineage's start, {problem}. Another numeric platform or a log "
                "that changed can cause this; delete the group's offset and use --accept-reset.",
            )
        return self._take_up_again(tp, before)

    def _take_up_again(self, tp: TopicPartition, before: int | None) -> bool:
        del self.held[tp]
        self._take_up(tp, before)
        return False

    def _has_moved(self, tp: TopicPartition, taken_up_at: Committed | None) -> bool:
        """Whether another member has committed since this one read the commit.

        So it is where this process stood still while it took the partition up and its session
        ended: what it read before and after contradicts itself, and means nothing.
        """
        return self.commits.committed([tp]).get(tp) != taken_up_at

    # Committing

    def _has_alerts(self) -> bool:
        """Whether somebody waits for the next commit; for a dead letter, of many maybe, nobody."""
        return any(held.worker.has_alerts for held in self.held.values())

    def commit(self) -> bool:
        """Publish all outputs and commit all progress; False where every state was dropped."""
        due = {
            tp: held
            for tp, held in self.held.items()
            if held.recovered is None and held.worker.next_offset > held.committed
        }
        if not due:
            return True
        outputs = [output for held in due.values() for output in held.worker.take_outputs()]
        offsets = {
            tp: Committed(held.worker.next_offset, held.worker.metadata().dump())
            for tp, held in due.items()
        }
        if not self._publish(outputs, offsets):
            return False
        for tp, held in due.items():
            held.committed = offsets[tp].offset
        self.progress.committed(len(outputs))
        return True

    def _publish(
        self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, Committed]
    ) -> bool:
        """Publish as one; False where every state was dropped because the outcome is not ours."""
        for attempt in range(MAX_ABORTS):
            try:
                self.commits.publish(outputs, offsets)
            except AbortedError as error:
                log.warning("transaction aborted; publishing the same again", reason=str(error))
                self.clock.sleep(min(0.02 * 2**attempt, 1.0))
            except (FencedError, RefusedError):
                raise
            except CommitError as error:
                self._drop_all(error)
                return False
            else:
                return True
        self._drop_all(IndeterminateError(f"aborted {MAX_ABORTS} times in a row"))
        return False

    def _drop_all(self, error: CommitError) -> None:
        """Forget every state; each partition is taken up again from what is committed."""
        log.warning("states dropped, to be taken up from the committed offsets", reason=str(error))
        now_s = self.clock.monotonic_s()
        self.log.pause(self.held.keys())
        self.adrift |= dict.fromkeys(self.held, now_s)
        self.held.clear()
        if isinstance(error, IndeterminateError):
            self.commits.reopen()

    def _show(self, now_s: float) -> None:
        """Refresh what dashboards see, if that is due."""
        if now_s >= self._view_due_s:
            workers = [held.worker for held in self.held.values() if held.recovered is None]
            if self.detection.duty == "drift":
                self.checkpointer.submit_views(live_views(workers))
            self._view_due_s = now_s + self.cadence.view_interval_s

    # Partitions come and go

    def on_assigned(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Recover these partitions; those whose state cannot be had yet stay paused."""
        starts: dict[TopicPartition, int] = {}
        for tp in tps:
            offset = self._recover(tp, None)
            if offset is not None:
                starts[tp] = offset
        return starts

    def on_revoked(self, tps: Sequence[TopicPartition]) -> None:
        """Commit what these partitions have folded, save their state, let them go."""
        mine = [tp for tp in tps if tp in self.held]
        if mine and self.commit():
            self.checkpoints.save_now(self.held, mine)
        self.on_lost(tps)

    def on_lost(self, tps: Sequence[TopicPartition]) -> None:
        """Drop these partitions."""
        for tp in tps:
            self.held.pop(tp, None)
            self.adrift.pop(tp, None)
            self.checkpointer.forget(tp)

    def _take_up_adrift(self) -> None:
        now_s = self.clock.monotonic_s()
        for tp in [tp for tp, due_s in self.adrift.items() if now_s >= due_s]:
            self._take_up(tp, None)

    def _take_up(self, tp: TopicPartition, before: int | None) -> None:
        """Recover an assigned partition and let it be delivered again."""
        offset = self._recover(tp, before)
        if offset is not None:
            self.log.resume(tp, offset)
        else:
            self.log.pause([tp])

    def _recover(self, tp: TopicPartition, before: int | None) -> int | None:
        """Where this partition goes on; None, and it is adrift, where its state cannot be had."""
        try:
            committed = self.commits.committed([tp]).get(tp)
            recovered = recover(
                tp,
                committed,
                self.commits,
                self.store,
                self.spares,
                self.recovery,
                self.detection,
                self.topics,
                before,
            )
        except (FencedError, RefusedError):
            raise
        except (StateUnavailableError, CommitError, LineageError) as error:
            self._set_adrift(tp, str(error))
            return None
        self.adrift.pop(tp, None)
        worker = recovered.worker
        now_s = self.clock.monotonic_s()
        self.held[tp] = Held(
            worker,
            recovered.committed,
            recovered,
            now_s + self.cadence.checkpoint_interval_s,
            committed,
            -1 if recovered.is_spare else worker.n_records,
        )
        self.progress.assigned(tp, worker, recovered)
        return worker.next_offset

    def _set_adrift(self, tp: TopicPartition, reason: str) -> None:
        log.warning("partition paused: its state cannot be had", partition=str(tp), reason=reason)
        self.adrift[tp] = self.clock.monotonic_s() + RETRY_S
