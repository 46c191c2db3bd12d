"""Takes evidence and what people say in, and has told what follows from all of it.

A source record may be acknowledged when `take` or `hear` has returned: what follows from it stands
on its topic then, or somebody else is about to write it.

What is long over is forgotten: its last record stays on the topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

import orjson
from pydantic import BaseModel

from schemas.incidents import IncidentData
from schemas.responder_config import IncidentConfig, RetrainingConfig
from schemas.retraining import RetrainingData
from streams.cloudevents import (
    followup_headers,
    incident_headers,
    retraining_headers,
    rollback_headers,
)
from streams.dismissals import dismissals_of
from streams.incident_evidence import Evidence, merge
from streams.incident_forgetting import forgettable, unknown_for_good
from streams.incident_groups import Group, groups_of
from streams.incident_reasons import (
    Approval,
    Noted,
    Opening,
    Overruling,
    beginnings,
    of_incidents,
)
from streams.incidents import cases_of
from streams.responder_ports import (
    EventWindows,
    FoldPlace,
    Forgotten,
    IncidentStore,
    Kept,
    ModelName,
    Outlet,
    Read,
    WindowGoneError,
)
from streams.responder_teller import MOST_ROUNDS, RestlessError, Teller, Telling, digest_of
from streams.retraining_draft import Draft, ModelCase, draft_of, versions_of
from streams.retraining_gate import Released, WindowFacts, clean_window, is_short, request_of
from streams.rollback_desk import RollbackDesk, forgettable_versions


class _Derived(NamedTuple):
    """What follows from what is kept of a model."""

    kept: Kept
    watermark_ms: int | None
    cases: Sequence[tuple[Group, IncidentData]]
    requests: Sequence[RetrainingData]
    tellings: Mapping[str, Telling]


class _StaleError(Exception):
    """Somebody was faster: what was derived is of what is known no more."""


class IncidentDesk:
    """One responder's work. `writer` names it, and is never used twice."""

    def __init__(
        self,
        store: IncidentStore,
        outlet: Outlet,
        windows: EventWindows,
        incidents: IncidentConfig,
        retraining: RetrainingConfig,
        *,
        events_topic: str,
        writer: str,
        rollbacks: RollbackDesk | None = None,
    ) -> None:
        """Without `rollbacks` no new version is followed."""
        self._rollbacks: Final = rollbacks
        self._store: Final = store
        self._windows: Final = windows
        self._incidents: Final = incidents
        self._retraining: Final = retraining
        self._events_topic: Final = events_topic
        self._teller: Final = Teller(store, outlet, writer)
        self._turns: Final = WeakValueDictionary[ModelName, asyncio.Lock]()
        self.n_too_late = 0
        """Records of what has been forgotten, or that came later than anybody waits for; words of
        incidents that nobody knows."""

    async def take(self, evidence: Evidence) -> None:
        """Take one record's evidence in, and tell what follows. Twice is as once."""
        model = ModelName(evidence.deployment, evidence.model_id)
        async with self._turn(model):
            await self._take(model, evidence)

    async def _take(self, model: ModelName, evidence: Evidence) -> None:
        for _ in range(MOST_ROUNDS):
            kept = await self._store.read(model)
            before = kept.evidence.get(evidence.evidence_id)
            if before is None and _is_too_late(evidence, kept):
                self.n_too_late += 1
                return
            now = evidence if before is None else merge(before, evidence)
            if now == before or await self._store.write(model, kept.version, [now], ()):
                await self._tell(model)
                return
        raise RestlessError(f"{model}: another responder was faster {MOST_ROUNDS} times")

    async def hear(self, model: ModelName, said: Noted) -> None:
        """Take in what a person said of the model, or where a version begins. Twice is as once."""
        async with self._turn(model):
            await self._hear(model, said)

    async def _hear(self, model: ModelName, said: Noted) -> None:
        words = of_incidents([said])
        furthest_ms = await self._store.furthest(model.deployment) if words else None
        for _ in range(MOST_ROUNDS):
            kept = await self._store.read(model)
            groups = list(groups_of(kept.evidence.values(), self._incidents))
            if unknown_for_good(words, groups, furthest_ms, self._incidents):
                self.n_too_late += 1
                return
            if said in kept.said or await self._store.write(model, kept.version, (), [said]):
                await self._tell(model)
                return
        raise RestlessError(f"{model}: another responder was faster {MOST_ROUNDS} times")

    async def sweep(self) -> None:
        """Look at every model: what is over or settled, what a responder that died left behind.

        And forget what is long over.
        """
        for model in await self._store.models():
            await self.tell(model)
            await self.forget(model)

    async def forget(self, model: ModelName) -> bool:
        """Forget what is long over of this model, and told; whether there was any.

        What somebody is at work on stays: the next sweep comes by again.
        """
        derived = await self._derived(model)
        what = forgettable(
            derived.kept,
            derived.cases,
            derived.requests,
            derived.tellings,
            derived.watermark_ms,
            self._incidents,
        )
        if what is None:
            furthest_ms = await self._store.furthest(model.deployment)
            # Also those of which no incident is told just now.
            groups = list(groups_of(derived.kept.evidence.values(), self._incidents))
            said = of_incidents(derived.kept.said)
            words = unknown_for_good(said, groups, furthest_ms, self._incidents)
            what = Forgotten({}, [], words, None) if words else None
        if what is None:
            digests = {key: digest_of(each) for key, each in derived.tellings.items()}
            what = forgettable_versions(derived.kept, digests)
        return what is not None and await self._store.forget(model, derived.kept.version, what)

    async def tell(self, model: ModelName) -> None:
        """Write what topics do not say yet of this model."""
        async with self._turn(model):
            await self._tell(model)

    async def _tell(self, model: ModelName) -> None:
        await self._teller.tell(model, self._wanted)

    def _turn(self, model: ModelName) -> asyncio.Lock:
        """One after the other, of one model and in one process.

        Side by side, whoever is at work would find what it has derived out of date whenever another
        one has written, and a model of which much is said would never be told of.
        """
        lock = self._turns.get(model)
        if lock is None:
            lock = self._turns[model] = asyncio.Lock()
        return lock

    async def _wanted(self, model: ModelName) -> tuple[Kept, Mapping[str, Telling]]:
        derived = await self._derived(model)
        return derived.kept, derived.tellings

    async def _derived(self, model: ModelName) -> _Derived:
        for _ in range(MOST_ROUNDS):
            try:
                return await self._derived_once(model)
            except _StaleError:
                continue
        raise RestlessError(f"{model}: another responder was faster {MOST_ROUNDS} times")

    async def _derived_once(self, model: ModelName) -> _Derived:
        # How far the log is settled comes first: all that was said of it is in what is read next.
        settled = await self._store.settled()
        watermark_ms = await self._store.watermark(model)
        kept = await self._store.read(model)
        evidence = list(kept.evidence.values())
        cases = cases_of(evidence, kept.said, watermark_ms, self._incidents)
        wanted = {
            f"incident/{each.incident_id}": Telling(as_bytes(each), incident_headers(each))
            for _, each in cases
        }
        overrulings = [each for each in kept.said if isinstance(each, Overruling)]
        case = ModelCase(
            evidence=evidence,
            said=overrulings,
            approvals=[each for each in kept.said if isinstance(each, Approval)],
            opened=[each for each in kept.said if isinstance(each, Opening)],
            dismissals=dismissals_of(overrulings),
            topic=self._events_topic,
            incidents=self._incidents,
            begun=beginnings(kept.said),
            look_every=1 if self._rollbacks is None else self._rollbacks.config.look_every,
            watermark_ms=watermark_ms,
        )
        requests = await self._requests(model, kept, cases, case, settled)
        for request in requests:
            key = f"retraining/{request.request_id}"
            wanted[key] = Telling(as_bytes(request), retraining_headers(request))
        if self._rollbacks is not None:
            done = [each for each in requests if each.status == "released"]
            followups, rollbacks = await self._rollbacks.of(
                model, kept, case.dismissals, settled, done
            )
            for followup in followups:
                key = f"followup/{followup.followup_id}"
                wanted[key] = Telling(as_bytes(followup), followup_headers(followup))
            for rollback in rollbacks:
                key = f"rollback/{rollback.request_id}"
                wanted[key] = Telling(as_bytes(rollback), rollback_headers(rollback))
        return _Derived(kept, watermark_ms, cases, requests, wanted)

    async def _requests(
        self,
        model: ModelName,
        kept: Kept,
        cases: Sequence[tuple[Group, IncidentData]],
        case: ModelCase,
        settled: Mapping[FoldPlace, int],
    ) -> list[RetrainingData]:
        """Every request of the model, in the order in which its incidents begin."""
        requests = {
            each.request_id: each for each in kept.released if isinstance(each, RetrainingData)
        }
        read = Read(kept.version, len(kept.released))
        for group, incident in cases:
            for version in versions_of(group):
                request = await self._request(
                    model, group, incident, version, case, requests, settled
                )
                if request is None:
                    continue
                if request.status == "released" and request.request_id not in requests:
                    request, read = await self._release(model, request, read)
                requests[request.request_id] = request
        return list(requests.values())

    async def _request(
        self,
        model: ModelName,
        group: Group,
        incident: IncidentData,
        version: str,
        case: ModelCase,
        requests: Mapping[str, RetrainingData],
        settled: Mapping[FoldPlace, int],
    ) -> RetrainingData | None:
        config = self._retraining
        for each in requests.values():
            # The incident may have had another name then, and its request with it.
            is_own = group.answers_to(each.incident_id) and each.model_version == version
            if is_own and each.status == "released":
                return each
        for n_doublings in range(config.max_doublings + 1):
            draft = draft_of(group, incident, version, case, config, n_doublings)
            if draft is None:
                return None
            try:
                facts = await self._facts(model, draft, settled)
            except WindowGoneError:
                return request_of(draft, None, (), config, is_gone=True)
            # Behind what is waited for another window begins, which may be long enough.
            is_last = n_doublings == config.max_doublings or draft.is_troubled
            if facts is None or is_last or not is_short(facts, config):
                return self._judged(draft, facts, requests.values())
        raise AssertionError("the longest window is judged")

    async def _release(
        self, model: ModelName, request: RetrainingData, read: Read
    ) -> tuple[RetrainingData, Read]:
        """Keep it for ever, if all that was known of the model still is all.

        While events were read evidence may have come that gives the incident another name, and its
        request with it, or another request may have been released: each would be the second one.
        """
        kept = await self._store.release_as_read(model, request, read)
        if kept is None:
            raise _StaleError
        return kept, read._replace(n_released=read.n_released + 1)

    def _judged(
        self,
        draft: Draft,
        facts: WindowFacts | None,
        requests: Iterable[RetrainingData],
    ) -> RetrainingData:
        """The request as it is now."""
        earlier = [
            Released(each.request_id, each.cooldown_until_ms)
            for each in requests
            if each.status == "released" and each.cooldown_until_ms is not None
        ]
        return request_of(draft, facts, earlier, self._retraining)

    async def _facts(
        self, model: ModelName, draft: Draft, settled: Mapping[FoldPlace, int]
    ) -> WindowFacts | None:
        """What the window's events say; None while it is not settled.

        By the fold that saw the change: another one has offsets of its own.
        """
        ends = [*draft.last.items(), *draft.passed.items()]
        if any(
            settled.get(FoldPlace(partition, draft.lineages[partition]), 0) <= last
            for partition, last in ends
        ):
            return None
        return await self._windows.facts(
            model, draft.model_version, clean_window(draft, None), draft.window.quarantine
        )


def _is_too_late(evidence: Evidence, kept: Kept) -> bool:
    return kept.forgotten_ms is not None and evidence.last_ms <= kept.forgotten_ms


def as_bytes(record: BaseModel) -> bytes:
    """The record's value: the same content gives the same bytes."""
    return orjson.dumps(record.model_dump(mode="json"))
