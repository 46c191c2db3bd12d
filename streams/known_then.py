"""What was known of an alert or an anomaly at an offset, by its revisions that are kept. Pure.

Between the lowest revisions and the latest some are not kept: what stood there is taken to have
been the worst that the two around them allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from schemas.alerts import AlertData, MovedSignal
from schemas.anomalies import AnomalyData, OffsetRange
from streams.incident_evidence import Evidence
from streams.signal_meaning import is_fault, is_harm

_Record = TypeVar("_Record", AlertData, AnomalyData)
Aspect = tuple[str, str]
"""A signal, and its unit: an alert holds its mean, its spread and its shape apart."""


def aspect(moved: MovedSignal) -> Aspect:
    """Which of a signal's numbers moved."""
    return moved.signal, moved.unit


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
        return None if alert is None else with_alert(evidence, alert)
    if evidence.anomaly is not None:
        anomaly = _anomaly_at(evidence, offset)
        return None if anomaly is None else with_anomaly(evidence, anomaly)
    return None


def alerts_of(evidence: Evidence) -> list[AlertData]:
    """What is kept of an alert, in the order of revisions."""
    earlier = [each for each in evidence.earlier if isinstance(each, AlertData)]
    return earlier if evidence.alert is None else [*earlier, evidence.alert]


def anomalies_of(evidence: Evidence) -> list[AnomalyData]:
    """What is kept of an anomaly, in the order of revisions."""
    earlier = [each for each in evidence.earlier if isinstance(each, AnomalyData)]
    return earlier if evidence.anomaly is None else [*earlier, evidence.anomaly]


def _alert_at(evidence: Evidence, offset: int) -> AlertData | None:
    records = alerts_of(evidence)
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
    # had broken may have broken again, and what was known already may have become worse.
    behind = {aspect(each): each for each in following.signals if each.found_offset <= offset}
    now = [_worse(each, behind.pop(aspect(each), each)) for each in known.signals]
    return _at_worst(known, [*now, *behind.values()], following)


def _worse(known: MovedSignal, following: MovedSignal) -> MovedSignal:
    """Of two records of a signal the one that says that data broke, or that the model is worse."""
    is_worse = (is_fault(following), is_harm(following)) > (is_fault(known), is_harm(known))
    return following if is_worse else known


def _at_worst(known: AlertData, signals: Sequence[MovedSignal], following: AlertData) -> AlertData:
    """What may have stood right before a record: with these signals, and all that broke away."""
    faults = [each for each in signals if is_fault(each)]
    n_unnamed = max(known.n_faults_unnamed, following.n_faults_unnamed)
    changed: dict[str, object] = {
        "revision": following.revision - 1,
        "n_faults_unnamed": n_unnamed,
        "signals": [
            each.model_copy(update={"standing": "moved"}) if each in faults else each
            for each in signals
        ],
    }
    if faults or n_unnamed:
        changed |= {"status": "updated", "resolution": None}
    return known.model_copy(update=changed)


def _following(records: Sequence[_Record], known: _Record) -> _Record | None:
    """The record that is kept next to this one."""
    at = next(place for place, each in enumerate(records) if each is known)
    return records[at + 1] if at + 1 < len(records) else None


def _anomaly_at(evidence: Evidence, offset: int) -> AnomalyData | None:
    records = anomalies_of(evidence)
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
    if evidence.family == "poisoning":
        # It counts as going on behind its latest evidence, which may be that of `known`.
        first = own.quarantine.ranges[-1:] if own is not behind else ranges[:1]
        ranges = _joined([*own.quarantine.ranges, *ranges], first)
    is_complete = own.quarantine.is_complete and behind.quarantine.is_complete
    changed = {"ranges": ranges, "is_complete": is_complete}
    return _with_own(
        known,
        revision=behind.revision - 1,
        status="updated",
        ending=None,
        n_sources=max(own.n_sources, behind.n_sources),
        quarantine=behind.quarantine.model_copy(update=changed),
    )


def _joined(ranges: Iterable[OffsetRange], gone_on: Iterable[OffsetRange]) -> list[OffsetRange]:
    """Ascending and apart; from where one of the second begins everything to the end."""
    found: list[OffsetRange] = []
    since = min((each.first_offset for each in gone_on), default=None)
    for each in sorted(ranges, key=lambda one: (one.first_offset, one.last_offset)):
        last = found[-1] if found else None
        if last is not None and (
            each.first_offset <= last.last_offset + 1
            or (since is not None and last.last_offset >= since)
        ):
            last_offset = max(last.last_offset, each.last_offset)
            found[-1] = last.model_copy(update={"last_offset": last_offset})
        else:
            found.append(each)
    return found


def _with_own(anomaly: AnomalyData, **changed: object) -> AnomalyData:
    return anomaly.model_copy(update={"unmapped": anomaly.unmapped.model_copy(update=changed)})


def with_alert(evidence: Evidence, alert: AlertData) -> Evidence:
    """The same, as this record of it says."""
    changes = [alert.change_offset, *(each.change_offset for each in alert.signals)]
    return evidence.model_copy(
        update={
            "revision": alert.revision,
            "last_ms": alert.event_time_ms,
            "first_offset": min(changes),
            "alert": alert,
            "earlier": tuple(
                each for each in alerts_of(evidence) if each.revision < alert.revision
            ),
        }
    )


def with_anomaly(evidence: Evidence, anomaly: AnomalyData) -> Evidence:
    """The same, as this record of it says."""
    return evidence.model_copy(
        update={
            "revision": anomaly.unmapped.revision,
            "last_ms": anomaly.time,
            "anomaly": anomaly,
            "earlier": tuple(
                each
                for each in anomalies_of(evidence)
                if each.unmapped.revision < anomaly.unmapped.revision
            ),
        }
    )
