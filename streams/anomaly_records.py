"""An anomaly as the OCSF finding that goes out, and as a record of the anomalies topic."""

from __future__ import annotations

from typing import Final, NamedTuple

import orjson

from detectors.security.base import Technique
from schemas.anomalies import (
    ACTIVITIES,
    CLASS_UID,
    CONFIDENCES,
    SEVERITIES,
    ActivityId,
    Actor,
    AnalysisTarget,
    Analytic,
    AnomalyAnalysis,
    AnomalyData,
    AnomalyStatus,
    Attack,
    ConfidenceId,
    Ending,
    EvidenceData,
    Evidences,
    FindingInfo,
    Metadata,
    NamedUid,
    Observable,
    Observation,
    Observed,
    OffsetRange,
    Quarantine,
    Remediation,
    Resource,
    SeverityId,
    Timespan,
    Unmapped,
    User,
)
from schemas.atlas import ATLAS_VERSION, ATTACKS, AtlasAttack, AtlasEntry, mitigation_url
from schemas.source_hash import pseudonym
from streams.anomaly import NAMELESS, Anomaly, Place, Seen
from streams.anomaly_sentences import sentence, subject_name, title, words_of
from streams.cloudevents import anomaly_headers, within_rfc3339
from streams.ports import Output

_ACTIVITY: Final[dict[AnomalyStatus, ActivityId]] = {"opened": 1, "updated": 2, "closed": 3}
_MAX_COUNT: Final = 2**31 - 1
"""What OCSF's `integer_t` holds wherever it has 32 bits; `evidences[0].data` has it in full."""
_MEDIUM_FROM: Final = 50
_HIGH_FROM: Final = 75
_OF_LABELS: Final = frozenset({Technique.LABEL_POISONING, Technique.BACKDOOR})
_BEHAVIORAL: Final = frozenset({"volume", "exposure"})
"""Detectors that count what a source does; all others compare distributions."""


class Origin(NamedTuple):
    """Where anomalies come from."""

    lineage: str
    deployment: str
    partition: int


class Occasion(NamedTuple):
    """What one record of an anomaly is told for."""

    status: AnomalyStatus
    place: Place
    seq: int
    ending: Ending | None = None
    why: str | None = None
    """How it has ended, as a sentence."""


def confidence_of(score: int) -> ConfidenceId:
    """Low below 50, high from 75 on."""
    if score < _MEDIUM_FROM:
        return 1
    return 3 if score >= _HIGH_FROM else 2


def severity_of(anomaly: Anomaly) -> SeverityId:
    """That of its technique, one less at low confidence; an exposure is informational."""
    if anomaly.kind.is_exposure:
        return 1
    worst = words_of(anomaly).severity_id
    is_sure = confidence_of(anomaly.score) > 1
    return _severity(worst if is_sure else max(worst - 1, 2))


def _severity(number: int) -> SeverityId:
    found: dict[int, SeverityId] = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}
    return found[number]


def anomaly_data(anomaly: Anomaly, origin: Origin, now: Occasion) -> AnomalyData:
    """One revision of an anomaly, which has been marked as told."""
    activity = _ACTIVITY[now.status]
    severity, confidence = severity_of(anomaly), confidence_of(anomaly.score)
    is_over = now.status == "closed"
    told = words_of(anomaly)
    said = sentence(anomaly, origin.partition)
    return AnomalyData.model_validate(
        {
            "activity_id": activity,
            "activity_name": ACTIVITIES[activity],
            "type_uid": CLASS_UID * 100 + activity,
            "time": now.place.event_time_ms,
            "start_time": anomaly.first_time_ms,
            "end_time": anomaly.last_time_ms,
            "count": min(anomaly.n_evidence, _MAX_COUNT),
            "severity_id": severity,
            "severity": SEVERITIES[severity],
            "confidence_id": confidence,
            "confidence": CONFIDENCES[confidence],
            "confidence_score": anomaly.score,
            "is_alert": not (is_over or anomaly.kind.is_exposure),
            "status_id": 99 if is_over else 1,
            "status": "Ended" if is_over else "New",
            "status_detail": now.why,
            "message": said,
            "metadata": Metadata(uid=f"{anomaly.uid}.{anomaly.revision}", sequence=now.seq),
            "finding_info": _finding_info(anomaly, origin, now, said),
            "resources": _resources(anomaly, origin),
            "evidences": _evidences(anomaly, origin),
            "anomaly_analyses": _analyses(anomaly, origin),
            "observables": _observables(anomaly),
            "remediation": Remediation(
                desc=told.action,
                references=[mitigation_url(each) for each in _mitigations(anomaly)] or None,
            ),
            "unmapped": _unmapped(anomaly, origin, now),
        }
    )


