"""Taking up a partition: from what is committed, journaled and stored to a worker that can go on.

Kafka's committed offset with its metadata is the truth, the journal says what changed the fold, the
store is a cache. The rules (docs/delivery.md):

- a checkpoint is loaded only if it is of the committed lineage and not ahead of the commit, from
  the store or the spool, the further one first, else from the checkpoints topic;
- an offset that moved back or was lost, another topic under the same name, a log shorter than the
  commit: the worker stops and asks (`OperatorNeededError`), unless a reset is accepted;
- state that cannot be had, from any of them or by folding from the lineage's start, pauses the
  partition (`StateUnavailableError`); it is never begun anew in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from detectors.base import StateError
from schemas.records import TopicPartition
from streams.checkpoint import CheckpointError
from streams.checkpoint_sources import Sources, load, require_versions
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
from streams.ports import (
    CheckpointPlace,
    Commits,
    Committed,
    StateStore,
    StoredManifest,
    StoreError,
    Watermarks,
)
from streams.replay_config import StateUnavailableError, check_keys, detection_then
from streams.spares import Spares
from streams.worker import Detection, OutputTopics, PartitionWorker

log = structlog.get_logger(__name__)


class OperatorNeededError(Exception):
    """Going on would lose or repeat alerts unseen; a person must decide. `code` names the case."""

    def __init__(self, code: str, tp: TopicPartition, message: str) -> None:
        super().__init__(f"{code} at {tp}: {message}")
        self.code = code


@dataclass(frozen=True, slots=True)
class RecoverySettings:
    """What recovery needs to know of the process settings."""

    start: Literal["earliest", "latest"] = "earliest"
    accept_reset: bool = False
    max_replay_events: int = 20_000_000
    checkpoint_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Recovered:
    """A worker, and what remains to be said in a transaction before it folds anything new."""

    worker: PartitionWorker
    committed: int
    """The committed offset; -1 where the lineage is new and not committed yet."""
    metadata: Metadata | None = None
    """What the commit says; the replay is checked against it."""
    begins: Literal["", "lineage", "reset"] = ""
    """The kind of journal record that must be committed before the first fold."""
    reason: str = ""
    is_spare: bool = False
    """The state is not the store's: it is to be saved there soon, also where no event comes."""
    n_partitions: int = 0
    """How many the topic has as the lineage begins."""


@dataclass(frozen=True, slots=True)
class _Case:
    """All that is known of the partition that is taken up."""

    tp: TopicPartition
    commits: Commits
    topic_id: str
    watermarks: Watermarks
    journal: list[JournalEntry]
    manifests: list[StoredManifest]
    store_error: str
    settings: RecoverySettings
    detection: Detection
    topics: OutputTopics


def recover(
    tp: TopicPartition,
    committed: Committed | None,
    commits: Commits,
    store: StateStore,
    spares: Spares,
    settings: RecoverySettings,
    detection: Detection,
    topics: OutputTopics,
    before: int | None = None,
) -> Recovered:
    """Take up one partition; with `before`, from a checkpoint older than that offset.

    Raises `OperatorNeededError`, `StateUnavailableError`, or `CommitError` from `commits`.
    """
    journal = load_journal(commits.journal(tp))
    manifests, store_error = _manifests(tp, store)
    case = _Case(
        tp,
        commits,
        commits.topic_id(tp.topic),
        commits.watermarks(tp),
        journal,
        manifests,
        store_error,
        settings,
        detection,
        topics,
    )
    last = journal[-1].lineage if journal else None
    if committed is None:
        return _uncommitted(case, last, commits.exactly_once)
    try:
        metadata = load_metadata(committed.metadata)
    except LineageError as error:
        raise OperatorNeededError("unknown_metadata", tp, str(error)) from None
    lineage = last if metadata is None else metadata.lineage
    if lineage is None:
        text = f"the committed offset {committed.offset} has no metadata, and no journal knows it"
        return _reset(case, "unknown_commit", text, committed.offset, None)
    problem = _contradiction(case, committed, lineage)
    if problem is not None:
        return _reset(case, *problem, committed.offset, lineage)
    if metadata is None:
        at = committed.offset
        text = f"the committed offset {at} has no metadata: a tool has set it, forward or back"
        return _reset(case, "offset_moved", text, at, lineage)
    return _resume(case, committed.offset, metadata, lineage, Sources(store, spares), before)


