"""What of a partition can be verified: its lineages, from where to where, and what cannot. Pure.

Only the lineage of the commit has a known end. One that a reset has replaced is folded as far as
anything of it was published, or the journal speaks of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, get_args

import orjson

from schemas.records import TopicPartition
from streams.audit import Milestone, Plan, last_numbers
from streams.audit_observed import OutputDuty
from streams.checkpoint import Checkpoint, state_digest
from streams.duties import state_versions
from streams.lineage import (
    JournalEntry,
    Lineage,
    LineageError,
    Metadata,
    load_journal,
    load_metadata,
    once_each,
)
from streams.ports import Committed, Watermarks

_KINDS: Final = get_args(JournalEntry.model_fields["kind"].annotation)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one input partition.

    `committed` was asked for before the output topics were read, `settled` afterwards. With
    `from_checkpoint` the fold begins at the oldest of `checkpoints` that fits.
    """

    tp: TopicPartition
    topic_id: str
    watermarks: Watermarks
    journal: Sequence[bytes]
    committed: Committed | None
    settled: Committed | None
    checkpoints: Sequence[Checkpoint] = ()
    from_checkpoint: bool = False
    exactly_once: bool = True
    source_key: str | None = None
    """Fingerprint of the source key that can be had."""


@dataclass(slots=True)
class PartitionPlan:
    """The plans of a partition's lineages, oldest first, and what cannot be verified."""

    plans: list[Plan] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_journal(values: Sequence[bytes]) -> list[JournalEntry]:
    """The journal of one partition, each record once.

    Raises `LineageError`, by name, for a record of a kind or version that this release does not
    know: what it changed in the fold could not be repeated.
    """
    for value in values:
        try:
            document: Any = orjson.loads(value)
        except orjson.JSONDecodeError:
            continue
        kind = document.get("kind") if isinstance(document, dict) else None
        if kind is not None and kind not in _KINDS:
            raise LineageError(
                f"the journal holds a record of kind {str(kind)[:40]!r}, which this release does "
                "not know; verify with the release that wrote it"
            )
    # At-least-once may have written one twice.
    return load_journal(list(dict.fromkeys(values)))


def lineage_ids(values: Sequence[bytes]) -> set[str]:
    """The lineages that journal records name, as far as they can be read."""
    found: set[str] = set()
    for value in values:
        try:
            document: Any = orjson.loads(value)
            found.add(Lineage.model_validate(document["lineage"]).id)
        except (ValueError, TypeError, KeyError):
            # Planning says what cannot be read.
            continue
    return found


def plan_partition(facts: Facts) -> PartitionPlan:
    """What is to be folded and compared for each lineage of a partition."""
    planned = PartitionPlan()
    try:
        entries = read_journal(facts.journal)
        said = _metadata(facts.committed)
        later = _metadata(facts.settled)
    except LineageError as error:
        planned.unverified.append(f"{facts.tp}: {error}")
        return planned
    by_lineage: dict[str, list[JournalEntry]] = {}
    for entry in entries:
        by_lineage.setdefault(entry.lineage.id, []).append(entry)
    current = _current(facts, entries, said, planned)
    for of_lineage in by_lineage.values():
        lineage = of_lineage[0].lineage
        if current is not None and lineage.id == current.id:
            continue
        planned.plans.append(_checked(facts, _replaced(facts, lineage, of_lineage), planned))
    if current is not None and facts.committed is not None:
        plan = _committed(facts, current, by_lineage[current.id], said, later, planned)
        planned.plans.append(_checked(facts, plan, planned))
    return planned


def _metadata(committed: Committed | None) -> Metadata | None:
    return None if committed is None else load_metadata(committed.metadata)


def _current(
    facts: Facts,
    entries: Sequence[JournalEntry],
    said: Metadata | None,
    planned: PartitionPlan,
) -> Lineage | None:
    """The lineage of the commit; None where there is no commit, or none that can be looked at."""
    tp, committed = facts.tp, facts.committed
    if committed is None:
        if entries and facts.settled is None:
            planned.unverified.append(
                f"{tp}: the group has no committed offset, but its journal knows the partition: "
                "how far it was folded is not known"
            )
        elif entries:
            planned.unverified.append(f"{tp}: its fold began while it was looked at; verify again")
        return None
    lineage = said.lineage if said is not None else entries[-1].lineage if entries else None
    if lineage is None or lineage.id not in {entry.lineage.id for entry in entries}:
        name = "it" if lineage is None else f"the lineage {lineage.id[:12]} of the commit"
        planned.unverified.append(f"{tp}: the journal does not know {name}: nothing can be folded")
        return None
    if said is None:
        planned.notes.append(
            f"{tp}: the commit has no metadata (a tool has set the offset): its counters and state "
            "digest are not compared"
        )
    return lineage


def _replaced(facts: Facts, lineage: Lineage, entries: Sequence[JournalEntry]) -> Plan:
    """A lineage that has no commit any more: owed is what the journal proves to be committed."""
    entries = once_each(entries)
    due = max(entry.offset for entry in entries)
    end = max(due, facts.watermarks.high)
    return Plan(facts.tp, lineage, tuple(entries), due, end, folds=not facts.from_checkpoint)


