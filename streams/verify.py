"""`driftsentry verify`: fold events and journal again and compare with what was published.

The order matters while workers go on: first what is committed, then the journal, then the output
topics, then what is committed by then. So whatever is committed at first has its outputs read, and
whatever was read belongs to a commit that is known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from schemas.records import Record, TopicPartition
from schemas.source_hash import SourceKey
from streams.audit import LineageAudit, Plan
from streams.audit_observed import OUTPUTS_OF, Observed
from streams.audit_plan import Facts, lineage_ids, plan_partition
from streams.audit_reader import AuditReader
from streams.audit_report import Report
from streams.audit_verdict import Difference, Kind, Verdict, differing_fields
from streams.checkpoint import Checkpoint, CheckpointError, fetch_checkpoint
from streams.config import Settings, of_duty
from streams.credentials import checkpoint_key, source_key
from streams.duties import Duty
from streams.opened import answering_reader_of, store_of
from streams.ports import LogError, StateStore, StoreError

REPORT_S: Final = 2.0
"""How often progress is said."""


class NoSuchPartitionError(Exception):
    """A partition was asked for that the events topic does not have."""


@dataclass(slots=True)
class AuditProgress:
    """Says now and then how far the fold is."""

    say: Callable[[str], None]
    n_total: int = 0
    now_s: Callable[[], float] = time.monotonic
    n_done: int = 0
    _n_first: int = 0
    _begun_s: float | None = None
    _due_s: float = 0.0

    def folded(self, tp: TopicPartition, n: int) -> None:
        """So many more records are folded."""
        self.n_done += n
        now_s = self.now_s()
        if self._begun_s is None:
            # Not counted: the kernels were loaded meanwhile, or compiled.
            self._n_first, self._begun_s, self._due_s = n, now_s, now_s + REPORT_S
        if now_s < self._due_s:
            return
        self._due_s = now_s + REPORT_S
        rate = max(1, self.n_done - self._n_first) / max(now_s - self._begun_s, 1e-3)
        left_s = max(0, self.n_total - self.n_done) / rate
        self.say(
            f"{tp}: {self.n_done:,} of about {self.n_total:,} events, {rate:,.0f} a second, "
            f"{left_s:,.0f} s left"
        )


def run_verify(
    settings: Settings,
    say: Callable[[str], None],
    *,
    duty: Duty | None = None,
    partitions: Sequence[int] = (),
    from_checkpoint: bool = False,
    n_examples: int = 5,
) -> list[Report]:
    """Verify these partitions of the events topic, or all of them; `say` takes progress.

    A report for each duty that somebody does, or for the one that is asked for; where nobody does
    any, that of the drift duty says so. Raises `LogError` where Kafka gives no answer,
    `NoSuchPartitionError`, `ConfigError`.
    """
    wanted: tuple[Duty, ...] = ("drift", "security") if duty is None else (duty,)
    reports = [
        _report(
            of_duty(settings, each),
            each,
            say if duty is not None else _under_name(say, each),
            partitions,
            from_checkpoint=from_checkpoint,
            n_examples=n_examples,
            is_asked_for=each == wanted[0],
        )
        for each in wanted
    ]
    return [report for report in reports if report.has_begun] or reports[:1]


def _under_name(say: Callable[[str], None], duty: Duty) -> Callable[[str], None]:
    return lambda text: say(f"{duty}: {text}")


def _report(
    settings: Settings,
    duty: Duty,
    say: Callable[[str], None],
    partitions: Sequence[int],
    *,
    from_checkpoint: bool,
    n_examples: int,
    is_asked_for: bool,
) -> Report:
    """That of one duty, of whose group the settings are.

    Of one that is not asked for no output is read where nobody does it: its topic may be missing.
    """
    begun_s = time.monotonic()
    key = source_key(settings)
    reader = answering_reader_of(settings)
    try:
        report = Report(
            settings.group,
            settings.topics.events,
            settings.mode == "exactly-once" and not reader.is_mock(),
            from_checkpoint,
            Verdict(n_examples),
            duty,
        )
        checkpoints = _checkpoints(settings, report.verdict) if from_checkpoint else _no_checkpoints
        audit = _Audit(reader, report, None if key is None else SourceKey(key), say, is_asked_for)
        audit.run(partitions, checkpoints)
    finally:
        reader.close()
    report.seconds = time.monotonic() - begun_s
    return report


Checkpoints = Callable[[TopicPartition], list[Checkpoint]]


def _no_checkpoints(_tp: TopicPartition) -> list[Checkpoint]:
    return []


def _checkpoints(settings: Settings, verdict: Verdict) -> Checkpoints:
    """Reads a partition's checkpoints; those that are refused are said."""
    key = checkpoint_key(settings)
    store = store_of(settings)

    def read(tp: TopicPartition) -> list[Checkpoint]:
        try:
            return list(load_checkpoints(store, tp, key, verdict.note))
        except StoreError as error:
            verdict.unverified.append(f"{tp}: {error}")
            return []

    return read


