"""Looks over what is settled of the events for model versions that begin, and has them noted.

Where is looked follows from the log alone, so that every responder that looks notes the same, and
noting it twice is as once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from schemas.responder_config import RollbackConfig
from streams.incident_desk import IncidentDesk
from streams.incident_reasons import Beginning
from streams.responder_ports import FoldPlace, IncidentStore, ModelName
from streams.version_reader import Look, VersionScan, looks

MOST_LOOKS: Final = 50
"""Of one call, over all partitions: what is behind catches up call by call."""
_MOST_KNOWN: Final = 100_000
Answer = TypeVar("Answer")
Ask = Callable[[Callable[[], Answer]], Awaitable[Answer]]
"""Asks brokers in a thread."""


class VersionLook:
    """One responder's looking."""

    def __init__(
        self,
        store: IncidentStore,
        desk: IncidentDesk,
        scan: VersionScan,
        config: RollbackConfig,
        deployment: str,
    ) -> None:
        self._store: Final = store
        self._desk: Final = desk
        self._scan: Final = scan
        self._config: Final = config
        self._deployment: Final = deployment
        self._known: Final[set[tuple[FoldPlace, str, str]]] = set()
        """Fold, model and version of what is noted: the store need not be asked again."""

    async def look(self, folded: Mapping[FoldPlace, int], ask: Ask[object]) -> dict[FoldPlace, int]:
        """Look at what can be settled, by fold; up to where it may count as settled now.

        That is all of it, but where so much is behind that the rest is for the next call: what is
        known of versions at a settled offset must not hang on who looked when.

        Raises what `ask` and the store raise.
        """
        scanned = await self._store.scanned()
        settled: dict[FoldPlace, int] = {}
        n_left = MOST_LOOKS
        for place, offset in sorted(folded.items()):
            low = await ask(partial(self._scan.low, place.partition))
            assert isinstance(low, int)
            settled[place] = offset
            for each in looks(scanned.get(place), offset, low, self._config):
                if n_left == 0:
                    settled[place] = each.before
                    break
                n_left -= 1
                await self._look_at(place, each, ask)
                await self._store.raise_scanned({place: each.end})
        return settled

    async def _look_at(self, place: FoldPlace, look: Look, ask: Ask[object]) -> None:
        met = await self._met(place.partition, look.start, look.end, ask)
        new = {name: at for name, at in met.items() if not await self._is_known(place, *name)}
        if not new:
            return
        before = await self._met(place.partition, look.before, look.start, ask)
        for (model_id, version), at in sorted(new.items()):
            first = before.get((model_id, version), at)
            await self._desk.hear(
                ModelName(self._deployment, model_id),
                Beginning(place.partition, version, first, place.lineage),
            )
            self._known.add((place, model_id, version))

    async def _met(
        self, partition: int, first: int, end: int, ask: Ask[object]
    ) -> dict[tuple[str, str], int]:
        found = await ask(partial(self._scan.met, partition, first, end))
        assert isinstance(found, dict)
        return found

    async def _is_known(self, place: FoldPlace, model_id: str, version: str) -> bool:
        name = place, model_id, version
        if name in self._known:
            return True
        kept = await self._store.read(ModelName(self._deployment, model_id))
        noted = {
            (FoldPlace(each.partition, each.lineage), model_id, each.model_version)
            for each in kept.said
            if isinstance(each, Beginning)
        }
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known.update(noted)
        return name in noted
