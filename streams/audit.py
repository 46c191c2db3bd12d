"""The audit of one lineage: fold its events again, compare what that says with what was published.

Pure: records and the observed outputs come in, a verdict comes out. The fold is the worker's own
(`streams/worker.py`); what to fold, and from where, is decided in `streams/audit_plan.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.records import Record, TopicPartition
from schemas.source_hash import SourceKey
from streams.audit_ledger import Ledger, Place
from streams.audit_observed import OUTPUTS_OF, Observed, OutputDuty, as_seen
from streams.audit_verdict import Difference, Kind, Verdict
from streams.checkpoint import Checkpoint, state_digest
from streams.duties import Duty, FormerKey
from streams.lineage import JournalEntry, Lineage, Metadata
from streams.worker import Detection, OutputTopics, PartitionWorker

_TOPICS: Final[Mapping[Duty, OutputTopics]] = {
    "drift": OutputTopics("alerts", "dead_letter", "journal"),
    "security": OutputTopics("anomalies", "dead_letter", "journal"),
}
"""Each topic under the name that its ledger has."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """A state that somebody else knows: the fold must have the same digest at this offset."""

    offset: int
    digest: str
    said_by: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a lineage is to be verified, and against what."""

    tp: TopicPartition
    lineage: Lineage
    entries: tuple[JournalEntry, ...]
    """The journal's records of the lineage, in their order; empty where nothing is folded."""
    due: int
    """What is said of records before this offset must have been published."""
    end: int
    """So far records are folded at most; past `due` only while outputs are there to compare."""
    checkpoint: Checkpoint | None = None
    """Where the fold begins; None: at the lineage's start."""
    metadata: Metadata | None = None
    """What the commit of `due` says of the state there."""
    milestones: tuple[Milestone, ...] = ()
    n_later: Mapping[OutputDuty, int] | None = None
    """The last numbers of a commit made after that of `due`."""
    folds: bool = True
    """False: only the numbers of what was published are looked at."""

    @property
    def start(self) -> int:
        """The first offset that is folded."""
        at = self.checkpoint
        return self.lineage.start_offset if at is None else at.next_offset


