"""Episodes: the findings of one model that belong to one change.

Pure: findings in log order go in, what is to be told of which episode comes out, and the episodes
that later evidence may still join are state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from math import sqrt
from typing import Final, NamedTuple

from detectors.learning import WEEK_MS
from schemas.alerts import Resolution, Status
from schemas.findings import Aspect, Finding
from streams.evidence import (
    AWAY,
    MIN_EVENTS,
    Episode,
    Evidence,
    ModelName,
    Since,
    Standing,
    Watched,
    change_event_of,
    evidence_of,
    model_of,
    sharpness_of,
    watched_by,
)
from streams.signal_meaning import RETURN_SD, may_break, may_tell
from streams.units import part_factor
from streams.vanished import vanished

MAX_EPISODES: Final = 10_000
"""Kept per partition; past it, the one opened first is forgotten (and its change may reopen)."""
MAX_OF_MODEL: Final = 32
"""Kept of one model version, likewise."""
MAX_SIGNALS: Final = 1_000
"""Signals that an episode keeps apart; findings on further ones are counted."""
MAX_TELLING: Final = 256
"""And so many more that may say that data broke, or that the model is worse."""
MAX_SPAN: Final = 10
"""A signal that goes on moving stays in its episode for so many cooldowns after the change."""
MAX_OPENED: Final = 1_000
"""Openings within a week that are counted; a model with more has spent any budget."""

_HAS_BASELINE: Final = "focus"
"""The detector that says when a signal has settled."""


class Told(NamedTuple):
    """What there is to tell of an episode now; the first that is told of it opens its alert."""

    episode: Episode
    status: Status
    resolution: Resolution | None = None


class Rules(NamedTuple):
    """What the config says of episodes."""

    cooldown: int
    """Events of the model within which change points belong to one episode."""
    min_effect: float = 0.0
    """Reference standard deviations below which nothing opens one, or is named in one."""


class EpisodeBook:
    """The episodes of one partition."""

    def __init__(self) -> None:
        self.episodes: dict[str, Episode] = {}
        """By alert id, in the order in which they were opened."""
        self._of_model: dict[ModelName, dict[str, Episode]] = {}
        self.opened_ms: dict[ModelName, list[int]] = {}
        """Event times at which the episodes of a model were opened, within a week of the last."""

    def take(
        self,
        finding: Finding,
        name_alert: Callable[[Finding], str],
        rules: Rules,
        planned: str | None = None,
    ) -> list[Told]:
        """Let a finding join its episode, or open one that it gives its name; what is to be told.

        `planned`: why what was found is expected.
        """
        cooldown = rules.cooldown
        told: list[Told] = []
        for episode in self.of_model(model_of(finding)):
            if episode.admitted != finding.admitted:
                told += self._forget(episode)
            elif 0 <= episode.closed_event < finding.model_event - cooldown:
                self._drop(episode)
        of_model = self.of_model(model_of(finding))
        for episode in of_model:
            episode.error_reference = finding.error_reference or episode.error_reference
        if finding.aspect is Aspect.SETTLED:
            return told + _settle(of_model, finding)
        returned = _return(of_model, finding)
        if returned is not None:
            return told + returned
        joined = _joined(of_model, finding, cooldown)
        if joined is None and not finding.is_within_budget:
            return told
        is_known = joined is not None and watched_by(finding) in joined.evidence
        if abs(finding.effect) < rules.min_effect and not is_known:
            return told
        if joined is None:
            told += self._make_room(of_model)
        episode = joined or self._open(finding, name_alert(finding), planned)
        has_moved_on = any(
            each.change_event > episode.change_event
            for each in _holding(of_model, watched_by(finding))
            if each is not episode
        )
        _locate(episode, finding, cooldown)
        is_news = _add(episode, finding, has_moved_on=has_moved_on)
        if is_news:
            told.append(Told(episode, "updated"))
        return told + _supersede(of_model, episode, finding)

    def of_model(self, model: ModelName) -> list[Episode]:
        """The episodes of one model version, the one opened first first."""
        return list(self._of_model.get(model, {}).values())

    def end(self, model_id: str, model_version: str) -> list[Told]:
        """End those of a model version, whatever its shard, whose reference is another from now on.

        What they say is against the old one, and nothing that comes later belongs to them.
        """
        ended = [
            episode
            for episode in self.episodes.values()
            if episode.model[:2] == (model_id, model_version)
        ]
        for episode in ended:
            self._drop(episode)
        return [Told(e, "resolved", "new_reference") for e in ended if e.closed_event < 0]

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

    def _open(self, finding: Finding, alert_id: str, planned: str | None) -> Episode:
        if alert_id in self.episodes:  # in a made-up state alone
            self._drop(self.episodes[alert_id])
        episode = Episode(
            alert_id=alert_id,
            model=model_of(finding),
            admitted=finding.admitted,
            opened_event=finding.model_event,
            opened_offset=finding.offset,
            opened_change=change_event_of(finding),
            change_event=change_event_of(finding),
            change_offset=max(finding.change_offset, 0),
            sharpness=sharpness_of(finding),
            budget_share=self._budget_share(finding),
            planned=planned,
            is_from_start=finding.is_from_start,
            error_reference=finding.error_reference,
        )
        self.keep(episode)
        return episode

    def _budget_share(self, finding: Finding) -> float | None:
        """The episodes opened within a week, this one included, over those accepted as false."""
        model, now = model_of(finding), finding.event_time_ms
        within = [at for at in self.opened_ms.pop(model, []) if abs(now - at) < WEEK_MS]
        if len(self.opened_ms) >= MAX_EPISODES:
            del self.opened_ms[next(iter(self.opened_ms))]
        self.opened_ms[model] = [*within, now][-MAX_OPENED:]
        if finding.accepted_per_week <= 0.0:
            return None
        return (len(within) + 1) / finding.accepted_per_week


def _joined(of_model: list[Episode], finding: Finding, cooldown: int) -> Episode | None:
    """The episode whose change point is nearest to the finding's, if one is near enough."""
    change, sharpness = change_event_of(finding), sharpness_of(finding)
    nearest: tuple[int, Episode] | None = None
    for episode in of_model:
        distance = abs(change - episode.change_event)
        is_near = distance <= max(cooldown, sharpness, episode.sharpness)
        known = episode.evidence.get(watched_by(finding))
        goes_on = (
            known is not None
            and known.standing in AWAY
            and abs(change - known.change_event) <= cooldown
            and distance <= MAX_SPAN * cooldown
        )
        if (is_near or goes_on) and (nearest is None or distance <= nearest[0]):
            nearest = distance, episode
    if nearest is not None:
        return nearest[1]
    # Late evidence of an earlier change: where the signal is by now has been told already.
    later = [
        each for each in _holding(of_model, watched_by(finding)) if each.change_event >= change
    ]
    return later[-1] if later else None