def load_checkpoints(
    store: StateStore, tp: TopicPartition, key: bytes | None, note: Callable[[str], None]
) -> Iterator[Checkpoint]:
    """The kept checkpoints of a partition; `note` hears of each that is refused."""
    for stored in store.manifests(tp):
        try:
            yield fetch_checkpoint(stored.manifest, partial(store.segments, tp), key)
        except CheckpointError as error:
            note(f"{tp}: the checkpoint at {stored.next_offset} cannot be used: {error}")


@dataclass(slots=True)
class _Audit:
    reader: AuditReader
    report: Report
    source_key: SourceKey | None
    say: Callable[[str], None]
    is_asked_for: bool

    def run(self, wanted: Sequence[int], checkpoints: Checkpoints) -> None:
        reader, report, verdict = self.reader, self.report, self.report.verdict
        numbers = reader.partitions(report.topic)
        if absent := sorted(set(wanted) - set(numbers)):
            names = ", ".join(map(str, absent))
            raise NoSuchPartitionError(f"{report.topic} has no partition {names}")
        every = [TopicPartition(report.topic, number) for number in numbers]
        tps = [tp for tp in every if not wanted or tp.partition in wanted]
        committed = reader.committed(tps)
        journals = reader.journals(every)
        report.has_begun = any(journals.values()) or any(committed.values())
        if not (report.has_begun or self.is_asked_for):
            return
        observed = self._observed(set().union(*(lineage_ids(journals[tp]) for tp in every)))
        settled = reader.committed(tps)
        topic_id = reader.topic_id()
        plans: list[Plan] = []
        for tp in tps:
            if not journals[tp] and committed[tp] is None:
                report.not_begun.append(tp.partition)
                continue
            planned = plan_partition(
                Facts(
                    tp,
                    topic_id,
                    reader.watermarks(tp),
                    journals[tp],
                    committed[tp],
                    settled[tp],
                    checkpoints(tp),
                    report.from_checkpoint,
                    report.exactly_once,
                    None if self.source_key is None else self.source_key.fingerprint,
                )
            )
            plans += planned.plans
            verdict.unverified += planned.unverified
            for text in planned.notes:
                verdict.note(text)
        self._fold(plans, observed)
        report.n_partitions = len({plan.tp for plan in plans if plan.folds})
        report.foreign = [(*name, n) for name, n in sorted(observed.foreign.items())]

    def _observed(self, lineages: set[str]) -> Observed:
        duties = OUTPUTS_OF[self.report.duty]
        observed = Observed(frozenset(lineages), {duty: self.reader.low(duty) for duty in duties})
        for duty in duties:
            n_read, due_s = 0, time.monotonic() + REPORT_S
            for records in self.reader.outputs(duty):
                observed.extend(duty, records)
                n_read += len(records)
                if time.monotonic() >= due_s:
                    due_s = time.monotonic() + REPORT_S
                    self.say(f"{n_read:,} records read from the {duty.replace('_', '-')} topic")
        return observed

    def _fold(self, plans: Sequence[Plan], observed: Observed) -> None:
        n_total = sum(max(0, plan.due - plan.start) for plan in plans if plan.folds)
        progress = AuditProgress(self.say, n_total)
        for plan in plans:
            audit = LineageAudit(
                plan,
                observed,
                self.source_key,
                repeats_allowed=not self.report.exactly_once,
                n_examples=self.report.verdict.n_examples,
            )
            try:
                verdict = audit.run(self._events(plan, progress))
            except LogError as error:
                self.report.verdict.unverified.append(f"{plan.tp}: {error}")
                continue
            self._explain(verdict)
            self.report.verdict.add(verdict)

    def _events(self, plan: Plan, progress: AuditProgress) -> Iterator[list[Record]]:
        for records in self.reader.events(plan.tp, plan.start, plan.end):
            yield records
            progress.folded(plan.tp, len(records))

    def _explain(self, verdict: Verdict) -> None:
        """Say which fields of an altered record differ: only the examples are read again."""
        verdict.examples = [self._explained(each) for each in verdict.examples]

    def _explained(self, each: Difference) -> Difference:
        if each.kind is not Kind.ALTERED or each.expected is None or each.duty is None:
            return each
        assert each.position is not None
        found = self.reader.output(each.duty, each.position)
        if found is None:
            return each
        names = ", ".join(differing_fields(each.expected, found))
        return replace(each, detail=f"{each.detail}: {names}")
