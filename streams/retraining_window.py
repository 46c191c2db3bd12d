"""Which events a retraining may use: a window that is clean, and what is left out of it. Pure.

A window begins where the change began, and is as long as the config says. What was found beyond its
end does not count: so the same window comes out whenever somebody asks. Where data broke in it, or
an attack is suspected, and that is over, the window begins anew behind it. What is not over holds
the request. Offsets of several partitions of one model (shards) are looked at each by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.anomalies import OffsetRange
from schemas.responder_config import RetrainingConfig
from schemas.retraining import QuarantinePart
from streams.incident_evidence import Evidence
from streams.incident_reasons import is_fault

_MOST_MOVES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """Offsets of one partition of one lineage, both ends included."""

    partition: int
    first: int
    last: int

    def meets(self, first: int, last: int) -> bool:
        """Whether it shares an offset with these."""
        return first <= self.last and last >= self.first


@dataclass(frozen=True, slots=True)
class Trouble:
    """Offsets of a partition that nobody should train on, and whether more of them may come."""

    evidence: Evidence
    partition: int
    ranges: tuple[tuple[int, int], ...]
    opened: int
    is_over: bool


@dataclass(frozen=True, slots=True)
class Window:
    """A window, the trouble in it that is not over, and what is left out with approval."""

    stretches: tuple[Stretch, ...]
    attacks: tuple[Trouble, ...]
    faults: tuple[Trouble, ...]
    quarantine: tuple[QuarantinePart, ...]


def as_of(evidence: Iterable[Evidence], last: Mapping[int, int]) -> Iterator[Evidence]:
    """What was known at these offsets, by partition: alerts with the signals found by then.

    Of silences, which have no place in the log, and of other partitions nothing.
    """
    for each in evidence:
        if each.alert is not None:
            end = last.get(each.alert.partition, -1)
            known = [one for one in each.alert.signals if one.found_offset <= end]
            if known:
                alert = each.alert.model_copy(update={"signals": known})
                yield each.model_copy(update={"alert": alert})
        elif each.anomaly is not None:
            own = each.anomaly.unmapped
            if own.opened_offset <= last.get(own.partition, -1):
                yield each


def window_of(
    start: Mapping[int, int],
    evidence: Sequence[Evidence],
    config: RetrainingConfig,
    n_doublings: int,
    *,
    dismissed: frozenset[str],
    quarantined: frozenset[str],
) -> Window:
    """The first window from `start`, by partition, that no trouble which is over lies in.

    `dismissed` are the evidence ids of attacks that a person says are none; `quarantined`, those
    that are left out by their sources, so that the window need not move.
    """
    length = config.window_offsets << n_doublings
    attacks = [each for each in _attacks(evidence) if each.evidence.evidence_id not in dismissed]
    faults = list(_faults(evidence))
    known = {each.evidence_id for each in evidence} & quarantined
    movers = [
        each
        for each in [*attacks, *faults]
        if each.is_over and each.evidence.evidence_id not in known
    ]
    stretches = tuple(
        _settle(Stretch(partition, first, first + length - 1), movers)
        for partition, first in sorted(start.items())
    )

    def within(troubles: Iterable[Trouble]) -> tuple[Trouble, ...]:
        return tuple(each for each in troubles if any(_is_in(each, one) for one in stretches))

    inside = within(attacks)
    return Window(
        stretches=stretches,
        attacks=tuple(each for each in inside if each.evidence.evidence_id not in known),
        faults=within(faults),
        quarantine=tuple(
            part_of(each.evidence) for each in inside if each.evidence.evidence_id in known
        ),
    )


def can_be_left_out(attack: Evidence) -> bool:
    """Whether all who take part in an attack are named, so that the rest may be trained on."""
    assert attack.anomaly is not None
    own = attack.anomaly.unmapped.quarantine
    return own.is_complete and bool(own.sources or own.without_source)


def part_of(attack: Evidence) -> QuarantinePart:
    """What an attack says is to be left out."""
    assert attack.anomaly is not None
    own = attack.anomaly.unmapped.quarantine
    return QuarantinePart(
        evidence_id=attack.evidence_id,
        partition=own.partition,
        ranges=list(own.ranges),
        sources=list(own.sources) if own.is_complete else [],
        source_key=own.source_key,
        without_source=own.without_source or not own.is_complete,
    )


def offset_range(stretch: Stretch) -> OffsetRange:
    """As it stands in records."""
    return OffsetRange(first_offset=stretch.first, last_offset=stretch.last)


def _settle(stretch: Stretch, movers: Sequence[Trouble]) -> Stretch:
    """The stretch behind the trouble that it lies in; each move lets one trouble behind."""
    for _ in range(_MOST_MOVES):
        ends = [max(last for _, last in each.ranges) for each in movers if _is_in(each, stretch)]
        if not ends:
            return stretch
        first = max(ends) + 1
        stretch = Stretch(stretch.partition, first, first + stretch.last - stretch.first)
    raise AssertionError("a trouble that the window is behind still lies in it")


def _is_in(trouble: Trouble, stretch: Stretch) -> bool:
    return (
        trouble.partition == stretch.partition
        and trouble.opened <= stretch.last
        and any(stretch.meets(*each) for each in trouble.ranges)
    )


def _attacks(evidence: Iterable[Evidence]) -> Iterator[Trouble]:
    for each in evidence:
        if each.anomaly is None or each.family == "fault":
            continue
        own = each.anomaly.unmapped
        ranges = tuple((one.first_offset, one.last_offset) for one in own.quarantine.ranges)
        if ranges:
            yield Trouble(each, own.partition, ranges, own.opened_offset, each.has_ended)


def _faults(evidence: Iterable[Evidence]) -> Iterator[Trouble]:
    """From where data broke to where an alert was told that they are whole again."""
    for each in evidence:
        if each.anomaly is not None and each.family == "fault":
            own = each.anomaly.unmapped
            first = min(
                (one.first_offset for one in own.quarantine.ranges), default=own.opened_offset
            )
            last = max(
                (one.last_offset for one in own.quarantine.ranges), default=own.opened_offset
            )
            end = last if each.has_ended else _FOR_EVER
            yield Trouble(each, own.partition, ((first, end),), own.opened_offset, each.has_ended)
        alert = each.alert
        if alert is None:
            continue
        broken = [one for one in alert.signals if is_fault(one)]
        if broken:
            first = min(one.change_offset for one in broken)
            opened = min(one.found_offset for one in broken)
            # One that is not over goes on for ever, as far as anybody knows.
            last = alert.trigger_offset if each.has_ended else _FOR_EVER
            yield Trouble(each, alert.partition, ((first, last),), opened, each.has_ended)


_FOR_EVER: Final = 2**63 - 1