def _uncommitted(case: _Case, last: Lineage | None, exactly_once: bool) -> Recovered:
    """Begin, unless the journal or the store knows that this partition was folded before."""
    if not exactly_once and last is not None and _has_only_begun(case, last):
        # Without transactions the journal comes first, and the process ended before the commit.
        log.warning("begins its lineage again: journaled, not committed", partition=str(case.tp))
        return _begin(case, last.start_offset, None, "")
    lost = "(the offset expired or was deleted, or the topic was made again under the same name)"
    if last is not None:
        code = "topic_recreated" if last.topic_id != case.topic_id else "offset_regression"
        text = f"the group has no committed offset, but its journal knows this partition {lost}"
        return _reset(case, code, text, None, last)
    if case.manifests:
        at = case.manifests[0].next_offset
        text = (
            "the group has neither a committed offset nor a journal of this partition, but the "
            f"store has a checkpoint of it at {at} {lost}"
        )
        return _reset(case, "offset_regression", text, None, None)
    added = _added(case)
    if not added:
        return _begin(case, _default_start(case), None, "")
    # Nothing of it may be passed over, wherever other partitions were begun.
    begun = _begin(case, case.watermarks.low, None, "")
    log.warning(
        "partition added to the topic; models that moved here begin anew",
        partition=str(case.tp),
        lineage=begun.worker.lineage.id[:12],
        start_offset=case.watermarks.low,
        reason=added,
    )
    return replace(begun, reason=added)


def _added(case: _Case) -> str:
    """Why this is a partition that the topic did not have at first; "" where that is not known.

    Models go to partitions by their keys and the number of partitions, so some have moved.
    """
    first = TopicPartition(case.tp.topic, 0)
    if case.tp == first:
        return ""
    counts = [
        entry.n_partitions
        for entry in load_journal(case.commits.journal(first))
        if entry.n_partitions and entry.lineage.topic_id == case.topic_id
    ]
    if not counts or min(counts) > case.tp.partition:
        return ""
    return f"the topic had {min(counts)} partitions when it was first folded"


def _has_only_begun(case: _Case, last: Lineage) -> bool:
    """Whether nothing is known of the partition but that this lineage was to begin."""
    return (
        all(entry.kind == "lineage" and entry.lineage == last for entry in case.journal)
        and not case.manifests
        and last.topic_id == case.topic_id
        and last.start_offset >= case.watermarks.low
    )


def _default_start(case: _Case) -> int:
    low, high = case.watermarks
    return low if case.settings.start == "earliest" else high


def _manifests(tp: TopicPartition, store: StateStore) -> tuple[list[StoredManifest], str]:
    try:
        return store.manifests(tp), ""
    except StoreError as error:
        return [], str(error)


def _contradiction(case: _Case, committed: Committed, lineage: Lineage) -> tuple[str, str] | None:
    """Why the committed offset cannot be taken up as it is: a code and a sentence, or None."""
    configured = case.detection.config.deployment
    if lineage.deployment != configured:
        text = f"the partition was folded as deployment {lineage.deployment!r}, the configured one"
        return "deployment_changed", f"{text} is {configured!r}: alerts would get other identities"
    if lineage.topic_id != case.topic_id:
        return "topic_recreated", "the topic was deleted and made again since the last commit"
    at = f"the committed offset {committed.offset}"
    if committed.offset > case.watermarks.high:
        end = case.watermarks.high
        return "log_truncated", f"{at} lies beyond the end of the log, {end}: records were lost"
    saved = [stored.next_offset for stored in case.manifests if stored.lineage == lineage.id]
    if saved and max(saved) > committed.offset:
        return "offset_regression", f"{at} lies before a checkpoint at {max(saved)}: it moved back"
    known = [entry.offset for entry in case.journal if entry.lineage.id == lineage.id]
    if known and max(known) > committed.offset:
        return "offset_regression", f"{at} lies before the journal's {max(known)}: it moved back"
    return None


def _reset(
    case: _Case, code: str, text: str, offset: int | None, lineage: Lineage | None
) -> Recovered:
    """Begin a new lineage where a person accepted that, else stop."""
    now = case.commits.committed([case.tp]).get(case.tp)
    if (None if now is None else now.offset) != offset:
        # Asked before a pause of this process: another member has gone on, and saved, meanwhile.
        raise StateUnavailableError(
            f"the committed offset moved from {offset} while the partition was taken up"
        )
    if not case.settings.accept_reset:
        remedy = (
            "Start once with --accept-reset to begin a new lineage there (alerts get new "
            "identities), or restore the offset."
        )
        raise OperatorNeededError(code, case.tp, f"{text}. {remedy}")
    low, high = case.watermarks
    start = offset if offset is not None and low <= offset <= high else _default_start(case)
    log.warning("reset accepted", partition=str(case.tp), code=code, start_offset=start)
    return _begin(case, start, lineage, f"{code}: {text}")


