"""A store that does not answer is left alone for a while, so that nobody waits for it every time.

A hanging Redis costs its timeout with each call. With many partitions that would use up the time
for a clean stop, and keep the main thread waiting at every partition that is taken up.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from schemas.records import TopicPartition
from streams.ports import Clock, SaveResult, StateStore, StoredManifest, StoreError

FIRST_S: Final = 0.5
LONGEST_S: Final = 10.0

Answer = TypeVar("Answer")


class StoreBreaker:
    """A `StateStore` that asks another one, and after an error not again for some time.

    The time doubles with every error in a row, from `FIRST_S` up to `LONGEST_S`, and is spread, so
    that workers do not come back all at once. Meanwhile every call raises `StoreError` at once.
    """

    def __init__(self, store: StateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pause_s = 0.0
        self._again_s = 0.0
        self._problem = ""

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._store.name

    def manifests(self, tp: TopicPartition) -> list[StoredManifest]:
        """The kept manifests of a partition, newest first."""
        return self._ask(lambda: self._store.manifests(tp))

    def segments(self, tp: TopicPartition, digests: Sequence[str]) -> dict[str, bytes]:
        """Those of the segments that exist."""
        return self._ask(lambda: self._store.segments(tp, digests))

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
        return self._ask(
            lambda: self._store.save(
                tp, lineage, parent, next_offset, manifest, segments, referenced
            )
        )

    def publish_view(self, model: str, view: Mapping[str, bytes]) -> None:
        """Replace the live view of a model."""
        self._ask(lambda: self._store.publish_view(model, view))

    def live_view(self, model: str) -> dict[str, bytes]:
        """The live view of a model."""
        return self._ask(lambda: self._store.live_view(model))

    def check_policy(self) -> list[str]:
        """What is wrong with how the store is set up."""
        return self._ask(self._store.check_policy)

    def close(self) -> None:
        """Close connections."""
        self._store.close()

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        # Two threads may both ask after a pause, or both fail: neither does any harm.
        left_s = self._again_s - self._clock.monotonic_s()
        if left_s > 0:
            raise StoreError(f"{self._problem} (asked again in {left_s:.1f} s)")
        try:
            answer = call()
        except StoreError as error:
            self._pause_s = min(max(FIRST_S, 2 * self._pause_s), LONGEST_S)
            spread = random.uniform(0.75, 1.25)  # noqa: S311 - spreads retries, hides nothing
            self._problem = str(error)
            self._again_s = self._clock.monotonic_s() + self._pause_s * spread
            raise
        self._pause_s = 0.0
        return answer
