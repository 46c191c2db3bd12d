"""Follows new versions of models, and has told what comes of it.

A part of the `IncidentDesk`: what it wants told stands on topics by the same protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from schemas.responder_config import RollbackConfig
from schemas.retraining import CleanWindow, RetrainingData
from schemas.rollback import Basis, FollowUpData, RollbackData
from streams.dismissals import Dismissals
from streams.feedback import feedback_warnings
from streams.identity import rollback_id
from streams.incident_reasons import (
    Beginning,
    RollbackApproval,
    RollbackOpening,
    beginnings,
    going_on,
)
from streams.responder_ports import (
    FoldPlace,
    Forgotten,
    IncidentStore,
    Kept,
    ModelName,
    VersionWindows,
)
from streams.rollback_gate import (
    Circumstances,
    Compared,
    Succession,
    after_retraining,
    followup_of,
    retraining_before,
    rollback_of,
    spans_after,
    spans_before,
)
from streams.version_comparison import comparison_of
from streams.version_facts import VersionTally
from streams.version_reader import window_at
from streams.window_reader import WindowError

Spans = Mapping[int, tuple[int, int]]
"""By partition the first offset and the last."""
MAX_VERSIONS: Final = 32
"""Of a model: those that began last are followed."""
MAX_BEGINNINGS: Final = 512
"""Of a model, over all partitions: where versions began is known of the last ones."""


class RollbackDesk:
    """One responder's following of versions."""

    def __init__(
        self,
        store: IncidentStore,
        windows: VersionWindows,
        config: RollbackConfig,
        *,
        events_topic: str,
    ) -> None:
        self.config: Final = config
        self._store: Final = store
        self._windows: Final = windows
        self._topic: Final = events_topic

    async def of(
        self,
        model: ModelName,
        kept: Kept,
        dismissals: Dismissals,
        settled: Mapping[FoldPlace, int],
        retrainings: Sequence[RetrainingData],
    ) -> tuple[list[FollowUpData], list[RollbackData]]:
        """Every follow-up and every request of a model; `retrainings` are those released.

        One that was released is kept for ever. May raise what the store and the windows raise.
        """
        begun = beginnings(kept.said)
        around = Circumstances(
            evidence=sorted(kept.evidence.values(), key=lambda each: each.evidence_id),
            dismissals=dismissals,
            approvals=[each for each in kept.said if isinstance(each, RollbackApproval)],
            opened=[each for each in kept.said if isinstance(each, RollbackOpening)],
            begun=begun,
        )
        told = {each.followup_id: each for each in kept.released if isinstance(each, FollowUpData)}
        known = {each.model_version for each in told.values()}
        for version, start in _followed(begun):
            if version not in known:
                found = await self._followup(model, version, start, settled)
                if found is not None:
                    told[found.followup_id] = found
        requests = {
            each.request_id: each for each in kept.released if isinstance(each, RollbackData)
        }
        done = {each.followup_id for each in requests.values()}
        for followup in told.values():
            if followup.followup_id in done:
                continue
            request = rollback_of(followup, around, self.config)
            if request is not None and request.status == "released":
                request = await self._store.release(model, request)
            if request is not None:
                requests[request.request_id] = request
        followups = [_with_retraining(each, begun, retrainings) for each in told.values()]
        return followups, list(requests.values())

    async def _followup(
        self,
        model: ModelName,
        version: str,
        start: Mapping[FoldPlace, int],
        settled: Mapping[FoldPlace, int],
    ) -> FollowUpData | None:
        """What is found of a version; one that is told is kept for ever."""
        succession = await self._succession(model, version, start)
        if succession is None:
            return None
        compared = await self._compared(model, succession, settled)
        found = followup_of(succession, compared)
        return await self._store.release(model, found) if compared.is_final else found

    async def _succession(
        self, model: ModelName, version: str, begun: Mapping[FoldPlace, int]
    ) -> Succession | None:
        """After which version it comes; None where there is none, or nobody can tell any more."""
        start = {place.partition: offset for place, offset in begun.items()}
        lineages = {place.partition: place.lineage for place in begun}
        spans = spans_before(start, self.config.window_offsets)
        try:
            tallies = await self._tallies(model, spans, lineages, version, None)
        except WindowError:
            return None
        others = [name for name in tallies or () if name != version]
        if not others:
            return None
        return Succession(model.deployment, model.model_id, version, others[0], start, lineages)

    async def _compared(
        self, model: ModelName, succession: Succession, settled: Mapping[FoldPlace, int]
    ) -> Compared:
        """The first windows in which both have enough labels decide."""
        config, version, last = self.config, succession.version, succession.last
        lineages = succession.lineages
        n_labels = 0, 0
        for n_doublings in range(config.max_doublings + 1):
            length = config.window_offsets << n_doublings
            after = spans_after(succession.start, length)
            why = f"{length:,} offsets from its first event are not settled yet"
            # By its own fold: of another one the same offsets are other events.
            if any(
                settled.get(FoldPlace(partition, lineages[partition]), 0) <= end
                for partition, (_, end) in after.items()
            ):
                return Compared(None, (), _said(n_labels, why, config))
            n_old = 0
            # Of the time in which both ran, if they did; else against the last window before.
            either: tuple[tuple[Basis, Spans], ...] = (
                ("together", after),
                ("before", spans_before(succession.start, length)),
            )
            for basis, spans in either:
                try:
                    new = await self._tallies(model, after, lineages, version, last) or {}
                    old = await self._tallies(model, spans, lineages, version, last) or {}
                except WindowError:
                    return Compared(None, (), _said(n_labels, why, config))
                compared = self._judged(succession, new, old, after, spans, basis)
                if compared is not None:
                    return compared
                n_old = max(n_old, _n_labels(old, last))
                n_labels = _n_labels(new, version), n_old
        why = "longer windows are not looked at, or the topic does not have their events any more"
        return Compared(None, (), _said(n_labels, why, config), is_final=True)

    def _judged(
        self,
        succession: Succession,
        new: Mapping[str, VersionTally],
        old: Mapping[str, VersionTally],
        after: Spans,
        spans: Spans,
        basis: Basis,
    ) -> Compared | None:
        """What comes of these windows; None where one of the versions has too few labels."""
        if succession.version not in new or succession.last not in old:
            return None
        mine, other = new[succession.version], old[succession.last]
        windows = {"new": window_at(after, self._topic), "old": window_at(spans, self._topic)}
        comparison = comparison_of(mine, other, windows, basis, self.config)
        if comparison is None:
            return None
        warnings = feedback_warnings(mine.regions, other.regions)
        return Compared(comparison, warnings, is_final=True, least_loss=self.config.least_loss)

    async def _tallies(
        self,
        model: ModelName,
        spans: Spans,
        lineages: Mapping[int, str],
        new: str,
        old: str | None,
    ) -> Mapping[str, VersionTally] | None:
        if not spans:
            return {}
        window: CleanWindow = window_at(spans, self._topic)
        return await self._windows.tallies(model, window, lineages, new, old)


