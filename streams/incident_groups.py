"""Which evidence of a model is about one thing: what shares cause and time. Pure.

Evidence of one model falls into two causes: what its data and labels did, with attacks on the next
training, which look like drift; and what its clients do to it. Within a cause, evidence that begins
no later than `join_ms` after the rest has spread belongs together. Drift that stays is no reason to
take in what happens a month later: what counts is when more was found of it.

A change moves some signals far, which are found at once, and others hardly, which are found hours
later, when something else may have changed. So an alert that is found late belongs to the change
that it comes of, and is no reason to take in what begins when it is found. When changes began is
known by offsets, within a fold: nobody else's say anything of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from schemas.alerts import AlertData
from schemas.responder_config import IncidentConfig
from streams.identity import incident_id
from streams.incident_evidence import Evidence, Family
from streams.incident_reasons import Overruling
from streams.known_then import alerts_of, known_at
from streams.signal_meaning import is_fault, is_harm

Cause = Literal["data", "queries"]

_CAUSE: Final[dict[Family, Cause]] = {
    "drift": "data",
    "fault": "data",
    "silence": "data",
    "poisoning": "data",
    "probing": "queries",
}
_LONG_AGO: Final = -(2**62)


@dataclass(frozen=True, slots=True)
class Group:
    """Evidence of one model that belongs together, in the order in which it begins."""

    evidence: tuple[Evidence, ...]
    late: frozenset[str] = frozenset()
    """By id the alerts that were found late: where they began says little."""

    @property
    def anchor(self) -> Evidence:
        """What begins first: the incident is named after it."""
        return self.evidence[0]

    @property
    def incident_id(self) -> str:
        """The incident's name."""
        return _name_of(self.anchor)

    def answers_to(self, name: str) -> bool:
        """Whether the incident has this name, or had it before it became part of this one."""
        return any(_name_of(each) == name for each in self.evidence)

    def is_meant_by(self, word: Overruling) -> bool:
        """Whether a person says something of this incident, and names some of its evidence."""
        named = {evidence_id for evidence_id, _ in word.evidence}
        return self.answers_to(word.incident_id) and any(
            each.evidence_id in named for each in self.evidence
        )


def groups_of(evidence: Iterable[Evidence], config: IncidentConfig) -> Iterator[Group]:
    """The evidence of one model, put together; each id at most once.

    The same groups for any order of the evidence.
    """
    by_cause: dict[Cause, list[Evidence]] = {"data": [], "queries": []}
    for each in evidence:
        by_cause[_CAUSE[each.family]].append(each)
    for alike in by_cause.values():
        alike.sort(key=_order)
        yield from _put_together(alike, config)


def over_ms(evidence: Iterable[Evidence], config: IncidentConfig) -> int:
    """When it is over if nothing more comes of it. Evidence must not be empty."""
    return max(
        each.last_ms
        + (config.quiet_ms if each.has_ended else max(config.stale_ms, config.quiet_ms))
        for each in evidence
    )


def _put_together(alike: Sequence[Evidence], config: IncidentConfig) -> Iterator[Group]:
    """Evidence of one cause, by its beginnings."""
    placed = _placed(alike, config)
    groups = _Unions()
    first: Evidence | None = None
    spread_ms = attacked_ms = _LONG_AGO
    for each in alike:
        is_late = each.evidence_id in placed.late
        # An attack makes drift, whatever else that drift is taken for.
        until_ms = attacked_ms if is_late else spread_ms
        if first is not None and _opened_ms(each) <= until_ms + config.join_ms:
            groups.join(each.evidence_id, first.evidence_id)
        elif not is_late:
            first, spread_ms, attacked_ms = each, _LONG_AGO, _LONG_AGO
        if not is_late:
            spread_ms = max(spread_ms, placed.spread_ms[each.evidence_id])
        if each.is_of_attack:
            attacked_ms = max(attacked_ms, placed.spread_ms[each.evidence_id])
    for own_id, earlier_id in placed.belongs.items():
        groups.join(own_id, earlier_id)
    found: dict[str, list[Evidence]] = {}
    for each in alike:
        found.setdefault(groups.root(each.evidence_id), []).append(each)
    for group in found.values():
        own = frozenset(each.evidence_id for each in group if each.evidence_id in placed.late)
        yield Group(tuple(group), own)


@dataclass(frozen=True, slots=True)
class _Placed:
    """When evidence of one cause began, as far as that is known."""

    belongs: dict[str, str] = field(default_factory=dict)
    """By id an alert and one of its fold to which it belongs: the first that had spread until
    `join_ms` before it was found, or else had until then before its change began, and was not over
    when it was found."""
    late: set[str] = field(default_factory=set)
    """Those of the second kind."""
    spread_ms: dict[str, int] = field(default_factory=dict)
    """Of the others, by id: until when more of it began."""


def _placed(evidence: Iterable[Evidence], config: IncidentConfig) -> _Placed:
    placed = _Placed()
    of_folds: dict[tuple[str | int | None, ...], list[Evidence]] = {}
    for each in evidence:
        if each.alert is None:
            spread_ms = each.start_ms if each.spread_ms is None else each.spread_ms
            placed.spread_ms[each.evidence_id] = max(each.start_ms, spread_ms)
        else:
            fold = each.alert.partition, each.alert.lineage, each.model_version, each.alert.shard
            of_folds.setdefault(fold, []).append(each)
    for alerts in of_folds.values():
        alerts.sort(key=_found_order)
        _place(alerts, config, placed)
    return placed


