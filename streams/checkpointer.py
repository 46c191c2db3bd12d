"""Checkpoints and live views in the background: the fold does not wait for the store.

The main thread hands over states that share no memory with the fold; one thread encodes and saves
them. A store that is down costs checkpoints, never events: it is said, and tried again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass

import structlog

from schemas.records import TopicPartition
from streams.background import Background
from streams.checkpoint import Checkpoint, CheckpointError, encode_checkpoint
from streams.ports import SaveResult, StateStore, StoreError
from streams.spares import Spares, WholeCheckpoint

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint that is in the store now."""

    tp: TopicPartition
    lineage: str
    next_offset: int
    digest: str
    """`state_digest` of its parts."""
    duration_s: float


class Checkpointer:
    """Saves checkpoints one after the other, at most one waiting per partition."""

    def __init__(
        self, store: StateStore, key: bytes | None, spares: Spares, background: Background
    ) -> None:
        self._store = store
        self._spares = spares
        self._key = key
        self._background = background
        self._running: dict[TopicPartition, Future[Saved | None]] = {}
        self._views: Future[None] | None = None
        self._stored: dict[TopicPartition, frozenset[str]] = {}
        self._down = False

    def is_busy(self, tp: TopicPartition) -> bool:
        """Whether a checkpoint of this partition is under way."""
        return tp in self._running

    def submit(self, tp: TopicPartition, checkpoint: Checkpoint) -> None:
        """Save this checkpoint; its offset has been committed."""
        self._running[tp] = self._background.submit(self._save, tp, checkpoint)

    def submit_views(self, views: Mapping[str, Mapping[str, bytes]]) -> None:
        """Publish live views, unless the last ones are still under way."""
        if self._views is None or self._views.done():
            self._views = self._background.submit(self._publish, dict(views))

    def finished(self) -> dict[TopicPartition, Saved | None]:
        """What became of those that have ended since the last call; None: not saved."""
        done = {tp: future for tp, future in self._running.items() if future.done()}
        for tp in done:
            del self._running[tp]
        return {tp: future.result() for tp, future in done.items()}

    def wait(self, timeout_s: float) -> None:
        """Wait for what is under way, so long at most."""
        self._background.wait(self._running.values(), timeout_s)

    def forget(self, tp: TopicPartition) -> None:
        """Another member may write this partition's checkpoints from now on."""
        self._stored.pop(tp, None)
        self._spares.forget(tp)

    def close(self, timeout_s: float = 0.0) -> None:
        """Wait for what is under way, so long at most, and end the thread; the rest is dropped."""
        self.wait(timeout_s)
        self._background.close()
        self._spares.close()

    def _save(self, tp: TopicPartition, checkpoint: Checkpoint) -> Saved | None:
        started_s = time.perf_counter()
        try:
            encoded = encode_checkpoint(checkpoint, self._key)
        except CheckpointError as error:
            self._not_saved(tp, error)
            return None
        offset, lineage = checkpoint.next_offset, checkpoint.lineage
        whole = WholeCheckpoint(tp, lineage, offset, encoded.manifest, encoded.segments)
        try:
            stored = self._stored.get(tp, frozenset())
            for known in (stored, frozenset[str]()):
                result = self._store.save(
                    tp,
                    lineage,
                    checkpoint.parent,
                    offset,
                    encoded.manifest,
                    {d: s for d, s in encoded.segments.items() if d not in known},
                    encoded.referenced,
                )
                if result is not SaveResult.MISSING:
                    break
        except StoreError as error:
            self._spares.not_saved(whole)
            self._not_saved(tp, error)
            return None
        if self._down:
            log.info("the store takes checkpoints again")
            self._down = False
        if result is not SaveResult.ACCEPTED:
            log.warning("checkpoint refused: the store is further", partition=str(tp))
            return None
        self._stored[tp] = frozenset(encoded.referenced)
        self._spares.saved(whole)
        duration_s = time.perf_counter() - started_s
        return Saved(tp, lineage, offset, encoded.digest, duration_s)

    def _not_saved(self, tp: TopicPartition, error: Exception) -> None:
        log.warning("checkpoint not saved; detection goes on", partition=str(tp), reason=str(error))
        self._stored.pop(tp, None)
        self._down = True

    def _publish(self, views: Mapping[str, Mapping[str, bytes]]) -> None:
        for model, view in views.items():
            try:
                self._store.publish_view(model, view)
            except StoreError as error:
                log.debug("live view not published", reason=str(error))
                return
