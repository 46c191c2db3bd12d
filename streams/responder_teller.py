"""Sees to it that compacted topics say what follows from what is known of a model.

Several responders may work on one model at once: one that was thought dead may still write. So
whoever writes notes it first (a flight, and what the topic says is unknown from then on), writes,
and notes what it wrote only where no other flight was under way meanwhile. What is unknown is
written again, by one of the two, or where it has died by whoever looks next.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from streams.identity import content_digest
from streams.responder_ports import UNKNOWN, Headers, IncidentStore, Kept, ModelName, Outlet

MOST_ROUNDS: Final = 100


class RestlessError(RuntimeError):
    """A model's evidence changes faster than it can be told of."""


class Telling(NamedTuple):
    """A record as it should stand on its topic."""

    value: bytes
    headers: Headers


Wanted = Callable[[ModelName], Awaitable[tuple[Kept, Mapping[str, Telling]]]]
"""What is kept of a model, and by key what follows from it."""


class Teller:
    """One responder's writing. `writer` names it, and is never used twice."""

    def __init__(self, store: IncidentStore, outlet: Outlet, writer: str) -> None:
        self._store: Final = store
        self._outlet: Final = outlet
        self._writer: Final = writer
        self._n_tellings = 0

    async def tell(self, model: ModelName, wanted_of: Wanted) -> None:
        """Write what topics do not say yet of this model.

        Returns when they say all that was known when this began, but for what another writer has in
        flight: that is for the next look. What is no longer wanted gets a record without a value.
        """
        # Two pieces of evidence of one model may be told of side by side here as well.
        self._n_tellings += 1
        writer = f"{self._writer}.{self._n_tellings}"
        told: dict[str, str | None] = {}
        for _ in range(MOST_ROUNDS):
            kept, wanted = await wanted_of(model)
            others = {each.key for each in kept.flights if not each.is_expired}
            # Where another one writes as well, once is enough: it looks again, or somebody does.
            due = {
                key: telling
                for key, telling in _due(kept.published, wanted).items()
                if key not in others or told.get(key, UNKNOWN) != digest_of(telling)
            }
            if not due:
                return
            if not await self._store.begin(model, kept.version, list(due), writer):
                continue
            for key, telling in due.items():
                if telling is None:
                    await self._outlet.publish(key, None, ())
                else:
                    await self._outlet.publish(key, telling.value, telling.headers)
            told.update({key: digest_of(each) for key, each in due.items()})
            await self._store.settle(model, {key: told[key] for key in due}, writer)
        raise RestlessError(f"{model}: new evidence came {MOST_ROUNDS} times while it was told")


def digest_of(telling: Telling | None) -> str | None:
    """By which a record is told from an earlier one; None of one that is to go."""
    return None if telling is None else content_digest(telling.value)


def _due(published: Mapping[str, str], wanted: Mapping[str, Telling]) -> dict[str, Telling | None]:
    """What topics do not say; None of what is wanted no more."""
    due: dict[str, Telling | None] = {key: None for key in published if key not in wanted}
    due.update({key: each for key, each in wanted.items() if published.get(key) != digest_of(each)})
    return due
