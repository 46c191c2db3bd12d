"""The ports of a simulated process: the ones in memory, and anything can happen at them.

Every call of a port is a place before and a place after its effect; `World.at` decides what happens
there: nothing, an error that the port may raise, the end of the process, or a pause in which the
rest of the world moves on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, ParamSpec, Protocol, TypeVar

from schemas.records import Record, TopicPartition
from streams.memory_commits import MemoryCommits
from streams.memory_log import MemoryLog
from streams.memory_store import MemoryStore
from streams.ports import (
    AbortedError,
    Committed,
    FencedError,
    IndeterminateError,
    LogError,
    Output,
    OwnershipLostError,
    SaveResult,
    StateStore,
    StoredManifest,
    StoreError,
    Watermarks,
)
from tests.simulation.broker import SimulatedBroker

P = ParamSpec("P")
T = TypeVar("T")


class Crashed(BaseException):
    """The process is gone: nothing in it runs any more, not even a `finally` of its own."""


class Places(Protocol):
    """Where a process asks what happens to it."""

    def at(self, place: str, *errors: type[Exception]) -> None:
        """Nothing, one of the errors, `Crashed`, or a pause."""
        ...

    def wants(self, chance: float) -> bool:
        """A seeded decision."""
        ...


class SimulatedLog(MemoryLog):
    """The events topic, with faults."""

    places: Places

    def poll(self, max_records: int, timeout_s: float) -> Mapping[TopicPartition, list[Record]]:
        self.places.at("before poll", LogError)
        polled = super().poll(max_records, timeout_s)
        self.places.at("after poll", LogError)
        return polled

    def pause(self, tps: Iterable[TopicPartition]) -> None:
        self.places.at("before pause")
        super().pause(tps)

    def resume(self, tp: TopicPartition, offset: int) -> None:
        self.places.at("before resume")
        super().resume(tp, offset)
        self.places.at("after resume")

    def close(self) -> None:
        self.places.at("before close", LogError)
        super().close()
        self.places.at("after close", LogError)


class SimulatedCommits(MemoryCommits):
    """The transactions, with faults; those between their steps are the broker's."""

    places: Places

    def publish(
        self, outputs: Sequence[Output], offsets: Mapping[TopicPartition, Committed]
    ) -> None:
        try:
            self.places.at(
                "before publish", AbortedError, OwnershipLostError, IndeterminateError, FencedError
            )
            super().publish(outputs, offsets)
            self.places.at("after publish", IndeterminateError, FencedError)
        except (IndeterminateError, FencedError):
            self._epoch = None  # as with Kafka: no use of this producer any more
            raise

    def reopen(self) -> None:
        if hasattr(self, "places"):  # not while it is being made
            self.places.at("before reopen", IndeterminateError)
        super().reopen()
        if hasattr(self, "places"):
            self.places.at("after reopen", IndeterminateError)

    def committed(self, tps: Sequence[TopicPartition]) -> Mapping[TopicPartition, Committed | None]:
        self.places.at("before committed", LogError)
        answer = super().committed(tps)
        self.places.at("after committed", LogError)
        return answer

    def watermarks(self, tp: TopicPartition) -> Watermarks:
        self.places.at("before watermarks", LogError)
        answer = super().watermarks(tp)
        self.places.at("after watermarks", LogError)
        return answer

    def topic_id(self, topic: str) -> str:
        self.places.at("before topic_id", LogError)
        return super().topic_id(topic)

    def journal(self, tp: TopicPartition) -> list[bytes]:
        self.places.at("before journal", LogError)
        answer = super().journal(tp)
        self.places.at("after journal", LogError)
        return answer


class SimulatedStore(StateStore):
    """One process's connection to the store of all."""

    def __init__(self, inner: MemoryStore, places: Places, broker: SimulatedBroker, group: str):
        self.inner = inner
        self.places = places
        self.broker = broker
        self.group = group

    @property
    def name(self) -> str:
        return self.inner.name

    def manifests(self, tp: TopicPartition) -> list[StoredManifest]:
        return self._call("manifests", self.inner.manifests, tp)

    def segments(self, tp: TopicPartition, digests: Sequence[str]) -> dict[str, bytes]:
        return self._call("segments", self.inner.segments, tp, digests)

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
        committed = self.broker.stable_commit(self.group, tp)
        assert committed is not None, f"a checkpoint of {tp} without any commit"
        assert next_offset <= committed.offset, f"a checkpoint of {tp} is ahead of the commit"
        return self._call(
            "save",
            self.inner.save,
            tp,
            lineage,
            parent,
            next_offset,
            manifest,
            segments,
            referenced,
        )

    def publish_view(self, model: str, view: Mapping[str, bytes]) -> None:
        self._call("publish_view", self.inner.publish_view, model, view)

    def live_view(self, model: str) -> dict[str, bytes]:
        return self.inner.live_view(model)

    def check_policy(self) -> list[str]:
        return self.inner.check_policy()

    def close(self) -> None:
        """It is shared."""

    def _call(self, name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self.places.at(f"before {name}", StoreError)
        answer = call(*args, **kwargs)
        self.places.at(f"after {name}", StoreError)
        return answer


class SimulatedBackground:
    """Calls beside the loop: each is made when the scheduler says."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        self.waiting.append((future, lambda: call(*args, **kwargs)))
        return future

    def wait(self, under_way: Collection[Future[Any]], timeout_s: float) -> None:
        """The store is quick, as a rule."""
        while self.waiting and not all(future.done() for future in under_way):
            if timeout_s <= 0.0 or self.places.wants(0.1):
                return
            self.run_one()

    def close(self) -> None:
        self.waiting.clear()

    def run_one(self) -> None:
        """Make the call that has waited longest."""
        if self.waiting:
            future, call = self.waiting.pop(0)
            future.set_result(call())
