"""Which events a retraining may use: a window that is clean, and what is left out of it. Pure.

A window begins where the change began, and ends as many offsets as the config says behind where it
was first told to have begun. What was told beyond its end does not count: of an alert or an anomaly
counts the revision that stood there. Where data broke in it, or an attack is suspected, and that is
over, the window begins anew behind it. What is not over holds the request. Offsets of several
partitions of one model (shards) are looked at each by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from schemas.alerts import AlertData, MovedSignal
from schemas.anomalies import AnomalyData, OffsetRange
from schemas.retraining import QuarantinePart
from streams.dismissals import Dismissals
from streams.incident_evidence import Evidence
from streams.signal_meaning import is_fault

_Record = TypeVar("_Record", AlertData, AnomalyData)


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
    """A window, the trouble in it that is not over, and what of attacks is left out."""

    stretches: tuple[Stretch, ...]
    attacks: tuple[Trouble, ...]
    faults: tuple[Trouble, ...]
    quarantine: tuple[QuarantinePart, ...]


def as_of(evidence: Iterable[Evidence], last: Mapping[int, int]) -> Iterator[Evidence]:
    """What was known at these offsets, by partition: each in the revision of then.

    Of silences, which have no place in the log, and of other partitions nothing.
    """
    for each in evidence:
        end = last.get(each.partition)
        found = None if end is None else known_at(each, end)
        if found is not None:
            yield found


def known_at(evidence: Evidence, offset: int) -> Evidence | None:
    """The same as it was told up to this offset of its partition; None where nothing was yet.

    By the revisions that are kept: of one with more than that by the lowest ones and the latest, so
    that who reads late finds what was found at once.
    """
    if evidence.alert is not None:
        alert = _alert_at(evidence, offset)
        return None if alert is None else _with_alert(evidence, alert)
    if evidence.anomaly is not None:
        anomaly = _anomaly_at(evidence, offset)
        return None if anomaly is None else _with_anomaly(evidence, anomaly)
    return None


def ended_after(evidence: Evidence, known: Evidence) -> Evidence | None:
    """The same when its trouble was over: as it was `known`, or by the first record that says so.

    A fault is over where all that broke is back, whatever else its alert stays open for.
    """
    if known.alert is not None:
        if _is_over(known.alert, _faults_in(_alerts_of(known))):
            return known
        broken: frozenset[str] = frozenset()
        for alert in _alerts_of(evidence):
            broken |= _faults_in([alert])
            if alert.revision > known.revision and _is_over(alert, broken):
                return _with_alert(evidence, alert)
        return None
    if known.has_ended:
        return known
    for anomaly in _anomalies_of(evidence):
        own = anomaly.unmapped
        if own.revision > known.revision and own.status == "closed":
            return _with_anomaly(evidence, anomaly)
    return None


def _faults_in(records: Iterable[AlertData]) -> frozenset[str]:
    """The signals that broke by these records."""
    return frozenset(one.signal for each in records for one in each.signals if is_fault(one))


def _is_over(alert: AlertData, broken: frozenset[str]) -> bool:
    """Whether a record says that all these signals are back, or that nothing is away any more.

    One that it does not name may be anywhere. One that has moved again, in a later alert, is not
    back.
    """
    back = {each.signal for each in alert.signals if each.standing == "returned"}
    return alert.status == "resolved" or broken <= back


def _first_of_run(records: Sequence[AlertData], broken: frozenset[str]) -> AlertData:
    """Of records of which the last says that it is over, the first from which on all of them do.

    Between two that are kept, and do not follow each other, it may have come back.
    """
    first = records[-1]
    for each in records[-2::-1]:
        if each.revision != first.revision - 1 or not _is_over(each, broken):
            break
        first = each
    return first


def _alerts_of(evidence: Evidence) -> list[AlertData]:
    """What is kept of an alert, in the order of revisions."""
    earlier = [each for each in evidence.earlier if isinstance(each, AlertData)]
    return earlier if evidence.alert is None else [*earlier, evidence.alert]


def _anomalies_of(evidence: Evidence) -> list[AnomalyData]:
    earlier = [each for each in evidence.earlier if isinstance(each, AnomalyData)]
    return earlier if evidence.anomaly is None else [*earlier, evidence.anomaly]


def _alert_at(evidence: Evidence, offset: int) -> AlertData | None:
    records = _alerts_of(evidence)
    told = [each for each in records if each.trigger_offset <= offset]
    if not told:
        # One that is told late is told late. But of one whose first records are gone its signals
        # say when they were found.
        found = [each for each in records[0].signals if each.found_offset <= offset]
        is_whole = records[0].revision == 1 or not found
        return None if is_whole else _at_worst(records[0], found, records[0])
    known = told[-1]
    following = _following(records, known)
    if following is None or following.revision == known.revision + 1:
        return known
    # Revisions between these two are not kept. What was found in them is in the one behind; what
    # had broken may have broken again.
    names = {each.signal for each in known.signals}
    more = [
        each
        for each in following.signals
        if each.found_offset <= offset and each.signal not in names
    ]
    return _at_worst(known, [*known.signals, *more], following)


def _at_worst(known: AlertData, signals: Sequence[MovedSignal], following: AlertData) -> AlertData:
    """What may have stood right before a record: with these signals, and all that broke away."""
    faults = [each for each in signals if is_fault(each)]
    changed: dict[str, object] = {
        "revision": following.revision - 1,
        "signals": [
            each.model_copy(update={"standing": "moved"}) if each in faults else each
            for each in signals
        ],
    }
    if faults:
        changed |= {"status": "updated", "resolution": None}
    return known.model_copy(update=changed)


def _following(records: Sequence[_Record], known: _Record) -> _Record | None:
    """The record that is kept next to this one."""
    at = next(place for place, each in enumerate(records) if each is known)
    return records[at + 1] if at + 1 < len(records) else None


def _anomaly_at(evidence: Evidence, offset: int) -> AnomalyData | None:
    records = _anomalies_of(evidence)
    told = [each for each in records if each.unmapped.trigger_offset <= offset]
    if told:
        known = told[-1]
        following = _following(records, known)
        own = known.unmapped
        if following is None or following.unmapped.revision == own.revision + 1:
            return known
        # Revisions between these two are not kept. What they said of whom is in the one behind; who
        # had stopped may have begun again.
        return _at_its_worst(evidence, known, following)
    first = records[0].unmapped
    if first.revision == 1 or first.opened_offset > offset:
        return None
    return _at_its_worst(evidence, records[0], records[0])


def _at_its_worst(evidence: Evidence, known: AnomalyData, following: AnomalyData) -> AnomalyData:
    """What may have stood right before a record: all that it says, and not over."""
    own, behind = known.unmapped, following.unmapped
    ranges = behind.quarantine.ranges
    if evidence.family == "poisoning" and own.quarantine.ranges and ranges:
        # It counts as going on behind its latest evidence, which may be that of `known`.
        *before, latest = own.quarantine.ranges if own is not behind else ranges[:1]
        last_offset = max(latest.last_offset, ranges[-1].last_offset)
        ranges = [*before, latest.model_copy(update={"last_offset": last_offset})]
    is_complete = own.quarantine.is_complete and behind.quarantine.is_complete
    changed = {"ranges": ranges, "is_complete": is_complete}
    return _with_own(
        known,
        revision=behind.revision - 1,
        status="updated",
        n_sources=max(own.n_sources, behind.n_sources),
        quarantine=behind.quarantine.model_copy(update=changed),
    )


def _with_own(anomaly: AnomalyData, **changed: object) -> AnomalyData:
    return anomaly.model_copy(update={"unmapped": anomaly.unmapped.model_copy(update=changed)})


def _with_alert(evidence: Evidence, alert: AlertData) -> Evidence:
    changes = [alert.change_offset, *(each.change_offset for each in alert.signals)]
    return evidence.model_copy(
        update={
            "revision": alert.revision,
            "last_ms": alert.event_time_ms,
            "first_offset": min(changes),
            "alert": alert,
            "earlier": tuple(
                each for each in _alerts_of(evidence) if each.revision < alert.revision
            ),
        }
    )


def _with_anomaly(evidence: Evidence, anomaly: AnomalyData) -> Evidence:
    return evidence.model_copy(
        update={
            "revision": anomaly.unmapped.revision,
            "last_ms": anomaly.time,
            "anomaly": anomaly,
            "earlier": tuple(
                each
                for each in _anomalies_of(evidence)
                if each.unmapped.revision < anomaly.unmapped.revision
            ),
        }
    )


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
    first = _alerts_of(evidence)[0]
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
        return [each for each in troubles_of(known) if is_in(each, stretch)]

    stretches = tuple(_settle(each, evidence, spoilt) for each in first)
    last = {each.partition: each.last for each in stretches}
    known = list(as_of(evidence, last))
    whole = {each.evidence_id: each for each in evidence}
    # What is over is behind, or never was in it.
    still = [
        trouble
        for each in known
        if ended_after(whole[each.evidence_id], each) is None
        for stretch in stretches
        for trouble in spoilt(each, stretch)
    ]
    left_out = [
        each
        for each in attacks_of(one for one in known if not dismissals.covers(one))
        if is_left_out(each.evidence) and any(is_in(each, stretch) for stretch in stretches)
    ]
    return Window(
        stretches=stretches,
        attacks=tuple(each for each in still if each.evidence.is_of_attack),
        faults=tuple(each for each in still if not each.evidence.is_of_attack),
        quarantine=tuple(
            _left_out(each, stretches) for each in left_out if not _is_explained(each, left_out)
        ),
    )


def can_be_left_out(attack: Evidence) -> bool:
    """Whether all who take part in an attack are named, so that the rest may be trained on."""
    assert attack.anomaly is not None
    own = attack.anomaly.unmapped.quarantine
    return own.is_complete and bool(own.sources or own.without_source)


def goes_on(attack: Evidence) -> bool:
    """Whether it counts as going on behind its latest evidence.

    More of an attack is told only when there is twice as much: a source that still lies has lied
    since. So what poisons the next training goes on for ever, as far as anybody knows, until it is
    over.
    """
    return attack.family == "poisoning" and not attack.has_ended


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
            over = ended_after(each, known)
            if over is None:
                return stretch
            # Poisoning that is over did not go on: all of it may have been before.
            ends += [
                last for one in troubles_of(over) if is_in(one, stretch) for _, last in one.ranges
            ]
        if not ends:
            return stretch
        first = max(ends) + 1
        stretch = Stretch(stretch.partition, first, first + stretch.last - stretch.first)


def troubles_of(evidence: Evidence) -> list[Trouble]:
    """Offsets that it says nobody should train on."""
    return [*attacks_of([evidence]), *faults_of([evidence])]


def is_in(trouble: Trouble, stretch: Stretch) -> bool:
    """Whether a trouble that was known at the end of a stretch lies in it."""
    return (
        trouble.partition == stretch.partition
        and trouble.opened <= stretch.last
        and any(stretch.meets(*each) for each in trouble.ranges)
    )


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


def _is_explained(attack: Trouble, others: Iterable[Trouble]) -> bool:
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


def attacks_of(evidence: Iterable[Evidence]) -> Iterator[Trouble]:
    """Suspected attacks, with the offsets of what was found."""
    for each in evidence:
        if each.anomaly is None or not each.is_of_attack:
            continue
        own = each.anomaly.unmapped
        ranges = [(one.first_offset, one.last_offset) for one in own.quarantine.ranges]
        if not ranges:
            continue
        if goes_on(each):
            ranges[-1] = ranges[-1][0], _FOR_EVER
        yield Trouble(each, own.partition, tuple(ranges), own.opened_offset, each.has_ended)


def faults_of(evidence: Iterable[Evidence]) -> Iterator[Trouble]:
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
        records = _alerts_of(each)
        broken = [one for record in records for one in record.signals if is_fault(one)]
        if broken:
            first = min(one.change_offset for one in broken)
            opened = min(one.found_offset for one in broken)
            names = _faults_in(records)
            is_over = _is_over(alert, names)
            # One that is not over goes on for ever, as far as anybody knows.
            last = _first_of_run(records, names).trigger_offset if is_over else _FOR_EVER
            yield Trouble(each, alert.partition, ((first, last),), opened, is_over)


_FOR_EVER: Final = 2**63 - 1
