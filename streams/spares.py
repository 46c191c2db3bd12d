"""When checkpoints also go elsewhere: to the spool while the store fails, to the topic seldom.

The checkpoint thread hands over what it has encoded. The spool is written there and then, since a
process that is about to end has no other chance; the topic has a thread of its own, since brokers
may be slow and the store's checkpoints do not wait for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

import structlog

from schemas.records import TopicPartition
from streams.ports import SparePlace, StoreError

log = structlog.get_logger(__name__)


class WholeCheckpoint(NamedTuple):
    """A checkpoint as a spare place keeps it."""

    tp: TopicPartition
    lineage: str
    next_offset: int
    manifest: bytes
    segments: dict[str, bytes]


class Spares:
    """The spare places of a worker; either may be missing."""

    def __init__(
        self,
        *,
        spool: SparePlace | None = None,
        topic: SparePlace | None = None,
        topic_interval_s: float = 600.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """A partition goes to the topic every `topic_interval_s`, spread over the partitions."""
        self.spool: Final = spool
        self.topic: Final = topic
        self._now_s = now_s
        self._interval_s = topic_interval_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-topic")
        self._running: Future[None] | None = None
        self._due_s: dict[TopicPartition, float] = {}
        self._spooled: dict[TopicPartition, bytes] = {}
        self._in_topic: dict[TopicPartition, int] = {}
        self._topic_fails = False
        self._is_closed = False

    def saved(self, whole: WholeCheckpoint) -> None:
        """The store has this one; what the spool has of its partition is older, and goes."""
        if self.spool is not None:
            try:
                self.spool.drop(whole.tp)
            except StoreError as error:
                log.warning("spooled checkpoint not removed", reason=str(error))
            self._spooled.pop(whole.tp, None)
        self._offer_to_topic(whole)

    def not_saved(self, whole: WholeCheckpoint) -> None:
        """The store could not be reached, or refuses."""
        if self.spool is not None and self._spooled.get(whole.tp) != whole.manifest:
            try:
                self.spool.keep(*whole)
            except StoreError as error:
                log.warning("checkpoint not spooled", partition=str(whole.tp), reason=str(error))
            else:
                self._spooled[whole.tp] = whole.manifest
                log.info("checkpoint spooled", partition=str(whole.tp), offset=whole.next_offset)
        self._offer_to_topic(whole)

    def forget(self, tp: TopicPartition) -> None:
        """The partition is another member's now."""
        self._due_s.pop(tp, None)
        self._spooled.pop(tp, None)
        self._in_topic.pop(tp, None)

    def close(self) -> None:
        """Give up what is under way."""
        self._is_closed = True
        for place in (self.spool, self.topic):
            if place is not None:
                place.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def wants(self, tp: TopicPartition, next_offset: int) -> bool:
        """Whether a checkpoint at this offset would be written to the topic now.

        So a partition in which nothing happens any more gets there, too, before its last events
        are no longer retained.
        """
        if self.topic is None or self._is_closed or self._in_topic.get(tp) == next_offset:
            return False
        is_busy = self._running is not None and not self._running.done()
        # The first one soon, else a worker that is restarted often never comes to it.
        first_s = self._now_s() + self._interval_s * _share(tp) / 2
        # One at a time: while it is written, its state is held in memory once more.
        return not is_busy and self._now_s() >= self._due_s.setdefault(tp, first_s)

    def _offer_to_topic(self, whole: WholeCheckpoint) -> None:
        if self.topic is not None and self.wants(whole.tp, whole.next_offset):
            pause_s = self._interval_s * (0.75 + _share(whole.tp) / 2)
            self._due_s[whole.tp] = self._now_s() + pause_s
            self._running = self._thread.submit(self._keep_in_topic, self.topic, whole)

    def _keep_in_topic(self, topic: SparePlace, whole: WholeCheckpoint) -> None:
        try:
            topic.keep(*whole)
        except StoreError as error:
            if not self._topic_fails:
                log.warning(
                    "checkpoint not kept in the topic; tried again at the next one",
                    partition=str(whole.tp),
                    reason=str(error),
                )
            self._topic_fails = True
            return
        if self._topic_fails:
            log.info("the topic takes checkpoints again")
            self._topic_fails = False
        self._in_topic[whole.tp] = whole.next_offset
        log.info("checkpoint kept in the topic", partition=str(whole.tp), offset=whole.next_offset)


def _share(tp: TopicPartition) -> float:
    """From 0 to below 1: where in the interval the partition has its turn."""
    return tp.partition % 16 / 16
