"""Checkpoints in this process's memory: the store of tests, and of a worker without Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.records import TopicPartition
from streams.ports import SaveResult, StoredManifest, StoreError
from streams.store_rules import N_KEPT, VIEW_TTL_S, check_save_arguments


class _Kept(NamedTuple):
    stored: StoredManifest
    referenced: frozenset[str]


@dataclass(slots=True)
class _PartitionStore:
    kept: list[_Kept] = field(default_factory=list)
    """Newest first."""
    segments: dict[str, bytes] = field(default_factory=dict)
    fresh: dict[str, bytes] = field(default_factory=dict)
    """Written for a manifest that is not accepted yet."""

    def collect(self) -> None:
        """Drop the segments that no kept manifest references."""
        needed = {digest for kept in self.kept for digest in kept.referenced}
        self.segments = {d: content for d, content in self.segments.items() if d in needed}


class MemoryStore:
    """A `StateStore` that lives as long as this object; any thread may call it.

    `unavailable` set to True makes every operation raise `StoreError`, as a store that is down.
    """

    name = "the store in memory"

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        """`clock_s` decides when live views expire."""
        self.unavailable = False
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._partitions: dict[TopicPartition, _PartitionStore] = {}
        self._views: dict[str, tuple[float, dict[str, bytes]]] = {}

    def manifests(self, tp: TopicPartition) -> list[StoredManifest]:
        """The kept manifests of a partition, newest first."""
        with self._lock:
            return [kept.stored for kept in self._partition(tp).kept]

    def segments(self, tp: TopicPartition, digests: Sequence[str]) -> dict[str, bytes]:
        """Those of the segments that are stored."""
        with self._lock:
            stored = self._partition(tp).segments
            return {digest: stored[digest] for digest in digests if digest in stored}

    def save(
        self,
        tp: TopicPartition,
        lineage: str,
        parent: str,
        next_offset: int,
        manifest: bytes,
        segments: Mapping[str, bytes],
        referenced: Sequence[str],
    ) -> SaveResult:
        """Compare and set, as `StateStore.save` says."""
        check_save_arguments(lineage, next_offset, segments, referenced)
        with self._lock:
            partition = self._partition(tp)
            needed = frozenset(referenced)
            partition.fresh.update(segments)
            replaced = 0
            if partition.kept:
                newest = partition.kept[0].stored
                if newest.lineage == lineage:
                    if newest.next_offset > next_offset:
                        return self._refuse(partition, needed)
                    replaced = int(newest.next_offset == next_offset)
                elif newest.lineage != parent:
                    return self._refuse(partition, needed)
            if any(d not in partition.segments and d not in partition.fresh for d in needed):
                return SaveResult.MISSING
            for digest in needed:
                if digest in partition.fresh:
                    partition.segments[digest] = partition.fresh.pop(digest)
            accepted = _Kept(StoredManifest(lineage, next_offset, manifest), needed)
            partition.kept = [accepted, *partition.kept[replaced:]][:N_KEPT]
            partition.collect()
            return SaveResult.ACCEPTED

    def publish_view(self, model: str, view: Mapping[str, bytes]) -> None:
        """Replace the live view of a model."""
        with self._lock:
            self._check_available()
            self._views[model] = (self._clock_s() + VIEW_TTL_S, dict(view))

    def live_view(self, model: str) -> dict[str, bytes]:
        """The live view of a model; empty where there is none, or it has expired."""
        with self._lock:
            self._check_available()
            expires_s, view = self._views.get(model, (0.0, {}))
            return dict(view) if self._clock_s() < expires_s else {}

    def check_policy(self) -> list[str]:
        """Nothing to set up, nothing wrong."""
        with self._lock:
            self._check_available()
            return []

    def close(self) -> None:
        """Nothing to close; what is stored stays."""

    def wipe(self) -> None:
        """Lose everything, as a server that restarts without persistence."""
        with self._lock:
            self._partitions.clear()
            self._views.clear()

    def roll_back(self, n: int) -> None:
        """Lose the newest `n` checkpoints of every partition, as a failover to a late replica."""
        with self._lock:
            for partition in self._partitions.values():
                del partition.kept[:n]
                partition.fresh.clear()
                partition.collect()

    def _check_available(self) -> None:
        if self.unavailable:
            raise StoreError("the store in memory has been made unavailable")

    def _partition(self, tp: TopicPartition) -> _PartitionStore:
        self._check_available()
        return self._partitions.setdefault(tp, _PartitionStore())

    @staticmethod
    def _refuse(partition: _PartitionStore, needed: frozenset[str]) -> SaveResult:
        for digest in needed:
            partition.fresh.pop(digest, None)
        return SaveResult.REFUSED