def _followed(begun: Sequence[Beginning]) -> list[tuple[str, dict[FoldPlace, int]]]:
    """The versions that began last, each with where, by fold; of one version alone none.

    In folds that go on: of the others the events may be gone, and the same offsets hold others.
    """
    start: dict[str, dict[FoldPlace, int]] = {}
    for each in going_on(begun):
        place = FoldPlace(each.partition, each.lineage)
        start.setdefault(each.model_version, {})[place] = each.offset
    ordered = sorted(start.items(), key=lambda each: (max(each[1].values()), each[0]))
    return ordered[-MAX_VERSIONS:] if len(ordered) > 1 else []


def _with_retraining(
    followup: FollowUpData, begun: Sequence[Beginning], retrainings: Sequence[RetrainingData]
) -> FollowUpData:
    start = {
        each.partition: each.offset
        for each in going_on(begun)
        if each.model_version == followup.model_version
    }
    if followup.comparison is not None:
        # What stands in the record stays, whatever was forgotten.
        start |= {
            part.partition: part.ranges[0].first_offset
            for part in followup.comparison.new_window.parts
        }
    return after_retraining(followup, retraining_before(start, retrainings))


def forgettable_versions(kept: Kept, digests: Mapping[str, str | None]) -> Forgotten | None:
    """What need not be kept of versions that began long ago, and of which topics say all there is.

    `digests`: by key of what is told, what topics should have. None where there is nothing.
    """
    begun = beginnings(kept.said)
    recent = {version for version, _ in _followed(begun)}
    gone: dict[str, str] = {}
    names: set[str] = set()
    # After a rebuild it may not be known yet which versions are recent.
    followups = [each for each in kept.released if isinstance(each, FollowUpData)]
    for each in followups if len(recent) == MAX_VERSIONS else ():
        if each.model_version in recent:
            continue
        own = {f"followup/{each.followup_id}": each.followup_id}
        request = rollback_id(each.deployment, each.model_id, each.model_version, each.last_version)
        if f"rollback/{request}" in digests:
            own[f"rollback/{request}"] = request
        told = {key: digest for key in own if (digest := digests.get(key)) is not None}
        if all(kept.published.get(key) == told.get(key) for key in own):
            gone |= told
            names |= set(own.values())
    # Those of folds that do not go on are the first to go.
    now = set(going_on(begun))
    latest = sorted(begun, key=lambda each: (each in now, each.offset, each))[-MAX_BEGINNINGS:]
    words = [
        each
        for each in kept.said
        if (isinstance(each, RollbackApproval | RollbackOpening) and each.rollback_id in names)
        or (isinstance(each, Beginning) and each not in latest)
    ]
    if not gone and not words:
        return None
    return Forgotten(gone, [], words, None, sorted(names))


def _n_labels(tallies: Mapping[str, VersionTally], version: str) -> int:
    return tallies[version].n_labels if version in tallies else 0


def _said(n_labels: tuple[int, int], why: str, config: RollbackConfig) -> str:
    new, old = n_labels
    return (
        f"{new:,} labels of it and {old:,} of the last one are known in the windows, and "
        f"{config.min_labels:,} of each are asked for; {why}"
    )
