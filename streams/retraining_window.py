"""Which events a retraining may use: a window that is clean, and what is left out of it. Pure.

A window begins where the change began, and ends as many offsets as the config says behind where it
was first told to have begun; the same of harm, where that was told behind the end. What was told
beyond a window's end does not count: of an alert or an anomaly counts the revision that stood
there. Where data broke in it, or an attack is suspected, and that is over, the window begins anew
behind it. What is not over holds the request. Offsets of several partitions of one model (shards)
are looked at each by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from schemas.alerts import AlertData, MovedSignal
from schemas.anomalies import OffsetRange
from schemas.retraining import QuarantinePart
from streams.dismissals import Dismissals
from streams.incident_evidence import Evidence
from streams.known_then import alerts_of, as_of, aspect, known_at
from streams.signal_meaning import is_harm
from streams.troubles import (
    Stretch,
    Trouble,
    attacks_of,
    ended_after,
    goes_on,
    is_in,
    troubles_of,
)


@dataclass(frozen=True, slots=True)
class Window:
    """A window, the trouble in it that is not over, and what of attacks is left out."""

    stretches: tuple[Stretch, ...]
    attacks: tuple[Trouble, ...]
    faults: tuple[Trouble, ...]
    left_out: tuple[Trouble, ...]
    """Attacks that hold nothing."""
    quarantine: tuple[QuarantinePart, ...]
    """What of these is left out."""


def windows_of_change(
    alerts: Sequence[Evidence], late: Collection[str], length: int, n_doublings: int
) -> Iterator[tuple[tuple[Stretch, ...], tuple[Stretch, ...]]]:
    """The windows that may be asked for, the first one first, each with itself doubled so often.

    That is where the change was first told. Where nothing asks for a retraining by the end of that,
    it is where harm was first told behind its end, and so on: features may move long before anybody
    knows that predictions are worse. Of alerts that were found `late`, by id, it does not count
    where they began.
    """
    in_time = [each for each in alerts if each.evidence_id not in late]
    first = first_window(in_time, length)
    yield first, first_window(in_time, length << n_doublings) if n_doublings else first
    ends = {each.partition: each.last for each in first}
    harms = sorted(_harms(alerts))
    while harms := [each for each in harms if each.told > ends[each.partition]]:
        firsts = {each.partition: each for each in reversed(harms)}
        window = tuple(
            Stretch(
                partition,
                min(
                    each.began
                    for each in harms
                    if each.partition == partition and each.told <= firsts[partition].end(length)
                ),
                firsts[partition].end(length),
            )
            for partition in sorted(firsts)
        )
        yield (
            window,
            tuple(
                replace(each, last=firsts[each.partition].end(length << n_doublings))
                for each in window
            ),
        )
        ends |= {each.partition: each.last for each in window}


class _Harm(NamedTuple):
    """Where a signal was first told to say harm, and since where it had moved by then."""

    told: int
    began: int
    partition: int

    def end(self, length: int) -> int:
        """Of a window of this length that is asked for since."""
        return max(self.began + length - 1, self.told)


def _harms(alerts: Iterable[Evidence]) -> Iterator[_Harm]:
    for each in alerts:
        before: AlertData | None = None
        for record in alerts_of(each):
            known = () if before is None else before.signals
            was = {aspect(one) for one in known if is_harm(one)}
            for one in record.signals:
                if is_harm(one) and aspect(one) not in was:
                    told = _told(one, before, record)
                    yield _Harm(told, min(one.change_offset, told), each.partition)
            before = record


def _told(moved: MovedSignal, before: AlertData | None, record: AlertData) -> int:
    """Where it was first told what a record says of a signal, and the one that is kept before not.

    Where some in between are not kept, at the earliest; but no earlier than it moved.
    """
    known = 0 if before is None else before.revision
    if record.revision == known + 1:
        return record.trigger_offset
    told = moved.found_offset
    if before is not None and told <= before.trigger_offset:
        told = before.trigger_offset + 1
    return min(max(told, moved.change_offset), record.trigger_offset)


def first_window(alerts: Iterable[Evidence], length: int) -> tuple[Stretch, ...]:
    """By partition from where the change began to so many offsets behind where it was first told.

    Both by what was known then: what was told first says where the window ends, and all that was
    known by there where it begins. The alerts of a partition are of one fold.
    """
    ends: dict[int, tuple[int, int]] = {}
    alerts = list(alerts)
    for each in alerts:
        told, began = _first_told(each)
        end = max(began + length - 1, told)
        ends[each.partition] = min(ends.get(each.partition, (told, end)), (told, end))
    last = {partition: end for partition, (_, end) in ends.items()}
    starts: dict[int, int] = {}
    for each in as_of(alerts, last):
        assert each.first_offset is not None
        # Whatever a foreign record says, no window ends before it begins.
        began = min(each.first_offset, last[each.partition])
        starts[each.partition] = min(starts.get(each.partition, began), began)
    return tuple(
        Stretch(partition, starts[partition], last[partition]) for partition in sorted(starts)
    )


def _first_told(evidence: Evidence) -> tuple[int, int]:
    """Where an alert was told for the first time, and where its change began by that record."""
    first = alerts_of(evidence)[0]
    if first.revision == 1 or not first.signals:
        changes = [first.change_offset, *(each.change_offset for each in first.signals)]
        return first.trigger_offset, min(changes)
    return min((each.found_offset, each.change_offset) for each in first.signals)


def window_of(
    first: Sequence[Stretch],
    evidence: Sequence[Evidence],
    *,
    dismissals: Dismissals,
    is_left_out: Callable[[Evidence], bool],
) -> Window:
    """The first window from there on that no trouble which is over lies in.

    `dismissals` is what a person says is no attack, or no fault, as it was known there;
    `is_left_out` says of an attack, as it was known at a window's end, whether it is left out by
    its sources, so that the window need not move.
    """

    def spoilt(known: Evidence, stretch: Stretch) -> list[Trouble]:
        if dismissals.covers(known):
            return []
        if known.is_of_attack and is_left_out(known):
            return []
        return [each for each in troubles_of(known, evidence) if is_in(each, stretch)]

    stretches = tuple(_settle(each, evidence, spoilt) for each in first)
    last = {each.partition: each.last for each in stretches}
    known = list(as_of(evidence, last))
    whole = {each.evidence_id: each for each in evidence}
    # What is over is behind, or never was in it.
    still = [
        trouble
        for each in known
        if ended_after(whole[each.evidence_id], each, evidence) is None
        for stretch in stretches
        for trouble in spoilt(each, stretch)
    ]
    left_out = [
        each
        for each in attacks_of(known)
        if is_left_out(each.evidence) and any(is_in(each, stretch) for stretch in stretches)
    ]
    return Window(
        stretches=stretches,
        attacks=tuple(each for each in still if each.evidence.is_of_attack),
        faults=tuple(each for each in still if not each.evidence.is_of_attack),
        left_out=tuple(left_out),
        quarantine=tuple(
            _left_out(each, stretches) for each in left_out if not is_explained(each, left_out)
        ),
    )


def can_be_left_out(attack: Evidence) -> bool:
    """Whether all who take part in an attack are named, so that the rest may be trained on."""
    assert attack.anomaly is not None
    own = attack.anomaly.unmapped.quarantine
    return own.is_complete and bool(own.sources or own.without_source)


def part_of(attack: Evidence) -> QuarantinePart:
    """What an attack says is to be left out, in the offsets of its evidence."""
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


def _settle(
    stretch: Stretch,
    evidence: Sequence[Evidence],
    spoilt: Callable[[Evidence, Stretch], list[Trouble]],
) -> Stretch:
    """The first stretch from there on without trouble, or with one that nobody knows the end of.

    Trouble is what was known of it at a stretch's end, and it ends by the first record that says
    so: it is waited for. Each move lets a record behind.
    """
    while True:
        ends = []
        for each in evidence:
            known = known_at(each, stretch.last)
            if known is None or not spoilt(known, stretch):
                continue
            over = ended_after(each, known, evidence)
            if over is None:
                return stretch
            # Poisoning that is over did not go on: all of it may have been before.
            ends += [
                last
                for one in troubles_of(over, evidence)
                if is_in(one, stretch)
                for _, last in one.ranges
            ]
        if not ends:
            return stretch
        first = max(ends) + 1
        stretch = Stretch(stretch.partition, first, first + stretch.last - stretch.first)


def _left_out(attack: Trouble, stretches: Sequence[Stretch]) -> QuarantinePart:
    """What of a window is to be left out for an attack: none of it lies behind the window.

    Where not all who take part are named all events would go: of those only what was told.
    """
    part = part_of(attack.evidence)
    if not (goes_on(attack.evidence) and can_be_left_out(attack.evidence)):
        return part
    end = max(each.last for each in stretches if each.partition == attack.partition)
    ranges = [
        OffsetRange(first_offset=first, last_offset=min(last, end))
        for first, last in attack.ranges
        if first <= end
    ]
    return part.model_copy(update={"ranges": ranges})


def is_explained(attack: Trouble, others: Iterable[Trouble]) -> bool:
    """Whether an attack that names nobody is that of sources which are named, and left out.

    As a rise over all label sources together, which is found beside the sources that make it: who
    approves of leaving both out means those sources, and not everybody's events.
    """
    return not can_be_left_out(attack.evidence) and any(
        can_be_left_out(each.evidence)
        and _technique(each) == _technique(attack)
        and each.partition == attack.partition
        and any(
            first <= last_of_attack and first_of_attack <= last
            for first, last in each.ranges
            for first_of_attack, last_of_attack in attack.ranges
        )
        for each in others
    )


def _technique(attack: Trouble) -> str:
    assert attack.evidence.anomaly is not None
    return attack.evidence.anomaly.unmapped.technique
