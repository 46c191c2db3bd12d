"""What an incident may come from, likely ones first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from schemas.incidents import RankedCause
from streams.incident_evidence import Evidence
from streams.incident_reasons import Beginning, began_near, moved_of
from streams.sentences import size_of_move
from streams.signal_meaning import is_fault

MAX_CAUSES: Final = 16
_MAX_SOURCES: Final = 4
"""So that a cluster of clients leaves room for what moved."""
_ORDER: Final = ("source", "quality", "version", "signal", "slice")
"""A suspect and a fault explain what moved, and not the other way round."""
_ASPECT: Final = {"spread": "spread of ", "shape": "distribution of "}
"""By unit what of a signal moved, where it is not its mean or its share."""


def ranked_causes(
    evidence: Sequence[Evidence], begun: Sequence[Beginning] = ()
) -> list[RankedCause]:
    """The causes of an incident: by kind, and within a kind by size, the largest first.

    `begun` is where versions of the model begin.
    """
    largest: dict[tuple[str, str], RankedCause] = {}
    for each in [*_sources(evidence), *_signals(evidence), *_versions(evidence, begun)]:
        key = each.kind, each.name
        before = largest.get(key)
        if before is None or _rank(each) < _rank(before):
            largest[key] = each
    ranked = sorted(largest.values(), key=_rank)
    n_sources = 0
    causes: list[RankedCause] = []
    for each in ranked:
        n_sources += each.kind == "source"
        if each.kind != "source" or n_sources <= _MAX_SOURCES:
            causes.append(each)
    return causes[:MAX_CAUSES]


def _rank(cause: RankedCause) -> tuple[int, float, str, str]:
    return _ORDER.index(cause.kind), -abs(cause.size), cause.name, cause.evidence_id


def _sources(evidence: Sequence[Evidence]) -> Iterator[RankedCause]:
    for each in evidence:
        if each.anomaly is None:
            continue
        technique = each.anomaly.unmapped.technique
        for found in each.anomaly.evidences:
            if found.actor is None:
                continue
            n_hits = each.anomaly.count if found.data is None else found.data.n_hits
            name = found.actor.user.uid
            yield RankedCause(
                kind="source",
                name=name,
                size=n_hits,
                detail=f"source {name[:12]}: {technique.replace('_', ' ')}, "
                f"{n_hits} events of evidence",
                evidence_id=each.evidence_id,
            )


def _signals(evidence: Sequence[Evidence]) -> Iterator[RankedCause]:
    for each, _, moved in moved_of(evidence):
        place = f" ({moved.named_feature})" if moved.named_feature is not None else ""
        factor = (
            f", as if in a unit {moved.part_factor:g} times smaller" if moved.part_factor else ""
        )
        of = _ASPECT.get(moved.unit, "")
        yield RankedCause(
            kind="quality" if is_fault(moved) else "signal",
            name=moved.signal,
            size=moved.effect,
            detail=f"{of}{moved.signal}{place} {moved.direction} ({size_of_move(moved)}){factor}",
            evidence_id=each.evidence_id,
        )
        for group in moved.worst_groups:
            yield RankedCause(
                kind="slice",
                name=group.signal,
                size=group.of_errors,
                detail=f"{group.signal.partition(':')[2]} with {group.of_errors:.0%} of the errors "
                f"on {group.of_events:.0%} of the events",
                evidence_id=each.evidence_id,
            )


def _versions(evidence: Sequence[Evidence], begun: Sequence[Beginning]) -> Iterator[RankedCause]:
    for each in evidence:
        alert = each.alert
        near = began_near(each, begun)
        if near is not None:
            yield RankedCause(
                kind="version",
                name=near.model_version,
                size=0.0,
                detail=f"version {near.model_version} began at offset {near.offset}",
                evidence_id=each.evidence_id,
            )
        if alert is None or (alert.planned is None and not alert.training_serving_skew):
            continue
        why = alert.planned or "its reference is of other data than are served"
        yield RankedCause(
            kind="version",
            name=alert.model_version,
            size=0.0,
            detail=f"version {alert.model_version}: {why}",
            evidence_id=each.evidence_id,
        )
