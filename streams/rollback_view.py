"""Rollback requests and follow-ups as lines for a person at a terminal. Pure.

Names come from events, and from whoever can write to a topic: no line holds a control character.
"""

from __future__ import annotations

from collections.abc import Iterator

from schemas.printable import masked
from schemas.retraining import CleanWindow
from schemas.rollback import FollowUpData, GroupComparison, RollbackData, VersionComparison
from streams.incident_view import SHORT

_WHOLE = "all events"


def rollback_line(request: RollbackData) -> str:
    """One line of a list."""
    return masked(f"{request.request_id[:SHORT]}  {request.status:<9}  {request.message}")


def followup_line(followup: FollowUpData) -> str:
    """One line of a list."""
    return masked(f"{followup.followup_id[:SHORT]}  {followup.verdict:<9}  {followup.message}")


def rollback_page(request: RollbackData) -> list[str]:
    """All that a request rests on, a line each."""
    lines = [
        request.message,
        "",
        f"request    {request.request_id}, {request.status}",
        _model(request.model_id, request.from_version, request.to_version, request.deployment),
        *(f"held       {each.reason}: {each.detail}" for each in request.holds),
        *(f"           it rests on {one}" for each in request.holds for one in each.evidence_ids),
        *_approved(request),
        *_compared(request.comparison),
        *(f"beware     {each.detail}" for each in request.warnings),
    ]
    return [masked(line) for line in lines]


def followup_page(followup: FollowUpData) -> list[str]:
    """Before and after, a line each."""
    comparison = followup.comparison
    lines = [
        followup.message,
        "",
        f"follow-up  {followup.followup_id}, {followup.status}, {followup.verdict}",
        _model(
            followup.model_id, followup.model_version, followup.last_version, followup.deployment
        ),
        *(() if comparison is None else _compared(comparison)),
        *(f"beware     {each.detail}" for each in followup.warnings),
    ]
    return [masked(line) for line in lines]


def _model(model_id: str, new: str, old: str, deployment: str) -> str:
    return f"model      {model_id}, version {new} after {old}, deployment {deployment}"


def _approved(request: RollbackData) -> Iterator[str]:
    if request.approved_by is not None:
        looked = "had opened" if request.was_evidence_opened else "had NOT opened"
        yield (
            f"approved   by {request.approved_by}, who {looked} what it rests on: "
            f"{request.approval_note or ''}"
        )


def _compared(comparison: VersionComparison) -> Iterator[str]:
    yield f"new        {_events(comparison.new_window)}"
    yield f"old        {_events(comparison.old_window)}"
    yield (
        f"compared   {comparison.basis}, {comparison.loss.replace('_', ' ')}, "
        f"{comparison.n_compared} intervals that together hold at {comparison.level:.0%}"
    )
    yield ""
    yield f"{'':<28} {'old':>9} {'new':>9}   difference and interval        labels, old and new"
    for each in comparison.groups:
        yield _row(each)
    yield ""


def _row(each: GroupComparison) -> str:
    name = _WHOLE if each.group is None else each.group
    verdict = "" if each.verdict == "alike" else f"  {each.verdict}"
    return (
        f"{name:<28} {each.old:>9.4g} {each.new:>9.4g}   {each.difference:>+9.4g} "
        f"({each.low:+.4g} to {each.high:+.4g})   {each.n_old:,} and {each.n_new:,}{verdict}"
    )


def _events(window: CleanWindow) -> str:
    places = ", ".join(
        f"{each.first_offset} to {each.last_offset} of partition {part.partition}"
        for part in window.parts
        for each in part.ranges
    )
    return (
        f"offsets {places} of {window.topic}: {window.n_predictions or 0:,} predictions, "
        f"{window.n_labels or 0:,} with labels"
    )
