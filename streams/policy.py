"""From findings to alerts: what belongs together, how severe it is, what is said.

Pure: findings in log order go in, alert records come out, and the open episodes are state. Policy
never feeds back into a bank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from hashlib import blake2b
from typing import Final, NamedTuple

from detectors.base import BankState
from detectors.performance.expected import mean_interval
from schemas.alerts import (
    AlertData,
    Direction,
    ErrorOf,
    ErrorsInReference,
    ExpectedBeside,
    MovedSignal,
    Unit,
    WindowDistances,
    WorstGroup,
)
from schemas.commands import (
    Acknowledge,
    Mute,
    Order,
    PlannedChange,
    RunOut,
    SetReference,
    Spell,
    Withdraw,
)
from schemas.config import PolicyConfig
from schemas.findings import Aspect, Finding, Notice
from schemas.signal_names import ERROR, ERROR_GAP, EXPECTED_ERROR
from streams.episode_state import restore_episodes, snapshot_episodes
from streams.episodes import EpisodeBook, Rules, Told
from streams.evidence import MIN_EVENTS, Episode, Evidence, Watched, model_of, watched_by
from streams.identity import alert_id
from streams.orders import Orders, is_about
from streams.orders_state import restore_orders, snapshot_orders
from streams.sentences import bound_sentence, drift_sentence
from streams.signal_meaning import is_fault, is_harm, may_tell
from streams.vanished import vanished

POLICY_VERSION: Final = 10
"""Version of these rules and of their state."""

MAX_LISTED: Final = 20
"""Signals that one record names. The one that it is about is always among them, and so are those of
all errors."""
MAX_TELLING_LISTED: Final = 64
"""So many in all that say that data broke, and as many that say that the model is worse: a
retraining waits for the ones and is asked for by the others, by what stands in the record. More
faults are counted; a record has to fit into a message."""
_OF_ERRORS: Final = frozenset({ERROR, ERROR_GAP, EXPECTED_ERROR})


class Occasion(NamedTuple):
    """What an alert record is told for: an event, or what a person said before one."""

    offset: int
    event_row: int
    event_time_ms: int
    watched: Watched | None = None
    """The signal that it is about; None: it is about none."""

    def is_about(self, watched: Watched) -> bool:
        """Whether it is about this aspect of a signal: a working baseline is about all of them."""
        if self.watched is None or self.watched[1] != Aspect.SETTLED:
            return watched == self.watched
        return watched[0] == self.watched[0]


class Policy:
    """The open episodes of one partition, and what a person has said of them.

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
        self.orders = Orders() if state is None else restore_orders(state)

    def snapshot(self) -> BankState:
        """The episodes that later evidence may still join, and the orders in force."""
        return {**snapshot_episodes(self.book), **snapshot_orders(self.orders)}

    @property
    def _rules(self) -> Rules:
        return Rules(self.config.cooldown_events, self.config.min_effect)

    def decide(
        self, said: Sequence[Finding | Notice], next_seq: Callable[[], int]
    ) -> list[AlertData]:
        """The alert records that findings and notices come to, in their order."""
        alerts: list[AlertData] = []
        for item in said:
            if isinstance(item, Notice):
                alerts.append(self._bound_alert(item, next_seq()))
                continue
            planned = self.orders.planned(item)
            told = self.book.take(item, self._alert_id, self._rules, planned)
            now = Occasion(item.offset, item.event_row, item.event_time_ms, watched_by(item))
            is_muted = self.orders.is_muted(model_of(item), item.signal, item.event_time_ms)
            alerts += [
                self._drift_alert(each, now, next_seq())
                for each in told
                if self._is_to_be_told(each, is_muted=is_muted)
            ]
        return alerts

    def tell_more(self, episode: Episode, now: Occasion, next_seq: Callable[[], int]) -> AlertData:
        """One more record of an episode of which more has become known, without a finding."""
        return self._drift_alert(Told(episode, "updated"), now, next_seq())

    def _is_to_be_told(self, told: Told, *, is_muted: bool) -> bool:
        """Whether this goes out now; what a mute holds back is noted."""
        episode = told.episode
        if told.status == "resolved":
            return episode.revision > 0
        if self.config.confirm and not episode.is_confirmed:
            return False
        if is_muted:
            episode.has_untold = True
            return False
        # That data broke, or are back, decides about retrainings: it is said to whoever knows, too.
        return (
            episode.acknowledged_by is None
            or episode.is_worse_than_known
            or _told_of(episode) != episode.acknowledged_telling
        )

    def concerns(self, order: Order) -> bool:
        """Whether this changes anything here."""
        if isinstance(order, Acknowledge):
            return self._open_alert(order.alert_id) is not None
        if isinstance(order, Withdraw):
            return order.withdraws in self.orders.spells
        if isinstance(order, RunOut):
            return order.command_id in self.orders.spells
        return True

    def obey(
        self, order: Order, offset: int, said_ms: int, next_seq: Callable[[], int]
    ) -> list[AlertData]:
        """Do what was said at `said_ms`, before the record at `offset`; the alert records of it."""
        now = Occasion(offset, 0, said_ms)
        if isinstance(order, Mute | PlannedChange):
            given_up = self.orders.begin(order)
            return [] if given_up is None else self._tell_held_back(given_up, now, next_seq)
        if isinstance(order, Acknowledge):
            episode = self._open_alert(order.alert_id)
            if episode is None:
                return []
            episode.acknowledged_by = order.by or order.command_id
            episode.acknowledged_severity = episode.severity
            return [self._drift_alert(Told(episode, "updated"), now, next_seq())]
        if isinstance(order, SetReference):
            ended = self.book.end(order.model_id, order.model_version)
            return [
                self._drift_alert(told, now, next_seq())
                for told in ended
                if self._is_to_be_told(told, is_muted=False)
            ]
        name = order.withdraws if isinstance(order, Withdraw) else order.command_id
        spell = self.orders.end(name)
        return [] if spell is None else self._tell_held_back(spell, now, next_seq)

    def _open_alert(self, name: str) -> Episode | None:
        episode = self.book.episodes.get(name)
        return episode if episode is not None and episode.revision and episode.is_live else None

    def _tell_held_back(
        self, spell: Spell, now: Occasion, next_seq: Callable[[], int]
    ) -> list[AlertData]:
        """Tell of what was held back and is still away, now that a mute is over."""
        waiting = [
            episode
            for episode in self.book.episodes.values()
            if episode.has_untold
            and is_about(spell, episode.model)
            and not self.orders.holds_back(episode)
        ]
        alerts = []
        for episode in waiting:
            episode.has_untold = False
            if episode.is_live and self._is_to_be_told(Told(episode, "updated"), is_muted=False):
                alerts.append(self._drift_alert(Told(episode, "updated"), now, next_seq()))
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

    def _drift_alert(self, told: Told, now: Occasion, seq: int) -> AlertData:
        """One record of an episode."""
        episode = told.episode
        episode.revision += 1
        episode.has_untold = False
        if episode.is_worse_than_known:
            episode.acknowledged_severity = episode.severity
        model_id, model_version, shard = episode.model
        ranked = episode.ranked()
        signals, n_faults_unnamed = _listed(ranked, now)
        first = signals[0]
        alert = AlertData(
            alert_id=episode.alert_id,
            revision=episode.revision,
            seq=seq,
            kind="drift",
            status="opened" if episode.revision == 1 else told.status,
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
            trigger_offset=now.offset,
            trigger_row=now.event_row,
            opened_offset=episode.opened_offset,
            partition=self.partition,
            event_time_ms=now.event_time_ms,
            planned=episode.planned,
            training_serving_skew=episode.is_from_start,
            acknowledged_by=episode.acknowledged_by,
            error_reference=_errors_in_reference(episode),
            signals=signals,
            n_signals=len(ranked),
            n_faults_unnamed=n_faults_unnamed,
            n_findings=episode.n_findings,
            budget_share=episode.budget_share,
            message="",
        )
        if episode.acknowledged_by is not None:
            telling = _told_of(episode)
            if telling != episode.acknowledged_telling:
                # It tells something else now: how severe that is, they know as of this record.
                episode.acknowledged_severity = episode.severity
            episode.acknowledged_telling = telling
        if told.status == "resolved":
            # If it opens again, that is news to everybody.
            episode.acknowledged_by = episode.acknowledged_severity = None
            episode.acknowledged_telling = None
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
            planned=None,
            training_serving_skew=False,
            acknowledged_by=None,
            signals=[],
            n_signals=0,
            n_faults_unnamed=0,
            n_findings=0,
            budget_share=None,
            message=bound_sentence(notice),
        )


