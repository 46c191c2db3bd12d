"""The responder's store and topics in memory: for the demo, for tests, and to say what is meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from schemas.retraining import CleanWindow, QuarantinePart
from streams.incident_evidence import Evidence
from streams.incident_reasons import Noted
from streams.responder_ports import (
    UNKNOWN,
    AnyFrozen,
    Flight,
    FoldPlace,
    Forgotten,
    Headers,
    InputPartition,
    Kept,
    ModelName,
    Read,
    StoreLostError,
    frozen_id,
)
from streams.retraining_gate import WindowFacts


async def _at_once(_step: str) -> None:
    """Nothing else happens meanwhile."""


@dataclass(frozen=True, slots=True)
class _Shared:
    kept: dict[ModelName, Kept] = field(default_factory=dict)
    watermarks: dict[InputPartition, int] = field(default_factory=dict)
    settled: dict[FoldPlace, int] = field(default_factory=dict)
    scanned: dict[FoldPlace, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)


class MemoryIncidentStore:
    """`IncidentStore` in memory. `pause` is awaited before each step: others may act there.

    With `beside` it is another client of what that one keeps.
    """

    def __init__(
        self,
        pause: Callable[[str], Awaitable[None]] = _at_once,
        *,
        beside: MemoryIncidentStore | None = None,
    ) -> None:
        self._pause: Final = pause
        # Those that are beside each other share what is in these, not a copy.
        shared = _Shared() if beside is None else beside.shared
        self.shared: Final[_Shared] = shared
        self._kept: Final = shared.kept
        self._watermarks: Final = shared.watermarks
        self._settled: Final = shared.settled
        self._scanned: Final = shared.scanned
        self._names: Final = shared.names
        self._epoch: str | None = None

    async def start(self, epoch: str) -> str:
        """The name, from now on expected."""
        await self._pause("start")
        if not self._names:
            self._names.append(epoch)
        (self._epoch,) = self._names
        return self._epoch

    async def epoch(self) -> str | None:
        """The name."""
        await self._pause("epoch")
        return self._names[0] if self._names else None

    async def wipe(self, epoch: str) -> None:
        """Lose everything, and start."""
        await self._pause("wipe")
        self.lose()
        self._names.append(epoch)
        self._epoch = epoch

    async def read(self, model: ModelName) -> Kept:
        """All of a model, as it is now."""
        await self._step("read")
        return self._kept.get(model, Kept())

    async def write(
        self,
        model: ModelName,
        version: int,
        evidence: Sequence[Evidence],
        said: Sequence[Noted],
    ) -> bool:
        """Compare the version, and set."""
        await self._step("write")
        kept = self._kept.get(model, Kept())
        if kept.version != version:
            return False
        known = {**kept.evidence, **{each.evidence_id: each for each in evidence}}
        words = [*kept.said, *(each for each in said if each not in kept.said)]
        self._kept[model] = replace(kept, version=version + 1, evidence=known, said=words)
        return True

    async def begin(self, model: ModelName, version: int, keys: Sequence[str], writer: str) -> bool:
        """Note flights that have not expired; beginning twice is as once."""
        await self._step("begin")
        kept = self._kept.get(model)
        if kept is None or kept.version != version:
            return False
        under_way = [each for each in kept.flights if not each.is_expired]
        own = {each.key: each for each in under_way if each.writer == writer and each.key in keys}
        others = [each for each in under_way if own.get(each.key) != each]
        shared = {each.key for each in others} & set(keys)
        flights = [
            each._replace(is_alone=each.is_alone and each.key not in shared) for each in others
        ]
        flights += [
            Flight(key, writer, key not in shared and (key not in own or own[key].is_alone))
            for key in keys
        ]
        published = {**kept.published, **dict.fromkeys(keys, UNKNOWN)}
        self._kept[model] = replace(kept, published=published, flights=flights)
        return True

    async def settle(
        self, model: ModelName, digests: Mapping[str, str | None], writer: str
    ) -> None:
        """Note digests, and end flights."""
        await self._step("settle")
        kept = self._kept.get(model)
        if kept is None:
            return
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

    async def forget(self, model: ModelName, version: int, what: Forgotten) -> bool:
        """Compare the version and digests, and drop."""
        await self._step("forget")
        kept = self._kept.get(model)
        if kept is None or kept.version != version:
            return False
        if any(kept.published.get(key) != told for key, told in what.digests.items()):
            return False
        before_ms = kept.forgotten_ms
        self._kept[model] = replace(
            kept,
            version=version + 1,
            evidence={
                key: each for key, each in kept.evidence.items() if key not in what.evidence_ids
            },
            said=[each for each in kept.said if each not in what.said],
            published={
                key: told for key, told in kept.published.items() if key not in what.digests
            },
            released=[each for each in kept.released if frozen_id(each) not in what.request_ids],
            forgotten_ms=max(
                (each for each in (before_ms, what.last_ms) if each is not None), default=None
            ),
        )
        return True

    async def models(self) -> list[ModelName]:
        """Sorted."""
        await self._step("models")
        return sorted(self._kept)

    async def raise_watermarks(self, watermarks: Mapping[InputPartition, int]) -> None:
        """The greater of each."""
        await self._step("raise_watermarks")
        for each, raised_ms in watermarks.items():
            self._watermarks[each] = max(raised_ms, self._watermarks.get(each, raised_ms))

    async def watermark(self, model: ModelName) -> int | None:
        """The least of its evidence's partitions."""
        await self._step("watermark")
        evidence = self._kept.get(model, Kept()).evidence.values()
        names = {InputPartition(model.deployment, each.partition) for each in evidence}
        if not names or not names <= self._watermarks.keys():
            return None
        return min(self._watermarks[each] for each in names)

    async def furthest(self, deployment: str) -> int | None:
        """The greatest of the deployment's."""
        await self._step("furthest")
        own = [ms for each, ms in self._watermarks.items() if each.deployment == deployment]
        return max(own, default=None)

    async def raise_settled(self, offsets: Mapping[FoldPlace, int]) -> None:
        """The greater of each."""
        await self._step("raise_settled")
        for place, offset in offsets.items():
            self._settled[place] = max(offset, self._settled.get(place, offset))

    async def settled(self) -> Mapping[FoldPlace, int]:
        """All of them."""
        await self._step("settled")
        return dict(self._settled)

    async def raise_scanned(self, offsets: Mapping[FoldPlace, int]) -> None:
        """The greater of each."""
        await self._step("raise_scanned")
        for place, offset in offsets.items():
            self._scanned[place] = max(offset, self._scanned.get(place, offset))

    async def scanned(self) -> Mapping[FoldPlace, int]:
        """All of them."""
        await self._step("scanned")
        return dict(self._scanned)

    async def release(self, model: ModelName, request: AnyFrozen) -> AnyFrozen:
        """The first one of its name stays."""
        await self._step("release")
        return self._release(model, request, None) or request

    async def release_as_read(
        self, model: ModelName, request: AnyFrozen, read: Read
    ) -> AnyFrozen | None:
        """The same, if nobody has written or released since."""
        await self._step("release")
        return self._release(model, request, read)

    def _release(self, model: ModelName, request: AnyFrozen, read: Read | None) -> AnyFrozen | None:
        kept: Kept = self._kept.get(model, Kept())
        for each in kept.released:
            if isinstance(each, type(request)) and frozen_id(each) == frozen_id(request):
                return each
        if read is not None and read != Read(kept.version, len(kept.released)):
            return None
        self._kept[model] = replace(kept, released=[*kept.released, request])
        return request

    def lose(self) -> None:
        """Be empty all at once, as a server that was emptied."""
        self._kept.clear()
        self._watermarks.clear()
        self._settled.clear()
        self._scanned.clear()
        self._names.clear()

    def expire(self, writer: str) -> None:
        """Let the time of this writer's flights be over."""
        for model, kept in self._kept.items():
            flights = [
                each._replace(is_expired=each.is_expired or each.writer == writer)
                for each in kept.flights
            ]
            self._kept[model] = replace(kept, flights=flights)

    async def _step(self, name: str) -> None:
        await self._pause(name)
        if self._epoch is not None and self._names != [self._epoch]:
            raise StoreLostError("what was kept in memory is gone")


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
