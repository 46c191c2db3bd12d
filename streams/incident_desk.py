"""Takes evidence in, and sees to it that the topic says what follows from all of it.

Several responders may work on one model at once: one that was thought dead may still write. So
whoever writes notes it first (a flight, and what the topic says is unknown from then on), writes,
and notes what it wrote only where no other flight was under way meanwhile. What is unknown is
written again, by one of the two, or where it has died by whoever looks next. A source record may be
acknowledged when `take` has returned.

What is long over is forgotten: its last record stays on the topic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from schemas.incidents import IncidentData
from schemas.responder_config import IncidentConfig
from streams.cloudevents import incident_headers
from streams.identity import content_digest
from streams.incident_evidence import Evidence, merge
from streams.incident_reasons import Overruling
from streams.incidents import LongOver, incidents_of, long_over
from streams.responder_ports import (
    UNKNOWN,
    Forgotten,
    IncidentStore,
    IncidentTopic,
    Kept,
    ModelName,
)

_MOST_ROUNDS: Final = 100


class RestlessError(RuntimeError):
    """A model's evidence changes faster than it can be told of."""


class IncidentDesk:
    """One responder's work on incidents. `writer` names it, and is never used twice."""

    def __init__(
        self, store: IncidentStore, topic: IncidentTopic, config: IncidentConfig, writer: str
    ) -> None:
        self._store: Final = store
        self._topic: Final = topic
        self._config: Final = config
        self._writer: Final = writer
        self._n_tellings = 0
        self.n_too_late = 0
        """Records of what has been forgotten, or that came later than anybody waits for."""

    async def take(self, evidence: Evidence) -> None:
        """Take one record's evidence in, and tell what follows. Twice is as once."""
        model = ModelName(evidence.deployment, evidence.model_id)
        for _ in range(_MOST_ROUNDS):
            kept = await self._store.read(model)
            before = kept.evidence.get(evidence.evidence_id)
            if before is None and _is_too_late(evidence, kept):
                self.n_too_late += 1
                return
            now = evidence if before is None else merge(before, evidence)
            if now == before or await self._store.write(model, kept.version, [now], ()):
                await self.tell(model)
                return
        raise RestlessError(f"{model}: another responder was faster {_MOST_ROUNDS} times")

    async def hear(self, model: ModelName, said: Overruling) -> None:
        """Take in what a person said of an incident of this model. Twice is as once."""
        for _ in range(_MOST_ROUNDS):
            kept = await self._store.read(model)
            if said in kept.said or await self._store.write(model, kept.version, (), [said]):
                await self.tell(model)
                return
        raise RestlessError(f"{model}: another responder was faster {_MOST_ROUNDS} times")

    async def sweep(self) -> None:
        """Look at every model: what has closed, and what a responder that died left behind.

        And forget what is long over.
        """
        for model in await self._store.models():
            await self.tell(model)
            await self.forget(model)

    async def forget(self, model: ModelName) -> int:
        """Forget what is long over of this model, and told; how many incidents that are.

        None where somebody is at work on them: the next sweep comes by again.
        """
        kept = await self._store.read(model)
        watermark_ms = await self._store.watermark(model)
        over = [
            each
            for each in long_over(kept.evidence.values(), kept.said, watermark_ms, self._config)
            if kept.published.get(each.incident.incident_id) == _digest(each.incident)
        ]
        if over and await self._store.forget(model, kept.version, _forgotten(over)):
            return len(over)
        return 0

    async def tell(self, model: ModelName) -> None:
        """Write what the topic does not say yet of this model's incidents.

        Returns when it says all that was known when this began, but for what another writer has in
        flight: that is for the next sweep.
        """
        # Two pieces of evidence of one model may be told of side by side here as well.
        self._n_tellings += 1
        writer = f"{self._writer}.{self._n_tellings}"
        told: dict[str, str | None] = {}
        for _ in range(_MOST_ROUNDS):
            kept = await self._store.read(model)
            wanted = await self._wanted(model, kept)
            others = {each.key for each in kept.flights if not each.is_expired}
            # Where another one writes as well, once is enough: it looks again, or the sweep does.
            due = {
                key: incident
                for key, incident in _due(kept.published, wanted).items()
                if key not in others or told.get(key, UNKNOWN) != _digest(incident)
            }
            if not due:
                return
            if not await self._store.begin(model, kept.version, list(due), writer):
                continue
            for key, incident in due.items():
                await self._publish(key, incident)
            told.update({key: _digest(each) for key, each in due.items()})
            await self._store.settle(model, {key: told[key] for key in due}, writer)
        raise RestlessError(f"{model}: new evidence came {_MOST_ROUNDS} times while it was told")

    async def _wanted(self, model: ModelName, kept: Kept) -> dict[str, IncidentData]:
        watermark_ms = await self._store.watermark(model)
        found = incidents_of(kept.evidence.values(), kept.said, watermark_ms, self._config)
        return {each.incident_id: each for each in found}

    async def _publish(self, key: str, incident: IncidentData | None) -> None:
        if incident is None:
            await self._topic.publish(key, None, ())
        else:
            await self._topic.publish(key, as_bytes(incident), incident_headers(incident))


def as_bytes(incident: IncidentData) -> bytes:
    """The record's value: the same incident gives the same bytes."""
    return orjson.dumps(incident.model_dump(mode="json"))


def _digest(incident: IncidentData | None) -> str | None:
    return None if incident is None else content_digest(as_bytes(incident))


def _is_too_late(evidence: Evidence, kept: Kept) -> bool:
    return kept.forgotten_ms is not None and evidence.last_ms <= kept.forgotten_ms


def _forgotten(over: Sequence[LongOver]) -> Forgotten:
    return Forgotten(
        {each.incident.incident_id: content_digest(as_bytes(each.incident)) for each in over},
        [one.evidence_id for each in over for one in each.evidence],
        [one for each in over for one in each.said],
        max(each.incident.last_ms for each in over),
    )


def _due(
    published: Mapping[str, str], wanted: Mapping[str, IncidentData]
) -> dict[str, IncidentData | None]:
    """What the topic does not say; None of an incident that has become part of another one."""
    due: dict[str, IncidentData | None] = {key: None for key in published if key not in wanted}
    due.update({key: each for key, each in wanted.items() if published.get(key) != _digest(each)})
    return due