def _errors_in_reference(episode: Episode) -> ErrorsInReference | None:
    own = episode.error_reference
    if own is None or own.n_labels < MIN_EVENTS:
        return None
    return ErrorsInReference(n_errors=own.n_errors, n_labels=own.n_labels)


def _moved_signal(watched: Watched, evidence: Evidence) -> MovedSignal:
    signal, aspect = watched
    return MovedSignal(
        signal=signal,
        unit=_unit(evidence, aspect),
        direction=_direction(evidence),
        effect=evidence.effect,
        before=evidence.before,
        after=evidence.after,
        standing=evidence.standing.word,
        detectors=list(evidence.detectors),
        change_offset=evidence.change_offset,
        found_offset=evidence.found_offset,
        distances=evidence.distances and WindowDistances(**asdict(evidence.distances)),
        error_of=_error_of(signal, evidence),
        expected=_expected(evidence, aspect),
        worst_groups=[WorstGroup(**asdict(each)) for each in evidence.worst],
        named_feature=evidence.named or None,
        part_factor=evidence.part or None,
        vanished=vanished(signal, evidence),
    )


def _listed(
    ranked: Sequence[tuple[Watched, Evidence]], now: Occasion
) -> tuple[list[MovedSignal], int]:
    """What a record names, and how many faults that are still away it does not name."""
    named: list[MovedSignal] = []
    n_faults = n_harms = n_unnamed = 0
    for rank, (watched, evidence) in enumerate(ranked):
        signal, _ = watched
        is_usual = rank < MAX_LISTED or now.is_about(watched) or signal in _OF_ERRORS
        if not (is_usual or evidence.part or may_tell(signal)):
            continue
        moved = _moved_signal(watched, evidence)
        is_broken, is_worse = is_fault(moved), is_harm(moved)
        n_faults += is_broken
        n_harms += is_worse
        if (
            is_usual
            or (is_broken and n_faults <= MAX_TELLING_LISTED)
            or (is_worse and n_harms <= MAX_TELLING_LISTED)
        ):
            named.append(moved)
        else:
            n_unnamed += is_broken and evidence.is_away
    return named, n_unnamed


