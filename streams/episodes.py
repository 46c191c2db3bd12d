"""Episodes: the findings of one model that belong to one change.

Pure: findings in log order go in, what is to be told of which episode comes out, and the episodes
that later evidence may still join are state. Places within a model's stream are counted in events
of that model, since detectors count so; a change point is known only roughly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from math import sqrt
from typing import Final, NamedTuple

from schemas.alerts import Resolution, Severity, Status
from schemas.alerts import Standing as StandingWord
from schemas.findings import Aspect, Finding

MIN_EVENTS: Final = 20
"""A mean over fewer events says too much about one of them, and is not published."""
MAX_COARSE_EFFECT: Final = 10.0
MAX_EPISODES: Final = 10_000
"""Kept per partition; past it, the one opened first is forgotten (and its change may reopen)."""
MAX_OF_MODEL: Final = 32
"""Kept of one model version, likewise."""
MAX_SIGNALS: Final = 1_000
"""Signals that an episode keeps apart; findings on further ones are counted."""
MAX_SPAN: Final = 10
"""A signal that goes on moving stays in its episode for so many cooldowns after the change."""
RETURN_SD: Final = 0.1
"""A signal that lies so near to its reference has returned."""
WEEK_MS: Final = 7 * 86_400_000
MAX_OPENED: Final = 1_000
"""Openings within a week that are counted; a model with more has spent any budget."""
SHARPNESS: Final = 20.0
"""A change by d standard deviations is located to about so many over d squared events: twice what
the likelihood of a shift of independent normal values allows in 95 of 100 cases."""

SEVERITIES: Final[tuple[tuple[float, Severity], ...]] = (
    (1.0, "critical"),
    (0.5, "high"),
    (0.2, "medium"),
    (0.0, "low"),
)
"""Least |effect|, in reference standard deviations, of each severity."""

_HAS_BASELINE: Final = "focus"
"""The detector that says when a signal has settled."""

ModelName = tuple[str, str, int]
"""Model id, version and shard (-1: none)."""
Watched = tuple[str, int]
"""A signal and which of its aspects."""


class Standing(IntEnum):
    """Where a signal of an episode is now."""

    MOVED = 0
    RETURNED = 1
    """Back within `RETURN_SD` of its reference."""
    SUPERSEDED = 2
    """It has moved again since, in another episode."""
    RETURNING = 3
    """Seen to come back, over few events as yet."""

    @property
    def word(self) -> StandingWord:
        """As an alert says it."""
        return _STANDING_WORDS[self]


_STANDING_WORDS: Final[dict[Standing, StandingWord]] = {
    Standing.MOVED: "moved",
    Standing.RETURNED: "returned",
    Standing.SUPERSEDED: "superseded",
    Standing.RETURNING: "returning",
}
_AWAY: Final = (Standing.MOVED, Standing.RETURNING)


@dataclass(slots=True)
class Evidence:
    """What is known of one signal in an episode: how far it went at most, and what has found it."""

    detectors: list[str]
    effect: float
    """How far it lay from the reference, in its standard deviations; coarse over few events."""
    before: float | None
    after: float | None
    is_rise: bool
    is_share: bool
    is_departure: bool
    n_before: int
    n_after: int
    """Events that the means rest on."""
    change_offset: int
    found_offset: int
    """The trigger of its first finding."""
    change_event: int
    """About where it last moved."""
    standing: Standing = Standing.MOVED
    returned_event: int = -1
    """Where it was found to have returned; -1: nowhere yet."""

    def take(self, finding: Finding) -> bool:
        """Let one more finding speak; whether it says anything new."""
        seen = _evidence(finding)
        is_news = finding.detector not in self.detectors
        self.detectors += [finding.detector] if is_news else []
        # What happened before it came back is late evidence, and no new move.
        if self.standing is Standing.RETURNED and seen.change_event >= self.returned_event:
            self.standing, is_news = Standing.MOVED, True
        if self.standing is Standing.RETURNING:
            self.standing, is_news = Standing.MOVED, True
        if self.standing is not Standing.MOVED:
            return is_news
        self.change_event = seen.change_event
        if seen.after is None and self.after is not None:
            return is_news
        if self.after is None:
            return self._say(seen) or is_news
        # Means that differ by a few events would give those away.
        differ = abs(seen.n_after - self.n_after) >= MIN_EVENTS
        if not (differ and finding.is_within_budget and abs(seen.effect) >= abs(self.effect)):
            return is_news
        return self._say(seen) or is_news

    def settle(self, effect: float, after: float | None, n_after: int) -> bool:
        """Take the working baseline for where the signal went; whether a mean has become known.

        Where one is known, the signal may have come back part of the way since.
        """
        knew_after = self.after is not None
        if after is None or (knew_after and abs(effect) < abs(self.effect)):
            return False
        self.effect, self.after, self.n_after = effect, after, n_after
        return not knew_after

    def _say(self, seen: Evidence) -> bool:
        is_news = severity(seen.effect) != severity(self.effect)
        is_news |= seen.after is not None and self.after is None
        if abs(seen.n_before - self.n_before) >= MIN_EVENTS or self.before is None:
            self.before, self.n_before = seen.before, seen.n_before
        self.effect, self.after, self.n_after = seen.effect, seen.after, seen.n_after
        self.is_rise, self.change_offset = seen.is_rise, seen.change_offset
        return is_news


@dataclass(slots=True)
class Episode:
    """One change of one model, as far as it is known."""

    alert_id: str
    model: ModelName
    admitted: int
    """When its model was admitted: one that gave way and came back has no old episodes."""
    opened_event: int
    opened_offset: int
    opened_change: int
    """About where it began, by its first finding."""
    change_event: int
    """By the finding that locates it best."""
    change_offset: int
    sharpness: float
    """To about how many events that finding locates it."""
    budget_share: float | None
    revision: int = 0
    n_findings: int = 0
    closed_event: int = -1
    evidence: dict[Watched, Evidence] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Whether any of its signals is still away from the reference."""
        return any(each.standing in _AWAY for each in self.evidence.values())

    @property
    def detectors(self) -> list[str]:
        """What has fired so far, in order of first firing."""
        every = (name for each in self.evidence.values() for name in each.detectors)
        return list(dict.fromkeys(every))

    def ranked(self) -> list[tuple[Watched, Evidence]]:
        """Its signals, first those that are away from the reference, then by how far they were."""
        return sorted(
            self.evidence.items(),
            key=lambda item: (item[1].standing not in _AWAY, -abs(item[1].effect)),
        )

    @property
    def severity(self) -> Severity:
        """That of the signal that is furthest away; of a resolved one, of the one that was."""
        return severity(self.ranked()[0][1].effect)


