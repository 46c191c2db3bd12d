"""From findings to alerts: what belongs together, how severe it is, what is said.

Pure: findings in log order go in, alert records come out, and the open episodes are state. Policy
never feeds back into a bank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final

from detectors.base import BankState
from schemas.alerts import AlertData, MovedSignal, Unit, WindowDistances
from schemas.config import PolicyConfig
from schemas.findings import Aspect, Finding, Notice
from streams.episode_state import restore_episodes, snapshot_episodes
from streams.episodes import EpisodeBook, Told
from streams.evidence import Evidence, Watched, watched_by
from streams.identity import alert_id
from streams.sentences import bound_sentence, drift_sentence

POLICY_VERSION: Final = 3
"""Version of these rules and of their state."""

MAX_LISTED: Final = 20
"""Signals that one record names; the one that it is about is always among them."""


class Policy:
    """The open episodes of one partition.

    `lineage`, `deployment` and `partition` are what its alerts say of their origin. Raises
    `StateError` where `state` is no earlier `snapshot()`.
    """

    def __init__(
        self,
        config: PolicyConfig,
        lineage: str,
        deployment: str,
        partition: int,
        state: BankState | None = None,
    ) -> None:
        self.config = config
        self.lineage = lineage
        self.deployment = deployment
        self.partition = partition
        self.book = EpisodeBook() if state is None else restore_episodes(state)

    def snapshot(self) -> BankState:
        """The episodes that later evidence may still join."""
        return snapshot_episodes(self.book)

    def decide(
        self, said: Sequence[Finding | Notice], next_seq: Callable[[], int]
    ) -> list[AlertData]:
        """The alert records that findings and notices come to, in their order."""
        alerts: list[AlertData] = []
        for item in said:
            if isinstance(item, Notice):
                alerts.append(self._bound_alert(item, next_seq()))
                continue
            told = self.book.take(item, self._alert_id, self.config.cooldown_events)
            alerts += [self._drift_alert(each, item, next_seq()) for each in told]
        return alerts

    def _alert_id(self, finding: Finding) -> str:
        return alert_id(
            self.lineage,
            finding.model_id,
            finding.shard,
            finding.model_version,
            finding.signal,
            finding.detector,
            "spread" if finding.aspect is Aspect.SPREAD else "drift",
            finding.offset,
            finding.event_row,
        )

    def _drift_alert(self, told: Told, finding: Finding, seq: int) -> AlertData:
        """One record of an episode; the finding is what it is told for."""
        episode = told.episode
        episode.revision += 1
        model_id, model_version, shard = episode.model
        ranked = episode.ranked()
        listed = ranked[:MAX_LISTED]
        listed += [
            (watched, evidence)
            for watched, evidence in ranked[MAX_LISTED:]
            if watched == watched_by(finding)
        ]
        signals = [_moved_signal(watched, evidence) for watched, evidence in listed]
        first = signals[0]
        alert = AlertData(
            alert_id=episode.alert_id,
            revision=episode.revision,
            seq=seq,
            kind="drift",
            status=told.status,
            resolution=told.resolution,
            deployment=self.deployment,
            lineage=self.lineage,
            model_id=model_id,
            model_version=model_version,
            shard=None if shard < 0 else shard,
            signal=first.signal,
            detectors=episode.detectors,
            severity=episode.severity,
            effect=first.effect,
            before=first.before,
            after=first.after,
            unit=first.unit,
            change_offset=episode.change_offset,
            trigger_offset=finding.offset,
            trigger_row=finding.event_row,
            opened_offset=episode.opened_offset,
            partition=self.partition,
            event_time_ms=finding.event_time_ms,
            signals=signals,
            n_signals=len(ranked),
            n_findings=episode.n_findings,
            budget_share=episode.budget_share,
            message="",
        )
        return alert.model_copy(update={"message": drift_sentence(alert)})

    def _bound_alert(self, notice: Notice, seq: int) -> AlertData:
        signal = f"bound:{notice.bound}"
        return AlertData(
            alert_id=alert_id(
                self.lineage,
                notice.model_id,
                notice.shard,
                notice.model_version,
                signal,
                "bounds",
                "bound",
                notice.offset,
                notice.event_row,
            ),
            revision=1,
            seq=seq,
            kind="bound",
            status="opened",
            resolution=None,
            deployment=self.deployment,
            lineage=self.lineage,
            model_id=notice.model_id,
            model_version=notice.model_version,
            shard=None if notice.shard < 0 else notice.shard,
            signal=signal,
            detectors=["bounds"],
            severity="medium",
            effect=None,
            before=None,
            after=None,
            unit="value",
            change_offset=notice.offset,
            trigger_offset=notice.offset,
            trigger_row=notice.event_row,
            opened_offset=notice.offset,
            partition=self.partition,
            event_time_ms=notice.event_time_ms,
            signals=[],
            n_signals=0,
            n_findings=0,
            budget_share=None,
            message=bound_sentence(notice),
        )


def _moved_signal(watched: Watched, evidence: Evidence) -> MovedSignal:
    signal, aspect = watched
    return MovedSignal(
        signal=signal,
        unit=_unit(evidence, aspect),
        direction="rose" if evidence.is_rise else "fell",
        effect=evidence.effect,
        before=evidence.before,
        after=evidence.after,
        standing=evidence.standing.word,
        detectors=list(evidence.detectors),
        change_offset=evidence.change_offset,
        found_offset=evidence.found_offset,
        distances=evidence.distances and WindowDistances(**asdict(evidence.distances)),
    )


def _unit(evidence: Evidence, aspect: int) -> Unit:
    if aspect == Aspect.SPREAD:
        return "spread"
    if aspect == Aspect.SHAPE:
        return "shape"
    if evidence.is_departure:
        return "departures"
    return "share" if evidence.is_share else "value"