def _told_of(episode: Episode) -> str:
    """A digest of what an episode says of broken data and of harm, and whether faults are back."""
    telling = []
    for watched, evidence in episode.evidence.items():
        signal, aspect = watched
        if evidence.part or may_tell(signal):
            moved = _moved_signal(watched, evidence)
            if is_fault(moved):
                back = moved.standing if moved.standing in ("returned", "superseded") else "moved"
                telling.append(f"fault|{signal}|{aspect}|{back}")
            elif is_harm(moved):
                telling.append(f"harm|{signal}|{aspect}")
    return blake2b("\n".join(sorted(telling)).encode(), digest_size=8).hexdigest()


def _error_of(signal: str, evidence: Evidence) -> ErrorOf | None:
    if signal.partition(":")[0] != ERROR:
        return None
    return "number" if evidence.is_error_of_number else "class"


def _expected(evidence: Evidence, aspect: int) -> ExpectedBeside | None:
    """What scores make one expect now and in the reference; None of other signals."""
    reference = evidence.reference
    if reference is None:
        return None
    least, most = mean_interval(reference.mean, reference.sd, reference.n)
    # Of a spread the mean is not known, nor where what is told is a share of departures.
    is_mean = aspect != Aspect.SPREAD and not evidence.is_departure
    value = evidence.after if is_mean else None
    low = high = None
    if value is not None:
        n_blocks = max(evidence.n_after // reference.rows, 1)
        low, high = mean_interval(value, reference.sd, n_blocks)
    return ExpectedBeside(
        value=value,
        low=low,
        high=high,
        reference=reference.mean,
        reference_low=least,
        reference_high=most,
    )


def _direction(evidence: Evidence) -> Direction:
    if evidence.is_of_category:
        return "changed"
    return "rose" if evidence.is_rise else "fell"


def _unit(evidence: Evidence, aspect: int) -> Unit:
    if aspect == Aspect.SPREAD:
        return "spread"
    if aspect == Aspect.SHAPE:
        return "shape"
    if evidence.is_departure:
        return "departures"
    return "share" if evidence.is_share else "value"