class LineageAudit:
    """The fold of a plan, and what comes of the comparison."""

    def __init__(
        self,
        plan: Plan,
        observed: Observed,
        source_key: SourceKey | None = None,
        *,
        repeats_allowed: bool = False,
        n_examples: int = 5,
    ) -> None:
        """`source_key` is used where it is the one that the journal names."""
        self.plan: Final = plan
        self.verdict: Final = Verdict(n_examples)
        self._source_key: Final = source_key
        self._key_is_known = True
        at = plan.checkpoint
        lineage = plan.lineage
        base = dict.fromkeys(OUTPUTS_OF[lineage.duty], 0)
        if at is not None:
            n_alerts, n_dead = int(at.fields["n_alerts"]), int(at.fields["n_dead"])
            base = last_numbers(lineage, n_alerts, n_dead)
        self._ledgers: Final[dict[str, Ledger]] = {
            duty: Ledger(
                Place(duty, plan.tp.partition, lineage.id, lineage.start_offset),
                observed,
                base[duty],
                self.verdict,
                repeats_allowed=repeats_allowed,
            )
            for duty in OUTPUTS_OF[lineage.duty]
        }
        self._is_owed = True

    def run(self, batches: Iterable[Sequence[Record]]) -> Verdict:
        """Fold the partition's records from `plan.start` on; what lies past `plan.end` is left.

        `batches` hold every record of the log before `plan.end`, in order, without repeats; it is
        read only as far as is needed.
        """
        plan = self.plan
        if not plan.folds:
            said = plan.metadata
            n_alerts, n_dead = (0, 0) if said is None else (said.n_alerts, said.n_dead)
            for duty, number in last_numbers(plan.lineage, n_alerts, n_dead).items():
                self._ledgers[duty].close_unfolded(number)
            return self.verdict
        worker, stops = self._worker()
        for records in batches:
            self._fold(worker, stops, records)
            if not stops and not self._wants_more():
                break
        while stops:
            self._stop_at(worker, stops.pop(0))
        for duty in OUTPUTS_OF[plan.lineage.duty]:
            later = 0 if plan.n_later is None else plan.n_later[duty]
            self._ledgers[duty].close(later)
        self.verdict.n_events += worker.n_records
        if plan.checkpoint is not None:
            self.verdict.n_events -= int(plan.checkpoint.fields["n_records"])
        return self.verdict

    def _wants_more(self) -> bool:
        return self.plan.due < self.plan.end and any(
            ledger.has_more for ledger in self._ledgers.values()
        )

    def _worker(self) -> tuple[PartitionWorker, list[int]]:
        """The fold at its start, and the offsets at which something besides it happens."""
        plan, at = self.plan, self.plan.checkpoint
        first, since = plan.entries[0], plan.lineage.start_offset
        if at is not None:
            since = int(at.fields["config_from"])
            configs = (e for e in plan.entries if e.document is not None)
            first = next(e for e in configs if e.config == at.config_identity)
        worker = PartitionWorker(
            plan.tp,
            plan.lineage,
            self._detection(first),
            since,
            _TOPICS[plan.lineage.duty],
            at,
            live_from=plan.start,
        )
        self._in_force = first
        # By generation and number, as in recovery: they can stand at the very offset where this
        # begins.
        self._switches = [
            entry
            for entry in plan.entries
            if (entry.kind == "config" and entry.generation > first.generation)
            or (entry.command is not None and entry.command.number > worker.n_commands)
        ]
        stops = {plan.due, *(each.offset for each in plan.milestones)}
        stops |= {entry.offset for entry in self._switches}
        return worker, sorted(stops)

    def _detection(self, entry: JournalEntry) -> Detection:
        """The config of a journal record, under the key it names if that is ours."""
        assert entry.document is not None  # that of a command is not asked for
        key = self._source_key if entry.source_key is not None else None
        if entry.source_key is not None and (key is None or key.fingerprint != entry.source_key):
            if entry.lineage.duty == "security":
                # Nothing is folded under it: planning has seen to that.
                return Detection(entry.document, FormerKey(entry.source_key), "security")
            self._key_is_known = False
            key = None
            self.verdict.note(
                f"the source key with fingerprint {entry.source_key} is not configured: alerts and "
                "dead letters do not depend on it and are compared, state digests are not"
            )
        return Detection(entry.document, key, entry.lineage.duty)

    def _fold(self, worker: PartitionWorker, stops: list[int], records: Sequence[Record]) -> None:
        while records:
            cut = bisect_left(records, stops[0] if stops else self.plan.end, key=_offset)
            if cut:
                worker.process(records[:cut])
                self._compare(worker)
            records = records[cut:]
            if records and not stops:
                return
            if records:
                self._stop_at(worker, stops.pop(0))
                if not stops and not self._wants_more():
                    return

    def _compare(self, worker: PartitionWorker) -> None:
        for output in worker.take_outputs():
            self._ledgers[output.topic].expect(as_seen(output), is_owed=self._is_owed)

    def _stop_at(self, worker: PartitionWorker, offset: int) -> None:
        """Everything before `offset` is folded: compare the state, do what is journaled there."""
        worker.next_offset = offset
        due_here = [each for each in self.plan.milestones if each.offset == offset]
        digests = [state_digest(worker.parts())] if due_here else []
        while self._switches and self._switches[0].offset <= offset:
            entry = self._switches.pop(0)
            if entry.command is not None:
                worker.obey(entry.command, offset, tells=True)
                self._compare(worker)
            else:
                self._in_force = entry
                worker.switch(self._detection(entry), offset)
            if due_here:
                # A checkpoint there may have been made before it or after it.
                digests.append(state_digest(worker.parts()))
        for milestone in due_here if self._key_is_known else []:
            if milestone.digest not in digests:
                text = f"at offset {offset} {milestone.said_by} knows another state"
                self._differs(Kind.DIGEST, text)
        if offset == self.plan.due:
            self._is_owed = False
            if self.plan.metadata is not None:
                self._check_metadata(worker, self.plan.metadata)

    def _check_metadata(self, worker: PartitionWorker, said: Metadata) -> None:
        mine: dict[str, object] = {
            "generation": self._in_force.generation,
            "config": self._in_force.config,
            "config_from": worker.config_from,
            "n_events": worker.work.counters["n_events"],
            "n_alerts": worker.n_alerts,
            "n_dead": worker.n_dead,
            "n_commands": worker.n_commands,
        }
        for name, value in mine.items():
            if getattr(said, name) != value:
                text = f"{name} is {getattr(said, name)}, and {value} in the fold"
                self._differs(Kind.METADATA, text)

    def _differs(self, kind: Kind, detail: str) -> None:
        plan = self.plan
        self.verdict.differs(Difference(kind, plan.tp.partition, plan.lineage.id, detail))


def last_numbers(lineage: Lineage, n_alerts: int, n_dead: int) -> dict[OutputDuty, int]:
    """The last number on each topic of a lineage's duty, as a commit or a checkpoint counts them.

    What the security duty tells is counted where the drift duty counts alerts.
    """
    number = {"alerts": n_alerts, "anomalies": n_alerts, "dead_letter": n_dead}
    return {duty: number[duty] for duty in OUTPUTS_OF[lineage.duty]}


def _offset(record: Record) -> int:
    return record.offset