def _holding(
    of_model: list[Episode], watched: Watched, standings: Collection[Standing] = AWAY
) -> list[Episode]:
    """The episodes in which this signal is away from its reference, or stands as is said."""
    return [
        episode
        for episode in of_model
        if watched in episode.evidence and episode.evidence[watched].standing in standings
    ]


def _locate(episode: Episode, finding: Finding, cooldown: int) -> None:
    """Let a finding that locates the change better say where it was."""
    change, sharpness = change_event_of(finding), sharpness_of(finding)
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
    watched = watched_by(finding)
    known = episode.evidence.get(watched)
    if known is None:
        room = MAX_SIGNALS + (MAX_TELLING if may_tell(finding.signal) else 0)
        if len(episode.evidence) >= room:
            return False
        known = episode.evidence[watched] = evidence_of(finding)
        is_news = True
    else:
        was = vanished(finding.signal, known)
        is_news = known.take(finding)
        is_news |= vanished(finding.signal, known) not in (None, was)
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
    if finding.aspect is Aspect.SHAPE:
        return None
    was = abs(finding.effect - finding.move)
    # A block counts once: its standard deviation is that of a block.
    n_seen = finding.n_after // finding.block
    near = max(RETURN_SD, 3.0 / sqrt(max(n_seen, 1)))
    if not (abs(finding.effect) <= near and abs(finding.effect) < was):
        return None
    watched = watched_by(finding)
    live = _holding(of_model, watched)
    for episode in live:
        episode.n_findings += 1
    if live:
        is_certain = n_seen >= MIN_EVENTS and abs(finding.effect) <= _home(finding)
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
    back = _holding(of_model, watched, (Standing.RETURNED,))
    if not back:
        return None
    back[-1].n_findings += 1
    return []