def _committed(
    facts: Facts,
    lineage: Lineage,
    entries: Sequence[JournalEntry],
    said: Metadata | None,
    later: Metadata | None,
    planned: PartitionPlan,
) -> Plan:
    """The lineage of the commit: owed is everything before the committed offset."""
    assert facts.committed is not None
    due, settled = facts.committed.offset, facts.settled
    known = once_each([entry for entry in entries if _is_reached(entry, due, said)])
    beyond = max((entry.offset for entry in entries), default=due)
    if settled is None or beyond > settled.offset:
        planned.unverified.append(
            f"{facts.tp}: the committed offset {due} lies before the journal's {beyond}: it moved "
            "back, or was lost"
        )
        return Plan(facts.tp, lineage, (), due, due, metadata=said, folds=False)
    n_later: dict[OutputDuty, int] | None = None
    if later is not None and later.lineage.id == lineage.id:
        n_later = last_numbers(lineage, later.n_alerts, later.n_dead)
    elif later is not None:
        planned.unverified.append(f"{facts.tp}: it was reset while it was looked at; verify again")
    end = due if facts.exactly_once else max(due, facts.watermarks.high)
    usable = _usable(facts, lineage, known, due)
    plan = Plan(facts.tp, lineage, tuple(known), due, end, None, said, n_later=n_later)
    if facts.from_checkpoint:
        begun = [replace(plan, checkpoint=each) for each in usable]
        with_keys = [
            each
            for each in begun
            # One behind which nothing is folded needs no key, and shows nothing.
            if each.start < each.end and _missing_key(each, facts.source_key) is None
        ]
        plan = next(iter([*with_keys, *begun]), replace(plan, folds=False))
    if not plan.folds:
        planned.unverified.append(
            f"{facts.tp}: the store has no checkpoint of lineage {lineage.id[:12]} that fits the "
            f"commit and the log, which begins at {facts.watermarks.low}"
        )
    return _with_milestones(plan, usable)


def _is_reached(entry: JournalEntry, due: int, said: Metadata | None) -> bool:
    """Whether a journal record was in force when the commit of `due` was made."""
    if entry.command is not None and said is not None:
        return entry.command.number <= said.n_commands
    if entry.kind != "config" or entry.offset < due or said is None:
        return entry.offset <= due
    return entry.offset == due and said.config_from == due


def _usable(
    facts: Facts, lineage: Lineage, entries: Sequence[JournalEntry], due: int
) -> list[Checkpoint]:
    """The checkpoints that the fold can begin at, oldest first."""
    known = {entry.config for entry in entries}
    fitting = [
        checkpoint
        for checkpoint in facts.checkpoints
        if checkpoint.lineage == lineage.id
        and facts.watermarks.low <= checkpoint.next_offset <= due
        and dict(checkpoint.versions) == state_versions(lineage.duty)
        and checkpoint.config_identity in known
    ]
    return sorted(fitting, key=lambda checkpoint: checkpoint.next_offset)


def _with_milestones(plan: Plan, checkpoints: Sequence[Checkpoint]) -> Plan:
    """The plan with every state that the commit or a later checkpoint knows on its way."""
    said = plan.metadata
    found = [
        Milestone(each.next_offset, state_digest(each.parts), "a checkpoint in the store")
        for each in checkpoints
        if each is not plan.checkpoint
    ]
    if said is not None and said.digest:
        found.append(Milestone(said.digest_offset, said.digest, "the commit's metadata"))
    on_the_way = tuple(each for each in found if plan.start <= each.offset <= plan.due)
    return replace(plan, milestones=on_the_way)


def _checked(facts: Facts, plan: Plan, planned: PartitionPlan) -> Plan:
    """The plan, or one that only looks at numbers where the fold is not possible: that is said."""
    if not plan.folds:
        return plan
    lineage, low, high = plan.lineage, *facts.watermarks
    name = f"{facts.tp}: lineage {lineage.id[:12]}"
    problem = ""
    versions = state_versions(lineage.duty)
    odd = next((e for e in plan.entries if dict(e.versions) != versions), None)
    if lineage.topic_id != facts.topic_id:
        problem = "is of a topic that was deleted and made again under the same name"
    elif plan.checkpoint is None and plan.entries[0].offset != lineage.start_offset:
        problem = "has no journal record of its beginning"
    elif odd is not None:
        problem = (
            f"was folded by algorithm versions {dict(odd.versions)}; this release has "
            f"{versions}: verify with the release that folded it"
        )
    elif plan.start < low:
        problem = (
            f"begins at {plan.start}, and the log holds nothing before {low} any more; "
            "--from checkpoint verifies what comes after the oldest checkpoint in Redis"
        )
    elif plan.due > high:
        problem = f"is committed up to {plan.due}, and the log ends at {high}: records were lost"
    elif (key := _missing_key(plan, facts.source_key)) is not None:
        problem = (
            f"was folded under the source key with fingerprint {key}, and configured is "
            f"{facts.source_key or 'none'}: anomalies depend on it"
        )
    if not problem:
        return plan
    planned.unverified.append(f"{name} {problem}")
    return replace(plan, folds=False)


def _missing_key(plan: Plan, fingerprint: str | None) -> str | None:
    """The fingerprint of a source key that the fold needs and this is not; None: it has all.

    What the drift duty says depends on none. A config under which nothing is folded needs none.
    """
    if plan.lineage.duty == "drift" or not plan.entries:
        return None
    configs = [entry for entry in plan.entries if entry.document is not None]
    if plan.checkpoint is not None:
        begins = next(e for e in configs if e.config == plan.checkpoint.config_identity)
        configs = [begins, *(e for e in configs if e.generation > begins.generation)]
    starts = [plan.start, *(entry.offset for entry in configs[1:])]
    stops = [*starts[1:], plan.end]
    missing = (
        entry.source_key
        for entry, start, stop in zip(configs, starts, stops, strict=True)
        if start < stop and entry.source_key not in {None, fingerprint}
    )
    return next(missing, None)