class Told(NamedTuple):
    """What is to be published of an episode now."""

    episode: Episode
    status: Status
    resolution: Resolution | None = None


def severity(effect: float) -> Severity:
    """How severe it is to lie so many reference standard deviations away."""
    return next(name for least, name in SEVERITIES if abs(effect) >= least)


class EpisodeBook:
    """The episodes of one partition. `name_alert` gives a new one its identity."""

    def __init__(self) -> None:
        self.episodes: dict[str, Episode] = {}
        """By alert id, in the order in which they were opened."""
        self._of_model: dict[ModelName, dict[str, Episode]] = {}
        self.opened_ms: dict[ModelName, list[int]] = {}
        """Event times at which the episodes of a model were opened, within a week of the last."""

    def take(self, finding: Finding, alert_id: str, cooldown: int) -> list[Told]:
        """Let a finding join its episode, or open one under this id; what is to be told."""
        told: list[Told] = []
        for episode in self.of_model(_model(finding)):
            if episode.admitted != finding.admitted:
                told += self._forget(episode)
            elif 0 <= episode.closed_event < finding.model_event - cooldown:
                self._drop(episode)
        of_model = self.of_model(_model(finding))
        if finding.aspect is Aspect.SETTLED:
            return told + _settle(of_model, finding)
        returned = _return(of_model, finding)
        if returned is not None:
            return told + returned
        joined = _joined(of_model, finding, cooldown)
        if joined is None and not finding.is_within_budget:
            return told
        if joined is None:
            told += self._make_room(of_model)
        episode = joined or self._open(finding, alert_id)
        has_moved_on = any(
            each.change_event > episode.change_event
            for each in _live(of_model, _watched(finding))
            if each is not episode
        )
        _locate(episode, finding, cooldown)
        is_news = _add(episode, finding, has_moved_on=has_moved_on)
        if is_news:
            told.append(Told(episode, "updated" if episode.revision else "opened"))
        return told + _supersede(of_model, episode, finding)

    def of_model(self, model: ModelName) -> list[Episode]:
        """The episodes of one model version, the one opened first first."""
        return list(self._of_model.get(model, {}).values())

    def keep(self, episode: Episode) -> None:
        """Take in one more."""
        self.episodes[episode.alert_id] = episode
        self._of_model.setdefault(episode.model, {})[episode.alert_id] = episode

    def _drop(self, episode: Episode) -> None:
        del self.episodes[episode.alert_id]
        of_model = self._of_model[episode.model]
        del of_model[episode.alert_id]
        if not of_model:
            del self._of_model[episode.model]

    def _forget(self, episode: Episode) -> Iterator[Told]:
        self._drop(episode)
        if episode.closed_event < 0:
            yield Told(episode, "resolved", "forgotten")

    def _make_room(self, of_model: list[Episode]) -> Iterator[Told]:
        if len(of_model) >= MAX_OF_MODEL:
            # What is over already goes first.
            closed = [episode for episode in of_model if episode.closed_event >= 0]
            yield from self._forget((closed or of_model)[0])
        while len(self.episodes) >= MAX_EPISODES:
            yield from self._forget(next(iter(self.episodes.values())))

    def _open(self, finding: Finding, alert_id: str) -> Episode:
        if alert_id in self.episodes:  # in a made-up state alone
            self._drop(self.episodes[alert_id])
        episode = Episode(
            alert_id=alert_id,
            model=_model(finding),
            admitted=finding.admitted,
            opened_event=finding.model_event,
            opened_offset=finding.offset,
            opened_change=_change_event(finding),
            change_event=_change_event(finding),
            change_offset=max(finding.change_offset, 0),
            sharpness=_sharpness(finding),
            budget_share=self._budget_share(finding),
        )
        self.keep(episode)
        return episode

    def _budget_share(self, finding: Finding) -> float | None:
        """The episodes opened within a week, this one included, over those accepted as false."""
        model, now = _model(finding), finding.event_time_ms
        within = [at for at in self.opened_ms.pop(model, []) if abs(now - at) < WEEK_MS]
        if len(self.opened_ms) >= MAX_EPISODES:
            del self.opened_ms[next(iter(self.opened_ms))]
        self.opened_ms[model] = [*within, now][-MAX_OPENED:]
        if finding.accepted_per_week <= 0.0:
            return None
        return (len(within) + 1) / finding.accepted_per_week


