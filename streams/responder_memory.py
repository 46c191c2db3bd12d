"""The responder's store and topics in memory: for the demo, for tests, and to say what is meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from schemas.retraining import CleanWindow, QuarantinePart, RetrainingData
from streams.incident_evidence import Evidence
from streams.incident_reasons import Said
from streams.responder_ports import UNKNOWN, Flight, Headers, Kept, ModelName
from streams.retraining_gate import WindowFacts


async def _at_once(_step: str) -> None:
    """Nothing else happens meanwhile."""


class MemoryIncidentStore:
    """`IncidentStore` in memory. `pause` is awaited before each step: others may act there."""

    def __init__(self, pause: Callable[[str], Awaitable[None]] = _at_once) -> None:
        self._kept: Final[dict[ModelName, Kept]] = {}
        self._pause: Final = pause
        self.watermarks: Final[dict[ModelName, int]] = {}
        self.settled_offsets: Final[dict[int, int]] = {}

    async def read(self, model: ModelName) -> Kept:
        """All of a model, as it is now."""
        await self._pause("read")
        return self._kept.get(model, Kept())

    async def write(
        self,
        model: ModelName,
        version: int,
        evidence: Sequence[Evidence],
        said: Sequence[Said],
    ) -> bool:
        """Compare the version, and set."""
        await self._pause("write")
        kept = self._kept.get(model, Kept())
        if kept.version != version:
            return False
        known = {**kept.evidence, **{each.evidence_id: each for each in evidence}}
        words = [*kept.said, *(each for each in said if each not in kept.said)]
        self._kept[model] = replace(kept, version=version + 1, evidence=known, said=words)
        return True

    async def begin(self, model: ModelName, keys: Sequence[str], writer: str) -> None:
        """Note flights that have not expired."""
        await self._pause("begin")
        kept = self._kept[model]
        under_way = [each for each in kept.flights if not each.is_expired]
        shared = {each.key for each in under_way} & set(keys)
        flights = [
            each._replace(is_alone=each.is_alone and each.key not in shared) for each in under_way
        ]
        flights += [Flight(key, writer, is_alone=key not in shared) for key in keys]
        published = {**kept.published, **dict.fromkeys(keys, UNKNOWN)}
        self._kept[model] = replace(kept, published=published, flights=flights)

    async def settle(
        self, model: ModelName, digests: Mapping[str, str | None], writer: str
    ) -> None:
        """Note digests, and end flights."""
        await self._pause("settle")
        kept = self._kept[model]
        published = dict(kept.published)
        for each in kept.flights:
            if each.writer == writer and each.is_alone and each.key in digests:
                digest = digests[each.key]
                if digest is None:
                    del published[each.key]
                else:
                    published[each.key] = digest
        flights = [each for each in kept.flights if each.writer != writer]
        self._kept[model] = replace(kept, published=published, flights=flights)

    async def models(self) -> list[ModelName]:
        """Sorted."""
        await self._pause("models")
        return sorted(self._kept)

    async def watermark(self, model: ModelName) -> int | None:
        """What stands in `watermarks`."""
        await self._pause("watermark")
        return self.watermarks.get(model)

    async def settled(self) -> Mapping[int, int]:
        """What stands in `settled_offsets`."""
        await self._pause("settled")
        return dict(self.settled_offsets)

    async def release(self, model: ModelName, request: RetrainingData) -> RetrainingData:
        """The first one of its name stays."""
        await self._pause("release")
        kept = self._kept[model]
        for each in kept.released:
            if each.request_id == request.request_id:
                return each
        self._kept[model] = replace(kept, released=[*kept.released, request])
        return request

    def expire(self, writer: str) -> None:
        """Let the time of this writer's flights be over."""
        for model, kept in self._kept.items():
            flights = [
                each._replace(is_expired=each.is_expired or each.writer == writer)
                for each in kept.flights
            ]
            self._kept[model] = replace(kept, flights=flights)


class Written(NamedTuple):
    """One record of a topic."""

    key: str
    value: bytes | None
    headers: Headers


class MemoryWindows:
    """`EventWindows` that say what they were told to, whatever the window."""

    def __init__(self, facts: WindowFacts) -> None:
        self.facts_of_all = facts

    async def facts(
        self,
        _model: ModelName,
        _version: str,
        _window: CleanWindow,
        _quarantine: Sequence[QuarantinePart],
    ) -> WindowFacts:
        """The same of every window."""
        return self.facts_of_all


class MemoryOutlet:
    """`Outlet` in memory, with every record that was ever written."""

    def __init__(self, pause: Callable[[str], Awaitable[None]] = _at_once) -> None:
        self._pause: Final = pause
        self.records: Final[list[Written]] = []

    async def publish(self, key: str, value: bytes | None, headers: Headers) -> None:
        """Append a record."""
        await self._pause("publish")
        self.records.append(Written(key, value, headers))

    def compacted(self) -> dict[str, bytes]:
        """What compaction leaves: the latest record of each key that is not gone."""
        latest = {each.key: each.value for each in self.records}
        return {key: value for key, value in sorted(latest.items()) if value is not None}