def _begin(case: _Case, start: int, replaced: Lineage | None, reason: str) -> Recovered:
    """A worker at the start of a new lineage; `reason` says why another one was given up."""
    known = [entry.lineage for entry in case.journal] + ([replaced] if replaced else [])
    n_resets = max((lineage.n_resets for lineage in known), default=0)
    parent = "" if replaced is None else replaced.id
    if reason and case.manifests:
        # The store lets a new lineage in only over the one it holds.
        parent = case.manifests[0].lineage
    lineage = Lineage(
        deployment=case.detection.config.deployment,
        duty=case.detection.duty,
        topic_id=case.topic_id,
        partition=case.tp.partition,
        start_offset=start,
        n_resets=n_resets + 1 if reason else 0,
        parent=parent,
    )
    worker = PartitionWorker(case.tp, lineage, case.detection, start, case.topics, live_from=start)
    n_partitions = case.commits.n_partitions(case.tp.topic)
    begins: Literal["lineage", "reset"] = "reset" if reason else "lineage"
    return Recovered(worker, -1, None, begins, reason, n_partitions=n_partitions)


def _resume(
    case: _Case,
    committed: int,
    metadata: Metadata,
    lineage: Lineage,
    sources: Sources,
    before: int | None,
) -> Recovered:
    """The newest checkpoint that fits, else the lineage's start, and a replay up to the commit."""
    entries = in_force(case.journal, lineage, metadata)
    tried = [case.store_error] if case.store_error else []
    worker: PartitionWorker | None = None
    is_spare = False
    end = committed + 1 if before is None else min(before, committed + 1)
    # Where nothing has been folded yet there is nothing to look for.
    candidates = (
        sources.candidates(case.tp, case.manifests, tried)
        if committed > lineage.start_offset
        else ()
    )
    for place, stored in candidates:
        if stored.lineage != lineage.id or stored.next_offset >= end:
            continue
        try:
            worker = _from_checkpoint(case, place, stored, lineage, entries, committed)
        except (CheckpointError, StateError, StoreError, StateUnavailableError) as error:
            tried.append(f"checkpoint at {stored.next_offset} in {place.name}: {error}")
            log.warning(
                "checkpoint refused", partition=str(case.tp), place=place.name, reason=str(error)
            )
            continue
        is_spare = place is not sources.store
        if is_spare:
            log.warning(
                "state taken from a spare place",
                partition=str(case.tp),
                place=place.name,
                offset=stored.next_offset,
            )
        break
    if worker is None:
        said = "; ".join(tried) or "no place has a checkpoint of this lineage"
        gap = _gap(case, lineage, said)
        if gap and case.settings.accept_reset and not case.store_error:
            # Not while the store is down: it may have the state.
            return _reset(case, "state_gap", gap, committed, lineage)
        if gap:
            raise StateUnavailableError(
                f"{gap}. Bring back the checkpoints, or start once with --accept-reset to begin a "
                "new lineage at the committed offset (alerts get new identities)"
            )
        worker = _from_start(case, lineage, entries, committed, metadata, said)
    n_replay, margin = committed - worker.next_offset, worker.next_offset - case.watermarks.low
    if case.watermarks.low > lineage.start_offset and margin < 2 * n_replay:
        log.warning(
            "the log is cut close behind the checkpoint: keep events longer",
            partition=str(case.tp),
            events_before=margin,
            replay=n_replay,
        )
    worker.checkpointed(metadata.checkpoint, metadata.digest)
    if _is_past_a_switch(worker, entries):
        # The digest may be that of the state before it, which is not to be had from here.
        worker.watch_nothing()
    worker.heard = metadata.heard
    return Recovered(worker, committed, metadata, is_spare=is_spare)


def _is_past_a_switch(worker: PartitionWorker, entries: Sequence[JournalEntry]) -> bool:
    """Whether a config or a command took effect where the worker stands, and it knows it."""
    return any(
        entry.kind in {"config", "command"}
        and entry.offset == worker.next_offset
        and entry not in worker.switches
        for entry in entries
    )


def _gap(case: _Case, lineage: Lineage, said: str) -> str:
    """Why the state can be had from nowhere any more; "" where the log has all that made it."""
    if lineage.start_offset >= case.watermarks.low:
        return ""
    return (
        f"{said}; and the log begins at {case.watermarks.low}, after the lineage's start at "
        f"{lineage.start_offset}, so the state cannot be folded again"
    )