def _evidence(finding: Finding) -> Evidence:
    """What a finding says that may be told: nothing that rests on a few events."""
    effect = finding.effect
    if finding.n_after < MIN_EVENTS:
        effect = float(round(min(max(effect, -MAX_COARSE_EFFECT), MAX_COARSE_EFFECT)))
    return Evidence(
        detectors=[finding.detector],
        effect=effect,
        before=finding.before if finding.n_before >= MIN_EVENTS else None,
        after=finding.after if finding.n_after >= MIN_EVENTS else None,
        is_rise=finding.move > 0.0,
        is_share=finding.is_share,
        is_departure=finding.is_departure,
        n_before=finding.n_before,
        n_after=finding.n_after,
        change_offset=max(finding.change_offset, 0),
        found_offset=finding.offset,
        change_event=_change_event(finding),
    )


def _model(finding: Finding) -> ModelName:
    return finding.model_id, finding.model_version, finding.shard


def _watched(finding: Finding) -> Watched:
    return finding.signal, int(finding.aspect)


def _change_event(finding: Finding) -> int:
    return max(finding.model_event - finding.n_after, 0)


def _sharpness(finding: Finding) -> float:
    # No change is further off than the rows that were seen after it.
    located = SHARPNESS / max(finding.move * finding.move, 1e-12)
    return min(located, float(max(finding.n_after, 1)))


def _joined(of_model: list[Episode], finding: Finding, cooldown: int) -> Episode | None:
    """The episode whose change point is nearest to the finding's, if one is near enough."""
    change, sharpness = _change_event(finding), _sharpness(finding)
    nearest: tuple[int, Episode] | None = None
    for episode in of_model:
        distance = abs(change - episode.change_event)
        is_near = distance <= max(cooldown, sharpness, episode.sharpness)
        known = episode.evidence.get(_watched(finding))
        goes_on = (
            known is not None
            and known.standing in _AWAY
            and abs(change - known.change_event) <= cooldown
            and distance <= MAX_SPAN * cooldown
        )
        if (is_near or goes_on) and (nearest is None or distance <= nearest[0]):
            nearest = distance, episode
    if nearest is not None:
        return nearest[1]
    # Late evidence of an earlier change: where the signal is by now has been told already.
    later = [each for each in _live(of_model, _watched(finding)) if each.change_event >= change]
    return later[-1] if later else None


def _live(of_model: list[Episode], watched: Watched) -> list[Episode]:
    """The episodes in which this signal is away from its reference."""
    return [
        episode
        for episode in of_model
        if watched in episode.evidence and episode.evidence[watched].standing in _AWAY
    ]


def _locate(episode: Episode, finding: Finding, cooldown: int) -> None:
    """Let a finding that locates the change better say where it was."""
    change, sharpness = _change_event(finding), _sharpness(finding)
    # A signal that goes on moving must not take the change along with it.
    is_near = abs(change - episode.opened_change) <= cooldown
    is_before = change <= episode.opened_event
    if (is_before and sharpness < episode.sharpness) and (
        is_near or abs(change - episode.change_event) <= episode.sharpness
    ):
        episode.sharpness = sharpness
        episode.change_event = change
        episode.change_offset = max(finding.change_offset, 0)