def anomaly_output(topic: str, anomaly: AnomalyData, record_time_ms: int) -> Output:
    """One revision of an anomaly as a CloudEvent, keyed by its model, or by nothing.

    `record_time_ms` is the timestamp of the record at `unmapped.trigger_offset`.
    """
    model = anomaly.resources[0] if anomaly.resources else None
    return Output(
        topic=topic,
        partition=-1,
        key=b"" if model is None else model.name.encode(),
        value=orjson.dumps(anomaly.as_ocsf()),
        headers=anomaly_headers(anomaly, record_time_ms),
        timestamp_ms=within_rfc3339(record_time_ms),
    )


def _finding_info(anomaly: Anomaly, origin: Origin, now: Occasion, said: str) -> FindingInfo:
    first, *others = [_analytic(name) for name in anomaly.seen]
    return FindingInfo(
        uid=anomaly.uid,
        title=title(anomaly, origin.partition),
        desc=said,
        types=[str(anomaly.kind.technique)],
        analytic=first,
        related_analytics=others or None,
        # Who sees much of a model has not attacked it.
        attacks=[]
        if anomaly.kind.is_exposure
        else [_attack(each) for each in ATTACKS[anomaly.kind.technique]],
        created_time=anomaly.opened.event_time_ms,
        modified_time=now.place.event_time_ms,
        first_seen_time=anomaly.first_time_ms,
        last_seen_time=anomaly.last_time_ms,
        related_events_count=min(anomaly.n_evidence, _MAX_COUNT),
    )


def _analytic(detector: str) -> Analytic:
    if detector in _BEHAVIORAL:
        return Analytic(uid=detector, name=detector, type_id=2, type="Behavioral")
    return Analytic(uid=detector, name=detector)


def _attack(attack: AtlasAttack) -> Attack:
    return Attack(
        version=ATLAS_VERSION,
        tactic=NamedUid(**attack.tactic._asdict()),
        technique=NamedUid(**attack.technique._asdict()),
        sub_technique=_named(attack.sub_technique),
        mitigation=_named(attack.mitigation),
    )


def _named(entry: AtlasEntry | None) -> NamedUid | None:
    return None if entry is None else NamedUid(**entry._asdict())


def _mitigations(anomaly: Anomaly) -> list[AtlasEntry]:
    if anomaly.kind.is_exposure:
        return []
    found = [attack.mitigation for attack in ATTACKS[anomaly.kind.technique]]
    return [each for each in dict.fromkeys(found) if each is not None]


def _resources(anomaly: Anomaly, origin: Origin) -> list[Resource] | None:
    model = anomaly.kind.model
    if model is None:
        return None
    parts = [*model[:2], *([str(model.shard)] if model.shard >= 0 else [])]
    return [
        Resource(
            uid="/".join(parts),
            name=model.model_id,
            version=model.model_version,
            namespace=origin.deployment,
        )
    ]


def _users(anomaly: Anomaly) -> list[User]:
    """The sources that have a name."""
    return [
        User(uid=pseudonym(words), domain=anomaly.kind.key_id)
        for words in anomaly.sources
        if words != NAMELESS
    ]


def _ranges(anomaly: Anomaly) -> list[OffsetRange]:
    return [OffsetRange(first_offset=first, last_offset=last) for first, last in anomaly.ranges]


