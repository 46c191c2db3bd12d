"""Offsets that nobody should train on: suspected attacks, and data while they are broken. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from schemas.alerts import AlertData, MovedSignal
from streams.incident_evidence import Evidence
from streams.known_then import alerts_of, anomalies_of, aspect, with_alert, with_anomaly
from streams.signal_meaning import is_fault, is_less_missing

_FOR_EVER: Final = 2**63 - 1


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
    """Offsets of a partition that nobody should train on."""

    evidence: Evidence
    partition: int
    ranges: tuple[tuple[int, int], ...]
    opened: int


def has_stopped(attack: Evidence) -> bool:
    """Whether it is over, and not only given up for want of room: nobody watches that one."""
    ending = None if attack.anomaly is None else attack.anomaly.unmapped.ending
    return attack.has_ended and ending != "room"


def goes_on(attack: Evidence) -> bool:
    """Whether it counts as going on behind its latest evidence.

    More of an attack is told only when there is twice as much: a source that still lies has lied
    since. So what poisons the next training goes on for ever, as far as anybody knows, until it is
    over.
    """
    return attack.family == "poisoning" and not has_stopped(attack)


def ended_after(
    evidence: Evidence, known: Evidence, others: Sequence[Evidence] = ()
) -> Evidence | None:
    """The same when its trouble was over: as it was `known`, or by the first record that says so.

    A fault is over where all that broke is back, whatever else its alert stays open for. `others`
    are all evidence of the model: a signal may have moved on into another alert.
    """
    if known.alert is not None:
        if _over_from(known.alert, others) is not None:
            return known
        for alert in alerts_of(evidence):
            if alert.revision > known.revision and _over_from(alert, others) is not None:
                return with_alert(evidence, alert)
        return None
    if has_stopped(known):
        return known
    for anomaly in anomalies_of(evidence):
        told = with_anomaly(evidence, anomaly)
        if told.revision > known.revision and has_stopped(told):
            return told
    return None


def _over_from(alert: AlertData, others: Sequence[Evidence]) -> int | None:
    """From which offset on nothing that broke is away by this record; None where something is.

    What has moved again is that of another alert from where this one is told. One that was given up
    says nothing of where its signals are.
    """
    if alert.status == "resolved" and alert.resolution in ("returned", "new_reference"):
        return alert.trigger_offset
    if alert.n_faults_unnamed:
        return None
    over = alert.trigger_offset
    for each in alert.signals:
        if not is_fault(each) or each.standing == "returned":
            continue
        taken = _taken_over_at(alert, each, others) if each.standing == "superseded" else None
        if taken is None:
            return None
        over = max(over, taken)
    return over


def _taken_over_at(alert: AlertData, own: MovedSignal, others: Sequence[Evidence]) -> int | None:
    """Where another alert was first told to have this signal from later on; None where none was."""
    fold = alert.partition, alert.lineage, alert.model_version, alert.shard
    return min(
        (
            record.trigger_offset
            for each in others
            if each.alert is not None and each.alert.alert_id != alert.alert_id
            for record in alerts_of(each)
            if (record.partition, record.lineage, record.model_version, record.shard) == fold
            for one in record.signals
            if one.signal == own.signal
            and (own.unit == "shape" or aspect(one) == aspect(own))
            and one.standing != "superseded"
            and (is_fault(one) or one.standing == "returned" or is_less_missing(one))
            and (one.found_offset > own.found_offset or one.change_offset > own.change_offset)
        ),
        default=None,
    )


def _back_from(records: Sequence[AlertData], others: Sequence[Evidence]) -> int | None:
    """From where on all that broke is back, by the last of these records; None where it is not.

    By the first from which on all of them say so. Between two that are kept, and do not follow each
    other, it may have come back.
    """
    found, revision = None, records[-1].revision + 1
    for each in reversed(records):
        over = _over_from(each, others)
        if over is None or each.revision != revision - 1:
            break
        found, revision = over, each.revision
    return found


def troubles_of(evidence: Evidence, others: Sequence[Evidence] = ()) -> list[Trouble]:
    """Offsets that it says nobody should train on; `others` as of `ended_after`."""
    return [*attacks_of([evidence]), *faults_of([evidence], others)]


def is_in(trouble: Trouble, stretch: Stretch) -> bool:
    """Whether a trouble that was known at the end of a stretch lies in it."""
    return (
        trouble.partition == stretch.partition
        and trouble.opened <= stretch.last
        and any(stretch.meets(*each) for each in trouble.ranges)
    )


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
        yield Trouble(each, own.partition, tuple(ranges), own.opened_offset)


def faults_of(evidence: Iterable[Evidence], others: Sequence[Evidence] = ()) -> Iterator[Trouble]:
    """From where data broke to where an alert was told that they are whole again.

    `others` are all evidence of the model.
    """
    for each in evidence:
        if each.anomaly is not None and each.family == "fault":
            own = each.anomaly.unmapped
            ranges = own.quarantine.ranges
            first = min((one.first_offset for one in ranges), default=own.opened_offset)
            is_over = has_stopped(each)
            # More of it is told only when there is twice as much: nobody knows where it ended, but
            # that it was before it was closed.
            last = max([own.trigger_offset, *(one.last_offset for one in ranges)])
            stretch = first, last if is_over else _FOR_EVER
            yield Trouble(each, own.partition, (stretch,), own.opened_offset)
        if each.alert is None:
            continue
        records = alerts_of(each)
        broken = [one for record in records for one in record.signals if is_fault(one)]
        if broken:
            back = _back_from(records, others)
            # One that is not over goes on for ever, as far as anybody knows.
            stretch = (
                min(one.change_offset for one in broken),
                _FOR_EVER if back is None else back,
            )
            opened = min(one.found_offset for one in broken)
            yield Trouble(each, each.alert.partition, (stretch,), opened)
