"""What is known of one change of a model: its episode, and the evidence on each signal of it.

Places within a model's stream are counted in events of that model, since detectors count so; a
change point is known only roughly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from schemas.alerts import Severity
from schemas.alerts import Standing as StandingWord
from schemas.findings import (
    Aspect,
    BlockReference,
    Distances,
    ErrorReference,
    Finding,
    GroupLoss,
)
from schemas.signal_names import JOINT, QUALITY
from streams.signal_meaning import RETURN_SD, may_tell

MIN_EVENTS: Final = 20
"""A mean over fewer events says too much about one of them, and is not published."""
MAX_COARSE_EFFECT: Final = 10.0
"""Over so few events an effect is a whole number, and no larger than this."""
SHARPNESS: Final = 20.0
"""A change by d standard deviations is located to about so many over d squared events: twice what
the likelihood of a shift of independent normal values allows in 95 of 100 cases."""

ROUNDING: Final = 1e-12
"""An effect that is less by no more is the same: a share that fell to 0 can fall no further, and
is the better known the more events it rests on."""

SEVERITIES: Final[tuple[tuple[float, Severity], ...]] = (
    (1.0, "critical"),
    (0.5, "high"),
    (0.2, "medium"),
    (0.0, "low"),
)
"""Least |effect|, in reference standard deviations, of each severity."""


class Since(NamedTuple):
    """Where a signal has been since it last moved, over all events since then."""

    effect: float
    """In reference standard deviations from its reference."""
    after: float
    """The mean, in the signal's units."""
    n_after: int
    """Events that it rests on."""


ModelName = tuple[str, str, int]
"""Model id, version and shard (-1: none)."""
Watched = tuple[str, int]
"""A signal and which of its aspects."""


