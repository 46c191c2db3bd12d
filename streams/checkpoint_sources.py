"""Where recovery looks for a checkpoint, in which order, and how one is read. Untrusted, all of it.

The store and the spool are looked at together, the further checkpoint first: after an hour without
Redis what it holds is old, and the spool has the rest. The checkpoints topic comes last: reading it
takes seconds, and it is behind by its interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from schemas.records import TopicPartition
from streams.checkpoint import Checkpoint, CheckpointError, fetch_checkpoint
from streams.duties import POLICY_PARTS
from streams.ports import CheckpointPlace, StateStore, StoredManifest, StoreError
from streams.spares import Spares

_COUNTS: Final = ("config_from", "n_alerts", "n_dead", "n_records")


class Sources(NamedTuple):
    """Every place that may have a checkpoint."""

    store: StateStore
    spares: Spares

    def candidates(
        self, tp: TopicPartition, in_store: Sequence[StoredManifest], problems: list[str]
    ) -> Iterator[tuple[CheckpointPlace, StoredManifest]]:
        """The checkpoints of a partition in the order to try; `in_store` are the store's.

        A place that cannot be reached adds to `problems`. The topic is read only when the iteration
        gets so far.
        """
        near: list[tuple[CheckpointPlace, StoredManifest]] = [
            (self.store, stored) for stored in in_store
        ]
        if self.spares.spool is not None:
            near += _kept(self.spares.spool, tp, problems)
        yield from sorted(near, key=lambda one: one[1].next_offset, reverse=True)
        if self.spares.topic is not None:
            yield from _kept(self.spares.topic, tp, problems)


def _kept(
    place: CheckpointPlace, tp: TopicPartition, problems: list[str]
) -> list[tuple[CheckpointPlace, StoredManifest]]:
    try:
        return [(place, stored) for stored in place.manifests(tp)]
    except StoreError as error:
        problems.append(str(error))
        return []


def load(
    tp: TopicPartition, stored: StoredManifest, place: CheckpointPlace, key: bytes | None
) -> Checkpoint:
    """The checkpoint of a manifest. Raises `CheckpointError` for whatever is wrong with it.

    Raises `StoreError` where the place cannot be reached.
    """
    checkpoint = fetch_checkpoint(stored.manifest, partial(place.segments, tp), key)
    if (checkpoint.lineage, checkpoint.next_offset) != (stored.lineage, stored.next_offset):
        raise CheckpointError("the manifest is not the one its entry names")
    counts = [checkpoint.fields.get(name) for name in _COUNTS]
    if not all(type(count) is int and count >= 0 for count in counts):
        raise CheckpointError(f"the manifest does not say {', '.join(_COUNTS)} as counts")
    if not POLICY_PARTS & checkpoint.parts.keys():
        raise CheckpointError("the manifest has no state of the policy")
    return checkpoint


def require_versions(checkpoint: Checkpoint, versions: Mapping[str, int]) -> None:
    """Raise `CheckpointError` where it was made by other algorithms than these."""
    if dict(checkpoint.versions) != versions:
        raise CheckpointError(
            f"it was made by algorithm versions {dict(checkpoint.versions)}; this release has "
            f"{versions}"
        )