def _add(episode: Episode, finding: Finding, *, has_moved_on: bool) -> bool:
    """Let an episode have this finding; whether that is news.

    `has_moved_on`: the signal has moved again since, in a later episode.
    """
    episode.n_findings += 1
    watched = _watched(finding)
    known = episode.evidence.get(watched)
    if known is None:
        if len(episode.evidence) >= MAX_SIGNALS:
            return False
        known = episode.evidence[watched] = _evidence(finding)
        is_news = True
    else:
        is_news = known.take(finding)
    if has_moved_on:
        known.standing = Standing.SUPERSEDED
    # What was resolved is told of again only where it is open again.
    was_closed, is_closed = episode.closed_event >= 0, not episode.is_live
    episode.closed_event = episode.closed_event if is_closed else -1
    return not is_closed and (is_news or was_closed)


def _return(of_model: list[Episode], finding: Finding) -> list[Told] | None:
    """What is to be told where a signal comes back; None where that is not what was found.

    FOCuS is believed when its working baseline lies at the reference: until then its few rows say
    that the signal is returning, and open nothing. Others have no baseline.
    """
    was = abs(finding.effect - finding.move)
    near = max(RETURN_SD, 3.0 / sqrt(max(finding.n_after, 1)))
    if not (abs(finding.effect) <= near and abs(finding.effect) < was):
        return None
    watched = _watched(finding)
    live = _live(of_model, watched)
    for episode in live:
        episode.n_findings += 1
    if live:
        is_certain = finding.n_after >= MIN_EVENTS and abs(finding.effect) <= RETURN_SD
        if not finding.is_within_budget:
            return []
        if finding.detector == _HAS_BASELINE or not is_certain:
            fresh = [e for e in live if e.evidence[watched].standing is Standing.MOVED]
            for episode in fresh:
                episode.evidence[watched].standing = Standing.RETURNING
            return [Told(episode, "updated") for episode in fresh]
        for episode in live:
            _mark_returned(episode.evidence[watched], finding)
        return [_told_of_return(episode, finding) for episode in live]
    # One detector has seen it come back already: this is the same return.
    closed = [
        episode
        for episode in of_model
        if watched in episode.evidence and episode.evidence[watched].standing is Standing.RETURNED
    ]
    if not closed:
        return None
    closed[-1].n_findings += 1
    return []


def _settle(of_model: list[Episode], finding: Finding) -> list[Told]:
    """What is to be told of a working baseline: which signals it has at their reference."""
    told = []
    for episode in of_model:
        returned = is_news = False
        for aspect, effect, after in (
            (Aspect.MEAN, finding.effect, finding.after),
            (Aspect.SPREAD, finding.spread_effect, None),
        ):
            known = episode.evidence.get((finding.signal, int(aspect)))
            if known is None or known.standing is Standing.SUPERSEDED:
                continue
            if abs(effect) > RETURN_SD:
                # It had been thought to be back; where it is by now another episode may hold.
                if known.standing is Standing.RETURNED and _live(
                    of_model, (finding.signal, int(aspect))
                ):
                    continue
                is_news |= known.standing is not Standing.MOVED
                known.standing = Standing.MOVED
                is_news |= known.settle(effect, after, finding.n_after)
            elif known.standing in _AWAY:
                _mark_returned(known, finding)
                returned = True
        if is_news:
            episode.closed_event = -1
        if returned:
            told.append(_told_of_return(episode, finding))
        elif is_news:
            told.append(Told(episode, "updated"))
    return told


def _mark_returned(known: Evidence, finding: Finding) -> None:
    known.standing = Standing.RETURNED
    known.returned_event = finding.model_event


def _told_of_return(episode: Episode, finding: Finding) -> Told:
    if episode.is_live:
        return Told(episode, "updated")
    episode.closed_event = finding.model_event
    return Told(episode, "resolved", "returned")


def _supersede(of_model: list[Episode], newest: Episode, finding: Finding) -> list[Told]:
    """Let the signal, which is this episode's now, be no longer that of earlier changes."""
    told: list[Told] = []
    if _watched(finding) not in newest.evidence:  # it has too many to keep this one apart
        return told
    for episode in of_model:
        known = episode.evidence.get(_watched(finding))
        is_earlier = episode is not newest and episode.change_event <= newest.change_event
        if not is_earlier or known is None or known.standing not in _AWAY:
            continue
        known.standing = Standing.SUPERSEDED
        if not episode.is_live:
            episode.closed_event = finding.model_event
            told.append(Told(episode, "resolved", "superseded"))
    return told