class Standing(IntEnum):
    """Where a signal of an episode is now."""

    MOVED = 0
    RETURNED = 1
    """Back at its reference."""
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
AWAY: Final = (Standing.MOVED, Standing.RETURNING)
"""The standings of a signal that is not back at its reference."""


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
    change_offset: int
    found_offset: int
    """The trigger of its first finding."""
    change_event: int
    """About where it last moved."""
    n_before: int
    n_after: int
    """Events that the means rest on."""
    standing: Standing = Standing.MOVED
    returned_event: int = -1
    """Where it was found to have returned; -1: nowhere yet."""
    distances: Distances | None = None
    """Of the latest window that was found to differ; None: none was."""
    is_error_of_number: bool = False
    """Of an error: whether it is predicted less true, and no share of wrong predictions."""
    worst: tuple[GroupLoss, ...] = ()
    """Of an error: the groups that have significantly more of it than of the events, by the latest
    finding or working baseline that knew of any."""
    reference: BlockReference | None = None
    """Of `expected_error`: what it was in the reference."""
    named: str = ""
    """Of leakage, what broke and unusual events, by its latest finding: the feature to look at."""
    part: float = 0.0
    """Of a feature, by its latest working baseline: see `streams.units.part_factor`."""

    @property
    def is_away(self) -> bool:
        """Whether it is away from its reference."""
        return self.standing in AWAY

    @property
    def is_of_category(self) -> bool:
        """Whether it is a category as a whole, which has no mean."""
        return self.distances is not None and self.distances.is_of_category

    def take(self, finding: Finding) -> bool:
        """Let one more finding speak; whether it says anything new."""
        seen = evidence_of(finding)
        had_worst = bool(self.worst)
        self.distances = seen.distances or self.distances
        self.named = seen.named or self.named
        # Some detectors fire again and again: which groups are named then is news once.
        is_news = self.name_worst(seen.worst) and not had_worst
        is_news |= finding.detector not in self.detectors
        self.detectors += [finding.detector] if finding.detector not in self.detectors else []
        # What happened before it came back is late evidence, and no new move.
        if self.standing is Standing.RETURNED and seen.change_event >= self.returned_event:
            self.standing, is_news = Standing.MOVED, True
        if self.standing is Standing.RETURNING:
            self.standing, is_news = Standing.MOVED, True
        if self.standing is not Standing.MOVED:
            return is_news
        is_across = self.is_across(watched_by(finding), seen)
        if is_across and self.is_late(seen):
            return is_news
        last, is_of_few = self.change_event, seen.after is None and self.after is not None
        # Where it is across by few events is told by the next mean, and counted from where it was.
        self.change_event = last if is_of_few and is_across else seen.change_event
        if is_of_few:
            return is_news
        if self.after is None and not self.is_of_category:
            return self._say(seen) or is_news
        # Means that differ by a few events would give those away.
        differ = abs(seen.n_after - self.n_after) >= MIN_EVENTS
        differ |= is_across and seen.change_event - last >= MIN_EVENTS
        is_further = is_across or abs(seen.effect) >= abs(self.effect)
        if not (differ and finding.is_within_budget and is_further):
            return is_news
        return self._say(seen) or is_news or is_across

    def complete(self, since: Since) -> bool:
        """Take the mean since its move where none was known; whether one has become known."""
        if self.after is not None or self.standing is not Standing.MOVED or self.is_of_category:
            return False
        # One that went the other way since has another story, which this mean does not tell.
        goes_on = self.before is None or (since.after > self.before) == self.is_rise
        if since.n_after < MIN_EVENTS or not goes_on:
            return False
        return self.settle(since.effect, since.after, since.n_after)

    def is_late(self, seen: Evidence) -> bool:
        """Whether it is of where the signal was before the move that is told."""
        return seen.change_offset < self.change_offset

    def is_across(self, watched: Watched, seen: Evidence) -> bool:
        """Whether what may tell of harm or a fault lies on the other side of its reference now.

        How far it was on the one side then says nothing of what it tells on the other: an error
        that fell, and then rose above its reference, is harm.
        """
        signal, aspect = watched
        # So near to the reference it is where it moved that says what it tells.
        was_above = self.is_rise if abs(self.effect) <= RETURN_SD else self.effect > 0.0
        is_elsewhere = (seen.effect > 0.0) != was_above and abs(seen.effect) > RETURN_SD
        return is_elsewhere and aspect == Aspect.MEAN and may_tell(signal)

    def cross(self, seen: Evidence) -> bool:
        """Take a working baseline on the other side of its reference; whether that is news."""
        if seen.after is None or self.is_late(seen):
            return False
        self.effect, self.after, self.n_after = seen.effect, seen.after, seen.n_after
        self.is_rise = seen.effect > 0.0
        if self.before is not None and (seen.after > self.before) != self.is_rise:
            self.before = None  # it was farther out than where it lies now
        self.change_event, self.change_offset = seen.change_event, seen.change_offset
        return True

    def settle(self, effect: float, after: float | None, n_after: int) -> bool:
        """Take the working baseline for where the signal went; whether a mean has become known.

        Where one is known, the signal may have come back part of the way since.
        """
        knew_after = self.after is not None
        least = abs(self.effect) * (1.0 - ROUNDING)
        if after is None or (knew_after and abs(effect) < least):
            return False
        self.effect, self.after, self.n_after = effect, after, n_after
        return not knew_after

    def name_worst(self, worst: tuple[GroupLoss, ...]) -> bool:
        """Take the groups that have most of the errors by now; whether one was not known before.

        When an error is found, its latest labels are mostly from before: few groups stand out.
        """
        known = {each.signal for each in self.worst}
        self.worst = worst or self.worst
        return any(each.signal not in known for each in worst)

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
    planned: str | None = None
    """Why its change was expected, if it was."""
    acknowledged_by: str | None = None
    """Who knows of it; None: nobody has said so."""
    acknowledged_severity: Severity | None = None
    """How severe it was then, or has been said to be since."""
    acknowledged_telling: str | None = None
    """What was told then of broken data and of harm, or has been since; a digest."""
    has_untold: bool = False
    """Whether something of it was held back, by a mute."""
    revision: int = 0
    n_findings: int = 0
    closed_event: int = -1
    is_settled: bool = False
    """Whether a working baseline has been found away from the reference."""
    is_from_start: bool = False
    """Whether it was opened by what has been so since its model's reference was set."""
    error_reference: ErrorReference | None = None
    """That of its model version; None until a finding knew of one."""
    evidence: dict[Watched, Evidence] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Whether any of its signals is still away from the reference."""
        return any(each.is_away for each in self.evidence.values())

    @property
    def detectors(self) -> list[str]:
        """What has fired so far, in order of first firing."""
        every = (name for each in self.evidence.values() for name in each.detectors)
        return list(dict.fromkeys(every))

    @property
    def is_confirmed(self) -> bool:
        """Whether more than one finding of one detector on one signal speaks for it."""
        signals = {signal for signal, _ in self.evidence}
        return self.is_settled or len(signals) > 1 or len(self.detectors) > 1

    def ranked(self) -> list[tuple[Watched, Evidence]]:
        """Its signals, first those that are away from the reference, then by how far they were.

        Those of several features together, or of any, come behind: where a feature moves they do,
        too, and a standard deviation of theirs may be that of a block.
        """
        return sorted(
            self.evidence.items(),
            key=lambda item: (
                not item[1].is_away,
                item[0][0] in JOINT or item[0][0] in QUALITY,
                -abs(item[1].effect),
            ),
        )

    @property
    def severity(self) -> Severity:
        """That of the signal that is furthest away; of a resolved one, of the one that was."""
        return severity(self.ranked()[0][1].effect)

    @property
    def is_worse_than_known(self) -> bool:
        """Whether it is more severe than when a person acknowledged it."""
        known = self.acknowledged_severity
        return known is not None and _rank(self.severity) < _rank(known)


def _rank(name: Severity) -> int:
    return [each for _, each in SEVERITIES].index(name)


def severity(effect: float) -> Severity:
    """How severe it is to lie so many reference standard deviations away."""
    return next(name for least, name in SEVERITIES if abs(effect) >= least)


def evidence_of(finding: Finding) -> Evidence:
    """What a finding says that may be told: nothing that rests on a few events."""
    effect = finding.effect
    if finding.n_after < MIN_EVENTS:
        effect = float(round(min(max(effect, -MAX_COARSE_EFFECT), MAX_COARSE_EFFECT)))
    has_means = finding.distances is None or not finding.distances.is_of_category
    return Evidence(
        detectors=[finding.detector],
        effect=effect,
        before=finding.before if finding.n_before >= MIN_EVENTS and has_means else None,
        after=finding.after if finding.n_after >= MIN_EVENTS and has_means else None,
        is_rise=finding.move > 0.0,
        is_share=finding.is_share,
        is_departure=finding.is_departure,
        n_before=finding.n_before,
        n_after=finding.n_after,
        change_offset=max(finding.change_offset, 0),
        found_offset=finding.offset,
        change_event=change_event_of(finding),
        distances=finding.distances,
        is_error_of_number=finding.is_error_of_number,
        worst=finding.worst,
        reference=finding.reference,
        named=finding.named,
    )


def model_of(finding: Finding) -> ModelName:
    """The model version that a finding is about."""
    return finding.model_id, finding.model_version, finding.shard


def watched_by(finding: Finding) -> Watched:
    """The signal and the aspect that a finding is about."""
    return finding.signal, int(finding.aspect)


def change_event_of(finding: Finding) -> int:
    """About where a finding says that the change began."""
    return max(finding.model_event - finding.n_after, 0)


def sharpness_of(finding: Finding) -> float:
    """To about how many events a finding locates the change."""
    if finding.distances is not None:
        # A window differs, and no more than that is known.
        return float(max(finding.n_after, 1))
    # No change is further off than the rows that were seen after it.
    located = SHARPNESS / max(finding.move * finding.move, 1e-12)
    if finding.block > 1:
        # Where within its first block it began nobody knows.
        located = max(located, 1.0) * finding.block
    return min(located, float(max(finding.n_after, 1)))