def in_force(
    journal: Sequence[JournalEntry], lineage: Lineage, metadata: Metadata
) -> list[JournalEntry]:
    """The entries of this lineage whose commit came, back from the one that the commit names.

    With transactions that is all of them. Without, whoever wrote one may have ended before the
    commit, or be one that was thought dead: then the next change is one of the generation before.
    """
    entries = [entry for entry in journal if entry.lineage.id == lineage.id]
    configs = [at for at, entry in enumerate(entries) if entry.command is None]
    in_force_now = _configs_in_force([entries[at] for at in configs], metadata)
    # Of one that somebody thought dead journaled again, late, the place is that of the first.
    kept = {entries.index(entries[configs[at]]) for at in in_force_now}
    kept |= {
        at
        for at, entry in enumerate(entries)
        if entry.command is not None and entry.command.number <= metadata.n_commands
    }
    return once_each([entries[at] for at in sorted(kept)])


def _configs_in_force(entries: Sequence[JournalEntry], metadata: Metadata) -> list[int]:
    """Which of these are in force, in their order."""
    committed = [
        at
        for at, entry in enumerate(entries)
        if (entry.generation, entry.offset) == (metadata.generation, metadata.config_from)
    ]
    if not committed:
        return list(range(len(entries)))
    at = committed[-1]
    back = [at]
    while entries[at].kind == "config":
        before = [k for k in range(at) if entries[k].generation == entries[at].follows]
        if not before:
            break
        at = before[-1]
        back.append(at)
    return back[::-1]


def _from_checkpoint(
    case: _Case,
    place: CheckpointPlace,
    stored: StoredManifest,
    lineage: Lineage,
    entries: Sequence[JournalEntry],
    committed: int,
) -> PartitionWorker:
    if stored.next_offset < case.watermarks.low:
        raise CheckpointError(f"the log begins after it, at {case.watermarks.low}")
    checkpoint = load(case.tp, stored, place, case.settings.checkpoint_key)
    require_versions(checkpoint, state_versions(case.detection.duty))
    since = int(checkpoint.fields["config_from"])
    at = checkpoint.next_offset
    # By generation: several switches can stand at one offset, before or after a checkpoint there.
    n_commands = int(checkpoint.fields["n_commands"])
    switches = [
        entry
        for entry in entries
        if (entry.kind == "config" and entry.generation > checkpoint.generation)
        or (entry.command is not None and entry.command.number > n_commands)
    ]
    then = detection_then(checkpoint.config_identity, entries, case.detection)
    check_keys(then, at, switches, committed, case.detection)
    worker = PartitionWorker(case.tp, lineage, then, since, case.topics, checkpoint, committed)
    worker.switches, worker.source_key = switches, case.detection.key
    return worker


def _from_start(
    case: _Case,
    lineage: Lineage,
    entries: Sequence[JournalEntry],
    committed: int,
    metadata: Metadata,
    said: str,
) -> PartitionWorker:
    """Fold again from the lineage's start, which the log still has, where it is not too far."""
    n_replay = committed - lineage.start_offset
    if n_replay > case.settings.max_replay_events:
        raise StateUnavailableError(
            f"{said}; folding {n_replay} records again is more than max_replay_events "
            f"({case.settings.max_replay_events}) allows"
        )
    if n_replay:
        log.warning("folding from the lineage's start", partition=str(case.tp), reason=said)
    first = entries[0].config if entries else metadata.config
    then = detection_then(first, entries, case.detection)
    start = lineage.start_offset
    switches = [entry for entry in entries if entry.kind in {"config", "command"}]
    check_keys(then, start, switches, committed, case.detection)
    worker = PartitionWorker(case.tp, lineage, then, start, case.topics, live_from=committed)
    worker.switches, worker.source_key = switches, case.detection.key
    return worker


def check_replay(recovered: Recovered) -> str:
    """What of the replayed state contradicts the commit, as a sentence; "" where nothing does."""
    metadata, worker = recovered.metadata, recovered.worker
    if metadata is None or worker.next_offset != recovered.committed:
        return ""
    mine = worker.metadata()
    wrong = [
        f"{name} is {getattr(mine, name)}, committed was {getattr(metadata, name)}"
        for name in ("config", "n_events", "n_alerts", "n_dead", "n_commands")
        if getattr(mine, name) != getattr(metadata, name)
    ]
    if worker.watched_digests and metadata.digest not in worker.watched_digests:
        wrong.append(f"the state digest at {metadata.digest_offset} differs from the committed one")
    return "; ".join(wrong)
