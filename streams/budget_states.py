"""The latest state of each partition, taken up as recovery does, without folding anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from detectors.base import StateError
from detectors.fold import Fold
from schemas.records import TopicPartition
from streams.budget import counting_from, references_set
from streams.checkpoint import Checkpoint, CheckpointError
from streams.checkpoint_sources import Sources, load, require_versions
from streams.duties import state_versions
from streams.lineage import (
    JournalEntry,
    Lineage,
    LineageError,
    load_journal,
    load_metadata,
)
from streams.ports import Committed, StoredManifest, StoreError
from streams.recovery import in_force
from streams.replay_config import StateUnavailableError, detection_then
from streams.worker import Detection


@dataclass(frozen=True, slots=True)
class State:
    """One partition's latest state."""

    tp: TopicPartition
    lineage: Lineage
    fold: Fold
    checkpoint: Checkpoint
    since: int
    """From this offset on its lanes have counted."""
    set_at: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Likewise of a model version whose reference a person has set, where that is later."""
    problems: tuple[str, ...] = ()
    """Why a nearer state could not be had."""


@dataclass(slots=True)
class States:
    """Where states are looked for, and under which config and key."""

    sources: Sources
    detection: Detection
    checkpoint_key: bytes | None

    def read(
        self, tp: TopicPartition, committed: Committed, journal: Sequence[bytes]
    ) -> State | str:
        """The latest state of a partition, or why there is none."""
        try:
            metadata = load_metadata(committed.metadata)
            entries = load_journal(list(journal))
        except LineageError as error:
            return str(error)
        if metadata is None:
            return f"the committed offset {committed.offset} has no metadata: a tool has set it"
        lineage = metadata.lineage
        known = in_force(entries, lineage, metadata)
        problems: list[str] = []
        stored: list[StoredManifest] = []
        try:
            stored = self.sources.store.manifests(tp)
        except StoreError as error:
            problems.append(str(error))
        for place, each in self.sources.candidates(tp, stored, problems):
            # One may lie after the commit that was read: workers have gone on meanwhile.
            if each.lineage != lineage.id:
                continue
            try:
                checkpoint = load(tp, each, place, self.checkpoint_key)
                state = self._state(tp, lineage, checkpoint, known)
                return replace(state, problems=tuple(problems))
            except (CheckpointError, StateError, StoreError, StateUnavailableError) as error:
                problems.append(f"checkpoint at {each.next_offset} in {place.name}: {error}")
        return "; ".join([*problems, "no place has a checkpoint of it that can be used"])

    def _state(
        self,
        tp: TopicPartition,
        lineage: Lineage,
        checkpoint: Checkpoint,
        known: Sequence[JournalEntry],
    ) -> State:
        require_versions(checkpoint, state_versions())
        config = detection_then(checkpoint.config_identity, known, self.detection).config
        until = [entry for entry in known if entry.generation <= checkpoint.generation]
        return State(
            tp=tp,
            lineage=lineage,
            fold=Fold(config, checkpoint.parts),
            checkpoint=checkpoint,
            since=counting_from(lineage.start_offset, until),
            set_at=references_set(known, int(checkpoint.fields["n_commands"])),
        )