def _evidences(anomaly: Anomaly, origin: Origin) -> list[Evidences]:
    data = EvidenceData(
        lineage=origin.lineage,
        partition=origin.partition,
        ranges=_ranges(anomaly),
        n_hits=anomaly.n_evidence,
        n_seen=max(seen.n_seen for seen in anomaly.seen.values()),
    )
    of = "labels" if anomaly.kind.technique in _OF_LABELS else "queries"
    actors = [Actor(user=user) for user in _users(anomaly)]
    return [
        Evidences(name=of, actor=actors[0] if actors else None, data=data),
        *(Evidences(name=of, actor=actor) for actor in actors[1:]),
    ]


def _analyses(anomaly: Anomaly, origin: Origin) -> list[AnomalyAnalysis]:
    subject = subject_name(anomaly, origin.partition)
    kind = "Partition" if anomaly.kind.model is None else "AI Model"
    targets = [AnalysisTarget(name=subject, type=kind)]
    if not anomaly.is_cluster:
        targets += [AnalysisTarget(name=user.uid, type="Source") for user in _users(anomaly)]
    return [
        AnomalyAnalysis(
            analysis_targets=targets,
            anomalies=[
                Observed(
                    observation_parameter=detector,
                    observed_pattern="; ".join(anomaly.details_of(detector)) or None,
                    observations=[_observation(seen)],
                ),
                *_suspect_slices(seen),
            ],
            baselines=_baselines(detector, seen),
        )
        for detector, seen in anomaly.seen.items()
    ]


def _suspect_slices(seen: Seen) -> list[Observed]:
    """How many there are, of a detector that looks at slices."""
    if not seen.n_slices:
        return []
    value = str(seen.n_slices)
    return [
        Observed(observation_parameter="suspect_slices", observations=[Observation(value=value)])
    ]


def _baselines(detector: str, seen: Seen) -> list[Observed]:
    said = {"usual": seen.baseline, "threshold": seen.threshold}
    if seen.n_expected:
        said["expected"] = seen.n_expected
    return [_baseline(detector, pattern, value) for pattern, value in said.items()]


def _observation(seen: Seen) -> Observation:
    span = Timespan(start_time=seen.first_time_ms, end_time=seen.last_time_ms)
    return Observation(
        value=_text(seen.statistic), count=min(seen.n_evidence, _MAX_COUNT), timespan=span
    )


def _baseline(detector: str, pattern: str, value: float) -> Observed:
    return Observed(
        observation_parameter=detector,
        observed_pattern=pattern,
        observations=[Observation(value=_text(value))],
    )


def _text(value: float) -> str:
    return f"{value:.6g}"


def _observables(anomaly: Anomaly) -> list[Observable] | None:
    found = [
        Observable(
            name=f"evidences[{at}].actor.user.uid",
            type_id=31,
            type="User Object: uid",
            value=user.uid,
        )
        for at, user in enumerate(_users(anomaly))
    ]
    if anomaly.kind.model is not None:
        found.append(
            Observable(
                name="resources[0].name",
                type_id=38,
                type="Resource Details Object: name",
                value=anomaly.kind.model.model_id,
            )
        )
    return found or None


def _unmapped(anomaly: Anomaly, origin: Origin, now: Occasion) -> Unmapped:
    model = anomaly.kind.model
    users = _users(anomaly)
    return Unmapped(
        revision=anomaly.revision,
        seq=now.seq,
        status=now.status,
        ending=now.ending,
        technique=str(anomaly.kind.technique),
        is_exposure=anomaly.kind.is_exposure,
        detectors=list(anomaly.seen),
        is_provisional=anomaly.is_provisional,
        n_sources=anomaly.n_sources,
        details=anomaly.details,
        deployment=origin.deployment,
        lineage=origin.lineage,
        partition=origin.partition,
        shard=None if model is None or model.shard < 0 else model.shard,
        trigger_offset=now.place.offset,
        trigger_row=now.place.event_row,
        opened_offset=anomaly.opened.offset,
        quarantine=Quarantine(
            partition=origin.partition,
            ranges=_ranges(anomaly),
            since_ms=anomaly.first_time_ms,
            until_ms=anomaly.last_time_ms,
            sources=[user.uid for user in users],
            source_key=users[0].domain if users else None,
            without_source=NAMELESS in anomaly.sources,
            is_complete=anomaly.n_sources <= len(anomaly.sources),
        ),
    )