def _place(alerts: Iterable[Evidence], config: IncidentConfig, placed: _Placed) -> None:
    """Those of one fold, in the order in which they were found.

    What counts is what had been told of the others by then. That is on the topic before it, so that
    nothing that is told later changes where an alert belongs. And it counts by itself, whatever
    else there was: that may have been forgotten.
    """
    in_time: list[_Found] = []
    for own in alerts:
        new = _Found(own)
        earlier = _earlier(new, in_time, config)
        if earlier is not None:
            placed.belongs[own.evidence_id] = earlier.to.evidence.evidence_id
        if earlier is not None and earlier.is_late:
            placed.late.add(own.evidence_id)
            continue
        # What was found of a change that is known does not make that longer.
        new.since_ms = new.start_ms if earlier is None else earlier.since_ms
        spread_ms = placed.spread_ms[own.evidence_id] = _spread(own, new.since_ms)
        new.until_ms = spread_ms + config.join_ms
        in_time.append(new)


class _Earlier(NamedTuple):
    """To which alert one belongs that was found behind it, and from when on it counts itself."""

    to: _Found
    since_ms: int
    is_late: bool


def _earlier(new: _Found, in_time: Iterable[_Found], config: IncidentConfig) -> _Earlier | None:
    own, found = new.evidence, None
    # Harm, and data that broke, ask for something, and are not to drown in what is older.
    decides = any(is_harm(each) or is_fault(each) for each in alerts_of(own)[0].signals)
    for other in in_time:
        began_ms = new.began_ms_after(other)
        may_join = new.start_ms <= other.until_ms
        # All that was told by now says as much as what had been told then, or more.
        if began_ms > other.until_ms or not (may_join or (found is None and not decides)):
            continue
        then = known_at(other.evidence, new.offset - 1)
        if then is None:
            continue
        since_ms = min(began_ms, new.start_ms)
        if all(each.revision != then.revision for each in alerts_of(other.evidence)):
            # Of what is not kept nobody knows: it is taken to have gone on until now, so that
            # little is parted that was one when it was read.
            if may_join:
                return _Earlier(other, since_ms, is_late=False)
            found = _Earlier(other, since_ms, is_late=True)
            continue
        until_ms = _spread(then, other.since_ms) + config.join_ms
        if began_ms > until_ms:
            continue
        if new.start_ms <= until_ms:
            return _Earlier(other, since_ms, is_late=False)
        if found is None and not decides and new.start_ms <= over_ms([then], config):
            found = _Earlier(other, since_ms, is_late=True)
    return found


class _Found:
    """Where an alert was found, and its change began."""

    __slots__ = ("change", "evidence", "offset", "since_ms", "start_ms", "until_ms")

    def __init__(self, evidence: Evidence) -> None:
        assert evidence.alert is not None
        self.evidence: Final = evidence
        self.start_ms: Final = _opened_ms(evidence)
        self.offset: Final = evidence.alert.opened_offset
        self.change: Final = min(alerts_of(evidence)[0].change_offset, self.offset)
        self.since_ms = self.until_ms = self.start_ms
        """From when on it counts; up to when what begins belongs to it."""

    def began_ms_after(self, other: _Found) -> int:
        """When its change began, at its latest: it was found behind that one.

        That is known by its offset alone: as if events had come evenly between the two.
        """
        n_before = self.change - other.offset
        if n_before <= 0:
            return other.start_ms
        between_ms = self.start_ms - other.start_ms
        return other.start_ms + between_ms * n_before // (self.offset - other.offset)


def _spread(own: Evidence, began_ms: int) -> int:
    """Until when signals of an alert began to move, as if events had come evenly since then.

    By the record that puts it latest, so that further ones never make it less.
    """
    return max([began_ms, *(_moved_until(own, each) for each in alerts_of(own))])


def _moved_until(own: Evidence, told: AlertData) -> int:
    n_since = told.trigger_offset - told.opened_offset
    changes = (each.change_offset - told.opened_offset for each in told.signals)
    n_moved = min(max(changes, default=0), n_since)
    if n_moved <= 0:
        return _LONG_AGO
    start_ms = _opened_ms(own)
    return start_ms + (told.event_time_ms - start_ms) * n_moved // n_since


class _Unions:
    """Disjoint sets of names; who was never joined is alone."""

    def __init__(self) -> None:
        self._above: Final[dict[str, str]] = {}

    def root(self, name: str) -> str:
        """The same for all of one set."""
        while (above := self._above.get(name, name)) != name:
            self._above[name] = self._above.get(above, above)
            name = above
        return name

    def join(self, one: str, other: str) -> None:
        """Make one set of both."""
        self._above[self.root(one)] = self.root(other)


def _name_of(anchor: Evidence) -> str:
    return incident_id(anchor.deployment, anchor.model_id, anchor.evidence_id)


def _found_order(evidence: Evidence) -> tuple[int, str]:
    assert evidence.alert is not None
    return evidence.alert.opened_offset, evidence.evidence_id


def _order(evidence: Evidence) -> tuple[int, str]:
    return _opened_ms(evidence), evidence.evidence_id


def _opened_ms(evidence: Evidence) -> int:
    """When it began; of an alert, when it was first told: later records may have earlier times."""
    if evidence.alert is None:
        return evidence.start_ms
    return alerts_of(evidence)[0].event_time_ms