def _home(finding: Finding) -> float:
    """Within so many standard deviations of its reference a signal has returned.

    The mean of a few blocks is not known to a tenth of the standard deviation of one.
    """
    if finding.block == 1:
        return RETURN_SD
    return max(RETURN_SD, 3.0 / sqrt(max(finding.n_after // finding.block, 1)))


def _settle(of_model: list[Episode], finding: Finding) -> list[Told]:
    """What is to be told of a working baseline: which signals it has at their reference."""
    told = []
    level = evidence_of(finding)
    part = part_factor(finding)
    found: list[tuple[Aspect, float, float | None]] = [
        (Aspect.MEAN, finding.effect, finding.after),
        (Aspect.SPREAD, finding.spread_effect, finding.spread_after),
    ]
    if finding.distances is not None:
        after = None if finding.distances.is_of_category else finding.after
        found.append((Aspect.SHAPE, finding.distances.effect, after))
    for episode in of_model:
        returned = is_news = False
        for aspect, effect, after in found:
            watched = finding.signal, int(aspect)
            known = episode.evidence.get(watched)
            if known is None or known.standing is Standing.SUPERSEDED:
                continue
            # A window says nothing of a change amid it.
            if finding.distances is not None and known.change_event > change_event_of(finding):
                continue
            if abs(effect) > _home(finding):
                # It had been thought to be back; where it is by now another episode may hold.
                if known.standing is Standing.RETURNED and _holding(of_model, watched):
                    continue
                is_news |= known.standing is not Standing.MOVED
                is_news |= episode.revision == 0 and not episode.is_settled
                episode.is_settled = True
                known.standing = Standing.MOVED
                was = vanished(finding.signal, known)
                if known.is_across(watched, level):
                    is_news |= known.cross(level)
                else:
                    is_news |= known.settle(effect, after, finding.n_after)
                is_news |= vanished(finding.signal, known) not in (None, was)
                is_news |= known.name_worst(finding.worst)
                if finding.detector == _HAS_BASELINE:
                    is_news |= part not in (0.0, known.part)
                    known.part = part
            elif known.standing in AWAY:
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
    """Let the signal, which is this episode's now, be no longer that of earlier changes.

    Its shape goes with whatever aspect of it moves: it is that of all its rows.
    """
    told: list[Told] = []
    if watched_by(finding) not in newest.evidence:  # it has too many to keep this one apart
        return told
    superseded = {watched_by(finding), (finding.signal, int(Aspect.SHAPE))}
    for episode in of_model:
        is_earlier = episode is not newest and episode.change_event <= newest.change_event
        away = [
            known
            for watched, known in episode.evidence.items()
            if watched in superseded and known.standing in AWAY
        ]
        if not is_earlier or not away:
            continue
        is_news = False
        for known in away:
            if finding.detector == _HAS_BASELINE and _HAS_BASELINE in known.detectors:
                # It has looked from that change on: what was before this one was after that one.
                was = finding.effect - finding.move
                is_news |= known.complete(Since(was, finding.before, finding.n_before))
            known.standing = Standing.SUPERSEDED
            # Where data are broken whoever trains goes by the alert that has them from here on.
            is_news |= bool(known.part) or may_break(finding.signal)
        if not episode.is_live:
            episode.closed_event = finding.model_event
            told.append(Told(episode, "resolved", "superseded"))
        elif is_news:
            told.append(Told(episode, "updated"))
    return told
